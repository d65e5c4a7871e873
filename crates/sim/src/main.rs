//! Lives many lives, or one of them in words; `cargo xtask sim` calls it.

#![forbid(unsafe_code)]

use clap::Parser;
use sim::{many, run};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(
    name = "sim",
    about = "Simulates machine, disk, recorder and readers, seed by seed"
)]
struct Arguments {
    /// How many seeds; without --seconds 1,000.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one.
    #[arg(long, conflicts_with_all = ["seeds", "from", "seconds"])]
    seed: Option<u64>,
    /// Tell what happened, at the end of this seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Begin no seed after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Stop at the first seed that fails.
    #[arg(long)]
    until_failure: bool,
    /// Print a line only: how many failed, of how many, and the first with what was wrong.
    #[arg(long)]
    brief: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    std::panic::set_hook(Box::new(|_| {}));
    match arguments.seed {
        Some(seed) => one(seed, arguments.trace),
        None => many(&arguments),
    }
}

fn one(seed: u64, traced: bool) -> ExitCode {
    let outcome = run::live(seed, traced);
    for line in &outcome.trace {
        println!("{line}");
    }
    println!("seed {seed}, digest {:016x}", outcome.digest);
    match outcome.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let seeds = match (arguments.seeds, arguments.seconds) {
        (None, None) => Some(SEEDS),
        (seeds, _) => seeds,
    };
    let summary = many::live(many::Range {
        from: arguments.from,
        seeds,
        limit: arguments.seconds.map(Duration::from_secs),
        threads: arguments.threads,
        until_failure: arguments.until_failure,
    });
    if arguments.brief {
        let (failed, all) = (summary.failures.len(), summary.seeds);
        let first = summary.failures.first();
        let first = first.map_or(String::new(), |(seed, what)| format!("{seed}\t{what}"));
        println!("{failed}\t{all}\t{first}");
        return ExitCode::SUCCESS;
    }
    print!("{}", summary.table());
    for (seed, failure) in summary.failures.iter().take(SHOWN_MAX) {
        println!("seed {seed}: {failure}");
        println!("    cargo xtask sim --seed {seed} --trace");
    }
    if summary.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

const SEEDS: u64 = 1_000;
const SHOWN_MAX: usize = 20;
