//! Replaces the running version of the extension with the one in this app, with as little harm as
//! can be, and proves that it works.
//!
//! When the new version attaches, the system resets every TCP connection that was open before.
//! So whoever calls counts them first ([`resets`]) and waits for a good moment
//! ([`crate::moment`]). Then [`run`] switches the filter off if it is ours, replaces, switches it
//! on again whatever happened, and waits until a flow arrives: an extension that is "activated"
//! and sees nothing has been reported.

mod plan;

pub use plan::{Disabled, Ending, Plan, Replaced, Step};

use crate::extension::{self, Approval, Outcome, Properties, Replace, Replacement, Version};
use crate::filter::{self, Owner, Wanted};
use crate::words;
use record::{AppCount, Connection, ExtensionReplaced, Protocol};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// Apps that a receipt names; the rest is summed.
const APPS_MAX: usize = 20;

/// Name of the sum of the rest.
const OTHER: &str = "other";

/// The TCP connections that replacing the extension resets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    /// All of them.
    pub count: u64,
    /// By app, the most first; what does not fit is summed under `other`.
    pub by_app: Vec<AppCount>,
}

/// Counts what replacing would reset among the connections that are open now. The app is the one
/// on whose behalf a connection is, where that is known.
pub fn resets<'a>(open: impl IntoIterator<Item = &'a Connection>) -> Resets {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let tcp = open.into_iter().filter(|it| it.protocol == Protocol::Tcp);
    for connection in tcp {
        *counts.entry(app_of(connection)).or_default() += 1;
    }
    let mut by_app: Vec<AppCount> = counts
        .into_iter()
        .map(|(app, count)| AppCount { app, count })
        .collect();
    by_app.sort_by(|one, other| {
        other
            .count
            .cmp(&one.count)
            .then_with(|| one.app.cmp(&other.app))
    });
    let count = by_app.iter().map(|it| it.count).sum();
    if by_app.len() > APPS_MAX {
        let rest = by_app.split_off(APPS_MAX);
        by_app.push(AppCount {
            app: OTHER.to_owned(),
            count: rest.iter().map(|it| it.count).sum(),
        });
    }
    Resets { count, by_app }
}

fn app_of(connection: &Connection) -> String {
    let process = connection
        .responsible
        .as_ref()
        .or(connection.process.as_ref());
    let name = process.and_then(|it| it.name.as_deref().or(it.path.as_deref()));
    words::clean(name.unwrap_or("not known"))
}

/// How long each part may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Each question to the filter manager.
    pub filter: Duration,
    /// The request for the new version.
    pub request: Duration,
    /// Until a flow arrives.
    pub proof: Duration,
    /// Between two looks for one.
    pub proof_step: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            filter: Duration::from_secs(15),
            request: Duration::from_secs(60),
            proof: Duration::from_secs(120),
            proof_step: Duration::from_millis(500),
        }
    }
}

/// What came of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// To be written into the trail: there is one when another version runs, or will.
    pub receipt: Option<ExtensionReplaced>,
    /// The filter may be switched off, against our will.
    pub left_disabled: bool,
    /// What went wrong on the way, a sentence each.
    pub troubles: Vec<String>,
}

/// Whether there is anything to replace: the version that runs, beside the one in this app.
///
/// `None` where the system does not say, or where the app's own version is not known; the request
/// itself then settles it.
pub fn is_current(installed: &[Properties], in_app: Option<&Version>) -> Option<bool> {
    let running = running(installed)?;
    Some(running.version == *in_app?)
}

/// The one that runs, of several under one name: old ones wait to be removed.
pub fn running(installed: &[Properties]) -> Option<&Properties> {
    installed.iter().find(|it| it.enabled && !it.uninstalling)
}

/// What an upgrade needs beside the system: the trail, and a memory that outlives the program.
pub trait Shell {
    /// Whether a flow began since this was first asked.
    fn flow_arrived(&mut self) -> bool;
    /// Notes that our filter is about to be off, or is on again: should the program end in
    /// between, the next upgrade has to know.
    fn note_switched_off(&mut self, is_off: bool);
    /// What was noted last.
    fn was_left_off(&mut self) -> bool;
}

/// Replaces the running version. A flow is asked for until there is one or the time is over.
///
/// Must not be called on the main thread: see [`crate::main_loop`].
pub fn run(
    wanted: &Wanted<'_>,
    in_app: Option<&Version>,
    resets: Resets,
    timeouts: Timeouts,
    shell: &mut dyn Shell,
) -> Report {
    let mut plan = Plan::default();
    loop {
        match plan.next_step() {
            Step::Survey => plan.surveyed(survey(timeouts), shell.was_left_off()),
            Step::Disable => {
                shell.note_switched_off(true);
                plan.disabled(disable(timeouts));
            }
            Step::Replace => plan.replaced(replace(wanted.extension, timeouts)),
            Step::Enable => plan.enabled(enable(wanted, timeouts)),
            Step::Prove => plan.proven(prove(timeouts, shell)),
            Step::Finish => break,
        }
        if !plan.left_disabled() {
            shell.note_switched_off(false);
        }
    }
    let ending = plan.ending();
    Report {
        receipt: receipt(&ending, in_app, resets),
        ending,
        left_disabled: plan.left_disabled(),
        troubles: plan.troubles().to_vec(),
    }
}

fn survey(timeouts: Timeouts) -> Result<(Owner, bool), String> {
    let state = filter::read(timeouts.filter).map_err(|error| error.to_string())?;
    Ok((state.owner, state.enabled))
}

fn disable(timeouts: Timeouts) -> Disabled {
    match filter::disable(timeouts.filter) {
        Ok(filter::Change::LeftToProfile(_)) => Disabled::NotOurs,
        Ok(filter::Change::Made(_) | filter::Change::None(_)) => Disabled::Done,
        Err(error) if error.says_not_ours() => Disabled::NotOurs,
        Err(error) => Disabled::Unclear(error.to_string()),
    }
}

fn replace(extension: &str, timeouts: Timeouts) -> Replaced {
    let options = extension::Options {
        timeout: timeouts.request,
        approval: Approval::Leave,
    };
    let request = extension::Request::Activate(Replace::Allowed);
    match extension::submit(extension, request, options) {
        Ok(Outcome::Done { replaced: None } | Outcome::Found(_)) => Replaced::Done(None),
        Ok(Outcome::Done { replaced }) => Replaced::Done(replaced),
        Ok(Outcome::AfterReboot { replaced }) => Replaced::AfterReboot(replaced),
        Ok(Outcome::AwaitingApproval) => Replaced::AwaitingApproval,
        Err(error) => Replaced::Failed(error.to_string()),
    }
}

fn enable(wanted: &Wanted<'_>, timeouts: Timeouts) -> Result<(), String> {
    let change = filter::enable(wanted, timeouts.filter).map_err(|error| error.to_string())?;
    match change.state().enabled {
        true => Ok(()),
        false => Err("a profile owns the filter now, and it is switched off".to_owned()),
    }
}

fn prove(timeouts: Timeouts, shell: &mut dyn Shell) -> bool {
    let begun = Instant::now();
    loop {
        if shell.flow_arrived() {
            return true;
        }
        let left = timeouts.proof.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return false;
        }
        thread::sleep(timeouts.proof_step.min(left));
    }
}

fn receipt(ending: &Ending, in_app: Option<&Version>, resets: Resets) -> Option<ExtensionReplaced> {
    let (replacement, resets, flows_arrive) = match ending {
        Ending::Replaced {
            replacement,
            flows_arrive,
        } => (replacement, resets, Some(*flows_arrive)),
        // The start of the machine ends all connections anyway.
        Ending::AfterReboot(replacement) => (replacement, Resets::default(), None),
        Ending::AwaitingApproval | Ending::Failed => return None,
    };
    let told = replacement
        .as_ref()
        .map(|Replacement { from, to }| (from, to));
    let to = told.map(|(_, to)| to).or(in_app);
    Some(ExtensionReplaced {
        from: told.map(|(from, _)| from.to_string()),
        to: to.map_or("not known".to_owned(), Version::to_string),
        reset_estimate: resets.count,
        by_app: resets.by_app,
        flows_arrive,
    })
}

/// What came of it, in sentences.
pub fn report_words(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report.troubles.clone();
    lines.push(match &report.ending {
        Ending::Replaced {
            flows_arrive: true, ..
        } => format!("{} Flows arrive.", replaced_words(report)),
        Ending::Replaced {
            flows_arrive: false,
            ..
        } => format!(
            "{} But no flow has arrived since. That has been reported after several upgrades in \
             a row, until the machine was restarted: see `conntrail status` in a few minutes, and \
             restart the machine if it still sees nothing.",
            replaced_words(report)
        ),
        Ending::AfterReboot(_) => {
            "The new version runs after the next start of the machine.".to_owned()
        }
        Ending::AwaitingApproval => extension_approval().to_owned(),
        Ending::Failed => "The version was not replaced.".to_owned(),
    });
    if report.left_disabled {
        lines.push(
            "THE FILTER MAY BE SWITCHED OFF: nothing is recorded while it is. Run \
             `conntrail activate`."
                .to_owned(),
        );
    }
    lines
}

/// Where the user approves an extension.
pub fn extension_approval() -> &'static str {
    "The extension waits for approval: System Settings, General, Login Items & Extensions, Network \
     Extensions (before macOS 15: Privacy & Security). On a managed machine the payload \
     com.apple.system-extension-policy approves it without a question."
}

fn replaced_words(report: &Report) -> String {
    let Some(receipt) = &report.receipt else {
        return "The new version runs.".to_owned();
    };
    let from = receipt.from.as_ref();
    let from = from.map_or(String::new(), |from| format!(" in place of {from}"));
    format!(
        "Version {} runs{from}; about {} TCP connections were reset.",
        receipt.to, receipt.reset_estimate
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Process, Record, sample};
    use std::sync::Arc;

    fn connections() -> Vec<Connection> {
        let records = sample::closes(7, 500).into_iter();
        let connection = |record| match record {
            Record::Connection(connection) => connection,
            Record::Notice(_) => unreachable!("closes are connections"),
        };
        records.map(connection).collect()
    }

    #[test]
    fn by_default_every_step_has_minutes_at_most() {
        let Timeouts {
            filter,
            request,
            proof,
            proof_step,
        } = Timeouts::default();
        let all = [filter, request, proof, proof_step];
        assert!(all.iter().all(|it| *it <= Duration::from_secs(120)));
        assert!(proof_step < proof / 10);
    }

    fn of_app(app: &str) -> Connection {
        let mut connection = connections().remove(0);
        let mut process = Process::clone(connection.process.as_deref().unwrap());
        process.name = Some(app.into());
        connection.process = Some(Arc::new(process));
        connection.responsible = None;
        connection.protocol = Protocol::Tcp;
        connection
    }

    // facts: crash-resets-connections
    #[test]
    fn only_tcp_connections_are_reset_and_none_is_counted_twice() {
        let all = connections();
        let tcp = all.iter().filter(|it| it.protocol == Protocol::Tcp).count();
        let resets = resets(&all);
        assert_eq!(resets.count, tcp as u64);
        assert!(tcp < all.len(), "the sample has others too");
        assert_eq!(
            resets.by_app.iter().map(|it| it.count).sum::<u64>(),
            tcp as u64
        );
    }

    #[test]
    fn the_app_on_whose_behalf_it_is_counts() {
        let mut connection = of_app("nsurlsessiond");
        connection.responsible = of_app("Mail").process;
        let mut unknown = of_app("x");
        unknown.process = None;
        let resets = resets([&connection, &connection, &unknown]);
        let told: Vec<_> = resets
            .by_app
            .iter()
            .map(|it| (&*it.app, it.count))
            .collect();
        assert_eq!(told, [("Mail", 2), ("not known", 1)]);
    }

    #[test]
    fn many_apps_are_summed_and_the_most_come_first() {
        let mut all = vec![of_app("busy"), of_app("busy")];
        all.extend((0..30).map(|number| of_app(&format!("app{number:02}"))));
        let resets = resets(&all);
        assert_eq!(resets.by_app.len(), APPS_MAX + 1);
        assert_eq!(resets.by_app[0].app, "busy");
        assert_eq!(resets.by_app[1].app, "app00");
        let rest = resets.by_app.last().unwrap();
        assert_eq!((&*rest.app, rest.count), (OTHER, 11));
        assert_eq!(resets.count, 32);
    }

    fn version(text: &str) -> Version {
        Version {
            short: text.to_owned(),
            build: text.to_owned(),
        }
    }

    // facts: replaced-but-no-flows
    #[test]
    fn an_old_copy_that_waits_to_be_removed_is_not_the_one_that_runs() {
        let old = Properties {
            identifier: "org.example".to_owned(),
            version: version("1"),
            enabled: true,
            awaiting_approval: false,
            uninstalling: true,
        };
        let new = Properties {
            version: version("2"),
            uninstalling: false,
            ..old.clone()
        };
        let both = [old.clone(), new];
        assert_eq!(running(&both).unwrap().version, version("2"));
        assert_eq!(is_current(&both, Some(&version("2"))), Some(true));
        assert_eq!(is_current(&both, Some(&version("3"))), Some(false));
        assert_eq!(is_current(&both, None), None);
        assert_eq!(is_current(&[old], Some(&version("1"))), None);
    }

    #[test]
    fn a_receipt_says_what_is_known_and_no_more() {
        let resets = Resets {
            count: 3,
            by_app: vec![AppCount {
                app: "Mail".to_owned(),
                count: 3,
            }],
        };
        let replacement = Some(Replacement {
            from: version("1"),
            to: version("2"),
        });
        let done = Ending::Replaced {
            replacement: replacement.clone(),
            flows_arrive: true,
        };
        let told = receipt(&done, None, resets.clone()).unwrap();
        assert_eq!((told.from.as_deref(), &*told.to), (Some("1"), "2"));
        assert_eq!((told.reset_estimate, told.flows_arrive), (3, Some(true)));
        let later = receipt(&Ending::AfterReboot(replacement), None, resets.clone()).unwrap();
        assert_eq!((later.reset_estimate, later.flows_arrive), (0, None));
        let silent = Ending::Replaced {
            replacement: None,
            flows_arrive: false,
        };
        let told = receipt(&silent, Some(&version("2")), resets.clone()).unwrap();
        assert_eq!((told.from, &*told.to), (None, "2"));
        for ending in [Ending::AwaitingApproval, Ending::Failed] {
            assert_eq!(receipt(&ending, None, resets.clone()), None);
        }
    }

    #[test]
    fn a_filter_that_may_be_off_is_shouted_about() {
        let report = Report {
            ending: Ending::Failed,
            receipt: None,
            left_disabled: true,
            troubles: vec!["it was busy".to_owned()],
        };
        let lines = report_words(&report);
        assert_eq!(lines[0], "it was busy");
        assert!(lines.last().unwrap().contains("SWITCHED OFF"), "{lines:?}");
        let mute = Report {
            ending: Ending::Replaced {
                replacement: None,
                flows_arrive: false,
            },
            left_disabled: false,
            troubles: Vec::new(),
            receipt: None,
        };
        assert!(report_words(&mute)[0].contains("restart the machine"));
    }
}
