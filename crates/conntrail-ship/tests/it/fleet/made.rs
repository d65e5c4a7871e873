//! Records whose every number is known beforehand, and a store to put them into.

use conntrail_ship::fleet::{self, Form};
use conntrail_ship::relay::{Insert, Postmark, Round};
use engines::ClickHouse;
use record::{
    Connection, Device, EndpointId, Mono, Notice, NoticeKind, Phase, PreviousEpoch, Record,
    RecordId, Stamp, Wall, sample,
};
use ship::flat::{self, Provenance, Texts};
use ship::{Batch, BatchId, Item, LeftOut, Manifest};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use trail::{Head, Source};

pub(super) const HOUR_NS: i64 = 3_600_000_000_000;

/// A machine of the fleet.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) device: Arc<Device>,
    pub(super) source: Source,
}

impl Machine {
    pub(super) fn new(number: u8) -> Machine {
        let mut device = sample::device();
        device.endpoint = EndpointId([number; 16]);
        device.hostname = format!("laptop-{number}.example");
        Machine {
            device: Arc::new(device),
            source: Source::Recorder,
        }
    }

    /// The shipper's own trail on the same machine.
    pub(super) fn shipper(&self) -> Machine {
        Machine {
            device: self.device.clone(),
            source: Source::Side("ship".into()),
        }
    }

    pub(super) fn id(&self) -> String {
        self.device.endpoint.to_string()
    }

    /// Records from `first` on, all sent.
    pub(super) fn batch(&self, epoch: u64, first: u64, records: &[Record]) -> Batch {
        self.batch_without(epoch, first, records, &[])
    }

    /// Records from `first` on, without those that are left out by a filter.
    pub(super) fn batch_without(
        &self,
        epoch: u64,
        first: u64,
        records: &[Record],
        left_out: &[u64],
    ) -> Batch {
        let numbered = (first..).zip(records);
        let sent = numbered.filter(|(sequence, _)| !left_out.contains(sequence));
        let items = sent.map(|(sequence, record)| Item {
            id: RecordId { epoch, sequence },
            record: record.clone(),
        });
        let items: Vec<Item> = items.collect();
        let last = first + records.len() as u64 - 1;
        let provenance = Provenance {
            device: &self.device,
            source: &self.source,
            epoch,
        };
        let manifest = Manifest {
            id: BatchId {
                endpoint: self.device.endpoint,
                source: self.source.clone(),
                epoch,
                first,
                last,
                view: 7,
            },
            sent: items.len() as u64,
            left_out: LeftOut {
                filtered: left_out.len() as u64,
                ..LeftOut::default()
            },
            digest: flat::digest(&mut Texts::default(), provenance, &items),
            head: Some(Head {
                epoch,
                sequence: last,
                hash: [9; 32],
            }),
            until: items.last().map(|item| item.record.at().wall),
        };
        Batch {
            manifest,
            device: self.device.clone(),
            items,
        }
    }

    /// All records of an epoch, in batches of so many.
    pub(super) fn batches(&self, epoch: u64, records: &[Record], size: usize) -> Vec<Batch> {
        let parts = records.chunks(size).enumerate();
        parts
            .map(|(index, part)| self.batch(epoch, (index * size) as u64 + 1, part))
            .collect()
    }
}

/// A moment, so many nanoseconds from now.
pub(super) fn from_now(offset_ns: i64) -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let wall = now.as_nanos() as i64 + offset_ns;
    Stamp {
        wall: Wall(wall / 1_000_000 * 1_000_000),
        mono: Mono((1_000 * HOUR_NS + offset_ns) as u64),
    }
}

pub(super) fn notice(at: Stamp, kind: NoticeKind) -> Record {
    Record::Notice(Notice { at, kind })
}

pub(super) fn started(at: Stamp, previous: Option<(u64, u64)>) -> Record {
    let previous = previous.map(|(epoch, last_sequence)| PreviousEpoch {
        epoch,
        last_sequence,
        last_at: None,
        stopped_in_order: true,
    });
    notice(at, NoticeKind::RecorderStarted { previous })
}

/// A close that began so many nanoseconds from now and took a second.
pub(super) fn close(offset_ns: i64, change: impl FnOnce(&mut Connection)) -> Record {
    let Some(Record::Connection(mut connection)) = sample::closes(1, 1).pop() else {
        panic!("a close is a connection");
    };
    connection.at = from_now(offset_ns + 1_000_000_000);
    connection.opened = Some(from_now(offset_ns).mono);
    connection.established = None;
    assert!(matches!(connection.phase, Phase::Close(_)));
    change(&mut connection);
    Record::Connection(connection)
}

/// A start and so many closes.
pub(super) fn an_epoch(seed: u64, closes: usize) -> Vec<Record> {
    let mut records = vec![started(from_now(-HOUR_NS), None)];
    records.extend(sample::closes(seed, closes));
    records
}

/// A store with the tables of the fleet.
pub(super) struct Fleet {
    pub(super) engine: ClickHouse,
    sequence: u64,
}

impl Fleet {
    pub(super) fn start() -> Fleet {
        let engine = ClickHouse::start();
        make_tables(&engine);
        Fleet {
            engine,
            sequence: 0,
        }
    }

    /// Puts batches in as a relay would, one message each.
    pub(super) fn add(&mut self, batches: &[Batch]) {
        for batch in batches {
            self.sequence += 1;
            let mut round = Round::default();
            let postmark = postmark(self.sequence, &batch.manifest.id.to_string());
            round.add(&postmark, batch).expect("the batch is whole");
            for insert in round.into_inserts() {
                put(&self.engine, &insert);
            }
        }
    }

    /// Sets a message aside, as a relay would.
    pub(super) fn set_aside(&mut self, message_id: &str) {
        self.sequence += 1;
        let mut round = Round::default();
        round.set_aside(&postmark(self.sequence, message_id), b"?", "unreadable");
        for insert in round.into_inserts() {
            put(&self.engine, &insert);
        }
    }

    /// What a query finds, in lines, columns apart by tabs.
    #[track_caller]
    pub(super) fn ask(&self, query: &str) -> String {
        self.engine.query(query).trim_end().to_owned()
    }
}

pub(super) fn make_tables(engine: &ClickHouse) {
    for statements in fleet::ddl(&Form::Single, "conntrail") {
        for statement in statements.text.split(";\n") {
            if statement
                .lines()
                .any(|it| !it.trim().is_empty() && !it.starts_with("--"))
            {
                engine.run(statement);
            }
        }
    }
}

fn postmark(sequence: u64, message_id: &str) -> Postmark {
    let now_ms = from_now(0).wall.as_millis();
    Postmark {
        stream: "CONNTRAIL".to_owned(),
        stream_created_ms: 1_790_000_000_000,
        stream_sequence: sequence,
        published_ms: now_ms,
        received_ms: now_ms,
        subject: "conntrail.default.0".to_owned(),
        message_id: message_id.to_owned(),
    }
}

fn put(engine: &ClickHouse, insert: &Insert) {
    let statement = format!("INSERT INTO conntrail.{} FORMAT RowBinary", insert.target);
    let settings = [("insert_deduplication_token", insert.token.as_str())];
    let inserted = engine.insert(&statement, &settings, &[], &insert.body);
    inserted.unwrap_or_else(|error| panic!("{}: {error}", insert.table));
}
