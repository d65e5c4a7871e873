//! Proxies that want a password.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The server behind, for a client that is let through.
type Shaken = io::Result<Option<TcpStream>>;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    tunnels: Arc<AtomicUsize>,
}

impl Proxy {
    /// `CONNECT` for whoever sends this `Proxy-Authorization`, 407 for all others.
    pub(crate) fn connecting(authorization: &'static str) -> Proxy {
        Proxy::start(move |stream| connect(stream, authorization))
    }

    /// SOCKS 5 (RFC 1928) with this user and password (RFC 1929).
    pub(crate) fn socks(user: &'static str, password: &'static str) -> Proxy {
        Proxy::start(move |stream| socks(stream, user, password))
    }

    /// Connections that were let through.
    pub(crate) fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }

    fn start(shake_hands: impl Fn(&mut TcpStream) -> Shaken + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tunnels = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tunnels);
        let shake_hands = Arc::new(shake_hands);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (count, shake_hands) = (Arc::clone(&count), Arc::clone(&shake_hands));
                thread::spawn(move || {
                    if let Ok(Some(server)) = shake_hands(&mut stream) {
                        count.fetch_add(1, Ordering::Relaxed);
                        pass_on(stream, server);
                    }
                });
            }
        });
        Proxy { address, tunnels }
    }
}

fn pass_on(client: TcpStream, server: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let there = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = there.join();
}

fn connect(stream: &mut TcpStream, authorization: &str) -> Shaken {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let wanted = format!("proxy-authorization: {authorization}\r\n").to_ascii_lowercase();
    if !head.contains(&wanted) {
        stream.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        )?;
        return Ok(None);
    }
    let target = head
        .strip_prefix("connect ")
        .and_then(|rest| rest.split(' ').next());
    let server = TcpStream::connect(target.unwrap())?;
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    Ok(Some(server))
}

fn socks(stream: &mut TcpStream, user: &str, password: &str) -> Shaken {
    let mut start = [0; 2];
    stream.read_exact(&mut start)?;
    let mut methods = vec![0; start[1].into()];
    stream.read_exact(&mut methods)?;
    // Method 2 is user and password; 255 is none of those offered.
    let method = if methods.contains(&2) { 2 } else { 255 };
    stream.write_all(&[5, method])?;
    if method != 2 {
        return Ok(None);
    }
    let mut version = [0];
    stream.read_exact(&mut version)?;
    let (theirs, word) = (counted(stream)?, counted(stream)?);
    let right = theirs == user.as_bytes() && word == password.as_bytes();
    stream.write_all(&[1, u8::from(!right)])?;
    if !right {
        return Ok(None);
    }
    // Version, connect, reserved, IPv4, address, port.
    let mut request = [0; 10];
    stream.read_exact(&mut request)?;
    assert_eq!(
        request[..4],
        [5, 1, 0, 1],
        "the test connects to an IPv4 address"
    );
    let address: [u8; 4] = request[4..8].try_into().unwrap();
    let port = u16::from_be_bytes([request[8], request[9]]);
    let server = TcpStream::connect(SocketAddr::from((address, port)))?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(Some(server))
}

fn counted(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; length[0].into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
