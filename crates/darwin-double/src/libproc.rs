//! `libproc.h`: lists of processes, what they are and what they hold open.
//!
//! The wrappers answer 0 where the kernel fails and leave the reason in `errno`
//! (`libsyscall/wrappers/libproc/libproc.c`); the kernel's part is `bsd/kern/proc_info.c`.

use crate::bsm::AuditToken;
use crate::machine::{
    AF_INET, AF_INET6, AF_SYSTEM, AF_UNIX, AF_VSOCK, FileKind, Process, Refusal, Socket, enter,
    machine,
};
use crate::raw;
use std::ffi::c_void;
use std::net::{IpAddr, SocketAddr};

/// How much longer than the list the kernel says it is, so that there is room for newcomers.
const SPARE_ENTRIES: usize = 20;
/// `PROC_PIDPATHINFO_SIZE`: shorter buffers are refused.
const PATH_SIZE_MIN: u32 = 1024;
/// `PROC_PIDPATHINFO_MAXSIZE`: longer buffers are refused.
const PATH_SIZE_MAX: u32 = 4096;

/// `libproc.h`: the pids of all processes, those that have ended and were not reaped included.
/// Answers how many, or with no buffer how many there could soon be.
#[unsafe(no_mangle)]
extern "C-unwind" fn proc_listallpids(buffer: *mut c_void, size: i32) -> i32 {
    if let Some(code) = enter("proc_listallpids", None) {
        return refuse(code);
    }
    let pids: Vec<i32> = machine().processes.keys().copied().collect();
    if buffer.is_null() {
        return count(pids.len() + SPARE_ENTRIES);
    }
    let room = usize::try_from(size).unwrap_or(0) / size_of::<i32>();
    if room == 0 {
        return refuse(libc::ENOMEM);
    }
    // The kernel lists the newest first; who relies on an order is to find out.
    let listed: Vec<i32> = pids.into_iter().rev().take(room).collect();
    raw::fill(buffer.cast(), &listed);
    count(listed.len())
}

/// `libproc.h`: something about a process, by `flavor` of `sys/proc_info.h`.
/// Answers how many bytes were written.
#[unsafe(no_mangle)]
extern "C-unwind" fn proc_pidinfo(
    pid: i32,
    flavor: i32,
    argument: u64,
    buffer: *mut c_void,
    size: i32,
) -> i32 {
    if let Some(code) = enter("proc_pidinfo", Some(pid)) {
        return refuse(code);
    }
    let answer = match flavor {
        1 => descriptors(pid, buffer.is_null(), size),
        3 => fixed(size, 136).and_then(|()| information(pid, argument != 0)),
        13 => fixed(size, 64).and_then(|()| short_information(pid, argument != 0)),
        _ => Err(libc::EINVAL),
    };
    match answer {
        Ok(bytes) => {
            raw::fill(buffer.cast(), &bytes);
            count(bytes.len())
        }
        Err(code) => refuse(code),
    }
}

/// `libproc.h`: something about an open file of a process; `flavor` 3 is the socket structure of
/// 792 bytes. Answers how many bytes were written.
#[unsafe(no_mangle)]
extern "C-unwind" fn proc_pidfdinfo(
    pid: i32,
    descriptor: i32,
    flavor: i32,
    buffer: *mut c_void,
    size: i32,
) -> i32 {
    if let Some(code) = enter("proc_pidfdinfo", Some(pid)) {
        return refuse(code);
    }
    let answer = match flavor {
        3 => fixed(size, 792).and_then(|()| socket_of(pid, descriptor)),
        _ => Err(libc::EINVAL),
    };
    match answer {
        Ok(socket) => {
            let bytes = socket_bytes(&socket);
            raw::fill(buffer.cast(), &bytes);
            count(bytes.len())
        }
        Err(code) => refuse(code),
    }
}

/// `libproc.h`, macOS 11: the path of the executable of the process that has this audit token.
/// Answers its length. A pid that has gone to another image is `ESRCH`; there is no check of
/// users.
#[unsafe(no_mangle)]
extern "C-unwind" fn proc_pidpath_audittoken(
    token: *const AuditToken,
    buffer: *mut c_void,
    size: u32,
) -> i32 {
    let Some(token) = raw::get(token) else {
        return refuse(libc::EFAULT);
    };
    if let Some(code) = enter("proc_pidpath_audittoken", Some(token.pid())) {
        return refuse(code);
    }
    hand_out_path(
        path_of(token.pid(), Some(token.version()), size),
        buffer,
        size,
    )
}

/// `libproc.h`: the path of the executable of whatever process has this pid. Answers its length.
#[unsafe(no_mangle)]
extern "C-unwind" fn proc_pidpath(pid: i32, buffer: *mut c_void, size: u32) -> i32 {
    if let Some(code) = enter("proc_pidpath", Some(pid)) {
        return refuse(code);
    }
    hand_out_path(path_of(pid, None, size), buffer, size)
}

/// Who is asked for: a pid, and the image it must run if that matters.
fn path_of(pid: i32, version: Option<u32>, size: u32) -> Result<String, i32> {
    match size {
        0..PATH_SIZE_MIN => return Err(libc::ENOMEM),
        PATH_SIZE_MIN..=PATH_SIZE_MAX => {}
        _ => return Err(libc::EOVERFLOW),
    }
    let machine = machine();
    let process = machine.running(pid).ok_or(libc::ESRCH)?;
    if version.is_some_and(|version| process.version != version) {
        return Err(libc::ESRCH);
    }
    let path = process.path.as_ref().ok_or(libc::ESRCH)?;
    if process.deleted {
        return Err(libc::ENOENT);
    }
    // What cannot be put together is no such process too (`proc_pidpathinfo_internal`).
    let fits = path.len() < size as usize;
    fits.then(|| path.clone()).ok_or(libc::ESRCH)
}

fn hand_out_path(path: Result<String, i32>, buffer: *mut c_void, size: u32) -> i32 {
    match path {
        Ok(path) => {
            // The kernel copies a buffer of zeros as long as the caller's.
            let mut bytes = path.into_bytes();
            let length = bytes.len();
            bytes.resize(size as usize, 0);
            raw::fill(buffer.cast(), &bytes);
            count(length)
        }
        Err(code) => refuse(code),
    }
}

fn descriptors(pid: i32, only_count: bool, size: i32) -> Result<Vec<u8>, i32> {
    const ENTRY: usize = 8;
    if !only_count {
        fixed(size, 8)?;
    }
    let machine = machine();
    let process = machine.open_to_us(pid).map_err(errno_of)?;
    if only_count {
        let entries = process.files.len() + SPARE_ENTRIES;
        // No buffer: nothing is written, and the length is what would be asked for.
        return Ok(vec![0; entries * ENTRY]);
    }
    let room = usize::try_from(size).unwrap_or(0) / ENTRY;
    let listed = process.files.iter().take(room);
    Ok(listed
        .flat_map(|file| {
            let mut entry = [0; ENTRY];
            entry[..4].copy_from_slice(&file.descriptor.to_ne_bytes());
            entry[4..].copy_from_slice(&file.kind.number().to_ne_bytes());
            entry
        })
        .collect())
}

/// `struct proc_bsdinfo`.
fn information(pid: i32, zombies: bool) -> Result<Vec<u8>, i32> {
    let machine = machine();
    let process = find(&machine, pid, zombies)?;
    if !machine.may_look_into(process) {
        return Err(libc::EPERM);
    }
    let mut bytes = Record::new(136);
    bytes.u32(4, status_of(process));
    bytes.i32(12, process.pid);
    bytes.i32(16, process.parent);
    bytes.u32s(20, &users_of(process));
    bytes.text(48, 16, &process.name);
    bytes.text(64, 32, &process.name);
    bytes.u32(96, process.files.len() as u32);
    bytes.i32(100, process.pid);
    bytes.i32(108, -1);
    bytes.u64(120, process.started.0);
    bytes.u64(128, u64::from(process.started.1));
    Ok(bytes.0)
}

/// `struct proc_bsdshortinfo`, for which there is no check of users.
fn short_information(pid: i32, zombies: bool) -> Result<Vec<u8>, i32> {
    let machine = machine();
    let process = find(&machine, pid, zombies)?;
    let mut bytes = Record::new(64);
    bytes.i32(0, process.pid);
    bytes.i32(4, process.parent);
    bytes.i32(8, process.pid);
    bytes.u32(12, status_of(process));
    bytes.text(16, 16, &process.name);
    bytes.u32s(36, &users_of(process));
    Ok(bytes.0)
}

fn find(machine: &crate::machine::Machine, pid: i32, zombies: bool) -> Result<&Process, i32> {
    let found = if zombies {
        machine.processes.get(&pid)
    } else {
        machine.running(pid)
    };
    found.ok_or(libc::ESRCH)
}

fn status_of(process: &Process) -> u32 {
    if process.zombie { 5 } else { 2 }
}

/// Effective, real and saved user and group, as both structures have them.
fn users_of(process: &Process) -> [u32; 6] {
    let (user, group) = (process.effective_user, process.effective_group);
    [
        user,
        group,
        process.real_user,
        process.real_group,
        user,
        group,
    ]
}

fn socket_of(pid: i32, descriptor: i32) -> Result<Socket, i32> {
    let machine = machine();
    let process = machine.open_to_us(pid).map_err(errno_of)?;
    let mut files = process.files.iter();
    match files
        .find(|file| file.descriptor == descriptor)
        .map(|file| &file.kind)
    {
        Some(FileKind::Socket(socket)) => Ok((**socket).clone()),
        Some(FileKind::Other(_)) => Err(libc::ENOTSOCK),
        None => Err(libc::EBADF),
    }
}

/// `struct socket_fdinfo`: 24 bytes of the file, then `struct socket_info`
/// (`bsd/kern/socket_info.c`, `fill_socketinfo`).
fn socket_bytes(socket: &Socket) -> Vec<u8> {
    const SOCKET: usize = 24;
    let mut bytes = Record::new(792);
    bytes.i32(16, 2);
    bytes.u64(SOCKET + 136, handle_of(socket));
    bytes.u64(SOCKET + 144, handle_of(socket) ^ 0xFFFF);
    bytes.i32(SOCKET + 152, socket.kind);
    bytes.i32(SOCKET + 156, socket.protocol);
    bytes.i32(SOCKET + 160, socket.family);
    bytes.u16(
        SOCKET + 164,
        if socket.tcp_state == Some(1) {
            0x0002
        } else {
            0
        },
    );
    bytes.u16(
        SOCKET + 168,
        if socket.remote.is_some() { 0x0002 } else { 0 },
    );
    let (kind, part) = (SOCKET + 232, SOCKET + 240);
    match socket.family {
        AF_INET | AF_INET6 => {
            bytes.i32(kind, 1);
            internet(&mut bytes, part, socket);
            if let (1, 0 | 6, Some(state)) = (socket.kind, socket.protocol, socket.tcp_state) {
                bytes.i32(kind, 2);
                bytes.i32(part + 80, state);
            }
        }
        AF_UNIX => {
            bytes.i32(kind, 3);
            bytes.text(part + 18, 104, &socket.name);
        }
        AF_SYSTEM => {
            bytes.i32(kind, 6);
            bytes.text(part + 24, 96, &socket.name);
        }
        AF_VSOCK => {
            bytes.i32(kind, 7);
            bytes.u32s(part, &socket.vsock);
        }
        _ => bytes.i32(kind, 0),
    }
    bytes.0
}

/// `struct in_sockinfo`: the ports are in an `int` each, whose low half is in network order.
fn internet(bytes: &mut Record, at: usize, socket: &Socket) {
    let port = |address: Option<SocketAddr>| {
        address.map_or(0, |address| i32::from(address.port().to_be()))
    };
    bytes.i32(at, port(socket.remote));
    bytes.i32(at + 4, port(socket.local));
    bytes.u64(at + 8, socket.generation);
    let own = if socket.family == AF_INET { 1 } else { 2 };
    bytes.0[at + 24] = socket.versions.unwrap_or(own);
    bytes.0[at + 25] = 64;
    bytes.address(at + 32, socket.remote);
    bytes.address(at + 48, socket.local);
}

fn handle_of(socket: &Socket) -> u64 {
    if socket.handle != 0 {
        return socket.handle;
    }
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (socket.family, socket.kind, socket.protocol).hash(&mut hasher);
    (socket.local, socket.remote, &socket.name, socket.vsock).hash(&mut hasher);
    hasher.finish() | 1
}

fn fixed(size: i32, needed: i32) -> Result<(), i32> {
    if size < needed {
        Err(libc::ENOMEM)
    } else {
        Ok(())
    }
}

fn errno_of(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::NoSuchProcess => libc::ESRCH,
        Refusal::AnotherUsers => libc::EPERM,
    }
}

fn refuse(code: i32) -> i32 {
    raw::set_errno(code);
    0
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A C structure, field by field.
struct Record(Vec<u8>);

impl Record {
    fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn u16(&mut self, at: usize, value: u16) {
        self.bytes(at, &value.to_ne_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.bytes(at, &value.to_ne_bytes());
    }

    fn u32s(&mut self, at: usize, values: &[u32]) {
        for (index, value) in values.iter().enumerate() {
            self.u32(at + 4 * index, *value);
        }
    }

    fn i32(&mut self, at: usize, value: i32) {
        self.bytes(at, &value.to_ne_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.bytes(at, &value.to_ne_bytes());
    }

    /// A string that ends with a zero within `size`, cut where it is longer.
    fn text(&mut self, at: usize, size: usize, text: &str) {
        let length = text.len().min(size - 1);
        self.bytes(at, &text.as_bytes()[..length]);
    }

    /// 16 bytes: an IPv4 address is the last four.
    fn address(&mut self, at: usize, address: Option<SocketAddr>) {
        match address.map(|address| address.ip()) {
            Some(IpAddr::V4(address)) => self.bytes(at + 12, &address.octets()),
            Some(IpAddr::V6(address)) => self.bytes(at, &address.octets()),
            None => {}
        }
    }
}
