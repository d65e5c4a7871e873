//! Reads the kernel's socket tables: by netlink, or from `/proc/net` where that is refused.

use super::diag::{self, Answer, Family, Progress};
use super::lines;
use super::sighting::{Row, Sighting};
use crate::sys::netlink::DiagSocket;
use record::Protocol;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// The socket tables of the network namespace this process is in.
pub(super) struct Tables {
    sources: Vec<(Protocol, Source)>,
    last_sequence: u32,
}

/// What a reading was worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Every table was read to its end.
    pub(super) is_complete: bool,
    /// Rows that made no sense and were skipped.
    pub(super) malformed: u64,
}

/// Where a protocol's tables are read.
enum Source {
    Netlink(DiagSocket),
    ProcNet { refusal: io::Error },
}

impl Tables {
    /// Finds out how the tables of these protocols can be read.
    ///
    /// # Errors
    /// When neither way works.
    pub(super) fn open(protocols: &[Protocol]) -> io::Result<Tables> {
        let mut tables = Tables {
            sources: Vec::new(),
            last_sequence: 0,
        };
        for protocol in protocols {
            let source = match tables.probe(*protocol) {
                Ok(socket) => Source::Netlink(socket),
                Err(refusal) => {
                    File::open(proc_net_path(*protocol, Family::Inet))?;
                    Source::ProcNet { refusal }
                }
            };
            tables.sources.push((*protocol, source));
        }
        Ok(tables)
    }

    /// Which protocols are read from `/proc/net`, and why.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (Protocol, &io::Error)> {
        self.sources
            .iter()
            .filter_map(|(protocol, source)| match source {
                Source::Netlink(_) => None,
                Source::ProcNet { refusal } => Some((*protocol, refusal)),
            })
    }

    /// Hands every socket to `see`, some of them twice when a table had to be read again.
    ///
    /// # Errors
    /// When a table cannot be read any more.
    pub(super) fn read(&mut self, see: &mut dyn FnMut(Sighting)) -> io::Result<Reading> {
        let mut total = Reading {
            is_complete: true,
            malformed: 0,
        };
        for (protocol, source) in &mut self.sources {
            for family in [Family::Inet, Family::Inet6] {
                let reading = match source {
                    Source::Netlink(socket) => {
                        let dump = Dump {
                            protocol: *protocol,
                            family,
                        };
                        dump.read_with_retries(socket, &mut self.last_sequence, see)?
                    }
                    Source::ProcNet { .. } => read_proc_net(*protocol, family, see)?,
                };
                total.is_complete &= reading.is_complete;
                total.malformed += reading.malformed;
            }
        }
        Ok(total)
    }

    /// Asks once: a kernel or a container that refuses does so at the first question.
    fn probe(&mut self, protocol: Protocol) -> io::Result<DiagSocket> {
        let mut socket = DiagSocket::open()?;
        let dump = Dump {
            protocol,
            family: Family::Inet,
        };
        dump.read(&mut socket, &mut self.last_sequence, &mut |_| {})?;
        Ok(socket)
    }
}

/// One question to the kernel.
struct Dump {
    protocol: Protocol,
    family: Family,
}

impl Dump {
    /// Asks again when the table changed under the kernel's hands or the answer did not come.
    fn read_with_retries(
        &self,
        socket: &mut DiagSocket,
        last_sequence: &mut u32,
        see: &mut dyn FnMut(Sighting),
    ) -> io::Result<Reading> {
        let mut outcome = self.read(socket, last_sequence, see);
        for _ in 1..ATTEMPTS_MAX {
            match &outcome {
                Ok(reading) if reading.is_complete => break,
                Ok(_) => {}
                // An answer that was given up half way blocks the next one on the same socket.
                Err(_) => *socket = DiagSocket::open()?,
            }
            outcome = self.read(socket, last_sequence, see);
        }
        outcome
    }

    fn read(
        &self,
        socket: &mut DiagSocket,
        last_sequence: &mut u32,
        see: &mut dyn FnMut(Sighting),
    ) -> io::Result<Reading> {
        *last_sequence = last_sequence.wrapping_add(1);
        let mut answer = Answer::new(self.protocol, *last_sequence);
        socket.send(&diag::request(self.protocol, self.family, *last_sequence))?;
        loop {
            match answer.read(socket.receive()?, see) {
                Progress::More => {}
                Progress::Done => break,
                Progress::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
        Ok(Reading {
            is_complete: !answer.interrupted,
            malformed: answer.malformed,
        })
    }
}

fn read_proc_net(
    protocol: Protocol,
    family: Family,
    see: &mut dyn FnMut(Sighting),
) -> io::Result<Reading> {
    let mut reading = Reading {
        is_complete: true,
        malformed: 0,
    };
    let file = match File::open(proc_net_path(protocol, family)) {
        Ok(file) => file,
        // A kernel without IPv6 has no such table.
        Err(error) if error.kind() == io::ErrorKind::NotFound && family == Family::Inet6 => {
            return Ok(reading);
        }
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file).lines() {
        match lines::read(&line?, protocol) {
            Row::Socket(sighting) => see(sighting),
            Row::Other => {}
            Row::Malformed => reading.malformed += 1,
        }
    }
    Ok(reading)
}

fn proc_net_path(protocol: Protocol, family: Family) -> &'static str {
    match (protocol, family) {
        (Protocol::Udp, Family::Inet) => "/proc/net/udp",
        (Protocol::Udp, Family::Inet6) => "/proc/net/udp6",
        (Protocol::Tcp | Protocol::Other(_), Family::Inet) => "/proc/net/tcp",
        (Protocol::Tcp | Protocol::Other(_), Family::Inet6) => "/proc/net/tcp6",
    }
}

/// How often a table is asked for in one poll.
const ATTEMPTS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampled::sighting::State;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    impl Tables {
        /// Tables as where sock_diag is refused.
        pub(in crate::sampled) fn without_netlink(protocols: &[Protocol]) -> Tables {
            let source = |protocol: &Protocol| {
                (
                    *protocol,
                    Source::ProcNet {
                        refusal: io::Error::from_raw_os_error(1),
                    },
                )
            };
            Tables {
                sources: protocols.iter().map(source).collect(),
                last_sequence: 0,
            }
        }
    }

    fn find(tables: &mut Tables, local: SocketAddr, state: State) -> Option<Sighting> {
        let mut found = None;
        let mut see = |sighting: Sighting| {
            if sighting.pair.local == local && sighting.state == state {
                found = Some(sighting);
            }
        };
        let reading = tables.read(&mut see).unwrap();
        assert!(reading.is_complete);
        assert_eq!(reading.malformed, 0);
        found
    }

    #[test]
    fn both_ways_tell_the_same_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let local = client.local_addr().unwrap();
        let protocols = [Protocol::Tcp, Protocol::Udp];
        let mut tables = Tables::open(&protocols).unwrap();
        let told = find(&mut tables, local, State::Connected).unwrap();
        let mut tables = Tables::without_netlink(&protocols);
        let read = find(&mut tables, local, State::Connected).unwrap();
        assert_eq!((read.pair, read.inode), (told.pair, told.inode));
        assert!(read.inode.is_some());
        let listening = listener.local_addr().unwrap();
        assert!(find(&mut tables, listening, State::Listening).is_some());
    }
}
