//! Keeps the live table: what is open now, for whoever may read it.
//!
//! It is made in the pauses of the recording, a little at a time: between two steps the recorder
//! takes in whatever events there are. Where the table cannot be made or written, that is said once
//! and recording goes on.

mod rates;

use crate::log::say;
use crate::privacy::Privacy;
use flow::{FlowTable, Look, Looks, stream};
use host::clock;
use host::config::Config;
use live::{Counts, Options, Rate, TableWriter};
use policy::Shown;
use rates::{Candidate, Rates};
use record::{Mono, Record, Stamp};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The live table of one recorder.
pub(crate) struct LiveTable {
    /// `None` where there is none.
    place: Option<Place>,
    writer: Option<TableWriter>,
    interval_ns: u64,
    /// When the next snapshot is to be begun.
    due: Mono,
    round: Option<Round>,
    rates: Rates,
    /// It could not be written since it last could; said once, not every second.
    is_failing: bool,
}

/// Where it may be, and whose it is.
struct Place {
    folders: Vec<PathBuf>,
    options: Options,
}

/// A snapshot that is being made.
struct Round {
    began: Mono,
    /// What it took so far, in nanoseconds.
    spent_ns: u64,
    looks: Looks,
    counts: Counts,
    step: Step,
}

/// What is done next.
enum Step {
    /// Looks at how much all flows carried, from this slot on.
    Measure {
        next_slot: u32,
        found: Vec<Candidate>,
    },
    /// Writes down what was chosen, from this one on.
    Write { chosen: Vec<Candidate>, next: usize },
}

/// Flows that are measured in one step.
const SLOTS_A_STEP: u32 = 4_096;

/// Flows that are written down in one step, which takes less than a millisecond.
const ROWS_A_STEP: usize = 256;

/// A snapshot may take this part of the time: where flows are many, snapshots become rarer.
const COST_SHARE: u64 = 50;

const SECOND_NS: u64 = 1_000_000_000;

impl LiveTable {
    /// Makes the table that the configuration asks for, or says why there is none.
    pub(crate) fn begin(
        config: &Config,
        state_dir: &Path,
        header: &stream::Header,
        now: Stamp,
    ) -> LiveTable {
        let options = Options {
            endpoint: header.device.endpoint,
            epoch: header.epoch,
            boot_id: header.device.boot_id,
            rows_max: config.live_flows_max as u32,
            group: readers_group(state_dir),
        };
        let place = (config.live_interval_ms > 0).then(|| Place::new(state_dir, options));
        let mut table = LiveTable {
            place,
            writer: None,
            interval_ns: config.live_interval_ms * 1_000_000,
            due: now.mono,
            round: None,
            rates: Rates::default(),
            is_failing: false,
        };
        table.make(now);
        table
    }

    /// When [`LiveTable::step`] next has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        self.writer.as_ref()?;
        match self.round {
            Some(_) => Some(Mono(0)),
            None => Some(self.due),
        }
    }

    /// Does a little of what is due.
    pub(crate) fn step(&mut self, table: &FlowTable, privacy: &mut Privacy) {
        let now = clock::mono();
        if self.round.is_none() && now >= self.due {
            self.begin_round();
        }
        let Some(mut round) = self.round.take() else {
            return;
        };
        let Some(writer) = &mut self.writer else {
            return;
        };
        let stepped = round.step(table, privacy, &mut self.rates, writer, now);
        round.spent_ns += clock::mono().since_ns(now);
        match stepped {
            Ok(false) => self.round = Some(round),
            Ok(true) => self.show(&round),
            Err(error) => self.fail(&error),
        }
    }

    /// Another policy is in force: whatever was written under the one before goes, also where it is
    /// not shown any more.
    pub(crate) fn start_over(&mut self, now: Stamp) {
        if self.writer.is_some() {
            self.end();
            self.make(now);
            self.due = now.mono;
        }
    }

    /// Takes the table away: from now on nobody keeps it.
    pub(crate) fn end(&mut self) {
        self.round = None;
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.remove()
        {
            say(&format!("the live table could not be removed: {error}"));
        }
    }

    fn make(&mut self, now: Stamp) {
        let Some(place) = &self.place else {
            return;
        };
        match place.make(now) {
            Ok(writer) => self.writer = Some(writer),
            Err(reasons) => say(&format!(
                "there is no live table, recording goes on without it: {reasons}"
            )),
        }
    }

    fn begin_round(&mut self) {
        let now = clock::stamp();
        if self.writer.as_ref().is_some_and(|it| !it.is_there()) {
            self.writer = None;
            self.make(now);
        }
        let Some(writer) = &mut self.writer else {
            return;
        };
        writer.begin(now);
        self.round = Some(Round {
            began: now.mono,
            spent_ns: 0,
            looks: Looks::default(),
            counts: Counts::default(),
            step: Step::Measure {
                next_slot: 0,
                found: Vec::new(),
            },
        });
    }

    fn show(&mut self, round: &Round) {
        let period_ns = self.interval_ns.max(round.spent_ns * COST_SHARE);
        self.due = round.began.plus_ns(period_ns);
        let Some(writer) = &mut self.writer else {
            return;
        };
        // One snapshot may be late or fail before anybody calls the recorder silent.
        let good_for_ns = 2 * period_ns + SECOND_NS;
        match writer.show(round.counts, clock::mono(), good_for_ns) {
            Ok(()) if std::mem::take(&mut self.is_failing) => {
                say("the live table can be written again");
            }
            Ok(()) => {}
            Err(error) => self.fail(&error),
        }
    }

    /// The snapshot is given up; the one before grows stale, and the next is tried in time.
    fn fail(&mut self, error: &io::Error) {
        self.due = clock::mono().plus_ns(self.interval_ns);
        if !std::mem::replace(&mut self.is_failing, true) {
            say(&format!(
                "the live table cannot be written now, recording goes on: {error}"
            ));
        }
    }
}

impl Round {
    /// Does one step; whether it was the last.
    fn step(
        &mut self,
        table: &FlowTable,
        privacy: &mut Privacy,
        rates: &mut Rates,
        writer: &mut TableWriter,
        now: Mono,
    ) -> io::Result<bool> {
        match &mut self.step {
            Step::Measure { next_slot, found } => {
                let end = table.slot_end().min(*next_slot + SLOTS_A_STEP);
                found.extend(table.glances(*next_slot..end).map(|it| rates.measure(it)));
                *next_slot = end;
                if end == table.slot_end() {
                    let rows_max = writer.rows_max() as usize;
                    let (chosen, left) = rates::busiest(std::mem::take(found), rows_max);
                    self.counts.crowded = left;
                    self.step = Step::Write { chosen, next: 0 };
                }
                Ok(false)
            }
            Step::Write { chosen, next } => {
                let end = chosen.len().min(*next + ROWS_A_STEP);
                for candidate in &chosen[*next..end] {
                    let looked =
                        table.look(candidate.slot, candidate.ordinal, &mut self.looks, now);
                    let rate = rates.rate(candidate, now);
                    add(looked, candidate, rate, privacy, writer, &mut self.counts)?;
                }
                *next = end;
                Ok(end == chosen.len())
            }
        }
    }
}

/// Adds a flow as the policy lets it be, if it does.
fn add(
    looked: Look,
    candidate: &Candidate,
    rate: Option<Rate>,
    privacy: &mut Privacy,
    writer: &mut TableWriter,
    counts: &mut Counts,
) -> io::Result<()> {
    let mut connection = match looked {
        Look::Told(connection) => *connection,
        Look::Early => {
            counts.early += 1;
            return Ok(());
        }
        Look::Gone => return Ok(()),
    };
    let (last_seen, rate) = match privacy.show(&mut connection) {
        Shown::WithTraffic => (Some(candidate.last_seen), rate),
        Shown::WithoutTraffic => (None, None),
        Shown::Nothing => {
            counts.withheld += 1;
            return Ok(());
        }
    };
    let record = Record::Connection(connection);
    if !writer.push(&record, last_seen, rate)? {
        counts.crowded += 1;
    }
    Ok(())
}

impl Place {
    fn new(state_dir: &Path, options: Options) -> Place {
        Place {
            folders: host::paths::own_live_folders(state_dir),
            options,
        }
    }

    /// The table in the first folder where it can be, or the reasons in words.
    fn make(&self, now: Stamp) -> Result<TableWriter, String> {
        let mut reasons = Vec::new();
        for folder in &self.folders {
            let around = folder.parent().unwrap_or(folder);
            if !host::paths::is_in_memory(around) {
                reasons.push(format!("{} is not in memory", around.display()));
                continue;
            }
            live::sweep(folder, self.options.boot_id);
            match TableWriter::create(folder, &self.options, now) {
                Ok(writer) => return Ok(writer),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(reasons.join("; "))
    }
}

/// Those who may read the trail may read the table.
fn readers_group(state_dir: &Path) -> Option<u32> {
    let trail = fs::metadata(trail::segments_dir(state_dir));
    trail.ok().map(|it| it.gid())
}
