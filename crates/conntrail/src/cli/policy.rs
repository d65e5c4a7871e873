//! `conntrail config check-policy` and `conntrail config explain`: what a privacy policy says, and
//! what it did to a record, or would do.

use super::recorded_in;
use crate::words;
use ::policy::{Decision, Explanation, KEY_BYTES, Policy, PseudonymKey, Verdict};
use anyhow::{Context, bail};
use flow::FlowTable;
use flow::stream::{decode_header, replay};
use host::config::Config;
use query::{Answer, Answers, Filter};
use record::{
    Connection, NoticeKind, PolicyAction, PolicyChanged, PolicyField, PolicyState, Record, RecordId,
};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

/// What there is to ask of a privacy policy.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Says whether a privacy policy is right, and if not, in which line and why.
    CheckPolicy(CheckArguments),
    /// Shows which rule of the privacy policy did what to a record, part by part.
    Explain(ExplainArguments),
}

/// What to check.
#[derive(clap::Args)]
pub(crate) struct CheckArguments {
    /// The policy [default: the one that the configuration names].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What to explain.
#[derive(clap::Args)]
pub(crate) struct ExplainArguments {
    /// A record, as EPOCH-SEQUENCE or by its metadata.uid; or a connection, as EPOCH-cNUMBER or by
    /// its connection_info.uid.
    #[arg(value_name = "RECORD", value_parser = parse_asked)]
    record: Option<Asked>,
    /// The last N records of connections.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "record")]
    last: usize,
    /// What this policy would do, to the record as it was kept.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Records as they come from a stream of events, before any policy, instead of the trail.
    #[arg(long, value_name = "FILE.events", requires = "policy")]
    events: Option<PathBuf>,
}

/// Which record, or which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Record(RecordId),
    Connection(record::ConnectionId),
}

/// A record of a connection, and the policy under which it was kept.
struct Told {
    id: RecordId,
    connection: Connection,
    policy: Option<Rc<InForce>>,
}

struct InForce {
    changed: PolicyChanged,
    since: RecordId,
}

/// A key that is nobody's: what would be a pseudonym is shown, but not which.
const SHOWN_KEY: [u8; KEY_BYTES] = [0; KEY_BYTES];

/// Checks a policy. The exit code is 1 when it is wrong.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(crate) fn check(
    arguments: &CheckArguments,
    config: &Config,
    beside: &Path,
) -> anyhow::Result<ExitCode> {
    let (source, text) = match &arguments.file {
        Some(path) => (path.display().to_string(), read(path)?),
        None => match configured(config, beside)? {
            Some(found) => found,
            None => bail!(
                "no policy is configured: there is no {}; name a file to check",
                beside.display()
            ),
        },
    };
    let policy = match Policy::parse(&text) {
        Ok(policy) => policy,
        Err(problems) => {
            for problem in located(&source, &problems) {
                writeln!(io::stderr(), "conntrail: {problem}")?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(
        out,
        "{source} is right; policy {}",
        shown_hash(policy.hash())
    )?;
    for (name, number) in policy.rule_names().zip(1u8..) {
        let line = policy.rule_line(number).unwrap_or_default();
        writeln!(out, "  rule {number}, line {line}: {name}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the policy that the configuration names, a line each.
pub(crate) fn problems(config: &Config, beside: &Path) -> Vec<String> {
    match configured(config, beside) {
        Ok(None) => Vec::new(),
        Ok(Some((source, text))) => match Policy::parse(&text) {
            Ok(_) => Vec::new(),
            Err(problems) => located(&source, &problems).collect(),
        },
        Err(error) => vec![format!("{error:#}")],
    }
}

fn located(source: &str, problems: &[::policy::Problem]) -> impl Iterator<Item = String> {
    problems
        .iter()
        .map(move |it| format!("{source}:{}:{}: {}", it.line, it.column, it.message))
}

/// The policy that the configuration names, and where it stands.
fn configured(config: &Config, beside: &Path) -> anyhow::Result<Option<(String, String)>> {
    if !config.policy.is_empty() {
        let source = "the setting privacy.policy".to_owned();
        return Ok(Some((source, config.policy.clone())));
    }
    let path = match config.policy_file.as_str() {
        "" if !beside.exists() => return Ok(None),
        "" => beside,
        named => Path::new(named),
    };
    let text = host::private::read_trusted(path, ::policy::TEXT_BYTES_MAX as u64);
    let text =
        text.with_context(|| format!("the policy {} cannot be read or trusted", path.display()))?;
    Ok(Some((path.display().to_string(), text)))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))
}

/// Explains records on standard output.
///
/// # Errors
/// When the record is not there, or the policy is wrong or cannot be read.
pub(crate) fn explain(state_dir: &Path, arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    let proposed = arguments.policy.as_deref().map(proposed).transpose()?;
    let told = match &arguments.events {
        Some(path) => of_stream(path, arguments)?,
        None => of_trail(state_dir, arguments)?,
    };
    if told.is_empty() {
        bail!("there is no such record of a connection; notices are never changed by a policy");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for told in &told {
        print_head(told, &mut out)?;
        match &proposed {
            Some(policy) => print_proposal(told, policy, &mut out)?,
            None => print_history(told, &mut out)?,
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn proposed(path: &Path) -> anyhow::Result<Arc<Policy>> {
    match Policy::parse(&read(path)?) {
        Ok(policy) => Ok(Arc::new(policy)),
        Err(problems) => {
            let source = path.display().to_string();
            let lines: Vec<String> = located(&source, &problems).collect();
            bail!("the policy is wrong:\n{}", lines.join("\n"))
        }
    }
}

/// What was asked for, of all records that come by.
struct Sought<'a> {
    arguments: &'a ExplainArguments,
    found: VecDeque<Told>,
    policy: Option<Rc<InForce>>,
    epoch: u64,
}

impl Sought<'_> {
    fn new(arguments: &ExplainArguments) -> Sought<'_> {
        Sought {
            arguments,
            found: VecDeque::new(),
            policy: None,
            epoch: 0,
        }
    }

    fn take(&mut self, id: RecordId, record: Record) {
        if id.epoch != self.epoch {
            (self.epoch, self.policy) = (id.epoch, None);
        }
        match record {
            Record::Notice(notice) => {
                if let NoticeKind::PolicyChanged(changed) = notice.kind {
                    let is_there = changed.state != PolicyState::Removed;
                    let in_force = InForce { changed, since: id };
                    self.policy = is_there.then(|| Rc::new(in_force));
                }
            }
            Record::Connection(connection) => self.take_connection(id, connection),
        }
    }

    fn take_connection(&mut self, id: RecordId, connection: Connection) {
        let is_asked = match self.arguments.record {
            Some(Asked::Record(asked)) => asked == id,
            Some(Asked::Connection(asked)) => asked == connection.id,
            None => {
                if self.found.len() >= self.arguments.last {
                    self.found.pop_front();
                }
                self.arguments.last > 0
            }
        };
        if is_asked {
            self.found.push_back(Told {
                id,
                connection,
                policy: self.policy.clone(),
            });
        }
    }
}

fn of_trail(state_dir: &Path, arguments: &ExplainArguments) -> anyhow::Result<VecDeque<Told>> {
    let everything = Filter {
        all_phases: true,
        ..Filter::default()
    };
    let mut answers = Answers::new(&recorded_in(state_dir)?, everything)?;
    let mut sought = Sought::new(arguments);
    while let Some(answer) = answers.next_answer()? {
        match answer {
            Answer::Record { id, record, .. } => sought.take(id, record),
            Answer::Hole(hole) => writeln!(io::stderr(), "conntrail: {hole}")?,
        }
    }
    Ok(sought.found)
}

fn of_stream(path: &Path, arguments: &ExplainArguments) -> anyhow::Result<VecDeque<Told>> {
    let bytes = fs::read(path).with_context(|| format!("{} could not be read", path.display()))?;
    let mut calls = bytes.as_slice();
    let header = decode_header(&mut calls).with_context(|| path.display().to_string())?;
    let mut table = FlowTable::new(header.config, header.epoch, header.start);
    let mut sought = Sought::new(arguments);
    let mut sequence = 0;
    replay(&mut calls, &mut table, |record| {
        sequence += 1;
        let id = RecordId {
            epoch: header.epoch,
            sequence,
        };
        sought.take(id, record.clone());
        anyhow::Ok(())
    })
    .with_context(|| path.display().to_string())?;
    Ok(sought.found)
}

fn print_head(told: &Told, out: &mut impl Write) -> io::Result<()> {
    let RecordId { epoch, sequence } = told.id;
    let line = words::line(&Record::Connection(told.connection.clone()));
    writeln!(out, "record {epoch}-{sequence}: {line}")
}

/// What was done to it when it was recorded, as its marks say.
fn print_history(told: &Told, out: &mut impl Write) -> io::Result<()> {
    let marks = told.connection.treated.as_deref().unwrap_or_default();
    let rules = match &told.policy {
        None => {
            writeln!(out, "  no policy was in force")?;
            &[][..]
        }
        Some(policy) => {
            let RecordId { epoch, sequence } = policy.since;
            let hash = shown_hash(policy.changed.hash);
            let source = policy.changed.source.as_deref().unwrap_or("unknown");
            let state = policy.changed.state.name().replace('_', " ");
            writeln!(
                out,
                "  policy {hash} ({state}, {source}), told by record {epoch}-{sequence}"
            )?;
            &policy.changed.rules[..]
        }
    };
    let name = |rule: u8| {
        let name = rules.get(usize::from(rule).saturating_sub(1));
        name.map_or(String::new(), |name| format!(" \"{name}\""))
    };
    for field in PolicyField::ALL {
        let value = ::policy::shown(&told.connection, *field);
        let mark = marks.iter().find(|it| it.field == *field);
        let what = match (mark, &value) {
            (None, None) => continue,
            (None, Some(_)) => "as it came".to_owned(),
            (Some(mark), _) if *field == PolicyField::Record => format!(
                "only the outline is left: rule {}{} drops it, but its open had been recorded",
                mark.rule,
                name(mark.rule)
            ),
            (Some(mark), _) => format!(
                "{} by rule {}{}",
                done(mark.action),
                mark.rule,
                name(mark.rule)
            ),
        };
        print_part(*field, value.as_deref().unwrap_or("–"), &what, out)?;
    }
    Ok(())
}

/// What another policy would do to it, and why.
fn print_proposal(told: &Told, policy: &Arc<Policy>, out: &mut impl Write) -> io::Result<()> {
    let key = PseudonymKey::new(SHOWN_KEY);
    let Explanation {
        rules,
        decision,
        parts,
    } = ::policy::explain(policy, Some(&key), &told.connection);
    for rule in &rules {
        writeln!(out, "  {}", verdict_words(rule))?;
    }
    match decision {
        Decision::Dropped(rule) => {
            return writeln!(out, "  → the record would be dropped by rule {rule}");
        }
        Decision::Kept => writeln!(out, "  → the record would be kept as it is")?,
        Decision::Changed => writeln!(out, "  → the record would be changed")?,
    }
    for part in parts {
        let value = match &part.after {
            Some(after) if *after == part.before => part.before,
            Some(after) => format!("{} → {after}", part.before),
            None => format!("{} → nothing", part.before),
        };
        let what = match part.decided {
            None => "no rule names it".to_owned(),
            Some((rule, None)) => format!("kept by rule {rule}"),
            Some((rule, Some(action))) => format!("{} by rule {rule}", done(action)),
        };
        print_part(part.field, &value, &what, out)?;
    }
    Ok(())
}

fn verdict_words(verdict: &Verdict) -> String {
    let Verdict {
        rule,
        name,
        line,
        action,
        misses,
    } = verdict;
    let line = line
        .map(|line| format!(", line {line}"))
        .unwrap_or_default();
    let what = match misses.as_slice() {
        [] => "matches".to_owned(),
        misses => format!("does not match: {}", misses.join(", ")),
    };
    format!("rule {rule} \"{name}\" ({action}{line}) {what}")
}

fn print_part(field: PolicyField, value: &str, what: &str, out: &mut impl Write) -> io::Result<()> {
    // What a process calls itself must not steer a terminal.
    let value = value.escape_debug();
    writeln!(out, "  {:<22} {value}  [{what}]", field.name())
}

fn done(action: PolicyAction) -> &'static str {
    match action {
        PolicyAction::Drop => "left out",
        PolicyAction::Truncate => "shortened",
        PolicyAction::Pseudonymise => "replaced by a pseudonym",
    }
}

/// The beginning of a hash, enough to tell policies apart.
fn shown_hash(hash: Option<[u8; 32]>) -> String {
    match hash {
        None => "without a text".to_owned(),
        Some(hash) => hash[..6].iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The last two parts of what is written with dashes.
fn parse_asked(text: &str) -> Result<Asked, String> {
    let wrong = || {
        format!(
            "{text:?} is neither a record such as 3-1042 nor a connection such as 3-c17; both may \
             have the endpoint's id in front"
        )
    };
    let (front, last) = text.rsplit_once('-').ok_or_else(wrong)?;
    let epoch = front.rsplit('-').next().unwrap_or(front);
    let epoch: u64 = epoch.parse().map_err(|_| wrong())?;
    let number = last.strip_prefix('c').unwrap_or(last);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(if last.starts_with('c') {
        Asked::Connection(record::ConnectionId {
            epoch,
            ordinal: number,
        })
    } else {
        Asked::Record(RecordId {
            epoch,
            sequence: number,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_connections_are_named_as_events_name_them() {
        let record = Asked::Record(RecordId {
            epoch: 3,
            sequence: 1042,
        });
        let connection = Asked::Connection(record::ConnectionId {
            epoch: 3,
            ordinal: 17,
        });
        let endpoint = "5e1f0011-2233-4455-8677-8899aabbccdd";
        for front in [String::new(), format!("{endpoint}-")] {
            assert_eq!(parse_asked(&format!("{front}3-1042")), Ok(record));
            assert_eq!(parse_asked(&format!("{front}3-c17")), Ok(connection));
        }
        for wrong in ["", "3", "3-", "c-3", "3-d4", "x-1"] {
            assert!(
                parse_asked(wrong).unwrap_err().contains("3-1042"),
                "{wrong}"
            );
        }
    }
}
