//! A pretended Mac with the sensor on it.

use darwin_double::machine;
use flow::{Closed, Event, FlowKey, Opened};
use objc2_network_extension::NEProviderStopReason;
use objc2_network_extension::driver::{self, Flow, FlowSpec, Provider, Value};
use record::{LossCause, LostKind, Mono, Stamp, Wall};
use sensor_macos::{
    ConfigValue, FilterSensor, FilterSettings, Options, PROVIDER_CLASS, Sensor, prepare,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything takes on a slow machine.
pub(crate) const ENOUGH: Duration = Duration::from_secs(60);

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// The monotonic clock when a stage is set.
pub(crate) const START: Mono = Mono(1_000 * SECOND_NS);

static MONO: AtomicU64 = AtomicU64::new(0);
static WALL: AtomicI64 = AtomicI64::new(0);
static CLOCK_IS_BROKEN: AtomicBool = AtomicBool::new(false);

/// Sensor, provider and the system around them. What is declared first goes first.
pub(crate) struct Stage {
    pub(crate) provider: Option<Provider>,
    pub(crate) sensor: Option<FilterSensor>,
    /// What was told and not looked at yet.
    pub(crate) events: Vec<Event>,
    directory: tempfile::TempDir,
    _machine: machine::Guard,
    _alone: driver::Alone,
}

impl Stage {
    /// Launched, and nothing is started yet.
    pub(crate) fn new() -> Stage {
        Stage::with(|_| {})
    }

    /// Launched with other options.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Stage {
        // Before there is a sensor, so that it does not see the time go back.
        let alone = driver::alone();
        let machine = machine::lock();
        MONO.store(START.0, Ordering::Relaxed);
        WALL.store(1_700_000_000 * SECOND_NS as i64, Ordering::Relaxed);
        CLOCK_IS_BROKEN.store(false, Ordering::Relaxed);
        let mut stage = Stage {
            provider: None,
            sensor: None,
            events: Vec::new(),
            directory: tempfile::tempdir().unwrap(),
            _machine: machine,
            _alone: alone,
        };
        stage.launch(change);
        stage
    }

    /// Ends the process as a crash does, and launches another.
    pub(crate) fn crash_and_launch(&mut self) {
        self.provider = None;
        let file = self.directory.path().join("breaker");
        let written = std::fs::read(&file).unwrap();
        self.sensor = None;
        std::fs::write(&file, written).unwrap();
        self.events.clear();
        self.launch(|_| {});
    }

    fn launch(&mut self, change: impl FnOnce(&mut Options)) {
        let mut options = Options::new(clock, FilterSettings::default());
        options.state_directory = Some(self.directory.path().to_owned());
        options.on_vendor_config = Arc::new(settings_of);
        change(&mut options);
        self.sensor = Some(prepare(options));
        self.provider = Some(Provider::launch(PROVIDER_CLASS).unwrap());
    }

    pub(crate) fn provider(&self) -> &Provider {
        self.provider.as_ref().unwrap()
    }

    /// Starts the filter, and looks at what that tells.
    pub(crate) fn start(&mut self) {
        assert_eq!(self.provider().start().wait_for_end(), [None]);
        self.until("started", |event| {
            matches!(event, Event::SensorLimited { limit, .. }
                if limit.starts_with("macOS started"))
                || matches!(event, Event::SensorStarted { .. })
        });
        self.settle();
    }

    pub(crate) fn stop(&mut self, reason: NEProviderStopReason) {
        assert_eq!(self.provider().stop(reason).wait_for_end(), [None]);
    }

    /// Offers a flow, which must be let through as always. Nobody holds it afterwards.
    pub(crate) fn offer(&self, spec: &FlowSpec) -> Flow {
        let flow = Flow::new(spec);
        let verdict = self.provider().new_flow(&flow);
        assert!(verdict.is_observed(), "{verdict:?}");
        assert_eq!(flow.retain_count(), 1, "held after the callback");
        flow
    }

    /// Takes what is there, and waits for nothing.
    pub(crate) fn poll(&mut self) {
        let sensor = self.sensor.as_mut().unwrap();
        sensor.poll(Duration::ZERO, &mut self.events).unwrap();
    }

    /// Takes all that is there, twice, so that what the first look set off is there too.
    pub(crate) fn settle(&mut self) {
        driver::settle();
        self.poll();
        self.poll();
    }

    /// The first event that is wanted; what was told before it is forgotten.
    pub(crate) fn until(&mut self, what: &str, is_wanted: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + ENOUGH;
        loop {
            if let Some(place) = self.events.iter().position(&is_wanted) {
                return self.events.drain(..=place).next_back().unwrap();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not {what}: {:?}", self.events);
            let sensor = self.sensor.as_mut().unwrap();
            let timeout = left.min(Duration::from_millis(100));
            sensor.poll(timeout, &mut self.events).unwrap();
        }
    }

    pub(crate) fn until_opened(&mut self, flow: &Flow) -> Opened {
        let key = key(flow);
        let is_opened = |event: &Event| matches!(event, Event::Opened(it) if it.key == key);
        let Event::Opened(opened) = self.until("opened", is_opened) else {
            unreachable!("that is what was waited for");
        };
        opened
    }

    pub(crate) fn until_closed(&mut self, flow: &Flow) -> Closed {
        let key = key(flow);
        let is_closed = |event: &Event| matches!(event, Event::Closed(it) if it.key == key);
        let Event::Closed(closed) = self.until("closed", is_closed) else {
            unreachable!("that is what was waited for");
        };
        closed
    }

    /// The sentence of the first limit that holds `words`.
    pub(crate) fn until_limited(&mut self, words: &str) -> String {
        let is_limit = |event: &Event| {
            matches!(event, Event::SensorLimited { limit, .. }
                if limit.contains(words))
        };
        let Event::SensorLimited { limit, .. } = self.until(words, is_limit) else {
            unreachable!("that is what was waited for");
        };
        limit
    }

    /// How many were lost in this way, as far as was told by now.
    pub(crate) fn lost(&self, cause: LossCause, what: LostKind) -> u64 {
        let mut lost = 0;
        for event in &self.events {
            if let Event::Lost {
                cause: why,
                what: kind,
                count,
                ..
            } = event
                && (*why, *kind) == (cause, what)
            {
                lost += count.unwrap_or(0);
            }
        }
        lost
    }
}

/// How the table will call a flow.
pub(crate) fn key(flow: &Flow) -> FlowKey {
    let id = u128::from_be_bytes(flow.spec().id);
    FlowKey {
        socket: (id >> 64) as u64,
        part: id as u64,
    }
}

/// Lets time pass on both clocks.
pub(crate) fn pass(seconds: u64) {
    MONO.fetch_add(seconds * SECOND_NS, Ordering::Relaxed);
    WALL.fetch_add((seconds * SECOND_NS) as i64, Ordering::Relaxed);
}

/// Sets the wall clock back.
pub(crate) fn set_wall_back(seconds: u64) {
    WALL.fetch_sub((seconds * SECOND_NS) as i64, Ordering::Relaxed);
}

/// From now on whoever reads the clock panics, or not any more.
pub(crate) fn break_clock(is_broken: bool) {
    CLOCK_IS_BROKEN.store(is_broken, Ordering::Relaxed);
}

pub(crate) fn clock() -> Stamp {
    assert!(
        !CLOCK_IS_BROKEN.load(Ordering::Relaxed),
        "the clock is broken"
    );
    Stamp {
        wall: Wall(WALL.load(Ordering::Relaxed)),
        mono: Mono(MONO.load(Ordering::Relaxed)),
    }
}

/// What a profile says to the filter, as keys of `VendorConfig`.
pub(crate) fn set_profile(keys: &[(&str, bool)]) {
    let keys = keys
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::Bool(*value)));
    driver::set_vendor_configuration(Some(&keys.collect::<Vec<_>>()));
}

fn settings_of(values: Vec<(String, ConfigValue)>) -> FilterSettings {
    let is_set = |name: &str| {
        values
            .iter()
            .any(|(key, value)| key == name && *value == ConfigValue::Boolean(true))
    };
    FilterSettings {
        loopback: is_set("loopback"),
        stand_aside: is_set("stand_aside"),
        command_lines: is_set("command_lines"),
    }
}
