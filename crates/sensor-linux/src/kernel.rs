//! The sensor that is told by the kernel itself.
//!
//! A small program in the kernel (`bpf/connections.bpf.c`) follows every TCP connection and UDP
//! flow and writes what is worth knowing to a ring. This module loads it, reads the ring, and keeps
//! the books: whatever the kernel program could not deliver is told as lost, and what ended
//! without a word is found by a sweep.
//!
//! Oldest kernel: 5.12 by its documented features; what was run on is said in the project's
//! documentation.

mod attach;
mod books;
mod clocks;
mod control_groups;
mod peers;
mod totals;

pub use books::{Counters, MadeAndDropped};

use crate::sys::bpf::give_back_memory;
use crate::translate::{FOUND_BYTES, Message, Translator};
use crate::{Sensor, SensorError};
use attach::{Attached, Start};
use books::{Books, Repairs};
use clocks::Clocks;
use flow::{Event, FlowKey};
use peers::Peers;
use record::{Mono, SensorKind};
use rustix::event::epoll;
use rustix::time::Timespec;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};
use totals::Totals;

/// How the kernel sensor works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of the ring between kernel and recorder, in bytes; rounded up to a power of two, from
    /// 64 KiB to 1 GiB. It is mapped twice in a row, and counts twice in the process's memory.
    pub ring_bytes: u32,
    /// Fill of the ring at which the kernel wakes the reader, in bytes; at most an eighth of the
    /// ring. Below it the reader looks by itself, every 20 ms while there is something to read.
    pub wake_bytes: u32,
    /// Read the first 512 bytes of the command lines of processes.
    pub capture_arguments: bool,
    /// Watch the first read or write of accepted connections, to know who accepted them before
    /// they are closed. Costs something at every read and write of every socket.
    pub first_io: bool,
    /// The bytes of `/proc/sys/kernel/random/boot_id`, for Common Process IDs.
    pub boot_id: Option<[u8; 16]>,
    /// A flow of datagrams is over after this long without a packet; that of a connected socket up
    /// to twice [`Options::totals_interval`] later.
    pub udp_idle: Duration,
    /// How often flows that live on are looked at, and what those carried is told of through which
    /// something passed since the last time.
    pub totals_interval: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ring_bytes: 4 * 1024 * 1024,
            wake_bytes: 256 * 1024,
            capture_arguments: false,
            first_io: false,
            boot_id: None,
            udp_idle: Duration::from_secs(60),
            totals_interval: Duration::from_secs(10),
        }
    }
}

impl Options {
    fn ring_bytes_used(&self) -> u32 {
        self.ring_bytes.clamp(1 << 16, 1 << 30).next_power_of_two()
    }
}

/// The sensor that is told by the kernel. Dropping it detaches everything.
pub struct KernelSensor {
    attached: Attached,
    wakes: OwnedFd,
    translator: Translator,
    peers: Peers,
    books: Books,
    alive: AliveList,
    totals: Totals,
    /// Ends were lost: what still exists must be found out.
    sweep_wanted: bool,
    swept_at: Mono,
    /// The last drain stopped at its limit: there is more to read.
    more: bool,
    /// When the ring last had something.
    busy_at: Mono,
    ring_records_max: usize,
    clocks: Option<Clocks>,
    beginning: Option<Beginning>,
}

/// What the first poll reports.
struct Beginning {
    limits: Vec<String>,
    sockets: File,
}

/// What a sweep has found so far.
#[derive(Debug, Default)]
struct AliveList {
    sockets: Vec<u64>,
    finished: Option<Mono>,
    incomplete: bool,
}

impl KernelSensor {
    /// Loads the program into the kernel and attaches it. From here on nothing is missed; the
    /// first poll reports what was there before.
    ///
    /// # Errors
    /// When the kernel or the process's privilege does not allow it; the error says what to do.
    pub fn start(options: &Options) -> Result<KernelSensor, SensorError> {
        let Start {
            attached,
            table,
            mut listeners,
            sockets,
            mut limits,
        } = attach::attach(options)?;
        let mut translator = Translator {
            boot_id: options.boot_id,
            ..Translator::default()
        };
        translator.listening = read_listeners(&mut listeners, &translator)?;
        // The description of the kernel's types, which takes tens of megabytes, is dropped by now.
        give_back_memory();
        let wakes = wakes_of(&attached)?;
        limits.extend(ALWAYS_UNSEEN.map(str::to_owned));
        let idle_ns = nanoseconds(options.udp_idle);
        let now = clocks::now();
        translator.settled = now.plus_ns(idle_ns);
        Ok(KernelSensor {
            attached,
            wakes,
            translator,
            peers: Peers::new(table, idle_ns),
            books: Books::default(),
            alive: AliveList::default(),
            totals: Totals::new(nanoseconds(options.totals_interval), now),
            sweep_wanted: false,
            swept_at: Mono(0),
            more: false,
            busy_at: now,
            ring_records_max: options.ring_bytes_used() as usize / RECORD_BYTES_MIN,
            clocks: None,
            beginning: Some(Beginning { limits, sockets }),
        })
    }

    /// The kernel program's counters.
    ///
    /// # Errors
    /// When the kernel does not give them.
    pub fn counters(&self) -> Result<Counters, SensorError> {
        books::counters(&self.attached)
    }

    fn begin(&mut self, beginning: Beginning, events: &mut Vec<Event>) -> Result<(), SensorError> {
        let Beginning {
            limits,
            mut sockets,
        } = beginning;
        events.push(Event::SensorStarted {
            sensor: SensorKind::LinuxEbpf,
            limits,
        });
        let mut found = Vec::new();
        while read_found(&mut sockets, &self.translator, &mut found)? {
            self.report_found(&mut found, events);
        }
        // Those who listen were introduced too, even if nobody is connected.
        self.drain(self.ring_records_max, events);
        give_back_memory();
        Ok(())
    }

    /// Whoever holds a socket is introduced in the ring, and a connection that was found can end
    /// at once: introductions come first, then what was found, then what else happened.
    fn report_found(&mut self, found: &mut Vec<Message>, events: &mut Vec<Event>) {
        let mut happened = Vec::new();
        self.drain(self.ring_records_max, &mut happened);
        let (introductions, rest): (Vec<Event>, Vec<Event>) = happened
            .into_iter()
            .partition(|event| matches!(event, Event::ProcessSeen(_)));
        events.extend(introductions);
        events.extend(found.drain(..).filter_map(|message| match message {
            Message::Event(event) => Some(event),
            Message::PeerOpened(..)
            | Message::Attributed { .. }
            | Message::Released { .. }
            | Message::Alive { .. }
            | Message::Listening { .. } => None,
        }));
        events.extend(rest);
    }

    /// Waits until the kernel says that the ring fills, or for `timeout`.
    ///
    /// Only wake-ups end the wait, not the mere presence of something to read: reading in batches
    /// is what keeps the cost down.
    fn wait(&self, timeout: Duration) -> Result<(), SensorError> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut ready = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: NO_DATA,
        }];
        match epoll::wait(&self.wakes, &mut ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(system("wait for the ring", error)),
        }
    }

    /// How long nothing needs to be read: short while there is traffic.
    fn tick(&self) -> Duration {
        let is_quiet = clocks::now().since_ns(self.busy_at) > QUIET_AFTER_NS;
        if is_quiet { QUIET_TICK } else { BUSY_TICK }
    }

    /// Reads at most `records_max` messages from the ring.
    fn drain(&mut self, records_max: usize, events: &mut Vec<Event>) {
        let mut count = 0;
        while count < records_max {
            let Some(record) = self.attached.ring.next() else {
                break;
            };
            let message = self.translator.message(&record);
            drop(record);
            self.handle(message, events);
            count += 1;
        }
        self.more = count == records_max;
        if count > 0 {
            self.busy_at = clocks::now();
        }
    }

    fn handle(&mut self, message: Message, events: &mut Vec<Event>) {
        match message {
            Message::Event(event) => events.push(event),
            Message::PeerOpened(opened, key) => {
                self.peers.opened(key, opened.key.part, opened.at);
                events.push(Event::Opened(opened));
            }
            Message::Attributed {
                socket,
                has_flow,
                owner,
            } => {
                if has_flow {
                    let key = FlowKey { socket, part: 0 };
                    events.push(Event::Attributed { key, owner });
                }
                self.peers.attributed(socket, owner, events);
            }
            Message::Released {
                socket,
                at,
                closer_pid,
            } => {
                self.peers
                    .released(socket, at, closer_pid, &self.translator, events);
            }
            Message::Alive {
                sockets,
                finished,
                incomplete,
            } => {
                self.alive.sockets.extend(sockets);
                self.alive.finished = finished;
                self.alive.incomplete = incomplete;
            }
            // Only the iterator over files says this, and not through the ring.
            Message::Listening { .. } => {}
        }
    }

    /// Keeps the books, ends silent peers and repairs losses.
    fn keep_house(&mut self, at_once: bool, events: &mut Vec<Event>) -> Result<(), SensorError> {
        let now = match &mut self.clocks {
            Some(clocks) => clocks.check(events),
            None => clocks::now(),
        };
        if at_once || self.books.are_due(now) {
            let Repairs { sweep, find_peers } = self.books.settle(&self.attached, now, events)?;
            self.sweep_wanted |= sweep;
            if find_peers {
                self.peers.find_unknown(now);
            }
        }
        if self.sweep_wanted && now.since_ns(self.swept_at) >= SWEEP_INTERVAL_NS {
            self.swept_at = now;
            self.sweep(events)?;
        }
        self.peers.check_idle(now, &self.translator, events);
        let [sockets, peers] = &self.attached.totals;
        let peers = (!self.peers.is_empty()).then_some(peers);
        self.totals.go_on(sockets, peers, now)
    }

    /// Finds out which flows still exist.
    ///
    /// The kernel lists them through the ring. A flow that ends meanwhile is either in the list,
    /// or its end stands in the ring before the end of the list: it is never both ended and
    /// missing. What the ring loses during the sweep leads to the next one.
    fn sweep(&mut self, events: &mut Vec<Event>) -> Result<(), SensorError> {
        self.drain(self.ring_records_max, events);
        self.alive = AliveList::default();
        let before = clocks::now();
        self.walk_sockets()?;
        for _ in 0..SWEEP_READS_MAX {
            self.drain(self.ring_records_max, events);
            if self
                .alive
                .finished
                .is_some_and(|finished| finished >= before)
            {
                break;
            }
            thread::sleep(SWEEP_READ_INTERVAL);
        }
        let found = mem::take(&mut self.alive);
        if found.incomplete || found.finished.is_none_or(|finished| finished < before) {
            return Ok(());
        }
        self.sweep_wanted = false;
        self.report_alive(before, found.sockets, events);
        Ok(())
    }

    fn walk_sockets(&self) -> Result<(), SensorError> {
        let step = "iterate over sockets";
        let mut pass = self
            .attached
            .alive
            .open()
            .map_err(|error| system(step, error))?;
        let mut nothing = [0; 64];
        while pass
            .read(&mut nothing)
            .map_err(|error| system(step, error))?
            > 0
        {}
        Ok(())
    }

    /// Sockets that are gone although nobody said so take their peers' flows with them.
    fn report_alive(&mut self, before: Mono, mut sockets: Vec<u64>, events: &mut Vec<Event>) {
        sockets.sort_unstable();
        for socket in self.peers.sockets_before(before) {
            if sockets.binary_search(&socket).is_err() {
                self.peers
                    .released(socket, before, None, &self.translator, events);
            }
        }
        let mut alive: Vec<FlowKey> = sockets
            .into_iter()
            .map(|socket| FlowKey { socket, part: 0 })
            .collect();
        alive.extend(self.peers.flows());
        alive.sort_unstable();
        events.push(Event::Swept { before, alive });
    }
}

impl Sensor for KernelSensor {
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<(), SensorError> {
        if let Some(beginning) = self.beginning.take() {
            self.clocks = Some(Clocks::start(events));
            return self.begin(beginning, events);
        }
        let deadline = Instant::now() + timeout;
        let before = events.len();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.more && !left.is_zero() {
                self.wait(left.min(self.tick()))?;
            }
            self.drain(BATCH_RECORDS_MAX, events);
            self.keep_house(timeout.is_zero(), events)?;
            if events.len() > before || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn wakes_of(attached: &Attached) -> Result<OwnedFd, SensorError> {
    let step = "watch the ring";
    let wakes = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| system(step, error))?;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&wakes, &attached.ring, NO_DATA, flags).map_err(|error| system(step, error))?;
    Ok(wakes)
}

/// Network namespaces and ports of what listens. Reading also tells the kernel program who does.
fn read_listeners(
    file: &mut File,
    translator: &Translator,
) -> Result<HashSet<(u32, u16)>, SensorError> {
    let mut listening = HashSet::new();
    let mut found = Vec::new();
    while read_found(file, translator, &mut found)? {
        for message in found.drain(..) {
            if let Message::Listening {
                network_namespace,
                port,
            } = message
            {
                listening.insert((network_namespace, port));
            }
        }
    }
    Ok(listening)
}

/// Reads the next sockets that were found; false at the end.
fn read_found(
    file: &mut File,
    translator: &Translator,
    found: &mut Vec<Message>,
) -> Result<bool, SensorError> {
    let mut bytes = vec![0; READ_BYTES];
    let step = "read which sockets are open";
    let length = loop {
        match file.read(&mut bytes) {
            Ok(length) => break length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(system(step, error)),
        }
    };
    let events = bytes[..length].chunks(FOUND_BYTES);
    found.extend(events.map(|event| translator.message(event)));
    Ok(length > 0)
}

fn system(step: &str, source: impl Into<io::Error>) -> SensorError {
    SensorError::System {
        step: step.to_owned(),
        source: source.into(),
    }
}

const NO_DATA: epoll::EventData = epoll::EventData::new_u64(0);

const ALWAYS_UNSEEN: [&str; 3] = [
    "Raw, ICMP, SCTP and packet sockets are not seen, nor what kernel tunnels such as WireGuard \
     send themselves.",
    "Of a UDP socket that was open before the start, only datagrams since then are counted.",
    "A connection in the queue of its listener at the start is first seen when it ends.",
];

/// Messages per poll, so that no poll takes long or much memory.
const BATCH_RECORDS_MAX: usize = 8_192;

/// The smallest message and its header in the ring.
const RECORD_BYTES_MIN: usize = 32;

/// More than what the kernel gives in one go, which are whole events only.
const READ_BYTES: usize = 64 * 1024;

const BUSY_TICK: Duration = Duration::from_millis(20);
const QUIET_TICK: Duration = Duration::from_millis(100);
const QUIET_AFTER_NS: u64 = 1_000_000_000;

const SWEEP_INTERVAL_NS: u64 = 1_000_000_000;
const SWEEP_READS_MAX: usize = 100;
const SWEEP_READ_INTERVAL: Duration = Duration::from_millis(1);
