//! Sealed segments are written a second time, densely.
//!
//! A machine with little traffic writes frames of a few records, which compress badly. When a
//! segment is no longer written it is copied into frames of many records, a little at a time, to a
//! file beside it; when that is synced it takes the segment's name. At every moment one of the two
//! is there whole. Ids and chain stay what they are.
//!
//! A segment with any damage is left as it is, because what can be told of damage stands in it.

use crate::chain::{self, Hash, Head};
use crate::disk::{Disk, DiskFile};
use crate::error::{Context, TrailError};
use crate::format::{FRAME_RAW_MAX, Version, segment_header};
use crate::format::{FrameHeader, SegmentFacts, SegmentFront, SegmentHeader, SegmentName};
use crate::index::Addresses;
use crate::packing::{FrameFacts, Packer, Unpacker};
use crate::scan::Scanner;
use crate::times::{self, Times};
use record::Stamp;
use std::path::{Path, PathBuf};

/// A segment that is being written a second time.
pub(crate) struct Rewrite<F> {
    name: SegmentName,
    created: Stamp,
    path: PathBuf,
    new_path: PathBuf,
    source: Scanner<F>,
    source_bytes: u64,
    /// Where the next segment of the epoch begins, if there is one.
    until: Option<u64>,
    new: F,
    new_bytes: u64,
    frames_read: u64,
    records: u64,
    wall: Option<(i64, i64)>,
    /// The chain at the last record that was read.
    at: Head,
    filling: Filling,
    packer: Packer,
    unpacker: Unpacker,
}

/// The frame that is being filled.
struct Filling {
    raw: Vec<u8>,
    groups: Vec<u16>,
    addresses: Addresses,
    index: Vec<u8>,
    records: u16,
    first_sequence: u64,
    wall_min_ns: i64,
    wall_max_ns: i64,
    before: Hash,
}

/// How far a rewrite came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to do.
    More,
    /// All is in the new file, which has so many bytes.
    Copied(u64),
    /// The segment stays as it is.
    Unfit(Unfit),
}

/// Why a segment stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It would gain too little.
    Dense,
    /// It is damaged, or not what its chain says, and records stand after that.
    Damaged,
    /// Its end is not whole, as a crash leaves it: nothing that was synced is lost.
    Torn,
    /// It is not there, or of another version.
    Strange,
}

impl<F: DiskFile> Rewrite<F> {
    /// Begins with a segment, in the file `new_path` of the same folder.
    pub(crate) fn begin<D: Disk<File = F>>(
        disk: &D,
        path: PathBuf,
        name: SegmentName,
        until: Option<u64>,
        new_path: &Path,
    ) -> Result<Result<Rewrite<F>, Unfit>, TrailError> {
        let file = disk.open(&path).context("open", &path)?;
        let source_bytes = file.length().context("measure", &path)?;
        let mut source = Scanner::new(file, name);
        source.extend(source_bytes, true);
        let header = match source.front() {
            SegmentFront::Header(header) if header.name == name => header,
            SegmentFront::Short => return Ok(Err(Unfit::Torn)),
            SegmentFront::Damaged => return Ok(Err(Unfit::Damaged)),
            SegmentFront::Header(_) | SegmentFront::NewerFormat(_) => {
                return Ok(Err(Unfit::Strange));
            }
        };
        if header.dense {
            return Ok(Err(Unfit::Dense));
        }
        let Some(at) = before_first(&header) else {
            return Ok(Err(Unfit::Strange));
        };
        let front = segment_header(&SegmentFacts {
            name,
            endpoint: header.endpoint,
            created: header.created,
            dense: true,
            previous: header.previous,
            device_bytes: &header.device_bytes,
        });
        let new = disk.create(new_path).context("create", new_path)?;
        new.write_at(&front, 0).context("write", new_path)?;
        Ok(Ok(Rewrite {
            name,
            created: header.created,
            path,
            new_path: new_path.to_owned(),
            source,
            source_bytes,
            until,
            new,
            new_bytes: front.len() as u64,
            frames_read: 0,
            records: 0,
            wall: None,
            at,
            filling: Filling::new(),
            packer: Packer::new(DENSE_LEVEL),
            unpacker: Unpacker::new(),
        }))
    }

    pub(crate) fn name(&self) -> SegmentName {
        self.name
    }

    /// When the segment was begun.
    pub(crate) fn created(&self) -> Stamp {
        self.created
    }

    /// What was read of it, in a file of `bytes`; after [`Progress::Copied`] that is all of it.
    pub(crate) fn times(&self, bytes: u64) -> Option<Times> {
        self.wall.map(|wall| Times {
            last_sequence: self.at.sequence,
            bytes,
            wall,
        })
    }

    /// Copies about `bytes` of the segment.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<Progress, TrailError> {
        let until = self.source.position() + bytes;
        while self.source.position() < until {
            let Some(header) = self.source.next_header() else {
                return self.finish();
            };
            // What a write that failed left must not become one with what is synced.
            if self.until.is_some_and(|it| header.last_sequence() >= it) {
                return Ok(Progress::Unfit(Unfit::Torn));
            }
            if !is_ordinary(&header) {
                return Ok(Progress::Unfit(Unfit::Strange));
            }
            let fits = !self.source.has_damage() && self.take(&header)?;
            if !fits {
                return Ok(Progress::Unfit(Unfit::Damaged));
            }
            self.source.pass(&header);
        }
        Ok(Progress::More)
    }

    /// Puts the new file in the place of the segment, durably.
    ///
    /// False when the segment is no longer the one that was copied.
    pub(crate) fn replace<D: Disk<File = F>>(
        &self,
        disk: &D,
        dir: &Path,
    ) -> Result<bool, TrailError> {
        let (path, new) = (&self.path, &self.new_path);
        if !disk
            .leads_to(path, self.source.file())
            .context("find", path)?
        {
            return Ok(false);
        }
        disk.rename(new, path).context("rename to", path)?;
        disk.sync_dir(dir).context("sync", dir)?;
        Ok(true)
    }

    /// Takes a frame over; false when it is not what it should be.
    fn take(&mut self, header: &FrameHeader) -> Result<bool, TrailError> {
        let follows = header.first_sequence == self.at.sequence + 1;
        if !follows || self.source.load(header, &mut self.unpacker).is_err() {
            return Ok(false);
        }
        let mut hash = self.at.hash;
        let mut index = 0;
        for group in self.unpacker.groups() {
            let count = usize::from(*group);
            let first = header.first_sequence + index as u64;
            let bytes = self.unpacker.stretch(index, count);
            hash = chain::link(&hash, header.epoch, first, count as u32, bytes);
            index += count;
        }
        if header.head().is_none_or(|head| head.hash != hash) {
            return Ok(false);
        }
        let whole = self.unpacker.stretch(0, self.unpacker.count());
        if self.filling.is_full(whole.len(), header.records) {
            self.write_frame()?;
        }
        self.filling.push(header, &self.unpacker, self.at.hash);
        self.at = Head {
            hash,
            sequence: header.last_sequence(),
            ..self.at
        };
        self.wall = times::joined(self.wall, Some((header.wall_min_ns, header.wall_max_ns)));
        self.frames_read += 1;
        self.records += u64::from(header.records);
        Ok(true)
    }

    fn finish(&mut self) -> Result<Progress, TrailError> {
        if self.source.has_damage() || self.frames_read == 0 {
            return Ok(Progress::Unfit(Unfit::Torn));
        }
        if self.records / self.frames_read >= DENSE_ENOUGH {
            return Ok(Progress::Unfit(Unfit::Dense));
        }
        self.write_frame()?;
        if self.new_bytes >= self.source_bytes {
            return Ok(Progress::Unfit(Unfit::Dense));
        }
        self.new.sync().context("sync", &self.new_path)?;
        Ok(Progress::Copied(self.new_bytes))
    }

    fn write_frame(&mut self) -> Result<(), TrailError> {
        let filling = &mut self.filling;
        if filling.records == 0 {
            return Ok(());
        }
        filling.addresses.build(&mut filling.index);
        let facts = FrameFacts {
            epoch: self.name.epoch,
            first_sequence: filling.first_sequence,
            records: filling.records,
            wall_min_ns: filling.wall_min_ns,
            wall_max_ns: filling.wall_max_ns,
            before: filling.before,
            index: &filling.index,
        };
        let frame = self
            .packer
            .repack(&filling.raw, &facts, &filling.groups, self.at.hash);
        self.new
            .write_at(&frame.bytes, self.new_bytes)
            .context("write", &self.new_path)?;
        self.new_bytes += frame.bytes.len() as u64;
        filling.clear();
        Ok(())
    }
}

impl Filling {
    fn new() -> Filling {
        Filling {
            raw: Vec::new(),
            groups: Vec::new(),
            addresses: Addresses::new(),
            index: Vec::new(),
            records: 0,
            first_sequence: 0,
            wall_min_ns: 0,
            wall_max_ns: 0,
            before: [0; 32],
        }
    }

    fn is_full(&self, bytes: usize, records: u16) -> bool {
        self.records > 0
            && (self.raw.len() + bytes > DENSE_RAW_TARGET
                || u32::from(self.records) + u32::from(records) > u32::from(DENSE_RECORDS_MAX))
    }

    fn push(&mut self, header: &FrameHeader, unpacker: &Unpacker, before: Hash) {
        if self.records == 0 {
            self.first_sequence = header.first_sequence;
            self.before = before;
            (self.wall_min_ns, self.wall_max_ns) = (header.wall_min_ns, header.wall_max_ns);
        }
        self.wall_min_ns = self.wall_min_ns.min(header.wall_min_ns);
        self.wall_max_ns = self.wall_max_ns.max(header.wall_max_ns);
        self.records += header.records;
        self.raw
            .extend_from_slice(unpacker.stretch(0, unpacker.count()));
        self.groups.extend_from_slice(unpacker.groups());
        for index in 0..unpacker.count() {
            self.addresses.note(unpacker.record(index));
        }
    }

    fn clear(&mut self) {
        self.raw.clear();
        self.groups.clear();
        self.records = 0;
    }
}

/// Whether a frame is no larger than a writer makes it.
fn is_ordinary(header: &FrameHeader) -> bool {
    header.records <= DENSE_RECORDS_MAX
        && header.raw_length as usize + 3 * header.groups() <= FRAME_RAW_MAX
}

/// The chain before the first record of a segment, where it has one.
pub(crate) fn before_first(header: &SegmentHeader) -> Option<Head> {
    let SegmentName {
        epoch,
        first_sequence,
    } = header.name;
    match header.version {
        Version::One => None,
        Version::Two if first_sequence == 1 => Some(Head {
            epoch,
            sequence: 0,
            hash: chain::genesis(
                header.endpoint,
                epoch,
                header.previous,
                &header.device_bytes,
            ),
        }),
        Version::Two => header
            .previous
            .filter(|head| (head.epoch, head.sequence + 1) == (epoch, first_sequence)),
    }
}

/// The file that a segment is copied to.
pub(crate) const REWRITE_NAME: &str = "rewrite.new";

/// As strong as it gets before it becomes slow, for something that is done once.
const DENSE_LEVEL: i32 = 9;

/// More would compress little better, and damage would cost more.
const DENSE_RECORDS_MAX: u16 = 1_000;
const DENSE_RAW_TARGET: usize = 512 << 10;

/// Frames of so many records gain too little.
const DENSE_ENOUGH: u64 = 250;

// A frame of one segment fits whole into a new one, with a count of three bytes for each group.
const _: () = assert!(DENSE_RAW_TARGET + 3 * DENSE_RECORDS_MAX as usize <= FRAME_RAW_MAX);
