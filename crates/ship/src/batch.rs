//! Records that go together.

use record::{Device, EndpointId, Record, RecordId, Wall};
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use trail::{Head, Source};

/// A record on its way, after the destination's filter and privacy policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it stands in its trail.
    pub id: RecordId,
    /// The record.
    pub record: Record,
}

/// Names a batch: the same id always means the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId {
    /// The machine that recorded it.
    pub endpoint: EndpointId,
    /// Which of its trails.
    pub source: Source,
    /// The epoch of all its records.
    pub epoch: u64,
    /// The first sequence that it accounts for.
    pub first: u64,
    /// The last sequence that it accounts for.
    pub last: u64,
    /// What else decides the bytes: a digest of the destination's format, filter and policy, and
    /// of the version of the encoder.
    pub view: u32,
}

/// `ENDPOINT[.SIDE]-EPOCH-FIRST-LAST-VIEW`, of letters, digits, `.`, `_` and `-` only.
impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        if let Some(name) = self.source.name() {
            write!(f, ".{name}")?;
        }
        write!(
            f,
            "-{}-{}-{}-{:08x}",
            self.epoch, self.first, self.last, self.view
        )
    }
}

/// Records of one epoch of one trail that go together, in the order of their sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What it accounts for.
    pub manifest: Manifest,
    /// The machine.
    pub device: Arc<Device>,
    /// What is sent.
    pub items: Vec<Item>,
}

/// What a batch accounts for, sent with it: every sequence in its range was sent or left out, and
/// this says how many, so that whoever counts what arrived knows what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name, with the range.
    pub id: BatchId,
    /// Records that are sent.
    pub sent: u64,
    /// Records of the range that are not sent, by why.
    pub left_out: LeftOut,
    /// SHA-256 over the flat text of the records that are sent, in order: so that a store can tell
    /// whether they are still what they were.
    pub digest: [u8; 32],
    /// The trail's hash chain at the last group that ends within the range, or before it where
    /// none does; `None` where the trail has none.
    pub head: Option<Head>,
    /// When the last record of the range was made that could be read, sent or not; `None` where
    /// none could be.
    pub until: Option<Wall>,
}

/// Why records of a range are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Opens of connections that ended before they were due: the close tells the whole story.
    pub opens: u64,
    /// The destination's filter does not ask for them.
    pub filtered: u64,
    /// The destination's privacy policy drops them.
    pub dropped: u64,
    /// The destination refused them, and each was set aside and declared.
    pub refused: u64,
    /// The trail no longer has them, or cannot read them; declared.
    pub missing: u64,
}

impl LeftOut {
    /// All together.
    pub fn total(&self) -> u64 {
        self.opens + self.filtered + self.dropped + self.refused + self.missing
    }
}

impl AddAssign for LeftOut {
    fn add_assign(&mut self, other: LeftOut) {
        self.opens += other.opens;
        self.filtered += other.filtered;
        self.dropped += other.dropped;
        self.refused += other.refused;
        self.missing += other.missing;
    }
}

impl Manifest {
    /// How many sequences it accounts for.
    pub fn range(&self) -> u64 {
        self.id.last - self.id.first + 1
    }
}
