//! libproc, sysctl and the clocks.

use super::foreign::*;
use darwin_double::machine::{self, FileKind, Process, Socket};
use std::ffi::{CStr, c_int};
use std::ptr::null;
use std::time::Duration;

const PROC_PIDLISTFDS: c_int = 1;
const PROC_PIDTBSDINFO: c_int = 3;
const PROC_PIDT_SHORTBSDINFO: c_int = 13;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn text_at(bytes: &[u8], at: usize) -> &str {
    CStr::from_bytes_until_nul(&bytes[at..])
        .unwrap()
        .to_str()
        .unwrap()
}

fn information<const N: usize>(pid: i32, flavor: c_int, zombies: u64) -> (c_int, [u8; N]) {
    // SAFETY: the buffer is as long as is said.
    with_buffer(|buffer, size| unsafe { proc_pidinfo(pid, flavor, zombies, buffer, size) })
}

fn listed() -> Vec<i32> {
    // SAFETY: no buffer is asked for its size, and the one below is as long as is said.
    unsafe {
        let room = proc_listallpids(std::ptr::null_mut(), 0);
        let mut pids = vec![0; room as usize];
        let count = proc_listallpids(pids.as_mut_ptr().cast(), room * 4);
        pids.truncate(count as usize);
        pids
    }
}

#[test]
fn all_processes_are_listed_the_ended_ones_too() {
    let _machine = machine::lock();
    machine::add(Process::new(500));
    machine::add(Process::new(501));
    machine::exit_unreaped(500);
    machine::exit(501);
    let mut pids = listed();
    pids.sort_unstable();
    let mut expected = [0, 1, 500, machine::own_pid()];
    expected.sort_unstable();
    assert_eq!(pids, expected);
}

#[test]
fn a_list_that_is_too_long_is_cut() {
    let _machine = machine::lock();
    // SAFETY: the buffer is as long as is said.
    let (count, _) = with_buffer::<8>(|buffer, size| unsafe { proc_listallpids(buffer, size) });
    assert_eq!(count, 2);
}

#[test]
fn a_process_is_described_as_the_structure_has_it() {
    let _machine = machine::lock();
    let mut process = Process::new(700)
        .at("/usr/bin/a-name-of-more-than-fifteen")
        .child_of(42);
    process.started = (1_700_000_123, 456_789);
    (process.real_user, process.real_group) = (502, 80);
    machine::add(process);
    let (size, bytes) = information::<136>(700, PROC_PIDTBSDINFO, 0);
    assert_eq!(size, 136);
    assert_eq!(
        [12, 16, 20, 24, 28, 32].map(|at| u32_at(&bytes, at)),
        [700, 42, 501, 20, 502, 80]
    );
    assert_eq!(text_at(&bytes, 48), "a-name-of-more-");
    assert_eq!(text_at(&bytes, 64), "a-name-of-more-than-fifteen");
    assert_eq!(
        (u64_at(&bytes, 120), u64_at(&bytes, 128)),
        (1_700_000_123, 456_789)
    );
}

#[test]
fn who_is_not_root_sees_the_short_structure_of_others_only() {
    let _machine = machine::lock();
    machine::add(Process::new(700).of_user(502, 20));
    machine::add(Process::new(701));
    machine::set_root(false);
    assert_eq!(information::<136>(700, PROC_PIDTBSDINFO, 0).0, 0);
    assert_eq!(errno(), libc::EPERM);
    let (size, bytes) = information::<64>(700, PROC_PIDT_SHORTBSDINFO, 0);
    assert_eq!((size, u32_at(&bytes, 0), u32_at(&bytes, 4)), (64, 700, 1));
    assert_eq!([36, 44].map(|at| u32_at(&bytes, at)), [502, 502]);
    assert_eq!(information::<136>(701, PROC_PIDTBSDINFO, 0).0, 136);
}

#[test]
fn a_process_that_ended_is_described_only_to_who_asks_for_ended_ones() {
    let _machine = machine::lock();
    machine::add(Process::new(700));
    machine::exit_unreaped(700);
    assert_eq!(
        (information::<136>(700, PROC_PIDTBSDINFO, 0).0, errno()),
        (0, libc::ESRCH)
    );
    assert_eq!(information::<136>(700, PROC_PIDTBSDINFO, 1).0, 136);
    assert_eq!(
        (information::<136>(701, PROC_PIDTBSDINFO, 1).0, errno()),
        (0, libc::ESRCH)
    );
}

#[test]
fn a_buffer_too_small_or_an_unknown_flavor_is_refused() {
    let _machine = machine::lock();
    assert_eq!(
        (information::<135>(1, PROC_PIDTBSDINFO, 0).0, errno()),
        (0, libc::ENOMEM)
    );
    assert_eq!((information::<136>(1, 99, 0).0, errno()), (0, libc::EINVAL));
}

fn socket_bytes(pid: i32, descriptor: c_int) -> (c_int, [u8; 792]) {
    // SAFETY: the buffer is as long as is said.
    with_buffer(|buffer, size| unsafe { proc_pidfdinfo(pid, descriptor, 3, buffer, size) })
}

#[test]
fn open_files_are_listed_with_their_kind() {
    let _machine = machine::lock();
    machine::add(
        Process::new(700)
            .holding(FileKind::VNODE)
            .holding(Socket::listening("[::]:443"))
            .holding(FileKind::CHANNEL),
    );
    let (size, bytes) = information::<64>(700, PROC_PIDLISTFDS, 0);
    assert_eq!(size, 24);
    let entries: Vec<_> = (0..3)
        .map(|entry| (u32_at(&bytes, entry * 8), u32_at(&bytes, entry * 8 + 4)))
        .collect();
    assert_eq!(entries, [(3, 1), (4, 2), (5, 10)]);
    // SAFETY: no buffer is asked for its size.
    let room = unsafe { proc_pidinfo(700, PROC_PIDLISTFDS, 0, std::ptr::null_mut(), 0) };
    assert_eq!(room, (3 + 20) * 8);
    assert_eq!(information::<16>(700, PROC_PIDLISTFDS, 0).0, 16);
}

#[test]
fn a_connection_is_described_as_the_structure_has_it() {
    let _machine = machine::lock();
    let socket = Socket::tcp("192.0.2.1:50000", "198.51.100.2:443").with_handle(77);
    machine::add(Process::new(700).holding(socket));
    let (size, bytes) = socket_bytes(700, 3);
    assert_eq!(size, 792);
    assert_eq!(u64_at(&bytes, 24 + 136), 77);
    assert_eq!(
        [152, 156, 160, 232].map(|at| u32_at(&bytes, 24 + at)),
        [1, 6, 2, 2]
    );
    let part = &bytes[24 + 240..];
    assert_eq!([part[0], part[1]], 443_u16.to_be_bytes());
    assert_eq!([part[4], part[5]], 50_000_u16.to_be_bytes());
    assert_eq!(part[24], 1);
    assert_eq!(
        part[32..48],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 198, 51, 100, 2]
    );
    assert_eq!(part[60..64], [192, 0, 2, 1]);
    assert_eq!(u32_at(part, 80), 4);
}

#[test]
fn ipv4_through_an_ipv6_socket_says_so_in_the_version() {
    let _machine = machine::lock();
    let socket = Socket::tcp("192.0.2.1:80", "198.51.100.2:5000").through_ipv6(1);
    machine::add(
        Process::new(700)
            .holding(socket)
            .holding(Socket::udp("[2001:db8::1]:53")),
    );
    let (_, bytes) = socket_bytes(700, 3);
    assert_eq!((u32_at(&bytes, 24 + 160), bytes[24 + 240 + 24]), (30, 1));
    let (_, bytes) = socket_bytes(700, 4);
    assert_eq!((u32_at(&bytes, 24 + 160), bytes[24 + 240 + 24]), (30, 2));
    assert_eq!(bytes[24 + 240 + 48..][..4], [0x20, 0x01, 0x0d, 0xb8]);
    assert_eq!(u32_at(&bytes, 24 + 232), 1);
}

#[test]
fn sockets_of_other_families_have_other_kinds() {
    let _machine = machine::lock();
    machine::add(
        Process::new(700)
            .holding(Socket::unix("/var/run/syslog"))
            .holding(Socket::vsock([2, 1024], [3, 22]))
            .holding(Socket::kernel_control("com.apple.net.utun_control"))
            .holding(Socket::raw("192.0.2.1:0", 1))
            .holding(FileKind::CHANNEL),
    );
    let kinds = [3, 4, 5, 6].map(|descriptor| u32_at(&socket_bytes(700, descriptor).1, 24 + 232));
    assert_eq!(kinds, [3, 7, 6, 1]);
    assert_eq!((socket_bytes(700, 7).0, errno()), (0, libc::ENOTSOCK));
    assert_eq!((socket_bytes(700, 8).0, errno()), (0, libc::EBADF));
}

#[test]
fn a_token_is_read_by_its_accessors() {
    let _machine = machine::lock();
    let mut process = Process::new(700).with_version(9);
    (
        process.login_user,
        process.effective_user,
        process.effective_group,
    ) = (1, 2, 3);
    (process.real_user, process.real_group, process.session) = (4, 5, 6);
    let token = AuditToken::new(machine::add(process));
    assert_eq!(audit_token_to_auid(token), 1);
    assert_eq!(audit_token_to_euid(token), 2);
    assert_eq!(audit_token_to_egid(token), 3);
    assert_eq!(audit_token_to_ruid(token), 4);
    assert_eq!(audit_token_to_rgid(token), 5);
    assert_eq!(audit_token_to_pid(token), 700);
    assert_eq!(audit_token_to_asid(token), 6);
    assert_eq!(audit_token_to_pidversion(token), 9);
}

fn path(token: [u8; 32]) -> Result<String, i32> {
    let token = AuditToken::new(token);
    let (length, bytes) = with_buffer::<4096>(|buffer, size| {
        // SAFETY: the token is one, and the buffer is as long as is said.
        unsafe { proc_pidpath_audittoken(&token, buffer, size as u32) }
    });
    if length == 0 {
        return Err(errno());
    }
    Ok(String::from_utf8(bytes[..length as usize].to_vec()).unwrap())
}

#[test]
fn the_path_belongs_to_the_image_the_token_names() {
    let _machine = machine::lock();
    machine::set_root(false);
    let token = machine::add(Process::new(700).at("/bin/sh").of_user(0, 0));
    assert_eq!(path(token).as_deref(), Ok("/bin/sh"));
    let after = machine::exec(700, |process| {
        process.path = Some("/usr/bin/curl".to_owned())
    });
    assert_eq!(path(token), Err(libc::ESRCH));
    assert_eq!(path(after).as_deref(), Ok("/usr/bin/curl"));
    machine::change(700, |process| process.deleted = true);
    assert_eq!(path(after), Err(libc::ENOENT));
    machine::exit(700);
    assert_eq!(path(after), Err(libc::ESRCH));
    assert_eq!(path(machine::token(0)), Err(libc::ESRCH));
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let _machine = machine::lock();
    let before = machine::add(Process::new(700).at("/bin/one"));
    machine::exit(700);
    let after = machine::add(Process::new(700).at("/bin/two"));
    assert_ne!(before, after);
    assert_eq!(
        (path(before), path(after)),
        (Err(libc::ESRCH), Ok("/bin/two".to_owned()))
    );
}

#[test]
fn a_path_by_pid_belongs_to_whatever_runs_there() {
    let _machine = machine::lock();
    let path = |pid| {
        // SAFETY: the buffer is as long as is said.
        with_buffer::<1024>(|buffer, size| unsafe { proc_pidpath(pid, buffer, size as u32) })
    };
    let (length, bytes) = path(1);
    assert_eq!((length, text_at(&bytes, 0)), (13, "/sbin/launchd"));
    assert_eq!((path(700).0, errno()), (0, libc::ESRCH));
    machine::add(Process::new(700).at(&format!("/{}", "a".repeat(1100))));
    assert_eq!((path(700).0, errno()), (0, libc::ESRCH));
}

#[test]
fn a_path_buffer_has_a_least_and_a_greatest_size() {
    let _machine = machine::lock();
    let token = AuditToken::new(machine::token(1));
    let ask = |size: u32| {
        let mut buffer = vec![0_u8; size as usize];
        // SAFETY: the token is one, and the buffer is as long as is said.
        unsafe { proc_pidpath_audittoken(&token, buffer.as_mut_ptr().cast(), size) }
    };
    assert_eq!((ask(1023), errno()), (0, libc::ENOMEM));
    assert_eq!(ask(1024), 13);
    assert_eq!((ask(4097), errno()), (0, libc::EOVERFLOW));
}

fn variable(name: &CStr, room: usize) -> Result<Vec<u8>, (i32, usize)> {
    let mut bytes = vec![0xEE; room];
    let mut size = room;
    // SAFETY: the buffer is as long as is said.
    let answer = unsafe {
        sysctlbyname(
            name.as_ptr(),
            bytes.as_mut_ptr().cast(),
            &mut size,
            null(),
            0,
        )
    };
    bytes.truncate(size);
    if answer == 0 {
        Ok(bytes)
    } else {
        Err((errno(), size))
    }
}

fn size_of_variable(name: &CStr) -> usize {
    let mut size = 0;
    // SAFETY: no buffer is asked for its size.
    let answer = unsafe { sysctlbyname(name.as_ptr(), std::ptr::null_mut(), &mut size, null(), 0) };
    assert_eq!(answer, 0);
    size
}

#[test]
fn a_variable_has_a_size_and_needs_it() {
    let _machine = machine::lock();
    let name = c"kern.bootsessionuuid";
    assert_eq!(size_of_variable(name), 37);
    let value = variable(name, 37).unwrap();
    assert_eq!(text_at(&value, 0), "6B29FC40-CA47-1067-B31D-00DD010662DA");
    assert_eq!(variable(name, 36), Err((libc::ENOMEM, 0)));
    assert_eq!(variable(c"kern.nothing", 36), Err((libc::ENOENT, 36)));
    machine::remove_variable("kern.bootsessionuuid");
    assert_eq!(variable(name, 37), Err((libc::ENOENT, 37)));
}

#[test]
fn counters_of_tcp_are_cut_and_not_refused() {
    let _machine = machine::lock();
    machine::tcp(|stats| (stats.attempts, stats.accepts, stats.connects) = (7, 8, 9));
    let name = c"net.inet.tcp.stats";
    assert_eq!(size_of_variable(name), 992);
    let value = variable(name, 2000).unwrap();
    assert_eq!(value.len(), 992);
    assert_eq!([0, 4, 8].map(|at| u32_at(&value, at)), [7, 8, 9]);
    assert_eq!(variable(name, 8).unwrap().len(), 8);
    machine::tcp(|stats| stats.size = machine::TCP_STATS_MACOS_13);
    assert_eq!(size_of_variable(name), 976);
    machine::set_root(false);
    assert_eq!(variable(name, 976).unwrap(), [0; 976]);
}

fn arguments(pid: i32, room: usize) -> Result<Vec<u8>, i32> {
    let mut bytes = vec![0xEE; room];
    let mut size = room;
    // SAFETY: the buffer is as long as is said.
    let answer = unsafe {
        sysctl(
            [1, 49, pid].as_ptr(),
            3,
            bytes.as_mut_ptr().cast(),
            &mut size,
            null(),
            0,
        )
    };
    bytes.truncate(size);
    if answer == 0 { Ok(bytes) } else { Err(errno()) }
}

#[test]
fn arguments_stand_between_the_path_and_the_environment() {
    let _machine = machine::lock();
    machine::add(
        Process::new(700)
            .at("/bin/ls")
            .with_arguments(&["ls", "-l", ""]),
    );
    let bytes = arguments(700, 4096).unwrap();
    assert_eq!(u32_at(&bytes, 0), 3);
    assert_eq!(
        bytes[4..],
        *b"/bin/ls\0ls\0-l\0\0HOME=/Users/anna\0TOKEN=hunter2\0"
    );
    machine::change(700, |process| process.restricted = true);
    assert_eq!(arguments(700, 4096).unwrap()[4..], *b"/bin/ls\0ls\0-l\0\0");
}

#[test]
fn a_path_is_followed_by_zeros_up_to_a_word() {
    let _machine = machine::lock();
    machine::add(Process::new(700).at("/bin/cat"));
    assert_eq!(
        arguments(700, 4096).unwrap()[4..24],
        *b"/bin/cat\0\0\0\0\0\0\0\0cat\0"
    );
}

#[test]
fn arguments_of_others_of_the_gone_and_for_too_small_a_buffer() {
    let _machine = machine::lock();
    machine::add(Process::new(700).of_user(502, 20));
    assert!(arguments(700, 4096).is_ok());
    assert_eq!(arguments(700, 4), Err(libc::EINVAL));
    assert_eq!(arguments(700, 2 << 20), Err(libc::EINVAL));
    // Too small is no error: it gets zeros, or the end of the area.
    assert_eq!(arguments(700, 24).map(|bytes| bytes.len()), Ok(24));
    assert_eq!(arguments(701, 4096), Err(libc::EINVAL));
    machine::set_root(false);
    assert_eq!(arguments(700, 4096), Err(libc::EINVAL));
}

#[test]
fn the_clock_ticks_as_the_machine_says() {
    let _machine = machine::lock();
    let before = mach_continuous_time();
    assert!(mach_continuous_time() >= before);
    machine::clock(|clock| {
        (clock.continuous_ticks, clock.absolute_ticks) = (Some(48), Some(24));
        clock.timebase = (125, 3);
    });
    assert_eq!((mach_continuous_time(), mach_absolute_time()), (48, 24));
    // SAFETY: the place is one.
    let timebase: Timebase = with_place(|place| unsafe { mach_timebase_info(place) }).unwrap();
    assert_eq!((timebase.numerator, timebase.denominator), (125, 3));
}

#[test]
fn calls_are_counted_and_listed_by_thread() {
    let _machine = machine::lock();
    machine::called_on_this_thread();
    listed();
    std::thread::spawn(listed).join().unwrap();
    assert_eq!(machine::calls_of("proc_listallpids"), 4);
    assert_eq!(machine::called_on_this_thread(), ["proc_listallpids"; 2]);
    assert_eq!(machine::called_on_this_thread(), [""; 0]);
}

#[test]
fn a_call_can_be_made_to_fail() {
    let _machine = machine::lock();
    machine::add(Process::new(700));
    machine::on("proc_pidinfo").of(700).nth(2).fail(libc::EPERM);
    let ask = || information::<136>(700, PROC_PIDTBSDINFO, 0).0;
    assert_eq!(
        (ask(), information::<136>(1, PROC_PIDTBSDINFO, 0).0),
        (136, 136)
    );
    assert_eq!((ask(), errno()), (0, libc::EPERM));
    assert_eq!(ask(), 136);
    machine::on("proc_pidinfo").fail(libc::EINTR);
    assert_eq!((ask(), ask(), errno()), (0, 0, libc::EINTR));
}

#[test]
fn something_can_happen_before_a_call() {
    let _machine = machine::lock();
    let token = machine::add(Process::new(700).at("/bin/one"));
    machine::on("proc_pidpath_audittoken")
        .of(700)
        .nth(1)
        .run(|| {
            machine::add(Process::new(700).at("/bin/two"));
        });
    assert_eq!(path(token), Err(libc::ESRCH));
}

#[test]
fn a_call_can_be_held_until_the_test_lets_it_go() {
    let _machine = machine::lock();
    let hold = machine::on("proc_listallpids").nth(2).hold();
    let caller = std::thread::spawn(|| listed().len());
    assert!(hold.wait_for(1, Duration::from_secs(60)));
    assert!(!caller.is_finished());
    drop(hold);
    assert_eq!(caller.join().unwrap(), 3);
}

#[test]
#[should_panic(expected = "proc_pidinf is not among the doubled functions")]
fn a_rule_for_a_name_that_is_not_exported_is_refused() {
    let _machine = machine::lock();
    machine::on("proc_pidinf").fail(1);
}
