//! `sys/sysctl.h`: variables of the kernel, and the arguments of processes.
//!
//! Seen in `bsd/kern/kern_newsysctl.c` (sizes and errors), `bsd/kern/kern_sysctl.c` (arguments)
//! and `bsd/netinet/tcp_input.c` (counters of TCP).

use crate::machine::{Machine, Process, enter, machine};
use crate::raw;
use std::ffi::{c_char, c_void};

/// `ARG_MAX` of macOS: more than this is never asked for.
pub(crate) const ARGUMENT_SIZE_MAX: i32 = 1024 * 1024;
/// `CTL_KERN`.
const CTL_KERN: i32 = 1;
/// `KERN_PROCARGS2`.
const KERN_PROCARGS2: i32 = 49;
/// The page size of Apple silicon, to which the kernel rounds what it copies.
const PAGE: usize = 16 * 1024;
/// What stands before the path in the process, and is left out for old callers.
const PATH_PREFIX: usize = "executable_path=".len();

/// `sys/sysctl.h`: a variable by its name. 0, or -1 with the reason in `errno`.
///
/// With no buffer, the size that is needed; with one too small `ENOMEM` and the size 0. The
/// counters of TCP are different: of them as much is copied as there is room for.
#[unsafe(no_mangle)]
extern "C-unwind" fn sysctlbyname(
    name: *const c_char,
    old: *mut c_void,
    old_size: *mut usize,
    new: *const c_void,
    new_size: usize,
) -> i32 {
    if let Some(code) = enter("sysctlbyname", None) {
        return refuse(code);
    }
    if !new.is_null() || new_size != 0 {
        return refuse(libc::EPERM);
    }
    let name = raw::text(name).to_string_lossy();
    let Some((value, cut)) = variable(&machine(), &name) else {
        return refuse(libc::ENOENT);
    };
    hand_out(&value, cut, old, old_size)
}

/// `sys/sysctl.h`: a variable by its number: of those only `{CTL_KERN, KERN_PROCARGS2, pid}`.
#[unsafe(no_mangle)]
extern "C-unwind" fn sysctl(
    name: *const i32,
    length: u32,
    old: *mut c_void,
    old_size: *mut usize,
    new: *const c_void,
    new_size: usize,
) -> i32 {
    let name = raw::values(name, length as isize);
    let pid = name.get(2).copied();
    if let Some(code) = enter("sysctl", pid) {
        return refuse(code);
    }
    if !new.is_null() || new_size != 0 {
        return refuse(libc::EPERM);
    }
    match (name.as_slice(), raw::get(old_size)) {
        ([CTL_KERN, KERN_PROCARGS2, pid], Some(size)) => arguments(*pid, old, size, old_size),
        _ => refuse(libc::ENOENT),
    }
}

fn variable(machine: &Machine, name: &str) -> Option<(Vec<u8>, bool)> {
    if name == "net.inet.tcp.stats" {
        return Some((machine.tcp.bytes(machine.root), true));
    }
    machine
        .variables
        .get(name)
        .map(|value| (value.clone(), false))
}

fn hand_out(value: &[u8], cut: bool, old: *mut c_void, old_size: *mut usize) -> i32 {
    if old.is_null() {
        raw::put(old_size, value.len());
        return 0;
    }
    let room = raw::get(old_size).unwrap_or(0);
    if room < value.len() && !cut {
        raw::put(old_size, 0);
        return refuse(libc::ENOMEM);
    }
    let copied = value.len().min(room);
    raw::fill(old.cast(), &value[..copied]);
    raw::put(old_size, copied);
    0
}

/// `sysctl_procargsx`: the number of arguments, the path, the arguments, the environment. A
/// process that is gone or another user's is `EINVAL`, the same as a senseless size.
fn arguments(pid: i32, old: *mut c_void, size: usize, old_size: *mut usize) -> i32 {
    let machine = machine();
    let Some(process) = machine.running(pid) else {
        return refuse(libc::EINVAL);
    };
    if process.path.is_none() {
        return refuse(libc::EINVAL);
    }
    let omitted = process.restricted && pid != crate::machine::own_pid();
    let area = argument_area(process, omitted);
    if old.is_null() {
        if omitted && !machine.may_look_into(process) {
            return refuse(libc::EINVAL);
        }
        raw::put(
            old_size,
            (area.len() + size_of::<i32>()).next_multiple_of(size_of::<i32>()),
        );
        return 0;
    }
    let room = size.wrapping_sub(size_of::<i32>());
    if room == 0 || room > ARGUMENT_SIZE_MAX as usize || !machine.may_look_into(process) {
        return refuse(libc::EINVAL);
    }
    let count = i32::try_from(process.arguments.len()).unwrap_or(i32::MAX);
    let answer = [&count.to_ne_bytes(), cut_area(&area, room).as_slice()].concat();
    raw::fill(old.cast(), &answer);
    raw::put(old_size, answer.len());
    0
}

/// The strings as they stand in the process: the path is followed by zeros up to a word.
fn argument_area(process: &Process, without_environment: bool) -> Vec<u8> {
    let mut area = process.path.clone().unwrap_or_default().into_bytes();
    area.push(0);
    let aligned = (PATH_PREFIX + area.len()).next_multiple_of(8) - PATH_PREFIX;
    area.resize(aligned, 0);
    let environment = process.environment.iter().filter(|_| !without_environment);
    for text in process.arguments.iter().chain(environment) {
        area.extend_from_slice(text);
        area.push(0);
    }
    area
}

/// What a buffer that is too small gets: the *end* of the area, and zeros where the kernel of old
/// had read too little. No error says so.
fn cut_area(area: &[u8], room: usize) -> Vec<u8> {
    if room >= area.len() {
        return area.to_vec();
    }
    let mut pages = vec![0; area.len().next_multiple_of(PAGE)];
    let end = pages.len();
    pages[end - area.len()..].copy_from_slice(area);
    let kept_from = end.saturating_sub(room.next_multiple_of(PAGE));
    pages[kept_from + room..].fill(0);
    pages[end - room..].to_vec()
}

fn refuse(code: i32) -> i32 {
    raw::set_errno(code);
    -1
}
