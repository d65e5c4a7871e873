//! How long to leave a destination alone that failed.

use record::Mono;
use std::time::Duration;

/// Waits twice as long after each failure, up to a bound, and less by chance, so that a fleet does
/// not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    min_ns: u64,
    max_ns: u64,
    failures: u32,
    until: Mono,
    random: u64,
}

/// A destination may ask for no more patience than this.
const AFTER_MAX_NS: u64 = 24 * 3_600_000_000_000;

impl Backoff {
    pub(crate) fn new(min_ns: u64, max_ns: u64, seed: u64) -> Backoff {
        Backoff {
            min_ns: min_ns.max(1),
            max_ns: max_ns.max(min_ns).max(1),
            failures: 0,
            until: Mono(0),
            random: seed,
        }
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn until(&self) -> Mono {
        self.until
    }

    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        self.until = Mono(0);
    }

    /// Several that were under way together fail together: that counts as one failure.
    pub(crate) fn fail(&mut self, after: Option<Duration>, now: Mono) {
        let asked_ns = after.map_or(0, |it| it.as_nanos().min(AFTER_MAX_NS.into()) as u64);
        if now >= self.until {
            self.failures = self.failures.saturating_add(1);
            let doubled = self.min_ns.saturating_mul(1 << (self.failures - 1).min(32));
            let most = doubled.min(self.max_ns);
            let least = (self.min_ns / 2).min(most);
            self.wait(least + self.chance(most - least), now);
        }
        self.until = self.until.max(now.plus_ns(asked_ns));
    }

    /// Nothing will change soon.
    pub(crate) fn fail_long(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        let least = self.max_ns / 2;
        let chance = self.chance(self.max_ns - least);
        self.wait(least + chance, now);
    }

    fn wait(&mut self, ns: u64, now: Mono) {
        self.random = mixed(self.random);
        self.until = self.until.max(now.plus_ns(ns));
    }

    /// A number up to `most`.
    fn chance(&self, most: u64) -> u64 {
        mixed(self.random) % most.saturating_add(1).max(1)
    }
}

/// One step of a generator that any seed suits: SplitMix64.
pub(crate) fn mixed(seed: u64) -> u64 {
    let mut it = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn waits_grow_are_spread_and_bounded() {
        let mut waits = Vec::new();
        for seed in 0..200 {
            let mut backoff = Backoff::new(500 * MS, 60_000 * MS, seed);
            let mut now = Mono(0);
            for _ in 0..20 {
                backoff.fail(None, now);
                waits.push(backoff.until().since_ns(now));
                now = backoff.until();
            }
        }
        assert!(waits.iter().all(|it| (250 * MS..=60_000 * MS).contains(it)));
        let last: Vec<u64> = waits.chunks(20).map(|it| it[19]).collect();
        assert!(last.iter().any(|it| *it < 20_000 * MS));
        assert!(last.iter().any(|it| *it > 50_000 * MS));
    }

    #[test]
    fn what_a_destination_asks_for_is_the_least() {
        let mut backoff = Backoff::new(500 * MS, 1_000 * MS, 1);
        backoff.fail(Some(Duration::from_secs(30)), Mono(0));
        assert!(backoff.until() >= Mono(30_000 * MS));
        backoff.succeed();
        assert_eq!(backoff.until(), Mono(0));
    }
}
