//! Flows beyond the limit of their process: followed like any other, and told as a sum.

use super::{FlowTable, Pending, Untold};
use crate::bursts::{Bounds, End};
use crate::live::Flow;
use record::{Connection, ConnectionId, Mono, Origin, ProcessKey};

impl FlowTable {
    /// Counts a flow that begins, and says whether it is to be summed. What was there before the
    /// recorder was not made in this interval, and what nobody owns breaks nobody's limit.
    pub(super) fn is_beyond_limit(
        &mut self,
        owner: Option<ProcessKey>,
        origin: Origin,
        now: Mono,
    ) -> bool {
        let Some(owner) = owner.filter(|_| !self.bursts.is_off()) else {
            return false;
        };
        self.end_interval(now);
        match origin {
            Origin::Snapshot => false,
            Origin::Live | Origin::Sampled | Origin::Inferred => self.bursts.exceeds(owner),
        }
    }

    /// Ends the interval if it is over: its sums are told, and flows that outlived the burst get
    /// records of their own after all.
    pub(super) fn end_interval(&mut self, now: Mono) {
        if self.bursts.is_off() || !self.bursts.is_over(now) {
            return;
        }
        let outlived = self.bursts.turn(now);
        self.tell_sums();
        if self.bursts.live > 0 {
            self.tell_after_all(outlived, now);
        }
    }

    /// At the stop nothing is summed any more.
    pub(super) fn end_bursts(&mut self) {
        self.bursts.turn(self.latest);
        self.tell_sums();
        self.tell_after_all(Mono(u64::MAX), self.latest);
    }

    /// Sums a flow that ended and counts it, or gives it back where there is no room to.
    pub(super) fn sum_up(&mut self, flow: Flow, end: End, now: Mono) -> Option<Box<Flow>> {
        self.end_interval(now);
        match self.bursts.add(flow, end) {
            Ok(()) => {
                self.counters.closes_aggregated += 1;
                None
            }
            Err(flow) => Some(flow),
        }
    }

    /// The next sum of an interval that is over, under an id of its own.
    pub(super) fn next_sum(&mut self) -> Option<Box<Connection>> {
        let sum = self.bursts.next_over()?;
        if self.bursts.has_over() {
            self.outputs.push_front(Pending::Sums);
        }
        let at = self.stamp(sum.last());
        let (epoch, phase) = (self.epoch, sum.phase());
        let mut draft = sum.flow.draft(epoch, phase, at, &mut self.processes);
        self.last_ordinal += 1;
        draft.connection.id = ConnectionId {
            epoch,
            ordinal: self.last_ordinal,
        };
        sum.fill(self.bursts.bounds(), &mut draft.connection);
        self.counters.aggregates += 1;
        self.wait_or_go(draft, self.latest)
    }

    fn tell_sums(&mut self) {
        if self.bursts.has_over() {
            self.outputs.push_back(Pending::Sums);
        }
    }

    /// Those that began before `before` and live are told as flows of their own.
    fn tell_after_all(&mut self, before: Mono, now: Mono) {
        let flows = self.flows.iter();
        let outlived = flows.filter(|(_, flow)| flow.is_summed && flow.at < before);
        let mut outlived: Vec<(u64, u32)> =
            outlived.map(|(slot, flow)| (flow.ordinal, slot)).collect();
        outlived.sort_unstable();
        // Those that closed make room, so that there are never more than flows.
        let flows = &self.flows;
        let lives = |it: &Untold| {
            flows
                .at(it.slot)
                .is_some_and(|its| its.ordinal == it.ordinal)
        };
        self.untold.retain(lives);
        let due = now.plus_ns(self.config.open_delay_ns);
        for (ordinal, slot) in outlived {
            self.flows.set_summed(slot, false);
            self.bursts.live -= 1;
            self.untold.push_back(Untold { due, ordinal, slot });
        }
        if self.config.open_delay_ns == 0 {
            self.outputs.push_back(Pending::Opens(now));
        }
    }
}

/// The room that a table of `flows_max` flows has for sums.
pub(super) fn bounds(config: &super::Config) -> Bounds {
    Bounds {
        limit: config.burst_max,
        interval_ns: config.burst_interval_ns.max(1),
        processes_max: config.processes_max.max(1),
        sums_max: (config.flows_max / 16).max(2),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Config, SECOND_NS};
    use super::*;
    use crate::event::{Closed, Event, Opened, Tuple};
    use record::sample::Random;
    use record::{
        AggregateScope, ByteQuality, Direction, Ending, IdentitySource, Outcome, Phase, Protocol,
        Tally,
    };

    const EXACT: ByteQuality = ByteQuality::Exact;
    const MINUTE_NS: u64 = 60 * SECOND_NS;

    fn limited(burst_max: u64, config: Config) -> FlowTable {
        table_with(Config {
            burst_max,
            ledger_interval_ns: 1_000_000 * SECOND_NS,
            ..config
        })
    }

    fn open_of(pid: u32, socket: u64, at: u64) -> Opened {
        Opened {
            owner: owner(pid, IdentitySource::Connect),
            ..opened(socket, at)
        }
    }

    /// A whole connection of a process that sends as many bytes as its socket says.
    fn close_of(pid: u32, socket: u64, at: u64) -> Closed {
        Closed {
            owner: owner(pid, IdentitySource::Connect),
            traffic: bytes(socket, 2 * socket, EXACT),
            ..closed(socket, at)
        }
    }

    fn play(table: &mut FlowTable, pid: u32, sockets: std::ops::RangeInclusive<u64>) {
        for socket in sockets {
            let at = 2_000 + 1_000 * socket;
            table.handle(Event::Opened(open_of(pid, socket, at)), Mono(at));
            table.handle(
                Event::Closed(close_of(pid, socket, at + 500)),
                Mono(at + 500),
            );
        }
    }

    fn aggregates(told: &[Connection]) -> Vec<&Connection> {
        told.iter().filter(|it| it.aggregate.is_some()).collect()
    }

    fn balance(table: &FlowTable, told: &[Connection]) {
        let tally = table.tally();
        let Tally {
            closes_made,
            closes_recorded,
            closes_aggregated,
            closes_dropped,
            closes_lost,
            ..
        } = tally;
        assert_eq!(
            closes_made,
            closes_recorded + closes_aggregated + closes_dropped + closes_lost
        );
        let summed: u64 = aggregates(told).iter().map(|it| it.connections()).sum();
        assert_eq!(summed, closes_aggregated);
    }

    #[test]
    fn what_a_process_makes_beyond_its_limit_is_one_exact_sum() {
        let mut table = limited(3, Config::default());
        play(&mut table, 9, 1..=10);
        let told = run_until(&mut table, 59 * SECOND_NS);
        assert_eq!(told.len(), 3, "the first three have records of their own");
        assert_eq!(table.poll_timeout(), Mono(START.mono.0 + MINUTE_NS));
        let sums = run_until(&mut table, 2 * MINUTE_NS);
        assert_eq!(sums.len(), 1);
        let (sum, aggregate) = (&sums[0], sums[0].aggregate.as_ref().unwrap());
        assert_eq!(sum.connections(), 7);
        assert_eq!((aggregate.limit, aggregate.interval_ns), (3, MINUTE_NS));
        let sent: u64 = (4..=10).sum();
        assert_eq!(sum.traffic, bytes(sent, 2 * sent, EXACT));
        assert_eq!(sum.opened, Some(Mono(2_000 + 4_000 + 450)), "the first");
        assert_eq!(sum.at.mono, Mono(2_000 + 10_000 + 500), "the last");
        assert_eq!((sum.local.port, sum.remote), (None, tuple().remote));
        assert_eq!(outcome(sum), Some(Outcome::Closed));
        let ids: Vec<_> = told.iter().map(|it| it.id).collect();
        assert!(!ids.contains(&sum.id), "it has an id of its own");
        assert_eq!(table.counters().aggregates, 1);
        assert_eq!(table.tally().closes_recorded, 3);
        balance(&table, &sums);
    }

    #[test]
    fn without_a_limit_nothing_is_summed() {
        let mut table = limited(0, Config::default());
        play(&mut table, 9, 1..=500);
        let told = run_until(&mut table, 2 * MINUTE_NS);
        assert_eq!((told.len(), aggregates(&told).len()), (500, 0));
    }

    #[test]
    fn others_and_those_alive_when_the_burst_begins_keep_their_records() {
        let mut table = limited(3, Config::default());
        table.handle(Event::Opened(open_of(9, 1_000, 2_000)), Mono(2_000));
        play(&mut table, 9, 1..=10);
        play(&mut table, 8, 21..=23);
        let close = close_of(9, 1_000, 50_000);
        table.handle(Event::Closed(close), Mono(50_000));
        let told = run_until(&mut table, 2 * MINUTE_NS);
        let own = told.iter().filter(|it| it.aggregate.is_none());
        assert_eq!(own.count(), 3 + 3);
        assert_eq!(aggregates(&told)[0].connections(), 8);
        assert!(told.iter().any(|it| it.traffic == close.traffic));
        play(&mut table, 9, 201..=203);
        let told = run_until(&mut table, 2 * MINUTE_NS);
        assert_eq!(told.len(), 3, "the next interval begins anew");
    }

    #[test]
    fn each_way_and_each_ending_has_a_sum_of_its_own() {
        let mut table = limited(1, Config::default());
        play(&mut table, 9, 1..=1);
        for socket in 2..=13 {
            let refused = Ending {
                outcome: Outcome::Refused,
                errno: Some(111),
            };
            let mut tuple = tuple();
            tuple.remote.port = Some(440 + socket as u16 % 2);
            let failed = socket % 3 == 0;
            let close = close_of(9, socket, 9_000 + socket);
            let close = Closed {
                tuple,
                established: close.established.filter(|_| !failed),
                ending: if failed { refused } else { close.ending },
                ..close
            };
            table.handle(Event::Closed(close), Mono(9_000 + socket));
        }
        let told = run_until(&mut table, 2 * MINUTE_NS);
        let mut sums: Vec<_> = aggregates(&told)
            .iter()
            .map(|it| {
                (
                    it.remote.port.unwrap(),
                    outcome(it).unwrap(),
                    it.connections(),
                )
            })
            .collect();
        sums.sort_unstable();
        let expected = [
            (440, Outcome::Closed, 4),
            (440, Outcome::Refused, 2),
            (441, Outcome::Closed, 4),
            (441, Outcome::Refused, 2),
        ];
        assert_eq!(sums, expected);
        balance(&table, &told);
    }

    #[test]
    fn a_caller_is_known_by_its_address_and_the_port_it_called() {
        let mut table = limited(1, Config::default());
        for socket in 1..=20 {
            let mut tuple = tuple();
            tuple.direction = Direction::Inbound;
            (tuple.local.port, tuple.remote.port) = (Some(443), Some(50_000 + socket as u16));
            let close = Closed {
                tuple,
                ..close_of(9, socket, 9_000 + socket)
            };
            table.handle(Event::Closed(close), Mono(9_000 + socket));
        }
        let told = run_until(&mut table, 2 * MINUTE_NS);
        let sums = aggregates(&told);
        assert_eq!((sums.len(), sums[0].connections()), (1, 19));
        assert_eq!((sums[0].local.port, sums[0].remote.port), (Some(443), None));
    }

    #[test]
    fn too_many_destinations_are_summed_by_process_and_beyond_that_not_at_all() {
        let config = Config {
            flows_max: 64,
            ..Config::default()
        };
        let mut table = limited(1, config);
        for socket in 1..=40 {
            let mut tuple = tuple();
            tuple.remote.port = Some(socket as u16);
            // The last ones differ in what even the coarsest sum must have in common.
            let namespace = if socket > 36 { socket as u32 } else { 1 };
            tuple.network_namespace = Some(namespace);
            let close = Closed {
                tuple,
                ..close_of(9, socket, 9_000 + socket)
            };
            table.handle(Event::Closed(close), Mono(9_000 + socket));
        }
        let told = run_until(&mut table, 2 * MINUTE_NS);
        let sums = aggregates(&told);
        let coarse =
            |it: &&&Connection| it.aggregate.as_ref().unwrap().scope == AggregateScope::Process;
        let sizes: Vec<u64> = sums.iter().map(|it| it.connections()).collect();
        assert_eq!(sizes, [1, 1, 33, 1], "two of one destination, two of many");
        assert!(
            sums.iter()
                .filter(coarse)
                .all(|it| it.remote.address.is_none())
        );
        assert_eq!(told.len() - sums.len(), 1 + 3, "no room: their own records");
        let sent: u64 = told.iter().filter_map(|it| it.traffic.bytes_out).sum();
        assert_eq!(sent, (1..=40).sum::<u64>());
        balance(&table, &told);
    }

    #[test]
    fn a_flow_that_outlives_the_burst_gets_its_own_record_after_all() {
        let mut table = limited(1, Config::default());
        for socket in 1..=4 {
            let open = open_of(9, socket, 2_000 + socket);
            table.handle(Event::Opened(open), Mono(2_000 + socket));
        }
        assert_eq!(table.counters().summed, 3);
        table.handle(Event::Closed(close_of(9, 4, 9_000)), Mono(9_000));
        let told = run_until(&mut table, 150 * SECOND_NS);
        let opens = |told: &[Connection]| told.iter().filter(|it| it.phase == Phase::Open).count();
        assert_eq!((opens(&told), aggregates(&told).len()), (1, 1));
        table.handle(
            updated(2, bytes(7, 7, ByteQuality::SoFar)),
            Mono(150 * SECOND_NS),
        );
        let told = run_until(&mut table, 182 * SECOND_NS);
        assert_eq!(opens(&told), 2, "two whole intervals after their own");
        assert_eq!(told[0].at.mono, Mono(2_002), "told late, not dated late");
        table.handle(
            Event::Closed(close_of(9, 2, 182 * SECOND_NS)),
            Mono(182 * SECOND_NS),
        );
        let close = connections(&mut table).remove(0);
        assert_eq!((close.id, close.connections()), (told[0].id, 1));
        assert_eq!(table.tally().closes_aggregated, 1);
        assert_eq!(table.counters().summed, 0);
    }

    #[test]
    fn datagram_flows_that_fall_silent_in_a_burst_are_summed_too() {
        let config = Config {
            datagram_idle_ns: 60 * SECOND_NS,
            ..Config::default()
        };
        let mut table = limited(2, config);
        let udp = Tuple {
            protocol: Protocol::Udp,
            ..tuple()
        };
        for socket in 1..=100 {
            let open = Opened {
                tuple: udp,
                ..open_of(9, socket, 2_000 + socket)
            };
            table.handle(Event::Opened(open), Mono(2_000 + socket));
            let told = bytes(socket, 0, ByteQuality::SoFar);
            table.handle(updated(socket, told), Mono(2_000 + socket));
        }
        let told = run_until(&mut table, 300 * SECOND_NS);
        let sums = aggregates(&told);
        assert_eq!((sums.len(), sums[0].connections()), (1, 98));
        assert_eq!(outcome(sums[0]), Some(Outcome::Idle));
        let sent = (3..=100).sum();
        assert_eq!(sums[0].traffic, bytes(sent, 0, ByteQuality::AtLeast));
        let late = Closed {
            traffic: bytes(90, 0, EXACT),
            ..close_of(9, 50, 301 * SECOND_NS)
        };
        table.handle(Event::Closed(late), Mono(301 * SECOND_NS));
        let told = connections(&mut table);
        assert_eq!(told[0].traffic.bytes_out, Some(40), "what came on top");
        balance(&table, &[sums[0].clone()]);
    }

    #[test]
    fn at_the_stop_sums_are_told_and_what_lives_is_told_as_open() {
        let mut table = limited(1, Config::default());
        play(&mut table, 9, 1..=5);
        table.handle(Event::Opened(open_of(9, 6, 9_000)), Mono(9_000));
        table.handle_stop();
        let told = connections(&mut table);
        let kinds: Vec<(u64, bool)> = told
            .iter()
            .map(|it| (it.connections(), it.phase == Phase::Open))
            .collect();
        assert_eq!(kinds, [(1, false), (4, false), (1, true)]);
        balance(&table, &told);
    }

    #[test]
    fn more_processes_than_can_be_counted_go_free() {
        let config = Config {
            processes_max: 10,
            ..Config::default()
        };
        let mut table = limited(1, config);
        for pid in 1..=20 {
            let sockets = u64::from(pid) * 10;
            play(&mut table, pid, sockets..=sockets + 4);
        }
        let told = run_until(&mut table, 2 * MINUTE_NS);
        assert_eq!(table.tally().closes_aggregated, 10 * 4);
        assert_eq!(table.tally().closes_recorded, 10 + 10 * 5);
        balance(&table, &told);
    }

    #[test]
    fn whatever_bursts_every_connection_and_every_byte_is_told_once() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let config = Config {
                flows_max: 40 + random.below(400) as usize,
                open_delay_ns: random.below(2) * SECOND_NS,
                age_max_ns: 500 * SECOND_NS,
                ..Config::default()
            };
            let mut table = limited(random.below(20), config);
            let (mut now, mut sent, mut told) = (2_000, 0, Vec::new());
            for socket in 1..=2_000 {
                now += random.size(29);
                let pid = 1 + random.below(4) as u32;
                let mut flow = open_of(pid, socket, now);
                flow.tuple.remote.port = Some(random.below(8) as u16);
                if !random.one_in(3) {
                    table.handle(Event::Opened(flow), Mono(now));
                }
                let carried = random.size(30);
                sent += carried;
                let closes = !random.one_in(6) || table.counters().live == 0;
                let event = match closes {
                    true => Event::Closed(Closed {
                        tuple: flow.tuple,
                        traffic: bytes(carried, 0, EXACT),
                        ..close_of(pid, socket, now)
                    }),
                    false => Event::Updated {
                        key: key(socket),
                        traffic: bytes(carried, 0, ByteQuality::SoFar),
                        flow: Some(flow),
                    },
                };
                table.handle(event, Mono(now));
                told.extend(run_until(&mut table, now));
            }
            told.extend(run_until(&mut table, now + 2_000 * SECOND_NS));
            table.handle_stop();
            told.extend(connections(&mut table));
            let closes = told.iter().filter(|it| outcome(it).is_some());
            let bytes: u64 = closes.filter_map(|it| it.traffic.bytes_out).sum();
            assert_eq!(bytes, sent, "seed {seed}");
            let ends = table.tally().closes_made;
            let evicted = told
                .iter()
                .filter(|it| outcome(it) == Some(Outcome::Evicted))
                .count();
            assert_eq!(ends + evicted as u64, 2_000, "seed {seed}");
            balance(&table, &told);
            assert_eq!(table.counters().summed, 0);
        }
    }
}
