//! `conntrail query`: answers questions about past connections.

use super::recorded_in;
use crate::words;
use ::query::{Answer, Answers, Filter, HostPattern, OpenConnections, ProcessPattern};
use anyhow::Context;
use ipnet::IpNet;
use jiff::Timestamp;
use record::{NoticeKind, Outcome, Record, Wall, ocsf};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trail::Cursor;

/// What to ask.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only connections of this process: a name, a full path, or a pid.
    #[arg(long, value_name = "PROCESS")]
    process: Option<String>,
    /// Only connections to this address or network, such as 203.0.113.0/24.
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    to: Option<IpNet>,
    /// Only connections to this name, or with a dot in front to all names below it, such as
    /// .example.com; where the system tells names.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only connections of apps that this team signed, and whose signature is good; where the
    /// system checks signatures.
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// Only connections of apps signed with this identifier, such as com.example.chat.
    #[arg(long, value_name = "IDENTIFIER")]
    signer: Option<String>,
    /// Only connections with this port on either side.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only what was recorded since: a time such as 2026-11-23T09:00:00Z, or an age such as 10m.
    #[arg(long, value_name = "WHEN", value_parser = parse_moment)]
    since: Option<Wall>,
    /// Only what was recorded until then.
    #[arg(long, value_name = "WHEN", value_parser = parse_moment)]
    until: Option<Wall>,
    /// Only connections that ended so: closed, reset, refused, timed_out, unreachable, aborted,
    /// failed, reaped, evicted, idle, process_gone, aged_out, superseded, unwatched or unknown.
    #[arg(long, value_name = "OUTCOME", value_parser = parse_outcome)]
    outcome: Option<Outcome>,
    /// One OCSF event a line: closes and notices.
    #[arg(long)]
    json: bool,
    /// Opens and updates too.
    #[arg(long)]
    all: bool,
    /// Only what is new since the last time with this file, which keeps how far that came. It is
    /// moved after the answers were written; after a crash some may come twice.
    #[arg(long, value_name = "FILE", requires = "json")]
    cursor: Option<PathBuf>,
}

impl Arguments {
    fn filter(&self) -> Filter {
        Filter {
            process: self.process.clone().map(ProcessPattern),
            to: self.to,
            host: self.host.clone().map(HostPattern),
            team: self.team.clone(),
            signing_id: self.signer.clone(),
            port: self.port,
            since: self.since,
            until: self.until,
            outcome: self.outcome,
            all_phases: self.all,
        }
    }
}

/// Answers on standard output.
///
/// # Errors
/// When nothing was recorded there, or the trail cannot be read.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let segments = recorded_in(state_dir)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if let Some(cursor) = &arguments.cursor {
        print_new_events(&segments, arguments.filter(), cursor, &mut out)?;
    } else if arguments.json {
        print_events(&segments, arguments.filter(), &mut out)?;
    } else {
        print_stories(&segments, arguments, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn print_events(segments: &Path, filter: Filter, out: &mut impl Write) -> anyhow::Result<()> {
    let mut answers = Answers::new(segments, filter)?;
    let mut line = Vec::new();
    while let Some(answer) = answers.next_answer()? {
        print_event(&answer, &mut line, out)?;
    }
    Ok(())
}

fn print_event(answer: &Answer, line: &mut Vec<u8>, out: &mut impl Write) -> io::Result<()> {
    match answer {
        Answer::Record { id, record, device } => {
            line.clear();
            ocsf::encode(*id, record, device, line);
            line.push(b'\n');
            out.write_all(line)
        }
        Answer::Hole(hole) => writeln!(io::stderr(), "conntrail: {hole}"),
    }
}

/// Goes on where the cursor is, and moves it each time that answers are out of our hands.
fn print_new_events(
    segments: &Path,
    filter: Filter,
    cursor_file: &Path,
    out: &mut BufWriter<impl Write + AsFd>,
) -> anyhow::Result<()> {
    let mut saved = Cursor::load(cursor_file)?;
    let mut answers = match &saved {
        None => Answers::new(segments, filter)?,
        Some(cursor) => {
            let (answers, resumed) = Answers::resume(segments, filter, cursor)?;
            if let Some(remark) = words::resumed(resumed) {
                writeln!(io::stderr(), "conntrail: {remark}")?;
            }
            answers
        }
    };
    let mut line = Vec::new();
    let mut since_saved = 0;
    while let Some(answer) = answers.next_answer()? {
        print_event(&answer, &mut line, out)?;
        since_saved += 1;
        if since_saved == ANSWERS_A_CURSOR {
            since_saved = 0;
            keep_position(&answers, &mut saved, cursor_file, out)?;
        }
    }
    keep_position(&answers, &mut saved, cursor_file, out)
}

fn keep_position(
    answers: &Answers,
    saved: &mut Option<Cursor>,
    cursor_file: &Path,
    out: &mut BufWriter<impl Write + AsFd>,
) -> anyhow::Result<()> {
    out.flush()?;
    if answers.position().is_none() || answers.position() == *saved {
        return Ok(());
    }
    // What went to a file must not be lost by a power cut that the cursor survives. Pipes and
    // terminals cannot be synced, and say so.
    let _ = rustix::fs::fdatasync(out.get_ref());
    *saved = answers.position();
    if let Some(cursor) = saved {
        cursor.save(cursor_file)?;
    }
    Ok(())
}

/// Each is synced, so not every single one.
const ANSWERS_A_CURSOR: u32 = 1_000;

/// What has ended is told as it comes, what is still open afterwards. The filter lets opens through
/// for that, and every notice, because a loss belongs to every answer that it may touch.
fn print_stories(
    segments: &Path,
    arguments: &Arguments,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let filter = arguments.filter();
    let everything = Filter {
        since: filter.since,
        until: filter.until,
        all_phases: true,
        ..Filter::default()
    };
    let mut answers = Answers::new(segments, everything)?;
    let mut open = OpenConnections::default();
    let mut footer = Footer::default();
    while let Some(answer) = answers.next_answer()? {
        let record = match answer {
            Answer::Record { record, .. } => record,
            Answer::Hole(hole) => {
                footer.remarks.push(hole.to_string());
                continue;
            }
        };
        footer.take_note(&record, filter.asks_for_connections());
        match &record {
            Record::Connection(connection) if filter.is_about(connection) => {
                open.apply(&record);
                if filter.lets_through(&record) {
                    footer.connections += 1;
                    write!(out, "{}", words::story(connection))?;
                }
            }
            Record::Connection(_) => {}
            Record::Notice(_) => {
                open.apply(&record);
                if filter.lets_through(&record) {
                    writeln!(out, "{}", words::line(&record))?;
                }
            }
        }
    }
    if filter.outcome.is_none() && !filter.all_phases {
        for still_open in open.iter() {
            footer.open += 1;
            write!(out, "{}", words::open_story(still_open))?;
        }
    }
    footer.print(out)
}

/// What an honest answer ends with.
#[derive(Default)]
struct Footer {
    connections: u64,
    open: u64,
    remarks: Vec<String>,
}

impl Footer {
    /// A question about connections does not list notices, but a loss may have taken an answer.
    fn take_note(&mut self, record: &Record, asks_for_connections: bool) {
        let Record::Notice(notice) = record else {
            return;
        };
        if asks_for_connections && matches!(notice.kind, NoticeKind::Lost { .. }) {
            self.remarks.push(words::line(record));
        }
    }

    fn print(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Footer {
            connections,
            open,
            remarks,
        } = self;
        let and_open = if *open > 0 {
            format!(", {open} without an end")
        } else {
            String::new()
        };
        writeln!(out, "{connections} shown{and_open}.")?;
        if !remarks.is_empty() {
            writeln!(out, "What was lost in this time, and may be missing above:")?;
        }
        for remark in remarks {
            writeln!(out, "  {remark}")?;
        }
        Ok(())
    }
}

pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("\"{text}\" is not an address or network such as 203.0.113.0/24"))
}

fn parse_outcome(text: &str) -> Result<Outcome, String> {
    let found = Outcome::ALL.iter().find(|outcome| outcome.name() == text);
    let names = || {
        Outcome::ALL
            .iter()
            .map(|it| it.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    found
        .copied()
        .ok_or_else(|| format!("\"{text}\" is none of {}", names()))
}

/// A moment in time, or how long ago it was.
fn parse_moment(text: &str) -> Result<Wall, String> {
    if let Ok(age) = host::config::parse_duration(text) {
        let now_ns = host::clock::stamp().wall.0;
        return Ok(Wall(now_ns.saturating_sub_unsigned(age.as_nanos() as u64)));
    }
    let moment: Result<Timestamp, _> = text.parse();
    moment
        .context("unreadable")
        .and_then(|it| i64::try_from(it.as_nanosecond()).context("out of range"))
        .map(Wall)
        .map_err(|_| {
            format!(
                "\"{text}\" is neither an age such as 10m nor a time such as 2026-11-23T09:00:00Z"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ages_or_times() {
        assert_eq!(
            parse_moment("1970-01-01T00:00:01Z"),
            Ok(Wall(1_000_000_000))
        );
        let hour_ago = parse_moment("1h").unwrap();
        assert!(
            (host::clock::stamp().wall.0 - hour_ago.0 - 3_600_000_000_000).abs() < 5_000_000_000
        );
        assert!(parse_moment("yesterday").unwrap_err().contains("yesterday"));
    }

    #[test]
    fn the_help_names_every_outcome() {
        use clap::Args;
        let command = Arguments::augment_args(clap::Command::new("query"));
        let outcome = command
            .get_arguments()
            .find(|it| it.get_id() == "outcome")
            .unwrap();
        let help = outcome.get_help().unwrap().to_string();
        for outcome in Outcome::ALL {
            assert!(
                help.contains(outcome.name()),
                "{} in {help}",
                outcome.name()
            );
        }
    }

    #[test]
    fn networks_and_outcomes_are_named_in_their_errors() {
        assert_eq!(
            parse_network("192.0.2.1").unwrap().to_string(),
            "192.0.2.1/32"
        );
        assert!(
            parse_network("192.0.2.1/99")
                .unwrap_err()
                .contains("192.0.2.1/99")
        );
        assert_eq!(parse_outcome("timed_out"), Ok(Outcome::TimedOut));
        assert!(parse_outcome("great").unwrap_err().contains("refused"));
    }
}
