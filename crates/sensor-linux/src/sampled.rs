//! The reduced sensor: polls the socket tables, for where eBPF is not to be had.
//!
//! It needs no privilege, and says in its limits what it misses for that. The halves are apart:
//! `diag`, `lines` and `process` read bytes, `table` turns two polls into events, and all do so
//! without touching the system; `tables` and `holders` ask it.

mod diag;
mod holders;
mod lines;
mod process;
mod sighting;
mod table;
mod tables;

use self::holders::Holders;
use self::table::{PollEnd, Table};
use self::tables::Tables;
use crate::{Sensor, SensorError};
use flow::Event;
use record::{LossCause, LossStage, LostKind, Mono, Protocol, SensorKind, Wall};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How to poll.
#[derive(Clone, Debug)]
pub struct SampledOptions {
    /// From one poll to the next; at least [`SampledOptions::INTERVAL_MIN`].
    pub interval: Duration,
    /// Whether connected UDP sockets are recorded.
    pub udp: bool,
    /// Random id of this boot, from which process ids for other tools are made.
    pub boot_id: Option<[u8; 16]>,
    /// Why the better sensor is not used, in a sentence; becomes the first limit.
    pub reason: String,
}

impl SampledOptions {
    /// From one poll to the next, unless someone asks for another: long enough to cost little.
    pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

    /// A shorter interval would keep a core busy for little more to see.
    pub const INTERVAL_MIN: Duration = Duration::from_millis(10);
}

/// Polls the socket tables of the network namespace it was started in.
pub struct SampledSensor {
    interval: Duration,
    tables: Tables,
    table: Table,
    holders: Holders,
    clocks: Clocks,
    next_poll: Instant,
    /// What the first poll says that the sensor cannot see.
    limits: Option<Vec<String>>,
}

impl SampledSensor {
    /// Finds out how the socket tables can be read.
    ///
    /// # Errors
    /// When they cannot be read at all.
    pub fn start(options: &SampledOptions) -> Result<SampledSensor, SensorError> {
        let protocols: &[Protocol] = if options.udp {
            &[Protocol::Tcp, Protocol::Udp]
        } else {
            &[Protocol::Tcp]
        };
        let tables = Tables::open(protocols).map_err(cannot_read)?;
        let view = holders::View::read();
        let limits = limits(options, &tables, &view);
        Ok(SampledSensor {
            interval: options.interval.max(SampledOptions::INTERVAL_MIN),
            tables,
            table: Table::new(view.network_namespace, SOCKETS_MAX),
            holders: Holders::new(options.boot_id),
            clocks: Clocks::default(),
            next_poll: Instant::now(),
            limits: Some(limits),
        })
    }

    fn sweep(&mut self, events: &mut Vec<Event>) -> Result<(), SensorError> {
        self.clocks.read(events);
        if let Some(limits) = self.limits.take() {
            events.push(Event::SensorStarted {
                sensor: SensorKind::LinuxSampled,
                limits,
            });
        }
        self.table.begin();
        let table = &mut self.table;
        let reading = self
            .tables
            .read(&mut |sighting| table.see(&sighting))
            .map_err(cannot_read)?;
        let holders = self.holders.find(self.table.inodes_wanted(), events);
        let end = PollEnd {
            at: Mono(now_ns(ClockId::Boottime)),
            is_complete: reading.is_complete,
            holders: &holders,
        };
        self.table.finish(&end, events);
        events.extend(malformed(reading.malformed));
        Ok(())
    }
}

impl Sensor for SampledSensor {
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<(), SensorError> {
        let until_due = self.next_poll.saturating_duration_since(Instant::now());
        std::thread::sleep(until_due.min(timeout));
        if until_due > timeout {
            self.clocks.read(events);
            return Ok(());
        }
        self.sweep(events)?;
        let (due, now) = (self.next_poll + self.interval, Instant::now());
        // A machine too busy to be polled in time gets a full pause, not a burst.
        self.next_poll = if due > now { due } else { now + self.interval };
        Ok(())
    }
}

/// Tells what the clocks show, and when they show that the machine slept.
#[derive(Default)]
struct Clocks {
    told_ns: Option<u64>,
    /// By how much the clock that counts sleep is ahead of the one that does not.
    slept_ns: Option<u64>,
}

impl Clocks {
    fn read(&mut self, events: &mut Vec<Event>) {
        let awake_ns = now_ns(ClockId::Monotonic);
        let mono_ns = now_ns(ClockId::Boottime);
        // Through the C library, where a tester's clock can stand in for it.
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall_ns = i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX);
        self.take(mono_ns, awake_ns, Wall(wall_ns), events);
    }

    fn take(&mut self, mono_ns: u64, awake_ns: u64, wall: Wall, events: &mut Vec<Event>) {
        let slept_ns = mono_ns.saturating_sub(awake_ns);
        let duration_ns = slept_ns.saturating_sub(self.slept_ns.unwrap_or(slept_ns));
        self.slept_ns = Some(slept_ns);
        if duration_ns > SLEEP_NS_MIN {
            events.push(Event::Slept { duration_ns });
        }
        let is_due = self
            .told_ns
            .is_none_or(|told_ns| mono_ns >= told_ns + CLOCK_PAUSE_NS);
        if is_due {
            self.told_ns = Some(mono_ns);
            events.push(Event::ClockRead {
                mono: Mono(mono_ns),
                wall,
            });
        }
    }
}

fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let ns = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(ns).unwrap_or_default()
}

fn limits(options: &SampledOptions, tables: &Tables, view: &holders::View) -> Vec<String> {
    let interval = seconds(options.interval.max(SampledOptions::INTERVAL_MIN));
    let mut limits = vec![
        options.reason.clone(),
        format!(
            "connections that live shorter than the poll interval of {interval} are missed, or \
             told without owner and bytes when they leave a TIME_WAIT behind"
        ),
        format!("beginnings and ends are told by the poll that saw them, up to {interval} late"),
        "bytes of a TCP connection are those at the last poll that saw it, and the bytes of UDP \
         are unknown"
            .to_owned(),
        "how a connection ended is unknown unless it went through TIME_WAIT".to_owned(),
        "owners are the processes that held a socket when the tables were polled, and directions \
         are inferred from the listening ports"
            .to_owned(),
        "connections in other network namespaces, such as those of containers, are not seen"
            .to_owned(),
    ];
    limits.push(if options.udp {
        "of UDP only connected sockets are seen".to_owned()
    } else {
        "UDP is not recorded".to_owned()
    });
    limits.extend(tables.refusals().map(|(protocol, refusal)| {
        let name = if protocol == Protocol::Udp {
            "UDP"
        } else {
            "TCP"
        };
        format!("{name} is read from /proc/net, without bytes, because sock_diag said: {refusal}")
    }));
    limits.extend(view.limits());
    limits
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

fn malformed(count: u64) -> Option<Event> {
    (count != 0).then_some(Event::Lost {
        stage: LossStage::Kernel,
        cause: LossCause::Malformed,
        what: LostKind::Events,
        count: Some(count),
    })
}

fn cannot_read(source: std::io::Error) -> SensorError {
    SensorError::System {
        step: "read the socket tables".to_owned(),
        source,
    }
}

/// How many sockets are followed; about 35 MB when all are there.
const SOCKETS_MAX: usize = 65_536;

/// A difference between the clocks that is shorter is reading them one after the other.
const SLEEP_NS_MIN: u64 = 1_000_000_000;

/// A little under a second, so that a poll each second tells the clocks each time.
const CLOCK_PAUSE_NS: u64 = 900_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{Closed, Introduction, Opened};
    use record::{Origin, Outcome};
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

    const REASON: &str = "eBPF is not permitted";

    fn start(interval: Duration) -> SampledSensor {
        let options = SampledOptions {
            interval,
            udp: true,
            boot_id: Some([1; 16]),
            reason: REASON.into(),
        };
        SampledSensor::start(&options).unwrap()
    }

    fn poll(sensor: &mut SampledSensor, timeout: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        sensor.poll(timeout, &mut events).unwrap();
        events
    }

    /// Polls until `find` finds its event; other tests of this process have sockets too.
    fn poll_until<T>(sensor: &mut SampledSensor, find: impl Fn(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(found) = poll(sensor, Duration::from_secs(1)).iter().find_map(&find) {
                return found;
            }
        }
        panic!("not told within ten seconds");
    }

    fn opened_at(local: SocketAddr) -> impl Fn(&Event) -> Option<Opened> {
        move |event| {
            let Event::Opened(opened) = event else {
                return None;
            };
            (opened.tuple.local.port == Some(local.port())).then_some(*opened)
        }
    }

    fn closed_at(local: SocketAddr) -> impl Fn(&Event) -> Option<Closed> {
        move |event| {
            let Event::Closed(closed) = event else {
                return None;
            };
            (closed.tuple.local.port == Some(local.port())).then_some(*closed)
        }
    }

    fn introduction(event: &Event) -> Option<&Introduction> {
        let Event::ProcessSeen(introduction) = event else {
            return None;
        };
        Some(introduction)
    }

    fn tell_of_this_process(sensor: &mut SampledSensor) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let local = client.local_addr().unwrap();
        client.write_all(b"seven b").unwrap();
        let events = poll(sensor, Duration::ZERO);
        let open = events.iter().find_map(opened_at(local)).unwrap();
        assert_eq!(open.origin, Origin::Snapshot);
        let owner = open.owner.unwrap().process;
        assert_eq!(owner.pid, std::process::id());
        let introductions: Vec<_> = events.iter().filter_map(introduction).collect();
        let own = introductions
            .iter()
            .find(|it| it.process.key == owner)
            .unwrap();
        let path = std::env::current_exe().unwrap();
        assert_eq!(own.process.path.as_deref(), path.to_str());
        assert!(own.process.cpid.is_some() && own.process.user.is_some());
        let parent = own.parent.unwrap();
        assert_eq!(parent.pid, std::os::unix::process::parent_id());
        assert!(introductions.iter().any(|it| it.process.key == parent));
        let server = listener.accept().unwrap();
        drop((client, server));
        let close = poll_until(sensor, closed_at(local));
        assert_eq!((close.key, close.owner), (open.key, open.owner));
        assert!(matches!(
            close.ending.outcome,
            Outcome::Closed | Outcome::Unknown
        ));
    }

    #[test]
    fn tells_who_made_a_connection_and_that_it_ended() {
        tell_of_this_process(&mut start(Duration::from_millis(20)));
    }

    #[test]
    fn tells_the_same_where_netlink_is_refused() {
        let mut sensor = start(Duration::from_millis(20));
        sensor.tables = Tables::without_netlink(&[Protocol::Tcp]);
        tell_of_this_process(&mut sensor);
    }

    #[test]
    fn tells_connected_udp_without_bytes() {
        let mut sensor = start(Duration::from_millis(20));
        poll(&mut sensor, Duration::ZERO);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(peer.local_addr().unwrap()).unwrap();
        let local = socket.local_addr().unwrap();
        let open = poll_until(&mut sensor, opened_at(local));
        assert_eq!(
            (open.tuple.protocol, open.origin),
            (Protocol::Udp, Origin::Sampled)
        );
        drop(socket);
        assert_eq!(
            poll_until(&mut sensor, closed_at(local)).traffic,
            record::Traffic::default()
        );
    }

    #[test]
    fn begins_with_the_clocks_and_its_limits() {
        let events = poll(&mut start(Duration::from_secs(1)), Duration::ZERO);
        assert!(matches!(events[0], Event::ClockRead { .. }));
        let Event::SensorStarted { sensor, limits } = &events[1] else {
            panic!("{:?}", events[1]);
        };
        assert_eq!(*sensor, SensorKind::LinuxSampled);
        assert_eq!(limits[0], REASON);
        assert!(limits[1].contains("poll interval of 1 s are missed"));
    }

    #[test]
    fn a_refusal_is_a_limit() {
        let options = SampledOptions {
            interval: Duration::from_millis(1500),
            udp: false,
            boot_id: None,
            reason: REASON.into(),
        };
        let tables = Tables::without_netlink(&[Protocol::Tcp]);
        let limits = limits(&options, &tables, &holders::View::read());
        let told = |part: &str| limits.iter().any(|limit| limit.contains(part));
        assert!(told("TCP is read from /proc/net, without bytes"));
        assert!(told("UDP is not recorded"));
        assert!(told("up to 1.5 s late"));
    }

    #[test]
    fn waits_no_longer_than_it_is_given() {
        let mut sensor = start(Duration::from_secs(60));
        poll(&mut sensor, Duration::ZERO);
        let began = Instant::now();
        assert_eq!(poll(&mut sensor, Duration::from_millis(30)), vec![]);
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn clocks_are_told_each_second_and_sleep_when_it_was_one() {
        const SECOND_NS: u64 = 1_000_000_000;
        let mut clocks = Clocks::default();
        let mut read = |mono_ns, awake_ns| {
            let mut events = Vec::new();
            clocks.take(mono_ns, awake_ns, Wall(0), &mut events);
            events
        };
        let told = |mono_ns| Event::ClockRead {
            mono: Mono(mono_ns),
            wall: Wall(0),
        };
        assert_eq!(read(9 * SECOND_NS, 5 * SECOND_NS), [told(9 * SECOND_NS)]);
        assert_eq!(read(9 * SECOND_NS + 5, 5 * SECOND_NS + 5), []);
        assert_eq!(read(10 * SECOND_NS, 6 * SECOND_NS), [told(10 * SECOND_NS)]);
        let slept = Event::Slept {
            duration_ns: 3 * SECOND_NS,
        };
        assert_eq!(
            read(14 * SECOND_NS, 7 * SECOND_NS),
            [slept, told(14 * SECOND_NS)]
        );
        assert_eq!(read(15 * SECOND_NS, 8 * SECOND_NS), [told(15 * SECOND_NS)]);
    }
}
