//! Makes the recorded stream of events that comes with the project: an office at work, in a
//! network namespace of its own, with addresses reserved for documentation.
//!
//! The recorder sees the whole machine, so what is not of the office is taken out afterwards, and
//! the machine itself is made anonymous.

use crate::namespace::Namespace;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Args;
use flow::stream::{self, Call, Header};
use flow::{Event, FlowKey, Introduction, Tuple};
use record::{Device, EndpointId, ProcessKey};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

/// How large an office.
#[derive(Args)]
pub(crate) struct Options {
    /// Connections to make.
    #[arg(long, default_value_t = 2_600)]
    count: u32,
}

/// Addresses that stand for servers elsewhere.
const REMOTE: &[&str] = &[
    "198.51.100.10",
    "198.51.100.77",
    "203.0.113.5",
    "2001:db8:1::10",
];

/// Addresses of the machine itself.
const LOCAL: &[&str] = &["192.0.2.17", "2001:db8::17"];

/// Where the office's programs stand while it is at work, so that their paths are of no machine.
const PROGRAMS: &str = "/opt/office";

const RECORDER_START: Duration = Duration::from_secs(3);

/// Records, filters and writes `demo/office.events`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if !process::is_root() {
        bail!("recording the office needs root: namespaces and eBPF");
    }
    build(workspace)?;
    let namespace = Namespace::make("office")?;
    for address in REMOTE.iter().chain(LOCAL) {
        namespace.add_address(address)?;
    }
    let scratch = workspace.target.join("demo");
    fs::create_dir_all(&scratch)?;
    let raw = scratch.join("raw.events");
    let recorder = start_recorder(workspace, &scratch, &raw)?;
    let played = play(workspace, &namespace, options.count);
    stop_recorder(recorder)?;
    played?;
    let bytes = fs::read(&raw).with_context(|| format!("cannot read {}", raw.display()))?;
    let office = only_office(&bytes, namespace.inode()?)?;
    let path = workspace.root.join("demo/office.events");
    fs::create_dir_all(workspace.root.join("demo"))?;
    fs::write(&path, &office)?;
    println!("{}: {} bytes", path.display(), office.len());
    Ok(ExitCode::SUCCESS)
}

/// Takes out every flow of another namespace and every process that is not of the office, and
/// makes the machine anonymous.
fn only_office(bytes: &[u8], namespace: u32) -> Result<Vec<u8>> {
    let mut input = bytes;
    let header = stream::decode_header(&mut input)?;
    let header = Header {
        device: anonymous(header.device.clone()),
        ..header
    };
    let mut out = Vec::new();
    stream::encode_header(&header, &mut out);
    let mut office = Office {
        namespace,
        flows: BTreeSet::new(),
        processes: BTreeSet::new(),
    };
    while let Some(call) = stream::decode_call(&mut input)? {
        match call {
            Call::Timeout(now) => stream::encode_timeout(now, &mut out),
            Call::Handle(event, now) => {
                if office.has(&event)? {
                    stream::encode_event(&office.without_strangers(event), now, &mut out);
                }
            }
        }
    }
    Ok(out)
}

/// What belongs to the office, as far as it was seen.
struct Office {
    namespace: u32,
    flows: BTreeSet<FlowKey>,
    processes: BTreeSet<ProcessKey>,
}

impl Office {
    fn has(&mut self, event: &Event) -> Result<bool> {
        Ok(match event {
            Event::ProcessSeen(Introduction { process, .. }) => {
                let ours = process
                    .path
                    .as_deref()
                    .is_some_and(|it| it.starts_with(PROGRAMS));
                ours && self.processes.insert(process.key)
            }
            Event::Opened(opened) if self.is_here(&opened.tuple) => {
                self.flows.insert(opened.key);
                true
            }
            Event::Opened(_) => false,
            Event::Closed(closed) => self.is_here(&closed.tuple),
            Event::Attributed { key, .. }
            | Event::Updated { key, .. }
            | Event::Named { key, .. } => self.flows.contains(key),
            Event::SensorStarted { .. }
            | Event::SensorStopped { .. }
            | Event::ClockRead { .. }
            | Event::UserNamed { .. } => true,
            Event::Slept { .. }
            | Event::Swept { .. }
            | Event::Lost { .. }
            | Event::SensorLimited { .. }
            | Event::BreakerChanged { .. }
            | Event::CoverageRead { .. }
            | Event::Unwatched { .. }
            | Event::Sleeping
            | Event::ProcessesGone { .. } => {
                bail!("the recording is not clean ({event:?}); record again on a quiet machine")
            }
        })
    }

    fn is_here(&self, tuple: &Tuple) -> bool {
        tuple.network_namespace == Some(self.namespace)
    }

    /// The office's first process was started by somebody who has nothing to do with it.
    fn without_strangers(&self, event: Event) -> Event {
        let Event::ProcessSeen(introduction) = event else {
            return event;
        };
        let parent = introduction
            .parent
            .filter(|parent| self.processes.contains(parent));
        Event::ProcessSeen(Introduction {
            parent,
            ..introduction
        })
    }
}

fn anonymous(device: Device) -> Device {
    Device {
        endpoint: EndpointId(*b"\x0f\xf1\xce\x00\x00\x00\x40\x00\x80\x00\x00\x00\x00\x00\x00\x17"),
        hostname: "office-17.example".to_owned(),
        boot_id: None,
        machine_id: None,
        kernel_release: None,
        ..device
    }
}

fn build(workspace: &Workspace) -> Result<()> {
    let build = |arguments: &[&str]| {
        process::run(
            process::cargo()
                .current_dir(&workspace.root)
                .arg("build")
                .args(arguments),
        )
    };
    build(&["--profile", "quick", "-p", "conntraild"])?;
    build(&[
        "--profile",
        "quick",
        "-p",
        "sensor-linux",
        "--example",
        "ground_truth",
    ])
}

fn start_recorder(workspace: &Workspace, scratch: &Path, raw: &Path) -> Result<Child> {
    let state = scratch.join("state");
    let recorder = Command::new(workspace.target.join("quick/conntraild"))
        .arg("--state-dir")
        .arg(state)
        .args(["--sensor", "kernel", "--for", "120s", "--record-events"])
        .arg(raw)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start the recorder")?;
    thread::sleep(RECORDER_START);
    Ok(recorder)
}

fn stop_recorder(mut recorder: Child) -> Result<()> {
    let pid = rustix::process::Pid::from_child(&recorder);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let status = recorder.wait()?;
    if !status.success() {
        bail!("the recorder failed: {status}");
    }
    Ok(())
}

fn play(workspace: &Workspace, namespace: &Namespace, count: u32) -> Result<()> {
    let programs = Path::new(PROGRAMS);
    if programs.exists() {
        bail!("{PROGRAMS} exists; the office's programs would be put there, so move it away");
    }
    fs::create_dir_all(programs)?;
    let director = programs.join("office");
    let played = fs::copy(
        workspace.target.join("quick/examples/ground_truth"),
        &director,
    )
    .context("cannot copy the programs")
    .and_then(|_| {
        let mut command = namespace.command(&director);
        command.args([
            "office",
            "--programs",
            PROGRAMS,
            "--count",
            &count.to_string(),
        ]);
        for address in REMOTE {
            command.args(["--address", address]);
        }
        for address in LOCAL {
            command.args(["--local-address", address]);
        }
        process::run(&mut command)
    });
    fs::remove_dir_all(programs).with_context(|| format!("cannot remove {PROGRAMS}"))?;
    played
}
