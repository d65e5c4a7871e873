//! Ports of the loopback that stay ours while an engine is down.

use rustix::fd::OwnedFd;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A TCP port of the loopback that nobody else is given as long as this lives.
///
/// A socket is bound to it that neither listens nor connects, so whoever calls is refused until
/// an engine listens there. Without it the kernel would give the port of an engine that is down
/// to a caller, who would then be connected with itself.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: OwnedFd,
}

impl Port {
    /// Reserves a port that is free.
    ///
    /// # Panics
    ///
    /// When the system gives no port.
    #[must_use]
    pub fn reserve() -> Port {
        reserve().unwrap_or_else(|error| panic!("cannot reserve a port of the loopback: {error}"))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

fn reserve() -> rustix::io::Result<Port> {
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // Every engine sets the same before it listens; two that both say so may share an address.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let address = SocketAddr::try_from(net::getsockname(&socket)?)?;
    Ok(Port {
        number: address.port(),
        _reservation: socket,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn nobody_answers_at_a_reserved_port_until_an_engine_listens_there() {
        let port = Port::reserve();
        let address = (Ipv4Addr::LOCALHOST, port.number());
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let _engine = TcpListener::bind(address).unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_reserved_port_is_given_to_no_caller() {
        let port = Port::reserve();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut callers = Vec::new();
        for _ in 0..200 {
            let caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_ne!(caller.local_addr().unwrap().port(), port.number());
            callers.push((caller, listener.accept().unwrap()));
        }
    }
}
