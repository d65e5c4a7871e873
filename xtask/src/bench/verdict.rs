//! What a verdict of the macOS sensor costs, and what memory its flows take.
//!
//! All on the doubles of its tests; it says nothing about a Mac's own cost.

use crate::process;
use crate::test::needs;
use crate::workspace::Workspace;
use anyhow::Result;
use std::process::Command;

/// The measuring programs, and what they are told.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("verdict_cost", &[]),
    ("million_flows", &["million"]),
    ("million_flows", &["live"]),
    ("million_flows", &["stalls"]),
];

/// Runs the sensor's own measuring programs, which print their figures.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let examples = needs::build_sensor_examples(workspace)?;
    for (program, arguments) in PROGRAMS {
        println!("verdict: {program} {}", arguments.join(" "));
        process::run(Command::new(examples.join(program)).args(arguments))?;
    }
    Ok(())
}
