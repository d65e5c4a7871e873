//! How much the system's own count of connections and a sensor's usually differ.
//!
//! The system counts more than a sensor by design sees. How much that usually is, each machine has
//! to teach us: only what goes beyond it may have been missed. What is missed all the time from the
//! first interval on is taken for usual, too; then the two counts, which are told in any case, are
//! far apart.

use record::TcpCounts;
use std::collections::VecDeque;

/// What was learnt of the usual difference, each side of connections by itself.
#[derive(Debug, Default)]
pub struct Usual {
    outbound: Baseline,
    inbound: Baseline,
}

impl Usual {
    /// How many connections of one interval were missed, beyond what usually differs; `None` until
    /// [`LEARNT_MIN`] intervals are known. Intervals must be of the same length.
    pub fn missed(&mut self, system: &TcpCounts, recorded: &TcpCounts) -> Option<u64> {
        let outbound = self.outbound.judge(system.outbound, recorded.outbound);
        let inbound = self.inbound.judge(system.inbound, recorded.inbound);
        Some(outbound? + inbound?)
    }
}

/// By how much the system's count and ours usually differ in one interval.
#[derive(Debug, Default)]
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

/// Intervals without which nothing is known of what is usual.
pub const LEARNT_MIN: usize = 16;

/// Intervals that are remembered.
const LEARNT_MAX: usize = 64;

/// Connections that are under way while both counts are read make small differences.
const EXCESS_MIN: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_may_change_slowly() {
        let mut baseline = Baseline::default();
        for minute in 0..1_000 {
            let judged = baseline.judge(100 + minute / 10, 100);
            assert_eq!(judged, (minute >= LEARNT_MIN as u64).then_some(0));
            assert!(baseline.differences.len() <= LEARNT_MAX);
        }
    }
}
