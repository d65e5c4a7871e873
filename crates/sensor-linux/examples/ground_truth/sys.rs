//! Everything that needs `unsafe`: a handful of calls behind safe, small functions.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

/// `IP_LOCAL_PORT_RANGE` of Linux 6.3; the `libc` crate does not name it yet.
const IP_LOCAL_PORT_RANGE: c_int = 51;

/// Set by the handler of SIGTERM and SIGINT.
static ASKED_TO_STOP: AtomicBool = AtomicBool::new(false);

/// Turns the `-1` of a libc call into the error it stands for.
fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Ends the process at once: no destructors, no flush of buffers copied from the parent.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes a plain number and does not return.
    unsafe { libc::_exit(code) }
}

/// Forks; `None` is the child.
///
/// The caller must be single-threaded when the child goes on to allocate; every caller here is.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread, so no lock can be held by a thread the child lacks.
    let child = check(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(child))
}

/// Runs `body` in a forked child, which exits with the number `body` returns.
pub(crate) fn fork_child(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    match fork()? {
        Some(child) => Ok(child),
        // A panic must not unwind into the parent's frames, of which this is a copy.
        None => exit_now(catch_unwind(AssertUnwindSafe(body)).unwrap_or(101)),
    }
}

/// Wraps a process id that the kernel has just given.
fn pid_from_raw(raw: c_int) -> io::Result<Pid> {
    Pid::from_raw(raw).ok_or_else(|| io::Error::other("the kernel returned no process id"))
}

/// Starts `program` in a new process, as `posix_spawn` does (`vfork`, then `exec`).
///
/// The environment is left empty: nothing here reads it, and the image starts sooner.
pub(crate) fn spawn(program: &CStr, arguments: &[&CStr]) -> io::Result<Pid> {
    let argument_list = null_terminated(arguments);
    let environment: [*mut c_char; 1] = [ptr::null_mut()];
    let mut child = 0;
    // SAFETY: both lists end in a null pointer and outlive the call, their strings too; null file
    // actions and attributes are allowed.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut child,
            program.as_ptr(),
            ptr::null(),
            ptr::null(),
            argument_list.as_ptr(),
            environment.as_ptr(),
        )
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    pid_from_raw(child)
}

/// Replaces this process's image; returns only if that fails.
pub(crate) fn replace_image(program: &CStr, arguments: &[&CStr]) -> io::Error {
    let argument_list: Vec<*const c_char> = null_terminated(arguments)
        .into_iter()
        .map(<*mut c_char>::cast_const)
        .collect();
    let environment: [*const c_char; 1] = [ptr::null()];
    // SAFETY: both lists end in a null pointer and outlive the call, their strings too.
    unsafe {
        libc::execve(
            program.as_ptr(),
            argument_list.as_ptr(),
            environment.as_ptr(),
        )
    };
    io::Error::last_os_error()
}

/// The pointers of `arguments` and a null pointer after them.
fn null_terminated(arguments: &[&CStr]) -> Vec<*mut c_char> {
    let pointers = arguments
        .iter()
        .map(|argument| argument.as_ptr().cast_mut());
    pointers.chain([ptr::null_mut()]).collect()
}

/// Maps `length_bytes` of `file`, shared with every process that maps it. It stays for ever.
pub(crate) fn map_shared(file: impl AsFd, length_bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
    let address = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length_bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_fd().as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// Takes over a descriptor whose number another image of this program handed down.
pub(crate) fn adopt_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `F_GETFD` only asks whether the number is open.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, and its number came on the command line to be owned by us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets an integer option of the IP level, which IPv6 sockets take too.
fn set_ip_option(socket: impl AsFd, option: c_int, value: u32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            (&raw const value).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// Leaves the kernel exactly one port to choose when it binds the socket by itself.
///
/// To the kernel the port stays an automatic one, unlike after `bind`, and automatic ports are
/// what real clients have. Fails before Linux 6.3.
pub(crate) fn leave_one_port(socket: impl AsFd, port: u16) -> io::Result<()> {
    let port = u32::from(port);
    set_ip_option(socket, IP_LOCAL_PORT_RANGE, port << 16 | port)
}

/// Makes a later `bind` to port 0 choose only the address; `connect` then chooses the port.
pub(crate) fn bind_address_only(socket: impl AsFd) -> io::Result<()> {
    set_ip_option(socket, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Processor time of this process and of all children it has waited for.
pub(crate) fn cpu_time() -> Duration {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .into_iter()
        .map(cpu_time_of)
        .sum()
}

/// Processor time of `who`, user and system together.
fn cpu_time_of(who: c_int) -> Duration {
    // SAFETY: `rusage` is plain numbers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a whole `rusage` that outlives the call.
    unsafe { libc::getrusage(who, &raw mut usage) };
    let of = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// Lets the kernel end this process after `limit_seconds`, whatever it is doing then.
pub(crate) fn end_after(limit_seconds: u32) {
    // SAFETY: `alarm` takes a plain number; SIGALRM keeps its default action, which is to end.
    unsafe { libc::alarm(limit_seconds) };
}

/// Makes SIGTERM and SIGINT be remembered, for [`asked_to_stop`], and interrupt waiting calls.
pub(crate) fn remember_stop_signals() -> io::Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: `sigaction` is plain numbers and an optional pointer: all zeros is a value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = remember_stop as *const () as usize;
        // SAFETY: the handler has the signature that `sa_flags` of 0 asks for, and only stores to
        // an atomic, which is safe in a signal handler.
        check(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) })?;
    }
    Ok(())
}

/// The signal handler.
extern "C" fn remember_stop(_signal: c_int) {
    ASKED_TO_STOP.store(true, Ordering::Relaxed);
}

/// Whether SIGTERM or SIGINT has come.
pub(crate) fn asked_to_stop() -> bool {
    ASKED_TO_STOP.load(Ordering::Relaxed)
}

/// Nanoseconds since boot, suspended time included: the clock of the sensor's records.
pub(crate) fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
