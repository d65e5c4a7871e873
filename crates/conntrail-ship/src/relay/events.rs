//! A round as events for Kafka: a record each, with the machine as its key.

use super::round::{self, Postmark};
use ship::flat::Texts;
use ship::{Batch, Compression, Encoder, EncoderError, EncoderSettings, Format, Framing};

/// One record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Whether it could be read, and so which topic it belongs to.
    pub(super) topic: Topic,
    /// The endpoint, so that what a machine sends stays in its order; nothing where that is
    /// unknown.
    pub(super) key: String,
    /// Names and values. `id` is always among them: the same event has the same.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The bytes.
    pub(super) value: Vec<u8>,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// To what was recorded.
    Records,
    /// To what cannot be read.
    Refused,
}

/// Events of messages, in their order; the manifest of each batch comes after its records.
pub(super) struct Events {
    format: Format,
    /// None for the batches as they come.
    encoder: Option<Encoder>,
    texts: Texts,
    events: Vec<Event>,
    bytes: usize,
}

impl Events {
    /// None yet.
    ///
    /// # Errors
    ///
    /// When the format is not one of lines, nor the native one.
    pub(super) fn new(format: Format) -> Result<Events, EncoderError> {
        let encoder = match format {
            Format::Native => None,
            Format::OtlpProtobuf | Format::OtlpJson | Format::Parquet => {
                return Err(EncoderError::NotOfLines { format });
            }
            Format::Ocsf | Format::Ocsf11 | Format::Ecs | Format::Otel | Format::Flat => {
                Some(Encoder::new(EncoderSettings {
                    format,
                    framing: Framing::Plain,
                    compression: Compression::None,
                    level: None,
                })?)
            }
        };
        Ok(Events {
            format,
            encoder,
            texts: Texts::default(),
            events: Vec::new(),
            bytes: 0,
        })
    }

    /// Events so far.
    pub(super) fn count(&self) -> usize {
        self.events.len()
    }

    /// Bytes of events so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them.
    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// Adds the batch of a message.
    ///
    /// # Errors
    ///
    /// When it is not what its own manifest says; then nothing was added.
    pub(super) fn add(&mut self, batch: &Batch, message: &[u8]) -> Result<(), String> {
        round::check(&mut self.texts, batch)?;
        let batch_id = batch.manifest.id.to_string();
        let key = batch.device.endpoint.to_string();
        let Some(encoder) = &mut self.encoder else {
            self.push(key, "batch", batch_id, message);
            return Ok(());
        };
        let body = encoder.encode(batch).body;
        let lines: Vec<&[u8]> = { body.strip_suffix(b"\n").unwrap_or(&body) }
            .split(|it| *it == b'\n')
            .collect();
        let Some((manifest, records)) = lines.split_last() else {
            return Err("it has no manifest".to_owned());
        };
        if records.len() != batch.items.len() {
            return Err(format!(
                "{} records became {} lines",
                batch.items.len(),
                records.len()
            ));
        }
        // Names of records begin as that of their batch does: machine, side trail, epoch.
        let prefix = batch_id.rsplitn(4, '-').last().unwrap_or_default();
        for (item, line) in batch.items.iter().zip(records) {
            let id = format!("{prefix}-{}", item.id.sequence);
            self.push(key.clone(), "record", id, line);
        }
        self.push(key, "manifest", batch_id.clone(), manifest);
        Ok(())
    }

    /// Adds a message that cannot be read, whole, with the reason.
    pub(super) fn set_aside(&mut self, postmark: &Postmark, message: &[u8], reason: &str) {
        let place = format!("{}-{}", postmark.stream, postmark.stream_sequence);
        let headers = vec![
            ("id", place),
            ("kind", "refused".to_owned()),
            ("message_id", postmark.message_id.clone()),
            ("subject", postmark.subject.clone()),
            ("reason", reason.to_owned()),
        ];
        self.bytes += message.len();
        self.events.push(Event {
            topic: Topic::Refused,
            key: String::new(),
            headers,
            value: message.to_vec(),
        });
    }

    fn push(&mut self, key: String, kind: &str, id: String, value: &[u8]) {
        let format = serde_json::to_value(self.format);
        let format = format.ok().and_then(|it| it.as_str().map(str::to_owned));
        self.bytes += key.len() + id.len() + value.len();
        self.events.push(Event {
            topic: Topic::Records,
            key,
            headers: vec![
                ("id", id),
                ("kind", kind.to_owned()),
                ("format", format.unwrap_or_default()),
            ],
            value: value.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{RecordId, sample};
    use ship::flat::{self, Provenance};
    use ship::{BatchId, Item, LeftOut, Manifest};
    use std::sync::Arc;
    use trail::Source;

    fn batch() -> Batch {
        let device = Arc::new(sample::device());
        let source = Source::Side("ship".into());
        let items: Vec<Item> = (5..)
            .zip(sample::records(1, 20))
            .map(|(sequence, record)| Item {
                id: RecordId { epoch: 3, sequence },
                record,
            })
            .collect();
        let provenance = Provenance {
            device: &device,
            source: &source,
            epoch: 3,
        };
        let digest = flat::digest(&mut Texts::default(), provenance, &items);
        Batch {
            manifest: Manifest {
                id: BatchId {
                    endpoint: device.endpoint,
                    source,
                    epoch: 3,
                    first: 5,
                    last: 24,
                    view: 1,
                },
                sent: 20,
                left_out: LeftOut::default(),
                digest,
                head: None,
                until: None,
            },
            device,
            items,
        }
    }

    #[test]
    fn each_record_is_an_event_of_its_machine_and_the_manifest_comes_last() {
        let batch = batch();
        let endpoint = batch.device.endpoint.to_string();
        for format in [Format::Ocsf, Format::Flat] {
            let mut events = Events::new(format).unwrap();
            events.add(&batch, b"").unwrap();
            let events = events.into_events();
            assert_eq!(events.len(), 21);
            for (sequence, event) in (5..25).zip(&events) {
                let id = format!("{endpoint}.ship-3-{sequence}");
                assert_eq!(event.headers[0], ("id", id.clone()));
                assert_eq!(event.key, endpoint);
                let value = serde_json::from_slice::<serde_json::Value>(&event.value).unwrap();
                if format == Format::Ocsf {
                    assert_eq!(value["metadata"]["uid"], id);
                }
            }
            let id = ("id", batch.manifest.id.to_string());
            assert_eq!(events[20].headers[0], id);
        }
    }

    #[test]
    fn a_batch_can_stay_as_it_came_and_what_is_none_is_refused() {
        let mut batch = batch();
        let mut events = Events::new(Format::Native).unwrap();
        events.add(&batch, b"these bytes").unwrap();
        batch.manifest.sent = 19;
        assert!(events.add(&batch, b"others").is_err());
        let events = events.into_events();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].value, b"these bytes");
        assert!(Events::new(Format::Parquet).is_err());
    }
}
