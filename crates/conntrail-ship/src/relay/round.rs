//! A round: messages that came together, as rows that go in together.

use super::clickhouse::Insert;
use crate::fleet::{self, StoreTable};
use record::wire::push_varint;
use record::{Connection, Record};
use sha2::{Digest, Sha256};
use ship::flat::{self, Provenance, Rows, Table, Texts};
use ship::{Batch, Item};
use std::collections::{BTreeMap, BTreeSet};

/// The sequences that one manifest may account for: more would be no batch, but an attack on
/// whoever lists them.
const RANGE_MAX: u64 = 1 << 24;

/// Days in one insert, at most; a server refuses blocks for more than 100 partitions.
const DAYS_MAX: usize = 50;

const MILLISECONDS_A_DAY: i64 = 86_400_000;

/// What is known of a message beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postmark {
    /// Name of the stream.
    pub stream: String,
    /// When the stream was made, in milliseconds since 1970.
    pub stream_created_ms: i64,
    /// Its place in the stream, which never changes.
    pub stream_sequence: u64,
    /// When it was published, in milliseconds since 1970.
    pub published_ms: i64,
    /// When it came here, in milliseconds since 1970.
    pub received_ms: i64,
    /// Subject.
    pub subject: String,
    /// `Nats-Msg-Id`; empty where it had none.
    pub message_id: String,
}

/// Rows of messages, and the inserts that they become.
#[derive(Debug, Default)]
pub struct Round {
    rows: Rows,
    texts: Texts,
    /// By table, then by the day on which they begin: that is how the store keeps them apart.
    days: BTreeMap<(StoreTable, i64), Part>,
    /// What the tokens are made of: the messages, in their order.
    sum: Sha256,
    count: usize,
    bytes: usize,
}

/// Rows of one partition.
#[derive(Debug, Default)]
struct Part {
    rows: u64,
    body: Vec<u8>,
}

impl Round {
    /// Rows so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of rows so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the batch of a message.
    ///
    /// # Errors
    ///
    /// When it is not what its own manifest says; then nothing was added.
    pub fn add(&mut self, postmark: &Postmark, batch: &Batch) -> Result<(), String> {
        check(&mut self.texts, batch)?;
        let provenance = Provenance::of(batch);
        let mut days = BTreeSet::new();
        let mut times: Option<(i64, i64)> = None;
        self.rows.begin();
        for item in &batch.items {
            let (table, start_ms) = place(&item.record);
            let day = start_ms.div_euclid(MILLISECONDS_A_DAY);
            days.insert(day);
            let at_ms = item.record.at().wall.as_millis();
            let (first_ms, last_ms) = times.unwrap_or((at_ms, at_ms));
            times = Some((first_ms.min(at_ms), last_ms.max(at_ms)));
            let part = self.days.entry((table, day)).or_default();
            let before = part.body.len();
            self.rows.item(provenance, item, &mut part.body);
            part.rows += 1;
            self.bytes += part.body.len() - before;
        }
        self.count += batch.items.len();
        self.manifest(postmark, batch, times, &days);
        self.stamp(postmark);
        Ok(())
    }

    /// Adds a message that cannot be read, whole, with the reason: it is set aside where whoever
    /// looks for what is missing will look.
    pub fn set_aside(&mut self, postmark: &Postmark, body: &[u8], reason: &str) {
        let part = self.days.entry((StoreTable::Refused, 0)).or_default();
        let before = part.body.len();
        let out = &mut part.body;
        push_postmark(postmark, out);
        push_text(postmark.subject.as_bytes(), out);
        push_text(postmark.message_id.as_bytes(), out);
        push_text(reason.as_bytes(), out);
        push_text(body, out);
        part.rows += 1;
        self.bytes += part.body.len() - before;
        self.count += 1;
        self.stamp(postmark);
    }

    /// The inserts, in the order in which they must be made: manifests are last, so that what they
    /// say was sent is there when they are.
    pub fn into_inserts(self) -> Vec<Insert> {
        let sum = self.sum.finalize();
        let mut inserts: Vec<Insert> = Vec::new();
        let mut days = 0;
        for ((table, day), part) in self.days {
            match inserts.last_mut() {
                Some(last) if last.table == table.name() && days < DAYS_MAX => {
                    last.body.extend_from_slice(&part.body);
                    last.rows += part.rows;
                    days += 1;
                }
                Some(_) | None => {
                    inserts.push(insert(table, day, &sum, part));
                    days = 1;
                }
            }
        }
        inserts
    }

    fn manifest(
        &mut self,
        postmark: &Postmark,
        batch: &Batch,
        times: Option<(i64, i64)>,
        days: &BTreeSet<i64>,
    ) {
        let part = self
            .days
            .entry((StoreTable::Flat(Table::Batches), 0))
            .or_default();
        let before = part.body.len();
        let out = &mut part.body;
        self.rows.manifest(&batch.device, &batch.manifest, out);
        push_postmark(postmark, out);
        for time in [times.map(|it| it.0), times.map(|it| it.1)] {
            out.push(u8::from(time.is_none()));
            out.extend(time.into_iter().flat_map(i64::to_le_bytes));
        }
        push_varint(out, days.len() as u64);
        for day in days {
            // As the store turns moments into its dates: what is out of their range, into the
            // nearest.
            let day = (*day).clamp(0, u16::MAX.into()) as u16;
            out.extend_from_slice(&day.to_le_bytes());
        }
        part.rows += 1;
        self.bytes += part.body.len() - before;
        self.count += 1;
    }

    fn stamp(&mut self, postmark: &Postmark) {
        self.sum.update(postmark.stream.as_bytes());
        self.sum.update(postmark.stream_created_ms.to_le_bytes());
        self.sum.update(postmark.stream_sequence.to_le_bytes());
    }
}

fn insert(table: StoreTable, day: i64, sum: &[u8], part: Part) -> Insert {
    let hex: String = sum[..16].iter().map(|it| format!("{it:02x}")).collect();
    Insert {
        target: fleet::insert_target(table),
        table: table.name(),
        token: format!("{hex}-{}-{day}", table.name()),
        rows: part.rows,
        body: part.body,
    }
}

/// Whether a batch is what its manifest says.
pub(super) fn check(texts: &mut Texts, batch: &Batch) -> Result<(), String> {
    let manifest = &batch.manifest;
    let id = &manifest.id;
    if id.first == 0 || id.last < id.first || id.last - id.first >= RANGE_MAX {
        return Err(format!("the range {} to {} is none", id.first, id.last));
    }
    let sent = batch.items.len() as u64;
    if sent != manifest.sent {
        return Err(format!("it has {sent} records and says {}", manifest.sent));
    }
    let left_out = manifest.left_out;
    let parts = [
        left_out.opens,
        left_out.filtered,
        left_out.dropped,
        left_out.refused,
    ];
    let parts = parts.into_iter().chain([left_out.missing, sent]);
    let total = { parts }.try_fold(0_u64, u64::checked_add);
    if total != Some(manifest.range()) {
        return Err("what was sent and what was left out are not its range".to_owned());
    }
    let in_order = batch
        .items
        .windows(2)
        .all(|it| it[0].id.sequence < it[1].id.sequence);
    let within =
        |item: &Item| item.id.epoch == id.epoch && (id.first..=id.last).contains(&item.id.sequence);
    if !in_order || !batch.items.iter().all(within) {
        return Err("records are not in order, or not of its range".to_owned());
    }
    if batch.device.endpoint != id.endpoint {
        return Err("machine and manifest do not belong together".to_owned());
    }
    match flat::digest(texts, Provenance::of(batch), &batch.items) == manifest.digest {
        true => Ok(()),
        false => Err("the digest is another".to_owned()),
    }
}

/// The table of a record, and the moment that decides its partition, in milliseconds since 1970.
fn place(record: &Record) -> (StoreTable, i64) {
    match record {
        Record::Connection(connection) => {
            (StoreTable::Flat(Table::Connections), start_ms(connection))
        }
        Record::Notice(notice) => (StoreTable::Flat(Table::Notices), notice.at.wall.as_millis()),
    }
}

/// What the column `start_time` says.
fn start_ms(connection: &Connection) -> i64 {
    let at = connection.at;
    let opened = connection.opened.map(|opened| opened.min(at.mono));
    at.wall_at(opened.unwrap_or(at.mono)).as_millis()
}

fn push_postmark(postmark: &Postmark, out: &mut Vec<u8>) {
    push_text(postmark.stream.as_bytes(), out);
    out.extend_from_slice(&postmark.stream_created_ms.to_le_bytes());
    out.extend_from_slice(&postmark.stream_sequence.to_le_bytes());
    out.extend_from_slice(&postmark.published_ms.to_le_bytes());
    out.extend_from_slice(&postmark.received_ms.to_le_bytes());
}

fn push_text(text: &[u8], out: &mut Vec<u8>) {
    push_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{RecordId, sample};
    use ship::{BatchId, LeftOut, Manifest};
    use std::sync::Arc;
    use trail::Source;

    fn batch(records: &[Record]) -> Batch {
        let numbered = (1..).zip(records);
        let items = numbered.map(|(sequence, record)| Item {
            id: RecordId { epoch: 1, sequence },
            record: record.clone(),
        });
        let mut batch = Batch {
            manifest: Manifest {
                id: BatchId {
                    endpoint: sample::device().endpoint,
                    source: Source::Recorder,
                    epoch: 1,
                    first: 1,
                    last: records.len() as u64,
                    view: 0,
                },
                sent: records.len() as u64,
                left_out: LeftOut::default(),
                digest: [0; 32],
                head: None,
                until: None,
            },
            device: Arc::new(sample::device()),
            items: items.collect(),
        };
        let (mut texts, items) = (Texts::default(), &batch.items);
        batch.manifest.digest = flat::digest(&mut texts, Provenance::of(&batch), items);
        batch
    }

    fn postmark(stream_sequence: u64) -> Postmark {
        Postmark {
            stream: "S".to_owned(),
            stream_created_ms: 1,
            stream_sequence,
            published_ms: 2,
            received_ms: 3,
            subject: "s".to_owned(),
            message_id: String::new(),
        }
    }

    fn inserts(batch: &Batch, stream_sequence: u64) -> Vec<Insert> {
        let mut round = Round::default();
        round.add(&postmark(stream_sequence), batch).unwrap();
        round.into_inserts()
    }

    #[test]
    fn manifests_go_in_last_and_the_same_messages_have_the_same_tokens() {
        let batch = batch(&sample::records(1, 300));
        let first = inserts(&batch, 1);
        let tables: Vec<&str> = first.iter().map(|it| it.table).collect();
        assert_eq!(tables, ["connections", "notices", "batches"]);
        assert_eq!(first.iter().map(|it| it.rows).sum::<u64>(), 301);
        assert_eq!(inserts(&batch, 1), first);
        let other = inserts(&batch, 2);
        assert!(
            first
                .iter()
                .zip(&other)
                .all(|(one, two)| one.token != two.token)
        );
    }

    #[test]
    fn an_insert_has_no_more_days_than_a_server_takes() {
        let mut records = sample::closes(1, 120);
        for (day, record) in records.iter_mut().enumerate() {
            let Record::Connection(connection) = record else {
                panic!("a close is a connection");
            };
            connection.at.wall.0 += day as i64 * 86_400_000_000_000;
        }
        let inserts = inserts(&batch(&records), 1);
        let connections = inserts.iter().filter(|it| it.table == "connections");
        let tokens: BTreeSet<&str> = connections.map(|it| it.token.as_str()).collect();
        assert_eq!(tokens.len(), 3);
    }

    #[test]
    fn a_batch_that_is_not_what_its_manifest_says_is_refused_whole() {
        type Change = fn(&mut Batch);
        let changes: [(Change, &str); 7] = [
            (|it| it.manifest.sent += 1, "says 21"),
            (
                |it| it.manifest.left_out.missing = u64::MAX,
                "not its range",
            ),
            (|it| it.manifest.id.first = 0, "is none"),
            (|it| it.manifest.id.last = u64::MAX, "is none"),
            (|it| it.items.swap(3, 4), "not in order"),
            (|it| it.manifest.id.endpoint.0[0] ^= 1, "do not belong"),
            (|it| it.manifest.digest[0] ^= 1, "digest"),
        ];
        let whole = batch(&sample::records(1, 20));
        for (change, words) in changes {
            let (mut changed, mut round) = (whole.clone(), Round::default());
            change(&mut changed);
            let error = round.add(&postmark(1), &changed).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert_eq!((round.count(), round.into_inserts()), (0, Vec::new()));
        }
    }
}
