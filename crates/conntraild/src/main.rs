//! `conntraild`, the recorder: senses connections, tracks each to its end, keeps the record.
//!
//! Two threads and a bounded channel between them. The sensing thread takes events from the kernel;
//! when the channel is full it waits, the kernel's ring fills, and the kernel counts what did not
//! fit: nobody's connection ever waits for us. The recording thread owns the flow table and the
//! trail.

#![forbid(unsafe_code)]

mod capture;
mod log;
mod recording;
mod sensing;

use anyhow::Context;
use clap::Parser;
use host::config::{Layers, SensorChoice};
use log::say;
use record::StopReason;
use recording::Recorder;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Records which process connected where, when, how long and how many bytes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder of the trail and of this endpoint's identity.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Configuration file [default: /etc/conntrail/conntrail.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stop by itself after this time, such as 30s, 5m or 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = host::config::parse_duration)]
    duration: Option<Duration>,
    /// Which sensor watches: auto, kernel or sampled.
    #[arg(long, value_name = "KIND")]
    sensor: Option<SensorChoice>,
    /// Also write every event to FILE, for `conntrail replay`.
    #[arg(long, value_name = "FILE")]
    record_events: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let layers = configure(&arguments)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("the signal handlers could not be installed")?;
    }
    let state_dir = arguments
        .state_dir
        .clone()
        .unwrap_or_else(host::paths::default_state_dir);
    let device = host::device::device(&state_dir, env!("CARGO_PKG_VERSION"))?;
    let mut recorder = Recorder::open(&state_dir, device, &layers.config)?;
    if let Some(path) = &arguments.record_events {
        recorder.capture_events(path)?;
    }
    let watch = sensing::start(&layers.config)?;
    if let Some(reason) = &watch.reduced {
        say_reduced(reason);
    }
    let epoch = recorder.epoch();
    say(&format!(
        "recording to {} ({}, epoch {epoch})",
        state_dir.display(),
        watch.sensor.name()
    ));
    let deadline = arguments.duration.map(|duration| Instant::now() + duration);
    let sensing = watch.run(move || why_stop(&stop, deadline));
    recorder.run(sensing)
}

fn configure(arguments: &Arguments) -> anyhow::Result<Layers> {
    let mut layers = Layers::load(arguments.config.as_deref())?;
    if let Some(choice) = arguments.sensor {
        layers.choose_sensor(choice);
    }
    for problem in &layers.problems {
        say(&format!("configuration: {problem}"));
    }
    Ok(layers)
}

fn why_stop(stop: &AtomicBool, deadline: Option<Instant>) -> Option<StopReason> {
    if stop.load(Ordering::Relaxed) {
        return Some(StopReason::Requested);
    }
    let elapsed = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    elapsed.then_some(StopReason::Elapsed)
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
