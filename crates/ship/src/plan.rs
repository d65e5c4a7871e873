//! What a destination would have been sent of a trail that is there already.

use crate::config::{Destination, Filter};
use crate::{Cutter, Encoder, EncoderError, Found, LeftOut, Limits, Taken, flat};
use policy::{Engine, Policy, PseudonymKey};
use record::{RecordId, Stamp, Wall, codec};
use std::sync::Arc;
use trail::{Head, RawItem, Source};

/// Reads trails as the shipper would have, had it been there, and counts what it would have sent.
///
/// Batches are cut where they would have been: when they are full, and when their first record
/// has waited long enough by the records' own times.
pub struct Planner {
    limits: Limits,
    age_max_ns: u64,
    bytes_factor: usize,
    filter: Filter,
    view: u32,
    engine: Engine,
    encoder: Encoder,
    texts: flat::Texts,
    decoder: codec::Decoder,
    reading: Option<Reading>,
    planned: Planned,
}

/// What would have been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Records that were read.
    pub read: u64,
    /// Records that would have been sent; manifests do not count.
    pub records: u64,
    /// Batches, each with its manifest: so many requests or messages.
    pub batches: u64,
    /// Bytes of these as they would have been sent. What the protocol adds to each is not in it.
    pub bytes: u64,
    /// Records that would not have been sent, by why.
    pub left_out: LeftOut,
    /// When the earliest record was made.
    pub first: Option<Wall>,
    /// When the latest record was made.
    pub last: Option<Wall>,
}

/// The trail that is being read.
struct Reading {
    source: Source,
    cutter: Cutter,
    /// When the first record was made that is not cut.
    since: Option<Wall>,
}

impl Planner {
    /// For one destination, with the privacy policy that it would have. Pseudonyms are made with a
    /// key of no worth: they are as long as real ones.
    ///
    /// # Errors
    /// When the destination's format and form do not go together.
    pub fn new(destination: &Destination, policy: Option<Policy>) -> Result<Planner, EncoderError> {
        let view = destination.view(policy.as_ref().and_then(Policy::hash));
        let mut engine = Engine::default();
        engine.set_policy(policy.map(Arc::new), Stamp::default());
        engine.set_key(Some(PseudonymKey::new([0; policy::KEY_BYTES])));
        Ok(Planner {
            limits: destination.limits(),
            age_max_ns: destination.age_max_ns(),
            bytes_factor: destination.format().bytes_factor(),
            filter: destination.filter.clone(),
            view,
            engine,
            encoder: Encoder::new(destination.encoder_settings())?,
            texts: flat::Texts::default(),
            decoder: codec::Decoder::default(),
            reading: None,
            planned: Planned::default(),
        })
    }

    /// Begins with a trail, from its first record on.
    pub fn begin(&mut self, source: &Source) {
        self.cut();
        let start = RecordId {
            epoch: 0,
            sequence: 0,
        };
        self.reading = Some(Reading {
            source: source.clone(),
            cutter: Cutter::new(self.limits, start),
            since: None,
        });
    }

    /// Understands what a reader of that trail handed out; `None` where it loses no record.
    ///
    /// # Panics
    /// When no trail was begun.
    pub fn found(&mut self, item: RawItem<'_>) -> Option<Found> {
        let expected = self.reading().cutter.next();
        Found::of(item, expected, &mut self.decoder, self.bytes_factor)
    }

    /// Takes what was found, and the chain's head that the reader knows then.
    ///
    /// # Panics
    /// When no trail was begun.
    pub fn take(&mut self, mut found: Option<Found>, head: Option<Head>) {
        if let Some(Found::Record(record)) = &mut found {
            record.set_head(head);
            let at = record.record.at().wall;
            self.planned.read += 1;
            self.planned.first = Some(self.planned.first.map_or(at, |it| it.min(at)));
            self.planned.last = self.planned.last.max(Some(at));
            if self.is_due(at) {
                self.cut();
            }
            self.reading().since.get_or_insert(at);
        }
        while let Some(it) = found {
            let reading = self.reading.as_mut().expect("a trail was begun");
            found = match reading.cutter.take(it, &self.filter, &mut self.engine) {
                Taken::Yes => None,
                Taken::Missing(_, rest) => rest,
                Taken::Full(rest) => {
                    self.cut();
                    Some(rest)
                }
            };
        }
    }

    /// What it all comes to.
    pub fn finish(mut self) -> Planned {
        self.cut();
        self.planned
    }

    fn reading(&mut self) -> &mut Reading {
        self.reading.as_mut().expect("a trail was begun")
    }

    fn is_due(&self, at: Wall) -> bool {
        let since = self.reading.as_ref().and_then(|it| it.since);
        since.is_some_and(|since| at.0.saturating_sub(since.0) as u64 >= self.age_max_ns)
    }

    fn cut(&mut self) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        reading.since = None;
        let Some(cut) = reading.cutter.cut() else {
            return;
        };
        self.planned.left_out += cut.left_out;
        let batch = cut.batch(&reading.source, self.view, &mut self.texts);
        self.planned.batches += 1;
        self.planned.records += batch.items.len() as u64;
        self.planned.bytes += self.encoder.encode(&batch).body.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use record::{Device, Record, sample};

    const FILE: &str = "[destination.one]\nbatch_records_max = 10\nbatch_age_max_ms = 1000\n\
                        [destination.one.file]\n";

    fn planner(text: &str) -> Planner {
        let config = config::parse(text).unwrap();
        Planner::new(&config.destination["one"], None).unwrap()
    }

    /// Closes, `every_ms` apart.
    fn plan(planner: &mut Planner, count: usize, every_ms: u64) {
        let device = Arc::new(Device::default());
        planner.begin(&Source::Recorder);
        for (sequence, mut record) in (1..).zip(sample::closes(7, count)) {
            if let Record::Connection(connection) = &mut record {
                connection.at.wall = Wall((sequence * every_ms * 1_000_000) as i64);
                connection.protocol = record::Protocol::Tcp;
            }
            let mut bytes = Vec::new();
            codec::encode(&record, &mut bytes);
            let id = RecordId { epoch: 1, sequence };
            let (bytes, device) = (bytes.as_slice(), &device);
            let found = planner.found(RawItem::Record { id, bytes, device });
            planner.take(found, None);
        }
    }

    #[test]
    fn batches_end_when_they_are_full_and_when_a_record_has_waited() {
        let mut quick = planner(FILE);
        plan(&mut quick, 95, 1);
        let quick = quick.finish();
        assert_eq!((quick.read, quick.records, quick.batches), (95, 95, 10));
        let mut slow = planner(FILE);
        plan(&mut slow, 12, 500);
        let slow = slow.finish();
        assert_eq!((slow.records, slow.batches), (12, 6));
        assert_eq!(slow.first, Some(Wall(500_000_000)));
        assert_eq!(slow.last, Some(Wall(6_000_000_000)));
        // A batch has a manifest, so more of them are more bytes for each record.
        assert!(slow.bytes / slow.records > quick.bytes / quick.records);
    }

    #[test]
    fn what_the_filter_leaves_out_is_counted_and_not_sent() {
        let text = format!("{FILE}[destination.one.filter]\nprotocols = [\"udp\"]\n");
        let mut planner = planner(&text);
        plan(&mut planner, 20, 1);
        let planned = planner.finish();
        assert_eq!((planned.read, planned.records), (20, 0));
        assert_eq!(planned.left_out.filtered, 20);
    }
}
