//! Canonical bytes of records: what the trail keeps and what a hash is taken over.
//!
//! The form is a protocol-buffers message ([`crate::wire`]), so readers in other languages need no
//! code of ours. One record has exactly one encoding.
//! Field numbers and choice numbers are for ever: new ones are added, none is used again.
//! Numbers rise from what rarely changes between neighbours to what always does, which lets a
//! compressor fold the front of most records into one reference.
//! What always changes is packed into one field of a connection; records of earlier versions have
//! a field for each, and are read the same.
//! A reader skips fields it does not know.

use crate::wire::{Fields, Run, Value, WireError, Writer, take_varint, unzigzag, zigzag};
use crate::{
    Aggregate, AggregateCause, AggregateScope, Ancestor, AppCount, Attribution, BreakerCause,
    BreakerState, ByteQuality, CodeSignature, Confidence, Connection, ConnectionId, Coverage,
    Delivery, DeliveryGuarantee, DeliveryLeftOut, DeliveryState, Device, Direction, Ending,
    Endpoint, EndpointId, ExecutableFile, ExtensionReplaced, Hostname, IdentitySource, LossCause,
    LossStage, LostKind, Mono, NameSource, Notice, NoticeKind, Origin, Outcome, Phase,
    PolicyAction, PolicyChanged, PolicyCounts, PolicyField, PolicyState, PreviousEpoch, Process,
    ProcessKey, Protocol, Record, RecordCounts, RuleCount, SensorKind, SignatureValidity,
    StageCounts, Stamp, StopReason, Tally, TcpCounts, Traffic, Treated, Undelivered,
    UndeliveredCause, User, Wall,
};
use std::sync::Arc;

/// Appends the canonical bytes of `record`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    Encoder::default().encode(record, out);
}

/// Reads a record from its bytes.
///
/// # Errors
/// When the bytes are not a record, or one from a newer version with choices this one lacks.
pub fn decode(bytes: &[u8]) -> Result<Record, WireError> {
    Decoder::default().decode(bytes)
}

/// Encodes many records: one process makes many connections, and its bytes are put together once.
#[derive(Debug, Default)]
pub struct Encoder {
    processes: Slots<(Arc<Process>, Vec<u8>)>,
    run: Run,
}

impl Encoder {
    /// As [`encode`], with the same bytes.
    pub fn encode(&mut self, record: &Record, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        match record {
            Record::Connection(connection) => {
                writer.message(1, |body| write_connection(connection, self, body));
            }
            Record::Notice(notice) => writer.message(2, |body| write_notice(notice, body)),
        }
        let at = record.at();
        self.run.uint(3, at.mono.0);
        self.run.sint(4, wall_offset_ns(at));
        self.run.finish(&mut writer);
    }

    /// The bytes of a process. The address only finds the slot; what is in it is compared.
    fn process(&mut self, process: &Arc<Process>) -> &[u8] {
        let slot = self.processes.at(Arc::as_ptr(process) as usize >> 4);
        match slot {
            Some((known, _)) if Arc::ptr_eq(known, process) => {}
            Some(_) | None => {
                let mut bytes = Vec::with_capacity(256);
                encode_process(process, &mut bytes);
                *slot = Some((Arc::clone(process), bytes));
            }
        }
        slot.as_ref().map_or(&[], |(_, bytes)| bytes)
    }
}

/// Decodes many records, which share the processes that are the same.
#[derive(Debug, Default)]
pub struct Decoder {
    processes: Slots<(Vec<u8>, Arc<Process>)>,
}

impl Decoder {
    /// As [`decode`], with the same record.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Record, WireError> {
        let mut body = None;
        let mut stamp = StampParts::default();
        for field in Fields::new(bytes) {
            match field? {
                (number @ (1 | 2), value) => body = Some((number, value.fields()?)),
                (3, value) => stamp.mono = Some(value.uint()?),
                (4, value) => stamp.offset = Some(value.sint()?),
                _ => {}
            }
        }
        let at = stamp.whole(3)?;
        match body.ok_or(WireError::Missing(1))? {
            (1, fields) => read_connection(fields, at, self).map(Record::Connection),
            (_, fields) => Ok(Record::Notice(Notice {
                at,
                kind: read_notice(fields)?,
            })),
        }
    }

    fn process(&mut self, bytes: &[u8]) -> Result<Arc<Process>, WireError> {
        // Pid and start time stand in front, so the first bytes tell most processes apart.
        let front = bytes.iter().take(12).fold(bytes.len(), |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        let slot = self.processes.at(front);
        if let Some((known, process)) = slot
            && known == bytes
        {
            return Ok(Arc::clone(process));
        }
        let process = Arc::new(read_process(Fields::new(bytes))?);
        *slot = Some((bytes.to_vec(), Arc::clone(&process)));
        Ok(process)
    }
}

/// A small memory in which the newest takes the place of what was there.
#[derive(Debug)]
struct Slots<T>(Vec<Option<T>>);

impl<T> Slots<T> {
    const COUNT: usize = 256;

    fn at(&mut self, hint: usize) -> &mut Option<T> {
        if self.0.is_empty() {
            self.0.resize_with(Slots::<T>::COUNT, || None);
        }
        &mut self.0[hint.wrapping_mul(0x9e37_79b1) / 64 % Slots::<T>::COUNT]
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots(Vec::new())
    }
}

/// Appends the canonical bytes of `device`.
pub fn encode_device(device: &Device, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    writer.bytes(1, &device.endpoint.0);
    writer.bytes(2, device.hostname.as_bytes());
    writer.bytes(3, device.os_name.as_bytes());
    writer.text_if(4, device.os_version.as_deref());
    writer.text_if(5, device.kernel_release.as_deref());
    if let Some(boot_id) = &device.boot_id {
        writer.bytes(6, boot_id);
    }
    writer.text_if(7, device.machine_id.as_deref());
    writer.bytes(8, device.agent_version.as_bytes());
}

/// Reads a device from its bytes.
///
/// # Errors
/// When the bytes are not a device.
pub fn decode_device(bytes: &[u8]) -> Result<Device, WireError> {
    let mut device = Device::default();
    let mut endpoint = None;
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => endpoint = Some(EndpointId(value.array()?)),
            (2, value) => device.hostname = value.text()?.to_owned(),
            (3, value) => device.os_name = value.text()?.to_owned(),
            (4, value) => device.os_version = Some(value.text()?.to_owned()),
            (5, value) => device.kernel_release = Some(value.text()?.to_owned()),
            (6, value) => device.boot_id = Some(value.array()?),
            (7, value) => device.machine_id = Some(value.text()?.to_owned()),
            (8, value) => device.agent_version = value.text()?.to_owned(),
            _ => {}
        }
    }
    device.endpoint = endpoint.ok_or(WireError::Missing(1))?;
    Ok(device)
}

/// Appends the canonical bytes of `process`, for formats that keep processes by themselves.
pub fn encode_process(process: &Process, out: &mut Vec<u8>) {
    write_process(process, &mut Writer::new(out));
}

/// Reads a process from its bytes.
///
/// # Errors
/// When the bytes are not a process.
pub fn decode_process(bytes: &[u8]) -> Result<Process, WireError> {
    read_process(Fields::new(bytes))
}

const PHASE_OPEN: u64 = 1;
const PHASE_UPDATE: u64 = 2;
const PHASE_CLOSE: u64 = 3;

fn write_connection(connection: &Connection, encoder: &mut Encoder, out: &mut Writer<'_>) {
    if let Some(process) = &connection.process {
        out.bytes(1, encoder.process(process));
    }
    let run = &mut encoder.run;
    run.uint(2, connection.attribution.source.number());
    run.uint(3, connection.attribution.confidence.number());
    run.uint(4, connection.protocol.number().into());
    run.uint(5, connection.direction.number());
    run.uint_if(6, connection.network_namespace);
    run.uint(7, connection.origin.number());
    match connection.phase {
        Phase::Open => run.uint(8, PHASE_OPEN),
        Phase::Update => run.uint(8, PHASE_UPDATE),
        Phase::Close(ending) => {
            run.uint(8, PHASE_CLOSE);
            run.uint(9, ending.outcome.number());
            if let Some(errno) = ending.errno {
                run.sint(10, errno.into());
            }
        }
    }
    run.uint(11, connection.traffic.quality.number());
    run.address_if(12, connection.remote.address);
    run.uint_if(13, connection.remote.port);
    run.address_if(14, connection.local.address);
    run.uint_if(15, connection.local.port);
    run.finish(out);
    write_late_identity(connection, encoder, out);
    write_measures(connection, &mut encoder.run, out);
}

/// Numbers that nearly every connection has and that differ from record to record stand in one
/// packed field: first which of [`Measure::ALL`] are unknown, a bit each from the lowest on; then
/// epoch and ordinal of the connection; then those that are known, in that order.
///
/// Its number leaves room for fields that differ less, which belong before it.
const MEASURES: u32 = 60;

fn write_measures(connection: &Connection, run: &mut Run, out: &mut Writer<'_>) {
    let values = Measure::ALL.map(|measure| measure.of(connection));
    let unknown = values.iter().enumerate();
    let unknown = unknown.fold(0, |bits, (at, it)| bits | u64::from(it.is_none()) << at);
    run.varint(unknown);
    run.varint(connection.id.epoch);
    run.varint(connection.id.ordinal);
    for value in values.into_iter().flatten() {
        run.varint(value);
    }
    run.finish_bytes(MEASURES, out);
}

fn read_measures(value: Value<'_>, connection: &mut Connection) -> Result<(), WireError> {
    let mut rest = value.bytes()?;
    let unknown = take_varint(&mut rest)?;
    if unknown >> Measure::ALL.len() != 0 {
        return Err(WireError::UnknownChoice(MEASURES, unknown));
    }
    connection.id.epoch = take_varint(&mut rest)?;
    connection.id.ordinal = take_varint(&mut rest)?;
    for (at, measure) in Measure::ALL.into_iter().enumerate() {
        if unknown >> at & 1 == 0 {
            measure.put(take_varint(&mut rest)?, connection)?;
        }
    }
    match rest {
        [] => Ok(()),
        [..] => Err(WireError::WrongLength),
    }
}

/// What may be known of a connection as a number.
#[derive(Clone, Copy)]
enum Measure {
    Retransmits,
    Rtt,
    Established,
    PacketsOut,
    PacketsIn,
    BytesOut,
    BytesIn,
    Opened,
}

impl Measure {
    /// In the order of their bits; those that some platforms never know come first, so that the
    /// bits take one byte.
    const ALL: [Measure; 8] = [
        Measure::Retransmits,
        Measure::Rtt,
        Measure::Established,
        Measure::PacketsOut,
        Measure::PacketsIn,
        Measure::BytesOut,
        Measure::BytesIn,
        Measure::Opened,
    ];

    #[inline(always)]
    fn of(self, connection: &Connection) -> Option<u64> {
        // A moment is kept as how long it was ago.
        let age_ns = |moment: Mono| zigzag(connection.at.mono.0.wrapping_sub(moment.0) as i64);
        match self {
            Measure::Retransmits => connection.retransmits.map(u64::from),
            Measure::Rtt => connection.rtt_us.map(u64::from),
            Measure::Established => connection.established.map(age_ns),
            Measure::PacketsOut => connection.traffic.packets_out,
            Measure::PacketsIn => connection.traffic.packets_in,
            Measure::BytesOut => connection.traffic.bytes_out,
            Measure::BytesIn => connection.traffic.bytes_in,
            Measure::Opened => connection.opened.map(age_ns),
        }
    }

    fn put(self, value: u64, connection: &mut Connection) -> Result<(), WireError> {
        let at = connection.at.mono;
        let moment = || Mono(at.0.wrapping_sub(unzigzag(value) as u64));
        let narrow = || u32::try_from(value).map_err(|_| WireError::Overflow);
        match self {
            Measure::Retransmits => connection.retransmits = Some(narrow()?),
            Measure::Rtt => connection.rtt_us = Some(narrow()?),
            Measure::Established => connection.established = Some(moment()),
            Measure::PacketsOut => connection.traffic.packets_out = Some(value),
            Measure::PacketsIn => connection.traffic.packets_in = Some(value),
            Measure::BytesOut => connection.traffic.bytes_out = Some(value),
            Measure::BytesIn => connection.traffic.bytes_in = Some(value),
            Measure::Opened => connection.opened = Some(moment()),
        }
        Ok(())
    }
}

/// What came after the measures were numbered.
fn write_late_identity(connection: &Connection, encoder: &mut Encoder, out: &mut Writer<'_>) {
    out.uint_if(26, connection.closer_pid);
    if let Some(responsible) = &connection.responsible {
        out.bytes(27, encoder.process(responsible));
    }
    if let Some(hostname) = &connection.hostname {
        out.bytes(28, hostname.name.as_bytes());
        out.uint(29, hostname.source.number());
    }
    if let Some(treated) = &connection.treated {
        write_treated(treated, out);
    }
    if let Some(aggregate) = &connection.aggregate {
        out.message(AGGREGATE, |body| write_aggregate(aggregate, body));
    }
}

/// Only records that sum many connections have it.
const AGGREGATE: u32 = 41;

fn write_aggregate(aggregate: &Aggregate, out: &mut Writer<'_>) {
    out.uint(1, aggregate.connections);
    out.uint(2, aggregate.cause.number());
    out.uint(3, aggregate.scope.number());
    out.uint(4, aggregate.limit);
    out.uint(5, aggregate.interval_ns);
}

fn read_aggregate(value: Value<'_>) -> Result<Box<Aggregate>, WireError> {
    let body = Body::read(value.fields()?)?;
    Ok(Box::new(Aggregate {
        connections: body.uint(1)?,
        cause: AggregateCause::from_number(2, body.uint(2)?)?,
        scope: AggregateScope::from_number(3, body.uint(3)?)?,
        limit: body.uint(4)?,
        interval_ns: body.uint(5)?,
    }))
}

/// Three bytes a mark, so that the marks of one policy are one run of bytes from record to record.
const TREATED: u32 = 40;

fn write_treated(treated: &[Treated], out: &mut Writer<'_>) {
    let marks = treated.iter().flat_map(|mark| {
        let (field, action) = (mark.field.number(), mark.action.number());
        [field as u8, action as u8, mark.rule]
    });
    out.bytes(TREATED, &marks.collect::<Vec<u8>>());
}

fn read_treated(value: Value<'_>) -> Result<Arc<[Treated]>, WireError> {
    let bytes = value.bytes()?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(3) {
        return Err(WireError::Missing(TREATED));
    }
    let marks = bytes.chunks_exact(3).map(|mark| {
        Ok(Treated {
            field: PolicyField::from_number(TREATED, mark[0].into())?,
            action: PolicyAction::from_number(TREATED, mark[1].into())?,
            rule: mark[2],
        })
    });
    marks.collect()
}

fn read_connection(
    fields: Fields<'_>,
    at: Stamp,
    decoder: &mut Decoder,
) -> Result<Connection, WireError> {
    let mut connection = blank_connection(at);
    let mut phase = None;
    let mut outcome = None;
    let mut errno = None;
    let mut name = None;
    let mut name_source = None;
    for field in fields {
        match field? {
            (1, value) => connection.process = Some(decoder.process(value.bytes()?)?),
            (8, value) => phase = Some(value.uint()?),
            (9, value) => outcome = Some(Outcome::from_number(9, value.uint()?)?),
            (10, value) => errno = Some(read_errno(value)?),
            (27, value) => connection.responsible = Some(decoder.process(value.bytes()?)?),
            (28, value) => name = Some(value.text()?.into()),
            (29, value) => name_source = Some(NameSource::from_number(29, value.uint()?)?),
            (TREATED, value) => connection.treated = Some(read_treated(value)?),
            (AGGREGATE, value) => connection.aggregate = Some(read_aggregate(value)?),
            (MEASURES, value) => read_measures(value, &mut connection)?,
            (number @ 18.., value) => read_single_measure(number, value, &mut connection)?,
            (number, value) => read_identity(number, value, &mut connection)?,
        }
    }
    connection.hostname = name
        .zip(name_source)
        .map(|(name, source)| Hostname { name, source });
    connection.phase = match phase.ok_or(WireError::Missing(8))? {
        PHASE_OPEN => Phase::Open,
        PHASE_UPDATE => Phase::Update,
        PHASE_CLOSE => Phase::Close(Ending {
            outcome: outcome.ok_or(WireError::Missing(9))?,
            errno,
        }),
        other => return Err(WireError::UnknownChoice(8, other)),
    };
    Ok(connection)
}

/// A connection of which nothing is read yet.
fn blank_connection(at: Stamp) -> Connection {
    Connection {
        id: ConnectionId {
            epoch: 0,
            ordinal: 0,
        },
        phase: Phase::Open,
        at,
        process: None,
        attribution: Attribution::from_source(IdentitySource::None),
        responsible: None,
        protocol: Protocol::Other(0),
        direction: Direction::Unknown,
        local: Endpoint::default(),
        remote: Endpoint::default(),
        hostname: None,
        network_namespace: None,
        opened: None,
        established: None,
        traffic: Traffic::default(),
        rtt_us: None,
        retransmits: None,
        closer_pid: None,
        origin: Origin::Live,
        treated: None,
        aggregate: None,
    }
}

fn read_identity(
    number: u32,
    value: Value<'_>,
    connection: &mut Connection,
) -> Result<(), WireError> {
    let attribution = &mut connection.attribution;
    match number {
        2 => attribution.source = IdentitySource::from_number(2, value.uint()?)?,
        3 => attribution.confidence = Confidence::from_number(3, value.uint()?)?,
        4 => connection.protocol = Protocol::from_number(value.narrow()?),
        5 => connection.direction = Direction::from_number(5, value.uint()?)?,
        6 => connection.network_namespace = Some(value.narrow()?),
        7 => connection.origin = Origin::from_number(7, value.uint()?)?,
        11 => {
            connection.traffic.quality = ByteQuality::from_number(11, value.uint()?)?;
        }
        12 => connection.remote.address = Some(value.address()?),
        13 => connection.remote.port = Some(value.narrow()?),
        14 => connection.local.address = Some(value.address()?),
        15 => connection.local.port = Some(value.narrow()?),
        16 => connection.id.epoch = value.uint()?,
        17 => connection.id.ordinal = value.uint()?,
        _ => {}
    }
    Ok(())
}

/// The measures as fields of their own, as they were written before [`MEASURES`] was.
fn read_single_measure(
    number: u32,
    value: Value<'_>,
    connection: &mut Connection,
) -> Result<(), WireError> {
    let measure = match number {
        18 => Measure::Opened,
        19 => Measure::Established,
        20 => Measure::BytesOut,
        21 => Measure::BytesIn,
        22 => Measure::PacketsOut,
        23 => Measure::PacketsIn,
        24 => Measure::Rtt,
        25 => Measure::Retransmits,
        26 => {
            connection.closer_pid = Some(value.narrow()?);
            return Ok(());
        }
        _ => return Ok(()),
    };
    measure.put(value.uint()?, connection)
}

fn read_errno(value: Value<'_>) -> Result<i32, WireError> {
    i32::try_from(value.sint()?).map_err(|_| WireError::Overflow)
}

fn write_key(key: ProcessKey, out: &mut Writer<'_>) {
    out.uint(1, key.pid.into());
    out.uint(2, key.start_ns);
    out.uint(3, key.exec_id.into());
}

fn write_process(process: &Process, out: &mut Writer<'_>) {
    write_key(process.key, out);
    if let Some(cpid) = &process.cpid {
        out.bytes(4, cpid);
    }
    out.text_if(5, process.name.as_deref());
    out.text_if(6, process.path.as_deref());
    if let Some(file) = process.file {
        out.uint(7, file.device.into());
        out.uint(8, file.inode);
    }
    out.text_if(9, process.command_line.as_deref());
    if let Some(user) = &process.user {
        out.uint(10, user.uid.into());
        out.text_if(11, user.name.as_deref());
    }
    out.uint_if(12, process.login_uid);
    out.uint_if(13, process.cgroup);
    for ancestor in &process.ancestors {
        out.message(14, |body| write_ancestor(ancestor, body));
    }
    out.uint_if(15, process.effective_uid);
    out.uint_if(16, process.audit_session);
    if let Some(started) = process.started {
        out.sint(17, started.0);
    }
    if let Some(signature) = &process.signature {
        out.message(18, |body| write_signature(signature, body));
    }
    if process.vanished {
        out.uint(19, 1);
    }
}

fn write_signature(signature: &CodeSignature, out: &mut Writer<'_>) {
    out.uint(1, signature.validity.number());
    if let Some(status) = signature.status {
        out.sint(2, status.into());
    }
    out.text_if(3, signature.signing_id.as_deref());
    out.text_if(4, signature.team_id.as_deref());
    if let Some(cdhash) = &signature.cdhash {
        out.bytes(5, cdhash);
    }
    out.uint_if(6, signature.platform);
}

fn write_ancestor(ancestor: &Ancestor, out: &mut Writer<'_>) {
    write_key(ancestor.key, out);
    if let Some(cpid) = &ancestor.cpid {
        out.bytes(4, cpid);
    }
    out.text_if(5, ancestor.name.as_deref());
    out.text_if(6, ancestor.path.as_deref());
}

fn read_process(fields: Fields<'_>) -> Result<Process, WireError> {
    let mut process = Process::bare(ProcessKey {
        pid: 0,
        start_ns: 0,
        exec_id: 0,
    });
    let mut device = None;
    let mut inode = None;
    let mut uid = None;
    let mut user_name = None;
    for field in fields {
        match field? {
            (1, value) => process.key.pid = value.narrow()?,
            (2, value) => process.key.start_ns = value.uint()?,
            (3, value) => process.key.exec_id = value.narrow()?,
            (4, value) => process.cpid = Some(value.array()?),
            (5, value) => process.name = Some(value.text()?.into()),
            (6, value) => process.path = Some(value.text()?.into()),
            (7, value) => device = Some(value.narrow()?),
            (8, value) => inode = Some(value.uint()?),
            (9, value) => process.command_line = Some(value.text()?.into()),
            (10, value) => uid = Some(value.narrow()?),
            (11, value) => user_name = Some(value.text()?.into()),
            (12, value) => process.login_uid = Some(value.narrow()?),
            (13, value) => process.cgroup = Some(value.uint()?),
            (14, value) => process.ancestors.push(read_ancestor(value.fields()?)?),
            (15, value) => process.effective_uid = Some(value.narrow()?),
            (16, value) => process.audit_session = Some(value.narrow()?),
            (17, value) => process.started = Some(Wall(value.sint()?)),
            (18, value) => process.signature = Some(read_signature(value.fields()?)?),
            (19, value) => process.vanished = value.uint()? != 0,
            _ => {}
        }
    }
    process.file = device
        .zip(inode)
        .map(|(device, inode)| ExecutableFile { device, inode });
    process.user = uid.map(|uid| User {
        uid,
        name: user_name,
    });
    Ok(process)
}

fn read_signature(fields: Fields<'_>) -> Result<CodeSignature, WireError> {
    let mut validity = None;
    let mut signature = CodeSignature {
        validity: SignatureValidity::Unknown,
        status: None,
        signing_id: None,
        team_id: None,
        cdhash: None,
        platform: None,
    };
    for field in fields {
        match field? {
            (1, value) => validity = Some(SignatureValidity::from_number(1, value.uint()?)?),
            (2, value) => signature.status = Some(read_errno(value)?),
            (3, value) => signature.signing_id = Some(value.text()?.into()),
            (4, value) => signature.team_id = Some(value.text()?.into()),
            (5, value) => signature.cdhash = Some(value.array()?),
            (6, value) => signature.platform = Some(value.uint()? != 0),
            _ => {}
        }
    }
    signature.validity = validity.ok_or(WireError::Missing(1))?;
    Ok(signature)
}

fn read_ancestor(fields: Fields<'_>) -> Result<Ancestor, WireError> {
    let Process {
        key,
        cpid,
        name,
        path,
        ..
    } = read_process(fields)?;
    Ok(Ancestor {
        key,
        cpid,
        name,
        path,
    })
}

/// The wall clock is kept as its distance from the monotonic one, which stays the same from record
/// to record until the clock is set.
fn write_stamp(stamp: Stamp, field: u32, out: &mut Writer<'_>) {
    out.uint(field, stamp.mono.0);
    out.sint(field + 1, wall_offset_ns(stamp));
}

fn wall_offset_ns(stamp: Stamp) -> i64 {
    stamp.wall.0.wrapping_sub(stamp.mono.0 as i64)
}

#[derive(Clone, Copy, Default)]
struct StampParts {
    mono: Option<u64>,
    offset: Option<i64>,
}

impl StampParts {
    fn whole(self, field: u32) -> Result<Stamp, WireError> {
        let mono = self.mono.ok_or(WireError::Missing(field))?;
        let offset = self.offset.ok_or(WireError::Missing(field + 1))?;
        Ok(Stamp {
            wall: Wall(offset.wrapping_add(mono as i64)),
            mono: Mono(mono),
        })
    }
}

const NOTICE_RECORDER_STARTED: u32 = 1;
const NOTICE_RECORDER_STOPPED: u32 = 2;
const NOTICE_SENSOR_STARTED: u32 = 3;
const NOTICE_SENSOR_STOPPED: u32 = 4;
const NOTICE_LOST: u32 = 5;
const NOTICE_SLEPT: u32 = 6;
const NOTICE_CLOCK_STEPPED: u32 = 7;
const NOTICE_TRAIL_EVICTED: u32 = 8;
const NOTICE_LEDGER: u32 = 9;
const NOTICE_SENSOR_LIMITED: u32 = 10;
const NOTICE_BREAKER_CHANGED: u32 = 11;
const NOTICE_COVERAGE: u32 = 12;
const NOTICE_EXTENSION_REPLACED: u32 = 13;
const NOTICE_SLEEPING: u32 = 14;
const NOTICE_POLICY_CHANGED: u32 = 30;
const NOTICE_POLICY_COUNTS: u32 = 31;
const NOTICE_STAGE_COUNTS: u32 = 40;
const NOTICE_UNDELIVERED: u32 = 50;
const NOTICE_DELIVERY: u32 = 51;

fn write_notice(notice: &Notice, out: &mut Writer<'_>) {
    match &notice.kind {
        NoticeKind::RecorderStarted { previous } => {
            out.message(NOTICE_RECORDER_STARTED, |body| {
                write_previous(previous.as_ref(), body)
            });
        }
        NoticeKind::RecorderStopped { reason, tally } => {
            out.message(NOTICE_RECORDER_STOPPED, |body| {
                body.uint(1, reason.number());
                body.message(2, |body| write_tally(tally, body));
            });
        }
        NoticeKind::SensorStarted { sensor, limits } => {
            out.message(NOTICE_SENSOR_STARTED, |body| {
                write_sensor(*sensor, limits, body)
            });
        }
        NoticeKind::SensorStopped { sensor, reason } => {
            out.message(NOTICE_SENSOR_STOPPED, |body| {
                body.uint(1, sensor.number());
                body.bytes(2, reason.as_bytes());
            });
        }
        NoticeKind::Lost { .. } => write_lost(&notice.kind, out),
        NoticeKind::Slept { duration_ns } => {
            out.message(NOTICE_SLEPT, |body| body.uint(1, *duration_ns));
        }
        NoticeKind::ClockStepped { by_ns } => {
            out.message(NOTICE_CLOCK_STEPPED, |body| body.sint(1, *by_ns));
        }
        NoticeKind::TrailEvicted { .. } => write_evicted(&notice.kind, out),
        NoticeKind::Ledger(tally) => out.message(NOTICE_LEDGER, |body| write_tally(tally, body)),
        NoticeKind::SensorLimited { sensor, limit } => {
            out.message(NOTICE_SENSOR_LIMITED, |body| {
                body.uint(1, sensor.number());
                body.bytes(2, limit.as_bytes());
            });
        }
        NoticeKind::BreakerChanged { .. } => write_breaker(&notice.kind, out),
        NoticeKind::Coverage(coverage) => {
            out.message(NOTICE_COVERAGE, |body| write_coverage(coverage, body));
        }
        NoticeKind::ExtensionReplaced(replaced) => {
            out.message(NOTICE_EXTENSION_REPLACED, |body| {
                write_replaced(replaced, body)
            });
        }
        NoticeKind::Sleeping => out.message(NOTICE_SLEEPING, |_| {}),
        NoticeKind::PolicyChanged(changed) => {
            out.message(NOTICE_POLICY_CHANGED, |body| write_policy(changed, body));
        }
        NoticeKind::PolicyCounts(counts) => {
            out.message(NOTICE_POLICY_COUNTS, |body| {
                write_policy_counts(counts, body)
            });
        }
        NoticeKind::StageCounts(counts) => {
            out.message(NOTICE_STAGE_COUNTS, |body| write_stage_counts(counts, body));
        }
        NoticeKind::Undelivered(undelivered) => {
            out.message(NOTICE_UNDELIVERED, |body| {
                write_undelivered(undelivered, body)
            });
        }
        NoticeKind::Delivery(delivery) => {
            out.message(NOTICE_DELIVERY, |body| write_delivery(delivery, body));
        }
    }
}

fn write_sensor(sensor: SensorKind, limits: &[String], out: &mut Writer<'_>) {
    out.uint(1, sensor.number());
    for limit in limits {
        out.bytes(2, limit.as_bytes());
    }
}

fn write_stage_counts(counts: &StageCounts, out: &mut Writer<'_>) {
    let StageCounts {
        given,
        own,
        dropped,
        refused,
        recorded,
        ..
    } = counts;
    for (field, both) in [(1, given), (4, dropped), (6, refused), (8, recorded)] {
        out.uint(field, both.records);
        out.uint(field + 1, both.closes);
        if field == 1 {
            out.uint(3, *own);
        }
    }
    out.uint(10, counts.closes_waiting);
    out.uint(11, counts.closes_repeated);
    out.uint(12, counts.ends_told_before);
    out.uint(13, counts.flows_evicted);
    out.uint(14, counts.records_evicted);
    out.uint(15, counts.segments_rewritten);
}

fn write_undelivered(undelivered: &Undelivered, out: &mut Writer<'_>) {
    out.bytes(1, undelivered.destination.as_bytes());
    out.text_if(2, undelivered.source.as_deref());
    out.uint(3, undelivered.epoch);
    out.uint(4, undelivered.first_sequence);
    out.uint(5, undelivered.last_sequence);
    out.uint_if(6, undelivered.records);
    out.uint(7, undelivered.cause.number());
    out.bytes(8, undelivered.reason.as_bytes());
}

fn write_delivery(delivery: &Delivery, out: &mut Writer<'_>) {
    out.bytes(1, delivery.destination.as_bytes());
    out.uint(2, delivery.guarantee.number());
    out.uint(3, delivery.state.number());
    write_stamp(delivery.since, 4, out);
    out.uint(6, delivery.records);
    out.uint(7, delivery.batches);
    out.uint(8, delivery.bytes);
    out.uint(9, delivery.retries);
    out.message(10, |body| {
        let DeliveryLeftOut {
            opens,
            filtered,
            dropped,
            refused,
            missing,
        } = delivery.left_out;
        let counts = [opens, filtered, dropped, refused, missing];
        for (field, count) in (1..).zip(counts) {
            body.uint(field, count);
        }
    });
    out.uint_if(11, delivery.lag_records);
    out.uint_if(12, delivery.lag_ns);
    out.text_if(13, delivery.problem.as_deref());
}

fn write_policy(changed: &PolicyChanged, out: &mut Writer<'_>) {
    out.uint(1, changed.state.number());
    if let Some(hash) = &changed.hash {
        out.bytes(2, hash);
    }
    out.text_if(3, changed.source.as_deref());
    out.text_if(4, changed.problem.as_deref());
    for rule in &changed.rules {
        out.bytes(5, rule.as_bytes());
    }
}

fn write_policy_counts(counts: &PolicyCounts, out: &mut Writer<'_>) {
    write_stamp(counts.since, 1, out);
    if let Some(hash) = &counts.hash {
        out.bytes(3, hash);
    }
    out.uint(4, counts.records);
    out.uint(5, counts.dropped);
    out.uint(6, counts.changed);
    for rule in &counts.rules {
        out.message(7, |body| {
            body.uint(1, rule.rule.into());
            body.uint(2, rule.dropped);
            body.uint(3, rule.changed);
        });
    }
}

/// A loss; of other notices nothing.
fn write_lost(kind: &NoticeKind, out: &mut Writer<'_>) {
    if let NoticeKind::Lost {
        stage,
        cause,
        what,
        count,
        since,
    } = kind
    {
        out.message(NOTICE_LOST, |body| {
            body.uint(1, stage.number());
            body.uint(2, cause.number());
            body.uint(3, what.number());
            body.uint_if(4, *count);
            write_stamp(*since, 5, body);
        });
    }
}

/// An eviction; of other notices nothing.
fn write_evicted(kind: &NoticeKind, out: &mut Writer<'_>) {
    if let NoticeKind::TrailEvicted {
        epoch,
        first_sequence,
        last_sequence,
    } = kind
    {
        out.message(NOTICE_TRAIL_EVICTED, |body| {
            body.uint(1, *epoch);
            body.uint(2, *first_sequence);
            body.uint(3, *last_sequence);
        });
    }
}

/// A breaker; of other notices nothing.
fn write_breaker(kind: &NoticeKind, out: &mut Writer<'_>) {
    if let NoticeKind::BreakerChanged {
        state,
        cause,
        crashes,
    } = kind
    {
        out.message(NOTICE_BREAKER_CHANGED, |body| {
            body.uint(1, state.number());
            body.uint(2, cause.number());
            body.uint(3, (*crashes).into());
        });
    }
}

fn write_coverage(coverage: &Coverage, out: &mut Writer<'_>) {
    write_stamp(coverage.since, 1, out);
    if let Some(system) = coverage.system {
        out.message(3, |body| write_counts(system, body));
    }
    out.text_if(4, coverage.unavailable.as_deref());
    out.message(5, |body| write_counts(coverage.recorded, body));
    out.uint_if(6, coverage.missed_estimate);
    for unseen in &coverage.unseen {
        out.bytes(7, unseen.as_bytes());
    }
}

fn write_counts(counts: TcpCounts, out: &mut Writer<'_>) {
    out.uint(1, counts.outbound);
    out.uint(2, counts.inbound);
}

fn write_replaced(replaced: &ExtensionReplaced, out: &mut Writer<'_>) {
    out.text_if(1, replaced.from.as_deref());
    out.bytes(2, replaced.to.as_bytes());
    out.uint(3, replaced.reset_estimate);
    for AppCount { app, count } in &replaced.by_app {
        out.message(4, |body| {
            body.bytes(1, app.as_bytes());
            body.uint(2, *count);
        });
    }
    out.uint_if(5, replaced.flows_arrive);
}

fn write_previous(previous: Option<&PreviousEpoch>, out: &mut Writer<'_>) {
    let Some(previous) = previous else { return };
    out.uint(1, previous.epoch);
    out.uint(2, previous.last_sequence);
    out.uint(3, previous.stopped_in_order.into());
    if let Some(last_at) = previous.last_at {
        write_stamp(last_at, 4, out);
    }
}

fn write_tally(tally: &Tally, out: &mut Writer<'_>) {
    out.uint(1, tally.closes_made);
    out.uint(2, tally.closes_recorded);
    out.uint(3, tally.closes_lost);
    out.uint(4, tally.live);
    // Younger than the others: where a policy drops nothing the bytes are as they always were.
    if tally.closes_dropped > 0 {
        out.uint(5, tally.closes_dropped);
    }
    if tally.closes_aggregated > 0 {
        out.uint(6, tally.closes_aggregated);
    }
}

fn read_notice(mut fields: Fields<'_>) -> Result<NoticeKind, WireError> {
    let (kind, value) = fields.next().ok_or(WireError::Missing(1))??;
    let body = Body::read(value.fields()?)?;
    Ok(match kind {
        NOTICE_RECORDER_STARTED => NoticeKind::RecorderStarted {
            previous: body.previous()?,
        },
        NOTICE_RECORDER_STOPPED => NoticeKind::RecorderStopped {
            reason: StopReason::from_number(1, body.uint(1)?)?,
            tally: Body::read(body.value(2)?.fields()?)?.tally()?,
        },
        NOTICE_SENSOR_STARTED => NoticeKind::SensorStarted {
            sensor: SensorKind::from_number(1, body.uint(1)?)?,
            limits: body.texts(2)?,
        },
        NOTICE_SENSOR_STOPPED => NoticeKind::SensorStopped {
            sensor: SensorKind::from_number(1, body.uint(1)?)?,
            reason: body.value(2)?.text()?.to_owned(),
        },
        NOTICE_LOST => body.lost()?,
        NOTICE_SLEPT => NoticeKind::Slept {
            duration_ns: body.uint(1)?,
        },
        NOTICE_CLOCK_STEPPED => NoticeKind::ClockStepped {
            by_ns: body.value(1)?.sint()?,
        },
        NOTICE_TRAIL_EVICTED => NoticeKind::TrailEvicted {
            epoch: body.uint(1)?,
            first_sequence: body.uint(2)?,
            last_sequence: body.uint(3)?,
        },
        NOTICE_LEDGER => NoticeKind::Ledger(body.tally()?),
        NOTICE_SENSOR_LIMITED => NoticeKind::SensorLimited {
            sensor: SensorKind::from_number(1, body.uint(1)?)?,
            limit: body.value(2)?.text()?.to_owned(),
        },
        NOTICE_BREAKER_CHANGED => NoticeKind::BreakerChanged {
            state: BreakerState::from_number(1, body.uint(1)?)?,
            cause: BreakerCause::from_number(2, body.uint(2)?)?,
            crashes: body.value(3)?.narrow()?,
        },
        NOTICE_COVERAGE => NoticeKind::Coverage(body.coverage()?),
        NOTICE_EXTENSION_REPLACED => NoticeKind::ExtensionReplaced(body.replaced()?),
        NOTICE_SLEEPING => NoticeKind::Sleeping,
        NOTICE_POLICY_CHANGED => NoticeKind::PolicyChanged(body.policy()?),
        NOTICE_POLICY_COUNTS => NoticeKind::PolicyCounts(body.policy_counts()?),
        NOTICE_STAGE_COUNTS => NoticeKind::StageCounts(body.stage_counts()?),
        NOTICE_UNDELIVERED => NoticeKind::Undelivered(body.undelivered()?),
        NOTICE_DELIVERY => NoticeKind::Delivery(Box::new(body.delivery()?)),
        other => return Err(WireError::UnknownChoice(2, other.into())),
    })
}

/// The fields of a notice, few and in order.
struct Body<'a>(Vec<(u32, Value<'a>)>);

impl<'a> Body<'a> {
    fn read(fields: Fields<'a>) -> Result<Body<'a>, WireError> {
        fields.collect::<Result<_, _>>().map(Body)
    }

    fn find(&self, field: u32) -> Option<Value<'a>> {
        self.0
            .iter()
            .find(|(number, _)| *number == field)
            .map(|(_, value)| *value)
    }

    fn value(&self, field: u32) -> Result<Value<'a>, WireError> {
        self.find(field).ok_or(WireError::Missing(field))
    }

    fn uint(&self, field: u32) -> Result<u64, WireError> {
        self.value(field)?.uint()
    }

    fn all(&self, field: u32) -> impl Iterator<Item = Value<'a>> {
        let values = self.0.iter().filter(move |(number, _)| *number == field);
        values.map(|(_, value)| *value)
    }

    fn texts(&self, field: u32) -> Result<Vec<String>, WireError> {
        let texts = self.all(field).map(|value| value.text().map(str::to_owned));
        texts.collect()
    }

    fn text_if(&self, field: u32) -> Result<Option<String>, WireError> {
        let text = self.find(field).map(Value::text).transpose()?;
        Ok(text.map(str::to_owned))
    }

    fn counts(&self) -> Result<TcpCounts, WireError> {
        Ok(TcpCounts {
            outbound: self.uint(1)?,
            inbound: self.uint(2)?,
        })
    }

    fn coverage(&self) -> Result<Coverage, WireError> {
        let counts = |value: Value<'a>| Body::read(value.fields()?)?.counts();
        Ok(Coverage {
            since: self.stamp(1)?.ok_or(WireError::Missing(1))?,
            system: self.find(3).map(counts).transpose()?,
            unavailable: self.text_if(4)?,
            recorded: counts(self.value(5)?)?,
            missed_estimate: self.find(6).map(Value::uint).transpose()?,
            unseen: self.texts(7)?,
        })
    }

    fn app_count(&self) -> Result<AppCount, WireError> {
        Ok(AppCount {
            app: self.value(1)?.text()?.to_owned(),
            count: self.uint(2)?,
        })
    }

    fn replaced(&self) -> Result<ExtensionReplaced, WireError> {
        let apps = self
            .all(4)
            .map(|value| Body::read(value.fields()?)?.app_count());
        Ok(ExtensionReplaced {
            from: self.text_if(1)?,
            to: self.value(2)?.text()?.to_owned(),
            reset_estimate: self.uint(3)?,
            by_app: apps.collect::<Result<_, _>>()?,
            flows_arrive: self.find(5).map(Value::uint).transpose()?.map(|it| it != 0),
        })
    }

    fn stamp(&self, field: u32) -> Result<Option<Stamp>, WireError> {
        let Some(mono) = self.find(field) else {
            return Ok(None);
        };
        let offset = self.value(field + 1)?.sint()?;
        StampParts {
            mono: Some(mono.uint()?),
            offset: Some(offset),
        }
        .whole(field)
        .map(Some)
    }

    fn previous(&self) -> Result<Option<PreviousEpoch>, WireError> {
        let Some(epoch) = self.find(1) else {
            return Ok(None);
        };
        Ok(Some(PreviousEpoch {
            epoch: epoch.uint()?,
            last_sequence: self.uint(2)?,
            last_at: self.stamp(4)?,
            stopped_in_order: self.uint(3)? != 0,
        }))
    }

    fn tally(&self) -> Result<Tally, WireError> {
        Ok(Tally {
            closes_made: self.uint(1)?,
            closes_recorded: self.uint(2)?,
            closes_lost: self.uint(3)?,
            live: self.uint(4)?,
            closes_dropped: self.find(5).map_or(Ok(0), Value::uint)?,
            closes_aggregated: self.find(6).map_or(Ok(0), Value::uint)?,
        })
    }

    fn policy(&self) -> Result<PolicyChanged, WireError> {
        Ok(PolicyChanged {
            state: PolicyState::from_number(1, self.uint(1)?)?,
            hash: self.find(2).map(Value::array).transpose()?,
            source: self.text_if(3)?,
            problem: self.text_if(4)?,
            rules: self.texts(5)?,
        })
    }

    fn policy_counts(&self) -> Result<PolicyCounts, WireError> {
        let rules = self
            .all(7)
            .map(|value| Body::read(value.fields()?)?.rule_count());
        Ok(PolicyCounts {
            since: self.stamp(1)?.ok_or(WireError::Missing(1))?,
            hash: self.find(3).map(Value::array).transpose()?,
            records: self.uint(4)?,
            dropped: self.uint(5)?,
            changed: self.uint(6)?,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    fn stage_counts(&self) -> Result<StageCounts, WireError> {
        let both = |field: u32| {
            Ok(RecordCounts {
                records: self.uint(field)?,
                closes: self.uint(field + 1)?,
            })
        };
        Ok(StageCounts {
            given: both(1)?,
            own: self.uint(3)?,
            dropped: both(4)?,
            refused: both(6)?,
            recorded: both(8)?,
            closes_waiting: self.uint(10)?,
            closes_repeated: self.uint(11)?,
            ends_told_before: self.uint(12)?,
            flows_evicted: self.uint(13)?,
            records_evicted: self.uint(14)?,
            segments_rewritten: self.uint(15)?,
        })
    }

    fn undelivered(&self) -> Result<Undelivered, WireError> {
        Ok(Undelivered {
            destination: self.value(1)?.text()?.to_owned(),
            source: self.text_if(2)?,
            epoch: self.uint(3)?,
            first_sequence: self.uint(4)?,
            last_sequence: self.uint(5)?,
            records: self.find(6).map(Value::uint).transpose()?,
            cause: UndeliveredCause::from_number(7, self.uint(7)?)?,
            reason: self.value(8)?.text()?.to_owned(),
        })
    }

    fn delivery(&self) -> Result<Delivery, WireError> {
        let left_out = Body::read(self.value(10)?.fields()?)?;
        Ok(Delivery {
            destination: self.value(1)?.text()?.to_owned(),
            guarantee: DeliveryGuarantee::from_number(2, self.uint(2)?)?,
            state: DeliveryState::from_number(3, self.uint(3)?)?,
            since: self.stamp(4)?.ok_or(WireError::Missing(4))?,
            records: self.uint(6)?,
            batches: self.uint(7)?,
            bytes: self.uint(8)?,
            retries: self.uint(9)?,
            left_out: DeliveryLeftOut {
                opens: left_out.uint(1)?,
                filtered: left_out.uint(2)?,
                dropped: left_out.uint(3)?,
                refused: left_out.uint(4)?,
                missing: left_out.uint(5)?,
            },
            lag_records: self.find(11).map(Value::uint).transpose()?,
            lag_ns: self.find(12).map(Value::uint).transpose()?,
            problem: self.text_if(13)?,
        })
    }

    fn rule_count(&self) -> Result<RuleCount, WireError> {
        Ok(RuleCount {
            rule: self.value(1)?.narrow()?,
            dropped: self.uint(2)?,
            changed: self.uint(3)?,
        })
    }

    fn lost(&self) -> Result<NoticeKind, WireError> {
        Ok(NoticeKind::Lost {
            stage: LossStage::from_number(1, self.uint(1)?)?,
            cause: LossCause::from_number(2, self.uint(2)?)?,
            what: LostKind::from_number(3, self.uint(3)?)?,
            count: self.find(4).map(Value::uint).transpose()?,
            since: self.stamp(5)?.ok_or(WireError::Missing(5))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_sample_survives() {
        for record in sample::records(1, 2_000) {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            assert_eq!(decode(&bytes), Ok(record));
        }
    }

    #[test]
    fn what_is_remembered_changes_nothing() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for record in sample::records(1, 2_000) {
            let (mut bytes, mut alone) = (Vec::new(), Vec::new());
            encoder.encode(&record, &mut bytes);
            encode(&record, &mut alone);
            assert_eq!(bytes, alone);
            assert_eq!(decoder.decode(&bytes), Ok(record));
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        for record in sample::records(2, 30) {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            for length in 0..bytes.len() {
                assert!(
                    decode(&bytes[..length]).is_err(),
                    "{length} bytes of {record:?}"
                );
            }
        }
    }

    #[test]
    fn no_flipped_bit_panics() {
        for record in sample::records(3, 20) {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            for index in 0..bytes.len() * 8 {
                bytes[index / 8] ^= 1 << (index % 8);
                let _ = decode(&bytes);
                bytes[index / 8] ^= 1 << (index % 8);
            }
        }
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let record = sample::records(4, 1).remove(0);
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        Writer::new(&mut bytes).text_if(99, Some("from the future"));
        assert_eq!(decode(&bytes), Ok(record));
    }

    #[test]
    fn device_survives() {
        let device = sample::device();
        let mut bytes = Vec::new();
        encode_device(&device, &mut bytes);
        assert_eq!(decode_device(&bytes), Ok(device));
    }
}
