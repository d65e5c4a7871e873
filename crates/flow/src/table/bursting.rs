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
        while let Some(sum) = self.bursts.next_over() {
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
            return self.wait_or_go(draft, self.latest);
        }
        None
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
