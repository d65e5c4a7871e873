//! Reads a trail while it is written, without disturbing the writer.

use crate::chain;
use crate::check::{ChainReport, Checker};
use crate::cursor::{Cursor, Resumed};
use crate::disk::{Disk, DiskFile, Entry, RealDisk};
use crate::error::{Context, TrailError};
use crate::format::{FrameHeader, HEAD_BYTES, Head, SegmentFront, SegmentHeader, SegmentName};
use crate::index::RemoteNetwork;
use crate::packing::Unpacker;
use crate::rewrite::REWRITE_NAME;
use crate::scan::{Damage, Scanner};
use crate::signing::{self, PublicKey, SignatureFile};
use crate::times::{self, Times};
use record::wire::WireError;
use record::{Device, Record, RecordId, Wall, codec};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind;
use std::ops::{Bound, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Only records after this one; it need not exist any more.
    pub after: Option<RecordId>,
    /// Only frames with a record in this range of wall time. Others of the same frame come along.
    /// Ended segments that have nothing of it are not even opened, where it is known what they
    /// have; what is damaged in those is then not reported.
    pub wall: Option<RangeInclusive<Wall>>,
    /// Only frames that may have a connection to this network; about one in a hundred has none
    /// all the same. Others of the same frame come along.
    pub remote: Option<RemoteNetwork>,
    /// Everything in the files, synced or not. For a copy of a trail: the head that says how far
    /// it was synced is itself not synced, so after a power cut it may lag behind by half a
    /// minute until the recorder starts again.
    pub unpublished_too: bool,
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "almost every item is a record")]
pub enum Item {
    /// A record.
    Record {
        /// Where it stands.
        id: RecordId,
        /// The record.
        record: Record,
        /// The machine that recorded it. Where the segment's header is damaged and no other
        /// segment of the epoch was read, all of it is empty.
        device: Arc<Device>,
    },
    /// A record that this version cannot read, though its bytes are as they were written.
    Unreadable {
        /// Where it stands.
        id: RecordId,
        /// Why.
        error: WireError,
    },
    /// Bytes that are not as they were written.
    Damaged(Damaged),
    /// Sequences that are nowhere.
    Missing(Missing),
}

/// What a reader finds, with records as the bytes they are kept as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawItem<'a> {
    /// A record.
    Record {
        /// Where it stands.
        id: RecordId,
        /// What [`codec::decode`] reads.
        bytes: &'a [u8],
        /// The machine that recorded it; see [`Item::Record`].
        device: &'a Arc<Device>,
    },
    /// Bytes that are not as they were written.
    Damaged(Damaged),
    /// Sequences that are nowhere.
    Missing(Missing),
}

/// Bytes that are not as they were written, or were written only in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// In which segment.
    pub segment: SegmentName,
    /// From which byte.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many records were lost with them, by the sequences before and after; zero when it was
    /// only the segment's header, or when they were written again elsewhere. `None` when nothing
    /// follows that would tell; should something follow later, a [`Missing`] tells it.
    pub lost_records: Option<u64>,
    /// Nothing valid follows in the segment, as when a crash cut off the last write.
    pub at_end: bool,
}

/// Sequences of an epoch that are in no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which epoch.
    pub epoch: u64,
    /// First missing sequence.
    pub first_sequence: u64,
    /// Last missing sequence.
    pub last_sequence: u64,
}

/// Something in the directory that was not read, which loses no record of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// Not a file of a trail.
    Foreign(PathBuf),
    /// A segment's header names another segment: it was renamed.
    Renamed(PathBuf),
    /// A segment of a newer format, with its version.
    NewerFormat(PathBuf, u16),
}

/// Walks over the records of a trail in order, once.
///
/// When [`TrailReader::next_item`] or [`TrailReader::next_raw`] returns `None` there is nothing
/// more for now; called again later they go on with what was published since, across new segments
/// and new epochs. A reader never writes, takes no lock, and ends on every input.
pub struct TrailReader<D: Disk = RealDisk> {
    disk: D,
    dir: PathBuf,
    options: ReadOptions,
    current: Option<Scanner<D::File>>,
    /// The segment after the current one, if it is of the same epoch, and whether it is what its
    /// name says, once that mattered.
    successor: Option<(SegmentName, Option<bool>)>,
    /// The last segment that was opened or given up.
    passed: Option<SegmentName>,
    next: Expected,
    unpacker: Unpacker,
    decoder: codec::Decoder,
    /// The frame that is being handed out, and which of its records is next.
    frame: Option<(FrameHeader, usize)>,
    found: VecDeque<Found>,
    device: Arc<Device>,
    devices: HashMap<u64, Arc<Device>>,
    warnings: BTreeSet<Warning>,
    checker: Option<Box<Checker>>,
    head: Option<chain::Head>,
    bytes_read: u64,
    frames: Frames,
    times: BTreeMap<SegmentName, Times>,
}

/// How many frames a reader came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// Those that it decompressed.
    pub unpacked: u64,
    /// Those that it passed over, because by their header they hold nothing that is wanted.
    pub passed: u64,
}

/// The record that must come next.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    epoch: u64,
    sequence: u64,
}

enum Found {
    Damaged(Damaged),
    Missing(Missing),
}

/// What the front of a segment says of the rest.
enum Front {
    Readable,
    /// It is none of ours, or not for this version.
    Stranger,
    /// It is only being made.
    Unfinished,
}

/// What there is to read at one moment.
struct Shelf {
    /// With their length in bytes.
    segments: BTreeMap<SegmentName, u64>,
    head: Option<Head>,
}

/// How much there is.
pub(crate) struct Extent {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) unpublished_bytes: u64,
}

impl TrailReader<RealDisk> {
    /// Reads the segments in `dir` from the first on; see [`crate::segments_dir`].
    ///
    /// # Errors
    /// When `dir` cannot be listed. A directory that is empty, or does not exist yet, can be read.
    pub fn open(dir: &Path) -> Result<TrailReader, TrailError> {
        TrailReader::open_on(RealDisk, dir, ReadOptions::default())
    }

    /// Goes on after a cursor; see [`TrailReader::resume_on`].
    ///
    /// # Errors
    /// As [`TrailReader::open`].
    pub fn resume(
        dir: &Path,
        options: ReadOptions,
        cursor: &Cursor,
    ) -> Result<(TrailReader, Resumed), TrailError> {
        TrailReader::resume_on(RealDisk, dir, options, cursor)
    }

    /// Reads what `options` ask for.
    ///
    /// # Errors
    /// As [`TrailReader::open`].
    pub fn open_with(dir: &Path, options: ReadOptions) -> Result<TrailReader, TrailError> {
        TrailReader::open_on(RealDisk, dir, options)
    }
}

impl<D: Disk> TrailReader<D> {
    /// Reads from a disk that need not be real.
    ///
    /// # Errors
    /// As [`TrailReader::open`].
    pub fn open_on(
        disk: D,
        dir: &Path,
        options: ReadOptions,
    ) -> Result<TrailReader<D>, TrailError> {
        let mut reader = TrailReader {
            disk,
            dir: dir.to_owned(),
            options,
            current: None,
            successor: None,
            passed: None,
            next: Expected::default(),
            unpacker: Unpacker::new(),
            decoder: codec::Decoder::default(),
            frame: None,
            found: VecDeque::new(),
            device: Arc::default(),
            devices: HashMap::new(),
            warnings: BTreeSet::new(),
            checker: None,
            head: None,
            bytes_read: 0,
            frames: Frames::default(),
            times: BTreeMap::new(),
        };
        let shelf = reader.look()?;
        if reader.options.wall.is_some() {
            reader.times = times::read(&reader.disk, dir, &shelf.segments);
        }
        if let Some(after) = reader.options.after {
            reader.go_to(after, &shelf);
        }
        Ok(reader)
    }

    fn go_to(&mut self, after: RecordId, shelf: &Shelf) {
        self.next = Expected {
            epoch: after.epoch,
            sequence: after.sequence.saturating_add(1),
        };
        self.passed = shelf.before(self.next);
    }

    /// Goes on after a cursor, and says where that is; see [`Resumed`].
    ///
    /// # Errors
    /// As [`TrailReader::open`].
    pub fn resume_on(
        disk: D,
        dir: &Path,
        options: ReadOptions,
        cursor: &Cursor,
    ) -> Result<(TrailReader<D>, Resumed), TrailError> {
        let mut reader = TrailReader::open_on(disk, dir, options)?;
        let shelf = reader.look()?;
        let resumed = reader.place_of(cursor, &shelf);
        match resumed {
            Resumed::Here | Resumed::Gap(_) | Resumed::Ahead => {
                reader.options.after = Some(cursor.last);
                reader.go_to(cursor.last, &shelf);
            }
            Resumed::StartedOver | Resumed::OtherEndpoint(_) => {
                reader.options.after = None;
                reader.next = Expected::default();
                reader.passed = None;
            }
        }
        Ok((reader, resumed))
    }

    /// The next item, or `None` when there is nothing more for now.
    ///
    /// # Errors
    /// When a directory or file cannot be opened. A segment that caused an error is passed over
    /// by the next call, and its records are then reported missing.
    pub fn next_item(&mut self) -> Result<Option<Item>, TrailError> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let item = self
            .next_raw()
            .map(|item| item.map(|item| decoded(item, &mut decoder)));
        self.decoder = decoder;
        item
    }

    /// The next item, or `None` when there is nothing more for now, without decoding records.
    ///
    /// # Errors
    /// As [`TrailReader::next_item`].
    pub fn next_raw(&mut self) -> Result<Option<RawItem<'_>>, TrailError> {
        while self.frame.is_none() && self.found.is_empty() {
            if !self.next_frame() && !self.advance()? {
                return Ok(None);
            }
        }
        if let Some(found) = self.found.pop_front() {
            return Ok(Some(match found {
                Found::Damaged(damaged) => RawItem::Damaged(damaged),
                Found::Missing(missing) => RawItem::Missing(missing),
            }));
        }
        let (header, index) = self
            .frame
            .expect("the loop ends only with a frame or a find");
        let left = index + 1 < usize::from(header.records);
        self.frame = left.then_some((header, index + 1));
        let sequence = header.first_sequence + index as u64;
        Ok(Some(RawItem::Record {
            id: RecordId {
                epoch: header.epoch,
                sequence,
            },
            bytes: self.unpacker.record(index),
            device: &self.device,
        }))
    }

    /// What was passed over so far, in no order of time.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.warnings.iter()
    }

    /// Bytes that were read from segments so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read + self.current.as_ref().map_or(0, Scanner::bytes_read)
    }

    /// Frames that were decompressed and passed over so far.
    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// The chain at the last record of the frame that was handed out last, as it is written there;
    /// kept elsewhere it anchors all up to there. `None` before the first frame that has one.
    pub fn head(&self) -> Option<chain::Head> {
        self.head
    }

    /// Looks into every frame and follows the chain; the conclusion comes from
    /// [`TrailReader::conclude`].
    pub(crate) fn check(&mut self, anchors: &[chain::Head], keys: &[PublicKey]) {
        self.checker = Some(Box::new(Checker::new(anchors, keys)));
    }

    pub(crate) fn conclude(&mut self) -> Result<ChainReport, TrailError> {
        let shelf = self.look()?;
        let Some(mut checker) = self.checker.take() else {
            return Ok(ChainReport::default());
        };
        let signatures = signing::beside(&self.dir);
        for name in SignatureFile::names(&self.disk, &signatures) {
            if !shelf.segments.contains_key(&name) {
                let left = SignatureFile::read(&self.disk, &signatures, name);
                checker.signatures(name, left);
            }
        }
        Ok(checker.conclude())
    }

    /// Segments, their bytes, and the bytes of them that are not published.
    pub(crate) fn extent(&mut self) -> Result<Extent, TrailError> {
        let shelf = self.look()?;
        Ok(Extent {
            segments: shelf.segments.len() as u64,
            bytes: shelf.segments.values().sum(),
            unpublished_bytes: shelf.unpublished_bytes(),
        })
    }

    fn place_of(&self, cursor: &Cursor, shelf: &Shelf) -> Resumed {
        let RecordId { epoch, sequence } = cursor.last;
        let of_epoch = shelf.segments.keys().find(|name| name.epoch >= epoch);
        let (Some(first), Some(newest)) = (of_epoch, shelf.segments.keys().next_back()) else {
            return Resumed::StartedOver;
        };
        let header = self.peek(*first);
        let told = header.as_ref().map(|it| it.endpoint);
        let told = told.or_else(|| self.peek(*newest).map(|it| it.endpoint));
        if let Some(other) = told.filter(|told| *told != cursor.endpoint) {
            return Resumed::OtherEndpoint(other);
        }
        let behind = |head: &Head| head.segment.epoch == epoch && head.last_sequence < sequence;
        if shelf.head.as_ref().is_some_and(behind) {
            return Resumed::Ahead;
        }
        let lost = if first.epoch == epoch {
            Some(
                first
                    .first_sequence
                    .saturating_sub(sequence.saturating_add(1)),
            )
        } else {
            let before = header.and_then(|it| it.previous);
            let before = before.filter(|it| first.first_sequence == 1 && it.epoch == epoch);
            before.map(|it| it.sequence.saturating_sub(sequence))
        };
        match lost {
            Some(0) => Resumed::Here,
            lost => Resumed::Gap(lost),
        }
    }

    /// The header of a segment, if it is readable and its own.
    fn peek(&self, name: SegmentName) -> Option<Box<SegmentHeader>> {
        match self.front_of(name)? {
            SegmentFront::Header(header) => Some(header).filter(|header| header.name == name),
            SegmentFront::NewerFormat(_) | SegmentFront::Short | SegmentFront::Damaged => None,
        }
    }

    fn front_of(&self, name: SegmentName) -> Option<SegmentFront> {
        let file = self.disk.open(&self.dir.join(name.to_string())).ok()?;
        let length = file.length().ok()?;
        let mut scanner = Scanner::new(file, name);
        scanner.extend(length, true);
        Some(scanner.front())
    }

    /// Whether a frame is what a write that failed left: everything from the first record of the
    /// next segment on stands there. A power cut may bring such frames back, and any of them
    /// without those before it, so that they would hide what is missing between.
    fn is_left_over(&mut self, header: &FrameHeader) -> bool {
        match self.successor {
            Some((successor, told)) if header.first_sequence >= successor.first_sequence => {
                let is_successor = || {
                    self.front_of(successor)
                        .is_some_and(|front| front.may_be(successor))
                };
                let is_successor = told.unwrap_or_else(is_successor);
                self.successor = Some((successor, Some(is_successor)));
                is_successor
            }
            Some(_) | None => false,
        }
    }

    /// Goes on to the next frame in the current segment; false when there is none.
    fn next_frame(&mut self) -> bool {
        let Some(header) = self.current.as_mut().and_then(Scanner::next_header) else {
            return false;
        };
        let is_left_over = self.is_left_over(&header);
        let scanner = self.current.as_mut().expect("it was there above");
        if is_left_over {
            scanner.pass_unread(&header);
            return true;
        }
        let seen = header.last_sequence() < self.next.sequence;
        let wanted = !seen && self.options.wants(&header, scanner);
        if !wanted && self.checker.is_none() {
            self.frames.passed += 1;
            self.settle(&header);
            self.current
                .as_mut()
                .expect("it was there above")
                .pass_unread(&header);
            return true;
        }
        self.frames.unpacked += 1;
        if scanner.has_damage()
            && let Some(checker) = &mut self.checker
        {
            checker.damage();
        }
        if scanner.load(&header, &mut self.unpacker).is_err() {
            scanner.pass_damaged(&header);
            if let Some(checker) = &mut self.checker {
                checker.lost_frame(&header);
            }
            return true;
        }
        scanner.pass(&header);
        if let Some(checker) = &mut self.checker {
            checker.frame(&header, &self.unpacker);
        }
        let skip = self.settle(&header);
        if wanted {
            self.frame = Some((header, skip));
            self.head = header.head().or(self.head);
        }
        true
    }

    /// Accounts for a valid frame: what damage before it cost, what is missing before it.
    /// Returns how many of its records were read before, in a copy of it.
    fn settle(&mut self, header: &FrameHeader) -> usize {
        if header.last_sequence() < self.next.sequence {
            // What damage before it cost, only a frame with something new can tell.
            return header.records.into();
        }
        let gap = header.first_sequence.saturating_sub(self.next.sequence);
        let seen = self.next.sequence.saturating_sub(header.first_sequence);
        let damage = self.current.as_mut().and_then(Scanner::take_damage);
        match damage {
            Some(damage) => self.report_damage(damage, Some(gap), false),
            None => self.report_missing(header.first_sequence),
        }
        self.next.sequence = self.next.sequence.max(header.last_sequence() + 1);
        seen.min(header.records.into()) as usize
    }

    fn report_damage(&mut self, damage: Damage, lost_records: Option<u64>, at_end: bool) {
        let segment = self
            .passed
            .expect("a segment was opened before damage was found in it");
        self.found.push_back(Found::Damaged(Damaged {
            segment,
            offset: damage.from,
            bytes: damage.to - damage.from,
            lost_records,
            at_end,
        }));
    }

    /// Reports what is missing before `sequence`, if anything.
    fn report_missing(&mut self, sequence: u64) {
        if sequence <= self.next.sequence {
            return;
        }
        self.found.push_back(Found::Missing(Missing {
            epoch: self.next.epoch,
            first_sequence: self.next.sequence,
            last_sequence: sequence - 1,
        }));
        self.next.sequence = sequence;
    }

    /// Looks for more to read: in the current segment, then in the one after it.
    /// False when there is nothing for now.
    fn advance(&mut self) -> Result<bool, TrailError> {
        let shelf = self.look()?;
        if self.extend_current(&shelf)? {
            return Ok(true);
        }
        let mut following = shelf.following(self.passed);
        self.close_current(following);
        while let Some((name, last)) = following.and_then(|name| self.unwanted(name, &shelf)) {
            self.pass_segment(name, last);
            if !self.found.is_empty() {
                return Ok(true);
            }
            following = shelf.following(self.passed);
        }
        let opened = match following {
            Some(name) => self.open_segment(name, &shelf)?,
            None => false,
        };
        Ok(opened || !self.found.is_empty())
    }

    /// The name and last sequence of an ended segment that has nothing of the time that is asked
    /// for, as far as that is known without opening it.
    fn unwanted(&self, name: SegmentName, shelf: &Shelf) -> Option<(SegmentName, u64)> {
        let range = self.options.wall.as_ref()?;
        let range = range.start().0..=range.end().0;
        let (length, times) = (*shelf.segments.get(&name)?, self.times.get(&name)?);
        let ended = shelf.extent(name, length) == (length, true)
            && shelf.following(Some(name)).is_some()
            && times.bytes == length;
        let unwanted = ended && self.checker.is_none() && !times.overlap(&range);
        unwanted.then_some((name, times.last_sequence))
    }

    fn pass_segment(&mut self, name: SegmentName, last_sequence: u64) {
        self.bytes_read += self.current.take().as_ref().map_or(0, Scanner::bytes_read);
        self.passed = Some(name);
        self.expect_segment(name);
        self.next.sequence = self.next.sequence.max(last_sequence.saturating_add(1));
    }

    /// Lets the current segment be read as far as it may be by now.
    fn extend_current(&mut self, shelf: &Shelf) -> Result<bool, TrailError> {
        let Some(scanner) = &mut self.current else {
            return Ok(false);
        };
        let path = self.dir.join(scanner.name().to_string());
        let length = scanner.file().length().context("measure", &path)?;
        let (limit, settled) = shelf.extent(scanner.name(), length);
        let successor = shelf.successor(scanner.name());
        if self.successor.map(|(known, _)| known) != successor {
            self.successor = successor.map(|successor| (successor, None));
        }
        Ok(scanner.extend(limit, settled))
    }

    /// Reports damage at the end of what can be read of the current segment.
    fn close_current(&mut self, following: Option<SegmentName>) {
        let Some(damage) = self.current.as_mut().and_then(Scanner::take_settled_damage) else {
            return;
        };
        if let Some(checker) = &mut self.checker {
            checker.damage();
        }
        let neighbour = following.filter(|name| name.epoch == self.next.epoch);
        let next = neighbour.map(|name| name.first_sequence);
        // A damaged copy of what was read before costs nothing.
        let next = next.or(damage.known_through.map(|last| last.saturating_add(1)));
        let lost = next.map(|next| next.saturating_sub(self.next.sequence));
        self.next.sequence = self.next.sequence.saturating_add(lost.unwrap_or(0));
        self.report_damage(damage, lost, true);
    }

    /// Goes on to a segment; false when it is only being made.
    fn open_segment(&mut self, name: SegmentName, shelf: &Shelf) -> Result<bool, TrailError> {
        self.bytes_read += self.current.take().as_ref().map_or(0, Scanner::bytes_read);
        let before = self.passed.replace(name);
        let path = self.dir.join(name.to_string());
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            // It was evicted since the directory was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error).context("open", &path),
        };
        let length = file.length().context("measure", &path)?;
        let (limit, settled) = shelf.extent(name, length);
        let mut scanner = Scanner::new(file, name);
        scanner.extend(limit, settled);
        self.successor = shelf.successor(name).map(|successor| (successor, None));
        match self.read_front(&mut scanner, path) {
            Front::Readable => self.begin_segment(scanner),
            Front::Stranger => {}
            Front::Unfinished => {
                self.passed = before;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn begin_segment(&mut self, scanner: Scanner<D::File>) {
        self.expect_segment(scanner.name());
        self.current = Some(scanner);
    }

    fn expect_segment(&mut self, name: SegmentName) {
        if name.epoch != self.next.epoch {
            self.next = Expected {
                epoch: name.epoch,
                sequence: 1,
            };
        }
        self.report_missing(name.first_sequence);
    }

    fn read_front(&mut self, scanner: &mut Scanner<D::File>, path: PathBuf) -> Front {
        let name = scanner.name();
        let front = scanner.front();
        self.check_front(name, &front);
        match front {
            SegmentFront::Header(header) if header.name == name => {
                let known = self.devices.entry(name.epoch).or_default();
                if **known != header.device {
                    *known = Arc::new(header.device);
                }
                self.device = Arc::clone(known);
                Front::Readable
            }
            SegmentFront::Header(_) => {
                self.warnings.insert(Warning::Renamed(path));
                Front::Stranger
            }
            SegmentFront::NewerFormat(version) => {
                self.warnings.insert(Warning::NewerFormat(path, version));
                Front::Stranger
            }
            SegmentFront::Short if !scanner.is_settled() => Front::Unfinished,
            SegmentFront::Short | SegmentFront::Damaged => {
                self.device = self.devices.get(&name.epoch).cloned().unwrap_or_default();
                Front::Readable
            }
        }
    }

    fn check_front(&mut self, name: SegmentName, front: &SegmentFront) {
        let Some(checker) = &mut self.checker else {
            return;
        };
        match front {
            SegmentFront::Header(header) if header.name == name => {
                checker.segment(name, Some(header));
            }
            SegmentFront::Short | SegmentFront::Damaged => checker.segment(name, None),
            SegmentFront::Header(_) | SegmentFront::NewerFormat(_) => return,
        }
        let signatures = signing::beside(&self.dir);
        checker.signatures(name, SignatureFile::read(&self.disk, &signatures, name));
    }

    /// Sees what is there now. The head is read after the directory: a writer publishes an epoch
    /// before it makes a segment of it, and a segment's end before it makes the next, so the head
    /// knows of every segment that was seen.
    fn look(&mut self) -> Result<Shelf, TrailError> {
        let entries = match self.disk.list(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context("list", &self.dir),
        };
        let head = if self.options.unpublished_too {
            None
        } else {
            self.read_head()
        };
        let segments = entries
            .iter()
            .filter_map(|entry| Some((self.recognise(entry)?, entry.bytes)));
        Ok(Shelf {
            segments: segments.collect(),
            head,
        })
    }

    fn recognise(&mut self, entry: &Entry) -> Option<SegmentName> {
        let name = entry
            .is_file
            .then(|| SegmentName::parse(&entry.name))
            .flatten();
        if name.is_none() && !OURS.contains(&entry.name.as_str()) {
            self.warnings
                .insert(Warning::Foreign(self.dir.join(&entry.name)));
        }
        name
    }

    /// The head may be read in the middle of its being written, so it gets a few chances.
    fn read_head(&self) -> Option<Head> {
        (0..HEAD_ATTEMPTS).find_map(|_| {
            let mut bytes = [0; HEAD_BYTES];
            let file = self.disk.open(&self.dir.join(HEAD_NAME)).ok()?;
            file.read_at(&mut bytes, 0).ok()?;
            Head::parse(&bytes)
        })
    }
}

impl ReadOptions {
    fn wants<F: DiskFile>(&self, header: &FrameHeader, scanner: &mut Scanner<F>) -> bool {
        let in_time = self.wall.as_ref().is_none_or(|range| {
            header.wall_max_ns >= range.start().0 && header.wall_min_ns <= range.end().0
        });
        in_time
            && self
                .remote
                .is_none_or(|remote| remote.may_be_in(scanner.index(header)))
    }
}

fn decoded(item: RawItem<'_>, decoder: &mut codec::Decoder) -> Item {
    match item {
        RawItem::Record { id, bytes, device } => match decoder.decode(bytes) {
            Ok(record) => Item::Record {
                id,
                record,
                device: Arc::clone(device),
            },
            Err(error) => Item::Unreadable { id, error },
        },
        RawItem::Damaged(damaged) => Item::Damaged(damaged),
        RawItem::Missing(missing) => Item::Missing(missing),
    }
}

impl Shelf {
    /// How many bytes of a segment may be read, and whether they will stay as they are.
    ///
    /// The head speaks for its own epoch: segments before the one it names are whole, those after
    /// are not published. Earlier epochs are whole. An epoch later than the head's is whole too:
    /// a writer publishes its epoch before it makes the first segment, so the head must have been
    /// thrown back by a power cut, and nobody writes. Without a head the last segment may still
    /// be growing.
    fn extent(&self, name: SegmentName, length: u64) -> (u64, bool) {
        match self.head {
            Some(head) if head.segment == name => (length.min(head.offset), true),
            Some(head) if head.segment.epoch == name.epoch && name > head.segment => (0, true),
            Some(head) if name < head.segment => (length, true),
            Some(_) | None => (length, self.following(Some(name)).is_some()),
        }
    }

    /// The first segment after `passed` of which anything is published.
    fn following(&self, passed: Option<SegmentName>) -> Option<SegmentName> {
        let from = passed.map_or(Bound::Unbounded, Bound::Excluded);
        let mut after = self
            .segments
            .range((from, Bound::Unbounded))
            .map(|(name, _)| *name);
        after.find(|name| {
            self.head.is_none_or(|head| match name.cmp(&head.segment) {
                Ordering::Less => true,
                Ordering::Equal => head.offset > 0,
                Ordering::Greater => name.epoch > head.segment.epoch,
            })
        })
    }

    /// The segment of the same epoch that goes on where this one was left. The head may know of
    /// one that was made after the directory was listed.
    fn successor(&self, name: SegmentName) -> Option<SegmentName> {
        let after = (Bound::Excluded(name), Bound::Unbounded);
        let listed = self.segments.range(after).next().map(|(name, _)| *name);
        let published = self.head.map(|head| head.segment);
        let successors = listed.into_iter().chain(published);
        successors
            .filter(|successor| successor.epoch == name.epoch && *successor > name)
            .min()
    }

    /// The segment before the first one that may hold the record `next`. Where one would begin with
    /// it, a crash may have left that empty, and the record in the one before.
    fn before(&self, next: Expected) -> Option<SegmentName> {
        let wanted = SegmentName {
            epoch: next.epoch,
            first_sequence: next.sequence,
        };
        let mut back = self.segments.range(..=wanted).rev().map(|(name, _)| *name);
        let of_epoch = |name: &SegmentName| name.epoch == next.epoch;
        let first = back.next();
        let first = match first.filter(|first| *first == wanted) {
            Some(_) => back.next(),
            None => first,
        };
        match first.filter(of_epoch) {
            Some(_) => back.next(),
            None => first,
        }
    }

    fn unpublished_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|(name, bytes)| bytes - self.extent(*name, *bytes).0)
            .sum()
    }
}

/// The file that says how far the trail is synced.
pub(crate) const HEAD_NAME: &str = "head";

/// The same file before it has its name.
pub(crate) const HEAD_NEW_NAME: &str = "head.new";

/// Files in the directory that are no segments.
const OURS: [&str; 3] = [HEAD_NAME, HEAD_NEW_NAME, REWRITE_NAME];

const HEAD_ATTEMPTS: usize = 3;
