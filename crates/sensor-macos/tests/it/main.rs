//! The unmodified adapter on a pretended Mac: from the system's call to the event.
//!
//! Every scenario stands on a [`stage::Stage`], which checks in the end that nothing was leaked and
//! no message was sent that raises an exception on a Mac.

#![cfg(not(target_vendor = "apple"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of event among many"
)]

mod chain;
mod control;
mod facts;
mod flows;
mod harm;
mod release;
mod settings;
mod stage;
