//! Reads trails as a courier asks for it, and makes parcels of what is read.

use crate::own;
use anyhow::Context;
use policy::{Engine, KEY_BYTES, PseudonymKey};
use record::{Device, EndpointId, RecordId, Stamp, Wall, codec};
use sha2::{Digest, Sha256};
use ship::config::{Destination, Filter};
use ship::courier::{Plan, PlanId, Stretch, StretchId};
use ship::{Cut, Cutter, Encoder, Found, FoundMissing, Limits, Parcel, Taken, flat};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trail::{
    Cursor, Item, RawItem, ReadOptions, Resumed, Source, TrailError, TrailReader, segments_dir,
};

/// What came of reading.
pub(crate) enum Read {
    /// A batch.
    Cut(Cut),
    /// These are not there.
    Missing(FoundMissing),
    /// It is read to its end.
    Finished,
    /// There is nothing more for now, or not enough.
    Nothing,
    /// Another machine recorded this trail, or it was set back.
    StartOver(EndpointId),
}

/// Reads, cuts and encodes for one destination.
pub(crate) struct Desk {
    state_dir: PathBuf,
    endpoint: EndpointId,
    /// Who recorded these trails: a machine may be given another identity, and its trail goes on.
    machines: BTreeSet<EndpointId>,
    limits: Limits,
    filter: Filter,
    view: u32,
    engine: Engine,
    pseudonyms: Option<Pseudonyms>,
    encoder: Encoder,
    texts: flat::Texts,
    decoder: codec::Decoder,
    bytes_factor: usize,
    age_max_ns: u64,
    readings: BTreeMap<StretchId, Reading>,
}

/// A stretch that is being read.
struct Reading {
    reader: TrailReader,
    cutter: Cutter,
    /// What was found and does not belong to what was cut before it.
    pending: Option<Found>,
    /// When the first record was taken that is not cut.
    since: Option<record::Mono>,
    /// Since when there is nothing more, though its end was not reached.
    short_since: Option<record::Mono>,
}

/// What once could be read and cannot be found may come back for so long: after a power cut less
/// is published until the recorder starts again.
const SHORT_MAX_NS: u64 = 30_000_000_000;

/// One key for each period of a policy, made of one secret and the time of the record: so a record
/// gets the same pseudonyms however often it is read.
struct Pseudonyms {
    secret: [u8; KEY_BYTES],
    period_ns: i64,
    period: Option<i64>,
}

impl Desk {
    pub(crate) fn new(
        name: &str,
        destination: &Destination,
        state_dir: &Path,
        endpoint: EndpointId,
    ) -> anyhow::Result<Desk> {
        let oldest = oldest_device(&segments_dir(state_dir))?.map(|it| it.endpoint);
        let policy = destination.policy(|path| std::fs::read_to_string(path))?;
        let hash = policy.as_ref().and_then(|policy| policy.hash());
        let pseudonyms = match &policy {
            Some(policy) if policy.makes_pseudonyms() => {
                Some(Pseudonyms::new(name, state_dir, policy.rotate_s())?)
            }
            Some(_) | None => None,
        };
        let mut engine = Engine::default();
        engine.set_policy(policy.map(Arc::new), Stamp::default());
        Ok(Desk {
            state_dir: state_dir.to_owned(),
            endpoint,
            machines: oldest.into_iter().chain([endpoint]).collect(),
            limits: destination.limits(),
            filter: destination.filter.clone(),
            view: destination.view(hash),
            engine,
            pseudonyms,
            encoder: Encoder::new(destination.encoder_settings())?,
            texts: flat::Texts::default(),
            decoder: codec::Decoder::default(),
            bytes_factor: destination.format().bytes_factor(),
            age_max_ns: destination.age_max_ns(),
            readings: BTreeMap::new(),
        })
    }

    /// Goes on with a stretch until there is something to tell.
    pub(crate) fn read(&mut self, stretch: &Stretch, now: record::Mono) -> anyhow::Result<Read> {
        let mut reading = match self.readings.remove(&stretch.id) {
            Some(reading) => reading,
            None => match self.open(&stretch.source, stretch.from)? {
                Ok(reader) => Reading {
                    reader,
                    cutter: Cutter::new(self.limits, stretch.from),
                    pending: None,
                    since: None,
                    short_since: None,
                },
                Err(other) => return Ok(Read::StartOver(other)),
            },
        };
        let read = self.go_on(&mut reading, stretch.until, now)?;
        if !matches!(read, Read::Finished) {
            self.readings.insert(stretch.id, reading);
        }
        Ok(read)
    }

    /// The same range once more; `None` where it is not there as it was.
    pub(crate) fn read_again(&mut self, plan: &Plan) -> anyhow::Result<Option<Cut>> {
        let from = RecordId {
            epoch: plan.epoch,
            sequence: plan.first,
        };
        let Ok(mut reader) = self.open(&plan.source, from)? else {
            return Ok(None);
        };
        let mut cutter = Cutter::new(Limits::none(), from);
        while cutter.next().epoch == plan.epoch && cutter.next().sequence <= plan.last {
            let Some(found) = self.next(&mut reader, cutter.next())? else {
                return Ok(None);
            };
            self.renew_key(&found);
            match cutter.take(found, &self.filter, &mut self.engine) {
                Taken::Yes => {}
                Taken::Full(_) | Taken::Missing(..) => return Ok(None),
            }
        }
        let cut = cutter.cut().map(|cut| Cut {
            head: plan.head,
            ..cut
        });
        Ok(cut.filter(|cut| (cut.first, cut.last) == (plan.first, plan.last)))
    }

    /// When the first record was made that stands at this place of a trail or behind it; `None`
    /// where none does that can be read.
    pub(crate) fn made_at(
        &mut self,
        source: &Source,
        from: RecordId,
    ) -> anyhow::Result<Option<Wall>> {
        let Ok(mut reader) = self.open(source, from)? else {
            return Ok(None);
        };
        while let Some(item) = reader.next_item()? {
            if let Item::Record { id, record, .. } = item
                && id >= from
            {
                return Ok(Some(record.at().wall));
            }
        }
        Ok(None)
    }

    /// Something of this stretch was read and waits for more.
    pub(crate) fn is_waiting(&self, id: StretchId) -> bool {
        let reading = self.readings.get(&id);
        reading.is_some_and(|it| it.since.is_some() || it.pending.is_some())
    }

    /// When the first of what waits for more waits no longer; `None` where nothing waits.
    pub(crate) fn due(&self) -> Option<record::Mono> {
        let since = self.readings.values().filter_map(|it| it.since).min();
        since.map(|since| since.plus_ns(self.age_max_ns))
    }

    /// Forgets stretches that are not there any more.
    pub(crate) fn keep(&mut self, is_there: impl Fn(StretchId) -> bool) {
        self.readings.retain(|id, _| is_there(*id));
    }

    /// The bytes of a cut.
    pub(crate) fn parcel(&mut self, source: &Source, cut: &Cut) -> Parcel {
        let batch = cut.batch(source, self.view, &mut self.texts);
        self.encoder.encode(&batch)
    }

    fn go_on(
        &mut self,
        reading: &mut Reading,
        until: Option<RecordId>,
        now: record::Mono,
    ) -> anyhow::Result<Read> {
        loop {
            let found = match reading.pending.take() {
                Some(found) => Some(found),
                None => self.next(&mut reading.reader, reading.cutter.next())?,
            };
            let is_within = |found: &Found| until.is_none_or(|until| place(found) < until);
            let found = match found {
                Some(found) if is_within(&found) => clipped(found, until),
                behind => {
                    reading.pending = behind;
                    return Ok(self.at_end(reading, until, now));
                }
            };
            reading.short_since = None;
            self.renew_key(&found);
            match reading.cutter.take(found, &self.filter, &mut self.engine) {
                Taken::Yes => _ = reading.since.get_or_insert(now),
                Taken::Missing(missing, rest) => {
                    reading.pending = rest;
                    return Ok(Read::Missing(missing));
                }
                Taken::Full(found) => {
                    reading.pending = Some(found);
                    reading.since = None;
                    let cut = reading.cutter.cut().expect("what is full holds something");
                    return Ok(Read::Cut(cut));
                }
            }
        }
    }

    /// What is not full waits for more, but not for long; before an end it does not wait. Where
    /// something else stands behind the end, what was not found before it is gone.
    fn at_end(&self, reading: &mut Reading, until: Option<RecordId>, now: record::Mono) -> Read {
        let is_old = |since: record::Mono| now.since_ns(since) >= self.age_max_ns;
        if until.is_some() || reading.since.is_some_and(is_old) {
            reading.since = None;
            if let Some(cut) = reading.cutter.cut() {
                return Read::Cut(cut);
            }
        }
        let Some(until) = until else {
            return Read::Nothing;
        };
        let is_short = reading.pending.is_none() && reading.cutter.next() < until;
        if is_short {
            let since = *reading.short_since.get_or_insert(now);
            if now.since_ns(since) < SHORT_MAX_NS {
                return Read::Nothing;
            }
        }
        match reading.cutter.gap_until(until, reading.pending.as_ref()) {
            Some(missing) => Read::Missing(missing),
            None => Read::Finished,
        }
    }

    fn open(
        &mut self,
        source: &Source,
        from: RecordId,
    ) -> anyhow::Result<Result<TrailReader, EndpointId>> {
        let dir = trail_dir(&self.state_dir, source);
        if from.epoch == 0 {
            return Ok(Ok(TrailReader::open(&dir)?));
        }
        let last = RecordId {
            sequence: from.sequence.saturating_sub(1),
            ..from
        };
        let mut endpoint = self.endpoint;
        loop {
            let cursor = Cursor { endpoint, last };
            let (reader, resumed) = TrailReader::resume(&dir, ReadOptions::default(), &cursor)?;
            return Ok(match resumed {
                Resumed::Here | Resumed::Gap(_) | Resumed::Ahead => Ok(reader),
                Resumed::StartedOver => Err(self.endpoint),
                Resumed::OtherEndpoint(other) => {
                    // One that begins or ends with a record of ours was not put in its place.
                    let ends = [oldest_device(&dir)?, newest_device(&dir)?];
                    let mut ends = ends.into_iter().flatten();
                    let is_ours = ends.any(|it| self.machines.contains(&it.endpoint));
                    if !self.machines.insert(other) || is_ours {
                        endpoint = other;
                        continue;
                    }
                    Err(other)
                }
            });
        }
    }

    fn next(
        &mut self,
        reader: &mut TrailReader,
        expected: RecordId,
    ) -> anyhow::Result<Option<Found>> {
        loop {
            let Some(item) = reader.next_raw()? else {
                return Ok(None);
            };
            let found = Found::of(item, expected, &mut self.decoder, self.bytes_factor);
            let Some(mut found) = found else {
                continue;
            };
            if let Found::Record(record) = &mut found {
                record.set_head(reader.head());
            }
            return Ok(Some(found));
        }
    }

    fn renew_key(&mut self, found: &Found) {
        let (Some(pseudonyms), Found::Record(record)) = (&mut self.pseudonyms, found) else {
            return;
        };
        if let Some(key) = pseudonyms.due(record.record.at().wall.0) {
            self.engine.set_key(Some(key));
        }
    }
}

impl Pseudonyms {
    fn new(name: &str, state_dir: &Path, rotate_s: u64) -> anyhow::Result<Pseudonyms> {
        let path = state_dir.join(own::NAME).join(format!("{name}.key"));
        let secret = match host::private::read_secret(&path, 1_024) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes: [u8; KEY_BYTES] = host::private::random_bytes()?;
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                host::private::write_secret(&path, &text)?;
                text
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let period_ns = i64::try_from(rotate_s.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
        Ok(Pseudonyms {
            secret: Sha256::digest(secret.as_bytes()).into(),
            period_ns: period_ns.max(1),
            period: None,
        })
    }

    fn due(&mut self, wall_ns: i64) -> Option<PseudonymKey> {
        let period = wall_ns.div_euclid(self.period_ns);
        if self.period == Some(period) {
            return None;
        }
        self.period = Some(period);
        let mut hasher = Sha256::new();
        hasher.update(self.secret);
        hasher.update(period.to_le_bytes());
        Some(PseudonymKey::new(hasher.finalize().into()))
    }
}

/// The machine, from the oldest record of a trail that tells.
pub(crate) fn oldest_device(segments: &Path) -> Result<Option<Arc<Device>>, TrailError> {
    device_from(&mut TrailReader::open(segments)?)
}

/// The machine, from the newest record of a trail, or the one before it.
pub(crate) fn newest_device(segments: &Path) -> Result<Option<Arc<Device>>, TrailError> {
    let (Some(oldest), Some(newest)) = (oldest_device(segments)?, trail::newest(segments)?) else {
        return Ok(None);
    };
    let mut cursor = Cursor {
        endpoint: oldest.endpoint,
        last: RecordId {
            sequence: newest.sequence.saturating_sub(1),
            ..newest
        },
    };
    let options = ReadOptions::default;
    let (mut reader, resumed) = TrailReader::resume(segments, options(), &cursor)?;
    if let Resumed::OtherEndpoint(other) = resumed {
        cursor.endpoint = other;
        reader = TrailReader::resume(segments, options(), &cursor)?.0;
    }
    Ok(device_from(&mut reader)?.or(Some(oldest)))
}

fn device_from(reader: &mut TrailReader) -> Result<Option<Arc<Device>>, TrailError> {
    while let Some(item) = reader.next_raw()? {
        if let RawItem::Record { device, .. } = item
            && **device != Device::default()
        {
            return Ok(Some(Arc::clone(device)));
        }
    }
    Ok(None)
}

/// Where the segments of a trail are.
pub(crate) fn trail_dir(state_dir: &Path, source: &Source) -> PathBuf {
    match source.name() {
        None => segments_dir(state_dir),
        Some(name) => segments_dir(&state_dir.join(name)),
    }
}

fn place(found: &Found) -> RecordId {
    match found {
        Found::Record(record) => record.id,
        Found::Missing(missing) => RecordId {
            epoch: missing.epoch,
            sequence: missing.first,
        },
    }
}

/// What of it stands before the end.
fn clipped(found: Found, until: Option<RecordId>) -> Found {
    match (found, until) {
        (Found::Missing(missing), Some(until)) => Found::Missing(missing.before(until)),
        (found, _) => found,
    }
}

/// Names that a plan and its bytes share.
pub(crate) type Parcels = BTreeMap<PlanId, (std::rc::Rc<Parcel>, Vec<u64>)>;
