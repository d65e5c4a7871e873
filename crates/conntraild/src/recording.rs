//! The recording thread: events through the flow table into the trail.

use crate::books::Books;
use crate::capture::Capture;
use crate::live_table::LiveTable;
use crate::log::say;
use crate::privacy::{PolicyWatch, Privacy};
use crate::readers;
use crate::sensing::{self, Sensed};
use crate::signing::Signing;
use anyhow::{Context, bail};
use flow::{Event, FlowTable, Output, Want, stream};
use host::clock;
use host::config::Config;
use host::users::Users;
use record::{
    Device, LossCause, LossStage, LostKind, Mono, Notice, NoticeKind, Record, Stamp, StopReason,
};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use trail::{Flushed, SegmentRange, TrailWriter, WriterOptions};

/// Owns the flow table and the trail.
pub(crate) struct Recorder {
    table: FlowTable,
    header: stream::Header,
    trail: TrailWriter,
    users: Users,
    privacy: Privacy,
    live: LiveTable,
    capture: Option<Capture>,
    books: Books,
    signing: Signing,
    /// The disk has refused since the last flush that worked; said once, not every second.
    disk_refuses: bool,
}

impl Recorder {
    /// Opens a new epoch in the trail and records that it began, under the policy that `policy`
    /// finds. `watched_since` is when the first event that it will be given can have happened.
    ///
    /// # Errors
    /// When the trail cannot be opened.
    pub(crate) fn open(
        state_dir: &Path,
        device: Device,
        config: &Config,
        policy: PolicyWatch,
        watched_since: Stamp,
    ) -> anyhow::Result<Recorder> {
        let now = clock::stamp();
        let options = WriterOptions {
            segment_bytes: config.segment_bytes,
            age_max_ns: (config.age_max_s > 0)
                .then(|| config.age_max_s.saturating_mul(1_000_000_000)),
            ..WriterOptions::new(device.clone(), config.quota_bytes)
        };
        readers::admit(state_dir, config);
        let trail = TrailWriter::open(state_dir, options, now)?;
        let started = NoticeKind::RecorderStarted {
            previous: trail.previous(),
        };
        let header = stream::Header {
            config: sensing::table_config(config),
            epoch: trail.epoch(),
            start: watched_since,
            device,
        };
        let table = FlowTable::new(header.config, header.epoch, watched_since);
        let live = LiveTable::begin(config, state_dir, &header, now);
        let (privacy, in_force) = Privacy::begin(policy, state_dir, now);
        let mut recorder = Recorder {
            table,
            header,
            trail,
            users: Users::of_this_machine(),
            privacy,
            live,
            capture: None,
            books: Books::new(now),
            signing: Signing::new(config),
            disk_refuses: false,
        };
        recorder.notice(started, now);
        if let Some(in_force) = in_force {
            recorder.notice(in_force, now);
        }
        Ok(recorder)
    }

    /// The epoch that was opened.
    pub(crate) fn epoch(&self) -> u64 {
        self.header.epoch
    }

    /// Writes every event to a file too.
    ///
    /// # Errors
    /// When the file cannot be made, or when a privacy policy is in force, which sees records and
    /// not events.
    pub(crate) fn capture_events(&mut self, path: &Path) -> anyhow::Result<()> {
        if self.privacy.is_in_force() {
            bail!(
                "events cannot be written to {}: a privacy policy is in force, and they would hold \
                 what it leaves out",
                path.display()
            );
        }
        self.capture = Some(Capture::begin(path, &self.header)?);
        Ok(())
    }

    /// Records `first`, then what comes until the sensing thread ends, then closes the epoch in
    /// order.
    ///
    /// # Errors
    /// When what was recorded last could not be written.
    pub(crate) fn run(
        mut self,
        first: Vec<Event>,
        sensing: &Receiver<Sensed>,
    ) -> anyhow::Result<()> {
        self.take_in(first);
        let reason = loop {
            match sensing.recv_timeout(self.patience()) {
                Ok(Sensed::Events(events)) => self.take_in(events),
                Ok(Sensed::Ended(reason)) => break reason,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break StopReason::SensorEnded,
            }
            self.do_what_is_due();
        };
        self.close(reason)
    }

    /// Records what is left of a sensing thread that has ended, and closes the epoch in order.
    ///
    /// # Errors
    /// When it could not be written.
    #[cfg(any(target_os = "macos", test))]
    pub(crate) fn end(mut self, last: Vec<Event>, reason: StopReason) -> anyhow::Result<()> {
        self.take_in(last);
        self.close(reason)
    }

    fn take_in(&mut self, events: Vec<Event>) {
        self.follow_policy();
        let now = clock::mono();
        for event in events {
            self.handle(event, now);
        }
    }

    fn handle(&mut self, event: Event, now: Mono) {
        self.captured(|capture| capture.event(&event, now));
        self.table.handle(event, now);
        self.drain(now);
    }

    fn drain(&mut self, now: Mono) {
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Record(record) => self.keep(record, now),
                Output::Want(Want::UserName { uid }) => {
                    let name = self.users.name(uid);
                    self.handle(Event::UserNamed { uid, name }, now);
                }
            }
        }
    }

    /// Keeps a record as the policy lets it be, if it does.
    fn keep(&mut self, mut record: Record, now: Mono) {
        let is_ledger = is_ledger(&record);
        if is_ledger {
            self.declare_refused(clock::stamp());
        }
        self.books.given(&record);
        if !self.privacy.keeps(&mut record) {
            return self.books.dropped(&record);
        }
        self.write(record, now);
        if is_ledger {
            self.tell_stages(clock::stamp());
        }
    }

    /// The last step of a record in memory. What there is no room for is counted.
    fn write(&mut self, mut record: Record, now: Mono) {
        let appended = self.books.settle(&mut record) && self.trail.append(&record, now).is_some();
        match appended {
            true => self.books.recorded(&record),
            false => self.books.refused(&record),
        }
    }

    /// What the trail's queue had no room for becomes notices, as soon as it has room for those.
    fn declare_refused(&mut self, now: Stamp) {
        while let Some((kind, loss)) = self.books.undeclared() {
            let mut notice = Record::Notice(Notice { at: now, kind });
            let _ = self.privacy.keeps(&mut notice);
            if self.trail.append(&notice, now.mono).is_none() {
                return;
            }
            self.books.declared(loss);
        }
    }

    /// What the policy did, and what each stage came to: they stand together, so that readers can
    /// compare them to the record.
    fn tell_stages(&mut self, now: Stamp) {
        self.tell_counts(now);
        if let Some(counts) = self.books.told(&self.table.counters()) {
            self.notice(NoticeKind::StageCounts(counts), now);
        }
    }

    /// A new policy is told of before the first record that it sees.
    fn follow_policy(&mut self) {
        let now = clock::stamp();
        let changes = self.privacy.changes(now);
        if !changes.is_empty() {
            self.live.start_over(now);
        }
        for kind in changes {
            self.notice(kind, now);
        }
        if self.capture.is_some() && self.privacy.is_in_force() {
            say("the event file ends here: a privacy policy is in force, which sees no events");
            self.capture = None;
        }
    }

    fn tell_counts(&mut self, now: Stamp) {
        if let Some(counts) = self.privacy.counts(now) {
            self.notice(counts, now);
        }
    }

    fn do_what_is_due(&mut self) {
        self.follow_policy();
        let now = clock::mono();
        for (uid, name) in self.users.late_names() {
            let name = Some(name);
            self.handle(Event::UserNamed { uid, name }, now);
        }
        if now >= self.table.poll_timeout() {
            self.captured(|capture| capture.timeout(now));
            self.table.handle_timeout(now);
            self.drain(now);
        }
        if self.trail.should_flush(now) {
            self.flush(clock::stamp());
        }
        self.live.step(&self.table, &mut self.privacy);
        if !self.disk_refuses {
            self.signing.sign_when_due(&mut self.trail, now);
        }
        self.tend(now);
    }

    /// Lets the trail make old segments denser, which nobody waits for.
    fn tend(&mut self, now: Mono) {
        if self.disk_refuses || self.trail.tend_timeout().is_none_or(|due| due > now) {
            return;
        }
        match self.trail.tend(now) {
            Ok(rewritten) => self.books.rewrote(rewritten.is_some()),
            Err(error) => say(&format!("the trail could not be made denser: {error}")),
        }
    }

    /// How long to wait for events before something else is due.
    fn patience(&self) -> Duration {
        let due = self
            .trail
            .poll_timeout()
            .unwrap_or(self.table.poll_timeout());
        let due = due
            .min(self.table.poll_timeout())
            .min(self.trail.tend_timeout().unwrap_or(due))
            .min(self.live.poll_timeout().unwrap_or(due));
        Duration::from_nanos(due.since_ns(clock::mono())).min(POLICY_INTERVAL)
    }

    fn flush(&mut self, now: Stamp) {
        let flushed = self.trail.flush(now);
        self.books.flushed(flushed.is_ok(), now);
        match flushed {
            Ok(flushed) => {
                if std::mem::take(&mut self.disk_refuses) {
                    say("the trail can be written again");
                }
                self.declare(flushed, now);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.disk_refuses, true) {
                    say(&format!(
                        "the trail cannot be written now, records wait: {error}"
                    ));
                }
            }
        }
    }

    /// What a flush tells becomes notices before anything else is recorded.
    fn declare(&mut self, flushed: Flushed, now: Stamp) {
        if let Some(trouble) = flushed.trouble {
            say(&format!("the trail: {trouble}"));
        }
        // What the writer dropped, the books know already, and how much of it were closes.
        self.declare_refused(now);
        for range in flushed.evicting {
            self.books.evicted(&range);
            self.notice(evicted(range), now);
        }
        for trail::Spoilt { range, created } in flushed.damaged {
            say(&format!(
                "records from {} of epoch {} on are damaged; conntrail verify says which",
                range.first_sequence, range.epoch
            ));
            self.notice(
                lost_records(LossCause::Damaged, None, created.unwrap_or_default()),
                now,
            );
        }
        for range in flushed.vanished {
            say(&format!(
                "records from {} of epoch {} on were deleted by somebody else",
                range.first_sequence, range.epoch
            ));
            let count = range
                .last_sequence
                .map(|last| last - range.first_sequence + 1);
            let since = self.header.start;
            self.notice(lost_records(LossCause::Deleted, count, since), now);
        }
    }

    fn notice(&mut self, kind: NoticeKind, now: Stamp) {
        let mut notice = Record::Notice(Notice { at: now, kind });
        self.books.made();
        // Of a notice a policy changes only what it counted itself.
        let _ = self.privacy.keeps(&mut notice);
        self.write(notice, now.mono);
    }

    fn close(mut self, reason: StopReason) -> anyhow::Result<()> {
        let now = clock::stamp();
        self.live.end();
        self.table.handle_stop();
        self.drain(now.mono);
        self.flush(now);
        self.declare_refused(now);
        self.tell_stages(now);
        let tally = self.table.tally();
        self.notice(NoticeKind::RecorderStopped { reason, tally }, now);
        if let Some(capture) = self.capture.take() {
            capture.finish()?;
        }
        let flushed = self
            .trail
            .close_signed(now, self.signing.key().as_ref())
            .context("the last records could not be written")?;
        if let Some(trouble) = flushed.trouble {
            say(&format!("the trail: {trouble}"));
        }
        let last = flushed.durable.map_or(0, |id| id.sequence);
        say(&format!(
            "stopped ({}): {last} records in epoch {}; {} connections ended, {} of them declared \
             lost, {} were open",
            reason.name(),
            self.header.epoch,
            tally.closes_made,
            tally.closes_lost,
            tally.live,
        ));
        Ok(())
    }

    /// A stream that cannot be written any more must not stop the recording.
    fn captured(&mut self, write: impl FnOnce(&mut Capture) -> anyhow::Result<()>) {
        if let Some(capture) = &mut self.capture
            && let Err(error) = write(capture)
        {
            say(&format!(
                "{error:#}; the event file ends here, recording goes on"
            ));
            self.capture = None;
        }
    }
}

/// Between two looks whether the policy is another one, while nothing happens.
const POLICY_INTERVAL: Duration = Duration::from_secs(1);

fn is_ledger(record: &Record) -> bool {
    match record {
        Record::Connection(_) => false,
        Record::Notice(notice) => matches!(notice.kind, NoticeKind::Ledger(_)),
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

#[cfg(test)]
mod tests;
