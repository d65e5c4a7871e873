//! A batch as bytes.

use super::compress::Compressor;
use super::framing::{Ends, Framed};
use super::native;
use super::otlp::Otlp;
use super::otlp_json::OtlpJson;
use super::parquet::Parquet;
use super::{Compression, Format, Framing, Parcel};
use crate::Batch;
use record::codec;

/// What decides the bytes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderSettings {
    /// The words.
    pub format: Format,
    /// How records stand beside each other.
    pub framing: Framing,
    /// How bytes are made smaller. In [`Format::Native`] and [`Format::Parquet`] that happens
    /// inside, and the parcel says
    /// [`Compression::None`]: a destination takes it as it is.
    pub compression: Compression,
    /// How much work goes into that; the default is what was measured to be worth it.
    pub level: Option<i32>,
}

/// Why there is no such encoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncoderError {
    /// Records of this format do not stand beside each other in this way.
    #[error(
        "the format {format:?} is one message for all records; choose ocsf, ocsf-1.1, ecs, \
             otel or flat for this destination"
    )]
    NotOfLines {
        /// The format.
        format: Format,
    },
    /// Nobody reads that.
    #[error("this destination does not read {compression:?}; choose {instead}")]
    Compression {
        /// The compression.
        compression: Compression,
        /// What it reads.
        instead: &'static str,
    },
    /// There is no such level.
    #[error("there is no level {level}: it is from {least} to {most}")]
    Level {
        /// What was asked for.
        level: i32,
        /// The lowest there is.
        least: i32,
        /// The highest there is.
        most: i32,
    },
}

/// Encodes the batches of one destination, with memory that is used again.
pub struct Encoder {
    settings: EncoderSettings,
    compressor: Compressor,
    words: Words,
    /// What is not compressed yet.
    plain: Vec<u8>,
}

enum Words {
    Native(Box<codec::Encoder>),
    Otlp(Box<Otlp>),
    OtlpJson(Box<OtlpJson>),
    Lines(Box<Framed>),
    Parquet(Box<Parquet>),
}

impl Encoder {
    /// An encoder of these settings.
    ///
    /// # Errors
    /// When the settings do not fit together.
    pub fn new(settings: EncoderSettings) -> Result<Encoder, EncoderError> {
        check_compression(&settings)?;
        let format = settings.format;
        let words = match format {
            Format::Native => Words::Native(Box::default()),
            Format::OtlpProtobuf => Words::Otlp(Box::new(Otlp::new())),
            Format::OtlpJson => Words::OtlpJson(Box::new(OtlpJson::new())),
            Format::Ocsf | Format::Ocsf11 | Format::Ecs | Format::Otel | Format::Flat => {
                let framed = Framed::new(format, settings.framing.clone());
                let framed = framed.expect("these formats are of lines");
                return Encoder::with(settings, Words::Lines(Box::new(framed)));
            }
            Format::Parquet => {
                Words::Parquet(Box::new(Parquet::new(settings.compression, settings.level)))
            }
        };
        match settings.framing {
            Framing::Plain => Encoder::with(settings, words),
            Framing::Bulk | Framing::Collector { .. } | Framing::Syslog { .. } => {
                Err(EncoderError::NotOfLines { format })
            }
        }
    }

    fn with(settings: EncoderSettings, words: Words) -> Result<Encoder, EncoderError> {
        Ok(Encoder {
            compressor: Compressor::new(settings.compression, settings.level)?,
            settings,
            words,
            plain: Vec::new(),
        })
    }

    /// The batch as it is sent, with its manifest as the last item. The same batch becomes the same
    /// bytes.
    pub fn encode(&mut self, batch: &Batch) -> Parcel {
        self.plain.clear();
        let mut compression = self.settings.compression;
        let mut ends = Ends::default();
        let body = match &mut self.words {
            Words::Native(records) => {
                compression = Compression::None;
                native::encode(batch, records, &mut self.compressor, &mut self.plain)
            }
            Words::Otlp(otlp) => {
                let start = otlp.encode(batch, &mut self.plain);
                self.compressor.compress(&self.plain[start..])
            }
            Words::OtlpJson(otlp) => {
                otlp.encode(batch, &mut self.plain);
                self.compressor.compress(&self.plain)
            }
            Words::Lines(framed) => {
                ends = framed.encode(batch, &mut self.plain);
                self.compressor.compress(&self.plain)
            }
            Words::Parquet(parquet) => {
                compression = Compression::None;
                parquet.encode(batch)
            }
        };
        Parcel {
            id: batch.manifest.id.clone(),
            format: self.settings.format,
            compression,
            records: batch.items.len() - ends.too_long.len(),
            ends: ends.ends,
            too_long: ends.too_long,
            body,
        }
    }
}

fn check_compression(settings: &EncoderSettings) -> Result<(), EncoderError> {
    let compression = settings.compression;
    let instead = match (&settings.framing, compression) {
        (_, Compression::None) => return Ok(()),
        (Framing::Syslog { .. }, _) => "none",
        (Framing::Bulk | Framing::Collector { .. }, Compression::Zstd) => "gzip or none",
        (Framing::Plain, Compression::Gzip)
            if matches!(settings.format, Format::Native | Format::Parquet) =>
        {
            "zstd or none"
        }
        (Framing::Plain | Framing::Bulk | Framing::Collector { .. }, _) => return Ok(()),
    };
    Err(EncoderError::Compression {
        compression,
        instead,
    })
}
