//! Other programs: finding them, running them, and saying clearly what went wrong.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running program is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// The cargo that started this program, so that one toolchain does everything.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a program with its output going where ours goes. Fails when the program does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = describe(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs a program and returns what it printed. Fails when the program does, with its complaint.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{shown}` failed: {}\n{}",
            output.status,
            complaint.trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no UTF-8"))
}

/// The test programs that a `cargo test --no-run --message-format=json` says it built.
pub(crate) fn test_programs(messages: &str) -> Vec<PathBuf> {
    let programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs.collect()
}

/// Whether a program starts and succeeds; what it prints is nobody's business.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// How a program that had a time limit ended.
pub(crate) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long and was killed.
    OutOfTime,
}

/// Runs a program with its whole output going to a file, for at most `limit`.
///
/// A file and not a pipe: a grandchild that outlives its parent may keep a pipe open for ever.
pub(crate) fn run_logged(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    let shown = describe(command);
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if let Some(status) = wait_for(&mut child, limit)? {
        return Ok(Ended::Exited(status));
    }
    child.kill()?;
    child.wait()?;
    Ok(Ended::OutOfTime)
}

/// Waits for a child for at most `limit`; `None` when it is still running then.
pub(crate) fn wait_for(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Where a program is, if `PATH` or the system's own directories have it.
///
/// The administrator's directories are missing from the `PATH` of ordinary users on Debian.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Whether this program runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_repeats_its_complaint() {
        let error = read(Command::new("sh").args(["-c", "echo sorry >&2; exit 3"])).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh -c") && text.contains("sorry"), "{text}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-anywhere"));
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed() {
        let log = env::temp_dir().join(format!("xtask-out-of-time-{}", std::process::id()));
        let ended = run_logged(
            Command::new("sleep").arg("60"),
            &log,
            Duration::from_millis(50),
        )
        .unwrap();
        assert!(matches!(ended, Ended::OutOfTime));
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
