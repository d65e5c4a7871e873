//! The system's own count of TCP connections beside ours.
//!
//! The kernel counts for each network namespace by itself, so what is compared is the namespace
//! that the recorder is in: its counters, and what the sensor told of it.

use flow::Event;
use flow::coverage::Usual;
use record::{Direction, Mono, Origin, Protocol, TcpCounts};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Reads the kernel's counters now and then.
#[derive(Debug)]
pub struct Meter {
    file: PathBuf,
    namespace: Option<u32>,
    interval_ns: u64,
    due: Mono,
    /// The last reading, and when it was.
    last: Option<(TcpCounts, Mono)>,
    recorded: TcpCounts,
    usual: Usual,
}

impl Meter {
    /// A meter of this process's network namespace that is read every `interval_ns`, for the first
    /// time at once: from then on it counts.
    pub fn new(interval_ns: u64) -> Meter {
        let namespace = fs::metadata("/proc/self/ns/net").ok();
        Meter {
            file: PathBuf::from(COUNTERS),
            namespace: namespace.and_then(|it| it.ino().try_into().ok()),
            interval_ns: interval_ns.max(1_000_000_000),
            due: Mono::default(),
            last: None,
            recorded: TcpCounts::default(),
            usual: Usual::default(),
        }
    }

    /// Takes note of what the sensor told.
    pub fn follow(&mut self, events: &[Event]) {
        for event in events {
            match self.begun(event) {
                Some(Direction::Outbound) => self.recorded.outbound += 1,
                Some(Direction::Inbound) => self.recorded.inbound += 1,
                Some(Direction::Unknown) | None => {}
            }
        }
    }

    /// Reads the counters, if it is time to.
    pub fn read_if_due(&mut self, now: Mono) -> Option<Event> {
        if now < self.due {
            return None;
        }
        self.due = now.plus_ns(self.interval_ns);
        let reading = read(&self.file);
        let last = std::mem::replace(&mut self.last, reading.clone().ok().map(|it| (it, now)));
        let recorded = match last {
            // Nothing can be compared with what came before the first reading.
            None if reading.is_ok() => {
                self.recorded = TcpCounts::default();
                TcpCounts::default()
            }
            None | Some(_) => std::mem::take(&mut self.recorded),
        };
        let system = reading.and_then(|reading| counted(reading, last));
        let missed_estimate = match (&system, last) {
            (Ok(system), Some((_, read))) if now.since_ns(read) < 3 * self.interval_ns => {
                self.usual.missed(system, &recorded)
            }
            (Ok(_) | Err(_), _) => None,
        };
        Some(Event::CoverageRead {
            system,
            recorded,
            missed_estimate,
            unseen: vec![UNCOMPARED.to_owned()],
        })
    }

    /// Which side began, if the event is the first of a TCP connection of this namespace. An
    /// attempt that fails has no other.
    fn begun(&self, event: &Event) -> Option<Direction> {
        let (tuple, origin) = match event {
            Event::Opened(opened) => (&opened.tuple, opened.origin),
            Event::Closed(closed) if closed.established.is_none() => (&closed.tuple, closed.origin),
            Event::Closed(_)
            | Event::SensorStarted { .. }
            | Event::SensorStopped { .. }
            | Event::ClockRead { .. }
            | Event::SensorLimited { .. }
            | Event::BreakerChanged { .. }
            | Event::CoverageRead { .. }
            | Event::Unwatched { .. }
            | Event::Sleeping
            | Event::Slept { .. }
            | Event::ProcessSeen(_)
            | Event::ProcessesGone { .. }
            | Event::UserNamed { .. }
            | Event::Attributed { .. }
            | Event::Named { .. }
            | Event::Updated { .. }
            | Event::Swept { .. }
            | Event::Lost { .. } => return None,
        };
        let is_new = match (event, origin) {
            (_, Origin::Live) | (Event::Opened(_), Origin::Sampled) => true,
            (_, Origin::Sampled | Origin::Snapshot | Origin::Inferred) => false,
        };
        let is_here =
            tuple.network_namespace.is_none() || tuple.network_namespace == self.namespace;
        (is_new && is_here && tuple.protocol == Protocol::Tcp).then_some(tuple.direction)
    }
}

fn read(file: &Path) -> Result<TcpCounts, String> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    parse(&text).ok_or_else(|| format!("{} has a layout that is not known", file.display()))
}

/// A line of names and a line of numbers, both with `Tcp:` before them.
fn parse(text: &str) -> Option<TcpCounts> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let of = |name: &str| {
        let index = names.split_whitespace().position(|it| it == name)?;
        numbers.split_whitespace().nth(index)?.parse().ok()
    };
    let same = names.split_whitespace().count() == numbers.split_whitespace().count();
    same.then_some(TcpCounts {
        outbound: of("ActiveOpens")?,
        inbound: of("PassiveOpens")?,
    })
}

fn counted(reading: TcpCounts, last: Option<(TcpCounts, Mono)>) -> Result<TcpCounts, String> {
    let Some((last, _)) = last else {
        return Ok(TcpCounts::default());
    };
    let difference = |now: u64, before: u64| {
        let backwards = || "the kernel's TCP counters went backwards".to_owned();
        now.checked_sub(before).ok_or_else(backwards)
    };
    Ok(TcpCounts {
        outbound: difference(reading.outbound, last.outbound)?,
        inbound: difference(reading.inbound, last.inbound)?,
    })
}

/// The counters of the network namespace of whoever reads.
const COUNTERS: &str = "/proc/self/net/snmp";

const UNCOMPARED: &str = "connections of other network namespaces are recorded, and not compared";

#[cfg(test)]
mod tests {
    use super::*;
    use flow::coverage::LEARNT_MIN;
    use flow::{Closed, FlowKey, Opened, Tuple};
    use record::{Ending, Endpoint, Outcome, Traffic};
    use std::net::{TcpListener, TcpStream};
    use tempfile::NamedTempFile;

    const MINUTE_NS: u64 = 60_000_000_000;

    fn opened(direction: Direction, network_namespace: Option<u32>, origin: Origin) -> Event {
        Event::Opened(Opened {
            key: FlowKey { socket: 1, part: 0 },
            at: Mono(1),
            tuple: Tuple {
                protocol: Protocol::Tcp,
                direction,
                local: Endpoint::default(),
                remote: Endpoint::default(),
                network_namespace,
            },
            owner: None,
            opened: None,
            established: Some(Mono(1)),
            origin,
        })
    }

    fn closed(established: Option<Mono>, network_namespace: Option<u32>) -> Event {
        let Event::Opened(opened) = opened(Direction::Outbound, network_namespace, Origin::Live)
        else {
            unreachable!("it was made above")
        };
        Event::Closed(Closed {
            key: opened.key,
            at: opened.at,
            tuple: opened.tuple,
            owner: None,
            opened: None,
            established,
            traffic: Traffic::default(),
            rtt_us: None,
            retransmits: None,
            closer_pid: None,
            ending: Ending {
                outcome: Outcome::Closed,
                errno: None,
            },
            origin: Origin::Live,
        })
    }

    fn told(event: Option<Event>) -> (Result<TcpCounts, String>, TcpCounts, Option<u64>) {
        match event {
            Some(Event::CoverageRead {
                system,
                recorded,
                missed_estimate,
                ..
            }) => (system, recorded, missed_estimate),
            other => panic!("no reading: {other:?}"),
        }
    }

    fn counts(outbound: u64, inbound: u64) -> TcpCounts {
        TcpCounts { outbound, inbound }
    }

    fn write(file: &NamedTempFile, outbound: u64, inbound: u64) {
        let text = format!(
            "Ip: Forwarding\nIp: 1\nTcp: RtoMin ActiveOpens PassiveOpens MaxConn\n\
             Tcp: 200 {outbound} {inbound} -1\nUdp: InDatagrams\nUdp: 5\n"
        );
        fs::write(file.path(), text).unwrap();
    }

    fn meter(file: &NamedTempFile) -> Meter {
        Meter {
            file: file.path().to_owned(),
            namespace: Some(7),
            ..Meter::new(MINUTE_NS)
        }
    }

    #[test]
    fn the_counters_of_this_machine_count_a_connection_on_both_sides() {
        let before = read(Path::new(COUNTERS)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap();
        let after = read(Path::new(COUNTERS)).unwrap();
        assert!(after.outbound > before.outbound, "{before:?} {after:?}");
        assert!(after.inbound > before.inbound, "{before:?} {after:?}");
        drop((client, server));
    }

    #[test]
    fn what_begins_here_is_counted_once_and_what_begins_elsewhere_is_not() {
        let file = NamedTempFile::new().unwrap();
        let mut meter = meter(&file);
        write(&file, 1_000, 500);
        meter.follow(&[opened(Direction::Outbound, Some(7), Origin::Live)]);
        let first = told(meter.read_if_due(Mono(0)));
        assert_eq!(first, (Ok(counts(0, 0)), counts(0, 0), None));
        assert_eq!(meter.read_if_due(Mono(MINUTE_NS - 1)), None);
        meter.follow(&[
            opened(Direction::Outbound, Some(7), Origin::Live),
            closed(Some(Mono(1)), Some(7)),
            closed(None, Some(7)),
            opened(Direction::Inbound, Some(7), Origin::Sampled),
            opened(Direction::Inbound, None, Origin::Live),
            opened(Direction::Outbound, Some(8), Origin::Live),
            opened(Direction::Outbound, Some(7), Origin::Snapshot),
        ]);
        write(&file, 1_003, 502);
        let second = told(meter.read_if_due(Mono(MINUTE_NS)));
        assert_eq!(second, (Ok(counts(3, 2)), counts(2, 2), None));
    }

    #[test]
    fn only_what_goes_beyond_the_usual_may_have_been_missed() {
        let file = NamedTempFile::new().unwrap();
        let mut meter = meter(&file);
        let mut system = 0;
        let mut minute = |count: u64, number: u64| {
            system += count;
            write(&file, system, system);
            told(meter.read_if_due(Mono(number * MINUTE_NS))).2
        };
        for number in 0..=LEARNT_MIN as u64 {
            assert_eq!(minute(20, number), None, "it is still learning");
        }
        assert_eq!(minute(25, 17), Some(0));
        assert_eq!(minute(120, 18), Some(2 * 100));
        assert_eq!(minute(120, 40), None, "over a sleep nothing is compared");
    }

    #[test]
    fn an_unknown_layout_makes_the_meter_unavailable_and_so_do_counters_that_go_back() {
        let file = NamedTempFile::new().unwrap();
        let mut meter = meter(&file);
        for wrong in [
            "",
            "Tcp: ActiveOpens PassiveOpens\n",
            "Tcp: ActiveOpens PassiveOpens\nTcp: 1\n",
            "Tcp: ActiveOpens PassiveOpens\nTcp: 1 x\n",
            "Tcp: ActiveOpens Others\nTcp: 1 2\n",
        ] {
            fs::write(file.path(), wrong).unwrap();
            assert!(read(file.path()).unwrap_err().contains("layout"), "{wrong}");
        }
        meter.follow(&[opened(Direction::Outbound, Some(7), Origin::Live)]);
        let (system, recorded, missed) = told(meter.read_if_due(Mono(0)));
        assert!(system.unwrap_err().contains("layout"));
        assert_eq!((recorded, missed), (counts(1, 0), None));
        write(&file, 9, 9);
        let (system, _, _) = told(meter.read_if_due(Mono(MINUTE_NS)));
        assert_eq!(system, Ok(counts(0, 0)), "it begins here");
        write(&file, 5, 9);
        let (system, _, missed) = told(meter.read_if_due(Mono(2 * MINUTE_NS)));
        assert!(system.unwrap_err().contains("backwards"));
        assert_eq!(missed, None);
        write(&file, 6, 9);
        let (system, _, _) = told(meter.read_if_due(Mono(3 * MINUTE_NS)));
        assert_eq!(system, Ok(counts(1, 0)), "the next interval counts again");
    }
}
