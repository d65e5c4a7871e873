//! From the start of the process to a sensor that works.
//!
//! Order: [`prepare`], then the thread that polls the sensor, then [`run_system_extension`], then
//! [`serve`].

use crate::Clock;
use crate::breaker::{Breaker, Finding};
use crate::identity::{Identities, IdentityOptions};
use crate::intake::{CAPACITY, Intake};
use crate::provider::{self, caught};
use crate::sensor::{FilterSensor, Workers};
use crate::settings::{FilterSettings, LiveSettings, VendorConfigured};
use crate::snapshot::Snapshots;
use crate::sys;
use flow::Event;
use record::{BreakerCause, BreakerState, SensorKind};
use std::path::PathBuf;
use std::sync::Arc;

/// What the sensor needs to know from outside.
#[derive(Clone)]
pub struct Options {
    /// Reads both clocks; the monotonic one counts from boot and through sleep.
    pub clock: Clock,
    /// Where the breaker keeps its file. Without it crashes are not counted.
    pub state_directory: Option<PathBuf>,
    /// What holds until the system gives the filter's configuration.
    pub settings: FilterSettings,
    /// Turns the filter's configuration into settings: when the filter starts, and every two
    /// seconds while it runs.
    pub on_vendor_config: VendorConfigured,
    /// Events that wait for the sensor at most.
    pub queue_capacity: usize,
}

impl Options {
    /// Options that are right unless there is a reason for others.
    pub fn new(clock: Clock, settings: FilterSettings) -> Options {
        Options {
            clock,
            state_directory: None,
            settings,
            on_vendor_config: Arc::new(move |_| settings),
            queue_capacity: CAPACITY,
        }
    }
}

/// Does what must be done before the system may make a provider: reads the breaker, registers the
/// class, sends the workers off. Waits for none of them.
///
/// Whatever fails or panics here is told by the sensor: an extension that does not run is worse
/// for the machine than one that sees less.
pub fn prepare(options: Options) -> FilterSensor {
    let mut opening = Vec::new();
    let breaker = prepare_breaker(&options, &mut opening);
    let tripped = matches!(breaker, Some((_, Finding::Tripped(_))));
    let (intake, outlet) = Intake::new(
        options.queue_capacity,
        options.clock,
        LiveSettings::new(options.settings, tripped),
        options.on_vendor_config,
    );
    provider::install(Arc::clone(&intake));
    let snapshots = caught(|| Snapshots::start(options.clock));
    if snapshots.is_none() {
        opening.push(limited("connections that were there before are not listed"));
    }
    let identities = caught(|| {
        Identities::start(IdentityOptions {
            clock: options.clock,
            command_lines: options.settings.command_lines,
        })
    });
    if identities.is_none() {
        opening.push(limited("processes are known by their pid only"));
    }
    let workers = Workers {
        identities,
        snapshots,
    };
    let breaker = breaker.map(|(breaker, _)| breaker);
    FilterSensor::new(intake, outlet, workers, breaker, tripped, opening)
}

/// Makes the process answer the system's requests for providers. To be called early, after
/// [`prepare`], which makes the class that is asked for.
pub fn run_system_extension() {
    provider::start_system_extension_mode();
}

/// Gives the calling thread, which must be the main one, to the system for ever.
pub fn serve() -> ! {
    provider::serve()
}

fn prepare_breaker(options: &Options, opening: &mut Vec<Event>) -> Option<(Breaker, Finding)> {
    let directory = options.state_directory.as_ref()?;
    let begun = caught(|| {
        let boot = sys::sysctl::boot_session();
        Breaker::begin(directory, boot, (options.clock)().mono)
    });
    let Some((breaker, finding, complaint)) = begun else {
        opening.push(limited("crashes are not counted"));
        return None;
    };
    opening.extend(complaint.map(limited));
    let changed = match finding {
        Finding::Closed => None,
        Finding::Tripped(crashes) => Some((BreakerState::Tripped, BreakerCause::Crashes, crashes)),
        Finding::Healed(crashes) => Some((BreakerState::Healed, BreakerCause::Boot, crashes)),
    };
    opening.extend(
        changed.map(|(state, cause, crashes)| Event::BreakerChanged {
            state,
            cause,
            crashes,
        }),
    );
    Some((breaker, finding))
}

fn limited(limit: impl Into<String>) -> Event {
    Event::SensorLimited {
        sensor: SensorKind::MacosFilter,
        limit: limit.into(),
    }
}
