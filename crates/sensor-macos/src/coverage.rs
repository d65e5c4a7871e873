//! The system's own count of TCP connections beside ours.
//!
//! The kernel counts all of the machine, and so what the filter by design does not see. How much
//! that usually is, each machine has to teach us: only what goes beyond it may have been missed.
//! What is missed all the time from the first minute on is taken for usual, too; then the two
//! counts, which are told in any case, are far apart.

use crate::sys::layout::TcpStatistics;
use crate::sys::sysctl;
use flow::Event;
use record::{Mono, TcpCounts};
use std::collections::VecDeque;

/// Reads the kernel's counters now and then.
pub(crate) struct Meter {
    due: Mono,
    /// The last reading, and when it was.
    last: Option<(TcpStatistics, Mono)>,
    outbound: Baseline,
    inbound: Baseline,
}

impl Meter {
    /// A meter that has not learnt anything yet. What it reads first is counted from now on.
    pub(crate) fn new() -> Meter {
        Meter {
            due: Mono::default(),
            last: None,
            outbound: Baseline::default(),
            inbound: Baseline::default(),
        }
    }

    /// It is time to read.
    pub(crate) fn due(&self, now: Mono) -> bool {
        now >= self.due
    }

    /// Reads the counters. `recorded` is what the sensor told of since the last reading.
    pub(crate) fn read(&mut self, now: Mono, recorded: TcpCounts) -> Event {
        let reading = sysctl::tcp_statistics();
        self.due = now.plus_ns(match reading {
            Ok(_) => INTERVAL_NS,
            Err(_) => UNAVAILABLE_INTERVAL_NS,
        });
        let last = std::mem::replace(&mut self.last, reading.clone().ok().map(|it| (it, now)));
        let system = reading.and_then(|reading| counted(&reading, last));
        let missed_estimate = match (&system, last) {
            (Ok(system), Some((_, read))) if now.since_ns(read) < REGULAR_NS_MAX => {
                self.missed(system, &recorded)
            }
            (Ok(_) | Err(_), _) => None,
        };
        Event::CoverageRead {
            system,
            recorded,
            missed_estimate,
            unseen: UNSEEN.map(str::to_owned).to_vec(),
        }
    }

    fn missed(&mut self, system: &TcpCounts, recorded: &TcpCounts) -> Option<u64> {
        let outbound = self.outbound.judge(system.outbound, recorded.outbound);
        let inbound = self.inbound.judge(system.inbound, recorded.inbound);
        Some(outbound? + inbound?)
    }
}

fn counted(
    reading: &TcpStatistics,
    last: Option<(TcpStatistics, Mono)>,
) -> Result<TcpCounts, String> {
    let Some((last, _)) = last else {
        return Ok(TcpCounts::default());
    };
    let difference = |now: u32, before: u32| {
        let backwards = "the kernel's TCP counters went backwards";
        now.checked_sub(before)
            .map(u64::from)
            .ok_or_else(|| backwards.to_owned())
    };
    Ok(TcpCounts {
        outbound: difference(reading.attempts, last.attempts)?,
        inbound: difference(reading.accepts, last.accepts)?,
    })
}

/// By how much the kernel's count and ours usually differ in one interval.
#[derive(Default)]
struct Baseline {
    differences: VecDeque<i64>,
}

impl Baseline {
    /// How much of a difference is unusual; `None` while that is not known yet. What is usual is
    /// learnt from.
    fn judge(&mut self, system: u64, recorded: u64) -> Option<u64> {
        let difference = system.cast_signed().saturating_sub(recorded.cast_signed());
        let is_learning = self.differences.len() < LEARNT_MIN;
        let excess = difference as f64 - self.mean();
        if !is_learning && excess > (3.0 * self.deviation()).max(EXCESS_MIN) {
            return Some(excess.round() as u64);
        }
        self.differences.push_back(difference);
        if self.differences.len() > LEARNT_MAX {
            self.differences.pop_front();
        }
        (!is_learning).then_some(0)
    }

    fn mean(&self) -> f64 {
        let sum: f64 = self.differences.iter().map(|it| *it as f64).sum();
        sum / self.differences.len().max(1) as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self
            .differences
            .iter()
            .map(|it| (*it as f64 - mean).powi(2))
            .sum();
        (squares / self.differences.len().max(1) as f64).sqrt()
    }
}

/// What the kernel counts and the filter is not asked about.
const UNSEEN: [&str; 2] = [
    "connections of this machine with itself, unless they are asked for",
    "the parts of multipath TCP connections",
];

/// Between two readings, in nanoseconds.
const INTERVAL_NS: u64 = 60_000_000_000;

/// The same where there is nothing to read, in nanoseconds.
const UNAVAILABLE_INTERVAL_NS: u64 = 3_600_000_000_000;

/// A longer interval, in nanoseconds, as over a sleep, is not compared with others.
const REGULAR_NS_MAX: u64 = 3 * INTERVAL_NS;

/// Intervals without which nothing is known of what is usual, and intervals that are remembered.
const LEARNT_MIN: usize = 16;
const LEARNT_MAX: usize = 64;

/// Connections that are under way while both counts are read make small differences.
const EXCESS_MIN: f64 = 10.0;

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use darwin_double::machine;

    const MINUTE_NS: u64 = INTERVAL_NS;

    /// A meter that is read every minute.
    struct Minutes {
        meter: Meter,
        now: Mono,
    }

    #[derive(Debug, PartialEq)]
    struct Reading {
        system: Result<TcpCounts, String>,
        missed: Option<u64>,
    }

    impl Minutes {
        fn begin() -> Minutes {
            machine::tcp(|tcp| (tcp.size, tcp.attempts, tcp.accepts) = (992, 1_000, 500));
            let mut minutes = Minutes {
                meter: Meter::new(),
                now: Mono(5_000),
            };
            assert_eq!(minutes.read(counts(0, 0)).system, Ok(counts(0, 0)));
            minutes
        }

        fn read(&mut self, recorded: TcpCounts) -> Reading {
            assert!(self.meter.due(self.now));
            let event = self.meter.read(self.now, recorded);
            self.now = self.now.plus_ns(MINUTE_NS);
            let Event::CoverageRead {
                system,
                recorded: told,
                missed_estimate,
                unseen,
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!(told, recorded);
            assert_eq!(unseen.len(), 2);
            Reading {
                system,
                missed: missed_estimate,
            }
        }

        /// A minute in which the kernel counts so many and we record so many, both ways alike.
        fn pass(&mut self, system: u32, recorded: u64) -> Reading {
            machine::tcp(|tcp| {
                tcp.attempts += system;
                tcp.accepts += system;
            });
            self.read(counts(recorded, recorded))
        }

        /// Until it is known that twenty to thirty connections a minute are not seen.
        fn learn(&mut self) {
            for minute in 0..LEARNT_MIN as u64 {
                let seen = 100 + minute;
                let unseen = 20 + 10 * (minute % 2);
                let reading = self.pass((seen + unseen) as u32, seen);
                assert_eq!(reading.missed, None, "it is still learning");
            }
        }
    }

    fn counts(outbound: u64, inbound: u64) -> TcpCounts {
        TcpCounts { outbound, inbound }
    }

    // facts: tcp-meter
    #[test]
    fn both_counts_are_told_for_each_interval() {
        let _machine = machine::lock();
        let mut minutes = Minutes::begin();
        machine::tcp(|tcp| (tcp.attempts, tcp.accepts) = (1_012, 503));
        assert_eq!(minutes.read(counts(11, 3)).system, Ok(counts(12, 3)));
        assert_eq!(minutes.read(counts(0, 0)).system, Ok(counts(0, 0)));
    }

    #[test]
    fn it_is_read_once_a_minute() {
        let _machine = machine::lock();
        machine::tcp(|tcp| (tcp.size, tcp.attempts) = (992, 1));
        let mut meter = Meter::new();
        assert!(meter.due(Mono(0)));
        meter.read(Mono(0), counts(0, 0));
        assert!(!meter.due(Mono(MINUTE_NS - 1)));
        assert!(meter.due(Mono(MINUTE_NS)));
    }

    // facts: tcp-meter, loopback-not-delivered, mptcp-subflows-skipped
    #[test]
    fn only_what_goes_beyond_the_usual_may_have_been_missed() {
        let _machine = machine::lock();
        let mut minutes = Minutes::begin();
        minutes.learn();
        assert_eq!(minutes.pass(130, 100).missed, Some(0));
        assert_eq!(
            minutes.pass(139, 100).missed,
            Some(0),
            "three deviations are fifteen"
        );
        let missed = minutes.pass(525, 0).missed;
        assert_eq!(
            missed,
            Some(2 * 499),
            "twenty-six each way are usual by now"
        );
        assert_eq!(
            minutes.pass(525, 0).missed,
            missed,
            "what is unusual teaches nothing"
        );
        assert_eq!(
            minutes.pass(100, 200).missed,
            Some(0),
            "more was recorded than counted"
        );
    }

    #[test]
    fn small_differences_are_never_missed_connections() {
        let _machine = machine::lock();
        let mut minutes = Minutes::begin();
        for _ in 0..LEARNT_MIN {
            minutes.pass(100, 100);
        }
        assert_eq!(minutes.pass(110, 100).missed, Some(0));
        assert_eq!(minutes.pass(200, 100).missed, Some(200 - 2 * 10 / 17 - 1));
    }

    #[test]
    fn what_is_usual_may_change_slowly() {
        let mut baseline = Baseline::default();
        for minute in 0..1_000 {
            let judged = baseline.judge(100 + minute / 10, 100);
            assert_eq!(judged, (minute >= LEARNT_MIN as u64).then_some(0));
            assert!(baseline.differences.len() <= LEARNT_MAX);
        }
    }

    // facts: tcp-meter
    #[test]
    fn an_unknown_size_or_withheld_counters_make_the_meter_unavailable() {
        let _machine = machine::lock();
        machine::tcp(|tcp| tcp.size = 1_024);
        let mut meter = Meter::new();
        let reason = |event: Event| {
            let Event::CoverageRead {
                system: Err(reason),
                missed_estimate: None,
                ..
            } = event
            else {
                panic!("{event:?}");
            };
            reason
        };
        let told = reason(meter.read(Mono(0), counts(3, 4)));
        assert!(told.contains("1024 bytes"), "{told}");
        assert!(!meter.due(Mono(MINUTE_NS)), "it is not told every minute");
        assert!(meter.due(Mono(60 * MINUTE_NS)));
        machine::tcp(|tcp| tcp.size = 992);
        machine::set_root(false);
        assert!(reason(meter.read(Mono(0), counts(0, 0))).contains("root only"));
        machine::on("sysctlbyname").fail(2);
        assert!(reason(meter.read(Mono(0), counts(0, 0))).contains("cannot be read"));
    }

    #[test]
    fn counters_that_go_backwards_say_nothing_of_that_interval() {
        let _machine = machine::lock();
        let mut minutes = Minutes::begin();
        minutes.learn();
        machine::tcp(|tcp| tcp.attempts = 5);
        let reading = minutes.read(counts(3, 4));
        assert!(reading.system.unwrap_err().contains("backwards"));
        assert_eq!(reading.missed, None);
        assert_eq!(
            minutes.pass(125, 100).missed,
            Some(0),
            "the next interval counts again"
        );
    }

    // facts: sleep-in-mid-flow
    #[test]
    fn an_interval_with_a_sleep_in_it_is_not_compared() {
        let _machine = machine::lock();
        let mut minutes = Minutes::begin();
        minutes.learn();
        minutes.now = minutes.now.plus_ns(8 * 60 * MINUTE_NS);
        let reading = minutes.pass(10_000, 0);
        assert_eq!(reading.system, Ok(counts(10_000, 10_000)));
        assert_eq!(reading.missed, None);
    }
}
