//! Memory of the recorder with many connections open.

use super::Stage;
use super::load::{self, Held};
use crate::namespace::Namespace;
use crate::recorder::{Privilege, Recorder};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// A connection on one machine has two ends, and each is a live flow.
const FLOWS: usize = 10_000;

/// Until the recorder has read and written everything about the new connections.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures and prints the memory before and with the connections.
pub(super) fn run(stage: &Stage) -> Result<()> {
    let state = stage.clean_state()?;
    let mut command = Command::new(&stage.recorder);
    command
        .args(["--sensor", "kernel", "--state-dir"])
        .arg(&state);
    let mut recorder = Recorder::start(command, &state, Privilege::Root)?;
    recorder.wait_until_ready(&AtomicBool::new(false))?;
    thread::sleep(SETTLE);
    let before = Memory::of(recorder.pid())?;
    let namespace = Namespace::make("memory")?;
    let mut load = load::on_processor(&namespace, 0, &stage.generator);
    load.args(["hold", "--count", &(FLOWS / 2).to_string()]);
    let held = Held::open(load)?;
    thread::sleep(SETTLE);
    let with = Memory::of(recorder.pid())?;
    println!("memory: {} without connections", before.show());
    println!("memory: {} with {FLOWS} live flows", with.show());
    drop(held);
    recorder.stop()
}

/// Kibibytes, as the kernel tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    resident_kib: u64,
    peak_kib: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Memory> {
        let file = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        Memory::parse(&status).with_context(|| format!("{file} does not tell the memory"))
    }

    fn parse(status: &str) -> Option<Memory> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some(Memory {
            resident_kib: field("VmRSS:")?,
            peak_kib: field("VmHWM:")?,
        })
    }

    fn show(self) -> String {
        let mib = |kib: u64| kib as f64 / 1024.0;
        format!(
            "{:.1} MiB (peak {:.1} MiB)",
            mib(self.resident_kib),
            mib(self.peak_kib)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_tells() {
        let memory = Memory::parse("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n").unwrap();
        assert_eq!(
            memory,
            Memory {
                resident_kib: 1024,
                peak_kib: 2048
            }
        );
        assert_eq!(memory.show(), "1.0 MiB (peak 2.0 MiB)");
        assert_eq!(Memory::parse("Name:\tx\n"), None);
    }
}
