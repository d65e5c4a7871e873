//! Which version a build has: what people read from the manifest, what the system counts from the
//! history.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use packaging::version::{Short, Version};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How much a version may be trusted to rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// It will be installed somewhere.
    Released,
    /// It is thrown away.
    Thrown,
}

/// The version of this build.
///
/// # Errors
/// When it is to be released and another build could have the same.
pub(super) fn of(workspace: &Workspace, build: Option<u32>, care: Care) -> Result<Version> {
    let short: Short = workspace.version.parse()?;
    let history = history(&workspace.root);
    if let (Ok(history), Care::Released) = (&history, care) {
        history.must_be_clean()?;
    }
    let build = match (build, history, care) {
        (Some(build), _, _) => build,
        (None, Ok(history), Care::Thrown) => history.commits,
        (None, Ok(history), Care::Released) => history.whole()?,
        (None, Err(_), Care::Thrown) => 1,
        (None, Err(error), Care::Released) => {
            return Err(error.context("the commits cannot be counted; give a --build-number"));
        }
    };
    if build == 0 {
        bail!("the number of the build must be at least 1");
    }
    Ok(Version { short, build })
}

/// The version that an earlier report names.
pub(super) fn of_report(report: &Path) -> Result<Version> {
    let unclear = || format!("{} is no report of a bundle", report.display());
    let text = fs::read_to_string(report).with_context(unclear)?;
    let report: Value = serde_json::from_str(&text).with_context(unclear)?;
    let build = report["build"].as_u64().and_then(|it| it.try_into().ok());
    Ok(Version {
        short: report["version"].as_str().with_context(unclear)?.parse()?,
        build: build.with_context(unclear)?,
    })
}

struct History {
    commits: u32,
    is_shallow: bool,
    changes: String,
}

impl History {
    fn must_be_clean(&self) -> Result<()> {
        match self.changes.is_empty() {
            true => Ok(()),
            false => bail!(
                "there are changes that are not committed, so nobody could build the same again; \
                 commit them:\n{}",
                self.changes.trim_end()
            ),
        }
    }

    fn whole(&self) -> Result<u32> {
        match self.is_shallow {
            false => Ok(self.commits),
            true => bail!(
                "this is a shallow clone, in which commits cannot be counted: `git fetch \
                 --unshallow`, or give a --build-number that is higher than any before"
            ),
        }
    }
}

fn history(root: &Path) -> Result<History> {
    let ask =
        |arguments: &[&str]| process::read(Command::new("git").current_dir(root).args(arguments));
    Ok(History {
        commits: ask(&["rev-list", "--count", "HEAD"])?.trim().parse()?,
        is_shallow: ask(&["rev-parse", "--is-shallow-repository"])?.trim() == "true",
        changes: ask(&["status", "--porcelain"])?,
    })
}
