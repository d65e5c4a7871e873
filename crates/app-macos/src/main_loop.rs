//! Work on a thread of its own while the main thread serves the system.
//!
//! The frameworks hand some of their answers to the main thread. In a program without windows,
//! run from a package's script as much as from a terminal, nobody serves it unless we do.

use objc2_core_foundation::{CFRunLoop, CFRunLoopRunResult, kCFRunLoopDefaultMode};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// What suits a request that the system should answer in seconds.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// The longest that the end of the work waits for the main thread to look.
const SLICE: Duration = Duration::from_millis(100);

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The work did not end in time. Its thread is left to itself.
    #[error("nothing came of it within {}", crate::words::duration(*.0))]
    Hung(Duration),
    /// The work panicked.
    #[error("a fault in this program: {0}")]
    Fault(String),
}

/// Does `work` on another thread, and serves the main thread's run loop and queue until it is
/// done. To be called on the main thread; from another it only waits.
///
/// # Errors
/// When the work panics, or takes longer than `watchdog` where one is given.
pub fn with_main_loop<T: Send + 'static>(
    watchdog: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let begun = Instant::now();
    let (give, take) = mpsc::sync_channel(1);
    let worker = thread::spawn(move || {
        let result = work();
        // Nobody takes it any more after the watchdog.
        let _ = give.send(result);
        if let Some(main) = CFRunLoop::main() {
            main.stop();
        }
    });
    match serve_until(&take, begun, watchdog) {
        Some(Ok(result)) => Ok(result),
        Some(Err(())) => {
            let fault = worker.join().err();
            let text = fault.map(|it| crate::fault_text(&*it)).unwrap_or_default();
            Err(Error::Fault(text))
        }
        None => Err(Error::Hung(watchdog.unwrap_or_default())),
    }
}

/// Serves the run loop in slices: a call to stop it that comes just before it runs is lost, and
/// must not cost more than one slice.
fn serve_until<T>(
    take: &Receiver<T>,
    begun: Instant,
    watchdog: Option<Duration>,
) -> Option<Result<T, ()>> {
    loop {
        match take.try_recv() {
            Ok(result) => return Some(Ok(result)),
            Err(TryRecvError::Disconnected) => return Some(Err(())),
            Err(TryRecvError::Empty) => {}
        }
        if watchdog.is_some_and(|watchdog| begun.elapsed() >= watchdog) {
            return None;
        }
        // SAFETY: a constant that the framework sets before any program runs.
        let mode = unsafe { kCFRunLoopDefaultMode };
        let ended = CFRunLoop::run_in_mode(mode, SLICE.as_secs_f64(), false);
        if ended == CFRunLoopRunResult::Finished {
            // There is nothing to serve, as on another thread than the main one.
            match take.recv_timeout(SLICE) {
                Ok(result) => return Some(Ok(result)),
                Err(RecvTimeoutError::Disconnected) => return Some(Err(())),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
