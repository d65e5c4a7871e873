//! The `NETLINK_SOCK_DIAG` socket, over which the kernel tells its socket tables.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A dump never hands out more than 32 KiB in one datagram, so this is room to spare.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// The kernel answers a dump while it is asked; an answer that is this late will not come.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// A socket on which the kernel answers questions about sockets. Needs no privilege.
pub(crate) struct DiagSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl DiagSocket {
    /// Opens the socket, which a container's seccomp filter may refuse.
    pub(crate) fn open() -> io::Result<DiagSocket> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WAIT))?;
        Ok(DiagSocket {
            socket,
            buffer: vec![0; DATAGRAM_BYTES_MAX],
        })
    }

    /// Sends one request to the kernel, which is where a netlink socket sends by default.
    pub(crate) fn send(&self, request: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, request, SendFlags::empty())?;
        Ok(())
    }

    /// Waits for the next datagram of an answer.
    pub(crate) fn receive(&mut self) -> io::Result<&[u8]> {
        let (_, length) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC)
        })?;
        self.buffer.get(..length).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the kernel's answer was cut short",
            )
        })
    }
}
