//! Who is who: the processes that sensors introduced, bounded and ready to be put on records.

use crate::event::Introduction;
use record::{Ancestor, Process, ProcessKey, User};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The processes that were introduced, the most recently used ones at least.
#[derive(Debug)]
pub(crate) struct Processes {
    /// In boxes, so that the map stays small while it grows.
    known: FxHashMap<ProcessKey, Box<Known>>,
    user_names: FxHashMap<u32, Option<Arc<str>>>,
    /// Rises whenever a finished process may look different than when it was put together.
    edition: u64,
    uses: u64,
    processes_max: usize,
}

#[derive(Debug)]
struct Known {
    introduction: Introduction,
    /// The process with its user's name and ancestors, as of an edition.
    finished: Option<(u64, Arc<Process>)>,
    last_use: u64,
}

impl Processes {
    pub(crate) fn new(processes_max: usize) -> Processes {
        Processes {
            known: FxHashMap::default(),
            user_names: FxHashMap::default(),
            edition: 0,
            uses: 0,
            processes_max: processes_max.max(Process::ANCESTORS_MAX + 1),
        }
    }

    /// Remembers a process. Says whether the name of its user is still unknown.
    pub(crate) fn introduce(&mut self, introduction: Introduction) -> Option<u32> {
        let uid = introduction.process.user.as_ref().map(|user| user.uid);
        let last_use = self.next_use();
        let known = Box::new(Known {
            introduction,
            finished: None,
            last_use,
        });
        self.known.insert(known.introduction.process.key, known);
        if self.known.len() > self.processes_max {
            self.forget_least_used();
        }
        uid.filter(|uid| !self.user_names.contains_key(uid))
    }

    /// Remembers the name of a user.
    pub(crate) fn name_user(&mut self, uid: u32, name: Option<Arc<str>>) {
        if self.user_names.len() >= USERS_MAX && !self.user_names.contains_key(&uid) {
            self.user_names.clear();
        }
        self.user_names.insert(uid, name);
        self.edition += 1;
    }

    /// The process of a key, by its newest introduction, if anybody introduced it.
    pub(crate) fn find(&mut self, key: ProcessKey) -> Option<Arc<Process>> {
        let last_use = self.next_use();
        let known = self.known.get_mut(&key)?;
        known.last_use = last_use;
        match &known.finished {
            Some((edition, process)) if *edition == self.edition => Some(Arc::clone(process)),
            Some(_) | None => Some(self.finish(key)),
        }
    }

    /// As [`Processes::find`], for whoever only looks: it is no use, and nothing is remembered, so
    /// that no record ever depends on it. What had to be put together goes into `built`.
    pub(crate) fn look(
        &self,
        key: ProcessKey,
        built: &mut FxHashMap<ProcessKey, Arc<Process>>,
    ) -> Option<Arc<Process>> {
        let known = self.known.get(&key)?;
        if let Some((edition, process)) = &known.finished
            && *edition == self.edition
        {
            return Some(Arc::clone(process));
        }
        let process = built.entry(key).or_insert_with(|| self.put_together(key));
        Some(Arc::clone(process))
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    fn put_together(&self, key: ProcessKey) -> Arc<Process> {
        let introduction = &self.known[&key].introduction;
        let mut process = introduction.process.clone();
        process.ancestors = self.ancestors(introduction.parent);
        process.user = process.user.map(|user| User {
            name: self.user_names.get(&user.uid).cloned().flatten(),
            ..user
        });
        Arc::new(process)
    }

    fn finish(&mut self, key: ProcessKey) -> Arc<Process> {
        let process = self.put_together(key);
        let known = self
            .known
            .get_mut(&key)
            .expect("the process was looked up just above");
        known.finished = Some((self.edition, Arc::clone(&process)));
        process
    }

    fn ancestors(&self, parent: Option<ProcessKey>) -> Vec<Ancestor> {
        let mut ancestors = Vec::new();
        let mut next = parent;
        while let Some(key) = next
            && ancestors.len() < Process::ANCESTORS_MAX
        {
            let known = self.known.get(&key);
            ancestors.push(ancestor(
                key,
                known.map(|known| &known.introduction.process),
            ));
            next = known.and_then(|known| known.introduction.parent);
        }
        ancestors
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// Lets go of a quarter at once, so that the cost of finding the least used is shared by many
    /// introductions.
    #[expect(
        clippy::disallowed_methods,
        reason = "the order of uses is sought, not kept"
    )]
    fn forget_least_used(&mut self) {
        let mut uses: Vec<u64> = self.known.values().map(|known| known.last_use).collect();
        let (_, &mut quarter, _) = uses.select_nth_unstable(self.processes_max / 4);
        self.known.retain(|_, known| known.last_use > quarter);
    }
}

/// More accounts than one machine's connections are made by.
const USERS_MAX: usize = 4_096;

fn ancestor(key: ProcessKey, process: Option<&Process>) -> Ancestor {
    Ancestor {
        key,
        cpid: process.and_then(|process| process.cpid),
        name: process.and_then(|process| process.name.clone()),
        path: process.and_then(|process| process.path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ns: u64::from(pid),
            exec_id: 0,
        }
    }

    fn introduction(pid: u32, parent: Option<u32>) -> Introduction {
        let mut process = Process::bare(key(pid));
        process.name = Some(format!("p{pid}").into());
        process.user = Some(User {
            uid: pid,
            name: None,
        });
        Introduction {
            process,
            parent: parent.map(key),
        }
    }

    fn introduced(processes: &mut Processes, pid: u32) -> Arc<Process> {
        processes
            .find(key(pid))
            .unwrap_or_else(|| panic!("{pid} is not known"))
    }

    #[test]
    fn ancestors_come_parent_first_and_end_at_the_unknown() {
        let mut processes = Processes::new(100);
        processes.introduce(introduction(3, Some(2)));
        processes.introduce(introduction(2, Some(1)));
        let process = introduced(&mut processes, 3);
        let names: Vec<_> = process
            .ancestors
            .iter()
            .map(|it| it.name.as_deref())
            .collect();
        assert_eq!(names, [Some("p2"), None]);
    }

    #[test]
    fn a_process_that_is_its_own_ancestor_ends() {
        let mut processes = Processes::new(100);
        processes.introduce(introduction(1, Some(1)));
        assert_eq!(
            introduced(&mut processes, 1).ancestors.len(),
            Process::ANCESTORS_MAX
        );
    }

    #[test]
    fn a_user_name_that_comes_late_is_on_the_next_record() {
        let mut processes = Processes::new(100);
        assert_eq!(processes.introduce(introduction(5, None)), Some(5));
        assert_eq!(
            introduced(&mut processes, 5).user.as_ref().unwrap().name,
            None
        );
        processes.name_user(5, Some("ana".into()));
        let name = introduced(&mut processes, 5)
            .user
            .as_ref()
            .unwrap()
            .name
            .clone();
        assert_eq!(name.as_deref(), Some("ana"));
        assert_eq!(processes.introduce(introduction(5, None)), None);
    }

    #[test]
    fn the_newest_introduction_counts() {
        let mut processes = Processes::new(100);
        let first = introduction(1, None);
        let mut second = first.clone();
        second.process.path = Some("/usr/bin/p1".into());
        processes.introduce(first);
        assert_eq!(introduced(&mut processes, 1).path, None);
        processes.introduce(second);
        let path = introduced(&mut processes, 1).path.clone();
        assert_eq!(path.as_deref(), Some("/usr/bin/p1"));
    }

    #[test]
    fn the_least_used_are_forgotten_first() {
        let mut processes = Processes::new(100);
        processes.introduce(introduction(1, None));
        for pid in 2..1_000 {
            processes.introduce(introduction(pid, None));
            introduced(&mut processes, 1);
            assert!(processes.len() <= 100);
        }
        assert_eq!(processes.find(key(2)), None);
    }
}
