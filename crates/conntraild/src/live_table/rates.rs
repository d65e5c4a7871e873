//! How much passes on each flow, from totals that are told now and then. Pure.
//!
//! A rate is that between two moments at which totals were told, and no claim about any other
//! time: silence is not known to be zero.

use flow::Glance;
use live::Rate;
use record::Mono;

/// What was told of every flow, by its place in the table.
#[derive(Debug, Default)]
pub(super) struct Rates {
    tracked: Vec<Option<Tracked>>,
}

/// A flow that may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) slot: u32,
    pub(super) ordinal: u64,
    pub(super) last_seen: Mono,
    /// Bytes since it was measured before.
    moved: u64,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    ordinal: u64,
    bytes_out: Option<u64>,
    bytes_in: Option<u64>,
    /// When these were told.
    told: Option<Mono>,
    rate: Option<Rate>,
}

/// A rate is shown for so long at least after the time that it tells of.
const SHOWN_NS_MIN: u64 = 3_000_000_000;

impl Rates {
    /// Takes in what is known of a flow now.
    pub(super) fn measure(&mut self, glance: Glance) -> Candidate {
        let index = glance.slot as usize;
        if self.tracked.len() <= index {
            self.tracked.resize(index + 1, None);
        }
        let place = &mut self.tracked[index];
        let moved = match place {
            Some(tracked) if tracked.ordinal == glance.ordinal => tracked.measure(&glance),
            Some(_) | None => {
                *place = Some(Tracked::new(&glance));
                glance.bytes_out.unwrap_or(0) + glance.bytes_in.unwrap_or(0)
            }
        };
        Candidate {
            slot: glance.slot,
            ordinal: glance.ordinal,
            last_seen: glance.last_seen,
            moved,
        }
    }

    /// The newest rate of a flow, unless it has become history.
    pub(super) fn rate(&self, candidate: &Candidate, now: Mono) -> Option<Rate> {
        let tracked = self.tracked.get(candidate.slot as usize)?.as_ref()?;
        let rate = tracked
            .rate
            .filter(|_| tracked.ordinal == candidate.ordinal)?;
        let window_ns = rate.until.since_ns(rate.from);
        let shown_ns = SHOWN_NS_MIN.max(2 * window_ns);
        (now.since_ns(rate.until) <= shown_ns).then_some(rate)
    }
}

/// Those that carried most, in the order of their ids, and how many are left out.
pub(super) fn busiest(mut found: Vec<Candidate>, rows_max: usize) -> (Vec<Candidate>, u32) {
    let left = found.len().saturating_sub(rows_max);
    if left > 0 {
        found.select_nth_unstable_by_key(rows_max, |it| {
            std::cmp::Reverse((it.moved, it.last_seen, it.ordinal))
        });
        found.truncate(rows_max);
    }
    found.sort_unstable_by_key(|it| it.ordinal);
    (found, left as u32)
}

impl Tracked {
    fn new(glance: &Glance) -> Tracked {
        Tracked {
            ordinal: glance.ordinal,
            bytes_out: glance.bytes_out,
            bytes_in: glance.bytes_in,
            told: glance.is_measured.then_some(glance.last_seen),
            rate: None,
        }
    }

    /// Takes in what is known now; the bytes since the last time.
    fn measure(&mut self, glance: &Glance) -> u64 {
        let before = (self.bytes_out, self.bytes_in);
        let after = (glance.bytes_out, glance.bytes_in);
        let is_told_again =
            glance.is_measured && self.told.is_none_or(|told| told < glance.last_seen);
        if before == after && !is_told_again {
            return 0;
        }
        let until = glance.last_seen;
        if let Some(from) = self.told
            && from < until
        {
            let rate = Rate {
                from,
                until,
                out_per_s: per_s(before.0, after.0, until.since_ns(from)),
                in_per_s: per_s(before.1, after.1, until.since_ns(from)),
            };
            self.rate = (rate.out_per_s.is_some() || rate.in_per_s.is_some()).then_some(rate);
        }
        (self.bytes_out, self.bytes_in) = after;
        self.told = Some(until);
        let grown = |before: Option<u64>, after: Option<u64>| {
            after.unwrap_or(0).saturating_sub(before.unwrap_or(0))
        };
        grown(before.0, after.0).saturating_add(grown(before.1, after.1))
    }
}

/// Bytes a second between two totals, where both are known.
fn per_s(before: Option<u64>, after: Option<u64>, ns: u64) -> Option<u64> {
    let bytes = after?.checked_sub(before?)?;
    let per_s = u128::from(bytes) * 1_000_000_000 / u128::from(ns.max(1));
    // The largest number stands for what is not known.
    Some(u64::try_from(per_s).unwrap_or(u64::MAX).min(u64::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn glance(slot: u32, bytes: Option<u64>, seen_s: u64) -> Glance {
        Glance {
            slot,
            ordinal: u64::from(slot) + 1,
            bytes_out: bytes,
            bytes_in: None,
            last_seen: Mono(seen_s * S),
            is_measured: bytes.is_some(),
        }
    }

    fn out(rates: &Rates, candidate: Candidate, now_s: u64) -> Option<u64> {
        rates.rate(&candidate, Mono(now_s * S))?.out_per_s
    }

    #[test]
    fn a_rate_needs_two_tellings_and_is_that_between_them() {
        let mut rates = Rates::default();
        let first = rates.measure(glance(0, Some(100), 10));
        assert_eq!(out(&rates, first, 10), None, "one total is no rate");
        let same = rates.measure(glance(0, Some(100), 10));
        assert_eq!((out(&rates, same, 11), same.moved), (None, 0));
        let second = rates.measure(glance(0, Some(700), 12));
        assert_eq!((out(&rates, second, 12), second.moved), (Some(300), 600));
        let rate = rates.rate(&second, Mono(12 * S)).unwrap();
        assert_eq!((rate.from, rate.until), (Mono(10 * S), Mono(12 * S)));
        assert_eq!(rate.in_per_s, None, "unknown is not zero");
    }

    #[test]
    fn silence_is_unknown_and_the_same_total_told_again_is_zero() {
        let mut rates = Rates::default();
        rates.measure(glance(0, Some(100), 10));
        rates.measure(glance(0, Some(200), 11));
        let silent = rates.measure(glance(0, Some(200), 11));
        assert_eq!(out(&rates, silent, 14), Some(100), "so long it is news");
        assert_eq!(out(&rates, silent, 15), None, "later nobody knows");
        let told = rates.measure(glance(0, Some(200), 16));
        assert_eq!(out(&rates, told, 16), Some(0));
        let named = Glance {
            is_measured: false,
            ..glance(0, Some(200), 17)
        };
        let named = rates.measure(named);
        let rate = rates.rate(&named, Mono(17 * S)).unwrap();
        assert_eq!(rate.until, Mono(16 * S), "a name tells no bytes");
    }

    #[test]
    fn a_flow_in_the_place_of_another_begins_anew() {
        let mut rates = Rates::default();
        rates.measure(glance(0, Some(100), 10));
        let other = Glance {
            ordinal: 99,
            ..glance(0, Some(5_000), 11)
        };
        let other = rates.measure(other);
        assert_eq!(out(&rates, other, 11), None);
    }

    #[test]
    fn the_busiest_are_kept_and_stand_in_the_order_of_their_ids() {
        let mut rates = Rates::default();
        for slot in 0..10 {
            rates.measure(glance(slot, Some(0), 10));
        }
        let grown = |slot: u32| glance(slot, Some(u64::from(slot * 7 % 10)), 11);
        let found: Vec<Candidate> = (0..10).map(|it| rates.measure(grown(it))).collect();
        let (kept, left) = busiest(found.clone(), 4);
        let slots: Vec<u32> = kept.iter().map(|it| it.slot).collect();
        assert_eq!((slots, left), (vec![1, 4, 7, 8], 6));
        assert_eq!(busiest(found, 10).1, 0);
    }
}
