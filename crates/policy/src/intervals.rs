//! Which rules cover a number: a port or an address.

/// Ranges of numbers, cut at every border, so that one binary search gives every rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intervals {
    /// Where a piece begins; it ends where the next begins.
    starts: Vec<u128>,
    /// The rules that cover the piece.
    rules: Vec<u128>,
}

/// From the first number to the last, and the rule.
pub(crate) type Range = (u128, u128, usize);

impl Intervals {
    pub(crate) fn new(ranges: &[Range]) -> Intervals {
        let begins = ranges.iter().map(|(first, _, rule)| (*first, *rule, 1));
        // What reaches the end of all numbers never ends.
        let ends = ranges.iter().filter_map(|(_, last, rule)| {
            let after = last.checked_add(1)?;
            Some((after, *rule, -1))
        });
        let mut borders: Vec<(u128, usize, i32)> = begins.chain(ends).collect();
        borders.sort_unstable();
        let mut depth = [0i32; crate::RULES_MAX];
        let mut covering = 0u128;
        let mut intervals = Intervals::default();
        for (start, rule, change) in borders {
            depth[rule] += change;
            covering &= !(1 << rule);
            covering |= u128::from(depth[rule] > 0) << rule;
            intervals.set(start, covering);
        }
        intervals
    }

    /// The rules that cover `number`.
    pub(crate) fn find(&self, number: u128) -> u128 {
        let after = self.starts.partition_point(|start| *start <= number);
        after.checked_sub(1).map_or(0, |piece| self.rules[piece])
    }

    fn set(&mut self, start: u128, rules: u128) {
        if self.starts.last() == Some(&start) {
            self.rules.pop();
        } else {
            self.starts.push(start);
        }
        self.rules.push(rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample::Random;

    #[test]
    fn every_number_finds_the_ranges_it_lies_in() {
        let mut random = Random::new(3);
        for _ in 0..200 {
            let ranges: Vec<Range> = (0..random.below(20))
                .map(|_| {
                    let first = random.below(64).into();
                    let length: u128 = random.below(20).into();
                    (first, first + length, random.below(5) as usize)
                })
                .collect();
            let intervals = Intervals::new(&ranges);
            for number in 0..100 {
                let lies_in = |(first, last, _): &&Range| (*first..=*last).contains(&number);
                let expected = ranges.iter().filter(lies_in);
                let expected = expected.fold(0u128, |rules, (_, _, rule)| rules | 1 << rule);
                assert_eq!(intervals.find(number), expected, "{number} in {ranges:?}");
            }
        }
    }

    #[test]
    fn a_range_may_reach_the_end() {
        let intervals = Intervals::new(&[(5, u128::MAX, 127)]);
        assert_eq!(intervals.find(u128::MAX), 1 << 127);
        assert_eq!(intervals.find(4), 0);
    }
}
