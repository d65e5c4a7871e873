//! What of the trail may be shown: that it is intact, how large it is, and what the recorder said
//! about itself. Connections only where they were asked for.

use crate::cli::{recorded_in, verify};
use crate::words;
use ::trail::Source;
use anyhow::Context;
use query::{Answer, Answers, Filter};
use record::{Record, Wall, ocsf};
use std::collections::VecDeque;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The newest notices that are kept.
const NOTICES_MAX: usize = 1_000;

/// What `conntrail verify` says.
pub(super) fn verified(state_dir: &Path) -> anyhow::Result<String> {
    let segments = recorded_in(state_dir)?;
    let report = ::trail::verify(&segments)?;
    let mut text = Vec::new();
    verify::print(&Source::Recorder, &report, &segments, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The files and their sizes, the oldest first.
pub(super) fn segments(state_dir: &Path) -> anyhow::Result<String> {
    let segments = recorded_in(state_dir)?;
    let entries = fs::read_dir(&segments).with_context(|| segments.display().to_string())?;
    let mut lines = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let bytes = entry.metadata().map(|it| it.len());
        lines.push(match bytes {
            Ok(bytes) => format!("{name}  {bytes} bytes\n"),
            Err(error) => format!("{name}  {error}\n"),
        });
    }
    lines.sort();
    Ok(lines.concat())
}

/// The newest notices, in words. They hold no connections.
pub(super) fn notices(state_dir: &Path, since: Option<Wall>) -> anyhow::Result<String> {
    let filter = Filter {
        since,
        ..Filter::default()
    };
    let mut answers = Answers::new(&recorded_in(state_dir)?, filter)?;
    let mut newest = VecDeque::new();
    let mut left_out = 0_u64;
    while let Some(answer) = answers.next_answer()? {
        match answer {
            Answer::Record { record, .. } => match &record {
                Record::Notice(_) => newest.push_back(notice(&record)),
                Record::Connection(_) => {}
            },
            Answer::Hole(hole) => newest.push_back(format!("{hole}\n")),
        }
        if newest.len() > NOTICES_MAX {
            newest.pop_front();
            left_out += 1;
        }
    }
    let mut text = String::new();
    if left_out > 0 {
        writeln!(text, "({left_out} notices before these are left out)")?;
    }
    text.extend(newest);
    Ok(text)
}

fn notice(record: &Record) -> String {
    let moment = jiff::Timestamp::from_nanosecond(record.at().wall.0.into());
    let day = moment.map_or("?".to_owned(), |it| it.to_string());
    format!("{day}  {}\n", words::line(record))
}

/// Connections and notices as OCSF events, one a line.
pub(super) fn records(state_dir: &Path, since: Wall, max_bytes: u64) -> anyhow::Result<String> {
    let filter = Filter {
        since: Some(since),
        all_phases: true,
        ..Filter::default()
    };
    let mut answers = Answers::new(&recorded_in(state_dir)?, filter)?;
    let mut bytes = Vec::new();
    while let Some(answer) = answers.next_answer()? {
        if bytes.len() as u64 >= max_bytes {
            bytes.extend_from_slice(b"(the rest is left out)\n");
            break;
        }
        match answer {
            Answer::Record { id, record, device } => {
                ocsf::encode(id, &record, &device, &mut bytes);
                bytes.push(b'\n');
            }
            Answer::Hole(hole) => bytes.extend_from_slice(format!("{hole}\n").as_bytes()),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
