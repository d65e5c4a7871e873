//! How the pretended system answers a call that ends with a completion block.

use std::mem::take;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use block2::{DynBlock, RcBlock};
use objc_double::foundation;
use objc2::rc::{Retained, autoreleasepool};
use objc2_foundation::NSError;

use crate::NEFilterManagerError;
use crate::classes::lock;

/// How a call is answered: when, and with what error if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the block is called.
    pub when: When,
    /// What it is given; success if none.
    pub failure: Option<Failure>,
}

/// When a completion block is called.
///
/// *Not confirmed*, for every call: on which queue, and whether it can be before the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the call returns, on the caller's thread.
    AtOnce,
    /// This much later, on a thread of the system.
    After(Duration),
    /// When the test calls [`cue`].
    OnCue,
    /// Never. *Reported* for `loadFromPreferences` in an app-like daemon, and for requests about
    /// system extensions by egressview: no callback in 200 s.
    Never,
}

/// An error as a completion block gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error's domain.
    pub domain: &'static str,
    /// The error's code.
    pub code: isize,
}

impl Answer {
    /// Success, soon, on a thread of the system.
    pub const OK: Answer = Answer {
        when: When::After(Duration::ZERO),
        failure: None,
    };

    /// No answer at all.
    pub const NEVER: Answer = Answer {
        when: When::Never,
        failure: None,
    };

    /// The same answer at another time.
    pub const fn when(self, when: When) -> Answer {
        Answer { when, ..self }
    }

    /// This error, soon.
    pub const fn error(domain: &'static str, code: isize) -> Answer {
        Answer {
            when: When::After(Duration::ZERO),
            failure: Some(Failure { domain, code }),
        }
    }

    /// One of the filter manager's errors, soon.
    pub const fn manager_error(error: NEFilterManagerError) -> Answer {
        Answer::error("NEFilterErrorDomain", error.0)
    }
}

/// A call that waits to be answered.
struct Waiting {
    block: Block,
    failure: Option<Failure>,
    /// What success changes in the pretended system.
    effect: Box<dyn FnOnce() + Send>,
}

/// A block that another thread calls.
struct Block(RcBlock<dyn Fn(*mut NSError)>);

// SAFETY: whoever passes a completion block lets the system call it on any thread.
unsafe impl Send for Block {}

static ON_CUE: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

static UNANSWERED: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

static THREADS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Answers a call; on success the effect comes first.
pub(super) fn answer(
    answer: Answer,
    block: &DynBlock<dyn Fn(*mut NSError)>,
    effect: impl FnOnce() + Send + 'static,
) {
    let waiting = Waiting {
        block: Block(block.copy()),
        failure: answer.failure,
        effect: Box::new(effect),
    };
    match answer.when {
        When::AtOnce => waiting.finish(),
        When::After(delay) => {
            let thread = std::thread::spawn(move || {
                std::thread::sleep(delay);
                autoreleasepool(|_| waiting.finish());
            });
            lock(&THREADS).push(thread);
        }
        When::OnCue => lock(&ON_CUE).push(waiting),
        When::Never => lock(&UNANSWERED).push(waiting),
    }
}

impl Waiting {
    fn finish(self) {
        let error = match self.failure {
            Some(Failure { domain, code }) => {
                Some(foundation::error(domain, code, None).into_retained::<NSError>())
            }
            None => {
                (self.effect)();
                None
            }
        };
        let error = error
            .as_ref()
            .map_or(null_mut(), |error| Retained::as_ptr(error).cast_mut());
        self.block.0.call((error,));
    }
}

/// Answers, on the calling thread, what was to be answered on cue; returns how many calls.
pub fn cue() -> usize {
    let waiting = take(&mut *lock(&ON_CUE));
    let count = waiting.len();
    autoreleasepool(|_| waiting.into_iter().for_each(Waiting::finish));
    count
}

/// Waits until the pretended system's own threads have ended.
///
/// Without it a check can run while one of them is still letting go of its last object.
pub fn settle() {
    loop {
        let threads = take(&mut *lock(&THREADS));
        if threads.is_empty() {
            return;
        }
        for thread in threads {
            // A panic in a completion block has been printed; on a Mac it ends the process.
            let _ = thread.join();
        }
    }
}

pub(super) fn reset() {
    settle();
    drop(take(&mut *lock(&ON_CUE)));
    drop(take(&mut *lock(&UNANSWERED)));
}
