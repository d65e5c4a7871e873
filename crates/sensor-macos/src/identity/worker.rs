//! Threads that find things out beside the sensor.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A thread whose owner waits for its end, but not for ever.
///
/// The owner must have told it to end before this is dropped.
pub(crate) struct Worker {
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl Worker {
    /// Begins to work. Where no thread is to be had, `work` is dropped.
    pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Worker {
        let (guard, ended) = channel();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || end_with(work, guard));
        Worker {
            thread: thread.ok(),
            ended,
        }
    }
}

/// `guard` is dropped when the work is done, or has panicked.
fn end_with(work: impl FnOnce(), guard: Sender<()>) {
    work();
    drop(guard);
}

impl Drop for Worker {
    fn drop(&mut self) {
        let in_time = self.ended.recv_timeout(END_WAIT) != Err(RecvTimeoutError::Timeout);
        // A thread that hangs in a system call is left to itself.
        if let Some(thread) = self.thread.take().filter(|_| in_time) {
            // It told its panic when it panicked.
            let _ = thread.join();
        }
    }
}

/// Longer than any call that does not hang, and short enough for whoever waits for the end.
const END_WAIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_end_of_the_work_is_waited_for() {
        let (done, finished) = channel();
        let (go, wait) = channel::<()>();
        let worker = Worker::start("waits", move || {
            let _ = wait.recv();
            done.send(()).unwrap();
        });
        drop(go);
        drop(worker);
        assert_eq!(finished.try_recv(), Ok(()));
    }

    #[test]
    fn work_that_hangs_is_left_to_itself() {
        let (go, wait) = channel::<()>();
        let worker = Worker::start("hangs", move || {
            let _ = wait.recv();
        });
        let began = Instant::now();
        drop(worker);
        assert!(began.elapsed() >= END_WAIT);
        drop(go);
    }
}
