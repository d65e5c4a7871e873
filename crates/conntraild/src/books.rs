//! The books of an epoch: what each stage between the flow table and the disk gave to the next.
//!
//! Every record is counted in the moment in which it goes on or is left behind, so that what is
//! told balances to the record. `docs/ledger.md` says what must equal what.

use record::{
    LossCause, LossStage, LostKind, NoticeKind, Record, RecordCounts, StageCounts, Stamp, Tally,
};
use trail::SegmentRange;

/// What an epoch came to so far.
#[derive(Debug)]
pub(crate) struct Books {
    stages: StageCounts,
    /// What the trail's queue refused and no notice declares yet.
    undeclared: RecordCounts,
    /// The last flush before the first of them.
    undeclared_since: Stamp,
    undeclared_cause: LossCause,
    /// Connections in the sums among all that was refused.
    refused_in_sums: u64,
    /// The same of what the policy dropped.
    dropped_in_sums: u64,
    flushed_at: Stamp,
    disk_refuses: bool,
}

/// A loss that was declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    what: LostKind,
    count: u64,
}

impl Books {
    /// The books of an epoch that begins.
    pub(crate) fn new(now: Stamp) -> Books {
        Books {
            stages: StageCounts::default(),
            undeclared: RecordCounts::default(),
            undeclared_since: now,
            undeclared_cause: LossCause::QueueFull,
            refused_in_sums: 0,
            dropped_in_sums: 0,
            flushed_at: now,
            disk_refuses: false,
        }
    }

    /// The flow table gave a record.
    pub(crate) fn given(&mut self, record: &Record) {
        self.stages.given.count(record);
    }

    /// The recorder made a notice by itself.
    pub(crate) fn made(&mut self) {
        self.stages.own += 1;
    }

    /// The policy dropped a record.
    pub(crate) fn dropped(&mut self, record: &Record) {
        self.stages.dropped.count(record);
        self.dropped_in_sums += closes_in_sum(record);
    }

    /// A record has its sequence.
    pub(crate) fn recorded(&mut self, record: &Record) {
        self.stages.recorded.count(record);
    }

    /// The trail's queue had no room for a record.
    pub(crate) fn refused(&mut self, record: &Record) {
        if self.undeclared.records == 0 && self.undeclared.closes == 0 {
            self.undeclared_since = self.flushed_at;
            self.undeclared_cause = match self.disk_refuses {
                true => LossCause::WriteFailed,
                false => LossCause::QueueFull,
            };
        }
        self.undeclared.count(record);
        self.refused_in_sums += closes_in_sum(record);
    }

    /// The trail was flushed, or tried to be.
    pub(crate) fn flushed(&mut self, worked: bool, now: Stamp) {
        self.flushed_at = now;
        self.disk_refuses = !worked;
    }

    /// The notice that is due about what was refused.
    pub(crate) fn undeclared(&self) -> Option<(NoticeKind, Loss)> {
        let RecordCounts { records, closes } = self.undeclared;
        let (what, count) = match (records, closes) {
            (0, 0) => return None,
            (0, closes) => (LostKind::Closes, closes),
            (records, _) => (LostKind::Records, records),
        };
        let kind = NoticeKind::Lost {
            stage: LossStage::TrailQueue,
            cause: self.undeclared_cause,
            what,
            count: Some(count),
            since: self.undeclared_since,
        };
        Some((kind, Loss { what, count }))
    }

    /// A loss was declared by a notice that has its sequence.
    pub(crate) fn declared(&mut self, loss: Loss) {
        let Loss { what, count } = loss;
        if what == LostKind::Closes {
            self.undeclared.closes -= count;
            self.stages.refused.closes += count;
        } else {
            self.undeclared.records -= count;
            self.stages.refused.records += count;
        }
        self.stages.own += 1;
        self.stages.recorded.records += 1;
    }

    /// Segments are declared as evicted.
    pub(crate) fn evicted(&mut self, range: &SegmentRange) {
        let last = range.last_sequence.unwrap_or(range.first_sequence);
        self.stages.records_evicted += last.saturating_sub(range.first_sequence) + 1;
    }

    /// A segment was written a second time, if one was.
    pub(crate) fn rewrote(&mut self, one: bool) {
        self.stages.segments_rewritten += u64::from(one);
    }

    /// Corrects what the flow table says of its closes: it does not know what was refused after
    /// it. Refused closes beyond all ends that count as recorded were repeated ones, and are
    /// declared as lost like the others, so they are ends of their own from then on. False where
    /// that cannot be said yet, because not all of it is declared.
    pub(crate) fn settle(&self, record: &mut Record) -> bool {
        let Some(tally) = tally_of(record) else {
            return true;
        };
        let refused = self.stages.refused.closes;
        let in_sums = self.refused_in_sums.min(tally.closes_aggregated);
        let lost = refused.saturating_sub(in_sums);
        tally.closes_made += lost.saturating_sub(tally.closes_recorded);
        tally.closes_recorded = tally.closes_recorded.saturating_sub(lost);
        tally.closes_aggregated -= in_sums;
        tally.closes_lost += lost + in_sums;
        self.is_declared()
    }

    /// What each stage came to; `None` while a loss is not declared yet.
    pub(crate) fn told(&self, table: &flow::Counters) -> Option<StageCounts> {
        self.is_declared().then_some(StageCounts {
            closes_waiting: table.closes_waiting,
            closes_repeated: table.repeated.saturating_sub(self.repeats_refused(table)),
            ends_told_before: table.told_before,
            flows_evicted: table.evicted,
            ..self.stages
        })
    }

    /// Refused closes that [`Books::settle`] counts as ends of their own.
    fn repeats_refused(&self, table: &flow::Counters) -> u64 {
        let dropped = self.stages.dropped.closes - self.dropped_in_sums;
        let recorded = table.closes_recorded.saturating_sub(dropped);
        let in_sums = self.refused_in_sums;
        let refused = self.stages.refused.closes.saturating_sub(in_sums);
        refused.saturating_sub(recorded)
    }

    fn is_declared(&self) -> bool {
        self.undeclared == RecordCounts::default()
    }
}

/// Connections that a record sums; none where it is of one.
fn closes_in_sum(record: &Record) -> u64 {
    match record {
        Record::Connection(connection) if connection.aggregate.is_some() => connection.closes(),
        Record::Connection(_) | Record::Notice(_) => 0,
    }
}

fn tally_of(record: &mut Record) -> Option<&mut Tally> {
    match record {
        Record::Connection(_) => None,
        Record::Notice(notice) => notice.kind.tally_mut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Notice, StopReason, sample};

    /// Of a flow that was evicted twice and then ended, nothing had room.
    #[test]
    fn repeated_closes_that_were_refused_balance_too() {
        let mut books = Books::new(Stamp::default());
        for close in sample::closes(1, 3) {
            books.given(&close);
            books.refused(&close);
        }
        while let Some((_, loss)) = books.undeclared() {
            books.declared(loss);
        }
        let table = flow::Counters {
            closes_recorded: 1,
            repeated: 2,
            ..flow::Counters::default()
        };
        let tally = Tally {
            closes_made: 1,
            closes_recorded: 1,
            ..Tally::default()
        };
        let reason = StopReason::Requested;
        let mut stopped = Record::Notice(Notice {
            at: Stamp::default(),
            kind: NoticeKind::RecorderStopped { reason, tally },
        });
        assert!(books.settle(&mut stopped));
        let told = tally_of(&mut stopped).copied();
        let expected = Tally {
            closes_made: 3,
            closes_lost: 3,
            ..Tally::default()
        };
        assert_eq!(told, Some(expected));
        let stages = books.told(&table).unwrap();
        let (given, refused) = (stages.given.closes, stages.refused.closes);
        assert_eq!((given, refused, stages.closes_repeated), (3, 3, 0));
    }
}
