//! A broker that speaks Kafka's protocol, and keeps everything in memory.

use crate::port::Port;
use crate::program;
use crate::server::{self, Launch, Server};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Reads and writes with the client library that most programs use.
const CLIENT: &str = include_str!("../kafka_client.py");

/// A request for the versions of requests that a broker knows, which any broker answers: length,
/// key 18, version 0, an id, no name of the client.
const VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

/// How long a broker may take to answer it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A Kafka broker. What it keeps is gone when it is stopped or killed.
///
/// Its process is [`Server`]'s to stop, kill, pause and restart.
pub struct Tansu {
    server: Server,
    port: u16,
    program: PathBuf,
    python: PathBuf,
}

/// A record in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRecord {
    /// The partition.
    pub partition: u32,
    /// Its place there.
    pub offset: u64,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers, names and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Tansu {
    /// Starts a broker without topics.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not answer.
    #[must_use]
    pub fn start() -> Tansu {
        let program = program::required("CONNTRAIL_TANSU", "kafka");
        let python = program::required("CONNTRAIL_KAFKA_PYTHON", "kafka");
        let folder = server::folder("kafka");
        server::write(&folder.path().join("client.py"), CLIENT);
        let port = Port::reserve();
        let number = port.number();
        let address = format!("tcp://127.0.0.1:{number}");
        let arguments = [
            "broker",
            "--listener-url",
            &address,
            "--advertised-listener-url",
        ];
        let mut arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        arguments.extend([(&address).into(), "--storage-engine=memory://tansu/".into()]);
        let launch = Launch {
            program: program.clone(),
            arguments,
            environment: vec![("RUST_LOG".into(), "warn".into())],
            ready: Box::new(move || tells_versions(number)),
        };
        Tansu {
            server: Server::start("kafka", folder, vec![port], launch),
            port: number,
            program,
            python,
        }
    }

    /// Where clients connect first, `127.0.0.1:9092`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a topic.
    ///
    /// # Panics
    ///
    /// When the broker refuses it, with its words.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: usize) {
        let mut tool = Command::new(&self.program);
        tool.args(["topic", "create", name, "--broker"])
            .arg(format!("tcp://{}", self.bootstrap()))
            .arg(format!("--partitions={partitions}"));
        success(&mut tool, b"");
    }

    /// Everything that is in a topic, by partition and offset. The topic must be there.
    ///
    /// # Panics
    ///
    /// When it cannot be read within 30 s.
    #[must_use]
    #[track_caller]
    pub fn records(&self, topic: &str) -> Vec<KafkaRecord> {
        let output = success(&mut self.client("read", topic), b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut records: Vec<KafkaRecord> = text.lines().filter_map(record).collect();
        assert_eq!(records.len(), text.lines().count(), "{text}");
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Writes records with this key, and waits until the broker has acknowledged all.
    ///
    /// # Panics
    ///
    /// When it does not within 30 s.
    #[track_caller]
    pub fn produce(&self, topic: &str, key: &str, values: &[&str]) {
        let mut client = self.client("write", topic);
        client.arg(key);
        success(&mut client, values.join("\n").as_bytes());
    }

    fn client(&self, verb: &str, topic: &str) -> Command {
        let mut client = Command::new(&self.python);
        client.arg(self.folder().join("client.py"));
        client.args([verb, &self.bootstrap(), topic]);
        client
    }
}

impl Deref for Tansu {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

#[track_caller]
fn success(command: &mut Command, input: &[u8]) -> Output {
    let output = run(command, input);
    match output {
        Ok(output) if output.status.success() => output,
        Ok(output) => panic!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("{command:?}: {error}"),
    }
}

fn run(command: &mut Command, input: &[u8]) -> std::io::Result<Output> {
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    child.wait_with_output()
}

fn record(line: &str) -> Option<KafkaRecord> {
    let object: Value = serde_json::from_str(line).ok()?;
    let headers = object["headers"].as_array().into_iter().flatten();
    let header = |it: &Value| Some((it[0].as_str()?.to_owned(), unhex(it[1].as_str()?)?));
    Some(KafkaRecord {
        partition: object["partition"].as_u64()?.try_into().ok()?,
        offset: object["offset"].as_u64()?,
        key: object["key"].as_str().and_then(unhex),
        value: unhex(object["value"].as_str()?)?,
        headers: headers.filter_map(header).collect(),
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

fn tells_versions(port: u16) -> Result<(), String> {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(&VERSIONS)?;
        stream.read_exact(&mut [0; 8])
    };
    ask().map_err(|error| error.to_string())
}
