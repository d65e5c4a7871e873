//! Trails on a disk in memory, and what is in them.

use record::{Device, Mono, RecordId, Stamp, Wall, sample};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use trail::testing::MemoryDisk;
use trail::{
    BreakKind, Damaged, Flushed, Missing, RawItem, ReadOptions, TrailError, TrailReader,
    TrailWriter, Trusted, WriterOptions, segments_dir, signatures_dir, verify_on,
    verify_trusting_on,
};

pub(crate) const STATE: &str = "/state";

pub(crate) type Writer = TrailWriter<MemoryDisk>;

/// A moment `seconds` after the tests' beginning.
pub(crate) fn at(seconds: u64) -> Stamp {
    Stamp {
        wall: Wall(1_700_000_000_000_000_000 + wall_ns(seconds)),
        mono: second(seconds),
    }
}

pub(crate) fn second(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000_000)
}

fn wall_ns(seconds: u64) -> i64 {
    second(seconds).0 as i64
}

pub(crate) fn device() -> Device {
    sample::device()
}

pub(crate) fn options() -> WriterOptions {
    WriterOptions::new(device(), 1 << 30)
}

/// Options under which a few records fill a segment.
pub(crate) fn small_segments() -> WriterOptions {
    WriterOptions {
        segment_bytes: 600,
        ..options()
    }
}

pub(crate) fn open(disk: &MemoryDisk, options: WriterOptions) -> Result<Writer, TrailError> {
    TrailWriter::open_on(disk.clone(), Path::new(STATE), options, at(0))
}

pub(crate) fn dir() -> PathBuf {
    segments_dir(Path::new(STATE))
}

/// The bytes of the record with this id: whoever reads others under that id read wrong ones.
pub(crate) fn bytes_of(id: RecordId) -> Vec<u8> {
    let RecordId { epoch, sequence } = id;
    format!(
        "record {sequence} of epoch {epoch}, {}",
        "x".repeat((sequence % 7) as usize)
    )
    .into_bytes()
}

/// Appends the next record, which was made `seconds` after the beginning.
pub(crate) fn append(writer: &mut Writer, sequence: u64, seconds: u64) -> RecordId {
    let expected = RecordId {
        epoch: writer.epoch(),
        sequence,
    };
    let id = writer.append_encoded(&bytes_of(expected), at(seconds).wall, second(seconds));
    assert_eq!(id, Some(expected));
    expected
}

/// Appends `count` records from `first` on and flushes after each `group`.
pub(crate) fn write_groups(writer: &mut Writer, first: u64, count: u64, group: u64) {
    for sequence in first..first + count {
        append(writer, sequence, sequence);
        if (sequence - first + 1).is_multiple_of(group) {
            told_nothing(&writer.flush(at(sequence)).unwrap());
        }
    }
}

pub(crate) fn told_nothing(flushed: &Flushed) {
    assert!(
        flushed.dropped.is_none() && flushed.trouble.is_none(),
        "{flushed:?}"
    );
    assert!(
        flushed.evicting.is_empty() && flushed.vanished.is_empty() && flushed.damaged.is_empty(),
        "{flushed:?}"
    );
}

/// What a reader found, records apart from the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) records: BTreeMap<RecordId, Vec<u8>>,
    pub(crate) damaged: Vec<Damaged>,
    pub(crate) missing: Vec<Missing>,
}

impl Findings {
    pub(crate) fn ids(&self) -> Vec<RecordId> {
        self.records.keys().copied().collect()
    }

    pub(crate) fn sequences(&self) -> Vec<u64> {
        self.records.keys().map(|id| id.sequence).collect()
    }

    /// Every record carries the bytes of its id.
    pub(crate) fn assert_true(&self) {
        for (id, bytes) in &self.records {
            assert_eq!(*bytes, bytes_of(*id), "wrong bytes under {id:?}");
        }
    }

    /// Sequences that were reported lost in one way or the other.
    pub(crate) fn declared_lost(&self) -> u64 {
        let missing = self
            .missing
            .iter()
            .map(|gap| gap.last_sequence - gap.first_sequence + 1);
        let damaged = self
            .damaged
            .iter()
            .filter_map(|damaged| damaged.lost_records);
        missing.sum::<u64>() + damaged.sum::<u64>()
    }
}

/// Reads on until there is nothing more, and checks that ids only rise.
pub(crate) fn drain(reader: &mut TrailReader<MemoryDisk>) -> Findings {
    let mut findings = Findings::default();
    while let Some(item) = reader.next_raw().unwrap() {
        match item {
            RawItem::Record { id, bytes, .. } => {
                let last = findings.records.last_key_value().map(|(last, _)| *last);
                assert!(last < Some(id), "{id:?} after {last:?}");
                findings.records.insert(id, bytes.to_vec());
            }
            RawItem::Damaged(damaged) => findings.damaged.push(damaged),
            RawItem::Missing(missing) => findings.missing.push(missing),
        }
    }
    findings
}

pub(crate) fn reader(disk: &MemoryDisk, options: ReadOptions) -> TrailReader<MemoryDisk> {
    TrailReader::open_on(disk.clone(), &dir(), options).unwrap()
}

/// What a reader that trusts the head finds.
pub(crate) fn read(disk: &MemoryDisk) -> Findings {
    drain(&mut reader(disk, ReadOptions::default()))
}

/// What a reader that takes everything finds.
pub(crate) fn read_all(disk: &MemoryDisk) -> Findings {
    drain(&mut reader(
        disk,
        ReadOptions {
            unpublished_too: true,
            ..ReadOptions::default()
        },
    ))
}

/// The paths of the files of signatures, in order.
pub(crate) fn signature_files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let folder = signatures_dir(Path::new(STATE));
    let mut paths = disk.paths();
    paths.retain(|path| path.starts_with(&folder));
    paths
}

/// The paths of the segments, in order.
pub(crate) fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "trail")
    });
    paths
}

pub(crate) fn ids(epoch: u64, sequences: impl IntoIterator<Item = u64>) -> Vec<RecordId> {
    sequences
        .into_iter()
        .map(|sequence| RecordId { epoch, sequence })
        .collect()
}

/// A directory of golden files, as a disk.
pub(crate) fn golden(name: &str) -> MemoryDisk {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    let disk = MemoryDisk::new();
    for (from, to) in [
        (from.clone(), PathBuf::from(STATE)),
        (from.join("trail"), dir()),
    ] {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.metadata().unwrap().is_file() {
                disk.put(
                    &to.join(entry.file_name()),
                    &std::fs::read(entry.path()).unwrap(),
                );
            }
        }
    }
    disk
}

/// What is in a disk, in the words of the second reader.
pub(crate) fn expected(disk: &MemoryDisk) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, bytes) in read(disk).records {
        let hash = Sha256::digest(&bytes)
            .iter()
            .fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            });
        lines.push(format!("record {} {} {hash}", id.epoch, id.sequence));
    }
    let report = verify_on(disk.clone(), &dir(), ReadOptions::default()).unwrap();
    let signatures = report.chain.signatures;
    for damaged in report.damaged {
        lines.push(format!(
            "damage {} {} {}",
            damaged.segment, damaged.offset, damaged.bytes
        ));
    }
    for broken in report.chain.breaks {
        if broken.kind == BreakKind::Changed {
            let (first, last) = (broken.first, broken.last_sequence);
            lines.push(format!("changed {} {} {last}", first.epoch, first.sequence));
        }
    }
    for stretch in report.chain.stretches {
        let first = stretch.first;
        lines.push(format!(
            "stretch {}:{} {}",
            first.epoch, first.sequence, stretch.last
        ));
    }
    let good: u64 = signatures.keys.values().map(|used| used.count).sum();
    let (forged, damaged) = (signatures.forged, signatures.damaged);
    if good + forged + damaged > 0 {
        let keys: Vec<_> = signatures.keys.into_keys().collect();
        let trusted = Trusted {
            anchors: &[],
            keys: &keys,
        };
        let report = verify_trusting_on(disk.clone(), &dir(), ReadOptions::default(), trusted);
        let held = report.unwrap().chain.signatures.held;
        lines.push(format!("signatures {good} {forged} {damaged} {held}"));
    }
    lines
}
