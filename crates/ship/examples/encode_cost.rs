//! What it costs to turn records of the trail into what is sent, and how many bytes that takes.
//!
//! `encode_cost [RECORDS [FORMAT [LEVEL]]]`: one thread, made-up connections. From the bytes in
//! which the trail keeps them to those of a parcel: read, count into the manifest's digest, encode,
//! compress.

use record::{RecordId, codec, sample};
use rustix::time::{ClockId, clock_gettime};
use ship::flat::{Provenance, Texts, digest};
use ship::{
    Batch, BatchId, Compression, Encoder, EncoderSettings, Format, Framing, Item, LeftOut, Manifest,
};
use std::sync::Arc;
use trail::Source;

const BATCHES: [usize; 3] = [50, 200, 1_000];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments
        .next()
        .map_or(20_000, |it| it.parse().expect("a number of records"));
    let only = arguments.next();
    let level = arguments.next();
    let level = level.map(|it| it.parse().expect("a level of compression"));
    let kept = kept(count);
    let bytes: usize = kept.iter().map(Vec::len).sum();
    println!(
        "trail: {:.0} bytes a record before compression",
        bytes as f64 / count as f64
    );
    println!("read: cpu_us={:.2}", read_cost(&kept));
    println!("read and digest: cpu_us={:.2}", digest_cost(&kept));
    for format in FORMATS {
        if only
            .as_ref()
            .is_some_and(|only| *only != format!("{format:?}"))
        {
            continue;
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let settings = EncoderSettings {
                format,
                framing: Framing::Plain,
                compression,
                level,
            };
            let Ok(mut encoder) = Encoder::new(settings) else {
                continue;
            };
            for size in BATCHES {
                let (cpu_us, bytes) = cost(&mut encoder, &kept, size);
                println!(
                    "{format:?} {compression:?} batch={size}: cpu_us={cpu_us:.2} \
                     bytes={bytes:.1}"
                );
            }
        }
    }
}

const FORMATS: [Format; 8] = [
    Format::Native,
    Format::OtlpProtobuf,
    Format::OtlpJson,
    Format::Ocsf,
    Format::Ocsf11,
    Format::Ecs,
    Format::Otel,
    Format::Flat,
];

/// Records as the trail keeps them.
fn kept(count: usize) -> Vec<Vec<u8>> {
    let mut encoder = codec::Encoder::default();
    let records = sample::closes(1, count);
    let bytes = records.iter().map(|record| {
        let mut bytes = Vec::new();
        encoder.encode(record, &mut bytes);
        bytes
    });
    bytes.collect()
}

fn read_cost(kept: &[Vec<u8>]) -> f64 {
    let mut decoder = codec::Decoder::default();
    per_record(kept.len(), || {
        for bytes in kept {
            std::hint::black_box(decoder.decode(bytes).expect("our own bytes"));
        }
    })
}

fn digest_cost(kept: &[Vec<u8>]) -> f64 {
    let (mut decoder, mut texts) = (codec::Decoder::default(), Texts::default());
    per_record(kept.len(), || {
        for (index, part) in kept.chunks(200).enumerate() {
            std::hint::black_box(batch(
                &mut decoder,
                &mut texts,
                index as u64 * 200 + 1,
                part,
            ));
        }
    })
}

/// Microseconds of the processor and bytes, each for a record.
fn cost(encoder: &mut Encoder, kept: &[Vec<u8>], size: usize) -> (f64, f64) {
    let (mut decoder, mut texts) = (codec::Decoder::default(), Texts::default());
    let mut bytes = 0;
    let cpu_us = per_record(kept.len(), || {
        bytes = 0;
        for (index, part) in kept.chunks(size).enumerate() {
            let first = (index * size) as u64 + 1;
            let batch = batch(&mut decoder, &mut texts, first, part);
            bytes += encoder.encode(&batch).body.len();
        }
    });
    (cpu_us, bytes as f64 / kept.len() as f64)
}

fn batch(decoder: &mut codec::Decoder, texts: &mut Texts, first: u64, kept: &[Vec<u8>]) -> Batch {
    let device = sample::device();
    let item = |(bytes, sequence): (&Vec<u8>, u64)| Item {
        id: RecordId { epoch: 7, sequence },
        record: decoder.decode(bytes).expect("our own bytes"),
    };
    let items: Vec<Item> = kept.iter().zip(first..).map(item).collect();
    let provenance = Provenance {
        device: &device,
        source: &Source::Recorder,
        epoch: 7,
    };
    let manifest = Manifest {
        id: BatchId {
            endpoint: device.endpoint,
            source: Source::Recorder,
            epoch: 7,
            first,
            last: first + kept.len() as u64 - 1,
            view: 1,
        },
        sent: kept.len() as u64,
        left_out: LeftOut::default(),
        digest: digest(texts, provenance, &items),
        head: None,
        until: items.last().map(|item| item.record.at().wall),
    };
    Batch {
        manifest,
        device: Arc::new(device),
        items,
    }
}

/// The best of several rounds.
fn per_record(records: usize, mut round: impl FnMut()) -> f64 {
    let rounds = (0..5).map(|_| {
        let start_ns = cpu_ns();
        round();
        (cpu_ns() - start_ns) as f64 / 1_000.0 / records as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn cpu_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
