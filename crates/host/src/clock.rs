//! The two clocks of a record.

#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;

#[cfg(not(target_os = "macos"))]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use record::{Mono, Stamp, Wall};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, sleep included.
pub fn mono() -> Mono {
    platform::mono()
}

/// Both clocks, read one right after the other.
pub fn stamp() -> Stamp {
    let time = clock_gettime(ClockId::Realtime);
    let seconds_ns = time.tv_sec.saturating_mul(1_000_000_000);
    let wall = Wall(seconds_ns.saturating_add(time.tv_nsec));
    Stamp { wall, mono: mono() }
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

    // facts: rule-11-continuous-clock
    #[test]
    fn both_systems_clocks_count_nanoseconds_and_go_on() {
        for mono in [linux::mono as fn() -> Mono, macos::mono] {
            let before = mono();
            std::thread::sleep(std::time::Duration::from_millis(2));
            let passed_ns = mono().0 - before.0;
            assert!((1_000_000..60_000_000_000).contains(&passed_ns));
        }
    }
}
