//! The account of one epoch.

use record::{
    BreakerState, Connection, Coverage, LossCause, LossStage, LostKind, Notice, NoticeKind,
    PreviousEpoch, Record, RecordCounts, StageCounts, Stamp, Tally, TcpCounts,
};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What one epoch came to, as it was told and as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which epoch.
    pub epoch: u64,
    /// How it ended.
    pub end: End,
    /// What was read.
    pub read: RecordCounts,
    /// Records among them that this version cannot read.
    pub unreadable: u64,
    /// The sequences of the first and the last record that are there.
    pub sequences: Option<(u64, u64)>,
    /// The connections that ended, as they were told last; `None` where no notice tells.
    pub tally: Option<Tally>,
    /// The stages, as they were told last, and the sequence of the notice; `None` where no notice
    /// tells, as before there were such notices.
    pub stages: Option<(u64, StageCounts)>,
    /// Declared losses, by where, why and what.
    pub lost: BTreeMap<LossKind, LossSum>,
    /// Records that the policy dropped, by its own notices.
    pub policy_dropped: u64,
    /// Records that were deleted for quota or age, as a notice declares.
    pub evicted: u64,
    /// Records that were synced and that damage took; `None` where the number is not known.
    pub damaged: Option<u64>,
    /// Closes among the records that are not there, where the notices around them tell; `None`
    /// where they do not.
    pub closes_gone: Option<u64>,
    /// The system's own count of TCP connections and the sensor's, where there was a meter.
    pub coverage: Option<(TcpCounts, TcpCounts)>,
    /// Times of which nobody knows how much was lost.
    pub windows: Vec<Window>,
    /// What does not balance.
    pub findings: Vec<Finding>,
}

/// Where, why and what.
pub type LossKind = (LossStage, LossCause, LostKind);

/// Declared losses of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossSum {
    /// How many, as far as numbers were told.
    pub count: u64,
    /// Notices that told no number.
    pub unknown: u64,
}

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The recorder stopped, and said so.
    InOrder,
    /// It was cut off.
    Cut,
    /// It is the newest one: the recorder runs, or was cut off and did not start again.
    Open,
}

/// A time of which nobody knows how much was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Why nobody knows.
    pub cause: WindowCause,
    /// It was after this moment; `None` where not even that is known.
    pub since: Option<Stamp>,
    /// And not after this one; `None` where it lasts.
    pub until: Option<Stamp>,
    /// How many TCP connections it may have been, by the system's own counters.
    pub estimate: Option<u64>,
}

/// Why nobody knows how much was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowCause {
    /// The epoch was cut off: from its last record on disk to the next start.
    Cut,
    /// A loss without a number was declared.
    Declared(LossStage, LossCause, LostKind),
    /// The sensor stood aside.
    Breaker,
}

/// A line that does not balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Up to this record of the epoch.
    pub sequence: u64,
    /// Which line.
    pub line: Line,
    /// What was told.
    pub told: u64,
    /// What the other side of the line comes to.
    pub found: u64,
}

/// A line of the ledger: both of its sides must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// Connections that ended = recorded + summed + dropped by policy + declared lost.
    Ends,
    /// Closes declared lost = the sum of the notices of loss.
    ClosesLost,
    /// Records that got a sequence = the sequence before the notice.
    Sequence,
    /// Records given + notices added = recorded + dropped + refused.
    Records,
    /// Closes given = recorded + dropped + refused.
    Closes,
    /// Closes recorded = closes that are there.
    ClosesRead,
    /// Records refused by the trail's queue = the sum of the notices of loss.
    RecordsRefused,
    /// Closes refused by the trail's queue = the sum of the notices of loss.
    ClosesRefused,
    /// Records dropped by policy = the sum of the policy's notices.
    PolicyRecords,
    /// Ends dropped by policy = closes dropped by policy.
    PolicyCloses,
    /// Ends that were seen, with what was closed more than once = closes given.
    EndsToCloses,
    /// Numbers that only grow did so.
    Growth,
    /// Records that are not there = those that were evicted, or that damage took.
    Gone,
    /// Nothing comes after the notice that the recorder stopped.
    AfterStop,
}

/// Sums over what was read, to compare with what was told.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    closes: u64,
    closes_lost: u64,
    queue_records: u64,
    queue_closes: u64,
    policy_dropped: u64,
}

/// A moment at which something was told.
#[derive(Clone, Copy, Debug)]
struct Mark<T> {
    sequence: u64,
    told: T,
    sums: Sums,
    /// How often the records were broken off until then.
    breaks: u64,
}

/// An account that is being made.
#[derive(Debug, Default)]
pub(super) struct Open {
    first: Option<u64>,
    last: u64,
    read: RecordCounts,
    unreadable: u64,
    sums: Sums,
    breaks: u64,
    tally: Option<Mark<Tally>>,
    stages: Option<Mark<StageCounts>>,
    /// Nothing but the policy's counts came since the last tally.
    tally_is_fresh: bool,
    lost: BTreeMap<LossKind, LossSum>,
    missing: Vec<RangeInclusive<u64>>,
    damaged: u64,
    damaged_unknown: bool,
    closes_gone: Option<u64>,
    closes_gone_unknown: bool,
    coverage: Option<(TcpCounts, TcpCounts)>,
    estimates: Vec<(Stamp, Stamp, u64)>,
    windows: Vec<Window>,
    stopped: bool,
    cut: bool,
    findings: Vec<Finding>,
}

impl Open {
    pub(super) fn hear(&mut self, sequence: u64, record: &Record) {
        self.step_to(sequence);
        let kept_fresh = match record {
            Record::Connection(connection) => {
                self.hear_connection(connection);
                false
            }
            Record::Notice(notice) => self.hear_notice(sequence, notice),
        };
        self.tally_is_fresh &= kept_fresh;
        self.read.count(record);
        self.sums.closes = self.read.closes;
    }

    pub(super) fn hear_unreadable(&mut self, id: record::RecordId) {
        self.step_to(id.sequence);
        self.read.records += 1;
        self.unreadable += 1;
        self.breaks += 1;
    }

    /// Damage at an end may be what a crash left of what was not synced: how far the epoch was
    /// synced the next one knows.
    pub(super) fn hear_damage(&mut self, lost: Option<u64>, at_end: bool) {
        match lost {
            Some(0) => return,
            Some(count) => {
                self.damaged = self.damaged.saturating_add(count);
                let first = self.last.saturating_add(1);
                self.last = self.last.saturating_add(count);
                self.first.get_or_insert(first);
            }
            None if at_end => {}
            None => self.damaged_unknown = true,
        }
        self.breaks += 1;
    }

    pub(super) fn hear_missing(&mut self, sequences: RangeInclusive<u64>) {
        self.missing.push(sequences);
        self.breaks += 1;
    }

    /// The next epoch tells where this one ended, and when it began itself.
    pub(super) fn hear_of_end(&mut self, previous: &PreviousEpoch, started: Stamp) {
        if self.last < previous.last_sequence {
            self.missing.push(self.last + 1..=previous.last_sequence);
            self.breaks += 1;
        }
        if !previous.stopped_in_order {
            self.cut = true;
            self.windows.push(Window {
                cause: WindowCause::Cut,
                since: previous.last_at,
                until: Some(started),
                estimate: None,
            });
        }
    }

    pub(super) fn conclude(mut self, epoch: u64, evicted_through: u64, is_newest: bool) -> Account {
        self.judge_gone(evicted_through);
        let gone: u64 = self.missing.iter().map(count_of).sum();
        let evicted = self.evicted(evicted_through);
        self.estimate_windows();
        let end = match (self.stopped, self.cut, is_newest) {
            (true, ..) => End::InOrder,
            (false, false, true) => End::Open,
            (false, ..) => End::Cut,
        };
        let nothing_gone = gone == 0 && self.damaged == 0 && !self.damaged_unknown;
        let tail_is_told = self
            .stages
            .as_ref()
            .is_some_and(|it| it.breaks == self.breaks);
        let closes_gone = match (nothing_gone, self.closes_gone_unknown || !tail_is_told) {
            (true, _) => Some(0),
            (false, true) => None,
            (false, false) => self.closes_gone,
        };
        self.findings.sort_by_key(|it| (it.sequence, it.line));
        Account {
            epoch,
            end,
            read: self.read,
            unreadable: self.unreadable,
            sequences: self.first.map(|first| (first, self.last)),
            tally: self.tally.map(|it| it.told),
            stages: self.stages.map(|it| (it.sequence, it.told)),
            lost: self.lost,
            policy_dropped: self.sums.policy_dropped,
            evicted,
            damaged: (!self.damaged_unknown).then_some(self.damaged),
            closes_gone,
            coverage: self.coverage,
            windows: self.windows,
            findings: self.findings,
        }
    }

    fn evicted(&self, through: u64) -> u64 {
        let before = self.missing.iter().map(|range| {
            let last = *range.end().min(&through);
            last.saturating_add(1).saturating_sub(*range.start())
        });
        before.sum()
    }

    /// What is not there must have been declared; damage is told by the reader itself.
    fn judge_gone(&mut self, evicted_through: u64) {
        for range in self.missing.clone() {
            let first = (*range.start()).max(evicted_through.saturating_add(1));
            if first <= *range.end() && evicted_through != u64::MAX {
                self.find(*range.end(), Line::Gone, 0, range.end() - first + 1);
            }
        }
    }

    fn step_to(&mut self, sequence: u64) {
        if self.stopped {
            self.find(sequence, Line::AfterStop, 0, 1);
        }
        if self.first.is_none() && sequence != 1 {
            self.breaks += u64::from(self.breaks == 0);
        }
        self.first.get_or_insert(sequence);
        self.last = self.last.max(sequence);
    }

    fn hear_connection(&mut self, _connection: &Connection) {}

    /// Whether what was told of the ends just before is still the newest.
    fn hear_notice(&mut self, sequence: u64, notice: &Notice) -> bool {
        match &notice.kind {
            NoticeKind::Ledger(tally) => {
                self.hear_tally(sequence, *tally);
                return true;
            }
            NoticeKind::RecorderStopped { tally, .. } => {
                self.hear_tally(sequence, *tally);
                if let Some(stages) = self.stages
                    && stages.sequence + 1 == sequence
                {
                    self.compare_ends(sequence, *tally, &stages.told);
                }
                self.stopped = true;
            }
            NoticeKind::StageCounts(counts) => self.hear_stages(sequence, *counts),
            NoticeKind::PolicyCounts(counts) => {
                let dropped = &mut self.sums.policy_dropped;
                *dropped = dropped.saturating_add(counts.dropped);
                return true;
            }
            NoticeKind::Lost {
                stage,
                cause,
                what,
                count,
                since,
            } => self.hear_loss((*stage, *cause, *what), *count, *since, notice.at),
            NoticeKind::Coverage(coverage) => self.hear_coverage(coverage, notice.at),
            NoticeKind::BreakerChanged { state, .. } => self.hear_breaker(*state, notice.at),
            NoticeKind::RecorderStarted { .. }
            | NoticeKind::SensorStarted { .. }
            | NoticeKind::SensorStopped { .. }
            | NoticeKind::SensorLimited { .. }
            | NoticeKind::ExtensionReplaced(_)
            | NoticeKind::Sleeping
            | NoticeKind::Slept { .. }
            | NoticeKind::ClockStepped { .. }
            | NoticeKind::TrailEvicted { .. }
            | NoticeKind::PolicyChanged(_)
            | NoticeKind::Undelivered(_)
            | NoticeKind::Delivery(_) => {}
        }
        false
    }

    fn hear_loss(&mut self, kind: LossKind, count: Option<u64>, since: Stamp, at: Stamp) {
        let sum = self.lost.entry(kind).or_default();
        let (stage, cause, what) = kind;
        let Some(count) = count else {
            sum.unknown += 1;
            let since = (since != Stamp::default()).then_some(since);
            return self.open_window(WindowCause::Declared(stage, cause, what), since, at);
        };
        sum.count = sum.count.saturating_add(count);
        let is_queue = stage == LossStage::TrailQueue;
        let sums = &mut self.sums;
        match what {
            LostKind::Closes => {
                sums.closes_lost = sums.closes_lost.saturating_add(count);
                if is_queue {
                    sums.queue_closes = sums.queue_closes.saturating_add(count);
                }
            }
            LostKind::Records if is_queue => {
                sums.queue_records = sums.queue_records.saturating_add(count);
            }
            LostKind::Records
            | LostKind::Opens
            | LostKind::Processes
            | LostKind::Attributions
            | LostKind::Connections
            | LostKind::Events => {}
        }
    }

    /// One that goes on from the last of its kind makes that longer.
    fn open_window(&mut self, cause: WindowCause, since: Option<Stamp>, until: Stamp) {
        let is_full = self.windows.len() >= WINDOWS_MAX;
        if let Some(window) = self.windows.iter_mut().rev().find(|it| it.cause == cause)
            && (window.until == since || is_full)
        {
            window.until = Some(until);
        } else if !is_full {
            self.windows.push(Window {
                cause,
                since,
                until: Some(until),
                estimate: None,
            });
        }
    }

    fn hear_breaker(&mut self, state: BreakerState, at: Stamp) {
        match state {
            BreakerState::Tripped if self.windows.len() >= WINDOWS_MAX => {}
            BreakerState::Tripped => self.windows.push(Window {
                cause: WindowCause::Breaker,
                since: Some(at),
                until: None,
                estimate: None,
            }),
            BreakerState::Healed => {
                let open = self
                    .windows
                    .iter_mut()
                    .rev()
                    .find(|it| it.cause == WindowCause::Breaker && it.until.is_none());
                if let Some(window) = open {
                    window.until = Some(at);
                }
            }
        }
    }

    fn hear_coverage(&mut self, coverage: &Coverage, at: Stamp) {
        if let Some(system) = coverage.system {
            let (all, ours) = self.coverage.get_or_insert_default();
            add(all, system);
            add(ours, coverage.recorded);
        }
        if let Some(missed) = coverage.missed_estimate
            && self.estimates.len() < ESTIMATES_MAX
        {
            self.estimates.push((coverage.since, at, missed));
        }
    }

    /// The meter's intervals that meet a window, where they cover it.
    fn estimate_windows(&mut self) {
        for window in &mut self.windows {
            let (Some(since), Some(until)) = (window.since, window.until) else {
                continue;
            };
            let meets =
                |it: &&(Stamp, Stamp, u64)| it.0.mono < until.mono && it.1.mono > since.mono;
            let estimates: Vec<_> = self.estimates.iter().filter(meets).collect();
            let covered = estimates.first().is_some_and(|it| it.0.mono <= since.mono)
                && estimates.last().is_some_and(|it| it.1.mono >= until.mono);
            if covered {
                window.estimate = Some(estimates.iter().map(|it| it.2).sum());
            }
        }
    }

    fn hear_tally(&mut self, sequence: u64, tally: Tally) {
        let Tally {
            closes_made,
            closes_recorded,
            closes_aggregated,
            closes_dropped,
            closes_lost,
            live: _,
        } = tally;
        let sum = [
            closes_recorded,
            closes_aggregated,
            closes_dropped,
            closes_lost,
        ];
        let sum = sum.into_iter().fold(0, u64::saturating_add);
        self.compare(sequence, Line::Ends, closes_made, sum);
        let before = self.tally.map_or((0, Sums::default(), 0), |it| {
            (it.told.closes_lost, it.sums, it.breaks)
        });
        let (lost, sums, breaks) = before;
        let lost = self.growth(sequence, closes_lost, lost);
        if breaks == self.breaks {
            let declared = self.sums.closes_lost - sums.closes_lost;
            self.compare_declared(sequence, Line::ClosesLost, lost, declared);
        }
        let made = self.tally.map_or(0, |it| it.told.closes_made);
        self.growth(sequence, closes_made, made);
        self.tally = Some(self.mark(sequence, tally));
        self.tally_is_fresh = true;
    }

    fn hear_stages(&mut self, sequence: u64, now: StageCounts) {
        let StageCounts {
            given,
            own,
            dropped,
            refused,
            recorded,
            ..
        } = now;
        self.compare(sequence, Line::Sequence, recorded.records, sequence - 1);
        let kept = [recorded.records, dropped.records, refused.records];
        let kept = kept.into_iter().fold(0, u64::saturating_add);
        self.compare(
            sequence,
            Line::Records,
            given.records.saturating_add(own),
            kept,
        );
        let kept = [recorded.closes, dropped.closes, refused.closes];
        let kept = kept.into_iter().fold(0, u64::saturating_add);
        self.compare(sequence, Line::Closes, given.closes, kept);
        self.compare_with_records(sequence, &now);
        if self.tally_is_fresh
            && let Some(tally) = self.tally
        {
            self.compare_ends(sequence, tally.told, &now);
        }
        self.stages = Some(self.mark(sequence, now));
    }

    /// What was told since the last time, and what was read since then.
    fn compare_with_records(&mut self, sequence: u64, now: &StageCounts) {
        let (before, sums, breaks) = self
            .stages
            .map_or_else(Default::default, |it| (it.told, it.sums, it.breaks));
        let recorded = self.growth(sequence, now.recorded.closes, before.recorded.closes);
        let refused = self.growth(sequence, now.refused.records, before.refused.records);
        let refused_closes = self.growth(sequence, now.refused.closes, before.refused.closes);
        let dropped = self.growth(sequence, now.dropped.records, before.dropped.records);
        let read = self.sums.closes - sums.closes;
        if breaks != self.breaks {
            return self.count_gone(sequence, recorded, read);
        }
        self.compare(sequence, Line::ClosesRead, recorded, read);
        let declared = self.sums.queue_records - sums.queue_records;
        self.compare(sequence, Line::RecordsRefused, refused, declared);
        let declared = self.sums.queue_closes - sums.queue_closes;
        self.compare(sequence, Line::ClosesRefused, refused_closes, declared);
        let declared = self.sums.policy_dropped - sums.policy_dropped;
        if refused == 0 || declared > dropped {
            self.compare(sequence, Line::PolicyRecords, dropped, declared);
        }
    }

    /// Some records are not there: the numbers around them tell how many of them were closes.
    fn count_gone(&mut self, sequence: u64, told: u64, read: u64) {
        if told < read {
            self.find(sequence, Line::ClosesRead, told, read);
            self.closes_gone_unknown = true;
        } else if self.unreadable > 0 {
            self.closes_gone_unknown = true;
        } else {
            *self.closes_gone.get_or_insert(0) += told - read;
        }
    }

    fn compare_ends(&mut self, sequence: u64, tally: Tally, stages: &StageCounts) {
        let dropped = stages.dropped.closes;
        self.compare(sequence, Line::PolicyCloses, tally.closes_dropped, dropped);
        let seen = [
            tally.closes_recorded,
            tally.closes_aggregated,
            tally.closes_dropped,
            stages.refused.closes,
            stages.closes_repeated,
        ];
        let seen = seen.into_iter().fold(0, u64::saturating_add);
        let closes = [
            stages.given.closes,
            stages.closes_waiting,
            stages.ends_told_before,
        ];
        let closes = closes.into_iter().fold(0, u64::saturating_add);
        self.compare(sequence, Line::EndsToCloses, seen, closes);
    }

    fn mark<T>(&self, sequence: u64, told: T) -> Mark<T> {
        Mark {
            sequence,
            told,
            sums: self.sums,
            breaks: self.breaks,
        }
    }

    fn growth(&mut self, sequence: u64, now: u64, before: u64) -> u64 {
        if now < before {
            self.find(sequence, Line::Growth, now, before);
        }
        now.saturating_sub(before)
    }

    /// Where the queue refused records, notices of loss may have been among them.
    fn compare_declared(&mut self, sequence: u64, line: Line, told: u64, declared: u64) {
        if self.sums.queue_records == 0 || declared > told {
            self.compare(sequence, line, told, declared);
        }
    }

    fn compare(&mut self, sequence: u64, line: Line, told: u64, found: u64) {
        if told != found {
            self.find(sequence, line, told, found);
        }
    }

    fn find(&mut self, sequence: u64, line: Line, told: u64, found: u64) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                sequence,
                line,
                told,
                found,
            });
        }
    }
}

fn count_of(range: &RangeInclusive<u64>) -> u64 {
    (range.end() - range.start()).saturating_add(1)
}

fn add(sum: &mut TcpCounts, counts: TcpCounts) {
    sum.outbound = sum.outbound.saturating_add(counts.outbound);
    sum.inbound = sum.inbound.saturating_add(counts.inbound);
}

/// More would say no more, and files may be hostile.
const FINDINGS_MAX: usize = 100;
const WINDOWS_MAX: usize = 1_000;

/// Two months of them, one a minute.
const ESTIMATES_MAX: usize = 100_000;
