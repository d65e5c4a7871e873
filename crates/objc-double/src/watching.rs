//! Which messages a thread sends, and how to make a message fail or stall.
//!
//! Both are off unless a test asks; then a message costs one relaxed load more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::thread;

/// Threads that record, plus one while there are reactions.
static WATCHERS: AtomicUsize = AtomicUsize::new(0);

static REACTIONS: Mutex<Option<HashMap<String, Reaction>>> = Mutex::new(None);

/// What happens when a message is sent, before it is answered.
#[derive(Clone)]
pub enum Reaction {
    /// The sender panics with this text, as if the answer could not be given.
    Panic(&'static str),
    /// The answer takes this much longer.
    Stall(Duration),
    /// This is called on the sender's thread.
    Call(Arc<dyn Fn() + Send + Sync>),
}

/// From now on, on every thread, sending a selector has this effect first.
///
/// It lasts until [`clear_reactions`]. A second reaction to a selector replaces the first.
pub fn on_send(selector: &str, reaction: Reaction) {
    let mut reactions = reactions();
    if reactions.is_none() {
        WATCHERS.fetch_add(1, Relaxed);
    }
    let reactions = reactions.get_or_insert_default();
    reactions.insert(selector.to_owned(), reaction);
}

/// Undoes every [`on_send`].
pub fn clear_reactions() {
    if reactions().take().is_some() {
        WATCHERS.fetch_sub(1, Relaxed);
    }
}

/// From now on the messages that this thread sends are noted; what was noted before is gone.
pub fn start_recording() {
    let before = thread::current().recording.replace(Some(Vec::new()));
    if before.is_none() {
        WATCHERS.fetch_add(1, Relaxed);
    }
}

/// The selectors this thread has sent since [`start_recording`], oldest first.
pub fn sent_on_this_thread() -> Vec<&'static str> {
    let recording = thread::current().recording.borrow();
    recording.clone().unwrap_or_default()
}

/// Ends the recording and returns it.
pub fn stop_recording() -> Vec<&'static str> {
    let recording = thread::current().recording.take();
    if recording.is_some() {
        WATCHERS.fetch_sub(1, Relaxed);
    }
    recording.unwrap_or_default()
}

/// Runs a function and returns, beside its result, the selectors it sent on this thread.
///
/// Messages that the doubles send each other while they answer are among them.
pub fn recorded<T>(function: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    start_recording();
    let result = function();
    (result, stop_recording())
}

#[inline]
pub(crate) fn is_on() -> bool {
    WATCHERS.load(Relaxed) != 0
}

#[cold]
pub(crate) fn sent(selector: &'static str) {
    if let Some(recording) = thread::current().recording.borrow_mut().as_mut() {
        recording.push(selector);
    }
    let reaction = reactions()
        .as_ref()
        .and_then(|all| all.get(selector).cloned());
    match reaction {
        Some(Reaction::Panic(text)) => panic!("{text}"),
        Some(Reaction::Stall(duration)) => std::thread::sleep(duration),
        Some(Reaction::Call(function)) => function(),
        None => {}
    }
}

/// Helps to find who used a dead object.
pub(crate) fn show_recording() {
    let last = sent_on_this_thread();
    if !last.is_empty() {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("objc-double: sent before: {last:?}\n"),
        );
    }
}

fn reactions() -> MutexGuard<'static, Option<HashMap<String, Reaction>>> {
    REACTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}
