//! What the extension's trail tells: whether flows arrive, and what is open.

use ::trail::{ReadOptions, TrailReader};
use app_macos::status::Evidence;
use app_macos::upgrade::{self, Resets};
use query::{Answer, Answers, Filter, OpenConnections};
use record::{Mono, Record, Stamp, Wall};
use std::path::Path;

/// What the newest run of the recorder tells about whether it works.
///
/// # Errors
/// When the trail is not there or cannot be read, in a sentence.
pub(super) fn evidence(state_dir: &Path) -> Result<Evidence, String> {
    let mut evidence = Evidence::default();
    for_each_of_newest_epoch(state_dir, |record| evidence.apply(record))?;
    Ok(evidence)
}

/// What replacing the extension would reset, by the newest run of the recorder. Where the trail
/// cannot be read, nothing is known to be open.
pub(super) fn resets(state_dir: &Path) -> Resets {
    let mut open = OpenConnections::default();
    // What could be read counts, and a trail that cannot be read is told of by `status`.
    let _ = for_each_of_newest_epoch(state_dir, |record| open.apply(record));
    open.forget_cut_off();
    upgrade::resets(open.iter().map(|it| &it.connection))
}

fn for_each_of_newest_epoch(state_dir: &Path, mut take: impl FnMut(&Record)) -> Result<(), String> {
    let everything = Filter {
        all_phases: true,
        ..Filter::default()
    };
    let advice = |trouble: String| {
        format!("{trouble}; the extension's trail is root's: use sudo, or name it with --state-dir")
    };
    let segments = ::trail::segments_dir(state_dir);
    if !segments.exists() {
        return Err(advice(format!(
            "nothing was recorded in {}",
            state_dir.display()
        )));
    }
    let answers = Answers::of_newest_epoch(&segments, everything);
    let mut answers = answers.map_err(|error| advice(error.to_string()))?;
    loop {
        match answers
            .next_answer()
            .map_err(|error| advice(error.to_string()))?
        {
            Some(Answer::Record { record, .. }) => take(&record),
            Some(Answer::Hole(_)) => {}
            None => return Ok(()),
        }
    }
}

/// Whether a flow began after a moment.
pub(super) struct FlowWatch {
    since: Mono,
    reader: Option<TrailReader>,
    evidence: Evidence,
}

/// The wall clock may be set back a little meanwhile.
const SLACK_NS: i64 = 60_000_000_000;

impl FlowWatch {
    pub(super) fn begin(state_dir: &Path, since: Stamp) -> FlowWatch {
        let options = ReadOptions {
            wall: Some(Wall(since.wall.0.saturating_sub(SLACK_NS))..=Wall(i64::MAX)),
            ..ReadOptions::default()
        };
        let segments = ::trail::segments_dir(state_dir);
        FlowWatch {
            since: since.mono,
            reader: TrailReader::open_with(&segments, options).ok(),
            evidence: Evidence::default(),
        }
    }

    pub(super) fn arrived(&mut self) -> bool {
        let Some(reader) = &mut self.reader else {
            return false;
        };
        // A segment that cannot be opened is passed over by the next call.
        while let Ok(Some(item)) = reader.next_item() {
            if let ::trail::Item::Record { record, .. } = item {
                self.evidence.apply(&record);
            }
        }
        let newest = self.evidence.newest_flow();
        newest.is_some_and(|newest| newest.mono > self.since)
    }
}
