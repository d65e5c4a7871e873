//! `dispatch/dispatch.h`: queues, and the main thread that serves the main one.
//!
//! A test has no say over the process's first thread, so any thread can be the main one: the first
//! that calls `dispatch_main`, `CFRunLoopRun` or [`run_main`].
//! Work for a global queue gets a thread of its own; a serial queue has one while there is work.

mod main_queue;
mod queue;

pub(crate) use main_queue::{Ended, adopt_main_thread, serve_main, stop_main};
pub use main_queue::{
    is_main_thread, main_was_entered, run_main, run_pending_on_main, wait_for_main,
};
pub use queue::{live_queues, wait_idle};

/// A machine just booted: no main thread, nothing waiting.
pub(crate) fn reset() {
    main_queue::reset();
    queue::reset();
}
