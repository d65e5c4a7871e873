//! The main queue and whoever serves it.

use super::queue::Job;
use crate::machine::enter;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// How often [`run_main`] looks whether it may stop, when nothing wakes it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

static MAIN: Mutex<Main> = Mutex::new(Main {
    jobs: VecDeque::new(),
    thread: None,
    entered: false,
    running: false,
    stopped: false,
    boot: 0,
});
static CHANGED: Condvar = Condvar::new();

struct Main {
    jobs: VecDeque<Job>,
    thread: Option<ThreadId>,
    /// `dispatch_main` was called.
    entered: bool,
    /// A run of the loop is under way.
    running: bool,
    stopped: bool,
    /// How often the machine was booted: threads of an earlier one do nothing any more.
    boot: u64,
}

/// Why a run of the main loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Stopped,
    TimedOut,
    DidSomething,
}

/// Whether this thread is the main one.
pub fn is_main_thread() -> bool {
    main().thread == Some(thread::current().id())
}

/// Whether `dispatch_main` was called.
pub fn main_was_entered() -> bool {
    main().entered
}

/// Waits until `dispatch_main` is called; false if that takes longer than `timeout`.
pub fn wait_for_main(timeout: Duration) -> bool {
    let (main, _) = CHANGED
        .wait_timeout_while(main(), timeout, |main| !main.entered)
        .unwrap_or_else(PoisonError::into_inner);
    main.entered
}

/// Is the main thread until `done` says so: runs what comes to the main queue. False if that
/// takes longer than `timeout`.
///
/// # Panics
/// If another thread is the main one.
pub fn run_main(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    assert!(
        adopt_main_thread(),
        "another thread is the main one already"
    );
    let end = Instant::now() + timeout;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        serve_main(Some(end.min(Instant::now() + LOOK_AGAIN)), true);
    }
}

/// Runs what waits in the main queue, as the main thread, and says how much that was.
///
/// # Panics
/// If another thread is the main one.
pub fn run_pending_on_main() -> usize {
    assert!(
        adopt_main_thread(),
        "another thread is the main one already"
    );
    let mut count = 0;
    while let Some(job) = { main().jobs.pop_front() } {
        job.run();
        count += 1;
    }
    count
}

/// This thread is the main one from now on, if no other is. Whether it is.
pub(crate) fn adopt_main_thread() -> bool {
    let own = thread::current().id();
    *main().thread.get_or_insert(own) == own
}

/// Runs what comes to the main queue until the loop is stopped, the time is over or, if `once`,
/// something was done.
pub(crate) fn serve_main(end: Option<Instant>, once: bool) -> Ended {
    let mut main = main();
    (main.running, main.stopped) = (true, false);
    let boot = main.boot;
    let ended = loop {
        if main.stopped || main.boot != boot {
            break Ended::Stopped;
        }
        if let Some(job) = main.jobs.pop_front() {
            drop(main);
            job.run();
            main = self::main();
            if once {
                break Ended::DidSomething;
            }
            continue;
        }
        let Some(end) = end else {
            main = CHANGED.wait(main).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Ended::TimedOut;
        }
        (main, _) = CHANGED
            .wait_timeout(main, left)
            .unwrap_or_else(PoisonError::into_inner);
    };
    main.running = false;
    ended
}

/// Ends the run that is under way, if one is.
pub(crate) fn stop_main() {
    let mut main = main();
    main.stopped = main.running;
    CHANGED.notify_all();
}

pub(super) fn push(job: Job) {
    main().jobs.push_back(job);
    CHANGED.notify_all();
}

pub(super) fn reset() {
    let mut main = main();
    main.jobs.clear();
    main.thread = None;
    main.entered = false;
    main.boot += 1;
    CHANGED.notify_all();
}

fn main() -> MutexGuard<'static, Main> {
    MAIN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `dispatch/queue.h`: the thread serves the main queue and never returns; after the machine was
/// booted anew it sleeps for ever, since there is no way back to its caller.
#[unsafe(no_mangle)]
extern "C" fn dispatch_main() -> ! {
    enter("dispatch_main", None);
    let first = adopt_main_thread();
    main().entered = true;
    CHANGED.notify_all();
    // On macOS the call ends the thread's life as one; a second caller is a crash there.
    if first {
        serve_without_end();
    }
    loop {
        thread::park();
    }
}

fn serve_without_end() {
    let boot = main().boot;
    // `CFRunLoopStop` is for run loops: it does not end this.
    while main().boot == boot {
        serve_main(None, false);
    }
}
