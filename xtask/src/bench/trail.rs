//! Records a second into the trail and out again, and bytes a record.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const ROUNDS: usize = 7;
const RECORDS: usize = 1_000_000;

/// Runs the trail's own measuring program some times and prints the median of each figure.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let arguments = [
        "build",
        "--release",
        "-p",
        "trail",
        "--example",
        "throughput",
    ];
    process::run(
        process::cargo()
            .current_dir(&workspace.root)
            .args(arguments),
    )?;
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (name, value) in parse(&measure(workspace)?)? {
            figures.entry(name).or_default().push(value);
        }
    }
    println!("trail: {RECORDS} made-up records, one thread, {ROUNDS} rounds");
    for (name, mut values) in figures {
        values.sort_by(f64::total_cmp);
        let (min, median, max) = (
            values[0],
            values[values.len() / 2],
            values[values.len() - 1],
        );
        println!("  {name:<32} min {min:>12.3}   median {median:>12.3}   max {max:>12.3}");
    }
    Ok(())
}

fn measure(workspace: &Workspace) -> Result<String> {
    let folder = workspace.target.join("bench/trail");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let program = workspace.target.join("release/examples/throughput");
    process::read(Command::new(program).arg(folder).arg(RECORDS.to_string()))
}

/// Reads lines of `what: figure=value figure=value`, or `figure=value`.
fn parse(text: &str) -> Result<Vec<(String, f64)>> {
    let mut figures = Vec::new();
    for line in text.lines() {
        let (what, rest) = line.split_once(": ").unwrap_or(("", line));
        for word in rest.split_whitespace() {
            let (name, value) = word
                .split_once('=')
                .with_context(|| format!("no figure: {word}"))?;
            let value = value
                .parse()
                .with_context(|| format!("no number: {word}"))?;
            figures.push((format!("{what} {name}").trim().to_owned(), value));
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_with_what_they_measure() {
        let figures = parse("write: cpu_us=0.5 per_s=2\nbytes=56.0\n").unwrap();
        let expected = [("write cpu_us", 0.5), ("write per_s", 2.0), ("bytes", 56.0)];
        assert_eq!(
            figures,
            expected.map(|(name, value)| (name.to_owned(), value))
        );
        assert!(parse("nonsense").is_err());
    }
}
