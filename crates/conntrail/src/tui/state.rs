//! What the live table knows.

use query::OpenConnections;
use record::{
    BreakerState, Connection, Device, LostKind, NoticeKind, Phase, Record, SensorKind, Wall,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// Everything the live table can show.
pub(crate) struct State {
    pub(crate) open: OpenConnections,
    /// Connections that ended, newest last.
    pub(crate) ended: VecDeque<Connection>,
    pub(crate) ended_count: u64,
    /// Losses, by what was lost; an unknown number is kept as such.
    pub(crate) lost_closes: u64,
    pub(crate) lost_unknown: bool,
    pub(crate) sensor: Option<SensorKind>,
    /// What the sensor cannot see.
    pub(crate) limits: Vec<String>,
    /// The newest other notice, and when.
    pub(crate) latest_notice: Option<(Wall, NoticeKind)>,
    pub(crate) device: Option<Arc<Device>>,
    pub(crate) recorder_stopped: bool,
    /// The sensor has stepped out of the path of connections.
    pub(crate) stands_aside: bool,
    /// What is open now, or in words why that is not known.
    pub(crate) live: Result<Live, String>,
}

/// A snapshot of what is open, as it was read.
pub(crate) struct Live {
    pub(crate) snapshot: live::Snapshot,
    /// Since it was taken.
    pub(crate) age_ns: u64,
    /// Busiest first.
    pub(crate) rows: Vec<live::Row>,
    /// Rows that could not be read.
    pub(crate) unreadable: usize,
}

impl Default for State {
    fn default() -> State {
        State {
            open: OpenConnections::default(),
            ended: VecDeque::new(),
            ended_count: 0,
            lost_closes: 0,
            lost_unknown: false,
            sensor: None,
            limits: Vec::new(),
            latest_notice: None,
            device: None,
            recorder_stopped: false,
            stands_aside: false,
            live: Err("it was not looked for".to_owned()),
        }
    }
}

/// More than any terminal has lines.
const ENDED_MAX: usize = 500;

impl State {
    /// Takes in the next record of the trail.
    pub(crate) fn apply(&mut self, record: Record, device: &Arc<Device>) {
        self.open.apply(&record);
        self.open.forget_cut_off();
        self.device = Some(Arc::clone(device));
        match record {
            Record::Connection(connection) => {
                if let Phase::Close(_) = connection.phase {
                    self.ended_count += connection.connections();
                    self.ended.push_back(connection);
                    if self.ended.len() > ENDED_MAX {
                        self.ended.pop_front();
                    }
                }
            }
            Record::Notice(notice) => self.apply_notice(notice.at.wall, notice.kind),
        }
    }

    fn apply_notice(&mut self, at: Wall, kind: NoticeKind) {
        match kind {
            NoticeKind::SensorStarted { sensor, limits } => {
                self.sensor = Some(sensor);
                self.limits = limits;
            }
            NoticeKind::RecorderStarted { .. } => {
                *self = State {
                    device: self.device.take(),
                    ..State::default()
                };
            }
            NoticeKind::Lost {
                what: LostKind::Closes,
                count,
                ..
            } => {
                self.lost_closes += count.unwrap_or(0);
                self.lost_unknown |= count.is_none();
            }
            NoticeKind::RecorderStopped { .. } => self.recorder_stopped = true,
            NoticeKind::BreakerChanged { state, .. } => {
                self.stands_aside = state == BreakerState::Tripped;
                self.latest_notice = Some((at, kind));
            }
            other @ (NoticeKind::SensorLimited { .. }
            | NoticeKind::Coverage(_)
            | NoticeKind::ExtensionReplaced(_)
            | NoticeKind::Sleeping
            | NoticeKind::SensorStopped { .. }
            | NoticeKind::Lost { .. }
            | NoticeKind::Slept { .. }
            | NoticeKind::ClockStepped { .. }
            | NoticeKind::TrailEvicted { .. }
            | NoticeKind::Ledger(_)
            | NoticeKind::PolicyChanged(_)
            | NoticeKind::PolicyCounts(_)
            | NoticeKind::StageCounts(_)
            | NoticeKind::Undelivered(_)
            | NoticeKind::Delivery(_)) => self.latest_notice = Some((at, other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Notice, Stamp, sample};

    #[test]
    fn a_new_epoch_starts_from_nothing() {
        let device = Arc::new(sample::device());
        let mut state = State::default();
        for record in sample::closes(1, 3_000) {
            state.apply(record, &device);
        }
        assert_eq!(state.ended_count, 3_000);
        assert_eq!(state.ended.len(), ENDED_MAX);
        let kind = NoticeKind::RecorderStarted { previous: None };
        state.apply(
            Record::Notice(Notice {
                at: Stamp::default(),
                kind,
            }),
            &device,
        );
        assert_eq!((state.ended_count, state.ended.len()), (0, 0));
        assert_eq!(state.device, Some(device));
    }
}
