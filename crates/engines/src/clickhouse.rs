//! ClickHouse: the embedded engine behind an HTTP front.

use crate::http::{self, Request, Response};
use crate::port::Port;
use crate::program;
use crate::server::{self, Launch, Server};
use serde_json::Value;
use std::fmt;
use std::io;
use std::ops::Deref;

/// The front, which runs in the process of the engine.
const FRONT: &str = include_str!("../clickhouse_front.py");

/// Who may use a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClickHouseOptions<'a> {
    /// The only user; empty lets anybody in.
    pub user: &'a str,
    /// What that user must say.
    pub password: &'a str,
}

/// A ClickHouse engine that speaks ClickHouse's HTTP interface.
///
/// It runs one statement at a time. Its process is [`Server`]'s to stop, kill, pause and restart.
pub struct ClickHouse {
    server: Server,
    port: u16,
    user: String,
    password: String,
}

/// What the engine refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickHouseError {
    /// The HTTP status.
    pub status: u16,
    /// ClickHouse's own code: 60 for a table that is not there.
    pub code: Option<u32>,
    /// What it said.
    pub text: String,
}

impl ClickHouse {
    /// Starts an empty store that anybody may use.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not answer.
    #[must_use]
    pub fn start() -> ClickHouse {
        ClickHouse::start_with(ClickHouseOptions::default())
    }

    /// Starts an empty store.
    ///
    /// # Panics
    ///
    /// As [`ClickHouse::start`].
    #[must_use]
    pub fn start_with(options: ClickHouseOptions<'_>) -> ClickHouse {
        let program = program::required("CONNTRAIL_CLICKHOUSE_PYTHON", "clickhouse");
        let folder = server::folder("clickhouse");
        let script = folder.path().join("front.py");
        server::write(&script, FRONT);
        let port = Port::reserve();
        let number = port.number();
        let launch = Launch {
            program,
            arguments: vec![
                script.into(),
                number.to_string().into(),
                folder.path().into(),
            ],
            environment: vec![
                ("CLICKHOUSE_FRONT_USER".into(), options.user.into()),
                ("CLICKHOUSE_FRONT_PASSWORD".into(), options.password.into()),
            ],
            ready: Box::new(move || ping(number)),
        };
        ClickHouse {
            server: Server::start("clickhouse", folder, vec![port], launch),
            port: number,
            user: options.user.to_owned(),
            password: options.password.to_owned(),
        }
    }

    /// Where it is, `http://127.0.0.1:8123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a statement; what it finds comes in lines, columns apart by tabs.
    ///
    /// # Panics
    ///
    /// When the engine refuses it, with its words.
    #[must_use]
    #[track_caller]
    pub fn query(&self, statement: &str) -> String {
        match self.try_query(statement) {
            Ok(text) => text,
            Err(error) => panic!("{statement}\n{error}"),
        }
    }

    /// Runs a statement that finds nothing.
    ///
    /// # Panics
    ///
    /// When the engine refuses it, with its words.
    #[track_caller]
    pub fn run(&self, statement: &str) {
        let _ = self.query(statement);
    }

    /// Runs a query; what it finds comes as an object a row. Integers of 64 bits are numbers.
    ///
    /// # Panics
    ///
    /// When the engine refuses it, with its words.
    #[must_use]
    #[track_caller]
    pub fn query_json(&self, statement: &str) -> Vec<Value> {
        let target = "/?default_format=JSONEachRow&output_format_json_quote_64bit_integers=0";
        let answer = self.post(target, &[], statement.as_bytes());
        match answer.map_err(ClickHouseError::from_io).and_then(judge) {
            Ok(text) => text.lines().map(object).collect(),
            Err(error) => panic!("{statement}\n{error}"),
        }
    }

    /// Runs a statement.
    ///
    /// # Errors
    ///
    /// What the engine refused, or why it could not be asked.
    pub fn try_query(&self, statement: &str) -> Result<String, ClickHouseError> {
        let answer = self.post("/", &[], statement.as_bytes());
        answer.map_err(ClickHouseError::from_io).and_then(judge)
    }

    /// Inserts as a client would: the statement, `INSERT INTO t FORMAT RowBinary`, in the URL with
    /// settings, names and values, and the data as the body.
    ///
    /// # Errors
    ///
    /// What the engine refused, or why it could not be asked.
    pub fn insert(
        &self,
        statement: &str,
        settings: &[(&str, &str)],
        headers: &[(&str, &str)],
        data: &[u8],
    ) -> Result<(), ClickHouseError> {
        let mut target = format!("/?query={}", http::escape(statement));
        for (name, value) in settings {
            target += &format!("&{name}={}", http::escape(value));
        }
        let answer = self.post(&target, headers, data);
        answer
            .map_err(ClickHouseError::from_io)
            .and_then(judge)
            .map(drop)
    }

    /// Posts to the front, with the user and the password.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn post(
        &self,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut all = headers.to_vec();
        if !self.user.is_empty() {
            all.push(("X-ClickHouse-User", &self.user));
            all.push(("X-ClickHouse-Key", &self.password));
        }
        let request = Request {
            method: "POST",
            target,
            headers: &all,
            body,
        };
        http::send(self.port, &request)
    }

    /// Makes it run the next `count` statements and hang up instead of answering.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub fn lose_answers(&self, count: usize) {
        self.plan(&format!("/front/lose_answers?count={count}"));
    }

    /// Makes it refuse the next `count` statements with this code, without running them: 252 for
    /// too many parts, 241 for too little memory.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub fn refuse(&self, code: u32, count: usize) {
        self.plan(&format!("/front/refuse?code={code}&count={count}"));
    }

    fn plan(&self, target: &str) {
        let planned = self.post(target, &[], b"").map(|answer| answer.status);
        assert!(
            matches!(planned, Ok(200)),
            "cannot plan a fault: {planned:?}"
        );
    }
}

impl Deref for ClickHouse {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl ClickHouseError {
    fn from_io(error: io::Error) -> ClickHouseError {
        ClickHouseError {
            status: 0,
            code: None,
            text: error.to_string(),
        }
    }
}

impl fmt::Display for ClickHouseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "status {}: {}", self.status, self.text)
    }
}

fn ping(port: u16) -> Result<(), String> {
    let answer = http::get(port, "/ping").map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(()),
        status => Err(format!("status {status}")),
    }
}

fn judge(answer: Response) -> Result<String, ClickHouseError> {
    let text = answer.text();
    if answer.status == 200 {
        return Ok(text);
    }
    let code = answer.header("x-clickhouse-exception-code");
    Err(ClickHouseError {
        status: answer.status,
        code: code.and_then(|code| code.parse().ok()),
        text,
    })
}

#[track_caller]
fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
}
