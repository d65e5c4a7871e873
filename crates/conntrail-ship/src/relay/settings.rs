//! The relay's settings, as they are written down.

use super::events::Events;
use serde::Deserialize;
use ship::Format;
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
///
/// Instead of `[clickhouse]` there may be `[kafka]`, with `brokers` and `topic`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where batches come from.
    pub jetstream: JetStream,
    /// Where rows go; this or `kafka`.
    pub clickhouse: Option<ClickHouse>,
    /// Where events go; this or `clickhouse`.
    pub kafka: Option<Kafka>,
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
    /// Name of the durable consumer that all relays with one target share; it is made where it is
    /// missing. `clickhouse` or `kafka`, as the target is called, where it is absent.
    #[serde(default)]
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

/// A topic. Connections are neither encrypted nor authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port` of brokers to ask first.
    pub brokers: Vec<String>,
    /// Topic for records and manifests. It must exist.
    pub topic: String,
    /// Topic for messages that cannot be read; the topic's name with `.refused` where it is absent.
    /// It must exist.
    #[serde(default)]
    pub refused_topic: String,
    /// What events are: `ocsf`, `ocsf-1.1`, `ecs`, `otel` or `flat`, a JSON object a record, or
    /// `native`, the batches as they come.
    #[serde(default = "default_format")]
    pub format: Format,
    /// How batches of events are made smaller.
    #[serde(default)]
    pub compression: KafkaCompression,
    /// No event is longer, in bytes; brokers take 1,048,588 unless they are told otherwise. 1,000
    /// to 100,000,000.
    #[serde(default = "default_record_bytes_max")]
    pub record_bytes_max: usize,
    /// An event that is not acknowledged within so many seconds is sent again. 1 to 3,600.
    #[serde(default = "default_kafka_timeout_s")]
    pub timeout_s: u64,
}

/// How batches of events are made smaller, of what the client can without further libraries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaCompression {
    /// Not at all.
    None,
    /// LZ4.
    #[default]
    Lz4,
    /// Snappy.
    Snappy,
}

impl KafkaCompression {
    /// Its name in Kafka.
    pub fn name(self) -> &'static str {
        match self {
            KafkaCompression::None => "none",
            KafkaCompression::Lz4 => "lz4",
            KafkaCompression::Snappy => "snappy",
        }
    }
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
        let mut settings: Settings =
            toml::from_str(&text).map_err(|source| SettingsError::Parse {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
        settings.complete();
        match settings.problem() {
            None => Ok(settings),
            Some((setting, problem)) => Err(SettingsError::Value {
                path: path.to_owned(),
                setting,
                problem,
            }),
        }
    }

    /// What follows from what is written down.
    fn complete(&mut self) {
        if self.jetstream.consumer.is_empty() {
            let name = if self.kafka.is_some() {
                "kafka"
            } else {
                "clickhouse"
            };
            self.jetstream.consumer = name.to_owned();
        }
        if let Some(kafka) = &mut self.kafka
            && kafka.refused_topic.is_empty()
        {
            kafka.refused_topic = format!("{}.refused", kafka.topic);
        }
    }

    /// The first value that makes no sense.
    fn problem(&self) -> Option<(&'static str, String)> {
        let mut checks = self.jetstream.checks();
        checks.push(match (&self.clickhouse, &self.kafka) {
            (None, None) => (
                false,
                "clickhouse",
                "write [clickhouse] or [kafka]: where to?",
            ),
            (Some(_), Some(_)) => (
                false,
                "kafka",
                "write [clickhouse] or [kafka] and not both: a relay has one target, so run two, \
                 each with a consumer of its own",
            ),
            (Some(_), None) | (None, Some(_)) => (true, "", ""),
        });
        checks.extend({ self.clickhouse.iter() }.flat_map(ClickHouse::checks));
        checks.extend({ self.kafka.iter() }.flat_map(Kafka::checks));
        checks.extend(self.round.checks());
        let wrong = checks.into_iter().find(|(holds, _, _)| !holds);
        wrong.map(|(_, setting, problem)| (setting, problem.to_owned()))
    }
}

/// Whether it holds, which setting it is about, and what to write instead.
type Check = (bool, &'static str, &'static str);

impl JetStream {
    fn checks(&self) -> Vec<Check> {
        vec![
            (
                !self.servers.is_empty(),
                "jetstream.servers",
                "name at least one server, such as \"tls://nats.example.com\"",
            ),
            (
                is_token(&self.stream),
                "jetstream.stream",
                "a stream's name has no space, `.`, `*` or `>` and is not empty",
            ),
            (
                is_token(&self.consumer),
                "jetstream.consumer",
                "a consumer's name has no space, `.`, `*` or `>` and is not empty",
            ),
            (
                (5..=3_600).contains(&self.ack_wait_s),
                "jetstream.ack_wait_s",
                "write a number of seconds from 5 to 3600",
            ),
            (
                self.user.is_some() == self.password_file.is_some(),
                "jetstream.password_file",
                "`user` and `password_file` go together",
            ),
        ]
    }
}

impl ClickHouse {
    fn checks(&self) -> Vec<Check> {
        vec![
            (
                self.url.starts_with("http://") || self.url.starts_with("https://"),
                "clickhouse.url",
                "write a URL such as \"https://clickhouse.example.com:8443\"",
            ),
            (
                is_identifier(&self.database),
                "clickhouse.database",
                "a database's name has letters, digits and `_`, and begins with no digit",
            ),
            (
                self.user.is_some() || self.password_file.is_none(),
                "clickhouse.user",
                "`password_file` needs a `user`",
            ),
            (
                (1..=3_600).contains(&self.timeout_s),
                "clickhouse.timeout_s",
                "write a number of seconds from 1 to 3600",
            ),
        ]
    }
}

impl Kafka {
    fn checks(&self) -> Vec<Check> {
        vec![
            (
                !self.brokers.is_empty() && self.brokers.iter().all(|it| is_address(it)),
                "kafka.brokers",
                "name at least one broker, such as \"kafka-1.example.com:9092\"",
            ),
            (
                is_topic(&self.topic),
                "kafka.topic",
                "a topic's name has 1 to 249 letters, digits, `.`, `_` and `-`",
            ),
            (
                is_topic(&self.refused_topic) && self.refused_topic != self.topic,
                "kafka.refused_topic",
                "name a second topic, for what cannot be read",
            ),
            (
                Events::new(self.format).is_ok(),
                "kafka.format",
                "write \"ocsf\", \"ocsf-1.1\", \"ecs\", \"otel\", \"flat\" or \"native\"",
            ),
            (
                (1_000..=100_000_000).contains(&self.record_bytes_max),
                "kafka.record_bytes_max",
                "write a number of bytes from 1000 to 100000000",
            ),
            (
                (1..=3_600).contains(&self.timeout_s),
                "kafka.timeout_s",
                "write a number of seconds from 1 to 3600",
            ),
        ]
    }
}

impl Round {
    fn checks(&self) -> Vec<Check> {
        vec![
            (
                (10..=60_000).contains(&self.age_max_ms),
                "round.age_max_ms",
                "write a number of milliseconds from 10 to 60000",
            ),
            (
                (1..=10_000).contains(&self.messages_max),
                "round.messages_max",
                "write a number from 1 to 10000",
            ),
            (
                self.rows > 0 && self.bytes_max > 0,
                "round",
                "`rows` and `bytes_max` are at least 1",
            ),
        ]
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty() && !name.contains(|it: char| it.is_whitespace() || "*>./\\".contains(it))
}

fn is_identifier(name: &str) -> bool {
    let legal = |it: char| it.is_ascii_alphanumeric() || it == '_';
    name.chars().all(legal) && name.starts_with(|it: char| !it.is_ascii_digit())
}

/// Anything else would be another setting of the client's.
fn is_address(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let legal = |it: char| it.is_ascii_alphanumeric() || "._-:[]".contains(it);
    !host.is_empty() && host.chars().all(legal) && port.parse::<u16>().is_ok()
}

fn is_topic(name: &str) -> bool {
    let legal = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
    (1..=249).contains(&name.len()) && name.chars().all(legal)
}

fn default_stream() -> String {
    "CONNTRAIL".to_owned()
}

fn default_format() -> Format {
    Format::Ocsf
}

fn default_record_bytes_max() -> usize {
    1_000_000
}

fn default_kafka_timeout_s() -> u64 {
    30
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
        assert_eq!(settings.jetstream.consumer, "clickhouse");
        assert_eq!(settings.clickhouse.unwrap().database, "conntrail");
        assert_eq!(settings.round, Round::default());
    }

    #[test]
    fn a_relay_has_one_target() {
        let kafka = "[kafka]\nbrokers = [\"h:9092\"]\ntopic = \"conntrail\"\n";
        let source = "[jetstream]\nservers = [\"nats://h\"]\n";
        let settings = load(&(source.to_owned() + kafka)).unwrap();
        assert_eq!(settings.jetstream.consumer, "kafka");
        let kafka_settings = settings.kafka.unwrap();
        assert_eq!(kafka_settings.refused_topic, "conntrail.refused");
        assert_eq!(kafka_settings.format, Format::Ocsf);
        let both = load(&(LEAST.to_owned() + kafka)).unwrap_err().to_string();
        assert!(both.contains("a relay has one target"), "{both}");
        let none = load(source).unwrap_err().to_string();
        assert!(none.contains("where to?"), "{none}");
        for (right, wrong, setting) in [
            ("h:9092", "h", "kafka.brokers"),
            ("\"conntrail\"", "\"a b\"", "kafka.topic"),
            ("topic", "format = \"parquet\"\ntopic", "kafka.format"),
        ] {
            let text = source.to_owned() + &kafka.replace(right, wrong);
            let error = load(&text).unwrap_err().to_string();
            assert!(error.contains(setting), "{error}");
        }
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
