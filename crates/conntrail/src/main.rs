//! `conntrail`, the tool: reads what the recorder keeps.
//!
//! It needs no privilege beyond reading the trail, changes nothing in it, and can be interrupted at
//! any time without cost.

#![forbid(unsafe_code)]

mod cli;
mod tui;
mod words;

use clap::{Parser, Subcommand};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows which process connected where, when, how long and how many bytes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[arg(long, global = true, value_name = "DIR", help = host::paths::state_dir_help())]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows connections as they are recorded: a live table on a terminal, else line by line.
    Watch(cli::watch::Arguments),
    /// Shows once what is open now and how much passes on it, busiest first, from the live table.
    Live(cli::live::Arguments),
    /// Answers questions about past connections.
    Query(cli::query::Arguments),
    /// Turns a recorded stream of events into records again, with no privilege at all.
    Replay(cli::replay::Arguments),
    /// Makes the key that the recorder signs the trail with, and shows its public half.
    #[command(subcommand)]
    Key(cli::key::Command),
    /// Says how deliveries go, as the shipper tells it.
    Status(cli::status::Arguments),
    /// Says what of the trail is intact, damaged, missing or changed.
    Verify(cli::verify::Arguments),
    /// Says what delivering this trail would come to in records and bytes a day; sends nothing.
    Plan(cli::plan::Arguments),
    /// Shows every setting, its value, and who set it; checks and explains the privacy policy.
    Config(cli::config::Arguments),
    /// Gathers what support needs when something fails into one file, without secrets.
    Collect(cli::collect::Arguments),
    /// Writes and checks the configuration profiles that the management of Macs installs.
    #[command(subcommand)]
    Profile(cli::profile::Command),
    #[cfg(target_os = "macos")]
    #[command(flatten)]
    Extension(cli::extension::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conntrail: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let named = arguments.state_dir;
    let state_dir = || named.clone().unwrap_or_else(host::paths::default_state_dir);
    match arguments.command {
        Command::Watch(arguments) => cli::watch::run(&state_dir(), &arguments),
        Command::Live(arguments) => cli::live::run(&state_dir(), &arguments),
        Command::Query(arguments) => cli::query::run(&state_dir(), &arguments),
        Command::Replay(arguments) => cli::replay::run(named.as_deref(), &arguments),
        Command::Verify(arguments) => cli::verify::run(&state_dir(), &arguments),
        Command::Collect(arguments) => cli::collect::run(&state_dir(), &arguments),
        Command::Plan(arguments) => cli::plan::run(named.as_deref(), &arguments),
        Command::Key(command) => cli::key::run(&command),
        Command::Status(arguments) => cli::status::run(&state_dir(), &arguments),
        Command::Profile(command) => cli::profile::run(&command),
        Command::Config(arguments) => cli::config::run(&state_dir(), &arguments),
        #[cfg(target_os = "macos")]
        Command::Extension(command) => cli::extension::run(&state_dir(), command),
    }
}

/// Whoever reads our output may stop reading, as `head` does; that is no error of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
    })
}
