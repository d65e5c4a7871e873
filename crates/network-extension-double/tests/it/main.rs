//! The pretended system, driving a small provider.

#![cfg(not(target_vendor = "apple"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![allow(
    deprecated,
    reason = "the old endpoints are those that the bindings have"
)]

mod calls;
mod filter;
mod flows;
mod manager;
mod messages;
mod rules;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the function says when it panics.
fn panic_text<T>(function: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(function()))) else {
        panic!("it did not panic");
    };
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&str>()
            .expect("panics say something")
            .to_string(),
    }
}
