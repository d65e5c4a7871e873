//! `cargo xtask sim`: lives of a recorder on simulated machines and disks, and planted bugs that
//! those must find.

use crate::duration;
use crate::faults::{self, Fault, Garden};
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The planted bugs, relative to the root.
const BUGS: &str = "crates/sim/bugs.toml";

/// Fewer would not say much about the simulator.
const BUGS_MIN: usize = 12;

/// The seeds that each planted bug gets.
const SEEDS_PLANTED: u64 = 400;

/// Optimized enough, and built in half the time of a release.
const PROFILE: &str = "quick";

/// What `cargo xtask sim` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many seeds; without --seconds 1,000.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long)]
    from: Option<u64>,
    /// Only this one.
    #[arg(long, conflicts_with_all = ["seeds", "from", "seconds"])]
    seed: Option<u64>,
    /// Tell what happened at the end of this seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Begin no seed after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Plant bugs, one at a time, in a copy of the tree, and say which are found.
    #[arg(long, conflicts_with_all = ["seed", "seconds"])]
    planted: bool,
    /// Only the bugs whose name contains this.
    #[arg(long, requires = "planted")]
    bug: Option<String>,
}

/// `cargo xtask sim`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if options.planted {
        return plant_all(workspace, options);
    }
    let mut command = Command::new(build(&workspace.root, &workspace.target)?);
    let numbers = [
        ("--seeds", options.seeds),
        ("--from", options.from),
        ("--seed", options.seed),
        ("--seconds", options.seconds),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            command.args([name, &number.to_string()]);
        }
    }
    command.args(options.trace.then_some("--trace"));
    let status = command.status().context("cannot start the simulator")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the simulator of the tree at `root`; returns where it is.
pub(crate) fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    let mut command = process::cargo();
    command
        .current_dir(root)
        .env("CARGO_TARGET_DIR", target)
        .args(["build", "--quiet", "--profile", PROFILE])
        .args(["--package", "sim", "--bin", "sim"])
        .stdin(Stdio::null());
    process::run(&mut command)?;
    Ok(target.join(PROFILE).join("sim"))
}

/// How many seeds found a bug.
struct Found {
    failed: u64,
    seeds: u64,
    first: Option<(u64, String)>,
}

fn plant_all(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let bugs = faults::load_list(&workspace.root, BUGS, BUGS_MIN)?;
    let garden = Garden::lay_out(workspace, "sim")?;
    let started = Instant::now();
    let seeds = options.seeds.unwrap_or(SEEDS_PLANTED);
    let from = options.from.unwrap_or(0);
    let healthy = live(&garden, from, seeds)?;
    if let Some((seed, what)) = healthy.first {
        bail!("without any bug seed {seed} fails: {what}");
    }
    println!("| bug | found by | first seed | what it says |\n|---|---|---|---|");
    println!("| none | 0 of {seeds} | | |");
    let is_chosen = |bug: &&Fault| {
        let part = options.bug.as_deref();
        part.is_none_or(|part| bug.name.contains(part))
    };
    let mut unfound = 0;
    for bug in bugs.iter().filter(is_chosen) {
        let found = garden.with(bug, || live(&garden, from, seeds))?;
        unfound += usize::from(found.first.is_none());
        println!("{}", found.row(&bug.name));
    }
    println!("\n{} in all", duration::show(started.elapsed()));
    Ok(if unfound == 0 {
        ExitCode::SUCCESS
    } else {
        println!("{unfound} bugs were not found");
        ExitCode::FAILURE
    })
}

fn live(garden: &Garden, from: u64, seeds: u64) -> Result<Found> {
    let program = build(garden.tree(), garden.target())?;
    let mut command = Command::new(program);
    command.args(["--brief", "--from", &from.to_string()]);
    let printed = process::read(command.args(["--seeds", &seeds.to_string()]))?;
    Found::parse(&printed).with_context(|| format!("the simulator printed {printed}"))
}

impl Found {
    fn parse(printed: &str) -> Option<Found> {
        let mut fields = printed.trim_end().split('\t');
        let failed = fields.next()?.parse().ok()?;
        let seeds = fields.next()?.parse().ok()?;
        let seed = fields.next().and_then(|seed| seed.parse().ok());
        let first = seed.zip(fields.next().map(str::to_owned));
        Some(Found {
            failed,
            seeds,
            first,
        })
    }

    fn row(&self, name: &str) -> String {
        let name = name.replace('_', " ");
        let (failed, seeds) = (self.failed, self.seeds);
        match &self.first {
            None => format!("| {name} | NONE of {seeds} | | |"),
            Some((seed, what)) => {
                let what: String = what.chars().take(SHOWN_CHARS).collect();
                let what = what.replace('|', "/");
                format!("| {name} | {failed} of {seeds} | {seed} | {what} |")
            }
        }
    }
}

const SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_simulator_prints_becomes_a_row() {
        let none = Found::parse("0\t400\t\n").expect("it is well-formed");
        assert_eq!(none.row("a_b"), "| a b | NONE of 400 | | |");
        let some = Found::parse("7\t400\t12\tit is gone\n").expect("it is well-formed");
        assert_eq!(some.row("a_b"), "| a b | 7 of 400 | 12 | it is gone |");
        assert!(Found::parse("nonsense").is_none());
    }
}
