//! What comes of a delivery.

use std::time::Duration;

/// What a destination says about what was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// It acknowledges, and takes the same batch twice as one.
    Deduplicated,
    /// It acknowledges.
    Acknowledged,
    /// It says nothing: what was written counts as delivered, and what was under way when the link
    /// broke is unknown.
    Unacknowledged,
}

/// What came of an attempt to deliver a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it is there, or was there already.
    Accepted,
    /// All of it is there except these: by their index in the batch, with the reason.
    RefusedItems(Vec<(usize, String)>),
    /// All of it is there except so many, and nobody knows which. It must not be sent again.
    RefusedSome {
        /// How many.
        count: u64,
        /// In the destination's words.
        reason: String,
    },
    /// The destination read it and does not want it; something in it is at fault.
    Refused {
        /// In the destination's words.
        reason: String,
    },
    /// It is more than the destination takes at once.
    TooLarge {
        /// In the destination's words.
        reason: String,
    },
    /// It is not there: the same bytes are to be sent again.
    Again {
        /// Not earlier than this from now, where the destination said so.
        after: Option<Duration>,
        /// In words.
        reason: String,
    },
    /// Nothing will be taken until somebody mends the configuration, there or here: a wrong
    /// password, no such stream. The same bytes are to be sent again, seldom.
    Misconfigured {
        /// In words, with what to do.
        reason: String,
    },
    /// It was written, wholly or in part, and the link broke before anybody could say whether it
    /// arrived; only where the guarantee is [`Guarantee::Unacknowledged`].
    Unknown {
        /// In words.
        reason: String,
    },
}
