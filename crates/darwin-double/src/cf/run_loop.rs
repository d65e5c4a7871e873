//! `CoreFoundation/CFRunLoop.h`: the loop of the main thread, which serves the main queue.
//!
//! A loop of another thread has nothing to wait for here and ends at once, as one without sources
//! does on macOS.

use super::object::{Body, Kind, Object, Ref};
use crate::dispatch::{self, Ended};
use crate::machine::{enter, note};
use std::time::{Duration, Instant};

static DEFAULT_MODE: Object = Object::constant("kCFRunLoopDefaultMode");
static COMMON_MODES: Object = Object::constant("kCFRunLoopCommonModes");
static MAIN: Object = Object::fixed(Body::RunLoop(RunLoop { main: true }));

/// `CFRunLoop.h`.
#[unsafe(no_mangle)]
static kCFRunLoopDefaultMode: Ref = DEFAULT_MODE.reference();
/// `CFRunLoop.h`.
#[unsafe(no_mangle)]
static kCFRunLoopCommonModes: Ref = COMMON_MODES.reference();

/// `kCFRunLoopRunFinished`: there was nothing to wait for.
const FINISHED: i32 = 1;
/// `kCFRunLoopRunStopped`.
const STOPPED: i32 = 2;
/// `kCFRunLoopRunTimedOut`.
const TIMED_OUT: i32 = 3;
/// `kCFRunLoopRunHandledSource`.
const HANDLED_SOURCE: i32 = 4;

/// A loop.
pub(crate) struct RunLoop {
    main: bool,
}

fn is_main(run_loop: Ref) -> bool {
    let Body::RunLoop(run_loop) = run_loop.body() else {
        run_loop.is_not("CFRunLoop")
    };
    run_loop.main
}

/// `CFRunLoop.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRunLoopGetTypeID() -> usize {
    Kind::RunLoop as usize
}

/// `CFRunLoop.h`: not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRunLoopGetMain() -> Ref {
    enter("CFRunLoopGetMain", None);
    MAIN.reference()
}

/// `CFRunLoop.h`: not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRunLoopGetCurrent() -> Ref {
    thread_local! {
        static OWN: Ref = super::object::uncounted(|| {
            Ref::new(Body::RunLoop(RunLoop { main: false }))
        });
    }
    enter("CFRunLoopGetCurrent", None);
    if dispatch::is_main_thread() {
        MAIN.reference()
    } else {
        OWN.with(|own| *own)
    }
}

/// `CFRunLoop.h`: serves the main queue until the main loop is stopped. The first thread that
/// calls it on a machine without a main thread becomes it.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRunLoopRun() {
    enter("CFRunLoopRun", None);
    if dispatch::adopt_main_thread() {
        dispatch::serve_main(None, false);
    }
}

/// `CFRunLoop.h`: the same for at most so many seconds, or until something was done. Says why it
/// ended.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRunLoopRunInMode(_mode: Ref, seconds: f64, once: u8) -> i32 {
    enter("CFRunLoopRunInMode", None);
    if !dispatch::adopt_main_thread() {
        return FINISHED;
    }
    let span = Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    let end = span.and_then(|span| Instant::now().checked_add(span));
    match dispatch::serve_main(end, once != 0) {
        Ended::Stopped => STOPPED,
        Ended::TimedOut => TIMED_OUT,
        Ended::DidSomething => HANDLED_SOURCE,
    }
}

/// `CFRunLoop.h`: ends the run that is under way, if one is.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRunLoopStop(run_loop: Ref) {
    enter("CFRunLoopStop", None);
    if is_main(run_loop) {
        dispatch::stop_main();
    }
}

/// `CFRunLoop.h`: the loop looks whether there is something to do; ours always does.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFRunLoopWakeUp(run_loop: Ref) {
    note("CFRunLoopWakeUp");
    is_main(run_loop);
}
