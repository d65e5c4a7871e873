//! The published form of records: events of the Open Cybersecurity Schema Framework, 1.8.0.
//!
//! | record | class |
//! |---|---|
//! | connection | Network Activity, 4001 |
//! | recorder or sensor started, stopped or stepped aside | Application Lifecycle, 6002 |
//! | system extension replaced | Application Lifecycle, 6002 |
//! | loss, limit, coverage, eviction, sleep, clock step, ledger | Event Log Activity, 1008 |
//! | privacy policy changed, counted | Event Log Activity, 1008 |
//! | deliveries, and what was not delivered | Event Log Activity, 1008 |
//!
//! All carry the `host` profile, which says on which device and by which process. What the schema
//! has no place for stands under `unmapped.conntrail`: how we know, and nanoseconds.
//!
//! Schema: <https://schema.ocsf.io/1.8.0/>.

mod event;

use crate::device::write_uuid;
use crate::{
    Aggregate, AggregateCause, AggregateScope, BreakerCause, BreakerState, ByteQuality,
    CodeSignature, Connection, ConnectionId, Coverage, Delivery, DeliveryState, Device, Direction,
    Endpoint, ExtensionReplaced, Hostname, LossCause, LossStage, LostKind, Mono, Notice,
    NoticeKind, Outcome, Phase, PolicyChanged, PolicyCounts, PolicyState, PreviousEpoch, Process,
    ProcessKey, Protocol, Record, RecordCounts, RecordId, SignatureValidity, StageCounts, Stamp,
    Tally, TcpCounts, Traffic, Treated, Undelivered, UndeliveredCause, Wall, pseudonym,
};
use event::{
    Actor, AggregateNotes, ConnectionInfo, ConnectionNotes, DigitalSignature, Event, File,
    Fingerprint, Metadata, NetworkEndpoint, NetworkTraffic, NoticeNotes, OperatingSystem,
    ParentProcess, Product, ResponsibleNotes, Session, SignatureNotes, Timespan, TreatedNotes,
    Unmapped, UserObject,
};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// The version of the schema that events follow.
pub const SCHEMA_VERSION: &str = "1.8.0";

/// Appends `record` as one JSON object, without a line break.
pub fn encode(id: RecordId, record: &Record, device: &Device, out: &mut Vec<u8>) {
    write(&event(id, record, device), out);
}

/// Appends a record that is not from the recorder's trail, but from the side trail of this name.
pub fn encode_of_side(
    name: &str,
    id: RecordId,
    record: &Record,
    device: &Device,
    out: &mut Vec<u8>,
) {
    let mut event = event(id, record, device);
    event.unmapped.set_side_trail(name);
    // Each trail counts by itself.
    event.metadata.uid = format!("{}.{name}-{}-{}", device.endpoint, id.epoch, id.sequence);
    write(&event, out);
}

/// An event about the log itself that is no record.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEvent {
    /// Its unique name.
    pub uid: String,
    /// What it is about, in a word.
    pub activity: &'static str,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// A sentence for people.
    pub message: String,
    /// How many of what it tells of.
    pub count: u64,
    /// What the schema has no place for.
    pub notes: Value,
}

/// Appends an event of the class Event Log Activity as one JSON object, without a line break.
pub fn encode_log_event(log_event: LogEvent, device: &Device, out: &mut Vec<u8>) {
    let at = Stamp {
        wall: Wall(log_event.time_ms.saturating_mul(1_000_000)),
        mono: Mono(0),
    };
    let nowhere = RecordId {
        epoch: 0,
        sequence: 0,
    };
    let base = base(
        nowhere,
        &EVENT_LOG_ACTIVITY,
        other_activity(log_event.activity),
        STATUS_SUCCESS,
        at,
        device,
    );
    let event = Event {
        metadata: Metadata {
            uid: log_event.uid,
            sequence: None,
            ..base.metadata
        },
        log_name: Some("conntrail"),
        log_provider: Some("Conntrail"),
        message: Some(log_event.message),
        count: i32::try_from(log_event.count).ok(),
        unmapped: Unmapped::Notes(log_event.notes),
        ..base
    };
    write(&event, out);
}

/// A notice in words, for forms that are not of the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeWords {
    /// Of what kind: the same word as `unmapped.conntrail.notice`.
    pub name: &'static str,
    /// A sentence for people.
    pub message: String,
    /// How many of what it tells of, where it tells of a number.
    pub count: Option<u64>,
    /// When the time in question began.
    pub since: Option<Stamp>,
    /// An object with all that it says, for programs.
    pub details: Value,
}

/// What a notice of this kind says.
pub fn notice_words(kind: &NoticeKind) -> NoticeWords {
    let parts = notice_parts(kind);
    NoticeWords {
        name: parts.name,
        message: parts.message,
        count: parts.count,
        since: parts.since,
        details: details(kind),
    }
}

/// When a process was forked, in milliseconds since 1970, as a record of this moment tells it;
/// `None` where nobody told.
pub fn process_created_ms(process: &Process, at: Stamp) -> Option<i64> {
    match process.started {
        Some(started) => Some(started.as_millis()),
        None => created_time(process.key, at),
    }
}

/// `record` as one line of JSON, without a line break.
pub fn to_json(id: RecordId, record: &Record, device: &Device) -> String {
    let mut out = Vec::with_capacity(2_048);
    encode(id, record, device, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn event<'a>(id: RecordId, record: &'a Record, device: &'a Device) -> Event<'a> {
    match record {
        Record::Connection(connection) => connection_event(id, connection, device),
        Record::Notice(notice) => notice_event(id, notice, device),
    }
}

fn write(event: &Event<'_>, out: &mut Vec<u8>) {
    serde_json::to_writer(out, event).expect("text and numbers written to memory cannot fail");
}

/// A class of the schema, with the names it goes by.
struct Class {
    uid: u32,
    name: &'static str,
    category_uid: u32,
    category_name: &'static str,
}

const NETWORK_ACTIVITY: Class = Class {
    uid: 4001,
    name: "Network Activity",
    category_uid: 4,
    category_name: "Network Activity",
};

const APPLICATION_LIFECYCLE: Class = Class {
    uid: 6002,
    name: "Application Lifecycle",
    category_uid: 6,
    category_name: "Application Activity",
};

const EVENT_LOG_ACTIVITY: Class = Class {
    uid: 1008,
    name: "Event Log Activity",
    category_uid: 1,
    category_name: "System Activity",
};

/// An activity of a class; `caption` is the schema's, `name` ours where the schema says "Other".
#[derive(Clone, Copy)]
struct Activity {
    id: u32,
    caption: &'static str,
    name: &'static str,
}

const fn activity(id: u32, caption: &'static str) -> Activity {
    Activity {
        id,
        caption,
        name: caption,
    }
}

const fn other_activity(name: &'static str) -> Activity {
    Activity {
        id: 99,
        caption: "Other",
        name,
    }
}

#[derive(Clone, Copy)]
struct Status {
    id: u32,
    caption: &'static str,
}

const STATUS_UNKNOWN: Status = Status {
    id: 0,
    caption: "Unknown",
};
const STATUS_SUCCESS: Status = Status {
    id: 1,
    caption: "Success",
};
const STATUS_FAILURE: Status = Status {
    id: 2,
    caption: "Failure",
};

/// The parts that every event has.
fn base<'a>(
    id: RecordId,
    class: &Class,
    activity: Activity,
    status: Status,
    at: Stamp,
    device: &'a Device,
) -> Event<'a> {
    Event {
        activity_id: activity.id,
        activity_name: activity.name,
        category_uid: class.category_uid,
        category_name: class.category_name,
        class_uid: class.uid,
        class_name: class.name,
        type_uid: class.uid * 100 + activity.id,
        type_name: format!("{}: {}", class.name, activity.caption),
        severity_id: 1,
        severity: "Informational",
        status_id: status.id,
        status: status.caption,
        time: at.wall.as_millis(),
        metadata: metadata(id, device),
        device: device_object(device),
        ..Event::default()
    }
}

fn metadata(id: RecordId, device: &Device) -> Metadata<'_> {
    Metadata {
        version: SCHEMA_VERSION,
        profiles: ["host"],
        uid: format!("{}-{}-{}", device.endpoint, id.epoch, id.sequence),
        sequence: i32::try_from(id.sequence).ok(),
        log_name: "conntrail",
        product: product(device, "Conntrail"),
    }
}

fn product<'a>(device: &'a Device, name: &'static str) -> Product<'a> {
    Product {
        name,
        vendor_name: "Conntrail",
        version: &device.agent_version,
    }
}

fn device_object(device: &Device) -> event::Device<'_> {
    let os = known_os(&device.os_name);
    event::Device {
        uid: device.endpoint.to_string(),
        hostname: (!device.hostname.is_empty()).then_some(&device.hostname),
        type_id: 0,
        kind: "Unknown",
        os: OperatingSystem {
            name: if device.os_name.is_empty() {
                "Unknown"
            } else {
                &device.os_name
            },
            type_id: os.0,
            kind: os.1,
            version: device.os_version.as_deref(),
            kernel_release: device.kernel_release.as_deref(),
        },
        boot_uid: device.boot_id.as_ref().map(uuid),
        uid_alt: device.machine_id.as_deref(),
    }
}

fn known_os(name: &str) -> (u32, &'static str) {
    match name {
        "macOS" => (300, "macOS"),
        "" => (0, "Unknown"),
        _ => (200, "Linux"),
    }
}

fn connection_event<'a>(id: RecordId, connection: &'a Connection, device: &'a Device) -> Event<'a> {
    let (activity, status) = connection_activity(connection);
    let (source, destination) = endpoints(connection, device);
    let traffic = traffic(connection);
    let is_update = connection.phase == Phase::Update;
    let (point_id, point) = observation_point(connection.direction);
    Event {
        actor: connection
            .process
            .as_ref()
            .map(|process| actor(process, connection)),
        connection_info: Some(connection_info(connection, device)),
        src_endpoint: source,
        dst_endpoint: destination,
        is_src_dst_assignment_known: Some(connection.direction != Direction::Unknown),
        observation_point_id: Some(point_id),
        observation_point: Some(point),
        cumulative_traffic: if is_update { traffic.clone() } else { None },
        traffic: if is_update { None } else { traffic },
        message: connection.aggregate.as_deref().map(aggregate_message),
        count: aggregate_count(connection),
        start_time: aggregate_start(connection),
        end_time: aggregate_start(connection).map(|_| connection.at.wall.as_millis()),
        status_code: ending_errno(connection).map(|errno| errno.to_string()),
        status_detail: ending_outcome(connection).map(Outcome::name),
        unmapped: Unmapped::Connection(Box::new(connection_notes(connection))),
        ..base(
            id,
            &NETWORK_ACTIVITY,
            activity,
            status,
            connection.at,
            device,
        )
    }
}

/// The schema's integers have 32 bits; a larger number is in our own words alone.
fn aggregate_count(connection: &Connection) -> Option<i32> {
    let aggregate = connection.aggregate.as_ref()?;
    i32::try_from(aggregate.connections).ok()
}

fn aggregate_start(connection: &Connection) -> Option<i64> {
    connection.aggregate.as_ref()?;
    let first = connection.opened.unwrap_or(connection.at.mono);
    Some(connection.at.wall_at(first).as_millis())
}

fn aggregate_message(aggregate: &Aggregate) -> String {
    let Aggregate {
        connections,
        cause,
        scope,
        limit,
        interval_ns,
    } = aggregate;
    let what = match scope {
        AggregateScope::Destination => "one destination",
        AggregateScope::Process => "many destinations",
    };
    let why = match cause {
        AggregateCause::Burst => "its process made more than",
    };
    let seconds = interval_ns / 1_000_000_000;
    format!("The sum of {connections} connections to {what}: {why} {limit} in {seconds} s.")
}

fn connection_activity(connection: &Connection) -> (Activity, Status) {
    let ending = match connection.phase {
        Phase::Open => return (activity(1, "Open"), STATUS_SUCCESS),
        Phase::Update => return (activity(6, "Traffic"), STATUS_SUCCESS),
        Phase::Close(ending) => ending,
    };
    match ending.outcome {
        Outcome::Closed | Outcome::Idle => (activity(2, "Close"), STATUS_SUCCESS),
        Outcome::Reset => (activity(3, "Reset"), STATUS_FAILURE),
        Outcome::Refused => (activity(5, "Refuse"), STATUS_FAILURE),
        Outcome::TimedOut | Outcome::Unreachable | Outcome::Aborted | Outcome::Failed => {
            match connection.established {
                Some(_) => (activity(2, "Close"), STATUS_FAILURE),
                None => (activity(4, "Fail"), STATUS_FAILURE),
            }
        }
        Outcome::Reaped
        | Outcome::Evicted
        | Outcome::Unknown
        | Outcome::ProcessGone
        | Outcome::AgedOut
        | Outcome::Superseded
        | Outcome::Unwatched => (activity(2, "Close"), STATUS_UNKNOWN),
    }
}

fn ending_outcome(connection: &Connection) -> Option<Outcome> {
    match connection.phase {
        Phase::Close(ending) => Some(ending.outcome),
        Phase::Open | Phase::Update => None,
    }
}

fn ending_errno(connection: &Connection) -> Option<i32> {
    match connection.phase {
        Phase::Close(ending) => ending.errno,
        Phase::Open | Phase::Update => None,
    }
}

/// The schema names the sides by who began, we by whose they are.
/// An event must have a side, so one with no address at all names the machine.
fn endpoints<'a>(
    connection: &'a Connection,
    device: &'a Device,
) -> (Option<NetworkEndpoint<'a>>, Option<NetworkEndpoint<'a>>) {
    let local = endpoint(connection.local, None);
    let remote = endpoint(connection.remote, connection.hostname.as_ref());
    let local = match (local, &remote) {
        (None, None) => Some(NetworkEndpoint {
            hostname: Some(device.hostname.as_str()),
            ip: None,
            port: None,
        }),
        (local, _) => local,
    };
    match connection.direction {
        Direction::Inbound => (remote, local),
        Direction::Outbound | Direction::Unknown => (local, remote),
    }
}

fn endpoint(endpoint: Endpoint, hostname: Option<&Hostname>) -> Option<NetworkEndpoint<'_>> {
    (endpoint.address.is_some() || hostname.is_some()).then(|| NetworkEndpoint {
        ip: endpoint.address,
        port: endpoint.port,
        hostname: hostname.map(|it| &*it.name),
    })
}

fn observation_point(direction: Direction) -> (u32, &'static str) {
    match direction {
        Direction::Outbound => (1, "Source"),
        Direction::Inbound => (2, "Destination"),
        Direction::Unknown => (0, "Unknown"),
    }
}

fn connection_info(connection: &Connection, device: &Device) -> ConnectionInfo {
    let (direction_id, direction) = match connection.direction {
        Direction::Inbound => (1, "Inbound"),
        Direction::Outbound => (2, "Outbound"),
        Direction::Unknown => (0, "Unknown"),
    };
    let version = match connection.remote.address.or(connection.local.address) {
        None => (0, "Unknown"),
        Some(address) => match pseudonym::version(address).unwrap_or(version_of(address)) {
            4 => (4, "Internet Protocol version 4 (IPv4)"),
            _ => (6, "Internet Protocol version 6 (IPv6)"),
        },
    };
    ConnectionInfo {
        uid: connection_uid(connection.id, device),
        direction_id,
        direction,
        protocol_num: connection.protocol.number(),
        protocol_name: match connection.protocol {
            Protocol::Tcp => Some("tcp"),
            Protocol::Udp => Some("udp"),
            Protocol::Other(_) => None,
        },
        protocol_ver_id: version.0,
        protocol_ver: version.1,
    }
}

fn version_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 6,
    }
}

fn connection_uid(id: ConnectionId, device: &Device) -> String {
    format!("{}-{}-c{}", device.endpoint, id.epoch, id.ordinal)
}

/// A zero that nobody vouches for is left out, as what is unknown is.
fn traffic(connection: &Connection) -> Option<NetworkTraffic> {
    let Traffic {
        bytes_out,
        bytes_in,
        packets_out,
        packets_in,
        ..
    } = match connection.traffic.quality {
        ByteQuality::ZeroUnverified => Traffic::default(),
        ByteQuality::Unknown | ByteQuality::Exact | ByteQuality::SoFar | ByteQuality::AtLeast => {
            connection.traffic
        }
    };
    let wall_ms = |moment| connection.at.wall_at(moment).as_millis();
    let is_close = matches!(connection.phase, Phase::Close(_));
    let duration_ns = connection
        .opened
        .map(|opened| connection.at.mono.since_ns(opened));
    let traffic = NetworkTraffic {
        bytes_out,
        bytes_in,
        bytes: sum(bytes_out, bytes_in),
        packets_out,
        packets_in,
        packets: sum(packets_out, packets_in),
        start_time: connection.opened.map(wall_ms),
        end_time: is_close.then(|| connection.at.wall.as_millis()),
        timespan: duration_ns
            .filter(|_| is_close)
            .map(|duration_ns| Timespan {
                duration: duration_ns / 1_000_000,
                type_id: 1,
                kind: "Milliseconds",
            }),
    };
    (traffic != NetworkTraffic::default()).then_some(traffic)
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.saturating_add(other?))
}

fn actor<'a>(process: &'a Arc<Process>, connection: &'a Connection) -> Actor<'a> {
    let user = process.user.as_ref().map(|user| UserObject {
        uid: user.uid.to_string(),
        name: user.name.as_deref(),
    });
    let responsible = connection.responsible.as_deref();
    Actor {
        process: event::Process {
            pid: process.key.pid,
            uid: process_uid(process.key),
            cpid: process.cpid.as_ref().map(uuid),
            name: process.name.as_deref(),
            path: process.path.as_deref(),
            cmd_line: process.command_line.as_deref(),
            created_time: process_created_ms(process, connection.at),
            file: file(process),
            user: user.clone(),
            session: process.audit_session.map(|id| Session {
                uid: id.to_string(),
            }),
            parent_process: process
                .ancestors
                .first()
                .map(|it| parent(it, connection.at)),
            ancestry: process
                .ancestors
                .iter()
                .map(|it| parent(it, connection.at))
                .collect(),
        },
        user,
        app_name: responsible.and_then(|it| it.name.as_deref()),
        app_uid: responsible
            .and_then(|it| it.signature.as_ref())
            .and_then(|it| it.signing_id.as_deref()),
    }
}

/// Says which run of which process, where a pid alone would not.
fn process_uid(key: ProcessKey) -> String {
    format!("{}-{}-{}", key.pid, key.start_ns, key.exec_id)
}

/// A start of zero is the start nobody told. One that lies after the record is no time since boot
/// but the wall clock's, which some keys have instead.
fn created_time(key: ProcessKey, at: Stamp) -> Option<i64> {
    let created = match key.start_ns {
        0 => return None,
        since_boot if since_boot <= at.mono.0 => at.wall_at(Mono(since_boot)),
        since_1970 => Wall(i64::try_from(since_1970).ok()?),
    };
    Some(created.as_millis())
}

fn file(process: &Process) -> Option<File<'_>> {
    let path = process.path.as_deref()?;
    let name = path
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or(path);
    Some(File {
        name,
        path,
        type_id: 1,
        kind: "Regular File",
        is_system: process.signature.as_ref().and_then(|it| it.platform),
        signatures: process
            .signature
            .as_ref()
            .and_then(digital_signature)
            .into_iter()
            .collect(),
    })
}

/// The schema's view of a signature; none for code that has none. The algorithm is not told.
fn digital_signature(signature: &CodeSignature) -> Option<DigitalSignature<'_>> {
    let (state_id, state) = match signature.validity {
        SignatureValidity::Valid => (1, "Valid"),
        SignatureValidity::Invalid => (99, "Invalid"),
        SignatureValidity::Unknown => (0, "Unknown"),
        SignatureValidity::Unsigned => return None,
    };
    Some(DigitalSignature {
        algorithm_id: 0,
        algorithm: "Unknown",
        developer_uid: signature.team_id.as_deref(),
        digest: signature.cdhash.as_ref().map(|cdhash| Fingerprint {
            algorithm_id: 99,
            algorithm: "cdhash",
            value: hex(cdhash),
        }),
        state_id,
        state,
    })
}

fn signature_notes(signature: &CodeSignature) -> SignatureNotes<'_> {
    SignatureNotes {
        validity: signature.validity.name(),
        status: signature.status,
        signing_id: signature.signing_id.as_deref(),
        team_id: signature.team_id.as_deref(),
        cdhash: signature.cdhash.as_ref().map(|cdhash| hex(cdhash)),
        platform: signature.platform,
    }
}

fn responsible_notes(responsible: &Process) -> ResponsibleNotes<'_> {
    ResponsibleNotes {
        pid: responsible.key.pid,
        uid: process_uid(responsible.key),
        cpid: responsible.cpid.as_ref().map(uuid),
        name: responsible.name.as_deref(),
        path: responsible.path.as_deref(),
        user_uid: responsible.user.as_ref().map(|user| user.uid),
        vanished: responsible.vanished,
        signature: responsible.signature.as_ref().map(signature_notes),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

fn parent(ancestor: &crate::Ancestor, at: Stamp) -> ParentProcess<'_> {
    ParentProcess {
        pid: ancestor.key.pid,
        uid: process_uid(ancestor.key),
        cpid: ancestor.cpid.as_ref().map(uuid),
        name: ancestor.name.as_deref(),
        path: ancestor.path.as_deref(),
        created_time: created_time(ancestor.key, at),
    }
}

fn connection_notes(connection: &Connection) -> ConnectionNotes<'_> {
    let process = connection.process.as_deref();
    ConnectionNotes {
        side_trail: None,
        phase: match connection.phase {
            Phase::Open => "open",
            Phase::Update => "update",
            Phase::Close(_) => "close",
        },
        outcome: ending_outcome(connection).map(Outcome::name),
        identity_source: connection.attribution.source.name(),
        confidence: connection.attribution.confidence.name(),
        byte_quality: connection.traffic.quality.name(),
        origin: connection.origin.name(),
        time_ns: connection.at.wall.0,
        mono_ns: connection.at.mono.0,
        opened_mono_ns: connection.opened.map(|moment| moment.0),
        established_mono_ns: connection.established.map(|moment| moment.0),
        rtt_us: connection.rtt_us,
        retransmits: connection.retransmits,
        closer_pid: connection.closer_pid,
        network_namespace: connection.network_namespace,
        cgroup: process.and_then(|process| process.cgroup),
        login_uid: process.and_then(|process| process.login_uid),
        executable_device: process
            .and_then(|process| process.file)
            .map(|file| file.device),
        executable_inode: process
            .and_then(|process| process.file)
            .map(|file| file.inode),
        name_source: connection.hostname.as_ref().map(|it| it.source.name()),
        effective_uid: process.and_then(|process| process.effective_uid),
        vanished: process.is_some_and(|process| process.vanished),
        signature: process
            .and_then(|process| process.signature.as_ref())
            .map(signature_notes),
        responsible: connection.responsible.as_deref().map(responsible_notes),
        policy: treated_notes(connection.treated.as_deref().unwrap_or_default()),
        aggregate: connection.aggregate.as_deref().map(aggregate_notes),
    }
}

fn aggregate_notes(aggregate: &Aggregate) -> AggregateNotes {
    AggregateNotes {
        connections: aggregate.connections,
        cause: aggregate.cause.name(),
        scope: aggregate.scope.name(),
        limit: aggregate.limit,
        interval_ns: aggregate.interval_ns,
    }
}

fn treated_notes(treated: &[Treated]) -> Vec<TreatedNotes> {
    let note = |mark: &Treated| TreatedNotes {
        field: mark.field.name(),
        action: mark.action.name(),
        rule: mark.rule,
    };
    treated.iter().map(note).collect()
}

fn notice_event<'a>(id: RecordId, notice: &'a Notice, device: &'a Device) -> Event<'a> {
    let parts = notice_parts(&notice.kind);
    let is_lifecycle = parts.class.uid == APPLICATION_LIFECYCLE.uid;
    Event {
        app: is_lifecycle.then(|| product(device, parts.app)),
        log_name: (!is_lifecycle).then_some("conntrail"),
        log_provider: (!is_lifecycle).then_some("Conntrail"),
        message: Some(parts.message),
        count: parts.count.and_then(|count| i32::try_from(count).ok()),
        start_time: parts.since.map(|since| since.wall.as_millis()),
        end_time: parts.since.map(|_| notice.at.wall.as_millis()),
        status_code: parts.status_code.map(str::to_owned),
        unmapped: Unmapped::Notice(Box::new(NoticeNotes {
            side_trail: None,
            notice: parts.name,
            time_ns: notice.at.wall.0,
            mono_ns: notice.at.mono.0,
            details: details(&notice.kind),
        })),
        ..base(
            id,
            parts.class,
            parts.activity,
            parts.status,
            notice.at,
            device,
        )
    }
}

/// What one kind of notice says.
struct NoticeParts {
    class: &'static Class,
    activity: Activity,
    status: Status,
    /// Which of our programs, for a life-cycle event.
    app: &'static str,
    name: &'static str,
    message: String,
    count: Option<u64>,
    /// Where the time in question began, for a loss.
    since: Option<Stamp>,
    status_code: Option<&'static str>,
}

const RECORDER: &str = "conntraild";
const SENSOR: &str = "Conntrail sensor";
const EXTENSION: &str = "Conntrail system extension";

fn notice_parts(kind: &NoticeKind) -> NoticeParts {
    match kind {
        NoticeKind::RecorderStarted { previous } => {
            let message = match previous {
                None => "The recorder started; nothing was recorded here before.".to_owned(),
                Some(previous) => after_previous(previous.epoch, previous.stopped_in_order),
            };
            lifecycle(RECORDER, activity(3, "Start"), "recorder_started", message)
        }
        NoticeKind::RecorderStopped { reason, .. } => {
            let message = format!("The recorder stopped: {}.", reason.name());
            lifecycle(RECORDER, activity(4, "Stop"), "recorder_stopped", message)
        }
        NoticeKind::SensorStarted { sensor, .. } => {
            let message = format!("The sensor {} started.", sensor.name());
            lifecycle(SENSOR, activity(6, "Enable"), "sensor_started", message)
        }
        NoticeKind::SensorStopped { sensor, reason } => {
            let message = format!("The sensor {} stopped: {reason}", sensor.name());
            lifecycle(SENSOR, activity(7, "Disable"), "sensor_stopped", message)
        }
        NoticeKind::Lost {
            stage,
            cause,
            what,
            count,
            since,
        } => NoticeParts {
            since: Some(*since),
            ..lost_parts(*stage, *cause, *what, *count)
        },
        NoticeKind::SensorLimited { sensor, limit } => {
            let message = format!("The sensor {} is limited: {limit}", sensor.name());
            log(other_activity("Limit"), "sensor_limited", message)
        }
        NoticeKind::BreakerChanged {
            state,
            cause,
            crashes,
        } => breaker_parts(*state, *cause, *crashes),
        NoticeKind::Coverage(coverage) => coverage_parts(coverage),
        NoticeKind::ExtensionReplaced(replaced) => replaced_parts(replaced),
        NoticeKind::Sleeping => log(
            other_activity("Suspend"),
            "sleeping",
            "The machine goes to sleep.".to_owned(),
        ),
        NoticeKind::Slept { duration_ns } => {
            let message = format!("The machine slept for {} s.", duration_ns / 1_000_000_000);
            log(other_activity("Sleep"), "slept", message)
        }
        NoticeKind::ClockStepped { by_ns } => {
            let message = format!("The wall clock was set by {} ms.", by_ns / 1_000_000);
            log(other_activity("Clock step"), "clock_stepped", message)
        }
        NoticeKind::TrailEvicted {
            epoch,
            first_sequence,
            last_sequence,
        } => evicted_parts(*epoch, *first_sequence, *last_sequence),
        NoticeKind::Ledger(tally) => log(other_activity("Ledger"), "ledger", ledger_message(tally)),
        NoticeKind::PolicyChanged(changed) => policy_parts(changed),
        NoticeKind::PolicyCounts(counts) => policy_counts_parts(counts),
        NoticeKind::StageCounts(counts) => stage_counts_parts(counts),
        NoticeKind::Undelivered(undelivered) => undelivered_parts(undelivered),
        NoticeKind::Delivery(delivery) => delivery_parts(delivery),
    }
}

fn policy_parts(changed: &PolicyChanged) -> NoticeParts {
    let (status, message) = match changed.state {
        PolicyState::InForce => (STATUS_SUCCESS, "A privacy policy is in force"),
        PolicyState::Removed => (STATUS_SUCCESS, "No privacy policy is in force any more"),
        PolicyState::Kept => (
            STATUS_FAILURE,
            "A privacy policy was refused, and the one before stays in force",
        ),
        PolicyState::LastGood => (
            STATUS_FAILURE,
            "The privacy policy was refused, and the last one that was right is in force",
        ),
        PolicyState::Strict => (
            STATUS_FAILURE,
            "The privacy policy was refused, and whatever is personal is left out",
        ),
    };
    let problem = changed.problem.as_deref();
    NoticeParts {
        status,
        status_code: Some(changed.state.name()),
        ..log(
            other_activity("Policy"),
            "policy_changed",
            match problem {
                None => format!("{message}."),
                Some(problem) => format!("{message}: {problem}"),
            },
        )
    }
}

fn policy_counts_parts(counts: &PolicyCounts) -> NoticeParts {
    NoticeParts {
        count: Some(counts.dropped),
        since: Some(counts.since),
        ..log(
            other_activity("Policy"),
            "policy_counts",
            format!(
                "Of {} records the privacy policy dropped {} and changed {}.",
                counts.records, counts.dropped, counts.changed
            ),
        )
    }
}

fn stage_counts_parts(counts: &StageCounts) -> NoticeParts {
    let StageCounts {
        given,
        own,
        dropped,
        refused,
        recorded,
        ..
    } = counts;
    log(
        other_activity("Ledger"),
        "stage_counts",
        format!(
            "{} records of the flow table and {own} notices: {} recorded, {} dropped by policy, {} \
             lost.",
            given.records, recorded.records, dropped.records, refused.records
        ),
    )
}

fn undelivered_parts(undelivered: &Undelivered) -> NoticeParts {
    let Undelivered {
        destination,
        source,
        epoch,
        first_sequence,
        last_sequence,
        records,
        cause,
        reason,
    } = undelivered;
    let number = records.map_or("An unknown number".to_owned(), |records| {
        records.to_string()
    });
    let trail = source
        .as_deref()
        .map_or(String::new(), |name| format!(" of the side trail {name}"));
    let verb = match cause {
        UndeliveredCause::Unknown => "may not have been",
        UndeliveredCause::Refused
        | UndeliveredCause::RefusedSome
        | UndeliveredCause::TooLarge
        | UndeliveredCause::Gone
        | UndeliveredCause::Damaged
        | UndeliveredCause::Unreadable => "were not",
    };
    NoticeParts {
        count: *records,
        status: match cause {
            UndeliveredCause::Unknown => STATUS_UNKNOWN,
            UndeliveredCause::Refused
            | UndeliveredCause::RefusedSome
            | UndeliveredCause::TooLarge
            | UndeliveredCause::Gone
            | UndeliveredCause::Damaged
            | UndeliveredCause::Unreadable => STATUS_FAILURE,
        },
        status_code: Some(cause.name()),
        ..log(
            other_activity("Export gap"),
            "undelivered",
            format!(
                "{number} of the records {first_sequence} to {last_sequence} of epoch \
                 {epoch}{trail} {verb} delivered to {destination}: {reason}"
            ),
        )
    }
}

fn delivery_parts(delivery: &Delivery) -> NoticeParts {
    let problem = delivery.problem.as_deref();
    NoticeParts {
        count: Some(delivery.records),
        since: Some(delivery.since),
        status: match delivery.state {
            DeliveryState::Delivering | DeliveryState::Paused => STATUS_SUCCESS,
            DeliveryState::Waiting | DeliveryState::Misconfigured => STATUS_FAILURE,
        },
        status_code: Some(delivery.state.name()),
        ..log(
            activity(3, "Export"),
            "delivery",
            format!(
                "{} records in {} batches were delivered to {} ({}){}",
                delivery.records,
                delivery.batches,
                delivery.destination,
                delivery.state.name(),
                problem.map_or(".".to_owned(), |problem| format!(": {problem}"))
            ),
        )
    }
}

fn lost_parts(
    stage: LossStage,
    cause: LossCause,
    what: LostKind,
    count: Option<u64>,
) -> NoticeParts {
    NoticeParts {
        count,
        status: STATUS_FAILURE,
        status_code: Some(cause.name()),
        ..log(
            other_activity("Gap"),
            "lost",
            loss_message(stage, cause, what, count),
        )
    }
}

fn evicted_parts(epoch: u64, first_sequence: u64, last_sequence: u64) -> NoticeParts {
    let count = last_sequence.saturating_sub(first_sequence);
    NoticeParts {
        count: Some(count.saturating_add(1)),
        ..log(
            activity(2, "Delete"),
            "trail_evicted",
            format!(
                "Records {first_sequence} to {last_sequence} of epoch {epoch} were deleted to \
                 keep within the quota."
            ),
        )
    }
}

fn breaker_parts(state: BreakerState, cause: BreakerCause, crashes: u32) -> NoticeParts {
    let (activity, message) = match state {
        BreakerState::Tripped => (
            activity(7, "Disable"),
            "The sensor steps aside: connections pass unseen",
        ),
        BreakerState::Healed => (
            activity(6, "Enable"),
            "The sensor is back: connections are seen again",
        ),
    };
    let message = format!("{message} ({}, {crashes} crashes).", cause.name());
    NoticeParts {
        status_code: Some(cause.name()),
        ..lifecycle(SENSOR, activity, "breaker_changed", message)
    }
}

fn coverage_parts(coverage: &Coverage) -> NoticeParts {
    let TcpCounts { outbound, inbound } = coverage.recorded;
    let recorded = format!("{outbound} outbound and {inbound} inbound connections were recorded");
    let message = match coverage.system {
        Some(TcpCounts { outbound, inbound }) => {
            format!("{recorded}; the system counted {outbound} and {inbound}.")
        }
        None => format!("{recorded}; the system's meter is not available."),
    };
    NoticeParts {
        count: coverage.missed_estimate,
        since: Some(coverage.since),
        status: match (coverage.system, coverage.missed_estimate) {
            (None, _) | (Some(_), None) => STATUS_UNKNOWN,
            (Some(_), Some(0)) => STATUS_SUCCESS,
            (Some(_), Some(_)) => STATUS_FAILURE,
        },
        ..log(other_activity("Coverage"), "coverage", message)
    }
}

fn replaced_parts(replaced: &ExtensionReplaced) -> NoticeParts {
    let from = replaced.from.as_deref().unwrap_or("an unknown version");
    let message = format!(
        "The system extension was replaced: {from} by {}; about {} connections were reset.",
        replaced.to, replaced.reset_estimate
    );
    NoticeParts {
        count: Some(replaced.reset_estimate),
        status: match replaced.flows_arrive {
            Some(true) => STATUS_SUCCESS,
            Some(false) => STATUS_FAILURE,
            None => STATUS_UNKNOWN,
        },
        ..lifecycle(
            EXTENSION,
            activity(8, "Update"),
            "extension_replaced",
            message,
        )
    }
}

fn lifecycle(
    app: &'static str,
    activity: Activity,
    name: &'static str,
    message: String,
) -> NoticeParts {
    NoticeParts {
        class: &APPLICATION_LIFECYCLE,
        app,
        ..log(activity, name, message)
    }
}

fn log(activity: Activity, name: &'static str, message: String) -> NoticeParts {
    NoticeParts {
        class: &EVENT_LOG_ACTIVITY,
        activity,
        status: STATUS_SUCCESS,
        app: RECORDER,
        name,
        message,
        count: None,
        since: None,
        status_code: None,
    }
}

fn ledger_message(tally: &Tally) -> String {
    let Tally {
        closes_made: made,
        closes_recorded: recorded,
        closes_aggregated: aggregated,
        closes_dropped: dropped,
        closes_lost: lost,
        live,
    } = tally;
    let dropped = match dropped {
        0 => String::new(),
        dropped => format!("{dropped} dropped by policy, "),
    };
    let aggregated = match aggregated {
        0 => String::new(),
        aggregated => format!("{aggregated} summed, "),
    };
    format!(
        "{made} connections ended: {recorded} recorded, {aggregated}{dropped}{lost} declared lost; \
         {live} are open."
    )
}

fn after_previous(epoch: u64, stopped_in_order: bool) -> String {
    if stopped_in_order {
        format!("The recorder started; epoch {epoch} before it ended in order.")
    } else {
        format!(
            "The recorder started; epoch {epoch} before it was cut off, and what happened between \
             its last record and now is unknown."
        )
    }
}

fn loss_message(stage: LossStage, cause: LossCause, what: LostKind, count: Option<u64>) -> String {
    let number = count.map_or("An unknown number of".to_owned(), |count| count.to_string());
    format!(
        "{number} {} lost at the stage {}: {}.",
        what.name(),
        stage.name(),
        cause.name()
    )
}

/// A notice in numbers and words of its own, for programs.
fn details(kind: &NoticeKind) -> Value {
    match kind {
        NoticeKind::RecorderStarted { previous: None } => json!({}),
        NoticeKind::RecorderStarted {
            previous: Some(previous),
        } => previous_details(previous),
        NoticeKind::RecorderStopped { reason, tally } => {
            let mut details = tally_details(tally);
            details["reason"] = reason.name().into();
            details
        }
        NoticeKind::SensorStarted { sensor, limits } => {
            json!({ "sensor": sensor.name(), "limits": limits })
        }
        NoticeKind::SensorStopped { sensor, reason } => {
            json!({ "sensor": sensor.name(), "reason": reason })
        }
        NoticeKind::Lost {
            stage,
            cause,
            what,
            count,
            since,
        } => json!({
            "stage": stage.name(),
            "cause": cause.name(),
            "what": what.name(),
            "count": count,
            "since_ns": since.wall.0,
        }),
        NoticeKind::Slept { duration_ns } => json!({ "duration_ns": duration_ns }),
        NoticeKind::ClockStepped { by_ns } => json!({ "by_ns": by_ns }),
        NoticeKind::TrailEvicted {
            epoch,
            first_sequence,
            last_sequence,
        } => json!({
            "epoch": epoch,
            "first_sequence": first_sequence,
            "last_sequence": last_sequence,
        }),
        NoticeKind::Ledger(tally) => tally_details(tally),
        NoticeKind::SensorLimited { sensor, limit } => {
            json!({ "sensor": sensor.name(), "limit": limit })
        }
        NoticeKind::BreakerChanged {
            state,
            cause,
            crashes,
        } => json!({ "state": state.name(), "cause": cause.name(), "crashes": crashes }),
        NoticeKind::Coverage(coverage) => coverage_details(coverage),
        NoticeKind::ExtensionReplaced(replaced) => replaced_details(replaced),
        NoticeKind::Sleeping => json!({}),
        NoticeKind::PolicyChanged(changed) => json!({
            "state": changed.state.name(),
            "policy_sha256": changed.hash.map(|hash| hex(&hash)),
            "source": changed.source,
            "problem": changed.problem,
            "rules": changed.rules,
        }),
        NoticeKind::PolicyCounts(counts) => policy_counts_details(counts),
        NoticeKind::StageCounts(counts) => stage_counts_details(counts),
        NoticeKind::Undelivered(undelivered) => undelivered_details(undelivered),
        NoticeKind::Delivery(delivery) => delivery_details(delivery),
    }
}

/// What no policy dropped and no burst summed is not mentioned, as before there were either.
fn tally_details(tally: &Tally) -> Value {
    let mut details = json!({
        "closes_made": tally.closes_made,
        "closes_recorded": tally.closes_recorded,
        "closes_lost": tally.closes_lost,
        "live": tally.live,
    });
    if tally.closes_dropped > 0 {
        details["closes_dropped"] = tally.closes_dropped.into();
    }
    if tally.closes_aggregated > 0 {
        details["closes_aggregated"] = tally.closes_aggregated.into();
    }
    details
}

fn policy_counts_details(counts: &PolicyCounts) -> Value {
    let rules = counts.rules.iter().map(|it| {
        json!({
            "rule": it.rule,
            "dropped": it.dropped,
            "changed": it.changed,
        })
    });
    json!({
        "since_ns": counts.since.wall.0,
        "policy_sha256": counts.hash.map(|hash| hex(&hash)),
        "records": counts.records,
        "dropped": counts.dropped,
        "changed": counts.changed,
        "rules": rules.collect::<Vec<Value>>(),
    })
}

fn stage_counts_details(counts: &StageCounts) -> Value {
    let both = |both: RecordCounts| json!({ "records": both.records, "closes": both.closes });
    json!({
        "given": both(counts.given),
        "own": counts.own,
        "dropped": both(counts.dropped),
        "refused": both(counts.refused),
        "recorded": both(counts.recorded),
        "closes_waiting": counts.closes_waiting,
        "closes_repeated": counts.closes_repeated,
        "ends_told_before": counts.ends_told_before,
        "flows_evicted": counts.flows_evicted,
        "records_evicted": counts.records_evicted,
        "segments_rewritten": counts.segments_rewritten,
    })
}

fn undelivered_details(undelivered: &Undelivered) -> Value {
    json!({
        "destination": undelivered.destination,
        "source": undelivered.source,
        "epoch": undelivered.epoch,
        "first_sequence": undelivered.first_sequence,
        "last_sequence": undelivered.last_sequence,
        "records": undelivered.records,
        "cause": undelivered.cause.name(),
        "reason": undelivered.reason,
    })
}

fn delivery_details(delivery: &Delivery) -> Value {
    json!({
        "destination": delivery.destination,
        "guarantee": delivery.guarantee.name(),
        "state": delivery.state.name(),
        "since_ns": delivery.since.wall.0,
        "records": delivery.records,
        "batches": delivery.batches,
        "bytes": delivery.bytes,
        "retries": delivery.retries,
        "left_out": {
            "opens": delivery.left_out.opens,
            "filtered": delivery.left_out.filtered,
            "dropped": delivery.left_out.dropped,
            "refused": delivery.left_out.refused,
            "missing": delivery.left_out.missing,
        },
        "lag_records": delivery.lag_records,
        "lag_ns": delivery.lag_ns,
        "problem": delivery.problem,
    })
}

fn previous_details(previous: &PreviousEpoch) -> Value {
    json!({
        "previous_epoch": previous.epoch,
        "previous_last_sequence": previous.last_sequence,
        "previous_last_time_ns": previous.last_at.map(|at| at.wall.0),
        "previous_stopped_in_order": previous.stopped_in_order,
    })
}

fn coverage_details(coverage: &Coverage) -> Value {
    let counts = |counts: TcpCounts| {
        json!({
            "outbound": counts.outbound,
            "inbound": counts.inbound,
        })
    };
    json!({
        "since_ns": coverage.since.wall.0,
        "system": coverage.system.map(counts),
        "unavailable": coverage.unavailable,
        "recorded": counts(coverage.recorded),
        "missed_estimate": coverage.missed_estimate,
        "unseen": coverage.unseen,
    })
}

fn replaced_details(replaced: &ExtensionReplaced) -> Value {
    let by_app = replaced.by_app.iter();
    let by_app: Vec<Value> = by_app
        .map(|it| json!({ "app": it.app, "count": it.count }))
        .collect();
    json!({
        "from": replaced.from,
        "to": replaced.to,
        "reset_estimate": replaced.reset_estimate,
        "by_app": by_app,
        "flows_arrive": replaced.flows_arrive,
    })
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    write_uuid(&mut text, bytes).expect("writing to a string cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn event(record: &Record) -> Value {
        let id = RecordId {
            epoch: 7,
            sequence: 42,
        };
        serde_json::from_str(&to_json(id, record, &sample::device())).unwrap()
    }

    fn connection() -> Connection {
        let Record::Connection(connection) = sample::closes(1, 1).remove(0) else {
            unreachable!("closes are connections");
        };
        connection
    }

    #[test]
    fn type_is_class_and_activity() {
        for record in sample::records(5, 2_000) {
            let event = event(&record);
            let number = |name: &str| event[name].as_u64().unwrap();
            assert_eq!(
                number("type_uid"),
                number("class_uid") * 100 + number("activity_id")
            );
        }
    }

    #[test]
    fn the_sides_are_named_by_who_began() {
        let mut connection = connection();
        connection.direction = Direction::Inbound;
        let event = event(&Record::Connection(connection.clone()));
        let port = |side: &str| event[side]["port"].as_u64();
        assert_eq!(port("src_endpoint"), connection.remote.port.map(u64::from));
        assert_eq!(port("dst_endpoint"), connection.local.port.map(u64::from));
    }

    #[test]
    fn the_name_that_was_asked_for_stands_on_the_other_side() {
        let mut connection = connection();
        connection.remote.address = None;
        connection.hostname = Some(Hostname {
            name: "www.example.com".into(),
            source: crate::NameSource::SystemLibrary,
        });
        for (direction, side) in [
            (Direction::Inbound, "src_endpoint"),
            (Direction::Outbound, "dst_endpoint"),
        ] {
            connection.direction = direction;
            let event = event(&Record::Connection(connection.clone()));
            assert_eq!(event[side]["hostname"], "www.example.com");
            assert_eq!(event[side]["port"], connection.remote.port.unwrap());
            assert_eq!(
                event["unmapped"]["conntrail"]["name_source"],
                "system_library"
            );
        }
    }

    fn signed(validity: SignatureValidity) -> CodeSignature {
        CodeSignature {
            validity,
            status: None,
            signing_id: Some("com.example.chat".into()),
            team_id: Some("ABCDE12345".into()),
            cdhash: Some([0xa5; 20]),
            platform: Some(false),
        }
    }

    fn with_process(change: impl FnOnce(&mut Process)) -> Connection {
        let mut connection = connection();
        let mut process = Process::clone(connection.process.as_ref().unwrap());
        change(&mut process);
        connection.process = Some(process.into());
        connection
    }

    #[test]
    fn who_signed_stands_where_the_schema_has_a_place_and_in_our_words() {
        let connection = with_process(|it| it.signature = Some(signed(SignatureValidity::Valid)));
        let event = event(&Record::Connection(connection));
        let signature = &event["actor"]["process"]["file"]["signatures"][0];
        assert_eq!(signature["developer_uid"], "ABCDE12345");
        assert_eq!(signature["state_id"], 1);
        assert_eq!(signature["digest"]["value"], "a5".repeat(20));
        assert_eq!(event["actor"]["process"]["file"]["is_system"], false);
        let notes = &event["unmapped"]["conntrail"]["signature"];
        assert_eq!(notes["validity"], "valid");
        assert_eq!(notes["signing_id"], "com.example.chat");
    }

    #[test]
    fn unsigned_code_has_no_signature_but_says_so() {
        let unsigned = CodeSignature {
            signing_id: None,
            team_id: None,
            cdhash: None,
            ..signed(SignatureValidity::Unsigned)
        };
        let connection = with_process(|process| process.signature = Some(unsigned));
        let event = event(&Record::Connection(connection));
        assert_eq!(event["actor"]["process"]["file"].get("signatures"), None);
        let notes = &event["unmapped"]["conntrail"]["signature"];
        assert_eq!(notes["validity"], "unsigned");
    }

    #[test]
    fn the_app_behind_a_service_is_named_beside_it() {
        let mut connection = connection();
        let mut app = Process::bare(ProcessKey {
            pid: 99,
            start_ns: 0,
            exec_id: 7,
        });
        app.name = Some("Chat".into());
        app.signature = Some(signed(SignatureValidity::Valid));
        connection.responsible = Some(app.into());
        let event = event(&Record::Connection(connection));
        assert_eq!(event["actor"]["app_name"], "Chat");
        assert_eq!(event["actor"]["app_uid"], "com.example.chat");
        let responsible = &event["unmapped"]["conntrail"]["responsible"];
        assert_eq!(responsible["uid"], "99-0-7");
        assert_eq!(responsible["signature"]["team_id"], "ABCDE12345");
    }

    #[test]
    fn a_process_says_when_it_was_created_however_that_was_told() {
        let connection = |start_ns: u64, started: Option<Wall>| {
            with_process(|process| {
                process.key.start_ns = start_ns;
                process.started = started;
                process.audit_session = Some(100_003);
                process.effective_uid = Some(0);
                process.vanished = true;
            })
        };
        let created = |connection: Connection| {
            let event = event(&Record::Connection(connection));
            let process = &event["actor"]["process"];
            assert_eq!(process["session"]["uid"], "100003");
            assert_eq!(event["unmapped"]["conntrail"]["effective_uid"], 0);
            assert_eq!(event["unmapped"]["conntrail"]["vanished"], true);
            process.get("created_time").and_then(Value::as_i64)
        };
        assert_eq!(created(connection(0, None)), None);
        assert_eq!(created(connection(0, Some(Wall(5_000_000)))), Some(5));
        let at = self::connection().at;
        let since_boot = connection(at.mono.0 - 2_000_000, None);
        assert_eq!(
            created(since_boot),
            Some(Wall(at.wall.0 - 2_000_000).as_millis())
        );
        let since_1970 = connection(1_700_000_000_000_000_000, None);
        assert_eq!(created(since_1970), Some(1_700_000_000_000));
    }

    #[test]
    fn zeros_that_nobody_vouches_for_are_no_counts() {
        let mut connection = connection();
        connection.traffic = Traffic {
            bytes_out: Some(0),
            bytes_in: Some(0),
            quality: ByteQuality::ZeroUnverified,
            ..Traffic::default()
        };
        let event = event(&Record::Connection(connection));
        assert_eq!(event["traffic"].get("bytes_out"), None);
        assert_eq!(
            event["unmapped"]["conntrail"]["byte_quality"],
            "zero_unverified"
        );
    }

    #[test]
    fn unknown_is_absent_and_zero_is_zero() {
        let mut connection = connection();
        connection.traffic = Traffic {
            bytes_out: Some(0),
            ..Traffic::default()
        };
        let event = event(&Record::Connection(connection));
        assert_eq!(event["traffic"]["bytes_out"], 0);
        assert_eq!(event["traffic"].get("bytes_in"), None);
        assert_eq!(event["traffic"].get("bytes"), None);
    }

    #[test]
    fn an_established_connection_that_times_out_did_not_fail_to_open() {
        let mut connection = connection();
        let timed_out = crate::Ending {
            outcome: Outcome::TimedOut,
            errno: Some(110),
        };
        connection.phase = Phase::Close(timed_out);
        assert_eq!(
            event(&Record::Connection(connection.clone()))["activity_name"],
            "Close"
        );
        connection.established = None;
        let event = event(&Record::Connection(connection));
        assert_eq!(event["activity_name"], "Fail");
        assert_eq!(event["status_code"], "110");
        assert_eq!(event["status_detail"], "timed_out");
    }
}
