//! Recorded streams of events: what the table was told and when, so that it can be told again.
//!
//! A file is the eight bytes `CTEVENTS`, then entries, each a varint length and that many bytes of
//! protocol-buffers fields ([`record::wire`]). The first entry is the header. Every other one is a
//! call of the table: the time of the call and the event, or no event for a timeout.
//! The same rules hold as for records: field and choice numbers are for ever, unknown fields are
//! skipped, absent is unknown.

use crate::event::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
use crate::table::{Config, FlowTable, Output};
use record::codec::{decode_device, decode_process, encode_device, encode_process};
use record::wire::{Fields, Value, WireError, Writer, push_varint, take_varint};
use record::{
    Attribution, BreakerCause, BreakerState, ByteQuality, Confidence, Device, Direction, Ending,
    Endpoint, Hostname, IdentitySource, LossCause, LossStage, LostKind, Mono, NameSource, Origin,
    Outcome, ProcessKey, Protocol, Record, SensorKind, Stamp, TcpCounts, Traffic, Wall,
};

/// What a replay needs to know before the first call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The table's bounds and intervals.
    pub config: Config,
    /// The table's epoch.
    pub epoch: u64,
    /// The table's start.
    pub start: Stamp,
    /// The machine that recorded.
    pub device: Device,
}

/// One call of the table.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every call handles an event"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`crate::FlowTable::handle`].
    Handle(Event, Mono),
    /// [`crate::FlowTable::handle_timeout`].
    Timeout(Mono),
}

/// Makes all calls of a stream again, tells what still waits, and hands on every record. `calls`
/// is what follows the header; where it stands after an error, the reading ended.
///
/// # Errors
/// When the stream is damaged, or with what `give` returns.
pub fn replay<E: From<StreamError>>(
    calls: &mut &[u8],
    table: &mut FlowTable,
    mut give: impl FnMut(&Record) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(call) = decode_call(calls)? {
        match call {
            Call::Handle(event, now) => table.handle(event, now),
            Call::Timeout(now) => table.handle_timeout(now),
        }
        drain(table, &mut give)?;
    }
    table.handle_stop();
    drain(table, &mut give)
}

fn drain<E>(
    table: &mut FlowTable,
    give: &mut impl FnMut(&Record) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(output) = table.poll_output() {
        match output {
            Output::Record(record) => give(&record)?,
            // The answers that were given are events of the stream.
            Output::Want(_) => {}
        }
    }
    Ok(())
}

/// Appends the front of a stream.
pub fn encode_header(header: &Header, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    encode_entry(out, |writer| {
        writer.uint(1, VERSION);
        writer.uint(2, header.epoch);
        writer.uint(3, header.start.mono.0);
        writer.sint(4, header.start.wall.0);
        let mut device = Vec::new();
        encode_device(&header.device, &mut device);
        writer.bytes(5, &device);
        writer.uint(6, header.config.flows_max as u64);
        writer.uint(7, header.config.processes_max as u64);
        writer.uint(8, header.config.update_interval_ns);
        writer.uint(9, header.config.ledger_interval_ns);
        writer.uint(10, header.config.open_delay_ns);
        writer.uint(11, header.config.identity_wait_ns);
        writer.uint(12, header.config.gone_grace_ns);
        writer.uint(13, header.config.age_max_ns);
        writer.uint(14, header.config.datagram_idle_ns);
        writer.uint(15, header.config.burst_max);
        writer.uint(16, header.config.burst_interval_ns);
    });
}

/// Appends one call of [`crate::FlowTable::handle`].
pub fn encode_event(event: &Event, now: Mono, out: &mut Vec<u8>) {
    encode_entry(out, |writer| {
        writer.uint(1, now.0);
        write_event(event, writer);
    });
}

/// Appends one call of [`crate::FlowTable::handle_timeout`].
pub fn encode_timeout(now: Mono, out: &mut Vec<u8>) {
    encode_entry(out, |writer| writer.uint(1, now.0));
}

/// Reads the front of a stream and leaves `input` at the first call.
///
/// # Errors
/// When the bytes are not a stream of events, or one of a newer version.
pub fn decode_header(input: &mut &[u8]) -> Result<Header, StreamError> {
    *input = input
        .strip_prefix(MAGIC.as_slice())
        .ok_or(StreamError::NotAStream)?;
    read_header(take_entry(input)?)
}

/// Takes the next call from the front of `input`; `None` at the end.
///
/// # Errors
/// When the stream is cut off or damaged.
pub fn decode_call(input: &mut &[u8]) -> Result<Option<Call>, StreamError> {
    if input.is_empty() {
        return Ok(None);
    }
    Ok(Some(read_call(take_entry(input)?)?))
}

/// A stream of events that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It does not begin as one.
    #[error("it does not begin with the bytes CTEVENTS, so it is not a recorded stream of events")]
    NotAStream,
    /// It comes from a newer version.
    #[error("it has format version {0}, and this program reads up to version {VERSION}")]
    TooNew(u64),
    /// It is cut off or damaged.
    #[error(transparent)]
    Damaged(#[from] WireError),
}

const MAGIC: &[u8; 8] = b"CTEVENTS";
const VERSION: u64 = 1;

const SENSOR_STARTED: u32 = 2;
const SENSOR_STOPPED: u32 = 3;
const CLOCK_READ: u32 = 4;
const SLEPT: u32 = 5;
const PROCESS_SEEN: u32 = 6;
const USER_NAMED: u32 = 7;
const OPENED: u32 = 8;
const ATTRIBUTED: u32 = 9;
const UPDATED: u32 = 10;
const CLOSED: u32 = 11;
const SWEPT: u32 = 12;
const LOST: u32 = 13;
const SENSOR_LIMITED: u32 = 14;
const BREAKER_CHANGED: u32 = 15;
const COVERAGE_READ: u32 = 16;
const UNWATCHED: u32 = 17;
const SLEEPING: u32 = 18;
const PROCESSES_GONE: u32 = 19;
const NAMED: u32 = 20;

fn encode_entry(out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
    let mut entry = Vec::with_capacity(128);
    write(&mut Writer::new(&mut entry));
    push_varint(out, entry.len() as u64);
    out.extend_from_slice(&entry);
}

fn take_entry<'a>(input: &mut &'a [u8]) -> Result<Fields<'a>, WireError> {
    let length = take_varint(input)?;
    let length = usize::try_from(length).map_err(|_| WireError::Overflow)?;
    let (entry, rest) = input.split_at_checked(length).ok_or(WireError::Truncated)?;
    *input = rest;
    Ok(Fields::new(entry))
}

fn read_header(fields: Fields<'_>) -> Result<Header, StreamError> {
    let fields = Found::read(fields)?;
    let version = fields.uint(1)?;
    if version > VERSION {
        return Err(StreamError::TooNew(version));
    }
    Ok(Header {
        epoch: fields.uint(2)?,
        start: Stamp {
            mono: fields.mono(3)?,
            wall: Wall(fields.value(4)?.sint()?),
        },
        device: decode_device(fields.value(5)?.bytes()?)?,
        config: Config {
            flows_max: fields.value(6)?.narrow()?,
            processes_max: fields.value(7)?.narrow()?,
            update_interval_ns: fields.uint(8)?,
            ledger_interval_ns: fields.uint(9)?,
            // Streams from before there was a delay have none.
            open_delay_ns: fields.narrow_if(10)?.unwrap_or(0),
            identity_wait_ns: fields.narrow_if(11)?.unwrap_or(0),
            gone_grace_ns: fields
                .narrow_if(12)?
                .unwrap_or(Config::default().gone_grace_ns),
            age_max_ns: fields.narrow_if(13)?.unwrap_or(0),
            datagram_idle_ns: fields.narrow_if(14)?.unwrap_or(0),
            burst_max: fields.narrow_if(15)?.unwrap_or(0),
            burst_interval_ns: fields
                .narrow_if(16)?
                .unwrap_or(Config::default().burst_interval_ns),
        },
    })
}

fn read_call(mut fields: Fields<'_>) -> Result<Call, WireError> {
    let now = match fields.next().ok_or(WireError::Missing(1))?? {
        (1, value) => Mono(value.uint()?),
        (_, _) => return Err(WireError::Missing(1)),
    };
    match fields.next() {
        None => Ok(Call::Timeout(now)),
        Some(field) => {
            let (kind, body) = field?;
            Ok(Call::Handle(
                read_event(kind, &Found::read(body.fields()?)?)?,
                now,
            ))
        }
    }
}

fn write_event(event: &Event, out: &mut Writer<'_>) {
    match event {
        Event::SensorStarted { sensor, limits } => out.message(SENSOR_STARTED, |body| {
            body.uint(1, sensor.number());
            write_texts(2, limits, body);
        }),
        Event::SensorStopped { sensor, reason } => out.message(SENSOR_STOPPED, |body| {
            body.uint(1, sensor.number());
            body.bytes(2, reason.as_bytes());
        }),
        Event::SensorLimited { sensor, limit } => out.message(SENSOR_LIMITED, |body| {
            body.uint(1, sensor.number());
            body.bytes(2, limit.as_bytes());
        }),
        Event::ClockRead { mono, wall } => out.message(CLOCK_READ, |body| {
            body.uint(1, mono.0);
            body.sint(2, wall.0);
        }),
        Event::Sleeping => out.message(SLEEPING, |_| {}),
        Event::Slept { duration_ns } => out.message(SLEPT, |body| body.uint(1, *duration_ns)),
        Event::ProcessSeen(introduction) => {
            out.message(PROCESS_SEEN, |body| write_introduction(introduction, body));
        }
        Event::ProcessesGone { keys } => out.message(PROCESSES_GONE, |body| {
            keys.iter()
                .for_each(|key| body.message(1, |body| write_process_key(*key, body)));
        }),
        Event::UserNamed { uid, name } => out.message(USER_NAMED, |body| {
            body.uint(1, (*uid).into());
            body.text_if(2, name.as_deref());
        }),
        Event::Opened(opened) => out.message(OPENED, |body| write_opened(opened, body)),
        Event::Attributed { key, owner } => out.message(ATTRIBUTED, |body| {
            write_key(*key, body);
            write_owner(Some(owner), body);
        }),
        Event::Named { key, hostname } => out.message(NAMED, |body| {
            write_key(*key, body);
            body.bytes(3, hostname.name.as_bytes());
            body.uint(4, hostname.source.number());
        }),
        Event::Updated { key, traffic, flow } => out.message(UPDATED, |body| {
            write_key(*key, body);
            write_traffic(traffic, body);
            if let Some(flow) = flow {
                body.message(FLOW, |body| write_opened(flow, body));
            }
        }),
        Event::Closed(closed) => out.message(CLOSED, |body| write_closed(closed, body)),
        Event::Unwatched { before } => out.message(UNWATCHED, |body| body.uint(1, before.0)),
        Event::Swept { before, alive } => out.message(SWEPT, |body| {
            body.uint(1, before.0);
            alive
                .iter()
                .for_each(|key| body.message(2, |body| write_key(*key, body)));
        }),
        Event::BreakerChanged { .. } | Event::CoverageRead { .. } | Event::Lost { .. } => {
            write_account(event, out);
        }
    }
}

/// Events that tell of the sensor's own work; of others nothing.
fn write_account(event: &Event, out: &mut Writer<'_>) {
    if let Event::BreakerChanged {
        state,
        cause,
        crashes,
    } = event
    {
        out.message(BREAKER_CHANGED, |body| {
            body.uint(1, state.number());
            body.uint(2, cause.number());
            body.uint(3, (*crashes).into());
        });
    }
    if let Event::CoverageRead {
        system,
        recorded,
        missed_estimate,
        unseen,
    } = event
    {
        out.message(COVERAGE_READ, |body| {
            match system {
                Ok(system) => body.message(1, |body| write_counts(*system, body)),
                Err(unavailable) => body.bytes(2, unavailable.as_bytes()),
            }
            body.message(3, |body| write_counts(*recorded, body));
            body.uint_if(4, *missed_estimate);
            write_texts(5, unseen, body);
        });
    }
    if let Event::Lost {
        stage,
        cause,
        what,
        count,
    } = event
    {
        out.message(LOST, |body| {
            body.uint(1, stage.number());
            body.uint(2, cause.number());
            body.uint(3, what.number());
            body.uint_if(4, *count);
        });
    }
}

fn write_texts(field: u32, texts: &[String], out: &mut Writer<'_>) {
    texts
        .iter()
        .for_each(|text| out.bytes(field, text.as_bytes()));
}

fn write_counts(counts: TcpCounts, out: &mut Writer<'_>) {
    out.uint(1, counts.outbound);
    out.uint(2, counts.inbound);
}

fn read_event(kind: u32, body: &Found<'_>) -> Result<Event, WireError> {
    Ok(match kind {
        SENSOR_STARTED => Event::SensorStarted {
            sensor: body.sensor()?,
            limits: body.texts(2)?,
        },
        SENSOR_STOPPED => Event::SensorStopped {
            sensor: body.sensor()?,
            reason: body.value(2)?.text()?.to_owned(),
        },
        CLOCK_READ => Event::ClockRead {
            mono: body.mono(1)?,
            wall: Wall(body.value(2)?.sint()?),
        },
        SLEPT => Event::Slept {
            duration_ns: body.uint(1)?,
        },
        PROCESS_SEEN => Event::ProcessSeen(body.introduction()?),
        USER_NAMED => Event::UserNamed {
            uid: body.value(1)?.narrow()?,
            name: body
                .find(2)
                .map(|value| value.text().map(Into::into))
                .transpose()?,
        },
        OPENED => Event::Opened(body.opened()?),
        ATTRIBUTED => Event::Attributed {
            key: body.key()?,
            owner: body.owner()?.ok_or(WireError::Missing(OWNER))?,
        },
        UPDATED => Event::Updated {
            key: body.key()?,
            traffic: body.traffic()?,
            flow: body.nested(FLOW)?.map(|flow| flow.opened()).transpose()?,
        },
        CLOSED => Event::Closed(body.closed()?),
        SWEPT => Event::Swept {
            before: body.mono(1)?,
            alive: body.keys(2)?,
        },
        LOST => body.lost()?,
        SENSOR_LIMITED => Event::SensorLimited {
            sensor: body.sensor()?,
            limit: body.value(2)?.text()?.to_owned(),
        },
        BREAKER_CHANGED => Event::BreakerChanged {
            state: BreakerState::from_number(1, body.uint(1)?)?,
            cause: BreakerCause::from_number(2, body.uint(2)?)?,
            crashes: body.value(3)?.narrow()?,
        },
        COVERAGE_READ => body.coverage()?,
        UNWATCHED => Event::Unwatched {
            before: body.mono(1)?,
        },
        SLEEPING => Event::Sleeping,
        PROCESSES_GONE => Event::ProcessesGone {
            keys: body.process_keys(1)?,
        },
        NAMED => Event::Named {
            key: body.key()?,
            hostname: Hostname {
                name: body.value(3)?.text()?.into(),
                source: NameSource::from_number(4, body.uint(4)?)?,
            },
        },
        other => return Err(WireError::UnknownChoice(0, other.into())),
    })
}

/// Field numbers that flows have in common, so that one writer and one reader serve them all.
const SOCKET: u32 = 1;
const PART: u32 = 2;
const AT: u32 = 3;
const OWNER: u32 = 4;
const OPENED_AT: u32 = 5;
const ESTABLISHED_AT: u32 = 6;
const ORIGIN: u32 = 7;
const PROTOCOL: u32 = 8;
const DIRECTION: u32 = 9;
const LOCAL_ADDRESS: u32 = 10;
const LOCAL_PORT: u32 = 11;
const REMOTE_ADDRESS: u32 = 12;
const REMOTE_PORT: u32 = 13;
const NETWORK_NAMESPACE: u32 = 14;
const BYTES_OUT: u32 = 15;
const BYTES_IN: u32 = 16;
const PACKETS_OUT: u32 = 17;
const PACKETS_IN: u32 = 18;
const QUALITY: u32 = 19;
const RTT: u32 = 20;
const RETRANSMITS: u32 = 21;
const CLOSER: u32 = 22;
const OUTCOME: u32 = 23;
const ERRNO: u32 = 24;
const FLOW: u32 = 25;

fn write_key(key: FlowKey, out: &mut Writer<'_>) {
    out.uint(SOCKET, key.socket);
    out.uint(PART, key.part);
}

fn write_process_key(key: ProcessKey, out: &mut Writer<'_>) {
    out.uint(1, key.pid.into());
    out.uint(2, key.start_ns);
    out.uint(3, key.exec_id.into());
}

fn write_owner(owner: Option<&Owner>, out: &mut Writer<'_>) {
    let Some(owner) = owner else { return };
    out.message(OWNER, |body| {
        write_process_key(owner.process, body);
        body.uint(4, owner.attribution.source.number());
        body.uint(5, owner.attribution.confidence.number());
        if let Some(responsible) = owner.responsible {
            body.message(6, |body| write_process_key(responsible, body));
        }
    });
}

fn write_introduction(introduction: &Introduction, out: &mut Writer<'_>) {
    let mut process = Vec::new();
    encode_process(&introduction.process, &mut process);
    out.bytes(1, &process);
    if let Some(parent) = introduction.parent {
        out.message(2, |body| write_process_key(parent, body));
    }
}

fn write_opened(opened: &Opened, out: &mut Writer<'_>) {
    write_key(opened.key, out);
    out.uint(AT, opened.at.0);
    write_owner(opened.owner.as_ref(), out);
    out.uint_if(OPENED_AT, opened.opened.map(|moment| moment.0));
    out.uint_if(ESTABLISHED_AT, opened.established.map(|moment| moment.0));
    out.uint(ORIGIN, opened.origin.number());
    write_tuple(&opened.tuple, out);
}

fn write_closed(closed: &Closed, out: &mut Writer<'_>) {
    let front = Opened {
        key: closed.key,
        at: closed.at,
        tuple: closed.tuple,
        owner: closed.owner,
        opened: closed.opened,
        established: closed.established,
        origin: closed.origin,
    };
    write_opened(&front, out);
    write_traffic(&closed.traffic, out);
    out.uint_if(RTT, closed.rtt_us);
    out.uint_if(RETRANSMITS, closed.retransmits);
    out.uint_if(CLOSER, closed.closer_pid);
    out.uint(OUTCOME, closed.ending.outcome.number());
    if let Some(errno) = closed.ending.errno {
        out.sint(ERRNO, errno.into());
    }
}

fn write_tuple(tuple: &Tuple, out: &mut Writer<'_>) {
    out.uint(PROTOCOL, tuple.protocol.number().into());
    out.uint(DIRECTION, tuple.direction.number());
    out.address_if(LOCAL_ADDRESS, tuple.local.address);
    out.uint_if(LOCAL_PORT, tuple.local.port);
    out.address_if(REMOTE_ADDRESS, tuple.remote.address);
    out.uint_if(REMOTE_PORT, tuple.remote.port);
    out.uint_if(NETWORK_NAMESPACE, tuple.network_namespace);
}

fn write_traffic(traffic: &Traffic, out: &mut Writer<'_>) {
    out.uint_if(BYTES_OUT, traffic.bytes_out);
    out.uint_if(BYTES_IN, traffic.bytes_in);
    out.uint_if(PACKETS_OUT, traffic.packets_out);
    out.uint_if(PACKETS_IN, traffic.packets_in);
    out.uint(QUALITY, traffic.quality.number());
}

/// The fields of one message, few enough to be searched one by one.
struct Found<'a>(Vec<(u32, Value<'a>)>);

impl<'a> Found<'a> {
    fn read(fields: Fields<'a>) -> Result<Found<'a>, WireError> {
        fields.collect::<Result<_, _>>().map(Found)
    }

    fn nested(&self, field: u32) -> Result<Option<Found<'a>>, WireError> {
        self.find(field)
            .map(|value| Found::read(value.fields()?))
            .transpose()
    }

    fn find(&self, field: u32) -> Option<Value<'a>> {
        self.0
            .iter()
            .find(|(number, _)| *number == field)
            .map(|(_, value)| *value)
    }

    fn all(&self, field: u32) -> impl Iterator<Item = Value<'a>> {
        self.0
            .iter()
            .filter(move |(number, _)| *number == field)
            .map(|(_, value)| *value)
    }

    fn value(&self, field: u32) -> Result<Value<'a>, WireError> {
        self.find(field).ok_or(WireError::Missing(field))
    }

    fn uint(&self, field: u32) -> Result<u64, WireError> {
        self.value(field)?.uint()
    }

    fn narrow_if<T: TryFrom<u64>>(&self, field: u32) -> Result<Option<T>, WireError> {
        self.find(field).map(Value::narrow).transpose()
    }

    fn mono(&self, field: u32) -> Result<Mono, WireError> {
        self.uint(field).map(Mono)
    }

    fn mono_if(&self, field: u32) -> Result<Option<Mono>, WireError> {
        Ok(self.narrow_if(field)?.map(Mono))
    }

    fn texts(&self, field: u32) -> Result<Vec<String>, WireError> {
        self.all(field)
            .map(|value| value.text().map(str::to_owned))
            .collect()
    }

    fn sensor(&self) -> Result<SensorKind, WireError> {
        SensorKind::from_number(1, self.uint(1)?)
    }

    fn key(&self) -> Result<FlowKey, WireError> {
        Ok(FlowKey {
            socket: self.uint(SOCKET)?,
            part: self.uint(PART)?,
        })
    }

    fn keys(&self, field: u32) -> Result<Vec<FlowKey>, WireError> {
        self.all(field)
            .map(|value| Found::read(value.fields()?)?.key())
            .collect()
    }

    fn process_keys(&self, field: u32) -> Result<Vec<ProcessKey>, WireError> {
        self.all(field)
            .map(|value| Found::read(value.fields()?)?.process_key())
            .collect()
    }

    fn counts(&self) -> Result<TcpCounts, WireError> {
        Ok(TcpCounts {
            outbound: self.uint(1)?,
            inbound: self.uint(2)?,
        })
    }

    fn lost(&self) -> Result<Event, WireError> {
        Ok(Event::Lost {
            stage: LossStage::from_number(1, self.uint(1)?)?,
            cause: LossCause::from_number(2, self.uint(2)?)?,
            what: LostKind::from_number(3, self.uint(3)?)?,
            count: self.narrow_if(4)?,
        })
    }

    fn coverage(&self) -> Result<Event, WireError> {
        let recorded = self.nested(3)?.ok_or(WireError::Missing(3))?;
        Ok(Event::CoverageRead {
            system: match self.nested(1)? {
                Some(counts) => Ok(counts.counts()?),
                None => Err(self.value(2)?.text()?.to_owned()),
            },
            recorded: recorded.counts()?,
            missed_estimate: self.narrow_if(4)?,
            unseen: self.texts(5)?,
        })
    }

    fn process_key(&self) -> Result<ProcessKey, WireError> {
        Ok(ProcessKey {
            pid: self.value(1)?.narrow()?,
            start_ns: self.uint(2)?,
            exec_id: self.value(3)?.narrow()?,
        })
    }

    fn owner(&self) -> Result<Option<Owner>, WireError> {
        let Some(owner) = self.nested(OWNER)? else {
            return Ok(None);
        };
        Ok(Some(Owner {
            process: owner.process_key()?,
            attribution: Attribution {
                source: IdentitySource::from_number(4, owner.uint(4)?)?,
                confidence: Confidence::from_number(5, owner.uint(5)?)?,
            },
            responsible: owner
                .nested(6)?
                .map(|responsible| responsible.process_key())
                .transpose()?,
        }))
    }

    fn introduction(&self) -> Result<Introduction, WireError> {
        let parent = self.nested(2)?;
        Ok(Introduction {
            process: decode_process(self.value(1)?.bytes()?)?,
            parent: parent.map(|parent| parent.process_key()).transpose()?,
        })
    }

    fn origin(&self) -> Result<Origin, WireError> {
        Origin::from_number(ORIGIN, self.uint(ORIGIN)?)
    }

    fn endpoint(&self, address: u32, port: u32) -> Result<Endpoint, WireError> {
        let address = self.find(address).map(Value::address).transpose()?;
        Ok(Endpoint {
            address,
            port: self.narrow_if(port)?,
        })
    }

    fn tuple(&self) -> Result<Tuple, WireError> {
        Ok(Tuple {
            protocol: Protocol::from_number(self.value(PROTOCOL)?.narrow()?),
            direction: Direction::from_number(DIRECTION, self.uint(DIRECTION)?)?,
            local: self.endpoint(LOCAL_ADDRESS, LOCAL_PORT)?,
            remote: self.endpoint(REMOTE_ADDRESS, REMOTE_PORT)?,
            network_namespace: self.narrow_if(NETWORK_NAMESPACE)?,
        })
    }

    fn traffic(&self) -> Result<Traffic, WireError> {
        Ok(Traffic {
            bytes_out: self.narrow_if(BYTES_OUT)?,
            bytes_in: self.narrow_if(BYTES_IN)?,
            packets_out: self.narrow_if(PACKETS_OUT)?,
            packets_in: self.narrow_if(PACKETS_IN)?,
            quality: ByteQuality::from_number(QUALITY, self.uint(QUALITY)?)?,
        })
    }

    fn opened(&self) -> Result<Opened, WireError> {
        Ok(Opened {
            key: self.key()?,
            at: self.mono(AT)?,
            tuple: self.tuple()?,
            owner: self.owner()?,
            opened: self.mono_if(OPENED_AT)?,
            established: self.mono_if(ESTABLISHED_AT)?,
            origin: self.origin()?,
        })
    }

    fn ending(&self) -> Result<Ending, WireError> {
        let errno = self.find(ERRNO).map(Value::sint).transpose()?;
        let errno = errno
            .map(i32::try_from)
            .transpose()
            .map_err(|_| WireError::Overflow)?;
        Ok(Ending {
            outcome: Outcome::from_number(OUTCOME, self.uint(OUTCOME)?)?,
            errno,
        })
    }

    fn closed(&self) -> Result<Closed, WireError> {
        let front = self.opened()?;
        Ok(Closed {
            key: front.key,
            at: front.at,
            tuple: front.tuple,
            owner: front.owner,
            opened: front.opened,
            established: front.established,
            traffic: self.traffic()?,
            rtt_us: self.narrow_if(RTT)?,
            retransmits: self.narrow_if(RETRANSMITS)?,
            closer_pid: self.narrow_if(CLOSER)?,
            ending: self.ending()?,
            origin: front.origin,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Process;

    const KEY: FlowKey = FlowKey {
        socket: 1 << 40,
        part: 3,
    };
    const PROCESS: ProcessKey = ProcessKey {
        pid: 77,
        start_ns: 1 << 50,
        exec_id: 2,
    };

    fn header() -> Header {
        Header {
            config: Config {
                flows_max: 5,
                identity_wait_ns: 6,
                gone_grace_ns: 7,
                age_max_ns: 8,
                datagram_idle_ns: 9,
                ..Config::default()
            },
            epoch: 12,
            start: Stamp {
                wall: Wall(-4),
                mono: Mono(1 << 45),
            },
            device: record::sample::device(),
        }
    }

    fn owner() -> Owner {
        let attribution = Attribution::from_source(IdentitySource::FirstIo);
        Owner {
            process: PROCESS,
            attribution,
            responsible: Some(ProcessKey { pid: 1, ..PROCESS }),
        }
    }

    fn tuple() -> Tuple {
        Tuple {
            protocol: Protocol::Udp,
            direction: Direction::Inbound,
            local: Endpoint {
                address: Some([192, 0, 2, 1].into()),
                port: Some(53),
            },
            remote: Endpoint {
                address: "2001:db8::1".parse().ok(),
                port: None,
            },
            network_namespace: Some(9),
        }
    }

    fn closed() -> Closed {
        Closed {
            key: KEY,
            at: Mono(9),
            tuple: tuple(),
            owner: None,
            opened: Some(Mono(0)),
            established: None,
            traffic: Traffic {
                packets_in: Some(0),
                ..Traffic::default()
            },
            rtt_us: Some(1),
            retransmits: None,
            closer_pid: Some(4),
            ending: Ending {
                outcome: Outcome::Refused,
                errno: Some(-111),
            },
            origin: Origin::Snapshot,
        }
    }

    fn opened() -> Opened {
        Opened {
            key: KEY,
            at: Mono(9),
            tuple: tuple(),
            owner: Some(owner()),
            opened: None,
            established: Some(Mono(3)),
            origin: Origin::Live,
        }
    }

    /// One event of every kind.
    fn events() -> Vec<Event> {
        let mut process = Process::bare(PROCESS);
        process.path = Some("/usr/bin/curl".into());
        let sensor = SensorKind::LinuxEbpf;
        vec![
            Event::SensorStarted {
                sensor,
                limits: vec!["one".into(), String::new()],
            },
            Event::SensorStopped {
                sensor,
                reason: "é".into(),
            },
            Event::ClockRead {
                mono: Mono(1),
                wall: Wall(-1),
            },
            Event::Slept {
                duration_ns: u64::MAX,
            },
            Event::ProcessSeen(Introduction {
                process,
                parent: Some(PROCESS),
            }),
            Event::UserNamed {
                uid: u32::MAX,
                name: None,
            },
            Event::UserNamed {
                uid: 0,
                name: Some("root".into()),
            },
            Event::Opened(opened()),
            Event::Attributed {
                key: KEY,
                owner: owner(),
            },
            Event::Updated {
                key: KEY,
                traffic: closed().traffic,
                flow: None,
            },
            Event::Closed(closed()),
            Event::Swept {
                before: Mono(8),
                alive: vec![KEY, FlowKey { socket: 0, part: 0 }],
            },
            Event::Lost {
                stage: LossStage::Kernel,
                cause: LossCause::RingFull,
                what: LostKind::Opens,
                count: None,
            },
        ]
    }

    /// One event of every kind that came after the first version.
    fn later_events() -> Vec<Event> {
        let counts = |outbound| TcpCounts {
            outbound,
            inbound: u64::MAX,
        };
        vec![
            Event::SensorLimited {
                sensor: SensorKind::MacosFilter,
                limit: "é".into(),
            },
            Event::BreakerChanged {
                state: BreakerState::Tripped,
                cause: BreakerCause::Crashes,
                crashes: u32::MAX,
            },
            Event::CoverageRead {
                system: Ok(counts(0)),
                recorded: counts(1),
                missed_estimate: Some(0),
                unseen: vec!["one".into(), String::new()],
            },
            Event::CoverageRead {
                system: Err(String::new()),
                recorded: counts(2),
                missed_estimate: None,
                unseen: Vec::new(),
            },
            Event::Unwatched { before: Mono(7) },
            Event::Sleeping,
            Event::ProcessesGone { keys: Vec::new() },
            Event::ProcessesGone {
                keys: vec![PROCESS, ProcessKey { pid: 78, ..PROCESS }],
            },
            Event::Named {
                key: KEY,
                hostname: Hostname {
                    name: "www.example.com".into(),
                    source: NameSource::SystemLibrary,
                },
            },
            Event::Updated {
                key: KEY,
                traffic: closed().traffic,
                flow: Some(opened()),
            },
            Event::Attributed {
                key: KEY,
                owner: Owner {
                    responsible: None,
                    ..owner()
                },
            },
        ]
    }

    fn encoded() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_header(&header(), &mut bytes);
        let all = events().into_iter().chain(later_events());
        all.for_each(|event| encode_event(&event, Mono(77), &mut bytes));
        encode_timeout(Mono(78), &mut bytes);
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Result<(Header, Vec<Call>), StreamError> {
        let header = decode_header(&mut bytes)?;
        let mut calls = Vec::new();
        while let Some(call) = decode_call(&mut bytes)? {
            calls.push(call);
        }
        Ok((header, calls))
    }

    #[test]
    fn every_kind_of_event_survives() {
        let (decoded, mut calls) = decode(&encoded()).unwrap();
        assert_eq!(decoded, header());
        assert_eq!(calls.pop(), Some(Call::Timeout(Mono(78))));
        let expected: Vec<_> = events()
            .into_iter()
            .chain(later_events())
            .map(|event| Call::Handle(event, Mono(77)))
            .collect();
        assert_eq!(calls, expected);
    }

    #[test]
    fn a_cut_stream_is_an_error_or_ends_between_two_calls() {
        let bytes = encoded();
        let whole = decode(&bytes).unwrap().1;
        for length in 0..bytes.len() {
            if let Ok((_, calls)) = decode(&bytes[..length]) {
                assert_eq!(calls, whole[..calls.len()]);
            }
        }
        assert_eq!(decode(b"CTEVENT"), Err(StreamError::NotAStream));
    }

    #[test]
    fn no_flipped_bit_panics() {
        let mut bytes = encoded();
        for index in 0..bytes.len() * 8 {
            bytes[index / 8] ^= 1 << (index % 8);
            let _ = decode(&bytes);
            bytes[index / 8] ^= 1 << (index % 8);
        }
    }

    #[test]
    fn a_stream_from_before_a_setting_behaves_as_it_did() {
        let mut bytes = MAGIC.to_vec();
        encode_entry(&mut bytes, |writer| {
            for (field, value) in [(1, 1), (2, 3), (3, 5), (4, 0)] {
                writer.uint(field, value);
            }
            let mut device = Vec::new();
            encode_device(&Device::default(), &mut device);
            writer.bytes(5, &device);
            (6..=9).for_each(|field| writer.uint(field, 10));
        });
        let (header, _) = decode(&bytes).unwrap();
        let Config {
            open_delay_ns,
            identity_wait_ns,
            age_max_ns,
            datagram_idle_ns,
            ..
        } = header.config;
        let off = [
            open_delay_ns,
            identity_wait_ns,
            age_max_ns,
            datagram_idle_ns,
        ];
        assert_eq!(off, [0; 4]);
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = MAGIC.to_vec();
        encode_entry(&mut bytes, |writer| writer.uint(1, 99));
        assert_eq!(decode(&bytes), Err(StreamError::TooNew(99)));
    }
}
