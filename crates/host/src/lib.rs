//! The operating system, for every program of Conntrail: where things are, what is configured and
//! by whom, what time it is, which machine this is and who its users are.

#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod device;
pub mod paths;
pub mod users;
