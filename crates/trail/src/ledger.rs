//! The ledger: do the numbers that the recorder told balance to the records that are there?
//!
//! Pure: it is given what a reader found, from the beginning of the trail on, and compares.
//! `docs/ledger.md` says where every number comes from, what must equal what, and what cannot be
//! checked and why.

mod account;

pub use account::{Account, End, Finding, Line, LossKind, LossSum, Window, WindowCause};

use crate::disk::{Disk, RealDisk};
use crate::error::TrailError;
use crate::reader::{Item, ReadOptions, TrailReader};
use account::Open;
use record::{NoticeKind, PreviousEpoch, Record, RecordId, Stamp};
use std::collections::BTreeMap;
use std::path::Path;

/// The ledger of a trail, while it is read.
#[derive(Debug, Default)]
pub struct Ledger {
    epochs: BTreeMap<u64, Open>,
    /// The last record that was evicted, by the notices; all before it went with it.
    evicted: Option<RecordId>,
}

/// The ledger of a trail, epoch by epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// An account for each epoch of which there is anything, in order.
    pub accounts: Vec<Account>,
}

/// Reads everything in a directory of segments that is published, and balances it.
///
/// # Errors
/// When the directory or a segment in it cannot be read at all.
pub fn balance(dir: &Path) -> Result<Book, TrailError> {
    balance_on(RealDisk, dir, ReadOptions::default())
}

/// As [`balance`], from a disk that need not be real.
///
/// # Errors
/// As [`balance`].
pub fn balance_on<D: Disk>(disk: D, dir: &Path, options: ReadOptions) -> Result<Book, TrailError> {
    let mut reader = TrailReader::open_on(disk, dir, options)?;
    let mut ledger = Ledger::default();
    while let Some(item) = reader.next_item()? {
        ledger.hear(&item);
    }
    Ok(ledger.conclude())
}

impl Book {
    /// Nothing that was told contradicts anything else, and whatever is not there was declared.
    /// Losses that were declared balance, and so do windows of unknown loss: they are told.
    pub fn balances(&self) -> bool {
        self.accounts.iter().all(|it| it.findings.is_empty())
    }
}

impl Ledger {
    /// Takes in what a reader found, in its order.
    pub fn hear(&mut self, item: &Item) {
        match item {
            Item::Record { id, record, .. } => self.hear_record(*id, record),
            Item::Unreadable { id, .. } => self.epoch(id.epoch).hear_unreadable(*id),
            Item::Damaged(damaged) => {
                let lost = damaged.lost_records;
                self.epoch(damaged.segment.epoch)
                    .hear_damage(lost, damaged.at_end);
            }
            Item::Missing(missing) => {
                let sequences = missing.first_sequence..=missing.last_sequence;
                self.epoch(missing.epoch).hear_missing(sequences);
            }
        }
    }

    /// What it comes to.
    pub fn conclude(mut self) -> Book {
        let evicted = self.evicted;
        let last = self.epochs.keys().next_back().copied();
        let accounts = std::mem::take(&mut self.epochs);
        let accounts = accounts.into_iter().map(|(epoch, open)| {
            let through = match evicted {
                Some(id) if id.epoch > epoch => u64::MAX,
                Some(id) if id.epoch == epoch => id.sequence,
                Some(_) | None => 0,
            };
            open.conclude(epoch, through, last == Some(epoch))
        });
        Book {
            accounts: accounts.collect(),
        }
    }

    fn epoch(&mut self, epoch: u64) -> &mut Open {
        self.epochs.entry(epoch).or_default()
    }

    fn hear_record(&mut self, id: RecordId, record: &Record) {
        if let Record::Notice(notice) = record {
            if let NoticeKind::RecorderStarted {
                previous: Some(previous),
            } = &notice.kind
            {
                self.hear_of_previous(previous, notice.at);
            }
            if let NoticeKind::TrailEvicted {
                epoch,
                last_sequence: sequence,
                ..
            } = notice.kind
            {
                self.evicted = self.evicted.max(Some(RecordId { epoch, sequence }));
            }
        }
        self.epoch(id.epoch).hear(id.sequence, record);
    }

    /// Only the next epoch knows where one ended.
    fn hear_of_previous(&mut self, previous: &PreviousEpoch, started: Stamp) {
        self.epoch(previous.epoch).hear_of_end(previous, started);
    }
}
