//! The destinations, as they are written down.
//!
//! ```toml
//! [destination.lake]
//! format = "native"
//! [destination.lake.jetstream]
//! servers = ["tls://nats.example.com"]
//! ```

mod elastic;
mod file;
mod filter;
mod hec;
mod jetstream;
mod otlp;
mod proxy;
mod reading;
mod s3;
mod syslog;

pub use elastic::Elastic;
pub use file::File;
pub use filter::{Filter, LeftOutBy};
pub use hec::Hec;
pub use jetstream::JetStream;
pub use otlp::Otlp;
pub use proxy::ProxyUrl;
pub use reading::{NAME_BYTES_MAX, Problem, parse};
pub use s3::S3;
pub use syslog::Syslog;

use crate::{Compression, EncoderSettings, Format, Framing, Limits};
use policy::Policy;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// All that is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where figures for Prometheus are served, as `127.0.0.1:9473`; nowhere where it is absent.
    pub metrics_listen: Option<SocketAddr>,
    /// Seconds from one notice about each destination to the next. Default 600.
    pub ledger_interval_s: Option<u64>,
    /// By name.
    #[serde(default)]
    pub destination: BTreeMap<String, Destination>,
}

/// One destination: exactly one of the tables that say of what kind it is, and what is common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// The words; each kind has its own default.
    pub format: Option<Format>,
    /// How bytes are made smaller; each kind has its own default.
    pub compression: Option<Compression>,
    /// Records in a batch, at most.
    pub batch_records_max: Option<u32>,
    /// Bytes of a batch before they are made smaller, at most.
    pub batch_bytes_max: Option<u32>,
    /// A record waits no longer for others, in milliseconds.
    pub batch_age_max_ms: Option<u64>,
    /// Batches under way at once, at most.
    pub in_flight_max: Option<u32>,
    /// After a failure it waits at least about so long, in milliseconds. Default 500.
    pub retry_min_ms: Option<u64>,
    /// However often it fails, it waits no longer than this, in milliseconds. Default 60,000.
    pub retry_max_ms: Option<u64>,
    /// What is done while the machine runs on battery. Default to send.
    pub on_battery: Option<OnBattery>,
    /// Which records are sent.
    #[serde(default)]
    pub filter: Filter,
    /// A privacy policy for this destination, in a file, on top of the recorder's.
    pub policy_file: Option<PathBuf>,
    /// The same, written here.
    pub policy: Option<String>,
    /// TLS.
    #[serde(default)]
    pub tls: Tls,
    /// `http://`, `https://` or `socks5://` URL of a proxy; empty for none, absent for what the
    /// environment says.
    pub proxy: Option<ProxyUrl>,
    /// A request over HTTP with its answer takes no longer, in milliseconds. Default 60,000.
    pub request_timeout_ms: Option<u64>,
    /// OTLP over HTTP.
    pub otlp: Option<Otlp>,
    /// NATS JetStream.
    pub jetstream: Option<JetStream>,
    /// Splunk's HTTP event collector.
    pub hec: Option<Hec>,
    /// Elastic's `_bulk`.
    pub elastic: Option<Elastic>,
    /// Syslog over TLS.
    pub syslog: Option<Syslog>,
    /// Objects in an S3-compatible store.
    pub s3: Option<S3>,
    /// Files, or standard output.
    pub file: Option<File>,
}

/// What is done while the machine runs on battery, where that can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBattery {
    /// As always.
    #[default]
    Send,
    /// Nothing is sent; all of it waits in the trail.
    Hold,
}

/// The kind of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// OTLP over HTTP.
    Otlp(&'a Otlp),
    /// NATS JetStream.
    JetStream(&'a JetStream),
    /// Splunk's HTTP event collector.
    Hec(&'a Hec),
    /// Elastic's `_bulk`.
    Elastic(&'a Elastic),
    /// Syslog over TLS.
    Syslog(&'a Syslog),
    /// Objects in an S3-compatible store.
    S3(&'a S3),
    /// Files, or standard output.
    File(&'a File),
}

impl Kind<'_> {
    /// The name of its table in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Otlp(_) => "otlp",
            Kind::JetStream(_) => "jetstream",
            Kind::Hec(_) => "hec",
            Kind::Elastic(_) => "elastic",
            Kind::Syslog(_) => "syslog",
            Kind::S3(_) => "s3",
            Kind::File(_) => "file",
        }
    }
}

impl Destination {
    /// Its kind: the first of the tables that say so; [`parse`] sees that there is exactly one.
    pub fn kind(&self) -> Option<Kind<'_>> {
        self.kinds().next()
    }

    /// All of the tables that say what kind it is.
    fn kinds(&self) -> impl Iterator<Item = Kind<'_>> {
        let kinds = [
            self.otlp.as_ref().map(Kind::Otlp),
            self.jetstream.as_ref().map(Kind::JetStream),
            self.hec.as_ref().map(Kind::Hec),
            self.elastic.as_ref().map(Kind::Elastic),
            self.syslog.as_ref().map(Kind::Syslog),
            self.s3.as_ref().map(Kind::S3),
            self.file.as_ref().map(Kind::File),
        ];
        kinds.into_iter().flatten()
    }

    /// In which words records are sent.
    pub fn format(&self) -> Format {
        self.format.unwrap_or(match self.kind() {
            Some(Kind::Otlp(_)) => Format::OtlpProtobuf,
            Some(Kind::JetStream(_)) => Format::Native,
            Some(Kind::Elastic(_)) => Format::Ecs,
            Some(Kind::S3(_)) => Format::Parquet,
            Some(Kind::Hec(_) | Kind::Syslog(_) | Kind::File(_)) | None => Format::Ocsf,
        })
    }

    /// How the bytes are made smaller.
    pub fn compression(&self) -> Compression {
        self.compression.unwrap_or(match self.kind() {
            Some(Kind::JetStream(_) | Kind::S3(_)) => Compression::Zstd,
            Some(Kind::Otlp(_) | Kind::Hec(_) | Kind::Elastic(_)) => Compression::Gzip,
            Some(Kind::Syslog(_) | Kind::File(_)) | None => Compression::None,
        })
    }

    /// How much a batch may be.
    pub fn limits(&self) -> Limits {
        let (records_max, bytes_max) = match self.kind() {
            Some(Kind::S3(_)) => (100_000, 32 << 20),
            Some(_) | None => (200, 1 << 20),
        };
        let records_max = self.batch_records_max.unwrap_or(records_max);
        Limits {
            records_max: records_max as usize,
            bytes_max: self.batch_bytes_max.unwrap_or(bytes_max) as usize,
            range_max: 20 * u64::from(records_max),
        }
    }

    /// A record waits no longer for others, in nanoseconds. What is asked for over a network is
    /// worth waiting for: each request costs as much as ten records.
    pub fn age_max_ns(&self) -> u64 {
        let age_max_ms = match self.kind() {
            Some(Kind::S3(_)) => 900_000,
            Some(Kind::File(_) | Kind::Syslog(_)) | None => 1_000,
            Some(Kind::Otlp(_) | Kind::JetStream(_) | Kind::Hec(_) | Kind::Elastic(_)) => 15_000,
        };
        self.batch_age_max_ms.unwrap_or(age_max_ms) * 1_000_000
    }

    /// What decides the bytes of a batch.
    pub fn encoder_settings(&self) -> EncoderSettings {
        EncoderSettings {
            format: self.format(),
            framing: self.framing(),
            compression: self.compression(),
            level: None,
        }
    }

    fn framing(&self) -> Framing {
        match self.kind() {
            Some(Kind::Elastic(_)) => Framing::Bulk,
            Some(Kind::Hec(hec)) => {
                let sourcetype = hec.sourcetype.clone();
                let sourcetype = sourcetype.unwrap_or_else(|| "conntrail".to_owned());
                let mut fields = vec![("sourcetype".to_owned(), sourcetype)];
                fields.extend(hec.index.clone().map(|index| ("index".to_owned(), index)));
                Framing::Collector { fields }
            }
            Some(Kind::Syslog(syslog)) => Framing::Syslog {
                message_bytes_max: syslog.message_bytes_max.unwrap_or(8_192) as usize,
            },
            Some(Kind::Otlp(_) | Kind::JetStream(_) | Kind::S3(_) | Kind::File(_)) | None => {
                Framing::Plain
            }
        }
    }

    /// The privacy policy for this destination. `read` reads the file that it names.
    ///
    /// # Errors
    /// What `read` says, or what is wrong in the text, in words.
    pub fn policy<E: Error + 'static>(
        &self,
        read: impl FnOnce(&Path) -> Result<String, E>,
    ) -> Result<Option<Policy>, PolicyError<E>> {
        let text = match (&self.policy, &self.policy_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => read(path).map_err(|source| PolicyError::Unread {
                path: path.clone(),
                source,
            })?,
            (None, None) => return Ok(None),
        };
        Policy::parse(&text).map(Some).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            PolicyError::Wrong(problems.join("; "))
        })
    }

    /// What decides the bytes of a batch besides its records: when any of it changes, so does this.
    /// `policy_hash` is that of the privacy policy in force for this destination.
    pub fn view(&self, policy_hash: Option<[u8; 32]>) -> u32 {
        let kind = self.kind().map_or("", Kind::name);
        let words = format!(
            "{ENCODER_VERSION} {kind} {:?} {:?} {policy_hash:?}",
            self.encoder_settings(),
            self.filter,
        );
        let digest = Sha256::digest(words.as_bytes());
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }
}

/// Why a destination has no privacy policy though it names one.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError<E: Error + 'static> {
    /// Its file cannot be read.
    #[error("{}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: E,
    },
    /// It is none.
    #[error("the privacy policy is wrong: {0}")]
    Wrong(String),
}

/// Changes whenever the same records become other bytes.
const ENCODER_VERSION: u32 = 1;

/// Whom to trust, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates of authorities in PEM, instead of those that the operating system trusts.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and those above it, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// The private key of our certificate, in PEM.
    pub key_file: Option<PathBuf>,
    /// SHA-256 of public keys (`SubjectPublicKeyInfo`) in base64; the server's certificate, or one
    /// above it, must have one of them, beside being trusted. Empty for no pinning.
    #[serde(default)]
    pub pins: Vec<String>,
    /// The name that the server's certificate must have, where it is not that of the address.
    pub server_name: Option<String>,
}
