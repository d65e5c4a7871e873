//! The fleet's side: a JetStream cluster, a store, two relays, and what each costs.

use anyhow::Context;
use conntrail_ship::fleet::{self, Form};
use engines::{ClickHouse, ClickHouseOptions, NatsCluster};
use ship::config::{self, Destination};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

/// The stream.
pub(crate) const STREAM: &str = "CONNTRAIL";

/// Everything that runs beside the machines.
pub(crate) struct Ground {
    /// Three nodes.
    pub(crate) cluster: NatsCluster,
    /// The store.
    pub(crate) store: ClickHouse,
    folder: TempDir,
    program: PathBuf,
    relays: Mutex<[Option<Child>; 2]>,
    costs: Mutex<BTreeMap<Task, Account>>,
}

/// What processes are there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// The three nodes of the cluster.
    JetStream,
    /// Both relays.
    Relay,
    /// The store.
    Store,
    /// The shipper of one machine.
    Shipper,
}

/// What the processes of one task have used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Processor time of all of them, in seconds.
    pub(crate) cpu_s: f64,
    /// The most that one of them had in memory, in bytes.
    pub(crate) memory_bytes: u64,
}

/// Processor time of processes that have the same task, in clock ticks.
#[derive(Default)]
struct Account {
    past: u64,
    now: BTreeMap<u32, u64>,
    memory_bytes: u64,
}

impl Ground {
    /// Starts all of it. `program` is the shipper, which is the relay too.
    pub(crate) fn start(program: &Path) -> anyhow::Result<Ground> {
        let store = ClickHouse::start_with(ClickHouseOptions {
            user: "relay",
            password: "over there",
        });
        let statements = fleet::ddl(&Form::Single, "conntrail");
        let statements = statements.iter().flat_map(|it| it.text.split(";\n"));
        let is_code = |line: &str| !line.trim().is_empty() && !line.starts_with("--");
        let statements = statements.filter(|it| it.lines().any(is_code));
        statements.for_each(|it| store.run(it));
        let ground = Ground {
            cluster: NatsCluster::start(),
            store,
            folder: tempfile::tempdir()?,
            program: program.to_owned(),
            relays: Mutex::default(),
            costs: Mutex::default(),
        };
        ground.make_stream()?;
        ground.write_settings()?;
        ground.start_relay(0)?;
        ground.start_relay(1)?;
        Ok(ground)
    }

    /// What a shipper is told, with these settings of its own.
    pub(crate) fn shipper_settings(&self, settings: &str) -> String {
        let servers = self.cluster.urls();
        format!(
            "[destination.lake]\n{settings}\n[destination.lake.jetstream]\n\
             servers = {servers:?}\nstream = \"{STREAM}\"\n"
        )
    }

    /// The same, as it is understood.
    pub(crate) fn destination(&self, settings: &str) -> anyhow::Result<Destination> {
        let text = self.shipper_settings(settings);
        let parsed = config::parse(&text).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let mut all = parsed.destination.into_values();
        all.next().context("there is no destination")
    }

    /// As `fleet/nats/stream.json` has it, with no more room than one machine has.
    fn make_stream(&self) -> anyhow::Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fleet/nats/stream.json");
        let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        config["max_bytes"] = (4_u64 << 30).into();
        let subject = format!("$JS.API.STREAM.CREATE.{STREAM}");
        let mut client = self.cluster.nodes()[0].connect();
        let answer = client.request(&subject, &[], config.to_string().as_bytes())?;
        let answer = answer.json();
        anyhow::ensure!(answer["error"].is_null(), "no stream: {answer}");
        Ok(())
    }

    fn write_settings(&self) -> anyhow::Result<()> {
        let password = self.folder.path().join("password");
        fs::write(&password, "over there\n")?;
        let text = format!(
            "[jetstream]\nservers = {:?}\nack_wait_s = 20\n[clickhouse]\nurl = \"{}\"\n\
             user = \"relay\"\npassword_file = \"{}\"\ntimeout_s = 60\n",
            self.cluster.urls(),
            self.store.url(),
            password.display(),
        );
        Ok(fs::write(self.folder.path().join("relay.toml"), text)?)
    }

    /// Starts a relay, `0` or `1`.
    pub(crate) fn start_relay(&self, number: usize) -> anyhow::Result<()> {
        let log = File::create(self.folder.path().join(format!("relay-{number}.log")))?;
        let child = mortal(&self.program)
            .args(["relay", "--config"])
            .arg(self.folder.path().join("relay.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.with_context(|| self.program.display().to_string())?;
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(child);
        Ok(())
    }

    /// Kills a relay.
    pub(crate) fn kill_relay(&self, number: usize) -> anyhow::Result<()> {
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut relay) = relays[number].take() {
            relay.kill()?;
            relay.wait()?;
        }
        Ok(())
    }

    /// Looks what each process has used; to be called often, as some are killed.
    pub(crate) fn look(&self) {
        let nodes = self.cluster.nodes().iter().filter_map(|it| it.process_id());
        self.note(Task::JetStream, nodes.collect());
        self.note(Task::Store, self.store.process_id().into_iter().collect());
        let relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        self.note(
            Task::Relay,
            relays.iter().flatten().map(Child::id).collect(),
        );
    }

    /// Looks what these processes have used.
    pub(crate) fn note(&self, task: Task, pids: Vec<u32>) {
        let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let account = costs.entry(task).or_default();
        for pid in pids {
            if let Some(ticks) = ticks(pid) {
                account.now.insert(pid, ticks);
                account.memory_bytes = account.memory_bytes.max(peak_bytes(pid));
            }
        }
        let gone: Vec<u32> = account.now.keys().copied().collect();
        for pid in gone.into_iter().filter(|pid| ticks(*pid).is_none()) {
            account.past += account.now.remove(&pid).unwrap_or(0);
        }
    }

    /// What was used since the start.
    pub(crate) fn cost(&self, task: Task) -> Cost {
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = costs.get(&task).map(|it| Cost {
            cpu_s: (it.past + it.now.values().sum::<u64>()) as f64 / TICKS_PER_S,
            memory_bytes: it.memory_bytes,
        });
        cost.unwrap_or_default()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for number in 0..2 {
            // It may be gone already.
            let _ = self.kill_relay(number);
        }
    }
}

/// A command that ends with this process, whatever ends that.
pub(crate) fn mortal(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// What Linux on this processor counts in.
pub(crate) const TICKS_PER_S: f64 = 100.0;

/// Processor time of a process in seconds; `None` where there is none.
pub(crate) fn cpu_s(pid: u32) -> Option<f64> {
    ticks(pid).map(|it| it as f64 / TICKS_PER_S)
}

/// Processor time of a process in clock ticks; `None` where there is none.
pub(crate) fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| words.get(index).and_then(|it| it.parse::<u64>().ok());
    Some(number(11)? + number(12)?)
}

/// The most that a process has had in memory, in bytes.
pub(crate) fn peak_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}
