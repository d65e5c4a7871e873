//! Where a collector passes on what it received: a receiver of OTLP that only keeps bodies.

use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// An empty answer of OTLP: everything was taken.
const TAKEN: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// Listens until it is dropped.
pub(super) struct Sink {
    port: u16,
    bodies: Bodies,
    is_over: Arc<AtomicBool>,
}

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

impl Sink {
    pub(super) fn start() -> Sink {
        Sink::try_start().unwrap_or_else(|error| panic!("cannot listen for OTLP: {error}"))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The bodies of all requests so far.
    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn try_start() -> io::Result<Sink> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sink = Sink {
            port: listener.local_addr()?.port(),
            bodies: Bodies::default(),
            is_over: Arc::default(),
        };
        let (bodies, is_over) = (Arc::clone(&sink.bodies), Arc::clone(&sink.is_over));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let bodies = Arc::clone(&bodies);
                // A connection that breaks is the collector's to repeat.
                thread::spawn(move || stream.and_then(|stream| serve(stream, &bodies)));
            }
        });
        Ok(sink)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The listener looks up only when somebody calls.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(stream: TcpStream, bodies: &Bodies) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let body = request(&mut reader)?;
        bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(body);
        reader.get_mut().write_all(TAKEN)?;
    }
}

/// The body of the next request. The collector packs it whatever it was told.
fn request(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let (mut length, mut is_chunked, mut is_packed) = (None, false, false);
    loop {
        let line = line(reader)?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        match line
            .split_once(':')
            .map(|(name, value)| (name, value.trim()))
        {
            Some(("content-length", value)) => length = value.parse().ok(),
            Some(("transfer-encoding", value)) => is_chunked = value == "chunked",
            Some(("content-encoding", value)) => is_packed = value == "gzip",
            Some(_) | None => {}
        }
    }
    let body = match length {
        Some(length) => exactly(reader, length)?,
        None if is_chunked => chunks(reader)?,
        None => return Err(io::ErrorKind::InvalidData.into()),
    };
    if !is_packed {
        return Ok(body);
    }
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(&*body).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

fn chunks(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let digits = line(reader)?;
        let length = usize::from_str_radix(&digits, 16);
        let length = length.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        body.extend(exactly(reader, length)?);
        line(reader)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn exactly(reader: &mut BufReader<TcpStream>, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
