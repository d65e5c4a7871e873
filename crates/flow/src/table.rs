//! The flow table: what makes one honest record out of what the sensors saw.

mod bursting;
mod glance;
mod reaping;
#[cfg(test)]
pub(crate) mod testing;

use crate::bursts::{Bursts, End};
use crate::event::{Closed, Event, FlowKey, Introduction, Opened, Owner};
use crate::live::{Draft, Flow, Flows, Missing, Party};
use crate::processes::Processes;
use crate::tombstones::{Tombstone, Tombstones};
use crate::totals::Totals;
use crate::waiting::{Held, Waiting};
pub use glance::{Glance, Look, Looks};
use reaping::Reaper;
use record::{
    Connection, Coverage, Ending, Hostname, LossCause, LossStage, LostKind, Mono, Notice,
    NoticeKind, Origin, Outcome, Phase, Record, Stamp, Tally, TcpCounts, Traffic, Wall,
};
use std::collections::{BTreeMap, VecDeque};

/// Bounds and intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Live flows at most; beyond it the idlest are closed as evicted.
    ///
    /// # Memory
    /// A live flow costs at most 400 bytes, all in, at every moment of the table's growth, so that
    /// 100,000 take at most 38.2 MiB; in the steady state they are 325 bytes each, 31.1 MiB:
    ///
    /// - 264 for its slot, in blocks that are never copied;
    /// - 25 for each place in the map from keys to slots, which has 1.15 to 2.3 places for a flow
    ///   and is there one and a half times while it grows: 29 to 86;
    /// - 24 in the queue of untold opens, where it has a place until its open is told, with as
    ///   much room to spare: 24 to 72.
    ///
    /// Its hostname comes on top where no other flow shares it: its length and 16 bytes.
    ///
    /// What else depends on this number: an eighth of it are remembered after they were given up,
    /// as many after they closed, and as many after their key came back, at 170 bytes; as many
    /// closes wait for their process, at 500 bytes, where [`Config::identity_wait_ns`] says so; and
    /// the idlest are sought in a list of 24 bytes a flow. Together that is at most 150 bytes for
    /// each flow, 14.3 MiB for 100,000.
    ///
    /// With 8,192 processes at 1.3 KB ([`Config::processes_max`]) that makes 63 MiB if all of the
    /// worst fell together, and 54 MiB as it is measured with all flows alive, all places to wait
    /// taken and all that can be remembered (`tests/it`).
    pub flows_max: usize,
    /// Processes remembered at most. Twice what the sensor remembers to have introduced, so that
    /// none is forgotten here that the sensor will not introduce again.
    ///
    /// # Memory
    /// One with four ancestors takes 1.3 KB, and as much more as its texts are longer than 150
    /// bytes.
    pub processes_max: usize,
    /// How long an open waits before it is told, in nanoseconds. A flow that ends before is told by
    /// its close alone, which has the whole story.
    pub open_delay_ns: u64,
    /// Between two updates of one flow, in nanoseconds. The first comes after a minute where that
    /// is less: whoever reads no opens learns then of what lives on.
    pub update_interval_ns: u64,
    /// Between two ledger notices, in nanoseconds.
    pub ledger_interval_ns: u64,
    /// How long an open or a close is held back for the introduction of a process that it names,
    /// in nanoseconds; zero where sensors introduce processes before their flows. At most an eighth
    /// of [`Config::flows_max`] records wait; beyond it the oldest goes as it is.
    pub identity_wait_ns: u64,
    /// How long a flow whose process is gone may still be heard of, in nanoseconds, before it is
    /// closed.
    pub gone_grace_ns: u64,
    /// Flows that were not heard of for so long, in nanoseconds, are closed as aged out, an eighth
    /// of this time later at most; zero is never.
    pub age_max_ns: u64,
    /// Flows other than TCP that were not heard of for so long, in nanoseconds, are closed as idle,
    /// an eighth of this time later at most; zero is never.
    pub datagram_idle_ns: u64,
    /// Flows that one process may make in one interval and that have records of their own; what it
    /// makes beyond is summed ([`record::Aggregate`]); zero is never.
    ///
    /// # Memory
    /// A sum takes 700 bytes at most, and there are a sixteenth of [`Config::flows_max`] of them;
    /// each of [`Config::processes_max`] processes is counted in 60 bytes.
    pub burst_max: u64,
    /// The interval, in nanoseconds.
    pub burst_interval_ns: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            flows_max: 100_000,
            processes_max: 32_768,
            open_delay_ns: SECOND_NS / 2,
            update_interval_ns: 300 * SECOND_NS,
            ledger_interval_ns: 600 * SECOND_NS,
            identity_wait_ns: 0,
            gone_grace_ns: 10 * SECOND_NS,
            age_max_ns: 0,
            datagram_idle_ns: 0,
            burst_max: 0,
            burst_interval_ns: 60 * SECOND_NS,
        }
    }
}

/// What the table gives.
#[expect(clippy::large_enum_variant, reason = "nearly every output is a record")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To be kept.
    Record(Record),
    /// To be found out, if somebody can.
    Want(Want),
}

/// What the table would like to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The name of a user; answered by [`Event::UserNamed`].
    UserName {
        /// The user.
        uid: u32,
    },
}

/// What the table did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events handled.
    pub events: u64,
    /// Connection records given.
    pub connection_records: u64,
    /// Notices given.
    pub notices: u64,
    /// Closes recorded because the sensor told of them, or because nobody else ever will.
    pub closes_recorded: u64,
    /// Closes that are summed with others and have no record of their own.
    pub closes_aggregated: u64,
    /// Records of such sums given.
    pub aggregates: u64,
    /// Closes that sensors declared lost.
    pub closes_lost: u64,
    /// Flows closed because a sweep did not find them.
    pub reaped: u64,
    /// Flows closed because the table was full.
    pub evicted: u64,
    /// Flows closed because their key came back.
    pub superseded: u64,
    /// Flows closed because their process is gone.
    pub process_gone: u64,
    /// Flows closed because nothing was heard of them for too long.
    pub aged_out: u64,
    /// Datagram flows closed because nothing passed.
    pub idle: u64,
    /// Flows closed because the sensor stopped watching.
    pub unwatched: u64,
    /// Events about flows that are not in the table, or that bring nothing new of such a flow.
    pub strays: u64,
    /// Records of what came on top after a flow was given up.
    pub resumed: u64,
    /// Closes that name a process nobody had introduced, even after the wait.
    pub unintroduced: u64,
    /// Records that were held back for an introduction.
    pub held: u64,
    /// Records that went without it because too many were held back.
    pub hurried: u64,
    /// Times that all flows were looked through.
    pub scans: u64,
    /// Closes given of connections whose end counts already, or is declared lost, or is still to
    /// come.
    pub repeated: u64,
    /// Ends that count and bring no record, because an earlier close had told the whole story.
    pub told_before: u64,
    /// Flows in the table.
    pub live: u64,
    /// Of those, flows beyond the limit of their process, which have no record so far.
    pub summed: u64,
    /// Records held back now.
    pub waiting: u64,
    /// Ends that are not told yet: of closes among them, and of connections in sums.
    pub closes_waiting: u64,
    /// Processes remembered.
    pub processes: u64,
}

/// The state machine between sensors and trail.
#[derive(Debug)]
pub struct FlowTable {
    config: Config,
    epoch: u64,
    /// The wall and the monotonic clock at one moment.
    anchor: Stamp,
    flows: Flows,
    processes: Processes,
    outputs: VecDeque<Pending>,
    counters: Counters,
    last_ordinal: u64,
    /// Opens that wait to be told, in the order they will be.
    untold: VecDeque<Untold>,
    /// Records that wait for an introduction.
    waiting: Waiting,
    reaper: Reaper,
    bursts: Bursts,
    /// Flows that were closed without their end being seen.
    given_up: Tombstones,
    /// Flows that closed, so that what comes late does not open them again.
    ended: Tombstones,
    /// Flows whose key another one has, so that what comes late is not taken for the other's.
    superseded: Tombstones,
    /// Closes that were declared lost and whose flows were not closed in another way since.
    losses_open: u64,
    /// When a loss of each kind was last declared, or the table began.
    declared: BTreeMap<(LossStage, LossCause, LostKind), Stamp>,
    started: Stamp,
    coverage_since: Stamp,
    /// The latest time that a call brought.
    latest: Mono,
    ledger_due: Mono,
    ledger_last: Tally,
    /// Nobody waits for anything any more.
    is_stopping: bool,
}

/// An output, or what will be one. What may be many at once is put together only when it is asked
/// for, so that a hundred thousand closes take no more room than the flows did.
#[derive(Debug)]
enum Pending {
    Connection(Box<Connection>),
    Notice(Box<Notice>),
    Want(Want),
    /// The close of a flow that was let go.
    LetGo {
        slot: u32,
        outcome: Outcome,
        at: Mono,
    },
    /// The opens that are due until then.
    Opens(Mono),
    /// The records whose wait ends until then.
    Held(Mono),
    /// The sums of intervals that are over.
    Sums,
}

/// An open that waits to be told. Its flow may be gone by then, or another may have its slot.
#[derive(Clone, Copy, Debug)]
struct Untold {
    due: Mono,
    ordinal: u64,
    slot: u32,
}

const SECOND_NS: u64 = 1_000_000_000;

/// The first update of a flow comes so long after its open, in nanoseconds, or earlier.
const FIRST_UPDATE_NS: u64 = 60 * SECOND_NS;

/// A clock that is disciplined moves less than this between two readings; one that is set, more.
const CLOCK_STEP_NS_MIN: u64 = 100_000_000;

impl FlowTable {
    /// An empty table for `epoch`; `start` anchors the monotonic clock to the wall clock.
    ///
    /// Connection ids count from 1 within the epoch, so the same events give the same ids.
    pub fn new(config: Config, epoch: u64, start: Stamp) -> FlowTable {
        let config = Config {
            flows_max: config.flows_max.clamp(1, u32::MAX as usize / 2),
            ..config
        };
        FlowTable {
            config,
            epoch,
            anchor: start,
            flows: Flows::default(),
            processes: Processes::new(config.processes_max),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            last_ordinal: 0,
            untold: VecDeque::new(),
            waiting: Waiting::new(config.flows_max / 8),
            reaper: Reaper::default(),
            bursts: Bursts::new(bursting::bounds(&config), start.mono),
            given_up: Tombstones::new(config.flows_max / 8),
            ended: Tombstones::new(config.flows_max / 8),
            superseded: Tombstones::new(config.flows_max / 8),
            losses_open: 0,
            declared: BTreeMap::new(),
            started: start,
            coverage_since: start,
            latest: start.mono,
            ledger_due: start.mono.plus_ns(config.ledger_interval_ns),
            ledger_last: Tally::default(),
            is_stopping: false,
        }
    }

    /// Takes in one event. Never fails: what makes no sense is counted, not refused.
    pub fn handle(&mut self, event: Event, now: Mono) {
        self.counters.events += 1;
        self.latest = self.latest.max(now);
        match event {
            Event::SensorStarted { sensor, limits } => {
                self.notice(NoticeKind::SensorStarted { sensor, limits }, now);
            }
            Event::SensorStopped { sensor, reason } => {
                self.notice(NoticeKind::SensorStopped { sensor, reason }, now);
            }
            Event::SensorLimited { sensor, limit } => {
                self.notice(NoticeKind::SensorLimited { sensor, limit }, now);
            }
            Event::BreakerChanged {
                state,
                cause,
                crashes,
            } => {
                let changed = NoticeKind::BreakerChanged {
                    state,
                    cause,
                    crashes,
                };
                self.notice(changed, now);
            }
            Event::CoverageRead {
                system,
                recorded,
                missed_estimate,
                unseen,
            } => self.coverage(system, recorded, missed_estimate, unseen, now),
            Event::ClockRead { mono, wall } => self.clock_read(mono, wall),
            Event::Sleeping => self.notice(NoticeKind::Sleeping, now),
            Event::Slept { duration_ns } => {
                self.slept(duration_ns, now);
                self.notice(NoticeKind::Slept { duration_ns }, now);
            }
            Event::ProcessSeen(introduction) => self.introduced(introduction),
            Event::ProcessesGone { keys } => self.processes_gone(keys, now),
            Event::UserNamed { uid, name } => self.processes.name_user(uid, name),
            Event::Opened(opened) => self.opened(opened, now),
            Event::Attributed { key, owner } => self.attributed(key, owner, now),
            Event::Named { key, hostname } => self.named(key, hostname, now),
            Event::Updated { key, traffic, flow } => self.updated(key, traffic, flow, now),
            Event::Closed(closed) => self.closed(closed, now),
            Event::Swept { before, alive } => self.swept(before, &alive, now),
            Event::Unwatched { before } => self.unwatched(before, now),
            Event::Lost {
                stage,
                cause,
                what,
                count,
            } => self.lost(stage, cause, what, count, now),
        }
    }

    /// Does what is due at `now`; see [`FlowTable::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Mono) {
        self.latest = self.latest.max(now);
        if self.waiting.next_due().is_some_and(|due| due <= now) {
            self.outputs.push_back(Pending::Held(now));
        }
        if self.untold.front().is_some_and(|untold| untold.due <= now) {
            self.outputs.push_back(Pending::Opens(now));
        }
        self.reap(now);
        self.end_interval(now);
        if now < self.ledger_due {
            return;
        }
        self.ledger_due = now.plus_ns(self.config.ledger_interval_ns.max(SECOND_NS));
        let tally = self.tally();
        if tally != self.ledger_last {
            self.ledger_last = tally;
            self.notice(NoticeKind::Ledger(tally), now);
        }
    }

    /// When [`FlowTable::handle_timeout`] next has something to do.
    pub fn poll_timeout(&self) -> Mono {
        let dues = [
            Some(self.ledger_due),
            self.untold.front().map(|untold| untold.due),
            self.waiting.next_due(),
            self.reaper.next_due(),
            self.bursts.next_due(),
        ];
        dues.into_iter().flatten().min().unwrap_or(self.ledger_due)
    }

    /// Tells what waits, before the table is given up.
    pub fn handle_stop(&mut self) {
        self.is_stopping = true;
        self.outputs.push_back(Pending::Held(Mono(u64::MAX)));
        self.end_bursts();
        self.outputs.push_back(Pending::Opens(Mono(u64::MAX)));
    }

    /// The next output; `None` when there is none until the next call of a `handle` function.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            let connection = match self.outputs.pop_front()? {
                Pending::Connection(connection) => Some(connection),
                Pending::Notice(notice) => return Some(Output::Record(Record::Notice(*notice))),
                Pending::Want(want) => return Some(Output::Want(want)),
                Pending::LetGo { slot, outcome, at } => self.close_let_go(slot, outcome, at),
                Pending::Opens(until) => self.next_open(until),
                Pending::Held(until) => self.next_held(until),
                Pending::Sums => self.next_sum(),
            };
            if let Some(connection) = connection {
                self.counters.connection_records += 1;
                return Some(Output::Record(Record::Connection(*connection)));
            }
        }
    }

    /// What the table did so far.
    pub fn counters(&self) -> Counters {
        Counters {
            live: self.flows.len() as u64,
            summed: self.bursts.live,
            waiting: self.waiting.len() as u64,
            closes_waiting: self.waiting.closes() + self.bursts.untold(),
            processes: self.processes.len() as u64,
            ..self.counters
        }
    }

    /// The books so far.
    pub fn tally(&self) -> Tally {
        let Counters {
            closes_recorded,
            closes_aggregated,
            closes_lost,
            ..
        } = self.counters;
        Tally {
            closes_made: closes_recorded + closes_aggregated + closes_lost,
            closes_recorded,
            closes_aggregated,
            closes_dropped: 0,
            closes_lost,
            live: self.flows.len() as u64,
        }
    }

    /// The wall and monotonic clock at `now`, by the newest reading of both.
    pub fn stamp(&self, now: Mono) -> Stamp {
        Stamp {
            wall: self.anchor.wall_at(now),
            mono: now,
        }
    }

    fn clock_read(&mut self, mono: Mono, wall: Wall) {
        if mono < self.anchor.mono {
            // Told late: a newer reading of both is known.
            self.counters.strays += 1;
            return;
        }
        let by_ns = wall.0.saturating_sub(self.anchor.wall_at(mono).0);
        self.anchor = Stamp { wall, mono };
        if by_ns.unsigned_abs() >= CLOCK_STEP_NS_MIN {
            self.notice(NoticeKind::ClockStepped { by_ns }, mono);
        }
    }

    fn coverage(
        &mut self,
        system: Result<TcpCounts, String>,
        recorded: TcpCounts,
        missed_estimate: Option<u64>,
        unseen: Vec<String>,
        now: Mono,
    ) {
        let at = self.stamp(now);
        let since = std::mem::replace(&mut self.coverage_since, at);
        let (system, unavailable) = match system {
            Ok(counts) => (Some(counts), None),
            Err(reason) => (None, Some(reason)),
        };
        let coverage = Coverage {
            since,
            system,
            unavailable,
            recorded,
            missed_estimate,
            unseen,
        };
        self.notice(NoticeKind::Coverage(coverage), now);
    }

    fn introduced(&mut self, introduction: Introduction) {
        let key = introduction.process.key;
        if let Some(uid) = self.processes.introduce(introduction) {
            self.outputs
                .push_back(Pending::Want(Want::UserName { uid }));
        }
        for held in self.waiting.introduced(key) {
            if let Some(connection) = self.complete(held) {
                self.outputs.push_back(Pending::Connection(connection));
            }
        }
    }

    fn opened(&mut self, opened: Opened, now: Mono) {
        let key = opened.key;
        if let Some(slot) = self.flows.slot(key) {
            let is_its = |flow: &Flow| {
                let is_same = is_same_flow(flow.origin, opened.origin) || opened.at == flow.at;
                is_same && !flow.goes_elsewhere(&opened.tuple)
            };
            if self.flows.at(slot).is_some_and(is_its) {
                return self.seen_again(&opened, now);
            }
            if self.flows.at(slot).is_some_and(|it| opened.at < it.at) {
                // The flow before this one, told of late.
                self.counters.strays += 1;
                return;
            }
            self.let_go(slot, Outcome::Superseded, opened.at);
        } else if let Some(ended) = self.ended.get(key) {
            if opened.at <= ended.at {
                self.counters.strays += 1;
                return;
            }
            self.ended.take(key);
        }
        let before = self
            .given_up
            .take(key)
            .filter(|_| opened.origin != Origin::Live);
        self.open(opened, before, now);
    }

    fn open(&mut self, opened: Opened, before: Option<Tombstone>, now: Mono) {
        if self.flows.len() >= self.config.flows_max {
            self.evict_idlest(now);
        }
        let owner = opened.owner.map(|owner| owner.process);
        let is_summed = before.is_none() && self.is_beyond_limit(owner, opened.origin, now);
        let mut flow = self.new_flow(opened);
        flow.is_summed = is_summed;
        // However late it is told of, its first update comes after its open; and whatever moment
        // the sensor says, it is as old as any other when it is silent from now on.
        flow.last_record = now;
        flow.last_seen = now;
        if let Some(before) = before {
            flow.totals = before.totals;
            flow.before = Some(Box::new(before));
        }
        let ordinal = flow.ordinal;
        self.expect_silence(&flow, now);
        let slot = self.flows.insert(flow);
        if is_summed {
            self.bursts.live += 1;
            return;
        }
        self.untold.push_back(Untold {
            due: now.plus_ns(self.config.open_delay_ns),
            ordinal,
            slot,
        });
        if self.config.open_delay_ns == 0 || self.untold.len() > self.config.flows_max {
            let open = self.untold.pop_front().and_then(|it| self.tell(it, now));
            self.outputs.extend(open.map(Pending::Connection));
        }
    }

    fn new_flow(&mut self, opened: Opened) -> Flow {
        self.last_ordinal += 1;
        let mut flow = Flow::new(&opened, self.last_ordinal);
        if let Some(owner) = opened.owner {
            flow.give_to(owner, &mut self.processes);
        }
        flow
    }

    /// The same flow is told of again, by somebody who may know more.
    fn seen_again(&mut self, opened: &Opened, now: Mono) {
        let Some(flow) = self.flows.get_mut(opened.key) else {
            return;
        };
        flow.heard_of(now);
        flow.fill_in(opened);
        if let Some(owner) = opened.owner
            && owner.attribution.confidence > flow.attribution.confidence
        {
            flow.give_to(owner, &mut self.processes);
        }
        if opened.origin == Origin::Live && flow.before.is_none() {
            flow.origin = match flow.origin {
                Origin::Inferred => Origin::Live,
                Origin::Live | Origin::Snapshot | Origin::Sampled => flow.origin,
            };
        }
    }

    fn attributed(&mut self, key: FlowKey, owner: Owner, now: Mono) {
        let Some(flow) = self.flows.get_mut(key) else {
            self.counters.strays += 1;
            return;
        };
        flow.heard_of(now);
        if owner.attribution.confidence >= flow.attribution.confidence {
            flow.give_to(owner, &mut self.processes);
        }
    }

    fn named(&mut self, key: FlowKey, hostname: Hostname, now: Mono) {
        let Some(flow) = self.flows.get_mut(key) else {
            self.counters.strays += 1;
            return;
        };
        flow.heard_of(now);
        flow.hostname = Some(hostname);
    }

    fn updated(&mut self, key: FlowKey, traffic: Traffic, told: Option<Opened>, now: Mono) {
        let newer = Totals::told(traffic);
        if self.flows.slot(key).is_none() {
            let Some(opened) = told.filter(|_| self.brings_news(key, &newer)) else {
                self.counters.strays += 1;
                return;
            };
            self.open_again(Opened { key, ..opened }, now);
        }
        let at = self.stamp(now);
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        flow.heard_totals(newer, now);
        if let Some(opened) = &told {
            flow.fill_in(opened);
            if let (Party::Nobody, Some(owner)) = (&flow.owner, opened.owner) {
                flow.give_to(owner, &mut self.processes);
            }
        }
        let interval_ns = match flow.is_updated {
            true => self.config.update_interval_ns,
            false => self.config.update_interval_ns.min(FIRST_UPDATE_NS),
        };
        if !flow.is_summed && now.since_ns(flow.last_record) >= interval_ns {
            (flow.last_record, flow.is_updated) = (now, true);
            let draft = flow.draft(self.epoch, Phase::Update, at, &mut self.processes);
            let connection = draft.finish(&mut self.processes);
            self.outputs.push_back(Pending::Connection(connection));
        }
    }

    /// Whether totals say more of a flow than what was told before it was given up or closed.
    fn brings_news(&self, key: FlowKey, totals: &Totals) -> bool {
        let known = self.given_up.get(key).or_else(|| self.ended.get(key));
        known.is_none_or(|known| totals.exceeds(&known.totals))
    }

    /// Opens a flow of which only totals were told: one that is not known, or not any more.
    fn open_again(&mut self, opened: Opened, now: Mono) {
        let ended = self.ended.take(opened.key);
        let before = self.given_up.take(opened.key).or(ended);
        let origin = match before {
            None => opened.origin,
            Some(_) => {
                self.counters.resumed += 1;
                Origin::Inferred
            }
        };
        self.open(Opened { origin, ..opened }, before, now);
    }

    fn closed(&mut self, closed: Closed, now: Mono) {
        let last = Totals::told(closed.traffic);
        let (live, before, is_late) = self.whose_close(&closed);
        let is_summed = match (&live, &before) {
            (Some(flow), _) => flow.is_summed,
            (None, Some(_)) => false,
            (None, None) => {
                let owner = closed.owner.map(|owner| owner.process);
                self.is_beyond_limit(owner, closed.origin, now)
            }
        };
        let told = match (&live, &before) {
            (Some(flow), _) => flow.totals,
            (None, Some(before)) => before.totals,
            (None, None) => Totals::default(),
        };
        let totals = told.closed_with(last);
        let ended = Tombstone {
            totals,
            is_counted: true,
            at: before
                .map_or(Mono(0), |it| it.at)
                .max(closed.at.min(self.latest)),
        };
        let memory = if is_late {
            &mut self.superseded
        } else {
            &mut self.ended
        };
        memory.set(closed.key, ended);
        let is_counted = before.is_some_and(|it| it.is_counted);
        let mut flow = match (live, before) {
            (Some(flow), _) => flow,
            (None, Some(before)) if !last.exceeds(&before.totals) => {
                self.counters.closes_recorded += u64::from(!is_counted);
                self.counters.strays += 1;
                self.counters.told_before += u64::from(!is_counted);
                return;
            }
            (None, before) => self.flow_without_open(&closed, before),
        };
        flow.close_with(&closed, &mut self.processes);
        flow.totals = totals;
        self.sum_up_or_close(flow, is_summed, is_counted, &closed, now);
    }

    /// The flow that a close is of, if it is followed; what was told of it before; and whether
    /// another one has its key by now.
    fn whose_close(&mut self, closed: &Closed) -> (Option<Flow>, Option<Tombstone>, bool) {
        let key = closed.key;
        let Some(slot) = self.flows.slot(key) else {
            let ended = self.ended.get(key).filter(|it| is_twice(closed, it));
            let ended = ended.copied();
            return (None, self.given_up.take(key).or(ended), false);
        };
        if self.flows.at(slot).is_some_and(|it| is_older(closed, it)) {
            return (None, self.superseded.take(key), true);
        }
        let live = self.flows.remove(key);
        if live.as_ref().is_some_and(|it| it.is_summed) {
            self.bursts.live -= 1;
        }
        let before = live.as_ref().and_then(|it| it.before.as_deref().copied());
        (live, before, false)
    }

    fn sum_up_or_close(
        &mut self,
        flow: Flow,
        is_summed: bool,
        is_counted: bool,
        closed: &Closed,
        now: Mono,
    ) {
        let end = End {
            ending: closed.ending,
            at: closed.at,
            retransmits: closed.retransmits,
        };
        let flow = match is_summed {
            true => self.sum_up(flow, end, now),
            false => Some(Box::new(flow)),
        };
        if let Some(flow) = flow {
            self.counters.closes_recorded += u64::from(!is_counted);
            self.counters.repeated += u64::from(is_counted);
            self.close(*flow, closed, now);
        }
    }

    fn flow_without_open(&mut self, closed: &Closed, before: Option<Tombstone>) -> Flow {
        let mut flow = self.new_flow(Opened {
            key: closed.key,
            at: closed.at,
            tuple: closed.tuple,
            owner: closed.owner,
            opened: closed.opened,
            established: closed.established,
            origin: origin_without_open(closed),
        });
        if before.is_some() {
            self.counters.resumed += 1;
            flow.origin = Origin::Inferred;
        }
        flow.before = before.map(Box::new);
        flow
    }

    fn close(&mut self, flow: Flow, closed: &Closed, now: Mono) {
        let at = self.stamp(closed.at);
        let phase = Phase::Close(closed.ending);
        let mut draft = flow.draft(self.epoch, phase, at, &mut self.processes);
        let connection = &mut draft.connection;
        let pid = flow.owner.key().map(|key| key.pid);
        connection.rtt_us = closed.rtt_us;
        connection.retransmits = closed.retransmits;
        connection.closer_pid = closed.closer_pid.filter(|closer| Some(*closer) != pid);
        let close = self.wait_or_go(draft, now);
        self.outputs.extend(close.map(Pending::Connection));
    }

    /// The close of a flow whose end was not seen.
    fn close_let_go(&mut self, slot: u32, outcome: Outcome, at: Mono) -> Option<Box<Connection>> {
        let flow = self.flows.take_let_go(slot)?;
        self.close_unseen(flow, outcome, at)
    }

    fn close_unseen(
        &mut self,
        mut flow: Flow,
        outcome: Outcome,
        at: Mono,
    ) -> Option<Box<Connection>> {
        flow.totals = flow.totals.cut_off();
        let phase = Phase::Close(Ending {
            outcome,
            errno: None,
        });
        let stamp = self.stamp(at);
        let draft = flow.draft(self.epoch, phase, stamp, &mut self.processes);
        self.wait_or_go(draft, self.latest)
    }

    /// A close goes, or is held back for an introduction.
    fn wait_or_go(&mut self, draft: Draft, now: Mono) -> Option<Box<Connection>> {
        if self.must_wait(&draft) {
            let missing = draft.missing;
            self.hold(Held::Close(draft), missing, now);
            return None;
        }
        self.counters.unintroduced += u64::from(!draft.is_complete());
        Some(draft.finish(&mut self.processes))
    }

    fn must_wait(&self, draft: &Draft) -> bool {
        !draft.is_complete() && self.config.identity_wait_ns > 0 && !self.is_stopping
    }

    fn hold(&mut self, held: Held, missing: Missing, now: Mono) {
        self.counters.held += 1;
        let due = now.plus_ns(self.config.identity_wait_ns);
        if let Some(oldest) = self.waiting.hold(held, missing, due) {
            self.counters.hurried += 1;
            let record = self.give_up_waiting(oldest);
            self.outputs.extend(record.map(Pending::Connection));
        }
    }

    /// The next record whose wait ends until `until`.
    fn next_held(&mut self, until: Mono) -> Option<Box<Connection>> {
        while let Some(held) = self.waiting.take_due(until) {
            if let Some(record) = self.give_up_waiting(held) {
                self.outputs.push_front(Pending::Held(until));
                return Some(record);
            }
        }
        None
    }

    fn give_up_waiting(&mut self, held: Held) -> Option<Box<Connection>> {
        self.counters.unintroduced += match held {
            Held::Close(_) => 1,
            Held::Open { .. } => 0,
        };
        self.complete(held)
    }

    /// The record, with the newest that is known of its processes. A flow that closed while its
    /// open waited is told by its close alone.
    fn complete(&mut self, held: Held) -> Option<Box<Connection>> {
        match held {
            Held::Open { slot, ordinal } => {
                let at = self.stamp(self.flows.at(slot)?.at);
                let flow = self.flows.at(slot).filter(|it| it.ordinal == ordinal)?;
                let draft = flow.draft(self.epoch, Phase::Open, at, &mut self.processes);
                Some(draft.finish(&mut self.processes))
            }
            Held::Close(draft) => Some(draft.finish(&mut self.processes)),
        }
    }

    /// The next open that is due until `until`.
    fn next_open(&mut self, until: Mono) -> Option<Box<Connection>> {
        while self
            .untold
            .front()
            .is_some_and(|untold| untold.due <= until)
        {
            let open = self.untold.pop_front().and_then(|it| self.tell(it, until));
            if open.is_some() {
                self.outputs.push_front(Pending::Opens(until));
                return open;
            }
        }
        None
    }

    fn tell(&mut self, untold: Untold, now: Mono) -> Option<Box<Connection>> {
        let Untold { ordinal, slot, .. } = untold;
        let at = self.stamp(self.flows.at(slot)?.at);
        let flow = self.flows.at(slot).filter(|it| it.ordinal == ordinal)?;
        let draft = flow.draft(self.epoch, Phase::Open, at, &mut self.processes);
        if self.must_wait(&draft) {
            self.hold(Held::Open { slot, ordinal }, draft.missing, now);
            return None;
        }
        Some(draft.finish(&mut self.processes))
    }

    fn lost(
        &mut self,
        stage: LossStage,
        cause: LossCause,
        what: LostKind,
        count: Option<u64>,
        now: Mono,
    ) {
        let stage = match stage {
            LossStage::Kernel => stage,
            LossStage::SensorQueue
            | LossStage::FlowTable
            | LossStage::TrailQueue
            | LossStage::Trail => LossStage::SensorQueue,
        };
        if what == LostKind::Closes {
            let count = count.unwrap_or(0);
            self.counters.closes_lost += count;
            self.losses_open += count;
        }
        let at = self.stamp(now);
        let since = self
            .declared
            .insert((stage, cause, what), at)
            .unwrap_or(self.started);
        self.notice(
            NoticeKind::Lost {
                stage,
                cause,
                what,
                count,
                since,
            },
            now,
        );
    }

    fn notice(&mut self, kind: NoticeKind, now: Mono) {
        self.counters.notices += 1;
        let at = self.stamp(now);
        self.outputs
            .push_back(Pending::Notice(Box::new(Notice { at, kind })));
    }
}

/// A second open of a key that is followed: the same flow, found by somebody who did not see it
/// begin, or another one that was given the same key.
fn is_same_flow(known: Origin, told: Origin) -> bool {
    let saw_no_beginning = |origin| match origin {
        Origin::Snapshot | Origin::Inferred => true,
        Origin::Live | Origin::Sampled => false,
    };
    saw_no_beginning(known) || saw_no_beginning(told)
}

/// A close of a flow that closed already: told twice, or by two who know different totals.
fn is_twice(closed: &Closed, ended: &Tombstone) -> bool {
    let began = closed.opened.or(closed.established).unwrap_or(closed.at);
    began < ended.at || closed.at <= ended.at
}

/// A close of the flow that had the key before the one that has it now, and whose beginning was
/// seen.
fn is_older(closed: &Closed, live: &Flow) -> bool {
    let saw_beginning = match live.origin {
        Origin::Live | Origin::Sampled => true,
        Origin::Snapshot | Origin::Inferred => false,
    };
    let began = closed.opened.or(closed.established).unwrap_or(closed.at);
    saw_beginning && closed.at < live.at && began < live.began()
}

/// An attempt that failed has no open. A connection that was established had one, which was lost,
/// or the flow was evicted before its end.
fn origin_without_open(closed: &Closed) -> Origin {
    if closed.origin == Origin::Live && closed.established.is_some() {
        return Origin::Inferred;
    }
    closed.origin
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use crate::event::Tuple;
    use record::{ByteQuality, ConnectionId, Endpoint, IdentitySource, Process, SensorKind};
    use std::collections::BTreeSet;

    #[test]
    fn one_connection_is_one_id_from_open_to_close() {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].id, records[1].id);
        assert_eq!(
            records[0].id,
            ConnectionId {
                epoch: 3,
                ordinal: 1
            }
        );
        assert_eq!(
            records[1].traffic.bytes_out,
            Some(0),
            "a known zero stays a zero"
        );
        assert_eq!(
            records[1].traffic.bytes_in, None,
            "an unknown stays unknown"
        );
        assert_eq!(records[1].closer_pid, None, "the owner closed it itself");
        assert_eq!(records[1].at.wall.0, START.wall.0 + 2_000);
        assert_eq!(table.counters().live, 0);
    }

    #[test]
    fn a_short_connection_is_told_by_its_close_and_a_long_one_opens_first() {
        let delay_ns = Config::default().open_delay_ns;
        let mut table = FlowTable::new(Config::default(), 3, START);
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(Event::Opened(opened(2, 2_100)), Mono(2_100));
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].id.ordinal, 1);
        assert_eq!(records[0].origin, Origin::Live, "its beginning was seen");
        assert_eq!(table.poll_timeout(), Mono(2_000 + delay_ns));
        table.handle_timeout(Mono(2_099 + delay_ns));
        assert_eq!(connections(&mut table), []);
        table.handle_timeout(Mono(2_100 + delay_ns));
        let records = connections(&mut table);
        assert_eq!((records[0].id.ordinal, records[0].phase), (2, Phase::Open));
        assert_eq!(
            records[0].at.mono,
            Mono(2_100),
            "it is told late, not dated late"
        );
    }

    #[test]
    fn opens_that_wait_are_told_at_the_stop() {
        let mut table = FlowTable::new(Config::default(), 3, START);
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle_stop();
        assert_eq!(connections(&mut table)[0].phase, Phase::Open);
        table.handle_timeout(Mono(2_000 + SECOND_NS));
        assert_eq!(connections(&mut table), []);
    }

    // facts: close-without-open
    #[test]
    fn a_close_without_its_open_tells_the_whole_story() {
        let mut table = table();
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(records[0].origin, Origin::Inferred);
        assert_eq!(records[0].process.as_ref().unwrap().key.pid, 9);
        assert_eq!(records[0].opened, Some(Mono(2_950)));
    }

    #[test]
    fn a_failed_attempt_is_live_and_not_inferred() {
        let mut table = table();
        let refused = Ending {
            outcome: Outcome::Refused,
            errno: Some(111),
        };
        let attempt = Closed {
            established: None,
            ending: refused,
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(attempt), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(records[0].origin, Origin::Live);
        assert_eq!(records[0].phase, Phase::Close(refused));
    }

    #[test]
    fn a_key_that_comes_back_to_another_address_is_another_flow_though_no_beginning_was_seen() {
        let mut table = table();
        let inferred = Opened {
            origin: Origin::Inferred,
            ..opened(1, 2_000)
        };
        table.handle(Event::Opened(inferred), Mono(2_000));
        let mut elsewhere = opened(1, 2_500);
        elsewhere.tuple.remote.address = Some([192, 0, 2, 77].into());
        table.handle(Event::Opened(elsewhere), Mono(2_500));
        let records = connections(&mut table);
        assert_eq!(outcome(&records[1]), Some(Outcome::Superseded));
        assert_eq!(records[2].remote, elsewhere.tuple.remote);
        assert_ne!(records[0].id, records[2].id);
    }

    // facts: flow-id-comes-back
    #[test]
    fn a_key_that_comes_back_is_a_new_connection() {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(Event::Opened(opened(1, 2_500)), Mono(2_500));
        let records = connections(&mut table);
        assert_eq!(outcome(&records[1]), Some(Outcome::Superseded));
        assert_eq!(records[2].phase, Phase::Open);
        assert_ne!(records[0].id, records[2].id);
        assert_eq!(table.counters().superseded, 1);
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        assert_eq!(connections(&mut table)[0].id, records[2].id);
    }

    #[test]
    fn a_snapshot_of_what_is_already_live_adds_nothing() {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let snapshot = Opened {
            origin: Origin::Snapshot,
            ..opened(1, 2_500)
        };
        table.handle(Event::Opened(snapshot), Mono(2_500));
        assert_eq!(connections(&mut table).len(), 1);
        assert_eq!(table.counters().live, 1);
    }

    #[test]
    fn a_close_that_repeats_the_listener_does_not_undo_who_was_found() {
        let mut table = table();
        let listener = owner(1, IdentitySource::ListenerToken);
        let at_first = Opened {
            owner: listener,
            ..opened(1, 2_000)
        };
        table.handle(Event::Opened(at_first), Mono(2_000));
        let owner = owner(2, IdentitySource::Snapshot).unwrap();
        table.handle(Event::Attributed { key: key(1), owner }, Mono(2_100));
        let close = Closed {
            owner: listener,
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        let records = connections(&mut table);
        let close = records.last().unwrap();
        assert_eq!(close.process.as_ref().unwrap().key.pid, 2);
        assert_eq!(close.attribution.source, IdentitySource::Snapshot);
    }

    #[test]
    fn a_better_owner_wins_and_a_worse_one_does_not() {
        let mut table = table();
        let listener = Opened {
            owner: owner(1, IdentitySource::Listener),
            ..opened(1, 2_000)
        };
        table.handle(Event::Opened(listener), Mono(2_000));
        let better = owner(2, IdentitySource::Accept).unwrap();
        let worse = owner(3, IdentitySource::Snapshot).unwrap();
        table.handle(
            Event::Attributed {
                key: key(1),
                owner: better,
            },
            Mono(2_100),
        );
        table.handle(
            Event::Attributed {
                key: key(1),
                owner: worse,
            },
            Mono(2_200),
        );
        table.handle(
            Event::Closed(Closed {
                owner: None,
                ..closed(1, 3_000)
            }),
            Mono(3_000),
        );
        let records = connections(&mut table);
        assert_eq!(records[1].process.as_ref().unwrap().key.pid, 2);
        assert_eq!(records[1].attribution.source, IdentitySource::Accept);
    }

    #[test]
    fn an_introduced_process_is_on_the_record_and_its_user_is_asked_for_once() {
        let mut table = table();
        let mut facts = Process::bare(process(9));
        facts.path = Some("/usr/bin/curl".into());
        facts.user = Some(record::User {
            uid: 1_000,
            name: None,
        });
        let introduction = crate::Introduction {
            process: facts,
            parent: None,
        };
        table.handle(Event::ProcessSeen(introduction.clone()), Mono(1_500));
        let want = Output::Want(Want::UserName { uid: 1_000 });
        assert_eq!(table.poll_output(), Some(want));
        let name = Some("ana".into());
        table.handle(Event::UserNamed { uid: 1_000, name }, Mono(1_500));
        table.handle(Event::ProcessSeen(introduction), Mono(1_600));
        assert_eq!(table.poll_output(), None);
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let process = connections(&mut table).remove(0).process.unwrap();
        assert_eq!(process.path.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(process.user.as_ref().unwrap().name.as_deref(), Some("ana"));
    }

    #[test]
    fn a_full_table_evicts_the_idlest_and_stays_bounded() {
        let config = Config {
            flows_max: 32,
            open_delay_ns: 0,
            ..Config::default()
        };
        let mut table = FlowTable::new(config, 3, START);
        for socket in 0..100 {
            let at = 2_000 + socket;
            table.handle(Event::Opened(opened(socket, at)), Mono(at));
            table.handle(
                Event::Updated {
                    key: key(0),
                    traffic: Traffic::default(),
                    flow: None,
                },
                Mono(at),
            );
        }
        assert!(table.counters().live <= 32);
        table.handle(Event::Closed(closed(0, 4_000)), Mono(4_000));
        let evicted = Phase::Close(Ending {
            outcome: Outcome::Evicted,
            errno: None,
        });
        let records = connections(&mut table);
        let evictions = records
            .iter()
            .filter(|record| record.phase == evicted)
            .count() as u64;
        assert_eq!(evictions, table.counters().evicted);
        assert_eq!(records.last().unwrap().id.ordinal, 1, "the busy one stayed");
    }

    #[test]
    fn a_sensor_tells_of_no_loss_behind_it() {
        let mut table = table();
        for stage in LossStage::ALL {
            let lost = Event::Lost {
                stage: *stage,
                cause: LossCause::QueueFull,
                what: LostKind::Records,
                count: Some(1),
            };
            table.handle(lost, Mono(2_500));
        }
        let mut told = BTreeSet::new();
        while let Some(output) = table.poll_output() {
            if let Output::Record(Record::Notice(notice)) = output
                && let NoticeKind::Lost { stage, .. } = notice.kind
            {
                told.insert(stage);
            }
        }
        let before_the_table = [LossStage::Kernel, LossStage::SensorQueue];
        assert_eq!(told, BTreeSet::from(before_the_table));
    }

    #[test]
    fn lost_closes_balance_and_what_a_sweep_misses_is_reaped_once() {
        let mut table = table();
        for socket in 1..=3 {
            table.handle(Event::Opened(opened(socket, 2_000)), Mono(2_000));
        }
        let lost = Event::Lost {
            stage: LossStage::Kernel,
            cause: LossCause::RingFull,
            what: LostKind::Closes,
            count: Some(2),
        };
        table.handle(lost, Mono(2_500));
        table.handle(Event::Opened(opened(4, 2_600)), Mono(2_600));
        table.handle(
            Event::Swept {
                before: Mono(2_550),
                alive: vec![key(2)],
            },
            Mono(2_700),
        );
        table.handle(Event::Closed(closed(2, 3_000)), Mono(3_000));
        table.handle(Event::Closed(closed(4, 3_000)), Mono(3_000));
        let tally = table.tally();
        let expected = Tally {
            closes_made: 4,
            closes_recorded: 2,
            closes_aggregated: 0,
            closes_dropped: 0,
            closes_lost: 2,
            live: 0,
        };
        assert_eq!(tally, expected);
        assert_eq!(table.counters().reaped, 2);
    }

    // facts: wall-clock-back
    #[test]
    fn a_clock_that_is_set_is_a_notice_and_one_that_drifts_is_not() {
        let mut table = table();
        let wall = |ns| Wall(START.wall.0 + ns);
        table.handle(
            Event::ClockRead {
                mono: Mono(2_000),
                wall: wall(1_500),
            },
            Mono(2_000),
        );
        assert_eq!(drain(&mut table), []);
        let stepped = wall(-3_600 * SECOND_NS as i64);
        table.handle(
            Event::ClockRead {
                mono: Mono(3_000),
                wall: stepped,
            },
            Mono(3_000),
        );
        let records = drain(&mut table);
        let Record::Notice(Notice {
            kind: NoticeKind::ClockStepped { by_ns },
            at,
        }) = &records[0]
        else {
            panic!("{records:?}");
        };
        assert_eq!(*by_ns, -3_600 * SECOND_NS as i64 - 2_500);
        assert_eq!(at.wall, stepped);
    }

    #[test]
    fn long_lived_flows_are_updated_at_the_interval() {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let traffic = Traffic {
            bytes_in: Some(5),
            ..Traffic::default()
        };
        for minute in 1..=11 {
            let now = Mono(2_000 + minute * 60 * SECOND_NS);
            table.handle(
                Event::Updated {
                    key: key(1),
                    traffic,
                    flow: None,
                },
                now,
            );
        }
        let records = connections(&mut table);
        assert_eq!(
            records
                .iter()
                .filter(|record| record.phase == Phase::Update)
                .map(|record| record.at.mono.since_ns(Mono(2_000)) / (60 * SECOND_NS))
                .collect::<Vec<_>>(),
            [1, 6, 11]
        );
    }

    #[test]
    fn an_update_of_a_flow_that_is_told_of_late_comes_after_its_open() {
        let mut table = FlowTable::new(Config::default(), 3, START);
        let late = Mono(2_000 + 400 * SECOND_NS);
        table.handle(Event::Opened(opened(1, 2_000)), late);
        table.handle(updated(1, bytes(5, 6, ByteQuality::SoFar)), late);
        assert_eq!(connections(&mut table), []);
        table.handle_timeout(table.poll_timeout());
        assert_eq!(connections(&mut table)[0].phase, Phase::Open);
    }

    #[test]
    fn the_ledger_is_told_when_it_changed() {
        let mut table = table();
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        drain(&mut table);
        for _ in 0..3 {
            let due = table.poll_timeout();
            table.handle_timeout(due);
        }
        let tally = Tally {
            closes_made: 1,
            closes_recorded: 1,
            closes_aggregated: 0,
            closes_dropped: 0,
            closes_lost: 0,
            live: 0,
        };
        let records = drain(&mut table);
        assert_eq!(records.len(), 1);
        assert!(matches!(&records[0], Record::Notice(it) if it.kind == NoticeKind::Ledger(tally)));
    }

    #[test]
    fn strays_are_counted_and_give_nothing() {
        let mut table = table();
        table.handle(
            Event::Updated {
                key: key(1),
                traffic: Traffic::default(),
                flow: None,
            },
            Mono(2_000),
        );
        let owner = owner(1, IdentitySource::Accept).unwrap();
        table.handle(Event::Attributed { key: key(1), owner }, Mono(2_000));
        assert_eq!(drain(&mut table), []);
        assert_eq!(table.counters().strays, 2);
    }

    #[test]
    fn sensors_and_sleep_become_notices() {
        let mut table = table();
        let sensor = SensorKind::LinuxEbpf;
        table.handle(
            Event::SensorStarted {
                sensor,
                limits: vec![],
            },
            Mono(2_000),
        );
        table.handle(Event::Slept { duration_ns: 5 }, Mono(2_100));
        table.handle(
            Event::SensorStopped {
                sensor,
                reason: "asked to".into(),
            },
            Mono(2_200),
        );
        assert_eq!(drain(&mut table).len(), 3);
        assert_eq!(table.counters().notices, 3);
    }
    #[test]
    fn what_the_sensor_and_the_machine_do_becomes_a_notice() {
        let mut table = table();
        let sensor = SensorKind::MacosFilter;
        let limit = "Loopback is not seen.".to_owned();
        let (state, cause) = (record::BreakerState::Tripped, record::BreakerCause::Managed);
        let events = [
            Event::SensorLimited {
                sensor,
                limit: limit.clone(),
            },
            Event::BreakerChanged {
                state,
                cause,
                crashes: 0,
            },
            Event::Sleeping,
        ];
        for event in events {
            table.handle(event, Mono(2_000));
        }
        let kinds: Vec<NoticeKind> = drain(&mut table)
            .into_iter()
            .filter_map(|record| match record {
                Record::Notice(notice) => Some(notice.kind),
                Record::Connection(_) => None,
            })
            .collect();
        let expected = [
            NoticeKind::SensorLimited { sensor, limit },
            NoticeKind::BreakerChanged {
                state,
                cause,
                crashes: 0,
            },
            NoticeKind::Sleeping,
        ];
        assert_eq!(kinds, expected);
    }

    // facts: tcp-meter
    #[test]
    fn coverage_counts_from_one_reading_to_the_next() {
        let mut table = table();
        let counts = TcpCounts {
            outbound: 9,
            inbound: 1,
        };
        for (at, system) in [
            (5_000, Ok(counts)),
            (9_000, Err("no such counters".to_owned())),
        ] {
            let read = Event::CoverageRead {
                system,
                recorded: counts,
                missed_estimate: None,
                unseen: vec!["Subflows.".to_owned()],
            };
            table.handle(read, Mono(at));
        }
        let coverages: Vec<Coverage> = drain(&mut table)
            .into_iter()
            .filter_map(|record| match record {
                Record::Notice(Notice {
                    kind: NoticeKind::Coverage(coverage),
                    ..
                }) => Some(coverage),
                Record::Notice(_) | Record::Connection(_) => None,
            })
            .collect();
        assert_eq!(coverages[0].since, START, "the table's own start");
        assert_eq!(coverages[0].system, Some(counts));
        assert_eq!(coverages[1].since.mono, Mono(5_000));
        assert_eq!(coverages[1].system, None);
        assert_eq!(
            coverages[1].unavailable.as_deref(),
            Some("no such counters")
        );
    }

    fn waiting_table(flows_max: usize) -> FlowTable {
        table_with(Config {
            flows_max,
            identity_wait_ns: 2 * SECOND_NS,
            ..Config::default()
        })
    }

    #[test]
    fn a_close_waits_for_its_process_and_goes_when_it_is_introduced() {
        let mut table = waiting_table(100);
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        assert_eq!(connections(&mut table), []);
        assert_eq!(table.counters().waiting, 1);
        assert_eq!(table.tally().closes_recorded, 1);
        table.handle(Event::ProcessSeen(introduction(9)), Mono(4_000));
        let records = connections(&mut table);
        assert_eq!(records.len(), 1);
        assert_eq!(path(&records[0]), Some("/usr/bin/p9"));
        assert_eq!(records[0].at.mono, Mono(3_000), "told late, not dated late");
        assert_eq!(table.counters().unintroduced, 0);
    }

    // facts: short-lived-process
    #[test]
    fn a_close_that_waited_in_vain_goes_with_what_the_token_said() {
        let mut table = waiting_table(100);
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        let due = 3_000 + 2 * SECOND_NS;
        assert_eq!(table.poll_timeout(), Mono(due));
        table.handle_timeout(Mono(due - 1));
        assert_eq!(connections(&mut table), []);
        table.handle_timeout(Mono(due));
        let records = connections(&mut table);
        assert_eq!(records[0].process.as_ref().unwrap().key, process(9));
        assert_eq!(path(&records[0]), None);
        assert_eq!(table.counters().unintroduced, 1);
    }

    // facts: two-tokens
    #[test]
    fn the_app_behind_a_service_is_waited_for_too() {
        let mut table = waiting_table(100);
        let on_behalf = Owner {
            responsible: Some(process(5)),
            ..owner(9, IdentitySource::AuditToken).unwrap()
        };
        table.handle(Event::ProcessSeen(introduction(9)), Mono(1_500));
        let close = Closed {
            owner: Some(on_behalf),
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        assert_eq!(connections(&mut table), []);
        table.handle(Event::ProcessSeen(introduction(5)), Mono(3_500));
        let records = connections(&mut table);
        let responsible = records[0].responsible.as_ref().unwrap();
        assert_eq!(responsible.path.as_deref(), Some("/usr/bin/p5"));
        assert_eq!(path(&records[0]), Some("/usr/bin/p9"));
    }

    #[test]
    fn who_acts_for_itself_has_nobody_behind_it() {
        let mut table = table();
        let for_itself = Owner {
            responsible: Some(process(9)),
            ..owner(9, IdentitySource::AuditToken).unwrap()
        };
        let open = Opened {
            owner: Some(for_itself),
            ..opened(1, 2_000)
        };
        table.handle(Event::Opened(open), Mono(2_000));
        assert_eq!(connections(&mut table)[0].responsible, None);
    }

    #[test]
    fn the_room_to_wait_in_is_bounded_and_the_oldest_goes_early() {
        let mut table = waiting_table(16);
        for socket in 1..=3 {
            table.handle(Event::Closed(closed(socket, 3_000 + socket)), Mono(3_000));
        }
        let records = connections(&mut table);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].at.mono, Mono(3_001));
        let counters = table.counters();
        assert_eq!(
            (counters.waiting, counters.held, counters.hurried),
            (2, 3, 1)
        );
    }

    #[test]
    fn an_open_is_told_with_its_process_or_not_at_all_if_it_closed() {
        let mut table = waiting_table(100);
        for socket in 1..=2 {
            table.handle(Event::Opened(opened(socket, 2_000)), Mono(2_000));
        }
        let told = run_until(&mut table, 2_000 + SECOND_NS);
        assert_eq!(told, [], "both wait");
        table.handle(Event::Closed(closed(1, 3_000)), Mono(2_001 + SECOND_NS));
        table.handle(Event::ProcessSeen(introduction(9)), Mono(2_002 + SECOND_NS));
        let records = connections(&mut table);
        let told: Vec<(u64, Phase)> = records.iter().map(|it| (it.id.ordinal, it.phase)).collect();
        assert_eq!(told[0], (2, Phase::Open));
        assert_eq!(told[1], (1, Phase::Close(closed(1, 3_000).ending)));
        assert_eq!(told.len(), 2);
        assert!(records.iter().all(|it| path(it) == Some("/usr/bin/p9")));
    }

    #[test]
    fn nothing_waits_after_the_stop() {
        let mut table = waiting_table(100);
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        run_until(&mut table, 2_000 + SECOND_NS);
        table.handle(Event::Opened(opened(2, 3_000)), Mono(3_000));
        table.handle(Event::Closed(closed(3, 3_000)), Mono(3_000));
        assert_eq!(connections(&mut table), []);
        table.handle_stop();
        let records = connections(&mut table);
        let ordinals: Vec<u64> = records.iter().map(|it| it.id.ordinal).collect();
        assert_eq!(ordinals, [1, 3, 2]);
        assert_eq!(table.counters().waiting, 0);
    }

    #[test]
    fn the_newest_introduction_is_on_the_close() {
        let mut table = table();
        table.handle(Event::ProcessSeen(introduction(9)), Mono(1_500));
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let mut better = introduction(9);
        better.process.path = Some("/usr/bin/better".into());
        table.handle(Event::ProcessSeen(better), Mono(2_500));
        let close = Closed {
            owner: None,
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(path(&records[0]), Some("/usr/bin/p9"));
        assert_eq!(path(&records[1]), Some("/usr/bin/better"));
    }

    #[test]
    fn a_process_that_the_table_forgot_is_still_on_its_live_flows() {
        let mut table = table_with(Config {
            processes_max: 8,
            open_delay_ns: 0,
            ..Config::default()
        });
        table.handle(Event::ProcessSeen(introduction(9)), Mono(1_500));
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        for pid in 100..200 {
            table.handle(Event::ProcessSeen(introduction(pid)), Mono(2_100));
        }
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(path(records.last().unwrap()), Some("/usr/bin/p9"));
    }

    fn name(text: &str) -> Hostname {
        Hostname {
            name: text.into(),
            source: record::NameSource::SystemLibrary,
        }
    }

    fn named(socket: u64, text: &str) -> Event {
        Event::Named {
            key: key(socket),
            hostname: name(text),
        }
    }

    // facts: hostname-sometimes
    #[test]
    fn a_name_is_on_every_record_from_then_on() {
        let mut table = table_with(Config::default());
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(named(1, "www.example.com"), Mono(2_100));
        table.handle(Event::Closed(closed(1, 2_200)), Mono(2_200));
        table.handle(named(2, "gone.example.com"), Mono(2_300));
        let records = connections(&mut table);
        assert_eq!(records.len(), 1, "it closed before its open was told");
        assert_eq!(records[0].hostname, Some(name("www.example.com")));
        assert_eq!(table.counters().strays, 1);
    }

    // facts: local-endpoint-late, report-before-open/a
    #[test]
    fn what_was_unknown_at_the_beginning_is_filled_in() {
        let mut table = table();
        let nothing_local = Tuple {
            local: Endpoint::default(),
            ..tuple()
        };
        let open = Opened {
            tuple: nothing_local,
            owner: None,
            established: None,
            ..opened(1, 2_000)
        };
        table.handle(Event::Opened(open), Mono(2_000));
        let other_remote = Tuple {
            remote: Endpoint::default(),
            ..tuple()
        };
        let update = Event::Updated {
            key: key(1),
            traffic: Traffic::default(),
            flow: Some(Opened {
                tuple: other_remote,
                ..opened(1, 2_500)
            }),
        };
        table.handle(update, Mono(2_500));
        let close = Closed {
            tuple: nothing_local,
            owner: None,
            opened: None,
            established: None,
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(records[0].local, Endpoint::default());
        let close = &records[1];
        assert_eq!((close.local, close.remote), (tuple().local, tuple().remote));
        assert_eq!(close.process.as_ref().unwrap().key, process(9));
        assert_eq!(close.opened, opened(1, 2_000).opened);
        assert_eq!(close.established, Some(Mono(2_500)));
    }

    #[test]
    fn an_owner_that_is_known_is_not_replaced_by_a_report() {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let update = Event::Updated {
            key: key(1),
            traffic: Traffic::default(),
            flow: Some(Opened {
                owner: owner(77, IdentitySource::Connect),
                ..opened(1, 2_500)
            }),
        };
        table.handle(update, Mono(2_500));
        let close = Closed {
            owner: None,
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(records[1].process.as_ref().unwrap().key, process(9));
    }

    // facts: report-before-open/b
    #[test]
    fn a_report_before_its_open_is_one_connection_that_was_seen_from_its_beginning() {
        let mut table = table();
        let traffic = bytes(5, 6, ByteQuality::SoFar);
        table.handle(reported(1, 2_100, traffic), Mono(2_100));
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_100));
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        let records = connections(&mut table);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].origin, Origin::Inferred);
        assert_eq!(records[1].origin, Origin::Live);
        assert_eq!(records[0].id, records[1].id);
    }

    #[test]
    fn what_comes_after_the_close_does_not_open_the_flow_again() {
        let mut table = table();
        let traffic = bytes(5, 6, ByteQuality::Exact);
        let close = Closed {
            traffic,
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        table.handle(Event::Opened(opened(1, 2_900)), Mono(3_100));
        table.handle(Event::Opened(opened(1, 3_000)), Mono(3_100));
        let late = bytes(5, 4, ByteQuality::SoFar);
        table.handle(reported(1, 3_100, late), Mono(3_100));
        let records = connections(&mut table);
        assert_eq!(records.len(), 1);
        let counters = table.counters();
        assert_eq!((counters.live, counters.strays), (0, 3));
        table.handle(Event::Opened(opened(1, 3_200)), Mono(3_200));
        assert_eq!(table.counters().live, 1, "a key that comes back is a flow");
    }

    fn closed_after(told: &[Traffic], last: Traffic) -> Traffic {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        for traffic in told {
            table.handle(updated(1, *traffic), Mono(2_500));
        }
        let close = Closed {
            traffic: last,
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        connections(&mut table).pop().unwrap().traffic
    }

    // facts: statistics-cumulative, late-report-lower/a, late-report-lower/b, zero-bytes-at-close
    // facts: zero-close-after-statistics/a, zero-close-after-statistics/b
    #[test]
    fn totals_are_the_highest_that_was_told() {
        let [low, high] = [10, 20].map(|it| bytes(it, it, ByteQuality::SoFar));
        let last = bytes(20, 30, ByteQuality::Exact);
        assert_eq!(closed_after(&[low, high], last), last);
        assert_eq!(closed_after(&[high, low], last), last, "a late report");
        let least = bytes(20, 20, ByteQuality::AtLeast);
        let lower = bytes(20, 5, ByteQuality::Exact);
        assert_eq!(closed_after(&[low, high], lower), least);
        let nothing = bytes(0, 0, ByteQuality::ZeroUnverified);
        assert_eq!(closed_after(&[low, high], nothing), least);
        assert_eq!(closed_after(&[], nothing), nothing);
        assert_eq!(closed_after(&[nothing], nothing), nothing);
        assert_eq!(closed_after(&[high], Traffic::default()), least);
    }

    fn tally_of(table: &FlowTable) -> (u64, u64, u64) {
        let tally = table.tally();
        (tally.closes_made, tally.closes_recorded, tally.live)
    }

    #[test]
    fn a_close_that_comes_twice_is_told_once() {
        let mut table = table();
        let close = Closed {
            traffic: bytes(5, 6, ByteQuality::Exact),
            ..closed(1, 3_000)
        };
        let repeated = Closed {
            at: Mono(3_400),
            ..close
        };
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        for close in [close, close, repeated] {
            table.handle(Event::Closed(close), Mono(3_500));
        }
        assert_eq!(connections(&mut table).len(), 2, "an open and a close");
        assert_eq!(table.counters().strays, 2);
        assert_eq!(tally_of(&table), (1, 1, 0));
    }

    #[test]
    fn a_second_close_that_knows_of_more_tells_what_came_on_top() {
        let mut table = table();
        for (at, sent) in [(3_000, 10), (3_400, 25), (3_400, 25)] {
            let close = Closed {
                traffic: bytes(sent, 6, ByteQuality::Exact),
                opened: Some(Mono(2_000)),
                ..closed(1, at)
            };
            table.handle(Event::Closed(close), Mono(3_500));
        }
        let records = connections(&mut table);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].traffic, bytes(10, 6, ByteQuality::Exact));
        assert_eq!(records[1].traffic, bytes(15, 0, ByteQuality::AtLeast));
        assert_eq!(records[1].origin, Origin::Inferred);
        assert_eq!(tally_of(&table), (1, 1, 0), "one connection");
    }

    #[test]
    fn a_socket_that_tries_again_is_another_connection_each_time() {
        let mut table = table();
        for at in [3_000, 4_000, 5_000] {
            let attempt = Closed {
                established: None,
                ..closed(1, at)
            };
            table.handle(Event::Closed(attempt), Mono(at));
        }
        assert_eq!(connections(&mut table).len(), 3);
        assert_eq!(tally_of(&table), (3, 3, 0));
    }

    #[test]
    fn the_late_close_of_the_flow_before_does_not_close_the_one_that_has_its_key_now() {
        let mut table = table();
        let close = |at, opened, sent| {
            Event::Closed(Closed {
                traffic: bytes(sent, 0, ByteQuality::Exact),
                opened: Some(Mono(opened)),
                established: Some(Mono(opened)),
                ..closed(1, at)
            })
        };
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(updated(1, bytes(4, 0, ByteQuality::SoFar)), Mono(2_100));
        table.handle(Event::Opened(opened(1, 2_500)), Mono(2_500));
        for _ in 0..2 {
            table.handle(close(2_400, 1_995, 9), Mono(2_600));
        }
        assert_eq!(tally_of(&table), (1, 1, 1));
        table.handle(close(3_000, 2_495, 7), Mono(3_000));
        let records = connections(&mut table);
        let closes: Vec<_> = records
            .iter()
            .filter_map(|it| Some((outcome(it)?, it.traffic.bytes_out?)))
            .collect();
        let expected = [
            (Outcome::Superseded, 4),
            (Outcome::Closed, 5),
            (Outcome::Closed, 7),
        ];
        assert_eq!(closes, expected);
        assert_eq!(records.last().unwrap().id, records[2].id, "the second's");
        assert_eq!(tally_of(&table), (2, 2, 0));
    }

    #[test]
    fn an_open_that_comes_twice_is_one_flow_and_one_that_is_older_is_none() {
        let mut table = table();
        for at in [2_000, 2_000, 1_900] {
            table.handle(Event::Opened(opened(1, at)), Mono(2_100));
        }
        assert_eq!(connections(&mut table).len(), 1);
        let Counters {
            superseded,
            strays,
            live,
            ..
        } = table.counters();
        assert_eq!((superseded, strays, live), (0, 1, 1));
    }

    #[test]
    fn a_snapshot_from_before_the_close_opens_nothing_and_a_live_open_after_it_is_the_same_flow() {
        let mut table = table();
        let snapshot = |socket, at| {
            Event::Opened(Opened {
                origin: Origin::Snapshot,
                opened: None,
                ..opened(socket, at)
            })
        };
        table.handle(Event::Closed(closed(1, 3_000)), Mono(3_000));
        table.handle(snapshot(1, 2_900), Mono(3_100));
        table.handle(snapshot(2, 2_900), Mono(3_100));
        table.handle(Event::Opened(opened(2, 2_800)), Mono(3_200));
        let records = connections(&mut table);
        assert_eq!(records.len(), 2, "the close of one, the open of the other");
        assert_eq!(table.counters().live, 1);
    }

    fn image(exec_id: u32) -> record::ProcessKey {
        record::ProcessKey {
            exec_id,
            ..process(9)
        }
    }

    fn owned(exec_id: u32, source: IdentitySource) -> Option<Owner> {
        Some(Owner {
            process: image(exec_id),
            ..owner(9, source).unwrap()
        })
    }

    #[test]
    fn a_program_that_is_executed_later_did_not_make_the_connection() {
        let mut table = table();
        for (exec_id, path) in [(1, "/bin/sh"), (2, "/usr/bin/nc")] {
            let mut introduction = introduction(9);
            introduction.process.key = image(exec_id);
            introduction.process.path = Some(path.into());
            table.handle(Event::ProcessSeen(introduction), Mono(1_500));
        }
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let later = Opened {
            owner: owned(2, IdentitySource::Connect),
            ..opened(2, 2_500)
        };
        table.handle(Event::Opened(later), Mono(2_500));
        for socket in [1, 2] {
            let close = Closed {
                owner: owned(2, IdentitySource::Connect),
                ..closed(socket, 3_000)
            };
            table.handle(Event::Closed(close), Mono(3_000));
        }
        let records = connections(&mut table);
        let paths: Vec<_> = records.iter().map(|it| path(it).unwrap()).collect();
        assert_eq!(paths, ["/bin/sh", "/usr/bin/nc", "/bin/sh", "/usr/bin/nc"]);
    }

    #[test]
    fn a_close_that_knows_its_owner_less_well_does_not_change_it() {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        let close = Closed {
            owner: owner(77, IdentitySource::Release),
            ..closed(1, 3_000)
        };
        table.handle(Event::Closed(close), Mono(3_000));
        let record = connections(&mut table).pop().unwrap();
        assert_eq!(record.process.unwrap().key, process(9));
        assert_eq!(record.attribution.source, IdentitySource::Connect);
    }

    #[test]
    fn a_user_name_that_is_wrong_or_never_comes_holds_nothing_up() {
        let mut table = waiting_table(100);
        let mut with_user = introduction(9);
        with_user.process.user = Some(record::User {
            uid: 1_000,
            name: None,
        });
        table.handle(Event::ProcessSeen(with_user), Mono(1_500));
        let name = |uid, name: &str| Event::UserNamed {
            uid,
            name: Some(name.into()),
        };
        let mut names = Vec::new();
        let answers = [
            None,
            Some(name(2_000, "eve")),
            Some(name(1_000, "wrong")),
            Some(name(1_000, "ana")),
        ];
        for (socket, answer) in (1..).zip(answers) {
            if let Some(answer) = answer {
                table.handle(answer, Mono(2_000 + socket));
            }
            table.handle(Event::Closed(closed(socket, 3_000)), Mono(3_000));
            let record = connections(&mut table).remove(0);
            let user = record.process.as_ref().unwrap().user.clone().unwrap();
            assert_eq!(user.uid, 1_000);
            names.push(user.name.as_deref().map(str::to_owned));
        }
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        assert_eq!(names, [None, None, Some("wrong"), Some("ana")]);
    }

    #[test]
    fn a_clock_that_is_set_back_a_day_leaves_durations_as_they_were() {
        const DAY_NS: i64 = 86_400 * SECOND_NS as i64;
        let mut table = FlowTable::new(Config::default(), 3, START);
        let opened_at = 5 * SECOND_NS;
        table.handle(Event::Opened(opened(1, opened_at)), Mono(opened_at));
        let read_at = 6 * SECOND_NS;
        let wall = Wall(START.wall_at(Mono(read_at)).0 - DAY_NS);
        let mono = Mono(read_at);
        table.handle(Event::ClockRead { mono, wall }, mono);
        let closed_at = 65 * SECOND_NS;
        let close = Closed {
            opened: opened(1, opened_at).opened,
            ..closed(1, closed_at)
        };
        let mut records = run_until(&mut table, read_at);
        table.handle(Event::Closed(close), Mono(closed_at));
        records.extend(connections(&mut table));
        let [open, close] = [&records[0], &records[1]];
        assert_eq!(open.at.mono, Mono(opened_at));
        assert_eq!(
            close.at.mono.since_ns(close.opened.unwrap()),
            60 * SECOND_NS + 5
        );
        let passed_ns = close.at.wall.0 - open.at.wall.0;
        assert_eq!(
            passed_ns,
            60 * SECOND_NS as i64,
            "both by the clock as it is"
        );
        assert_eq!(close.at.wall.0, START.wall_at(Mono(closed_at)).0 - DAY_NS);
    }

    #[test]
    fn a_reading_of_the_clock_that_comes_late_or_makes_no_sense_spoils_no_stamp() {
        let mut table = table();
        let read = |mono, wall| Event::ClockRead {
            mono: Mono(mono),
            wall: Wall(wall),
        };
        let forward = START.wall.0 + 3_600 * SECOND_NS as i64;
        table.handle(read(5_000, forward), Mono(5_000));
        table.handle(read(4_000, START.wall.0 + 3_000), Mono(5_100));
        assert_eq!(drain(&mut table).len(), 1, "one step, not there and back");
        assert_eq!(table.stamp(Mono(6_000)).wall, Wall(forward + 1_000));
        table.handle(read(7_000, i64::MIN), Mono(7_000));
        let Record::Notice(notice) = drain(&mut table).remove(0) else {
            panic!("a step is a notice")
        };
        let kind = NoticeKind::ClockStepped { by_ns: i64::MIN };
        assert_eq!(notice.kind, kind, "as far as it can be told");
        assert_eq!(table.stamp(Mono(0)).wall, Wall(i64::MIN));
    }

    #[test]
    fn a_close_from_the_future_keeps_no_key_from_coming_back() {
        let mut table = table();
        table.handle(Event::Closed(closed(1, u64::MAX)), Mono(3_000));
        table.handle(Event::Opened(opened(1, 4_000)), Mono(4_000));
        assert_eq!(table.counters().live, 1);
    }

    #[test]
    fn as_many_records_as_flows_take_no_room_before_they_are_asked_for() {
        let mut table = table_with(Config::default());
        for socket in 1..=1_000 {
            table.handle(Event::Opened(opened(socket, 2_000)), Mono(2_000));
        }
        table.handle_timeout(Mono(2_000 + SECOND_NS));
        assert_eq!(table.outputs.len(), 1);
        assert_eq!(connections(&mut table).len(), 1_000);
        let before = Mono(2_001);
        table.handle(Event::Unwatched { before }, Mono(3_000 + SECOND_NS));
        assert!(std::mem::size_of::<Pending>() <= 32);
        assert_eq!(connections(&mut table).len(), 1_000);
    }
}
