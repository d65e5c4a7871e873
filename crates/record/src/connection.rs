//! Where, when, how much, how it ended, and how we know.

use crate::{Mono, Process, Stamp, Treated};
use std::net::IpAddr;
use std::sync::Arc;

/// Names one connection, from open to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The epoch in which the recorder first saw it.
    pub epoch: u64,
    /// Counts the connections of that epoch, from 1.
    pub ordinal: u64,
}

/// One moment in the life of one connection.
///
/// The close alone tells the whole story: whoever reads only closes misses nothing but the
/// connections that are still open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Which connection.
    pub id: ConnectionId,
    /// Which moment of its life.
    pub phase: Phase,
    /// When that moment was.
    pub at: Stamp,
    /// Who made it, or accepted it.
    pub process: Option<Arc<Process>>,
    /// How we know who.
    pub attribution: Attribution,
    /// On whose behalf, where that is another process than `process`: the app that a system
    /// service connects for.
    pub responsible: Option<Arc<Process>>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Which side began.
    pub direction: Direction,
    /// This machine's side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// The name that was asked for, where somebody told.
    pub hostname: Option<Hostname>,
    /// Inode of the network namespace, which tells containers apart.
    pub network_namespace: Option<u32>,
    /// When the attempt began, or the first packet came.
    pub opened: Option<Mono>,
    /// When the handshake was done.
    pub established: Option<Mono>,
    /// How much.
    pub traffic: Traffic,
    /// Smoothed round-trip time at the close, in microseconds.
    pub rtt_us: Option<u32>,
    /// Segments sent again.
    pub retransmits: Option<u32>,
    /// Process that closed the socket last, where it is not `process`.
    pub closer_pid: Option<u32>,
    /// How the recorder came to know of the connection.
    pub origin: Origin,
    /// What the privacy policy did to this record, by field; `None` where it did nothing. So what
    /// it left out is told apart from what is unknown.
    pub treated: Option<Arc<[Treated]>>,
    /// What this record sums where it is not about one connection but about many; `None` for one.
    pub aggregate: Option<Box<Aggregate>>,
}

impl Connection {
    /// How many connections it tells the end of: see [`crate::Record::closes`].
    pub fn closes(&self) -> u64 {
        match self.phase {
            Phase::Close(_) => self.connections(),
            Phase::Open | Phase::Update => 0,
        }
    }

    /// How many connections this record tells of: one, unless it is an aggregate.
    pub fn connections(&self) -> u64 {
        self.aggregate.as_ref().map_or(1, |it| it.connections)
    }
}

/// That a record is the sum of many connections which have no record of their own, and why.
///
/// It is a close like any other, with an id of its own. All that it sums went the same way and
/// ended the same way, in the same interval. Traffic and segments sent again are sums; the record
/// begins with the first of the connections and ends with the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// How many connections.
    pub connections: u64,
    /// Why they have no record of their own.
    pub cause: AggregateCause,
    /// What they have in common.
    pub scope: AggregateScope,
    /// So many flows of one process in one interval have records of their own.
    pub limit: u64,
    /// The interval, in nanoseconds.
    pub interval_ns: u64,
}

/// Why connections were summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AggregateCause {
    /// Their process made more of them in an interval than the limit.
    Burst,
}

/// What the connections of an aggregate have in common, beside process, protocol, direction and
/// ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AggregateScope {
    /// The other side's address and the port of the side that was called.
    Destination,
    /// Nothing more: there were too many destinations to sum each.
    Process,
}

/// Which moment of a connection's life a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is established; for datagrams, the first packet passed.
    Open,
    /// It lives on.
    Update,
    /// It is over.
    Close(Ending),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// In our words.
    pub outcome: Outcome,
    /// In the system's: the `errno` of the socket.
    pub errno: Option<i32>,
}

/// How a connection ended, in words that mean the same on every platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Both sides finished, or the socket was closed without an error.
    Closed,
    /// One side tore it down.
    Reset,
    /// The other side said no.
    Refused,
    /// Nobody answered, or the answers stopped.
    TimedOut,
    /// There was no way there.
    Unreachable,
    /// The process gave up before it was established.
    Aborted,
    /// It failed in another way; `errno` says which.
    Failed,
    /// It is gone, but its end was not seen.
    Reaped,
    /// The flow table was full and let go of it while it lived.
    Evicted,
    /// No packet passed for the idle time of datagram flows.
    Idle,
    /// The platform cannot tell.
    Unknown,
    /// Its process is gone, and its end was not reported.
    ProcessGone,
    /// Nothing was heard of it for the longest time that a flow is remembered.
    AgedOut,
    /// The system gave its identifier to another flow.
    Superseded,
    /// It lived when the sensor stopped watching.
    Unwatched,
}

/// One side of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address; an IPv4 address in IPv6 clothes is written as IPv4.
    pub address: Option<IpAddr>,
    /// Port.
    pub port: Option<u16>,
}

/// How much passed, and how well we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Application bytes sent.
    pub bytes_out: Option<u64>,
    /// Application bytes received.
    pub bytes_in: Option<u64>,
    /// Packets or segments with data sent.
    pub packets_out: Option<u64>,
    /// Packets or segments with data received.
    pub packets_in: Option<u64>,
    /// How well we know.
    pub quality: ByteQuality,
}

/// How well byte counts are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ByteQuality {
    /// Not told.
    #[default]
    Unknown,
    /// Counted by the kernel from the first byte to the last.
    Exact,
    /// Counted by the kernel up to this record; more may follow.
    SoFar,
    /// A lower bound: counting began late or stopped early.
    AtLeast,
    /// The system said zero both ways, which it also says of flows that it does not count.
    ZeroUnverified,
}

/// A name for the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname {
    /// As it was told, without a path or a port.
    pub name: Arc<str>,
    /// Who told.
    pub source: NameSource,
}

/// Who told the name of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameSource {
    /// The system's own networking library: the app asked it to connect to this name.
    SystemLibrary,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Transmission Control Protocol, 6.
    Tcp,
    /// User Datagram Protocol, 17.
    Udp,
    /// Another, by its number in the registry of IP protocols.
    Other(u8),
}

impl Protocol {
    /// The number in the registry of IP protocols.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Other(number) => number,
        }
    }

    /// The protocol of a number.
    pub fn from_number(number: u8) -> Protocol {
        match number {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            other => Protocol::Other(other),
        }
    }
}

/// Which side began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// This machine began.
    Outbound,
    /// The other side began.
    Inbound,
    /// Not known, as for a socket that was there before the recorder.
    Unknown,
}

/// How we know who.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attribution {
    /// What told us.
    pub source: IdentitySource,
    /// How far that can be trusted.
    pub confidence: Confidence,
}

impl Attribution {
    /// What `source` says is worth what [`IdentitySource::confidence`] says.
    pub fn from_source(source: IdentitySource) -> Attribution {
        Attribution {
            source,
            confidence: source.confidence(),
        }
    }
}

/// What told us which process it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentitySource {
    /// Nothing did.
    None,
    /// The process was in the kernel, connecting.
    Connect,
    /// The process was in the kernel, taking the connection from the listener.
    Accept,
    /// The process was in the kernel, sending or receiving on it for the first time.
    FirstIo,
    /// The process was in the kernel, binding the socket.
    Bind,
    /// The process was in the kernel, closing it.
    Release,
    /// The process that made the listening socket; another may have accepted.
    Listener,
    /// A process that held the socket when the recorder looked.
    Snapshot,
    /// A process that held the socket when the socket tables were polled.
    SocketTable,
    /// The process that last used the socket when the flow began, by its audit token.
    AuditToken,
    /// The process that last used the listening socket when the flow began, by its audit token;
    /// another may have accepted.
    ListenerToken,
}

impl IdentitySource {
    /// What this source can be trusted for.
    pub fn confidence(self) -> Confidence {
        match self {
            IdentitySource::Connect | IdentitySource::Accept | IdentitySource::FirstIo => {
                Confidence::Certain
            }
            IdentitySource::Bind
            | IdentitySource::Release
            | IdentitySource::Listener
            | IdentitySource::AuditToken => Confidence::Likely,
            IdentitySource::Snapshot
            | IdentitySource::SocketTable
            | IdentitySource::ListenerToken => Confidence::Guess,
            IdentitySource::None => Confidence::Unknown,
        }
    }
}

/// How far an attribution can be trusted. The meanings are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// No process is named.
    Unknown,
    /// The process held the socket at one moment; another may have used it.
    Guess,
    /// The kernel named the process at a call that usually, not always, is the user's.
    Likely,
    /// The kernel named the process while it made the call.
    Certain,
}

/// How the recorder came to know of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// It was watched from its beginning.
    Live,
    /// It was there before the recorder.
    Snapshot,
    /// It was found by polling: shorter ones were missed.
    Sampled,
    /// Its beginning was missed; its end told of it.
    Inferred,
}
