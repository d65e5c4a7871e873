//! What the shipper says about deliveries: what did not arrive, and how far the rest is.

use crate::Stamp;

/// Records of one epoch of one trail that a destination did not get, or perhaps did not.
///
/// They stay in the trail as long as its quota lets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// The destination's name in the shipper's configuration.
    pub destination: String,
    /// The side trail they are in; `None` for the recorder's own trail.
    pub source: Option<String>,
    /// Their epoch.
    pub epoch: u64,
    /// The first sequence of the range that they are in.
    pub first_sequence: u64,
    /// The last sequence of that range.
    pub last_sequence: u64,
    /// How many of the range; `None` where that cannot be known.
    pub records: Option<u64>,
    /// Why.
    pub cause: UndeliveredCause,
    /// The same in words, those of the destination where it said something.
    pub reason: String,
}

/// Why a destination did not get what the trail has, or had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UndeliveredCause {
    /// They were written, and the link broke before anybody could say whether they arrived.
    Unknown,
    /// The destination does not take them; their bytes were set aside.
    Refused,
    /// The destination does not take some of the range, and does not say which.
    RefusedSome,
    /// One alone is more than the destination takes at once; its bytes were set aside.
    TooLarge,
    /// They were deleted from the trail before they could be sent.
    Gone,
    /// Their bytes in the trail are not as they were written.
    Damaged,
    /// They could not be read, or be put into the words of the destination.
    Unreadable,
}

/// How far the deliveries to one destination are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The destination's name in the shipper's configuration.
    pub destination: String,
    /// What its answers are worth.
    pub guarantee: DeliveryGuarantee,
    /// How it goes now.
    pub state: DeliveryState,
    /// The counts begin here: when the shipper started, or took up this destination.
    pub since: Stamp,
    /// Records delivered.
    pub records: u64,
    /// Batches delivered.
    pub batches: u64,
    /// Bytes of these batches as they were sent, without what the protocols add.
    pub bytes: u64,
    /// Deliveries that were tried again.
    pub retries: u64,
    /// Records accounted for that were not sent.
    pub left_out: DeliveryLeftOut,
    /// Records that wait in the trails to be delivered; `None` where that is not known.
    pub lag_records: Option<u64>,
    /// How old the oldest of these is, in nanoseconds; `None` where that is not known.
    pub lag_ns: Option<u64>,
    /// What is wrong, with what to do where that is known.
    pub problem: Option<String>,
}

/// What a destination says about what was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryGuarantee {
    /// It acknowledges, and takes the same batch twice as one.
    Deduplicated,
    /// It acknowledges.
    Acknowledged,
    /// It says nothing: what was written counts as delivered.
    Unacknowledged,
}

/// How deliveries to a destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// They arrive.
    Delivering,
    /// They do not, and are tried again.
    Waiting,
    /// They cannot, before somebody mends the configuration, here or there.
    Misconfigured,
    /// They are held back on purpose: on battery or on a metered network.
    Paused,
}

/// Records that were accounted for and not sent, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryLeftOut {
    /// Opens of connections whose later records tell the whole story.
    pub opens: u64,
    /// The destination's filter does not ask for them.
    pub filtered: u64,
    /// The destination's privacy policy drops them.
    pub dropped: u64,
    /// The destination refused them, and each was declared.
    pub refused: u64,
    /// The trail no longer has them, or cannot read them; declared.
    pub missing: u64,
}
