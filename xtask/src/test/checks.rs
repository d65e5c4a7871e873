//! The checks that are no tests: the format, the lints, the rules of the house.

use super::report::{self, Report, Verdict};
use crate::workspace::Workspace;
use crate::{install, process, tidy};
use anyhow::Result;
use std::process::Command;
use std::time::Instant;

/// The group and the name of the building of the tests.
pub(super) const GROUP_BUILD: &str = "build";
/// See [`GROUP_BUILD`].
pub(super) const NAME_BUILD: &str = "check::build";
/// The group and the name of the comparison with the committed list.
pub(super) const GROUP_NAMES: &str = "names";
/// See [`GROUP_NAMES`].
pub(super) const NAME_NAMES: &str = "check::names";

const NAME_FORMAT: &str = "check::format";
const NAME_LINTS: &str = "check::lints";

/// The names of all checks, for the list.
pub(super) fn names() -> Vec<String> {
    let own = [NAME_BUILD, NAME_FORMAT, NAME_LINTS, NAME_NAMES];
    let tidy = tidy::CHECKS.iter().map(|check| tidy_name(check.name));
    own.into_iter().map(str::to_owned).chain(tidy).collect()
}

/// Runs those that need no test program, the quickest first.
pub(super) fn run(workspace: &Workspace, report: &mut Report) -> Result<()> {
    format(workspace, report);
    rules(workspace, report)?;
    lints(workspace, report);
    Ok(())
}

fn format(workspace: &Workspace, report: &mut Report) {
    report::announce("format");
    let started = Instant::now();
    let mut command = process::cargo();
    command
        .current_dir(&workspace.root)
        .args(["fmt", "--all", "--check"]);
    let verdict = component("fmt", "rustfmt", &mut command);
    report.add("format", NAME_FORMAT, verdict);
    report.spent("format", started.elapsed());
}

fn rules(workspace: &Workspace, report: &mut Report) -> Result<()> {
    report::announce("tidy");
    let started = Instant::now();
    for (check, findings) in tidy::find_all(workspace)? {
        tidy::report(check, &findings);
        let verdict = if findings.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        report.add("tidy", tidy_name(check), verdict);
    }
    report.spent("tidy", started.elapsed());
    Ok(())
}

fn lints(workspace: &Workspace, report: &mut Report) {
    report::announce("lints");
    let started = Instant::now();
    let mut command = process::cargo();
    command
        .current_dir(&workspace.root)
        .args(["clippy", "--workspace", "--all-targets"]);
    command.args(["--", "--deny", "warnings"]);
    let verdict = component("clippy", "clippy", &mut command);
    report.add("lints", NAME_LINTS, verdict);
    report.spent("lints", started.elapsed());
}

fn component(subcommand: &str, name: &str, command: &mut Command) -> Verdict {
    if let Err(missing) = install::component(subcommand, name) {
        return Verdict::Skipped(missing);
    }
    match process::run(command) {
        Ok(()) => Verdict::Passed,
        Err(error) => {
            println!("{error:#}");
            Verdict::Failed
        }
    }
}

fn tidy_name(check: &str) -> String {
    format!("check::tidy::{check}")
}
