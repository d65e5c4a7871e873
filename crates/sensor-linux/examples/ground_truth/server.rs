//! The servers: one process answers any number of endpoints, one request at a time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::scenario::Protocol;
use crate::table::{Endpoint, Service, Table};
use crate::wire::{self, HEADER_BYTES, Header, Next};

/// Length of the accept queue; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Size of a server's buffer: the largest datagram fits.
const BUFFER_BYTES: usize = 65_536;

/// Bit of an event's number that tells an accepted connection from an endpoint.
const CONNECTION: u64 = 1 << 32;

/// An endpoint that is bound, and listening if it is a stream.
pub(crate) struct Opened {
    socket: OwnedFd,
    service: Service,
}

/// Makes a socket for `address`, closed on exec.
pub(crate) fn new_socket(address: SocketAddr, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// Opens the `count` endpoints of `table` from `first` on.
pub(crate) fn open_all(table: &Table, first: u32, count: u32) -> io::Result<Vec<Opened>> {
    let open_one = |index| {
        let endpoint = table.endpoint(index);
        open(endpoint).map_err(|error| {
            let address = endpoint.socket_address();
            io::Error::new(error.kind(), format!("cannot serve {address}: {error}"))
        })
    };
    (first..first + count).map(open_one).collect()
}

/// Opens one endpoint. It does not block: several processes may wait on it.
fn open(endpoint: Endpoint) -> io::Result<Opened> {
    let Endpoint { service, .. } = endpoint;
    let address = endpoint.socket_address();
    let protocol = match service {
        Service::Stream | Service::Deaf => Protocol::Tcp,
        Service::Datagram => Protocol::Udp,
    };
    let socket = new_socket(address, protocol)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    if protocol == Protocol::Tcp {
        // An earlier run's connections may still wait out their time on this port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    match service {
        Service::Stream => net::listen(&socket, BACKLOG)?,
        Service::Deaf => net::listen(&socket, 0)?,
        Service::Datagram => {}
    }
    Ok(Opened { socket, service })
}

/// What became of an accepted connection after a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It stays, for a further request.
    Stay,
    /// It is done with.
    Drop,
}

/// A server at work.
struct Server<'a> {
    table: &'a Table,
    endpoints: &'a [Opened],
    epoll: OwnedFd,
    /// Accepted connections that wait for a request, by descriptor number.
    waiting: Vec<Option<OwnedFd>>,
    /// Whether a new connection's request is read without waiting for word of it.
    is_eager: bool,
    pid: [u8; 4],
    buffer: Box<[u8]>,
}

/// Serves `endpoints` for ever.
///
/// With `is_eager`, clients must send at once after they have connected: that saves the short
/// modes a wake-up for each connection, and a silent client would block the others.
pub(crate) fn serve(
    table: &Table,
    endpoints: &[Opened],
    is_eager: bool,
) -> Result<Infallible, Errno> {
    let mut server = Server {
        table,
        endpoints,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        waiting: Vec::new(),
        is_eager,
        pid: std::process::id().to_le_bytes(),
        buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
    };
    server.watch_endpoints()?;
    table
        .signals()
        .servers_ready
        .fetch_add(1, Ordering::Release);
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        match epoll::wait(&server.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        for event in &events {
            server.handle(event.data.u64());
        }
    }
}

impl Server<'_> {
    /// Asks for word of new connections and of datagrams.
    fn watch_endpoints(&self) -> Result<(), Errno> {
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let flags = match endpoint.service {
                // Of several processes that wait for the same listener, one is enough.
                Service::Stream => epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE,
                Service::Datagram => epoll::EventFlags::IN,
                Service::Deaf => continue,
            };
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &endpoint.socket, data, flags)?;
        }
        Ok(())
    }

    /// Handles one event.
    fn handle(&mut self, number: u64) {
        if number & CONNECTION != 0 {
            return self.answer_waiting((number & !CONNECTION) as usize);
        }
        let endpoints = self.endpoints;
        let endpoint = &endpoints[number as usize];
        match endpoint.service {
            Service::Stream => self.accept(&endpoint.socket),
            Service::Datagram => self.answer_datagrams(&endpoint.socket),
            Service::Deaf => {}
        }
    }

    /// Accepts one connection, if another process has not already.
    fn accept(&mut self, listener: &OwnedFd) {
        let Ok(connection) = net::accept_with(listener, SocketFlags::CLOEXEC) else {
            return;
        };
        let then = if self.is_eager {
            self.answer(&connection)
        } else {
            Then::Stay
        };
        match then {
            Then::Stay => self.keep(connection),
            Then::Drop => self.drop_connection(connection),
        }
    }

    /// Waits for the connection's next request.
    fn keep(&mut self, connection: OwnedFd) {
        let index = connection.as_raw_fd() as usize;
        let data = epoll::EventData::new_u64(CONNECTION | index as u64);
        if epoll::add(&self.epoll, &connection, data, epoll::EventFlags::IN).is_err() {
            return self.drop_connection(connection);
        }
        if self.waiting.len() <= index {
            self.waiting.resize_with(index + 1, || None);
        }
        self.waiting[index] = Some(connection);
    }

    /// Answers a connection that has something to read.
    fn answer_waiting(&mut self, index: usize) {
        let Some(connection) = self.waiting.get_mut(index).and_then(Option::take) else {
            return;
        };
        match self.answer(&connection) {
            Then::Stay => self.waiting[index] = Some(connection),
            Then::Drop => self.drop_connection(connection),
        }
    }

    /// Closes an accepted connection and counts it.
    fn drop_connection(&self, connection: OwnedFd) {
        drop(connection);
        self.table
            .signals()
            .connections_served
            .fetch_add(1, Ordering::Release);
    }

    /// Answers one request; anything that is none ends the connection.
    fn answer(&mut self, connection: &OwnedFd) -> Then {
        match self.read_request(connection) {
            Ok(Some(header)) => self.act(connection, header).unwrap_or(Then::Drop),
            Ok(None) | Err(_) => Then::Drop,
        }
    }

    /// Reads one whole request; `None` at the end.
    fn read_request(&mut self, connection: &OwnedFd) -> Result<Option<Header>, Errno> {
        let mut got = 0;
        while got < HEADER_BYTES {
            match wire::receive(connection, &mut self.buffer[got..])? {
                0 => return Ok(None),
                count => got += count,
            }
        }
        let Some(header) = Header::read_from(&self.buffer) else {
            return Ok(None);
        };
        while got < header.request_bytes as usize {
            match wire::receive(connection, &mut self.buffer)? {
                0 => return Ok(None),
                count => got += count,
            }
        }
        Ok(Some(header))
    }

    /// Does what a request asks for.
    fn act(&mut self, connection: &OwnedFd, header: Header) -> Result<Then, Errno> {
        match header.next {
            Next::Keep => {
                self.reply(connection, header)?;
                Ok(Then::Stay)
            }
            Next::Close => {
                self.reply(connection, header)?;
                Ok(Then::Drop)
            }
            Next::ReplyAtEnd => {
                while wire::receive(connection, &mut self.buffer)? > 0 {}
                self.reply(connection, header)?;
                Ok(Then::Drop)
            }
            Next::Reset => {
                sockopt::set_socket_linger(connection, Some(Duration::ZERO))?;
                Ok(Then::Drop)
            }
        }
    }

    /// Sends a reply, the process id first.
    fn reply(&mut self, connection: &OwnedFd, header: Header) -> Result<(), Errno> {
        let size = header.reply_bytes as usize;
        self.buffer[..self.pid.len()].copy_from_slice(&self.pid);
        let first = size.min(self.buffer.len());
        wire::send_all(connection, &self.buffer[..first])?;
        wire::send_filler(connection, size - first, &self.buffer)
    }

    /// Answers every datagram that has arrived.
    fn answer_datagrams(&mut self, socket: &OwnedFd) {
        while let Ok((_, count, Some(client))) =
            net::recvfrom(socket, &mut self.buffer[..], RecvFlags::empty())
        {
            let Some(header) = Header::read_from(&self.buffer[..count]) else {
                continue;
            };
            let size = (header.reply_bytes as usize).min(self.buffer.len());
            self.buffer[..self.pid.len()].copy_from_slice(&self.pid);
            // A client that is gone has lost its reply and says so in its own row.
            let _ = net::sendto(socket, &self.buffer[..size], SendFlags::NOSIGNAL, &client);
        }
    }
}
