//! Configuration profiles for macOS: what device management must install so that the agent works
//! without a question to anybody, and what is wrong with a set of profiles that somebody has.
//!
//! Pure: values in, values and findings out. Files and the terminal are the caller's.

#![forbid(unsafe_code)]

pub mod check;
pub mod document;
pub mod identity;
pub mod jobs;
pub mod profile;
pub mod requirement;
pub mod schema;
pub mod value;
