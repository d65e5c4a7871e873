//! `conntraild`, the recorder: senses connections, tracks each to its end, keeps the record.
//!
//! Two threads and a bounded channel between them. The sensing thread takes events from the system;
//! when the channel is full it waits, the queue before it fills, and there is counted what did not
//! fit: nobody's connection ever waits for us. The recording thread owns the flow table and the
//! trail.
//!
//! On macOS this program is the executable of the system extension, and the system's threads tell
//! the sensor of flows.

#![forbid(unsafe_code)]

#[cfg(any(target_os = "macos", test))]
mod backlog;
mod books;
mod capture;
#[cfg(any(target_os = "macos", test))]
mod insisting;
mod live_table;
mod log;
#[cfg(any(target_os = "macos", test))]
mod managed;
mod privacy;
mod readers;
mod recording;
mod sensing;
mod signing;

use anyhow::Context;
use clap::Parser;
use host::config::{Layers, SensorChoice};
use record::StopReason;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
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
    #[arg(long, value_name = "FILE", help = host::paths::config_file_help())]
    config: Option<PathBuf>,
    /// Stop by itself after this time, such as 30s, 5m or 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = host::config::parse_duration)]
    duration: Option<Duration>,
    /// Which sensor watches, on Linux: auto, kernel or sampled.
    #[arg(long, value_name = "KIND")]
    sensor: Option<SensorChoice>,
    /// Also write every event to FILE, for `conntrail replay`.
    #[arg(long, value_name = "FILE")]
    record_events: Option<PathBuf>,
}

/// What one run of the recorder is about.
struct Session {
    layers: Layers,
    state_dir: PathBuf,
    record_events: Option<PathBuf>,
    policy: PolicyPlace,
    end: End,
}

/// Where the privacy policy is where no setting says it, and when to look at once.
struct PolicyPlace {
    beside: PathBuf,
    hung_up: Arc<AtomicBool>,
}

/// When recording ends.
struct End {
    stop: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut layers = sensing::configure(arguments.config.as_deref())?;
    if let Some(choice) = arguments.sensor {
        layers.choose_sensor(choice);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("the signal handlers could not be installed")?;
    }
    let hung_up = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGHUP, Arc::clone(&hung_up))
        .context("the signal handler could not be installed")?;
    sensing::record(Session {
        layers,
        state_dir: arguments
            .state_dir
            .unwrap_or_else(host::paths::default_state_dir),
        record_events: arguments.record_events,
        policy: PolicyPlace {
            beside: host::paths::policy_file(arguments.config.as_deref()),
            hung_up,
        },
        end: End {
            stop,
            deadline: arguments.duration.map(|duration| Instant::now() + duration),
        },
    })
}

impl End {
    /// Why to stop, when it is time to.
    fn reason(&self) -> Option<StopReason> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(StopReason::Requested);
        }
        let elapsed = self.deadline.is_some_and(|at| Instant::now() >= at);
        elapsed.then_some(StopReason::Elapsed)
    }
}
