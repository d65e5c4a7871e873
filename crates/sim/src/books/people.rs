//! Who was introduced, and who may be named.

use flow::{Config, Introduction, Owner};
use record::{Connection, Process, ProcessKey};
use std::collections::{BTreeMap, BTreeSet};

/// Everybody who was ever introduced or named.
#[derive(Debug)]
pub(super) struct People {
    introduced: BTreeMap<ProcessKey, Vec<Introduction>>,
    named: BTreeSet<ProcessKey>,
    processes_max: usize,
    /// Where records wait, what is on them may be older than the newest that is known.
    records_wait: bool,
}

impl People {
    pub(super) fn new(config: &Config) -> People {
        People {
            introduced: BTreeMap::new(),
            named: BTreeSet::new(),
            processes_max: config.processes_max.max(Process::ANCESTORS_MAX + 1),
            records_wait: config.identity_wait_ns > 0,
        }
    }

    pub(super) fn introduce(&mut self, introduction: &Introduction) {
        let key = introduction.process.key;
        let told = self.introduced.entry(key).or_default();
        told.push(introduction.clone());
    }

    pub(super) fn name(&mut self, owner: &Owner) {
        self.named.insert(owner.process);
        self.named.extend(owner.responsible);
    }

    /// Whether the record names only whom somebody named, and says of them what was said.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), String> {
        let parties = [&connection.process, &connection.responsible];
        for process in parties.into_iter().flatten() {
            if !self.named.contains(&process.key) {
                return Err(format!("nobody named {:?}", process.key));
            }
            self.check_process(process)?;
        }
        let both = (&connection.process, &connection.responsible);
        if let (Some(process), Some(responsible)) = both
            && process.key == responsible.key
        {
            return Err(format!("{:?} acts on its own behalf", process.key));
        }
        Ok(())
    }

    fn check_process(&self, process: &Process) -> Result<(), String> {
        let Some(introductions) = self.introduced.get(&process.key) else {
            return match *process == Process::bare(process.key) {
                true => Ok(()),
                false => Err(format!("more than anybody said is told: {process:?}")),
            };
        };
        let is_one = |it: &Introduction| is_as_introduced(process, it);
        let may_be_forgotten = self.introduced.len() > self.processes_max;
        let is_right = if may_be_forgotten || self.records_wait {
            introductions.iter().any(is_one)
                || (may_be_forgotten && *process == Process::bare(process.key))
        } else {
            introductions.last().is_some_and(is_one)
        };
        match is_right {
            true => Ok(()),
            false => Err(format!("{process:?} was introduced as {introductions:?}")),
        }
    }
}

/// All but what the table fills in.
fn is_as_introduced(process: &Process, introduction: &Introduction) -> bool {
    let mut bare = process.clone();
    bare.ancestors.clear();
    if let Some(user) = &mut bare.user {
        user.name = None;
    }
    let parent = process.ancestors.first().map(|ancestor| ancestor.key);
    bare == introduction.process
        && parent == introduction.parent
        && process.ancestors.len() <= Process::ANCESTORS_MAX
}
