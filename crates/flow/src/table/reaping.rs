//! Flows whose end nobody tells: when the table gives them up, and what it remembers of them.

use super::{Config, FlowTable, Pending};
use crate::bursts::End;
use crate::event::FlowKey;
use crate::live::Flow;
use crate::tombstones::Tombstone;
use record::{Ending, Mono, Outcome, ProcessKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// When flows are looked through next, and for what.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    /// Processes that are gone, and since when that is known.
    gone: BTreeMap<ProcessKey, Mono>,
    /// When a flow of one of them may have been silent for long enough.
    gone_due: Option<Mono>,
    /// When any flow may have been silent for long enough.
    silence_due: Option<Mono>,
    sleeps: Sleeps,
    /// A look that was long overdue was put off, once.
    is_put_off: bool,
}

/// When the machine slept, newest last: nothing could be heard then, so it is no silence.
#[derive(Debug, Default)]
struct Sleeps {
    /// The end of each, and how long all up to it took together, in nanoseconds.
    ends: VecDeque<(Mono, u64)>,
    total_ns: u64,
}

impl Sleeps {
    /// More than a laptop has in the longest patience; before those nothing is made up for.
    const COUNT_MAX: usize = 1_024;

    fn add(&mut self, duration_ns: u64, end: Mono) {
        self.total_ns = self.total_ns.saturating_add(duration_ns);
        self.ends.push_back((end, self.total_ns));
        if self.ends.len() > Sleeps::COUNT_MAX {
            self.ends.pop_front();
        }
    }

    /// How long the machine slept after `moment`, in nanoseconds.
    fn since_ns(&self, moment: Mono) -> u64 {
        let before = self.ends.partition_point(|(end, _)| *end <= moment);
        let slept_before = match (before.checked_sub(1), self.ends.front()) {
            (Some(last), _) => self.ends[last].1,
            (None, Some((_, first_ns))) if self.ends.len() == Sleeps::COUNT_MAX => *first_ns,
            (None, _) => 0,
        };
        self.total_ns - slept_before
    }

    /// `ns` nanoseconds of being awake after `moment`.
    fn after(&self, moment: Mono, ns: u64) -> Mono {
        moment.plus_ns(ns).plus_ns(self.since_ns(moment))
    }
}

impl Reaper {
    /// When there next is something to look for.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.gone_due.into_iter().chain(self.silence_due).min()
    }
}

/// How many scans there are at most while one flow grows too old. Each flow is closed that part of
/// its time too late at most.
const SCANS_MAX: u64 = 8;

/// The table is asked to do what is due at least once a second while the machine is awake.
const OVERDUE_NS_MAX: u64 = 10_000_000_000;

/// How long it may take after a sleep until the sensor says so.
const WAKE_NS: u64 = 5_000_000_000;

/// A flow to close: which, where it is, why, and when it was over.
type Found = (u64, u32, Outcome, Mono);

impl FlowTable {
    pub(super) fn processes_gone(&mut self, keys: Vec<ProcessKey>, now: Mono) {
        let due = now.plus_ns(self.config.gone_grace_ns);
        for key in keys {
            if self.reaper.gone.len() >= self.config.processes_max.max(1) {
                break;
            }
            self.reaper.gone.entry(key).or_insert(now);
        }
        self.reaper.gone_due = self.reaper.gone_due.or(Some(due));
    }

    /// Those opened earlier are not followed any more, and live on.
    pub(super) fn unwatched(&mut self, before: Mono, now: Mono) {
        let at = before.min(now);
        let found = self.flows.iter().filter(|(_, flow)| flow.at < before);
        let found = found.map(|(slot, flow)| (flow.ordinal, slot, Outcome::Unwatched, at));
        let found = found.collect();
        self.let_go_all(found);
    }

    pub(super) fn swept(&mut self, before: Mono, alive: &[FlowKey], now: Mono) {
        let is_gone = |flow: &Flow| flow.at < before && alive.binary_search(&flow.key).is_err();
        let found = self.flows.iter().filter(|(_, flow)| is_gone(flow));
        let found = found.map(|(slot, flow)| (flow.ordinal, slot, Outcome::Reaped, now));
        let found = found.collect();
        self.let_go_all(found);
    }

    /// Lets go of a sixteenth at once, so that the cost of finding the idlest is shared by many
    /// openings.
    pub(super) fn evict_idlest(&mut self, now: Mono) {
        self.counters.scans += 1;
        let mut idlest: Vec<(Mono, u64, u32)> = Vec::with_capacity(self.flows.len());
        let flows = self.flows.iter();
        idlest.extend(flows.map(|(slot, flow)| (flow.last_seen, flow.ordinal, slot)));
        idlest.sort_unstable();
        idlest.truncate((self.config.flows_max / 16).max(1));
        for (_, _, slot) in idlest {
            self.let_go(slot, Outcome::Evicted, now);
        }
    }

    /// A flow begins, which will have been silent for too long at some time.
    pub(super) fn expect_silence(&mut self, flow: &Flow, now: Mono) {
        if let Some((due, _)) = self.end_of_patience(flow) {
            let due = due.max(self.next_scan(now));
            let earlier = self.reaper.silence_due.map_or(due, |other| other.min(due));
            self.reaper.silence_due = Some(earlier);
        }
    }

    /// The machine slept until `now`: all patience lasts longer by that.
    pub(super) fn slept(&mut self, duration_ns: u64, now: Mono) {
        let duration_ns = duration_ns.min(now.since_ns(self.started.mono));
        self.reaper.sleeps.add(duration_ns, now);
    }

    /// Closes what is due to be given up at `now`. Where that is long overdue the machine may have
    /// slept, and whoever knows is given a moment to say so.
    pub(super) fn reap(&mut self, now: Mono) {
        let dues = [&mut self.reaper.gone_due, &mut self.reaper.silence_due];
        let mut is_put_off = false;
        for due in dues.into_iter().flatten() {
            if now.since_ns(*due) > OVERDUE_NS_MAX && !self.reaper.is_put_off {
                *due = now.plus_ns(WAKE_NS);
                is_put_off = true;
            }
        }
        self.reaper.is_put_off |= is_put_off;
        if self.reaper.gone_due.is_some_and(|due| due <= now) {
            self.reap_gone(now);
        }
        if self.reaper.silence_due.is_some_and(|due| due <= now) {
            self.reap_silent(now);
        }
    }

    /// One look at all flows, for all processes that are gone. Those that still have flows, or may
    /// still be heard of, are looked for again.
    fn reap_gone(&mut self, now: Mono) {
        self.counters.scans += 1;
        self.reaper.is_put_off = false;
        let grace_ns = self.config.gone_grace_ns;
        let gone = std::mem::take(&mut self.reaper.gone);
        let mut found: Vec<Found> = Vec::new();
        let mut heard_of = BTreeSet::new();
        let mut next: Option<Mono> = None;
        let mut look_again = |due: Mono| next = Some(next.map_or(due, |it: Mono| it.min(due)));
        for (slot, flow) in self.flows.iter() {
            let owner = flow.owner.key();
            let Some((key, since)) = owner.and_then(|key| gone.get_key_value(&key)) else {
                continue;
            };
            let silent_since = flow.last_seen.max(*since);
            let due = self.reaper.sleeps.after(silent_since, grace_ns);
            if due <= now {
                found.push((flow.ordinal, slot, Outcome::ProcessGone, silent_since));
            } else {
                heard_of.insert(*key);
                look_again(due);
            }
        }
        let sleeps = &self.reaper.sleeps;
        let is_wanted = |key: &ProcessKey, since: Mono| {
            let due = sleeps.after(since, grace_ns);
            if due > now {
                look_again(due);
            }
            due > now || heard_of.contains(key)
        };
        self.reaper.gone = keep(gone, is_wanted);
        let soonest = now.plus_ns((grace_ns / SCANS_MAX).max(1));
        self.reaper.gone_due = next.map(|due| due.max(soonest));
        self.let_go_all(found);
    }

    fn reap_silent(&mut self, now: Mono) {
        self.counters.scans += 1;
        self.reaper.is_put_off = false;
        let mut found: Vec<Found> = Vec::new();
        let mut next: Option<Mono> = None;
        for (slot, flow) in self.flows.iter() {
            match self.end_of_patience(flow) {
                Some((due, outcome)) if due <= now => {
                    found.push((flow.ordinal, slot, outcome, flow.last_seen));
                }
                Some((due, _)) => next = Some(next.map_or(due, |it| it.min(due))),
                None => {}
            }
        }
        self.reaper.silence_due = next.map(|due| due.max(self.next_scan(now)));
        self.let_go_all(found);
    }

    /// When a flow of which nothing more is heard is given up, and as what.
    fn end_of_patience(&self, flow: &Flow) -> Option<(Mono, Outcome)> {
        let idle_ns = self.config.datagram_idle_ns;
        let idle_ns = (idle_ns > 0 && flow.is_datagrams()).then_some(idle_ns);
        let age_ns = self.config.age_max_ns;
        let age_ns = (age_ns > 0).then_some(age_ns);
        let after = |ns| self.reaper.sleeps.after(flow.last_seen, ns);
        let idle = idle_ns.map(|ns| (after(ns), Outcome::Idle));
        let aged = age_ns.map(|ns| (after(ns), Outcome::AgedOut));
        match (idle, aged) {
            (Some(idle), Some(aged)) if aged.0 < idle.0 => Some(aged),
            (Some(idle), _) => Some(idle),
            (None, aged) => aged,
        }
    }

    /// Before this no look for silent flows is worth it.
    fn next_scan(&self, now: Mono) -> Mono {
        let Config {
            age_max_ns,
            datagram_idle_ns,
            ..
        } = self.config;
        let limits = [age_max_ns, datagram_idle_ns].into_iter();
        let shortest_ns = limits.filter(|ns| *ns > 0).min().unwrap_or(0);
        now.plus_ns((shortest_ns / SCANS_MAX).max(1))
    }

    /// In the order in which they were opened.
    fn let_go_all(&mut self, mut found: Vec<Found>) {
        found.sort_unstable_by_key(|(ordinal, ..)| *ordinal);
        for (_, slot, outcome, at) in found {
            self.let_go(slot, outcome, at);
        }
    }

    /// Stops following a flow whose end was not seen.
    pub(super) fn let_go(&mut self, slot: u32, outcome: Outcome, at: Mono) {
        let Some(flow) = self.flows.at(slot) else {
            return;
        };
        let key = flow.key;
        let totals = flow.totals;
        let is_summed = flow.is_summed;
        let was_counted = flow.before.as_ref().is_some_and(|it| it.is_counted);
        let recorded = self.counters.closes_recorded;
        let tombstone = Tombstone {
            totals,
            is_counted: self.count(outcome, was_counted),
            at,
        };
        if may_be_heard_of(outcome) {
            self.given_up.set(key, tombstone);
        } else if outcome == Outcome::Superseded {
            self.superseded.set(key, tombstone);
        }
        self.bursts.live -= u64::from(is_summed);
        if is_summed && self.counters.closes_recorded > recorded {
            return self.sum_up_unseen(key, outcome, at);
        }
        self.flows.let_go(slot);
        self.outputs.push_back(Pending::LetGo { slot, outcome, at });
    }

    /// An end that was not seen, is in the books, and is told in a sum.
    fn sum_up_unseen(&mut self, key: FlowKey, outcome: Outcome, at: Mono) {
        let Some(mut flow) = self.flows.remove(key) else {
            return;
        };
        flow.totals = flow.totals.cut_off();
        let end = End {
            ending: Ending {
                outcome,
                errno: None,
            },
            at,
            retransmits: None,
        };
        match self.sum_up(flow, end, self.latest) {
            None => self.counters.closes_recorded -= 1,
            Some(flow) => {
                let close = self.close_unseen(*flow, outcome, at);
                self.outputs.extend(close.map(Pending::Connection));
            }
        }
    }

    /// Enters an end that was not seen into the books, and says whether it is one that counts.
    ///
    /// What a sweep finds missing, and what gives way to its successor, was closed by a close that
    /// was lost, which counts as such. What is evicted lives. All else ends here, unless a close
    /// was declared lost for which no flow was found yet: then this is that flow.
    fn count(&mut self, outcome: Outcome, was_counted: bool) -> bool {
        let counters = &mut self.counters;
        let (counter, was_lost, ends_here) = match outcome {
            Outcome::Evicted => (&mut counters.evicted, false, false),
            Outcome::Reaped => (&mut counters.reaped, true, false),
            Outcome::Superseded => (&mut counters.superseded, true, false),
            Outcome::ProcessGone => (&mut counters.process_gone, true, true),
            Outcome::AgedOut => (&mut counters.aged_out, true, true),
            Outcome::Idle => (&mut counters.idle, false, true),
            Outcome::Unwatched => (&mut counters.unwatched, false, true),
            Outcome::Closed
            | Outcome::Reset
            | Outcome::Refused
            | Outcome::TimedOut
            | Outcome::Unreachable
            | Outcome::Aborted
            | Outcome::Failed
            | Outcome::Unknown => return was_counted,
        };
        *counter += 1;
        if was_counted {
            counters.repeated += 1;
            return true;
        }
        if was_lost && self.losses_open > 0 {
            self.losses_open -= 1;
            counters.repeated += 1;
            return true;
        }
        counters.closes_recorded += u64::from(ends_here);
        counters.repeated += u64::from(!ends_here);
        ends_here
    }
}

/// The entries that are wanted.
fn keep(
    gone: BTreeMap<ProcessKey, Mono>,
    mut is_wanted: impl FnMut(&ProcessKey, Mono) -> bool,
) -> BTreeMap<ProcessKey, Mono> {
    let entries = gone.into_iter();
    entries
        .filter(|(key, since)| is_wanted(key, *since))
        .collect()
}

/// Whether a flow that was given up may live, and report.
fn may_be_heard_of(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Evicted
        | Outcome::AgedOut
        | Outcome::Idle
        | Outcome::ProcessGone
        | Outcome::Reaped
        | Outcome::Unwatched => true,
        Outcome::Closed
        | Outcome::Reset
        | Outcome::Refused
        | Outcome::TimedOut
        | Outcome::Unreachable
        | Outcome::Aborted
        | Outcome::Failed
        | Outcome::Superseded
        | Outcome::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Counters, SECOND_NS};
    use super::*;
    use crate::event::{Closed, Event, Opened, Owner, Tuple};
    use record::sample::Random;
    use record::{
        ByteQuality, Connection, IdentitySource, LossCause, LossStage, LostKind, Origin, Protocol,
        Tally, Traffic,
    };

    const SO_FAR: ByteQuality = ByteQuality::SoFar;
    const AT_LEAST: ByteQuality = ByteQuality::AtLeast;

    fn quick(config: Config) -> FlowTable {
        table_with(Config {
            open_delay_ns: 0,
            ledger_interval_ns: 1_000_000 * SECOND_NS,
            ..config
        })
    }

    fn gone(pids: &[u32]) -> Event {
        Event::ProcessesGone {
            keys: pids.iter().map(|pid| process(*pid)).collect(),
        }
    }

    fn open_of(socket: u64, pid: u32, at: u64) -> Event {
        Event::Opened(Opened {
            owner: owner(pid, IdentitySource::AuditToken),
            ..opened(socket, at)
        })
    }

    fn datagrams(socket: u64, at: u64) -> Event {
        Event::Opened(Opened {
            tuple: Tuple {
                protocol: Protocol::Udp,
                ..tuple()
            },
            ..opened(socket, at)
        })
    }

    fn closes(connections: &[Connection]) -> Vec<(u64, Outcome, u64)> {
        let closes = connections.iter().filter_map(|it| {
            let outcome = outcome(it)?;
            Some((it.id.ordinal, outcome, it.at.mono.0))
        });
        closes.collect()
    }

    // facts: close-missing
    #[test]
    fn flows_of_a_process_that_is_gone_are_closed_after_a_grace() {
        let mut table = quick(Config::default());
        table.handle(open_of(1, 7, 2_000), Mono(2_000));
        table.handle(open_of(2, 8, 2_000), Mono(2_000));
        table.handle(updated(1, bytes(3, 4, SO_FAR)), Mono(2_500));
        table.handle(gone(&[7]), Mono(5_000));
        let told = run_until(&mut table, 4_999 + 10 * SECOND_NS);
        assert_eq!(closes(&told), []);
        let told = run_until(&mut table, 5_000 + 10 * SECOND_NS);
        assert_eq!(closes(&told), [(1, Outcome::ProcessGone, 5_000)]);
        assert_eq!(told[0].traffic, bytes(3, 4, AT_LEAST));
        let Counters {
            process_gone, live, ..
        } = table.counters();
        assert_eq!((process_gone, live), (1, 1));
        assert_eq!(table.reaper.next_due(), None, "nothing is looked for");
    }

    // facts: close-missing
    #[test]
    fn a_close_within_the_grace_wins() {
        let mut table = quick(Config::default());
        table.handle(open_of(1, 7, 2_000), Mono(2_000));
        table.handle(gone(&[7]), Mono(5_000));
        table.handle(Event::Closed(closed(1, 6_000)), Mono(6_000));
        let told = run_until(&mut table, 100 * SECOND_NS);
        assert_eq!(closes(&told), [(1, Outcome::Closed, 6_000)]);
        assert_eq!(table.tally().closes_made, 1);
    }

    #[test]
    fn a_flow_that_is_still_heard_of_is_given_the_grace_again() {
        let mut table = quick(Config::default());
        table.handle(open_of(1, 7, 2_000), Mono(2_000));
        table.handle(gone(&[7]), Mono(5_000));
        let heard = 5_000 + 6 * SECOND_NS;
        table.handle(updated(1, bytes(1, 1, SO_FAR)), Mono(heard));
        let told = run_until(&mut table, heard + 10 * SECOND_NS - 1);
        assert_eq!(closes(&told), []);
        let told = run_until(&mut table, heard + 12 * SECOND_NS);
        assert_eq!(closes(&told), [(1, Outcome::ProcessGone, heard)]);
    }

    #[test]
    fn one_look_serves_all_processes_that_went_and_is_not_repeated_at_once() {
        let mut table = quick(Config::default());
        for pid in 1..=50 {
            table.handle(open_of(pid.into(), pid, 2_000), Mono(2_000));
        }
        for pid in 1..=50 {
            let at = 5_000 + u64::from(pid) * SECOND_NS / 20;
            table.handle(gone(&[pid]), Mono(at));
        }
        let told = run_until(&mut table, 30 * SECOND_NS);
        assert_eq!(closes(&told).len(), 50);
        let scans = table.counters().scans;
        assert!(scans <= 4, "{scans} scans for 2.5 s of events");
    }

    // facts: close-missing
    #[test]
    fn what_is_not_heard_of_ages_out_and_what_is_does_not() {
        let age_max_ns = 800 * SECOND_NS;
        let mut table = quick(Config {
            age_max_ns,
            ..Config::default()
        });
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(Event::Opened(opened(2, 2_000)), Mono(2_000));
        let heard = 500 * SECOND_NS;
        table.handle(updated(2, Traffic::default()), Mono(heard));
        let told = run_until(&mut table, 2_000 + age_max_ns);
        assert_eq!(closes(&told), [(1, Outcome::AgedOut, 2_000)]);
        let told = run_until(&mut table, heard + age_max_ns * 9 / 8);
        assert_eq!(closes(&told), [(2, Outcome::AgedOut, heard)]);
        assert_eq!(table.counters().aged_out, 2);
    }

    // facts: udp-idle-and-back
    #[test]
    fn only_datagrams_are_idle() {
        let mut table = quick(Config {
            datagram_idle_ns: 60 * SECOND_NS,
            age_max_ns: 600 * SECOND_NS,
            ..Config::default()
        });
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(datagrams(2, 3_000), Mono(3_000));
        let told = run_until(&mut table, 70 * SECOND_NS);
        assert_eq!(closes(&told), [(2, Outcome::Idle, 3_000)]);
        let told = run_until(&mut table, 700 * SECOND_NS);
        assert_eq!(closes(&told), [(1, Outcome::AgedOut, 2_000)]);
        assert_eq!(table.reaper.next_due(), None);
    }

    #[test]
    fn looking_for_silence_costs_eight_looks_a_lifetime_at_most() {
        let mut table = quick(Config {
            datagram_idle_ns: 80 * SECOND_NS,
            ..Config::default()
        });
        for second in 0..800 {
            let now = 2_000 + second * SECOND_NS;
            table.handle(datagrams(second, now), Mono(now));
            run_until(&mut table, now);
        }
        let Counters { scans, live, .. } = table.counters();
        assert!(scans <= 8 * 10, "{scans} scans");
        assert!(live <= 80 * 9 / 8 + 1, "{live} are live");
    }

    fn evicted_one() -> FlowTable {
        let mut table = quick(Config {
            flows_max: 16,
            ..Config::default()
        });
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(updated(1, bytes(10, 100, SO_FAR)), Mono(2_100));
        for socket in 2..=17 {
            table.handle(Event::Opened(opened(socket, 2_200)), Mono(2_200));
        }
        let told = connections(&mut table);
        assert_eq!(closes(&told), [(1, Outcome::Evicted, 2_200)]);
        table
    }

    fn close_of(socket: u64, traffic: Traffic) -> Event {
        Event::Closed(Closed {
            traffic,
            ..closed(socket, 3_000)
        })
    }

    #[test]
    fn a_close_that_comes_after_the_sweep_tells_what_comes_on_top() {
        let mut table = quick(Config::default());
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(updated(1, bytes(10, 100, SO_FAR)), Mono(2_100));
        let swept = Event::Swept {
            before: Mono(2_500),
            alive: Vec::new(),
        };
        table.handle(swept, Mono(2_600));
        let last = bytes(30, 100, ByteQuality::Exact);
        table.handle(close_of(1, last), Mono(3_000));
        let told = connections(&mut table);
        let whole: Vec<_> = told.iter().filter(|it| outcome(it).is_some()).collect();
        assert_eq!(whole[0].traffic, bytes(10, 100, AT_LEAST));
        assert_eq!(whole[1].traffic, bytes(20, 0, AT_LEAST));
        assert_eq!(table.tally().closes_made, 1);
    }

    #[test]
    fn a_flow_of_a_moment_that_is_still_to_come_grows_old_like_any_other() {
        let mut table = quick(Config {
            age_max_ns: 80 * SECOND_NS,
            ..Config::default()
        });
        table.handle(Event::Opened(opened(1, u64::MAX)), Mono(2_000));
        let told = run_until(&mut table, 100 * SECOND_NS);
        assert_eq!(closes(&told), [(1, Outcome::AgedOut, 2_000)]);
    }

    #[test]
    fn a_late_close_with_nothing_new_is_counted_and_gives_no_record() {
        let mut table = evicted_one();
        let before = table.tally().closes_made;
        let same = bytes(10, 100, ByteQuality::Exact);
        table.handle(close_of(1, same), Mono(3_000));
        assert_eq!(connections(&mut table), []);
        assert_eq!(table.counters().strays, 1);
        assert_eq!(table.tally().closes_made, before + 1, "now it has ended");
    }

    #[test]
    fn a_late_close_with_more_tells_only_what_is_new() {
        let mut table = evicted_one();
        let more = bytes(15, 100, ByteQuality::Exact);
        table.handle(close_of(1, more), Mono(3_000));
        let told = connections(&mut table);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].id.ordinal, 18, "a record of its own");
        assert_eq!(told[0].traffic, bytes(5, 0, AT_LEAST));
        assert_eq!(told[0].origin, Origin::Inferred);
        assert_eq!(table.counters().resumed, 1);
    }

    #[test]
    fn a_flow_that_was_given_up_and_lives_on_counts_no_byte_twice() {
        let mut table = evicted_one();
        table.handle(reported(1, 2_300, bytes(10, 100, SO_FAR)), Mono(2_300));
        assert_eq!(closes(&connections(&mut table)), [], "nothing new");
        table.handle(reported(1, 2_400, bytes(10, 140, SO_FAR)), Mono(2_400));
        table.handle(reported(1, 2_500, bytes(30, 200, SO_FAR)), Mono(2_500));
        table.handle(close_of(1, bytes(30, 210, ByteQuality::Exact)), Mono(3_000));
        let told = connections(&mut table);
        let open = told.iter().find(|it| outcome(it).is_none()).unwrap();
        let close = told.last().unwrap();
        assert_eq!(open.origin, Origin::Inferred);
        assert_eq!(open.id, close.id);
        assert_eq!(close.traffic, bytes(20, 110, AT_LEAST));
    }

    #[test]
    fn a_flow_that_is_given_up_twice_is_told_in_three_parts() {
        let mut table = quick(Config {
            age_max_ns: 80 * SECOND_NS,
            ..Config::default()
        });
        let mut parts = Vec::new();
        let mut now = 2_000;
        for round in 1..=3 {
            let traffic = bytes(round * 10, round * 7, SO_FAR);
            table.handle(reported(1, now, traffic), Mono(now));
            now += 100 * SECOND_NS;
            let told = run_until(&mut table, now);
            parts.extend(told.into_iter().filter(|it| outcome(it).is_some()));
        }
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|it| it.traffic == bytes(10, 7, AT_LEAST)));
        assert_eq!(table.tally().closes_made, 1, "it was one connection");
    }

    #[test]
    fn a_zero_that_nobody_vouches_for_is_nothing_new() {
        let mut table = evicted_one();
        let zero = bytes(0, 0, ByteQuality::ZeroUnverified);
        table.handle(close_of(1, zero), Mono(3_000));
        assert_eq!(connections(&mut table), []);
    }

    #[test]
    fn a_flow_of_which_nothing_was_told_is_told_whole_when_it_closes_late() {
        let mut table = quick(Config {
            age_max_ns: 80 * SECOND_NS,
            ..Config::default()
        });
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        run_until(&mut table, 100 * SECOND_NS);
        let whole = bytes(10, 20, ByteQuality::Exact);
        table.handle(close_of(1, whole), Mono(100 * SECOND_NS));
        let told = connections(&mut table);
        assert_eq!(told[0].traffic, whole);
        assert_eq!(table.tally().closes_made, 1, "it was in the books already");
    }

    #[test]
    fn a_key_that_comes_back_to_life_by_an_open_is_another_flow() {
        let mut table = evicted_one();
        table.handle(Event::Opened(opened(1, 2_300)), Mono(2_300));
        table.handle(close_of(1, bytes(3, 4, ByteQuality::Exact)), Mono(3_000));
        let told = connections(&mut table);
        assert_eq!(
            told.last().unwrap().traffic,
            bytes(3, 4, ByteQuality::Exact)
        );
    }

    #[test]
    fn a_superseded_flow_leaves_no_tombstone() {
        let mut table = quick(Config::default());
        table.handle(Event::Opened(opened(1, 2_000)), Mono(2_000));
        table.handle(updated(1, bytes(10, 10, SO_FAR)), Mono(2_100));
        table.handle(Event::Opened(opened(1, 2_200)), Mono(2_200));
        table.handle(close_of(1, bytes(3, 4, ByteQuality::Exact)), Mono(3_000));
        let told = connections(&mut table);
        let [superseded, last] = [1, 3].map(|index| &told[index]);
        assert_eq!(outcome(superseded), Some(Outcome::Superseded));
        assert_eq!(superseded.traffic, bytes(10, 10, AT_LEAST));
        assert_eq!(last.traffic, bytes(3, 4, ByteQuality::Exact));
    }

    #[test]
    fn what_lived_when_the_sensor_stopped_watching_is_closed_and_what_came_after_is_not() {
        let mut table = quick(Config::default());
        for (socket, at) in [(1, 2_000), (2, 2_500), (3, 3_000)] {
            table.handle(Event::Opened(opened(socket, at)), Mono(at));
        }
        connections(&mut table);
        let unwatched = Event::Unwatched {
            before: Mono(3_000),
        };
        table.handle(unwatched, Mono(3_100));
        let told = connections(&mut table);
        assert_eq!(
            closes(&told),
            [
                (1, Outcome::Unwatched, 3_000),
                (2, Outcome::Unwatched, 3_000)
            ]
        );
        assert_eq!((table.counters().unwatched, table.counters().live), (2, 1));
    }

    #[test]
    fn the_books_balance_whoever_ends_a_flow() {
        let mut table = quick(Config {
            age_max_ns: 80 * SECOND_NS,
            ..Config::default()
        });
        for socket in 1..=6 {
            table.handle(open_of(socket, socket as u32, 2_000), Mono(2_000));
        }
        let lost = Event::Lost {
            stage: LossStage::SensorQueue,
            cause: LossCause::QueueFull,
            what: LostKind::Closes,
            count: Some(1),
        };
        table.handle(lost, Mono(2_100));
        table.handle(Event::Closed(closed(1, 2_200)), Mono(2_200));
        table.handle(gone(&[2, 3]), Mono(2_300));
        run_until(&mut table, 20 * SECOND_NS);
        let expected = Tally {
            closes_made: 3,
            closes_recorded: 2,
            closes_aggregated: 0,
            closes_dropped: 0,
            closes_lost: 1,
            live: 3,
        };
        assert_eq!(table.tally(), expected, "one of the two is the lost one");
        run_until(&mut table, 200 * SECOND_NS);
        let tally = table.tally();
        assert_eq!((tally.closes_made, tally.live), (6, 0));
    }

    const HOURS_NS: u64 = 3_600 * SECOND_NS;

    /// A datagram flow and the table as they are when the machine falls asleep.
    fn falling_asleep() -> FlowTable {
        let mut table = quick(Config {
            datagram_idle_ns: 60 * SECOND_NS,
            age_max_ns: 7 * HOURS_NS,
            ..Config::default()
        });
        table.handle(datagrams(1, 2_000), Mono(2_000));
        table.handle(Event::Opened(opened(2, 2_000)), Mono(2_000));
        table.handle(open_of(3, 7, 2_000), Mono(2_000));
        table.handle(gone(&[7]), Mono(2_500));
        run_until(&mut table, 5 * SECOND_NS);
        table.handle(Event::Sleeping, Mono(5 * SECOND_NS));
        table
    }

    fn woken(duration_ns: u64) -> Event {
        Event::Slept { duration_ns }
    }

    #[test]
    fn a_night_asleep_is_no_silence() {
        let mut table = falling_asleep();
        let woke = 5 * SECOND_NS + 8 * HOURS_NS;
        table.handle(woken(8 * HOURS_NS), Mono(woke));
        assert_eq!(closes(&run_until(&mut table, woke + 4 * SECOND_NS)), []);
        let told = run_until(&mut table, woke + 30 * SECOND_NS);
        let outcomes: Vec<_> = closes(&told).iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(outcomes, [(3, Outcome::ProcessGone)], "ten seconds awake");
        let told = run_until(&mut table, woke + 70 * SECOND_NS);
        assert_eq!(closes(&told), [(1, Outcome::Idle, 2_000)], "a minute awake");
        assert_eq!(table.counters().live, 1, "seven hours are not over");
        let told = run_until(&mut table, woke + 8 * HOURS_NS);
        assert_eq!(closes(&told), [(2, Outcome::AgedOut, 2_000)]);
    }

    #[test]
    fn who_looks_for_silence_before_it_is_said_that_the_machine_slept_waits_a_moment() {
        let mut table = falling_asleep();
        let woke = 5 * SECOND_NS + 8 * HOURS_NS;
        table.handle_timeout(Mono(woke));
        assert_eq!(closes(&connections(&mut table)), []);
        table.handle(woken(8 * HOURS_NS), Mono(woke + SECOND_NS));
        let told = run_until(&mut table, woke + 50 * SECOND_NS);
        assert_eq!(closes(&told).len(), 1, "only that whose process is gone");
        assert_eq!(table.counters().idle, 0);
    }

    #[test]
    fn a_table_that_is_always_asked_late_gives_up_flows_all_the_same() {
        let mut table = falling_asleep();
        for minute in 1..=5 {
            table.handle_timeout(Mono(minute * 120 * SECOND_NS));
        }
        let told = connections(&mut table);
        assert_eq!(
            closes(&told).len(),
            2,
            "the idle one and that without a process"
        );
    }

    #[test]
    fn more_sleeps_than_are_remembered_are_made_up_for_as_far_as_they_are() {
        let mut sleeps = Sleeps::default();
        for number in 1..=2_000 {
            sleeps.add(10, Mono(number * 100));
        }
        assert_eq!(sleeps.since_ns(Mono(200_000)), 0);
        assert_eq!(sleeps.since_ns(Mono(199_999)), 10);
        assert_eq!(sleeps.since_ns(Mono(0)), 10_230);
        assert_eq!(sleeps.after(Mono(199_900), 7), Mono(199_917));
    }

    #[test]
    fn a_responsible_process_that_goes_takes_no_flow_with_it() {
        let mut table = quick(Config::default());
        let on_behalf = Owner {
            responsible: Some(process(5)),
            ..owner(9, IdentitySource::AuditToken).unwrap()
        };
        let open = Opened {
            owner: Some(on_behalf),
            ..opened(1, 2_000)
        };
        table.handle(Event::Opened(open), Mono(2_000));
        table.handle(gone(&[5]), Mono(3_000));
        let told = run_until(&mut table, 100 * SECOND_NS);
        assert_eq!(closes(&told), []);
    }

    /// A flow as the system might tell of it: late, twice, in the wrong order, and not at all.
    struct Teller {
        random: Random,
        now: u64,
        /// The highest total that was told of each flow, by its number.
        highest: [u64; Teller::FLOWS as usize],
    }

    impl Teller {
        const FLOWS: u64 = 25;

        fn tell(&mut self) -> Event {
            let number = self.random.below(Teller::FLOWS);
            self.now += self.random.size(35);
            let at = self.now;
            let carried = self.random.size(12);
            let flow = Opened {
                tuple: Teller::tuple(number),
                ..opened(number, at)
            };
            match self.random.below(12) {
                0 => Event::Opened(Opened {
                    // An open that is told late was seen before whatever was told earlier.
                    at: Mono(2_000),
                    origin: Origin::Inferred,
                    ..flow
                }),
                1 => gone(&[9]),
                2 => Event::Unwatched { before: Mono(at) },
                3 => Event::Closed(Closed {
                    tuple: flow.tuple,
                    traffic: self.traffic(number, carried, ByteQuality::Exact),
                    ..closed(number, at)
                }),
                4 => Event::Closed(Closed {
                    tuple: flow.tuple,
                    traffic: bytes(0, 0, ByteQuality::ZeroUnverified),
                    ..closed(number, at)
                }),
                _ => Event::Updated {
                    key: key(number),
                    traffic: self.traffic(number, carried, SO_FAR),
                    flow: Some(Opened {
                        origin: Origin::Inferred,
                        ..flow
                    }),
                },
            }
        }

        /// Which flow it is stands in the port.
        fn tuple(number: u64) -> Tuple {
            let mut tuple = tuple();
            tuple.remote.port = Some(number as u16);
            tuple
        }

        fn traffic(&mut self, number: u64, carried: u64, quality: ByteQuality) -> Traffic {
            let highest = &mut self.highest[number as usize];
            let total = if self.random.one_in(4) {
                highest.saturating_sub(carried)
            } else {
                *highest + carried
            };
            *highest = total.max(*highest);
            bytes(total, 0, quality)
        }
    }

    /// A close with an exact count tells of a flow that ended; if its key is told of once more, by
    /// a close, that is another flow. So each flow here closes by itself at most once.
    fn is_told_once(event: &Event, closed: &mut BTreeSet<u64>) -> bool {
        let Event::Closed(close) = event else {
            return true;
        };
        closed.insert(close.key.socket)
    }

    // facts: statistics-cumulative, late-report-lower/b, report-before-open/b, close-missing
    #[test]
    fn whatever_is_told_in_whatever_order_every_byte_is_told_once() {
        for seed in 0..200 {
            let mut table = quick(Config {
                flows_max: 256,
                age_max_ns: 60 * SECOND_NS,
                ..Config::default()
            });
            let mut teller = Teller {
                random: Random::new(seed),
                now: 2_000,
                highest: [0; Teller::FLOWS as usize],
            };
            let mut told = Vec::new();
            let mut closed = BTreeSet::new();
            for _ in 0..300 {
                let before = teller.highest;
                let event = teller.tell();
                if !is_told_once(&event, &mut closed) {
                    teller.highest = before;
                    continue;
                }
                table.handle(event, Mono(teller.now));
                told.extend(run_until(&mut table, teller.now));
            }
            told.extend(run_until(&mut table, teller.now + 200 * SECOND_NS));
            let mut sums = [0; Teller::FLOWS as usize];
            for close in told.iter().filter(|it| outcome(it).is_some()) {
                let number = close.remote.port.unwrap() as usize;
                sums[number] += close.traffic.bytes_out.unwrap_or(0);
            }
            assert_eq!(sums, teller.highest, "seed {seed}");
            let Tally {
                closes_made,
                closes_recorded,
                closes_lost,
                live,
                ..
            } = table.tally();
            assert_eq!((closes_made, closes_lost, live), (closes_recorded, 0, 0));
        }
    }

    // facts: udp-explosion, memory-limit/a, memory-limit/b
    #[test]
    fn flows_that_never_end_leave_a_table_of_bounded_size() {
        let mut table = quick(Config {
            flows_max: 400,
            processes_max: 100,
            identity_wait_ns: 2 * SECOND_NS,
            age_max_ns: 60 * SECOND_NS,
            ..Config::default()
        });
        for socket in 0..20_000 {
            let now = 2_000 + socket * SECOND_NS / 1_000;
            table.handle(open_of(socket, socket as u32, now), Mono(now));
            if now >= table.poll_timeout().0 {
                table.handle_timeout(Mono(now));
            }
            while table.poll_output().is_some() {}
        }
        let counters = table.counters();
        assert!(counters.live <= 400 && counters.waiting <= 50);
        assert!(table.untold.len() <= 401 && table.outputs.is_empty());
        assert_eq!(counters.live + counters.evicted, 20_000);
    }
}
