//! The numbers and names of every choice: the numbers stand in canonical bytes, the names in JSON
//! and in queries. Both are for ever; new ones are added, none is used again.

use crate::wire::WireError;
use crate::{
    AggregateCause, AggregateScope, BreakerCause, BreakerState, ByteQuality, Confidence,
    DeliveryGuarantee, DeliveryState, Direction, IdentitySource, LossCause, LossStage, LostKind,
    NameSource, Origin, Outcome, PolicyAction, PolicyField, PolicyState, SensorKind,
    SignatureValidity, StopReason, UndeliveredCause,
};

/// One table for both directions, so that neither can be forgotten.
macro_rules! choices {
    ($($type:ident { $($variant:ident = $number:literal $name:literal),+ $(,)? })+) => { $(
        impl $type {
            /// Every choice.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// The number this choice has in canonical bytes.
            pub fn number(self) -> u64 {
                match self { $($type::$variant => $number),+ }
            }

            /// The choice of a number found in `field`.
            ///
            /// # Errors
            /// When this version knows no such choice.
            pub fn from_number(field: u32, number: u64) -> Result<$type, WireError> {
                match number {
                    $($number => Ok($type::$variant),)+
                    other => Err(WireError::UnknownChoice(field, other)),
                }
            }

            /// The name this choice has in JSON and in queries.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }
        }
    )+ };
}

choices! {
    Direction {
        Outbound = 1 "outbound",
        Inbound = 2 "inbound",
        Unknown = 3 "unknown",
    }
    Outcome {
        Closed = 1 "closed",
        Reset = 2 "reset",
        Refused = 3 "refused",
        TimedOut = 4 "timed_out",
        Unreachable = 5 "unreachable",
        Aborted = 6 "aborted",
        Failed = 7 "failed",
        Reaped = 8 "reaped",
        Evicted = 9 "evicted",
        Idle = 10 "idle",
        Unknown = 11 "unknown",
        ProcessGone = 12 "process_gone",
        AgedOut = 13 "aged_out",
        Superseded = 14 "superseded",
        Unwatched = 15 "unwatched",
    }
    ByteQuality {
        Unknown = 1 "unknown",
        Exact = 2 "exact",
        SoFar = 3 "so_far",
        AtLeast = 4 "at_least",
        ZeroUnverified = 5 "zero_unverified",
    }
    NameSource {
        SystemLibrary = 1 "system_library",
    }
    SignatureValidity {
        Valid = 1 "valid",
        Invalid = 2 "invalid",
        Unsigned = 3 "unsigned",
        Unknown = 4 "unknown",
    }
    BreakerState {
        Tripped = 1 "tripped",
        Healed = 2 "healed",
    }
    BreakerCause {
        Crashes = 1 "crashes",
        Managed = 2 "managed",
        Boot = 3 "boot",
    }
    IdentitySource {
        None = 1 "none",
        Connect = 2 "connect",
        Accept = 3 "accept",
        FirstIo = 4 "first_io",
        Bind = 5 "bind",
        Release = 6 "release",
        Listener = 7 "listener",
        Snapshot = 8 "snapshot",
        SocketTable = 9 "socket_table",
        AuditToken = 10 "audit_token",
        ListenerToken = 11 "listener_token",
    }
    Confidence {
        Unknown = 1 "unknown",
        Guess = 2 "guess",
        Likely = 3 "likely",
        Certain = 4 "certain",
    }
    Origin {
        Live = 1 "live",
        Snapshot = 2 "snapshot",
        Sampled = 3 "sampled",
        Inferred = 4 "inferred",
    }
    StopReason {
        Requested = 1 "requested",
        Elapsed = 2 "elapsed",
        SensorEnded = 3 "sensor_ended",
    }
    SensorKind {
        LinuxEbpf = 1 "linux_ebpf",
        LinuxSampled = 2 "linux_sampled",
        Replay = 3 "replay",
        MacosFilter = 4 "macos_filter",
    }
    LossStage {
        Kernel = 1 "kernel",
        SensorQueue = 2 "sensor_queue",
        FlowTable = 3 "flow_table",
        TrailQueue = 4 "trail_queue",
        Trail = 5 "trail",
    }
    LossCause {
        RingFull = 1 "ring_full",
        MapFull = 2 "map_full",
        StorageFailed = 3 "storage_failed",
        QueueFull = 4 "queue_full",
        WriteFailed = 5 "write_failed",
        Malformed = 6 "malformed",
        UnknownProcess = 7 "unknown_process",
        ProgramBusy = 8 "program_busy",
        Fault = 9 "fault",
        Damaged = 20 "damaged",
        Deleted = 21 "deleted",
    }
    LostKind {
        Closes = 1 "closes",
        Opens = 2 "opens",
        Processes = 3 "processes",
        Attributions = 4 "attributions",
        Connections = 5 "connections",
        Records = 6 "records",
        Events = 7 "events",
    }
    PolicyField {
        Record = 1 "record",
        RemoteAddress = 2 "remote.address",
        RemotePort = 3 "remote.port",
        LocalAddress = 4 "local.address",
        LocalPort = 5 "local.port",
        Hostname = 6 "hostname",
        Process = 7 "process",
        ProcessName = 8 "process.name",
        ProcessPath = 9 "process.path",
        ProcessHome = 10 "process.home",
        CommandLine = 11 "process.command_line",
        ProcessFile = 12 "process.file",
        Signature = 13 "process.signature",
        Ancestors = 14 "process.ancestors",
        Responsible = 15 "process.responsible",
        User = 16 "user",
        UserName = 17 "user.name",
        Container = 18 "container",
        Traffic = 19 "traffic",
    }
    PolicyAction {
        Drop = 1 "drop",
        Truncate = 2 "truncate",
        Pseudonymise = 3 "pseudonymise",
    }
    AggregateCause {
        Burst = 1 "burst",
    }
    AggregateScope {
        Destination = 1 "destination",
        Process = 2 "process",
    }
    UndeliveredCause {
        Unknown = 1 "unknown",
        Refused = 2 "refused",
        RefusedSome = 3 "refused_some",
        TooLarge = 4 "too_large",
        Gone = 5 "gone",
        Damaged = 6 "damaged",
        Unreadable = 7 "unreadable",
    }
    DeliveryGuarantee {
        Deduplicated = 1 "deduplicated",
        Acknowledged = 2 "acknowledged",
        Unacknowledged = 3 "unacknowledged",
    }
    DeliveryState {
        Delivering = 1 "delivering",
        Waiting = 2 "waiting",
        Misconfigured = 3 "misconfigured",
        Paused = 4 "paused",
    }
    PolicyState {
        InForce = 1 "in_force",
        Kept = 2 "kept",
        LastGood = 3 "last_good",
        Strict = 4 "strict",
        Removed = 5 "removed",
    }
}
