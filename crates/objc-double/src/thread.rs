//! What the runtime keeps for each thread: counters, autorelease pools, a recording.
//!
//! A counter belongs to one thread, which adds without locking; whoever reads sums over all. So
//! counting costs next to nothing and threads do not slow each other down.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::Id;

/// More classes than any test program has; a power of two, so that an index is cut with a mask.
pub(crate) const CLASSES_MAX: usize = 512;

/// Everything that belongs to one thread. A state outlives its thread and serves a later one, so
/// that counts are never lost.
pub(crate) struct Thread {
    counts: [ClassCounts; CLASSES_MAX],
    /// Objects waiting for their pool to end, oldest first.
    pub(crate) pool: RefCell<Vec<Id>>,
    /// How many pools are open.
    pub(crate) depth: Cell<usize>,
    /// The object that a method has just returned and that may pass to its caller without the
    /// pool. Its reference belongs to nobody else meanwhile.
    pub(crate) returned: Cell<Id>,
    /// Names of the messages sent, while recording.
    pub(crate) recording: RefCell<Option<Vec<&'static str>>>,
    /// Dead objects whose memory is held back for a while, oldest first.
    pub(crate) graveyard: RefCell<VecDeque<Id>>,
}

// SAFETY: other threads touch `counts` only, which are atomic; the rest is reached through
// `current`, that is by the thread it belongs to.
unsafe impl Sync for Thread {}
// SAFETY: a state passes to another thread only after its own has ended.
unsafe impl Send for Thread {}

/// What is counted for the objects of one class: as many places as a cache line has, so that a
/// shift finds them.
#[repr(align(64))]
struct ClassCounts([AtomicU64; 8]);

/// What can be counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Alloc,
    Dealloc,
    Retain,
    Release,
    Autorelease,
}

impl Thread {
    #[inline]
    pub(crate) fn add(&self, class: usize, count: Count) {
        let counter = &self.counts[class % CLASSES_MAX].0[count as usize];
        // Only this thread writes, so nothing is lost between the load and the store.
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }
}

thread_local! {
    static STATE: Cell<Option<&'static Thread>> = const { Cell::new(None) };
    static END: End = const { End };
}

struct Registry {
    all: Vec<&'static Thread>,
    idle: Vec<&'static Thread>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    all: Vec::new(),
    idle: Vec::new(),
});

/// Gives the state back when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        crate::pools::drain();
        if let Some(state) = STATE.take() {
            registry().idle.push(state);
        }
    }
}

/// The state of the calling thread.
#[inline]
pub(crate) fn current() -> &'static Thread {
    STATE.get().unwrap_or_else(start)
}

/// How often this was counted for a class, over all threads there ever were.
pub(crate) fn total(class: usize, count: Count) -> u64 {
    let registry = registry();
    let threads = registry.all.iter();
    threads
        .map(|thread| thread.counts[class].0[count as usize].load(Relaxed))
        .sum()
}

/// How many objects this thread has allocated, of whatever class.
///
/// The difference between two moments says what happened between them. A new thread may start at
/// a number above zero.
pub fn objects_made_on_this_thread() -> u64 {
    let counts = current().counts.iter();
    counts
        .map(|class| class.0[Count::Alloc as usize].load(Relaxed))
        .sum()
}

#[cold]
fn start() -> &'static Thread {
    let mut registry = registry();
    let state = registry.idle.pop().unwrap_or_else(|| {
        let state: &'static Thread = Box::leak(Box::new(Thread {
            counts: [const { ClassCounts([const { AtomicU64::new(0) }; 8]) }; CLASSES_MAX],
            pool: RefCell::default(),
            depth: Cell::new(0),
            returned: Cell::new(std::ptr::null_mut()),
            recording: RefCell::default(),
            graveyard: RefCell::default(),
        }));
        registry.all.push(state);
        state
    });
    STATE.set(Some(state));
    // When the thread is ending already there is nobody left to give the state back; then it
    // stays with this thread, which is a few kilobytes once.
    let _ = END.try_with(|_| ());
    state
}

fn registry() -> std::sync::MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outlive_their_thread() {
        let unused = CLASSES_MAX - 1;
        for _ in 0..3 {
            std::thread::spawn(move || current().add(unused, Count::Retain))
                .join()
                .unwrap();
        }
        assert_eq!(total(unused, Count::Retain), 3);
    }
}
