//! Bursts: what a process makes beyond its limit in an interval is summed, and nothing is lost of
//! the sums.

use crate::live::Flow;
use crate::totals::TotalsSum;
use record::{
    Aggregate, AggregateCause, AggregateScope, Attribution, Connection, Direction, Ending,
    Endpoint, Mono, NameSource, Origin, Outcome, Phase, ProcessKey, Protocol,
};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Who made how many flows in the interval under way, and the sums of those beyond the limit.
#[derive(Debug)]
pub(crate) struct Bursts {
    bounds: Bounds,
    /// When the interval under way began, and when it is over.
    began: Mono,
    ends: Mono,
    counts: FxHashMap<ProcessKey, u64>,
    /// In the order in which they began.
    sums: Vec<Sum>,
    /// Where in `sums` those of a kind are.
    places: FxHashMap<Kind, usize>,
    /// How many of `sums` are of one destination.
    fine: usize,
    /// Of intervals that are over.
    over: VecDeque<Sum>,
    /// Flows that live without a record of their own.
    pub(crate) live: u64,
}

/// Limit, interval and room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Flows of one process in one interval that have records of their own; zero is all.
    pub(crate) limit: u64,
    /// Never zero.
    pub(crate) interval_ns: u64,
    /// Processes that are counted.
    pub(crate) processes_max: usize,
    /// Sums in one interval, of which half may be of one destination each.
    pub(crate) sums_max: usize,
}

/// What was told of an end, beside the flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) ending: Ending,
    pub(crate) at: Mono,
    pub(crate) retransmits: Option<u32>,
}

/// The sum of connections of one kind.
#[derive(Debug)]
pub(crate) struct Sum {
    /// The first of them stands for what all have in common.
    pub(crate) flow: Flow,
    ending: Ending,
    scope: AggregateScope,
    connections: u64,
    totals: TotalsSum,
    /// When the first began, as far as that is known.
    first: Mono,
    last: Mono,
    retransmits: Option<u32>,
}

/// What connections must have in common to be summed: all that a record says and a sum cannot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    owner: Option<ProcessKey>,
    responsible: Option<ProcessKey>,
    attribution: Attribution,
    protocol: Protocol,
    direction: Direction,
    network_namespace: Option<u32>,
    outcome: Outcome,
    errno: Option<i32>,
    is_established: bool,
    origin: Origin,
    /// `None` for the sum of many.
    destination: Option<Destination>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Destination {
    local: Endpoint,
    remote: Endpoint,
    hostname: Option<(Arc<str>, NameSource)>,
}

impl Bursts {
    /// Nothing is counted yet; the first interval begins at `start`.
    pub(crate) fn new(bounds: Bounds, start: Mono) -> Bursts {
        Bursts {
            bounds,
            began: start,
            ends: start.plus_ns(bounds.interval_ns),
            counts: FxHashMap::default(),
            sums: Vec::new(),
            places: FxHashMap::default(),
            fine: 0,
            over: VecDeque::new(),
            live: 0,
        }
    }

    /// Whether nothing is ever summed.
    pub(crate) fn is_off(&self) -> bool {
        self.bounds.limit == 0
    }

    /// Counts a flow, and says whether it goes beyond the limit. More processes than there is room
    /// to count go free until the next interval.
    pub(crate) fn exceeds(&mut self, owner: ProcessKey) -> bool {
        let has_room = self.counts.len() < self.bounds.processes_max;
        let count = match self.counts.entry(owner) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if has_room => entry.insert(0),
            Entry::Vacant(_) => return false,
        };
        *count += 1;
        *count > self.bounds.limit
    }

    /// Whether the interval is over at `now`.
    pub(crate) fn is_over(&self, now: Mono) -> bool {
        now >= self.ends
    }

    /// Connections in sums that are not told yet.
    pub(crate) fn untold(&self) -> u64 {
        let sums = self.sums.iter().chain(&self.over);
        sums.map(|sum| sum.connections).sum()
    }

    /// When there is something to tell.
    pub(crate) fn next_due(&self) -> Option<Mono> {
        (self.live > 0 || !self.sums.is_empty()).then_some(self.ends)
    }

    /// Begins the interval that `now` is in, and gives the moment of which flows that began before
    /// have outlived the burst.
    pub(crate) fn turn(&mut self, now: Mono) -> Mono {
        let interval_ns = self.bounds.interval_ns;
        let whole = now.since_ns(self.began) / interval_ns;
        self.began = self.began.plus_ns(whole.saturating_mul(interval_ns));
        self.ends = self.began.plus_ns(interval_ns);
        self.counts.clear();
        self.places.clear();
        self.fine = 0;
        self.over.extend(self.sums.drain(..));
        Mono(self.began.0.saturating_sub(2 * interval_ns))
    }

    /// Sums a flow that ended with others of its kind. Gives it back where there is no room.
    pub(crate) fn add(&mut self, flow: Flow, end: End) -> Result<(), Box<Flow>> {
        let fine = Kind::of(&flow, end.ending);
        if let Some(place) = self.places.get(&fine) {
            self.sums[*place].add(&flow, end);
            return Ok(());
        }
        if self.fine < self.bounds.sums_max.div_ceil(2) {
            self.fine += 1;
            self.begin(fine, AggregateScope::Destination, flow, end);
            return Ok(());
        }
        let coarse = Kind {
            destination: None,
            ..fine
        };
        if let Some(place) = self.places.get(&coarse) {
            self.sums[*place].add(&flow, end);
            return Ok(());
        }
        if self.sums.len() >= self.bounds.sums_max {
            return Err(Box::new(flow));
        }
        self.begin(coarse, AggregateScope::Process, flow, end);
        Ok(())
    }

    fn begin(&mut self, kind: Kind, scope: AggregateScope, flow: Flow, end: End) {
        self.places.insert(kind, self.sums.len());
        self.sums.push(Sum::new(flow, scope, end));
    }

    /// The next sum of an interval that is over.
    pub(crate) fn next_over(&mut self) -> Option<Sum> {
        self.over.pop_front()
    }

    /// Whether there are sums of intervals that are over.
    pub(crate) fn has_over(&self) -> bool {
        !self.over.is_empty()
    }

    /// What is the same for all sums of one.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }
}

impl Sum {
    fn new(flow: Flow, scope: AggregateScope, end: End) -> Sum {
        let mut totals = TotalsSum::default();
        totals.add(flow.rest());
        Sum {
            ending: end.ending,
            scope,
            connections: 1,
            totals,
            first: flow.began(),
            last: end.at,
            retransmits: end.retransmits,
            flow,
        }
    }

    fn add(&mut self, flow: &Flow, end: End) {
        self.connections += 1;
        self.totals.add(flow.rest());
        self.first = self.first.min(flow.began());
        self.last = self.last.max(end.at);
        let both = self.retransmits.zip(end.retransmits);
        self.retransmits = both.map(|(one, other)| one.saturating_add(other));
    }

    /// When the last of them ended.
    pub(crate) fn last(&self) -> Mono {
        self.last
    }

    /// As what the record tells it.
    pub(crate) fn phase(&self) -> Phase {
        Phase::Close(self.ending)
    }

    /// Puts the sums in the place of what was the first connection's alone.
    pub(crate) fn fill(&self, bounds: Bounds, connection: &mut Connection) {
        let called = match self.scope {
            AggregateScope::Destination => Destination::of(&self.flow),
            AggregateScope::Process => Destination::nowhere(),
        };
        connection.local = called.local;
        connection.remote = called.remote;
        if called.hostname.is_none() {
            connection.hostname = None;
        }
        connection.opened = Some(self.first);
        connection.traffic = self.totals.traffic();
        connection.retransmits = self.retransmits;
        connection.aggregate = Some(Box::new(Aggregate {
            connections: self.connections,
            cause: AggregateCause::Burst,
            scope: self.scope,
            limit: bounds.limit,
            interval_ns: bounds.interval_ns,
        }));
    }
}

impl Kind {
    fn of(flow: &Flow, ending: Ending) -> Kind {
        Kind {
            owner: flow.owner.key(),
            responsible: flow.responsible.key(),
            attribution: flow.attribution,
            protocol: flow.tuple.protocol,
            direction: flow.tuple.direction,
            network_namespace: flow.tuple.network_namespace,
            outcome: ending.outcome,
            errno: ending.errno,
            is_established: flow.established.is_some(),
            origin: flow.origin,
            destination: Some(Destination::of(flow)),
        }
    }
}

impl Destination {
    /// Whoever calls does so from another port each time, so only the other side's port counts.
    fn of(flow: &Flow) -> Destination {
        let without_port = |endpoint: Endpoint| Endpoint {
            port: None,
            ..endpoint
        };
        let (local, remote) = (flow.tuple.local, flow.tuple.remote);
        let (local, remote) = match flow.tuple.direction {
            Direction::Outbound | Direction::Unknown => (without_port(local), remote),
            Direction::Inbound => (local, without_port(remote)),
        };
        let hostname = flow.hostname.as_ref();
        Destination {
            local,
            remote,
            hostname: hostname.map(|it| (Arc::clone(&it.name), it.source)),
        }
    }

    fn nowhere() -> Destination {
        Destination {
            local: Endpoint::default(),
            remote: Endpoint::default(),
            hostname: None,
        }
    }
}
