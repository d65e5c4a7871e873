//! What stands for Objective-C exceptions: a panic that says what a Mac would have raised.
//!
//! An exception that reaches Rust frames ends the process on a Mac. Here a callback may catch the
//! panic, as it catches its own; so every one is also noted, and tests ask for the notes.

use std::sync::{Mutex, PoisonError};

static RAISED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Panics, and notes that a Mac would have raised the exception.
///
/// # Panics
///
/// Always.
pub fn raise(exception: &str, reason: &str) -> ! {
    let text = format!("would raise {exception}: {reason}");
    notes().push(text.clone());
    panic!("{text}")
}

/// What would have been raised since the last call.
pub fn take_raised() -> Vec<String> {
    std::mem::take(&mut notes())
}

fn notes() -> std::sync::MutexGuard<'static, Vec<String>> {
    RAISED.lock().unwrap_or_else(PoisonError::into_inner)
}
