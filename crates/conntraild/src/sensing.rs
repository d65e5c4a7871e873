//! The sensing thread: chooses a sensor, takes its events, hands them on.

use anyhow::Context;
use flow::Event;
use host::config::{Config, SensorChoice};
use record::{SensorKind, StopReason};
use sensor_linux::kernel::KernelSensor;
use sensor_linux::sampled::{SampledOptions, SampledSensor};
use sensor_linux::{Sensor, SensorError, kernel};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// A sensor that is ready to watch.
pub(crate) struct Watch {
    sensor_at_work: Box<dyn Sensor>,
    /// Which sensor it is.
    pub(crate) sensor: SensorKind,
    /// Why it is not the kernel's, where that was wanted.
    pub(crate) reduced: Option<String>,
}

/// What the sensing thread hands on.
pub(crate) enum Sensed {
    /// Events, in the order they were seen.
    Events(Vec<Event>),
    /// The last message.
    Ended(StopReason),
}

/// Batches that may wait between the two threads.
const BATCHES_MAX: usize = 16;

/// Long enough to cost nothing, short enough to notice a signal.
const POLL_TIMEOUT: Duration = Duration::from_millis(200);

/// How often a sensor is asked for more at the end, so that a busy machine cannot hold the stop up.
const LAST_POLLS_MAX: usize = 100;

/// Chooses and starts a sensor.
///
/// # Errors
/// When the sensor that was asked for, or any at all, cannot start.
pub(crate) fn start(config: &Config) -> anyhow::Result<Watch> {
    match config.sensor_kind {
        SensorChoice::Kernel => {
            kernel_watch(config).context("the kernel sensor could not be started")
        }
        SensorChoice::Sampled => sampled_watch(config, None),
        SensorChoice::Auto => match kernel_watch(config) {
            Ok(watch) => Ok(watch),
            Err(error) => sampled_watch(config, Some(error.to_string())),
        },
    }
}

impl Watch {
    /// Watches on a thread of its own until `why_stop` gives a reason or the sensor ends.
    pub(crate) fn run(
        self,
        why_stop: impl Fn() -> Option<StopReason> + Send + 'static,
    ) -> Receiver<Sensed> {
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        thread::spawn(move || sense(self, &why_stop, &sender));
        receiver
    }
}

fn kernel_watch(config: &Config) -> Result<Watch, SensorError> {
    let options = kernel::Options {
        ring_bytes: config.ring_bytes as u32,
        capture_arguments: config.command_lines,
        boot_id: host::device::boot_id(),
        udp_idle: Duration::from_secs(config.udp_idle_s),
        ..kernel::Options::default()
    };
    let sensor = KernelSensor::start(&options)?;
    Ok(Watch {
        sensor_at_work: Box::new(sensor),
        sensor: SensorKind::LinuxEbpf,
        reduced: None,
    })
}

fn sampled_watch(config: &Config, reduced: Option<String>) -> anyhow::Result<Watch> {
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
    let sensor_at_work = Box::new(sensor);
    Ok(Watch {
        sensor_at_work,
        sensor: SensorKind::LinuxSampled,
        reduced,
    })
}

/// A receiver that is gone means that recording failed; then there is nobody to sense for.
fn sense(mut watch: Watch, why_stop: &dyn Fn() -> Option<StopReason>, sender: &SyncSender<Sensed>) {
    let (reason, words) = loop {
        if let Some(reason) = why_stop() {
            break (reason, reason.name().to_owned());
        }
        let mut events = Vec::new();
        let polled = watch.sensor_at_work.poll(POLL_TIMEOUT, &mut events);
        if !events.is_empty() && sender.send(Sensed::Events(events)).is_err() {
            return;
        }
        if let Err(error) = polled {
            break (StopReason::SensorEnded, error.to_string());
        }
    };
    let mut events = last_events(&mut *watch.sensor_at_work);
    events.push(Event::SensorStopped {
        sensor: watch.sensor,
        reason: words,
    });
    if sender.send(Sensed::Events(events)).is_ok() {
        // The receiver may have given up in between, which changes nothing.
        let _ = sender.send(Sensed::Ended(reason));
    }
}

/// What happened before the stop belongs to the record.
fn last_events(sensor: &mut dyn Sensor) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..LAST_POLLS_MAX {
        let before = events.len();
        if sensor.poll(Duration::ZERO, &mut events).is_err() || events.len() == before {
            break;
        }
    }
    events
}
