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
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since boot, sleep included.
pub fn mono() -> Mono {
    platform::mono()
}

/// Both clocks, read one right after the other.
pub fn stamp() -> Stamp {
    Stamp {
        wall: wall(),
        mono: mono(),
    }
}

/// Nanoseconds since 1970. Read through the C library, where a tester's clock can stand in for it.
pub fn wall() -> Wall {
    let ns = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()),
        Err(before) => i64::try_from(before.duration().as_nanos()).map(|ns| -ns),
    };
    Wall(ns.unwrap_or(i64::MAX))
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
