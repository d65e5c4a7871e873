//! What one machine has left behind, and how one shipper drains it while the machine goes on.

use crate::Options;
use crate::books::{self, Books};
use crate::ground::{Ground, Task, mortal};
use crate::machine::flush;
use crate::table::{self, Stage};
use crate::world::{Machine, World};
use anyhow::Context;
use conntrail_ship::status;
use host::clock;
use record::{Mono, Notice, NoticeKind, Record, Stamp, Wall};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use trail::{TrailWriter, WriterOptions};

/// How many connections end in a second.
const LIVE: u64 = 100;
/// New records wait a moment for others, so some always wait: no more than these is no backlog.
const LIVE_LAG: u64 = 10 * LIVE;
/// How long it may take.
const LIMIT: Duration = Duration::from_secs(3_600);
/// How long nothing may move at the end before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(1);
/// A frame of the trail as it is once it was rewritten densely.
const FRAME_RECORDS: u64 = 2_000;
const NANOSECONDS: u64 = 1_000_000_000;

/// Makes it, drains it, and prints what it found; whether the ledger balances.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let ground = Ground::start(&options.program)?;
    let folder = tempfile::tempdir()?;
    println!("engines and trail in {}", std::env::temp_dir().display());
    let mut recorder = Recorder::start(&folder.path().join("state"))?;
    let records = (options.hours * 3_600.0) as u64 * LIVE;
    let started = Instant::now();
    recorder.leave_behind(records)?;
    let took_s = started.elapsed().as_secs_f64();
    println!("{records} records left behind, made in {took_s:.0} s");
    let drain = Drain::watch(&ground, recorder, options, folder.path())?;
    let mut truth = Books::default();
    truth.add(&folder.path().join("state"))?;
    truth.wait_for_store(&ground, PATIENCE)?;
    drain.report(&ground, records)?;
    truth.balance(&ground)
}

/// Records what the made-up machine does.
pub(crate) struct Recorder {
    state_dir: PathBuf,
    writer: TrailWriter,
    machine: Machine,
}

impl Recorder {
    /// Begins a trail.
    pub(crate) fn start(state_dir: &Path) -> anyhow::Result<Recorder> {
        let machine = Machine::new(&World::new(1), 1);
        let options = WriterOptions::new(machine.device.clone(), 8 << 30);
        let mut writer = TrailWriter::open(state_dir, options, clock::stamp())?;
        let kind = NoticeKind::RecorderStarted {
            previous: writer.previous(),
        };
        let at = clock::stamp();
        let _ = writer.append(&Record::Notice(Notice { at, kind }), clock::mono());
        flush(&mut writer)?;
        Ok(Recorder {
            state_dir: state_dir.to_owned(),
            writer,
            machine,
        })
    }

    /// As many records as up to now, one every hundredth of a second.
    pub(crate) fn leave_behind(&mut self, records: u64) -> anyhow::Result<()> {
        let now = clock::stamp();
        let length_ns = records * (NANOSECONDS / LIVE);
        for number in 0..records {
            let passed_ns = number * (NANOSECONDS / LIVE);
            let at = Stamp {
                wall: Wall(now.wall.0 - (length_ns - passed_ns) as i64),
                mono: Mono(NANOSECONDS + passed_ns),
            };
            let record = self.machine.close(at);
            let id = self.writer.append(&record, clock::mono());
            id.context("the trail took no record")?;
            if number % FRAME_RECORDS == 0 {
                flush(&mut self.writer)?;
            }
        }
        flush(&mut self.writer)
    }

    /// Ends; how many records there are.
    pub(crate) fn stop(self) -> anyhow::Result<u64> {
        let durable = self.writer.durable();
        Ok(durable.context("nothing is recorded")?.sequence)
    }

    /// Goes on until it is told to stop, and syncs once a second as a recorder does.
    fn go_on(mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        let (started, mut made) = (Instant::now(), 0);
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
            let due = started.elapsed().as_millis() as u64 * LIVE / 1_000;
            for _ in made..due {
                let mut record = self.machine.close(clock::stamp());
                if let Record::Connection(connection) = &mut record {
                    // So that the store has the moment it was recorded.
                    (connection.opened, connection.established) = (None, None);
                }
                let id = self.writer.append(&record, clock::mono());
                id.context("the trail took no record")?;
            }
            made = due;
            if self.writer.should_flush(clock::mono()) {
                flush(&mut self.writer)?;
            }
        }
        flush(&mut self.writer)
    }
}

/// The shipper as it is shipped; it is killed with the value.
struct Shipper(Child);

impl Shipper {
    fn start(ground: &Ground, program: &Path, folder: &Path) -> anyhow::Result<Shipper> {
        let config = folder.join("ship.toml");
        fs::write(&config, ground.shipper_settings(""))?;
        let child = mortal(program)
            .args(["run", "--config"])
            .arg(&config)
            .arg("--state-dir")
            .arg(folder.join("state"))
            .stdin(Stdio::null())
            .stderr(File::create(folder.join("ship.log"))?)
            .spawn();
        Ok(Shipper(
            child.with_context(|| program.display().to_string())?,
        ))
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How it went.
struct Drain {
    /// Until what was left behind was delivered.
    took_s: f64,
    /// Until the store had it.
    stored_s: f64,
    /// The last sequence of what was left behind.
    last: u64,
    /// When it was delivered, in milliseconds since 1970.
    ended_ms: i64,
    /// Records and bytes that were delivered, and in how many batches.
    delivered: [u64; 3],
}

impl Drain {
    fn watch(
        ground: &Ground,
        recorder: Recorder,
        options: &Options,
        folder: &Path,
    ) -> anyhow::Result<Drain> {
        let state_dir = recorder.state_dir.clone();
        let last = recorder.writer.durable().context("nothing is recorded")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let recording = thread::spawn(move || recorder.go_on(&stopped));
        let started = Instant::now();
        let shipper = Shipper::start(ground, &options.program, folder)?;
        let mut drain = Drain {
            took_s: 0.0,
            stored_s: 0.0,
            last: last.sequence,
            ended_ms: 0,
            delivered: [0; 3],
        };
        let mut quiet = 0;
        while quiet < 5 {
            thread::sleep(POLL);
            anyhow::ensure!(started.elapsed() < LIMIT, "it takes longer than {LIMIT:?}");
            ground.look();
            ground.note(Task::Shipper, vec![shipper.0.id()]);
            let all = status::read(&state_dir).unwrap_or_default();
            let Some(status) = all.destinations.get("lake") else {
                continue;
            };
            let lag = status.lag_records.unwrap_or(u64::MAX);
            drain.delivered = [status.records, status.bytes, status.batches];
            let is_over = drain.look(ground, started.elapsed().as_secs_f64(), lag)?;
            stop.fetch_or(is_over, Ordering::Relaxed);
            quiet = if is_over && lag == 0 { quiet + 1 } else { 0 };
        }
        let recorded = recording.join();
        recorded.map_err(|_| anyhow::anyhow!("the recorder broke"))??;
        Ok(drain)
    }

    /// Whether what was left behind is delivered, and in the store.
    fn look(&mut self, ground: &Ground, passed_s: f64, lag: u64) -> anyhow::Result<bool> {
        if self.took_s == 0.0 && lag <= LIVE_LAG {
            self.took_s = passed_s;
            self.ended_ms = clock::wall().as_millis();
        }
        let [stored] = books::numbers(ground, "SELECT count() FROM conntrail.connections")?;
        if self.stored_s == 0.0 && stored >= self.last {
            self.stored_s = passed_s;
        }
        Ok(self.took_s > 0.0 && self.stored_s > 0.0)
    }

    fn report(&self, ground: &Ground, records: u64) -> anyhow::Result<()> {
        let [delivered, bytes, batches] = self.delivered;
        table::stages(&[Stage {
            name: "shipper, one process",
            cost: ground.cost(Task::Shipper),
            records: delivered,
        }]);
        table::stages(&table::fleet(ground, delivered));
        let rate = records as f64 / self.took_s;
        println!(
            "{records} records left behind were delivered in {:.1} s: {rate:.0} a second, {:.0} \
             times live; the store had them after {:.1} s",
            self.took_s,
            rate / LIVE as f64,
            self.stored_s
        );
        table::wire(delivered, bytes, batches);
        let (stored_bytes, rows) = table::stored(ground)?;
        println!("store: {stored_bytes:.1} bytes a row, of {rows}");
        for (place, moment) in [("stream", "published"), ("relay", "received")] {
            let [count, median, late, most] = self.delays(ground, moment)?;
            println!(
                "new records meanwhile, the oldest of each of {count} batches, until the {place} \
                 had it: {median} ms in the median, {late} ms of 99 in 100, {most} ms at most"
            );
        }
        Ok(())
    }

    /// Of new records while what was left behind was delivered, in milliseconds.
    fn delays(&self, ground: &Ground, moment: &str) -> anyhow::Result<[u64; 4]> {
        let query = format!(
            "SELECT count(), toUInt64(quantile(0.5)(ms)), toUInt64(quantile(0.99)(ms)), \
             toUInt64(max(ms)) FROM (SELECT greatest(0, toUnixTimestamp64Milli({moment}) \
             - toUnixTimestamp64Milli(assumeNotNull(first_time))) AS ms \
             FROM conntrail.batches FINAL WHERE source = '' AND first_sequence > {} \
             AND first_time IS NOT NULL AND toUnixTimestamp64Milli(published) < {})",
            self.last, self.ended_ms
        );
        books::numbers(ground, &query)
    }
}
