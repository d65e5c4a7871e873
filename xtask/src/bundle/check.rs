//! Looking at what was made, with code that did not make it.

use super::{Plan, unsigned};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use mdm::jobs::JOBS;
use packaging::inspect::{Expected, inspect};

/// Fails when anything in the folder is not as it must be.
pub(super) fn all(workspace: &Workspace, plan: &Plan) -> Result<()> {
    println!("looking at what was made");
    unsigned::look_at(workspace, &plan.app(), &plan.identity)?;
    let findings = inspect(
        &plan.output.path,
        &Expected {
            identity: &plan.identity,
            version: plan.version,
            variant: plan.variant,
            jobs: JOBS,
        },
    );
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(|it| format!("- {it}")).collect();
    bail!(
        "what was made is not as it must be, so do not use it:\n{}",
        lines.join("\n")
    )
}
