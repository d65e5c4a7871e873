//! What the recorder says about itself: nothing is lost without a notice.

use crate::{Delivery, PolicyChanged, PolicyCounts, Record, Stamp, Undelivered};

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
    /// What a sensor cannot see changed while it watches.
    SensorLimited {
        /// Which.
        sensor: SensorKind,
        /// What is so now, in a sentence.
        limit: String,
    },
    /// The sensor stepped out of the path of connections, or back into it. While it stands aside
    /// nothing is seen.
    BreakerChanged {
        /// How it is now.
        state: BreakerState,
        /// Why.
        cause: BreakerCause,
        /// Crashes that were counted.
        crashes: u32,
    },
    /// The system's own counters beside what was recorded.
    Coverage(Coverage),
    /// The system extension was replaced by another version.
    ExtensionReplaced(ExtensionReplaced),
    /// The machine goes to sleep.
    Sleeping,
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
    /// Another privacy policy is in force, or one that was read is not.
    PolicyChanged(PolicyChanged),
    /// What the privacy policy did since the last notice of this kind.
    PolicyCounts(PolicyCounts),
    /// What each stage gave to the next, so that the books balance to the record.
    StageCounts(StageCounts),
    /// A destination did not get records, or perhaps did not.
    Undelivered(Undelivered),
    /// How far the deliveries to a destination are.
    Delivery(Box<Delivery>),
}

impl NoticeKind {
    /// The books that it tells, for those to correct who come after the flow table.
    pub fn tally_mut(&mut self) -> Option<&mut Tally> {
        match self {
            NoticeKind::Ledger(tally) | NoticeKind::RecorderStopped { tally, .. } => Some(tally),
            NoticeKind::RecorderStarted { .. }
            | NoticeKind::SensorStarted { .. }
            | NoticeKind::SensorStopped { .. }
            | NoticeKind::Lost { .. }
            | NoticeKind::SensorLimited { .. }
            | NoticeKind::BreakerChanged { .. }
            | NoticeKind::Coverage(_)
            | NoticeKind::ExtensionReplaced(_)
            | NoticeKind::Sleeping
            | NoticeKind::Slept { .. }
            | NoticeKind::ClockStepped { .. }
            | NoticeKind::TrailEvicted { .. }
            | NoticeKind::PolicyChanged(_)
            | NoticeKind::PolicyCounts(_)
            | NoticeKind::StageCounts(_)
            | NoticeKind::Undelivered(_)
            | NoticeKind::Delivery(_) => None,
        }
    }
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

/// Whether the sensor stands in the path of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerState {
    /// It stands aside: connections pass unseen.
    Tripped,
    /// It sees connections.
    Healed,
}

/// Why the sensor steps aside, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerCause {
    /// It crashed too often in too short a time.
    Crashes,
    /// A managed setting says so.
    Managed,
    /// The machine was started again.
    Boot,
}

/// The system's own counters beside what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Both were counted from this moment to the notice's own.
    pub since: Stamp,
    /// What the system counted; `None` where its meter is not available.
    pub system: Option<TcpCounts>,
    /// Why there is no meter.
    pub unavailable: Option<String>,
    /// What the sensor told of.
    pub recorded: TcpCounts,
    /// How many were missed, beyond what usually differs; `None` where that cannot be said.
    pub missed_estimate: Option<u64>,
    /// What the sensor by design does not see, one sentence each.
    pub unseen: Vec<String>,
}

/// TCP connections by the side that began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpCounts {
    /// Attempts of this machine.
    pub outbound: u64,
    /// Connections that were accepted.
    pub inbound: u64,
}

/// The receipt of an upgrade of the system extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionReplaced {
    /// Version before, where it is known.
    pub from: Option<String>,
    /// Version after.
    pub to: String,
    /// TCP connections that were open before and that replacing the filter resets.
    pub reset_estimate: u64,
    /// The same by app, the most first; what does not fit is summed under `other`.
    pub by_app: Vec<AppCount>,
    /// Whether flows arrived after; `None` where nobody waited for them.
    pub flows_arrive: Option<bool>,
}

/// Connections of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppCount {
    /// Its name.
    pub app: String,
    /// How many.
    pub count: u64,
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
    /// The content filter of macOS.
    MacosFilter,
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
    /// A fault in the sensor's own code, which it caught.
    Fault,
    /// The bytes on the disk are not as they were written.
    Damaged,
    /// Somebody else deleted it.
    Deleted,
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
/// it equals `closes_recorded + closes_aggregated + closes_dropped + closes_lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that ended.
    pub closes_made: u64,
    /// Connections whose close is a record.
    pub closes_recorded: u64,
    /// Connections that are summed in a record with others, by [`crate::Aggregate::connections`].
    pub closes_aggregated: u64,
    /// Connections whose close the privacy policy dropped.
    pub closes_dropped: u64,
    /// Connections whose close was declared lost.
    pub closes_lost: u64,
    /// Connections that are open now.
    pub live: u64,
}

/// What each stage between the flow table and the disk came to, from the beginning of the epoch up
/// to the record before this notice. `docs/ledger.md` says what must equal what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounts {
    /// What the flow table gave.
    pub given: RecordCounts,
    /// Notices that the recorder itself added.
    pub own: u64,
    /// What the privacy policy dropped.
    pub dropped: RecordCounts,
    /// What the trail's queue had no room for, declared as lost by now.
    pub refused: RecordCounts,
    /// What got a sequence: the sequence of this notice is one more than its records.
    pub recorded: RecordCounts,
    /// Ends that the flow table has yet to tell: closes that are held back for an introduction, and
    /// connections in sums whose interval lasts.
    pub closes_waiting: u64,
    /// Closes of connections whose end counts already, or is declared lost, or is still to come.
    pub closes_repeated: u64,
    /// Ends that count and bring no record, because an earlier close had told the whole story.
    pub ends_told_before: u64,
    /// Flows that were closed as evicted, because the flow table was full.
    pub flows_evicted: u64,
    /// Records, of any epoch, that were declared as evicted from the trail.
    pub records_evicted: u64,
    /// Segments that were written a second time, densely, with the same records.
    pub segments_rewritten: u64,
}

/// How many records, and how many connections they close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// All.
    pub records: u64,
    /// Connections whose end they tell: one for a close, and more for the sum of many.
    pub closes: u64,
}

impl RecordCounts {
    /// Counts one more.
    pub fn count(&mut self, record: &Record) {
        self.records += 1;
        self.closes += record.closes();
    }
}
