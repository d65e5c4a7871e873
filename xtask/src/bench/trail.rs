//! Records a second into the trail and out again, and bytes a record.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const ROUNDS: usize = 7;
const RECORDS: usize = 1_000_000;

/// What a quiet machine records in a day.
const QUIET_RECORDS: usize = 10_000;

/// Fewer than for the trail alone: the others take far more of the disk.
const COMPARED_RECORDS: usize = 500_000;

/// Runs the trail's own measuring programs and prints the median of each figure; those of other
/// stores too, if `compare`.
pub(super) fn run(workspace: &Workspace, compare: bool) -> Result<()> {
    let arguments = ["build", "--release", "-p", "trail", "--examples"];
    process::run(
        process::cargo()
            .current_dir(&workspace.root)
            .args(arguments),
    )?;
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let text = measure(workspace, "release/examples/throughput", RECORDS)?;
        for (name, value) in parse(&text)? {
            figures.entry(name).or_default().push(value);
        }
    }
    let cpu = |what: &str| figures.get(&format!("{what} cpu_us_per_record"));
    if let (Some(write), Some(read), Some(chain)) = (cpu("write"), cpu("read_raw"), cpu("chain")) {
        let both = write.iter().zip(read).map(|(write, read)| write + read);
        let unchained = write.iter().zip(chain).map(|(write, chain)| write - chain);
        let unchained: Vec<f64> = unchained.collect();
        let rates = unchained.iter().map(|cpu_us| 1e6 / cpu_us).collect();
        let more = [
            ("write + read_raw cpu_us_per_record", both.collect()),
            ("write - chain records_per_cpu_s", rates),
            ("write - chain cpu_us_per_record", unchained),
        ];
        figures.extend(more.map(|(name, values)| (name.to_owned(), values)));
    }
    println!("trail: {RECORDS} made-up records, one thread, {ROUNDS} rounds, chain and index on");
    print(figures);
    println!("trail: {QUIET_RECORDS} made-up records of a quiet day");
    print!(
        "{}",
        measure(workspace, "release/examples/quiet_day", QUIET_RECORDS)?
    );
    if compare {
        compare_stores(workspace)?;
    }
    Ok(())
}

fn print(figures: BTreeMap<String, Vec<f64>>) {
    for (name, mut values) in figures {
        values.sort_by(f64::total_cmp);
        let (min, median, max) = (
            values[0],
            values[values.len() / 2],
            values[values.len() - 1],
        );
        println!("  {name:<34} min {min:>12.3}   median {median:>12.3}   max {max:>12.3}");
    }
}

/// The same job done by other stores, in the same run.
fn compare_stores(workspace: &Workspace) -> Result<()> {
    let target = workspace.target.join("stores");
    let mut build = process::cargo();
    build
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(workspace.root.join("xtask/stores/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    process::run(&mut build)?;
    println!("stores: {COMPARED_RECORDS} made-up records in batches of 500, one thread");
    let text = measure(workspace, "stores/release/stores", COMPARED_RECORDS)?;
    print!("{text}");
    Ok(())
}

fn measure(workspace: &Workspace, program: &str, records: usize) -> Result<String> {
    let folder = workspace.target.join("bench/trail");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let program = workspace.target.join(program);
    process::read(Command::new(program).arg(folder).arg(records.to_string()))
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
