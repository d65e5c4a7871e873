//! What a sensor can honestly say.
//!
//! Events are plain data with monotonic times; what a platform does not tell is `None`.
//! A [`Closed`] event tells the whole story of its connection, so that losing an [`Opened`] loses
//! nothing.

use record::{
    Attribution, BreakerCause, BreakerState, Direction, Ending, Endpoint, Hostname, LossCause,
    LossStage, LostKind, Mono, Origin, Process, ProcessKey, Protocol, SensorKind, TcpCounts,
    Traffic, Wall,
};
use std::sync::Arc;

/// One thing a sensor saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A sensor began to watch.
    SensorStarted {
        /// Which.
        sensor: SensorKind,
        /// What it cannot see here, one sentence each.
        limits: Vec<String>,
    },
    /// A sensor stopped watching.
    SensorStopped {
        /// Which.
        sensor: SensorKind,
        /// Why, in a sentence.
        reason: String,
    },
    /// What the wall clock shows at a monotonic moment. The first one anchors the table; later
    /// ones reveal steps.
    ClockRead {
        /// The monotonic clock.
        mono: Mono,
        /// The wall clock, read at the same moment.
        wall: Wall,
    },
    /// What a sensor cannot see changed while it watches.
    SensorLimited {
        /// Which.
        sensor: SensorKind,
        /// What is so now, in a sentence.
        limit: String,
    },
    /// The sensor stepped out of the path of connections, or back into it.
    BreakerChanged {
        /// How it is now.
        state: BreakerState,
        /// Why.
        cause: BreakerCause,
        /// Crashes that were counted.
        crashes: u32,
    },
    /// What the system's own counters and the sensor counted since the last such event.
    CoverageRead {
        /// What the system counted, or why its meter is not available.
        system: Result<TcpCounts, String>,
        /// What the sensor told of.
        recorded: TcpCounts,
        /// How many were missed, beyond what usually differs.
        missed_estimate: Option<u64>,
        /// What the sensor by design does not see, one sentence each.
        unseen: Vec<String>,
    },
    /// The sensor stopped watching for a while: flows opened before `before` are not followed any
    /// more.
    Unwatched {
        /// Flows opened later are not touched.
        before: Mono,
    },
    /// The machine goes to sleep.
    Sleeping,
    /// The machine slept.
    Slept {
        /// For how long, in nanoseconds.
        duration_ns: u64,
    },
    /// A process used the network for the first time, or an ancestor of one is introduced.
    ///
    /// Where a sensor looks processes up, this comes after the flows that name them: within
    /// [`crate::Config::identity_wait_ns`] it still reaches their records.
    ProcessSeen(Introduction),
    /// These processes do not exist any more. Their flows end soon, or their end was missed.
    ProcessesGone {
        /// Which; sorted.
        keys: Vec<ProcessKey>,
    },
    /// A user id has a name. Answers [`crate::Want::UserName`]; unasked answers are kept too.
    UserNamed {
        /// The id.
        uid: u32,
        /// The name; `None` when there is no such account.
        name: Option<Arc<str>>,
    },
    /// A connection is established, or a datagram flow had its first packet.
    Opened(Opened),
    /// It is known better than before who owns a connection.
    Attributed {
        /// Which flow.
        key: FlowKey,
        /// Who.
        owner: Owner,
    },
    /// The name that was asked for.
    Named {
        /// Which flow.
        key: FlowKey,
        /// The name.
        hostname: Hostname,
    },
    /// A connection lives and has carried this much so far (a total, not a difference).
    Updated {
        /// Which flow.
        key: FlowKey,
        /// Totals since its beginning. Totals that are lower than what was told before are late.
        traffic: Traffic,
        /// The flow as the sensor sees it now, where it does: it fills in what was unknown when the
        /// flow began, and opens a flow that the table does not know, or not any more.
        flow: Option<Opened>,
    },
    /// A connection or an attempt is over.
    Closed(Closed),
    /// Of the flows opened before `before`, only these still exist. Ends a sweep that the sensor
    /// made because it knows that closes were lost.
    Swept {
        /// Flows opened later are not judged.
        before: Mono,
        /// What still exists; sorted.
        alive: Vec<FlowKey>,
    },
    /// Something was lost between the kernel and the table.
    Lost {
        /// Where. Any place behind the sensor's queue is taken for that: what was lost there the
        /// recorder counts itself, and nobody else may say so.
        stage: LossStage,
        /// Why.
        cause: LossCause,
        /// What.
        what: LostKind,
        /// How many since the last event of this stage, cause and kind.
        count: Option<u64>,
    },
}

/// Names one flow for the sensor that sees it; unique among those that live at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The socket (on Linux its cookie).
    pub socket: u64,
    /// Tells flows of one socket apart: zero for the only one, else the sensor's own number.
    pub part: u64,
}

/// What the kernel told of a process.
///
/// The table fills in the user's name and the ancestors from other introductions, so ancestors are
/// introduced first. A later introduction of the same process takes the place of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The facts; `ancestors` is empty and `user.name` is `None`.
    pub process: Process,
    /// Its parent, where known.
    pub parent: Option<ProcessKey>,
}

/// Who owns a flow, and how we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The process.
    pub process: ProcessKey,
    /// How we know.
    pub attribution: Attribution,
    /// On whose behalf; the process itself means nobody else.
    pub responsible: Option<ProcessKey>,
}

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Which side began.
    pub direction: Direction,
    /// This machine's side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// Inode of the network namespace.
    pub network_namespace: Option<u32>,
}

/// A flow began, or was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which flow.
    pub key: FlowKey,
    /// When this was seen.
    pub at: Mono,
    /// Where it goes.
    pub tuple: Tuple,
    /// Who owns it, where known.
    pub owner: Option<Owner>,
    /// When the attempt began.
    pub opened: Option<Mono>,
    /// When the handshake was done.
    pub established: Option<Mono>,
    /// How the sensor came to know of it.
    pub origin: Origin,
}

/// The whole story of a flow that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which flow.
    pub key: FlowKey,
    /// When it was over.
    pub at: Mono,
    /// Where it went.
    pub tuple: Tuple,
    /// Who owned it, where known.
    pub owner: Option<Owner>,
    /// When the attempt began.
    pub opened: Option<Mono>,
    /// When the handshake was done; `None` for an attempt that failed.
    pub established: Option<Mono>,
    /// How much passed.
    pub traffic: Traffic,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: Option<u32>,
    /// Segments sent again.
    pub retransmits: Option<u32>,
    /// Who closed the socket last.
    pub closer_pid: Option<u32>,
    /// How it ended.
    pub ending: Ending,
    /// How the sensor came to know of it.
    pub origin: Origin,
}
