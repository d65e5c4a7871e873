//! Readers: what they may show, what they must show, and that they end.

use crate::dice::Dice;
use crate::disk::{STATE, SimDisk};
use crate::log::Log;
use crate::model::{Appended, Found, Model, around};
use record::{RecordId, codec};
use std::collections::BTreeMap;
use std::path::Path;
use trail::{RawItem, ReadOptions, RemoteNetwork, TrailReader};

/// What a reader came by.
#[derive(Default)]
pub struct Reading {
    /// The records.
    pub found: Found,
    /// How many it said were lost, by epoch.
    pub lost: BTreeMap<u64, u64>,
    /// How often it said that something is damaged.
    pub damaged: u64,
}

/// How far a reader may be trusted to know what is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It must show all that is synced, and nothing else.
    Exact,
    /// The file that says what is synced is not right now.
    Blind,
}

/// A reader that goes on from where it was, over crashes too.
#[derive(Default)]
pub struct Follower {
    reader: Option<TrailReader<SimDisk>>,
    reading: Reading,
    cursor: Option<RecordId>,
}

/// Reads all that `options` ask for.
///
/// # Errors
/// When the reader shows what it must not, in words.
pub fn read(
    disk: &SimDisk,
    options: ReadOptions,
    model: &Model,
    trust: Trust,
) -> Result<Reading, String> {
    let mut reader = open(disk, options)?;
    let mut reading = Reading::default();
    drain(&mut reader, &mut reading, model, trust)?;
    Ok(reading)
}

/// Reads everything, and compares it with all that must be there.
///
/// # Errors
/// When anything is missing, or is there and must not be.
pub fn read_everything(
    disk: &SimDisk,
    unpublished_too: bool,
    model: &Model,
) -> Result<Reading, String> {
    let options = ReadOptions {
        unpublished_too,
        ..ReadOptions::default()
    };
    let trust = if unpublished_too {
        Trust::Blind
    } else {
        Trust::Exact
    };
    let reading = read(disk, options, model, trust)?;
    expect_all(&reading, model, |_, _| true)?;
    reading.expect_gaps_told()?;
    Ok(reading)
}

/// Asks for a part, by time, address or cursor, as the dice say.
///
/// # Errors
/// When a record that was asked for is missing, or one that must not be shown is.
pub fn ask(disk: &SimDisk, model: &Model, trust: Trust, dice: &mut Dice) -> Result<(), String> {
    let count = model.must_have().count() as u64;
    if count == 0 {
        return Ok(());
    }
    let chosen = model.must_have().nth(dice.below(count) as usize);
    let (id, record) = chosen.expect("there are so many");
    let mut options = ReadOptions::default();
    match dice.below(3) {
        0 => options.after = Some(id),
        1 => options.wall = Some(around(record.at.wall, (1 << dice.below(36)) - 1)),
        _ => {
            options.remote = record.remote.map(|address| RemoteNetwork {
                address,
                prefix_length: if address.is_ipv4() { 32 } else { 128 },
            });
        }
    }
    let reading = read(disk, options.clone(), model, trust)?;
    match trust {
        Trust::Blind => Ok(()),
        Trust::Exact => expect_all(&reading, model, |id, record| wants(&options, id, record)),
    }
}

fn wants(options: &ReadOptions, id: RecordId, record: &Appended) -> bool {
    let in_time = options.wall.as_ref();
    let in_time = in_time.is_none_or(|range| range.contains(&record.at.wall));
    let there = options.remote;
    let there = there.is_none_or(|remote| record.remote == Some(remote.address));
    options.after.is_none_or(|after| id > after) && in_time && there
}

fn expect_all(
    reading: &Reading,
    model: &Model,
    asked: impl Fn(RecordId, &Appended) -> bool,
) -> Result<(), String> {
    let mut must = model.must_have().filter(|(id, record)| asked(*id, record));
    match must.find(|(id, _)| !reading.found.has(id.epoch, id.sequence)) {
        Some((id, _)) => Err(format!("{id:?} was synced and is not shown")),
        None => Ok(()),
    }
}

fn open(disk: &SimDisk, options: ReadOptions) -> Result<TrailReader<SimDisk>, String> {
    let dir = trail::segments_dir(Path::new(STATE));
    TrailReader::open_on(disk.calm(PATIENCE_CALLS), &dir, options).map_err(|it| it.to_string())
}

fn drain(
    reader: &mut TrailReader<SimDisk>,
    reading: &mut Reading,
    model: &Model,
    trust: Trust,
) -> Result<(), String> {
    for _ in 0..ITEMS_MAX {
        match reader.next_raw().map_err(|it| it.to_string())? {
            None => return Ok(()),
            Some(item) => reading.hear(item, model, trust)?,
        }
    }
    Err("a reader does not end".to_owned())
}

impl Reading {
    fn hear(&mut self, item: RawItem<'_>, model: &Model, trust: Trust) -> Result<(), String> {
        match item {
            RawItem::Record { id, bytes, .. } => self.hear_record(id, bytes, model, trust),
            RawItem::Missing(missing) => {
                let count = missing.last_sequence - missing.first_sequence + 1;
                *self.lost.entry(missing.epoch).or_default() += count;
                Ok(())
            }
            RawItem::Damaged(damaged) => {
                self.damaged += 1;
                let count = damaged.lost_records.unwrap_or(0);
                *self.lost.entry(damaged.segment.epoch).or_default() += count;
                Ok(())
            }
        }
    }

    fn hear_record(
        &mut self,
        id: RecordId,
        bytes: &[u8],
        model: &Model,
        trust: Trust,
    ) -> Result<(), String> {
        let Some(appended) = model.record(id) else {
            return Err(format!("{id:?} is shown and was never appended"));
        };
        if *appended.bytes != *bytes {
            return Err(format!("{id:?} is shown with other bytes"));
        }
        if trust == Trust::Exact && id.sequence > model.last_visible(id.epoch) {
            return Err(format!("{id:?} is shown and is not synced"));
        }
        if id.sequence % 16 == 1 && codec::decode(bytes).is_err() {
            return Err(format!("{id:?} cannot be decoded"));
        }
        self.found.add(id)
    }

    /// What lies before a record that is shown, and is not shown, must have been told of.
    fn expect_gaps_told(&self) -> Result<(), String> {
        for (epoch, all) in self.found.epochs() {
            let last = all.last().copied().unwrap_or(0);
            let absent = last - all.len() as u64;
            let told = self.lost.get(&epoch).copied().unwrap_or(0);
            if told < absent {
                return Err(format!(
                    "{absent} records before {last} of epoch {epoch} are not shown, and the \
                     reader tells of {told}"
                ));
            }
        }
        Ok(())
    }
}

impl Follower {
    /// Reads what is new.
    ///
    /// # Errors
    /// When it shows what it must not.
    pub fn follow(&mut self, disk: &SimDisk, model: &Model, trust: Trust) -> Result<(), String> {
        let mut reader = match self.reader.take() {
            Some(reader) => {
                let _ = disk.calm(PATIENCE_CALLS);
                reader
            }
            None => open(disk, self.options())?,
        };
        drain(&mut reader, &mut self.reading, model, trust)?;
        self.cursor = self.reading.found.last();
        self.reader = Some(reader);
        Ok(())
    }

    /// The last record that it saw.
    pub fn cursor(&self) -> Option<RecordId> {
        self.cursor
    }

    /// The machine or the reader was started again; the cursor is all that it keeps.
    pub fn restart(&mut self) {
        self.reader = None;
    }

    /// Compares all that it saw with all that must be there.
    ///
    /// # Errors
    /// When anything is missing.
    pub fn expect_all(&self, model: &Model) -> Result<(), String> {
        expect_all(&self.reading, model, |_, _| true).map_err(|it| format!("following: {it}"))
    }

    /// Takes what it saw into the digest.
    pub fn fold(&self, log: &Log) {
        log.fold(self.reading.found.count());
    }

    fn options(&self) -> ReadOptions {
        ReadOptions {
            after: self.cursor,
            ..ReadOptions::default()
        }
    }
}

/// So many calls of the disk no reader needs for trails as small as these.
pub const PATIENCE_CALLS: u64 = 20_000;

const ITEMS_MAX: usize = 200_000;
