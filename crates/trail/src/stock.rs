//! What is already on the disk when a writer comes, and what of it must go.

use crate::chain::Head;
use crate::disk::{Disk, DiskFile};
use crate::error::{Context, TrailError};
use crate::format::{EPOCH_MAX, FrameHeader, SegmentFront, SegmentName};
use crate::packing::Unpacker;
use crate::scan::Scanner;
use record::{NoticeKind, PreviousEpoch, Record, Wall, codec};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// Records that stood in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    /// Their epoch.
    pub epoch: u64,
    /// The first sequence.
    pub first_sequence: u64,
    /// The last sequence; `None` when the segment is gone and nothing else tells.
    pub last_sequence: Option<u64>,
}

/// The segments that are not written any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stock {
    segments: BTreeMap<SegmentName, Kept>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) bytes: u64,
    pub(crate) last_sequence: Option<u64>,
    /// Nothing would be gained by writing it a second time, or nothing may be touched.
    pub(crate) dense: bool,
    /// When its last record was made, once somebody asked.
    pub(crate) latest: Option<Wall>,
}

impl Kept {
    pub(crate) fn new(bytes: u64, last_sequence: Option<u64>) -> Kept {
        Kept {
            bytes,
            last_sequence,
            dense: false,
            latest: None,
        }
    }
}

impl Stock {
    /// Sees what is in `dir`.
    pub(crate) fn survey<D: Disk>(disk: &D, dir: &Path) -> Result<Stock, TrailError> {
        let entries = match disk.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context("list", dir),
        };
        let files = entries.iter().filter(|entry| entry.is_file);
        let segments = files.filter_map(|entry| {
            let kept = Kept::new(entry.bytes, None);
            SegmentName::parse(&entry.name).map(|name| (name, kept))
        });
        Ok(Stock {
            segments: segments.collect(),
        })
    }

    pub(crate) fn add(&mut self, name: SegmentName, kept: Kept) {
        self.segments.insert(name, kept);
    }

    pub(crate) fn remove(&mut self, name: SegmentName) {
        self.segments.remove(&name);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|kept| kept.bytes).sum()
    }

    /// The bytes of a segment that is kept.
    pub(crate) fn bytes_of(&self, name: SegmentName) -> Option<u64> {
        self.segments.get(&name).map(|kept| kept.bytes)
    }

    /// The bytes of each.
    pub(crate) fn lengths(&self) -> BTreeMap<SegmentName, u64> {
        let segments = self.segments.iter();
        segments.map(|(name, kept)| (*name, kept.bytes)).collect()
    }

    /// The segments, oldest first.
    pub(crate) fn names(&self) -> impl DoubleEndedIterator<Item = SegmentName> {
        self.segments.keys().copied()
    }

    /// The newest segment that might be written a second time.
    pub(crate) fn to_rewrite(&self, planned: &[SegmentName]) -> Option<SegmentName> {
        let mut candidates = self.segments.iter().rev();
        candidates
            .find(|(name, kept)| !kept.dense && !planned.contains(name))
            .map(|(name, _)| *name)
    }

    /// Takes note that a segment was written a second time, or is not to be.
    pub(crate) fn rewritten(&mut self, name: SegmentName, bytes: Option<u64>) {
        if let Some(kept) = self.segments.get_mut(&name) {
            kept.dense = true;
            kept.bytes = bytes.unwrap_or(kept.bytes);
        }
    }

    /// The oldest segments of which all records were made before `wall`. A segment that tells no
    /// time is as old as the one after it.
    pub(crate) fn older_than<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        wall: Wall,
    ) -> Vec<SegmentName> {
        let mut old = Vec::new();
        for (name, kept) in &mut self.segments {
            if kept.latest.is_none() {
                kept.latest = Some(latest(disk, dir, *name).unwrap_or(Wall(i64::MIN)));
            }
            if kept.latest >= Some(wall) {
                break;
            }
            old.push(*name);
        }
        old
    }

    /// The oldest segments, as many as must go to take `excess_bytes` away.
    pub(crate) fn oldest(&self, excess_bytes: u64) -> Vec<SegmentName> {
        let mut freed = 0;
        let mut oldest = Vec::new();
        for (name, kept) in &self.segments {
            if freed >= excess_bytes {
                break;
            }
            freed += kept.bytes;
            oldest.push(*name);
        }
        oldest
    }

    /// Forgets the segments that are not in `there` any more, and says what they held.
    pub(crate) fn forget_missing(
        &mut self,
        there: &Stock,
        current: Option<SegmentName>,
    ) -> Vec<SegmentRange> {
        let gone = self
            .names()
            .filter(|name| !there.segments.contains_key(name));
        let gone: Vec<_> = gone.map(|name| self.range(name, current)).collect();
        self.segments
            .retain(|name, _| there.segments.contains_key(name));
        gone
    }

    /// The records of a segment, as far as they are known without looking into it.
    pub(crate) fn range(&self, name: SegmentName, current: Option<SegmentName>) -> SegmentRange {
        let known = self.segments.get(&name).and_then(|kept| kept.last_sequence);
        let after = self.names().chain(current).find(|after| *after > name);
        let neighbour = after.filter(|after| after.epoch == name.epoch);
        SegmentRange {
            epoch: name.epoch,
            first_sequence: name.first_sequence,
            last_sequence: known.or(neighbour.map(|after| after.first_sequence - 1)),
        }
    }

    /// The latest epoch that a name or a header tells of; zero when there is none.
    pub(crate) fn latest_epoch<D: Disk>(&self, disk: &D, dir: &Path) -> u64 {
        let epochs = self.names().flat_map(|name| {
            let header =
                open_segment(disk, dir, name).and_then(|mut scanner| match scanner.front() {
                    SegmentFront::Header(header) => Some(header.name.epoch),
                    SegmentFront::NewerFormat(_) | SegmentFront::Short | SegmentFront::Damaged => {
                        None
                    }
                });
            [Some(name.epoch), header].into_iter().flatten()
        });
        epochs
            .filter(|epoch| *epoch <= EPOCH_MAX)
            .max()
            .unwrap_or(0)
    }

    /// What the latest epoch with a record came to.
    ///
    /// The segment that ends it is synced first, and its name: whoever goes on after a crash of
    /// the recorder alone finds what a later power cut could still take, and must not name it as
    /// safe. Where a sync is refused there is nothing more to be done for old data.
    pub(crate) fn previous_epoch<D: Disk>(
        &self,
        disk: &D,
        dir: &Path,
    ) -> Option<(PreviousEpoch, Option<Head>)> {
        let _ = disk.sync_dir(dir);
        self.names().rev().find_map(|name| {
            let scanner = open_segment(disk, dir, name)?;
            let _ = scanner.file().sync();
            let (header, last) = last_frame(scanner)?;
            let stopped =
                |notice: &NoticeKind| matches!(notice, NoticeKind::RecorderStopped { .. });
            let previous = PreviousEpoch {
                epoch: name.epoch,
                last_sequence: header.last_sequence(),
                last_at: last.as_ref().map(Record::at),
                stopped_in_order: match &last {
                    Some(Record::Notice(notice)) => stopped(&notice.kind),
                    Some(Record::Connection(_)) | None => false,
                },
            };
            Some((previous, header.head()))
        })
    }
}

/// The last sequence in a segment, by its own frames; `None` when it has no frame.
pub(crate) fn last_sequence<D: Disk>(disk: &D, dir: &Path, name: SegmentName) -> Option<u64> {
    let (header, _) = last_frame(open_segment(disk, dir, name)?)?;
    Some(header.last_sequence())
}

/// When the last record of a segment was made, by its frames; `None` when it has no frame.
fn latest<D: Disk>(disk: &D, dir: &Path, name: SegmentName) -> Option<Wall> {
    let mut scanner = open_segment(disk, dir, name)?;
    scanner.front();
    let mut latest = None;
    while let Some(header) = scanner.next_header() {
        latest = latest.max(Some(Wall(header.wall_max_ns)));
        scanner.pass_unread(&header);
    }
    latest
}

fn open_segment<D: Disk>(disk: &D, dir: &Path, name: SegmentName) -> Option<Scanner<D::File>> {
    let file = disk.open(&dir.join(name.to_string())).ok()?;
    let length = file.length().ok()?;
    let mut scanner = Scanner::new(file, name);
    scanner.extend(length, true);
    Some(scanner)
}

/// The last valid frame and its last record, if that can be read.
///
/// Only when the last frame's payload is damaged are those before it looked into.
fn last_frame<F: DiskFile>(mut scanner: Scanner<F>) -> Option<(FrameHeader, Option<Record>)> {
    let mut unpacker = Unpacker::new();
    scanner.front();
    let start = scanner.position();
    let mut last = None;
    while let Some(header) = scanner.next_header() {
        last = Some((scanner.position(), header));
        scanner.pass_unread(&header);
    }
    let (position, header) = last?;
    scanner.seek(position);
    if scanner.load(&header, &mut unpacker).is_ok() {
        return Some((header, last_record(&unpacker)));
    }
    scanner.seek(start);
    last_good_frame(scanner, unpacker)
}

fn last_good_frame<F: DiskFile>(
    mut scanner: Scanner<F>,
    mut unpacker: Unpacker,
) -> Option<(FrameHeader, Option<Record>)> {
    let mut last = None;
    while let Some(header) = scanner.next_header() {
        if scanner.load(&header, &mut unpacker).is_ok() {
            last = Some((header, last_record(&unpacker)));
        }
        scanner.pass(&header);
    }
    last
}

fn last_record(unpacker: &Unpacker) -> Option<Record> {
    codec::decode(unpacker.record(unpacker.count().checked_sub(1)?)).ok()
}
