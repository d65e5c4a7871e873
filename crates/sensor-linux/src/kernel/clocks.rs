//! The clocks of the machine: what they say, when they jump, when they stood still.

use flow::Event;
use record::{Mono, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Watches the clocks between two polls.
#[derive(Debug)]
pub(super) struct Clocks {
    read_at: Mono,
    /// Wall clock minus `CLOCK_BOOTTIME`, in nanoseconds, as last reported.
    offset_ns: i64,
    /// How long the machine has slept since it was booted, in nanoseconds.
    slept_ns: u64,
}

impl Clocks {
    /// Reads the clocks for the first time, and says what they show.
    pub(super) fn start(events: &mut Vec<Event>) -> Clocks {
        let now = now();
        let offset_ns = wall_offset_ns();
        events.push(clock_read(now, offset_ns));
        Clocks {
            read_at: now,
            offset_ns,
            slept_ns: slept_ns(),
        }
    }

    /// Says what the clocks show when it is time or when the wall clock was set, and whether the
    /// machine slept.
    pub(super) fn check(&mut self, events: &mut Vec<Event>) -> Mono {
        let now = now();
        let slept_ns = slept_ns();
        let nap_ns = slept_ns.saturating_sub(self.slept_ns);
        if nap_ns > NAP_MIN_NS {
            events.push(Event::Slept {
                duration_ns: nap_ns,
            });
            self.slept_ns = slept_ns;
        }
        let offset_ns = wall_offset_ns();
        let is_due = now.since_ns(self.read_at) >= INTERVAL_NS;
        if is_due || offset_ns.abs_diff(self.offset_ns) > STEP_MIN_NS {
            events.push(clock_read(now, offset_ns));
            self.read_at = now;
            self.offset_ns = offset_ns;
        }
        now
    }
}

/// Nanoseconds since boot, sleep included: the clock of the kernel program.
pub(super) fn now() -> Mono {
    Mono(nanoseconds(clock_gettime(ClockId::Boottime)) as u64)
}

fn clock_read(mono: Mono, offset_ns: i64) -> Event {
    Event::ClockRead {
        mono,
        wall: Wall(mono.0 as i64 + offset_ns),
    }
}

/// The wall clock is read between two readings of the other, so that a pause in between is halved.
fn wall_offset_ns() -> i64 {
    let before = nanoseconds(clock_gettime(ClockId::Boottime));
    let wall = nanoseconds(clock_gettime(ClockId::Realtime));
    let after = nanoseconds(clock_gettime(ClockId::Boottime));
    wall - (before + (after - before) / 2)
}

/// `CLOCK_MONOTONIC` stands still while the machine sleeps, see clock_gettime(2).
fn slept_ns() -> u64 {
    let awake = nanoseconds(clock_gettime(ClockId::Monotonic));
    let total = nanoseconds(clock_gettime(ClockId::Boottime));
    u64::try_from(total - awake).unwrap_or(0)
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

const INTERVAL_NS: u64 = 1_000_000_000;
const STEP_MIN_NS: u64 = 1_000_000;
const NAP_MIN_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_reported_at_once_and_then_when_due() {
        let mut events = Vec::new();
        let mut clocks = Clocks::start(&mut events);
        clocks.check(&mut events);
        assert_eq!(events.len(), 1);
        clocks.read_at = Mono(0);
        clocks.check(&mut events);
        assert!(matches!(events[1], Event::ClockRead { .. }));
    }

    #[test]
    fn a_nap_and_a_step_are_told() {
        let mut events = Vec::new();
        let mut clocks = Clocks::start(&mut events);
        clocks.slept_ns = 0;
        clocks.offset_ns += 2_000_000;
        clocks.check(&mut events);
        assert!(matches!(events.last(), Some(Event::ClockRead { .. })));
        if slept_ns() > NAP_MIN_NS {
            assert!(
                events
                    .iter()
                    .any(|event| matches!(event, Event::Slept { .. }))
            );
        }
    }
}
