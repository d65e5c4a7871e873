//! Batches of made-up records.

use record::{Record, RecordId, sample};
use ship::flat::{Provenance, Texts, digest};
use ship::{
    Batch, BatchId, Compression, Encoder, EncoderSettings, Format, Framing, Item, LeftOut,
    Manifest, Parcel,
};
use std::sync::Arc;
use trail::{Head, Source};

pub(crate) const FORMATS: [Format; 8] = [
    Format::Native,
    Format::OtlpProtobuf,
    Format::OtlpJson,
    Format::Ocsf,
    Format::Ocsf11,
    Format::Ecs,
    Format::Otel,
    Format::Flat,
];

pub(crate) const LINES: [Format; 5] = [
    Format::Ocsf,
    Format::Ocsf11,
    Format::Ecs,
    Format::Otel,
    Format::Flat,
];

/// A batch with every third sequence left out.
pub(crate) fn batch(seed: u64, count: usize, source: Source) -> Batch {
    of_records(sample::records(seed, count), source)
}

pub(crate) fn of_records(records: Vec<Record>, source: Source) -> Batch {
    let first = 1_000;
    let numbered = records.into_iter().zip((first..).filter(|it| it % 3 != 0));
    let item = |(record, sequence)| Item {
        id: RecordId { epoch: 7, sequence },
        record,
    };
    let items: Vec<Item> = numbered.map(item).collect();
    let device = Arc::new(sample::device());
    let last = items.last().map_or(first, |item| item.id.sequence) + 1;
    let provenance = Provenance {
        device: &device,
        source: &source,
        epoch: 7,
    };
    let sent = items.len() as u64;
    let manifest = Manifest {
        id: BatchId {
            endpoint: device.endpoint,
            epoch: 7,
            first,
            last,
            view: 0xabcd_0123,
            source: source.clone(),
        },
        sent,
        left_out: LeftOut {
            filtered: last + 1 - first - sent,
            ..LeftOut::default()
        },
        digest: digest(&mut Texts::default(), provenance, &items),
        head: (source == Source::Recorder).then_some(Head {
            epoch: 7,
            sequence: 900,
            hash: [0x5a; 32],
        }),
        until: items.last().map(|item| item.record.at().wall),
    };
    Batch {
        manifest,
        device,
        items,
    }
}

pub(crate) fn side() -> Source {
    Source::Side("filter".into())
}

pub(crate) fn settings(
    format: Format,
    framing: Framing,
    compression: Compression,
) -> EncoderSettings {
    EncoderSettings {
        format,
        framing,
        compression,
        level: None,
    }
}

/// The batch in this format, as it is.
pub(crate) fn plain(format: Format, batch: &Batch) -> Parcel {
    framed(format, Framing::Plain, batch)
}

pub(crate) fn framed(format: Format, framing: Framing, batch: &Batch) -> Parcel {
    let settings = settings(format, framing, Compression::None);
    Encoder::new(settings).unwrap().encode(batch)
}
