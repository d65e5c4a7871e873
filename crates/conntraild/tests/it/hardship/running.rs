//! A recorder as a process: its log, its memory, its end.

use crate::recorder::program;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// One recorder.
pub(super) struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// Long, because a test may share the machine with others.
const PATIENCE: Duration = Duration::from_secs(60);

impl Running {
    /// Starts one and does not wait.
    pub(super) fn start(state: &Path, config: &Path, sensor: &str) -> Running {
        Running::start_with(state, config, sensor, &[])
    }

    /// As above, with variables in its environment.
    pub(super) fn start_with(
        state: &Path,
        config: &Path,
        sensor: &str,
        variables: &[(&str, PathBuf)],
    ) -> Running {
        let mut child = Command::new(program("conntraild"))
            .arg("--state-dir")
            .arg(state)
            .arg("--config")
            .arg(config)
            .args(["--sensor", sensor])
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        Running {
            child,
            log,
            reader: Some(reader),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has said `words`.
    pub(super) fn wait_for(&self, words: &str) {
        let since = Instant::now();
        while !self.log().contains(words) {
            let log = self.log();
            assert!(since.elapsed() < PATIENCE, "it never said {words}:\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// As a crash would end it.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let log = self.whole_log();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// Stops it in order.
    pub(super) fn stop(self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let (status, log) = self.wait_for_end();
        assert!(status.success(), "{status}:\n{log}");
        log
    }

    /// Stops it in order once it records.
    pub(super) fn stop_when_recording(self) {
        self.wait_for("recording to");
        self.stop();
    }

    /// Waits until it ends by itself.
    pub(super) fn wait_for_end(mut self) -> (ExitStatus, String) {
        let since = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => thread::sleep(Duration::from_millis(10)),
            }
            assert!(since.elapsed() < PATIENCE, "no end:\n{}", self.log());
        };
        let log = self.whole_log();
        assert!(!log.contains("panicked"), "{log}");
        (status, log)
    }

    /// Processor time it has used, in milliseconds.
    pub(super) fn cpu_ms(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let ticks = rest.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|it| it.parse::<u64>().unwrap()).sum();
        ticks * 10
    }

    /// Memory it holds, in bytes.
    pub(super) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
        let kibibytes = line.split_whitespace().nth(1).unwrap();
        kibibytes.parse::<u64>().unwrap() * 1_024
    }

    fn whole_log(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.log()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
