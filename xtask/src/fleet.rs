//! From this machine's trail to rows in ClickHouse, on this machine: a stream, a store, a relay and
//! a shipper, until Ctrl-C.

use crate::engines;
use crate::process;
use crate::run::PROFILE;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What `cargo xtask fleet` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the recorder writes its trail; target/run unless told.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// `cargo xtask fleet`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let state = options.state_dir.clone();
    let state = state.unwrap_or_else(|| workspace.target.join("run"));
    may_ship(&state)?;
    let mut variables = Vec::new();
    for engine in [engines::nats(workspace)?, engines::clickhouse(workspace)?] {
        match engine {
            Ok(found) => variables.extend(found),
            Err(missing) => bail!("{}; {}", missing.reason, missing.fix),
        }
    }
    println!("building the shipper");
    let mut build = process::cargo();
    build.current_dir(&workspace.root);
    build.args(["build", "--profile", PROFILE]);
    build.args(["--package", "conntrail-ship", "--bin", "conntrail-ship"]);
    build.args(["--package", "engines", "--example", "fleet"]);
    process::run(&mut build)?;
    let binaries = workspace.target.join(PROFILE);
    let mut fleet = Command::new(binaries.join("examples/fleet"));
    fleet.arg(binaries.join("conntrail-ship")).arg(state);
    fleet.arg(workspace.root.join("fleet")).envs(variables);
    // In our place: it has the terminal, and its end is ours.
    Err(fleet.exec()).context("cannot start the fleet")
}

/// Whether there is a trail, and we may read it and write beside it.
fn may_ship(state: &Path) -> Result<()> {
    let shown = state.display();
    if let Err(error) = fs::read_dir(trail_of(state)) {
        bail!(
            "{shown} has no trail that can be read ({error}); let `cargo xtask run` record in \
             another terminal, and where it does so as root, run this as root too"
        );
    }
    Ok(())
}

fn trail_of(state: &Path) -> PathBuf {
    state.join("trail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_was_recorded_it_is_said_how_to() {
        let error = may_ship(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("cargo xtask run"), "{error}");
    }
}
