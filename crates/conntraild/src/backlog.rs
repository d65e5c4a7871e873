//! Events that wait for a trail that cannot be opened.

use crate::sensing::Sensed;
use flow::Event;
use record::{LossCause, LossStage, LostKind, StopReason};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Events of connections and processes that are kept; at half a kilobyte each, 8 MiB.
pub(crate) const KEPT_MAX: usize = 16_384;

/// Events about the sensor itself that are kept on top: they are rare, and tell what the rest
/// means.
const SENSOR_EVENTS_MAX: usize = 1_024;

/// Keeps the first events as they are, and counts the later ones by what is lost with them.
#[derive(Default)]
pub(crate) struct Backlog {
    events: Vec<Event>,
    lost: BTreeMap<(LossStage, LossCause, LostKind), Option<u64>>,
}

impl Backlog {
    /// Takes in what is sensed for as long as `pause`; the reason, when sensing ends before.
    pub(crate) fn wait(
        &mut self,
        sensing: &Receiver<Sensed>,
        pause: Duration,
    ) -> Option<StopReason> {
        let until = Instant::now() + pause;
        loop {
            match sensing.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Sensed::Events(events)) => events.into_iter().for_each(|it| self.keep(it)),
                Ok(Sensed::Ended(reason)) => return Some(reason),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(StopReason::SensorEnded),
            }
        }
    }

    /// What was lost, then what was kept, in the order it came.
    pub(crate) fn take(&mut self) -> Vec<Event> {
        let lost = std::mem::take(&mut self.lost).into_iter();
        let lost = lost.map(|((stage, cause, what), count)| Event::Lost {
            stage,
            cause,
            what,
            count,
        });
        let mut events: Vec<Event> = lost.collect();
        events.append(&mut self.events);
        events
    }

    fn keep(&mut self, event: Event) {
        if let Event::Lost {
            stage,
            cause,
            what,
            count,
        } = event
        {
            self.lose((stage, cause, what), count);
            return;
        }
        let (kept_max, what) = worth(&event);
        if self.events.len() < kept_max {
            self.events.push(event);
        } else if let Some(what) = what {
            let here = (LossStage::SensorQueue, LossCause::WriteFailed, what);
            self.lose(here, Some(1));
        }
    }

    /// An unknown number stays unknown whatever is added.
    fn lose(&mut self, kind: (LossStage, LossCause, LostKind), count: Option<u64>) {
        let total = self.lost.entry(kind).or_insert(Some(0));
        *total = total
            .zip(count)
            .map(|(one, other)| one.saturating_add(other));
    }
}

/// Up to how many events it is kept, and what is lost with it where anything is: totals come
/// again, and so does the time.
fn worth(event: &Event) -> (usize, Option<LostKind>) {
    match event {
        Event::SensorStarted { .. }
        | Event::SensorStopped { .. }
        | Event::SensorLimited { .. }
        | Event::BreakerChanged { .. }
        | Event::CoverageRead { .. }
        | Event::Unwatched { .. }
        | Event::Sleeping
        | Event::Slept { .. }
        | Event::Lost { .. } => (KEPT_MAX + SENSOR_EVENTS_MAX, Some(LostKind::Events)),
        Event::Opened(_) => (KEPT_MAX, Some(LostKind::Opens)),
        Event::Closed(_) => (KEPT_MAX, Some(LostKind::Closes)),
        Event::ProcessSeen(_) => (KEPT_MAX, Some(LostKind::Processes)),
        Event::Attributed { .. } => (KEPT_MAX, Some(LostKind::Attributions)),
        Event::ProcessesGone { .. } | Event::UserNamed { .. } | Event::Named { .. } => {
            (KEPT_MAX, Some(LostKind::Events))
        }
        Event::Updated { .. } | Event::ClockRead { .. } | Event::Swept { .. } => (KEPT_MAX, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Mono, SensorKind};
    use std::sync::mpsc::sync_channel;

    fn started() -> Event {
        Event::SensorStarted {
            sensor: SensorKind::MacosFilter,
            limits: Vec::new(),
        }
    }

    fn gone() -> Event {
        Event::ProcessesGone { keys: Vec::new() }
    }

    fn lost(what: LostKind, count: Option<u64>) -> Event {
        Event::Lost {
            stage: LossStage::SensorQueue,
            cause: LossCause::QueueFull,
            what,
            count,
        }
    }

    // facts: rule-10-bounded
    #[test]
    fn a_backlog_keeps_the_first_events_and_counts_the_rest() {
        let mut backlog = Backlog::default();
        backlog.keep(started());
        for _ in 0..KEPT_MAX + 9 {
            backlog.keep(gone());
        }
        backlog.keep(Event::Sleeping);
        for at in 0..5 {
            let mono = Mono(at);
            let wall = record::Wall(0);
            backlog.keep(Event::ClockRead { mono, wall });
        }
        let events = backlog.take();
        let expected = Event::Lost {
            stage: LossStage::SensorQueue,
            cause: LossCause::WriteFailed,
            what: LostKind::Events,
            count: Some(10),
        };
        assert_eq!(events[0], expected);
        assert_eq!(events[1], started());
        assert_eq!(events.last(), Some(&Event::Sleeping));
        assert_eq!(events.len(), 1 + KEPT_MAX + 1);
        assert_eq!(backlog.take(), []);
    }

    #[test]
    fn a_sensor_that_never_stops_talking_of_itself_is_counted_too() {
        let mut backlog = Backlog::default();
        for _ in 0..100_000 {
            backlog.keep(Event::Sleeping);
        }
        let events = backlog.take();
        assert_eq!(events.len(), 1 + KEPT_MAX + SENSOR_EVENTS_MAX);
    }

    #[test]
    fn losses_of_the_sensor_are_added_up_and_unknown_stays_unknown() {
        let mut backlog = Backlog::default();
        for count in [Some(2), Some(3)] {
            backlog.keep(lost(LostKind::Closes, count));
            backlog.keep(lost(LostKind::Opens, count));
        }
        backlog.keep(lost(LostKind::Opens, None));
        backlog.keep(lost(LostKind::Opens, Some(7)));
        assert_eq!(
            backlog.take(),
            [lost(LostKind::Closes, Some(5)), lost(LostKind::Opens, None)]
        );
    }

    #[test]
    fn waiting_ends_with_the_pause_or_with_sensing() {
        let (sender, receiver) = sync_channel(4);
        let mut backlog = Backlog::default();
        sender.send(Sensed::Events(vec![gone()])).unwrap();
        assert_eq!(backlog.wait(&receiver, Duration::from_millis(5)), None);
        sender.send(Sensed::Events(vec![gone()])).unwrap();
        sender.send(Sensed::Ended(StopReason::Requested)).unwrap();
        let long = Duration::from_secs(60);
        assert_eq!(backlog.wait(&receiver, long), Some(StopReason::Requested));
        drop(sender);
        assert_eq!(backlog.wait(&receiver, long), Some(StopReason::SensorEnded));
        assert_eq!(backlog.take().len(), 2);
    }
}
