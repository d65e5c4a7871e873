//! The bytes of sock_diag: requests for a socket table, and the answers.
//!
//! Layouts are those of `linux/netlink.h`, `linux/inet_diag.h` and `linux/tcp.h`; integers are in
//! the machine's byte order but for ports and addresses, which are in the network's.

use super::sighting::{Counts, Pair, Row, Sighting, State, tcp};
use record::{ByteQuality, Protocol, Traffic};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Asks the kernel for every socket of a protocol and address family.
pub(super) fn request(protocol: Protocol, family: Family, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_BYTES);
    bytes.extend((REQUEST_BYTES as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([
        family.number(),
        protocol.number(),
        1 << (INET_DIAG_INFO - 1),
        0,
    ]);
    bytes.extend(STATES_WANTED.to_ne_bytes());
    bytes.resize(REQUEST_BYTES, 0);
    bytes
}

/// Address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    Inet,
    /// IPv6, which has the sockets that carry IPv4 in mapped addresses too.
    Inet6,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::Inet => AF_INET,
            Family::Inet6 => AF_INET6,
        }
    }
}

/// Reads the datagrams of one answer.
#[derive(Debug)]
pub(super) struct Answer {
    protocol: Protocol,
    sequence: u32,
    /// Messages that made no sense and were skipped.
    pub(super) malformed: u64,
    /// The kernel said that the table changed under its hands, so sockets may be missing.
    pub(super) interrupted: bool,
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Another datagram follows.
    More,
    /// The answer is complete.
    Done,
    /// The kernel refused, with this `errno`.
    Refused(i32),
}

impl Answer {
    /// Expects the answer to the request with this `sequence`.
    pub(super) fn new(protocol: Protocol, sequence: u32) -> Answer {
        Answer {
            protocol,
            sequence,
            malformed: 0,
            interrupted: false,
        }
    }

    /// Hands each socket in a datagram to `see`.
    pub(super) fn read(&mut self, datagram: &[u8], see: &mut dyn FnMut(Sighting)) -> Progress {
        let mut rest = datagram;
        while !rest.is_empty() {
            let Some((message, after)) = Message::split(rest) else {
                self.malformed += 1;
                return Progress::More;
            };
            rest = after;
            // The end of an answer that was given up may still be under way.
            if message.sequence != self.sequence {
                continue;
            }
            match self.read_message(&message, see) {
                Progress::More => {}
                end @ (Progress::Done | Progress::Refused(_)) => return end,
            }
        }
        Progress::More
    }

    fn read_message(&mut self, message: &Message, see: &mut dyn FnMut(Sighting)) -> Progress {
        self.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
        match message.kind {
            // The end of a dump carries an errno too: a protocol that the kernel cannot list
            // (no tcp_diag or udp_diag) is told here.
            NLMSG_DONE | NLMSG_ERROR => return self.read_end(message),
            NLMSG_OVERRUN => self.interrupted = true,
            SOCK_DIAG_BY_FAMILY => {
                match read_socket(message.payload, self.protocol).unwrap_or(Row::Malformed) {
                    Row::Socket(sighting) => see(sighting),
                    Row::Other => {}
                    Row::Malformed => self.malformed += 1,
                }
            }
            _ => {}
        }
        Progress::More
    }

    fn read_end(&mut self, message: &Message) -> Progress {
        match (i32_at(message.payload, 0), message.kind) {
            (Some(code), _) if code < 0 => Progress::Refused(code.saturating_neg()),
            (_, NLMSG_DONE) => Progress::Done,
            (Some(_), _) => Progress::More,
            (None, _) => {
                self.malformed += 1;
                Progress::More
            }
        }
    }
}

/// One netlink message.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// Splits off the first message; `None` when its length cannot be right.
    fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
        let length = u32_at(bytes, 0)? as usize;
        let payload = bytes.get(MESSAGE_HEADER_BYTES..length)?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload,
        };
        Some((message, bytes.get(aligned(length)..).unwrap_or_default()))
    }
}

/// Reads `inet_diag_msg` and its attributes; `None` when it makes no sense.
fn read_socket(payload: &[u8], protocol: Protocol) -> Option<Row> {
    let fixed = payload.get(..DIAG_MESSAGE_BYTES)?;
    let (family, kernel_state) = (fixed[0], fixed[1]);
    let local = (address_at(fixed, 8, family)?, port_at(fixed, 4)?);
    let remote = (address_at(fixed, 24, family)?, port_at(fixed, 6)?);
    let pair = Pair::new(protocol, local, remote);
    let Some(state) = State::from_kernel(kernel_state, &pair) else {
        return Some(Row::Other);
    };
    let info = attribute(&payload[DIAG_MESSAGE_BYTES..], INET_DIAG_INFO)?;
    Some(Row::Socket(Sighting {
        cookie: u64_at(fixed, 44).filter(|cookie| *cookie != NO_COOKIE),
        inode: u32_at(fixed, 68).filter(|inode| *inode != 0).map(u64::from),
        pair,
        state,
        counts: read_tcp_info(info, kernel_state),
    }))
}

/// Finds an attribute, empty when it is not there; `None` when the list makes no sense.
fn attribute(mut list: &[u8], wanted: u16) -> Option<&[u8]> {
    while !list.is_empty() {
        let length = usize::from(u16_at(list, 0)?);
        let kind = u16_at(list, 2)?;
        let value = list.get(ATTRIBUTE_HEADER_BYTES..length)?;
        if kind == wanted {
            return Some(value);
        }
        list = list.get(aligned(length)..).unwrap_or_default();
    }
    Some(&[])
}

/// Reads `tcp_info`, which is as long as the kernel is new: what is beyond its end is unknown.
fn read_tcp_info(info: &[u8], kernel_state: u8) -> Counts {
    let bytes_out = bytes_sent(info, kernel_state);
    let bytes_in = bytes_received(info, kernel_state);
    let is_counted = bytes_out.is_some() || bytes_in.is_some();
    Counts {
        traffic: Traffic {
            bytes_out,
            bytes_in,
            packets_out: u32_at(info, 156).map(u64::from),
            packets_in: u32_at(info, 152).map(u64::from),
            quality: if is_counted {
                ByteQuality::SoFar
            } else {
                ByteQuality::Unknown
            },
        },
        // Zero is the kernel's word for "not measured yet".
        rtt_us: u32_at(info, 68).filter(|rtt_us| *rtt_us != 0),
        retransmits: u32_at(info, 100),
    }
}

/// Application bytes sent.
///
/// `tcpi_bytes_sent` (Linux 4.19) counts payload alone, so without what was sent again it is the
/// figure, the same as the other sensor's. Before, there is only `tcpi_bytes_acked`, by which
/// `snd_una` moved (`tcp_snd_una_update`): past the SYN on the side that connected, and past the
/// FIN once it is acknowledged. Both are taken off from either side, since too little is still a
/// lower bound.
fn bytes_sent(info: &[u8], kernel_state: u8) -> Option<u64> {
    if let (Some(sent), Some(sent_again)) = (u64_at(info, 200), u64_at(info, 208)) {
        return Some(sent.saturating_sub(sent_again));
    }
    let control = 1 + u64::from(kernel_state == tcp::FIN_WAIT2);
    u64_at(info, 120).map(|acked| acked.saturating_sub(control))
}

/// Application bytes received.
///
/// `tcpi_bytes_received` counts how far `rcv_nxt` moved since the handshake, and `tcp_fin` moves it
/// past the other side's FIN, which is in these states.
fn bytes_received(info: &[u8], kernel_state: u8) -> Option<u64> {
    let has_fin = matches!(kernel_state, tcp::CLOSE_WAIT | tcp::LAST_ACK | tcp::CLOSING);
    u64_at(info, 128).map(|received| received.saturating_sub(u64::from(has_fin)))
}

fn address_at(bytes: &[u8], offset: usize, family: u8) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::from(array_at::<4>(bytes, offset)?).into()),
        AF_INET6 => Some(Ipv6Addr::from(array_at::<16>(bytes, offset)?).into()),
        _ => None,
    }
}

fn port_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_be_bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_ne_bytes)
}

fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    array_at(bytes, offset).map(i32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_ne_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// Netlink begins every message and attribute at a multiple of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

const MESSAGE_HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const DIAG_MESSAGE_BYTES: usize = 72;
const REQUEST_BYTES: usize = MESSAGE_HEADER_BYTES + 56;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_INFO: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Both halves of `INET_DIAG_NOCOOKIE`.
const NO_COOKIE: u64 = u64::MAX;

/// Every state but the half-open, which is no connection yet, and the kernel's helper states.
const STATES_WANTED: u32 = 1 << tcp::ESTABLISHED
    | 1 << tcp::SYN_SENT
    | 1 << tcp::FIN_WAIT1
    | 1 << tcp::FIN_WAIT2
    | 1 << tcp::TIME_WAIT
    | 1 << tcp::CLOSE
    | 1 << tcp::CLOSE_WAIT
    | 1 << tcp::LAST_ACK
    | 1 << tcp::LISTEN
    | 1 << tcp::CLOSING;

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux 6.18 said of a client on 127.0.0.1 that had sent 1000 bytes and received 77.
    /// `tcpi_bytes_acked` is 1001: it counts the SYN.
    const CLIENT: &str = "
        9801000014000200070000000000000002010000968c13ba7f0000010000000000000000000000007f000001
        00000000000000000000000000000000c95700000000000000000000000000000000000000000000ab320800
        050008000000000008000f00000000000c001500010000000000000006001600520000001c01020001000000
        0007aa01e01c0300409c0000008a000018020000000000000000000000000000000000000000000004000000
        000000000400000004000000ffff0000d7ff00001d00000010000000ffffff7f0b000000cbff000003000000
        00000000d7ff0000000000009d5edbce06000000ffffffffffffffffe9030000000000004d00000000000000
        0400000003000000000000000c000000010000000100000000e079af00000000000000000000000000000000
        0000000000000000000000000200000000000000e80300000000000000000000000000000000000000000000
        0000000000140100000001000000000000000000000000000000000000000000000000000000000000000000
        000000000000000000000000";

    /// The same connection's server, an IPv6 socket. Its `tcpi_bytes_acked` counts no SYN.
    const SERVER: &str = "
        980100001400020007000000000000000a01000013ba968c00000000000000000000ffff7f00000100000000
        000000000000ffff7f00000100000000cb5700000000000000000000000000000000000000000000ac320800
        050008000000000008000f00000000000c001500010000000000000006001600120000001c01020001000000
        0007aa01e01c0300409c000000800000e803000000000000000000000000000000000000000000000c000000
        000000000c0000000c000000ffff00001d120100150000000b000000ffffff7f0b000000cbff000003000000
        00000000cbff0000000000000e04d87a09000000ffffffffffffffff4d00000000000000e803000000000000
        0200000004000000000000000700000001000000010000004992041701000000000000000000000000000000
        00000000000000000000000002000000000000004d0000000000000000000000000000000000000000000000
        0000000000000100001401000000000000000000000000000000000000000000000000000000000000000000
        000000000000000000000000";

    /// The client after both closed.
    const TIME_WAIT: &str = "
        6000000014000200070000000000000002060300968c13ba7f0000010000000000000000000000007f000001
        00000000000000000000000000000000c9570000000000005cea000000000000000000000000000000000000
        08000f0000000000";

    const DONE: &str = "1400000003000200070000000000000000000000";

    const STATE_OFFSET: usize = MESSAGE_HEADER_BYTES + 1;
    const INFO_OFFSET: usize = 128;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    fn read(datagram: &[u8]) -> (Vec<Sighting>, Answer, Progress) {
        let mut sightings = Vec::new();
        let mut answer = Answer::new(Protocol::Tcp, 7);
        let progress = answer.read(datagram, &mut |sighting| sightings.push(sighting));
        (sightings, answer, progress)
    }

    fn only(datagram: &[u8]) -> Sighting {
        let (sightings, answer, _) = read(datagram);
        assert_eq!((sightings.len(), answer.malformed), (1, 0));
        sightings[0]
    }

    /// A message cut to `length` bytes that says it is that long.
    fn shortened(message: &[u8], length: usize) -> Vec<u8> {
        let mut message = message[..length].to_vec();
        let said = u32::try_from(length).unwrap().to_ne_bytes();
        message
            .iter_mut()
            .zip(said)
            .for_each(|(byte, said)| *byte = said);
        message
    }

    /// A message as a kernel sends it whose `tcp_info` ends after `info_bytes`.
    fn with_short_info(message: &[u8], info_bytes: usize) -> Vec<u8> {
        let mut message = shortened(message, INFO_OFFSET + info_bytes);
        let attribute_bytes = u16::try_from(ATTRIBUTE_HEADER_BYTES + info_bytes).unwrap();
        message[INFO_OFFSET - 4..INFO_OFFSET - 2].copy_from_slice(&attribute_bytes.to_ne_bytes());
        message
    }

    #[test]
    fn asks_for_every_connection_with_its_counts() {
        let mut expected = bytes("48000000 1400 0103 09000000 00000000 02 06 02 00 f60f0000");
        expected.resize(72, 0);
        assert_eq!(request(Protocol::Tcp, Family::Inet, 9), expected);
        assert_eq!(request(Protocol::Udp, Family::Inet6, 9)[16..18], [10, 17]);
    }

    #[test]
    fn reads_a_connection_with_its_bytes() {
        let sighting = only(&bytes(CLIENT));
        assert_eq!(sighting.cookie, Some(0x57c9));
        assert_eq!(sighting.inode, Some(537_259));
        assert_eq!(sighting.state, State::Connected);
        assert_eq!(sighting.pair.local, "127.0.0.1:38540".parse().unwrap());
        assert_eq!(sighting.pair.remote, "127.0.0.1:5050".parse().unwrap());
        let traffic = Traffic {
            bytes_out: Some(1000),
            bytes_in: Some(77),
            packets_out: Some(1),
            packets_in: Some(1),
            quality: ByteQuality::SoFar,
        };
        let counts = Counts {
            traffic,
            rtt_us: Some(29),
            retransmits: Some(0),
        };
        assert_eq!(sighting.counts, counts);
    }

    #[test]
    fn undresses_mapped_addresses() {
        let sighting = only(&bytes(SERVER));
        assert_eq!(sighting.pair.local, "127.0.0.1:5050".parse().unwrap());
        assert_eq!(sighting.pair.remote, "127.0.0.1:38540".parse().unwrap());
        assert_eq!(sighting.counts.traffic.bytes_out, Some(77));
        assert_eq!(sighting.counts.traffic.bytes_in, Some(1000));
    }

    #[test]
    fn knows_a_socket_again_in_time_wait() {
        let sighting = only(&bytes(TIME_WAIT));
        assert_eq!(sighting.cookie, only(&bytes(CLIENT)).cookie);
        assert_eq!(sighting.pair, only(&bytes(CLIENT)).pair);
        assert_eq!((sighting.state, sighting.inode), (State::Over, None));
        assert_eq!(sighting.counts, Counts::default());
    }

    #[test]
    fn takes_the_other_sides_fin_off() {
        let mut message = bytes(SERVER);
        for (state, bytes_in) in [
            (tcp::FIN_WAIT2, 1000),
            (tcp::CLOSE_WAIT, 999),
            (tcp::LAST_ACK, 999),
        ] {
            message[STATE_OFFSET] = state;
            assert_eq!(only(&message).counts.traffic.bytes_in, Some(bytes_in));
        }
    }

    #[test]
    fn takes_syn_and_fin_off_where_the_kernel_is_old() {
        let mut message = with_short_info(&bytes(CLIENT), 192);
        assert_eq!(only(&message).counts.traffic.bytes_out, Some(1000));
        message[STATE_OFFSET] = tcp::FIN_WAIT2;
        assert_eq!(only(&message).counts.traffic.bytes_out, Some(999));
    }

    #[test]
    fn what_an_old_kernel_does_not_tell_is_unknown() {
        let counts = only(&with_short_info(&bytes(CLIENT), 104)).counts;
        assert_eq!(counts.traffic, Traffic::default());
        assert_eq!((counts.rtt_us, counts.retransmits), (Some(29), Some(0)));
        assert_eq!(
            only(&with_short_info(&bytes(CLIENT), 0)).counts,
            Counts::default()
        );
    }

    #[test]
    fn an_unanswered_attempt_and_a_listener_are_told_apart_from_a_scan() {
        let mut message = bytes(CLIENT);
        for (state, expected) in [
            (tcp::SYN_SENT, State::Connecting),
            (tcp::LISTEN, State::Listening),
        ] {
            message[STATE_OFFSET] = state;
            assert_eq!(only(&message).state, expected);
        }
        const SYN_RECV: u8 = 3;
        message[STATE_OFFSET] = SYN_RECV;
        let (sightings, answer, _) = read(&message);
        assert_eq!((sightings, answer.malformed), (vec![], 0));
    }

    #[test]
    fn a_datagram_cut_anywhere_is_counted_and_yields_only_whole_messages() {
        let datagram = [bytes(CLIENT), bytes(SERVER)].concat();
        let first = bytes(CLIENT).len();
        for length in 0..datagram.len() {
            let (sightings, answer, progress) = read(&datagram[..length]);
            assert_eq!(sightings.len(), length / first, "{length}");
            assert_eq!(answer.malformed, u64::from(length % first != 0), "{length}");
            assert_eq!(progress, Progress::More);
        }
    }

    #[test]
    fn a_message_that_ends_anywhere_is_read_or_counted() {
        let message = bytes(CLIENT);
        for length in 0..message.len() {
            let header_fits = length >= MESSAGE_HEADER_BYTES;
            let message = if header_fits {
                shortened(&message, length)
            } else {
                vec![1; length]
            };
            let (sightings, answer, _) = read(&message);
            let accounted = sightings.len() as u64 + answer.malformed;
            assert_eq!(accounted, u64::from(length != 0), "{length}");
        }
    }

    #[test]
    fn lengths_that_lead_nowhere_end_the_reading() {
        for length in [0_u32, 1, 15, u32::MAX] {
            let mut message = bytes(CLIENT);
            message[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(read(&message).1.malformed, 1, "{length}");
        }
        for length in [0_u16, 3, u16::MAX] {
            let mut message = bytes(CLIENT);
            message[88..90].copy_from_slice(&length.to_ne_bytes());
            let (sightings, answer, _) = read(&message);
            assert_eq!((sightings.len(), answer.malformed), (0, 1), "{length}");
        }
    }

    #[test]
    fn an_unknown_address_family_is_malformed() {
        let mut message = bytes(CLIENT);
        message[MESSAGE_HEADER_BYTES] = 99;
        assert_eq!(read(&message).1.malformed, 1);
    }

    #[test]
    fn ends_are_told_from_refusals() {
        assert_eq!(
            read(&[bytes(CLIENT), bytes(DONE)].concat()).2,
            Progress::Done
        );
        let refused_at_the_end = bytes("14000000 0300 0200 07000000 00000000 feffffff");
        assert_eq!(read(&refused_at_the_end).2, Progress::Refused(2));
        let error = bytes("14000000 0200 0000 07000000 00000000 ffffffff");
        assert_eq!(read(&error).2, Progress::Refused(1));
        let acknowledgement = bytes("14000000 0200 0000 07000000 00000000 00000000");
        assert_eq!(read(&acknowledgement).2, Progress::More);
        let empty_error = bytes("10000000 0200 0000 07000000 00000000");
        assert_eq!(read(&empty_error).1.malformed, 1);
    }

    #[test]
    fn an_interrupted_dump_is_noticed() {
        let mut done = bytes(DONE);
        done[6] |= 0x10;
        assert!(read(&done).1.interrupted);
        assert!(
            read(&bytes("10000000 0400 0000 07000000 00000000"))
                .1
                .interrupted
        );
        assert!(!read(&bytes(DONE)).1.interrupted);
    }

    #[test]
    fn an_answer_to_an_earlier_request_is_passed_over() {
        let mut answer = Answer::new(Protocol::Tcp, 8);
        let late = [bytes(CLIENT), bytes(DONE)].concat();
        let progress = answer.read(&late, &mut |_| panic!("of an earlier answer"));
        assert_eq!((progress, answer.malformed), (Progress::More, 0));
    }
}
