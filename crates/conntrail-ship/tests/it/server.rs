//! A server that does what a test tells it, good and bad.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Which connection, from 0.
    pub(crate) connection: usize,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    }
}

/// What to do with a request.
pub(crate) enum Act {
    /// Write these bytes, and go on.
    Write(Vec<u8>),
    /// Write these bytes, and close.
    WriteAndClose(Vec<u8>),
    /// Wait before the rest.
    Wait(Duration, Box<Act>),
    /// Write so many bytes one by one, with a pause between them, until somebody gives up.
    Trickle(Duration),
    /// Close without a word.
    Close,
}

/// Answers with a status, a type and a body.
pub(crate) fn reply(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Act {
    reply_with(status, &[("Content-Type", content_type)], body)
}

pub(crate) fn reply_with(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Act {
    let body = body.as_ref();
    let mut bytes = format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    Act::Write([bytes.as_bytes(), body].concat())
}

pub(crate) fn json(status: u16, body: &str) -> Act {
    reply(status, "application/json; charset=UTF-8", body)
}

type Behavior = dyn Fn(&Received) -> Act + Send + Sync;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    pub(crate) fn plain(behavior: impl Fn(&Received) -> Act + Send + Sync + 'static) -> Server {
        Server::start(None, behavior)
    }

    /// With TLS, where there is a configuration. It lives as long as the test program.
    pub(crate) fn start(
        tls: Option<Arc<ServerConfig>>,
        behavior: impl Fn(&Received) -> Act + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let behavior: Arc<Behavior> = Arc::new(behavior);
        let log = Arc::clone(&received);
        let connections = AtomicUsize::new(0);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(30)))
                    .unwrap();
                let number = connections.fetch_add(1, Ordering::Relaxed);
                let (tls, behavior, log) = (tls.clone(), Arc::clone(&behavior), Arc::clone(&log));
                thread::spawn(move || match tls {
                    None => serve(stream, number, &*behavior, &log),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        serve(
                            StreamOwned::new(connection, stream),
                            number,
                            &*behavior,
                            &log,
                        );
                    }
                });
            }
        });
        Server { address, received }
    }

    /// An address at which there is nobody.
    pub(crate) fn nowhere() -> Server {
        Server {
            address: TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap(),
            received: Arc::default(),
        }
    }

    /// Accepts connections and closes them, with what was sent unread: a reset.
    pub(crate) fn resetting() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream: TcpStream = stream.unwrap();
                let _ = stream.read_exact(&mut [0]);
            }
        });
        address
    }

    /// Answers whatever comes first with these words, and closes.
    pub(crate) fn shouting(words: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream: TcpStream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(words.as_bytes());
            }
        });
        address
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn https(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

fn serve<S: Read + Write>(
    mut stream: S,
    connection: usize,
    behavior: &Behavior,
    log: &Mutex<Vec<Received>>,
) {
    while let Some(request) = read(&mut stream, connection) {
        log.lock().unwrap().push(request.clone());
        if act(&mut stream, behavior(&request)).is_none() {
            return;
        }
    }
}

/// Does it; `None` when the connection is over.
fn act<S: Write>(stream: &mut S, act_: Act) -> Option<()> {
    match act_ {
        Act::Write(bytes) => stream.write_all(&bytes).and_then(|()| stream.flush()).ok(),
        Act::WriteAndClose(bytes) => {
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            None
        }
        Act::Wait(pause, then) => {
            thread::sleep(pause);
            act(stream, *then)
        }
        Act::Trickle(pause) => {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
            let mut result = stream.write_all(head);
            while result.is_ok() {
                thread::sleep(pause);
                result = stream.write_all(b" ").and_then(|()| stream.flush());
            }
            None
        }
        Act::Close => None,
    }
}

fn read<S: Read>(stream: &mut S, connection: usize) -> Option<Received> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Received {
        connection,
        target,
        headers,
        body,
    })
}
