//! The examples in the documentation, which rustdoc compiles and runs.

use super::libtest::{self, Verdict};
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Runs them all.
pub(super) fn run(
    workspace: &Workspace,
    log: &Path,
    limit: Duration,
) -> Result<BTreeMap<String, Verdict>> {
    let ended = process::run_logged(&mut command(workspace), log, limit)?;
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let found = libtest::verdicts(&String::from_utf8_lossy(&bytes));
    let all_ran = matches!(ended, process::Ended::Exited(status) if status.success());
    let all_passed = found.values().all(|verdict| *verdict != Verdict::Failed);
    if all_passed && !all_ran {
        libtest::print_failures(log)?;
        bail!("rustdoc failed without saying which example is to blame");
    }
    let names = name(found.keys().map(String::as_str));
    Ok(names
        .into_iter()
        .map(|(name, full)| (name, found[full]))
        .collect())
}

/// Their names.
pub(super) fn list(workspace: &Workspace) -> Result<Vec<String>> {
    let output = process::read(command(workspace).args(["--", "--list", "--format", "terse"]))?;
    Ok(name(libtest::listed(&output))
        .into_iter()
        .map(|(name, _)| name)
        .collect())
}

fn command(workspace: &Workspace) -> Command {
    let mut command = process::cargo();
    command
        .current_dir(&workspace.root)
        .args(["test", "--workspace", "--doc", "--no-fail-fast"]);
    command
}

/// Names that survive an edit above the example: rustdoc's own contain line numbers.
fn name<'a>(full: impl Iterator<Item = &'a str>) -> Vec<(String, &'a str)> {
    let mut examples: Vec<(String, usize, &str)> =
        full.map(|full| (item(full), line(full), full)).collect();
    examples.sort();
    let mut named: Vec<(String, &str)> = Vec::new();
    let mut count = 0;
    let mut last = None;
    for (item, _, full) in &examples {
        count = if last == Some(item) { count + 1 } else { 1 };
        last = Some(item);
        let suffix = if count == 1 {
            String::new()
        } else {
            format!("#{count}")
        };
        named.push((format!("{item}{suffix}"), full));
    }
    named
}

/// `crates/flow/src/table.rs - table::Flow (line 9)` is `flow::doc::table::Flow`.
fn item(full: &str) -> String {
    let (file, rest) = full.split_once(" - ").unwrap_or((full, ""));
    let item = rest.split("(line").next().unwrap_or_default().trim();
    let directory = file.split("/src/").next().unwrap_or(file);
    let package = directory.rsplit('/').next().unwrap_or(directory);
    format!(
        "{package}::doc::{}",
        if item.is_empty() { "crate" } else { item }
    )
}

fn line(full: &str) -> usize {
    let digits = full
        .rsplit_once("(line ")
        .and_then(|(_, rest)| rest.split(')').next());
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_change_with_the_lines() {
        let full = [
            "crates/flow/src/table.rs - table::Flow (line 12)",
            "crates/flow/src/table.rs - table::Flow (line 9)",
            "crates/flow/src/lib.rs - (line 3) - compile",
        ];
        let expected = [
            ("flow::doc::crate".to_owned(), full[2]),
            ("flow::doc::table::Flow".to_owned(), full[1]),
            ("flow::doc::table::Flow#2".to_owned(), full[0]),
        ];
        assert_eq!(name(full.into_iter()), expected);
    }
}
