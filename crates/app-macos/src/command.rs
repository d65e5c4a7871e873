//! What the commands of the container app do, from the first question to the last word.
//!
//! Each ends with lines for people and a [`Code`] for scripts. They must not be called on the main
//! thread: see [`crate::main_loop`].

use crate::extension::{self, Approval, Options, Outcome, Properties, Replace, Request, Version};
use crate::filter::{self, Change, Owner, Wanted};
use crate::management::{CONTENT_FILTER, Management, Permission};
use crate::moment::{Decision, Moment, Situation, When, decide};
use crate::neighbours::Neighbours;
use crate::status::{Evidence, Health, SILENCE_MAX, Status};
use crate::upgrade::{self, Ending, Report, Resets, Timeouts};
use crate::words;
use record::{ExtensionReplaced, Stamp};
use std::thread;
use std::time::{Duration, Instant};

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Done, or it was so already; for `status`: there is no reason to worry.
    Done,
    /// It could not be done.
    Failed,
    /// The user, or device management, must approve the extension first.
    AwaitingApproval,
    /// It is done at the next start of the machine.
    AfterReboot,
    /// The moment has not come.
    NotYet,
    /// Flows do not arrive.
    Unhealthy,
}

impl Code {
    /// The exit code of the program. 2 is what wrong arguments give.
    pub fn number(self) -> u8 {
        match self {
            Code::Done => 0,
            Code::Failed => 1,
            Code::AwaitingApproval => 3,
            Code::AfterReboot => 4,
            Code::NotYet => 5,
            Code::Unhealthy => 6,
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// For people.
    pub lines: Vec<String>,
    /// For scripts.
    pub code: Code,
}

impl Told {
    fn new(code: Code, line: impl Into<String>) -> Told {
        Told {
            lines: vec![line.into()],
            code,
        }
    }
}

/// Who sees to the filter's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterBy {
    /// This app, unless a profile already has.
    App,
    /// Device management, with a profile that may come later: this app never saves one.
    Profile,
}

/// Activates the extension, and sees to it that the filter is on.
///
/// Another version that runs is left alone: replacing it is for [`upgrade`].
pub fn activate(
    wanted: &Wanted<'_>,
    by: FilterBy,
    options: Options,
    filter_timeout: Duration,
) -> Told {
    let request = Request::Activate(Replace::Refused);
    match extension::submit(wanted.extension, request, options) {
        Ok(Outcome::AfterReboot { .. }) => Told::new(
            Code::AfterReboot,
            "The extension will be active after the next start of the machine.",
        ),
        Ok(Outcome::AwaitingApproval) => {
            Told::new(Code::AwaitingApproval, upgrade::extension_approval())
        }
        Ok(Outcome::Done { .. } | Outcome::Found(_)) => {
            let mut told = switch_on(wanted, by, filter_timeout);
            told.lines.insert(0, "The extension is active.".to_owned());
            told
        }
        Err(error @ extension::Error::NotReplaced(_)) => Told::new(Code::NotYet, error.to_string()),
        Err(error) => Told::new(Code::Failed, error.to_string()),
    }
}

/// As [`activate`], where device management allows the extension; where not, nothing is asked of
/// the system, which would ask the user. The filter is left to a profile for the same reason:
/// saving a configuration asks the user.
pub fn activate_if_managed(
    wanted: &Wanted<'_>,
    management: &Management,
    options: Options,
    filter_timeout: Duration,
) -> Told {
    if let Some(told) = not_managed(wanted.extension, management) {
        return told;
    }
    let mut told = activate(wanted, FilterBy::Profile, options, filter_timeout);
    if !management.filter {
        told.lines.push(format!(
            "No payload {CONTENT_FILTER} names {} yet: install the profile with it.",
            wanted.extension
        ));
    }
    told
}

/// What to do where device management does not allow the extension; `None` where it does.
fn not_managed(extension: &str, management: &Management) -> Option<Told> {
    let (code, why) = match &management.extension {
        Permission::Granted => return None,
        Permission::Missing(why) => (
            Code::AwaitingApproval,
            format!("Device management does not allow {extension} yet: {why}."),
        ),
        Permission::Unknown(why) => (
            Code::Failed,
            format!("Whether device management allows {extension} is not known: {why}."),
        ),
    };
    let lines = vec![
        why,
        "Nothing was asked of the system. Install the profile that allows the extension, then run \
         `sudo conntrail activate --only-if-managed`; without device management, run \
         `conntrail activate`, which asks the user."
            .to_owned(),
    ];
    Some(Told { lines, code })
}

fn switch_on(wanted: &Wanted<'_>, by: FilterBy, timeout: Duration) -> Told {
    let state = match by {
        FilterBy::App => filter::enable(wanted, timeout).map(|change| change.state().clone()),
        FilterBy::Profile => filter::read(timeout),
    };
    match state {
        Ok(state) => switched(&state),
        Err(error) => Told::new(Code::Failed, error.to_string()),
    }
}

fn switched(state: &filter::State) -> Told {
    match (state.owner, state.enabled) {
        (Owner::Profile, true) => Told::new(
            Code::Done,
            "The filter is on; a configuration profile owns it.",
        ),
        (Owner::Profile, false) => Told::new(
            Code::Failed,
            "A configuration profile owns the filter and it is OFF: only device management can \
             switch it on.",
        ),
        (Owner::App | Owner::Nobody, true) => Told::new(Code::Done, "The filter is on."),
        // Whoever switches it on himself has an error instead.
        (Owner::App | Owner::Nobody, false) => Told::new(
            Code::Done,
            "No configuration profile is installed yet; the filter begins when one is.",
        ),
    }
}

/// Removes the filter's configuration, unless a profile owns it, and then the extension.
pub fn deactivate(identifier: &str, options: Options, filter_timeout: Duration) -> Told {
    const LEFT_TO_PROFILE: &str = "A configuration profile owns the filter's configuration and it \
                                   stays: remove the profile by device management.";
    let filter = match filter::remove(filter_timeout) {
        Ok(Change::LeftToProfile(_)) => LEFT_TO_PROFILE,
        Ok(Change::Made(_)) => "The filter's configuration is removed.",
        Ok(Change::None(_)) => "There was no configuration of the filter.",
        Err(error) if error.says_not_ours() => LEFT_TO_PROFILE,
        // The extension is not taken away under a filter of ours that may be on.
        Err(error) => return Told::new(Code::Failed, error.to_string()),
    };
    let mut lines = vec![filter.to_owned()];
    let (code, line) = match extension::submit(identifier, Request::Deactivate, options) {
        Ok(Outcome::AfterReboot { .. }) => (
            Code::AfterReboot,
            "The extension is removed at the next start of the machine.".to_owned(),
        ),
        Ok(Outcome::AwaitingApproval) => (
            Code::AwaitingApproval,
            "The system waits for the user's approval.".to_owned(),
        ),
        Ok(Outcome::Done { .. } | Outcome::Found(_)) => {
            (Code::Done, "The extension is removed.".to_owned())
        }
        Err(error) => (Code::Failed, error.to_string()),
    };
    lines.push(line);
    Told { lines, code }
}

/// How things stand. `evidence` is what the trail tells, or why it cannot be read.
pub fn status(
    identifier: Result<&str, String>,
    evidence: Result<&Evidence, String>,
    neighbours: Neighbours,
    timeout: Duration,
    now: Stamp,
) -> Status {
    let extension = identifier
        .and_then(|identifier| installed(identifier, timeout).map_err(|error| error.to_string()));
    Status {
        extension,
        filter: filter::read(timeout).map_err(|error| error.to_string()),
        breaker: evidence.as_ref().ok().and_then(|it| it.breaker()),
        health: match evidence {
            Ok(evidence) => evidence.health(now, SILENCE_MAX),
            Err(trouble) => Health::NoTrail(trouble),
        },
        neighbours,
        now,
    }
}

/// What a status is to scripts.
pub fn status_code(status: &Status) -> Code {
    match status.health.is_fine() {
        true => Code::Done,
        false => Code::Unhealthy,
    }
}

fn installed(identifier: &str, timeout: Duration) -> Result<Vec<Properties>, extension::Error> {
    let options = Options {
        timeout,
        approval: Approval::Wait,
    };
    match extension::submit(identifier, Request::Properties, options)? {
        Outcome::Found(found) => Ok(found),
        Outcome::Done { .. } | Outcome::AfterReboot { .. } | Outcome::AwaitingApproval => {
            Ok(Vec::new())
        }
    }
}

/// What an upgrade needs of the rest of the program: the trail, the clocks, the terminal.
pub trait Surroundings: upgrade::Shell {
    /// What is known about the moment.
    fn situation(&mut self) -> Situation;
    /// The connections that are open now and would be reset.
    fn resets(&mut self) -> Resets;
    /// Writes the receipt into the trail of upgrades.
    ///
    /// # Errors
    /// When it cannot be written, in a sentence.
    fn keep(&mut self, receipt: &ExtensionReplaced) -> Result<(), String>;
    /// The moment that is configured.
    fn configured(&mut self) -> Moment;
    /// What device management allows.
    fn management(&mut self) -> Management;
    /// Says something before the command ends.
    fn tell(&mut self, line: &str);
}

/// What to upgrade to, and when.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    /// The extension, and the filter's configuration.
    pub wanted: Wanted<'a>,
    /// The version in this app, where it is known.
    pub in_app: Option<&'a Version>,
    /// The moment to wait for. Whoever leaves it to the settings leaves the first activation to
    /// device management too: where no version runs, nothing happens that would ask the user.
    pub when: When,
    /// How long to wait for it.
    pub patience: Duration,
    /// How long each part may take.
    pub timeouts: Timeouts,
}

/// How often to ask whether device management allows the extension by now.
const MANAGEMENT_STEP: Duration = Duration::from_secs(900);

/// Replaces the running version with the one in this app, at the moment that was asked for.
pub fn upgrade(order: Upgrade<'_>, around: &mut dyn Surroundings) -> Told {
    let begun = Instant::now();
    let found = installed(order.wanted.extension, order.timeouts.filter);
    if let Err(error) = &found {
        // The request itself will tell.
        around.tell(&error.to_string());
    }
    let known = found.as_deref().unwrap_or_default();
    if upgrade::is_current(known, order.in_app) == Some(true) {
        return Told::new(Code::Done, "The version in this app runs already.");
    }
    let is_empty = found.is_ok() && known.iter().all(|it| it.uninstalling);
    if order.when == When::Configured && upgrade::running(known).is_none() {
        if let Some(told) = wait_for_management(&order, begun, around) {
            return told;
        }
        if is_empty {
            return first(&order, around);
        }
    } else if is_empty {
        return Told::new(
            Code::Failed,
            "There is nothing to replace: no version is installed. Run `conntrail activate`.",
        );
    }
    if let Some(told) = wait(&order, begun, around) {
        return told;
    }
    replace(&order, around)
}

fn replace(order: &Upgrade<'_>, around: &mut dyn Surroundings) -> Told {
    let resets = around.resets();
    around.tell(&resets_words(&resets));
    let report = upgrade::run(&order.wanted, order.in_app, resets, order.timeouts, around);
    let mut told = Told {
        lines: upgrade::report_words(&report),
        code: report_code(&report),
    };
    if let Some(Err(trouble)) = report.receipt.as_ref().map(|it| around.keep(it)) {
        told.lines
            .push(format!("The receipt could not be written: {trouble}"));
        told.code = Code::Failed;
    }
    told
}

/// Activates where nothing is installed; device management was asked already.
fn first(order: &Upgrade<'_>, around: &mut dyn Surroundings) -> Told {
    let options = Options {
        timeout: order.timeouts.request,
        approval: Approval::Leave,
    };
    let management = around.management();
    activate_if_managed(&order.wanted, &management, options, order.timeouts.filter)
}

/// Waits until device management allows the extension; `None` when it does.
fn wait_for_management(
    order: &Upgrade<'_>,
    begun: Instant,
    around: &mut dyn Surroundings,
) -> Option<Told> {
    let mut is_told = false;
    loop {
        let told = not_managed(order.wanted.extension, &around.management())?;
        let left = order.patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Some(told);
        }
        if !is_told {
            around.tell(&told.lines[0]);
            around.tell("Waiting for device management.");
            is_told = true;
        }
        thread::sleep(MANAGEMENT_STEP.min(left));
    }
}

/// Waits for the moment; `None` when it is there.
fn wait(order: &Upgrade<'_>, begun: Instant, around: &mut dyn Surroundings) -> Option<Told> {
    let mut told = None;
    loop {
        let moment = match order.when {
            When::At(moment) => moment,
            When::Configured => around.configured(),
        };
        let step = match decide(moment, around.situation()) {
            Decision::Go => return None,
            Decision::AfterReboot => {
                let line = "The version is replaced when this command is run after the next start \
                            of the machine.";
                return Some(Told::new(Code::NotYet, line));
            }
            Decision::Wait(step) => step,
        };
        let left = order.patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            let line = format!("The moment ({moment}) did not come within the time to wait.");
            return Some(Told::new(Code::NotYet, line));
        }
        if told != Some(moment) {
            around.tell(&format!("The version is replaced {moment}."));
            told = Some(moment);
        }
        thread::sleep(step.min(left));
    }
}

fn resets_words(resets: &Resets) -> String {
    let apps: Vec<String> = resets
        .by_app
        .iter()
        .map(|it| format!("{} {}", words::clean(&it.app), it.count))
        .collect();
    match apps.is_empty() {
        true => "No open TCP connection is known that this would reset.".to_owned(),
        false => format!(
            "About {} open TCP connections are reset by this: {}.",
            resets.count,
            apps.join(", ")
        ),
    }
}

fn report_code(report: &Report) -> Code {
    if report.left_disabled {
        return Code::Failed;
    }
    match report.ending {
        Ending::Replaced {
            flows_arrive: true, ..
        } => Code::Done,
        Ending::Replaced {
            flows_arrive: false,
            ..
        } => Code::Unhealthy,
        Ending::AfterReboot(_) => Code::AfterReboot,
        Ending::AwaitingApproval => Code::AwaitingApproval,
        Ending::Failed => Code::Failed,
    }
}
