//! The tests of the finished app and package.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

mod folder;
mod package;
mod signature;
