//! The sensing thread: takes the events of a sensor, hands them on.
//!
//! Which sensor there is, and what it asks of the program around it, differs between systems: see
//! the files of their names.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use crate::Session;
use flow::Event;
use host::config::{Config, Layers};
use record::{SensorKind, StopReason};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

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

/// Reads the configuration file: the one that was named, or the default one.
///
/// # Errors
/// When a file that was named cannot be read.
pub(crate) fn configure(path: Option<&Path>) -> anyhow::Result<Layers> {
    platform::configure(path)
}

/// Records until the end of the session.
///
/// # Errors
/// When it cannot begin, or when what was recorded last could not be written.
pub(crate) fn record(session: Session) -> anyhow::Result<()> {
    platform::record(session)
}

/// How the flow table deals with what this system's sensor tells.
pub(crate) fn table_config(config: &Config) -> flow::Config {
    platform::table_config(
        flow::Config {
            flows_max: config.flows_max as usize,
            update_interval_ns: config.update_interval_s * 1_000_000_000,
            ledger_interval_ns: config.ledger_interval_s * 1_000_000_000,
            burst_max: config.burst_max,
            burst_interval_ns: config.burst_interval_s * 1_000_000_000,
            ..flow::Config::default()
        },
        config,
    )
}

/// A sensor at work.
struct Watch {
    kind: SensorKind,
    poll: Box<Poll>,
}

/// Waits up to the timeout and appends what was seen; an error, in words, is the end.
type Poll = dyn FnMut(Duration, &mut Vec<Event>) -> Result<(), String> + Send;

impl Watch {
    /// Watches on a thread of its own until `why_stop` gives a reason or the sensor ends.
    fn run(self, why_stop: impl Fn() -> Option<StopReason> + Send + 'static) -> Receiver<Sensed> {
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        thread::spawn(move || self.sense(&why_stop, &sender));
        receiver
    }

    /// A receiver that is gone means that recording failed; then there is nobody to sense for.
    fn sense(mut self, why_stop: &dyn Fn() -> Option<StopReason>, sender: &SyncSender<Sensed>) {
        let (reason, words) = loop {
            if let Some(reason) = why_stop() {
                break (reason, reason.name().to_owned());
            }
            let mut events = Vec::new();
            let polled = (self.poll)(POLL_TIMEOUT, &mut events);
            if !events.is_empty() && sender.send(Sensed::Events(events)).is_err() {
                return;
            }
            if let Err(error) = polled {
                break (StopReason::SensorEnded, error);
            }
        };
        let mut events = self.last_events();
        events.push(Event::SensorStopped {
            sensor: self.kind,
            reason: words,
        });
        // The program may end as soon as the last message is out, and the sensor may have things
        // to put in order.
        drop(self);
        if sender.send(Sensed::Events(events)).is_ok() {
            // The receiver may have given up in between, which changes nothing.
            let _ = sender.send(Sensed::Ended(reason));
        }
    }

    /// What happened before the stop belongs to the record.
    fn last_events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..LAST_POLLS_MAX {
            let before = events.len();
            if (self.poll)(Duration::ZERO, &mut events).is_err() || events.len() == before {
                break;
            }
        }
        events
    }
}
