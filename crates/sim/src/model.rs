//! The reference model of a trail: a plain list of what was appended, what was synced, and what
//! may be gone, and why.

use record::{NoticeKind, PreviousEpoch, Record, RecordId, Stamp, Wall, codec};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use trail::SegmentRange;

/// What must be true of a trail.
#[derive(Default)]
pub struct Model {
    epochs: BTreeMap<u64, Epoch>,
    /// Something in the directory was changed by other hands than the writer's.
    pub was_damaged: bool,
    /// Whole segments were deleted by other hands than the writer's.
    pub was_robbed: bool,
    /// A writer could not read at its start what was there, so what it says of it may be wrong.
    pub was_misread: bool,
}

/// What is known of one epoch.
#[derive(Default)]
pub struct Epoch {
    records: Vec<Appended>,
    /// The last sequence that must be there.
    durable: u64,
    /// The last sequence that may be there, once the next epoch has said so.
    last: Option<u64>,
    excuses: Vec<(RangeInclusive<u64>, Excuse)>,
    /// Evictions that were planned, by the sequence of the notice that declares each.
    planned: Vec<(u64, SegmentRange)>,
    stopped: bool,
    /// A sync failed, so what is there though it was not synced may go again.
    distrusted: bool,
}

/// A record as it was appended.
pub struct Appended {
    /// Its canonical bytes.
    pub bytes: Box<[u8]>,
    /// When it was made.
    pub at: Stamp,
    /// The other side.
    pub remote: Option<IpAddr>,
}

/// Why a synced record may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excuse {
    /// A notice of eviction was synced before.
    Evicted,
    /// Its frame was damaged.
    Damaged,
    /// Somebody deleted its segment.
    Robbed,
    /// It was never synced, and a crash took it.
    NeverSynced,
}

impl Model {
    /// An epoch begins; what its writer found of the ones before must be right.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn begin(
        &mut self,
        epoch: u64,
        previous: Option<PreviousEpoch>,
        misread: bool,
    ) -> Result<(), String> {
        let latest = self.epochs.last_key_value().map_or(0, |(epoch, _)| *epoch);
        let left_nothing = self.epochs.get(&latest).is_some_and(|it| it.durable == 0);
        if epoch <= latest && !(misread && left_nothing) {
            return Err(format!("epoch {epoch} is issued twice, {latest} was"));
        }
        self.was_misread |= misread;
        if !misread {
            self.check_previous(previous)?;
        }
        if let Some(previous) = previous
            && let Some(before) = self.epochs.get_mut(&previous.epoch)
        {
            let count = before.records.len() as u64;
            before.last = Some(if misread {
                count
            } else {
                previous.last_sequence
            });
        }
        self.epochs.insert(epoch, Epoch::default());
        Ok(())
    }

    fn check_previous(&self, previous: Option<PreviousEpoch>) -> Result<(), String> {
        let Some(previous) = previous else {
            return match self.epochs.last_key_value() {
                None => Ok(()),
                Some((latest, _)) => Err(format!("no epoch before is named, but {latest} was")),
            };
        };
        // A start that failed may have taken a number, and no more.
        let never = Epoch::default();
        let epoch = self.epochs.get(&previous.epoch).unwrap_or(&never);
        if previous.last_sequence > epoch.records.len() as u64 {
            return Err(format!("{previous:?} names a record that was never made"));
        }
        let named = RecordId {
            epoch: previous.epoch,
            sequence: previous.last_sequence,
        };
        if let Some(must) = self.last_that_must_be_there().filter(|must| *must > named) {
            return Err(format!("{previous:?} is named, but {must:?} was synced"));
        }
        epoch.check_end(previous)
    }

    fn last_that_must_be_there(&self) -> Option<RecordId> {
        self.epochs.iter().rev().find_map(|(number, epoch)| {
            let sequence = (1..=epoch.durable).rev().find(|it| epoch.must_have(*it))?;
            Some(RecordId {
                epoch: *number,
                sequence,
            })
        })
    }

    /// After a start: what of the named end is there has been synced, or is distrusted.
    pub fn settle(&mut self, named: PreviousEpoch, found: &Found, was_synced: bool) {
        let Some(epoch) = self.epochs.get_mut(&named.epoch) else {
            return;
        };
        let is_safe = was_synced && !epoch.distrusted;
        for sequence in epoch.durable + 1..=named.last_sequence {
            if !is_safe || !found.has(named.epoch, sequence) {
                let alone = sequence..=sequence;
                epoch.excuses.push((alone, Excuse::NeverSynced));
            }
        }
        epoch.durable = epoch.durable.max(named.last_sequence);
    }

    /// A record was appended.
    ///
    /// # Errors
    /// When it has not the next number.
    pub fn append(&mut self, record: &Record, id: RecordId) -> Result<(), String> {
        let epoch = self.epochs.entry(id.epoch).or_default();
        if id.sequence != epoch.records.len() as u64 + 1 {
            let count = epoch.records.len();
            return Err(format!("{id:?} follows {count} records"));
        }
        let mut bytes = Vec::new();
        codec::encode(record, &mut bytes);
        let remote = match record {
            Record::Connection(connection) => connection.remote.address,
            Record::Notice(_) => None,
        };
        epoch.records.push(Appended {
            bytes: bytes.into(),
            at: record.at(),
            remote,
        });
        epoch.stopped = matches!(record, Record::Notice(notice)
            if matches!(notice.kind, NoticeKind::RecorderStopped { .. }));
        Ok(())
    }

    /// A notice declares that a segment is going to be deleted.
    pub fn plan(&mut self, notice: RecordId, range: SegmentRange) {
        let epoch = self.epochs.entry(notice.epoch).or_default();
        epoch.planned.push((notice.sequence, range));
    }

    /// Everything up to here is synced.
    ///
    /// # Errors
    /// When it was so further before.
    pub fn sync(&mut self, durable: Option<RecordId>) -> Result<(), String> {
        let Some(id) = durable else {
            return Ok(());
        };
        let epoch = self.epochs.entry(id.epoch).or_default();
        if id.sequence < epoch.durable || id.sequence > epoch.records.len() as u64 {
            return Err(format!("{id:?} is said to be the last synced one"));
        }
        epoch.durable = id.sequence;
        let planned = std::mem::take(&mut epoch.planned);
        let (due, later) = planned.into_iter().partition(|(at, _)| *at <= id.sequence);
        epoch.planned = later;
        let due: Vec<(u64, SegmentRange)> = due;
        for (_, range) in due {
            let last = range.last_sequence.unwrap_or(range.first_sequence);
            self.excuse(range.epoch, range.first_sequence..=last, Excuse::Evicted);
        }
        Ok(())
    }

    /// A sync of this epoch failed.
    pub fn distrust(&mut self, epoch: u64) {
        self.epochs.entry(epoch).or_default().distrusted = true;
    }

    /// Every sync worked, and every read at a start, so that what is named as synced is.
    pub fn is_trusted(&self) -> bool {
        !self.was_misread && !self.epochs.values().any(|epoch| epoch.distrusted)
    }

    /// These may be gone from now on.
    pub fn excuse(&mut self, epoch: u64, range: RangeInclusive<u64>, why: Excuse) {
        let epoch = self.epochs.entry(epoch).or_default();
        epoch.excuses.push((range, why));
    }

    /// Whether this sequence may be gone without a notice that says so.
    pub fn is_excused_without_notice(&self, epoch: u64, sequence: u64) -> bool {
        let epoch = self.epochs.get(&epoch);
        epoch.is_some_and(|epoch| {
            let why = |why: Excuse| why != Excuse::Evicted;
            epoch.excused(sequence, why) || sequence > epoch.durable
        })
    }

    /// The record, if it was ever appended.
    pub fn record(&self, id: RecordId) -> Option<&Appended> {
        let index = usize::try_from(id.sequence.checked_sub(1)?).ok()?;
        self.epochs.get(&id.epoch)?.records.get(index)
    }

    /// The bytes of a record; none of one that was never appended.
    pub fn bytes(&self, id: RecordId) -> &[u8] {
        self.record(id).map_or(&[], |record| &record.bytes)
    }

    /// How many records were appended in an epoch.
    pub fn count(&self, epoch: u64) -> u64 {
        let epoch = self.epochs.get(&epoch);
        epoch.map_or(0, |epoch| epoch.records.len() as u64)
    }

    /// The last record that a reader may show; later ones are not synced, or known not to be.
    pub fn last_visible(&self, number: u64) -> u64 {
        let epoch = self.epochs.get(&number);
        let all = |epoch: &Epoch| epoch.records.len() as u64;
        epoch.map_or(0, |epoch| match epoch.last {
            _ if self.was_misread && !self.is_latest(number) => all(epoch),
            Some(last) => last,
            None => epoch.durable,
        })
    }

    fn is_latest(&self, number: u64) -> bool {
        let latest = self.epochs.last_key_value();
        latest.is_some_and(|(latest, _)| *latest == number)
    }

    /// All that must be there, in order.
    pub fn must_have(&self) -> impl Iterator<Item = (RecordId, &Appended)> {
        self.epochs.iter().flat_map(|(number, epoch)| {
            let sequences = (1..=epoch.durable).filter(|it| epoch.must_have(*it));
            sequences.map(|sequence| {
                let id = RecordId {
                    epoch: *number,
                    sequence,
                };
                (id, &epoch.records[sequence as usize - 1])
            })
        })
    }
}

impl Epoch {
    fn must_have(&self, sequence: u64) -> bool {
        sequence <= self.durable && !self.excused(sequence, |_| true)
    }

    fn excused(&self, sequence: u64, counts: impl Fn(Excuse) -> bool) -> bool {
        let mut excuses = self.excuses.iter();
        excuses.any(|(range, why)| range.contains(&sequence) && counts(*why))
    }

    /// What the next epoch says of how this one ended.
    fn check_end(&self, previous: PreviousEpoch) -> Result<(), String> {
        let last = previous.last_sequence;
        let is_all = last == self.records.len() as u64;
        let stopped = self.stopped && is_all;
        if previous.stopped_in_order && !stopped {
            return Err(format!("{previous:?} is named, but it was cut short"));
        }
        if stopped && !previous.stopped_in_order && self.must_have(last) {
            return Err(format!("{previous:?} is named, but it was ended in order"));
        }
        let at = last
            .checked_sub(1)
            .map(|index| self.records[index as usize].at);
        let is_right =
            previous.last_at == at || previous.last_at.is_none() && !self.must_have(last);
        if is_right {
            Ok(())
        } else {
            Err(format!("{previous:?} is named, but it was at {at:?}"))
        }
    }
}

/// Which records a reader found.
#[derive(Default)]
pub struct Found {
    epochs: BTreeMap<u64, Vec<u64>>,
}

impl Found {
    /// Takes note of a record, which must come after all before.
    ///
    /// # Errors
    /// When it came before.
    pub fn add(&mut self, id: RecordId) -> Result<(), String> {
        if let Some(last) = self.last().filter(|last| *last >= id) {
            return Err(format!("{id:?} is shown after {last:?}"));
        }
        self.epochs.entry(id.epoch).or_default().push(id.sequence);
        Ok(())
    }

    /// Whether it was found.
    pub fn has(&self, epoch: u64, sequence: u64) -> bool {
        let epoch = self.epochs.get(&epoch);
        epoch.is_some_and(|all| all.binary_search(&sequence).is_ok())
    }

    /// The last one.
    pub fn last(&self) -> Option<RecordId> {
        let (epoch, all) = self.epochs.last_key_value()?;
        let sequence = *all.last()?;
        Some(RecordId {
            epoch: *epoch,
            sequence,
        })
    }

    /// How many were found.
    pub fn count(&self) -> u64 {
        self.epochs.values().map(|all| all.len() as u64).sum()
    }

    /// The epochs of which any record was found, with those records in order.
    pub fn epochs(&self) -> impl Iterator<Item = (u64, &[u64])> {
        self.epochs
            .iter()
            .map(|(epoch, all)| (*epoch, all.as_slice()))
    }
}

/// A range of wall time around a record, for questions.
pub fn around(at: Wall, ns: i64) -> RangeInclusive<Wall> {
    Wall(at.0.saturating_sub(ns))..=Wall(at.0.saturating_add(ns))
}
