//! What the kernel's structures say. Pure: bytes in, values out, and whatever the bytes are there
//! is an answer.
//!
//! Offsets are those of 64-bit programs, taken from the headers of xnu-11417.101.15 (macOS 15.4)
//! that each function names. Numbers stand in the byte order of the machine.

use record::{Endpoint, Protocol, Wall};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What `PROC_PIDTBSDINFO` tells of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessFacts {
    /// Process id.
    pub(crate) pid: u32,
    /// Process id of its parent now, which is 1 once the one that forked it is gone.
    pub(crate) parent_pid: u32,
    /// Whose rights it has.
    pub(crate) effective_uid: u32,
    /// Who it runs as.
    pub(crate) real_uid: u32,
    /// When it was forked.
    pub(crate) start: StartTime,
    /// What it calls itself, else the first bytes of its file's name.
    pub(crate) name: Option<Arc<str>>,
}

/// When a process was forked, by the wall clock of that moment. Setting the clock does not change
/// it, so it tells the users of one process id apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StartTime {
    /// Whole seconds since 1970.
    pub(crate) seconds: u64,
    /// And microseconds, below a million.
    pub(crate) micros: u32,
}

impl StartTime {
    /// The same in nanoseconds; stops at the end of the range.
    pub(crate) fn wall(self) -> Wall {
        let ns = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.micros) * 1_000;
        Wall(i64::try_from(ns).unwrap_or(i64::MAX))
    }
}

/// One internet socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InternetSocket {
    /// TCP or UDP.
    pub(crate) protocol: Protocol,
    /// What it is used for now.
    pub(crate) state: SocketState,
    /// This machine's side.
    pub(crate) local: Endpoint,
    /// The other side.
    pub(crate) remote: Endpoint,
    /// Counts the protocol blocks of this boot, so it tells sockets with equal addresses apart.
    pub(crate) generation: u64,
}

/// What a socket is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketState {
    /// It waits for connections.
    Listening,
    /// It sent the first segment and waits for the answer.
    Connecting,
    /// It got a first segment and answered.
    Accepting,
    /// It is connected; TCP may be closing.
    Connected,
    /// None of these.
    Unconnected,
}

/// What a descriptor turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketReading {
    /// A TCP or UDP socket.
    Internet(InternetSocket),
    /// A socket of another kind.
    Other,
    /// Something in a form that is not known here.
    Unreadable,
}

/// What the kernel counted since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpStatistics {
    /// Attempts to connect, of all interfaces.
    pub(crate) attempts: u32,
    /// First segments that met a listener.
    pub(crate) accepts: u32,
}

/// `sizeof(struct proc_bsdinfo)`, `sys/proc_info.h`.
pub(crate) const PROCESS_FACTS_BYTES: usize = 136;

/// Reads `struct proc_bsdinfo` of `sys/proc_info.h`.
pub(crate) fn process_facts(bytes: &[u8]) -> Option<ProcessFacts> {
    if bytes.len() != PROCESS_FACTS_BYTES {
        return None;
    }
    let micros = u32::try_from(u64_at(bytes, 128)?).ok()?;
    Some(ProcessFacts {
        pid: u32_at(bytes, 12)?,
        parent_pid: u32_at(bytes, 16)?,
        effective_uid: u32_at(bytes, 20)?,
        real_uid: u32_at(bytes, 28)?,
        start: StartTime {
            seconds: u64_at(bytes, 120)?,
            micros: Some(micros).filter(|micros| *micros < 1_000_000)?,
        },
        name: text_before_nul(&bytes[64..96]).or_else(|| text_before_nul(&bytes[48..64])),
    })
}

/// The descriptors that are sockets, from an array of `struct proc_fdinfo` of `sys/proc_info.h`.
pub(crate) fn socket_descriptors(bytes: &[u8]) -> impl Iterator<Item = i32> {
    let (entries, _) = bytes.as_chunks::<DESCRIPTOR_BYTES>();
    entries.iter().filter_map(|entry| {
        let kind = u32_at(entry, 4)?;
        (kind == KIND_SOCKET).then(|| u32_at(entry, 0).map(u32::cast_signed))?
    })
}

/// `sizeof(struct proc_fdinfo)`, `sys/proc_info.h`.
pub(crate) const DESCRIPTOR_BYTES: usize = 8;

/// `PROX_FDTYPE_SOCKET`, `sys/proc_info.h`.
const KIND_SOCKET: u32 = 2;

/// `sizeof(struct socket_fdinfo)`, `sys/proc_info.h`.
pub(crate) const SOCKET_BYTES: usize = 792;

/// Reads `struct socket_fdinfo` of `sys/proc_info.h`.
pub(crate) fn socket(bytes: &[u8]) -> SocketReading {
    if bytes.len() != SOCKET_BYTES {
        return SocketReading::Unreadable;
    }
    let number = |offset| u32_at(bytes, SOCKET_INFO + offset).unwrap_or_default();
    let (kind, family) = (number(232), number(160));
    let protocol = match (kind, number(152), number(156)) {
        (SOCKINFO_TCP, _, _) => Protocol::Tcp,
        (SOCKINFO_IN, SOCK_DGRAM, IPPROTO_UDP) => Protocol::Udp,
        _ => return SocketReading::Other,
    };
    if family != AF_INET && family != AF_INET6 {
        return SocketReading::Unreadable;
    }
    let internet = &bytes[SOCKET_INFO + 240..];
    let versions = match internet[24] & (INI_IPV4 | INI_IPV6) {
        0 if family == AF_INET => INI_IPV4,
        0 => INI_IPV6,
        versions => versions,
    };
    let remote = endpoint(&internet[32..48], &internet[..2], versions);
    let local = endpoint(&internet[48..64], &internet[4..6], versions);
    let Some(state) = state(protocol, number(240 + 80), &remote) else {
        return SocketReading::Unreadable;
    };
    SocketReading::Internet(InternetSocket {
        protocol,
        state,
        local,
        remote,
        generation: u64_at(internet, 8).unwrap_or_default(),
    })
}

/// Where `struct socket_info` begins in `struct socket_fdinfo`.
const SOCKET_INFO: usize = 24;

// `SOCKINFO_…` and `INI_IPV…` of `sys/proc_info.h`; `AF_…` and `SOCK_…` of `sys/socket.h`.
const SOCKINFO_IN: u32 = 1;
const SOCKINFO_TCP: u32 = 2;
const INI_IPV4: u8 = 1;
const INI_IPV6: u8 = 2;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 30;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_UDP: u32 = 17;

/// `None` for a state that `TSI_S_…` of `sys/proc_info.h` does not list.
fn state(protocol: Protocol, tcp_state: u32, remote: &Endpoint) -> Option<SocketState> {
    let has_peer = remote.address.is_some() && remote.port.is_some();
    let state = match (protocol, tcp_state) {
        (Protocol::Tcp, 1) => SocketState::Listening,
        (Protocol::Tcp, 2) => SocketState::Connecting,
        (Protocol::Tcp, 3) => SocketState::Accepting,
        (Protocol::Tcp, 4..=9) => SocketState::Connected,
        (Protocol::Tcp, 0 | 10) => SocketState::Unconnected,
        (Protocol::Tcp, _) => return None,
        (Protocol::Udp | Protocol::Other(_), _) => SocketState::Connected,
    };
    let needs_peer = state != SocketState::Listening;
    Some(if needs_peer && !has_peer {
        SocketState::Unconnected
    } else {
        state
    })
}

/// The port stands in network order at the front of a field of four bytes, because the kernel
/// copies it there as it is (XNU `bsd/kern/socket_info.c`).
fn endpoint(address_bytes: &[u8], port: &[u8], versions: u8) -> Endpoint {
    let port = u16::from_be_bytes([port[0], port[1]]);
    Endpoint {
        address: address(address_bytes, versions).filter(|address| !address.is_unspecified()),
        port: Some(port).filter(|port| *port != 0),
    }
}

fn address(bytes: &[u8], versions: u8) -> Option<IpAddr> {
    let mut octets: [u8; 16] = bytes.try_into().ok()?;
    // An IPv4 address stands in the last four bytes, after nothing or after the mark of a mapped
    // one. A socket that speaks both versions has no address yet.
    if versions == INI_IPV4 {
        return Some(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]).into());
    }
    // The kernel keeps the number of the interface inside the addresses that need one, where the
    // address itself has zeros (XNU `bsd/netinet6/scope6.c`).
    if matches!(octets, [0xfe, 0x80..=0xbf, ..] | [0xff, 0x01 | 0x02, ..]) {
        octets[2..4].fill(0);
    }
    Some(Ipv6Addr::from(octets).to_canonical())
}

/// The arguments in what `KERN_PROCARGS2` of `sys/sysctl.h` gives, quoted where that is needed to
/// tell where one ends; `None` where there are none.
///
/// The buffer holds the number of arguments, the path of the executable, the arguments and then
/// the environment, which nothing separates from them but their number. A program that joins its
/// arguments by writing over the ends between them makes that number reach further: what the
/// kernel says is all there is to go by.
pub(crate) fn arguments(bytes: &[u8]) -> Option<Arc<str>> {
    let count = usize::try_from(u32_at(bytes, 0)?.cast_signed()).ok()?;
    let strings = &bytes[4..];
    let path_bytes = strings.iter().position(|byte| *byte == 0)?;
    let arguments = strings.get(aligned(path_bytes + 1)..)?;
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(arguments);
    let mut text = String::new();
    for argument in arguments.split(|byte| *byte == 0).take(count) {
        if !text.is_empty() {
            text.push(' ');
        }
        quote(&String::from_utf8_lossy(argument), &mut text);
        if text.len() > ARGUMENTS_BYTES_MAX {
            text.truncate(text.floor_char_boundary(ARGUMENTS_BYTES_MAX));
            text.push('…');
            break;
        }
    }
    Some(text).filter(|text| !text.is_empty()).map(Arc::from)
}

/// The arguments begin at the next multiple of a pointer's size (XNU `bsd/kern/kern_exec.c`,
/// `exec_extract_strings`). To skip all zeros instead would skip an empty first argument, and so
/// take the first variable of the environment for the last argument.
fn aligned(offset: usize) -> usize {
    offset.next_multiple_of(8)
}

/// More tells nobody more.
const ARGUMENTS_BYTES_MAX: usize = 4_096;

fn quote(argument: &str, text: &mut String) {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-+=:,./@%^~".contains(letter);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        text.push_str(argument);
        return;
    }
    text.push('\'');
    for letter in argument.chars() {
        match letter {
            '\'' => text.push_str("'\\''"),
            letter if letter.is_control() => text.extend(letter.escape_default()),
            letter => text.push(letter),
        }
    }
    text.push('\'');
}

/// Reads `struct tcpstat` of XNU `bsd/netinet/tcp_var.h`, which no header of the SDK promises.
///
/// # Errors
/// Why it cannot be read, in words.
pub(crate) fn tcp_statistics(bytes: &[u8]) -> Result<TcpStatistics, String> {
    if !TCP_STATISTICS_BYTES.contains(&bytes.len()) {
        return Err(format!(
            "the kernel's TCP counters have a form that is not known here ({} bytes)",
            bytes.len()
        ));
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Err("the kernel shows its TCP counters to root only".to_owned());
    }
    Ok(TcpStatistics {
        attempts: u32_at(bytes, 0).unwrap_or_default(),
        accepts: u32_at(bytes, 4).unwrap_or_default(),
    })
}

/// `sizeof(struct tcpstat)`, compiled from the sources: from xnu-8792 (macOS 13) to xnu-10063
/// (macOS 14), and from xnu-11215 to xnu-11417 (macOS 15). In all of them the structure begins
/// with `tcps_connattempt` and `tcps_accepts`, of 32 bits each.
const TCP_STATISTICS_BYTES: [usize; 2] = [976, 992];

fn text_before_nul(bytes: &[u8]) -> Option<Arc<str>> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into())
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .copied()
        .map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes
        .get(offset..)?
        .first_chunk()
        .copied()
        .map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure of zeros with some of its fields set.
    fn structure(bytes: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut structure = vec![0; bytes];
        for (offset, field) in fields {
            structure[*offset..offset + field.len()].copy_from_slice(field);
        }
        structure
    }

    fn word(number: u32) -> [u8; 4] {
        number.to_ne_bytes()
    }

    fn facts_bytes(micros: u64) -> Vec<u8> {
        structure(
            PROCESS_FACTS_BYTES,
            &[
                (12, &word(4_711)),
                (16, &word(1)),
                (20, &word(0)),
                (28, &word(501)),
                (48, b"a name that is c\0"),
                (64, b"a name that is cut\0rest"),
                (120, &1_700_000_000_u64.to_ne_bytes()),
                (128, &micros.to_ne_bytes()),
            ],
        )
    }

    #[test]
    fn the_facts_of_a_process_are_read() {
        let facts = process_facts(&facts_bytes(250_000)).unwrap();
        assert_eq!((facts.pid, facts.parent_pid), (4_711, 1));
        assert_eq!((facts.effective_uid, facts.real_uid), (0, 501));
        assert_eq!(facts.start.wall(), Wall(1_700_000_000_250_000_000));
        assert_eq!(facts.name.as_deref(), Some("a name that is cut"));
    }

    #[test]
    fn a_process_without_a_name_of_its_own_has_that_of_its_file_or_none() {
        let mut bytes = facts_bytes(0);
        bytes[64] = 0;
        let facts = process_facts(&bytes).unwrap();
        assert_eq!(facts.name.as_deref(), Some("a name that is c"));
        bytes[48] = 0;
        assert_eq!(process_facts(&bytes).unwrap().name, None);
        bytes[64] = 0xff;
        assert_eq!(
            process_facts(&bytes).unwrap().name.as_deref(),
            Some("\u{fffd} name that is cut")
        );
    }

    #[test]
    fn facts_of_another_length_or_with_impossible_times_are_none() {
        let bytes = facts_bytes(0);
        assert_eq!(process_facts(&bytes[..135]), None);
        assert_eq!(process_facts(&[bytes.as_slice(), &[0]].concat()), None);
        assert_eq!(process_facts(&facts_bytes(1_000_000)), None);
        assert_eq!(process_facts(&facts_bytes(u64::MAX)), None);
        let late = StartTime {
            seconds: u64::MAX,
            micros: 0,
        };
        assert_eq!(late.wall(), Wall(i64::MAX));
    }

    // facts: snapshot-unknown-sockets
    #[test]
    fn only_descriptors_that_are_sockets_are_listed() {
        let entries = [[3, 1], [4, 2], [5, 10], [6, 9], [7, 2]];
        let mut bytes: Vec<u8> = entries
            .as_flattened()
            .iter()
            .flat_map(|it| word(*it))
            .collect();
        assert_eq!(socket_descriptors(&bytes).collect::<Vec<_>>(), [4, 7]);
        bytes.pop();
        assert_eq!(socket_descriptors(&bytes).collect::<Vec<_>>(), [4]);
        assert_eq!(socket_descriptors(&[]).count(), 0);
    }

    const V4: u8 = INI_IPV4;
    const V6: u8 = INI_IPV6;

    fn bare(last: [u8; 4]) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[12..].copy_from_slice(&last);
        octets
    }

    fn v6(text: &str) -> [u8; 16] {
        text.parse::<Ipv6Addr>().unwrap().octets()
    }

    fn tcp_bytes(state: u32, versions: u8, local: [u8; 16], remote: [u8; 16]) -> Vec<u8> {
        let info = SOCKET_INFO;
        structure(
            SOCKET_BYTES,
            &[
                (info + 152, &word(1)),
                (info + 156, &word(6)),
                (
                    info + 160,
                    &word(if versions == V4 { AF_INET } else { AF_INET6 }),
                ),
                (info + 232, &word(SOCKINFO_TCP)),
                (info + 240, &443_u16.to_be_bytes()),
                (info + 244, &50_000_u16.to_be_bytes()),
                (info + 248, &77_u64.to_ne_bytes()),
                (info + 264, &[versions]),
                (info + 272, &remote),
                (info + 288, &local),
                (info + 320, &word(state)),
            ],
        )
    }

    fn internet(bytes: &[u8]) -> InternetSocket {
        let reading = socket(bytes);
        let SocketReading::Internet(socket) = reading else {
            panic!("{reading:?}")
        };
        socket
    }

    fn addresses(socket: &InternetSocket) -> [Option<String>; 2] {
        [socket.local, socket.remote].map(|it| it.address.map(|address| address.to_string()))
    }

    #[test]
    fn a_tcp_socket_is_read() {
        let bytes = tcp_bytes(4, V4, bare([10, 0, 0, 2]), bare([192, 0, 2, 7]));
        let socket = internet(&bytes);
        assert_eq!(socket.protocol, Protocol::Tcp);
        assert_eq!(socket.state, SocketState::Connected);
        assert_eq!(
            addresses(&socket),
            [Some("10.0.0.2".into()), Some("192.0.2.7".into())]
        );
        assert_eq!(
            (socket.local.port, socket.remote.port),
            (Some(50_000), Some(443))
        );
        assert_eq!(socket.generation, 77);
    }

    #[test]
    fn an_ipv4_address_is_one_in_every_dress() {
        let (bare, mapped) = (bare([192, 0, 2, 7]), v6("::ffff:192.0.2.7"));
        for (versions, remote) in [(V4, bare), (V4, mapped), (V4 | V6, mapped)] {
            let socket = internet(&tcp_bytes(4, versions, remote, remote));
            assert_eq!(addresses(&socket)[1].as_deref(), Some("192.0.2.7"));
        }
        let mut without_version = tcp_bytes(4, V4, bare, bare);
        without_version[SOCKET_INFO + 264] = 0;
        assert_eq!(
            addresses(&internet(&without_version))[1].as_deref(),
            Some("192.0.2.7")
        );
    }

    #[test]
    fn an_ipv6_address_is_told_without_the_interface_that_the_kernel_keeps_in_it() {
        let [local, remote] = ["fe80:e::1", "fe80:e::2"].map(v6);
        let socket = internet(&tcp_bytes(4, V6, local, remote));
        assert_eq!(
            addresses(&socket),
            [Some("fe80::1".into()), Some("fe80::2".into())]
        );
        let [local, remote] = ["2001:db8:e::1", "ff02:e::fb"].map(v6);
        let mut bytes = tcp_bytes(4, V6, local, remote);
        bytes[SOCKET_INFO + 264] = 0;
        let expected = [Some("2001:db8:e::1".into()), Some("ff02::fb".into())];
        assert_eq!(addresses(&internet(&bytes)), expected);
    }

    #[test]
    fn states_tell_what_a_socket_is_used_for() {
        let peer = bare([192, 0, 2, 7]);
        let state = |number| internet(&tcp_bytes(number, V4, peer, peer)).state;
        assert_eq!(state(1), SocketState::Listening);
        assert_eq!(state(2), SocketState::Connecting);
        assert_eq!(state(3), SocketState::Accepting);
        assert!((4..=9).all(|number| state(number) == SocketState::Connected));
        assert!(
            [0, 10]
                .iter()
                .all(|number| state(*number) == SocketState::Unconnected)
        );
        for number in [11, 12, u32::MAX] {
            assert_eq!(
                socket(&tcp_bytes(number, V4, peer, peer)),
                SocketReading::Unreadable
            );
        }
        let listening = internet(&tcp_bytes(1, V4 | V6, [0; 16], [0; 16]));
        assert_eq!(
            (listening.state, listening.local.address),
            (SocketState::Listening, None)
        );
        let peerless = internet(&tcp_bytes(4, V4, peer, [0; 16]));
        assert_eq!(
            (peerless.state, peerless.remote.address),
            (SocketState::Unconnected, None)
        );
    }

    fn udp_bytes(remote_port: u16) -> Vec<u8> {
        let peer = bare([192, 0, 2, 7]);
        let mut bytes = tcp_bytes(99, V4, peer, peer);
        let info = SOCKET_INFO;
        bytes[info + 152..info + 156].copy_from_slice(&word(SOCK_DGRAM));
        bytes[info + 156..info + 160].copy_from_slice(&word(IPPROTO_UDP));
        bytes[info + 232..info + 236].copy_from_slice(&word(SOCKINFO_IN));
        bytes[info + 240..info + 242].copy_from_slice(&remote_port.to_be_bytes());
        bytes
    }

    #[test]
    fn a_datagram_socket_is_connected_when_it_has_a_peer() {
        let socket = internet(&udp_bytes(53));
        assert_eq!(
            (socket.protocol, socket.state),
            (Protocol::Udp, SocketState::Connected)
        );
        assert_eq!(internet(&udp_bytes(0)).state, SocketState::Unconnected);
    }

    // facts: snapshot-unknown-sockets
    #[test]
    fn other_sockets_are_of_no_interest_and_odd_ones_are_unreadable() {
        let mut raw = udp_bytes(0);
        raw[SOCKET_INFO + 152] = 3;
        assert_eq!(socket(&raw), SocketReading::Other);
        let unix = structure(SOCKET_BYTES, &[(SOCKET_INFO + 232, &word(3))]);
        assert_eq!(socket(&unix), SocketReading::Other);
        let mut odd = udp_bytes(53);
        odd[SOCKET_INFO + 160] = 99;
        assert_eq!(socket(&odd), SocketReading::Unreadable);
        let good = udp_bytes(53);
        let longer = [good.as_slice(), &[0; 8]].concat();
        assert_eq!(socket(&longer), SocketReading::Unreadable);
        assert_eq!(socket(&good[..791]), SocketReading::Unreadable);
    }

    /// As the kernel writes it: what follows the path begins at a multiple of eight.
    fn argument_bytes(count: i32, path: &str, strings: &[&[u8]]) -> Vec<u8> {
        let mut area = path.as_bytes().to_vec();
        area.resize(aligned(area.len() + 1), 0);
        for string in strings {
            area.extend_from_slice(string);
            area.push(0);
        }
        [count.to_ne_bytes().as_slice(), &area].concat()
    }

    fn read_arguments(count: i32, strings: &[&[u8]]) -> Option<String> {
        arguments(&argument_bytes(count, "/usr/bin/curl", strings)).map(|it| it.to_string())
    }

    // facts: arguments-hold-secrets
    #[test]
    fn arguments_end_where_the_environment_begins() {
        let strings: &[&[u8]] = &[
            b"curl",
            b"-s",
            b"https://example.com/?a=b",
            b"TOKEN=hunter2",
        ];
        assert_eq!(
            read_arguments(3, strings).as_deref(),
            Some("curl -s 'https://example.com/?a=b'")
        );
        for path in ["", "/a", "/bin/cat", "/seven7", "/eight/8"] {
            let bytes = argument_bytes(1, path, &[b"first", b"TOKEN=hunter2"]);
            assert_eq!(arguments(&bytes).as_deref(), Some("first"));
        }
    }

    // facts: arguments-hold-secrets
    #[test]
    fn an_empty_first_argument_does_not_let_the_environment_in() {
        let strings: &[&[u8]] = &[b"", b"-x", b"TOKEN=hunter2"];
        assert_eq!(read_arguments(2, strings).as_deref(), Some("'' -x"));
        assert_eq!(read_arguments(1, &[b""]).as_deref(), Some("''"));
    }

    #[test]
    fn a_count_that_lies_does_no_harm() {
        assert_eq!(
            read_arguments(i32::MAX, &[b"a", b"b"]).as_deref(),
            Some("a b")
        );
        for count in [0, -1, i32::MIN] {
            assert_eq!(read_arguments(count, &[b"a"]), None);
        }
    }

    #[test]
    fn arguments_are_quoted_where_that_is_needed() {
        let strings: &[&[u8]] = &[b"a b", b"it's", b"x\ny\x1b[2J", b"\xff", "größe".as_bytes()];
        let expected = "'a b' 'it'\\''s' 'x\\ny\\u{1b}[2J' '\u{fffd}' größe";
        assert_eq!(read_arguments(5, strings).as_deref(), Some(expected));
    }

    #[test]
    fn long_arguments_are_cut_between_letters() {
        let long = "é".repeat(100_000);
        let text = read_arguments(2, &[b"a", long.as_bytes()]).unwrap();
        assert!(text.len() <= ARGUMENTS_BYTES_MAX + '…'.len_utf8());
        assert!(text.ends_with("é…"));
    }

    #[test]
    fn arguments_that_are_cut_off_anywhere_are_read_as_far_as_they_go() {
        let whole = argument_bytes(2, "/usr/bin/curl", &[b"curl", b"-s"]);
        for length in 0..whole.len() {
            let text = arguments(&whole[..length]);
            assert!(text.is_none_or(|text| "curl -s".starts_with(&*text) || &*text == "''"));
        }
        assert_eq!(arguments(&[1; 64]), None, "a path without an end");
    }

    fn statistics_bytes(bytes: usize) -> Vec<u8> {
        structure(bytes, &[(0, &word(12)), (4, &word(3)), (8, &word(14))])
    }

    // facts: tcp-meter
    #[test]
    fn counters_are_read_only_from_a_structure_that_is_known() {
        let expected = TcpStatistics {
            attempts: 12,
            accepts: 3,
        };
        assert_eq!(tcp_statistics(&statistics_bytes(976)), Ok(expected));
        assert_eq!(tcp_statistics(&statistics_bytes(992)), Ok(expected));
        for bytes in [12, 960, 991, 993, 1_024] {
            let reason = tcp_statistics(&statistics_bytes(bytes)).unwrap_err();
            assert!(reason.contains(&format!("({bytes} bytes)")), "{reason}");
        }
        assert!(tcp_statistics(&[]).is_err());
    }

    // facts: tcp-meter
    #[test]
    fn counters_that_are_withheld_are_not_zero() {
        assert!(tcp_statistics(&[0; 992]).unwrap_err().contains("root"));
    }

    #[test]
    fn nonsense_of_any_length_has_an_answer() {
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        for length in (0..1_024).chain([PROCESS_FACTS_BYTES, SOCKET_BYTES, 976, 992]) {
            let bytes: Vec<u8> = (0..length).map(|_| random()).collect();
            let _ = (process_facts(&bytes), socket(&bytes), arguments(&bytes));
            let _ = (socket_descriptors(&bytes).count(), tcp_statistics(&bytes));
        }
    }
}
