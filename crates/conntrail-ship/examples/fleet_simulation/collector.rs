//! The same records, shipped from the trail by the shipper and from a file by a collector.

use crate::Options;
use crate::backlog::Recorder;
use crate::ground::{Cost, TICKS_PER_S, peak_bytes, ticks};
use crate::table::{self, Stage};
use anyhow::Context;
use engines::{Port, Rotel, http};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Says where the collector is.
const COLLECTOR: &str = "CONNTRAIL_OTELCOL";
const LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);

/// Ships them both ways to a receiver that throws them away, with gzip, and prints what each cost.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Some(program) = std::env::var_os(COLLECTOR) else {
        println!("no collector beside it: {COLLECTOR} is not set");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let state_dir = folder.path().join("state");
    let mut recorder = Recorder::start(&state_dir)?;
    recorder.leave_behind(options.collector_records)?;
    let records = recorder.stop()?;
    let receiver = Rotel::start_with(&["--exporter=blackhole"]);
    let lines = folder.path().join("lines");
    let file = format!(
        "[destination.lines]\nformat = \"ocsf\"\n[destination.lines.file]\n\
         folder = {lines:?}\nfile_bytes_max = 1000000000\n"
    );
    let otlp = format!(
        "[destination.collector]\ncompression = \"gzip\"\n[destination.collector.otlp]\n\
         url = \"{}\"\n",
        receiver.logs_url()
    );
    let once = |name: &str, settings: &str| ship_once(options, folder.path(), name, settings);
    let shipper = once("otlp", &otlp)?;
    let writer = once("lines", &file)?;
    let collector = collect(&program, folder.path(), receiver.http_port(), records)?;
    let stage = |name, cost| Stage {
        name,
        cost,
        records,
    };
    table::stages(&[
        stage("shipper: trail to OTLP, gzip", shipper),
        stage("shipper: trail to lines, OCSF", writer),
        stage("collector: lines to OTLP, gzip", collector),
    ]);
    Ok(())
}

/// Ships what there is; what that cost.
fn ship_once(options: &Options, folder: &Path, name: &str, settings: &str) -> anyhow::Result<Cost> {
    let config = folder.join(format!("{name}.toml"));
    fs::write(&config, settings)?;
    let child = Command::new(&options.program)
        .args(["once", "--config"])
        .arg(&config)
        .arg("--state-dir")
        .arg(folder.join("state"))
        .stdin(Stdio::null())
        .stderr(File::create(folder.join(format!("{name}.log")))?)
        .spawn();
    let mut child = Watched::new(child.context("the shipper cannot be started")?);
    while child.look() {
        thread::sleep(POLL);
    }
    let status = child.process.wait()?;
    anyhow::ensure!(status.success(), "the shipper did not deliver all: {name}");
    Ok(child.cost)
}

/// Lets the collector read the lines, until it says that it has sent all; what that cost.
fn collect(program: &OsStr, folder: &Path, port: u16, records: u64) -> anyhow::Result<Cost> {
    let metrics = Port::reserve();
    let config = folder.join("collector.yaml");
    let text = SETTINGS
        .replace("FOLDER", &folder.join("lines").display().to_string())
        .replace("METRICS", &metrics.number().to_string())
        .replace("PORT", &port.to_string());
    fs::write(&config, text)?;
    let log = File::create(folder.join("collector.log"))?;
    let child = Command::new(program)
        .arg("--config")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    let mut child = Watched::new(child.context("the collector cannot be started")?);
    let started = Instant::now();
    while sent(metrics.number()) < records {
        let is_running = child.look();
        let log = || fs::read_to_string(folder.join("collector.log")).unwrap_or_default();
        anyhow::ensure!(is_running, "the collector ended: {}", log());
        anyhow::ensure!(
            started.elapsed() < LIMIT,
            "it sends nothing more: {}",
            log()
        );
        thread::sleep(10 * POLL);
    }
    child.look();
    Ok(child.cost)
}

const SETTINGS: &str = "receivers:
  filelog:
    include: [FOLDER/*]
    start_at: beginning
    operators: [{type: json_parser}]
processors:
  batch: {send_batch_size: 200, timeout: 1s}
exporters:
  otlphttp: {endpoint: \"http://127.0.0.1:PORT\", compression: gzip}
service:
  telemetry:
    metrics:
      level: basic
      readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: METRICS}}}}]
  pipelines:
    logs: {receivers: [filelog], processors: [batch], exporters: [otlphttp]}
";

/// How many records the collector says it has sent.
fn sent(port: u16) -> u64 {
    let answer = http::get(port, "/metrics").map(|it| it.text());
    let answer = answer.unwrap_or_default();
    let is_it = |line: &&str| line.starts_with("otelcol_exporter_sent_log_records");
    let value = answer.lines().find(is_it);
    let value = value.and_then(|it| it.split_whitespace().last()?.parse::<f64>().ok());
    value.unwrap_or(0.0) as u64
}

/// A process whose use is looked at while it lives; it is killed with the value.
struct Watched {
    process: Child,
    cost: Cost,
}

impl Watched {
    fn new(process: Child) -> Watched {
        Watched {
            process,
            cost: Cost::default(),
        }
    }

    /// Looks what it has used; whether it still runs. Nobody has waited for it, so its times can
    /// be read when it has ended, and its memory cannot.
    fn look(&mut self) -> bool {
        let pid = self.process.id();
        let peak = peak_bytes(pid);
        self.cost.memory_bytes = self.cost.memory_bytes.max(peak);
        if let Some(ticks) = ticks(pid) {
            self.cost.cpu_s = ticks as f64 / TICKS_PER_S;
        }
        peak > 0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
