//! On macOS this program is the system extension, and every connection of the machine waits for
//! its filter: nothing here ends the program before it is told to, and nothing that can hang stands
//! before the filter.

use super::Watch;
use crate::log::{in_words, say, say_faults, say_problems};
use crate::managed::{self, Managed};
use crate::privacy::{PolicyWatch, Wanted};
use crate::recording::Recorder;
use crate::{Session, insisting};
use flow::Event;
use host::config::{Config, Layers, ManagedValue};
use record::{LossCause, LossStage, LostKind, SensorKind, Stamp};
use sensor_macos::{ConfigValue, FilterSensor, FilterSettings, Options, Sensor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// The longest that reading the configuration may hold up the start.
const CONFIGURE_MAX: Duration = Duration::from_secs(2);

/// Between two looks at the managed preferences.
const PREFERENCES_INTERVAL: Duration = Duration::from_secs(5);

/// After a fault in the sensor, so that one that stays does not take a processor for itself.
const FAULT_PAUSE: Duration = Duration::from_secs(1);

/// How long a record waits for its process to be looked up.
const IDENTITY_WAIT_NS: u64 = 2 * SECOND_NS;

/// After so long without a report a flow is given up, though its process lives on.
const AGE_MAX_NS: u64 = 86_400 * SECOND_NS;

/// Processes that are remembered: twice what the sensor remembers to have asked about.
const PROCESSES_MAX: usize = 8_192;

/// What the container app leaves in the configuration to know it again; no setting.
const MARK_KEY: &str = "ConntrailSavedBy";

const SECOND_NS: u64 = 1_000_000_000;

/// A file that was named by a person must be there; what nobody named must not hold up anything.
pub(super) fn configure(path: Option<&Path>) -> anyhow::Result<Layers> {
    if path.is_some() {
        return Ok(Layers::load(path)?);
    }
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // Nobody waits for it any more when it took long.
        let _ = sender.send(Layers::load(None));
    });
    let trouble = match receiver.recv_timeout(CONFIGURE_MAX) {
        Ok(Ok(layers)) => return Ok(layers),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "reading the configuration file does not end".to_owned(),
    };
    say(&format!("{trouble}; recording begins without it"));
    Ok(Layers::default())
}

/// Processes are introduced after their flows, and not every end is reported.
pub(super) fn table_config(base: flow::Config, config: &Config) -> flow::Config {
    flow::Config {
        identity_wait_ns: IDENTITY_WAIT_NS,
        datagram_idle_ns: config.udp_idle_s * SECOND_NS,
        age_max_ns: AGE_MAX_NS,
        processes_max: PROCESSES_MAX,
        ..base
    }
}

pub(super) fn record(session: Session) -> anyhow::Result<()> {
    say_faults();
    let Session {
        layers,
        state_dir,
        record_events,
        policy,
        end,
    } = session;
    if let Err(error) = std::fs::create_dir_all(&state_dir) {
        say(&format!("{} cannot be made: {error}", state_dir.display()));
    }
    let managed = Arc::new(Managed::new(layers));
    follow(&managed);
    let policy_beside = policy.beside.clone();
    let policy = {
        let managed = Arc::clone(&managed);
        let wanted = move || Wanted::of(&managed.layers().config, &policy.beside);
        PolicyWatch::begin(wanted, policy.hung_up)
    };
    let sensor = sensor_macos::prepare(options(&managed, &state_dir));
    let sensing = watch(sensor).run(move || end.reason());
    let files = Files {
        managed,
        policy,
        policy_beside,
        state_dir,
        record_events,
    };
    thread::spawn(move || {
        let ready = {
            let managed = Arc::clone(&files.managed);
            move || managed.has_vendor()
        };
        let mut files = files;
        let open = |since| files.open(since);
        let ended = insisting::record(ready, open, &sensing, insisting::Pauses::USUAL);
        if let Err(error) = &ended {
            say(&in_words(error));
        }
        std::process::exit(i32::from(ended.is_err()));
    });
    sensor_macos::run_system_extension();
    sensor_macos::serve()
}

/// What the recorder writes to, and how it is configured.
struct Files {
    managed: Arc<Managed>,
    policy: PolicyWatch,
    policy_beside: PathBuf,
    state_dir: PathBuf,
    record_events: Option<PathBuf>,
}

impl Files {
    fn open(&mut self, since: Stamp) -> anyhow::Result<Recorder> {
        let config = self.managed.layers().config;
        let device = host::device::device(&self.state_dir, env!("CARGO_PKG_VERSION"))?;
        // The filter's configuration, which came only now, may hold the policy or name it.
        self.policy.look(&Wanted::of(&config, &self.policy_beside));
        let policy = self.policy.clone();
        let mut recorder = Recorder::open(&self.state_dir, device, &config, policy, since)?;
        if let Some(path) = self.record_events.take()
            && let Err(error) = recorder.capture_events(&path)
        {
            say(&in_words(&error));
        }
        let epoch = recorder.epoch();
        let folder = self.state_dir.display();
        say(&format!(
            "recording to {folder} (macos_filter, epoch {epoch})"
        ));
        Ok(recorder)
    }
}

fn options(managed: &Arc<Managed>, state_dir: &Path) -> Options {
    let settings = filter_settings(&managed.layers().config);
    let managed = Arc::clone(managed);
    Options {
        state_directory: Some(state_dir.to_owned()),
        on_vendor_config: Arc::new(move |values| {
            let settings = values.into_iter().filter(|(key, _)| key != MARK_KEY);
            managed.set_vendor(settings.map(plain).collect());
            filter_settings(&managed.layers().config)
        }),
        ..Options::new(host::clock::stamp, settings)
    }
}

fn filter_settings(config: &Config) -> FilterSettings {
    FilterSettings {
        loopback: config.loopback,
        stand_aside: config.stand_aside,
        command_lines: config.command_lines,
    }
}

fn plain((key, value): (String, ConfigValue)) -> (String, ManagedValue) {
    let value = match value {
        ConfigValue::Boolean(boolean) => ManagedValue::Boolean(boolean),
        ConfigValue::Integer(integer) => ManagedValue::Integer(integer),
        ConfigValue::Text(text) => ManagedValue::Text(text),
        ConfigValue::Other(kind) => ManagedValue::Other(kind),
    };
    (key, value)
}

/// Reads the managed preferences now and again, on a thread of its own: a service of the system
/// gives them. The first reading is waited for, but not for ever.
fn follow(managed: &Arc<Managed>) {
    let (first, is_read) = channel();
    let managed = Arc::clone(managed);
    thread::spawn(move || follow_preferences(&managed, &first));
    if is_read.recv_timeout(CONFIGURE_MAX).is_err() {
        say("the managed preferences take long; they apply when they come");
    }
}

fn follow_preferences(managed: &Managed, first: &Sender<()>) {
    managed.set_preferences(host::preferences::managed());
    let mut said = managed.layers();
    // Nobody waits for it any more when it took long.
    let _ = first.send(());
    say_problems(&said);
    loop {
        thread::sleep(PREFERENCES_INTERVAL);
        managed.set_preferences(host::preferences::managed());
        let layers = managed.layers();
        for line in managed::changes(&said, &layers) {
            say(&line);
        }
        said = layers;
    }
}

/// A fault in the sensor is a loss, and no reason to leave the filter alone.
fn watch(mut sensor: FilterSensor) -> Watch {
    let poll = move |timeout, events: &mut Vec<Event>| {
        let polled = catch_unwind(AssertUnwindSafe(|| sensor.poll(timeout, events)));
        let Ok(polled) = polled else {
            events.push(Event::Lost {
                stage: LossStage::SensorQueue,
                cause: LossCause::Fault,
                what: LostKind::Events,
                count: None,
            });
            thread::sleep(FAULT_PAUSE);
            return Ok(());
        };
        polled.map_err(|error| error.to_string())
    };
    Watch {
        kind: SensorKind::MacosFilter,
        poll: Box::new(poll),
    }
}
