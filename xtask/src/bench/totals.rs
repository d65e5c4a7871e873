//! What it costs to look at what live connections have carried, when they carry nothing.

use super::Stage;
use super::load::{self, Held};
use crate::namespace::Namespace;
use crate::recorder::{Privilege, Recorder};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// A connection on one machine has two ends, and each is a live flow.
const FLOWS: usize = 10_000;

/// Until the recorder has read and written everything about the new connections.
const SETTLE: Duration = Duration::from_secs(5);

/// How long each run is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// An interval that makes many looks, and one that makes none.
const OFTEN_MS: u32 = 100;
const NEVER_MS: u32 = 3_600_000;

/// The interval unless told, which the share of a processor is of.
const DEFAULT_MS: u32 = 10_000;

/// Runs in turn, of which the median counts.
const PAIRS: usize = 3;

/// Measures and prints the cost of one look.
pub(super) fn run(stage: &Stage) -> Result<()> {
    let namespace = Namespace::make("totals")?;
    let mut load = load::on_processor(&namespace, 0, &stage.generator);
    load.args(["hold", "--count", &(FLOWS / 2).to_string()]);
    load.args(["--limit-seconds", "600"]);
    let held = Held::open(load)?;
    let mut looks_us = Vec::new();
    for _ in 0..PAIRS {
        let with_ns = spent_ns(stage, OFTEN_MS)?;
        let without_ns = spent_ns(stage, NEVER_MS)?;
        let looks = WATCHED.as_millis() as f64 / f64::from(OFTEN_MS);
        looks_us.push((with_ns as f64 - without_ns as f64) / 1_000.0 / looks);
    }
    drop(held);
    looks_us.sort_by(f64::total_cmp);
    let median_us = looks_us[PAIRS / 2];
    println!(
        "totals: {median_us:.0} µs for a look at {FLOWS} idle flows, {:.4} % of a processor \
         (pairs: {looks_us:.0?})",
        median_us / f64::from(DEFAULT_MS) / 10.0
    );
    Ok(())
}

/// Processor time that the recorder takes while nothing happens, what it does in the kernel
/// included.
fn spent_ns(stage: &Stage, interval_ms: u32) -> Result<u64> {
    let state = stage.clean_state()?;
    let config = state.join("conntrail.toml");
    fs::write(
        &config,
        format!("[sensor]\ntotals_interval_ms = {interval_ms}\n"),
    )?;
    let mut command = Command::new(&stage.recorder);
    command
        .args(["--sensor", "kernel", "--state-dir"])
        .arg(&state);
    command.arg("--config").arg(&config);
    let mut recorder = Recorder::start(command, &state, Privilege::Root)?;
    recorder.wait_until_ready(&AtomicBool::new(false))?;
    thread::sleep(SETTLE);
    let before = processor_ns(recorder.pid())?;
    thread::sleep(WATCHED);
    let spent = processor_ns(recorder.pid())? - before;
    recorder.stop()?;
    Ok(spent)
}

/// Of all threads; in nanoseconds, where `stat` has hundredths of a second.
fn processor_ns(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let file = task?.path().join("schedstat");
        let text = fs::read_to_string(&file)?;
        let spent = text.split_whitespace().next();
        let spent = spent.with_context(|| format!("{} is empty", file.display()))?;
        total += spent
            .parse::<u64>()
            .with_context(|| format!("{spent} is no time"))?;
    }
    Ok(total)
}
