//! A recorder that runs beside us: starting it with the privilege it needs, waiting until it
//! records, stopping it in order.

use crate::process;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use std::fs::{self, File};
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How the recorder says that it records.
const READY: &str = "recording to ";
/// How long it may take to say so.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long the recorder may take to bring its trail to an end.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked after.
const POLL: Duration = Duration::from_millis(50);
/// How many lines of the recorder's log help to understand its end.
const LOG_TAIL_LINES: usize = 15;

/// What the recorder runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// We are root already.
    Root,
    /// Through sudo.
    Sudo,
    /// None; the recorder polls the tables of sockets instead.
    None,
}

impl Privilege {
    /// The most that this user can have, asking for it where there is somebody to ask.
    pub(crate) fn find() -> Privilege {
        if process::is_root() {
            return Privilege::Root;
        }
        let may_ask = std::io::stdin().is_terminal();
        let has_sudo = process::find("sudo").is_some();
        if has_sudo && may_ask {
            println!("asking sudo for root: the kernel tells only root who connects where");
        }
        // The password is asked for now: in the background it could not be.
        let mut sudo = Command::new("sudo");
        let allowed = match may_ask {
            true => sudo
                .arg("--validate")
                .status()
                .is_ok_and(|status| status.success()),
            false => process::succeeds(sudo.args(["--non-interactive", "--validate"])),
        };
        if has_sudo && allowed {
            Privilege::Sudo
        } else {
            Privilege::None
        }
    }

    /// What it means for the record.
    pub(crate) fn explain(self) -> &'static str {
        match self {
            Privilege::Root => "recording as root",
            Privilege::Sudo => "recording as root, through sudo",
            Privilege::None => {
                "recording without privilege: other users' processes and short connections stay \
                 unseen (run as root or install sudo to see all)"
            }
        }
    }

    /// A command that runs a program with this privilege.
    pub(crate) fn command(self, program: &Path) -> Command {
        match self {
            Privilege::Root | Privilege::None => Command::new(program),
            Privilege::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["--non-interactive", "--"]).arg(program);
                sudo
            }
        }
    }

    /// What a reader types before a command, since the trail belongs to whoever recorded it.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Privilege::Sudo => "sudo ",
            Privilege::Root | Privilege::None => "",
        }
    }

    /// Signals a program that was started with this privilege.
    pub(crate) fn signal(self, child: &Child, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(child);
        if self == Privilege::Sudo {
            let number = signal.as_raw().to_string();
            let target = pid.as_raw_nonzero().to_string();
            let kill = ["--non-interactive", "kill", "-s", &number, &target];
            // In a process group of its own: sudo does not pass on what its own group sends.
            return process::run(Command::new("sudo").args(kill).process_group(0));
        }
        rustix::process::kill_process(pid, signal).context("cannot signal a program of ours")
    }
}

/// A running recorder; stopped when dropped.
pub(crate) struct Recorder {
    child: Child,
    log: PathBuf,
    privilege: Privilege,
}

impl Recorder {
    /// Starts it in a process group of its own, with what it prints going to a file in its state
    /// directory.
    pub(crate) fn start(
        mut command: Command,
        state: &Path,
        privilege: Privilege,
    ) -> Result<Recorder> {
        let log = state.join("conntraild.log");
        let file = File::create(&log)
            .with_context(|| format!("cannot write {}; give another --state-dir", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .context("cannot start the recorder")?;
        Ok(Recorder {
            child,
            log,
            privilege,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it runs with.
    pub(crate) fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// Waits until it records; what it says until then tells how well it can.
    pub(crate) fn wait_until_ready(&mut self, interrupted: &AtomicBool) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        while !self.says().lines().any(|line| line.contains(READY)) {
            self.must_run()?;
            if interrupted.load(Ordering::Relaxed) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let limit = READY_LIMIT.as_secs();
                bail!(
                    "the recorder does not record after {limit} s; its log:\n{}",
                    self.tail()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Fails, with its last words, when it runs no more.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "the recorder ended early ({status}); its log:\n{}",
                self.tail()
            );
        }
        Ok(())
    }

    /// Stops it in order, so that its trail ends with a proper last record.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        self.privilege.signal(&self.child, Signal::TERM)?;
        if let Some(status) = process::wait_for(&mut self.child, STOP_LIMIT)? {
            return self.judge(status);
        }
        self.privilege.signal(&self.child, Signal::KILL)?;
        self.child.wait()?;
        let limit = STOP_LIMIT.as_secs();
        bail!(
            "the recorder did not stop within {limit} s; its log:\n{}",
            self.tail()
        );
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!(
                "the recorder stopped badly ({status}); its log:\n{}",
                self.tail()
            );
        }
        Ok(())
    }

    /// All that it has printed.
    pub(crate) fn says(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn tail(&self) -> String {
        let says = self.says();
        let lines: Vec<&str> = says.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Whoever wants to know how it ended has called `stop`; here something else went wrong.
        let _ = self.stop();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory with shell scripts that play the programs.
    pub(crate) struct Stage(pub(crate) PathBuf);

    impl Stage {
        pub(crate) fn with(name: &str, recorder: &str, tool: &str) -> Stage {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            for (program, body) in [("conntraild", recorder), ("conntrail", tool)] {
                // Written by a process of its own: a file that this one had open for writing
                // could not be run while another test's child still holds a copy of the handle.
                let write =
                    "printf '#!/bin/sh\\n%s\\n' \"$BODY\" > \"$FILE\" && chmod 755 \"$FILE\"";
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", write])
                    .env("BODY", body)
                    .env("FILE", path.join(program));
                process::run(&mut shell).unwrap();
            }
            Stage(path)
        }

        pub(crate) fn start(&self) -> Recorder {
            let command = Command::new(self.0.join("conntraild"));
            Recorder::start(command, &self.0, Privilege::None).unwrap()
        }
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// What a recorder does that records and stops as it should.
    pub(crate) const RECORDS: &str = "trap 'echo stopped >&2; exit 0' TERM\n\
        echo 'recording to x (test)' >&2\nwhile :; do sleep 0.02; done";

    #[test]
    fn a_recorder_that_dies_early_shows_its_last_words() {
        let stage = Stage::with("dies-early", "echo no kernel today >&2; exit 3", "true");
        let mut recorder = stage.start();
        let error = recorder
            .wait_until_ready(&AtomicBool::new(false))
            .unwrap_err();
        assert!(error.to_string().contains("no kernel today"), "{error}");
    }

    #[test]
    fn a_recorder_stops_in_order() {
        let stage = Stage::with("stops", RECORDS, "true");
        let mut recorder = stage.start();
        recorder.wait_until_ready(&AtomicBool::new(false)).unwrap();
        recorder.stop().unwrap();
        assert!(recorder.says().contains("stopped"));
    }

    #[test]
    fn a_recorder_that_stops_badly_is_told() {
        let bad = "trap 'echo disk full >&2; exit 1' TERM\n\
            echo 'recording to x' >&2\nwhile :; do sleep 0.02; done";
        let stage = Stage::with("stops-badly", bad, "true");
        let mut recorder = stage.start();
        recorder.wait_until_ready(&AtomicBool::new(false)).unwrap();
        let error = recorder.stop().unwrap_err().to_string();
        assert!(error.contains("disk full"), "{error}");
    }
}
