//! The kernel sensor against what really happened: tens of thousands of processes, each living
//! less than a millisecond, in a network namespace of their own.

mod totals;

use crate::recorder::{Kept, Recorder};
use crate::truth::{Happened, Namespace};
use record::{ByteQuality, Connection, Direction, LostKind, Origin, Outcome, Phase};
use std::collections::BTreeMap;

const ARGUMENTS: &[&str] = &["--sensor", "kernel"];

/// Everything is recorded, by the right process on both ends, to the byte, exactly once.
fn check_everything(mode: &str, family: &str, count: usize) {
    let namespace = Namespace::make(mode);
    let recorder = Recorder::start(ARGUMENTS);
    let truth = namespace.play(&[mode, "--count", &count.to_string(), "--family", family]);
    assert_eq!(truth.len(), count);
    let kept = recorder.stop();
    let ends = Ends::of(&kept, &namespace);
    assert_eq!(ends.doubled, 0, "ends with more than one close");
    let mut wrong = Vec::new();
    for happened in &truth {
        wrong.extend(ends.compare(happened));
    }
    let summary: Vec<_> = wrong.iter().take(10).collect();
    assert!(
        wrong.is_empty(),
        "{} wrong of {}: {summary:#?}",
        wrong.len(),
        2 * count
    );
    assert_eq!(ends.by_place.len(), 2 * count, "ends that nobody made");
    assert_eq!(kept.declared_lost(LostKind::Closes), 0);
}

/// The ends that were recorded in a namespace, by protocol, direction and ports.
struct Ends<'a> {
    by_place: BTreeMap<Place, &'a Connection>,
    doubled: usize,
}

type Place = (u8, Direction, u16, u16);

impl<'a> Ends<'a> {
    fn of(kept: &'a Kept, namespace: &Namespace) -> Ends<'a> {
        let mut ends = Ends {
            by_place: BTreeMap::new(),
            doubled: 0,
        };
        let ours = |it: &&Connection| it.network_namespace == Some(namespace.inode);
        for close in kept.closes().filter(ours) {
            // An attempt that got no port has no place; its test counts it otherwise.
            let (Some(local), Some(remote)) = (close.local.port, close.remote.port) else {
                continue;
            };
            let place = (close.protocol.number(), close.direction, local, remote);
            let other = ends.by_place.insert(place, close);
            ends.doubled += usize::from(other.is_some());
        }
        ends
    }

    fn compare(&self, happened: &Happened) -> Vec<String> {
        let Happened {
            client_sent,
            client_received,
            ..
        } = *happened;
        let [client, server] = happened.places();
        let mut wrong = self.compare_end(client, happened.client_pid, client_sent, client_received);
        wrong.extend(self.compare_end(server, happened.server_pid, client_received, client_sent));
        if let Some(end) = self.by_place.get(&client) {
            let path = end.process.as_ref().and_then(|it| it.path.as_deref());
            if path != Some(&happened.exe) {
                wrong.push(format!("{client:?} ran {path:?}, not {}", happened.exe));
            }
        }
        wrong
    }

    fn compare_outcome(&self, place: Place, pid: u32, outcome: Outcome) -> Option<String> {
        let Some(end) = self.by_place.get(&place) else {
            return Some(format!("{place:?} is missing"));
        };
        let found = end.process.as_ref().map(|it| it.key.pid);
        let right_end = matches!(end.phase, Phase::Close(it) if it.outcome == outcome);
        (!right_end || found != Some(pid)).then(|| {
            format!(
                "{place:?}: {:?} by {found:?}, not {outcome:?} by {pid}",
                end.phase
            )
        })
    }

    fn compare_end(&self, place: Place, pid: u32, sent: u64, received: u64) -> Vec<String> {
        let Some(end) = self.by_place.get(&place) else {
            return vec![format!("{place:?} is missing")];
        };
        let mut wrong = Vec::new();
        let mut expect = |what: &str, found: Option<u64>, expected: u64| {
            if found != Some(expected) {
                wrong.push(format!("{place:?}: {what} {found:?}, not {expected}"));
            }
        };
        expect(
            "pid",
            end.process.as_ref().map(|it| it.key.pid.into()),
            pid.into(),
        );
        expect("sent", end.traffic.bytes_out, sent);
        expect("received", end.traffic.bytes_in, received);
        if end.traffic.quality != ByteQuality::Exact || end.origin != Origin::Live {
            wrong.push(format!(
                "{place:?}: {:?} bytes, {:?}",
                end.traffic.quality, end.origin
            ));
        }
        if !matches!(end.phase, Phase::Close(it) if it.outcome == Outcome::Closed) {
            wrong.push(format!("{place:?}: ended as {:?}", end.phase));
        }
        wrong
    }
}

impl Happened {
    /// Where its two ends are to be found: the client's, then the server's.
    fn places(&self) -> [Place; 2] {
        let number = if self.protocol == "udp" { 17 } else { 6 };
        let (client, server) = (self.client_port, self.server_port);
        [
            (number, Direction::Outbound, client, server),
            (number, Direction::Inbound, server, client),
        ]
    }
}

#[test]
#[ignore = "needs kernel: root, eBPF and network namespaces"]
fn twenty_thousand_forked_processes() {
    check_everything("fork", "both", 20_000);
}

#[test]
#[ignore = "needs kernel: root, eBPF and network namespaces"]
fn twenty_thousand_executed_programs() {
    check_everything("exec", "both", 20_000);
}

#[test]
#[ignore = "needs kernel: root, eBPF and network namespaces"]
fn twenty_thousand_accepted_by_prefork_children() {
    check_everything("prefork", "both", 20_000);
}

#[test]
#[ignore = "needs kernel: root, eBPF and network namespaces"]
fn twenty_thousand_datagram_exchanges() {
    check_everything("udp", "both", 20_000);
}

/// How each end of a scenario must be recorded: the client's, and the server's if it has one.
fn expected_endings(happened: &Happened) -> (Outcome, Option<Outcome>) {
    match (happened.scenario.as_str(), happened.outcome.as_str()) {
        ("reset-by-client" | "reset-by-server", _) => (Outcome::Reset, Some(Outcome::Reset)),
        (_, "timed-out") => (Outcome::TimedOut, None),
        // The kernel tells the refusal of a datagram to the socket, and only if it asks.
        ("udp-refused", _) => (Outcome::Closed, None),
        (_, "refused") => (Outcome::Refused, None),
        (_, "closed") if happened.server_pid == 0 => (Outcome::Closed, None),
        (_, "closed") => (Outcome::Closed, Some(Outcome::Closed)),
        other => panic!("a scenario that this test does not know: {other:?}"),
    }
}

#[test]
#[ignore = "needs kernel: root, eBPF and network namespaces"]
fn every_kind_of_ending_is_told() {
    let namespace = Namespace::make("mixed");
    let recorder = Recorder::start(ARGUMENTS);
    let truth = namespace.play(&["mixed", "--count", "400", "--family", "both"]);
    let kept = recorder.stop();
    let ends = Ends::of(&kept, &namespace);
    let mut wrong = Vec::new();
    let mut without_packet = 0;
    for happened in &truth {
        let [client, server] = happened.places();
        match (happened.scenario.as_str(), happened.outcome.as_str()) {
            // Nothing was ever sent, so there is nothing to tell.
            ("udp-silent", _) => assert!(!ends.by_place.contains_key(&client)),
            // Without a route there was no local port, so these are counted below.
            (_, "unreachable") => without_packet += 1,
            _ => {
                let (at_client, at_server) = expected_endings(happened);
                wrong.extend(ends.compare_outcome(client, happened.client_pid, at_client));
                if let Some(outcome) = at_server {
                    wrong.extend(ends.compare_outcome(server, happened.server_pid, outcome));
                }
            }
        }
    }
    let summary: Vec<_> = wrong.iter().take(10).collect();
    assert!(
        wrong.is_empty(),
        "{} wrong of {}: {summary:#?}",
        wrong.len(),
        truth.len()
    );
    let failed = kept.closes().filter(|it| {
        it.network_namespace == Some(namespace.inode)
            && matches!(it.phase, Phase::Close(end) if end.outcome == Outcome::Failed)
    });
    assert_eq!(failed.count(), without_packet, "attempts without a route");
    assert!(without_packet > 0);
}

#[test]
#[ignore = "needs kernel: root, eBPF and network namespaces"]
fn what_a_stalled_reader_misses_is_declared_to_the_last() {
    const CONNECTIONS: u64 = 20_000;
    let namespace = Namespace::make("stall");
    let recorder = Recorder::start(ARGUMENTS);
    recorder.stall();
    let count = CONNECTIONS.to_string();
    let truth = namespace.play(&["fork", "--count", &count]);
    assert_eq!(truth.len() as u64, CONNECTIONS);
    recorder.go_on();
    let kept = recorder.stop();
    let recorded = kept
        .closes()
        .filter(|it| it.network_namespace == Some(namespace.inode))
        .filter(|it| !matches!(it.phase, Phase::Close(end) if end.outcome == Outcome::Reaped))
        .count() as u64;
    let lost = kept.declared_lost(LostKind::Closes);
    assert!(lost > 0, "the ring never filled, so nothing was tested");
    assert_eq!(
        recorded + lost,
        2 * CONNECTIONS,
        "{recorded} recorded, {lost} declared lost"
    );
    let book = kept.balanced();
    assert_eq!(book.accounts[0].tally.unwrap().closes_lost, lost);
}
