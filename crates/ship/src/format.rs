//! A batch as bytes, in the words of a destination.

mod compress;
mod ecs;
mod encoder;
mod framing;
mod lines;
pub mod native;
mod ocsf11;
mod otel;
mod otlp;
mod otlp_json;
pub mod parquet;
mod uid;

pub use encoder::{Encoder, EncoderError, EncoderSettings};

use crate::BatchId;
use serde::{Deserialize, Serialize};

/// In which words records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The trail's own bytes, with the manifest: what `conntrail-ship relay` reads.
    Native,
    /// OpenTelemetry log records as protobuf, one attribute a datum.
    OtlpProtobuf,
    /// The same as JSON.
    OtlpJson,
    /// OCSF 1.8, one JSON object a line.
    Ocsf,
    /// OCSF 1.1, for lakes that know no later one.
    #[serde(rename = "ocsf-1.1")]
    Ocsf11,
    /// Elastic Common Schema, one JSON object a line.
    Ecs,
    /// Attributes of OpenTelemetry's semantic conventions, one JSON object a line.
    Otel,
    /// Flat columns, one JSON object a line.
    Flat,
    /// Flat columns as Parquet.
    Parquet,
}

impl Format {
    /// A record's canonical bytes become about so many times as many, before they are made smaller.
    pub fn bytes_factor(self) -> usize {
        match self {
            Format::Native => 1,
            Format::OtlpProtobuf | Format::Parquet => 3,
            Format::Flat | Format::Otel => 5,
            Format::OtlpJson | Format::Ocsf | Format::Ocsf11 | Format::Ecs => 8,
        }
    }
}

/// How the records of a batch stand beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As the format says: a line a record, or one message for all.
    Plain,
    /// A line that says what to do before each record, as Elastic's `_bulk` takes them.
    Bulk,
    /// Each record as the `event` of an object, as Splunk's event collector takes them.
    Collector {
        /// `index`, `source`, `sourcetype` and `host`, those that are set.
        fields: Vec<(String, String)>,
    },
    /// Each record as a syslog message of RFC 5424 with the octets counted, RFC 6587 section 3.4.1.
    Syslog {
        /// Messages are no longer than this; what is longer is refused before it is sent.
        message_bytes_max: usize,
    },
}

/// How the bytes are made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// A batch, ready to be sent: these bytes stay as they are however often they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The batch.
    pub id: BatchId,
    /// What the bytes are.
    pub format: Format,
    /// How they were made smaller.
    pub compression: Compression,
    /// Records in the bytes; the manifest does not count.
    pub records: usize,
    /// Where each record ends in the bytes before they were made smaller, for destinations that
    /// take them one by one; empty for others.
    pub ends: Vec<usize>,
    /// Records that are not in the bytes, because the destination takes none so long, by their
    /// index in the batch: they are refused before they are sent.
    pub too_long: Vec<usize>,
    /// The bytes.
    pub body: Vec<u8>,
}
