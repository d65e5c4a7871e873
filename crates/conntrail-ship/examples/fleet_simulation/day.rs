//! A day of a fleet, in minutes, with everything on the fleet's side broken.

use crate::Options;
use crate::books::{self, Books};
use crate::collector;
use crate::ground::{self, Cost, Ground, STREAM};
use crate::machine::{self, Life, Run, View};
use crate::table::{self, Stage};
use crate::world::World;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const THREADS: usize = 2;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nothing may move at the end before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long machines may take to deliver what they have left at the end of the day.
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

/// Few machines make 200 records in 10 s, but a day is short here.
const SETTINGS: &str = "batch_age_max_ms = 10000\nretry_max_ms = 5000";

/// Simulates it and prints what it found; whether the ledger balances.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    allow_many_files()?;
    let ground = Ground::start(&options.program)?;
    let trails = tempfile::tempdir()?;
    let run = Run {
        world: World::new(1),
        started: Instant::now(),
        length: Duration::from_secs(options.seconds),
        tick: Duration::from_secs(1),
        records: options.records,
        end: Arc::new(AtomicBool::new(false)),
    };
    println!("engines and trails in {}", std::env::temp_dir().display());
    let found = live(options, &ground, &run, trails.path())?;
    let balances = found.truth.balance(&ground)?;
    drop(ground);
    if options.collector_records > 0 {
        collector::run(options)?;
    }
    Ok(balances)
}

/// Lets the machines live, breaks what they deliver to, and waits until all of it is there.
fn live(options: &Options, ground: &Ground, run: &Run, trails: &Path) -> anyhow::Result<Found> {
    let views: Vec<Arc<View>> = (0..options.endpoints).map(|_| Arc::default()).collect();
    let destination = ground.destination(SETTINGS)?;
    let cpu_before_s = own_cpu_s();
    let lives = views.iter().enumerate().map(|(number, view)| {
        let state_dir = trails.join(number.to_string());
        let (destination, view) = (destination.clone(), Arc::clone(view));
        Life::new(run, number as u64, state_dir, destination, view)
    });
    let threads = populate(lives.collect());
    let drain = break_things(ground, run, &views)?;
    let drained = wait_for_machines(ground, run, &views)?;
    let endpoints = Cost {
        cpu_s: own_cpu_s() - cpu_before_s,
        memory_bytes: ground::peak_bytes(std::process::id()),
    };
    let truth = trails_as_written(trails, &views)?;
    truth.wait_for_store(ground, PATIENCE)?;
    run.end.store(true, Ordering::Relaxed);
    for thread in threads {
        let ended = thread.join();
        ended.map_err(|_| anyhow::anyhow!("a thread of machines broke"))??;
    }
    ground.look();
    let found = Found {
        truth,
        endpoints,
        drain,
        drained,
    };
    found.report(ground, &views)?;
    Ok(found)
}

/// What happens to the fleet's side, each at a part of the day.
#[derive(Clone, Copy, Debug)]
enum Fault {
    LeaderKilled,
    LeaderBack,
    RelayKilled(usize),
    RelayBack(usize),
    StoreStopped,
    StoreBack,
}

const FAULTS: [(f64, Fault); 10] = [
    (0.20, Fault::LeaderKilled),
    (0.30, Fault::LeaderBack),
    (0.34, Fault::RelayKilled(0)),
    (0.40, Fault::RelayBack(0)),
    (0.45, Fault::StoreStopped),
    (0.60, Fault::StoreBack),
    (0.85, Fault::RelayKilled(0)),
    (0.86, Fault::RelayKilled(1)),
    (0.92, Fault::RelayBack(0)),
    (0.93, Fault::RelayBack(1)),
];

/// How the store took up what had waited for it, in records and seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Drain {
    delivered: u64,
    stored: u64,
    took_s: f64,
}

/// Records that machines have delivered, and that the store has.
fn progress(ground: &Ground, views: &[Arc<View>]) -> anyhow::Result<(u64, u64)> {
    let [stored] = books::numbers(
        ground,
        "SELECT (SELECT count() FROM conntrail.connections) \
         + (SELECT count() FROM conntrail.notices)",
    )?;
    Ok((views.iter().map(|it| it.totals()[0]).sum(), stored))
}

fn break_things(ground: &Ground, run: &Run, views: &[Arc<View>]) -> anyhow::Result<Drain> {
    let mut killed = 0;
    let mut drain = Drain::default();
    for (part, fault) in FAULTS {
        while run.started.elapsed() < run.length.mul_f64(part) {
            ground.look();
            thread::sleep(LOOK_EVERY);
        }
        println!("{:>6.1} s: {fault:?}", run.started.elapsed().as_secs_f64());
        match fault {
            Fault::LeaderKilled => {
                killed = ground.cluster.wait_for_leader(STREAM);
                ground.cluster.nodes()[killed].kill();
            }
            Fault::LeaderBack => ground.cluster.nodes()[killed].start_again(),
            Fault::RelayKilled(number) => ground.kill_relay(number)?,
            Fault::RelayBack(number) => ground.start_relay(number)?,
            Fault::StoreStopped => _ = ground.store.stop(),
            Fault::StoreBack => {
                ground.store.restart();
                drain = watch_drain(ground, views)?;
            }
        }
    }
    Ok(drain)
}

/// Watches the store take up what has waited, until it is no more than what comes in two seconds.
fn watch_drain(ground: &Ground, views: &[Arc<View>]) -> anyhow::Result<Drain> {
    let started = Instant::now();
    let before = progress(ground, views)?;
    loop {
        ground.look();
        thread::sleep(LOOK_EVERY);
        let now = progress(ground, views)?;
        let drain = Drain {
            delivered: now.0 - before.0,
            stored: now.1.saturating_sub(before.1),
            took_s: started.elapsed().as_secs_f64(),
        };
        let live = drain.delivered as f64 / drain.took_s;
        let waiting = now.0.saturating_sub(now.1) as f64;
        if drain.stored > 0 && waiting < 2.0 * live || started.elapsed() > PATIENCE {
            return Ok(drain);
        }
    }
}

/// Machines, spread over threads that many of them share.
fn populate(lives: Vec<Life>) -> Vec<JoinHandle<anyhow::Result<()>>> {
    let mut shares: Vec<Vec<Life>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (number, life) in lives.into_iter().enumerate() {
        shares[number % THREADS].push(life);
    }
    let threads = shares.into_iter();
    threads
        .map(|it| thread::spawn(move || machine::thread(it)))
        .collect()
}

/// Until the day is over and each machine has delivered what it has; how long that took after it.
fn wait_for_machines(ground: &Ground, run: &Run, views: &[Arc<View>]) -> anyhow::Result<Duration> {
    let mut quiet = 0;
    while quiet < 8 {
        ground.look();
        thread::sleep(LOOK_EVERY);
        for (number, view) in views.iter().enumerate() {
            if let Some(trouble) = view.trouble() {
                anyhow::bail!("machine {number}: {trouble}");
            }
        }
        quiet = match views.iter().all(|it| it.is_done()) {
            true => quiet + 1,
            false => 0,
        };
        let late = run.started.elapsed().saturating_sub(run.length);
        let lag: u64 = views.iter().map(|it| it.lag()).sum();
        anyhow::ensure!(
            late < DRAIN_LIMIT,
            "{lag} records are not delivered after {late:?}"
        );
    }
    Ok(run.started.elapsed().saturating_sub(run.length))
}

fn trails_as_written(folder: &Path, views: &[Arc<View>]) -> anyhow::Result<Books> {
    let mut books = Books::default();
    for number in 0..views.len() {
        books.add(&folder.join(number.to_string()))?;
    }
    Ok(books)
}

struct Found {
    truth: Books,
    endpoints: Cost,
    drain: Drain,
    drained: Duration,
}

/// What machines have delivered, and how.
#[derive(Clone, Copy, Debug)]
struct Shipped {
    records: u64,
    batches: u64,
    bytes: u64,
    retries: u64,
    /// Processor time that it took to record, in seconds.
    recording_s: f64,
}

impl Shipped {
    fn of(views: &[Arc<View>]) -> Shipped {
        let mut totals = [0; 5];
        for view in views {
            let more = view.totals();
            totals = std::array::from_fn(|index| totals[index] + more[index]);
        }
        let [records, batches, bytes, retries, recording_ns] = totals;
        Shipped {
            records,
            batches,
            bytes,
            retries,
            recording_s: recording_ns as f64 / 1e9,
        }
    }
}

impl Found {
    fn report(&self, ground: &Ground, views: &[Arc<View>]) -> anyhow::Result<()> {
        let records = self.truth.records();
        let epochs = self.truth.epochs();
        let machines = views.len();
        let shipped = Shipped::of(views);
        let fleet = table::fleet(ground, records);
        let (stored, rows) = table::stored(ground)?;
        println!("{machines} endpoints, {records} records, {epochs} epochs of their trails");
        table::stages(&self.endpoints(shipped.recording_s));
        table::stages(&fleet);
        let a_machine = self.endpoints.memory_bytes / machines.max(1) as u64;
        println!("memory of a simulated endpoint: {} KB", a_machine / 1_000);
        let wire = table::wire(shipped.records, shipped.bytes, shipped.batches);
        println!("batches that were sent again: {}", shipped.retries);
        println!("store: {stored:.1} bytes a row, of {rows}");
        self.drain.report();
        let drained_s = self.drained.as_secs_f64();
        println!("machines had delivered all {drained_s:.1} s after the day");
        table::arithmetic(&fleet, wire, stored);
        Ok(())
    }

    fn endpoints(&self, recording_s: f64) -> [Stage; 2] {
        let stage = |name, cpu_s| Stage {
            name,
            cost: Cost {
                cpu_s,
                ..self.endpoints
            },
            records: self.truth.records(),
        };
        let shipping_s = self.endpoints.cpu_s - recording_s;
        [
            stage("endpoints: make up and record", recording_s),
            stage("endpoints: ship", shipping_s),
        ]
    }
}

impl Drain {
    fn report(&self) {
        let rate = |records: u64| records as f64 / self.took_s.max(1e-9);
        let (taken, came) = (rate(self.stored), rate(self.delivered));
        println!(
            "store after its outage: {taken:.0} records/s beside {came:.0} that came, {:.1} times \
             as many, for {:.1} s",
            taken / came.max(1e-9),
            self.took_s
        );
    }
}

fn own_cpu_s() -> f64 {
    ground::cpu_s(std::process::id()).unwrap_or(0.0)
}

/// Each machine has a handful of files and a connection.
fn allow_many_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, all)?)
}
