//! Rotel: a receiver of OTLP.

mod otlp;
mod sink;

use crate::http;
use crate::port::Port;
use crate::program;
use crate::server::{self, Launch, Server};
use serde_json::Value;
use sink::Sink;
use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

/// How long records may take from the receiver to where it passes them on.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(20);

/// A collector that receives OTLP over HTTP and gRPC and passes it on.
///
/// Its process is [`Server`]'s to stop, kill, pause and restart. What it has acknowledged and not
/// passed on yet is lost when it is killed.
pub struct Rotel {
    server: Server,
    http: u16,
    grpc: u16,
    sink: Option<Sink>,
}

impl Rotel {
    /// Starts a collector that passes everything on to the test; see [`Rotel::records`].
    ///
    /// # Panics
    ///
    /// When it is not installed or does not answer.
    #[must_use]
    pub fn start() -> Rotel {
        let sink = Sink::start();
        let arguments = [
            "--exporter=otlp",
            "--otlp-exporter-protocol=http",
            &format!("--otlp-exporter-endpoint=http://127.0.0.1:{}", sink.port()),
        ];
        let mut collector = Rotel::start_with(&arguments);
        collector.sink = Some(sink);
        collector
    }

    /// Starts a collector with these arguments, which say where it passes everything on:
    /// `--exporter=kafka`, `--kafka-exporter-brokers=127.0.0.1:9092`.
    ///
    /// # Panics
    ///
    /// As [`Rotel::start`].
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Rotel {
        Rotel::start_in(&[], arguments)
    }

    /// Starts a collector with these variables in its environment and these arguments, of which the
    /// arguments count where both say something.
    ///
    /// # Panics
    ///
    /// As [`Rotel::start`].
    #[must_use]
    pub fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Rotel {
        let program = program::required("CONNTRAIL_ROTEL", "rotel");
        let folder = server::folder("rotel");
        let (http, grpc) = (Port::reserve(), Port::reserve());
        let (http_port, grpc_port) = (http.number(), grpc.number());
        let mut all = vec![
            "start".to_owned(),
            format!("--otlp-http-endpoint=127.0.0.1:{http_port}"),
            format!("--otlp-grpc-endpoint=127.0.0.1:{grpc_port}"),
            "--batch-timeout=50ms".to_owned(),
        ];
        all.extend(arguments.iter().map(|it| (*it).to_owned()));
        let launch = Launch {
            program,
            arguments: all.into_iter().map(Into::into).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            ready: Box::new(move || answers(http_port)),
        };
        Rotel {
            server: Server::start("rotel", folder, vec![http, grpc], launch),
            http: http_port,
            grpc: grpc_port,
            sink: None,
        }
    }

    /// Where log records are posted, `http://127.0.0.1:4318/v1/logs`.
    #[must_use]
    pub fn logs_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/logs", self.http)
    }

    /// The port for OTLP over HTTP.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// The port for OTLP over gRPC.
    #[must_use]
    pub fn grpc_port(&self) -> u16 {
        self.grpc
    }

    /// The log records that it has received and passed on, in the order in which they came: each
    /// with `time_unix_nano`, `observed_time_unix_nano`, `severity_number`, `event_name`, `body`,
    /// `attributes`, `resource` and `scope`, as far as it has them.
    ///
    /// # Panics
    ///
    /// When it passes them on to somewhere else, or what it passed on is no OTLP.
    #[must_use]
    #[track_caller]
    pub fn records(&self) -> Vec<Value> {
        let Some(sink) = &self.sink else {
            panic!("this collector passes its records on to somewhere else");
        };
        let bodies = sink.bodies();
        let read = |body: &Vec<u8>| otlp::log_records(body);
        let records: Option<Vec<Vec<Value>>> = bodies.iter().map(read).collect();
        match records {
            Some(records) => records.concat(),
            None => panic!("the collector passed on what is no OTLP"),
        }
    }

    /// Waits until there are as many records, and returns all that there are.
    ///
    /// # Panics
    ///
    /// When fewer have come after 20 s, and as [`Rotel::records`].
    #[must_use]
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + ARRIVAL_LIMIT;
        loop {
            let records = self.records();
            if records.len() >= count {
                return records;
            }
            let so_far = records.len();
            assert!(
                Instant::now() < deadline,
                "{so_far} records of {count} have come"
            );
            thread::sleep(POLL);
        }
    }
}

impl Deref for Rotel {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// It has no page of its own; that it says so is an answer.
fn answers(port: u16) -> Result<(), String> {
    http::get(port, "/")
        .map(drop)
        .map_err(|error| error.to_string())
}
