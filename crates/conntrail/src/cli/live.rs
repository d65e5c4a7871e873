//! `conntrail live`: shows what is open now, from the live table that the recorder keeps in memory.

use super::query::parse_network;
use crate::tui::state::Live;
use crate::words;
use ::live::{Expected, Row, State, Table};
use ::query::{Filter, HostPattern, ProcessPattern};
use anyhow::{Context, bail};
use ipnet::IpNet;
use record::{Connection, Endpoint, EndpointId, Mono, Process};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only connections of this process: a name, a full path, or a pid.
    #[arg(long, value_name = "PROCESS")]
    process: Option<String>,
    /// Only connections to this address or network, such as 203.0.113.0/24.
    #[arg(long, value_name = "CIDR", value_parser = parse_network)]
    to: Option<IpNet>,
    /// Only connections to this name, or with a dot in front to all names below it.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only connections with this port on either side.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// One JSON object a line; what is not known is null.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn filter(&self) -> Filter {
        Filter {
            process: self.process.clone().map(ProcessPattern),
            to: self.to,
            host: self.host.clone().map(HostPattern),
            port: self.port,
            ..Filter::default()
        }
    }
}

/// Shows them once.
///
/// # Errors
/// When there is no live table, or none that tells of now: then nothing is shown.
pub(crate) fn run(state_dir: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (table, age_ns) = match read(state_dir) {
        Ok(read) => read,
        Err(why) => bail!("{why}; conntrail watch shows what the trail tells"),
    };
    let mut shown = view(&table, age_ns);
    let filter = arguments.filter();
    shown.rows.retain(|row| filter.is_about(&row.connection));
    let mut out = BufWriter::new(io::stdout().lock());
    if arguments.json {
        for row in &shown.rows {
            writeln!(out, "{}", as_json(row, &table))?;
        }
    } else {
        writeln!(out, "{}", words::live_heading())?;
        for row in &shown.rows {
            writeln!(out, "{}", words::live_line(row))?;
        }
        writeln!(out, "{}", footer(&shown))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What is open now, or in words why that is not known.
pub(super) fn snapshot(state_dir: &Path) -> Result<Live, String> {
    read(state_dir).map(|(table, age_ns)| view(&table, age_ns))
}

/// The table and its age in nanoseconds, if it tells of now.
fn read(state_dir: &Path) -> Result<(Table, u64), String> {
    let (expected, folders) = expected(state_dir).map_err(|error| format!("{error:#}"))?;
    let table = ::live::read(&folders, &expected).map_err(|error| error.to_string())?;
    match table.state(host::clock::mono()) {
        State::Live { age_ns } => Ok((table, age_ns)),
        State::Stale {
            age_ns: Some(age_ns),
        } => Err(format!(
            "the live table is {} old: the recorder hangs, or is gone",
            words::duration(age_ns)
        )),
        State::Stale { age_ns: None } => {
            Err("the live table is of another boot of this machine".to_owned())
        }
        State::Gone => Err("the recorder that kept the live table is gone".to_owned()),
    }
}

/// Whose table is looked for, and where: that of whoever keeps the trail, or of root.
fn expected(state_dir: &Path) -> anyhow::Result<(Expected, Vec<PathBuf>)> {
    let file = state_dir.join("endpoint-id");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("the live table is found by {}", file.display()))?;
    let endpoint: EndpointId = text
        .trim()
        .parse()
        .with_context(|| format!("{} holds no endpoint id", file.display()))?;
    let owner = fs::metadata(&file)?.uid();
    let mut folders = host::paths::live_folders(state_dir, owner);
    if owner != 0 {
        folders.extend(host::paths::live_folders(state_dir, 0));
    }
    let expected = Expected {
        endpoint,
        owner,
        boot_id: host::device::boot_id(),
    };
    Ok((expected, folders))
}

fn view(table: &Table, age_ns: u64) -> Live {
    let mut rows = Vec::new();
    let mut unreadable = 0;
    for row in table.rows() {
        match row {
            Ok(row) => rows.push(row),
            Err(_) => unreadable += 1,
        }
    }
    rows.sort_by_key(|row| Reverse(busyness(row)));
    Live {
        snapshot: table.snapshot,
        age_ns,
        rows,
        unreadable,
    }
}

/// What passes, then what passed, then which is newer.
fn busyness(row: &Row) -> (u64, u64, u64) {
    let sum =
        |one: Option<u64>, other: Option<u64>| one.unwrap_or(0).saturating_add(other.unwrap_or(0));
    let rate = row.rate.map_or(0, |it| sum(it.out_per_s, it.in_per_s));
    let traffic = row.connection.traffic;
    let total = sum(traffic.bytes_out, traffic.bytes_in);
    (rate, total, row.connection.id.ordinal)
}

fn footer(shown: &Live) -> String {
    let count = shown.rows.len();
    let age = words::duration(shown.age_ns);
    let mut footer = format!("{count} open, from the live table, {age} old");
    if let Some(remarks) = words::live_remarks(&shown.snapshot) {
        footer += &format!("; {remarks}");
    }
    if shown.unreadable > 0 {
        footer += &format!("; {} are of a newer version", shown.unreadable);
    }
    footer + "."
}

fn as_json(row: &Row, table: &Table) -> Value {
    let Connection {
        id,
        at,
        process,
        responsible,
        attribution,
        traffic,
        ..
    } = &row.connection;
    let connection = &row.connection;
    let since_ns = |moment: Mono| at.mono.since_ns(moment);
    let endpoint = table.header.endpoint;
    json!({
        "connection": format!("{endpoint}-{}-{}", id.epoch, id.ordinal),
        "generation": table.snapshot.generation,
        "at_ns": at.wall.0,
        "process": process.as_deref().map(process_json),
        "responsible": responsible.as_deref().map(process_json),
        "protocol": connection.protocol.number(),
        "direction": connection.direction.name(),
        "local": endpoint_json(connection.local),
        "remote": endpoint_json(connection.remote),
        "hostname": connection.hostname.as_ref().map(|it| &*it.name),
        "opened_ns": connection.opened.map(|it| at.wall_at(it).0),
        "last_seen_ago_ns": row.last_seen.map(since_ns),
        "bytes_out": traffic.bytes_out,
        "bytes_in": traffic.bytes_in,
        "byte_quality": traffic.quality.name(),
        "rate_out_per_s": row.rate.and_then(|it| it.out_per_s),
        "rate_in_per_s": row.rate.and_then(|it| it.in_per_s),
        "rate_window_ns": row.rate.map(|it| it.until.since_ns(it.from)),
        "rate_ago_ns": row.rate.map(|it| since_ns(it.until)),
        "origin": connection.origin.name(),
        "identity_source": attribution.source.name(),
        "confidence": attribution.confidence.name(),
        "is_treated": connection.treated.is_some(),
    })
}

fn process_json(process: &Process) -> Value {
    json!({
        "pid": process.key.pid,
        "name": process.name.as_deref(),
        "path": process.path.as_deref(),
        "uid": process.user.as_ref().map(|it| it.uid),
        "user": process.user.as_ref().and_then(|it| it.name.as_deref()),
    })
}

fn endpoint_json(endpoint: Endpoint) -> Value {
    json!({ "address": endpoint.address, "port": endpoint.port })
}
