//! The values of a row, in the order of the columns.

use super::Value;
use crate::Manifest;
use record::ocsf::{notice_words, process_created_ms};
use record::{
    Aggregate, Ancestor, Attribution, ByteQuality, Connection, Device, Direction, Ending, Endpoint,
    EndpointId, Hostname, Notice, Origin, Phase, Process, Protocol, Traffic, Treated,
};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use trail::Source;

/// Where the records of a batch come from: what the first columns say.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    /// The machine.
    pub device: &'a Device,
    /// Which of its trails.
    pub source: &'a Source,
    /// The epoch.
    pub epoch: u64,
}

/// A run of columns that is the same in many rows, so that its bytes can be kept.
#[derive(Clone, Copy, Debug)]
pub enum Section<'a> {
    /// Where the record comes from.
    Provenance(Provenance<'a>),
    /// How it went, and where on this machine.
    Course(Course),
    /// The other side.
    Remote(Remote<'a>),
    /// How it came to be known, where nothing was treated and nothing summed.
    Knowledge(Knowledge),
    /// The process, where one is named.
    Process(Option<&'a Arc<Process>>),
    /// The process on whose behalf, where it is another.
    Responsible(Option<&'a Arc<Process>>),
}

/// How a connection went, in which direction, and the address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// How it ended; `None` while it lives.
    pub ending: Option<Ending>,
    /// Which side began.
    pub direction: Direction,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of this machine.
    pub local: Option<IpAddr>,
}

/// The other side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote<'a> {
    /// Which side began: some words for the other side depend on it.
    pub direction: Direction,
    /// Address and port.
    pub endpoint: Endpoint,
    /// Its name.
    pub hostname: Option<&'a Hostname>,
}

/// How a connection came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// Since when it was watched.
    pub origin: Origin,
    /// How we know who.
    pub attribution: Attribution,
    /// Inode of the network namespace.
    pub network_namespace: Option<u32>,
}

/// Takes the values of a row.
pub trait Put {
    /// The value of the next column.
    fn put(&mut self, value: Value<'_>);

    /// The values of the next columns. Whoever keeps bytes may do without [`put_section`].
    fn section(&mut self, section: Section<'_>)
    where
        Self: Sized,
    {
        put_section(section, self);
    }
}

/// The values of a section, one by one.
pub fn put_section(section: Section<'_>, out: &mut impl Put) {
    match section {
        Section::Provenance(provenance) => put_provenance(provenance, out),
        Section::Course(course) => put_course(course, out),
        Section::Remote(remote) => put_remote(remote, out),
        Section::Knowledge(knowledge) => {
            put_knowledge(knowledge, "", out);
            put_aggregate(None, out);
        }
        Section::Process(process) => put_process(process.map(Arc::as_ref), out),
        Section::Responsible(process) => put_responsible(process.map(Arc::as_ref), out),
    }
}

/// A row of [`super::CONNECTIONS`].
#[inline]
pub fn put_connection(
    provenance: Provenance<'_>,
    sequence: u64,
    connection: &Connection,
    out: &mut impl Put,
) {
    out.section(Section::Provenance(provenance));
    out.put(Value::Uint(sequence));
    out.put(Value::Uint(connection.id.epoch));
    out.put(Value::Uint(connection.id.ordinal));
    put_life(connection, out);
    put_sides(connection, out);
    put_measures(connection, out);
    let knowledge = Knowledge {
        origin: connection.origin,
        attribution: connection.attribution,
        network_namespace: connection.network_namespace,
    };
    match (
        connection.treated.as_deref(),
        connection.aggregate.as_deref(),
    ) {
        (None, None) => out.section(Section::Knowledge(knowledge)),
        (treated, aggregate) => {
            put_knowledge(
                knowledge,
                &treated.map(treated_text).unwrap_or_default(),
                out,
            );
            put_aggregate(aggregate, out);
        }
    }
    let process = connection.process.as_ref();
    let created = process.and_then(|process| process_created_ms(process, connection.at));
    out.put(created.map_or(Value::Unknown, Value::Time));
    out.section(Section::Process(process));
    out.section(Section::Responsible(connection.responsible.as_ref()));
}

/// A row of [`super::NOTICES`].
pub fn put_notice(provenance: Provenance<'_>, sequence: u64, notice: &Notice, out: &mut impl Put) {
    let words = notice_words(&notice.kind);
    let text = |key: &str| Value::Text(words.details[key].as_str().unwrap_or_default());
    let number = |key: &str| uint(words.details[key].as_u64());
    out.section(Section::Provenance(provenance));
    out.put(Value::Uint(sequence));
    out.put(Value::Time(notice.at.wall.as_millis()));
    out.put(Value::Text(words.name));
    for key in ["sensor", "state", "stage", "cause", "what"] {
        out.put(text(key));
    }
    out.put(uint(words.count));
    out.put(match words.since {
        None => Value::Unknown,
        Some(since) => Value::Time(since.wall.as_millis()),
    });
    out.put(text("destination"));
    // A policy's source is the file that it was read from.
    let is_about_records = words.details["epoch"].is_u64();
    out.put(if is_about_records {
        text("source")
    } else {
        Value::Text("")
    });
    for key in ["epoch", "first_sequence", "last_sequence"] {
        out.put(number(key));
    }
    out.put(match words.details["reason"].is_null() {
        true => text("problem"),
        false => text("reason"),
    });
    out.put(Value::Text(&words.message));
    out.put(Value::Text(&words.details.to_string()));
}

/// A row of [`super::BATCHES`].
pub fn put_manifest(device: &Device, manifest: &Manifest, out: &mut impl Put) {
    let id = &manifest.id;
    out.section(Section::Provenance(Provenance {
        device,
        source: &id.source,
        epoch: id.epoch,
    }));
    let left_out = &manifest.left_out;
    for count in [
        id.first,
        id.last,
        id.view.into(),
        manifest.sent,
        left_out.opens,
        left_out.filtered,
        left_out.dropped,
        left_out.refused,
        left_out.missing,
    ] {
        out.put(Value::Uint(count));
    }
    out.put(Value::Text(&hex(&manifest.digest)));
    let head = manifest.head.as_ref();
    out.put(uint(head.map(|head| head.epoch)));
    out.put(uint(head.map(|head| head.sequence)));
    out.put(Value::Text(
        &head.map(|it| hex(&it.hash)).unwrap_or_default(),
    ));
}

fn put_provenance(provenance: Provenance<'_>, out: &mut impl Put) {
    let device = provenance.device;
    let EndpointId(endpoint) = device.endpoint;
    out.put(Value::Text(&uuid(&endpoint)));
    out.put(Value::Text(provenance.source.name().unwrap_or_default()));
    out.put(Value::Uint(provenance.epoch));
    out.put(Value::Text(&device.hostname));
    out.put(Value::Text(&device.os_name));
    out.put(text(device.os_version.as_deref()));
    out.put(text(device.kernel_release.as_deref()));
    let boot_id = device.boot_id.as_ref().map(uuid);
    out.put(text(boot_id.as_deref()));
    out.put(text(device.machine_id.as_deref()));
    out.put(Value::Text(&device.agent_version));
}

#[inline(always)]
fn put_life(connection: &Connection, out: &mut impl Put) {
    let (phase, _) = phase_and_ending(connection.phase);
    let at = connection.at;
    let opened = connection.opened.map(|opened| opened.min(at.mono));
    let start_ms = at.wall_at(opened.unwrap_or(at.mono)).as_millis();
    let duration_ms = opened.map(|_| (at.wall.as_millis() - start_ms) as u64);
    let handshake_us = opened.zip(connection.established);
    let handshake_us = handshake_us.map(|(from, to)| to.since_ns(from) / 1_000);
    out.put(Value::Text(phase));
    out.put(Value::Time(start_ms));
    out.put(uint(duration_ms));
    out.put(uint(handshake_us));
}

fn phase_and_ending(phase: Phase) -> (&'static str, Option<Ending>) {
    match phase {
        Phase::Open => ("open", None),
        Phase::Update => ("update", None),
        Phase::Close(ending) => ("close", Some(ending)),
    }
}

#[inline(always)]
fn put_sides(connection: &Connection, out: &mut impl Put) {
    let (_, ending) = phase_and_ending(connection.phase);
    out.section(Section::Course(Course {
        ending,
        direction: connection.direction,
        protocol: connection.protocol,
        local: connection.local.address,
    }));
    out.put(uint(connection.local.port));
    out.section(Section::Remote(Remote {
        direction: connection.direction,
        endpoint: connection.remote,
        hostname: connection.hostname.as_ref(),
    }));
}

fn put_course(course: Course, out: &mut impl Put) {
    let ending = course.ending;
    out.put(text(ending.map(|ending| ending.outcome.name())));
    out.put(int(ending.and_then(|ending| ending.errno)));
    out.put(Value::Text(course.direction.name()));
    match course.protocol {
        Protocol::Tcp => out.put(Value::Text("tcp")),
        Protocol::Udp => out.put(Value::Text("udp")),
        Protocol::Other(number) => out.put(Value::Text(&number.to_string())),
    }
    out.put(course.local.map_or(Value::Unknown, Value::Address));
}

fn put_remote(remote: Remote<'_>, out: &mut impl Put) {
    let Endpoint { address, port } = remote.endpoint;
    out.put(address.map_or(Value::Unknown, Value::Address));
    out.put(uint(port));
    out.put(text(remote.hostname.map(|it| &*it.name)));
    out.put(text(remote.hostname.map(|it| it.source.name())));
}

fn put_knowledge(knowledge: Knowledge, treated: &str, out: &mut impl Put) {
    out.put(Value::Text(knowledge.origin.name()));
    out.put(Value::Text(knowledge.attribution.source.name()));
    out.put(Value::Text(knowledge.attribution.confidence.name()));
    out.put(uint(knowledge.network_namespace));
    out.put(Value::Text(treated));
}

#[inline(always)]
fn put_measures(connection: &Connection, out: &mut impl Put) {
    // A zero that nobody vouches for is not known.
    let traffic = match connection.traffic.quality {
        ByteQuality::ZeroUnverified => Traffic::default(),
        ByteQuality::Unknown | ByteQuality::Exact | ByteQuality::SoFar | ByteQuality::AtLeast => {
            connection.traffic
        }
    };
    out.put(uint(traffic.bytes_out));
    out.put(uint(traffic.bytes_in));
    out.put(uint(traffic.packets_out));
    out.put(uint(traffic.packets_in));
    out.put(Value::Text(connection.traffic.quality.name()));
    out.put(uint(connection.rtt_us));
    out.put(uint(connection.retransmits));
    out.put(uint(connection.closer_pid));
}

fn put_aggregate(aggregate: Option<&Aggregate>, out: &mut impl Put) {
    out.put(Value::Uint(aggregate.map_or(1, |it| it.connections)));
    out.put(text(aggregate.map(|it| it.cause.name())));
    out.put(text(aggregate.map(|it| it.scope.name())));
    out.put(uint(aggregate.map(|it| it.limit)));
    out.put(uint(aggregate.map(|it| it.interval_ns / 1_000_000)));
}

fn put_process(process: Option<&Process>, out: &mut impl Put) {
    out.put(uint(process.map(|it| it.key.pid)));
    // Zero says that nobody told.
    let exec_id = process.map(|it| it.key.exec_id);
    out.put(uint(exec_id.filter(|exec_id| *exec_id != 0)));
    out.put(
        process
            .and_then(|it| it.cpid)
            .map_or(Value::Unknown, Value::Uuid),
    );
    out.put(text(process.and_then(|it| it.name.as_deref())));
    out.put(text(process.and_then(|it| it.path.as_deref())));
    out.put(text(process.and_then(|it| it.command_line.as_deref())));
    let file = process.and_then(|it| it.file);
    out.put(uint(file.map(|file| file.device)));
    out.put(uint(file.map(|file| file.inode)));
    let user = process.and_then(|it| it.user.as_ref());
    out.put(uint(user.map(|user| user.uid)));
    out.put(text(user.and_then(|user| user.name.as_deref())));
    out.put(uint(process.and_then(|it| it.effective_uid)));
    out.put(uint(process.and_then(|it| it.login_uid)));
    out.put(uint(process.and_then(|it| it.audit_session)));
    out.put(process.map_or(Value::Unknown, |it| Value::Bool(it.vanished)));
    out.put(uint(process.and_then(|it| it.cgroup)));
    put_signature(process, out);
    put_ancestors(process.map_or(&[], |it| &it.ancestors), out);
}

fn put_signature(process: Option<&Process>, out: &mut impl Put) {
    let signature = process.and_then(|it| it.signature.as_ref());
    out.put(text(signature.map(|it| it.validity.name())));
    out.put(int(signature.and_then(|it| it.status)));
    out.put(text(signature.and_then(|it| it.signing_id.as_deref())));
    out.put(text(signature.and_then(|it| it.team_id.as_deref())));
    let cdhash = signature.and_then(|it| it.cdhash.as_ref());
    out.put(text(cdhash.map(|cdhash| hex(cdhash)).as_deref()));
    let platform = signature.and_then(|it| it.platform);
    out.put(platform.map_or(Value::Unknown, Value::Bool));
}

fn put_ancestors(ancestors: &[Ancestor], out: &mut impl Put) {
    let parent = ancestors.first();
    out.put(uint(parent.map(|it| it.key.pid)));
    out.put(
        parent
            .and_then(|it| it.cpid)
            .map_or(Value::Unknown, Value::Uuid),
    );
    out.put(text(parent.and_then(|it| it.name.as_deref())));
    out.put(text(parent.and_then(|it| it.path.as_deref())));
    let names = ancestors.iter().map(|it| it.name.as_deref().unwrap_or("?"));
    out.put(Value::Text(&names.collect::<Vec<&str>>().join("<")));
}

fn put_responsible(process: Option<&Process>, out: &mut impl Put) {
    let signature = process.and_then(|it| it.signature.as_ref());
    out.put(uint(process.map(|it| it.key.pid)));
    out.put(
        process
            .and_then(|it| it.cpid)
            .map_or(Value::Unknown, Value::Uuid),
    );
    out.put(text(process.and_then(|it| it.name.as_deref())));
    out.put(text(process.and_then(|it| it.path.as_deref())));
    out.put(text(signature.and_then(|it| it.signing_id.as_deref())));
    out.put(text(signature.and_then(|it| it.team_id.as_deref())));
}

fn treated_text(treated: &[Treated]) -> String {
    let mut text = String::new();
    for mark in treated {
        let comma = if text.is_empty() { "" } else { "," };
        let (field, action) = (mark.field.name(), mark.action.name());
        write!(text, "{comma}{field} {action} {}", mark.rule)
            .expect("writing to a string cannot fail");
    }
    text
}

#[inline(always)]
fn uint<'a>(value: Option<impl Into<u64>>) -> Value<'a> {
    match value {
        Some(value) => Value::Uint(value.into()),
        None => Value::Unknown,
    }
}

#[inline(always)]
fn int<'a>(value: Option<i32>) -> Value<'a> {
    match value {
        Some(value) => Value::Int(value.into()),
        None => Value::Unknown,
    }
}

#[inline(always)]
fn text(value: Option<&str>) -> Value<'_> {
    Value::Text(value.unwrap_or_default())
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).expect("four bits are a digit"));
        }
    }
    text
}

/// Sixteen bytes in the form 8-4-4-4-12.
pub(crate) fn uuid(bytes: &[u8; 16]) -> String {
    EndpointId(*bytes).to_string()
}
