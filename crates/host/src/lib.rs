//! The operating system, for every program of Conntrail: where things are, what is configured and
//! by whom, what time it is, which machine this is and who its users are.
//!
//! What differs between systems stands in files of the same names below each module: `linux` and
//! `macos`, with functions of the same names. Both are built for tests on every system.

#![deny(unsafe_code)]

pub mod clock;
pub mod config;
#[cfg(any(target_os = "macos", test))]
mod darwin;
pub mod device;
pub mod groups;
pub mod paths;
pub mod preferences;
pub mod private;
pub mod system_log;
pub mod users;
