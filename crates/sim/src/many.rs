//! Many seeds, on several threads.

use crate::disk::Faults;
use crate::run::{self, Counts, Outcome};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Which seeds, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The first.
    pub from: u64,
    /// How many; `None` for as many as there is time for.
    pub seeds: Option<u64>,
    /// No seed is begun later.
    pub limit: Option<Duration>,
    /// How many threads.
    pub threads: usize,
    /// Stops at the first seed that fails.
    pub until_failure: bool,
}

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many were lived.
    pub seeds: u64,
    /// What happened in all of them.
    pub counts: Counts,
    /// What went wrong on their disks.
    pub faults: Faults,
    /// The digests of all, in the order of seeds.
    pub digest: u64,
    /// Those that failed, with what was wrong.
    pub failures: Vec<(u64, String)>,
    /// How long it took.
    pub took: Duration,
}

struct Shared {
    next: u64,
    outcomes: Vec<Brief>,
    stop: bool,
}

struct Brief {
    seed: u64,
    digest: u64,
    counts: Counts,
    faults: Faults,
    failure: Option<String>,
}

/// Lives all of them.
pub fn live(range: Range) -> Summary {
    let started = Instant::now();
    let shared = Mutex::new(Shared {
        next: range.from,
        outcomes: Vec::new(),
        stop: false,
    });
    thread::scope(|scope| {
        for _ in 0..range.threads.max(1) {
            scope.spawn(|| work(&shared, range, started));
        }
    });
    let shared = shared.into_inner().expect("a life's panics are caught");
    summarize(shared.outcomes, started.elapsed())
}

fn work(shared: &Mutex<Shared>, range: Range, started: Instant) {
    loop {
        let seed = {
            let mut shared = shared.lock().expect("a life's panics are caught");
            let is_over = range.limit.is_some_and(|limit| started.elapsed() >= limit);
            let is_last = range
                .seeds
                .is_some_and(|seeds| shared.next - range.from >= seeds);
            if is_over || is_last || shared.stop {
                return;
            }
            shared.next += 1;
            shared.next - 1
        };
        let outcome = Brief::from(run::live(seed, false));
        let mut shared = shared.lock().expect("a life's panics are caught");
        shared.stop |= outcome.failure.is_some() && range.until_failure;
        shared.outcomes.push(outcome);
    }
}

fn summarize(mut outcomes: Vec<Brief>, took: Duration) -> Summary {
    outcomes.sort_by_key(|outcome| outcome.seed);
    let mut summary = Summary {
        took,
        ..Summary::default()
    };
    for outcome in outcomes {
        summary.seeds += 1;
        summary.counts.add(&outcome.counts);
        summary.faults.add(&outcome.faults);
        let mixed = (summary.digest ^ outcome.digest).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        summary.digest = mixed ^ (mixed >> 31);
        let failure = outcome.failure.map(|failure| (outcome.seed, failure));
        summary.failures.extend(failure);
    }
    summary
}

impl From<Outcome> for Brief {
    fn from(outcome: Outcome) -> Brief {
        Brief {
            seed: outcome.seed,
            digest: outcome.digest,
            counts: outcome.counts,
            faults: outcome.faults,
            failure: outcome.failure,
        }
    }
}

impl Summary {
    /// What was done and found, a line each, as a table.
    pub fn table(&self) -> String {
        let (counts, faults) = (&self.counts, &self.faults);
        let seconds = self.took.as_secs_f64();
        let rate = self.seeds as f64 / seconds.max(1e-9);
        let lines = [
            (
                "seeds",
                format!("{} in {seconds:.1} s, {rate:.0} a second", self.seeds),
            ),
            ("events", counts.events.to_string()),
            ("records", counts.records.to_string()),
            (
                "records the trail had no room for",
                counts.dropped.to_string(),
            ),
            ("flushes", counts.flushes.to_string()),
            (
                "epochs",
                format!("{}, {} ended in order", counts.epochs, counts.orderly),
            ),
            ("power cuts", counts.power_cuts.to_string()),
            ("processes killed", counts.kills.to_string()),
            ("writes that failed", faults.writes.to_string()),
            ("syncs that failed", faults.syncs.to_string()),
            ("changes of names that failed", faults.names.to_string()),
            ("reads that failed", faults.reads.to_string()),
            ("writes without room", faults.full.to_string()),
            ("bits flipped", faults.flips.to_string()),
            ("blocks zeroed", faults.zeroed.to_string()),
            ("segments deleted by others", counts.robberies.to_string()),
            ("segments evicted", counts.evictions.to_string()),
            ("segments rewritten", counts.rewrites.to_string()),
            ("runs of readers", counts.readers.to_string()),
            ("runs of verify", counts.verifications.to_string()),
            ("runs of the ledger", counts.balances.to_string()),
            ("digest", format!("{:016x}", self.digest)),
            ("seeds that failed", self.failures.len().to_string()),
        ];
        let lines = lines.map(|(what, much)| format!("| {what} | {much} |\n"));
        format!("| what | how much |\n|---|---|\n{}", lines.concat())
    }
}
