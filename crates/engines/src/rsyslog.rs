//! rsyslog: a syslog server with TLS.

use crate::certificates::Certificates;
use crate::port::Port;
use crate::program;
use crate::server::{self, Launch, Server};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long messages may take from the socket to the file.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(20);

/// The file of what was received, in the server's folder: an object a line.
const RECEIVED: &str = "received";

/// A syslog server that takes messages over TLS, framed by their length, and keeps each as it
/// came.
///
/// It is a process of the test's own with a configuration of its own, and has nothing to do with
/// the machine's. Its process is [`Server`]'s to stop, kill, pause and restart.
pub struct Rsyslog {
    server: Server,
    port: u16,
    certificates: Certificates,
}

impl Rsyslog {
    /// Starts a server that takes messages from anybody.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not listen.
    #[must_use]
    pub fn start() -> Rsyslog {
        Rsyslog::launch(Certificates::make(), "anon")
    }

    /// Starts a server that takes messages only from who has a certificate of the same authority.
    ///
    /// # Panics
    ///
    /// As [`Rsyslog::start`].
    #[must_use]
    pub fn start_verifying() -> Rsyslog {
        Rsyslog::launch(Certificates::make(), "x509/certvalid")
    }

    /// Its port; it speaks TLS there from the first byte.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificates, its own and one for a client.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The messages so far, each as it came, without its length.
    #[must_use]
    pub fn received(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder().join(RECEIVED)).unwrap_or_default();
        // The last line may be written just now.
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let message = |line: &str| {
            let object: Value = serde_json::from_str(line).ok()?;
            object["message"].as_str().map(str::to_owned)
        };
        whole.filter_map(message).collect()
    }

    /// Waits until there are as many messages, and returns all that there are.
    ///
    /// # Panics
    ///
    /// When fewer have come after 20 s.
    #[must_use]
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + ARRIVAL_LIMIT;
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            let so_far = received.len();
            assert!(
                Instant::now() < deadline,
                "{so_far} messages of {count} have come"
            );
            thread::sleep(POLL);
        }
    }

    fn launch(certificates: Certificates, authentication: &str) -> Rsyslog {
        let unpacked = program::required("CONNTRAIL_RSYSLOG", "syslog");
        let folder = server::folder("syslog");
        let port = Port::reserve();
        let number = port.number();
        let file = folder.path().join("rsyslog.conf");
        let text = configuration(number, &certificates, authentication, folder.path());
        server::write(&file, &text);
        let libraries = libraries(&unpacked);
        let arguments = vec![
            // In the foreground, and with no file of its process id.
            "-n".into(),
            "-iNONE".into(),
            "-f".into(),
            file.into(),
            "-M".into(),
            libraries.join("rsyslog").into(),
        ];
        let launch = Launch {
            program: unpacked.join("usr/sbin/rsyslogd"),
            arguments,
            environment: vec![("LD_LIBRARY_PATH".into(), libraries.into())],
            ready: Box::new(move || listens(number)),
        };
        Rsyslog {
            server: Server::start("syslog", folder, vec![port], launch),
            port: number,
            certificates,
        }
    }
}

impl Deref for Rsyslog {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Debian has a folder for each kind of machine.
fn libraries(unpacked: &Path) -> PathBuf {
    unpacked.join("usr/lib/x86_64-linux-gnu")
}

/// Lines may be within a message, so each is kept as a string of JSON.
fn configuration(
    port: u16,
    certificates: &Certificates,
    authentication: &str,
    folder: &Path,
) -> String {
    format!(
        "global(workDirectory=\"{folder}\" maxMessageSize=\"256k\" net.enableDNS=\"off\"\n\
         \x20 parser.escapeControlCharactersOnReceive=\"off\"\n\
         \x20 defaultNetstreamDriver=\"gtls\"\n\
         \x20 defaultNetstreamDriverCAFile=\"{authority}\"\n\
         \x20 defaultNetstreamDriverCertFile=\"{certificate}\"\n\
         \x20 defaultNetstreamDriverKeyFile=\"{key}\")\n\
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\"\n\
         \x20 streamDriver.authMode=\"{authentication}\"\n\
         \x20 gnutlsPriorityString=\"NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.3\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\"\n\
         \x20 supportOctetCountedFraming=\"on\")\n\
         template(name=\"kept\" type=\"list\") {{\n\
         \x20 constant(value=\"{{\")\n\
         \x20 property(name=\"rawmsg\" outname=\"message\" format=\"jsonf\")\n\
         \x20 constant(value=\"}}\\n\")\n\
         }}\n\
         action(type=\"omfile\" file=\"{folder}/{RECEIVED}\" template=\"kept\")\n",
        folder = folder.display(),
        authority = certificates.authority().display(),
        certificate = certificates.server_certificate().display(),
        key = certificates.server_key().display(),
    )
}

/// It says nothing before a handshake, so that it takes the connection is all that can be asked.
fn listens(port: u16) -> Result<(), String> {
    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    connected.map(drop).map_err(|error| error.to_string())
}
