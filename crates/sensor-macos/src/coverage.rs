//! The system's own count of TCP connections beside ours.
//!
//! The kernel counts all of the machine, and so what the filter by design does not see; how much
//! that usually is, [`flow::coverage`] learns.

use crate::sys::layout::TcpStatistics;
use crate::sys::sysctl;
use flow::Event;
use flow::coverage::Usual;
use record::{Mono, TcpCounts};

/// Reads the kernel's counters now and then.
pub(crate) struct Meter {
    due: Mono,
    /// The last reading, and when it was.
    last: Option<(TcpStatistics, Mono)>,
    usual: Usual,
}

impl Meter {
    /// A meter that has not learnt anything yet. What it reads first is counted from now on.
    pub(crate) fn new() -> Meter {
        Meter {
            due: Mono::default(),
            last: None,
            usual: Usual::default(),
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
                self.usual.missed(system, &recorded)
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

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use darwin_double::machine;
    use flow::coverage::LEARNT_MIN;

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
