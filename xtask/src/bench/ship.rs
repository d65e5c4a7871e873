//! What it costs to turn records into what is sent.

use crate::process;
use crate::workspace::Workspace;
use anyhow::Result;
use std::process::Command;

const RECORDS: usize = 20_000;

/// Runs the measuring program of `ship`, which prints processor time and bytes a record for each
/// format, compression and size of batch.
pub(super) fn run(workspace: &Workspace) -> Result<()> {
    let arguments = [
        "build",
        "--release",
        "-p",
        "ship",
        "--example",
        "encode_cost",
    ];
    process::run(
        process::cargo()
            .current_dir(&workspace.root)
            .args(arguments),
    )?;
    println!("ship: {RECORDS} made-up connections, one thread, from the trail's bytes to a parcel");
    let program = workspace.target.join("release/examples/encode_cost");
    process::run(Command::new(program).arg(RECORDS.to_string()))
}
