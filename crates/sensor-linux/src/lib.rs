//! Linux sensors: what the kernel tells about connections, as [`flow::Event`]s.
//!
//! [`kernel`] is told by the kernel itself (eBPF) and misses nothing it does not count.
//! [`sampled`] needs no privilege: it polls the socket tables and misses what lives shorter than a
//! poll. Both are a [`Sensor`], so the recorder does not care which it got.

#![deny(unsafe_code)]

pub mod kernel;
pub mod sampled;
mod sys;
pub mod translate;

use flow::Event;
use std::time::Duration;

/// What every sensor can do.
pub trait Sensor: Send {
    /// Waits up to `timeout` for something to report and appends it to `events`.
    ///
    /// The first call reports that the sensor started, and the sockets that were there before it.
    ///
    /// # Errors
    /// When the sensor can no longer see; what was appended before is good.
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<(), SensorError>;
}
