//! What says whether the tests of the macOS adapter are good tests: that they execute its every
//! line, and that they notice mistakes.

use super::report::{self, Report, Verdict};
use crate::coverage;
use crate::faults::{self, Noticed};
use crate::workspace::Workspace;
use anyhow::Result;
use std::path::Path;
use std::time::Instant;

const GROUP_COVERAGE: &str = "coverage";
const GROUP_FAULTS: &str = "faults";
const NAME_COVERAGE: &str = "check::every_line_of_the_macos_adapter_is_executed";

/// The names of what is checked here, for the list.
pub(super) fn names(root: &Path) -> Result<Vec<String>> {
    let faults = faults::load(root)?;
    let names = faults.iter().map(|fault| name_of(&fault.name));
    Ok(names.chain([NAME_COVERAGE.to_owned()]).collect())
}

/// Notes that these are left to `--full`.
pub(super) fn defer(root: &Path, report: &mut Report) -> Result<()> {
    for name in names(root)? {
        let group = if name == NAME_COVERAGE {
            GROUP_COVERAGE
        } else {
            GROUP_FAULTS
        };
        report.add(group, name, Verdict::Deferred);
    }
    Ok(())
}

/// Measures the lines and plants the faults.
pub(super) fn run(workspace: &Workspace, report: &mut Report) -> Result<()> {
    lines(workspace, report);
    report::announce("planting faults in the macOS adapter");
    let started = Instant::now();
    let faults = faults::load(&workspace.root)?;
    let planted = faults::plant_all(workspace, &faults, |fault, noticed| {
        let verdict = if *noticed == Noticed::Nobody {
            Verdict::Failed
        } else {
            Verdict::Passed
        };
        report.add(GROUP_FAULTS, name_of(&fault.name), verdict);
    });
    if let Err(error) = planted {
        println!("{error:#}");
        for fault in &faults {
            report.add(GROUP_FAULTS, name_of(&fault.name), Verdict::Failed);
        }
    }
    report.spent(GROUP_FAULTS, started.elapsed());
    Ok(())
}

fn lines(workspace: &Workspace, report: &mut Report) {
    report::announce("counting the lines of the macOS adapter that tests execute");
    let started = Instant::now();
    let verdict = match coverage::check(workspace) {
        Ok(Ok(true)) => Verdict::Passed,
        Ok(Ok(false)) => Verdict::Failed,
        Ok(Err(missing)) => Verdict::Skipped(missing),
        Err(error) => {
            println!("{error:#}");
            Verdict::Failed
        }
    };
    report.add(GROUP_COVERAGE, NAME_COVERAGE, verdict);
    report.spent(GROUP_COVERAGE, started.elapsed());
}

fn name_of(fault: &str) -> String {
    format!("fault::{fault}")
}
