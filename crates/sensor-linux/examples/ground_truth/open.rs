//! How a client gets to an open socket: local address and port, then `connect`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net;
use rustix::net::sockopt::{self, Timeout};

use crate::client::Call;
use crate::scenario::{Opening, Protocol};
use crate::server::new_socket;
use crate::sys;
use crate::table::{Plan, Row};

/// How many ports a client tries.
const PORT_ATTEMPTS: usize = 8;

/// How long a client waits for a reply datagram, which the kernel may drop.
const DATAGRAM_PATIENCE: Duration = Duration::from_secs(5);

/// How long an impatient client tries to connect: one retry after a second fits.
const CONNECT_PATIENCE_MS: u32 = 1_500;

/// Opens the connection as its scenario says, on a spare port if the planned one is taken.
pub(crate) fn open(call: Call<'_>) -> Result<OwnedFd, Errno> {
    call.row
        .client_pid
        .store(std::process::id(), Ordering::Relaxed);
    let mut port = call.plan.client_port;
    for _ in 1..PORT_ATTEMPTS {
        match open_at(call, port) {
            Err(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN) => {
                port = call.table.take_spare_port().ok_or(Errno::ADDRNOTAVAIL)?;
            }
            result => return result,
        }
    }
    open_at(call, port)
}

/// Opens the connection from `port`.
fn open_at(call: Call<'_>, port: u16) -> Result<OwnedFd, Errno> {
    let opening = call.plan.scenario.facts().opening;
    let server = in_family_of_socket(opening, call.plan.server());
    let socket = new_socket(server, call.plan.protocol())?;
    set_patience(&call.plan, opening, &socket)?;
    choose_source(&call.plan, opening, &socket, port)?;
    // Written before the attempt, because a failed one takes the port away from the socket.
    call.row.client_port.store(port.into(), Ordering::Relaxed);
    call.row
        .opened_boot_ns
        .store(sys::boot_ns(), Ordering::Relaxed);
    match opening {
        Opening::ConnectLater => connect_later(&socket, server)?,
        Opening::None => return Ok(socket),
        Opening::Connect
        | Opening::BindFirst
        | Opening::ConnectMapped
        | Opening::ConnectImpatiently => net::connect(&socket, &server)?,
    }
    note_client(call.row, &socket);
    Ok(socket)
}

/// The address as the client's socket wants it.
fn in_family_of_socket(opening: Opening, address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(address) if opening == Opening::ConnectMapped => {
            SocketAddr::new(address.ip().to_ipv6_mapped().into(), address.port())
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// Limits how long the socket waits, where nothing else would end the waiting soon.
fn set_patience(plan: &Plan, opening: Opening, socket: &OwnedFd) -> Result<(), Errno> {
    if opening == Opening::ConnectImpatiently {
        sockopt::set_tcp_user_timeout(socket, CONNECT_PATIENCE_MS)?;
    }
    if plan.protocol() == Protocol::Udp {
        sockopt::set_socket_timeout(socket, Timeout::Recv, Some(DATAGRAM_PATIENCE))?;
    }
    Ok(())
}

/// Chooses the local address and port of the socket as planned.
fn choose_source(plan: &Plan, opening: Opening, socket: &OwnedFd, port: u16) -> Result<(), Errno> {
    let is_bound =
        opening == Opening::BindFirst || (port != 0 && sys::leave_one_port(socket, port).is_err());
    if is_bound {
        // The port's last connection, of an earlier run, may still wait out its time.
        sockopt::set_socket_reuseaddr(socket, true)?;
        let source = in_family_of_socket(opening, SocketAddr::new(local_address(plan), port));
        return net::bind(socket, &source);
    }
    if plan.source_address.is_none() {
        return Ok(());
    }
    if plan.protocol() == Protocol::Tcp {
        sys::bind_address_only(socket).map_err(errno_of)?;
    }
    net::bind(socket, &SocketAddr::new(plan.source_address.ip(), 0))
}

/// The local address to bind: the planned one, or else the server's, which is local too.
fn local_address(plan: &Plan) -> IpAddr {
    let planned = plan.source_address;
    if planned.is_none() {
        plan.server_address.ip()
    } else {
        planned.ip()
    }
}

/// The errno of an error that a system call made.
pub(crate) fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

/// Connects without waiting in `connect`, and waits by `poll`.
fn connect_later(socket: &OwnedFd, server: SocketAddr) -> Result<(), Errno> {
    rustix::io::ioctl_fionbio(socket, true)?;
    match net::connect(socket, &server) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            poll(&mut [PollFd::new(socket, PollFlags::OUT)], None)?;
            sockopt::socket_error(socket)??;
        }
        Err(error) => return Err(error),
    }
    rustix::io::ioctl_fionbio(socket, false)
}

/// Remembers the local address and port the kernel gave the socket.
pub(crate) fn note_client(row: &Row, socket: &OwnedFd) {
    let client = net::getsockname(socket)
        .ok()
        .and_then(|name| SocketAddr::try_from(name).ok());
    if let Some(client) = client {
        row.set_client(SocketAddr::new(client.ip().to_canonical(), client.port()));
    }
}
