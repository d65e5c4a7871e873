//! From a fresh clone to the first record: build, record, watch.
//!
//! The recorder gets the privilege it needs and runs beside the live view, in a process group of
//! its own, so that Ctrl-C ends the view and leaves the recorder to be stopped in order.

use crate::duration;
use crate::process;
use crate::recorder::{Privilege, Recorder};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Optimized, but not for so long that the first record keeps anybody waiting.
pub(crate) const PROFILE: &str = "quick";

/// How long the live view may take to give the terminal back.
const VIEW_LIMIT: Duration = Duration::from_secs(2);
/// How often the programs are looked after.
const POLL: Duration = Duration::from_millis(50);
/// What `cargo xtask run` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the trail goes; target/run unless told.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Stop by itself after this long, for example 30s.
    #[arg(long = "for", value_name = "SPAN", value_parser = duration::parse)]
    duration: Option<Duration>,
}

/// `cargo xtask run`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let binaries = build(workspace)?;
    let state = state_directory(workspace, options)?;
    let interrupted = watch_for_signals()?;
    let privilege = Privilege::find();
    println!("{}", privilege.explain());
    let mut program = privilege.command(&binaries.join("conntraild"));
    program.arg("--state-dir").arg(&state);
    println!("starting {}", process::describe(&program));
    let mut recorder = Recorder::start(program, &state, privilege)?;
    let shown = recorder.wait_until_ready(&interrupted).and_then(|()| {
        println!("{}", recorder.says().trim_end());
        let duration = options.duration;
        show(&mut recorder, &binaries, &state, duration, &interrupted)
    });
    let stopped = recorder.stop();
    shown?;
    stopped?;
    print_what_next(&binaries, &state, privilege);
    Ok(ExitCode::SUCCESS)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    println!("building the recorder and the tool");
    let mut build = process::cargo();
    build
        .current_dir(&workspace.root)
        .args(["build", "--profile", PROFILE])
        .args([
            "--package",
            "conntraild",
            "--package",
            "conntrail",
            "--bins",
        ]);
    process::run(&mut build)?;
    Ok(workspace.target.join(PROFILE))
}

fn state_directory(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    let directory = options
        .state_dir
        .clone()
        .unwrap_or_else(|| workspace.target.join("run"));
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create the state directory {}", directory.display()))?;
    fs::canonicalize(&directory)
        .with_context(|| format!("cannot find the state directory {}", directory.display()))
}

/// Ctrl-C, a closed terminal and a polite kill all mean: stop the recorder, then go.
fn watch_for_signals() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("cannot watch for Ctrl-C")?;
    }
    Ok(interrupted)
}

/// Shows what is recorded until the reader or the time says stop.
fn show(
    recorder: &mut Recorder,
    binaries: &Path,
    state: &Path,
    duration: Option<Duration>,
    interrupted: &AtomicBool,
) -> Result<()> {
    if interrupted.load(Ordering::Relaxed) {
        return Ok(());
    }
    let deadline = duration.map(|duration| Instant::now() + duration);
    let mut command = recorder.privilege().command(&binaries.join("conntrail"));
    command.arg("--state-dir").arg(state).arg("watch");
    let mut view = command.spawn().context("cannot start the live view")?;
    let result = loop {
        if let Some(status) = view.try_wait()? {
            return judge_view(status, interrupted);
        }
        let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_over || interrupted.load(Ordering::Relaxed) {
            break Ok(());
        }
        if let Err(error) = recorder.must_run() {
            break Err(error);
        }
        thread::sleep(POLL);
    };
    end_view(&mut view, recorder.privilege())?;
    result
}

fn judge_view(status: ExitStatus, interrupted: &AtomicBool) -> Result<()> {
    // Ctrl-C reaches the view too, and may end it before it reaches us.
    thread::sleep(POLL);
    if !status.success() && !interrupted.load(Ordering::Relaxed) {
        bail!("the live view failed: {status}");
    }
    Ok(())
}

/// Asks the view to end as Ctrl-C would, so that it gives the terminal back as it was.
fn end_view(view: &mut Child, privilege: Privilege) -> Result<()> {
    if process::wait_for(view, POLL)?.is_some() {
        return Ok(());
    }
    privilege.signal(view, Signal::INT)?;
    if process::wait_for(view, VIEW_LIMIT)?.is_none() {
        privilege.signal(view, Signal::KILL)?;
        view.wait()?;
    }
    Ok(())
}

fn print_what_next(binaries: &Path, state: &Path, privilege: Privilege) {
    let tool = format!(
        "{}{} --state-dir {}",
        privilege.prefix(),
        short(&binaries.join("conntrail")),
        short(state)
    );
    println!("\nthe trail is in {}; ask it:", short(state));
    println!("  {tool} query --process curl");
    println!("  {tool} query --since 10m --json");
    println!("  {tool} verify");
}

/// A path as one would type it here.
fn short(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::tests::{RECORDS, Stage};

    fn show_for(stage: &Stage, recorder: &mut Recorder, ms: u64) -> Result<()> {
        let duration = Some(Duration::from_millis(ms));
        let interrupted = AtomicBool::new(false);
        recorder.wait_until_ready(&interrupted)?;
        show(recorder, &stage.0, &stage.0, duration, &interrupted)
    }

    #[test]
    fn the_view_ends_when_its_time_is_over() {
        let stage = Stage::with("view-ends", RECORDS, "exec sleep 60");
        let mut recorder = stage.start();
        show_for(&stage, &mut recorder, 100).unwrap();
        recorder.stop().unwrap();
    }

    #[test]
    fn a_recorder_that_dies_ends_the_view() {
        let dies = "echo 'recording to x' >&2; sleep 0.3; echo gone >&2; exit 1";
        let stage = Stage::with("view-orphaned", dies, "exec sleep 60");
        let error = show_for(&stage, &mut stage.start(), 30_000).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }

    #[test]
    fn an_interrupt_ends_the_view_and_not_the_recorder() {
        let stage = Stage::with("view-interrupted", RECORDS, "exec sleep 60");
        let mut recorder = stage.start();
        recorder.wait_until_ready(&AtomicBool::new(false)).unwrap();
        let interrupted = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(200));
                interrupted.store(true, Ordering::Relaxed);
            });
            show(&mut recorder, &stage.0, &stage.0, None, &interrupted).unwrap();
        });
        recorder.must_run().unwrap();
        recorder.stop().unwrap();
    }

    #[test]
    fn a_view_that_fails_is_told() {
        let stage = Stage::with("view-fails", RECORDS, "exit 7");
        let mut recorder = stage.start();
        assert!(show_for(&stage, &mut recorder, 30_000).is_err());
    }
}
