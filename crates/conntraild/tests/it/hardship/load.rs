//! Connections over loopback, each to an address of its own, so that every one can be told from
//! all others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Connections that go on until they are stopped.
pub(super) struct Load {
    pub(super) port: u16,
    stop: Arc<AtomicBool>,
    slowest_ns: Arc<AtomicU64>,
    client: JoinHandle<Vec<Made>>,
    server: JoinHandle<()>,
    held: Option<JoinHandle<()>>,
}

/// One connection that was made and ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) remote: Ipv4Addr,
    /// Before and after it was closed, in nanoseconds since 1970.
    pub(super) closed_ns: (i64, i64),
}

/// Between two connections.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a connection stays that a polled sensor shall see: some of its intervals.
const HELD: Duration = Duration::from_millis(150);

impl Load {
    pub(super) fn start() -> Load {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let slowest_ns = Arc::new(AtomicU64::new(0));
        let (ending, slowest) = (Arc::clone(&stop), Arc::clone(&slowest_ns));
        Load {
            port,
            stop,
            slowest_ns,
            client: thread::spawn(move || connect_until(&ending, &slowest, port)),
            server: thread::spawn(move || serve(&listener)),
            held: None,
        }
    }

    /// As above, and some connections more that stay open for long enough to be polled.
    pub(super) fn start_for_polling() -> Load {
        let load = Load::start();
        let ending = Arc::clone(&load.stop);
        Load {
            held: Some(thread::spawn(move || hold_until(&ending))),
            ..load
        }
    }

    /// The longest that connecting took since this was last asked.
    pub(super) fn slowest(&self) -> Duration {
        Duration::from_nanos(self.slowest_ns.swap(0, Ordering::Relaxed))
    }

    pub(super) fn stop(self) -> Vec<Made> {
        self.stop.store(true, Ordering::Relaxed);
        let made = self.client.join().unwrap();
        // One from an address of which the server knows that it is the last.
        let last = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        (&last).write_all(b"e").unwrap();
        self.server.join().unwrap();
        if let Some(held) = self.held {
            held.join().unwrap();
        }
        made
    }
}

fn connect_until(stop: &AtomicBool, slowest_ns: &AtomicU64, port: u16) -> Vec<Made> {
    let mut made = Vec::new();
    for index in 1_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let [_, second, third, fourth] = index.to_be_bytes();
        let remote = Ipv4Addr::new(127, 1 + second, third, fourth);
        let began = Instant::now();
        let mut stream = TcpStream::connect(SocketAddr::from((remote, port))).unwrap();
        slowest_ns.fetch_max(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        stream.write_all(b"data").unwrap();
        let before_ns = wall_ns();
        drop(stream);
        made.push(Made {
            remote,
            closed_ns: (before_ns, wall_ns()),
        });
        thread::sleep(PAUSE);
    }
    made
}

fn hold_until(stop: &AtomicBool) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let _client = TcpStream::connect(address).unwrap();
        let _server = listener.accept().unwrap();
        thread::sleep(HELD);
    }
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut bytes = Vec::new();
        stream.unwrap().take(1).read_to_end(&mut bytes).unwrap();
        if bytes == b"e" {
            return;
        }
    }
}

pub(super) fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_nanos() as i64
}
