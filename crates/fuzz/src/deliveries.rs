//! What is sent to a relay, and the text that says where to.

use record::{RecordId, sample};
use ship::flat::{Provenance, Texts, digest};
use ship::{
    Batch, BatchId, Compression, Encoder, EncoderSettings, Format, Framing, Item, LeftOut,
    Manifest, config, native,
};
use std::sync::Arc;
use trail::{Head, Source};

/// Bytes before the message.
const HEADER_BYTES: usize = 18;

/// A batch as it is, and the same bytes as the message behind a header that is right, which nobody
/// hits by chance.
pub(crate) fn batch(bytes: &[u8]) {
    for whole in [bytes, &behind_a_header(bytes)] {
        let Ok(batch) = native::decode(whole) else {
            continue;
        };
        let canonical = encoded(&batch, Compression::None);
        let again = native::decode(&canonical).expect("what was written can be read");
        assert_eq!(again, batch);
        assert_eq!(encoded(&again, Compression::None), canonical);
        check(&batch);
    }
}

fn check(batch: &Batch) {
    let Manifest { id, sent, .. } = &batch.manifest;
    assert!(id.first <= id.last);
    assert_eq!(*sent, batch.items.len() as u64);
    let mut next = id.first;
    for item in &batch.items {
        let RecordId { epoch, sequence } = item.id;
        assert_eq!(epoch, id.epoch);
        assert!((next..=id.last).contains(&sequence), "{sequence}");
        next = sequence.saturating_add(1);
    }
}

fn behind_a_header(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("inputs are short");
    let mut bytes = b"CTRB\x01\x00".to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes), message);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(message);
    bytes
}

fn encoded(batch: &Batch, compression: Compression) -> Vec<u8> {
    let settings = EncoderSettings {
        format: Format::Native,
        framing: Framing::Plain,
        compression,
        level: None,
    };
    let mut encoder = Encoder::new(settings).expect("these fit together");
    encoder.encode(batch).body
}

/// Whole batches, and messages without their headers.
pub(crate) fn batch_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (count, source) in [
        (0, Source::Recorder),
        (1, Source::Side("filter".into())),
        (12, Source::Recorder),
    ] {
        let batch = made_up(count, source);
        let plain = encoded(&batch, Compression::None);
        seeds.push(plain[HEADER_BYTES..].to_vec());
        seeds.push(plain);
        seeds.push(encoded(&batch, Compression::Zstd));
    }
    seeds
}

fn made_up(count: usize, source: Source) -> Batch {
    let device = sample::device();
    let numbered = sample::records(4, count).into_iter().zip(1..);
    let item = |(record, sequence)| Item {
        id: RecordId { epoch: 7, sequence },
        record,
    };
    let items: Vec<Item> = numbered.map(item).collect();
    let provenance = Provenance {
        device: &device,
        source: &source,
        epoch: 7,
    };
    Batch {
        manifest: Manifest {
            digest: digest(&mut Texts::default(), provenance, &items),
            sent: items.len() as u64,
            left_out: LeftOut {
                opens: 1,
                ..LeftOut::default()
            },
            head: (count > 1).then_some(Head {
                epoch: 7,
                sequence: 3,
                hash: [9; 32],
            }),
            id: BatchId {
                endpoint: device.endpoint,
                source,
                epoch: 7,
                first: 1,
                last: items.len() as u64 + 1,
                view: 5,
            },
            until: items.last().map(|item| item.record.at().wall),
        },
        device: Arc::new(device),
        items,
    }
}

/// A text is a configuration, which says all that is asked of it, or has mistakes with a place.
pub(crate) fn ship_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let lines = text.lines().count() + 1;
    let read = match config::parse(text) {
        Ok(read) => read,
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let line = problem.line.unwrap_or(1);
                assert!((1..=lines).contains(&line), "{problem:?} in {lines} lines");
                assert!(!problem.message.is_empty(), "{problem:?}");
            }
            return;
        }
    };
    assert_eq!(config::parse(text).as_ref(), Ok(&read));
    for (name, destination) in &read.destination {
        assert!(destination.kind().is_some(), "{name} has a kind");
        assert!(destination.limits().records_max > 0);
        assert!(destination.age_max_ns() > 0);
        assert_eq!(destination.view(None), destination.view(None));
        // Whether they fit together is told when the encoder is made.
        let _ = Encoder::new(destination.encoder_settings());
    }
}

pub(crate) fn ship_config_seeds() -> Vec<Vec<u8>> {
    vec![WHOLE.into(), SHORT.into()]
}

const SHORT: &str = "[destination.a.file]\nfolder = \"/var/a\"\n";

const WHOLE: &str = r#"metrics_listen = "127.0.0.1:9473"
ledger_interval_s = 60
[destination.lake]
format = "native"
compression = "zstd"
batch_records_max = 100
batch_bytes_max = 65536
batch_age_max_ms = 1000
in_flight_max = 4
retry_min_ms = 100
retry_max_ms = 1000
on_battery = "hold"
proxy = "http://proxy.example.com:3128"
policy = """
version = 1
[[rule]]
name = "a"
action = "keep"
fields = ["user"]
"""
[destination.lake.filter]
opens = true
[destination.lake.tls]
ca_file = "/etc/ca.pem"
server_name = "nats.example.com"
[destination.lake.jetstream]
servers = ["tls://nats.example.com"]
[destination.collector.otlp]
url = "https://collector.example.com/v1/logs"
[destination.siem.syslog]
address = "siem.example.com:6514"
"#;
