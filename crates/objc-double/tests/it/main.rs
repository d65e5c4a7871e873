//! The runtime, seen through the real objc2 and objc2-foundation.

#![cfg(not(target_vendor = "apple"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod accounts;
mod blocks;
mod classes;
mod foundation;
mod lifetimes;
mod watching;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use objc_double::Snapshot;

/// Counters belong to the whole process, so tests that look at them run one at a time.
struct Alone {
    before: Snapshot,
    _lock: MutexGuard<'static, ()>,
}

fn alone() -> Alone {
    static LOCK: Mutex<()> = Mutex::new(());
    let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    objc_double::take_raised();
    Alone {
        before: Snapshot::now(),
        _lock: lock,
    }
}

impl Alone {
    /// What has leaked so far, which is then forgiven.
    fn forgive(&mut self) -> Vec<String> {
        let leaks = self.before.leaks();
        self.before = Snapshot::now();
        leaks
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.before.leaks(), [""; 0]);
        }
    }
}

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
