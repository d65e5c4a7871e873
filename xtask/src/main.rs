//! The one door to everything a developer does here: `cargo xtask --help`.
//!
//! The same commands run on a laptop and in continuous integration. Whatever a command needs it
//! installs itself, or it says what is missing and how to get it.

#![forbid(unsafe_code)]

mod bench;
mod bpf;
mod bundle;
mod coverage;
mod demo;
mod duration;
mod engines;
mod faults;
mod fleet;
mod fuzz;
mod install;
mod macos;
mod namespace;
mod parity;
mod process;
mod recorder;
mod run;
mod sim;
mod test;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The one door: run, test, tidy, bench")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the recorder and the tool, record this machine and show it live.
    Run(run::Options),
    /// Ship what was recorded to a stream and a store on this machine, and ask the store.
    Fleet(fleet::Options),
    /// Check and test everything that this machine can.
    Test(test::Options),
    /// Check the rules of the house that no compiler knows.
    Tidy,
    /// Say which lines of the macOS adapter no test executes.
    Coverage,
    /// Plant mistakes in a copy of the macOS adapter and see which a test notices.
    Faults(faults::Options),
    /// Look for bytes that break what must hold of a format.
    Fuzz(fuzz::Options),
    /// Write the page that says which test shows which fact about macOS.
    Facts,
    /// Write the page that says which field each platform can fill.
    Parity,
    /// Rebuild the kernel program, or check that the one in the tree is current.
    Bpf(bpf::Options),
    /// What `test --full` builds beside the tests that come first.
    #[command(hide = true)]
    BuildAhead,
    /// Make the app for macOS, its package and its profiles, signed, on any machine.
    Bundle(Box<bundle::Options>),
    /// Simulate machines, disks that fail and recorders that crash, seed by seed.
    Sim(sim::Options),
    /// Measure what recording costs.
    Bench(bench::Options),
    /// Record the demo office again, on the real kernel.
    Demo(demo::Options),
    /// Build the programs for macOS, and look at everything that is in them.
    Macos(macos::Options),
}

fn main() -> ExitCode {
    // Compilers and build scripts know this program under other names too.
    if let Some(code) = macos::called_as_tool() {
        return code;
    }
    match dispatch(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> anyhow::Result<ExitCode> {
    let workspace = workspace::Workspace::load()?;
    match task {
        Task::Run(options) => run::run(&workspace, &options),
        Task::Fleet(options) => fleet::run(&workspace, &options),
        Task::Test(options) => test::run(&workspace, &options),
        Task::BuildAhead => test::ahead::build(&workspace),
        Task::Tidy => tidy::run(&workspace),
        Task::Coverage => coverage::run(&workspace),
        Task::Faults(options) => faults::run(&workspace, &options),
        Task::Fuzz(options) => fuzz::run(&workspace, &options),
        Task::Facts => tidy::write_scenarios(&workspace),
        Task::Parity => parity::run(&workspace),
        Task::Bpf(options) => bpf::run(&workspace, &options),
        Task::Bundle(options) => bundle::run(&workspace, &options),
        Task::Sim(options) => sim::run(&workspace, &options),
        Task::Bench(options) => bench::run(&workspace, &options),
        Task::Demo(options) => demo::run(&workspace, &options),
        Task::Macos(options) => macos::run(&workspace, &options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_can_be_called() {
        Arguments::command().debug_assert();
    }
}
