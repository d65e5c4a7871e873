//! `conntrail replay`: turns a recorded stream of events into records again.

use crate::words;
use anyhow::{Context, bail};
use flow::FlowTable;
use flow::stream::{Header, decode_header, replay};
use query::Filter;
use record::{Notice, NoticeKind, Record, RecordId, SensorKind, Stamp, StopReason, ocsf};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trail::{TrailWriter, WriterOptions};

/// What to replay.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A stream that `conntraild --record-events` wrote. With --state-dir its records are kept
    /// there, in an epoch of their own.
    #[arg(value_name = "FILE.events")]
    file: PathBuf,
    /// One OCSF event a line: closes and notices.
    #[arg(long)]
    json: bool,
    /// Opens and updates too.
    #[arg(long)]
    all: bool,
}

/// Replays to standard output, and into the trail of `state_dir` if one is named.
///
/// What comes before a damaged place is replayed.
///
/// # Errors
/// When the file cannot be read or is damaged, or the trail cannot be written.
pub(crate) fn run(state_dir: Option<&Path>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.file;
    let bytes = fs::read(path).with_context(|| format!("{} could not be read", path.display()))?;
    let mut calls = bytes.as_slice();
    let header = decode_header(&mut calls).with_context(|| path.display().to_string())?;
    let mut keeper = state_dir
        .map(|dir| Keeper::open(dir, &header))
        .transpose()?;
    let printer = Printer {
        header: &header,
        json: arguments.json,
        filter: Filter {
            all_phases: arguments.all,
            ..Filter::default()
        },
    };
    let epoch = keeper
        .as_ref()
        .map_or(header.epoch, |keeper| keeper.trail.epoch());
    let mut table = FlowTable::new(header.config, epoch, header.start);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut sequence = 0;
    let replayed = replay(&mut calls, &mut table, |record| {
        sequence += 1;
        printer.print(RecordId { epoch, sequence }, record, &mut out)?;
        keeper.as_mut().map_or(Ok(()), |keeper| keeper.keep(record))
    });
    out.flush()?;
    if let Some(keeper) = keeper {
        keeper.close(&table)?;
    }
    match replayed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let at = bytes.len() - calls.len();
            Err(error.context(format!("{} at byte {at}", path.display())))
        }
    }
}

struct Printer<'a> {
    header: &'a Header,
    json: bool,
    filter: Filter,
}

impl Printer<'_> {
    fn print(&self, id: RecordId, record: &Record, out: &mut impl Write) -> anyhow::Result<()> {
        if !self.filter.lets_through(record) {
            return Ok(());
        }
        if self.json {
            writeln!(out, "{}", ocsf::to_json(id, record, &self.header.device))?;
        } else {
            writeln!(out, "{}", words::line(record))?;
        }
        Ok(())
    }
}

/// Keeps replayed records in a trail, marked as replayed.
struct Keeper {
    trail: TrailWriter,
    last: Stamp,
}

impl Keeper {
    fn open(state_dir: &Path, header: &Header) -> anyhow::Result<Keeper> {
        const QUOTA_BYTES: u64 = 1 << 40;
        let options = WriterOptions::new(header.device.clone(), QUOTA_BYTES);
        let trail = TrailWriter::open(state_dir, options, header.start)?;
        let mut keeper = Keeper {
            trail,
            last: header.start,
        };
        let previous = keeper.trail.previous();
        keeper.notice(NoticeKind::RecorderStarted { previous })?;
        let limits = vec!["These records were replayed from a recorded stream.".to_owned()];
        keeper.notice(NoticeKind::SensorStarted {
            sensor: SensorKind::Replay,
            limits,
        })?;
        Ok(keeper)
    }

    fn keep(&mut self, record: &Record) -> anyhow::Result<()> {
        self.last = record.at();
        if self.trail.append(record, self.last.mono).is_none() {
            bail!("the trail takes no more records; make room on its disk and replay again");
        }
        if self.trail.should_flush(self.last.mono) {
            let flushed = self.trail.flush(self.last)?;
            drop(flushed);
        }
        Ok(())
    }

    fn notice(&mut self, kind: NoticeKind) -> anyhow::Result<()> {
        let notice = Notice {
            at: self.last,
            kind,
        };
        self.keep(&Record::Notice(notice))
    }

    fn close(mut self, table: &FlowTable) -> anyhow::Result<()> {
        let tally = table.tally();
        self.notice(NoticeKind::RecorderStopped {
            reason: StopReason::Elapsed,
            tally,
        })?;
        let last = self.last;
        let flushed = self.trail.close(last)?;
        drop(flushed);
        Ok(())
    }
}
