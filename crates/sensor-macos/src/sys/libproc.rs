//! `libproc.h`: processes, their open files and their sockets.
//!
//! Whoever is not root is told of its own processes only (XNU `bsd/kern/proc_info.c`,
//! `proc_security_policy`), except for paths.

use super::bsm::AuditToken;
use super::layout::{self, ProcessFacts, SocketReading};
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;

// SAFETY: the declarations are those of `libproc.h`, which is part of the system library.
unsafe extern "C" {
    /// Fills `buffer` with process ids and returns how many. `libproc.h`, macOS 10.7.
    fn proc_listallpids(buffer: *mut c_void, buffersize: c_int) -> c_int;
    /// Fills `buffer` by `flavor` and returns how many bytes. `libproc.h`, macOS 10.5.
    fn proc_pidinfo(
        pid: c_int,
        flavor: c_int,
        arg: u64,
        buffer: *mut c_void,
        buffersize: c_int,
    ) -> c_int;
    /// The same of a file descriptor. `libproc.h`, macOS 10.5.
    fn proc_pidfdinfo(
        pid: c_int,
        fd: c_int,
        flavor: c_int,
        buffer: *mut c_void,
        buffersize: c_int,
    ) -> c_int;
    /// Fills `buffer` with the path of the executable. `libproc.h`, macOS 10.5.
    fn proc_pidpath(pid: c_int, buffer: *mut c_void, buffersize: u32) -> c_int;
    /// The same of the process of a token, if it still runs the same program. `libproc.h`,
    /// macOS 11.
    fn proc_pidpath_audittoken(
        token: *mut AuditToken,
        buffer: *mut c_void,
        buffersize: u32,
    ) -> c_int;
}

/// All processes.
///
/// # Errors
/// What the system says.
pub(crate) fn all_pids() -> io::Result<Vec<u32>> {
    let bytes = grown(PIDS_BYTES, PIDS_BYTES_MAX, |buffer| {
        // SAFETY: `buffer` has as many bytes as are told.
        let count = unsafe { proc_listallpids(buffer.as_mut_ptr().cast(), length(buffer)) };
        count.saturating_mul(PID_BYTES as c_int)
    })?;
    let (pids, _) = bytes.as_chunks::<PID_BYTES>();
    Ok(pids.iter().map(|pid| u32::from_ne_bytes(*pid)).collect())
}

/// Room for 4,096 processes and, at the end, for more than the system ever has.
const PIDS_BYTES: usize = 4_096 * PID_BYTES;
const PIDS_BYTES_MAX: usize = 64 * PIDS_BYTES;
const PID_BYTES: usize = size_of::<c_int>();

/// What is told of a process.
///
/// # Errors
/// `ESRCH` when there is no such process, `EPERM` when it may not be asked about.
pub(crate) fn process_facts(pid: u32) -> io::Result<ProcessFacts> {
    let mut buffer = [0; layout::PROCESS_FACTS_BYTES];
    let filled = pid_info(pid, PROC_PIDTBSDINFO, &mut buffer)?;
    layout::process_facts(&buffer[..filled]).ok_or_else(malformed)
}

/// The descriptors of a process that are sockets.
///
/// # Errors
/// `ESRCH` when there is no such process, `EPERM` when it may not be asked about.
pub(crate) fn socket_descriptors(pid: u32) -> io::Result<Vec<i32>> {
    let bytes = grown(DESCRIPTORS_BYTES, DESCRIPTORS_BYTES_MAX, |buffer| {
        pid_info_raw(pid, PROC_PIDLISTFDS, buffer)
    });
    let bytes = match bytes {
        // Nothing was filled in because nothing is open, or because it failed. Only when it did
        // not is there an answer to how much room is needed.
        Err(_) if pid_info_raw(pid, PROC_PIDLISTFDS, &mut []) > 0 => Vec::new(),
        bytes => bytes?,
    };
    Ok(layout::socket_descriptors(&bytes).collect())
}

/// Room for 1,024 descriptors and, at the end, for a million.
const DESCRIPTORS_BYTES: usize = 1_024 * layout::DESCRIPTOR_BYTES;
const DESCRIPTORS_BYTES_MAX: usize = 1_024 * DESCRIPTORS_BYTES;

/// What a descriptor of a process is.
///
/// # Errors
/// When it is closed by now, or the process is gone.
pub(crate) fn socket(pid: u32, descriptor: i32) -> io::Result<SocketReading> {
    let mut buffer = [0; layout::SOCKET_BYTES];
    // SAFETY: `buffer` has as many bytes as are told.
    let filled = unsafe {
        proc_pidfdinfo(
            pid.cast_signed(),
            descriptor,
            PROC_PIDFDSOCKETINFO,
            buffer.as_mut_ptr().cast(),
            length(&buffer),
        )
    };
    Ok(layout::socket(&buffer[..filled_of(filled, buffer.len())?]))
}

/// Path of the executable of whatever process has this id.
///
/// # Errors
/// When there is none, or its path cannot be told.
pub(crate) fn path_of_pid(pid: u32) -> io::Result<String> {
    path(|buffer, bytes| {
        // SAFETY: `buffer` has `bytes` bytes.
        unsafe { proc_pidpath(pid.cast_signed(), buffer, bytes) }
    })
}

/// Path of the executable of the process of a token.
///
/// # Errors
/// `ESRCH` when that process is gone or runs another program by now. The kernel says the same of
/// some processes whose executable was deleted.
pub(crate) fn path_of_token(mut token: AuditToken) -> io::Result<String> {
    path(|buffer, bytes| {
        // SAFETY: `token` lives longer than the call, and `buffer` has `bytes` bytes.
        unsafe { proc_pidpath_audittoken(&raw mut token, buffer, bytes) }
    })
}

/// `ESRCH` of `sys/errno.h`: no such process.
pub(crate) const NO_SUCH_PROCESS: i32 = 3;

/// `EPERM` of `sys/errno.h`: not permitted.
pub(crate) const NOT_PERMITTED: i32 = 1;

fn path(fill: impl FnOnce(*mut c_void, u32) -> c_int) -> io::Result<String> {
    let mut buffer = [0_u8; PATH_BYTES_MAX];
    let filled = fill(buffer.as_mut_ptr().cast(), PATH_BYTES_MAX as u32);
    let path = &buffer[..filled_of(filled, buffer.len())?];
    Ok(String::from_utf8_lossy(path).into_owned())
}

// `PROC_PIDPATHINFO_MAXSIZE` and the flavors of `sys/proc_info.h`.
const PATH_BYTES_MAX: usize = 4 * 1_024;
const PROC_PIDLISTFDS: c_int = 1;
const PROC_PIDTBSDINFO: c_int = 3;
const PROC_PIDFDSOCKETINFO: c_int = 3;

fn pid_info(pid: u32, flavor: c_int, buffer: &mut [u8]) -> io::Result<usize> {
    filled_of(pid_info_raw(pid, flavor, buffer), buffer.len())
}

/// With no room, asks how much is needed.
fn pid_info_raw(pid: u32, flavor: c_int, buffer: &mut [u8]) -> c_int {
    let room = length(buffer);
    let place = if room == 0 {
        ptr::null_mut()
    } else {
        buffer.as_mut_ptr().cast()
    };
    // SAFETY: `place` has as many bytes as are told.
    unsafe { proc_pidinfo(pid.cast_signed(), flavor, 0, place, room) }
}

/// Calls `fill` with more and more room, until it leaves some.
fn grown(
    bytes: usize,
    bytes_max: usize,
    mut fill: impl FnMut(&mut [u8]) -> c_int,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    loop {
        let filled = filled_of(fill(&mut buffer), buffer.len())?;
        if filled < buffer.len() || buffer.len() >= bytes_max {
            buffer.truncate(filled);
            return Ok(buffer);
        }
        buffer = vec![0; buffer.len() * 4];
    }
}

/// Nothing filled in means that it failed: that is how libproc tells it.
fn filled_of(filled: c_int, room: usize) -> io::Result<usize> {
    match usize::try_from(filled) {
        Ok(filled) if filled > 0 => Ok(filled.min(room)),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

fn length(buffer: &[u8]) -> c_int {
    c_int::try_from(buffer.len()).unwrap_or(c_int::MAX)
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's answer has an unknown form",
    )
}
