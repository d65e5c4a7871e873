//! `conntrail-ship`: delivers the trail.

#![forbid(unsafe_code)]

use clap::{Args, Parser, Subcommand};
use conntrail_ship::configuration::Place;
use conntrail_ship::run::{self, Options};
use conntrail_ship::{fleet, plan, power, relay};
use host::paths;
use std::path::PathBuf;
use std::process::ExitCode;

/// Delivers the trail to where the company keeps such records.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Delivers until it is told to stop, or ends at once where no destination is configured.
    Run(Places),
    /// Delivers what is there and ends; 1 when not all of it arrived.
    Once {
        #[command(flatten)]
        places: Places,
        /// Gives up after so many seconds.
        #[arg(long, default_value_t = 3_600)]
        timeout_s: u64,
    },
    /// Says what is wrong in the configuration, and tries nothing.
    Check(Places),
    /// Says what delivering this trail would come to in records and bytes a day; sends nothing.
    Plan {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        proposal: plan::Proposal,
    },
    /// Moves batches from a JetStream stream into ClickHouse, until it is told to stop.
    Relay(relay::Arguments),
    /// Writes what the fleet's store is made of.
    Fleet(fleet::Arguments),
}

#[derive(Debug, Args)]
struct Places {
    /// File of the destinations [default: what the settings ship.config or ship.config_file say,
    /// or else ship.toml beside the recorder's configuration file, if it exists].
    #[arg(long, conflicts_with = "recorder_config")]
    config: Option<PathBuf>,
    /// The recorder's configuration file, whose settings those are [default: the usual one].
    #[arg(long)]
    recorder_config: Option<PathBuf>,
    #[arg(long, help = paths::state_dir_help())]
    state_dir: Option<PathBuf>,
    /// Folder of what powers the machine, for tests.
    #[arg(long, hide = true, default_value = power::SUPPLIES)]
    power_supplies: PathBuf,
}

impl Places {
    fn options(self, once: bool, timeout_s: u64) -> Options {
        let recorder = self.recorder_config;
        let place = self.config.map(Place::File);
        Options {
            place: place.unwrap_or(Place::Settings { recorder }),
            state_dir: self.state_dir.unwrap_or_else(paths::default_state_dir),
            power_supplies: self.power_supplies,
            once,
            timeout_s,
        }
    }
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("conntrail-ship: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Run(places) => run::run(places.options(false, 0)).map(|_| true),
        Command::Once { places, timeout_s } => run::run(places.options(true, timeout_s)),
        Command::Relay(arguments) => arguments.run().map(|()| true),
        Command::Fleet(arguments) => arguments.run().map(|()| true),
        Command::Plan { places, proposal } => {
            let Options {
                place, state_dir, ..
            } = places.options(false, 0);
            plan::run(&state_dir, &place, &proposal).map(|()| true)
        }
        Command::Check(places) => {
            let place = places.options(false, 0).place;
            let Some(found) = place.find()? else {
                println!("{}", place.nothing());
                return Ok(true);
            };
            let config = found.parse()?;
            for (name, destination) in &config.destination {
                let kind = destination.kind().map_or("nowhere", |kind| kind.name());
                println!("{name}: {kind}, {:?}", destination.format());
            }
            Ok(true)
        }
    }
}
