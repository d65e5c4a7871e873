//! Asked of the system by getpwuid_r(3): the accounts of people stand in Open Directory, and
//! `/etc/passwd` knows only those of services.
//!
//! A directory can be far away and slow, so a thread of its own waits for it. What comes late is
//! handed on late.

use crate::darwin;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The accounts of this machine, and of the directories it is bound to.
#[derive(Debug)]
pub(super) struct Accounts {
    questions: SyncSender<u32>,
    answers: Receiver<Answer>,
    /// Asked, and no answer yet.
    open: BTreeSet<u32>,
    late: Vec<(u32, Arc<str>)>,
    patience: Duration,
}

type Answer = (u32, Option<Arc<str>>);

/// Long enough for an account of this machine.
const PATIENCE: Duration = Duration::from_millis(100);

/// Questions that may wait for a directory that does not answer.
const QUESTIONS_MAX: usize = 64;

impl Accounts {
    pub(super) fn of_this_machine() -> Accounts {
        Accounts::asking(darwin::account_name, PATIENCE)
    }

    fn asking(
        look_up: impl Fn(u32) -> Option<String> + Send + 'static,
        patience: Duration,
    ) -> Accounts {
        let (questions, asked) = sync_channel::<u32>(QUESTIONS_MAX);
        let (answer, answers) = sync_channel(QUESTIONS_MAX);
        thread::spawn(move || {
            for uid in asked {
                let name = look_up(uid).map(Arc::from);
                if answer.send((uid, name)).is_err() {
                    return;
                }
            }
        });
        Accounts {
            questions,
            answers,
            open: BTreeSet::new(),
            late: Vec::new(),
            patience,
        }
    }

    /// Waits only while nothing is overdue: a directory that is slow once is slow again.
    pub(super) fn name(&mut self, uid: u32) -> Option<Arc<str>> {
        self.collect();
        let is_overdue = !self.open.is_empty();
        if self.open.contains(&uid) || self.questions.try_send(uid).is_err() {
            return None;
        }
        self.open.insert(uid);
        if is_overdue {
            return None;
        }
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok((answered, name)) => {
                    self.open.remove(&answered);
                    if answered == uid {
                        return name;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    pub(super) fn late_names(&mut self) -> Vec<(u32, Arc<str>)> {
        self.collect();
        std::mem::take(&mut self.late)
    }

    fn collect(&mut self) {
        for (uid, name) in self.answers.try_iter() {
            self.open.remove(&uid);
            self.late.extend(name.map(|name| (uid, name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_system_is_asked_for_accounts() {
        let mut accounts = Accounts {
            patience: LONG,
            ..Accounts::of_this_machine()
        };
        assert_eq!(accounts.name(0).as_deref(), Some("root"));
        assert_eq!(accounts.name(4_000_000_001), None);
        assert_eq!(accounts.late_names(), []);
    }

    #[test]
    fn a_slow_directory_is_not_waited_for_and_its_late_answer_is_not_lost() {
        let (release, gate) = channel::<()>();
        let look_up = move |uid| {
            gate.recv().ok()?;
            Some(format!("user{uid}"))
        };
        let mut accounts = Accounts::asking(look_up, Duration::from_millis(1));
        assert_eq!(accounts.name(501), None);
        accounts.patience = LONG;
        let started = Instant::now();
        assert_eq!(accounts.name(502), None, "one is overdue already");
        assert_eq!(accounts.name(501), None, "it is asked already");
        for uid in 1_000..2_000 {
            assert_eq!(accounts.name(uid), None, "the queue is full in the end");
        }
        assert!(started.elapsed() < LONG);
        assert_eq!(accounts.late_names(), []);
        release.send(()).unwrap();
        let late = loop {
            let late = accounts.late_names();
            if !late.is_empty() || started.elapsed() > LONG {
                break late;
            }
            thread::yield_now();
        };
        assert_eq!(late, [(501, Arc::from("user501"))]);
        assert_eq!(accounts.late_names(), []);
    }
}
