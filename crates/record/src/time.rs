//! Time as plain numbers: monotonic for arithmetic, wall for reading.

/// Nanoseconds since boot on a clock that keeps counting through sleep
/// (`CLOCK_BOOTTIME`, `mach_continuous_time`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The nanoseconds from `earlier` to `self`; zero when `earlier` is later.
    pub fn since_ns(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `ns` nanoseconds after `self`; stops at the end of the range.
    pub fn plus_ns(self, ns: u64) -> Mono {
        Mono(self.0.saturating_add(ns))
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z, as the machine believed at that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// Milliseconds since 1970, rounded towards the past, as OCSF carries time.
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// For reading.
    pub wall: Wall,
    /// For arithmetic.
    pub mono: Mono,
}

impl Stamp {
    /// The wall time of another monotonic moment, as seen from this stamp.
    ///
    /// Exact unless the wall clock was stepped between the two; a step is a notice of its own.
    pub fn wall_at(self, mono: Mono) -> Wall {
        let delta_ns = i128::from(mono.0) - i128::from(self.mono.0);
        let wall_ns = i128::from(self.wall.0) + delta_ns;
        Wall(wall_ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_follows_mono_in_both_directions() {
        let stamp = Stamp {
            wall: Wall(1_000),
            mono: Mono(500),
        };
        assert_eq!(stamp.wall_at(Mono(700)), Wall(1_200));
        assert_eq!(stamp.wall_at(Mono(100)), Wall(600));
    }

    #[test]
    fn milliseconds_round_towards_the_past() {
        assert_eq!(Wall(1_999_999).as_millis(), 1);
        assert_eq!(Wall(-1).as_millis(), -1);
    }
}
