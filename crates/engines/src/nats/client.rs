//! As much of a client of NATS as the tests of the engines and of what is shipped to them need.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// How long an answer may take: an election of a leader passes in it.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Asks for what JetStream keeps, one message at a time.
const STREAM_API: &str = "$JS.API.STREAM";

/// A connection to a node without TLS.
///
/// It has one request under way at a time and hears nothing but the answers to them.
pub struct Client {
    reader: BufReader<TcpStream>,
    inbox: String,
    requests: u64,
}

/// A message that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its headers as they were sent, with the line of the version; empty when it has none.
    pub headers: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// The payload as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

impl Client {
    /// Connects to a node of this machine; `options` adds to what is said at the start: `user`,
    /// `pass`, `auth_token`.
    ///
    /// # Errors
    ///
    /// When nobody listens, or the node does not let the client in; with its words.
    pub fn connect(port: u16, options: &Value) -> io::Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        let mut client = Client {
            reader: BufReader::new(stream),
            inbox: String::new(),
            requests: 0,
        };
        let about: Value = serde_json::from_str(client.line()?.trim_start_matches("INFO "))?;
        // The server numbers its clients, so no two have one inbox.
        client.inbox =
            format!("_INBOX.{}.{}", about["server_id"], about["client_id"]).replace('"', "");
        let mut hello = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "lang": "rust", "version": "1", "protocol": 1,
        });
        for (name, value) in options.as_object().into_iter().flatten() {
            hello[name] = value.clone();
        }
        let inbox = client.inbox.clone();
        client.write(format!("CONNECT {hello}\r\nSUB {inbox}.* 1\r\nPING\r\n").as_bytes())?;
        while client.line()? != "PONG" {}
        Ok(client)
    }

    /// Waits this long for each answer from now on, instead of 20 s.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub fn answer_within(&mut self, limit: Duration) -> io::Result<()> {
        self.reader.get_ref().set_read_timeout(Some(limit))
    }

    /// Publishes and does not wait for anything.
    ///
    /// # Errors
    ///
    /// When the connection is broken.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> io::Result<()> {
        let mut bytes = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.write(&bytes)
    }

    /// Publishes with headers, names and values, and waits for the answer.
    ///
    /// # Errors
    ///
    /// When the connection is broken or nothing comes back in time.
    pub fn request(
        &mut self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> io::Result<Message> {
        self.requests += 1;
        let inbox = format!("{}.{}", self.inbox, self.requests);
        let mut head = String::from("NATS/1.0\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let (size, whole) = (head.len(), head.len() + payload.len());
        let mut bytes = format!("HPUB {subject} {inbox} {size} {whole}\r\n{head}").into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.write(&bytes)?;
        self.answer(&inbox)
    }

    /// Publishes to a stream under an id by which it knows a repetition; returns its
    /// acknowledgement: `stream`, `seq`, `duplicate`, or `error`.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub fn store(&mut self, subject: &str, id: &str, payload: &[u8]) -> io::Result<Value> {
        let acknowledgement = self.request(subject, &[("Nats-Msg-Id", id)], payload)?;
        Ok(acknowledgement.json())
    }

    /// Makes a stream that keeps its messages in files; returns what the server says of it.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub fn create_stream(
        &mut self,
        name: &str,
        subjects: &[&str],
        replicas: usize,
    ) -> io::Result<Value> {
        let configuration = json!({
            "name": name, "subjects": subjects, "num_replicas": replicas, "storage": "file",
            "retention": "limits", "discard": "old", "duplicate_window": 120_000_000_000_u64,
        });
        let subject = format!("{STREAM_API}.CREATE.{name}");
        let payload = configuration.to_string();
        Ok(self.request(&subject, &[], payload.as_bytes())?.json())
    }

    /// How many messages a stream holds; `None` when there is no such stream.
    ///
    /// # Errors
    ///
    /// As [`Client::request`].
    pub fn count(&mut self, stream: &str) -> io::Result<Option<u64>> {
        let about = self.request(&format!("{STREAM_API}.INFO.{stream}"), &[], b"")?;
        Ok(about.json()["state"]["messages"].as_u64())
    }

    fn answer(&mut self, inbox: &str) -> io::Result<Message> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [kind @ ("MSG" | "HMSG"), subject, .., last] = words[..] else {
                continue;
            };
            let whole: usize = number(last)?;
            let head = if kind == "HMSG" {
                number(words[words.len() - 2])?
            } else {
                0
            };
            let mut bytes = vec![0; whole + 2];
            self.reader.read_exact(&mut bytes)?;
            // The answer to an earlier request may come after its time.
            if subject == inbox {
                return Ok(Message {
                    headers: String::from_utf8_lossy(&bytes[..head]).into_owned(),
                    payload: bytes[head..whole].to_vec(),
                });
            }
        }
    }

    /// The next line that is not the server's wish to be told that we live.
    fn line(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line == "PING" {
                self.write(b"PONG\r\n")?;
            } else if let Some(problem) = line.strip_prefix("-ERR ") {
                return Err(io::Error::other(problem.to_owned()));
            } else {
                return Ok(line.to_owned());
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }
}

fn number(word: &str) -> io::Result<usize> {
    let found = word.parse();
    found.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no length in a message"))
}
