//! From when to when the records of each ended segment are, so that a question about one hour opens
//! only the segments that have something of it.
//!
//! A name cannot tell that, nor can the time at which a segment was begun, because the wall clock
//! can be set. What is written here is what the frames say. It is only a help: an entry counts for
//! a file of exactly the length that it names, and without one the segment is opened.

use crate::disk::{Disk, DiskFile};
use crate::format::SegmentName;
use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// What is known of a segment that is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) last_sequence: u64,
    /// Its length; another file has another one.
    pub(crate) bytes: u64,
    /// The earliest and latest wall time of its records.
    pub(crate) wall: (i64, i64),
}

impl Times {
    /// Whether a record of the segment may be in this range.
    pub(crate) fn overlap(&self, range: &RangeInclusive<i64>) -> bool {
        self.wall.1 >= *range.start() && self.wall.0 <= *range.end()
    }

    fn to_bytes(self, name: SegmentName) -> [u8; ENTRY_BYTES] {
        let numbers = [
            name.epoch,
            name.first_sequence,
            self.last_sequence,
            self.bytes,
            self.wall.0 as u64,
            self.wall.1 as u64,
        ];
        let mut bytes = [0; ENTRY_BYTES];
        for (place, number) in bytes.chunks_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<(SegmentName, Times)> {
        let checksum = crc32c::crc32c(bytes.get(..CHECKED_BYTES)?).to_le_bytes();
        if bytes.get(CHECKED_BYTES..)? != checksum {
            return None;
        }
        let number = |index: usize| -> Option<u64> {
            let bytes = bytes.get(8 * index..8 * index + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let name = SegmentName {
            epoch: number(0)?,
            first_sequence: number(1)?,
        };
        let times = Times {
            last_sequence: number(2)?,
            bytes: number(3)?,
            wall: (number(4)? as i64, number(5)? as i64),
        };
        let sound = times.last_sequence >= name.first_sequence && times.last_sequence < u64::MAX;
        sound.then_some((name, times))
    }
}

/// The wall times in a whole frame's header.
pub(crate) fn of_frame(frame: &[u8]) -> Option<(i64, i64)> {
    let number = |at: usize| -> Option<i64> {
        Some(i64::from_le_bytes(frame.get(at..at + 8)?.try_into().ok()?))
    };
    Some((number(32)?, number(40)?))
}

/// Both ranges together.
pub(crate) fn joined(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (one, None) | (None, one) => one,
    }
}

/// What the file beside a folder of segments says of files of these lengths.
pub(crate) fn read<D: Disk>(
    disk: &D,
    segments: &Path,
    lengths: &BTreeMap<SegmentName, u64>,
) -> BTreeMap<SegmentName, Times> {
    let mut known = BTreeMap::new();
    let path = segments.parent().unwrap_or(segments).join(FILE);
    let Ok(file) = disk.open(&path) else {
        return known;
    };
    let mut bytes = vec![0; READ_BYTES];
    let mut offset = 0;
    while let Ok(count) = file.read_at(&mut bytes, offset) {
        for entry in bytes[..count].chunks(ENTRY_BYTES) {
            let entry = Times::parse(entry);
            if let Some((name, times)) = entry.filter(|(name, _)| lengths.contains_key(name)) {
                known.insert(name, times);
            }
        }
        offset += count as u64;
        if count < bytes.len() || offset >= FILE_BYTES_MAX {
            break;
        }
    }
    known.retain(|name, times| lengths.get(name) == Some(&times.bytes));
    known
}

/// Writes the file while the trail is written.
pub(crate) struct TimesFile<F> {
    path: PathBuf,
    known: BTreeMap<SegmentName, Times>,
    file: Option<F>,
    entries: u64,
}

impl<F: DiskFile> TimesFile<F> {
    /// Goes on from what is known of segments of these lengths.
    pub(crate) fn open<D: Disk<File = F>>(
        disk: &D,
        state: &Path,
        segments: &Path,
        lengths: &BTreeMap<SegmentName, u64>,
    ) -> TimesFile<F> {
        TimesFile {
            path: state.join(FILE),
            known: read(disk, segments, lengths),
            file: None,
            entries: 0,
        }
    }

    /// Notes what a segment has. Where that cannot be written, readers open it.
    pub(crate) fn note<D: Disk<File = F>>(&mut self, disk: &D, name: SegmentName, times: Times) {
        self.known.insert(name, times);
        if self.append(disk, name, times).is_err() {
            self.file = None;
        }
    }

    pub(crate) fn forget(&mut self, name: SegmentName) {
        self.known.remove(&name);
    }

    fn append<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        name: SegmentName,
        times: Times,
    ) -> io::Result<()> {
        let stale = self.entries > 2 * self.known.len() as u64 + STALE_MAX;
        let there = match &self.file {
            Some(file) if !stale => disk.leads_to(&self.path, file)?,
            Some(_) | None => false,
        };
        if !there {
            return self.write_anew(disk);
        }
        if let Some(file) = &self.file {
            file.write_at(&times.to_bytes(name), self.entries * ENTRY_BYTES as u64)?;
            self.entries += 1;
        }
        Ok(())
    }

    /// Puts all that is known in the place of the file. It is not synced: what a power cut leaves
    /// of it has no right checksum, and is opened.
    fn write_anew<D: Disk<File = F>>(&mut self, disk: &D) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let file = disk.create(&new)?;
        let entries = self.known.iter().map(|(name, times)| times.to_bytes(*name));
        let bytes: Vec<u8> = entries.flatten().collect();
        file.write_at(&bytes, 0)?;
        disk.rename(&new, &self.path)?;
        self.file = Some(file);
        self.entries = self.known.len() as u64;
        Ok(())
    }
}

const FILE: &str = "times";
const ENTRY_BYTES: usize = 64;
const CHECKED_BYTES: usize = 60;
const READ_BYTES: usize = 1_024 * ENTRY_BYTES;

/// More than any trail has use for.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Entries of segments that are gone, beyond as many as there are others.
const STALE_MAX: u64 = 1_024;
