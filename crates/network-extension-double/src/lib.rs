//! Test-only: stands in for objc2-network-extension off Apple, and plays the system's part.
//!
//! The root of this crate has the types, methods and constants of `objc2-network-extension`
//! 0.3.2 that a content filter and its container app can meet: the same names, signatures,
//! mutability and safety, so that what compiles here compiles there. Behind them stand classes of
//! the doubled runtime, whose type encodings come from the Rust functions that answer.
//!
//! [`driver`] is the other side: it launches a provider, offers it flows, delivers reports,
//! answers its calls, and keeps the filter's configuration. It has no counterpart on a Mac.
//!
//! What no test can show here: that the doubles are true to the system. Each behaviour names its
//! source and how sure it is.

#![cfg(not(target_vendor = "apple"))]
#![deny(unsafe_code)]

#[allow(
    deprecated,
    missing_docs,
    non_snake_case,
    non_upper_case_globals,
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the names, their meaning and their age are those of the framework's bindings"
)]
mod api;
#[expect(unsafe_code, reason = "class objects are exported by name")]
mod classes;
#[expect(unsafe_code, reason = "providers are shared by the system's threads")]
pub mod driver;

#[allow(
    deprecated,
    reason = "what the real crate has marked, this one has too"
)]
pub use api::*;
