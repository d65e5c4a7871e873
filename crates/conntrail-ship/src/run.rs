//! Runs all destinations.

use crate::configuration::{Found, Place};
use crate::desk::newest_device;
use crate::metrics;
use crate::own::{self, OwnTrail};
use crate::state::replace;
use crate::status::{self, Status};
use crate::worker::{Report, Shared, Task, put};
use anyhow::{Context, bail};
use host::clock;
use record::{DeliveryState, Device, Mono};
use ship::config::{Config, Destination};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use trail::{TrailError, segments_dir};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the destinations are configured.
    pub place: Place,
    /// The recorder's state folder.
    pub state_dir: PathBuf,
    /// End when all that is there has been delivered.
    pub once: bool,
    /// Where `once` is set: give up after so many seconds.
    pub timeout_s: u64,
    /// Folder of what powers the machine: [`crate::power::SUPPLIES`].
    pub power_supplies: PathBuf,
}

/// What is configured, if anything, or why nobody can say.
type Looked = Result<Option<Found>, String>;

struct Running {
    destination: Destination,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    told: Option<(DeliveryState, Mono)>,
}

struct Shipper {
    options: Options,
    config: Config,
    /// What the last look at the configuration brought.
    looked: Looked,
    device: Arc<Device>,
    own: Arc<OwnTrail>,
    running: BTreeMap<String, Running>,
    status: Arc<Mutex<Status>>,
}

const TICK: Duration = Duration::from_millis(50);
/// A signal may wait so long.
const TICK_RUN: Duration = Duration::from_millis(250);
/// Nobody needs to say that the configuration is another one; a signal only says it sooner.
const LOOK_EVERY_NS: u64 = 2_000_000_000;
const STATUS_EVERY_NS: u64 = 2_000_000_000;
const LEDGER_INTERVAL_S: u64 = 600;
/// So long the destinations have to end: a few seconds to hear answers, and to save what they know.
const END_NS: u64 = 6_000_000_000;
/// All destinations have read everything in so many looks, one after the other: what one of them
/// declared is there for the others by then.
const QUIET_LOOKS: u32 = 8;

/// Delivers until a signal says otherwise, or until all is delivered; whether all is.
///
/// Where no destination is configured it says so and ends, and all is delivered: whoever starts it
/// again when it fails need not do so.
///
/// # Errors
/// When the configuration is wrong at the start, another shipper runs, or the shipper's folder
/// cannot be written.
pub fn run(options: Options) -> anyhow::Result<bool> {
    let (stop, reload) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    signal_hook::flag::register(SIGHUP, Arc::clone(&reload))?;
    let Some((found, config)) = configured(&options)? else {
        return Ok(true);
    };
    let Some(device) = wait_for_device(&options, &stop)? else {
        return Ok(options.once && !stop.load(Ordering::Relaxed));
    };
    let folder = options.state_dir.join(own::NAME);
    let own = OwnTrail::open(&folder, (*device).clone())?;
    let shipper = Shipper {
        options,
        config,
        looked: Ok(Some(found)),
        device,
        own: Arc::new(own),
        running: BTreeMap::new(),
        status: Arc::default(),
    };
    if let Some(address) = shipper.config.metrics_listen {
        let bound = metrics::serve(address, Arc::clone(&shipper.status));
        let bound = bound.with_context(|| format!("metrics cannot be served at {address}"))?;
        eprintln!("conntrail-ship: metrics at http://{bound}/metrics");
    }
    shipper.run(&stop, &reload)
}

/// The destinations at the start, or nothing, which is said.
fn configured(options: &Options) -> anyhow::Result<Option<(Found, Config)>> {
    if let Some(found) = options.place.find()? {
        let config = found.parse()?;
        if !config.destination.is_empty() {
            return Ok(Some((found, config)));
        }
    }
    let nothing = options.place.nothing();
    if options.once {
        bail!("{nothing}");
    }
    eprintln!("conntrail-ship: {nothing}; there is nothing to do");
    Ok(None)
}

/// The machine, from the newest record of the recorder's trail: without one nothing is to be sent.
fn wait_for_device(options: &Options, stop: &AtomicBool) -> anyhow::Result<Option<Arc<Device>>> {
    let mut said = false;
    while !stop.load(Ordering::Relaxed) {
        let device = newest_device(&segments_dir(&options.state_dir))?;
        if device.is_some() {
            return Ok(device);
        }
        if options.once {
            return Ok(None);
        }
        if !std::mem::replace(&mut said, true) {
            let state_dir = options.state_dir.display();
            eprintln!("conntrail-ship: {state_dir} has no record yet; waiting for the recorder");
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(None)
}

impl Shipper {
    fn run(mut self, stop: &AtomicBool, reload: &AtomicBool) -> anyhow::Result<bool> {
        self.adjust();
        let started = clock::mono();
        let (mut status_at, mut quiet) = (Mono(0), 0);
        let mut look_at = started.plus_ns(LOOK_EVERY_NS);
        let mut all_delivered = false;
        let tick = if self.options.once { TICK } else { TICK_RUN };
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(tick);
            let now = clock::mono();
            let is_asked = reload.swap(false, Ordering::Relaxed);
            if is_asked || now >= look_at {
                look_at = now.plus_ns(LOOK_EVERY_NS);
                self.look(is_asked);
            }
            self.tell(now, false);
            if now >= status_at {
                status_at = now.plus_ns(STATUS_EVERY_NS);
                self.write_status();
            }
            self.adjust();
            let is_done = |it: &Running| it.shared.done.load(Ordering::Relaxed) && !it.is_ending();
            quiet = if self.running.values().all(is_done) {
                quiet + 1
            } else {
                0
            };
            all_delivered = quiet >= QUIET_LOOKS;
            let spent_s = now.since_ns(started) / 1_000_000_000;
            if self.options.once && (all_delivered || spent_s >= self.options.timeout_s) {
                break;
            }
        }
        self.end();
        self.tell(clock::mono(), true);
        self.write_status();
        self.own.end()?;
        Ok(all_delivered)
    }

    /// Another configuration, if there is one and it is right; else the one before stays.
    ///
    /// Where there is none any more nothing is delivered, until there is one again.
    fn look(&mut self, is_asked: bool) {
        let looked = self.options.place.find();
        let looked = looked.map_err(|error| format!("{error:#}"));
        if looked == self.looked && !is_asked {
            return;
        }
        self.looked = looked;
        let config = match &self.looked {
            Ok(Some(found)) => found.parse().map_err(|error| format!("{error:#}")),
            Ok(None) => {
                eprintln!("conntrail-ship: {}", self.options.place.nothing());
                Ok(Config::default())
            }
            Err(error) => Err(error.clone()),
        };
        match config {
            Ok(config) => {
                self.config = config;
                eprintln!("conntrail-ship: the configuration was read again");
            }
            Err(error) => {
                eprintln!("conntrail-ship: the configuration before stays in force: {error}");
            }
        }
    }

    /// Ends what is not wanted any more, or not so, and begins what is not there. What ends may
    /// take its time, and nobody waits for it but what is to come in its place.
    fn adjust(&mut self) {
        let wanted = &self.config.destination;
        for (name, running) in &self.running {
            if wanted.get(name) != Some(&running.destination) {
                running.shared.stop.store(true, Ordering::Relaxed);
            }
        }
        let has_ended = |it: &Running| it.is_ending() && it.thread.is_finished();
        for (name, ended) in self.running.extract_if(.., |_, it| has_ended(it)) {
            let last = report(&ended.shared).map(|it| it.notice());
            let told = self.own.declare(last.into_iter().collect());
            complain(told);
            ended.join(&name);
        }
        let is_missing = |it: &(&String, &Destination)| !self.running.contains_key(it.0);
        let missing = self.config.destination.iter().filter(is_missing);
        let begun: Vec<(String, Running)> = missing
            .map(|(name, destination)| (name.clone(), self.begin(name, destination.clone())))
            .collect();
        self.running.extend(begun);
    }

    fn begin(&self, name: &str, destination: Destination) -> Running {
        let shared = Arc::<Shared>::default();
        let task = Task {
            name: name.to_owned(),
            destination: destination.clone(),
            state_dir: self.options.state_dir.clone(),
            endpoint: self.device.endpoint,
            own: Arc::clone(&self.own),
            shared: Arc::clone(&shared),
            power_supplies: self.options.power_supplies.clone(),
            once: self.options.once,
        };
        let thread = thread::Builder::new()
            .name(format!("to {name}"))
            .spawn(move || task.run())
            .expect("the system has room for a thread for each destination");
        Running {
            destination,
            shared,
            thread,
            told: None,
        }
    }

    /// Ends all of them, within bounded time: who reads standard output may not do so, and then
    /// nothing ends the thread that writes there but the end of the program.
    fn end(&self) {
        for running in self.running.values() {
            running.shared.stop.store(true, Ordering::Relaxed);
        }
        let end = clock::mono().plus_ns(END_NS);
        let is_over = || self.running.values().all(|it| it.thread.is_finished());
        while !is_over() && clock::mono() < end {
            thread::sleep(TICK);
        }
        let late = self.running.iter().filter(|it| !it.1.thread.is_finished());
        for (name, _) in late {
            eprintln!(
                "conntrail-ship: {name} does not end, and is left; what is under way is sent again \
                 at the next start"
            );
        }
    }

    /// Tells of each destination when its state changes, and every so often.
    fn tell(&mut self, now: Mono, last: bool) {
        let interval_s = self.config.ledger_interval_s.unwrap_or(LEDGER_INTERVAL_S);
        let mut notices = Vec::new();
        for running in self.running.values_mut() {
            let Some(report) = report(&running.shared) else {
                continue;
            };
            let state = report.delivery.state;
            let is_due = running.told.is_none_or(|(told, at)| {
                let passed_s = now.since_ns(at) / 1_000_000_000;
                told != state && passed_s >= 1 || passed_s >= interval_s
            });
            if is_due || last {
                running.told = Some((state, now));
                notices.push(report.notice());
            }
        }
        if !notices.is_empty() {
            complain(self.own.declare(notices));
        }
    }

    fn write_status(&self) {
        let reports = self.running.iter().filter_map(|(name, running)| {
            let report = report(&running.shared)?;
            Some((name.clone(), report.status()))
        });
        let status = Status {
            at_ms: clock::wall().as_millis(),
            pid: std::process::id(),
            destinations: reports.collect(),
        };
        let path = status::path(&self.options.state_dir);
        let text = serde_json::to_vec_pretty(&status).expect("numbers and text cannot fail");
        if let Err(error) = replace(&path, &text, false) {
            eprintln!("conntrail-ship: {}: {error}", path.display());
        }
        put(&self.status, status);
    }
}

impl Running {
    fn is_ending(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    fn join(self, name: &str) {
        if self.thread.join().is_err() {
            eprintln!("conntrail-ship: the thread of {name} broke; its state is the last saved");
        }
    }
}

fn complain(told: Result<(), TrailError>) {
    if let Err(error) = told {
        eprintln!("conntrail-ship: its own trail cannot be written: {error}");
    }
}

fn report(shared: &Shared) -> Option<Report> {
    let report = shared.report.lock();
    report.unwrap_or_else(PoisonError::into_inner).clone()
}
