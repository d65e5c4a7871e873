//! On Linux the kernel's sensor watches, or the sampled one. What cannot begin is an error, and the
//! service manager tries again.

use super::Watch;
use crate::log::{say, say_problems};
use crate::privacy::{PolicyWatch, Wanted};
use crate::recording::Recorder;
use crate::{End, Session};
use anyhow::Context;
use flow::Event;
use host::config::{Config, Layers, SensorChoice};
use record::SensorKind;
use sensor_linux::coverage::Meter;
use sensor_linux::kernel::KernelSensor;
use sensor_linux::sampled::{SampledOptions, SampledSensor};
use sensor_linux::{Sensor, SensorError, kernel};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

pub(super) fn configure(path: Option<&Path>) -> anyhow::Result<Layers> {
    Ok(Layers::load(path)?)
}

/// The sensor introduces processes before their flows and tells every end, so nothing is waited
/// for and nothing is given up.
pub(super) fn table_config(base: flow::Config, _config: &Config) -> flow::Config {
    base
}

pub(super) fn record(session: Session) -> anyhow::Result<()> {
    let Session {
        layers,
        state_dir,
        record_events,
        policy,
        end,
    } = session;
    say_problems(&layers);
    let wanted = Wanted::of(&layers.config, &policy.beside);
    let policy = PolicyWatch::begin(move || wanted.clone(), policy.hung_up);
    let device = host::device::device(&state_dir, env!("CARGO_PKG_VERSION"))?;
    let now = host::clock::stamp();
    let mut recorder = Recorder::open(&state_dir, device, &layers.config, policy, now)?;
    if let Some(path) = &record_events {
        recorder.capture_events(path)?;
    }
    let (watch, reduced) = start(&layers.config)?;
    if let Some(reason) = &reduced {
        say_reduced(reason);
    }
    let epoch = recorder.epoch();
    say(&format!(
        "recording to {} ({}, epoch {epoch})",
        state_dir.display(),
        watch.kind.name()
    ));
    let sensing = watch.run(move || End::reason(&end));
    recorder.run(Vec::new(), &sensing)
}

/// A sensor, and why it is not the kernel's where that was wanted.
type Started = (Watch, Option<String>);

fn start(config: &Config) -> anyhow::Result<Started> {
    match config.sensor_kind {
        SensorChoice::Kernel => {
            let watch = kernel_watch(config).context("the kernel sensor could not be started")?;
            Ok((watch, None))
        }
        SensorChoice::Sampled => sampled_watch(config, None),
        SensorChoice::Auto => match kernel_watch(config) {
            Ok(watch) => Ok((watch, None)),
            Err(error) => sampled_watch(config, Some(error.to_string())),
        },
    }
}

fn kernel_watch(config: &Config) -> Result<Watch, SensorError> {
    let options = kernel::Options {
        ring_bytes: config.ring_bytes as u32,
        capture_arguments: config.command_lines,
        boot_id: host::device::boot_id(),
        udp_idle: Duration::from_secs(config.udp_idle_s),
        totals_interval: Duration::from_millis(config.totals_interval_ms),
        ..kernel::Options::default()
    };
    let sensor = KernelSensor::start(&options)?;
    Ok(watch(SensorKind::LinuxEbpf, sensor, config))
}

fn sampled_watch(config: &Config, reduced: Option<String>) -> anyhow::Result<Started> {
    let reason = reduced
        .clone()
        .unwrap_or_else(|| "it was asked for".to_owned());
    let options = SampledOptions {
        interval: Duration::from_millis(config.poll_interval_ms),
        udp: true,
        boot_id: host::device::boot_id(),
        reason,
    };
    let sensor =
        SampledSensor::start(&options).context("the sampled sensor could not be started")?;
    Ok((watch(SensorKind::LinuxSampled, sensor, config), reduced))
}

fn watch(kind: SensorKind, mut sensor: impl Sensor + 'static, config: &Config) -> Watch {
    let mut meter = Meter::new(config.ledger_interval_s * 1_000_000_000);
    let poll = move |timeout, events: &mut Vec<Event>| {
        let before = events.len();
        let polled = sensor.poll(timeout, events);
        meter.follow(&events[before..]);
        events.extend(meter.read_if_due(host::clock::mono()));
        polled.map_err(|error| error.to_string())
    };
    Watch {
        kind,
        poll: Box::new(poll),
    }
}

/// One line, bold where a person reads it, because what is recorded is less than what was asked
/// for.
fn say_reduced(reason: &str) {
    let (bold, plain) = if std::io::stderr().is_terminal() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    say(&format!(
        "{bold}REDUCED: polling socket tables instead of watching the kernel, because {reason}. \
         Lost: connections shorter than a poll, exact bytes, how connections end.{plain}"
    ));
}
