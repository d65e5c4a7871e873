//! The flow table alone, with everything that a sensor can do to it.

use flow::{Counters, FlowTable, stream};
use record::{ByteQuality, Connection, Endpoint, Mono, Outcome, Phase, ProcessKey, Record, codec};
use sim::alone::{Followed, follow};
use sim::machine::{Machine, Shape, Style, True};
use std::collections::BTreeMap;

const HAPPENINGS: usize = 700;

/// How long a record waits for its process at most.
const WAIT_NS: u64 = 2_000_000_000;

/// Every shape, and every shape as the other system would tell of it.
fn shapes() -> impl Iterator<Item = Shape> {
    let styles = [Style::Linux, Style::Macos];
    let shapes = Shape::ALL.iter();
    shapes.flat_map(move |shape| styles.map(|style| shape.told_by(style)))
}

/// How often the table did what it does seldom.
fn rarities(counters: &Counters) -> [u64; 12] {
    [
        counters.closes_lost,
        counters.reaped,
        counters.evicted,
        counters.superseded,
        counters.process_gone,
        counters.aged_out,
        counters.idle,
        counters.unwatched,
        counters.strays,
        counters.resumed,
        counters.held,
        counters.hurried,
    ]
}

#[test]
fn whatever_a_sensor_says_the_books_of_the_flow_table_are_right() {
    let mut sums = [0; 12];
    for seed in 0..30 {
        for shape in shapes() {
            let followed = follow(seed, shape, HAPPENINGS).unwrap_or_else(|reason| {
                panic!("{reason}");
            });
            let counts = rarities(&followed.counters);
            sums.iter_mut().zip(counts).for_each(|(sum, it)| *sum += it);
        }
    }
    assert!(!sums.contains(&0), "something never happened: {sums:?}");
}

#[test]
fn the_same_calls_give_the_same_records() {
    for shape in shapes() {
        let followed = follow(1_000, shape, HAPPENINGS).expect("the books are right");
        let again = follow(1_000, shape, HAPPENINGS).expect("the books are right");
        assert_eq!(followed.calls, again.calls);
        assert_eq!(replayed(&followed.calls), followed.records);
    }
}

/// The canonical bytes of the records that the calls of a stream give.
fn replayed(mut calls: &[u8]) -> Vec<u8> {
    let header = stream::decode_header(&mut calls).expect("the header was written whole");
    let mut table = FlowTable::new(header.config, header.epoch, header.start);
    let mut records = Vec::new();
    let give = |record: &Record| {
        codec::encode(record, &mut records);
        Ok::<(), stream::StreamError>(())
    };
    stream::replay(&mut calls, &mut table, give).expect("the calls were written whole");
    records
}

#[test]
fn told_of_faithfully_every_connection_has_one_close_with_exact_bytes_process_and_times() {
    let mut closed = 0;
    for seed in 2_000..2_010 {
        for shape in shapes().map(Shape::faithful) {
            let followed = follow(seed, shape, HAPPENINGS).unwrap_or_else(|reason| {
                panic!("{reason}");
            });
            closed += compare(seed, shape, &followed);
        }
    }
    assert!(closed > 10_000, "only {closed} connections were compared");
}

/// Compares what was recorded with what truly was, and says how many connections were over.
fn compare(seed: u64, shape: Shape, followed: &Followed) -> usize {
    let mut closes = BTreeMap::<_, Vec<&Connection>>::new();
    for connection in &followed.connections {
        if let Phase::Close(_) = connection.phase {
            closes
                .entry(connection.remote)
                .or_default()
                .push(connection);
        }
    }
    let machine = &followed.machine;
    let since = machine.watched_since().expect("the sensor has started");
    let until = machine.clocks().mono;
    let mut compared = 0;
    for truth in machine.truth() {
        let records = closes.remove(&truth.tuple.remote).unwrap_or_default();
        let is_told = |closed: Mono| closed >= since && closed < until;
        match records.as_slice() {
            [close] => assert_eq!(
                told(close),
                true_close(shape, truth),
                "seed {seed} {shape:?}"
            ),
            [] => assert!(!truth.closed.is_some_and(is_told), "seed {seed}: {truth:?}"),
            more => panic!("seed {seed}: {} closes of {truth:?}", more.len()),
        }
        for close in records {
            // At the stop nobody waits for introductions any more.
            if shape.style == Style::Linux || close.at.mono.plus_ns(WAIT_NS) < until {
                check_path(machine, close);
            }
            compared += 1;
        }
    }
    assert!(closes.is_empty(), "seed {seed}: of nothing came {closes:?}");
    compared
}

fn check_path(machine: &Machine, close: &Connection) {
    let process = close.process.as_deref().expect("the sensor says who");
    let truth = machine.process(process.key).expect("it names who exists");
    assert_eq!(process.path.as_deref(), Some(truth.path.as_str()));
}

/// Who, when, how much, how it ended, and where it went.
#[derive(Debug, PartialEq)]
struct Story {
    process: Option<ProcessKey>,
    outcome: Option<Outcome>,
    opened: Option<Mono>,
    established: Option<Mono>,
    closed: Option<Mono>,
    bytes: [Option<u64>; 2],
    quality: ByteQuality,
    ends: [Endpoint; 2],
}

fn told(close: &Connection) -> Story {
    Story {
        process: close.process.as_ref().map(|process| process.key),
        outcome: match close.phase {
            Phase::Close(ending) => Some(ending.outcome),
            Phase::Open | Phase::Update => None,
        },
        opened: close.opened,
        established: close.established,
        closed: Some(close.at.mono),
        bytes: [close.traffic.bytes_out, close.traffic.bytes_in],
        quality: close.traffic.quality,
        ends: [close.local, close.remote],
    }
}

/// The same, as it truly was and as far as such a sensor knows.
fn true_close(shape: Shape, truth: &True) -> Story {
    let is_linux = shape.style == Style::Linux;
    Story {
        process: Some(truth.process),
        outcome: match is_linux {
            true => Some(truth.outcome),
            false => Some(Outcome::Unknown),
        },
        opened: (!truth.is_old).then_some(truth.opened),
        established: truth.established.filter(|_| is_linux && !truth.is_old),
        closed: truth.closed,
        bytes: [Some(truth.bytes_out), Some(truth.bytes_in)],
        quality: ByteQuality::Exact,
        ends: [truth.tuple.local, truth.tuple.remote],
    }
}
