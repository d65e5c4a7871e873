//! What a trail said so far, to hold against it what it says later.

use record::{Direction, NoticeKind, Phase, PreviousEpoch, Record, RecordId, Stamp};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use trail::{RawItem, TrailReader};

/// Every record that was ever readable.
#[derive(Default)]
pub(super) struct Books {
    seen: BTreeMap<RecordId, u64>,
    /// The first record of each epoch.
    starts: BTreeMap<u64, (Stamp, Option<PreviousEpoch>)>,
    /// When the sensor of each epoch began.
    sensing: BTreeMap<u64, Stamp>,
    ends: BTreeMap<Ipv4Addr, u64>,
    clock_steps_s: Vec<i64>,
    longest_ns: u64,
    evicted: Option<RecordId>,
    last_wall_ns: Option<i64>,
}

impl Books {
    /// Reads the trail. What was there before must be the same or evicted, and ids only rise.
    pub(super) fn look(&mut self, state: &Path) {
        let mut reader = TrailReader::open(&trail::segments_dir(state)).unwrap();
        let mut last = None;
        while let Some(item) = reader.next_raw().unwrap() {
            let RawItem::Record { id, bytes, .. } = item else {
                continue;
            };
            assert!(last < Some(id), "{id:?} comes after {last:?}");
            last = Some(id);
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let hash = hasher.finish();
            match self.seen.insert(id, hash) {
                Some(before) => assert_eq!(before, hash, "{id:?} is another record now"),
                None => self.hear(id, &record::codec::decode(bytes).unwrap()),
            }
        }
    }

    /// What must be true when all is over.
    pub(super) fn settle(&mut self, state: &Path) {
        self.look(state);
        let report = trail::verify(&trail::segments_dir(state)).unwrap();
        assert!(report.is_complete(), "{report:#?}");
        assert!(report.looks_untouched(), "{:#?}", report.chain);
        let mut expected = None;
        for id in self.seen.keys() {
            let follows = expected == Some(*id) || id.sequence == 1;
            assert!(follows, "{id:?} comes instead of {expected:?}");
            expected = Some(RecordId {
                sequence: id.sequence + 1,
                ..*id
            });
        }
        for (epoch, (_, previous)) in &self.starts {
            let first = RecordId {
                epoch: *epoch,
                sequence: 1,
            };
            let before = self.seen.range(..first).next_back().map(|(id, _)| *id);
            let named = previous.map(|it| RecordId {
                epoch: it.epoch,
                sequence: it.last_sequence,
            });
            let named = named.filter(|it| it.sequence > 0);
            assert_eq!(named, before, "what epoch {epoch} names as the last before");
        }
    }

    /// When the last record was made that was new to a look since this was asked last.
    pub(super) fn take_last_wall_ns(&mut self) -> Option<i64> {
        self.last_wall_ns.take()
    }

    fn hear(&mut self, id: RecordId, record: &Record) {
        let at = record.at();
        self.last_wall_ns = Some(at.wall.0);
        if id.sequence == 1 {
            let Record::Notice(notice) = record else {
                panic!("epoch {} does not begin with its start", id.epoch)
            };
            let NoticeKind::RecorderStarted { previous } = &notice.kind else {
                panic!("epoch {} begins with {notice:?}", id.epoch)
            };
            self.starts.insert(id.epoch, (at, *previous));
        }
        match record {
            Record::Connection(connection) => {
                let address = connection.remote.address;
                if let (Phase::Close(_), Direction::Outbound, Some(IpAddr::V4(address))) =
                    (connection.phase, connection.direction, address)
                {
                    *self.ends.entry(address).or_default() += 1;
                }
                let lasted = connection
                    .opened
                    .map_or(0, |opened| at.mono.since_ns(opened));
                self.longest_ns = self.longest_ns.max(lasted);
            }
            Record::Notice(notice) => match &notice.kind {
                NoticeKind::ClockStepped { by_ns } => {
                    self.clock_steps_s.push(by_ns / 1_000_000_000);
                }
                NoticeKind::SensorStarted { .. } => {
                    self.sensing.entry(id.epoch).or_insert(at);
                }
                NoticeKind::TrailEvicted {
                    epoch,
                    last_sequence,
                    ..
                } => {
                    self.evicted = Some(RecordId {
                        epoch: *epoch,
                        sequence: *last_sequence,
                    });
                }
                _ => {}
            },
        }
    }

    pub(super) fn records(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn epochs(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn clock_steps_s(&self) -> &[i64] {
        &self.clock_steps_s
    }

    pub(super) fn longest_connection_ns(&self) -> u64 {
        self.longest_ns
    }

    pub(super) fn evicted(&self) -> Option<RecordId> {
        self.evicted
    }

    /// How often the end of the connection to an address was recorded, at the client.
    pub(super) fn ends(&self, remote: Ipv4Addr) -> u64 {
        self.ends.get(&remote).copied().unwrap_or(0)
    }

    /// Wall times between which, as the epochs say, it is not known what happened: from the last
    /// record before to the sensor's start.
    pub(super) fn unknown_ns(&self) -> Vec<(i64, i64)> {
        let windows = self.starts.iter().map(|(epoch, (at, previous))| {
            let from = previous.and_then(|it| it.last_at).map_or(0, |it| it.wall.0);
            let until = self.sensing.get(epoch).map_or(at.wall.0, |it| it.wall.0);
            (from, until)
        });
        windows.collect()
    }
}
