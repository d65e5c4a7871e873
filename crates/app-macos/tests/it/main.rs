//! The container app on a doubled system: every answer, refusal and silence that the system has.

#![cfg(not(target_vendor = "apple"))]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

mod commands;
mod extension;
mod filter;
mod main_loop;
mod upgrading;
mod world;
