//! The recorder, wired as `conntraild` wires it: flow table into trail, one process' life.

use crate::books::Books;
use crate::disk::{STATE, SimDisk};
use crate::run::{Setting, World};
use crate::stages;
use crate::told::Told;
use flow::{Event, FlowTable, Output, Want};
use record::{
    LossCause, LossStage, LostKind, Mono, Notice, NoticeKind, PreviousEpoch, Record, RecordId,
    Stamp, StopReason,
};
use std::path::Path;
use std::sync::Arc;
use trail::{Flushed, SegmentRange, TrailError, TrailWriter};

/// A recorder that is running.
pub(crate) struct Recorder {
    table: FlowTable,
    books: Books,
    told: Told,
    /// What `conntraild` counts between the table and the disk.
    stages: stages::Books,
    trail: TrailWriter<SimDisk>,
    epoch: u64,
    start: Stamp,
    /// Up to here the table did what was due.
    caught_up: Mono,
    pending_max_bytes: usize,
    /// Names of users that somebody still looks up.
    late_names: Vec<(Mono, u32, Option<Arc<str>>)>,
    /// Records that the writer had to drop since it last said so.
    dropped: u64,
    /// Flushes in a row that told of no trouble.
    clean_flushes: u32,
    /// The most bytes that one flush took.
    flush_bytes_max: u64,
}

impl Recorder {
    /// Opens an epoch; the table and the trail begin at the same moment.
    pub(crate) fn open(
        disk: &SimDisk,
        setting: &Setting,
        now: Stamp,
    ) -> Result<(Recorder, Option<PreviousEpoch>), TrailError> {
        let options = setting.writer();
        let pending_max_bytes = options.pending_max_bytes;
        let trail = TrailWriter::open_on(disk.clone(), Path::new(STATE), options, now)?;
        let (epoch, previous) = (trail.epoch(), trail.previous());
        let recorder = Recorder {
            table: FlowTable::new(setting.shape.config(), epoch, now),
            books: Books::new(setting.shape.config(), epoch, now),
            told: Told::default(),
            stages: stages::Books::new(now),
            trail,
            epoch,
            start: now,
            caught_up: now.mono,
            pending_max_bytes,
            late_names: Vec::new(),
            dropped: 0,
            clean_flushes: 0,
            flush_bytes_max: 0,
        };
        Ok((recorder, previous))
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the writer says is synced.
    pub(crate) fn durable(&self) -> Option<RecordId> {
        self.trail.durable()
    }

    /// Whether what readers are told of the end has been right for a while.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean_flushes > 0
    }

    /// Records that the recorder began.
    pub(crate) fn begin(
        &mut self,
        previous: Option<PreviousEpoch>,
        now: Stamp,
        world: &mut World,
    ) -> Result<(), String> {
        self.notice(NoticeKind::RecorderStarted { previous }, now, world)?;
        Ok(())
    }

    /// An event comes from the sensor.
    pub(crate) fn handle(
        &mut self,
        event: Event,
        now: Stamp,
        world: &mut World,
    ) -> Result<(), String> {
        world.counts.events += 1;
        self.catch_up(now, world)?;
        self.books.event(&event, now.mono);
        self.table.handle(event, now.mono);
        self.drain(now, world)?;
        self.books.counters(&self.table.counters())
    }

    /// Lets the table do what was due until now, each thing when it was.
    fn catch_up(&mut self, now: Stamp, world: &mut World) -> Result<(), String> {
        while self.table.poll_timeout() <= now.mono {
            let due = self.table.poll_timeout().max(self.caught_up);
            self.caught_up = due;
            self.table.handle_timeout(due);
            self.drain(now, world)?;
            self.books.timeout(due, self.table.poll_timeout())?;
        }
        self.caught_up = now.mono;
        Ok(())
    }

    /// What `conntraild` does between two batches of events.
    pub(crate) fn do_what_is_due(&mut self, now: Stamp, world: &mut World) -> Result<(), String> {
        self.catch_up(now, world)?;
        while let Some(at) = self
            .late_names
            .iter()
            .position(|(due, ..)| *due <= now.mono)
        {
            let (_, uid, name) = self.late_names.swap_remove(at);
            self.handle(Event::UserNamed { uid, name }, now, world)?;
        }
        if self.trail.should_flush(now.mono) {
            self.flush(now, world)?;
        }
        if self.trail.tend_timeout().is_some_and(|due| due <= now.mono)
            && let Ok(Some(rewritten)) = self.trail.tend(now.mono)
        {
            self.stages.rewrote(true);
            world.counts.rewrites += 1;
            let name = rewritten.segment;
            world
                .log
                .note(|| format!("{name} was written a second time"));
        }
        Ok(())
    }

    /// Ends the epoch in order; false when the disk did not let it.
    pub(crate) fn close(
        mut self,
        reason: StopReason,
        now: Stamp,
        world: &mut World,
    ) -> Result<(Option<RecordId>, bool), String> {
        self.table.handle_stop();
        self.drain(now, world)?;
        self.flush(now, world)?;
        self.declare_refused(now, world)?;
        self.tell_stages(now, world)?;
        let tally = self.table.tally();
        self.books.finish(tally)?;
        self.told.finish(tally, &self.table.counters())?;
        self.notice(NoticeKind::RecorderStopped { reason, tally }, now, world)?;
        let (epoch, before) = (self.epoch, self.trail.durable());
        let syncs = world.disk.faults().syncs;
        let closed = self.trail.close(now);
        if world.disk.faults().syncs > syncs {
            world.model.distrust(epoch);
        }
        Ok(match closed {
            Ok(flushed) => (flushed.durable, true),
            Err(error) => {
                world.log.note(|| format!("not closed in order: {error}"));
                let is_saved = matches!(&error, TrailError::Io { path, .. }
                    if path.file_name().is_some_and(|name| name == "head"));
                let all = RecordId {
                    epoch,
                    sequence: world.model.count(epoch),
                };
                (if is_saved { Some(all) } else { before }, false)
            }
        })
    }

    fn drain(&mut self, now: Stamp, world: &mut World) -> Result<(), String> {
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Record(record) => {
                    self.books.record(&record)?;
                    self.told.record(&record)?;
                    self.keep(record, now, world)?;
                }
                Output::Want(Want::UserName { uid }) => self.ask_for_name(uid, now, world)?,
            }
        }
        Ok(())
    }

    /// Whoever looks names up answers at once, late, wrongly or never.
    fn ask_for_name(&mut self, uid: u32, now: Stamp, world: &mut World) -> Result<(), String> {
        let wrong: Option<Arc<str>> = Some(format!("user{}", uid ^ 1).into());
        let right: Option<Arc<str>> = Some(format!("user{uid}").into());
        let name = if world.dice.one_in(9) { wrong } else { right };
        match world.dice.below(4) {
            0 => Ok(()),
            1 => {
                let due = now.mono.plus_ns(world.dice.size(33));
                self.late_names.push((due, uid, name));
                Ok(())
            }
            _ => self.handle(Event::UserNamed { uid, name }, now, world),
        }
    }

    fn notice(
        &mut self,
        kind: NoticeKind,
        now: Stamp,
        world: &mut World,
    ) -> Result<Option<RecordId>, String> {
        self.stages.made();
        self.write(Record::Notice(Notice { at: now, kind }), now.mono, world)
    }

    /// Keeps what the table gave, with what must stand beside it.
    fn keep(&mut self, record: Record, now: Stamp, world: &mut World) -> Result<(), String> {
        let is_ledger = matches!(&record, Record::Notice(notice)
            if matches!(notice.kind, NoticeKind::Ledger(_)));
        if is_ledger {
            self.declare_refused(now, world)?;
        }
        self.stages.given(&record);
        self.write(record, now.mono, world)?;
        if is_ledger {
            self.tell_stages(now, world)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        mut record: Record,
        now: Mono,
        world: &mut World,
    ) -> Result<Option<RecordId>, String> {
        let is_told = self.stages.settle(&mut record);
        let id = match is_told {
            true => self.append(&record, now, world)?,
            false => None,
        };
        match id {
            Some(_) => self.stages.recorded(&record),
            None => self.stages.refused(&record),
        }
        Ok(id)
    }

    fn declare_refused(&mut self, now: Stamp, world: &mut World) -> Result<(), String> {
        while let Some((kind, loss)) = self.stages.undeclared() {
            let notice = Record::Notice(Notice { at: now, kind });
            if self.append(&notice, now.mono, world)?.is_none() {
                return Ok(());
            }
            self.stages.declared(loss);
        }
        Ok(())
    }

    fn tell_stages(&mut self, now: Stamp, world: &mut World) -> Result<(), String> {
        if let Some(counts) = self.stages.told(&self.table.counters()) {
            self.notice(NoticeKind::StageCounts(counts), now, world)?;
        }
        Ok(())
    }

    fn append(
        &mut self,
        record: &Record,
        now: Mono,
        world: &mut World,
    ) -> Result<Option<RecordId>, String> {
        let id = self.trail.append(record, now);
        world.counts.records += 1;
        match id {
            Some(id) => {
                world.model.append(record, id)?;
                world.log.fold_bytes(world.model.bytes(id));
            }
            None => {
                self.dropped += 1;
                world.counts.dropped += 1;
            }
        }
        if self.trail.pending_bytes() > self.pending_max_bytes + FRAME_OVERHEAD_BYTES {
            let bytes = self.trail.pending_bytes();
            return Err(format!(
                "{bytes} bytes wait, {} may",
                self.pending_max_bytes
            ));
        }
        Ok(id)
    }

    /// Lets the trail write, and declares what it tells.
    fn flush(&mut self, now: Stamp, world: &mut World) -> Result<(), String> {
        let waiting = self.trail.pending_bytes() as u64;
        let (syncs, before) = (world.disk.faults().syncs, world.disk.faults().total());
        let flushed = self.trail.flush(now);
        self.stages.flushed(flushed.is_ok(), now);
        world.counts.flushes += 1;
        if world.disk.faults().syncs > syncs {
            world.model.distrust(self.epoch);
        }
        world.model.sync(self.trail.durable())?;
        if let Some(early) = world.disk.told_early() {
            return Err(early);
        }
        let durable = self.trail.durable();
        world
            .log
            .note(|| format!("flushed at {now:?}, {durable:?} is synced"));
        if world.disk.memory().is_out() {
            return Ok(());
        }
        let is_clean = world.disk.faults().total() == before;
        match flushed {
            Ok(flushed) => {
                let is_clean = is_clean && flushed.trouble.is_none();
                self.flush_bytes_max = self.flush_bytes_max.max(waiting);
                self.clean_flushes = if is_clean { self.clean_flushes + 1 } else { 0 };
                world.anchors.extend(self.trail.head());
                self.check_flushed(&flushed, world)?;
                self.declare(flushed, now, world)
            }
            Err(error) => {
                self.clean_flushes = 0;
                world.log.note(|| format!("not flushed: {error}"));
                Ok(())
            }
        }
    }

    fn check_flushed(&mut self, flushed: &Flushed, world: &World) -> Result<(), String> {
        let durable = flushed.durable.map_or(0, |id| id.sequence);
        let count = world.model.count(self.epoch);
        if durable != count {
            return Err(format!("flushed up to {durable} of {count} records"));
        }
        let told = flushed.dropped.map_or(0, |dropped| dropped.count);
        let dropped = std::mem::take(&mut self.dropped);
        if told != dropped {
            return Err(format!(
                "{dropped} records were dropped, {told} are told of"
            ));
        }
        let bound = world.setting.quota_bytes
            + world.setting.segment_bytes
            + 2 * self.flush_bytes_max
            + SLACK_BYTES;
        let bytes = world.segment_bytes();
        if self.clean_flushes > SETTLED_FLUSHES && bytes > bound {
            return Err(format!("{bytes} bytes are taken, {bound} may be"));
        }
        Ok(())
    }

    fn declare(&mut self, flushed: Flushed, now: Stamp, world: &mut World) -> Result<(), String> {
        self.declare_refused(now, world)?;
        for range in flushed.evicting {
            world.counts.evictions += 1;
            world.log.note(|| format!("{range:?} will be evicted"));
            self.stages.evicted(&range);
            if let Some(id) = self.notice(evicted(range), now, world)? {
                world.model.plan(id, range);
            }
        }
        for range in flushed.vanished {
            world.log.note(|| format!("{range:?} vanished"));
            if !world.model.was_robbed {
                return Err(format!("{range:?} is said to be deleted by somebody else"));
            }
            let last = range.last_sequence;
            let count = last.map(|last| last - range.first_sequence + 1);
            self.notice(
                lost_records(LossCause::Deleted, count, self.start),
                now,
                world,
            )?;
        }
        for spoilt in flushed.damaged {
            let since = spoilt.created.unwrap_or_default();
            self.notice(lost_records(LossCause::Damaged, None, since), now, world)?;
        }
        Ok(())
    }
}

fn lost_records(cause: LossCause, count: Option<u64>, since: Stamp) -> NoticeKind {
    NoticeKind::Lost {
        stage: LossStage::Trail,
        cause,
        what: LostKind::Records,
        count,
        since,
    }
}

fn evicted(range: SegmentRange) -> NoticeKind {
    NoticeKind::TrailEvicted {
        epoch: range.epoch,
        first_sequence: range.first_sequence,
        last_sequence: range.last_sequence.unwrap_or(range.first_sequence),
    }
}

/// What a frame takes beside its records.
const FRAME_OVERHEAD_BYTES: usize = 1 << 10;

/// Headers of segments, and frames that compress badly.
const SLACK_BYTES: u64 = 4 << 10;

/// After so many flushes that worked the quota must be kept again.
const SETTLED_FLUSHES: u32 = 3;
