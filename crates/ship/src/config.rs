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
mod hec;
mod jetstream;
mod otlp;
mod s3;
mod syslog;

pub use elastic::Elastic;
pub use file::File;
pub use hec::Hec;
pub use jetstream::JetStream;
pub use otlp::Otlp;
pub use s3::S3;
pub use syslog::Syslog;

use crate::{Compression, Format};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// All that is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
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
    /// TLS.
    #[serde(default)]
    pub tls: Tls,
    /// `http://`, `https://` or `socks5://` URL of a proxy; empty for none, absent for what the
    /// environment says.
    pub proxy: Option<String>,
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
