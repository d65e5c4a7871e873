//! The relay's settings, as they are written down.

use serde::Deserialize;
use ship::config::Tls;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// All that is written down.
///
/// ```toml
/// [jetstream]
/// servers = ["tls://nats.example.com"]
///
/// [clickhouse]
/// url = "https://clickhouse.example.com:8443"
/// user = "conntrail_relay"
/// password_file = "/etc/conntrail/relay/clickhouse-password"
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where batches come from.
    pub jetstream: JetStream,
    /// Where rows go.
    pub clickhouse: ClickHouse,
    /// How much is inserted at once.
    #[serde(default)]
    pub round: Round,
    /// Figures for Prometheus.
    #[serde(default)]
    pub metrics: Metrics,
}

/// The stream that batches wait in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JetStream {
    /// `tls://host:port` or `nats://host:port`, one or several of a cluster.
    pub servers: Vec<String>,
    /// Name of the stream. It must exist: `fleet/nats/stream.json`.
    #[serde(default = "default_stream")]
    pub stream: String,
    /// Name of the durable consumer that all relays share; it is made where it is missing.
    #[serde(default = "default_consumer")]
    pub consumer: String,
    /// A message that is not acknowledged within so many seconds is delivered again, perhaps to
    /// another relay. 5 to 3,600; only for a consumer that is made.
    #[serde(default = "default_ack_wait_s")]
    pub ack_wait_s: u64,
    /// So many messages may be with relays at once, all relays together; only for a consumer that
    /// is made.
    #[serde(default = "default_ack_pending_max")]
    pub ack_pending_max: u32,
    /// A file with a user's JWT and seed, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// User, with `password_file`.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// A file with a token.
    pub token_file: Option<PathBuf>,
    /// TLS.
    #[serde(default)]
    pub tls: Tls,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickHouse {
    /// URL of the HTTP interface, without a path.
    pub url: String,
    /// Database with the tables of `fleet/clickhouse`.
    #[serde(default = "default_database")]
    pub database: String,
    /// User, with `password_file`; ClickHouse's `default` where there is none.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// An insert that is not answered within so many seconds is made again. 1 to 3,600.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// TLS.
    #[serde(default)]
    pub tls: Tls,
}

/// How much is inserted at once. A round ends with whatever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Round {
    /// Rows after which no more messages are asked for. ClickHouse wants at least 10,000.
    pub rows: usize,
    /// Messages wait no longer for others, in milliseconds. 10 to 60,000.
    pub age_max_ms: u64,
    /// Bytes of rows, before they are made smaller, after which no more messages are asked for.
    pub bytes_max: usize,
    /// Messages in a round, at most. 1 to 10,000.
    pub messages_max: usize,
}

/// Figures for Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and port of `/metrics`; none where it is absent.
    pub listen: Option<SocketAddr>,
}

impl Default for Round {
    fn default() -> Round {
        Round {
            rows: 20_000,
            age_max_ms: 1_000,
            bytes_max: 64 << 20,
            messages_max: 1_000,
        }
    }
}

impl Round {
    /// Messages wait no longer for others.
    pub(super) fn age_max(&self) -> Duration {
        Duration::from_millis(self.age_max_ms)
    }
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the relay's settings {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, or says something that is not known.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("{}: {setting}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which.
        setting: &'static str,
        /// What is wrong, with what to write instead.
        problem: String,
    },
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], with the place and what to do.
    pub fn load(path: &Path) -> Result<Settings, SettingsError> {
        let text = fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let settings: Settings = toml::from_str(&text).map_err(|source| SettingsError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        match settings.problem() {
            None => Ok(settings),
            Some((setting, problem)) => Err(SettingsError::Value {
                path: path.to_owned(),
                setting,
                problem,
            }),
        }
    }

    /// The first value that makes no sense.
    fn problem(&self) -> Option<(&'static str, String)> {
        let stream = &self.jetstream;
        let store = &self.clickhouse;
        let within = |value: u64, low: u64, high: u64| (low..=high).contains(&value);
        let checks = [
            (
                !stream.servers.is_empty(),
                "jetstream.servers",
                "name at least one server, such as \"tls://nats.example.com\"",
            ),
            (
                is_token(&stream.stream),
                "jetstream.stream",
                "a stream's name has no space, `.`, `*` or `>` and is not empty",
            ),
            (
                is_token(&stream.consumer),
                "jetstream.consumer",
                "a consumer's name has no space, `.`, `*` or `>` and is not empty",
            ),
            (
                within(stream.ack_wait_s, 5, 3_600),
                "jetstream.ack_wait_s",
                "write a number of seconds from 5 to 3600",
            ),
            (
                stream.user.is_some() == stream.password_file.is_some(),
                "jetstream.password_file",
                "`user` and `password_file` go together",
            ),
            (
                store.url.starts_with("http://") || store.url.starts_with("https://"),
                "clickhouse.url",
                "write a URL such as \"https://clickhouse.example.com:8443\"",
            ),
            (
                is_identifier(&store.database),
                "clickhouse.database",
                "a database's name has letters, digits and `_`, and begins with no digit",
            ),
            (
                store.user.is_some() || store.password_file.is_none(),
                "clickhouse.user",
                "`password_file` needs a `user`",
            ),
            (
                within(store.timeout_s, 1, 3_600),
                "clickhouse.timeout_s",
                "write a number of seconds from 1 to 3600",
            ),
            (
                within(self.round.age_max_ms, 10, 60_000),
                "round.age_max_ms",
                "write a number of milliseconds from 10 to 60000",
            ),
            (
                within(self.round.messages_max as u64, 1, 10_000),
                "round.messages_max",
                "write a number from 1 to 10000",
            ),
            (
                self.round.rows > 0 && self.round.bytes_max > 0,
                "round",
                "`rows` and `bytes_max` are at least 1",
            ),
        ];
        let wrong = checks.into_iter().find(|(holds, _, _)| !holds);
        wrong.map(|(_, setting, problem)| (setting, problem.to_owned()))
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && !name.contains(|it: char| it.is_whitespace() || "*>./\\".contains(it))
}

fn is_identifier(name: &str) -> bool {
    let legal = |it: char| it.is_ascii_alphanumeric() || it == '_';
    name.chars().all(legal) && name.starts_with(|it: char| !it.is_ascii_digit())
}

fn default_stream() -> String {
    "CONNTRAIL".to_owned()
}

fn default_consumer() -> String {
    "clickhouse".to_owned()
}

fn default_database() -> String {
    "conntrail".to_owned()
}

fn default_ack_wait_s() -> u64 {
    60
}

fn default_ack_pending_max() -> u32 {
    20_000
}

fn default_timeout_s() -> u64 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[jetstream]\nservers = [\"nats://h\"]\n[clickhouse]\nurl = \"http://h\"\n";

    fn load(text: &str) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.toml");
        fs::write(&path, text).unwrap();
        Settings::load(&path)
    }

    #[test]
    fn two_lines_are_enough() {
        let settings = load(LEAST).unwrap();
        assert_eq!(settings.jetstream.stream, "CONNTRAIL");
        assert_eq!(settings.clickhouse.database, "conntrail");
        assert_eq!(settings.round, Round::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place_and_what_to_do() {
        let cases = [
            (LEAST.replace("\"nats://h\"", ""), "jetstream.servers"),
            (LEAST.replace("http://h", "h"), "clickhouse.url"),
            (
                LEAST.to_owned() + "database = \"a;b\"\n",
                "clickhouse.database",
            ),
            (
                LEAST.to_owned() + "password_file = \"p\"\n",
                "clickhouse.user",
            ),
            (
                LEAST.to_owned() + "[round]\nage_max_ms = 0\n",
                "round.age_max_ms",
            ),
            (
                LEAST.to_owned() + "[round]\nage = 1\n",
                "unknown field `age`",
            ),
        ];
        for (text, words) in cases {
            let error = load(&text).unwrap_err().to_string();
            assert!(
                error.contains(words) && error.contains("relay.toml"),
                "{error}"
            );
        }
    }
}
