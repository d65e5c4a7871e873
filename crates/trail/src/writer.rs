//! Writes a trail: numbers, packs, syncs, publishes, evicts.

use crate::batch::Batch;
use crate::chain::{self, Hash};
use crate::disk::{Disk, DiskFile, RealDisk};
use crate::epoch::EpochFile;
use crate::error::{Context, TrailError};
use crate::format::{
    DEVICE_BYTES_MAX, EPOCH_MAX, HEAD_BYTES, Head, SegmentFacts, SegmentName, segment_header,
};
use crate::index::Remote;
use crate::reader::{HEAD_NAME, HEAD_NEW_NAME};
use crate::rewrite::{Progress, REWRITE_NAME, Rewrite, Unfit};
use crate::signing::{Signatures, SigningKey};
use crate::stock::{Kept, SegmentRange, Stock, Unread};
use crate::times::{self, Times, TimesFile};
use record::{Device, Mono, PreviousEpoch, Record, RecordId, Stamp, Wall, codec};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How to write.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The machine; every segment carries it.
    pub device: Device,
    /// Bytes that all segments together may take; at most one flush more.
    pub quota_bytes: u64,
    /// Bytes after which a new segment is begun; at most half the quota, because what the quota
    /// evicts is whole segments.
    pub segment_bytes: u64,
    /// The longest that a record waits to be synced, in nanoseconds.
    pub flush_interval_ns: u64,
    /// Bytes of records after which they are synced without waiting.
    pub flush_bytes: usize,
    /// Bytes of records that are kept while the disk refuses them.
    pub pending_max_bytes: usize,
    /// Level of zstd.
    pub compression_level: i32,
    /// Nanoseconds after which records are deleted even where there is room; `None` for never.
    /// What goes is whole segments, so some stay until the last of their segment is as old.
    pub age_max_ns: Option<u64>,
    /// How long the wall clock must have gone on without a step before anything is deleted for its
    /// age, in nanoseconds: a clock that was set ahead by mistake makes everything look old.
    pub age_trust_ns: u64,
    /// How much of old segments [`TrailWriter::tend`] may copy in one call, in bytes; zero for
    /// never.
    pub rewrite_bytes: u64,
}

impl WriterOptions {
    /// What suits a machine that people work on.
    pub fn new(device: Device, quota_bytes: u64) -> WriterOptions {
        WriterOptions {
            device,
            quota_bytes,
            segment_bytes: 8 << 20,
            flush_interval_ns: 1_000_000_000,
            flush_bytes: 4 << 20,
            pending_max_bytes: 16 << 20,
            compression_level: 1,
            age_max_ns: None,
            age_trust_ns: 3_600_000_000_000,
            rewrite_bytes: 64 << 10,
        }
    }
}

/// What a successful flush has to tell. Each thing is told once.
#[derive(Debug, Default)]
#[must_use = "what it tells must become notices"]
pub struct Flushed {
    /// The last record that is now on disk.
    pub durable: Option<RecordId>,
    /// Records that were dropped while the disk refused to be written.
    pub dropped: Option<Dropped>,
    /// What will be deleted to keep within the quota, with the last sequence always known. The
    /// caller must append a notice for each before it flushes again: the segments go only when
    /// that flush has synced all it was given, so a crash in between leaves them there, to be
    /// declared once more, and never the other way round.
    pub evicting: Vec<SegmentRange>,
    /// What someone else deleted.
    pub vanished: Vec<SegmentRange>,
    /// Segments that were to be written a second time and are damaged; they stay as they are, and
    /// readers tell what is lost. How many records that is, the writer does not know.
    pub damaged: Vec<Spoilt>,
    /// What did not work, though no record depends on it: publishing, or deleting old segments.
    /// It is tried again.
    pub trouble: Option<TrailError>,
}

/// A segment that was written a second time, with the same records and chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Which.
    pub segment: SegmentName,
    /// How many bytes it had.
    pub bytes_before: u64,
    /// How many it has.
    pub bytes_after: u64,
}

/// A segment that is damaged where records stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoilt {
    /// The records that it held, those that are lost among them.
    pub range: SegmentRange,
    /// When it was begun, where that can be read: it was damaged later.
    pub created: Option<Stamp>,
}

/// Records that could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// The last flush before the first of them; the loss is later.
    pub since: Stamp,
}

/// The one writer of a trail.
///
/// Appending never touches the disk and never fails; flushing does, and may. The writer has no
/// clock: whoever calls says what time it is.
pub struct TrailWriter<D: Disk = RealDisk> {
    disk: D,
    places: Places,
    options: WriterOptions,
    device_bytes: Vec<u8>,
    epoch: u64,
    previous: Option<PreviousEpoch>,
    /// Where the chain of the epoch goes on from.
    previous_head: Option<chain::Head>,
    batch: Batch,
    encoder: codec::Encoder,
    record_bytes: Vec<u8>,
    stock: Stock,
    current: Option<Current<D::File>>,
    head: Option<D::File>,
    /// What the head says, or must say as soon as it can be written.
    published: Head,
    /// The last synced sequence of the epoch; zero when there is none.
    durable: u64,
    /// The chain after it.
    durable_hash: Hash,
    planned: Vec<SegmentName>,
    /// The planned segments may go when this sequence is synced.
    planned_until: u64,
    news: Flushed,
    dropped: u64,
    last_flush_at: Stamp,
    /// Since when the wall clock has gone on without a step.
    steady_since: Mono,
    not_before: Mono,
    rewrite: Option<Rewrite<D::File>>,
    /// When to look for something to rewrite again.
    tend_at: Mono,
    signatures: Signatures<D::File>,
    times: TimesFile<D::File>,
    _lock: D::Lock,
}

/// The segment that is being written.
struct Current<F> {
    name: SegmentName,
    path: PathBuf,
    file: F,
    /// Bytes that count: synced ones, and the header of a segment that has no more.
    bytes: u64,
    /// The last synced sequence in it; `None` while nothing in it is synced.
    last_sequence: Option<u64>,
    /// The earliest and latest wall time in it.
    wall: Option<(i64, i64)>,
}

/// Frames that were written one after the other.
struct Run {
    frames: usize,
    end: u64,
    last_sequence: u64,
    hash: Hash,
    wall: Option<(i64, i64)>,
}

struct Places {
    state: PathBuf,
    segments: PathBuf,
}

/// The directory of the segments in a state directory: what [`crate::TrailReader`] reads.
pub fn segments_dir(state: &Path) -> PathBuf {
    state.join("trail")
}

impl TrailWriter<RealDisk> {
    /// Opens a new epoch in the trail under the directory `state`, which is made if need be.
    ///
    /// The first record appended must be the notice that the recorder started, with what
    /// [`TrailWriter::previous`] says.
    ///
    /// # Errors
    /// When another writer has the trail, or when the new epoch cannot be made durable, as on a
    /// full disk. Damage in what is there is no reason to refuse.
    pub fn open(
        state: &Path,
        options: WriterOptions,
        now: Stamp,
    ) -> Result<TrailWriter, TrailError> {
        TrailWriter::open_on(RealDisk, state, options, now)
    }
}

impl<D: Disk> TrailWriter<D> {
    /// Opens a new epoch on a disk that need not be real.
    ///
    /// # Errors
    /// As [`TrailWriter::open`].
    pub fn open_on(
        disk: D,
        state: &Path,
        mut options: WriterOptions,
        now: Stamp,
    ) -> Result<TrailWriter<D>, TrailError> {
        options.segment_bytes = options.segment_bytes.min(options.quota_bytes / 2);
        let places = Places {
            state: state.to_owned(),
            segments: segments_dir(state),
        };
        disk.create_dir(state).context("create", state)?;
        let lock = places.lock(&disk)?;
        disk.create_dir(&places.segments)
            .context("create", &places.segments)?;
        let stock = Stock::survey(&disk, &places.segments)?;
        let (epoch, previous, previous_head) = places.open_epoch(&disk, &stock)?;
        let device_bytes = device_bytes(&options.device);
        let endpoint = options.device.endpoint;
        let times = TimesFile::open(&disk, state, &places.segments, &stock.lengths());
        let genesis = chain::genesis(endpoint, epoch, previous_head, &device_bytes);
        let (level, pending) = (options.compression_level, options.pending_max_bytes);
        let mut writer = TrailWriter {
            batch: Batch::new(epoch, genesis, level, pending),
            disk,
            places,
            options,
            device_bytes,
            epoch,
            previous,
            previous_head,
            encoder: codec::Encoder::default(),
            record_bytes: Vec::new(),
            stock,
            current: None,
            head: None,
            published: Head {
                segment: SegmentName {
                    epoch,
                    first_sequence: 1,
                },
                offset: 0,
                last_sequence: 0,
            },
            durable: 0,
            durable_hash: genesis,
            planned: Vec::new(),
            planned_until: 0,
            news: Flushed::default(),
            dropped: 0,
            last_flush_at: now,
            steady_since: now.mono,
            not_before: Mono(0),
            rewrite: None,
            tend_at: Mono(0),
            signatures: Signatures::new(state),
            times,
            _lock: lock,
        };
        // What a crash left of a rewrite is of no use, and no harm where it cannot be removed.
        let _ = writer.disk.remove(&writer.places.rewrite());
        writer.publish();
        Ok(writer)
    }

    /// The epoch of all records of this writer.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What is known of the latest epoch before this one that has a record on disk; where none
    /// has, of the latest epoch there was.
    pub fn previous(&self) -> Option<PreviousEpoch> {
        self.previous
    }

    /// The last record that is known to be on disk.
    pub fn durable(&self) -> Option<RecordId> {
        (self.durable > 0).then_some(RecordId {
            epoch: self.epoch,
            sequence: self.durable,
        })
    }

    /// The chain at the last record that is known to be on disk: kept elsewhere it anchors all
    /// up to there.
    pub fn head(&self) -> Option<chain::Head> {
        self.durable().map(|last| chain::Head {
            epoch: last.epoch,
            sequence: last.sequence,
            hash: self.durable_hash,
        })
    }

    /// How many records were dropped since the writer was opened.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes of records that wait to be synced.
    pub fn pending_bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Takes a record; `None` when it had to be dropped because the disk has refused to be
    /// written for too long, which [`Flushed::dropped`] will tell. A dropped record has no id, so
    /// ids have no gap.
    pub fn append(&mut self, record: &Record, now: Mono) -> Option<RecordId> {
        let mut bytes = std::mem::take(&mut self.record_bytes);
        bytes.clear();
        self.encoder.encode(record, &mut bytes);
        let id = self.append_bytes(&bytes, Remote::of(record), record.at().wall, now);
        self.record_bytes = bytes;
        id
    }

    /// Takes a record that is encoded already; `wall` is when it was made.
    pub fn append_encoded(&mut self, bytes: &[u8], wall: Wall, now: Mono) -> Option<RecordId> {
        self.append_bytes(bytes, Remote::of_bytes(bytes), wall, now)
    }

    fn append_bytes(
        &mut self,
        bytes: &[u8],
        remote: Remote,
        wall: Wall,
        now: Mono,
    ) -> Option<RecordId> {
        let id = self.batch.append(bytes, remote, wall, now);
        if id.is_none() {
            self.dropped += 1;
            let first = Dropped {
                count: 0,
                since: self.last_flush_at,
            };
            self.news.dropped.get_or_insert(first).count += 1;
        }
        id
    }

    /// When [`TrailWriter::flush`] should be called; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let oldest_at = self.batch.oldest_at()?;
        let full = self.batch.bytes() >= self.options.flush_bytes;
        let wait_ns = if full {
            0
        } else {
            self.options.flush_interval_ns
        };
        Some(oldest_at.plus_ns(wait_ns).max(self.not_before))
    }

    /// Whether it is time to flush.
    pub fn should_flush(&self, now: Mono) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now)
    }

    /// Writes what waits, syncs it, and publishes it to readers; then sees to the quota.
    ///
    /// # Errors
    /// When the disk refuses. What was not synced is kept and tried again by the next flush, for
    /// which [`TrailWriter::poll_timeout`] then gives the disk an interval's rest.
    pub fn flush(&mut self, now: Stamp) -> Result<Flushed, TrailError> {
        self.save(now)?;
        self.plan_eviction(now);
        Ok(std::mem::take(&mut self.news))
    }

    /// Writes an old segment of many small frames a second time, densely, a little with each call;
    /// to be called when there is nothing else to do. Says which one was finished, if one was.
    ///
    /// # Errors
    /// When the disk refuses. The segment is as it was, and is tried again after a minute.
    pub fn tend(&mut self, now: Mono) -> Result<Option<Rewritten>, TrailError> {
        if self.options.rewrite_bytes == 0 || now < self.tend_at {
            return Ok(None);
        }
        self.tend_at = now.plus_ns(TEND_PAUSE_NS);
        let tended = self.rewrite_some();
        if tended.is_err() {
            self.abandon_rewrite();
            self.tend_at = now.plus_ns(TEND_AFTER_ERROR_NS);
        }
        tended
    }

    /// When [`TrailWriter::tend`] has something to do again; `None` when it never has.
    pub fn tend_timeout(&self) -> Option<Mono> {
        let something = self.rewrite.is_some() || self.to_rewrite().is_some();
        (self.options.rewrite_bytes > 0 && something).then_some(self.tend_at)
    }

    /// Whether anything is synced that [`TrailWriter::sign`] would sign.
    pub fn has_unsigned(&self) -> bool {
        let head = self.head().filter(|_| self.current.is_some());
        !self.signatures.is_done(head)
    }

    /// Signs the head of what is synced, and those of segments that were ended since, a few with
    /// each call; durable when it returns. How often that is done is the caller's choice.
    ///
    /// # Errors
    /// When the disk refuses. No record depends on it, and what was signed before stays.
    pub fn sign(&mut self, key: &SigningKey, now: Wall) -> Result<(), TrailError> {
        let current = self.current.as_ref().map(|current| current.name);
        let head = current.zip(self.head());
        let endpoint = self.options.device.endpoint;
        self.signatures
            .sign(&self.disk, head, |head| key.sign(endpoint, head, now))
    }

    /// Flushes for the last time, plans no eviction, as nobody could declare it any more, and
    /// makes the published position durable too.
    ///
    /// # Errors
    /// As [`TrailWriter::flush`]; what waits is then lost.
    pub fn close(self, now: Stamp) -> Result<Flushed, TrailError> {
        self.close_signed(now, None)
    }

    /// As [`TrailWriter::close`], and signs the last head, where there is a key. That this failed
    /// is told as [`Flushed::trouble`].
    ///
    /// # Errors
    /// As [`TrailWriter::close`].
    pub fn close_signed(
        mut self,
        now: Stamp,
        key: Option<&SigningKey>,
    ) -> Result<Flushed, TrailError> {
        self.save(now)?;
        while let Some(key) = key.filter(|_| self.has_unsigned()) {
            if let Err(error) = self.sign(key, now.wall) {
                self.news.trouble = Some(error);
                break;
            }
        }
        if let Some(head) = &self.head {
            head.sync().context("sync", &self.places.head())?;
        }
        Ok(std::mem::take(&mut self.news))
    }

    fn rewrite_some(&mut self) -> Result<Option<Rewritten>, TrailError> {
        let Some(mut rewrite) = self
            .rewrite
            .take()
            .map_or_else(|| self.begin_rewrite(), |it| Ok(Some(it)))?
        else {
            return Ok(None);
        };
        let name = rewrite.name();
        match rewrite.step(self.options.rewrite_bytes)? {
            Progress::More => self.rewrite = Some(rewrite),
            Progress::Unfit(why) => {
                self.leave_as_it_is(name, why, Some(rewrite.created()));
                self.abandon_rewrite();
            }
            Progress::Copied(bytes) => return self.replace(&rewrite, bytes),
        }
        Ok(None)
    }

    /// A segment that may be written a second time; not the one that the head speaks of, because
    /// what is synced of it would no longer be as long as the head says.
    fn to_rewrite(&self) -> Option<SegmentName> {
        let name = self.stock.to_rewrite(&self.planned);
        name.filter(|name| *name != self.published.segment)
    }

    fn begin_rewrite(&mut self) -> Result<Option<Rewrite<D::File>>, TrailError> {
        let Some(name) = self.to_rewrite() else {
            return Ok(None);
        };
        let path = self.places.segments.join(name.to_string());
        let current = self.current.as_ref().map(|current| current.name);
        let successor = self.stock.successor(name, current);
        let until = successor.map(|successor| successor.first_sequence);
        let begun = Rewrite::begin(&self.disk, path, name, until, &self.places.rewrite())?;
        if let Err(why) = &begun {
            self.leave_as_it_is(name, *why, None);
        }
        Ok(begun.ok())
    }

    /// A segment is not looked at again, and what was found is told once.
    fn leave_as_it_is(&mut self, name: SegmentName, why: Unfit, created: Option<Stamp>) {
        let current = self.current.as_ref().map(|current| current.name);
        match why {
            Unfit::Damaged => self.news.damaged.push(Spoilt {
                range: self.stock.range(name, current),
                created,
            }),
            Unfit::Dense | Unfit::Torn | Unfit::Strange => {}
        }
        self.stock.rewritten(name, None);
    }

    /// Lets the copy take the place of the segment, unless that is to go, or is gone, by now.
    fn replace(
        &mut self,
        rewrite: &Rewrite<D::File>,
        bytes: u64,
    ) -> Result<Option<Rewritten>, TrailError> {
        let name = rewrite.name();
        let Some(before) = self
            .stock
            .bytes_of(name)
            .filter(|_| !self.planned.contains(&name))
        else {
            self.abandon_rewrite();
            return Ok(None);
        };
        if !rewrite.replace(&self.disk, &self.places.segments)? {
            self.abandon_rewrite();
            return Ok(None);
        }
        self.stock.rewritten(name, Some(bytes));
        if let Some(times) = rewrite.times(bytes) {
            self.times.note(&self.disk, name, times);
        }
        Ok(Some(Rewritten {
            segment: name,
            bytes_before: before,
            bytes_after: bytes,
        }))
    }

    fn abandon_rewrite(&mut self) {
        self.rewrite = None;
        // The next one empties it, where it cannot be removed.
        let _ = self.disk.remove(&self.places.rewrite());
    }

    fn save(&mut self, now: Stamp) -> Result<(), TrailError> {
        self.batch.seal();
        let written = self.write_all(now);
        self.watch_clock(now);
        self.last_flush_at = now;
        if let Err(error) = written {
            self.not_before = now.mono.plus_ns(self.options.flush_interval_ns);
            return Err(error);
        }
        self.not_before = Mono(0);
        if self.head.is_none() {
            self.publish();
        }
        self.evict();
        self.news.durable = self.durable();
        Ok(())
    }

    fn write_all(&mut self, now: Stamp) -> Result<(), TrailError> {
        let mut attempts = 0;
        while let Some(frame) = self.batch.first() {
            let (bytes, first_sequence) = (frame.bytes.len() as u64, frame.first_sequence);
            let before = frame.before;
            self.rotate(bytes);
            if self.current.is_none() {
                self.reconcile();
                self.current = Some(self.begin_segment(first_sequence, before, now)?);
            }
            if self.commit()? {
                self.publish();
                continue;
            }
            attempts += 1;
            let path = self.drop_vanished();
            if attempts == VANISHED_ATTEMPTS {
                return Err(TrailError::Vanished { path });
            }
        }
        Ok(())
    }

    /// Ends the current segment if a frame of `bytes` would make it too large.
    fn rotate(&mut self, bytes: u64) {
        let full = self.current.as_ref().is_some_and(|current| {
            current.last_sequence.is_some() && current.bytes + bytes > self.options.segment_bytes
        });
        if full {
            self.retire();
        }
    }

    /// Lets go of the current segment, as far as it is synced.
    fn retire(&mut self) {
        if let Some(Current {
            name,
            bytes,
            last_sequence,
            wall,
            ..
        }) = self.current.take()
        {
            if let Some((last_sequence, wall)) = last_sequence.zip(wall) {
                let times = Times {
                    last_sequence,
                    bytes,
                    wall,
                };
                self.times.note(&self.disk, name, times);
            }
            self.stock.add(name, Kept::new(bytes, last_sequence));
            if let Some(head) = self.head().filter(|_| last_sequence == Some(self.durable)) {
                self.signatures.sealed(name, head);
            }
        }
    }

    /// Makes a segment. A file of that name can only be what an earlier attempt left, because
    /// nobody else has the epoch.
    fn begin_segment(
        &self,
        first_sequence: u64,
        before: Hash,
        created: Stamp,
    ) -> Result<Current<D::File>, TrailError> {
        let dir = &self.places.segments;
        self.disk.create_dir(dir).context("create", dir)?;
        let name = SegmentName {
            epoch: self.epoch,
            first_sequence,
        };
        let path = dir.join(name.to_string());
        let file = self.disk.create(&path).context("create", &path)?;
        let header = segment_header(&SegmentFacts {
            name,
            endpoint: self.options.device.endpoint,
            created,
            dense: false,
            previous: self.head_before(first_sequence, before),
            device_bytes: &self.device_bytes,
        });
        if let Err(error) = file.write_at(&header, 0) {
            // The file is of no use, but does no harm if it cannot be removed either.
            let _ = self.disk.remove(&path);
            return Err(error).context("write", &path);
        }
        Ok(Current {
            name,
            path,
            file,
            bytes: header.len() as u64,
            last_sequence: None,
            wall: None,
        })
    }

    /// What a segment that begins with this record says of the chain before it.
    fn head_before(&self, first_sequence: u64, hash: Hash) -> Option<chain::Head> {
        if first_sequence == 1 {
            return self.previous_head;
        }
        Some(chain::Head {
            epoch: self.epoch,
            sequence: first_sequence - 1,
            hash,
        })
    }

    /// Writes and syncs as many frames as the current segment takes, at least one.
    /// False when the segment was gone afterwards.
    fn commit(&mut self) -> Result<bool, TrailError> {
        let run = match self.write_run() {
            Ok(run) => run,
            Err(error) => return Err(self.undo_write(error)),
        };
        if !self.sync_current()? {
            return Ok(false);
        }
        let current = self.current.as_mut().expect("it was written above");
        current.bytes = run.end;
        current.last_sequence = Some(run.last_sequence);
        current.wall = times::joined(current.wall, run.wall);
        (self.durable, self.durable_hash) = (run.last_sequence, run.hash);
        self.published = Head {
            segment: current.name,
            offset: run.end,
            last_sequence: run.last_sequence,
        };
        self.batch.release(run.frames);
        Ok(true)
    }

    fn write_run(&self) -> std::io::Result<Run> {
        let current = self.current.as_ref().expect("a segment was begun");
        let mut run = Run {
            frames: 0,
            end: current.bytes,
            last_sequence: self.durable,
            hash: self.durable_hash,
            wall: None,
        };
        for frame in self.batch.frames() {
            let end = run.end + frame.bytes.len() as u64;
            if run.frames > 0 && end > self.options.segment_bytes {
                break;
            }
            current.file.write_at(&frame.bytes, run.end)?;
            run = Run {
                frames: run.frames + 1,
                end,
                last_sequence: frame.last_sequence,
                hash: frame.head,
                wall: times::joined(run.wall, times::of_frame(&frame.bytes)),
            };
        }
        Ok(run)
    }

    /// Cuts off what was written in part, or gives the segment up.
    fn undo_write(&mut self, source: std::io::Error) -> TrailError {
        let current = self.current.as_ref().expect("it was written");
        let path = current.path.clone();
        if current.last_sequence.is_none() || current.file.truncate(current.bytes).is_err() {
            self.give_up_segment();
        }
        TrailError::Io {
            action: "write",
            path,
            source,
        }
    }

    /// Makes what was written to the current segment durable, and a new segment's name too.
    /// False when its path does not lead to it any more.
    fn sync_current(&mut self) -> Result<bool, TrailError> {
        let current = self.current.as_ref().expect("it was written");
        let path = current.path.clone();
        let synced = current.file.sync().and_then(|()| {
            let there = self.disk.leads_to(&path, &current.file)?;
            if there && current.last_sequence.is_none() {
                self.disk.sync_dir(&self.places.segments)?;
                self.disk.sync_dir(&self.places.state)?;
            }
            Ok(there)
        });
        if synced.is_err() {
            self.give_up_segment();
        }
        synced.context("sync", &path)
    }

    /// Leaves a segment behind in which nothing new may be trusted: after a failed sync the
    /// system may have thrown away what was written and report no error the next time.
    fn give_up_segment(&mut self) {
        let current = self
            .current
            .as_ref()
            .expect("there is a segment to give up");
        if current.last_sequence.is_some() {
            // Where this fails, readers still skip what the next segment repeats.
            let _ = current.file.truncate(current.bytes);
            self.retire();
        } else {
            // Where this fails, the next attempt has the same name and empties it.
            let _ = self.disk.remove(&current.path);
            self.current = None;
        }
    }

    /// Takes note that the current segment was deleted or moved, and perhaps others with it.
    fn drop_vanished(&mut self) -> PathBuf {
        let current = self.current.take().expect("a segment was written");
        self.head = None;
        if let Some(last_sequence) = current.last_sequence {
            let kept = Kept::new(current.bytes, Some(last_sequence));
            self.stock.add(current.name, kept);
        }
        self.reconcile();
        current.path
    }

    /// Compares what should be there with what is.
    fn reconcile(&mut self) {
        match Stock::survey(&self.disk, &self.places.segments) {
            Ok(there) => {
                let current = self.current.as_ref().map(|current| current.name);
                let mut gone = self.stock.forget_missing(&there, current);
                self.planned
                    .retain(|name| self.stock.names().any(|kept| kept == *name));
                self.news.vanished.append(&mut gone);
            }
            Err(error) => self.news.trouble = Some(error),
        }
    }

    /// Tells readers how far they may read. Where that fails the head goes away, because a stale
    /// one would hide what is there.
    fn publish(&mut self) {
        if let Err(error) = self.write_head(&self.published.to_bytes()) {
            self.head = None;
            let _ = self.disk.remove(&self.places.head());
            self.news.trouble = Some(error);
        }
    }

    fn write_head(&mut self, bytes: &[u8; HEAD_BYTES]) -> Result<(), TrailError> {
        let path = self.places.head();
        if let Some(head) = &self.head
            && self.disk.leads_to(&path, head).context("find", &path)?
        {
            return head.write_at(bytes, 0).context("write", &path);
        }
        let new = self.places.segments.join(HEAD_NEW_NAME);
        let file = self.disk.create(&new).context("create", &new)?;
        file.write_at(bytes, 0).context("write", &new)?;
        self.disk.rename(&new, &path).context("rename to", &path)?;
        self.head = Some(file);
        Ok(())
    }

    /// Deletes what was planned, if its notices are on disk.
    fn evict(&mut self) {
        if self.durable < self.planned_until {
            return;
        }
        for name in std::mem::take(&mut self.planned) {
            self.delete(name);
        }
    }

    fn delete(&mut self, name: SegmentName) {
        let path = self.places.segments.join(name.to_string());
        self.signatures.delete(&self.disk, name);
        self.times.forget(name);
        match self.disk.remove(&path) {
            Ok(()) => self.stock.remove(name),
            Err(error) if error.kind() == ErrorKind::NotFound => self.stock.remove(name),
            Err(error) => {
                self.planned.push(name);
                self.news.trouble = Err::<(), _>(error).context("delete", &path).err();
            }
        }
    }

    /// Plans what must go to come back within the quota.
    fn plan_eviction(&mut self, now: Stamp) {
        if !self.planned.is_empty() {
            return;
        }
        let mut leaving = self.too_old(now);
        if self.excess_bytes() > 0 || !leaving.is_empty() {
            self.reconcile();
        }
        let oldest = self.stock.oldest(self.excess_bytes());
        if oldest.len() > leaving.len() {
            leaving = oldest;
        }
        for name in leaving {
            match self.range_on_disk(name) {
                Ok(Some(range)) => {
                    self.planned.push(name);
                    self.news.evicting.push(range);
                }
                // There is no record in it, so nothing needs to be declared.
                Ok(None) => self.delete(name),
                // What it holds cannot be declared now, so it stays.
                Err(Unread) => {}
            }
        }
        self.planned_until = self.batch.next_sequence() - 1 + self.news.evicting.len() as u64;
    }

    /// Takes note when the wall clock went on by another time than the monotonic one.
    fn watch_clock(&mut self, now: Stamp) {
        let before = self.last_flush_at;
        let wall_ns = now.wall.0.saturating_sub(before.wall.0);
        let mono_ns = now.mono.since_ns(before.mono);
        let step_ns = i128::from(wall_ns) - i128::from(mono_ns);
        if step_ns.unsigned_abs() > STEP_NS_MIN {
            self.steady_since = now.mono;
        }
    }

    fn too_old(&mut self, now: Stamp) -> Vec<SegmentName> {
        let Some(age_max_ns) = self.options.age_max_ns else {
            return Vec::new();
        };
        if now.mono.since_ns(self.steady_since) < self.options.age_trust_ns {
            return Vec::new();
        }
        let age_max_ns = i64::try_from(age_max_ns).unwrap_or(i64::MAX);
        let bound = Wall(now.wall.0.saturating_sub(age_max_ns));
        self.stock
            .older_than(&self.disk, &self.places.segments, bound)
    }

    fn excess_bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |current| current.bytes);
        (self.stock.bytes() + current).saturating_sub(self.options.quota_bytes)
    }

    fn range_on_disk(&mut self, name: SegmentName) -> Result<Option<SegmentRange>, Unread> {
        let current = self.current.as_ref().map(|current| current.name);
        self.stock
            .range_on_disk(&self.disk, &self.places.segments, name, current)
    }
}

impl Places {
    fn head(&self) -> PathBuf {
        self.segments.join(HEAD_NAME)
    }

    fn rewrite(&self) -> PathBuf {
        self.segments.join(REWRITE_NAME)
    }

    fn lock<D: Disk>(&self, disk: &D) -> Result<D::Lock, TrailError> {
        let path = self.state.join("trail.lock");
        let holder = format!("process {}", std::process::id());
        disk.lock(&path, &holder)
            .context("lock", &path)?
            .ok_or_else(|| {
                let mut bytes = [0; 64];
                let count = disk
                    .open(&path)
                    .and_then(|file| file.read_at(&mut bytes, 0))
                    .unwrap_or(0);
                let holder = String::from_utf8_lossy(&bytes[..count]).into_owned();
                TrailError::Locked {
                    path,
                    holder: Some(holder).filter(|holder| !holder.is_empty()),
                }
            })
    }

    /// Allots the next epoch, durably, and finds what the one before came to.
    fn open_epoch<D: Disk>(
        &self,
        disk: &D,
        stock: &Stock,
    ) -> Result<(u64, Option<PreviousEpoch>, Option<chain::Head>), TrailError> {
        let file = EpochFile::new(&self.state);
        let known = stock.latest_epoch(disk, &self.segments);
        // What a device refuses to read now may name an epoch of which nothing else is left.
        let unread = (known + UNREAD_EPOCHS).min(EPOCH_MAX - 1).max(known);
        let latest = file.read(disk).map_or(unread, |epoch| epoch.max(known));
        if latest >= EPOCH_MAX {
            return Err(TrailError::EpochsExhausted {
                path: self.segments.clone(),
            });
        }
        file.write(disk, latest + 1)?;
        let unrecorded = PreviousEpoch {
            epoch: latest,
            last_sequence: 0,
            last_at: None,
            stopped_in_order: false,
        };
        let (previous, head) = match stock.previous_epoch(disk, &self.segments) {
            Some((previous, head)) => (Some(previous), head),
            None => ((latest > 0).then_some(unrecorded), None),
        };
        Ok((latest + 1, previous, head))
    }
}

/// The device as segments carry it; no more than its id when the rest is too much for a header.
fn device_bytes(device: &Device) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode_device(device, &mut bytes);
    if bytes.len() > DEVICE_BYTES_MAX {
        bytes.clear();
        let nameless = Device {
            endpoint: device.endpoint,
            ..Device::default()
        };
        codec::encode_device(&nameless, &mut bytes);
    }
    bytes
}

/// So that copying takes a small part of a core at most.
const TEND_PAUSE_NS: u64 = 1_000_000_000;
const TEND_AFTER_ERROR_NS: u64 = 60_000_000_000;

/// What the wall clock may gain or lose between two flushes, by being slewed.
const STEP_NS_MIN: u128 = 60_000_000_000;

/// How often a segment may vanish within one flush before that is an error.
const VANISHED_ATTEMPTS: u32 = 3;

/// How many starts may have left nothing behind but their number.
const UNREAD_EPOCHS: u64 = 1_000;
