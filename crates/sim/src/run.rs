//! One seed is one life of a machine that is recorded: several epochs on one disk, each of which
//! ends in its own way, with readers at any moment, and what must be true checked all along.

use crate::dice::Dice;
use crate::disk::{self, Faults, Rates, STATE, SimDisk};
use crate::frames::frames;
use crate::log::Log;
use crate::machine::{Machine, Shape};
use crate::model::{Excuse, Model};
use crate::reading::{self, Follower, PATIENCE_CALLS, Trust};
use crate::recorder::Recorder;
use record::{PreviousEpoch, Stamp, StopReason, sample};
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use trail::testing::MemoryDisk;
use trail::{Head, ReadOptions, SegmentName, WriterOptions, balance_on, verify_anchored_on};

/// What came of a seed.
pub struct Outcome {
    /// Which.
    pub seed: u64,
    /// The same for the same seed and code.
    pub digest: u64,
    /// What happened, in numbers.
    pub counts: Counts,
    /// What went wrong on the disk.
    pub faults: Faults,
    /// What was not as it must be.
    pub failure: Option<String>,
    /// The last happenings, where they were asked for.
    pub trace: Vec<String>,
}

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that went into the flow table.
    pub events: u64,
    /// Records that came out, notices among them.
    pub records: u64,
    /// Records that the trail had no room for.
    pub dropped: u64,
    /// Flushes of the trail.
    pub flushes: u64,
    /// Epochs that were opened.
    pub epochs: u64,
    /// Epochs that ended in order.
    pub orderly: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Times the power was cut.
    pub power_cuts: u64,
    /// Segments that were evicted.
    pub evictions: u64,
    /// Segments that were rewritten densely.
    pub rewrites: u64,
    /// Segments that somebody else deleted.
    pub robberies: u64,
    /// Runs of readers.
    pub readers: u64,
    /// Runs of `verify`.
    pub verifications: u64,
    /// Runs of the ledger.
    pub balances: u64,
}

impl Counts {
    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Counts) {
        self.events += other.events;
        self.records += other.records;
        self.dropped += other.dropped;
        self.flushes += other.flushes;
        self.epochs += other.epochs;
        self.orderly += other.orderly;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.evictions += other.evictions;
        self.rewrites += other.rewrites;
        self.robberies += other.robberies;
        self.readers += other.readers;
        self.verifications += other.verifications;
        self.balances += other.balances;
    }
}

/// How everything is in one life.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) quota_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) pending_max_bytes: usize,
    pub(crate) age_max_ns: Option<u64>,
    pub(crate) rewrite_bytes: u64,
    pub(crate) shape: Shape,
    pub(crate) flush_bytes: usize,
    /// What may go wrong in this life; not everything does in every one, because one fault often
    /// hides another.
    pub(crate) writes_fail: bool,
    pub(crate) syncs_fail: bool,
    pub(crate) names_fail: bool,
    pub(crate) reads_fail: bool,
    pub(crate) fills: bool,
    pub(crate) rots: bool,
    pub(crate) is_robbed: bool,
    pub(crate) is_killed: bool,
    pub(crate) loses_power: bool,
}

/// What everybody in a life shares.
pub(crate) struct World {
    pub(crate) setting: Setting,
    pub(crate) dice: Dice,
    pub(crate) log: Log,
    pub(crate) disk: SimDisk,
    pub(crate) model: Model,
    pub(crate) counts: Counts,
    /// Heads that were kept elsewhere.
    pub(crate) anchors: Vec<Head>,
    follower: Follower,
    damaged: BTreeSet<PathBuf>,
}

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InOrder,
    Killed,
    PowerCut,
}

/// Lives one life; with `traced`, in words too.
pub fn live(seed: u64, traced: bool) -> Outcome {
    let log = Log::new(traced);
    let mut world = World::new(seed, log.clone());
    let lived = panic::catch_unwind(AssertUnwindSafe(|| world.live(seed)));
    let failure = match lived {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(cause) => Some(panic_message(cause.as_ref())),
    };
    Outcome {
        seed,
        digest: log.digest(),
        counts: world.counts,
        faults: world.disk.faults(),
        failure,
        trace: log.lines(),
    }
}

fn panic_message(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_default())
}

impl World {
    fn new(seed: u64, log: Log) -> World {
        let mut dice = Dice::new(seed);
        let setting = Setting::new(&mut dice);
        let disk = SimDisk::new(MemoryDisk::new(), dice.number(), log.clone());
        World {
            setting,
            dice,
            log,
            disk,
            model: Model::default(),
            counts: Counts::default(),
            anchors: Vec::new(),
            follower: Follower::default(),
            damaged: BTreeSet::new(),
        }
    }

    fn live(&mut self, seed: u64) -> Result<(), String> {
        let setting = format!("{:?}", self.setting);
        self.log.note(|| setting);
        let mut machine = Machine::new(seed, self.setting.shape);
        for _ in 0..1 + self.dice.below(EPOCHS_MAX) {
            let end = match self.start(&mut machine)? {
                Some(recorder) => self.record(recorder, &mut machine)?,
                None => End::PowerCut,
            };
            self.go_down(end)?;
            machine.restart();
        }
        self.come_to_rest(&mut machine)
    }

    /// Starts a recorder, as often as it takes; `None` when the power went first.
    fn start(&mut self, machine: &mut Machine) -> Result<Option<Recorder>, String> {
        if self.setting.loses_power && self.dice.one_in(8) {
            let call = self.disk.memory().calls() + self.dice.below(8);
            self.disk.memory().cut_power_at(call);
        }
        self.change_weather();
        for attempt in 0.. {
            let now = machine.next().at;
            let before = self.disk.faults();
            match Recorder::open(&self.disk, &self.setting, now) {
                _ if self.disk.memory().is_out() => return Ok(None),
                Ok((recorder, previous)) => {
                    return self.begin(recorder, previous, before, now).map(Some);
                }
                Err(error) => self.log.note(|| format!("not started: {error}")),
            }
            if attempt >= ATTEMPTS_UNTIL_MENDED {
                self.calm_down();
            }
            if attempt > 2 * ATTEMPTS_UNTIL_MENDED {
                return Err("the recorder does not start on a disk that works".to_owned());
            }
        }
        Ok(None)
    }

    fn begin(
        &mut self,
        mut recorder: Recorder,
        previous: Option<PreviousEpoch>,
        before: Faults,
        now: Stamp,
    ) -> Result<Recorder, String> {
        let after = self.disk.faults();
        let epoch = recorder.epoch();
        self.counts.epochs += 1;
        self.log.fold(epoch);
        self.log
            .note(|| format!("epoch {epoch} begins after {previous:?}"));
        let is_misread = after.reads > before.reads;
        self.model.begin(epoch, previous, is_misread)?;
        if let Some(previous) = previous {
            let options = everything();
            let reading = reading::read(&self.disk, options, &self.model, Trust::Blind)?;
            let synced = after.total() == before.total();
            self.model.settle(previous, &reading.found, synced);
        }
        recorder.begin(previous, now, self)?;
        Ok(recorder)
    }

    /// Records until something ends it.
    fn record(&mut self, mut recorder: Recorder, machine: &mut Machine) -> Result<End, String> {
        let end = self.choose_end();
        let steps = 1 + self.dice.below(STEPS_MAX);
        let mut now = machine.next().at;
        for step in 0..steps {
            let happening = machine.next();
            now = happening.at;
            if let Some(event) = happening.event {
                self.log.note(|| format!("{now:?}: {event:?}"));
                recorder.handle(event, now, self)?;
            }
            recorder.do_what_is_due(now, self)?;
            if self.disk.memory().is_out() {
                return Ok(end);
            }
            if step > steps / 2 && end != End::InOrder {
                self.aim(steps - step);
            }
            self.interfere(&recorder)?;
        }
        self.calm_down_perhaps();
        let (durable, in_order) = recorder.close(StopReason::Requested, now, self)?;
        self.model.sync(durable)?;
        self.counts.orderly += u64::from(in_order);
        Ok(if self.disk.memory().is_out() {
            end
        } else {
            End::InOrder
        })
    }

    fn choose_end(&mut self) -> End {
        let mut ends = vec![End::InOrder];
        ends.extend(self.setting.is_killed.then_some(End::Killed));
        ends.extend(self.setting.loses_power.then_some(End::PowerCut));
        self.dice.pick(&ends)
    }

    /// Decides, sooner or later, at which call of the disk it ends.
    fn aim(&mut self, steps_left: u64) {
        if self.dice.one_in(steps_left.max(1)) {
            let call = self.disk.memory().calls() + self.dice.below(12);
            self.disk.memory().cut_power_at(call);
        }
    }

    /// What may happen at any moment beside what the recorder does.
    fn interfere(&mut self, recorder: &Recorder) -> Result<(), String> {
        if self.dice.one_in(60) {
            self.change_weather();
        }
        if self.setting.rots && self.dice.one_in(400) {
            self.rot();
        }
        if self.setting.is_robbed && self.dice.one_in(400) {
            self.rob();
        }
        if self.dice.one_in(50) {
            self.look(recorder)?;
        }
        Ok(())
    }

    fn change_weather(&mut self) {
        let dice = &mut self.dice;
        let setting = &self.setting;
        let mut rate = |fails: bool| {
            let bad = fails && dice.one_in(2);
            if bad { 3 + dice.size(7) } else { 0 }
        };
        let rates = Rates {
            write: rate(setting.writes_fail),
            sync: rate(setting.syncs_fail),
            name: rate(setting.names_fail),
            read: rate(setting.reads_fail),
        };
        self.disk.set_rates(rates);
        let full = setting.fills && dice.one_in(2);
        let room = dice.below(16 << 10);
        let capacity = full.then(|| self.disk.used_bytes() + room);
        self.disk.set_capacity(capacity);
        self.log
            .note(|| format!("weather: {rates:?}, capacity {capacity:?}"));
    }

    fn calm_down(&mut self) {
        self.disk.set_rates(Rates::default());
        self.disk.set_capacity(None);
    }

    fn calm_down_perhaps(&mut self) {
        if self.dice.one_in(2) {
            self.calm_down();
        }
    }

    /// Bytes change at rest; the model learns which frames that may cost.
    fn rot(&mut self) {
        let segments = disk::segments(self.disk.memory());
        if segments.is_empty() {
            return;
        }
        let path = self.dice.pick(&segments);
        let bytes = self.disk.memory().contents(&path).unwrap_or_default();
        let offset = self.dice.below(bytes.len() as u64 + 1);
        let length = if self.dice.one_in(3) {
            1 + self.dice.below(ROT_BYTES_MAX)
        } else {
            1
        };
        let hit = offset..offset + length;
        let changed = if length == 1 {
            self.disk.flip(&path, offset, self.dice.below(8) as u32)
        } else {
            self.disk.zero(&path, hit.clone())
        };
        if !changed {
            return;
        }
        self.log
            .note(|| format!("{} rots at {hit:?}", path.display()));
        self.model.was_damaged = true;
        let Some(name) = segment_name(&path) else {
            return;
        };
        for frame in frames(&bytes) {
            if frame.at.start < hit.end && hit.start < frame.at.end {
                let range = frame.first_sequence..=frame.last_sequence;
                self.model.excuse(name.epoch, range, Excuse::Damaged);
            }
        }
        self.damaged.insert(path);
    }

    /// Somebody deletes a segment.
    fn rob(&mut self) {
        let segments = disk::segments(self.disk.memory());
        if segments.is_empty() {
            return;
        }
        let path = self.dice.pick(&segments);
        let bytes = self.disk.memory().contents(&path).unwrap_or_default();
        let Some(name) = segment_name(&path) else {
            return;
        };
        self.log.note(|| format!("{} is stolen", path.display()));
        self.counts.robberies += 1;
        self.model.was_robbed = true;
        for frame in frames(&bytes) {
            let range = frame.first_sequence..=frame.last_sequence;
            self.model.excuse(name.epoch, range, Excuse::Robbed);
        }
        self.disk.memory().erase(&path);
    }

    /// Readers look at what is there now.
    fn look(&mut self, recorder: &Recorder) -> Result<(), String> {
        self.model.sync(recorder.durable())?;
        let trust = if recorder.is_clean() {
            Trust::Exact
        } else {
            Trust::Blind
        };
        self.counts.readers += 1;
        match self.dice.below(5) {
            0 => self.follow(trust)?,
            4 if trust == Trust::Exact => self.balance(false)?,
            1 => reading::ask(&self.disk, &self.model, trust, &mut self.dice)?,
            2 if trust == Trust::Exact => {
                reading::read_everything(&self.disk, false, &self.model)?;
            }
            2 => {
                let options = ReadOptions::default();
                reading::read(&self.disk, options, &self.model, trust)?;
            }
            _ => self.verify(trust, false)?,
        }
        self.follower.fold(&self.log);
        Ok(())
    }

    fn follow(&mut self, trust: Trust) -> Result<(), String> {
        self.follower.follow(&self.disk, &self.model, trust)?;
        let cursor = self.follower.cursor();
        self.log.note(|| format!("followed up to {cursor:?}"));
        Ok(())
    }

    /// Lets `verify` say what it thinks, and compares.
    fn verify(&mut self, trust: Trust, unpublished_too: bool) -> Result<(), String> {
        self.counts.verifications += 1;
        let dir = trail::segments_dir(Path::new(STATE));
        let options = ReadOptions {
            unpublished_too,
            ..ReadOptions::default()
        };
        let anchors = self.some_anchors();
        let disk = self.disk.calm(PATIENCE_CALLS);
        let report =
            verify_anchored_on(disk, &dir, options, &anchors).map_err(|it| it.to_string())?;
        self.log.fold(report.records);
        if trust == Trust::Blind && !unpublished_too {
            return Ok(());
        }
        if self.model.was_damaged || self.model.was_robbed {
            return self.check_undeclared(&report);
        }
        self.check_undeclared(&report)?;
        let is_trusted = self.model.is_trusted();
        if is_trusted && !report.looks_untouched() {
            return Err(format!("nobody changed anything, but: {:?}", report.chain));
        }
        Ok(())
    }

    /// The ledger over what is there, where nobody changed it.
    fn balance(&mut self, unpublished_too: bool) -> Result<(), String> {
        let is_whole = !self.model.was_damaged && !self.model.was_robbed;
        if !is_whole || !self.model.is_trusted() {
            return Ok(());
        }
        self.counts.balances += 1;
        let dir = trail::segments_dir(Path::new(STATE));
        let options = ReadOptions {
            unpublished_too,
            ..ReadOptions::default()
        };
        let disk = self.disk.calm(PATIENCE_CALLS);
        let book = balance_on(disk, &dir, options).map_err(|it| it.to_string())?;
        self.log.fold(book.accounts.len() as u64);
        let wrong = book.accounts.iter().find(|it| !it.findings.is_empty());
        match wrong {
            Some(account) => Err(format!("the ledger does not balance: {account:?}")),
            None => Ok(()),
        }
    }

    fn check_undeclared(&self, report: &trail::Report) -> Result<(), String> {
        for missing in &report.undeclared {
            for sequence in missing.first_sequence..=missing.last_sequence {
                let hurt = self.model.was_damaged || self.model.was_robbed;
                let excused = self
                    .model
                    .is_excused_without_notice(missing.epoch, sequence);
                if !excused && !hurt {
                    return Err(format!("{missing:?} is undeclared"));
                }
            }
        }
        Ok(())
    }

    fn some_anchors(&mut self) -> Vec<Head> {
        let count = self.anchors.len() as u64;
        if count == 0 {
            return Vec::new();
        }
        let mut at = || self.dice.below(count) as usize;
        let mut chosen = vec![at(), at(), count as usize - 1];
        chosen.sort_unstable();
        chosen.dedup();
        let mut heads: Vec<Head> = chosen.into_iter().map(|at| self.anchors[at]).collect();
        heads.dedup_by_key(|head| (head.epoch, head.sequence));
        heads
    }

    /// The process is gone; what the next one finds is the disk's to say.
    fn go_down(&mut self, end: End) -> Result<(), String> {
        self.log.note(|| format!("it ended: {end:?}"));
        self.log.fold(end as u64);
        let memory = match end {
            End::InOrder | End::Killed => self.disk.memory().after_kill(),
            End::PowerCut => self.disk.memory().after_power_cut(self.dice.number()),
        };
        match end {
            End::InOrder => {}
            End::Killed => self.counts.kills += 1,
            End::PowerCut => self.counts.power_cuts += 1,
        }
        self.disk = self.disk.with_memory(memory);
        self.follower.restart();
        self.counts.readers += 1;
        reading::read_everything(&self.disk, true, &self.model)?;
        self.balance(true)
    }

    /// A last recorder starts on a disk that works, and everything is looked at again.
    fn come_to_rest(&mut self, machine: &mut Machine) -> Result<(), String> {
        self.setting.loses_power = false;
        let mut recorder = None;
        while recorder.is_none() {
            recorder = self.start(machine)?;
        }
        self.calm_down();
        let recorder = recorder.expect("the loop ends with one");
        let now = machine.next().at;
        let (durable, in_order) = recorder.close(StopReason::SensorEnded, now, self)?;
        if !in_order {
            return Err("a disk that works does not let an epoch end in order".to_owned());
        }
        self.model.sync(durable)?;
        self.follower
            .follow(&self.disk, &self.model, Trust::Exact)?;
        self.follower.expect_all(&self.model)?;
        reading::read_everything(&self.disk, false, &self.model)?;
        self.verify(Trust::Exact, false)?;
        self.balance(false)?;
        self.follower.fold(&self.log);
        Ok(())
    }

    /// Bytes of all segments.
    pub(crate) fn segment_bytes(&self) -> u64 {
        let memory = self.disk.memory();
        let segments = disk::segments(memory).into_iter();
        let lengths = segments.filter_map(|path| memory.length(&path));
        lengths.sum()
    }
}

impl Setting {
    fn new(dice: &mut Dice) -> Setting {
        let shape = dice.pick(Shape::ALL);
        let segment_bytes = 2_000 + dice.below(8_000);
        Setting {
            quota_bytes: segment_bytes * (4 + dice.below(10)),
            segment_bytes,
            pending_max_bytes: 3_000 + dice.below(60_000) as usize,
            age_max_ns: dice.one_in(4).then(|| 1 + dice.size(40)),
            rewrite_bytes: if dice.one_in(4) {
                0
            } else {
                256 + dice.below(8_000)
            },
            shape,
            flush_bytes: 300 + dice.below(8_000) as usize,
            writes_fail: dice.one_in(3),
            syncs_fail: dice.one_in(3),
            names_fail: dice.one_in(3),
            reads_fail: dice.one_in(4),
            fills: dice.one_in(3),
            rots: dice.one_in(3),
            is_robbed: dice.one_in(6),
            is_killed: dice.one_in(2),
            loses_power: dice.one_in(2),
        }
    }

    pub(crate) fn writer(&self) -> WriterOptions {
        WriterOptions {
            segment_bytes: self.segment_bytes,
            pending_max_bytes: self.pending_max_bytes,
            age_max_ns: self.age_max_ns,
            rewrite_bytes: self.rewrite_bytes,
            flush_bytes: self.flush_bytes,
            ..WriterOptions::new(sample::device(), self.quota_bytes)
        }
    }
}

fn segment_name(path: &Path) -> Option<SegmentName> {
    SegmentName::parse(path.file_name()?.to_str()?)
}

fn everything() -> ReadOptions {
    ReadOptions {
        unpublished_too: true,
        ..ReadOptions::default()
    }
}

const EPOCHS_MAX: u64 = 6;
const STEPS_MAX: u64 = 400;
const ATTEMPTS_UNTIL_MENDED: u32 = 12;
const ROT_BYTES_MAX: u64 = 700;
