//! Read-only questions over a trail.
//!
//! A [`Filter`] says which records, [`Answers`] walks over those of one trail and [`MergedAnswers`]
//! over those of all in a state folder, [`OpenConnections`] keeps what is still open. Holes in the
//! trail are part of every answer: an answer that passes over a hole says so.

#![forbid(unsafe_code)]

mod filter;
mod merged;
mod open;

pub use filter::{Filter, HostPattern, ProcessPattern};
pub use merged::MergedAnswers;
pub use open::{OpenConnection, OpenConnections};

use record::{Device, Record, RecordId, Wall};
use std::path::Path;
use std::sync::Arc;
use trail::{
    Cursor, Damaged, Frames, Item, Missing, ReadOptions, RemoteNetwork, Resumed, SegmentName,
    TrailError, TrailReader, Warning,
};

/// One part of an answer.
#[expect(clippy::large_enum_variant, reason = "nearly every answer is a record")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A record that the filter lets through.
    Record {
        /// Where it stands.
        id: RecordId,
        /// The record.
        record: Record,
        /// The machine that recorded it.
        device: Arc<Device>,
    },
    /// Records that could not be read; some of them might have been an answer.
    Hole(Hole),
}

/// Why records could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hole {
    /// Bytes are not as they were written.
    Damaged(Damaged),
    /// Sequences are nowhere.
    Missing(Missing),
    /// A record of a newer version.
    Unreadable(RecordId),
    /// A side trail, or part of one, for this reason.
    Unread(String),
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hole::Damaged(damaged) => {
                let Damaged {
                    segment,
                    offset,
                    bytes,
                    lost_records,
                    at_end,
                } = damaged;
                write!(f, "{segment}: {bytes} bytes from byte {offset} are damaged")?;
                match (lost_records, at_end) {
                    (Some(0), _) => write!(f, ", no record was lost with them"),
                    (Some(records), _) => write!(f, ", {records} records were lost with them"),
                    (None, true) => write!(f, " at the end, as when a crash cuts off a write"),
                    (None, false) => write!(f, ", an unknown number of records was lost"),
                }
            }
            Hole::Missing(Missing {
                epoch,
                first_sequence,
                last_sequence,
            }) => {
                write!(
                    f,
                    "records {first_sequence} to {last_sequence} of epoch {epoch} are missing"
                )
            }
            Hole::Unreadable(id) => write!(
                f,
                "record {} of epoch {} comes from a newer version; a newer conntrail reads it",
                id.sequence, id.epoch
            ),
            Hole::Unread(what) => f.write_str(what),
        }
    }
}

/// Walks over the answers in the order they were recorded.
pub struct Answers {
    reader: TrailReader,
    filter: Filter,
    position: Option<Cursor>,
}

impl Answers {
    /// Asks the trail in `segments_dir`; see [`trail::segments_dir`].
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn new(segments_dir: &Path, filter: Filter) -> Result<Answers, TrailError> {
        let options = read_options(&filter);
        Ok(Answers {
            reader: TrailReader::open_with(segments_dir, options)?,
            filter,
            position: None,
        })
    }

    /// Asks only what comes after a cursor, and says where that is.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn resume(
        segments_dir: &Path,
        filter: Filter,
        cursor: &Cursor,
    ) -> Result<(Answers, Resumed), TrailError> {
        let options = read_options(&filter);
        let (reader, resumed) = TrailReader::resume(segments_dir, options, cursor)?;
        let answers = Answers {
            reader,
            filter,
            position: None,
        };
        Ok((answers, resumed))
    }

    /// Asks only the newest epoch: what the recorder that runs now, or ran last, has recorded.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn of_newest_epoch(segments_dir: &Path, filter: Filter) -> Result<Answers, TrailError> {
        let newest = newest_epoch(segments_dir);
        let after = newest.map(|epoch| RecordId { epoch, sequence: 0 });
        let options = ReadOptions {
            after,
            ..read_options(&filter)
        };
        Ok(Answers {
            reader: TrailReader::open_with(segments_dir, options)?,
            filter,
            position: None,
        })
    }

    /// The last record that was looked at, whether or not it was an answer: where the next one
    /// can go on. `None` while there was none.
    pub fn position(&self) -> Option<Cursor> {
        self.position
    }

    /// The next part of the answer. After `None`, a later call goes on with what was recorded
    /// since.
    ///
    /// # Errors
    /// When a segment cannot be opened; the next call passes it over.
    pub fn next_answer(&mut self) -> Result<Option<Answer>, TrailError> {
        while let Some(item) = self.reader.next_item()? {
            if let Item::Record { id, device, .. } = &item {
                self.position = Some(Cursor {
                    endpoint: device.endpoint,
                    last: *id,
                });
            }
            if let Some(answer) = answer_to(item, &self.filter) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// How many frames of the trail were decompressed so far, and how many passed over.
    pub fn frames(&self) -> Frames {
        self.reader.frames()
    }

    /// What in the folder was passed over so far.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.reader.warnings()
    }
}

/// A folder that cannot be listed has none; opening the reader then says why.
fn newest_epoch(segments_dir: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(segments_dir).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| SegmentName::parse(&name))
        .map(|name| name.epoch)
        .max()
}

/// What an item is to a question: part of the answer, or nothing.
fn answer_to(item: Item, filter: &Filter) -> Option<Answer> {
    Some(match item {
        Item::Record { id, record, device } if filter.lets_through(&record) => {
            Answer::Record { id, record, device }
        }
        Item::Record { .. } => return None,
        Item::Unreadable { id, .. } => Answer::Hole(Hole::Unreadable(id)),
        Item::Damaged(damaged) => Answer::Hole(Hole::Damaged(damaged)),
        Item::Missing(missing) => Answer::Hole(Hole::Missing(missing)),
    })
}

fn read_options(filter: &Filter) -> ReadOptions {
    ReadOptions {
        wall: range(filter),
        remote: remote(filter),
        ..ReadOptions::default()
    }
}

fn remote(filter: &Filter) -> Option<RemoteNetwork> {
    filter.to.map(|to| RemoteNetwork {
        address: to.network(),
        prefix_length: to.prefix_len(),
    })
}

fn range(filter: &Filter) -> Option<std::ops::RangeInclusive<Wall>> {
    if filter.since.is_none() && filter.until.is_none() {
        return None;
    }
    let since = filter.since.unwrap_or(Wall(i64::MIN));
    Some(since..=filter.until.unwrap_or(Wall(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Mono, Stamp, sample};
    use trail::{TrailWriter, WriterOptions, segments_dir};

    #[test]
    fn a_question_about_an_address_reads_only_frames_that_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = WriterOptions::new(sample::device(), 1 << 30);
        let mut writer = TrailWriter::open(folder.path(), options, Stamp::default()).unwrap();
        let records = sample::closes(5, 600);
        for group in records.chunks(4) {
            for record in group {
                writer.append(record, Mono(0)).unwrap();
            }
            drop(writer.flush(Stamp::default()).unwrap());
        }
        let mut asked = 0;
        for record in records.iter().step_by(60) {
            let Record::Connection(connection) = record else {
                continue;
            };
            let filter = Filter {
                to: connection.remote.address.map(Into::into),
                ..Filter::default()
            };
            let expected = records.iter().filter(|it| filter.lets_through(it)).count();
            let holding = records
                .chunks(4)
                .filter(|group| group.iter().any(|it| filter.lets_through(it)));
            let holding = holding.count() as u64;
            let mut answers = Answers::new(&segments_dir(folder.path()), filter).unwrap();
            let found = std::iter::from_fn(|| answers.next_answer().unwrap()).count();
            assert_eq!(found, expected);
            let Frames { unpacked, passed } = answers.frames();
            assert_eq!(unpacked + passed, 150);
            assert!(
                (holding..holding + 12).contains(&unpacked),
                "{unpacked} for {holding}"
            );
            asked += 1;
        }
        assert_eq!(asked, 10);
    }
}
