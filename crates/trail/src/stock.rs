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

/// A segment cannot be read now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread;

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
    /// How often it could not be read when it was to go.
    pub(crate) refusals: u8,
}

impl Kept {
    pub(crate) fn new(bytes: u64, last_sequence: Option<u64>) -> Kept {
        Kept {
            bytes,
            last_sequence,
            dense: false,
            latest: None,
            refusals: 0,
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
    /// time is as old as the one after it; one that cannot be read now is asked again later.
    pub(crate) fn older_than<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        wall: Wall,
    ) -> Vec<SegmentName> {
        let mut passed = Vec::new();
        let mut old = 0;
        for (name, kept) in &mut self.segments {
            if kept.latest.is_none() {
                match latest(disk, dir, *name) {
                    Ok(latest) => kept.latest = Some(latest.unwrap_or(NO_TIME)),
                    Err(Unread) => break,
                }
            }
            if kept.latest >= Some(wall) {
                break;
            }
            passed.push(*name);
            if kept.latest > Some(NO_TIME) {
                old = passed.len();
            }
        }
        passed.truncate(old);
        passed
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

    /// The records of a segment that is to go, by what is known of it and by its own frames; `None`
    /// when it has none. A segment that cannot be read is asked [`REFUSALS_MAX`] times more: a
    /// device may refuse once, and what is not declared must not go.
    pub(crate) fn range_on_disk<D: Disk>(
        &mut self,
        disk: &D,
        dir: &Path,
        name: SegmentName,
        current: Option<SegmentName>,
    ) -> Result<Option<SegmentRange>, Unread> {
        let mut range = self.range(name, current);
        // The segment after it tells what was synced; a crash may have left more.
        let kept = self.segments.get(&name);
        if kept.is_some_and(|kept| kept.last_sequence.is_none()) {
            let until = self.until(disk, dir, name, current);
            let (last, is_all) = last_sequence(disk, dir, name, until);
            if let Some(kept) = self.segments.get_mut(&name)
                && !is_all
                && kept.refusals < REFUSALS_MAX
            {
                kept.refusals += 1;
                return Err(Unread);
            }
            // What is broken for good is declared as far as it is known.
            let least = (!is_all).then_some(name.first_sequence);
            range.last_sequence = range.last_sequence.max(last).max(least);
        }
        Ok(Some(range).filter(|range| range.last_sequence >= Some(range.first_sequence)))
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
        let neighbour = self.successor(name, current);
        SegmentRange {
            epoch: name.epoch,
            first_sequence: name.first_sequence,
            last_sequence: known.or(neighbour.map(|after| after.first_sequence - 1)),
        }
    }

    /// From which sequence on frames of a segment are what a write that failed left, because the
    /// segment after it repeats them.
    fn until<D: Disk>(
        &self,
        disk: &D,
        dir: &Path,
        name: SegmentName,
        current: Option<SegmentName>,
    ) -> Option<u64> {
        let successor = self.successor(name, current)?;
        let is_there = current == Some(successor)
            || open_segment(disk, dir, successor).is_ok_and(|mut it| it.front().may_be(successor));
        is_there.then_some(successor.first_sequence)
    }

    /// The segment of the same epoch that goes on where this one was left.
    pub(crate) fn successor(
        &self,
        name: SegmentName,
        current: Option<SegmentName>,
    ) -> Option<SegmentName> {
        let after = self.names().chain(current).find(|after| *after > name);
        after.filter(|after| after.epoch == name.epoch)
    }

    /// The latest epoch that a name or a header tells of; zero when there is none.
    pub(crate) fn latest_epoch<D: Disk>(&self, disk: &D, dir: &Path) -> u64 {
        let epochs = self.names().flat_map(|name| {
            let header =
                open_segment(disk, dir, name)
                    .ok()
                    .and_then(|mut scanner| match scanner.front() {
                        SegmentFront::Header(header) => Some(header.name.epoch),
                        SegmentFront::NewerFormat(_)
                        | SegmentFront::Short
                        | SegmentFront::Damaged => None,
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
            let mut scanner = open_segment(disk, dir, name).ok()?;
            let _ = scanner.file().sync();
            let until = self.until(disk, dir, name, None);
            let (header, last) = last_frame(&mut scanner, until)?;
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

/// The last sequence in a segment, by its own frames, as far as they can be read, and whether all
/// of it can; `None` when it has no frame.
fn last_sequence<D: Disk>(
    disk: &D,
    dir: &Path,
    name: SegmentName,
    until: Option<u64>,
) -> (Option<u64>, bool) {
    match open_segment(disk, dir, name) {
        Ok(mut scanner) => {
            let last = last_frame(&mut scanner, until);
            let last = last.map(|(header, _)| header.last_sequence());
            (last, !scanner.is_broken())
        }
        Err(error) => (None, error.kind() == ErrorKind::NotFound),
    }
}

/// When the last record of a segment was made, by its frames; `None` when it has no frame.
fn latest<D: Disk>(disk: &D, dir: &Path, name: SegmentName) -> Result<Option<Wall>, Unread> {
    let mut scanner = match open_segment(disk, dir, name) {
        Ok(scanner) => scanner,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(Unread),
    };
    scanner.front();
    let mut latest = None;
    while let Some(header) = scanner.next_header() {
        latest = latest.max(Some(Wall(header.wall_max_ns)));
        scanner.pass_unread(&header);
    }
    // What is broken for good must not keep all that is newer from ageing.
    if latest.is_none() && scanner.is_broken() {
        return Err(Unread);
    }
    Ok(latest)
}

fn open_segment<D: Disk>(
    disk: &D,
    dir: &Path,
    name: SegmentName,
) -> std::io::Result<Scanner<D::File>> {
    let file = disk.open(&dir.join(name.to_string()))?;
    let length = file.length()?;
    let mut scanner = Scanner::new(file, name);
    scanner.extend(length, true);
    Ok(scanner)
}

/// The last valid frame before the record `until`, and its last record, if that can be read.
///
/// Only when the last frame's payload is damaged are those before it looked into.
fn last_frame<F: DiskFile>(
    scanner: &mut Scanner<F>,
    until: Option<u64>,
) -> Option<(FrameHeader, Option<Record>)> {
    let mut unpacker = Unpacker::new();
    scanner.front();
    let start = scanner.position();
    let mut last = None;
    while let Some(header) = scanner.next_header() {
        if stands_before(&header, until) {
            last = Some((scanner.position(), header));
        }
        scanner.pass_unread(&header);
    }
    let (position, header) = last?;
    scanner.seek(position);
    if scanner.load(&header, &mut unpacker).is_ok() {
        return Some((header, last_record(&unpacker)));
    }
    scanner.seek(start);
    last_good_frame(scanner, until, unpacker)
}

fn last_good_frame<F: DiskFile>(
    scanner: &mut Scanner<F>,
    until: Option<u64>,
    mut unpacker: Unpacker,
) -> Option<(FrameHeader, Option<Record>)> {
    let mut last = None;
    while let Some(header) = scanner.next_header() {
        if stands_before(&header, until) && scanner.load(&header, &mut unpacker).is_ok() {
            last = Some((header, last_record(&unpacker)));
        }
        scanner.pass(&header);
    }
    last
}

fn stands_before(header: &FrameHeader, until: Option<u64>) -> bool {
    until.is_none_or(|until| header.first_sequence < until)
}

fn last_record(unpacker: &Unpacker) -> Option<Record> {
    codec::decode(unpacker.record(unpacker.count().checked_sub(1)?)).ok()
}

/// The time of a segment that tells none.
const NO_TIME: Wall = Wall(i64::MIN);

/// A segment that is refused more often is taken for broken.
const REFUSALS_MAX: u8 = 10;
