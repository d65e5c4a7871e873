//! The tool as a whole: the real program on real files.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

mod asking;
mod explaining;
mod ledger;
mod open_now;
mod planning;
mod profiles;
mod readers;
mod replaying;
mod schema;
mod side;
mod signing;
mod tool;
