//! The configuration that makes the active extension see connections.
//!
//! It comes from one of two hands: this app saves one, or device management installs a profile
//! with one. **A profile's configuration is never touched.** No public property says which it is,
//! so the rule is the careful one: what this app saves carries a mark, and any configuration
//! without that mark counts as a profile's. If the system refuses a change with "permission
//! denied", it counts as a profile's too.
//!
//! Not confirmed, and therefore both handled: whether an installed profile's configuration is what
//! the manager loads, and whether it is switched on without the app's doing.

mod code;
mod manager;

pub use code::Code;

use crate::words;
use manager::Manager;
use objc2::rc::autoreleasepool;
use std::fmt;
use std::time::Duration;

/// The key in the vendor configuration under which this app leaves its mark. Whoever reads
/// settings from there must know it.
pub const MARK_KEY: &str = "ConntrailSavedBy";

/// The mark.
const MARK: &str = "conntrail-app";

/// What the configuration must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The extension's bundle identifier.
    pub extension: &'a str,
    /// Shown in the system's settings.
    pub organization: &'a str,
    /// Shown in the system's settings as the filter's name.
    pub description: &'a str,
}

/// The configuration as the system has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whose it is.
    pub owner: Owner,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether it comes before or after filters that block.
    pub grade: Grade,
    /// Whether it sees connections.
    pub sockets: bool,
    /// Whether it sees packets, which ours must not.
    pub packets: bool,
    /// The extension that it names.
    pub extension: Option<String>,
    /// Whose name it shows.
    pub organization: Option<String>,
    /// Its name in the system's settings.
    pub description: Option<String>,
}

impl State {
    fn is_as(&self, wanted: &Wanted<'_>) -> bool {
        self.sockets
            && !self.packets
            && self.grade == Grade::Inspector
            && self.extension.as_deref() == Some(wanted.extension)
    }
}

/// Whose the configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// There is none.
    Nobody,
    /// This app saved it.
    App,
    /// It does not carry this app's mark, so it counts as a profile's.
    Profile,
}

impl Owner {
    /// Its name in machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Owner::Nobody => "nobody",
            Owner::App => "app",
            Owner::Profile => "profile",
        }
    }
}

/// Where among filters it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Before inspectors: the grade of filters that block.
    Firewall,
    /// After firewalls: ours.
    Inspector,
    /// One that this version does not know.
    Other(isize),
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it was so already.
    None(State),
    /// Nothing: a profile owns the configuration.
    LeftToProfile(State),
    /// What was asked, and the system confirms it.
    Made(State),
}

impl Change {
    /// The configuration as it is now.
    pub fn state(&self) -> &State {
        match self {
            Change::None(state) | Change::LeftToProfile(state) | Change::Made(state) => state,
        }
    }
}

/// What was asked of the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To read it.
    Load,
    /// To write it.
    Save,
    /// To remove it.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Load => "be loaded",
            Operation::Save => "be saved",
            Operation::Remove => "be removed",
        })
    }
}

/// Why nothing, or not the right thing, was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The manager said no.
    #[error("the filter's configuration could not {operation}: {code}. {}", code.advice())]
    Refused {
        /// To what.
        operation: Operation,
        /// Why.
        code: Code,
        /// In the system's words.
        detail: String,
    },
    /// Something below the manager failed.
    #[error(
        "the filter's configuration could not {operation}: {domain} {code}, {detail}. Try again; \
         if it stays so, restart the machine."
    )]
    Failed {
        /// What was asked.
        operation: Operation,
        /// Whose code it is.
        domain: String,
        /// Which.
        code: isize,
        /// In the system's words.
        detail: String,
    },
    /// No answer came in time. It may still be done later.
    #[error(
        "the filter's configuration could not {operation} within {}: the system did not answer. \
         Others have seen that in programs that are not the app's own; run `conntrail` inside \
         Conntrail.app.",
        words::duration(*after)
    )]
    TimedOut {
        /// What was asked.
        operation: Operation,
        /// How long was waited.
        after: Duration,
    },
    /// The system let go of the question without an answer.
    #[error(
        "the filter's configuration could not {operation}: the system dropped the request without \
         an answer. Try again."
    )]
    Unanswered {
        /// What was asked.
        operation: Operation,
    },
    /// The system agreed, and yet it is not so.
    #[error(
        "the system said that the filter's configuration was saved, and yet it is {}. Somebody or \
         something changes it back: look for other filters in `conntrail status`.",
        if .0.enabled { "switched on" } else { "switched off" }
    )]
    NotInForce(State),
    /// A fault in this program, which was caught.
    #[error("the filter's configuration could not {operation}: {text}")]
    Fault {
        /// What was asked.
        operation: Operation,
        /// What went wrong.
        text: String,
    },
}

impl Error {
    /// Whether the system says that the configuration is not ours.
    pub fn says_not_ours(&self) -> bool {
        matches!(
            self,
            Error::Refused {
                code: Code::PermissionDenied | Code::CannotBeRemoved,
                ..
            }
        )
    }

    fn says_stale(&self) -> bool {
        let stale = Code::Stale;
        matches!(self, Error::Refused { code, .. } if *code == stale)
    }
}

/// Reads the configuration. Must not be called on the main thread, which has to serve the system
/// meanwhile; the same holds for all that follows.
///
/// # Errors
/// When the system refuses, or does not answer within `timeout`.
pub fn read(timeout: Duration) -> Result<State, Error> {
    autoreleasepool(|_| Manager::with_timeout(timeout).load())
}

/// Sees to it that there is a configuration that is on, unless a profile owns it.
///
/// # Errors
/// When the system refuses, does not answer within `timeout`, or does not do what it said.
pub fn enable(wanted: &Wanted<'_>, timeout: Duration) -> Result<Change, Error> {
    change(timeout, |manager, state| match state.owner {
        Owner::App if state.enabled && state.is_as(wanted) => None,
        Owner::App | Owner::Nobody => Some(manager.save_enabled(wanted)),
        Owner::Profile => None,
    })
    .and_then(|change| confirm(change, true))
}

/// Switches the configuration off, unless a profile owns it.
///
/// # Errors
/// As [`enable`].
pub fn disable(timeout: Duration) -> Result<Change, Error> {
    change(timeout, |manager, state| match state.owner {
        Owner::App if state.enabled => Some(manager.save_as(false)),
        Owner::App | Owner::Nobody | Owner::Profile => None,
    })
    .and_then(|change| confirm(change, false))
}

/// Removes the configuration, unless a profile owns it.
///
/// # Errors
/// As [`enable`].
pub fn remove(timeout: Duration) -> Result<Change, Error> {
    change(timeout, |manager, state| match state.owner {
        Owner::App => Some(manager.remove()),
        Owner::Nobody | Owner::Profile => None,
    })
    .and_then(|change| confirm(change, false))
}

/// Loads, changes what is to be changed, and loads again to see what came of it. A configuration
/// that somebody changed in between is loaded and judged once more.
fn change(
    timeout: Duration,
    make: impl Fn(&Manager, &State) -> Option<Result<(), Error>>,
) -> Result<Change, Error> {
    autoreleasepool(|_| {
        let manager = Manager::with_timeout(timeout);
        let mut may_repeat = true;
        loop {
            let state = manager.load()?;
            match make(&manager, &state) {
                None if state.owner == Owner::Profile => return Ok(Change::LeftToProfile(state)),
                None => return Ok(Change::None(state)),
                Some(Ok(())) => return Ok(Change::Made(manager.load()?)),
                Some(Err(error)) if error.says_stale() && may_repeat => may_repeat = false,
                Some(Err(error)) => return Err(error),
            }
        }
    })
}

fn confirm(change: Change, enabled: bool) -> Result<Change, Error> {
    match change {
        Change::Made(state) if state.enabled != enabled => Err(Error::NotInForce(state)),
        Change::Made(_) | Change::None(_) | Change::LeftToProfile(_) => Ok(change),
    }
}
