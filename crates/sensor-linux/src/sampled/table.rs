//! What is known of every socket, and what changed from one poll to the next.
//!
//! A poll is [`Table::begin`], one [`Table::see`] for each row in any order, and [`Table::finish`],
//! which turns the difference into events. Seeing a row twice is harmless, so a dump that the
//! kernel interrupted is simply read again.

use super::sighting::{Counts, Pair, Sighting, State};
use flow::{Closed, Event, FlowKey, Opened, Owner, Tuple};
use record::{
    Attribution, ByteQuality, Direction, Ending, Endpoint, IdentitySource, LossCause, LossStage,
    LostKind, Mono, Origin, Outcome, ProcessKey, Protocol, Traffic,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

/// Every socket of one network namespace.
#[derive(Debug)]
pub(super) struct Table {
    network_namespace: Option<u32>,
    sockets_max: usize,
    /// Counts polls.
    round: u64,
    /// What was there before the sensor was found: a poll was complete.
    has_snapshot: bool,
    tracked: BTreeMap<FlowKey, Tracked>,
    /// Finds sockets that have no cookie; empty where the kernel tells cookies.
    by_pair: HashMap<Pair, FlowKey>,
    /// What was at a key before another connection took it in this poll.
    replaced: Vec<(FlowKey, Tracked)>,
    listeners: Listeners,
    away: TurnedAway,
    /// The last number given to a socket that has neither cookie nor inode.
    last_part: u64,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct PollEnd<'a> {
    /// When the tables had been read.
    pub(super) at: Mono,
    /// Every table was read to its end, so what was not seen is gone.
    pub(super) is_complete: bool,
    /// The process that holds each inode that was asked for, where one was found.
    pub(super) holders: &'a HashMap<u64, ProcessKey>,
}

impl Table {
    /// A table of at most `sockets_max` sockets.
    pub(super) fn new(network_namespace: Option<u32>, sockets_max: usize) -> Table {
        Table {
            network_namespace,
            sockets_max,
            round: 0,
            has_snapshot: false,
            tracked: BTreeMap::new(),
            by_pair: HashMap::new(),
            replaced: Vec::new(),
            listeners: Listeners::default(),
            away: TurnedAway::default(),
            last_part: 0,
        }
    }

    /// Begins a poll.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.listeners = Listeners::default();
        self.away.begin();
    }

    /// Takes in one row of a socket table.
    pub(super) fn see(&mut self, sighting: &Sighting) {
        if sighting.state == State::Listening {
            self.listeners.add(&sighting.pair);
            return;
        }
        let key = self.key_of(sighting);
        let is_full = self.tracked.len() >= self.sockets_max;
        match self.tracked.get_mut(&key) {
            Some(tracked) if tracked.is_same_connection(sighting) => {
                tracked.update(sighting, self.round);
            }
            Some(_) => {
                self.remove(key);
                self.insert(key, sighting);
            }
            None if is_full || self.away.has(key) => {
                self.away.add(key, self.sockets_max);
            }
            None => self.insert(key, sighting),
        }
    }

    /// The inodes whose holder was not looked for yet.
    pub(super) fn inodes_wanted(&self) -> BTreeSet<u64> {
        self.tracked
            .values()
            .filter(|tracked| tracked.state != State::Over)
            .filter_map(Tracked::inode_wanted)
            .collect()
    }

    /// Ends a poll: appends what changed since the one before.
    pub(super) fn finish(&mut self, end: &PollEnd<'_>, events: &mut Vec<Event>) {
        let context = Context {
            end,
            is_snapshot: !self.has_snapshot,
            listeners: &self.listeners,
            network_namespace: self.network_namespace,
        };
        for (key, tracked) in self.replaced.drain(..) {
            events.extend(tracked.vanish(key, &context));
        }
        let mut gone = Vec::new();
        for (key, tracked) in &mut self.tracked {
            if tracked.seen_round == self.round {
                tracked.step(*key, &context, events);
            } else if end.is_complete {
                events.extend(tracked.vanish(*key, &context));
                gone.push(*key);
            }
        }
        for key in gone {
            self.forget(key);
        }
        events.extend(self.away.report());
        self.has_snapshot |= end.is_complete;
    }

    /// Names the flow: by cookie where there is one, else by inode, else by the socket that has
    /// the same two ends, else by a number of our own.
    fn key_of(&mut self, sighting: &Sighting) -> FlowKey {
        if let Some(cookie) = sighting.cookie {
            return FlowKey {
                socket: cookie,
                part: 0,
            };
        }
        let known = self.by_pair.get(&sighting.pair).copied();
        match (sighting.inode, known) {
            (None, Some(key)) => key,
            (Some(inode), Some(key)) if self.has_no_other_inode(key, inode) => key,
            (Some(inode), _) => FlowKey {
                socket: inode,
                part: 0,
            },
            (None, None) => {
                self.last_part += 1;
                FlowKey {
                    socket: 0,
                    part: self.last_part,
                }
            }
        }
    }

    fn has_no_other_inode(&self, key: FlowKey, inode: u64) -> bool {
        self.tracked
            .get(&key)
            .is_some_and(|tracked| tracked.inode.is_none_or(|it| it == inode))
    }

    fn insert(&mut self, key: FlowKey, sighting: &Sighting) {
        if sighting.cookie.is_none() {
            self.by_pair.insert(sighting.pair, key);
        }
        let origin = match (sighting.state, self.has_snapshot) {
            (State::Over, _) => Origin::Inferred,
            (State::Connecting | State::Connected | State::Listening, true) => Origin::Sampled,
            (State::Connecting | State::Connected | State::Listening, false) => Origin::Snapshot,
        };
        self.tracked
            .insert(key, Tracked::new(sighting, origin, self.round));
    }

    fn remove(&mut self, key: FlowKey) {
        if let Some(tracked) = self.forget(key) {
            self.replaced.push((key, tracked));
        }
    }

    fn forget(&mut self, key: FlowKey) -> Option<Tracked> {
        let tracked = self.tracked.remove(&key)?;
        if self.by_pair.get(&tracked.pair) == Some(&key) {
            self.by_pair.remove(&tracked.pair);
        }
        Some(tracked)
    }
}

/// What all sockets of a poll have in common.
struct Context<'a> {
    end: &'a PollEnd<'a>,
    is_snapshot: bool,
    listeners: &'a Listeners,
    network_namespace: Option<u32>,
}

/// What is known of one socket.
#[derive(Clone, Debug)]
struct Tracked {
    pair: Pair,
    inode: Option<u64>,
    state: State,
    counts: Counts,
    origin: Origin,
    direction: Option<Direction>,
    owner: Option<Owner>,
    /// The inode whose holder was looked for last. A connection that waits to be accepted has
    /// none; it gets one later.
    inode_asked: Option<u64>,
    /// The poll that saw it unanswered; `None` for what was there before the sensor.
    opened: Option<Mono>,
    /// The poll that saw it connected first, likewise.
    established: Option<Mono>,
    told: Told,
    told_bytes: (Option<u64>, Option<u64>),
    seen_round: u64,
}

/// How far the story of a socket was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Opened,
    Closed,
}

impl Tracked {
    fn new(sighting: &Sighting, origin: Origin, round: u64) -> Tracked {
        Tracked {
            pair: sighting.pair,
            inode: sighting.inode,
            state: sighting.state,
            counts: sighting.counts,
            origin,
            direction: None,
            owner: None,
            inode_asked: None,
            opened: None,
            established: None,
            told: Told::Nothing,
            told_bytes: (None, None),
            seen_round: round,
        }
    }

    /// A socket can connect again to another end, and one that is over does not come back.
    fn is_same_connection(&self, sighting: &Sighting) -> bool {
        self.pair == sighting.pair && (self.state != State::Over || sighting.state == State::Over)
    }

    /// What the kernel stopped telling at the end of a life stays as it was told last.
    fn update(&mut self, sighting: &Sighting, round: u64) {
        self.state = sighting.state;
        self.inode = sighting.inode.or(self.inode);
        if sighting.counts.is_known() {
            self.counts = sighting.counts;
        }
        self.seen_round = round;
    }

    fn inode_wanted(&self) -> Option<u64> {
        self.inode.filter(|inode| self.inode_asked != Some(*inode))
    }

    /// Tells what is new about a socket that is still in the table.
    fn step(&mut self, key: FlowKey, context: &Context<'_>, events: &mut Vec<Event>) {
        let found_owner = self.find_owner(context);
        let direction = self.direction(context);
        self.direction = Some(direction);
        match (self.state, self.told) {
            (State::Connecting, Told::Nothing) => {
                self.opened = self.opened.or(self.moment(context))
            }
            (State::Connected, Told::Nothing) => {
                self.established = self.moment(context);
                self.told = Told::Opened;
                events.push(Event::Opened(self.open(key, context)));
                events.extend(self.counted(key));
            }
            (State::Connected, Told::Opened) => {
                events.extend(found_owner.map(|owner| Event::Attributed { key, owner }));
                events.extend(self.counted(key));
            }
            (State::Over, Told::Nothing | Told::Opened) => events.extend(self.over(key, context)),
            (State::Over | State::Connecting | State::Connected, Told::Closed)
            | (State::Connecting, Told::Opened)
            | (State::Listening, Told::Nothing | Told::Opened | Told::Closed) => {}
        }
    }

    /// Tells the end of a socket that went through TIME_WAIT, which only an orderly one does.
    ///
    /// One that nobody saw alive began and ended between two polls. Of those that were over when
    /// the sensor started nothing is told.
    fn over(&mut self, key: FlowKey, context: &Context<'_>) -> Option<Event> {
        self.told = Told::Closed;
        let closed = || Event::Closed(self.close(key, Outcome::Closed, context));
        (!context.is_snapshot).then(closed)
    }

    /// Tells that a socket is gone; `None` when its end was told before.
    fn vanish(&self, key: FlowKey, context: &Context<'_>) -> Option<Event> {
        let closed = || Event::Closed(self.close(key, Outcome::Unknown, context));
        (self.told != Told::Closed).then(closed)
    }

    /// Looks up who holds the socket; `Some` when that is news.
    fn find_owner(&mut self, context: &Context<'_>) -> Option<Owner> {
        let inode = self.inode_wanted()?;
        self.inode_asked = Some(inode);
        let process = *context.end.holders.get(&inode)?;
        let source = if context.is_snapshot {
            IdentitySource::Snapshot
        } else {
            IdentitySource::SocketTable
        };
        self.owner = Some(Owner {
            process,
            attribution: Attribution::from_source(source),
            responsible: None,
        });
        self.owner
    }

    /// The time of this poll, which is about when a new socket came; nothing is known of when the
    /// ones came that were there before the sensor.
    fn moment(&self, context: &Context<'_>) -> Option<Mono> {
        (!context.is_snapshot).then_some(context.end.at)
    }

    /// Inferred once, at the first sight: a listener may go while its connections stay.
    fn direction(&self, context: &Context<'_>) -> Direction {
        if let Some(direction) = self.direction {
            return direction;
        }
        if self.state != State::Connecting && context.listeners.cover(&self.pair) {
            Direction::Inbound
        } else {
            Direction::Outbound
        }
    }

    fn counted(&mut self, key: FlowKey) -> Option<Event> {
        let traffic = self.counts.traffic;
        let bytes = (traffic.bytes_out, traffic.bytes_in);
        let was_told = bytes == self.told_bytes;
        let is_nothing_yet = self.told_bytes == (None, None) && bytes == (Some(0), Some(0));
        self.told_bytes = bytes;
        (!was_told && !is_nothing_yet).then_some(Event::Updated {
            key,
            traffic,
            flow: None,
        })
    }

    fn open(&self, key: FlowKey, context: &Context<'_>) -> Opened {
        Opened {
            key,
            at: context.end.at,
            tuple: self.tuple(context),
            owner: self.owner,
            opened: self.opened,
            established: self.established,
            origin: self.origin,
        }
    }

    fn close(&self, key: FlowKey, outcome: Outcome, context: &Context<'_>) -> Closed {
        Closed {
            key,
            at: context.end.at,
            tuple: self.tuple(context),
            owner: self.owner,
            opened: self.opened,
            established: self.established,
            traffic: at_least(self.counts.traffic),
            rtt_us: self.counts.rtt_us,
            retransmits: self.counts.retransmits,
            closer_pid: None,
            ending: Ending {
                outcome,
                errno: None,
            },
            origin: self.origin,
        }
    }

    fn tuple(&self, context: &Context<'_>) -> Tuple {
        let end = |end: SocketAddr| Endpoint {
            address: Some(end.ip()),
            port: Some(end.port()),
        };
        Tuple {
            protocol: self.pair.protocol,
            direction: self.direction.unwrap_or(Direction::Unknown),
            local: end(self.pair.local),
            remote: end(self.pair.remote),
            network_namespace: context.network_namespace,
        }
    }
}

/// What passed after the last poll was not counted.
fn at_least(traffic: Traffic) -> Traffic {
    match traffic.quality {
        ByteQuality::Unknown => traffic,
        ByteQuality::Exact
        | ByteQuality::SoFar
        | ByteQuality::AtLeast
        | ByteQuality::ZeroUnverified => Traffic {
            quality: ByteQuality::AtLeast,
            ..traffic
        },
    }
}

/// Where this machine waits for others.
#[derive(Debug, Default)]
struct Listeners {
    addresses: HashMap<(Protocol, u16), Vec<IpAddr>>,
}

impl Listeners {
    fn add(&mut self, pair: &Pair) {
        let addresses = self
            .addresses
            .entry((pair.protocol, pair.local.port()))
            .or_default();
        if !addresses.contains(&pair.local.ip()) {
            addresses.push(pair.local.ip());
        }
    }

    /// Whether a listener takes connections to the local end. One on `::` takes IPv4 too.
    fn cover(&self, pair: &Pair) -> bool {
        let local = pair.local.ip();
        let takes = |listening: &IpAddr| {
            *listening == local
                || (listening.is_unspecified() && (listening.is_ipv6() || local.is_ipv4()))
        };
        self.addresses
            .get(&(pair.protocol, pair.local.port()))
            .is_some_and(|addresses| addresses.iter().any(takes))
    }
}

/// Sockets for which there was no room, kept by name so that each is counted once.
///
/// A socket that was counted as lost stays so until it is gone, or the books would not balance.
#[derive(Debug, Default)]
struct TurnedAway {
    before: HashSet<FlowKey>,
    now: HashSet<FlowKey>,
    news: u64,
    is_beyond_count: bool,
    was_beyond_count: bool,
}

impl TurnedAway {
    fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
        self.was_beyond_count = std::mem::take(&mut self.is_beyond_count);
        self.news = 0;
    }

    fn has(&self, key: FlowKey) -> bool {
        self.before.contains(&key)
    }

    fn add(&mut self, key: FlowKey, names_max: usize) {
        if self.now.contains(&key) {
            return;
        }
        // A number of our own is new in every poll, so it cannot be counted once.
        if self.now.len() >= names_max || key.socket == 0 {
            self.is_beyond_count = true;
            return;
        }
        self.now.insert(key);
        self.news += u64::from(!self.before.contains(&key));
    }

    fn report(&self) -> Option<Event> {
        let is_newly_beyond = self.is_beyond_count && !self.was_beyond_count;
        let count = (!is_newly_beyond).then_some(self.news);
        (count != Some(0)).then_some(Event::Lost {
            stage: LossStage::Kernel,
            cause: LossCause::MapFull,
            what: LostKind::Connections,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Confidence;

    const SECOND_NS: u64 = 1_000_000_000;
    const CLIENT: FlowKey = FlowKey {
        socket: 11,
        part: 0,
    };
    const HOLDER: ProcessKey = ProcessKey {
        pid: 42,
        start_ns: 5,
        exec_id: 0,
    };

    /// A table, and what passes between it and the system in a poll.
    struct Bench {
        table: Table,
        polls: u64,
        holders: HashMap<u64, ProcessKey>,
    }

    impl Bench {
        fn new() -> Bench {
            Bench::with_room_for(100)
        }

        fn with_room_for(sockets_max: usize) -> Bench {
            let table = Table::new(Some(7), sockets_max);
            Bench {
                table,
                polls: 0,
                holders: HashMap::new(),
            }
        }

        fn poll(&mut self, sightings: &[Sighting]) -> Vec<Event> {
            self.poll_with(sightings, true)
        }

        fn poll_with(&mut self, sightings: &[Sighting], is_complete: bool) -> Vec<Event> {
            self.polls += 1;
            self.table.begin();
            sightings
                .iter()
                .for_each(|sighting| self.table.see(sighting));
            let mut events = Vec::new();
            let end = PollEnd {
                at: at(self.polls),
                is_complete,
                holders: &self.holders,
            };
            self.table.finish(&end, &mut events);
            events
        }
    }

    fn at(poll: u64) -> Mono {
        Mono(poll * SECOND_NS)
    }

    fn client() -> Sighting {
        connection("10.0.0.1:40000", "192.0.2.9:443")
    }

    fn connection(local: &str, remote: &str) -> Sighting {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        Sighting {
            cookie: Some(CLIENT.socket),
            inode: Some(900),
            pair: Pair {
                protocol: Protocol::Tcp,
                local,
                remote,
            },
            state: State::Connected,
            counts: Counts::default(),
        }
    }

    fn listener(local: &str) -> Sighting {
        let unspecified = if local.starts_with('[') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        Sighting {
            state: State::Listening,
            cookie: Some(1),
            ..connection(local, unspecified)
        }
    }

    fn in_state(sighting: Sighting, state: State) -> Sighting {
        let inode = sighting.inode.filter(|_| state != State::Over);
        Sighting {
            state,
            inode,
            ..sighting
        }
    }

    fn without_cookie(sighting: Sighting) -> Sighting {
        Sighting {
            cookie: None,
            ..sighting
        }
    }

    fn counted(sighting: Sighting, bytes_out: u64, bytes_in: u64) -> Sighting {
        let counts = Counts {
            traffic: Traffic {
                bytes_out: Some(bytes_out),
                bytes_in: Some(bytes_in),
                quality: ByteQuality::SoFar,
                ..Traffic::default()
            },
            rtt_us: Some(30),
            retransmits: Some(1),
        };
        Sighting { counts, ..sighting }
    }

    fn opened(events: &[Event]) -> Opened {
        match events {
            [Event::Opened(opened)] => *opened,
            other => panic!("not one open: {other:?}"),
        }
    }

    fn closed(events: &[Event]) -> Closed {
        match events {
            [Event::Closed(closed)] => *closed,
            other => panic!("not one close: {other:?}"),
        }
    }

    fn turned_away(count: Option<u64>) -> Event {
        Event::Lost {
            stage: LossStage::Kernel,
            cause: LossCause::MapFull,
            what: LostKind::Connections,
            count,
        }
    }

    #[test]
    fn what_was_there_before_is_a_snapshot_of_unknown_age() {
        let mut bench = Bench::new();
        let open = opened(&bench.poll(&[client()]));
        assert_eq!(
            (open.key, open.at, open.origin),
            (CLIENT, at(1), Origin::Snapshot)
        );
        assert_eq!((open.opened, open.established), (None, None));
        assert_eq!(open.tuple.network_namespace, Some(7));
        assert_eq!(open.tuple.remote.port, Some(443));
    }

    #[test]
    fn a_connection_lives_and_vanishes() {
        let mut bench = Bench::new();
        assert_eq!(bench.poll(&[]), vec![]);
        let open = opened(&bench.poll(&[client()]));
        assert_eq!(
            (open.origin, open.established),
            (Origin::Sampled, Some(at(2)))
        );
        assert_eq!(bench.poll(&[client()]), vec![]);
        let close = closed(&bench.poll(&[]));
        assert_eq!(
            (close.key, close.at, close.established),
            (CLIENT, at(4), Some(at(2)))
        );
        assert_eq!(
            close.ending,
            Ending {
                outcome: Outcome::Unknown,
                errno: None
            }
        );
        assert_eq!(close.traffic, Traffic::default());
        assert_eq!(bench.poll(&[]), vec![]);
    }

    #[test]
    fn bytes_are_told_when_they_change_and_are_a_lower_bound_at_the_end() {
        let mut bench = Bench::new();
        let first = counted(client(), 10, 20);
        let events = bench.poll(&[first]);
        let traffic = first.counts.traffic;
        assert_eq!(
            events[1..],
            [Event::Updated {
                key: CLIENT,
                traffic,
                flow: None,
            }]
        );
        assert_eq!(bench.poll(&[first]), vec![]);
        let second = counted(client(), 10, 21);
        let traffic = second.counts.traffic;
        assert_eq!(
            bench.poll(&[second]),
            [Event::Updated {
                key: CLIENT,
                traffic,
                flow: None,
            }]
        );
        let close = closed(&bench.poll(&[]));
        assert_eq!(
            close.traffic,
            Traffic {
                quality: ByteQuality::AtLeast,
                ..traffic
            }
        );
        assert_eq!((close.rtt_us, close.retransmits), (Some(30), Some(1)));
    }

    #[test]
    fn a_row_seen_twice_counts_once() {
        let mut bench = Bench::new();
        opened(&bench.poll(&[client(), client()]));
    }

    #[test]
    fn an_attempt_is_opened_when_it_is_answered() {
        let mut bench = Bench::new();
        bench.poll(&[]);
        let attempt = in_state(client(), State::Connecting);
        assert_eq!(bench.poll(&[attempt]), vec![]);
        assert_eq!(bench.poll(&[attempt]), vec![]);
        let open = opened(&bench.poll(&[client()]));
        assert_eq!((open.opened, open.established), (Some(at(2)), Some(at(4))));
    }

    #[test]
    fn an_attempt_that_vanishes_was_never_established() {
        let mut bench = Bench::new();
        bench.poll(&[]);
        bench.poll(&[in_state(client(), State::Connecting)]);
        let close = closed(&bench.poll(&[]));
        assert_eq!((close.opened, close.established), (Some(at(2)), None));
        assert_eq!(close.ending.outcome, Outcome::Unknown);
        assert_eq!(close.tuple.direction, Direction::Outbound);
    }

    #[test]
    fn time_wait_ends_a_connection_once_and_in_order() {
        let mut bench = Bench::new();
        bench.poll(&[counted(client(), 10, 20)]);
        let over = in_state(client(), State::Over);
        let close = closed(&bench.poll(&[over]));
        assert_eq!(
            (close.ending.outcome, close.origin),
            (Outcome::Closed, Origin::Snapshot)
        );
        assert_eq!(close.traffic.bytes_in, Some(20));
        assert_eq!(bench.poll(&[over]), vec![]);
        assert_eq!(bench.poll(&[]), vec![]);
    }

    #[test]
    fn a_connection_between_two_polls_is_inferred_from_time_wait() {
        let mut bench = Bench::new();
        let before_us = Sighting {
            cookie: Some(10),
            ..in_state(client(), State::Over)
        };
        assert_eq!(bench.poll(&[before_us]), vec![]);
        let over = in_state(connection("10.0.0.1:40001", "192.0.2.9:443"), State::Over);
        let close = closed(&bench.poll(&[before_us, over]));
        assert_eq!(
            (close.ending.outcome, close.origin),
            (Outcome::Closed, Origin::Inferred)
        );
        assert_eq!((close.owner, close.established), (None, None));
        assert_eq!(close.traffic, Traffic::default());
        assert_eq!(bench.poll(&[over]), vec![]);
    }

    #[test]
    fn an_attempt_seen_at_the_start_may_end_in_order() {
        let mut bench = Bench::new();
        bench.poll(&[in_state(client(), State::Connecting)]);
        let close = closed(&bench.poll(&[in_state(client(), State::Over)]));
        assert_eq!(
            (close.ending.outcome, close.origin),
            (Outcome::Closed, Origin::Snapshot)
        );
    }

    #[test]
    fn an_incomplete_poll_closes_nothing() {
        let mut bench = Bench::new();
        bench.poll(&[client()]);
        assert_eq!(bench.poll_with(&[], false), vec![]);
        assert_eq!(bench.poll(&[client()]), vec![]);
    }

    #[test]
    fn the_snapshot_lasts_until_a_poll_is_complete() {
        let mut bench = Bench::new();
        bench.poll_with(&[], false);
        assert_eq!(opened(&bench.poll(&[client()])).origin, Origin::Snapshot);
    }

    #[test]
    fn a_socket_that_connects_again_is_another_connection() {
        let mut bench = Bench::new();
        bench.poll(&[client()]);
        let again = connection("10.0.0.1:40000", "192.0.2.10:443");
        let events = bench.poll(&[again]);
        assert_eq!(
            closed(&events[..1]).tuple.remote.address,
            "192.0.2.9".parse().ok()
        );
        assert_eq!(
            opened(&events[1..]).tuple.remote.address,
            "192.0.2.10".parse().ok()
        );
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn direction_follows_the_listeners() {
        for (listening, local, expected) in [
            ("0.0.0.0:443", "10.0.0.1:443", Direction::Inbound),
            ("[::]:443", "10.0.0.1:443", Direction::Inbound),
            ("[::]:443", "[2001:db8::1]:443", Direction::Inbound),
            ("10.0.0.1:443", "10.0.0.1:443", Direction::Inbound),
            ("10.0.0.2:443", "10.0.0.1:443", Direction::Outbound),
            ("0.0.0.0:443", "[2001:db8::1]:443", Direction::Outbound),
            ("0.0.0.0:444", "10.0.0.1:443", Direction::Outbound),
        ] {
            let remote = if local.starts_with('[') {
                "[2001:db8::9]:5"
            } else {
                "192.0.2.9:5"
            };
            let rows = [connection(local, remote), listener(listening)];
            let direction = opened(&Bench::new().poll(&rows)).tuple.direction;
            assert_eq!(direction, expected, "{listening} {local}");
        }
    }

    #[test]
    fn direction_stays_when_the_listener_goes() {
        let mut bench = Bench::new();
        bench.poll(&[client(), listener("0.0.0.0:40000")]);
        assert_eq!(bench.poll(&[client()]), vec![]);
        assert_eq!(closed(&bench.poll(&[])).tuple.direction, Direction::Inbound);
    }

    #[test]
    fn the_holder_is_asked_for_once() {
        let mut bench = Bench::new();
        bench.holders.insert(900, HOLDER);
        bench.table.begin();
        bench.table.see(&client());
        assert_eq!(bench.table.inodes_wanted(), BTreeSet::from([900]));
        let owner = opened(&bench.poll(&[client()])).owner.unwrap();
        assert_eq!(owner.process, HOLDER);
        assert_eq!(owner.attribution.source, IdentitySource::Snapshot);
        assert_eq!(owner.attribution.confidence, Confidence::Guess);
        assert_eq!(bench.table.inodes_wanted(), BTreeSet::new());
        assert_eq!(closed(&bench.poll(&[])).owner, Some(owner));
    }

    #[test]
    fn a_holder_that_is_not_found_is_not_asked_for_again() {
        let mut bench = Bench::new();
        assert_eq!(opened(&bench.poll(&[client()])).owner, None);
        assert_eq!(bench.table.inodes_wanted(), BTreeSet::new());
    }

    #[test]
    fn whoever_accepts_later_is_attributed() {
        let mut bench = Bench::new();
        bench.holders.insert(900, HOLDER);
        let waiting = Sighting {
            inode: None,
            ..client()
        };
        assert_eq!(opened(&bench.poll(&[waiting])).owner, None);
        let source = IdentitySource::SocketTable;
        let owner = Owner {
            process: HOLDER,
            attribution: Attribution::from_source(source),
            responsible: None,
        };
        assert_eq!(
            bench.poll(&[client()]),
            [Event::Attributed { key: CLIENT, owner }]
        );
    }

    #[test]
    fn without_cookies_the_inode_names_the_flow() {
        let mut bench = Bench::new();
        let row = without_cookie(client());
        assert_eq!(
            opened(&bench.poll(&[row])).key,
            FlowKey {
                socket: 900,
                part: 0
            }
        );
        assert_eq!(bench.poll(&[row]), vec![]);
        let close = closed(&bench.poll(&[in_state(row, State::Over)]));
        assert_eq!(
            close.key,
            FlowKey {
                socket: 900,
                part: 0
            }
        );
        assert_eq!(close.ending.outcome, Outcome::Closed);
        let reused = Sighting {
            inode: Some(901),
            ..row
        };
        assert_eq!(
            opened(&bench.poll(&[reused])).key,
            FlowKey {
                socket: 901,
                part: 0
            }
        );
        assert_eq!(bench.table.tracked.len(), 1);
        assert_eq!(
            closed(&bench.poll(&[])).key,
            FlowKey {
                socket: 901,
                part: 0
            }
        );
        assert!(bench.table.by_pair.is_empty());
    }

    #[test]
    fn without_cookie_and_inode_a_flow_gets_a_number_of_its_own() {
        let mut bench = Bench::new();
        bench.poll(&[]);
        let over = in_state(without_cookie(client()), State::Over);
        let other = connection("10.0.0.1:40001", "192.0.2.9:443");
        let other_over = in_state(without_cookie(other), State::Over);
        let events = bench.poll(&[over, other_over]);
        assert_eq!(closed(&events[..1]).key, FlowKey { socket: 0, part: 1 });
        assert_eq!(closed(&events[1..]).key, FlowKey { socket: 0, part: 2 });
        assert_eq!(bench.poll(&[over, other_over]), vec![]);
        let reused = bench.poll(&[without_cookie(client()), other_over]);
        assert_eq!(opened(&reused).key, FlowKey { socket: 0, part: 1 });
    }

    #[test]
    fn sockets_beyond_the_bound_are_counted_once_and_stay_lost() {
        let mut bench = Bench::with_room_for(2);
        let rows: Vec<Sighting> = (11..=14)
            .map(|cookie| Sighting {
                cookie: Some(cookie),
                ..client()
            })
            .collect();
        let events = bench.poll(&rows);
        assert_eq!(events.len(), 3);
        assert_eq!(events[2], turned_away(Some(2)));
        assert_eq!(bench.poll(&rows), vec![]);
        assert_eq!(closed(&bench.poll(&rows[1..])).key, CLIENT);
        assert_eq!(bench.poll(&rows[1..]), vec![]);
    }

    #[test]
    fn too_many_to_count_is_said_once() {
        let mut bench = Bench::with_room_for(1);
        let rows: Vec<Sighting> = (11..=14)
            .map(|cookie| Sighting {
                cookie: Some(cookie),
                ..client()
            })
            .collect();
        assert_eq!(bench.poll(&rows)[1..], [turned_away(None)]);
        assert_eq!(bench.poll(&rows), vec![]);
    }
}
