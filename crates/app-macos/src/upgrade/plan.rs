//! What to do next while the extension is replaced. Pure: told what came of one step, it names the
//! next, and whatever goes wrong, a filter that we switched off is switched on again.

use crate::extension::Replacement;
use crate::filter::Owner;

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look at the filter's configuration: [`Plan::surveyed`].
    Survey,
    /// Switch the filter off: [`Plan::disabled`].
    Disable,
    /// Ask for the new version: [`Plan::replaced`].
    Replace,
    /// Switch the filter on again: [`Plan::enabled`].
    Enable,
    /// Wait for a flow: [`Plan::proven`].
    Prove,
    /// Nothing: see [`Plan::ending`].
    Finish,
}

/// What came of switching the filter off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disabled {
    /// It is off.
    Done,
    /// It was found to be a profile's after all, and is as it was.
    NotOurs,
    /// Whether it is off is not known.
    Unclear(String),
}

/// What came of asking for the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It runs; the other version that was there, if the system asked about one.
    Done(Option<Replacement>),
    /// It will run after the next start of the machine.
    AfterReboot(Option<Replacement>),
    /// It waits for the user's approval.
    AwaitingApproval,
    /// It does not run.
    Failed(String),
}

/// How it all ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The new version runs. Whether flows arrive, where that was waited for.
    Replaced {
        /// The two versions, if the system told.
        replacement: Option<Replacement>,
        /// Whether a flow arrived in time.
        flows_arrive: bool,
    },
    /// The new version runs after the next start of the machine.
    AfterReboot(Option<Replacement>),
    /// The user must approve the new version first.
    AwaitingApproval,
    /// The old version runs as before.
    Failed,
}

/// How many times the filter is switched on again before we give up, loudly.
const ENABLE_TRIES: u32 = 3;

/// The state of one upgrade.
#[derive(Clone, Debug)]
pub struct Plan {
    next: Step,
    /// We may have switched it off and have not seen it on since.
    must_enable: bool,
    tries_left: u32,
    replaced: Option<Replaced>,
    flows_arrive: bool,
    troubles: Vec<String>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            next: Step::Survey,
            must_enable: false,
            tries_left: ENABLE_TRIES,
            replaced: None,
            flows_arrive: false,
            troubles: Vec::new(),
        }
    }
}

impl Plan {
    /// What to do next.
    pub fn next_step(&self) -> Step {
        self.next
    }

    /// Whose the filter is and whether it is on, or why that is not known.
    ///
    /// It is switched off only when it is known to be ours and on; in every other case the version
    /// is replaced under it. Where an upgrade before this one was cut off with our filter off,
    /// `left_off`, this one switches it on at its end.
    pub fn surveyed(&mut self, filter: Result<(Owner, bool), String>, left_off: bool) {
        self.next = match filter {
            Ok((Owner::App, true)) => Step::Disable,
            Ok((Owner::App, false)) => {
                self.must_enable = left_off;
                Step::Replace
            }
            Ok((Owner::Nobody | Owner::Profile, _)) => Step::Replace,
            Err(trouble) => {
                self.troubles.push(trouble);
                Step::Replace
            }
        };
    }

    /// What came of switching it off. If that is not clear, nothing is replaced.
    pub fn disabled(&mut self, result: Disabled) {
        self.must_enable = result != Disabled::NotOurs;
        self.next = match result {
            Disabled::Done | Disabled::NotOurs => Step::Replace,
            Disabled::Unclear(trouble) => {
                self.troubles.push(trouble);
                Step::Enable
            }
        };
    }

    /// What came of asking for the new version.
    pub fn replaced(&mut self, result: Replaced) {
        if let Replaced::Failed(trouble) = &result {
            self.troubles.push(trouble.clone());
        }
        self.replaced = Some(result);
        self.next = match self.must_enable {
            true => Step::Enable,
            false => self.after_enable(),
        };
    }

    /// Whether it is on again.
    pub fn enabled(&mut self, result: Result<(), String>) {
        self.tries_left -= 1;
        match result {
            Ok(()) => {
                self.must_enable = false;
                self.next = self.after_enable();
            }
            Err(trouble) => {
                self.troubles.push(trouble);
                if self.tries_left == 0 {
                    self.next = Step::Finish;
                }
            }
        }
    }

    /// Whether a flow arrived.
    pub fn proven(&mut self, flows_arrive: bool) {
        self.flows_arrive = flows_arrive;
        self.next = Step::Finish;
    }

    /// How it ended.
    pub fn ending(&self) -> Ending {
        match &self.replaced {
            Some(Replaced::Done(replacement)) => Ending::Replaced {
                replacement: replacement.clone(),
                flows_arrive: self.flows_arrive,
            },
            Some(Replaced::AfterReboot(replacement)) => Ending::AfterReboot(replacement.clone()),
            Some(Replaced::AwaitingApproval) => Ending::AwaitingApproval,
            Some(Replaced::Failed(_)) | None => Ending::Failed,
        }
    }

    /// Whether we may have left the filter switched off: the one harm that must be shouted.
    pub fn left_disabled(&self) -> bool {
        self.must_enable
    }

    /// What went wrong on the way, a sentence each.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    fn after_enable(&self) -> Step {
        match self.replaced {
            Some(Replaced::Done(_)) => Step::Prove,
            Some(Replaced::AfterReboot(_) | Replaced::AwaitingApproval | Replaced::Failed(_))
            | None => Step::Finish,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The choices of one made-up run, each taken from the digits of a number.
    struct Fate(u32);

    impl Fate {
        fn choose(&mut self, choices: u32) -> u32 {
            let choice = self.0 % choices;
            self.0 /= choices;
            choice
        }
    }

    /// Plays a run to its end, with a filter that really goes off and on.
    fn play(fate: &mut Fate, filter: Result<(Owner, bool), String>) -> (Plan, Vec<Step>, bool) {
        let (mut plan, mut steps) = (Plan::default(), Vec::new());
        let mut is_on = filter.clone().is_ok_and(|(_, is_on)| is_on);
        while plan.next_step() != Step::Finish {
            assert!(steps.len() < 20, "it never ends: {steps:?}");
            steps.push(plan.next_step());
            match plan.next_step() {
                Step::Survey => plan.surveyed(filter.clone(), false),
                Step::Disable => {
                    let choice = fate.choose(4);
                    is_on = choice >= 2;
                    plan.disabled(match choice {
                        0 => Disabled::Done,
                        1 | 2 => Disabled::Unclear("disable".to_owned()),
                        _ => Disabled::NotOurs,
                    });
                }
                Step::Replace => plan.replaced(match fate.choose(4) {
                    0 => Replaced::Done(None),
                    1 => Replaced::AfterReboot(None),
                    2 => Replaced::AwaitingApproval,
                    _ => Replaced::Failed("replace".to_owned()),
                }),
                Step::Enable => {
                    let works = fate.choose(2) == 0;
                    is_on |= works;
                    plan.enabled(works.then_some(()).ok_or("enable".to_owned()));
                }
                Step::Prove => plan.proven(fate.choose(2) == 0),
                Step::Finish => unreachable!("the loop ends there"),
            }
        }
        (plan, steps, is_on)
    }

    const EVERY_FATE: std::ops::Range<u32> = 0..4 * 4 * 2 * 2 * 2 * 2;

    // facts: crash-resets-connections
    #[test]
    fn whatever_fails_our_filter_ends_switched_on_or_shouted_about() {
        let mut endings = BTreeSet::new();
        for fate in EVERY_FATE {
            let (plan, steps, is_on) = play(&mut Fate(fate), Ok((Owner::App, true)));
            assert!(is_on || plan.left_disabled(), "fate {fate}: {steps:?}");
            let tries = steps.iter().filter(|it| **it == Step::Enable).count();
            assert!(
                !plan.left_disabled() || tries == 3,
                "fate {fate}: {steps:?}"
            );
            assert_eq!(steps[..2], [Step::Survey, Step::Disable]);
            endings.insert(format!("{:?}", plan.ending()));
        }
        assert_eq!(endings.len(), 5, "every ending is reached: {endings:?}");
    }

    // facts: profile-owns-the-filter
    #[test]
    fn a_filter_that_is_not_known_to_be_ours_and_on_is_never_switched() {
        for filter in [
            Ok((Owner::Profile, true)),
            Ok((Owner::Profile, false)),
            Ok((Owner::Nobody, false)),
            Ok((Owner::App, false)),
            Err("no answer".to_owned()),
        ] {
            for fate in EVERY_FATE {
                let (plan, steps, _) = play(&mut Fate(fate), filter.clone());
                assert!(!steps.contains(&Step::Disable), "{filter:?}: {steps:?}");
                assert!(!steps.contains(&Step::Enable), "{filter:?}: {steps:?}");
                assert!(!plan.left_disabled());
                assert_eq!(steps[1], Step::Replace);
            }
        }
    }

    #[test]
    fn a_filter_that_proves_to_be_a_profiles_is_let_alone_from_there_on() {
        let mut plan = Plan::default();
        plan.surveyed(Ok((Owner::App, true)), false);
        plan.disabled(Disabled::NotOurs);
        assert_eq!(plan.next_step(), Step::Replace);
        plan.replaced(Replaced::Failed("no".to_owned()));
        assert_eq!(plan.next_step(), Step::Finish);
        assert_eq!(plan.ending(), Ending::Failed);
    }

    #[test]
    fn a_filter_that_an_upgrade_before_left_off_is_switched_on() {
        for (owner, left_off, expected) in [
            (Owner::App, true, Step::Enable),
            (Owner::App, false, Step::Finish),
            (Owner::Profile, true, Step::Finish),
            (Owner::Nobody, true, Step::Finish),
        ] {
            let mut plan = Plan::default();
            plan.surveyed(Ok((owner, false)), left_off);
            assert_eq!(plan.next_step(), Step::Replace);
            plan.replaced(Replaced::Failed("no".to_owned()));
            assert_eq!(plan.next_step(), expected, "{owner:?} {left_off}");
        }
    }

    #[test]
    fn nothing_is_replaced_while_it_is_unclear_whether_the_filter_is_off() {
        let mut plan = Plan::default();
        plan.surveyed(Ok((Owner::App, true)), false);
        plan.disabled(Disabled::Unclear("no answer".to_owned()));
        assert_eq!(plan.next_step(), Step::Enable);
        plan.enabled(Ok(()));
        assert_eq!(
            (plan.next_step(), plan.ending()),
            (Step::Finish, Ending::Failed)
        );
        assert_eq!(plan.troubles(), ["no answer"]);
    }

    #[test]
    fn flows_are_waited_for_only_when_the_new_version_runs() {
        for (replaced, expected) in [
            (Replaced::Done(None), Step::Prove),
            (Replaced::AfterReboot(None), Step::Finish),
            (Replaced::AwaitingApproval, Step::Finish),
            (Replaced::Failed(String::new()), Step::Finish),
        ] {
            let mut plan = Plan::default();
            plan.surveyed(Ok((Owner::App, true)), false);
            plan.disabled(Disabled::Done);
            plan.replaced(replaced);
            assert_eq!(plan.next_step(), Step::Enable);
            plan.enabled(Err("busy".to_owned()));
            assert_eq!(plan.next_step(), Step::Enable, "once more");
            plan.enabled(Ok(()));
            assert_eq!(plan.next_step(), expected);
        }
    }
}
