//! What processes hold open.

use std::net::{IpAddr, SocketAddr};

/// `AF_UNIX` (`sys/socket.h` of macOS).
pub const AF_UNIX: i32 = 1;
/// `AF_INET` (`sys/socket.h` of macOS).
pub const AF_INET: i32 = 2;
/// `AF_INET6`, which is 30 on macOS.
pub const AF_INET6: i32 = 30;
/// `AF_SYSTEM`: kernel events and kernel controls.
pub const AF_SYSTEM: i32 = 32;
/// `AF_VSOCK`: sockets to and from virtual machines.
pub const AF_VSOCK: i32 = 40;

/// One open file.
#[derive(Clone, Debug)]
pub struct File {
    /// The descriptor.
    pub descriptor: i32,
    /// What is open.
    pub kind: FileKind,
}

/// What can be open. The numbers are those of `sys/proc_info.h`, `PROX_FDTYPE_…`.
#[derive(Clone, Debug)]
pub enum FileKind {
    /// A socket: `PROX_FDTYPE_SOCKET`, 2.
    Socket(Box<Socket>),
    /// Anything else, by its number: a file is 1, a kqueue 5, a pipe 6, a network policy 9, a
    /// channel of the network stack in user space 10.
    Other(u32),
}

impl From<Socket> for FileKind {
    fn from(socket: Socket) -> Self {
        Self::Socket(Box::new(socket))
    }
}

impl FileKind {
    /// A file in the file system.
    pub const VNODE: Self = Self::Other(1);
    /// A channel: connections of Network.framework that do not show as sockets.
    pub const CHANNEL: Self = Self::Other(10);

    /// Its number.
    pub fn number(&self) -> u32 {
        match self {
            Self::Socket(_) => 2,
            Self::Other(number) => *number,
        }
    }
}

/// A socket.
#[derive(Clone, Debug)]
pub struct Socket {
    /// `AF_…` with the numbers of macOS.
    pub family: i32,
    /// `SOCK_STREAM` 1, `SOCK_DGRAM` 2, `SOCK_RAW` 3.
    pub kind: i32,
    /// The protocol: TCP 6, UDP 17, ICMP 1, ICMPv6 58.
    pub protocol: i32,
    /// The state of the TCP machine, `TSI_S_…`; `None` for what is not TCP.
    pub tcp_state: Option<i32>,
    /// Where it is bound; `None` if it is not.
    pub local: Option<SocketAddr>,
    /// Whom it is connected with.
    pub remote: Option<SocketAddr>,
    /// `INI_IPV4` 1, `INI_IPV6` 2: what it speaks. An IPv6 socket that carries IPv4 says 1, one
    /// that listens for both says 3. `None`: what the family says.
    pub versions: Option<u8>,
    /// The kernel's handle of the socket: the same for every process that holds it.
    /// Zero: made from its addresses.
    pub handle: u64,
    /// The kernel's counter of protocol blocks.
    pub generation: u64,
    /// The path of a Unix socket, or the name of a kernel control.
    pub name: String,
    /// The four numbers of a vsock: own context and port, the other's context and port.
    pub vsock: [u32; 4],
}

impl Socket {
    /// A socket of this family, neither bound nor connected.
    pub fn new(family: i32, kind: i32, protocol: i32) -> Self {
        Self {
            family,
            kind,
            protocol,
            tcp_state: (kind == 1 && protocol == 6).then_some(0),
            local: None,
            remote: None,
            versions: None,
            handle: 0,
            generation: 1,
            name: String::new(),
            vsock: [0; 4],
        }
    }

    /// An established TCP connection.
    pub fn tcp(local: &str, remote: &str) -> Self {
        let (local, remote) = (address(local), address(remote));
        let new = Self::new(family_of(local), 1, 6);
        Self {
            tcp_state: Some(4),
            local: Some(local),
            remote: Some(remote),
            ..new
        }
    }

    /// A TCP socket that listens.
    pub fn listening(local: &str) -> Self {
        let local = address(local);
        Self {
            tcp_state: Some(1),
            local: Some(local),
            ..Self::new(family_of(local), 1, 6)
        }
    }

    /// A UDP socket that is bound.
    pub fn udp(local: &str) -> Self {
        let local = address(local);
        Self {
            local: Some(local),
            ..Self::new(family_of(local), 2, 17)
        }
    }

    /// A UDP socket that is bound and connected.
    pub fn connected_udp(local: &str, remote: &str) -> Self {
        Self {
            remote: Some(address(remote)),
            ..Self::udp(local)
        }
    }

    /// A raw socket, as `ping` of old has one.
    pub fn raw(local: &str, protocol: i32) -> Self {
        let local = address(local);
        Self {
            local: Some(local),
            ..Self::new(family_of(local), 3, protocol)
        }
    }

    /// A Unix socket.
    pub fn unix(path: &str) -> Self {
        Self {
            name: path.to_owned(),
            ..Self::new(AF_UNIX, 1, 0)
        }
    }

    /// A socket to a virtual machine.
    pub fn vsock(local: [u32; 2], remote: [u32; 2]) -> Self {
        let vsock = [local[0], local[1], remote[0], remote[1]];
        Self {
            vsock,
            ..Self::new(AF_VSOCK, 1, 0)
        }
    }

    /// A kernel control, as VPN software has one for its interface.
    pub fn kernel_control(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::new(AF_SYSTEM, 2, 2)
        }
    }

    /// In another state of the TCP machine.
    pub fn in_state(mut self, state: i32) -> Self {
        self.tcp_state = Some(state);
        self
    }

    /// An IPv6 socket, whatever its addresses: IPv4 goes through it as it does through `::`.
    pub fn through_ipv6(mut self, versions: u8) -> Self {
        self.family = AF_INET6;
        self.versions = Some(versions);
        self
    }

    /// With the handle of a socket that several processes share.
    pub fn with_handle(mut self, handle: u64) -> Self {
        self.handle = handle;
        self
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is not an address with a port"))
}

fn family_of(address: SocketAddr) -> i32 {
    match address.ip() {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}
