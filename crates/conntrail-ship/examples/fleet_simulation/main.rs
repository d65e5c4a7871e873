//! A fleet on one machine: simulated endpoints with the real trail, courier, encoder and sink, into
//! a real JetStream cluster of three nodes, through two real relays, into a real ClickHouse engine.
//!
//! `cargo xtask bench fleet` builds and starts it. It ends with 1 unless the store has each record
//! of each trail once, and the ledger nothing that is unexplained.

mod backlog;
mod books;
mod collector;
mod day;
mod ground;
mod machine;
mod table;
mod world;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Simulates a fleet on the real engines.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// The program `conntrail-ship`, which is the relay too.
    program: PathBuf,
    /// How many machines the fleet has.
    #[arg(long, default_value_t = 2_000)]
    endpoints: u64,
    /// How many records a machine makes in its day.
    #[arg(long, default_value_t = 300)]
    records: u64,
    /// How long the day takes here, in seconds.
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

fn main() -> ExitCode {
    let options = Options::parse();
    let balances = if options.backlog {
        backlog::run(&options)
    } else {
        day::run(&options)
    };
    match balances {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("fleet: {error:#}");
            ExitCode::from(2)
        }
    }
}
