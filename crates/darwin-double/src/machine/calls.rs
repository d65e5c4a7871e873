//! Who called what, and what happens to a call on its way.

use crate::symbols;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many calls one thread remembers; later ones are counted but not listed.
const LISTED_PER_THREAD_MAX: usize = 65_536;

thread_local! {
    static ON_THIS_THREAD: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

static CALLS: Mutex<Calls> = Mutex::new(Calls {
    counts: BTreeMap::new(),
    rules: Vec::new(),
});

struct Calls {
    counts: BTreeMap<&'static str, u64>,
    rules: Vec<Rule>,
}

struct Rule {
    function: &'static str,
    pid: Option<i32>,
    nth: Option<u64>,
    seen: u64,
    action: Action,
}

type Hook = Arc<Mutex<dyn FnMut() + Send>>;

#[derive(Clone)]
enum Action {
    Fail(i32),
    Stall(Duration),
    Hold(Arc<Gate>),
    Run(Hook),
}

/// Begins a rule for calls of `function`: `on("proc_pidinfo").of(pid).nth(2).run(…)`.
///
/// # Panics
/// If the crate exports no function of that name.
pub fn on(function: &str) -> On {
    let function = symbols::name(function)
        .unwrap_or_else(|| panic!("{function} is not among the doubled functions"));
    On {
        function,
        pid: None,
        nth: None,
    }
}

/// A rule that is being made. It applies until the machine is reset.
#[must_use = "a rule without an end does nothing"]
pub struct On {
    function: &'static str,
    pid: Option<i32>,
    nth: Option<u64>,
}

impl On {
    /// Only calls about this process.
    pub fn of(mut self, pid: i32) -> Self {
        self.pid = Some(pid);
        self
    }

    /// Only the `nth` such call from now on; 1 is the next.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = Some(nth);
        self
    }

    /// The call fails. For libproc and sysctl `code` is an `errno`, for Security an `OSStatus`,
    /// for preferences it stands for an answer that does not come; elsewhere it has no effect.
    pub fn fail(self, code: i32) {
        self.add(Action::Fail(code));
    }

    /// The call takes that much longer.
    pub fn stall(self, duration: Duration) {
        self.add(Action::Stall(duration));
    }

    /// The call does not return before what is returned here is dropped.
    pub fn hold(self) -> Hold {
        let gate = Arc::new(Gate::default());
        self.add(Action::Hold(gate.clone()));
        Hold(gate)
    }

    /// Before the call does its work, `action` runs, on the caller's thread.
    /// It may change the machine; this is how a race is staged.
    pub fn run(self, action: impl FnMut() + Send + 'static) {
        self.add(Action::Run(Arc::new(Mutex::new(action))));
    }

    fn add(self, action: Action) {
        let Self { function, pid, nth } = self;
        calls().rules.push(Rule {
            function,
            pid,
            nth,
            seen: 0,
            action,
        });
    }
}

/// Calls stand still at it until it is dropped.
#[must_use = "calls go on as soon as it is dropped"]
pub struct Hold(Arc<Gate>);

impl Hold {
    /// Waits until at least `count` calls stand at it; false if that takes longer than `timeout`.
    pub fn wait_for(&self, count: usize, timeout: Duration) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .0
            .changed
            .wait_timeout_while(state, timeout, |state| state.arrived < count)
            .unwrap_or_else(PoisonError::into_inner);
        state.arrived >= count
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open = true;
        self.0.changed.notify_all();
    }
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    arrived: usize,
    open: bool,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.arrived += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.open));
    }
}

/// How often `function` was called since the machine was reset.
///
/// # Panics
/// If the crate exports no function of that name.
pub fn calls_of(function: &str) -> u64 {
    let function = symbols::name(function)
        .unwrap_or_else(|| panic!("{function} is not among the doubled functions"));
    calls().counts.get(function).copied().unwrap_or(0)
}

/// The doubled functions this thread called since it last asked, in order, CoreFoundation and the
/// accessors of audit tokens included; the first 65,536 are listed.
pub fn called_on_this_thread() -> Vec<&'static str> {
    ON_THIS_THREAD.take()
}

/// Notes a call that neither waits nor fails: no lock is taken.
pub(crate) fn note(function: &'static str) {
    // A thread that is ending has no list any more, and nobody left to ask it.
    let _ = ON_THIS_THREAD.try_with(|list| {
        let mut list = list.borrow_mut();
        if list.len() < LISTED_PER_THREAD_MAX {
            list.push(function);
        }
    });
}

/// Counts a call and does to it what the rules say. The code it shall fail with, if it shall.
pub(crate) fn enter(function: &'static str, pid: Option<i32>) -> Option<i32> {
    note(function);
    let actions = matching(function, pid);
    let mut failure = None;
    for action in actions {
        match action {
            Action::Fail(code) => failure = Some(code),
            Action::Stall(duration) => std::thread::sleep(duration),
            Action::Hold(gate) => gate.pass(),
            Action::Run(hook) => {
                let mut hook = hook.lock().unwrap_or_else(PoisonError::into_inner);
                hook();
            }
        }
    }
    failure
}

fn matching(function: &'static str, pid: Option<i32>) -> Vec<Action> {
    let mut calls = calls();
    *calls.counts.entry(function).or_default() += 1;
    let applying = calls.rules.iter_mut().filter(|rule| {
        rule.function == function && rule.pid.is_none_or(|wanted| pid == Some(wanted))
    });
    let counted = applying.filter_map(|rule| {
        rule.seen += 1;
        rule.nth
            .is_none_or(|nth| nth == rule.seen)
            .then(|| rule.action.clone())
    });
    counted.collect()
}

/// Forgets counts and rules, and lets go what stands at a hold.
pub(super) fn reset() {
    let rules = {
        let mut calls = calls();
        calls.counts.clear();
        std::mem::take(&mut calls.rules)
    };
    for rule in rules {
        if let Action::Hold(gate) = rule.action {
            drop(Hold(gate));
        }
    }
    ON_THIS_THREAD.take();
}

fn calls() -> MutexGuard<'static, Calls> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}
