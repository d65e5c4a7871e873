//! What the kernel program made and what it had to drop: every full ring and map is told.

use super::Attached;
use crate::SensorError;
use crate::sys::abi::{self, CounterBytes};
use crate::sys::bpf::skipped_runs;
use flow::Event;
use record::{LossCause, LossStage, LostKind, Mono};
use std::io;
use std::os::fd::AsFd;

/// The kernel program's counters since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Openings.
    pub opened: MadeAndDropped,
    /// Closes.
    pub closed: MadeAndDropped,
    /// Introductions of processes.
    pub processes: MadeAndDropped,
    /// Corrections of owners.
    pub attributed: MadeAndDropped,
    /// Ends of sockets with unconnected peers.
    pub released: MadeAndDropped,
    /// Totals of flows that live on.
    pub updates: u64,
    /// Totals that were not told at their time, because the ring was half full. The next ones
    /// have them, so nothing is lost.
    pub updates_put_off: u64,
    /// Flows that opened without a known owner.
    pub owner_missing: u64,
    /// How often the kernel left the TCP program out because it was under way on the same CPU.
    pub skipped_runs: u64,
}

/// How many messages of one kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MadeAndDropped {
    /// All of them.
    pub made: u64,
    /// Those for which the ring had no room. The others were delivered.
    pub dropped: u64,
}

/// Remembers what was told already.
#[derive(Debug, Default)]
pub(super) struct Books {
    told: CounterBytes,
    told_skipped_runs: u64,
    read_at: Mono,
}

/// What must be done about losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    /// Ends were lost: find out what still exists.
    pub(super) sweep: bool,
    /// Openings were lost: find the peers of unconnected sockets that nobody knows of.
    pub(super) find_peers: bool,
}

impl Books {
    /// Whether the counters were not read for a while.
    pub(super) fn are_due(&self, now: Mono) -> bool {
        now.since_ns(self.read_at) >= INTERVAL_NS
    }

    /// Reads the counters, tells what was lost since the last time, and says what to do about it.
    pub(super) fn settle(
        &mut self,
        attached: &Attached,
        now: Mono,
        events: &mut Vec<Event>,
    ) -> Result<Repairs, SensorError> {
        let total = read_counters(attached)?;
        let skipped = skipped_runs(attached.tcp_program.as_fd()).unwrap_or(self.told_skipped_runs);
        let repairs = tell_losses(&self.told, &total, skipped - self.told_skipped_runs, events);
        self.told = total;
        self.told_skipped_runs = skipped;
        self.read_at = now;
        Ok(repairs)
    }
}

/// All counters as they stand.
pub(super) fn counters(attached: &Attached) -> Result<Counters, SensorError> {
    let total = read_counters(attached)?;
    let of = |kind: u8| MadeAndDropped {
        made: total.made[usize::from(kind)],
        dropped: total.dropped[usize::from(kind)],
    };
    Ok(Counters {
        opened: of(abi::EVENT_OPENED),
        closed: of(abi::EVENT_CLOSED),
        processes: of(abi::EVENT_PROCESS),
        attributed: of(abi::EVENT_ATTRIBUTED),
        released: of(abi::EVENT_RELEASED),
        updates: of(abi::EVENT_UPDATED).made,
        updates_put_off: total.updates_put_off,
        owner_missing: total.owner_missing,
        skipped_runs: skipped_runs(attached.tcp_program.as_fd()).unwrap_or(0),
    })
}

/// The sum over all CPUs.
fn read_counters(attached: &Attached) -> Result<CounterBytes, SensorError> {
    let per_cpu = attached
        .counters
        .get(&0, 0)
        .map_err(|error| SensorError::System {
            step: "read the kernel program's counters".to_owned(),
            source: io::Error::other(error),
        })?;
    let mut total = CounterBytes::default();
    for one in per_cpu.iter() {
        add(&mut total, one);
    }
    Ok(total)
}

fn add(total: &mut CounterBytes, one: &CounterBytes) {
    for kind in 0..abi::EVENT_KINDS {
        total.made[kind] += one.made[kind];
        total.dropped[kind] += one.dropped[kind];
    }
    total.tcp_storage_failed += one.tcp_storage_failed;
    total.udp_storage_failed += one.udp_storage_failed;
    total.flows_full += one.flows_full;
    total.flows_failed += one.flows_failed;
    total.scratch_busy += one.scratch_busy;
    total.owner_missing += one.owner_missing;
    total.updates_put_off += one.updates_put_off;
}

fn tell_losses(
    told: &CounterBytes,
    total: &CounterBytes,
    skipped: u64,
    events: &mut Vec<Event>,
) -> Repairs {
    let mut lost = Losses { events };
    let dropped = |kind: u8| total.dropped[usize::from(kind)] - told.dropped[usize::from(kind)];
    let full = LossCause::RingFull;
    let closes = lost.exactly(full, LostKind::Closes, dropped(abi::EVENT_CLOSED));
    let opens = lost.exactly(full, LostKind::Opens, dropped(abi::EVENT_OPENED));
    lost.exactly(full, LostKind::Processes, dropped(abi::EVENT_PROCESS));
    lost.exactly(full, LostKind::Attributions, dropped(abi::EVENT_ATTRIBUTED));
    // The flows of a released socket are found by the sweep, so what is lost is their last moment.
    let releases = lost.exactly(full, LostKind::Events, dropped(abi::EVENT_RELEASED));
    tell_full_maps(told, total, &mut lost);
    // Each run left out was a step of some connection; most steps carry nothing.
    let skips = lost.some(LossCause::ProgramBusy, LostKind::Events, skipped);
    Repairs {
        sweep: closes || releases || skips,
        find_peers: opens,
    }
}

fn tell_full_maps(told: &CounterBytes, total: &CounterBytes, lost: &mut Losses<'_>) {
    let failed = LossCause::StorageFailed;
    // A connection without state is recorded when it ends, but nobody knows whose it was.
    let tcp = total.tcp_storage_failed - told.tcp_storage_failed;
    lost.exactly(failed, LostKind::Attributions, tcp);
    // These three count datagrams; how many flows they were is not known.
    let udp = total.udp_storage_failed - told.udp_storage_failed;
    lost.some(failed, LostKind::Connections, udp);
    lost.some(
        failed,
        LostKind::Connections,
        total.flows_failed - told.flows_failed,
    );
    lost.some(
        LossCause::MapFull,
        LostKind::Connections,
        total.flows_full - told.flows_full,
    );
    let scratch = total.scratch_busy - told.scratch_busy;
    lost.exactly(LossCause::ProgramBusy, LostKind::Processes, scratch);
}

/// Tells losses; what was not lost is not told.
struct Losses<'a> {
    events: &'a mut Vec<Event>,
}

impl Losses<'_> {
    /// So many were lost. Whether any was.
    fn exactly(&mut self, cause: LossCause, what: LostKind, lost: u64) -> bool {
        self.tell(cause, what, lost, Some(lost))
    }

    /// Signs of a loss that do not say how much was lost. Whether there was any.
    fn some(&mut self, cause: LossCause, what: LostKind, signs: u64) -> bool {
        self.tell(cause, what, signs, None)
    }

    fn tell(&mut self, cause: LossCause, what: LostKind, signs: u64, count: Option<u64>) -> bool {
        if signs > 0 {
            self.events.push(Event::Lost {
                stage: LossStage::Kernel,
                cause,
                what,
                count,
            });
        }
        signs > 0
    }
}

const INTERVAL_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_lost_since_the_last_time_is_told() {
        let mut told = CounterBytes::default();
        told.dropped[usize::from(abi::EVENT_CLOSED)] = 5;
        let mut total = told;
        let mut events = Vec::new();
        assert_eq!(
            tell_losses(&told, &total, 0, &mut events),
            Repairs::default()
        );
        assert!(events.is_empty());

        total.dropped[usize::from(abi::EVENT_CLOSED)] = 12;
        total.dropped[usize::from(abi::EVENT_OPENED)] = 1;
        total.flows_full = 9;
        let repairs = tell_losses(&told, &total, 0, &mut events);
        assert_eq!(
            repairs,
            Repairs {
                sweep: true,
                find_peers: true
            }
        );
        let lost = |cause, what, count| Event::Lost {
            stage: LossStage::Kernel,
            cause,
            what,
            count,
        };
        let expected = [
            lost(LossCause::RingFull, LostKind::Closes, Some(7)),
            lost(LossCause::RingFull, LostKind::Opens, Some(1)),
            lost(LossCause::MapFull, LostKind::Connections, None),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn the_counters_of_all_cpus_are_added_up() {
        let mut one = CounterBytes {
            owner_missing: 2,
            ..CounterBytes::default()
        };
        one.made[2] = 3;
        let mut total = one;
        add(&mut total, &one);
        assert_eq!((total.made[2], total.owner_missing), (6, 4));
    }
}
