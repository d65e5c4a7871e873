//! The privacy policy in the recorder: what is in force, and since when.
//!
//! Nothing is written that the policy has not seen. A new policy is in force from one record to the
//! next, and a notice stands between the two. What cannot be right is refused as a whole: while
//! recording the policy before stays; at the start the last one that was right is in force, and
//! where there is none, nothing personal is recorded.

mod key;
mod watch;

pub(crate) use watch::{PolicyWatch, Wanted};

use crate::log::say;
use host::private;
use key::KeyFile;
use policy::{Decision, Engine, Policy, Shown};
use record::{Connection, NoticeKind, PolicyChanged, PolicyState, Record, Stamp};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use watch::Found;

/// A policy at work on the records of one epoch.
pub(crate) struct Privacy {
    engine: Engine,
    watch: PolicyWatch,
    /// The number of what was found last.
    seen: u64,
    key: KeyFile,
    last_good: PathBuf,
}

/// The last policy that was right, for a start at which the policy is wrong.
const LAST_GOOD: &str = "policy-last-good.toml";

impl Privacy {
    /// Begins with what `watch` found, and says what is in force, if anything was found.
    pub(crate) fn begin(
        watch: PolicyWatch,
        state_dir: &Path,
        now: Stamp,
    ) -> (Privacy, Option<NoticeKind>) {
        let (seen, found) = watch.latest();
        let mut privacy = Privacy {
            engine: Engine::default(),
            watch,
            seen,
            key: KeyFile::new(state_dir),
            last_good: state_dir.join(LAST_GOOD),
        };
        let notice = match found {
            Found::Nothing => {
                privacy.forget_last_good();
                None
            }
            Found::Text { source, text } => match Policy::parse(&text) {
                Ok(policy) => Some(privacy.put_in_force(policy, source, &text, now)),
                Err(problems) => Some(privacy.begin_safely(source, in_words(&problems), now)),
            },
            Found::Wrong { source, problem } => Some(privacy.begin_safely(source, problem, now)),
        };
        privacy.renew_key(now);
        (privacy, notice)
    }

    /// What changed since the last call, to be told before the next record.
    pub(crate) fn changes(&mut self, now: Stamp) -> Vec<NoticeKind> {
        let mut notices = Vec::new();
        if self.watch.number() != self.seen {
            let (seen, found) = self.watch.latest();
            self.seen = seen;
            notices.extend(self.counts(now));
            notices.push(self.change(found, now));
        }
        self.renew_key(now);
        notices
    }

    /// Changes a record as the policy says; whether it is to be kept.
    pub(crate) fn keeps(&mut self, record: &mut Record) -> bool {
        !matches!(self.engine.apply(record), Decision::Dropped(_))
    }

    /// Changes a live connection as the policy says; what may be shown of it.
    pub(crate) fn show(&mut self, connection: &mut Connection) -> Shown {
        self.engine.show(connection)
    }

    /// What the policy did since the last call, if anything came.
    pub(crate) fn counts(&mut self, now: Stamp) -> Option<NoticeKind> {
        self.engine.take_counts(now).map(NoticeKind::PolicyCounts)
    }

    /// Some policy is in force: whatever is written past it would betray it.
    pub(crate) fn is_in_force(&self) -> bool {
        self.engine.policy().is_some()
    }

    fn change(&mut self, found: Found, now: Stamp) -> NoticeKind {
        match found {
            Found::Nothing => {
                say("privacy policy: there is none any more, everything is recorded");
                self.forget_last_good();
                self.engine.set_policy(None, now);
                self.notice(PolicyState::Removed, None, None)
            }
            Found::Text { source, text } => match Policy::parse(&text) {
                Ok(policy) => self.put_in_force(policy, source, &text, now),
                Err(problems) => self.refuse(source, in_words(&problems)),
            },
            Found::Wrong { source, problem } => self.refuse(source, problem),
        }
    }

    fn put_in_force(
        &mut self,
        policy: Policy,
        source: String,
        text: &str,
        now: Stamp,
    ) -> NoticeKind {
        let rules = policy.rule_names().count();
        self.engine.set_policy(Some(Arc::new(policy)), now);
        if let Err(error) = self.keep_as_last_good(text) {
            say(&format!(
                "privacy policy: {} cannot be written, so that a start with a wrong policy would \
                 record nothing personal: {error}",
                self.last_good.display()
            ));
        }
        say(&format!(
            "privacy policy: {source} with {rules} rules is in force"
        ));
        self.notice(PolicyState::InForce, Some(source), None)
    }

    fn refuse(&mut self, source: String, problem: String) -> NoticeKind {
        say(&format!(
            "privacy policy: {source} is refused, what was in force stays: {problem}"
        ));
        self.notice(PolicyState::Kept, Some(source), Some(problem))
    }

    /// At the start there is no policy before.
    fn begin_safely(&mut self, source: String, problem: String, now: Stamp) -> NoticeKind {
        let last_good = private::read_secret(&self.last_good, policy::TEXT_BYTES_MAX as u64);
        let last_good = last_good.ok().and_then(|text| Policy::parse(&text).ok());
        let (policy, state, words) = match last_good {
            Some(policy) => (
                policy,
                PolicyState::LastGood,
                "the last one that was right is in force",
            ),
            None => (
                Policy::strict(),
                PolicyState::Strict,
                "nothing personal is recorded until it is right",
            ),
        };
        say(&format!(
            "privacy policy: {source} is refused, {words}: {problem}"
        ));
        self.engine.set_policy(Some(Arc::new(policy)), now);
        self.notice(state, Some(source), Some(problem))
    }

    /// A notice with what is in force now.
    fn notice(
        &self,
        state: PolicyState,
        source: Option<String>,
        problem: Option<String>,
    ) -> NoticeKind {
        let policy = self.engine.policy();
        let rules = policy.map(|policy| policy.rule_names().map(str::to_owned).collect());
        NoticeKind::PolicyChanged(PolicyChanged {
            state,
            hash: policy.and_then(|policy| policy.hash()),
            source,
            problem,
            rules: rules.unwrap_or_default(),
        })
    }

    fn renew_key(&mut self, now: Stamp) {
        let policy = self.engine.policy();
        let Some(policy) = policy.filter(|policy| policy.makes_pseudonyms()) else {
            return self.key.expire(now.wall);
        };
        if let Some(key) = self.key.due(policy.rotate_s(), now.wall) {
            self.engine.set_key(key);
        }
    }

    fn keep_as_last_good(&self, text: &str) -> io::Result<()> {
        let known = private::read_secret(&self.last_good, policy::TEXT_BYTES_MAX as u64);
        match known {
            Ok(known) if known == text => Ok(()),
            Ok(_) | Err(_) => private::write_secret(&self.last_good, text),
        }
    }

    fn forget_last_good(&self) {
        // It is not there, or it will be replaced by the next one.
        let _ = std::fs::remove_file(&self.last_good);
    }
}

/// All mistakes in one line, the first few of them.
fn in_words(problems: &[policy::Problem]) -> String {
    const SAID_MAX: usize = 3;
    let said: Vec<String> = problems
        .iter()
        .take(SAID_MAX)
        .map(ToString::to_string)
        .collect();
    match problems.len().saturating_sub(SAID_MAX) {
        0 => said.join("; "),
        more => format!("{}; and {more} more", said.join("; ")),
    }
}
