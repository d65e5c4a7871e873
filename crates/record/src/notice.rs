//! What the recorder says about itself: nothing is lost without a notice.

use crate::Stamp;

/// Something about the recording itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When it happened, or was noticed.
    pub at: Stamp,
    /// What happened.
    pub kind: NoticeKind,
}

/// What happened to the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The recorder opened this epoch. Always the first record of an epoch.
    RecorderStarted {
        /// The epoch before this one, if there was one.
        previous: Option<PreviousEpoch>,
    },
    /// The recorder closed this epoch in order.
    RecorderStopped {
        /// Why.
        reason: StopReason,
        /// What the epoch came to.
        tally: Tally,
    },
    /// A sensor began to watch.
    SensorStarted {
        /// Which.
        sensor: SensorKind,
        /// What it cannot see here, or why it is not the better one; one sentence each.
        limits: Vec<String>,
    },
    /// A sensor stopped watching.
    SensorStopped {
        /// Which.
        sensor: SensorKind,
        /// Why, in a sentence.
        reason: String,
    },
    /// Something was lost, and this is how much.
    Lost {
        /// Where on the way.
        stage: LossStage,
        /// Why there.
        cause: LossCause,
        /// What.
        what: LostKind,
        /// How many; `None` where the number cannot be known.
        count: Option<u64>,
        /// The loss happened after this moment and not after the notice's own.
        since: Stamp,
    },
    /// The machine slept; nothing could be seen in between.
    Slept {
        /// For how long, in nanoseconds.
        duration_ns: u64,
    },
    /// The wall clock was set.
    ClockStepped {
        /// By how much, in nanoseconds; negative is back.
        by_ns: i64,
    },
    /// The oldest records were deleted to keep within the quota.
    TrailEvicted {
        /// Epoch of the deleted records.
        epoch: u64,
        /// First deleted sequence.
        first_sequence: u64,
        /// Last deleted sequence.
        last_sequence: u64,
    },
    /// The books: what was made must equal what was recorded and what was declared lost.
    Ledger(Tally),
}

/// What is known of the epoch before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousEpoch {
    /// Its number.
    pub epoch: u64,
    /// The last sequence that is on disk; zero when there is none.
    pub last_sequence: u64,
    /// When that record was made. What happened between then and now is unknown.
    pub last_at: Option<Stamp>,
    /// It ended in order: nothing was under way when it did.
    pub stopped_in_order: bool,
}

/// Why the recorder stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// It was asked to.
    Requested,
    /// The time it was given ran out.
    Elapsed,
    /// The sensor ended.
    SensorEnded,
}

/// What watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensorKind {
    /// Kernel events through eBPF.
    LinuxEbpf,
    /// Polled socket tables: short connections are missed.
    LinuxSampled,
    /// A recorded stream of events.
    Replay,
}

/// Where on the way from the kernel to the disk something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossStage {
    /// Between the kernel and the sensor.
    Kernel,
    /// Between the sensor and the flow table.
    SensorQueue,
    /// In the flow table.
    FlowTable,
    /// Between the flow table and the disk.
    TrailQueue,
    /// On the disk.
    Trail,
}

/// Why something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossCause {
    /// The ring between kernel and recorder was full.
    RingFull,
    /// A kernel map was full.
    MapFull,
    /// The kernel could not give memory to a socket's storage.
    StorageFailed,
    /// A queue in the recorder was full.
    QueueFull,
    /// The disk refused to be written.
    WriteFailed,
    /// What arrived made no sense.
    Malformed,
    /// A process was named that nobody had introduced.
    UnknownProcess,
    /// The kernel runs no program on a processor on which it is under way.
    ProgramBusy,
}

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LostKind {
    /// Closes: each is one connection whose record is missing or incomplete.
    Closes,
    /// Opens: the close still tells the whole story.
    Opens,
    /// Identities of processes: connections keep their pid, not their path.
    Processes,
    /// Corrections of who accepted.
    Attributions,
    /// Whole connections that were never tracked.
    Connections,
    /// Records that were made but could not be kept.
    Records,
    /// Events of no known kind.
    Events,
}

/// The books of an epoch so far.
///
/// `closes_made` counts connections that ended, by whoever saw them first;
/// it equals `closes_recorded + closes_lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that ended.
    pub closes_made: u64,
    /// Connections whose close is a record.
    pub closes_recorded: u64,
    /// Connections whose close was declared lost.
    pub closes_lost: u64,
    /// Connections that are open now.
    pub live: u64,
}
