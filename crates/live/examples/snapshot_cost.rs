//! What a snapshot of many connections costs the recorder, and a reader.
//!
//! `cargo run --release -p live --example snapshot_cost [CONNECTIONS]`

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on may stop where it stands"
)]

use flow::{Config, Event, FlowKey, FlowTable, Introduction, Look, Looks, Opened, Owner, Tuple};
use live::{Counts, Expected, Options, TableWriter};
use policy::{Engine, Policy, Shown};
use record::{
    Attribution, ByteQuality, Connection, Direction, Endpoint, IdentitySource, Mono, Origin,
    Protocol, Record, Stamp, Traffic, Wall, sample,
};
use rustix::time::{ClockId, clock_gettime};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

const ROUNDS: usize = 51;
const POLICY: &str = "version = 1\n\
    [[rule]]\nname = \"homes\"\naction = \"truncate\"\nfields = [\"process.path\"]\n\
    when = { destination = \"private\" }\n";

fn main() {
    let connections = std::env::args()
        .nth(1)
        .map_or(10_000, |it| it.parse().unwrap());
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let base = folder.path().join("conntrail");
    let options = Options {
        endpoint: sample::device().endpoint,
        epoch: 1,
        boot_id: None,
        rows_max: live::ROWS_MAX,
        group: None,
    };
    let mut writer = TableWriter::create(&base, &options, Stamp::default()).unwrap();
    let mut table = table(connections);
    let mut engine = Engine::default();
    for (name, policy) in [("no policy", None), ("a policy", Some(POLICY))] {
        let policy = policy.map(|it| Arc::new(Policy::parse(it).unwrap()));
        engine.set_policy(policy, Stamp::default());
        let mut times: Vec<u64> = (0..ROUNDS)
            .map(|_| snapshot(&table, &mut engine, &mut writer))
            .collect();
        times.sort_unstable();
        println!(
            "written, {name}: {:.2} ms a snapshot, {:.2} µs a connection",
            times[ROUNDS / 2] as f64 / 1e6,
            times[ROUNDS / 2] as f64 / 1e3 / f64::from(connections)
        );
    }
    let expected = Expected {
        endpoint: options.endpoint,
        owner: rustix::process::geteuid().as_raw(),
        boot_id: None,
    };
    let mut copied = Vec::new();
    let mut decoded = Vec::new();
    for _ in 0..ROUNDS {
        let begin = thread_ns();
        let read = live::read(std::slice::from_ref(&base), &expected).unwrap();
        copied.push(thread_ns() - begin);
        assert_eq!(
            read.rows().filter(Result::is_ok).count(),
            connections as usize
        );
        decoded.push(thread_ns() - begin);
    }
    copied.sort_unstable();
    decoded.sort_unstable();
    println!(
        "read: {:.2} ms to copy and check, {:.2} ms with decoding",
        copied[ROUNDS / 2] as f64 / 1e6,
        decoded[ROUNDS / 2] as f64 / 1e6
    );
    let there = std::fs::metadata(writer.path()).unwrap();
    println!(
        "memory: {:.1} MiB, both halves",
        there.blocks() as f64 / 2_048.0
    );
    table.handle_stop();
}

/// One snapshot, as the recorder makes it; the processor time of this thread in nanoseconds.
fn snapshot(table: &FlowTable, engine: &mut Engine, writer: &mut TableWriter) -> u64 {
    let begin = thread_ns();
    let now = Mono(60_000_000_000);
    writer.begin(table.stamp(now));
    let mut looks = Looks::default();
    for glance in table.glances(0..table.slot_end()) {
        let Look::Told(connection) = table.look(glance.slot, glance.ordinal, &mut looks, now)
        else {
            panic!("all are open for long")
        };
        let mut connection: Connection = *connection;
        assert_eq!(engine.show(&mut connection), Shown::WithTraffic);
        let record = Record::Connection(connection);
        assert!(writer.push(&record, Some(glance.last_seen), None).unwrap());
    }
    writer.show(Counts::default(), now, 1).unwrap();
    thread_ns() - begin
}

fn table(connections: u32) -> FlowTable {
    let start = Stamp {
        wall: Wall(1_790_000_000_000_000_000),
        mono: Mono(1),
    };
    let mut table = FlowTable::new(Config::default(), 1, start);
    let processes: Vec<_> = sample::closes(7, 2_000)
        .into_iter()
        .filter_map(|it| match it {
            Record::Connection(connection) => connection.process,
            Record::Notice(_) => None,
        })
        .collect();
    for process in &processes {
        let process = record::Process::clone(process);
        let introduction = Introduction {
            process,
            parent: None,
        };
        table.handle(Event::ProcessSeen(introduction), Mono(2));
    }
    for number in 0..connections {
        let key = FlowKey {
            socket: number.into(),
            part: 0,
        };
        let process = processes[number as usize % processes.len()].key;
        table.handle(Event::Opened(opened(key, number, process)), Mono(3));
        let traffic = Traffic {
            bytes_out: Some(number.into()),
            bytes_in: Some(u64::from(number) * 7),
            quality: ByteQuality::SoFar,
            ..Traffic::default()
        };
        let updated = Event::Updated {
            key,
            traffic,
            flow: None,
        };
        table.handle(updated, Mono(4));
        while table.poll_output().is_some() {}
    }
    table
}

fn opened(key: FlowKey, number: u32, process: record::ProcessKey) -> Opened {
    let endpoint = |address: [u8; 4], port| Endpoint {
        address: Some(IpAddr::from(address)),
        port: Some(port),
    };
    let [_, _, high, low] = number.to_be_bytes();
    Opened {
        key,
        at: Mono(3),
        tuple: Tuple {
            protocol: Protocol::Tcp,
            direction: Direction::Outbound,
            local: endpoint([10, 0, 0, 1], 30_000),
            remote: endpoint([10, 9, high, low], 443),
            network_namespace: Some(4_026_531_840),
        },
        owner: Some(Owner {
            process,
            attribution: Attribution::from_source(IdentitySource::Connect),
            responsible: None,
        }),
        opened: Some(Mono(2)),
        established: Some(Mono(3)),
        origin: Origin::Live,
    }
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
