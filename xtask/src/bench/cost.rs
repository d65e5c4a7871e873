//! Processor time for one recorded end of a connection.
//!
//! The same load runs without and with the recorder, in pairs and in turns, so that what changes
//! on the machine meanwhile hits both. What counts is everything: the load's own processor time,
//! in which the kernel program's work hides, and the recorder's.

use super::{Options, Stage, load};
use crate::namespace::Namespace;
use crate::process;
use crate::recorder::{Privilege, Recorder};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// Connections from a loop, which cost least themselves, and from a process each, which is the
/// most work for the recorder.
const MODES: &[&str] = &["loop", "fork"];

/// The load and the recorder do not take turns on one processor.
const LOAD_PROCESSOR: usize = 0;
const RECORDER_PROCESSOR: usize = 1;

/// How long the recorder may work on after the load has ended; idle, it costs next to nothing.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures and prints the cost of all modes.
pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    if thread::available_parallelism()?.get() <= RECORDER_PROCESSOR {
        bail!("the cost needs two processors, one for the load and one for the recorder");
    }
    for mode in MODES {
        let mut pairs = Vec::new();
        for index in 0..options.pairs {
            let pair = Pair::measure(stage, mode, options.connections, index % 2 == 1)?;
            println!("cost/{mode}: pair {}: {}", index + 1, pair.show());
            pairs.push(pair);
        }
        print_summary(mode, &pairs, options.connections);
    }
    Ok(())
}

/// Microseconds for one connection.
struct Pair {
    without: f64,
    with: f64,
    recorder: f64,
}

impl Pair {
    /// Every other pair begins with the recorder, so that neither side always comes second.
    fn measure(
        stage: &Stage,
        mode: &str,
        connections: usize,
        recorder_first: bool,
    ) -> Result<Pair> {
        if recorder_first {
            let (with, recorder) = with_recorder(stage, mode, connections)?;
            let without = play(stage, mode, connections)?;
            return Ok(Pair {
                without,
                with,
                recorder,
            });
        }
        let without = play(stage, mode, connections)?;
        let (with, recorder) = with_recorder(stage, mode, connections)?;
        Ok(Pair {
            without,
            with,
            recorder,
        })
    }

    /// A connection on one machine has two ends, and both are recorded.
    fn per_end(&self) -> f64 {
        (self.with + self.recorder - self.without) / 2.0
    }

    fn show(&self) -> String {
        format!(
            "{:.2} µs an end (load {:.2} µs a connection without, {:.2} with, recorder {:.2})",
            self.per_end(),
            self.without,
            self.with,
            self.recorder
        )
    }
}

fn with_recorder(stage: &Stage, mode: &str, connections: usize) -> Result<(f64, f64)> {
    let state = stage.clean_state()?;
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", &RECORDER_PROCESSOR.to_string()])
        .arg(&stage.recorder)
        .args(["--sensor", "kernel", "--state-dir"])
        .arg(&state);
    let mut recorder = Recorder::start(command, &state, Privilege::Root)?;
    recorder.wait_until_ready(&AtomicBool::new(false))?;
    let before = processor_time(recorder.pid())?;
    let load = play(stage, mode, connections)?;
    thread::sleep(SETTLE);
    let spent = processor_time(recorder.pid())?.saturating_sub(before);
    recorder.stop()?;
    check_recorded(stage, connections)?;
    Ok((load, spent.as_secs_f64() * 1e6 / connections as f64))
}

/// Runs the load and returns its cost for one connection.
fn play(stage: &Stage, mode: &str, connections: usize) -> Result<f64> {
    let namespace = Namespace::make("cost")?;
    let mut command = load::on_processor(&namespace, LOAD_PROCESSOR, &stage.generator);
    let output = process::read(command.args([mode, "--count", &connections.to_string()]))?;
    load::cpu_us_per_connection(&output)
}

/// A recorder that records nothing would be cheap.
fn check_recorded(stage: &Stage, connections: usize) -> Result<()> {
    let mut query = Command::new(&stage.tool);
    query
        .arg("--state-dir")
        .arg(&stage.state)
        .args(["query", "--json"]);
    let events = process::read(query.args(["--process", "ground_truth"]))?;
    let recorded = events
        .lines()
        .filter(|line| line.contains("\"class_uid\":4001"))
        .count();
    if recorded < 2 * connections {
        bail!(
            "only {recorded} of {} ends were recorded; the cost means nothing",
            2 * connections
        );
    }
    Ok(())
}

/// The processor time of all threads of a process, to the nanosecond.
fn processor_time(pid: u32) -> Result<Duration> {
    let tasks = format!("/proc/{pid}/task");
    let mut total_ns = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot list {tasks}"))? {
        let file = task?.path().join("schedstat");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        total_ns += on_processor_ns(&text)?;
    }
    Ok(Duration::from_nanos(total_ns))
}

fn on_processor_ns(schedstat: &str) -> Result<u64> {
    let first = schedstat.split_whitespace().next().unwrap_or_default();
    first
        .parse()
        .with_context(|| format!("`{schedstat}` does not begin with a time"))
}

fn print_summary(mode: &str, pairs: &[Pair], connections: usize) {
    let mut costs: Vec<f64> = pairs.iter().map(Pair::per_end).collect();
    costs.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (costs.first(), costs.last()) else {
        return;
    };
    println!(
        "cost/{mode}: median {:.2} µs an end, least {least:.2}, most {most:.2}, {} pairs of \
         {connections} connections",
        median(&costs),
        costs.len()
    );
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_counts_everything_and_halves_it() {
        let pair = Pair {
            without: 86.0,
            with: 92.0,
            recorder: 4.0,
        };
        assert_eq!(pair.per_end(), 5.0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    #[test]
    fn a_busy_process_has_spent_time() {
        assert_eq!(on_processor_ns("67040 12 1\n").unwrap(), 67040);
        assert!(on_processor_ns("").is_err());
    }
}
