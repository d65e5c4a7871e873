//! The doubled functions, called as the code under test calls them.

#![cfg(not(target_vendor = "apple"))]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

use darwin_double as _;

mod core_foundation;
mod foreign;
mod identity;
mod kernel;
mod preferences;
mod queues;
mod registry;
mod symbols;
