//! A fleet on this machine: simulated endpoints, and the real engines on the fleet's side.

use crate::engines;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

// The group would else have the name of the one that it is flattened into.
/// What is simulated.
#[derive(clap::Args)]
#[group(id = "fleet")]
pub(super) struct Options {
    /// How many machines the fleet has.
    #[arg(long, default_value_t = 2_000)]
    endpoints: u64,
    /// How many records a machine of the fleet makes in its day.
    #[arg(long, default_value_t = 300)]
    records: u64,
    /// How long the fleet's day takes here, in seconds.
    #[arg(long, default_value_t = 100)]
    seconds: u64,
    /// Instead of a fleet's day: how one shipper drains what one machine has left behind.
    #[arg(long)]
    backlog: bool,
    /// How many hours of it, at 100 connections a second.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// After a fleet's day: of so many records, what a collector costs beside the shipper; 0 for
    /// none.
    #[arg(long, default_value_t = 100_000)]
    collector_records: u64,
}

/// Where engines and trails are, unless `TMPDIR` says otherwise: three copies of each message are
/// synced one by one, and what is measured is not the disk.
const MEMORY: &str = "/dev/shm";

/// Builds the simulation and the shipper, starts the engines and runs it; fails where the store
/// does not have each record once, or the ledger something that is unexplained.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let variables = match engines::simulation(workspace)? {
        Ok(variables) => variables,
        Err(missing) => bail!("{}; fix: {}", missing.reason, missing.fix),
    };
    let mut build = process::cargo();
    build.current_dir(&workspace.root).args([
        "build",
        "--release",
        "--package=conntrail-ship",
        "--bin=conntrail-ship",
        "--example=fleet_simulation",
    ]);
    process::run(&mut build)?;
    let binaries = workspace.target.join("release");
    let mut fleet = Command::new(binaries.join("examples/fleet_simulation"));
    fleet
        .arg(binaries.join("conntrail-ship"))
        .arg(format!("--endpoints={}", options.endpoints))
        .arg(format!("--records={}", options.records))
        .arg(format!("--seconds={}", options.seconds))
        .arg(format!("--hours={}", options.hours))
        .arg(format!("--collector-records={}", options.collector_records))
        .args(options.backlog.then_some("--backlog"))
        .envs(variables);
    if env::var_os("TMPDIR").is_none() && Path::new(MEMORY).exists() {
        fleet.env("TMPDIR", MEMORY);
    }
    Ok(match fleet.status()?.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
