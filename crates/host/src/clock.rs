//! The two clocks of a record.

use record::{Mono, Stamp, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since boot, sleep included.
pub fn mono() -> Mono {
    Mono(nanoseconds(clock_gettime(ClockId::Boottime)).max(0) as u64)
}

/// Both clocks, read one right after the other.
pub fn stamp() -> Stamp {
    let wall = Wall(nanoseconds(clock_gettime(ClockId::Realtime)));
    Stamp { wall, mono: mono() }
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let first = stamp();
        let second = stamp();
        assert!(second.mono >= first.mono);
        assert!(
            first.wall.0 > 1_700_000_000_000_000_000,
            "the wall clock is set"
        );
    }
}
