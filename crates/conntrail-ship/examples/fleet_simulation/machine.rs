//! The life of one simulated machine: it records, delivers, sleeps, crashes and starts again.

use crate::world::{Machine, World, day_so_far};
use anyhow::Context;
use conntrail_ship::endpoint::{Endpoint, Handle};
use host::clock;
use record::sample::Random;
use record::{Mono, Notice, NoticeKind, Record, Stamp, StopReason, Tally, Wall};
use rustix::time::{ClockId, clock_gettime};
use ship::config::Destination;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use trail::{TrailWriter, WriterOptions};

/// What the run is like for every machine.
#[derive(Clone)]
pub(crate) struct Run {
    /// What machines have in common.
    pub(crate) world: Arc<World>,
    /// When the day begins.
    pub(crate) started: Instant,
    /// How long the day takes here.
    pub(crate) length: Duration,
    /// How often a machine writes what it has recorded.
    pub(crate) tick: Duration,
    /// Records of a machine in the day, were it never asleep.
    pub(crate) records: u64,
    /// Everything is to end.
    pub(crate) end: Arc<AtomicBool>,
}

/// What can be seen of a machine from outside.
#[derive(Default)]
pub(crate) struct View {
    /// Its delivery at present.
    handle: Mutex<Handle>,
    /// Of deliveries that are over: records, batches, bytes, retries; and processor time that it
    /// took to record, in nanoseconds.
    past: [AtomicU64; 5],
    /// The day is over, and it only delivers.
    rests: AtomicBool,
    /// Why it ended before it should.
    trouble: Mutex<Option<String>>,
}

impl View {
    /// Everything it recorded is delivered.
    pub(crate) fn is_done(&self) -> bool {
        self.rests.load(Ordering::Relaxed) && self.current().is_done()
    }

    /// What waits.
    pub(crate) fn lag(&self) -> u64 {
        let delivery = self.current().delivery();
        delivery.and_then(|it| it.lag_records).unwrap_or(0)
    }

    /// Records, batches, bytes and retries since the start, and nanoseconds it took to record.
    pub(crate) fn totals(&self) -> [u64; 5] {
        let now = self.delivered();
        std::array::from_fn(|index| self.past[index].load(Ordering::Relaxed) + now[index])
    }

    /// Why it ended before it should.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current(&self) -> Handle {
        let handle = self.handle.lock();
        handle.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn delivered(&self) -> [u64; 5] {
        let now = self.current().delivery();
        now.map_or([0; 5], |it| {
            [it.records, it.batches, it.bytes, it.retries, 0]
        })
    }

    /// Another delivery begins.
    fn renew(&self) -> Handle {
        for (past, more) in self.past.iter().zip(self.delivered()) {
            past.fetch_add(more, Ordering::Relaxed);
        }
        let new = Handle::default();
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = new.clone();
        new
    }
}

/// One machine.
pub(crate) struct Life {
    run: Run,
    machine: Machine,
    state_dir: PathBuf,
    destination: Destination,
    view: Arc<View>,
    /// Wrong by so much is its clock.
    skew_ns: i64,
    /// The part of the day in which it sleeps.
    sleep: Range<f64>,
    /// The part of the day in which it records and nothing is delivered.
    away: Range<f64>,
    /// When it is started again, and whether it was stopped in order.
    restarts: Vec<(f64, bool)>,
    /// Up to when of the day it has recorded.
    recorded_to: f64,
    /// The part of a record that is left over.
    rest: f64,
    asleep: bool,
}

/// What delivers for a machine, until it is dropped.
type Delivery = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

impl Life {
    /// What happens to a machine depends on its number alone.
    pub(crate) fn new(
        run: &Run,
        number: u64,
        state_dir: PathBuf,
        destination: Destination,
        view: Arc<View>,
    ) -> Life {
        let mut random = Random::new(0x6c69_6665 + number);
        let mut part = |low: f64, high: f64| low + (high - low) * random.below(1_000) as f64 / 1e3;
        let nothing = 2.0..2.0;
        let (asleep_at, away_at) = (part(0.1, 0.7), part(0.1, 0.7));
        let mut restarts = Vec::new();
        if number.is_multiple_of(4) {
            restarts.push((part(0.1, 0.5), number.is_multiple_of(8)));
        }
        if number.is_multiple_of(20) {
            restarts.push((part(0.5, 0.9), false));
        }
        Life {
            machine: Machine::new(&run.world, number),
            run: run.clone(),
            state_dir,
            destination,
            view,
            skew_ns: skew_ns(number, &mut random),
            sleep: match number % 3 {
                1 => asleep_at..asleep_at + 0.2,
                _ => nothing.clone(),
            },
            away: match number % 5 {
                2 => away_at..away_at + 0.2,
                _ => nothing,
            },
            restarts,
            recorded_to: 0.0,
            rest: 0.0,
            asleep: false,
        }
    }

    /// Lives until the run ends.
    pub(crate) async fn live(mut self, delay: Duration) {
        tokio::time::sleep(delay).await;
        let restarts = std::mem::take(&mut self.restarts);
        let ends = restarts.into_iter().map(Some).chain([None]);
        for end in ends {
            if let Err(error) = self.until(end).await {
                let trouble = self.view.trouble.lock();
                *trouble.unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
                return;
            }
        }
    }

    /// One epoch: until it stops in order, or crashes, or the run ends.
    async fn until(&mut self, end: Option<(f64, bool)>) -> anyhow::Result<()> {
        let options = WriterOptions::new(self.machine.device.clone(), 256 << 20);
        let mut writer = TrailWriter::open(&self.state_dir, options, clock::stamp())?;
        let previous = writer.previous();
        self.note(&mut writer, NoticeKind::RecorderStarted { previous });
        flush(&mut writer)?;
        let mut delivery = None;
        while end.is_none_or(|(at, _)| self.part() < at) {
            if self.run.end.load(Ordering::Relaxed) {
                return Ok(());
            }
            let part = self.part();
            let before = thread_ns();
            self.tick(&mut writer, part)?;
            let took = thread_ns() - before;
            self.view.past[4].fetch_add(took, Ordering::Relaxed);
            if self.away.contains(&part) {
                delivery = None;
            } else if delivery.is_none() {
                delivery = Some(self.deliver());
            }
            let pause = tokio::time::sleep(self.run.tick);
            match &mut delivery {
                Some(delivery) if !self.asleep => tokio::select! {
                    ended = delivery => return ended.context("delivery ended by itself"),
                    () = pause => {}
                },
                Some(_) | None => pause.await,
            }
        }
        if end.is_some_and(|(_, in_order)| in_order) {
            if let Some(delivery) = delivery {
                self.view.current().stop();
                delivery.await?;
            }
            let reason = StopReason::Requested;
            let tally = Tally::default();
            self.note(&mut writer, NoticeKind::RecorderStopped { reason, tally });
            let _ = writer.close(clock::stamp())?;
        }
        // Else all of it is dropped where it stands.
        Ok(())
    }

    fn deliver(&self) -> Delivery {
        let endpoint = Endpoint {
            device: self.machine.device.clone(),
            state_dir: self.state_dir.clone(),
            name: "lake".to_owned(),
            destination: self.destination.clone(),
        };
        Box::pin(endpoint.deliver(self.view.renew()))
    }

    fn tick(&mut self, writer: &mut TrailWriter, part: f64) -> anyhow::Result<()> {
        let sleeps = self.sleep.contains(&part);
        if sleeps != self.asleep {
            let duration_ns = ((self.sleep.end - self.sleep.start) * DAY_NS) as u64;
            let kind = match sleeps {
                true => NoticeKind::Sleeping,
                false => NoticeKind::Slept { duration_ns },
            };
            self.note(writer, kind);
            self.asleep = sleeps;
        }
        let share = day_so_far(part) - day_so_far(self.recorded_to);
        self.recorded_to = part;
        if !sleeps {
            let due = self.rest + self.run.records as f64 * share;
            self.rest = due.fract();
            for _ in 0..due as u64 {
                let record = self.machine.close(self.stamp());
                let id = writer.append(&record, clock::mono());
                id.context("the trail took no record")?;
            }
        }
        flush(writer)?;
        if part >= 1.0 {
            self.view.rests.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn note(&mut self, writer: &mut TrailWriter, kind: NoticeKind) {
        let at = self.stamp();
        let _ = writer.append(&Record::Notice(Notice { at, kind }), clock::mono());
    }

    /// What part of the day has passed.
    fn part(&self) -> f64 {
        self.run.started.elapsed().as_secs_f64() / self.run.length.as_secs_f64()
    }

    /// The day ends now, by the clock of this machine.
    fn stamp(&self) -> Stamp {
        let part = self.part().min(1.0);
        let ago_ns = ((1.0 - part) * DAY_NS) as i64;
        Stamp {
            wall: Wall(clock::wall().0 - ago_ns + self.skew_ns),
            mono: Mono(UPTIME_NS + (part * DAY_NS) as u64),
        }
    }
}

const DAY_NS: f64 = 86_400e9;
const UPTIME_NS: u64 = 90_000_000_000_000;

/// Most clocks are right within a second, some are hours off, a few days.
fn skew_ns(number: u64, random: &mut Random) -> i64 {
    let range_s = match number % 50 {
        0 => 3 * 86_400,
        1..5 => 7_200,
        _ => 1,
    };
    (random.below(2 * range_s + 1) as i64 - range_s as i64) * 1_000_000_000
}

/// Makes what was recorded durable.
pub(crate) fn flush(writer: &mut TrailWriter) -> anyhow::Result<()> {
    let flushed = writer.flush(clock::stamp())?;
    let is_all = flushed.evicting.is_empty();
    anyhow::ensure!(is_all, "the trail of a machine is too small");
    Ok(())
}

/// Processor time of this thread, in nanoseconds.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Machines on one thread, which they share. They begin within a tick, one after the other.
pub(crate) fn thread(lives: Vec<Life>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let count = lives.len().max(1) as u32;
    let lives = (0..).zip(lives);
    let lives = lives.map(|(place, it)| {
        let delay = it.run.tick * place / count;
        local.spawn_local(it.live(delay))
    });
    let lives: Vec<_> = lives.collect();
    local.block_on(&runtime, async move {
        for life in lives {
            life.await?;
        }
        Ok(())
    })
}
