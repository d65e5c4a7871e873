//! `conntrail-ship`: delivers the trail.

#![forbid(unsafe_code)]

use clap::Parser;

/// Delivers the trail to where the company keeps such records.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {}

fn main() {
    let Arguments {} = Arguments::parse();
}
