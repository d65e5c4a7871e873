//! Which of the processes that were looked up still exist.

use crate::sys::layout::StartTime;
use crate::sys::libproc::{self, NO_SUCH_PROCESS};
use crate::token::{Token, process_key};
use record::{Mono, ProcessKey, Wall};
use rustc_hash::FxHashSet;
use std::collections::VecDeque;

/// The processes that lived at the last look at them; the next to be looked at comes first.
#[derive(Default)]
pub(super) struct Living {
    next: VecDeque<Life>,
    tokens: FxHashSet<Token>,
}

/// What tells a process from another one that gets its id later.
struct Life {
    token: Token,
    /// When it was forked, where that could be read.
    start: Option<StartTime>,
    /// When it was looked up, by the wall clock.
    met: Wall,
    due: Mono,
}

impl Living {
    /// Begins to look after the process of a token.
    pub(super) fn add(&mut self, token: Token, start: Option<StartTime>, met: Wall, now: Mono) {
        // The kernel does not go away.
        if token.pid() == 0 || !self.tokens.insert(token) {
            return;
        }
        if self.next.len() >= LIVING_MAX
            && let Some(forgotten) = self.next.pop_front()
        {
            self.tokens.remove(&forgotten.token);
        }
        let due = now.plus_ns(LOOK_INTERVAL_NS);
        self.next.push_back(Life {
            token,
            start,
            met,
            due,
        });
    }

    /// Somebody is to be looked at by now.
    pub(super) fn is_due(&self, now: Mono) -> bool {
        self.next.front().is_some_and(|life| life.due <= now)
    }

    /// Looks at the next process; its key if it is gone.
    pub(super) fn look(&mut self, now: Mono) -> Option<ProcessKey> {
        let life = self.next.pop_front()?;
        if life.is_over() {
            self.tokens.remove(&life.token);
            return Some(process_key(&life.token));
        }
        let due = now.plus_ns(LOOK_INTERVAL_NS);
        self.next.push_back(Life { due, ..life });
        None
    }
}

impl Life {
    /// A stale token is no proof: the process may run another program by now and still have the
    /// same connections, or its executable may be deleted. So whoever has the id now must have
    /// been forked at another time.
    fn is_over(&self) -> bool {
        if !is_stale(&self.token) {
            return false;
        }
        match (libproc::process_facts(self.token.pid()), self.start) {
            (Ok(facts), Some(start)) => facts.start != start,
            (Ok(facts), None) => facts.start.wall() > self.met,
            (Err(error), _) => error.raw_os_error() == Some(NO_SUCH_PROCESS),
        }
    }
}

/// The kernel does not know this run of this process any more, or cannot tell where its executable
/// is. Other failures say nothing about the process.
pub(super) fn is_stale(token: &Token) -> bool {
    let path = libproc::path_of_token(token.bsm());
    path.is_err_and(|error| error.raw_os_error() == Some(NO_SUCH_PROCESS))
}

/// Each process is looked at so often, in nanoseconds.
const LOOK_INTERVAL_NS: u64 = 30_000_000_000;

/// Twice what [`super::Identities`] remembers to have asked; about 1 MB. The flows of a process
/// that falls out end by their age.
const LIVING_MAX: usize = 2 * super::ASKED_MAX;
