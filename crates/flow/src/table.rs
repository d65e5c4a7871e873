//! The flow table: what makes one honest record out of what the sensors saw.

use crate::event::{Closed, Event, FlowKey, Opened, Owner, Tuple};
use crate::processes::{Found, Processes};
use record::{
    Attribution, ByteQuality, Connection, ConnectionId, Ending, IdentitySource, LossCause,
    LossStage, LostKind, Mono, Notice, NoticeKind, Origin, Outcome, Phase, Process, Record, Stamp,
    Tally, Traffic, Wall,
};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bounds and intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Live flows at most; beyond it the idlest are closed as evicted.
    pub flows_max: usize,
    /// Processes remembered at most. Twice what the sensor remembers to have introduced, so that
    /// none is forgotten here that the sensor will not introduce again.
    pub processes_max: usize,
    /// How long an open waits before it is told, in nanoseconds. A flow that ends before is told by
    /// its close alone, which has the whole story.
    pub open_delay_ns: u64,
    /// Between two updates of one flow, in nanoseconds.
    pub update_interval_ns: u64,
    /// Between two ledger notices, in nanoseconds.
    pub ledger_interval_ns: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            flows_max: 100_000,
            processes_max: 32_768,
            open_delay_ns: SECOND_NS / 2,
            update_interval_ns: 300 * SECOND_NS,
            ledger_interval_ns: 600 * SECOND_NS,
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
    /// Closes recorded because the sensor told of them.
    pub closes_recorded: u64,
    /// Closes that sensors declared lost.
    pub closes_lost: u64,
    /// Flows closed because a sweep did not find them.
    pub reaped: u64,
    /// Flows closed because the table was full.
    pub evicted: u64,
    /// Events about flows that are not in the table.
    pub strays: u64,
    /// Flows whose process nobody had introduced.
    pub unintroduced: u64,
    /// Flows in the table.
    pub live: u64,
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
    flows: FxHashMap<FlowKey, Flow>,
    processes: Processes,
    outputs: VecDeque<Output>,
    counters: Counters,
    last_ordinal: u64,
    /// Opens that wait to be told, in the order they will be.
    untold: VecDeque<Untold>,
    /// When a loss of each kind was last declared, or the table began.
    declared: BTreeMap<(LossStage, LossCause, LostKind), Stamp>,
    started: Stamp,
    ledger_due: Mono,
    ledger_last: Tally,
}

#[derive(Clone, Debug)]
struct Flow {
    id: ConnectionId,
    opened: Opened,
    process: Option<Arc<Process>>,
    attribution: Attribution,
    traffic: Traffic,
    last_seen: Mono,
    last_record: Mono,
}

/// An open that waits to be told. Its flow may be gone by then, or another may have its key.
#[derive(Clone, Copy, Debug)]
struct Untold {
    due: Mono,
    key: FlowKey,
    id: ConnectionId,
}

const SECOND_NS: u64 = 1_000_000_000;

/// A clock that is disciplined moves less than this between two readings; one that is set, more.
const CLOCK_STEP_NS_MIN: u64 = 100_000_000;

impl FlowTable {
    /// An empty table for `epoch`; `start` anchors the monotonic clock to the wall clock.
    ///
    /// Connection ids count from 1 within the epoch, so the same events give the same ids.
    pub fn new(config: Config, epoch: u64, start: Stamp) -> FlowTable {
        FlowTable {
            config: Config {
                flows_max: config.flows_max.max(1),
                ..config
            },
            epoch,
            anchor: start,
            flows: FxHashMap::default(),
            processes: Processes::new(config.processes_max),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            last_ordinal: 0,
            untold: VecDeque::new(),
            declared: BTreeMap::new(),
            started: start,
            ledger_due: start.mono.plus_ns(config.ledger_interval_ns),
            ledger_last: Tally::default(),
        }
    }

    /// Takes in one event. Never fails: what makes no sense is counted, not refused.
    pub fn handle(&mut self, event: Event, now: Mono) {
        self.counters.events += 1;
        match event {
            Event::SensorStarted { sensor, limits } => {
                self.notice(NoticeKind::SensorStarted { sensor, limits }, now);
            }
            Event::SensorStopped { sensor, reason } => {
                self.notice(NoticeKind::SensorStopped { sensor, reason }, now);
            }
            Event::ClockRead { mono, wall } => self.clock_read(mono, wall),
            Event::Slept { duration_ns } => self.notice(NoticeKind::Slept { duration_ns }, now),
            Event::ProcessSeen(introduction) => {
                if let Some(uid) = self.processes.introduce(introduction) {
                    self.outputs.push_back(Output::Want(Want::UserName { uid }));
                }
            }
            Event::UserNamed { uid, name } => self.processes.name_user(uid, name),
            Event::Opened(opened) => self.opened(opened, now),
            Event::Attributed { key, owner } => self.attributed(key, owner),
            Event::Updated { key, traffic } => self.updated(key, traffic, now),
            Event::Closed(closed) => self.closed(closed),
            Event::Swept { before, alive } => self.swept(before, &alive, now),
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
        while self.untold.front().is_some_and(|untold| untold.due <= now) {
            self.tell_next_open();
        }
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
        self.untold
            .front()
            .map_or(self.ledger_due, |untold| untold.due.min(self.ledger_due))
    }

    /// Tells the opens that wait, before the table is given up.
    pub fn handle_stop(&mut self) {
        while !self.untold.is_empty() {
            self.tell_next_open();
        }
    }

    /// The next output; `None` when there is none until the next call of a `handle` function.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What the table did so far.
    pub fn counters(&self) -> Counters {
        Counters {
            live: self.flows.len() as u64,
            processes: self.processes.len() as u64,
            ..self.counters
        }
    }

    /// The books so far.
    pub fn tally(&self) -> Tally {
        let Counters {
            closes_recorded,
            closes_lost,
            ..
        } = self.counters;
        Tally {
            closes_made: closes_recorded + closes_lost,
            closes_recorded,
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
        let by_ns = wall.0.wrapping_sub(self.anchor.wall_at(mono).0);
        self.anchor = Stamp { wall, mono };
        if by_ns.unsigned_abs() >= CLOCK_STEP_NS_MIN {
            self.notice(NoticeKind::ClockStepped { by_ns }, mono);
        }
    }

    fn opened(&mut self, opened: Opened, now: Mono) {
        if let Some(live) = self.flows.get_mut(&opened.key) {
            if opened.origin == Origin::Snapshot || live.opened.origin == Origin::Snapshot {
                live.opened.established = live.opened.established.or(opened.established);
                return;
            }
            self.close_unseen(opened.key, Outcome::Reaped, opened.at);
            self.counters.reaped += 1;
        }
        if self.flows.len() >= self.config.flows_max {
            self.evict_idlest(now);
        }
        let id = self.next_id();
        let (process, attribution) = self.identify(opened.owner);
        let flow = Flow {
            id,
            opened,
            process,
            attribution,
            traffic: Traffic::default(),
            last_seen: opened.at,
            last_record: opened.at,
        };
        self.flows.insert(opened.key, flow);
        let due = now.plus_ns(self.config.open_delay_ns);
        self.untold.push_back(Untold {
            due,
            key: opened.key,
            id,
        });
        if self.config.open_delay_ns == 0 || self.untold.len() > self.config.flows_max {
            self.tell_next_open();
        }
    }

    fn tell_next_open(&mut self) {
        let Some(untold) = self.untold.pop_front() else {
            return;
        };
        if let Some(flow) = self.flows.get(&untold.key)
            && flow.id == untold.id
        {
            let record = flow.record(Phase::Open, self.stamp(flow.opened.at));
            self.give(record);
        }
    }

    fn attributed(&mut self, key: FlowKey, owner: Owner) {
        let (process, attribution) = self.identify(Some(owner));
        let Some(flow) = self.flows.get_mut(&key) else {
            self.counters.strays += 1;
            return;
        };
        if attribution.confidence >= flow.attribution.confidence {
            flow.process = process;
            flow.attribution = attribution;
        }
    }

    fn updated(&mut self, key: FlowKey, traffic: Traffic, now: Mono) {
        let at = self.stamp(now);
        let Some(flow) = self.flows.get_mut(&key) else {
            self.counters.strays += 1;
            return;
        };
        flow.traffic = traffic;
        flow.last_seen = now;
        if now.since_ns(flow.last_record) >= self.config.update_interval_ns {
            flow.last_record = now;
            let record = flow.record(Phase::Update, at);
            self.give(record);
        }
    }

    fn closed(&mut self, closed: Closed) {
        let at = self.stamp(closed.at);
        let live = self.flows.remove(&closed.key);
        let (id, origin) = match &live {
            Some(flow) => (flow.id, flow.opened.origin),
            None => (self.next_id(), origin_without_open(&closed)),
        };
        let (process, attribution) = match (closed.owner, live) {
            (None, Some(flow)) => (flow.process, flow.attribution),
            (owner, _) => self.identify(owner),
        };
        let pid = process.as_ref().map(|process| process.key.pid);
        self.counters.closes_recorded += 1;
        self.give(Connection {
            process,
            attribution,
            opened: closed.opened,
            established: closed.established,
            traffic: closed.traffic,
            rtt_us: closed.rtt_us,
            retransmits: closed.retransmits,
            closer_pid: closed.closer_pid.filter(|closer| Some(*closer) != pid),
            origin,
            ..connection(id, Phase::Close(closed.ending), at, &closed.tuple)
        });
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what is found is sorted right after"
    )]
    fn swept(&mut self, before: Mono, alive: &[FlowKey], now: Mono) {
        let mut gone: Vec<(ConnectionId, FlowKey)> = self
            .flows
            .iter()
            .filter(|(key, flow)| flow.opened.at < before && alive.binary_search(key).is_err())
            .map(|(key, flow)| (flow.id, *key))
            .collect();
        gone.sort_unstable();
        for (_, key) in gone {
            self.close_unseen(key, Outcome::Reaped, now);
            self.counters.reaped += 1;
        }
    }

    fn lost(
        &mut self,
        stage: LossStage,
        cause: LossCause,
        what: LostKind,
        count: Option<u64>,
        now: Mono,
    ) {
        if what == LostKind::Closes {
            self.counters.closes_lost += count.unwrap_or(0);
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

    /// Lets go of a sixteenth at once, so that the cost of finding the idlest is shared by many
    /// openings.
    #[expect(
        clippy::disallowed_methods,
        reason = "what is found is sorted right after"
    )]
    fn evict_idlest(&mut self, now: Mono) {
        let mut idlest: Vec<(Mono, ConnectionId, FlowKey)> = self
            .flows
            .iter()
            .map(|(key, flow)| (flow.last_seen, flow.id, *key))
            .collect();
        idlest.sort_unstable();
        idlest.truncate((self.config.flows_max / 16).max(1));
        for (_, _, key) in idlest {
            self.close_unseen(key, Outcome::Evicted, now);
            self.counters.evicted += 1;
        }
    }

    /// Ends a flow whose end was not seen.
    fn close_unseen(&mut self, key: FlowKey, outcome: Outcome, at: Mono) {
        let flow = self
            .flows
            .remove(&key)
            .expect("only flows in the table are closed unseen");
        let ending = Ending {
            outcome,
            errno: None,
        };
        let mut record = flow.record(Phase::Close(ending), self.stamp(at));
        if record.traffic.quality != ByteQuality::Unknown {
            record.traffic.quality = ByteQuality::AtLeast;
        }
        self.give(record);
    }

    fn identify(&mut self, owner: Option<Owner>) -> (Option<Arc<Process>>, Attribution) {
        let Some(owner) = owner else {
            return (None, Attribution::from_source(IdentitySource::None));
        };
        let process = match self.processes.find(owner.process) {
            Found::Introduced(process) => process,
            Found::Bare(process) => {
                self.counters.unintroduced += 1;
                process
            }
        };
        (Some(process), owner.attribution)
    }

    fn next_id(&mut self) -> ConnectionId {
        self.last_ordinal += 1;
        ConnectionId {
            epoch: self.epoch,
            ordinal: self.last_ordinal,
        }
    }

    fn give(&mut self, connection: Connection) {
        self.counters.connection_records += 1;
        self.outputs
            .push_back(Output::Record(Record::Connection(connection)));
    }

    fn notice(&mut self, kind: NoticeKind, now: Mono) {
        self.counters.notices += 1;
        let at = self.stamp(now);
        self.outputs
            .push_back(Output::Record(Record::Notice(Notice { at, kind })));
    }
}

impl Flow {
    fn record(&self, phase: Phase, at: Stamp) -> Connection {
        Connection {
            process: self.process.clone(),
            attribution: self.attribution,
            opened: self.opened.opened,
            established: self.opened.established,
            traffic: self.traffic,
            origin: self.opened.origin,
            ..connection(self.id, phase, at, &self.opened.tuple)
        }
    }
}

/// A connection of which only the place is known.
fn connection(id: ConnectionId, phase: Phase, at: Stamp, tuple: &Tuple) -> Connection {
    Connection {
        id,
        phase,
        at,
        process: None,
        attribution: Attribution::from_source(IdentitySource::None),
        protocol: tuple.protocol,
        direction: tuple.direction,
        local: tuple.local,
        remote: tuple.remote,
        network_namespace: tuple.network_namespace,
        opened: None,
        established: None,
        traffic: Traffic::default(),
        rtt_us: None,
        retransmits: None,
        closer_pid: None,
        origin: Origin::Live,
    }
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
    use super::*;
    use record::{Direction, Endpoint, Process, ProcessKey, Protocol, SensorKind};

    const START: Stamp = Stamp {
        wall: Wall(1_000_000 * SECOND_NS as i64),
        mono: Mono(1_000),
    };

    fn table() -> FlowTable {
        FlowTable::new(
            Config {
                open_delay_ns: 0,
                ..Config::default()
            },
            3,
            START,
        )
    }

    fn key(socket: u64) -> FlowKey {
        FlowKey { socket, part: 0 }
    }

    fn process(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ns: 7,
            exec_id: 1,
        }
    }

    fn tuple() -> Tuple {
        let address = |last| Some(std::net::IpAddr::from([192, 0, 2, last]));
        Tuple {
            protocol: Protocol::Tcp,
            direction: Direction::Outbound,
            local: Endpoint {
                address: address(1),
                port: Some(40_000),
            },
            remote: Endpoint {
                address: address(2),
                port: Some(443),
            },
            network_namespace: Some(1),
        }
    }

    fn owner(pid: u32, source: IdentitySource) -> Option<Owner> {
        Some(Owner {
            process: process(pid),
            attribution: Attribution::from_source(source),
        })
    }

    fn opened(socket: u64, at: u64) -> Opened {
        Opened {
            key: key(socket),
            at: Mono(at),
            tuple: tuple(),
            owner: owner(9, IdentitySource::Connect),
            opened: Some(Mono(at - 5)),
            established: Some(Mono(at)),
            origin: Origin::Live,
        }
    }

    fn closed(socket: u64, at: u64) -> Closed {
        Closed {
            key: key(socket),
            at: Mono(at),
            tuple: tuple(),
            owner: owner(9, IdentitySource::Connect),
            opened: Some(Mono(at - 50)),
            established: Some(Mono(at - 40)),
            traffic: Traffic {
                bytes_out: Some(0),
                ..Traffic::default()
            },
            rtt_us: Some(12),
            retransmits: Some(0),
            closer_pid: Some(9),
            ending: Ending {
                outcome: Outcome::Closed,
                errno: None,
            },
            origin: Origin::Live,
        }
    }

    fn drain(table: &mut FlowTable) -> Vec<Record> {
        let outputs = std::iter::from_fn(|| table.poll_output());
        outputs
            .filter_map(|output| match output {
                Output::Record(record) => Some(record),
                Output::Want(_) => None,
            })
            .collect()
    }

    fn connections(table: &mut FlowTable) -> Vec<Connection> {
        drain(table)
            .into_iter()
            .filter_map(|record| match record {
                Record::Connection(connection) => Some(connection),
                Record::Notice(_) => None,
            })
            .collect()
    }

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
    fn a_key_that_comes_back_is_a_new_connection() {
        let mut table = table();
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(Event::Opened(opened(1, 2_500)), Mono(2_500));
        let records = connections(&mut table);
        let reaped = Ending {
            outcome: Outcome::Reaped,
            errno: None,
        };
        assert_eq!(records[1].phase, Phase::Close(reaped));
        assert_ne!(records[0].id, records[2].id);
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
            closes_lost: 2,
            live: 0,
        };
        assert_eq!(tally, expected);
        assert_eq!(table.counters().reaped, 2);
    }

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
                },
                now,
            );
        }
        let records = connections(&mut table);
        assert_eq!(
            records
                .iter()
                .filter(|record| record.phase == Phase::Update)
                .count(),
            2
        );
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
}
