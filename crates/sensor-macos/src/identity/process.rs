//! What can be found out about one process, now.
//!
//! Whatever is read by process id may be about another process that has the id by then. So it
//! counts only if afterwards the token is still good, or the process is still the one that was
//! forked at that moment.

use super::live::is_stale;
use crate::sys::layout::{ProcessFacts, StartTime};
use crate::sys::libproc::{self, NO_SUCH_PROCESS};
use crate::sys::registry::{self, Platform};
use crate::sys::{security, sysctl};
use crate::token::{Token, process_key};
use flow::Introduction;
use record::cpid::{self, MacBoot};
use record::{CodeSignature, Process, ProcessKey, User};
use rustc_hash::FxHashMap;
use std::path::Path;
use std::sync::Arc;

/// Looks processes up.
pub(crate) struct Reader {
    boot: Option<MacBoot>,
    /// Processes that were introduced by their id, and how many generations before them.
    introduced: FxHashMap<ProcessKey, usize>,
}

/// What was found out about the process of a token before its signature, which takes longer.
pub(crate) struct Begun {
    token: Token,
    path: Result<Arc<str>, Option<i32>>,
    by_id: Option<ById>,
}

/// What was read by process id.
struct ById {
    facts: ProcessFacts,
    command_line: Option<Arc<str>>,
    parent: Option<ProcessKey>,
}

impl Begun {
    /// When the process was forked, where that could be read.
    pub(super) fn start(&self) -> Option<StartTime> {
        self.by_id.as_ref().map(|by_id| by_id.facts.start)
    }
}

impl Reader {
    /// Finds out which machine this is.
    pub(crate) fn new() -> Reader {
        Reader {
            boot: read_boot(),
            introduced: FxHashMap::default(),
        }
    }

    /// Finds out what may be gone in a moment, and introduces the parents.
    pub(crate) fn begin(
        &mut self,
        token: &Token,
        command_lines: bool,
        told: &mut Vec<Introduction>,
    ) -> Begun {
        let path = libproc::path_of_token(token.bsm());
        let path = path.map(Arc::from).map_err(|error| error.raw_os_error());
        let by_id = match path {
            Err(Some(NO_SUCH_PROCESS)) if !is_kernel(token) => None,
            Ok(_) | Err(_) => self.by_id(token.pid(), command_lines, told),
        };
        let by_id = by_id.filter(|_| is_kernel(token) || !is_stale(token));
        Begun {
            token: *token,
            path,
            by_id,
        }
    }

    /// Introduces the process itself.
    pub(crate) fn finish(&self, begun: Begun) -> Introduction {
        let Begun { token, path, by_id } = begun;
        let has_gone = path == Err(Some(NO_SUCH_PROCESS)) && !is_kernel(&token);
        let signature = (!is_kernel(&token)).then(|| security::signature_of_token(&token.0));
        let mut process = Process::bare(process_key(&token));
        process.vanished = has_gone && !matches!(signature, Some(Ok(_)));
        process.signature = signature.filter(|_| !process.vanished).map(known_signature);
        set_users(&mut process, token.real_uid(), token.effective_uid());
        process.login_uid = token.login_uid();
        process.audit_session = token.audit_session();
        set_path(&mut process, path.ok());
        let parent = by_id.as_ref().and_then(|by_id| by_id.parent);
        if let Some(ById {
            facts,
            command_line,
            ..
        }) = by_id
        {
            self.set_facts(&mut process, &facts);
            process.command_line = command_line;
        }
        Introduction { process, parent }
    }

    /// Introduces whatever process has this id now, after its parents. Its key; `None` where it is
    /// gone or may not be asked about.
    pub(crate) fn of_pid(&mut self, pid: u32, told: &mut Vec<Introduction>) -> Option<ProcessKey> {
        let facts = libproc::process_facts(pid).ok()?;
        let key = key_by_start(&facts);
        if self.knows(key, WITH_SIGNATURE) {
            return Some(key);
        }
        let path = libproc::path_of_pid(pid).ok();
        let parent = self.parent_of(&facts, Process::ANCESTORS_MAX, told);
        let signature = security::signature_of_pid(pid);
        if !is_still(&facts) {
            return None;
        }
        let mut process = self.process(&facts, path);
        process.signature = Some(known_signature(signature));
        told.push(Introduction { process, parent });
        self.remember(key, WITH_SIGNATURE);
        Some(key)
    }

    fn by_id(
        &mut self,
        pid: u32,
        command_lines: bool,
        told: &mut Vec<Introduction>,
    ) -> Option<ById> {
        let facts = libproc::process_facts(pid).ok()?;
        let command_line = command_lines.then(|| sysctl::arguments(pid)).flatten();
        let parent = self.parent_of(&facts, Process::ANCESTORS_MAX, told);
        Some(ById {
            facts,
            command_line,
            parent,
        })
    }

    /// Introduces the parent of a process after so many `generations` before it, unless that was
    /// done before.
    fn parent_of(
        &mut self,
        child: &ProcessFacts,
        generations: usize,
        told: &mut Vec<Introduction>,
    ) -> Option<ProcessKey> {
        if generations == 0 || child.parent_pid == 0 {
            return None;
        }
        let facts = libproc::process_facts(child.parent_pid).ok()?;
        let key = key_by_start(&facts);
        let is_known = self.knows(key, generations);
        let path = (!is_known)
            .then(|| libproc::path_of_pid(facts.pid).ok())
            .flatten();
        // When the parent goes its children get another one, so this is the parent if the child
        // still has one with this id.
        if !is_still(child) || !(is_known || is_still(&facts)) {
            return None;
        }
        if !is_known {
            let parent = self.parent_of(&facts, generations - 1, told);
            told.push(Introduction {
                process: self.process(&facts, path),
                parent,
            });
            self.remember(key, generations);
        }
        Some(key)
    }

    /// What is known of a process without a token.
    fn process(&self, facts: &ProcessFacts, path: Option<String>) -> Process {
        let mut process = Process::bare(key_by_start(facts));
        set_users(&mut process, facts.real_uid, facts.effective_uid);
        set_path(&mut process, path.map(Arc::from));
        self.set_facts(&mut process, facts);
        process
    }

    fn set_facts(&self, process: &mut Process, facts: &ProcessFacts) {
        process.started = Some(facts.start.wall());
        process.cpid = self
            .boot
            .map(|boot| cpid::macos(&boot, facts.start.wall(), facts.pid));
        process.name = process.name.take().or_else(|| facts.name.clone());
    }

    fn knows(&self, key: ProcessKey, generations: usize) -> bool {
        self.introduced
            .get(&key)
            .is_some_and(|known| *known >= generations)
    }

    fn remember(&mut self, key: ProcessKey, generations: usize) {
        if self.introduced.len() >= INTRODUCED_MAX {
            self.introduced.clear();
        }
        self.introduced.insert(key, generations);
    }
}

/// What tells this boot of this machine from all others, from which other tools make the same ids
/// of processes; `None` where something of it is not told.
fn read_boot() -> Option<MacBoot> {
    let Platform {
        serial_number,
        hardware,
    } = registry::platform()?;
    let start = |pid| {
        libproc::process_facts(pid)
            .ok()
            .map(|facts| facts.start.wall())
    };
    Some(MacBoot {
        serial_number: cpid::serial_number(&serial_number)?,
        hardware,
        kernel_task: start(0)?,
        launchd: start(1)?,
    })
}

/// A process that was found by its id has no known pid version. When it was forked takes its place
/// in the key, in nanoseconds since 1970: never zero, as where the version is known.
pub(crate) fn key_by_start(facts: &ProcessFacts) -> ProcessKey {
    ProcessKey {
        pid: facts.pid,
        start_ns: facts.start.wall().0.cast_unsigned(),
        exec_id: 0,
    }
}

fn is_still(facts: &ProcessFacts) -> bool {
    libproc::process_facts(facts.pid)
        .is_ok_and(|now| now.start == facts.start && now.parent_pid == facts.parent_pid)
}

/// The kernel is a process without an executable, which never goes away.
fn is_kernel(token: &Token) -> bool {
    token.pid() == 0
}

fn known_signature(signature: Result<CodeSignature, i32>) -> CodeSignature {
    signature.unwrap_or_else(security::unnamed)
}

fn set_users(process: &mut Process, real_uid: u32, effective_uid: u32) {
    process.user = Some(User {
        uid: real_uid,
        name: None,
    });
    process.effective_uid = Some(effective_uid).filter(|uid| *uid != real_uid);
}

fn set_path(process: &mut Process, path: Option<Arc<str>>) {
    let name = path
        .as_deref()
        .and_then(|path| Path::new(path).file_name()?.to_str());
    process.name = name.map(Arc::from);
    process.path = path;
}

/// Beyond all generations of parents: the process was introduced for its own sake.
const WITH_SIGNATURE: usize = Process::ANCESTORS_MAX + 1;

/// Forgetting all at once costs some introductions twice.
const INTRODUCED_MAX: usize = 4_096;

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use darwin_double::machine;

    // facts: rule-10-bounded
    #[test]
    fn who_was_introduced_is_remembered_within_bounds() {
        let _machine = machine::lock();
        let mut reader = Reader::new();
        let key = |pid| ProcessKey {
            pid,
            start_ns: 1,
            exec_id: 0,
        };
        for pid in 1..=INTRODUCED_MAX as u32 + 1 {
            reader.remember(key(pid), 1);
            assert!(reader.introduced.len() <= INTRODUCED_MAX);
        }
        assert!(reader.knows(key(INTRODUCED_MAX as u32 + 1), 1));
        assert!(!reader.knows(key(INTRODUCED_MAX as u32 + 1), 2));
    }
}
