//! What is told when all is done: the truth file, what went wrong, and the summary.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::scenario::{Outcome, Protocol, Scenario, Story};
use crate::table::{Plan, Row, Table};
use crate::wire::HEADER_BYTES;

/// First line of the truth file.
const COLUMNS: &str = "id,protocol,family,client_pid,client_port,server_pid,server_port,\
    client_sent,client_received,outcome,exe,scenario,client_address,server_address,closer_pid,\
    opened_boot_ns,closed_boot_ns,server_exe";

/// How many connections that went wrong are named.
const NAMED_FAILURES_MAX: usize = 10;

/// All that is known about a run.
pub(crate) struct Report<'a> {
    /// Name of the mode.
    pub(crate) mode: &'a str,
    /// Plans and results.
    pub(crate) table: &'a Table,
    /// Paths of the programs that plans name by index.
    pub(crate) programs: &'a [String],
    /// Process ids of the servers.
    pub(crate) servers: &'a [u32],
    /// From the first connection to the last.
    pub(crate) wall: Duration,
    /// Processor time of all processes of the run.
    pub(crate) cpu: Duration,
}

impl Report<'_> {
    /// Every row's number, plan and result.
    fn rows(&self) -> impl Iterator<Item = (u32, Plan, &Row)> {
        (0..self.table.rows()).map(|id| (id, self.table.plan(id), self.table.row(id)))
    }

    /// The process that served a row, or zero.
    fn server_of(&self, plan: &Plan, row: &Row) -> u32 {
        let told = row.server_pid.load(Relaxed);
        match self.servers {
            // A connection without a byte brings no word of its server, but there is only one.
            [only] if told == 0 && plan.scenario.facts().is_accepted => *only,
            _ => told,
        }
    }

    /// Writes the truth file.
    pub(crate) fn write_truth(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{COLUMNS}")?;
        for (id, plan, row) in self.rows() {
            writeln!(file, "{}", self.truth_line(id, &plan, row))?;
        }
        file.flush()
    }

    /// One line of the truth file.
    fn truth_line(&self, id: u32, plan: &Plan, row: &Row) -> String {
        let server_pid = self.server_of(plan, row);
        let family = if plan.server().is_ipv4() { "4" } else { "6" };
        let program = |index: u16| {
            self.programs
                .get(usize::from(index))
                .map_or("", String::as_str)
        };
        let client_address = row.client_address();
        let is_known = !client_address.is_none();
        [
            id.to_string(),
            plan.protocol().name().into(),
            family.into(),
            row.client_pid.load(Relaxed).to_string(),
            row.client_port.load(Relaxed).to_string(),
            server_pid.to_string(),
            plan.server_port.to_string(),
            row.sent_bytes.load(Relaxed).to_string(),
            row.received_bytes.load(Relaxed).to_string(),
            row.outcome().name(),
            quoted(program(plan.program)),
            plan.scenario.facts().name.into(),
            if is_known {
                client_address.ip().to_string()
            } else {
                String::new()
            },
            plan.server_address.ip().to_string(),
            row.closer_pid.load(Relaxed).to_string(),
            row.opened_boot_ns.load(Relaxed).to_string(),
            row.closed_boot_ns.load(Relaxed).to_string(),
            if server_pid == 0 {
                String::new()
            } else {
                quoted(program(plan.server_program))
            },
        ]
        .join(",")
    }

    /// Prints the summary and what went wrong; whether nothing did.
    pub(crate) fn print_summary(&self) -> bool {
        let mut failures = Vec::new();
        let mut keys = HashSet::new();
        for (id, plan, row) in self.rows() {
            let key = (
                plan.protocol() as u8,
                row.client_port.load(Relaxed),
                plan.server_port,
            );
            let is_repeated = key.1 != 0 && !keys.insert(key);
            let reason = if is_repeated {
                Some("its pair of ports is not unique".to_owned())
            } else {
                self.complaint(&plan, row)
            };
            failures.extend(reason.map(|reason| (id, plan.scenario, reason)));
        }
        for (id, scenario, reason) in failures.iter().take(NAMED_FAILURES_MAX) {
            eprintln!(
                "ground_truth: row {id} ({}): {reason}",
                scenario.facts().name
            );
        }
        match self.table.spare_ports_taken() {
            0 => {}
            // Each of them shows as a failed attempt in what a sensor records.
            taken => eprintln!("ground_truth: {taken} attempts found their port taken"),
        }
        println!("{}", self.summary(failures.len()));
        failures.is_empty()
    }

    /// What is wrong with a row.
    fn complaint(&self, plan: &Plan, row: &Row) -> Option<String> {
        let (outcome, expected) = (row.outcome(), plan.scenario.facts().outcome);
        if outcome != expected {
            return Some(format!("{} instead of {}", outcome.name(), expected.name()));
        }
        let bytes = (
            row.sent_bytes.load(Relaxed),
            row.received_bytes.load(Relaxed),
        );
        let expected = expected_bytes(plan);
        if bytes != expected {
            return Some(format!(
                "{bytes:?} bytes sent and received instead of {expected:?}"
            ));
        }
        let server = self.server_of(plan, row);
        if expected.1 > 0 && !self.servers.contains(&server) {
            return Some(format!("answered by process {server}, which is no server"));
        }
        let has_port = row.client_port.load(Relaxed) != 0;
        (has_port == (plan.scenario == Scenario::Unreachable))
            .then(|| "its client port is not as it should be".to_owned())
    }

    /// The last line.
    fn summary(&self, failures: usize) -> String {
        let count = self.table.rows() as usize;
        let ok = count - failures;
        let wall = self.wall.as_secs_f64();
        let rate = ok as f64 / wall;
        let cpu_us = self.cpu.as_secs_f64() * 1e6 / ok.max(1) as f64;
        format!(
            "mode={} count={count} ok={ok} wall_s={wall:.3} rate={rate:.0} \
             cpu_us_per_connection={cpu_us:.2} mean_life_us={:.0}",
            self.mode,
            self.mean_life_us(),
        )
    }

    /// Mean life of the processes that played one row each, or else of the connections.
    fn mean_life_us(&self) -> f64 {
        let played = self
            .rows()
            .filter(|(_, _, row)| row.outcome() != Outcome::Pending);
        let (count, total_us) = played.fold((0, 0.0), |(count, total_us), (_, _, row)| {
            (count + 1, total_us + life_us(row))
        });
        total_us / f64::from(count.max(1))
    }
}

/// Life of the process that played a row, or of the connection if the process played others too.
fn life_us(row: &Row) -> f64 {
    let process_us = row.process_life_us.load(Relaxed);
    if process_us > 0 {
        return process_us.into();
    }
    let (opened_ns, closed_ns) = (&row.opened_boot_ns, &row.closed_boot_ns);
    closed_ns
        .load(Relaxed)
        .saturating_sub(opened_ns.load(Relaxed)) as f64
        / 1_000.0
}

/// Application bytes that a plan, if all goes well, sends and receives.
fn expected_bytes(plan: &Plan) -> (u64, u64) {
    let exchanges = u64::from(plan.exchanges);
    let sent = exchanges * u64::from(plan.request_bytes);
    let received = exchanges * u64::from(plan.reply_bytes);
    match plan.scenario.facts().story {
        Story::JustClose => (0, 0),
        Story::DatagramRefused => (sent, 0),
        Story::ServerResets => (sent + HEADER_BYTES as u64, received),
        Story::ServerCloses
        | Story::ClientCloses
        | Story::HalfClose
        | Story::ClientResets
        | Story::ChildCloses
        | Story::NextImageCloses
        | Story::Datagrams
        | Story::DatagramsToMany => (sent, received),
    }
}

/// Connections of `table` that a server must have accepted, as far as clients know.
pub(crate) fn count_accepted(table: &Table) -> u32 {
    let is_accepted = |id: &u32| {
        let facts = table.plan(*id).scenario.facts();
        facts.is_accepted
            && facts.protocol == Protocol::Tcp
            && table.row(*id).outcome() == facts.outcome
    };
    (0..table.rows()).filter(is_accepted).count() as u32
}

/// Whether every row has been played to an end.
pub(crate) fn is_complete(table: &Table) -> bool {
    (0..table.rows()).all(|id| table.row(id).outcome() != Outcome::Pending)
}

/// A field of the truth file, in quotes if it needs them.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field.to_owned()
}
