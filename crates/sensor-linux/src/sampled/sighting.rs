//! One line of a socket table, whichever way it was read.

use record::{ByteQuality, Protocol, Traffic};
use std::net::{IpAddr, SocketAddr};

/// What one row of a table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// A socket.
    Socket(Sighting),
    /// Nothing about a connection: a heading, a half-open socket.
    Other,
    /// It makes no sense.
    Malformed,
}

/// A socket as it stood in the table when the table was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// The kernel's own number of the socket, never given twice in a boot. `/proc/net` does not
    /// tell it.
    pub(super) cookie: Option<u64>,
    /// Inode of the socket's file. A socket without a file has none: one that nobody accepted
    /// yet, one whose file is closed while the connection still ends, and TIME_WAIT.
    pub(super) inode: Option<u64>,
    /// Both its ends.
    pub(super) pair: Pair,
    /// Where in its life it is.
    pub(super) state: State,
    /// What it counted.
    pub(super) counts: Counts,
}

/// Both ends of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    /// Transport protocol.
    pub(super) protocol: Protocol,
    /// This machine's side; a mapped address is written as IPv4.
    pub(super) local: SocketAddr,
    /// The other side, likewise.
    pub(super) remote: SocketAddr,
}

impl Pair {
    /// Makes a pair whose IPv4 addresses in IPv6 clothes are undressed.
    pub(super) fn new(protocol: Protocol, local: (IpAddr, u16), remote: (IpAddr, u16)) -> Pair {
        let end = |(address, port): (IpAddr, u16)| SocketAddr::new(address.to_canonical(), port);
        Pair {
            protocol,
            local: end(local),
            remote: end(remote),
        }
    }
}

/// Where in its life a socket is, as far as a record tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for others: a TCP listener, or a UDP socket that is connected to nobody.
    Listening,
    /// It asked and has no answer yet.
    Connecting,
    /// It is connected, or was and is not over yet.
    Connected,
    /// It is over, in order: only TCP's wait for stray segments is left.
    Over,
}

impl State {
    /// Reads the kernel's number of a state; `None` for the states that are no connection.
    ///
    /// A half-open connection that came from outside (`SYN_RECV`) is none before its handshake is
    /// done, lest a port scan fill the trail.
    pub(super) fn from_kernel(state: u8, pair: &Pair) -> Option<State> {
        let has_peer = pair.remote.port() != 0;
        if pair.protocol == Protocol::Udp {
            return Some(if has_peer {
                State::Connected
            } else {
                State::Listening
            });
        }
        match state {
            tcp::SYN_SENT => Some(State::Connecting),
            tcp::TIME_WAIT => Some(State::Over),
            tcp::LISTEN => Some(State::Listening),
            tcp::ESTABLISHED
            | tcp::FIN_WAIT1
            | tcp::FIN_WAIT2
            | tcp::CLOSE_WAIT
            | tcp::LAST_ACK
            | tcp::CLOSING => has_peer.then_some(State::Connected),
            _ => None,
        }
    }
}

/// The kernel's numbers of TCP states (`include/net/tcp_states.h`); UDP borrows two of them.
pub(super) mod tcp {
    pub(crate) const ESTABLISHED: u8 = 1;
    pub(crate) const SYN_SENT: u8 = 2;
    pub(crate) const FIN_WAIT1: u8 = 4;
    pub(crate) const FIN_WAIT2: u8 = 5;
    pub(crate) const TIME_WAIT: u8 = 6;
    pub(crate) const CLOSE: u8 = 7;
    pub(crate) const CLOSE_WAIT: u8 = 8;
    pub(crate) const LAST_ACK: u8 = 9;
    pub(crate) const LISTEN: u8 = 10;
    pub(crate) const CLOSING: u8 = 11;
}

/// What the kernel counted on a socket; all unknown where the table does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Bytes and segments so far.
    pub(super) traffic: Traffic,
    /// Smoothed round-trip time, in microseconds.
    pub(super) rtt_us: Option<u32>,
    /// Segments sent again.
    pub(super) retransmits: Option<u32>,
}

impl Counts {
    /// Whether the table told anything.
    pub(super) fn is_known(&self) -> bool {
        self.traffic.quality != ByteQuality::Unknown
    }
}
