//! Totals of a flow, which only ever rise, in half the room that [`Traffic`] takes.

use record::{ByteQuality, Traffic};

/// What passed from the beginning on, as far as it was told.
///
/// Each count stands one higher than it is, and zero is unknown: so the larger one of two is always
/// the one to believe, and nothing told never wins over something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    one_higher: [u64; 4],
    quality: ByteQuality,
}

impl Totals {
    const ZERO: Totals = Totals {
        one_higher: [1; 4],
        quality: ByteQuality::Unknown,
    };

    /// What a sensor told. Zeros that nobody vouches for are no counts.
    pub(crate) fn told(traffic: Traffic) -> Totals {
        let counts = match traffic.quality {
            ByteQuality::ZeroUnverified => [None; 4],
            ByteQuality::Unknown
            | ByteQuality::Exact
            | ByteQuality::SoFar
            | ByteQuality::AtLeast => [
                traffic.bytes_out,
                traffic.bytes_in,
                traffic.packets_out,
                traffic.packets_in,
            ],
        };
        Totals {
            one_higher: counts.map(|count| count.map_or(0, |count| count.saturating_add(1))),
            quality: traffic.quality,
        }
    }

    /// As records have it. Zeros that nobody vouches for come out as they were told.
    pub(crate) fn traffic(self) -> Traffic {
        let [bytes_out, bytes_in, packets_out, packets_in] =
            self.one_higher.map(|count| count.checked_sub(1));
        match self.quality {
            ByteQuality::ZeroUnverified => Traffic {
                bytes_out: Some(0),
                bytes_in: Some(0),
                quality: self.quality,
                ..Traffic::default()
            },
            ByteQuality::Unknown
            | ByteQuality::Exact
            | ByteQuality::SoFar
            | ByteQuality::AtLeast => Traffic {
                bytes_out,
                bytes_in,
                packets_out,
                packets_in,
                quality: self.quality,
            },
        }
    }

    /// Takes in newer totals. Each count stays the highest that was told, and the quality is that
    /// of the newest who told more.
    pub(crate) fn raise(&mut self, newer: Totals) {
        if newer.exceeds(self) || self.is_untold() {
            self.quality = newer.quality;
        }
        self.one_higher = self.highest(&newer);
    }

    /// The last word, where the sensor gave one: no less than was told before.
    ///
    /// Only where it falls short of what was told before is the result no longer what the sensor
    /// says of it, but a lower bound.
    pub(crate) fn closed_with(&self, last: Totals) -> Totals {
        let falls_short = match last.quality {
            // A zero does not become better by being told twice.
            ByteQuality::ZeroUnverified => self.exceeds(&Totals::ZERO),
            ByteQuality::Unknown
            | ByteQuality::Exact
            | ByteQuality::SoFar
            | ByteQuality::AtLeast => self.exceeds(&last),
        };
        Totals {
            one_higher: self.highest(&last),
            quality: if falls_short {
                ByteQuality::AtLeast
            } else {
                last.quality
            },
        }
    }

    /// Nobody saw the end: there may have been more.
    pub(crate) fn cut_off(self) -> Totals {
        Totals {
            quality: match self.quality {
                ByteQuality::Unknown | ByteQuality::ZeroUnverified => self.quality,
                ByteQuality::Exact | ByteQuality::SoFar | ByteQuality::AtLeast => {
                    ByteQuality::AtLeast
                }
            },
            ..self
        }
    }

    /// What came on top of `before`, which another record has told already.
    pub(crate) fn since(self, before: &Totals) -> Totals {
        if before.is_untold() {
            return self;
        }
        let mut rest = self.cut_off();
        for (count, before) in rest.one_higher.iter_mut().zip(before.one_higher) {
            if *count > 0 {
                *count -= before.saturating_sub(1).min(*count - 1);
            }
        }
        rest
    }

    /// Whether any count is higher than in `other`, or known only here.
    pub(crate) fn exceeds(&self, other: &Totals) -> bool {
        let mut pairs = self.one_higher.iter().zip(other.one_higher);
        pairs.any(|(mine, others)| *mine > others)
    }

    /// Whether no count is known.
    pub(crate) fn is_untold(&self) -> bool {
        self.one_higher == [0; 4]
    }

    fn highest(&self, other: &Totals) -> [u64; 4] {
        let mut highest = self.one_higher;
        for (count, other) in highest.iter_mut().zip(other.one_higher) {
            *count = (*count).max(other);
        }
        highest
    }
}

/// The totals of many flows, added up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TotalsSum {
    flows: u64,
    /// By count: the sum of those that are known, and how many are.
    counts: [(u64, u64); 4],
    /// How many flows were of each quality, by [`QUALITIES`].
    qualities: [u64; QUALITIES.len()],
    is_too_large: bool,
}

const QUALITIES: [ByteQuality; 5] = [
    ByteQuality::Unknown,
    ByteQuality::Exact,
    ByteQuality::SoFar,
    ByteQuality::AtLeast,
    ByteQuality::ZeroUnverified,
];

impl TotalsSum {
    /// Adds a flow. A zero that nobody vouches for is no count.
    pub(crate) fn add(&mut self, totals: Totals) {
        self.flows += 1;
        for ((sum, known), one_higher) in self.counts.iter_mut().zip(totals.one_higher) {
            let Some(count) = one_higher.checked_sub(1) else {
                continue;
            };
            *known += 1;
            let (added, is_too_large) = sum.overflowing_add(count);
            *sum = if is_too_large { u64::MAX } else { added };
            self.is_too_large |= is_too_large;
        }
        for (quality, flows) in QUALITIES.iter().zip(&mut self.qualities) {
            *flows += u64::from(*quality == totals.quality);
        }
    }

    /// As a record has it. A count that is not known of all is a lower bound, and so are all where
    /// the flows differ in how well they are known.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut of_all = QUALITIES.iter().zip(self.qualities);
        let of_all = of_all.find(|(_, flows)| *flows == self.flows);
        let of_all = of_all.map(|(quality, _)| *quality);
        let is_partly_known = |(_, known): &(u64, u64)| *known > 0 && *known < self.flows;
        let is_cut = self.is_too_large || self.counts.iter().any(is_partly_known);
        let is_unknown = self.counts.iter().all(|(_, known)| *known == 0);
        let quality = match of_all {
            Some(ByteQuality::Exact) if !is_cut => ByteQuality::Exact,
            Some(ByteQuality::ZeroUnverified) => ByteQuality::ZeroUnverified,
            Some(ByteQuality::Unknown) if !is_cut => ByteQuality::Unknown,
            Some(_) | None if is_unknown => ByteQuality::Unknown,
            Some(_) | None => ByteQuality::AtLeast,
        };
        let one_higher = self.counts.map(|(sum, known)| match known {
            0 => 0,
            _ => sum.saturating_add(1),
        });
        let sum = Totals {
            one_higher,
            quality,
        };
        sum.traffic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(bytes_out: u64, bytes_in: u64, quality: ByteQuality) -> Traffic {
        Traffic {
            bytes_out: Some(bytes_out),
            bytes_in: Some(bytes_in),
            quality,
            ..Traffic::default()
        }
    }

    fn totals(bytes_out: u64, bytes_in: u64, quality: ByteQuality) -> Totals {
        Totals::told(traffic(bytes_out, bytes_in, quality))
    }

    #[test]
    fn what_is_told_comes_out_again_and_unknown_is_not_zero() {
        for quality in ByteQuality::ALL {
            let told = traffic(0, 0, *quality);
            assert_eq!(Totals::told(told).traffic(), told);
        }
        let half = Traffic {
            bytes_in: Some(0),
            packets_out: Some(u64::MAX - 1),
            quality: ByteQuality::Exact,
            ..Traffic::default()
        };
        assert_eq!(Totals::told(half).traffic(), half);
        assert_eq!(Totals::default().traffic(), Traffic::default());
    }

    #[test]
    fn totals_rise_by_direction_and_are_never_summed() {
        let mut live = totals(10, 500, ByteQuality::SoFar);
        live.raise(totals(40, 300, ByteQuality::SoFar));
        assert_eq!(live, totals(40, 500, ByteQuality::SoFar));
        live.raise(totals(0, 0, ByteQuality::ZeroUnverified));
        assert_eq!(live, totals(40, 500, ByteQuality::SoFar));
    }

    #[test]
    fn a_last_word_of_less_is_a_lower_bound_and_of_more_is_the_word() {
        let live = totals(40, 500, ByteQuality::SoFar);
        let more = totals(40, 501, ByteQuality::Exact);
        assert_eq!(live.closed_with(more), more);
        let less = totals(90, 20, ByteQuality::Exact);
        assert_eq!(
            live.closed_with(less),
            totals(90, 500, ByteQuality::AtLeast)
        );
        let zero = totals(0, 0, ByteQuality::ZeroUnverified);
        assert_eq!(
            live.closed_with(zero),
            totals(40, 500, ByteQuality::AtLeast)
        );
        assert_eq!(Totals::default().closed_with(zero), zero);
        let silent = totals(0, 0, ByteQuality::SoFar);
        assert_eq!(
            silent.closed_with(zero).traffic(),
            traffic(0, 0, ByteQuality::ZeroUnverified)
        );
    }

    #[test]
    fn a_difference_is_by_direction_and_a_lower_bound() {
        let before = totals(40, 500, ByteQuality::AtLeast);
        let rest = totals(50, 500, ByteQuality::Exact).since(&before);
        assert_eq!(rest, totals(10, 0, ByteQuality::AtLeast));
        let whole = totals(50, 500, ByteQuality::Exact);
        assert_eq!(whole.since(&Totals::default()), whole);
    }

    #[test]
    fn a_sum_is_as_good_as_the_worst_of_what_it_sums() {
        let sum = |all: &[Totals]| {
            let mut sum = TotalsSum::default();
            all.iter().for_each(|it| sum.add(*it));
            sum.traffic()
        };
        let [exact, least] =
            [ByteQuality::Exact, ByteQuality::AtLeast].map(|quality| totals(3, 4, quality));
        assert_eq!(sum(&[exact, exact]), traffic(6, 8, ByteQuality::Exact));
        assert_eq!(sum(&[exact, least]), traffic(6, 8, ByteQuality::AtLeast));
        let zero = totals(0, 0, ByteQuality::ZeroUnverified);
        assert_eq!(sum(&[zero, zero]), zero.traffic());
        assert_eq!(sum(&[exact, zero]), traffic(3, 4, ByteQuality::AtLeast));
        assert_eq!(sum(&[Totals::default(); 2]), Traffic::default());
        let half = Totals::told(Traffic {
            bytes_in: None,
            ..exact.traffic()
        });
        assert_eq!(sum(&[exact, half]), traffic(6, 4, ByteQuality::AtLeast));
        let half_known = sum(&[half, half]);
        assert_eq!((half_known.bytes_out, half_known.bytes_in), (Some(6), None));
        assert_eq!(half_known.quality, ByteQuality::Exact);
        let huge = totals(u64::MAX - 1, 0, ByteQuality::Exact);
        let sum = sum(&[huge, huge]);
        assert_eq!(sum.quality, ByteQuality::AtLeast);
        assert!(sum.bytes_out >= Some(u64::MAX - 1));
    }
}
