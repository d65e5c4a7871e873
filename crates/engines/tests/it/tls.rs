//! A client of TLS that shares nothing with ours: the command of OpenSSL.

use engines::Certificates;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Connects, says `bytes`, and returns what came back until `wanted` was in it, the connection
/// was closed, or 5 s passed. When nothing is wanted, it hangs up after what it has said.
pub(crate) fn converse(
    port: u16,
    certificates: &Certificates,
    with_client: bool,
    bytes: &[u8],
    wanted: &str,
) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-verify_hostname",
        "localhost",
    ]);
    openssl.arg("-connect").arg(format!("127.0.0.1:{port}"));
    openssl.arg("-CAfile").arg(certificates.authority());
    if with_client {
        openssl.arg("-cert").arg(certificates.client_certificate());
        openssl.arg("-key").arg(certificates.client_key());
    }
    if wanted.is_empty() {
        openssl.arg("-no_ign_eof");
    }
    let pipes = openssl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("openssl is installed");
    let mut input = child.stdin.take();
    // One that was refused reads nothing any more.
    let _ = input.as_mut().map(|input| input.write_all(bytes));
    if wanted.is_empty() {
        input = None;
    }
    let (sender, parts) = mpsc::channel();
    let output: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().expect("it is a pipe")),
        Box::new(child.stderr.take().expect("it is a pipe")),
    ];
    for mut pipe in output {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(size @ 1..) = pipe.read(&mut part) {
                let _ = sender.send(String::from_utf8_lossy(&part[..size]).into_owned());
            }
        });
    }
    drop(sender);
    let mut heard = String::new();
    while wanted.is_empty() || !heard.contains(wanted) {
        let Ok(part) = parts.recv_timeout(Duration::from_secs(5)) else {
            break;
        };
        heard += &part;
    }
    drop(input);
    let _ = child.kill();
    let _ = child.wait();
    heard
}
