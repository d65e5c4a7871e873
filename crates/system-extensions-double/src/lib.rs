//! Test-only: stands in for `objc2-system-extensions` off Apple, and plays the system's part.
//!
//! In front there is the same Rust API, as far as we use it: requests, the manager, properties and
//! the delegate's protocol. Behind it are doubled classes, and [`driver`] is the system, with
//! everything that it is documented, seen or reported to do.
//!
//! Where a comment names a source: *header* is Apple's header text as kept in the documentation of
//! `objc2-system-extensions` 0.3.2; the numbers are threads of the Apple Developer Forums;
//! *EgressView* and *Santa* are open-source products.

#![cfg(not(target_vendor = "apple"))]
#![deny(unsafe_code)]
// The names are those of the crate that this one stands in for.
#![allow(non_snake_case, non_upper_case_globals)]

#[expect(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "declares classes and a protocol as objc2 does, whose macro hides the docs"
)]
mod api;
#[expect(unsafe_code, reason = "answers messages")]
mod classes;
#[expect(unsafe_code, reason = "sends messages to the delegate")]
pub mod driver;

pub use api::{
    OSSystemExtensionErrorCode, OSSystemExtensionManager, OSSystemExtensionProperties,
    OSSystemExtensionReplacementAction, OSSystemExtensionRequest, OSSystemExtensionRequestDelegate,
    OSSystemExtensionRequestResult,
};

// The functions behind `dispatch2` are in there.
use darwin_double as _;
