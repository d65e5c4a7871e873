//! The `bpf` system calls that the loader library does not offer.

use super::abi::{CounterBytes, FlowKeyBytes, FlowValueBytes};
use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// SAFETY: plain structures of integers without padding; see `abi`.
unsafe impl aya::Pod for FlowKeyBytes {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowValueBytes {}
// SAFETY: as above.
unsafe impl aya::Pod for CounterBytes {}

/// An iterator program tied to the map that it walks over.
#[derive(Debug)]
pub(crate) struct MapIterator {
    link: OwnedFd,
}

impl MapIterator {
    /// Ties `program` to `map`.
    ///
    /// # Errors
    /// Whatever the kernel says; `EINVAL` when it cannot iterate over maps of this type.
    pub(crate) fn new(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<MapIterator> {
        let which = IteratorInfo {
            map_fd: map.as_raw_fd() as u32,
        };
        let attributes = LinkCreate {
            program_fd: program.as_raw_fd() as u32,
            target_fd: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            iterator_info: (&raw const which).expose_provenance() as u64,
            iterator_info_bytes: size_of::<IteratorInfo>() as u32,
            reserved: 0,
        };
        // SAFETY: `attributes` is what this command takes, and `which`, whose address is in it,
        // lives until the call is over.
        let link = unsafe { bpf_fd(BPF_LINK_CREATE, &attributes)? };
        Ok(MapIterator { link })
    }

    /// One pass: reading the file to its end runs the program for every entry.
    ///
    /// # Errors
    /// When the process has no file descriptor left, or the kernel no memory.
    pub(crate) fn open(&self) -> io::Result<File> {
        let attributes = IteratorCreate {
            link_fd: self.link.as_raw_fd() as u32,
            flags: 0,
        };
        // SAFETY: `attributes` is what this command takes; it holds no addresses.
        let file = unsafe { bpf_fd(BPF_ITER_CREATE, &attributes)? };
        Ok(File::from(file))
    }
}

/// How often the kernel left out `program` because it was under way on the same CPU already.
///
/// # Errors
/// When the kernel is older than 5.12, which began to count them.
pub(crate) fn skipped_runs(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = ProgramInfo {
        skipped: [0; 26],
        recursion_misses: 0,
    };
    let attributes = ObjectInfo {
        fd: program.as_raw_fd() as u32,
        info_bytes: size_of::<ProgramInfo>() as u32,
        info: (&raw mut info).expose_provenance() as u64,
    };
    // SAFETY: `attributes` is what this command takes; the kernel writes at most `info_bytes` to
    // `info`, which lives until the call is over and is borrowed by nobody else. Zeroed fields ask
    // for none of the lists that the kernel could write elsewhere.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)? };
    Ok(info.recursion_misses)
}

/// Gives memory that was freed back to the system.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, touches only memory that is free, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

// Numbers and layouts: https://elixir.bootlin.com/linux/v6.12/source/include/uapi/linux/bpf.h.
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

#[repr(C)]
struct IteratorInfo {
    map_fd: u32,
}

#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iterator_info: u64,
    iterator_info_bytes: u32,
    reserved: u32,
}

#[repr(C)]
struct IteratorCreate {
    link_fd: u32,
    flags: u32,
}

#[repr(C)]
struct ObjectInfo {
    fd: u32,
    info_bytes: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, down to the field that is of interest.
#[repr(C)]
struct ProgramInfo {
    skipped: [u64; 26],
    recursion_misses: u64,
}

const _: () = assert!(offset_of!(ProgramInfo, recursion_misses) == 208);

/// # Safety
/// `attributes` must be what `command` takes, and every address in it must be good for what the
/// command does there.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `attributes`, which is a live reference;
    // the caller answers for the rest.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const *attributes,
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// # Safety
/// As for [`bpf`], and `command` must be one that returns a new file descriptor.
unsafe fn bpf_fd<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller answers for `attributes`.
    let fd = unsafe { bpf(command, attributes)? };
    // SAFETY: the caller says that this is a new file descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
