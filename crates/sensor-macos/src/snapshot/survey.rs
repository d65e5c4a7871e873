//! One look at all sockets of all processes.

use crate::sys::layout::{InternetSocket, SocketReading, SocketState};
use crate::sys::libproc::{self, NO_SUCH_PROCESS, NOT_PERMITTED};
use flow::{FlowKey, Tuple};
use record::{Direction, Endpoint, Mono, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What was there at one moment.
pub(super) struct Survey {
    /// When it was finished.
    pub(super) at: Mono,
    /// Why the processes could not be listed, if they could not.
    pub(super) failure: Option<String>,
    /// The sockets that are connected, and who holds each.
    pub(super) held: BTreeMap<SocketId, Held>,
    /// Processes that may not be asked about.
    pub(super) refused: u64,
    /// Processes whose sockets are unknown this time, though they exist.
    pub(super) unsure: BTreeSet<u32>,
    /// Sockets in a form that is not known here.
    pub(super) unreadable: u64,
    /// Sockets beyond [`SOCKETS_MAX`].
    pub(super) surplus: u64,
    listeners: Vec<Listener>,
}

/// Names a socket: no other of this boot has the same addresses and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketId {
    protocol: Protocol,
    local: Endpoint,
    remote: Endpoint,
    generation: u64,
}

/// A connected socket.
pub(super) struct Held {
    state: SocketState,
    /// Process ids; more than one where a socket was inherited or passed on.
    pub(super) holders: BTreeSet<u32>,
}

struct Listener {
    protocol: Protocol,
    local: Endpoint,
    pid: u32,
}

impl Survey {
    /// Asks the system.
    pub(super) fn take(now: impl FnOnce() -> Mono) -> Survey {
        let mut survey = Survey {
            at: Mono::default(),
            failure: None,
            held: BTreeMap::new(),
            refused: 0,
            unsure: BTreeSet::new(),
            unreadable: 0,
            surplus: 0,
            listeners: Vec::new(),
        };
        match libproc::all_pids() {
            Ok(pids) => pids.into_iter().for_each(|pid| survey.look_at(pid)),
            Err(error) => survey.failure = Some(error.to_string()),
        }
        survey.at = now();
        survey
    }

    /// Where a connected socket goes.
    pub(super) fn tuple(&self, id: &SocketId, held: &Held) -> Tuple {
        Tuple {
            protocol: id.protocol,
            direction: self.direction(id, held),
            local: id.local,
            remote: id.remote,
            network_namespace: None,
        }
    }

    /// The only process that holds the socket of a connection, unless it is also the only one that
    /// listens there: then nothing is learnt.
    pub(super) fn holder(&self, tuple: &Tuple) -> Option<u32> {
        let first = SocketId {
            protocol: tuple.protocol,
            local: tuple.local,
            remote: tuple.remote,
            generation: 0,
        };
        let last = SocketId {
            generation: u64::MAX,
            ..first
        };
        let mut holders = self
            .held
            .range(first..=last)
            .flat_map(|(_, held)| &held.holders);
        let holder = *holders.next()?;
        if holders.any(|other| *other != holder) {
            return None;
        }
        let mut listeners = self.listeners_of(&first).peekable();
        let is_news = listeners.peek().is_none() || listeners.any(|pid| pid != holder);
        is_news.then_some(holder)
    }

    fn look_at(&mut self, pid: u32) {
        let descriptors = match libproc::socket_descriptors(pid) {
            Ok(descriptors) => descriptors,
            Err(error) => match error.raw_os_error() {
                Some(NO_SUCH_PROCESS) => return,
                code => {
                    self.refused += u64::from(code == Some(NOT_PERMITTED));
                    self.unsure.insert(pid);
                    return;
                }
            },
        };
        for descriptor in descriptors {
            match libproc::socket(pid, descriptor) {
                Ok(SocketReading::Internet(socket)) => self.see(pid, &socket),
                Ok(SocketReading::Unreadable) => self.unreadable += 1,
                // Closed since it was listed, or of no interest.
                Ok(SocketReading::Other) | Err(_) => {}
            }
        }
    }

    fn see(&mut self, pid: u32, socket: &InternetSocket) {
        let InternetSocket {
            protocol,
            state,
            local,
            remote,
            generation,
        } = *socket;
        match state {
            SocketState::Unconnected => return,
            SocketState::Listening => {
                self.listeners.push(Listener {
                    protocol,
                    local,
                    pid,
                });
                return;
            }
            SocketState::Connecting | SocketState::Accepting | SocketState::Connected => {}
        }
        let id = SocketId {
            protocol,
            local,
            remote,
            generation,
        };
        if self.held.len() >= SOCKETS_MAX && !self.held.contains_key(&id) {
            self.surplus += 1;
            return;
        }
        let held = self.held.entry(id).or_insert(Held {
            state,
            holders: BTreeSet::new(),
        });
        held.holders.insert(pid);
    }

    /// The system does not tell who began. A connection to a port on which somebody listens came
    /// from outside; where nobody does, and everybody was asked, it began here.
    fn direction(&self, id: &SocketId, held: &Held) -> Direction {
        match (id.protocol, held.state) {
            (Protocol::Tcp, SocketState::Connecting) => Direction::Outbound,
            (Protocol::Tcp, SocketState::Accepting) => Direction::Inbound,
            (Protocol::Tcp, _) if self.listeners_of(id).next().is_some() => Direction::Inbound,
            (Protocol::Tcp, _) if self.unsure.is_empty() => Direction::Outbound,
            (Protocol::Tcp | Protocol::Udp | Protocol::Other(_), _) => Direction::Unknown,
        }
    }

    fn listeners_of(&self, id: &SocketId) -> impl Iterator<Item = u32> {
        let SocketId {
            protocol, local, ..
        } = *id;
        let listens = move |it: &&Listener| {
            it.protocol == protocol
                && it.local.port == local.port
                && (it.local.address.is_none() || it.local.address == local.address)
        };
        self.listeners.iter().filter(listens).map(|it| it.pid)
    }
}

impl SocketId {
    /// The filter is not asked about connections of this machine with itself.
    pub(super) fn is_loopback(&self) -> bool {
        let is_loopback = |it: Endpoint| it.address.is_some_and(|address| address.is_loopback());
        is_loopback(self.local) || is_loopback(self.remote)
    }

    /// A key for the flow of this socket, which has no identifier from the filter.
    ///
    /// It is a digest of what names the socket, so every look finds the same. The filter's
    /// identifiers are UUIDs: the ninth byte of one never begins with three ones, which are
    /// reserved (RFC 9562, 4.1). That of this key does.
    pub(super) fn flow_key(&self) -> FlowKey {
        let mut digest = Digest(DIGEST_BASIS);
        digest.add(&[self.protocol.number()]);
        for endpoint in [self.local, self.remote] {
            let octets = match endpoint.address {
                Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
                Some(IpAddr::V6(address)) => address.octets(),
                None => [0; 16],
            };
            digest.add(&octets);
            digest.add(&endpoint.port.unwrap_or_default().to_be_bytes());
        }
        digest.add(&self.generation.to_be_bytes());
        FlowKey {
            socket: (digest.0 >> 64) as u64,
            part: digest.0 as u64 | KEY_MARK,
        }
    }
}

/// FNV-1a of 128 bits: short, and the same in every build.
struct Digest(u128);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(DIGEST_PRIME);
        }
    }
}

const DIGEST_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const DIGEST_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The reserved variant of a UUID, see [`SocketId::flow_key`].
const KEY_MARK: u64 = 0xe000_0000_0000_0000;

/// Connected sockets followed; about 10 MB when all are there.
const SOCKETS_MAX: usize = 16_384;

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use darwin_double::machine;

    fn endpoint(last: u8, port: u16) -> Endpoint {
        Endpoint {
            address: Some(IpAddr::from([192, 0, 2, last])),
            port: Some(port),
        }
    }

    fn socket(generation: u64) -> InternetSocket {
        InternetSocket {
            protocol: Protocol::Tcp,
            state: SocketState::Connected,
            local: endpoint(1, 50_000),
            remote: endpoint(2, 443),
            generation,
        }
    }

    fn id(socket: &InternetSocket) -> SocketId {
        let InternetSocket {
            protocol,
            local,
            remote,
            generation,
            ..
        } = *socket;
        SocketId {
            protocol,
            local,
            remote,
            generation,
        }
    }

    // facts: flow-id-comes-back
    #[test]
    fn a_key_is_the_same_at_every_look_and_never_that_of_another_socket_or_of_a_uuid() {
        let first = socket(7);
        let mapped: IpAddr = "::ffff:192.0.2.2".parse().unwrap();
        let others = [
            socket(8),
            InternetSocket {
                protocol: Protocol::Udp,
                ..first
            },
            InternetSocket {
                local: first.remote,
                remote: first.local,
                ..first
            },
            InternetSocket {
                remote: endpoint(3, 443),
                ..first
            },
            InternetSocket {
                remote: endpoint(2, 444),
                ..first
            },
            InternetSocket {
                remote: Endpoint::default(),
                ..first
            },
            InternetSocket {
                remote: Endpoint {
                    address: Some("2001:db8::2".parse().unwrap()),
                    port: Some(443),
                },
                ..first
            },
        ];
        let keys: BTreeSet<FlowKey> = others
            .iter()
            .chain([&first])
            .map(|socket| id(socket).flow_key())
            .collect();
        assert_eq!(keys.len(), others.len() + 1);
        assert!(
            keys.iter().all(|key| key.part >> 61 == 0b111),
            "the reserved variant"
        );
        assert_eq!(id(&first).flow_key(), id(&first).flow_key());
        let golden = FlowKey {
            socket: 0xd60c_869a_0409_e8a2,
            part: 0xf4ce_de17_f69a_325a,
        };
        assert_eq!(id(&first).flow_key(), golden, "in every build");
        let dressed = Endpoint {
            address: Some(mapped),
            port: Some(443),
        };
        let dressed = InternetSocket {
            remote: dressed,
            ..first
        };
        assert_eq!(id(&dressed).flow_key(), id(&first).flow_key());
    }

    // facts: rule-10-bounded
    #[test]
    fn sockets_beyond_the_bound_are_counted() {
        let _machine = machine::lock();
        let mut survey = Survey::take(Mono::default);
        for generation in 0..SOCKETS_MAX as u64 + 3 {
            survey.see(700, &socket(generation));
            survey.see(701, &socket(0));
        }
        assert_eq!((survey.held.len(), survey.surplus), (SOCKETS_MAX, 3));
        assert_eq!(survey.held[&id(&socket(0))].holders.len(), 2);
    }
}
