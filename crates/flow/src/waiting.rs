//! Records that wait for somebody to introduce the processes they name.

use crate::live::{Draft, Missing};
use record::{Mono, ProcessKey};
use std::collections::{BTreeMap, BTreeSet};

/// A record that waits.
#[derive(Debug)]
pub(crate) enum Held {
    /// The close of a flow that is no longer followed.
    Close(Draft),
    /// The open of a flow, in this slot if it still is there.
    Open {
        /// Where the flow is.
        slot: u32,
        /// Which flow it is.
        ordinal: u64,
    },
}

impl Held {
    fn closes(&self) -> u64 {
        match self {
            Held::Close(draft) => draft.connection.closes(),
            Held::Open { .. } => 0,
        }
    }
}

/// Records that wait, each for at most the same time, and no more than a bound.
#[derive(Debug)]
pub(crate) struct Waiting {
    entries: BTreeMap<u64, Entry>,
    /// Who waits for whom.
    by_process: BTreeSet<(ProcessKey, u64)>,
    last_number: u64,
    entries_max: usize,
    closes: u64,
}

#[derive(Debug)]
struct Entry {
    due: Mono,
    held: Held,
    missing: Missing,
}

impl Waiting {
    /// Room for `entries_max`, and for one at least.
    pub(crate) fn new(entries_max: usize) -> Waiting {
        Waiting {
            entries: BTreeMap::new(),
            by_process: BTreeSet::new(),
            last_number: 0,
            entries_max: entries_max.max(1),
            closes: 0,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many connections they tell the end of.
    pub(crate) fn closes(&self) -> u64 {
        self.closes
    }

    /// Holds a record back until `due`, which must not be before that of the last one. Gives the
    /// oldest where there is no room for both.
    pub(crate) fn hold(&mut self, held: Held, missing: Missing, due: Mono) -> Option<Held> {
        self.last_number += 1;
        let number = self.last_number;
        let waits_for = missing.iter().flatten();
        self.by_process.extend(waits_for.map(|key| (*key, number)));
        self.closes += held.closes();
        let entry = Entry { due, held, missing };
        self.entries.insert(number, entry);
        (self.entries.len() > self.entries_max)
            .then(|| self.take_first())
            .flatten()
    }

    /// Those that waited for nobody else than the process of this key, oldest first.
    pub(crate) fn introduced(&mut self, key: ProcessKey) -> Vec<Held> {
        if self.by_process.is_empty() {
            return Vec::new();
        }
        let waited: Vec<(ProcessKey, u64)> = self
            .by_process
            .range((key, 0)..=(key, u64::MAX))
            .copied()
            .collect();
        let mut ready = Vec::new();
        for pair @ (_, number) in waited {
            self.by_process.remove(&pair);
            if self.is_complete_without(number, key)
                && let Some(entry) = self.entries.remove(&number)
            {
                self.closes -= entry.held.closes();
                ready.push(entry.held);
            }
        }
        ready
    }

    /// When the next one has waited long enough.
    pub(crate) fn next_due(&self) -> Option<Mono> {
        self.entries.first_key_value().map(|(_, entry)| entry.due)
    }

    /// The next one that has waited until `until`.
    pub(crate) fn take_due(&mut self, until: Mono) -> Option<Held> {
        if self.next_due()? > until {
            return None;
        }
        self.take_first()
    }

    fn take_first(&mut self) -> Option<Held> {
        let (number, entry) = self.entries.pop_first()?;
        self.closes -= entry.held.closes();
        for key in entry.missing.into_iter().flatten() {
            self.by_process.remove(&(key, number));
        }
        Some(entry.held)
    }

    fn is_complete_without(&mut self, number: u64, key: ProcessKey) -> bool {
        let Some(entry) = self.entries.get_mut(&number) else {
            return false;
        };
        for missing in &mut entry.missing {
            *missing = missing.filter(|it| *it != key);
        }
        entry.missing == [None, None]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::testing::process;

    fn open(ordinal: u64) -> Held {
        Held::Open { slot: 0, ordinal }
    }

    fn ordinals(held: impl IntoIterator<Item = Held>) -> Vec<u64> {
        held.into_iter()
            .map(|held| match held {
                Held::Open { ordinal, .. } => ordinal,
                Held::Close(_) => panic!("only opens wait here"),
            })
            .collect()
    }

    #[test]
    fn who_waits_for_two_waits_for_both() {
        let mut waiting = Waiting::new(10);
        let both = [Some(process(1)), Some(process(2))];
        assert!(waiting.hold(open(1), both, Mono(5)).is_none());
        assert!(
            waiting
                .hold(open(2), [Some(process(2)), None], Mono(6))
                .is_none()
        );
        assert_eq!(ordinals(waiting.introduced(process(2))), [2]);
        assert!(waiting.introduced(process(3)).is_empty());
        assert_eq!(ordinals(waiting.introduced(process(1))), [1]);
        assert_eq!((waiting.len(), waiting.by_process.len()), (0, 0));
    }

    #[test]
    fn the_time_ends_the_wait_and_so_does_a_full_room() {
        let mut waiting = Waiting::new(2);
        for ordinal in 1..=2 {
            waiting.hold(open(ordinal), [Some(process(1)), None], Mono(ordinal));
        }
        let early = waiting.hold(open(3), [None, Some(process(1))], Mono(3));
        assert_eq!(ordinals(early), [1]);
        assert_eq!(waiting.next_due(), Some(Mono(2)));
        assert_eq!(ordinals(waiting.take_due(Mono(2))), [2]);
        assert!(waiting.take_due(Mono(2)).is_none());
        assert_eq!(ordinals(waiting.introduced(process(1))), [3]);
        assert_eq!((waiting.len(), waiting.by_process.len()), (0, 0));
    }
}
