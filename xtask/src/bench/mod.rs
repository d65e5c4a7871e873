//! What recording costs, measured on the shipped programs and a real kernel; for macOS, on the
//! doubles of its tests.

mod cost;
mod fleet;
mod load;
mod memory;
mod ship;
mod totals;
mod trail;
mod verdict;

use crate::test::needs;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `cargo xtask bench` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure; everything but the fleet unless told.
    names: Vec<Name>,
    /// How many pairs of runs, without and with the recorder, the cost is the median of.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// How many connections each run makes; each has two ends, both recorded.
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// Also what SQLite and redb take for the same job as the trail; builds both.
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    fleet: fleet::Options,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Processor time for one recorded end of a connection.
    Cost,
    /// Records a second into the trail, and bytes a record; also on a quiet day.
    Trail,
    /// Memory of the recorder with 10,000 connections open.
    Memory,
    /// What it costs to look at 10,000 connections that carry nothing.
    Totals,
    /// Processor time and bytes of what is sent, in each format.
    Ship,
    /// What the macOS sensor costs, on the doubles of its tests.
    Verdict,
    /// A fleet of simulated machines through JetStream into ClickHouse, with everything broken.
    Fleet,
}

/// The programs that take part in a measurement, and a place for what they write.
struct Stage {
    recorder: PathBuf,
    tool: PathBuf,
    generator: PathBuf,
    state: PathBuf,
}

/// `cargo xtask bench`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let mut names = options.names.clone();
    if names.is_empty() {
        let all = Name::value_variants().iter();
        names = all.copied().filter(|it| *it != Name::Fleet).collect();
    }
    let mut ended = ExitCode::SUCCESS;
    for name in names {
        match name {
            Name::Cost => cost::run(&Stage::build(workspace)?, options)?,
            Name::Trail => trail::run(workspace, options.compare)?,
            Name::Memory => memory::run(&Stage::build(workspace)?)?,
            Name::Totals => totals::run(&Stage::build(workspace)?)?,
            Name::Ship => ship::run(workspace)?,
            Name::Verdict => verdict::run(workspace)?,
            Name::Fleet => ended = fleet::run(workspace, &options.fleet)?,
        }
    }
    Ok(ended)
}

impl Stage {
    fn build(workspace: &Workspace) -> Result<Stage> {
        if let Err(missing) = needs::real_kernel() {
            bail!("{}; fix: {}", missing.reason, missing.fix);
        }
        let binaries = needs::build_shipped(workspace)?;
        Ok(Stage {
            recorder: binaries.join("conntraild"),
            tool: binaries.join("conntrail"),
            generator: binaries.join("examples/ground_truth"),
            state: workspace.tools("bench")?,
        })
    }

    /// A fresh state directory: a trail of earlier runs would be work that is not the load's.
    fn clean_state(&self) -> Result<PathBuf> {
        if self.state.exists() {
            std::fs::remove_dir_all(&self.state)?;
        }
        std::fs::create_dir_all(&self.state)?;
        Ok(self.state.clone())
    }
}
