//! Answers from all trails in a state folder.

use crate::{Answer, Filter, Hole, answer_to, read_options};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use trail::{
    Cursor, Merged, MergedReader, ReadOptions, Resumed, SIDE_TRAILS_MAX, Source, TrailError,
    TrailReader, segments_dir, side_trails,
};

/// Walks over the answers of the recorder's trail and of all side trails in the order of time;
/// see [`MergedReader`].
pub struct MergedAnswers {
    reader: MergedReader,
    filter: Filter,
    /// What kept side trails from being read at all.
    unread: VecDeque<(Source, Answer)>,
}

impl MergedAnswers {
    /// Asks all trails in a state folder.
    ///
    /// # Errors
    /// When the recorder's segments cannot be listed. What is wrong with a side trail is part of
    /// the answer.
    pub fn new(state_dir: &Path, filter: Filter) -> Result<MergedAnswers, TrailError> {
        MergedAnswers::resume(state_dir, filter, &BTreeMap::new()).map(|(answers, _)| answers)
    }

    /// Asks only what comes after the cursor of each trail, and says where that is. A trail
    /// without a cursor is asked from its first record on.
    ///
    /// # Errors
    /// As [`MergedAnswers::new`].
    pub fn resume(
        state_dir: &Path,
        filter: Filter,
        cursors: &BTreeMap<Source, Cursor>,
    ) -> Result<(MergedAnswers, Vec<(Source, Resumed)>), TrailError> {
        let options = || read_options(&filter);
        let mut resumed = Vec::new();
        let mut open = |source: &Source, state: &Path| {
            let (reader, place) = open(state, options(), cursors.get(source))?;
            resumed.extend(place.map(|place| (source.clone(), place)));
            Ok::<_, TrailError>((source.clone(), reader))
        };
        let mut readers = vec![open(&Source::Recorder, state_dir)?];
        let mut unread = VecDeque::new();
        let found = side_trails(state_dir);
        for side in found.trails {
            let source = Source::Side(side.name);
            match open(&source, &side.state) {
                Ok(reader) => readers.push(reader),
                Err(error) => unread.push_back(hole(source, &error.to_string())),
            }
        }
        for trouble in found.troubles {
            let what = format!("side trails: {trouble}");
            unread.push_back(hole(Source::Recorder, &what));
        }
        if found.left_out > 0 {
            let what = format!(
                "{} side trails beyond the first {SIDE_TRAILS_MAX} are not read",
                found.left_out
            );
            unread.push_back(hole(Source::Recorder, &what));
        }
        let answers = MergedAnswers {
            reader: MergedReader::new(readers),
            filter,
            unread,
        };
        Ok((answers, resumed))
    }

    /// The next part of the answer, and which trail it is of. After `None`, a later call goes on
    /// with what was recorded since.
    ///
    /// # Errors
    /// When a segment of the recorder's trail cannot be opened; the next call passes it over.
    pub fn next_answer(&mut self) -> Result<Option<(Source, Answer)>, TrailError> {
        if let Some(unread) = self.unread.pop_front() {
            return Ok(Some(unread));
        }
        while let Some((source, merged)) = self.reader.next_merged()? {
            match merged {
                Merged::Item(item) => {
                    if let Some(answer) = answer_to(item, &self.filter) {
                        return Ok(Some((source, answer)));
                    }
                }
                Merged::Unread { error, is_given_up } => {
                    let rest = match is_given_up {
                        true => "; nothing more of it is read",
                        false => "",
                    };
                    return Ok(Some(hole(source, &format!("{error}{rest}"))));
                }
            }
        }
        Ok(None)
    }

    /// The last record of each trail that was looked at, whether or not it was an answer.
    pub fn positions(&self) -> impl Iterator<Item = (&Source, Cursor)> {
        self.reader.positions()
    }
}

fn open(
    state: &Path,
    options: ReadOptions,
    cursor: Option<&Cursor>,
) -> Result<(TrailReader, Option<Resumed>), TrailError> {
    let segments = segments_dir(state);
    match cursor {
        None => TrailReader::open_with(&segments, options).map(|reader| (reader, None)),
        Some(cursor) => {
            let resumed = TrailReader::resume(&segments, options, cursor);
            resumed.map(|(reader, place)| (reader, Some(place)))
        }
    }
}

fn hole(source: Source, what: &str) -> (Source, Answer) {
    (source, Answer::Hole(Hole::Unread(what.to_owned())))
}
