//! What is remembered of flows that are no longer followed.

use crate::event::FlowKey;
use crate::totals::Totals;
use record::Mono;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;

/// What was told of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// Its totals, from its beginning on.
    pub(crate) totals: Totals,
    /// Its end is in the books already.
    pub(crate) is_counted: bool,
    /// When it closed.
    pub(crate) at: Mono,
}

/// The newest tombstones, of which the oldest goes first.
#[derive(Debug)]
pub(crate) struct Tombstones {
    stones: Stones,
    /// In the order they were set. A number that is not its key's any more is of a stone that was
    /// taken away.
    order: VecDeque<(u64, FlowKey)>,
    last_number: u64,
    stones_max: usize,
}

impl Tombstones {
    /// At most `stones_max`, and at least one.
    pub(crate) fn new(stones_max: usize) -> Tombstones {
        Tombstones {
            stones: FxHashMap::default(),
            order: VecDeque::new(),
            last_number: 0,
            stones_max: stones_max.max(1),
        }
    }

    /// Remembers a flow.
    pub(crate) fn set(&mut self, key: FlowKey, tombstone: Tombstone) {
        self.last_number += 1;
        self.stones.insert(key, (self.last_number, tombstone));
        self.order.push_back((self.last_number, key));
        while self.stones.len() > self.stones_max {
            let Some((number, oldest)) = self.order.pop_front() else {
                return;
            };
            if let Entry::Occupied(stone) = self.stones.entry(oldest)
                && stone.get().0 == number
            {
                stone.remove();
            }
        }
        if self.order.len() > 2 * self.stones_max {
            let stones = &self.stones;
            let is_current = |(number, key): &(u64, FlowKey)| {
                stones.get(key).is_some_and(|(its, _)| its == number)
            };
            self.order.retain(is_current);
        }
    }

    /// What is remembered of a flow.
    pub(crate) fn get(&self, key: FlowKey) -> Option<&Tombstone> {
        self.stones.get(&key).map(|(_, tombstone)| tombstone)
    }

    /// The same, and forgets it.
    pub(crate) fn take(&mut self, key: FlowKey) -> Option<Tombstone> {
        self.stones.remove(&key).map(|(_, tombstone)| tombstone)
    }
}

/// Each with the number it was set with.
type Stones = FxHashMap<FlowKey, (u64, Tombstone)>;

#[cfg(test)]
mod tests {
    use super::*;

    fn stone() -> Tombstone {
        Tombstone {
            totals: Totals::default(),
            is_counted: true,
            at: Mono(0),
        }
    }

    fn key(socket: u64) -> FlowKey {
        FlowKey { socket, part: 0 }
    }

    #[test]
    fn the_oldest_goes_first_and_there_is_an_end_to_them() {
        let mut stones = Tombstones::new(3);
        for socket in 1..=5 {
            stones.set(key(socket), stone());
        }
        let kept: Vec<u64> = (1..=5)
            .filter(|it| stones.get(key(*it)).is_some())
            .collect();
        assert_eq!(kept, [3, 4, 5]);
    }

    #[test]
    fn a_key_that_is_set_again_is_as_young_as_its_newest() {
        let mut stones = Tombstones::new(3);
        stones.set(key(9), stone());
        for _ in 0..100 {
            stones.set(key(1), stone());
            stones.take(key(1));
        }
        assert!(
            stones.get(key(9)).is_some(),
            "what is taken pushes nobody out"
        );
        assert!(stones.order.len() <= 6, "{} in order", stones.order.len());
        stones.take(key(9));
        stones.set(key(1), stone());
        stones.set(key(2), stone());
        stones.set(key(1), stone());
        stones.set(key(3), stone());
        stones.set(key(4), stone());
        assert!(stones.get(key(1)).is_some(), "it was set after the second");
        assert!(stones.get(key(2)).is_none());
    }
}
