//! `conntrail query`: answers questions about past connections.

use super::recorded_in;
use crate::words;
use ::query::{Answer, Filter, HostPattern, MergedAnswers, OpenConnections, ProcessPattern};
use anyhow::Context;
use ipnet::IpNet;
use jiff::Timestamp;
use record::{NoticeKind, Outcome, Record, Wall, ocsf};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trail::{Cursor, Source, side_trails};

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
    /// moved after the answers were written; after a crash some may come twice. Each side trail
    /// has a file of its own beside it, FILE.NAME.
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
    recorded_in(state_dir)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if let Some(cursor) = &arguments.cursor {
        print_new_events(state_dir, arguments.filter(), cursor, &mut out)?;
    } else if arguments.json {
        print_events(state_dir, arguments.filter(), &mut out)?;
    } else {
        print_stories(state_dir, arguments, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn print_events(state_dir: &Path, filter: Filter, out: &mut impl Write) -> anyhow::Result<()> {
    let mut answers = MergedAnswers::new(state_dir, filter)?;
    let mut line = Vec::new();
    while let Some((source, answer)) = answers.next_answer()? {
        print_event(&source, &answer, &mut line, out)?;
    }
    Ok(())
}

fn print_event(
    source: &Source,
    answer: &Answer,
    line: &mut Vec<u8>,
    out: &mut impl Write,
) -> io::Result<()> {
    let (id, record, device) = match answer {
        Answer::Record { id, record, device } => (*id, record, device),
        Answer::Hole(hole) => {
            let whose = words::whose(source);
            return writeln!(io::stderr(), "conntrail: {whose}{hole}");
        }
    };
    line.clear();
    match source.name() {
        None => ocsf::encode(id, record, device, line),
        Some(name) => ocsf::encode_of_side(name, id, record, device, line),
    }
    line.push(b'\n');
    out.write_all(line)
}

/// Goes on where the cursors are, and moves them each time that answers are out of our hands.
fn print_new_events(
    state_dir: &Path,
    filter: Filter,
    cursor_file: &Path,
    out: &mut BufWriter<impl Write + AsFd>,
) -> anyhow::Result<()> {
    let mut cursors = Cursors::load(state_dir, cursor_file)?;
    let (mut answers, resumed) = MergedAnswers::resume(state_dir, filter, &cursors.saved)?;
    for (source, resumed) in resumed {
        if let Some(remark) = words::resumed(resumed) {
            let whose = words::whose(&source);
            writeln!(io::stderr(), "conntrail: {whose}{remark}")?;
        }
    }
    let mut line = Vec::new();
    let mut since_saved = 0;
    while let Some((source, answer)) = answers.next_answer()? {
        print_event(&source, &answer, &mut line, out)?;
        since_saved += 1;
        if since_saved == ANSWERS_A_CURSOR {
            since_saved = 0;
            cursors.keep(&answers, out)?;
        }
    }
    cursors.keep(&answers, out)
}

/// How far the last time came in each trail.
struct Cursors {
    /// Of the recorder's trail; the others are beside it.
    file: PathBuf,
    saved: BTreeMap<Source, Cursor>,
}

impl Cursors {
    fn load(state_dir: &Path, file: &Path) -> anyhow::Result<Cursors> {
        let mut cursors = Cursors {
            file: file.to_owned(),
            saved: BTreeMap::new(),
        };
        let sides = side_trails(state_dir).trails.into_iter();
        let sides = sides.map(|side| Source::Side(side.name));
        for source in std::iter::once(Source::Recorder).chain(sides) {
            if let Some(cursor) = Cursor::load(&cursors.path(&source))? {
                cursors.saved.insert(source, cursor);
            }
        }
        Ok(cursors)
    }

    fn path(&self, source: &Source) -> PathBuf {
        let mut path = OsString::from(&self.file);
        if let Some(name) = source.name() {
            path.push(".");
            path.push(name);
        }
        path.into()
    }

    fn keep(
        &mut self,
        answers: &MergedAnswers,
        out: &mut BufWriter<impl Write + AsFd>,
    ) -> anyhow::Result<()> {
        out.flush()?;
        let moved = |(source, cursor): &(&Source, Cursor)| self.saved.get(source) != Some(cursor);
        let moved: Vec<(&Source, Cursor)> = answers.positions().filter(moved).collect();
        if moved.is_empty() {
            return Ok(());
        }
        // What went to a file must not be lost by a power cut that the cursor survives. Pipes and
        // terminals cannot be synced, and say so.
        let copy = out.get_ref().as_fd().try_clone_to_owned();
        let _ = copy.and_then(|it| File::from(it).sync_data());
        for (source, cursor) in moved {
            cursor.save(&self.path(source))?;
            self.saved.insert(source.clone(), cursor);
        }
        Ok(())
    }
}

/// Each is synced, so not every single one.
const ANSWERS_A_CURSOR: u32 = 1_000;

/// What has ended is told as it comes, what is still open afterwards. The filter lets opens through
/// for that, and every notice, because a loss belongs to every answer that it may touch.
fn print_stories(
    state_dir: &Path,
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
    let mut answers = MergedAnswers::new(state_dir, everything)?;
    // What one recorder left open, the start of another program does not cut off.
    let mut open: BTreeMap<Source, OpenConnections> = BTreeMap::new();
    let mut footer = Footer::default();
    while let Some((source, answer)) = answers.next_answer()? {
        let whose = words::whose(&source);
        let record = match answer {
            Answer::Record { record, .. } => record,
            Answer::Hole(hole) => {
                footer.remarks.push(format!("{whose}{hole}"));
                continue;
            }
        };
        footer.take_note(&record, &whose, filter.asks_for_connections());
        let open = open.entry(source).or_default();
        match &record {
            Record::Connection(connection) if filter.is_about(connection) => {
                open.apply(&record);
                if filter.lets_through(&record) {
                    footer.connections += 1;
                    write!(out, "{whose}{}", words::story(connection))?;
                }
            }
            Record::Connection(_) => {}
            Record::Notice(_) => {
                open.apply(&record);
                if filter.lets_through(&record) {
                    writeln!(out, "{whose}{}", words::line(&record))?;
                }
            }
        }
    }
    if filter.outcome.is_none() && !filter.all_phases {
        for (source, open) in &open {
            for still_open in open.iter() {
                footer.open += 1;
                let whose = words::whose(source);
                write!(out, "{whose}{}", words::open_story(still_open))?;
            }
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
    fn take_note(&mut self, record: &Record, whose: &str, asks_for_connections: bool) {
        let Record::Notice(notice) = record else {
            return;
        };
        if asks_for_connections && matches!(notice.kind, NoticeKind::Lost { .. }) {
            self.remarks.push(format!("{whose}{}", words::line(record)));
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
