//! Test-only: the C functions of macOS that we call, over a machine made up by the test.
//!
//! Off Apple there is no libproc, no CoreFoundation and no Security framework.
//! This crate exports their functions, under the names and with the signatures of the public
//! headers, and answers from [`machine`]: processes, sockets, kernel variables, code signatures,
//! preferences and a main bundle that the test describes.
//! The code under test is linked against them and does not know.
//!
//! A program that uses it names it once, or it is not linked: `use darwin_double as _;`.
//!
//! What the functions do was read in the sources Apple publishes: the kernel `xnu-11417.101.15`
//! and its libproc, `Security-61901.0.87.0.1`; each function's documentation names the header that
//! declares it and, where the behavior is not in the header, the file it was seen in.
//! None of it was compared with a Mac.

#![cfg(not(target_vendor = "apple"))]

pub mod cf;
pub mod dispatch;
pub mod machine;
pub mod symbols;

mod bsm;
mod clock;
mod libproc;
mod raw;
mod registry;
mod security;
mod sysctl;
