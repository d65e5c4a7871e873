//! What the kernel program wrote, as events. Pure: bytes in, events out.
//!
//! Whatever the bytes are, there is an answer: what makes no sense becomes an [`Event::Lost`].

use crate::sys::abi::{
    self, AliveBytes, AttributedBytes, ClosedBytes, OpenedBytes, OwnerBytes, ProcessBytes,
    ReleasedBytes, UpdatedBytes,
};
#[cfg(any(test, target_os = "linux"))]
use crate::sys::abi::{FlowKeyBytes, FlowValueBytes};
use flow::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
use record::{
    Attribution, ByteQuality, Direction, Ending, Endpoint, ExecutableFile, IdentitySource,
    LossCause, LossStage, LostKind, Mono, Origin, Outcome, Process, ProcessKey, Protocol, Traffic,
    User,
};
use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// Turns the kernel's messages into events.
#[derive(Clone, Debug, Default)]
pub struct Translator {
    /// Makes Common Process IDs possible: the bytes of `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<[u8; 16]>,
    /// Of datagram flows first seen before this moment nobody knows when they began.
    pub settled: Mono,
    /// Network namespace and port of every TCP socket that listened when the sensor came. Tells
    /// the inbound ones among the connections that were there before it.
    pub listening: HashSet<(u32, u16)>,
}

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Speaks for itself.
    Event(Event),
    /// A peer of an unconnected socket: its end has to be looked up, under this key.
    PeerOpened(Opened, PeerKey),
    /// The owner of a socket, and so of all of its flows, is known better than before.
    Attributed {
        /// Cookie of the socket.
        socket: u64,
        /// It has a flow of its own besides those of its peers.
        has_flow: bool,
        /// Who.
        owner: Owner,
    },
    /// A socket with unconnected peers is closed, and their flows with it.
    Released {
        /// Cookie of the socket.
        socket: u64,
        /// When.
        at: Mono,
        /// By whom.
        closer_pid: Option<u32>,
    },
    /// Some of the sockets that have flows.
    Alive {
        /// Their cookies.
        sockets: Vec<u64>,
        /// When this list was finished, if it is the last.
        finished: Option<Mono>,
        /// A list of this pass was lost.
        incomplete: bool,
    },
    /// A TCP socket that listens.
    Listening {
        /// Inode of its network namespace.
        network_namespace: u32,
        /// Its port.
        port: u16,
    },
}

/// Finds the totals of one peer of an unconnected socket in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// Cookie of the socket.
    pub socket: u64,
    /// Address of the peer, IPv4 in its IPv6 form.
    pub address: [u8; 16],
    /// Port of the peer.
    pub port: u16,
}

impl Translator {
    /// What `bytes` say.
    pub fn message(&self, bytes: &[u8]) -> Message {
        self.known(bytes).unwrap_or(Message::Event(Event::Lost {
            stage: LossStage::Kernel,
            cause: LossCause::Malformed,
            what: LostKind::Events,
            count: Some(1),
        }))
    }

    fn known(&self, bytes: &[u8]) -> Option<Message> {
        match *bytes.first()? {
            abi::EVENT_OPENED => Some(self.opened(&abi::read(bytes)?)),
            abi::EVENT_CLOSED => Some(self.closed(&abi::read(bytes)?)),
            abi::EVENT_UPDATED => Some(self.updated(&abi::read(bytes)?)),
            abi::EVENT_PROCESS => self.process(bytes),
            abi::EVENT_ATTRIBUTED => attributed(&abi::read(bytes)?),
            abi::EVENT_RELEASED => Some(released(&abi::read(bytes)?)),
            abi::EVENT_ALIVE => alive(&abi::read(bytes)?),
            abi::EVENT_LISTENING => Some(listening(&abi::read(bytes)?)),
            // A number, not a choice of ours: anything else is nonsense.
            _ => None,
        }
    }

    fn opened(&self, bytes: &OpenedBytes) -> Message {
        let opened = Opened {
            key: FlowKey {
                socket: bytes.cookie,
                part: bytes.part,
            },
            at: Mono(bytes.at_ns),
            tuple: self.tuple(bytes),
            owner: owner(&owner_bytes(bytes)),
            opened: self.opened_at(bytes),
            established: known_time(bytes.established_ns),
            origin: self.origin(bytes),
        };
        if bytes.part == 0 {
            return Message::Event(Event::Opened(opened));
        }
        let key = PeerKey {
            socket: bytes.cookie,
            address: bytes.remote,
            port: bytes.remote_port,
        };
        Message::PeerOpened(opened, key)
    }

    fn closed(&self, bytes: &ClosedBytes) -> Message {
        let opened = &bytes.opened;
        let is_tcp = Protocol::from_number(opened.protocol) == Protocol::Tcp;
        let established = opened.ended_from != abi::ENDED_FROM_HANDSHAKE
            && opened.ended_from != abi::ENDED_FROM_NOTHING;
        Message::Event(Event::Closed(Closed {
            key: FlowKey {
                socket: opened.cookie,
                part: opened.part,
            },
            at: Mono(opened.at_ns),
            tuple: self.tuple(opened),
            owner: owner(&owner_bytes(opened)),
            opened: self.opened_at(opened),
            established: known_time(opened.established_ns),
            traffic: Traffic {
                bytes_out: Some(bytes.bytes_out),
                bytes_in: Some(bytes.bytes_in),
                packets_out: Some(bytes.packets_out.into()),
                packets_in: Some(bytes.packets_in.into()),
                quality: self.quality(opened),
            },
            rtt_us: (is_tcp && established && bytes.rtt_us != 0).then_some(bytes.rtt_us),
            retransmits: is_tcp.then_some(bytes.retransmits),
            closer_pid: (bytes.closer_pid != 0).then_some(bytes.closer_pid),
            ending: ending(opened),
            origin: self.origin(opened),
        }))
    }

    /// More may follow, so the kernel's counts are exact up to here at best.
    fn updated(&self, bytes: &UpdatedBytes) -> Message {
        let flow = OpenedBytes {
            protocol: bytes.protocol,
            found_late: bytes.found_late,
            part: bytes.part,
            opened_ns: bytes.opened_ns,
            ..OpenedBytes::default()
        };
        Message::Event(Event::Updated {
            key: FlowKey {
                socket: bytes.cookie,
                part: bytes.part,
            },
            traffic: Traffic {
                bytes_out: Some(bytes.bytes_out),
                bytes_in: Some(bytes.bytes_in),
                packets_out: Some(bytes.packets_out),
                packets_in: Some(bytes.packets_in),
                quality: if self.counts_from_the_first(&flow) {
                    ByteQuality::SoFar
                } else {
                    ByteQuality::AtLeast
                },
            },
            flow: None,
        })
    }

    fn process(&self, bytes: &[u8]) -> Option<Message> {
        let head: ProcessBytes = abi::read(bytes)?;
        let text = bytes.get(size_of::<ProcessBytes>()..)?;
        let (path, rest) = text.split_at_checked(head.path_bytes.into())?;
        let arguments = rest.get(..head.arguments_bytes.into())?;
        let path = path_from_components(path, head.path_truncated != 0);
        let name = match &path {
            Some(path) => path.rsplit('/').next().map(Arc::from),
            None => text_before_nul(&head.comm),
        };
        let key = ProcessKey {
            pid: head.pid,
            start_ns: head.start_ns,
            exec_id: head.exec_id,
        };
        let parent = ProcessKey {
            pid: head.parent_pid,
            start_ns: head.parent_start_ns,
            exec_id: head.parent_exec_id,
        };
        Some(Message::Event(Event::ProcessSeen(Introduction {
            process: Process {
                cpid: self.cpid(&head),
                name,
                path,
                file: (head.inode != 0).then_some(ExecutableFile {
                    device: head.device,
                    inode: head.inode,
                }),
                command_line: command_line(arguments),
                user: Some(User {
                    uid: head.uid,
                    name: None,
                }),
                login_uid: (head.has_login_uid != 0 && head.login_uid != NOBODY_LOGGED_IN)
                    .then_some(head.login_uid),
                cgroup: (head.cgroup != 0).then_some(head.cgroup),
                ..Process::bare(key)
            },
            parent: (parent.pid != 0).then_some(parent),
        })))
    }

    fn cpid(&self, head: &ProcessBytes) -> Option<[u8; 16]> {
        let boot_id = self.boot_id?;
        let start_ticks = head.start_ns / NANOSECONDS_PER_TICK;
        (head.pid_namespace != 0).then(|| {
            let tgid = i64::from(head.namespace_tgid);
            record::cpid::linux(boot_id, head.pid_namespace.into(), start_ticks, tgid)
        })
    }

    /// The end of a peer of an unconnected socket, told from its totals.
    #[cfg(any(test, target_os = "linux"))]
    pub(crate) fn peer_closed(
        &self,
        key: &PeerKey,
        value: &FlowValueBytes,
        at: Mono,
        closer_pid: Option<u32>,
        outcome: Outcome,
    ) -> Closed {
        let opened = peer_opened_bytes(key, value);
        Closed {
            key: FlowKey {
                socket: key.socket,
                part: value.part,
            },
            at,
            tuple: self.tuple(&opened),
            owner: owner(&value.owner),
            opened: self.opened_at(&opened),
            established: None,
            traffic: Traffic {
                bytes_out: Some(value.bytes_out),
                bytes_in: Some(value.bytes_in),
                packets_out: Some(value.packets_out),
                packets_in: Some(value.packets_in),
                quality: self.quality(&opened),
            },
            rtt_us: None,
            retransmits: None,
            closer_pid,
            ending: Ending {
                outcome,
                errno: None,
            },
            origin: self.origin(&opened),
        }
    }

    fn tuple(&self, bytes: &OpenedBytes) -> Tuple {
        Tuple {
            protocol: Protocol::from_number(bytes.protocol),
            direction: self.direction(bytes),
            local: endpoint(bytes.local, bytes.local_port),
            remote: endpoint(bytes.remote, bytes.remote_port),
            network_namespace: (bytes.network_namespace != 0).then_some(bytes.network_namespace),
        }
    }

    fn direction(&self, bytes: &OpenedBytes) -> Direction {
        if self.began_unseen(bytes) {
            return match Protocol::from_number(bytes.protocol) {
                Protocol::Tcp if bytes.direction == abi::DIRECTION_OUTBOUND => Direction::Outbound,
                Protocol::Tcp => self.inferred_direction(bytes),
                Protocol::Udp | Protocol::Other(_) => Direction::Unknown,
            };
        }
        match bytes.direction {
            abi::DIRECTION_OUTBOUND => Direction::Outbound,
            abi::DIRECTION_INBOUND => Direction::Inbound,
            _ => Direction::Unknown,
        }
    }

    fn inferred_direction(&self, bytes: &OpenedBytes) -> Direction {
        if self
            .listening
            .contains(&(bytes.network_namespace, bytes.local_port))
        {
            Direction::Inbound
        } else {
            Direction::Outbound
        }
    }

    /// The socket was there before the sensor, and so may have been this flow. The peers of a
    /// socket that lives on are new ones after a while.
    fn began_unseen(&self, bytes: &OpenedBytes) -> bool {
        bytes.found_late != 0 && (bytes.part == 0 || bytes.opened_ns < self.settled.0)
    }

    fn opened_at(&self, bytes: &OpenedBytes) -> Option<Mono> {
        if self.began_unseen(bytes) {
            None
        } else {
            known_time(bytes.opened_ns)
        }
    }

    fn origin(&self, bytes: &OpenedBytes) -> Origin {
        if !self.began_unseen(bytes) {
            Origin::Live
        } else if bytes.kind == abi::EVENT_CLOSED && bytes.owner_source == abi::SOURCE_NONE {
            Origin::Inferred
        } else {
            Origin::Snapshot
        }
    }

    fn quality(&self, bytes: &OpenedBytes) -> ByteQuality {
        if self.counts_from_the_first(bytes) {
            ByteQuality::Exact
        } else {
            ByteQuality::AtLeast
        }
    }

    /// The kernel itself counts the bytes of TCP, whoever looks.
    fn counts_from_the_first(&self, bytes: &OpenedBytes) -> bool {
        Protocol::from_number(bytes.protocol) == Protocol::Tcp || !self.began_unseen(bytes)
    }
}

/// The opening of a peer that the kernel's table knows, as the kernel would have told it.
#[cfg(any(test, target_os = "linux"))]
fn peer_opened_bytes(key: &PeerKey, value: &FlowValueBytes) -> OpenedBytes {
    OpenedBytes {
        kind: abi::EVENT_OPENED,
        protocol: Protocol::Udp.number(),
        direction: value.direction,
        found_late: value.found_late,
        cookie: key.socket,
        part: value.part,
        local: value.local,
        remote: key.address,
        local_port: value.local_port,
        remote_port: key.port,
        network_namespace: value.network_namespace,
        opened_ns: value.opened_ns,
        ..OpenedBytes::default()
    }
}

#[cfg(any(test, target_os = "linux"))]
impl From<PeerKey> for FlowKeyBytes {
    fn from(key: PeerKey) -> FlowKeyBytes {
        FlowKeyBytes {
            cookie: key.socket,
            remote: key.address,
            remote_port: key.port,
            reserved: [0; 3],
        }
    }
}

#[cfg(any(test, target_os = "linux"))]
impl From<FlowKeyBytes> for PeerKey {
    fn from(bytes: FlowKeyBytes) -> PeerKey {
        PeerKey {
            socket: bytes.cookie,
            address: bytes.remote,
            port: bytes.remote_port,
        }
    }
}

fn attributed(bytes: &AttributedBytes) -> Option<Message> {
    Some(Message::Attributed {
        socket: bytes.cookie,
        has_flow: bytes.has_flow != 0,
        owner: owner(&bytes.owner)?,
    })
}

fn released(bytes: &ReleasedBytes) -> Message {
    Message::Released {
        socket: bytes.cookie,
        at: Mono(bytes.at_ns),
        closer_pid: (bytes.closer_pid != 0).then_some(bytes.closer_pid),
    }
}

fn alive(bytes: &AliveBytes) -> Option<Message> {
    let count = usize::try_from(bytes.count).ok()?;
    Some(Message::Alive {
        sockets: bytes.cookies.get(..count)?.to_vec(),
        finished: (bytes.is_final != 0).then_some(Mono(bytes.at_ns)),
        incomplete: bytes.incomplete != 0,
    })
}

fn listening(bytes: &OpenedBytes) -> Message {
    Message::Listening {
        network_namespace: bytes.network_namespace,
        port: bytes.local_port,
    }
}

fn owner_bytes(bytes: &OpenedBytes) -> OwnerBytes {
    OwnerBytes {
        start_ns: bytes.owner_start_ns,
        pid: bytes.owner_pid,
        exec_id: bytes.owner_exec_id,
        source: bytes.owner_source.into(),
        reserved: 0,
    }
}

/// Who owns it. A source that is not known is none at all.
fn owner(bytes: &OwnerBytes) -> Option<Owner> {
    let source = match u8::try_from(bytes.source).unwrap_or(abi::SOURCE_NONE) {
        abi::SOURCE_SNAPSHOT => IdentitySource::Snapshot,
        abi::SOURCE_BIND => IdentitySource::Bind,
        abi::SOURCE_LISTENER => IdentitySource::Listener,
        abi::SOURCE_RELEASE => IdentitySource::Release,
        abi::SOURCE_FIRST_IO => IdentitySource::FirstIo,
        abi::SOURCE_ACCEPT => IdentitySource::Accept,
        abi::SOURCE_CONNECT => IdentitySource::Connect,
        _ => return None,
    };
    Some(Owner {
        process: ProcessKey {
            pid: bytes.pid,
            start_ns: bytes.start_ns,
            exec_id: bytes.exec_id,
        },
        attribution: Attribution::from_source(source),
        responsible: None,
    })
}

fn ending(bytes: &OpenedBytes) -> Ending {
    let in_handshake = bytes.ended_from == abi::ENDED_FROM_HANDSHAKE;
    let outcome = match bytes.error {
        _ if bytes.ended_from == abi::ENDED_FROM_NOTHING => Outcome::Failed,
        _ if bytes.ended_from == abi::ENDED_FROM_SILENCE => Outcome::Idle,
        // Without a local port the kernel gave up, for want of one, and not the process.
        0 if in_handshake && bytes.local_port == 0 => Outcome::Failed,
        0 if in_handshake => Outcome::Aborted,
        // Without an error of the other side's making, this side tore it down.
        0 if bytes.ended_from == abi::ENDED_FROM_TRANSFER => Outcome::Reset,
        0 => Outcome::Closed,
        ECONNREFUSED => Outcome::Refused,
        ETIMEDOUT => Outcome::TimedOut,
        EHOSTUNREACH | ENETUNREACH => Outcome::Unreachable,
        ECONNRESET | EPIPE => Outcome::Reset,
        _ => Outcome::Failed,
    };
    Ending {
        outcome,
        errno: (bytes.error != 0).then_some(bytes.error.into()),
    }
}

fn endpoint(address: [u8; 16], port: u16) -> Endpoint {
    let address = Ipv6Addr::from(address).to_canonical();
    Endpoint {
        address: (!address.is_unspecified()).then_some(address),
        port: (port != 0).then_some(port),
    }
}

fn known_time(ns: u64) -> Option<Mono> {
    (ns != 0).then_some(Mono(ns))
}

/// Components come leaf first, each with a NUL. Where the beginning is missing, three dots say so.
fn path_from_components(components: &[u8], truncated: bool) -> Option<Arc<str>> {
    let mut path = if truncated {
        "...".to_owned()
    } else {
        String::new()
    };
    let parts = components
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty());
    for part in parts.rev() {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(part));
    }
    path.contains('/').then(|| Arc::from(path))
}

fn text_before_nul(bytes: &[u8]) -> Option<Arc<str>> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| Arc::from(String::from_utf8_lossy(text)))
}

fn command_line(arguments: &[u8]) -> Option<Arc<str>> {
    let end = arguments.iter().rposition(|byte| *byte != 0)? + 1;
    let text = String::from_utf8_lossy(&arguments[..end]).replace('\0', " ");
    Some(Arc::from(text))
}

/// How many bytes each socket takes that was found at the start.
#[cfg(target_os = "linux")]
pub(crate) const FOUND_BYTES: usize = size_of::<OpenedBytes>();

/// `start_boottime` as `/proc/<pid>/stat` counts it: `USER_HZ` is 100 on every architecture we
/// build for, see proc_pid_stat(5).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// The kernel's login id of processes that nobody's login began; see pam_loginuid(8).
const NOBODY_LOGGED_IN: u32 = u32::MAX;

// Linux's numbers, which are not those of the host that may run this:
// https://elixir.bootlin.com/linux/v6.12/source/include/uapi/asm-generic/errno.h.
const EPIPE: u16 = 32;
const ENETUNREACH: u16 = 101;
const ECONNRESET: u16 = 104;
const ETIMEDOUT: u16 = 110;
const ECONNREFUSED: u16 = 111;
const EHOSTUNREACH: u16 = 113;

#[cfg(test)]
mod tests {
    use super::*;
    use record::Confidence;
    use std::net::IpAddr;

    /// The beginning of an opening or a close, field by field as in `bpf/events.h`.
    struct Head {
        kind: u8,
        protocol: u8,
        direction: u8,
        source: u8,
        found_late: u8,
        ended_from: u8,
        error: u16,
        part: u64,
        local: [u8; 16],
        local_port: u16,
        opened_ns: u64,
        established_ns: u64,
    }

    impl Head {
        /// A TCP connection to 192.0.2.7:443 by process 4,242.
        fn outbound(kind: u8) -> Head {
            Head {
                kind,
                protocol: 6,
                direction: abi::DIRECTION_OUTBOUND,
                source: abi::SOURCE_CONNECT,
                found_late: 0,
                ended_from: 0,
                error: 0,
                part: 0,
                local: mapped([10, 0, 0, 5]),
                local_port: 50_122,
                opened_ns: 7_000,
                established_ns: 8_000,
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let mut out = vec![self.kind, self.protocol, self.direction, self.source];
            out.extend([self.found_late, self.ended_from]);
            out.extend(self.error.to_ne_bytes());
            for number in [9_000, 77, self.part, 5_000] {
                out.extend(number.to_ne_bytes());
            }
            out.extend(4_242_u32.to_ne_bytes());
            out.extend(3_u32.to_ne_bytes());
            out.extend(self.local);
            out.extend(mapped([192, 0, 2, 7]));
            out.extend(self.local_port.to_ne_bytes());
            out.extend(443_u16.to_ne_bytes());
            out.extend(4_026_531_840_u32.to_ne_bytes());
            out.extend(self.opened_ns.to_ne_bytes());
            out.extend(self.established_ns.to_ne_bytes());
            out
        }

        /// The same with the totals that end a close.
        fn closed_bytes(&self) -> Vec<u8> {
            let mut out = self.bytes();
            out.extend(10_019_u64.to_ne_bytes());
            out.extend(79_u64.to_ne_bytes());
            for number in [8_u32, 1, 250, 2, 4_243, 0] {
                out.extend(number.to_ne_bytes());
            }
            out
        }
    }

    fn mapped(address: [u8; 4]) -> [u8; 16] {
        std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets()
    }

    fn opened(bytes: &[u8]) -> Opened {
        let message = Translator::default().message(bytes);
        let Message::Event(Event::Opened(opened)) = message else {
            panic!("not an opening: {message:?}");
        };
        opened
    }

    fn closed_by(translator: &Translator, head: &Head) -> Closed {
        let message = translator.message(&head.closed_bytes());
        let Message::Event(Event::Closed(closed)) = message else {
            panic!("not a close: {message:?}");
        };
        closed
    }

    fn closed(head: &Head) -> Closed {
        closed_by(&Translator::default(), head)
    }

    fn is_malformed(message: &Message) -> bool {
        matches!(
            message,
            Message::Event(Event::Lost {
                stage: LossStage::Kernel,
                cause: LossCause::Malformed,
                what: LostKind::Events,
                count: Some(1),
            })
        )
    }

    #[test]
    fn an_opening_says_who_where_and_when() {
        let opened = opened(&Head::outbound(abi::EVENT_OPENED).bytes());
        assert_eq!(
            opened.key,
            FlowKey {
                socket: 77,
                part: 0
            }
        );
        assert_eq!(opened.at, Mono(9_000));
        assert_eq!(
            (opened.opened, opened.established),
            (Some(Mono(7_000)), Some(Mono(8_000)))
        );
        assert_eq!(opened.tuple.protocol, Protocol::Tcp);
        assert_eq!(opened.tuple.direction, Direction::Outbound);
        assert_eq!(
            opened.tuple.remote.address,
            Some(IpAddr::from([192, 0, 2, 7]))
        );
        assert_eq!(opened.tuple.remote.port, Some(443));
        assert_eq!(opened.tuple.network_namespace, Some(4_026_531_840));
        let owner = opened.owner.unwrap();
        assert_eq!(
            owner.process,
            ProcessKey {
                pid: 4_242,
                start_ns: 5_000,
                exec_id: 3
            }
        );
        assert_eq!(owner.attribution.confidence, Confidence::Certain);
        assert_eq!(opened.origin, Origin::Live);
    }

    #[test]
    fn a_close_tells_the_whole_story() {
        let closed = closed(&Head::outbound(abi::EVENT_CLOSED));
        assert_eq!(
            (closed.traffic.bytes_out, closed.traffic.bytes_in),
            (Some(10_019), Some(79))
        );
        assert_eq!(
            (closed.traffic.packets_out, closed.traffic.packets_in),
            (Some(8), Some(1))
        );
        assert_eq!(closed.traffic.quality, ByteQuality::Exact);
        assert_eq!((closed.rtt_us, closed.retransmits), (Some(250), Some(2)));
        assert_eq!(closed.closer_pid, Some(4_243));
        assert_eq!(
            closed.ending,
            Ending {
                outcome: Outcome::Closed,
                errno: None
            }
        );
    }

    #[test]
    fn errors_become_outcomes() {
        let ends = [
            (ENDED_LIVE, 104, Outcome::Reset),
            (ENDED_LIVE, 32, Outcome::Reset),
            (ENDED_LIVE, 110, Outcome::TimedOut),
            (ENDED_LIVE, 5, Outcome::Failed),
            (abi::ENDED_FROM_HANDSHAKE, 111, Outcome::Refused),
            (abi::ENDED_FROM_HANDSHAKE, 113, Outcome::Unreachable),
            (abi::ENDED_FROM_HANDSHAKE, 101, Outcome::Unreachable),
            (abi::ENDED_FROM_HANDSHAKE, 0, Outcome::Aborted),
            (abi::ENDED_FROM_NOTHING, 0, Outcome::Failed),
        ];
        for (ended_from, error, outcome) in ends {
            let head = Head {
                ended_from,
                error,
                ..Head::outbound(abi::EVENT_CLOSED)
            };
            let errno = (error != 0).then_some(i32::from(error));
            assert_eq!(
                closed(&head).ending,
                Ending { outcome, errno },
                "{ended_from} {error}"
            );
        }
    }

    const ENDED_LIVE: u8 = 0;

    #[test]
    fn an_attempt_for_which_there_was_no_port_failed_and_was_not_given_up() {
        let head = Head {
            ended_from: abi::ENDED_FROM_HANDSHAKE,
            local: [0; 16],
            local_port: 0,
            established_ns: 0,
            ..Head::outbound(abi::EVENT_CLOSED)
        };
        let closed = closed(&head);
        assert_eq!(closed.ending.outcome, Outcome::Failed);
        assert_eq!(closed.tuple.local, Endpoint::default());
        assert_eq!((closed.established, closed.rtt_us), (None, None));
    }

    #[test]
    fn what_was_there_before_is_inbound_where_somebody_listened() {
        let found = Head {
            found_late: 1,
            direction: 0,
            ..Head::outbound(abi::EVENT_CLOSED)
        };
        let mut translator = Translator::default();
        let outbound = closed_by(&translator, &found);
        assert_eq!(outbound.tuple.direction, Direction::Outbound);
        assert_eq!((outbound.opened, outbound.origin), (None, Origin::Snapshot));
        assert_eq!(outbound.traffic.quality, ByteQuality::Exact);
        translator.listening.insert((4_026_531_840, 50_122));
        let inbound = closed_by(&translator, &found);
        assert_eq!(inbound.tuple.direction, Direction::Inbound);
    }

    #[test]
    fn an_end_of_which_nothing_else_is_known_is_inferred() {
        let head = Head {
            found_late: 1,
            source: 0,
            ..Head::outbound(abi::EVENT_CLOSED)
        };
        let closed = closed(&head);
        assert_eq!((closed.owner, closed.origin), (None, Origin::Inferred));
    }

    fn updated_bytes(protocol: u8, found_late: u8, part: u64) -> Vec<u8> {
        let mut out = vec![abi::EVENT_UPDATED, protocol, found_late, 0, 0, 0, 0, 0];
        for number in [77, part, 9_000, 500, 70_000, 5, 60_u64] {
            out.extend(number.to_ne_bytes());
        }
        out
    }

    fn updated(translator: &Translator, bytes: &[u8]) -> (FlowKey, Traffic) {
        let message = translator.message(bytes);
        let Message::Event(Event::Updated { key, traffic, flow }) = message else {
            panic!("not an update: {message:?}");
        };
        assert_eq!(flow, None, "it opens nothing");
        (key, traffic)
    }

    #[test]
    fn what_a_flow_has_carried_so_far_is_exact_where_counting_began_with_it() {
        let translator = Translator {
            settled: Mono(10_000),
            ..Translator::default()
        };
        let (key, traffic) = updated(&translator, &updated_bytes(6, 1, 0));
        assert_eq!((key.socket, key.part), (77, 0));
        let expected = Traffic {
            bytes_out: Some(500),
            bytes_in: Some(70_000),
            packets_out: Some(5),
            packets_in: Some(60),
            quality: ByteQuality::SoFar,
        };
        assert_eq!(traffic, expected);
        let quality = |protocol, found_late, part| {
            let bytes = updated_bytes(protocol, found_late, part);
            updated(&translator, &bytes).1.quality
        };
        assert_eq!(quality(17, 0, 3), ByteQuality::SoFar);
        assert_eq!(quality(17, 1, 0), ByteQuality::AtLeast);
        assert_eq!(quality(17, 1, 3), ByteQuality::AtLeast, "not settled yet");
        let settled = Translator::default();
        let (key, traffic) = updated(&settled, &updated_bytes(17, 1, 3));
        assert_eq!((key.part, traffic.quality), (3, ByteQuality::SoFar));
    }

    #[test]
    fn a_flow_that_fell_silent_ended_as_idle() {
        let head = Head {
            protocol: 17,
            ended_from: abi::ENDED_FROM_SILENCE,
            ..Head::outbound(abi::EVENT_CLOSED)
        };
        let ending = closed(&head).ending;
        assert_eq!((ending.outcome, ending.errno), (Outcome::Idle, None));
    }

    #[test]
    fn datagrams_of_a_found_socket_are_a_lower_bound_until_things_have_settled() {
        let translator = Translator {
            settled: Mono(10_000),
            ..Translator::default()
        };
        let key = PeerKey {
            socket: 77,
            address: mapped([192, 0, 2, 7]),
            port: 53,
        };
        let mut value = FlowValueBytes {
            part: 12,
            opened_ns: 9_999,
            bytes_out: 31,
            direction: abi::DIRECTION_OUTBOUND,
            found_late: 1,
            ..FlowValueBytes::default()
        };
        let early = translator.peer_closed(&key, &value, Mono(20_000), None, Outcome::Idle);
        assert_eq!(
            early.key,
            FlowKey {
                socket: 77,
                part: 12
            }
        );
        assert_eq!(early.traffic.quality, ByteQuality::AtLeast);
        assert_eq!(
            (early.tuple.direction, early.opened),
            (Direction::Unknown, None)
        );
        value.opened_ns = 10_000;
        let later = translator.peer_closed(&key, &value, Mono(20_000), None, Outcome::Idle);
        assert_eq!(later.traffic.quality, ByteQuality::Exact);
        assert_eq!(later.tuple.direction, Direction::Outbound);
        assert_eq!(
            (later.origin, later.opened),
            (Origin::Live, Some(Mono(10_000)))
        );
    }

    #[test]
    fn the_opening_of_a_peer_carries_the_key_to_its_totals() {
        let head = Head {
            protocol: 17,
            part: 5,
            ..Head::outbound(abi::EVENT_OPENED)
        };
        let Message::PeerOpened(opened, key) = Translator::default().message(&head.bytes()) else {
            panic!("not a peer");
        };
        assert_eq!(
            opened.key,
            FlowKey {
                socket: 77,
                part: 5
            }
        );
        let address = mapped([192, 0, 2, 7]);
        assert_eq!(
            key,
            PeerKey {
                socket: 77,
                address,
                port: 443
            }
        );
        assert_eq!(PeerKey::from(FlowKeyBytes::from(key)), key);
    }

    fn process_bytes(path: &[u8], arguments: &[u8], truncated: u8) -> Vec<u8> {
        let mut out = vec![abi::EVENT_PROCESS, truncated, 1, 0];
        out.extend((path.len() as u16).to_ne_bytes());
        out.extend((arguments.len() as u16).to_ne_bytes());
        out.extend(555_583_219_000_u64.to_ne_bytes());
        out.extend(39_174_u32.to_ne_bytes());
        out.extend(2_u32.to_ne_bytes());
        out.extend(142_797_263_u64.to_ne_bytes());
        for number in [1_u32, 1, 1_000, u32::MAX] {
            out.extend(number.to_ne_bytes());
        }
        out.extend(8_412_u64.to_ne_bytes());
        out.extend(247_003_u64.to_ne_bytes());
        for number in [266_338_304_u32, 4_026_532_263, 29, 0] {
            out.extend(number.to_ne_bytes());
        }
        out.extend(*b"worker/3\0\0\0\0\0\0\0\0");
        out.extend(path);
        out.extend(arguments);
        out
    }

    fn process(translator: &Translator, bytes: &[u8]) -> Introduction {
        let message = translator.message(bytes);
        let Message::Event(Event::ProcessSeen(introduction)) = message else {
            panic!("not a process: {message:?}");
        };
        introduction
    }

    #[test]
    fn a_process_is_introduced_with_its_path_and_common_id() {
        let boot_id = 0x2899dae4_4fa4_4eef_95b6_6bc95325f61a_u128.to_be_bytes();
        let translator = Translator {
            boot_id: Some(boot_id),
            ..Translator::default()
        };
        let bytes = process_bytes(b"curl\0bin\0usr\0", b"curl\0-s\0\0", 0);
        let Introduction { process, parent } = process(&translator, &bytes);
        assert_eq!(process.path.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(process.name.as_deref(), Some("curl"));
        assert_eq!(process.command_line.as_deref(), Some("curl -s"));
        assert_eq!(
            process.user,
            Some(User {
                uid: 1_000,
                name: None
            })
        );
        assert_eq!(process.login_uid, None);
        assert_eq!(process.cgroup, Some(8_412));
        let file = ExecutableFile {
            device: 266_338_304,
            inode: 247_003,
        };
        assert_eq!(process.file, Some(file));
        // The example of the specification.
        let expected = 0xb770a0ed_8463_822c_b5f6_30d9081ddbd9_u128.to_be_bytes();
        assert_eq!(process.cpid, Some(expected));
        assert_eq!(
            parent,
            Some(ProcessKey {
                pid: 1,
                start_ns: 142_797_263,
                exec_id: 1
            })
        );
    }

    #[test]
    fn a_path_that_is_not_whole_says_so_and_none_is_none() {
        let translator = Translator::default();
        let long = process(&translator, &process_bytes(b"a\0b\0", b"", 1));
        assert_eq!(long.process.path.as_deref(), Some(".../b/a"));
        assert_eq!(long.process.name.as_deref(), Some("a"));
        let kernel_thread = process(&translator, &process_bytes(b"", b"", 0));
        assert_eq!(kernel_thread.process.path, None);
        assert_eq!(kernel_thread.process.name.as_deref(), Some("worker/3"));
        assert_eq!(kernel_thread.process.cpid, None);
        assert_eq!(kernel_thread.process.command_line, None);
    }

    #[test]
    fn a_list_of_living_sockets_ends_where_its_count_says() {
        let mut bytes = vec![abi::EVENT_ALIVE, 1, 0, 0];
        bytes.extend(2_u32.to_ne_bytes());
        bytes.extend(99_u64.to_ne_bytes());
        for cookie in 0..abi::ALIVE_COOKIES_MAX as u64 {
            bytes.extend((cookie + 10).to_ne_bytes());
        }
        let expected = Message::Alive {
            sockets: vec![10, 11],
            finished: Some(Mono(99)),
            incomplete: false,
        };
        assert_eq!(Translator::default().message(&bytes), expected);
        bytes[4..8].copy_from_slice(&127_u32.to_ne_bytes());
        assert!(is_malformed(&Translator::default().message(&bytes)));
    }

    #[test]
    fn an_owner_without_a_known_source_is_nobody() {
        let head = Head {
            source: 200,
            ..Head::outbound(abi::EVENT_OPENED)
        };
        assert_eq!(opened(&head.bytes()).owner, None);
    }

    #[test]
    fn nonsense_is_counted_and_never_fatal() {
        let translator = Translator::default();
        assert!(is_malformed(&translator.message(&[])));
        for kind in 0..=u8::MAX {
            assert!(is_malformed(&translator.message(&[kind; 3])), "{kind}");
            // Long enough for anything; whatever comes out, it does not panic.
            translator.message(&[kind; 4_096]);
        }
        let whole = Head::outbound(abi::EVENT_CLOSED).closed_bytes();
        for length in 0..whole.len() {
            assert!(
                is_malformed(&translator.message(&whole[..length])),
                "{length} bytes"
            );
        }
        let process = process_bytes(b"sh\0bin\0", b"sh\0", 0);
        for length in 0..process.len() {
            assert!(
                is_malformed(&translator.message(&process[..length])),
                "{length} bytes"
            );
        }
    }
}
