//! What is still open, as far as the trail tells.

use record::{Connection, ConnectionId, NoticeKind, Phase, Record, Wall};
use std::collections::BTreeMap;

/// The connections that were opened and not closed, in the order they were opened.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections {
    open: BTreeMap<ConnectionId, OpenConnection>,
}

/// A connection that was opened and not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// Its newest record.
    pub connection: Connection,
    /// The recorder stopped while it was open, so nobody knows what became of it.
    pub cut_off_at: Option<Wall>,
}

impl OpenConnections {
    /// Takes in the next record of the trail.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Connection(connection) => match connection.phase {
                Phase::Open | Phase::Update => {
                    let connection = connection.clone();
                    let newest = OpenConnection {
                        connection,
                        cut_off_at: None,
                    };
                    self.open.insert(newest.connection.id, newest);
                }
                Phase::Close(_) => {
                    self.open.remove(&connection.id);
                }
            },
            Record::Notice(notice) => {
                if is_cut(&notice.kind) {
                    self.cut_off(notice.at.wall);
                }
            }
        }
    }

    /// Those that are open, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &OpenConnection> {
        self.open.values()
    }

    /// Forgets those that were cut off: they will never close here.
    pub fn forget_cut_off(&mut self) {
        self.open.retain(|_, open| open.cut_off_at.is_none());
    }

    fn cut_off(&mut self, at: Wall) {
        for open in self.open.values_mut() {
            open.cut_off_at.get_or_insert(at);
        }
    }
}

/// An epoch's end, or the start of the next where the end was not recorded.
fn is_cut(kind: &NoticeKind) -> bool {
    match kind {
        NoticeKind::RecorderStarted { .. } | NoticeKind::RecorderStopped { .. } => true,
        NoticeKind::SensorStarted { .. }
        | NoticeKind::SensorStopped { .. }
        | NoticeKind::SensorLimited { .. }
        | NoticeKind::BreakerChanged { .. }
        | NoticeKind::Coverage(_)
        | NoticeKind::ExtensionReplaced(_)
        | NoticeKind::Sleeping
        | NoticeKind::Lost { .. }
        | NoticeKind::Slept { .. }
        | NoticeKind::ClockStepped { .. }
        | NoticeKind::TrailEvicted { .. }
        | NoticeKind::Ledger(_)
        | NoticeKind::PolicyChanged(_)
        | NoticeKind::PolicyCounts(_)
        | NoticeKind::StageCounts(_)
        | NoticeKind::Undelivered(_)
        | NoticeKind::Delivery(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Notice, Stamp, sample};

    fn connection(ordinal: u64, phase: Phase) -> Record {
        let Record::Connection(connection) = sample::closes(1, 1).remove(0) else {
            unreachable!("closes are connections")
        };
        let id = ConnectionId { epoch: 1, ordinal };
        Record::Connection(Connection {
            id,
            phase,
            ..connection
        })
    }

    const CLOSE: Phase = Phase::Close(record::Ending {
        outcome: record::Outcome::Closed,
        errno: None,
    });

    #[test]
    fn what_closes_is_no_longer_open_and_what_is_cut_off_is_marked() {
        let mut open = OpenConnections::default();
        open.apply(&connection(1, Phase::Open));
        open.apply(&connection(2, Phase::Open));
        open.apply(&connection(1, CLOSE));
        assert_eq!(
            open.iter()
                .map(|it| it.connection.id.ordinal)
                .collect::<Vec<_>>(),
            [2]
        );
        let at = Stamp {
            wall: Wall(99),
            ..Stamp::default()
        };
        let kind = NoticeKind::RecorderStarted { previous: None };
        open.apply(&Record::Notice(Notice { at, kind }));
        assert_eq!(open.iter().next().unwrap().cut_off_at, Some(Wall(99)));
        open.forget_cut_off();
        assert_eq!(open.iter().count(), 0);
    }
}
