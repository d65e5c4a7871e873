//! Reads several trails as one, in the order of time.

use crate::cursor::Cursor;
use crate::disk::{Disk, RealDisk};
use crate::error::TrailError;
use crate::reader::{Item, TrailReader, Warning};
use crate::side::Source;
use record::Wall;

/// What a [`MergedReader`] finds in one of its trails.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost every find is a record")]
pub enum Merged {
    /// What [`TrailReader::next_item`] found.
    Item(Item),
    /// Something of a side trail cannot be read.
    Unread {
        /// What, and why.
        error: TrailError,
        /// It was not the first, and nothing more of that trail is read.
        is_given_up: bool,
    },
}

/// Walks over the records of several trails in the order of their wall times, once.
///
/// The records of each trail stay in the order in which they were recorded: of those that are next
/// in their trails, the earliest comes first, and of equally early ones that of the recorder, then
/// by name. So a clock that was set back puts no record before one that its own trail has before
/// it. What is no record comes as soon as its trail gets to it.
///
/// In memory there is one record a trail, and what each [`TrailReader`] takes. What is wrong with a
/// side trail is told and never ends the reading of the others.
pub struct MergedReader<D: Disk = RealDisk> {
    lanes: Vec<Lane<D>>,
}

/// One of the trails.
struct Lane<D: Disk> {
    source: Source,
    reader: TrailReader<D>,
    /// What was read and not handed out.
    next: Option<Item>,
    /// The last record that was handed out.
    position: Option<Cursor>,
    /// There is nothing more until the others have nothing more either. Else each record of
    /// another trail would have us list the folder of this one.
    is_dry: bool,
    /// Errors since the last item.
    failures: u32,
}

/// After so many errors without an item between them a side trail is given up.
const FAILURES_MAX: u32 = 16;

impl<D: Disk> MergedReader<D> {
    /// Reads what is left to these readers.
    pub fn new(readers: impl IntoIterator<Item = (Source, TrailReader<D>)>) -> MergedReader<D> {
        let lane = |(source, reader)| Lane {
            source,
            reader,
            next: None,
            position: None,
            is_dry: false,
            failures: 0,
        };
        let mut lanes: Vec<Lane<D>> = readers.into_iter().map(lane).collect();
        lanes.sort_by(|one, other| one.source.cmp(&other.source));
        MergedReader { lanes }
    }

    /// The next find and which trail it is of, or `None` when there is nothing more for now in
    /// any; called again later it goes on with what was published since.
    ///
    /// # Errors
    /// When a folder or segment of the recorder's trail cannot be opened; as
    /// [`TrailReader::next_item`].
    pub fn next_merged(&mut self) -> Result<Option<(Source, Merged)>, TrailError> {
        for lane in &mut self.lanes {
            if let Some(error) = lane.fill()? {
                let is_given_up = lane.failures == FAILURES_MAX;
                let unread = Merged::Unread { error, is_given_up };
                return Ok(Some((lane.source.clone(), unread)));
            }
        }
        let waiting = self.lanes.iter_mut().filter(|lane| lane.next.is_some());
        let Some(first) = waiting.min_by_key(|lane| lane.next.as_ref().map(moment)) else {
            for lane in &mut self.lanes {
                lane.is_dry = false;
            }
            return Ok(None);
        };
        Ok(first
            .hand_out()
            .map(|item| (first.source.clone(), Merged::Item(item))))
    }

    /// The last record of each trail that was handed out: where the next reader can go on.
    pub fn positions(&self) -> impl Iterator<Item = (&Source, Cursor)> {
        let positions = self.lanes.iter().map(|lane| (&lane.source, lane.position));
        positions.filter_map(|(source, position)| Some((source, position?)))
    }

    /// What was passed over so far, and in which trail.
    pub fn warnings(&self) -> impl Iterator<Item = (&Source, &Warning)> {
        self.lanes.iter().flat_map(|lane| {
            let warnings = lane.reader.warnings();
            warnings.map(move |warning| (&lane.source, warning))
        })
    }
}

impl<D: Disk> Lane<D> {
    /// Gets the next item, or tells why that is not possible.
    fn fill(&mut self) -> Result<Option<TrailError>, TrailError> {
        if self.next.is_some() || self.is_dry || self.failures == FAILURES_MAX {
            return Ok(None);
        }
        match self.reader.next_item() {
            Ok(item) => {
                self.failures = 0;
                self.is_dry = item.is_none();
                self.next = item;
                Ok(None)
            }
            Err(error) => match self.source {
                Source::Recorder => Err(error),
                Source::Side(_) => {
                    self.failures += 1;
                    Ok(Some(error))
                }
            },
        }
    }

    fn hand_out(&mut self) -> Option<Item> {
        let item = self.next.take();
        if let Some(Item::Record { id, device, .. }) = &item {
            self.position = Some(Cursor {
                endpoint: device.endpoint,
                last: *id,
            });
        }
        item
    }
}

/// By what an item is ordered. What has no time comes at once.
fn moment(item: &Item) -> Wall {
    match item {
        Item::Record { record, .. } => record.at().wall,
        Item::Unreadable { .. } | Item::Damaged(_) | Item::Missing(_) => Wall(i64::MIN),
    }
}
