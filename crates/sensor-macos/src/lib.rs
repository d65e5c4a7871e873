//! macOS sensor: what a content filter is told, as [`flow::Event`]s.
//!
//! The system calls the provider (`provider.rs`) on threads of its own, for every flow and every
//! report of one. There what matters is copied into a queue of fixed size, and the flow is allowed.
//! All else happens behind that queue, on the thread that calls [`Sensor::poll`] and on two
//! workers, which find out who a process is and which sockets there are.
//!
//! Off Apple the same lines run on doubles of the Objective-C runtime, the frameworks and the C
//! library, so that tests need no Mac.

#![deny(unsafe_code)]

mod breaker;
mod coverage;
mod extension;
mod identity;
mod intake;
mod provider;
mod raw;
mod sensor;
mod settings;
mod snapshot;
mod sys;
mod token;
mod translate;

pub use extension::{Options, prepare, run_system_extension, serve};
pub use provider::PROVIDER_CLASS;
pub use sensor::FilterSensor;
pub use settings::{ConfigValue, FilterSettings, VendorConfigured};
pub use token::Token;

use flow::Event;
use record::Stamp;
use std::time::Duration;

/// Reads both clocks. Given from outside, so that tests own time.
pub type Clock = fn() -> Stamp;

/// What every sensor can do.
pub trait Sensor: Send {
    /// Waits up to `timeout` for something to report and appends it to `events`.
    ///
    /// The first call reports that the sensor started.
    ///
    /// # Errors
    /// When the sensor can no longer see; what was appended before is good.
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<(), SensorError>;
}

/// Why a sensor can no longer see.
///
/// The filter has no such reason: what goes wrong with it is told in events, and the sensor goes
/// on. The type is here so that every sensor is polled in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SensorError {}
