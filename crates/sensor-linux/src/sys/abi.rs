//! The structures of `bpf/events.h`, field by field, and how bytes become them.
//!
//! The header asserts the same sizes when the program is compiled, so neither side can drift from
//! the other unnoticed. What the fields mean is written there.

use std::mem::{offset_of, size_of};
use std::ptr;

/// A plain structure: any bytes of its size are a value of it.
///
/// # Safety
/// The type must be `repr(C)`, without padding, and all of its fields must be integers, arrays of
/// integers or other plain structures.
pub(crate) unsafe trait Plain: Copy {}

/// Reads a structure from the front of `bytes`, which need not be aligned; `None` when they are
/// too few.
pub(crate) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are at least as many bytes as `T` has, `read_unaligned` asks for no alignment,
    // and `Plain` promises that any bytes are a value of `T`.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

pub(crate) const EVENT_PROCESS: u8 = 1;
pub(crate) const EVENT_OPENED: u8 = 2;
pub(crate) const EVENT_CLOSED: u8 = 3;
pub(crate) const EVENT_ATTRIBUTED: u8 = 4;
pub(crate) const EVENT_RELEASED: u8 = 5;
pub(crate) const EVENT_ALIVE: u8 = 6;
pub(crate) const EVENT_LISTENING: u8 = 7;
pub(crate) const EVENT_UPDATED: u8 = 8;
pub(crate) const EVENT_KINDS: usize = 9;

pub(crate) const SOURCE_NONE: u8 = 0;
pub(crate) const SOURCE_SNAPSHOT: u8 = 1;
pub(crate) const SOURCE_BIND: u8 = 2;
pub(crate) const SOURCE_LISTENER: u8 = 3;
pub(crate) const SOURCE_RELEASE: u8 = 4;
pub(crate) const SOURCE_FIRST_IO: u8 = 5;
pub(crate) const SOURCE_ACCEPT: u8 = 6;
pub(crate) const SOURCE_CONNECT: u8 = 7;

pub(crate) const DIRECTION_OUTBOUND: u8 = 1;
pub(crate) const DIRECTION_INBOUND: u8 = 2;

pub(crate) const ENDED_FROM_HANDSHAKE: u8 = 1;
pub(crate) const ENDED_FROM_NOTHING: u8 = 2;
pub(crate) const ENDED_FROM_TRANSFER: u8 = 3;
pub(crate) const ENDED_FROM_SILENCE: u8 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct OwnerBytes {
    pub(crate) start_ns: u64,
    pub(crate) pid: u32,
    pub(crate) exec_id: u32,
    pub(crate) source: u32,
    pub(crate) reserved: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct OpenedBytes {
    pub(crate) kind: u8,
    pub(crate) protocol: u8,
    pub(crate) direction: u8,
    pub(crate) owner_source: u8,
    pub(crate) found_late: u8,
    pub(crate) ended_from: u8,
    pub(crate) error: u16,
    pub(crate) at_ns: u64,
    pub(crate) cookie: u64,
    pub(crate) part: u64,
    pub(crate) owner_start_ns: u64,
    pub(crate) owner_pid: u32,
    pub(crate) owner_exec_id: u32,
    pub(crate) local: [u8; 16],
    pub(crate) remote: [u8; 16],
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) network_namespace: u32,
    pub(crate) opened_ns: u64,
    pub(crate) established_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct ClosedBytes {
    pub(crate) opened: OpenedBytes,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) packets_out: u32,
    pub(crate) packets_in: u32,
    pub(crate) rtt_us: u32,
    pub(crate) retransmits: u32,
    pub(crate) closer_pid: u32,
    pub(crate) reserved: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct UpdatedBytes {
    pub(crate) kind: u8,
    pub(crate) protocol: u8,
    pub(crate) found_late: u8,
    pub(crate) reserved: [u8; 5],
    pub(crate) cookie: u64,
    pub(crate) part: u64,
    pub(crate) opened_ns: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) packets_in: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct AttributedBytes {
    pub(crate) kind: u8,
    pub(crate) has_flow: u8,
    pub(crate) reserved: [u8; 6],
    pub(crate) at_ns: u64,
    pub(crate) cookie: u64,
    pub(crate) owner: OwnerBytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct ReleasedBytes {
    pub(crate) kind: u8,
    pub(crate) reserved: [u8; 3],
    pub(crate) closer_pid: u32,
    pub(crate) at_ns: u64,
    pub(crate) cookie: u64,
}

pub(crate) const ALIVE_COOKIES_MAX: usize = 126;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct AliveBytes {
    pub(crate) kind: u8,
    pub(crate) is_final: u8,
    pub(crate) incomplete: u8,
    pub(crate) reserved: u8,
    pub(crate) count: u32,
    pub(crate) at_ns: u64,
    pub(crate) cookies: [u64; ALIVE_COOKIES_MAX],
}

/// All of a process event but its text, which follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct ProcessBytes {
    pub(crate) kind: u8,
    pub(crate) path_truncated: u8,
    pub(crate) has_login_uid: u8,
    pub(crate) reserved: u8,
    pub(crate) path_bytes: u16,
    pub(crate) arguments_bytes: u16,
    pub(crate) start_ns: u64,
    pub(crate) pid: u32,
    pub(crate) exec_id: u32,
    pub(crate) parent_start_ns: u64,
    pub(crate) parent_pid: u32,
    pub(crate) parent_exec_id: u32,
    pub(crate) uid: u32,
    pub(crate) login_uid: u32,
    pub(crate) cgroup: u64,
    pub(crate) inode: u64,
    pub(crate) device: u32,
    pub(crate) pid_namespace: u32,
    pub(crate) namespace_tgid: u32,
    pub(crate) reserved2: u32,
    pub(crate) comm: [u8; 16],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct FlowKeyBytes {
    pub(crate) cookie: u64,
    pub(crate) remote: [u8; 16],
    pub(crate) remote_port: u16,
    pub(crate) reserved: [u16; 3],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct FlowValueBytes {
    pub(crate) owner: OwnerBytes,
    pub(crate) part: u64,
    pub(crate) opened_ns: u64,
    pub(crate) last_ns: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) packets_in: u64,
    pub(crate) told: u64,
    pub(crate) local: [u8; 16],
    pub(crate) local_port: u16,
    pub(crate) direction: u8,
    pub(crate) found_late: u8,
    pub(crate) network_namespace: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct CounterBytes {
    pub(crate) made: [u64; EVENT_KINDS],
    pub(crate) dropped: [u64; EVENT_KINDS],
    pub(crate) tcp_storage_failed: u64,
    pub(crate) udp_storage_failed: u64,
    pub(crate) flows_full: u64,
    pub(crate) flows_failed: u64,
    pub(crate) scratch_busy: u64,
    pub(crate) owner_missing: u64,
    pub(crate) updates_put_off: u64,
}

macro_rules! plain {
    ($($type:ty: $size:literal),+ $(,)?) => {$(
        const _: () = assert!(size_of::<$type>() == $size, "differs from bpf/events.h");
        // SAFETY: `repr(C)`, integers and arrays of integers only, and no padding: the fields fill
        // the asserted size.
        unsafe impl Plain for $type {}
    )+};
}

plain! {
    OwnerBytes: 24,
    OpenedBytes: 104,
    ClosedBytes: 144,
    UpdatedBytes: 64,
    AttributedBytes: 48,
    ReleasedBytes: 24,
    AliveBytes: 1024,
    ProcessBytes: 96,
    FlowKeyBytes: 32,
    FlowValueBytes: 112,
    CounterBytes: 200,
}

const _: () = {
    assert!(offset_of!(OpenedBytes, error) == 6);
    assert!(offset_of!(OpenedBytes, part) == 24);
    assert!(offset_of!(OpenedBytes, local) == 48);
    assert!(offset_of!(OpenedBytes, network_namespace) == 84);
    assert!(offset_of!(ClosedBytes, bytes_out) == 104);
    assert!(offset_of!(ClosedBytes, closer_pid) == 136);
    assert!(offset_of!(UpdatedBytes, bytes_out) == 32);
    assert!(offset_of!(AttributedBytes, owner) == 24);
    assert!(offset_of!(ProcessBytes, parent_start_ns) == 24);
    assert!(offset_of!(ProcessBytes, comm) == 80);
    assert!(offset_of!(FlowValueBytes, local) == 88);
    assert!(offset_of!(CounterBytes, tcp_storage_failed) == 144);
};
