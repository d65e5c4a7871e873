//! What takes long to build and is needed last is built while tests run that mostly wait.
//!
//! It goes on beside them in a process of its own, which lets everything else go first, and whose
//! words go to a log. Nothing relies on it: what comes to no good here is built again where it is
//! needed, and complained about there. The plain run starts it too where a full one will follow.

use super::needs;
use super::report;
use crate::bundle;
use crate::engines;
use crate::fuzz;
use crate::macos;
use crate::process;
use crate::workspace::Workspace;
use anyhow::Result;
use std::env;
use std::fs::File;
use std::process::{Child, Command, ExitCode, Stdio};

/// Set where the full run follows the plain one.
const VARIABLE: &str = "CONNTRAIL_BUILD_AHEAD";

/// The log, among those of the tests.
const LOG: &str = "ahead.log";

/// Locked by the one that builds: the next has nothing left to do.
const LOCK: &str = "ahead.lock";

/// Builds that go on.
pub(super) struct Ahead(Child);

/// Starts building, if the full run follows this one, and leaves it to that one to wait.
pub(super) fn start_for_the_next(workspace: &Workspace) -> Result<()> {
    if env::var_os(VARIABLE).is_some() {
        drop(Ahead::start(workspace)?);
    }
    Ok(())
}

impl Ahead {
    /// Starts, once what must be installed is there: two installations at a time would get into
    /// each other's way.
    pub(super) fn start(workspace: &Workspace) -> Result<Ahead> {
        // Whatever is missing is told where it is needed.
        let _ = (fuzz::prepare(), engines::compiler());
        if let Err(error) = macos::install(workspace) {
            println!("{error:#}");
        }
        let log = workspace.tools("logs")?.join(LOG);
        let log = File::options().create(true).append(true).open(log)?;
        let mut build = Command::new("nice");
        build
            .args(["-n", "19"])
            .arg(process::cargo().get_program())
            .args(["run", "--quiet", "--package", "xtask", "--", "build-ahead"])
            .current_dir(&workspace.root)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        report::announce("building ahead what the last tests need");
        Ok(Ahead(build.spawn()?))
    }

    /// Waits until there is nothing left to build.
    pub(super) fn finish(mut self) -> Result<()> {
        report::announce("waiting for what is built ahead");
        self.0.wait()?;
        Ok(())
    }
}

/// `cargo xtask build-ahead`: what needs are built of that [`needs::Need::is_built_ahead`], in the
/// order of their use.
pub(crate) fn build(workspace: &Workspace) -> Result<ExitCode> {
    let alone = File::create(workspace.tools("")?.join(LOCK))?;
    alone.lock()?;
    let builds: [fn(&Workspace) -> Result<()>; 5] = [
        |it| engines::build_kafka(it).map(drop),
        bundle::build_ahead,
        |it| needs::release(it).map(drop),
        |it| fuzz::build(it).map(drop),
        |it| needs::build_shipped(it).map(drop),
    ];
    for build in builds {
        if let Err(error) = build(workspace) {
            println!("{error:#}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
