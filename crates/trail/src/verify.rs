//! Whether a trail holds what it should.

use crate::chain::Head;
use crate::check::{AnchorVerdict, ChainReport};
use crate::disk::{Disk, RealDisk};
use crate::error::TrailError;
use crate::reader::{Damaged, Item, Missing, ReadOptions, TrailReader, Warning};
use crate::signing::PublicKey;
use record::{NoticeKind, PreviousEpoch, Record, RecordId};
use std::collections::BTreeMap;
use std::path::Path;

/// What a trail holds, and what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments in the directory.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes at their end that are not published, and so were not looked at: they are being
    /// written, or a power cut threw the head back.
    pub unpublished_bytes: u64,
    /// Records that are as they were written.
    pub records: u64,
    /// Those of them that this version cannot read.
    pub unreadable: u64,
    /// The epochs, in order.
    pub epochs: Vec<EpochReport>,
    /// Bytes that are not as they were written.
    pub damaged: Vec<Damaged>,
    /// How many of those cost synced records. Those at the end of an epoch do not: a crash leaves
    /// what was not synced, and how far it was synced the next epoch's first record says.
    pub spoilt: u64,
    /// Sequences that are nowhere, evicted ones among them.
    pub missing: Vec<Missing>,
    /// Those of them that no notice of eviction declares.
    pub undeclared: Vec<Missing>,
    /// The last record that was evicted, with all before it.
    pub evicted_through: Option<RecordId>,
    /// What was not read because it is none of ours.
    pub warnings: Vec<Warning>,
    /// What the chain of hashes says.
    pub chain: ChainReport,
}

/// What there is of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochReport {
    /// Its number.
    pub epoch: u64,
    /// The first sequence that is there.
    pub first_sequence: u64,
    /// The last sequence that is there.
    pub last_sequence: u64,
    /// How many are there.
    pub records: u64,
    /// Its last record says that the recorder stopped in order.
    pub stopped_in_order: bool,
}

impl Report {
    /// Every record that was ever synced is there and readable, or was evicted with a notice.
    pub fn is_complete(&self) -> bool {
        self.unreadable == 0 && self.undeclared.is_empty() && self.spoilt == 0
    }

    /// Nothing shows that anybody changed what was recorded. Only up to an anchor that holds is
    /// that more than the lack of a sign: without one, whoever can write the files can make the
    /// whole chain anew.
    pub fn looks_untouched(&self) -> bool {
        let against = |verdict: &AnchorVerdict| match verdict {
            AnchorVerdict::Contradicted | AnchorVerdict::Beyond => true,
            AnchorVerdict::Holds { .. }
            | AnchorVerdict::Unproven
            | AnchorVerdict::NoHead
            | AnchorVerdict::Gone => false,
        };
        let chain = &self.chain;
        chain.breaks.is_empty()
            && !chain.anchors.iter().any(|(_, verdict)| against(verdict))
            && self.signatures_untouched()
    }

    /// What ends before the last signature looks cut off, unless there is more that is not
    /// published: a power cut can throw the head file back, but not a signature.
    fn signatures_untouched(&self) -> bool {
        let signatures = &self.chain.signatures;
        let cut_off = signatures.beyond.is_some() && self.unpublished_bytes == 0;
        signatures.contradicted.is_empty() && signatures.forged == 0 && !cut_off
    }

    /// Every anchor that was given holds.
    pub fn anchors_hold(&self) -> bool {
        let mut verdicts = self.chain.anchors.iter();
        verdicts.all(|(_, verdict)| matches!(verdict, AnchorVerdict::Holds { .. }))
    }
}

/// Reads everything in a directory of segments that is published.
///
/// # Errors
/// When the directory or a segment in it cannot be read at all.
pub fn verify(dir: &Path) -> Result<Report, TrailError> {
    verify_on(RealDisk, dir, ReadOptions::default())
}

/// As [`verify`], and compares with heads that were kept elsewhere; at most one for a record.
///
/// # Errors
/// As [`verify`].
pub fn verify_anchored(dir: &Path, anchors: &[Head]) -> Result<Report, TrailError> {
    verify_anchored_on(RealDisk, dir, ReadOptions::default(), anchors)
}

/// What a verifier trusts, because it was kept where nobody could change it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trusted<'a> {
    /// Heads.
    pub anchors: &'a [Head],
    /// Public keys of the device.
    pub keys: &'a [PublicKey],
}

/// As [`verify`], and compares with what is trusted.
///
/// # Errors
/// As [`verify`].
pub fn verify_trusting(dir: &Path, trusted: Trusted<'_>) -> Result<Report, TrailError> {
    verify_trusting_on(RealDisk, dir, ReadOptions::default(), trusted)
}

/// Reads what `options` ask for from a disk that need not be real.
///
/// # Errors
/// As [`verify`].
pub fn verify_on<D: Disk>(disk: D, dir: &Path, options: ReadOptions) -> Result<Report, TrailError> {
    verify_anchored_on(disk, dir, options, &[])
}

/// As [`verify_on`], and compares with heads that were kept elsewhere; at most one for a record.
///
/// # Errors
/// As [`verify`].
pub fn verify_anchored_on<D: Disk>(
    disk: D,
    dir: &Path,
    options: ReadOptions,
    anchors: &[Head],
) -> Result<Report, TrailError> {
    let trusted = Trusted { anchors, keys: &[] };
    verify_trusting_on(disk, dir, options, trusted)
}

/// As [`verify_on`], and compares with what is trusted.
///
/// # Errors
/// As [`verify`].
pub fn verify_trusting_on<D: Disk>(
    disk: D,
    dir: &Path,
    options: ReadOptions,
    trusted: Trusted<'_>,
) -> Result<Report, TrailError> {
    let mut reader = TrailReader::open_on(disk, dir, options)?;
    reader.check(trusted.anchors, trusted.keys);
    let mut inquiry = Inquiry::default();
    while let Some(item) = reader.next_item()? {
        inquiry.hear(item);
    }
    let extent = reader.extent()?;
    let mut report = inquiry.conclude();
    report.segments = extent.segments;
    report.bytes = extent.bytes;
    report.unpublished_bytes = extent.unpublished_bytes;
    report.chain = reader.conclude()?;
    report.warnings = reader.warnings().cloned().collect();
    Ok(report)
}

#[derive(Default)]
struct Inquiry {
    report: Report,
    epochs: BTreeMap<u64, EpochReport>,
    /// Epochs with damage at the end of a segment, and the last sequence before it.
    ends: Vec<(u64, u64)>,
}

impl Inquiry {
    fn hear(&mut self, item: Item) {
        match item {
            Item::Record { id, record, .. } => self.hear_record(id, &record),
            Item::Unreadable { id, .. } => {
                self.report.unreadable += 1;
                self.count(id);
            }
            Item::Damaged(damaged) => self.hear_of_damage(damaged),
            Item::Missing(missing) => self.report.missing.push(missing),
        }
    }

    fn hear_of_damage(&mut self, damaged: Damaged) {
        if damaged.at_end && damaged.lost_records != Some(0) {
            let epoch = damaged.segment.epoch;
            self.ends.push((epoch, self.last_sequence(epoch)));
        } else if damaged.lost_records != Some(0) {
            self.report.spoilt += 1;
        }
        self.report.damaged.push(damaged);
    }

    fn last_sequence(&self, epoch: u64) -> u64 {
        self.epochs
            .get(&epoch)
            .map_or(0, |epoch| epoch.last_sequence)
    }

    fn hear_record(&mut self, id: RecordId, record: &Record) {
        self.count(id);
        let Record::Notice(notice) = record else {
            return;
        };
        if let NoticeKind::RecorderStarted {
            previous: Some(previous),
        } = &notice.kind
        {
            self.hear_of_previous(previous);
        }
        if let NoticeKind::TrailEvicted {
            epoch,
            last_sequence,
            ..
        } = notice.kind
        {
            let last = RecordId {
                epoch,
                sequence: last_sequence,
            };
            self.report.evicted_through = self.report.evicted_through.max(Some(last));
        }
        if let NoticeKind::RecorderStopped { .. } = notice.kind
            && let Some(epoch) = self.epochs.get_mut(&id.epoch)
        {
            epoch.stopped_in_order = true;
        }
    }

    fn count(&mut self, id: RecordId) {
        self.report.records += 1;
        let epoch = self.epochs.entry(id.epoch).or_insert(EpochReport {
            epoch: id.epoch,
            first_sequence: id.sequence,
            last_sequence: id.sequence,
            records: 0,
            stopped_in_order: false,
        });
        epoch.last_sequence = id.sequence;
        epoch.records += 1;
        epoch.stopped_in_order = false;
    }

    /// The end of an epoch leaves no gap; only the next epoch knows how far it went.
    fn hear_of_previous(&mut self, previous: &PreviousEpoch) {
        let seen = self
            .epochs
            .get(&previous.epoch)
            .map_or(0, |epoch| epoch.last_sequence);
        if seen < previous.last_sequence {
            self.report.missing.push(Missing {
                epoch: previous.epoch,
                first_sequence: seen + 1,
                last_sequence: previous.last_sequence,
            });
        }
    }

    /// Eviction takes the oldest first, so one notice declares all that came before it, also
    /// where the notices of earlier evictions were evicted in turn.
    fn conclude(self) -> Report {
        let not_the_end = |(epoch, last): &&(u64, u64)| self.last_sequence(*epoch) > *last;
        let spoilt = self.ends.iter().filter(not_the_end).count() as u64;
        let mut report = self.report;
        report.spoilt += spoilt;
        report.epochs = self.epochs.into_values().collect();
        let evicted = report.evicted_through;
        let undeclared = report.missing.iter().filter_map(|missing| {
            let declared = evicted.filter(|last| last.epoch >= missing.epoch);
            let first_sequence = match declared {
                Some(last) if last.epoch > missing.epoch => return None,
                Some(last) => missing.first_sequence.max(last.sequence.saturating_add(1)),
                None => missing.first_sequence,
            };
            let rest = Missing {
                first_sequence,
                ..*missing
            };
            (first_sequence <= missing.last_sequence).then_some(rest)
        });
        report.undeclared = undeclared.collect();
        report
    }
}
