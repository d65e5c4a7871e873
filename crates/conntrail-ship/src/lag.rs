//! How old the oldest record is that a destination does not have.

use record::{Mono, RecordId, Stamp, Wall};
use std::collections::BTreeMap;
use trail::Source;

/// How often the trail is asked when a record was made.
const LOOK_EVERY_NS: u64 = 1_000_000_000;

/// What is known of the first record of each trail that waits.
#[derive(Default)]
pub(crate) struct Lag {
    look_at: Mono,
    first: BTreeMap<Source, (RecordId, Option<Wall>)>,
}

impl Lag {
    /// The age of the oldest record that waits, by the machine's clock, in nanoseconds; at most a
    /// second out of date. Zero where none waits; `None` where it is not known: nobody knows
    /// what waits, the trail does not tell when it was made, or the clock was set back since.
    pub(crate) fn ns(
        &mut self,
        waiting: Option<BTreeMap<Source, RecordId>>,
        now: Stamp,
        mut made_at: impl FnMut(&Source, RecordId) -> Option<Wall>,
    ) -> Option<u64> {
        let waiting = waiting?;
        if waiting.is_empty() {
            return Some(0);
        }
        if self.first.is_empty() || now.mono >= self.look_at {
            self.look_at = now.mono.plus_ns(LOOK_EVERY_NS);
            let known = std::mem::take(&mut self.first);
            let first = waiting.into_iter().map(|(source, id)| {
                let same = known.get(&source).filter(|it| it.0 == id);
                let made = same.and_then(|it| it.1).or_else(|| made_at(&source, id));
                (source, (id, made))
            });
            self.first = first.collect();
        }
        let made: Option<Vec<Wall>> = self.first.values().map(|it| it.1).collect();
        let Wall(oldest) = made?.into_iter().min()?;
        u64::try_from(now.wall.0.checked_sub(oldest)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn now(seconds: i64) -> Stamp {
        Stamp {
            wall: Wall(seconds * 1_000_000_000),
            mono: Mono(seconds as u64 * 1_000_000_000),
        }
    }

    fn waiting(of: &[(Source, u64)]) -> Option<BTreeMap<Source, RecordId>> {
        let place = |(source, sequence): &(Source, u64)| {
            let (epoch, sequence) = (1, *sequence);
            (source.clone(), RecordId { epoch, sequence })
        };
        Some(of.iter().map(place).collect())
    }

    /// The record with sequence 30 was made in second 30.
    fn made_at(_: &Source, id: RecordId) -> Option<Wall> {
        Some(now(id.sequence as i64).wall)
    }

    #[test]
    fn the_oldest_record_of_all_trails_says_how_far_behind_a_destination_is() {
        let mut lag = Lag::default();
        let both = [(Source::Recorder, 30), (Source::Side("ship".into()), 20)];
        assert_eq!(
            lag.ns(waiting(&both), now(50), made_at),
            Some(30_000_000_000)
        );
        assert_eq!(
            lag.ns(waiting(&both), now(51), made_at),
            Some(31_000_000_000)
        );
        assert_eq!(
            lag.ns(waiting(&both[..1]), now(53), made_at),
            Some(23_000_000_000)
        );
        assert_eq!(lag.ns(waiting(&[]), now(54), made_at), Some(0));
    }

    #[test]
    fn an_age_that_nobody_can_tell_is_unknown_and_not_zero() {
        let one = [(Source::Recorder, 30)];
        assert_eq!(Lag::default().ns(None, now(50), made_at), None);
        assert_eq!(Lag::default().ns(waiting(&one), now(50), |_, _| None), None);
        assert_eq!(Lag::default().ns(waiting(&one), now(29), made_at), None);
        let unknown = |source: &Source, id: RecordId| match source {
            Source::Recorder => made_at(source, id),
            Source::Side(_) => None,
        };
        let both = [(Source::Recorder, 30), (Source::Side("ship".into()), 20)];
        assert_eq!(Lag::default().ns(waiting(&both), now(50), unknown), None);
    }

    #[test]
    fn a_destination_that_is_away_does_not_have_the_trail_read_again_and_again() {
        let (mut lag, asked) = (Lag::default(), Cell::new(0));
        let one = [(Source::Recorder, 30)];
        for second in 40..60 {
            let age = lag.ns(waiting(&one), now(second), |source, id| {
                asked.set(asked.get() + 1);
                made_at(source, id)
            });
            assert_eq!(age, Some((second as u64 - 30) * 1_000_000_000));
        }
        assert_eq!(asked.get(), 1);
    }
}
