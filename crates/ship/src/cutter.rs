//! Cuts what is read of a trail into batches.

use crate::config::{Filter, LeftOutBy};
use crate::{Batch, BatchId, Item, LeftOut, Manifest, flat};
use policy::{Decision, Engine};
use record::{Device, NoticeKind, Record, RecordId, UndeliveredCause, Wall, codec};
use std::sync::Arc;
use trail::{Head, RawItem, SegmentName};

/// How much a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records that are sent.
    pub records_max: usize,
    /// Bytes of these, by estimate, before they are made smaller.
    pub bytes_max: usize,
    /// Sequences, those that are left out among them.
    pub range_max: u64,
}

impl Limits {
    /// None: for a range that was cut before.
    pub fn none() -> Limits {
        Limits {
            records_max: usize::MAX,
            bytes_max: usize::MAX,
            range_max: u64::MAX,
        }
    }
}

/// What a reader came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record.
    Record(Box<FoundRecord>),
    /// Sequences of one epoch that cannot be read.
    Missing(FoundMissing),
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Where it stands.
    pub id: RecordId,
    /// It.
    pub record: Record,
    /// The machine that recorded it.
    pub device: Arc<Device>,
    /// How many bytes it will be, by estimate.
    pub bytes: usize,
    /// The chain, where a group ends with this record.
    pub head: Option<Head>,
}

/// Sequences of one epoch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMissing {
    /// Their epoch.
    pub epoch: u64,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// How many of them are lost; `None` where that is not known.
    pub records: Option<u64>,
    /// Why.
    pub cause: UndeliveredCause,
    /// The same in words.
    pub reason: String,
}

impl Found {
    /// What a reader of a trail handed out; `None` where it loses no record. `expected` is what was
    /// to come next, and `bytes_factor` is that of the format it goes into.
    pub fn of(
        item: RawItem<'_>,
        expected: RecordId,
        decoder: &mut codec::Decoder,
        bytes_factor: usize,
    ) -> Option<Found> {
        match item {
            RawItem::Record { id, bytes, device } => Some(match decoder.decode(bytes) {
                Ok(record) => Found::Record(Box::new(FoundRecord {
                    id,
                    record,
                    device: Arc::clone(device),
                    bytes: bytes.len() * bytes_factor,
                    head: None,
                })),
                Err(error) => FoundMissing::at(id, 1).because(
                    UndeliveredCause::Unreadable,
                    &format!("this version cannot read it: {error}"),
                ),
            }),
            RawItem::Damaged(damaged) => {
                let records = damaged.lost_records.filter(|it| *it > 0)?;
                let SegmentName {
                    epoch,
                    first_sequence,
                } = damaged.segment;
                let is_expected = epoch == expected.epoch;
                let sequence = if is_expected {
                    expected.sequence
                } else {
                    first_sequence
                };
                let missing = FoundMissing::at(RecordId { epoch, sequence }, records);
                Some(missing.because(UndeliveredCause::Damaged, "the trail is damaged there"))
            }
            RawItem::Missing(it) => {
                let first = RecordId {
                    epoch: it.epoch,
                    sequence: it.first_sequence,
                };
                let missing = FoundMissing::at(first, it.last_sequence - it.first_sequence + 1);
                Some(missing.because(UndeliveredCause::Gone, "the trail no longer has them"))
            }
        }
    }
}

impl FoundMissing {
    /// What of it stands before `until`: what comes after may have been read by somebody else.
    #[must_use]
    pub fn before(self, until: RecordId) -> FoundMissing {
        if self.epoch != until.epoch || self.last < until.sequence || self.first >= until.sequence {
            return self;
        }
        let last = until.sequence - 1;
        FoundMissing {
            last,
            records: self.records.map(|it| it.min(last - self.first + 1)),
            ..self
        }
    }
}

impl FoundRecord {
    /// Notes the chain's head that the reader knows, where a group ends with this record.
    pub fn set_head(&mut self, head: Option<Head>) {
        let is_mine =
            |head: &Head| (head.epoch, head.sequence) == (self.id.epoch, self.id.sequence);
        self.head = head.filter(is_mine);
    }
}

impl FoundMissing {
    fn at(first: RecordId, records: u64) -> FoundMissing {
        FoundMissing {
            epoch: first.epoch,
            first: first.sequence,
            last: first.sequence.saturating_add(records - 1),
            records: Some(records),
            cause: UndeliveredCause::Gone,
            reason: String::new(),
        }
    }

    fn because(self, cause: UndeliveredCause, reason: &str) -> Found {
        let reason = reason.to_owned();
        Found::Missing(FoundMissing {
            cause,
            reason,
            ..self
        })
    }
}

/// Sequences that go together, with what is sent of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Their epoch.
    pub epoch: u64,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// What is sent.
    pub items: Vec<Item>,
    /// What is not, by why.
    pub left_out: LeftOut,
    /// The machine that recorded them.
    pub device: Arc<Device>,
    /// The chain at the last group that ends within them or before.
    pub head: Option<Head>,
    /// When the last of them was made, sent or not.
    pub until: Wall,
}

/// What became of something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is part of what will be cut next.
    Yes,
    /// It cannot be part of that; cut first, and offer it again.
    Full(Found),
    /// These cannot be read; where something lies before them it was cut before. What comes with
    /// them stands after them, and is to be offered again.
    Missing(FoundMissing, Option<Found>),
}

/// Epochs that are gone to their ends, and are declared one by one, at most.
const EPOCHS_GONE_MAX: u64 = 1_000;

/// Puts together what is read, from one place in a trail on.
#[derive(Debug)]
pub struct Cutter {
    limits: Limits,
    next: RecordId,
    bytes: usize,
    cut: Option<Cut>,
    head: Option<Head>,
}

impl Cutter {
    /// Begins at `from`. Epoch 0 is before all.
    pub fn new(limits: Limits, from: RecordId) -> Cutter {
        Cutter {
            limits,
            next: from,
            bytes: 0,
            cut: None,
            head: None,
        }
    }

    /// What is expected next.
    pub fn next(&self) -> RecordId {
        self.next
    }

    /// Nothing was taken since the last cut.
    pub fn is_empty(&self) -> bool {
        self.cut.is_none()
    }

    /// Takes what was found next, treated by `engine` and `filter`.
    pub fn take(&mut self, found: Found, filter: &Filter, engine: &mut Engine) -> Taken {
        match found {
            Found::Missing(_) if self.cut.is_some() => Taken::Full(found),
            Found::Missing(missing) if self.is_epoch_open(missing.epoch) => {
                let before = self.rest_of_epoch(None);
                self.next = self.epoch_after(missing.epoch);
                Taken::Missing(before, Some(Found::Missing(missing)))
            }
            Found::Missing(missing) => {
                self.next = RecordId {
                    epoch: missing.epoch,
                    sequence: missing.last.saturating_add(1),
                };
                Taken::Missing(missing, None)
            }
            // It was read before.
            Found::Record(record) if record.id < self.next => Taken::Yes,
            Found::Record(record) => match self.gap_before(&record) {
                _ if self.is_full_for(&record) => Taken::Full(Found::Record(record)),
                Some(missing) => {
                    self.next = match previous_epoch(&record.record) {
                        Some((before, _)) if self.next.epoch < before => self.epoch_after(before),
                        Some(_) | None => record.id,
                    };
                    Taken::Missing(missing, Some(Found::Record(record)))
                }
                None => {
                    self.add(*record, filter, engine);
                    Taken::Yes
                }
            },
        }
    }

    /// What lies between what is expected next and `until`, where nothing of it is in the trail;
    /// to be called until it is `None`. `behind` is what was found there instead: the first record
    /// of an epoch knows how far the one before came.
    ///
    /// Nothing may be taken that is not cut.
    pub fn gap_until(&mut self, until: RecordId, behind: Option<&Found>) -> Option<FoundMissing> {
        let RecordId { epoch, sequence } = self.next;
        if epoch == 0 || self.next >= until {
            return None;
        }
        if epoch == until.epoch {
            let missing = self.rest_of_epoch(Some(until.sequence - 1));
            self.next = until;
            return Some(missing);
        }
        let previous = match behind {
            Some(Found::Record(record)) => previous_epoch(&record.record),
            Some(Found::Missing(_)) | None => None,
        };
        if previous.is_some_and(|(before, last)| before == epoch && last < sequence) {
            self.next = until;
            return None;
        }
        let missing = self.rest_of_epoch(None);
        self.next = self.epoch_after(until.epoch);
        Some(missing)
    }

    /// What was taken, as one cut; `None` where there is nothing.
    pub fn cut(&mut self) -> Option<Cut> {
        self.bytes = 0;
        let mut cut = self.cut.take()?;
        cut.head = self.head;
        Some(cut)
    }

    /// A cut holds one epoch without gaps, of one machine.
    fn is_full_for(&self, record: &FoundRecord) -> bool {
        self.cut.as_ref().is_some_and(|cut| {
            record.id != self.next
                || cut.items.len() >= self.limits.records_max
                || self.bytes.saturating_add(record.bytes) > self.limits.bytes_max
                || cut.last - cut.first + 1 >= self.limits.range_max
                || *cut.device != *record.device
        })
    }

    /// What lies between what was expected and this record, where nobody told of it: an epoch that
    /// was evicted to its end. The first record of an epoch knows how far the one before came.
    fn gap_before(&self, record: &FoundRecord) -> Option<FoundMissing> {
        let RecordId { epoch, sequence } = self.next;
        let is_further = epoch > 0 && record.id > self.next;
        if !is_further {
            return None;
        }
        if record.id.epoch == epoch {
            return Some(self.rest_of_epoch(Some(record.id.sequence - 1)));
        }
        match previous_epoch(&record.record) {
            Some((before, last)) if before == epoch && last < sequence => None,
            Some((before, last)) if before == epoch => Some(self.rest_of_epoch(Some(last))),
            Some(_) | None => Some(self.rest_of_epoch(None)),
        }
    }

    /// Nobody knows whether anything is left of the epoch that was read when another begins.
    fn is_epoch_open(&self, other: u64) -> bool {
        self.next.epoch > 0 && other > self.next.epoch
    }

    /// The beginning of the epoch after the one that was read. Of many that are gone to their ends
    /// the latest are told of, up to `last`, one by one.
    fn epoch_after(&self, last: u64) -> RecordId {
        let earliest = last.saturating_sub(EPOCHS_GONE_MAX);
        RecordId {
            epoch: (self.next.epoch + 1).max(earliest),
            sequence: 1,
        }
    }

    /// From what was expected next on, to `last` where that is known.
    fn rest_of_epoch(&self, last: Option<u64>) -> FoundMissing {
        let RecordId { epoch, sequence } = self.next;
        FoundMissing {
            epoch,
            first: sequence,
            last: last.unwrap_or(sequence),
            records: last.map(|last| last - sequence + 1),
            cause: UndeliveredCause::Gone,
            reason: "the trail no longer has them".to_owned(),
        }
    }

    fn add(&mut self, found: FoundRecord, filter: &Filter, engine: &mut Engine) {
        let FoundRecord {
            id,
            mut record,
            device,
            bytes,
            head,
        } = found;
        self.next = RecordId {
            epoch: id.epoch,
            sequence: id.sequence.saturating_add(1),
        };
        self.head = head.or(self.head.filter(|head| head.epoch == id.epoch));
        let at = record.at().wall;
        let cut = self.cut.get_or_insert_with(|| Cut {
            epoch: id.epoch,
            first: id.sequence,
            last: id.sequence,
            items: Vec::new(),
            left_out: LeftOut::default(),
            device,
            head: None,
            until: at,
        });
        cut.last = id.sequence;
        cut.until = at;
        match filter.leaves_out(&record) {
            Some(LeftOutBy::Opens) => cut.left_out.opens += 1,
            Some(LeftOutBy::Filter) => cut.left_out.filtered += 1,
            None if matches!(engine.apply_alone(&mut record), Decision::Dropped(_)) => {
                cut.left_out.dropped += 1;
            }
            None => {
                self.bytes += bytes;
                cut.items.push(Item { id, record });
            }
        }
    }
}

impl Cut {
    /// The name of the batch that it becomes.
    pub fn id(&self, source: &trail::Source, view: u32) -> BatchId {
        BatchId {
            endpoint: self.device.endpoint,
            source: source.clone(),
            epoch: self.epoch,
            first: self.first,
            last: self.last,
            view,
        }
    }

    /// The batch that it becomes. `view` is the destination's, see
    /// [`crate::config::Destination::view`].
    pub fn batch(&self, source: &trail::Source, view: u32, texts: &mut flat::Texts) -> Batch {
        let provenance = flat::Provenance {
            device: &self.device,
            source,
            epoch: self.epoch,
        };
        Batch {
            manifest: Manifest {
                id: self.id(source, view),
                sent: self.items.len() as u64,
                left_out: self.left_out,
                digest: flat::digest(texts, provenance, &self.items),
                head: self.head,
                until: Some(self.until),
            },
            device: Arc::clone(&self.device),
            items: self.items.clone(),
        }
    }
}

fn previous_epoch(record: &Record) -> Option<(u64, u64)> {
    let Record::Notice(notice) = record else {
        return None;
    };
    match &notice.kind {
        NoticeKind::RecorderStarted {
            previous: Some(previous),
        } => Some((previous.epoch, previous.last_sequence)),
        NoticeKind::RecorderStarted { previous: None }
        | NoticeKind::RecorderStopped { .. }
        | NoticeKind::SensorStarted { .. }
        | NoticeKind::SensorStopped { .. }
        | NoticeKind::Lost { .. }
        | NoticeKind::SensorLimited { .. }
        | NoticeKind::BreakerChanged { .. }
        | NoticeKind::Coverage(_)
        | NoticeKind::ExtensionReplaced(_)
        | NoticeKind::Sleeping
        | NoticeKind::Slept { .. }
        | NoticeKind::ClockStepped { .. }
        | NoticeKind::TrailEvicted { .. }
        | NoticeKind::Ledger(_)
        | NoticeKind::PolicyChanged(_)
        | NoticeKind::PolicyCounts(_)
        | NoticeKind::StageCounts(_)
        | NoticeKind::Undelivered(_)
        | NoticeKind::Delivery(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Notice, PreviousEpoch, Stamp};

    const LIMITS: Limits = Limits {
        records_max: 10,
        bytes_max: 10_000,
        range_max: 100,
    };

    fn started(epoch: u64, previous: (u64, u64)) -> Found {
        let previous = Some(PreviousEpoch {
            epoch: previous.0,
            last_sequence: previous.1,
            last_at: None,
            stopped_in_order: false,
        });
        Found::Record(Box::new(FoundRecord {
            id: RecordId { epoch, sequence: 1 },
            record: Record::Notice(Notice {
                at: Stamp::default(),
                kind: NoticeKind::RecorderStarted { previous },
            }),
            device: Arc::default(),
            bytes: 1,
            head: None,
        }))
    }

    fn from(epoch: u64, sequence: u64) -> Cutter {
        Cutter::new(LIMITS, RecordId { epoch, sequence })
    }

    fn take(cutter: &mut Cutter, found: Found) -> Taken {
        cutter.take(found, &Filter::default(), &mut Engine::default())
    }

    #[test]
    fn what_is_missing_behind_an_end_is_not_told_before_it() {
        let at = |sequence: u64| RecordId { epoch: 3, sequence };
        let missing = FoundMissing::at(at(11), 100);
        assert_eq!(missing.clone().before(at(200)), missing);
        let clipped = missing.before(at(21));
        assert_eq!((clipped.first, clipped.last), (11, 20));
        assert_eq!(clipped.records, Some(10));
    }

    #[test]
    fn what_is_nowhere_before_an_end_is_told_epoch_by_epoch() {
        let until = RecordId {
            epoch: 5,
            sequence: 4,
        };
        let mut cutter = from(3, 11);
        for expected in [(3, 11, None), (4, 1, None), (5, 1, Some(3))] {
            let missing = cutter.gap_until(until, None).unwrap();
            assert_eq!((missing.epoch, missing.first, missing.records), expected);
        }
        assert_eq!(cutter.gap_until(until, None), None);
        assert_eq!(from(5, 4).gap_until(until, None), None);
        assert_eq!(from(0, 0).gap_until(until, None), None);
        // Nothing of epoch 4 was there yet when that end was set.
        let until = RecordId {
            epoch: 4,
            sequence: 1,
        };
        let behind = started(4, (3, 10));
        assert_eq!(from(3, 11).gap_until(until, Some(&behind)), None);
    }

    #[test]
    fn an_end_of_an_epoch_that_was_evicted_is_told_by_the_next() {
        let mut cutter = from(3, 11);
        let found = started(4, (3, 15));
        let Taken::Missing(missing, Some(rest)) = take(&mut cutter, found.clone()) else {
            panic!("nothing is missing");
        };
        assert_eq!((missing.epoch, missing.first, missing.last), (3, 11, 15));
        assert_eq!(missing.records, Some(5));
        assert_eq!(rest, found);
        assert_eq!(take(&mut cutter, rest), Taken::Yes);
    }

    #[test]
    fn a_cut_tells_when_its_last_record_was_made_though_none_is_sent() {
        let mut cutter = from(1, 1);
        let filter = Filter {
            notices: Some(false),
            ..Filter::default()
        };
        for (sequence, wall) in [(1, 70), (2, 90)] {
            let found = Found::Record(Box::new(FoundRecord {
                id: RecordId { epoch: 1, sequence },
                record: Record::Notice(Notice {
                    at: Stamp {
                        wall: Wall(wall),
                        ..Stamp::default()
                    },
                    kind: NoticeKind::Sleeping,
                }),
                device: Arc::default(),
                bytes: 1,
                head: None,
            }));
            let taken = cutter.take(found, &filter, &mut Engine::default());
            assert_eq!(taken, Taken::Yes);
        }
        let cut = cutter.cut().unwrap();
        assert_eq!((cut.items.len(), cut.left_out.filtered), (0, 2));
        assert_eq!(cut.until, Wall(90));
    }

    #[test]
    fn an_epoch_that_was_read_to_its_end_leaves_nothing_behind() {
        let mut cutter = from(3, 16);
        assert_eq!(take(&mut cutter, started(4, (3, 15))), Taken::Yes);
    }

    #[test]
    fn where_nobody_tells_how_long_an_epoch_was_the_number_is_unknown() {
        let mut cutter = from(3, 11);
        let mut found = started(6, (5, 2));
        for expected in [(3, 11, None), (4, 1, None), (5, 1, Some(2))] {
            let Taken::Missing(missing, rest) = take(&mut cutter, found) else {
                panic!("{expected:?} is not missing");
            };
            assert_eq!((missing.epoch, missing.first, missing.records), expected);
            found = rest.unwrap();
        }
        assert_eq!(take(&mut cutter, found), Taken::Yes);
    }

    #[test]
    fn epochs_that_are_gone_before_one_whose_beginning_is_gone_are_told_one_by_one() {
        let mut cutter = from(3, 11);
        let gone = FoundMissing::at(
            RecordId {
                epoch: 6,
                sequence: 1,
            },
            7,
        );
        let mut found = gone.because(UndeliveredCause::Gone, "");
        for expected in [(3, 11, None), (4, 1, None), (5, 1, None), (6, 1, Some(7))] {
            let Taken::Missing(missing, rest) = take(&mut cutter, found.clone()) else {
                panic!("{expected:?} is not missing");
            };
            assert_eq!((missing.epoch, missing.first, missing.records), expected);
            found = rest.unwrap_or(found);
        }
        assert_eq!(
            cutter.next(),
            RecordId {
                epoch: 6,
                sequence: 8
            }
        );
    }

    #[test]
    fn an_epoch_that_never_had_a_record_is_not_missed() {
        let mut cutter = from(3, 11);
        let found = started(6, (3, 15));
        let Taken::Missing(missing, Some(rest)) = take(&mut cutter, found) else {
            panic!("nothing is missing");
        };
        assert_eq!((missing.first, missing.last), (11, 15));
        assert_eq!(take(&mut cutter, rest), Taken::Yes);
    }

    #[test]
    fn of_more_epochs_than_anybody_lists_the_latest_are_told() {
        let mut cutter = from(3, 11);
        let mut found = started(1 << 60, ((1 << 60) - 1, 2));
        let mut count = 0;
        while let Taken::Missing(_, Some(rest)) = take(&mut cutter, found.clone()) {
            count += 1;
            found = rest;
        }
        assert_eq!(count, EPOCHS_GONE_MAX + 2);
    }

    #[test]
    fn what_is_missing_ends_a_batch_and_is_offered_again() {
        let mut cutter = from(0, 0);
        assert_eq!(take(&mut cutter, started(1, (0, 0))), Taken::Yes);
        let missing = FoundMissing {
            epoch: 1,
            first: 2,
            last: 4,
            records: Some(3),
            cause: UndeliveredCause::Damaged,
            reason: String::new(),
        };
        let found = Found::Missing(missing.clone());
        assert_eq!(take(&mut cutter, found.clone()), Taken::Full(found.clone()));
        let cut = cutter.cut().unwrap();
        assert_eq!((cut.first, cut.last, cut.items.len()), (1, 1, 1));
        assert_eq!(take(&mut cutter, found), Taken::Missing(missing, None));
        assert_eq!(cutter.next().sequence, 5);
    }
}
