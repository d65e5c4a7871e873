//! The public contract: what Conntrail says about a connection, and how it says it.
//!
//! A [`Record`] is either one moment in the life of one [`Connection`] or a [`Notice`] about the
//! recording itself: a start, a stop, a loss, a gap.
//! Records are plain data. This crate touches no clock, file, socket, thread or log, so that the
//! same bytes come out on every machine and in every test.
//!
//! Three rules hold everywhere:
//! - **Unknown is not zero.** A value that the platform did not tell is `None`.
//! - **Every record says how it knows**: [`Attribution`], [`Origin`] and [`ByteQuality`].
//! - **Metadata only.** No type here can hold a byte of what was said.
//!
//! [`codec`] turns records into the canonical bytes that the trail keeps, [`ocsf`] into the
//! published JSON form.

#![forbid(unsafe_code)]

mod choices;
pub mod codec;
mod connection;
pub mod cpid;
mod delivery;
mod device;
mod notice;
pub mod ocsf;
mod policy;
mod process;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
mod time;
pub mod wire;

pub use connection::{
    Aggregate, AggregateCause, AggregateScope, Attribution, ByteQuality, Confidence, Connection,
    ConnectionId, Direction, Ending, Endpoint, Hostname, IdentitySource, NameSource, Origin,
    Outcome, Phase, Protocol, Traffic,
};
pub use delivery::{
    Delivery, DeliveryGuarantee, DeliveryLeftOut, DeliveryState, Undelivered, UndeliveredCause,
};
pub use device::{Device, EndpointId, ParseEndpointIdError, parse_uuid};
pub use notice::{
    AppCount, BreakerCause, BreakerState, Coverage, ExtensionReplaced, LossCause, LossStage,
    LostKind, Notice, NoticeKind, PreviousEpoch, RecordCounts, SensorKind, StageCounts, StopReason,
    Tally, TcpCounts,
};
pub use policy::{
    PolicyAction, PolicyChanged, PolicyCounts, PolicyField, PolicyState, RuleCount, Treated,
    pseudonym,
};
pub use process::{
    Ancestor, CodeSignature, ExecutableFile, Process, ProcessKey, SignatureValidity, User,
};
pub use time::{Mono, Stamp, Wall};

/// Everything the trail can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// One moment in the life of a connection.
    Connection(Connection),
    /// Something about the recording itself.
    Notice(Notice),
}

impl Record {
    /// When this record was made.
    pub fn at(&self) -> Stamp {
        match self {
            Record::Connection(connection) => connection.at,
            Record::Notice(notice) => notice.at,
        }
    }

    /// How many connections it tells the end of, as far as they were followed: one for a close, and
    /// more for the sum of many.
    pub fn closes(&self) -> u64 {
        match self {
            Record::Connection(connection) => connection.closes(),
            Record::Notice(_) => 0,
        }
    }
}

/// Where a record stands in the trail: unique on this endpoint, for ever.
///
/// The pair is never issued twice, and within an epoch sequences have no gaps, so a missing
/// sequence proves a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Counts the recorder's starts on this endpoint, from 1.
    pub epoch: u64,
    /// Counts the records of the epoch, from 1.
    pub sequence: u64,
}
