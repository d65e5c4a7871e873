//! The recorder as a whole: the real program, real connections, a real trail.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of record among all"
)]

mod hardship;
mod kernel;
mod ledger;
mod live_table;
mod privacy;
mod readers;
mod recorder;
mod sampled;
mod truth;
