//! What the table costs. One test, because the allocator counts for the whole program.

use flow::{Closed, Config, Event, FlowKey, FlowTable, Introduction, Opened, Output, Owner, Tuple};
use peak_alloc::PeakAlloc;
use record::{
    Attribution, ByteQuality, Direction, Ending, Endpoint, Hostname, IdentitySource, Mono,
    NameSource, Origin, Outcome, Process, ProcessKey, Protocol, Stamp, Traffic, Wall,
};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const FLOWS: u64 = 100_000;
const PROCESSES: u32 = 2_000;
const SECOND_NS: u64 = 1_000_000_000;

/// What [`Config::flows_max`] promises for one live flow.
const FLOW_BYTES_MAX: usize = 400;

/// What it promises for what is remembered of others, and waits, for each live flow.
const REST_BYTES_MAX: usize = 150;

/// What [`Config::processes_max`] promises for one process with long paths and four ancestors.
const PROCESS_BYTES_MAX: usize = 1_536;

const START: Stamp = Stamp {
    wall: Wall(1_790_000_000_000_000_000),
    mono: Mono(SECOND_NS),
};

fn process(number: u64) -> ProcessKey {
    ProcessKey {
        pid: number as u32 % PROCESSES,
        start_ns: 0,
        exec_id: number as u32 % PROCESSES + 7,
    }
}

fn opened(number: u64) -> Opened {
    let endpoint = |last: u128, port| Endpoint {
        address: Some(IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | last))),
        port: Some(port),
    };
    Opened {
        key: key(number),
        at: moment(number),
        tuple: Tuple {
            protocol: Protocol::Tcp,
            direction: Direction::Outbound,
            local: endpoint(1, 40_000),
            remote: endpoint(number.into(), 443),
            network_namespace: None,
        },
        owner: Some(Owner {
            process: process(number),
            attribution: Attribution::from_source(IdentitySource::AuditToken),
            responsible: Some(process(number + 1)),
        }),
        opened: Some(moment(number)),
        established: Some(moment(number)),
        origin: Origin::Live,
    }
}

/// Keys as evenly spread as the identifiers that a system draws by lot.
fn key(number: u64) -> FlowKey {
    FlowKey {
        socket: (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        part: !number,
    }
}

/// All flows begin within the time that opens wait, so that all opens wait at once.
fn moment(number: u64) -> Mono {
    START.mono.plus_ns(number * 1_000)
}

fn introduction(number: u64) -> Introduction {
    let mut process = Process::bare(process(number));
    let path = format!("/Applications/Application number {number}.app/Contents/MacOS/program");
    process.path = Some(path.into());
    Introduction {
        process,
        parent: number.checked_sub(1).map(self::process),
    }
}

/// Introduces all processes and has each put together once, as its first record does.
fn introduce_all(table: &mut FlowTable) {
    for number in 0..PROCESSES.into() {
        table.handle(Event::ProcessSeen(introduction(number)), START.mono);
        let owner = opened(number).owner.map(|owner| Owner {
            responsible: None,
            ..owner
        });
        let key = FlowKey { socket: 0, part: 0 };
        let flow = Opened {
            key,
            owner,
            ..opened(number)
        };
        table.handle(Event::Opened(flow), START.mono);
        let before = Mono(u64::MAX);
        table.handle(Event::Unwatched { before }, START.mono);
        drain(table);
    }
    table.handle_timeout(START.mono.plus_ns(SECOND_NS));
    drain(table);
}

fn drain(table: &mut FlowTable) -> u64 {
    let mut records = 0;
    while let Some(output) = table.poll_output() {
        records += u64::from(matches!(output, Output::Record(_)));
    }
    records
}

/// Opens all flows, tells a name and totals of each, and gives the most that a flow took at any
/// moment from the ten thousandth on, in bytes.
fn open_all(table: &mut FlowTable, names: &[Arc<str>], before: usize) -> usize {
    let mut each_max = 0;
    for number in 0..FLOWS {
        ALLOCATOR.reset_peak_usage();
        let now = moment(number);
        table.handle(Event::Opened(opened(number)), now);
        let hostname = Hostname {
            name: Arc::clone(&names[number as usize % names.len()]),
            source: NameSource::SystemLibrary,
        };
        let key = key(number);
        table.handle(Event::Named { key, hostname }, now);
        let traffic = Traffic {
            bytes_out: Some(number),
            bytes_in: Some(number),
            quality: ByteQuality::SoFar,
            ..Traffic::default()
        };
        table.handle(
            Event::Updated {
                key,
                traffic,
                flow: Some(opened(number)),
            },
            now,
        );
        drain(table);
        if number >= 10_000 {
            let used = ALLOCATOR.peak_usage() - before;
            each_max = each_max.max(used / (number as usize + 1));
        }
    }
    each_max
}

/// More flows than there is room for, and closes whose processes nobody knows.
fn give_up_and_close(table: &mut FlowTable) {
    for number in FLOWS..FLOWS + FLOWS / 4 {
        let now = moment(number);
        table.handle(Event::Opened(opened(number)), now);
        let stranger = Opened {
            key: FlowKey {
                part: 0,
                ..key(number)
            },
            ..opened(number)
        };
        table.handle(Event::Closed(close(stranger, number)), now);
        drain(table);
    }
    let counters = table.counters();
    assert!(counters.evicted >= FLOWS / 8 && counters.hurried > 0);
    assert_eq!(counters.waiting, FLOWS / 8);
}

fn close(opened: Opened, number: u64) -> Closed {
    let nobody_knows = ProcessKey {
        pid: number as u32,
        start_ns: 1,
        exec_id: 0,
    };
    Closed {
        key: opened.key,
        at: opened.at,
        tuple: opened.tuple,
        owner: opened.owner.map(|owner| Owner {
            process: nobody_knows,
            responsible: Some(ProcessKey {
                start_ns: 2,
                ..nobody_knows
            }),
            ..owner
        }),
        opened: opened.opened,
        established: opened.established,
        traffic: Traffic::default(),
        rtt_us: None,
        retransmits: None,
        closer_pid: None,
        ending: Ending {
            outcome: Outcome::Unknown,
            errno: None,
        },
        origin: opened.origin,
    }
}

// facts: udp-explosion, memory-limit/a, memory-limit/b
#[test]
fn a_hundred_thousand_live_flows_cost_no_more_than_is_promised() {
    let config = Config {
        identity_wait_ns: 2 * SECOND_NS,
        age_max_ns: 86_400 * SECOND_NS,
        ..Config::default()
    };
    let names: Vec<Arc<str>> = (0..500)
        .map(|number| format!("service-{number}.region.example.com").into())
        .collect();
    let empty = ALLOCATOR.current_usage();
    let mut table = FlowTable::new(config, 1, START);
    introduce_all(&mut table);
    let before = ALLOCATOR.current_usage();
    let process_bytes = (before - empty) / PROCESSES as usize;
    let each_max = open_all(&mut table, &names, before);
    assert_eq!(table.counters().live, FLOWS);
    let live = ALLOCATOR.current_usage() - before;
    let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!(
        "{FLOWS} live flows: {} bytes each, {:.1} MiB, and never more than {each_max} bytes each \
         while they came; {process_bytes} bytes a process",
        live / FLOWS as usize,
        mebibytes(live),
    );
    assert!(each_max <= FLOW_BYTES_MAX, "{each_max} bytes a flow");
    assert!(
        process_bytes <= PROCESS_BYTES_MAX,
        "{process_bytes} bytes a process"
    );

    ALLOCATOR.reset_peak_usage();
    give_up_and_close(&mut table);
    let rest = (ALLOCATOR.peak_usage() - before - live) / FLOWS as usize;
    println!("with all that is remembered and all that can wait: {rest} bytes a flow more");
    assert!(rest <= REST_BYTES_MAX, "{rest} bytes");

    let now = moment(2 * FLOWS).plus_ns(SECOND_NS);
    ALLOCATOR.reset_peak_usage();
    table.handle_timeout(now);
    drain(&mut table);
    table.handle(Event::Unwatched { before: now }, now);
    assert!(drain(&mut table) > FLOWS / 2);
    assert_eq!(table.counters().live, 0);
    let end = mebibytes(ALLOCATOR.peak_usage() - before);
    println!("while all are told, then closed, at once: at most {end:.1} MiB");
    let promised = mebibytes((FLOW_BYTES_MAX + REST_BYTES_MAX) * FLOWS as usize);
    assert!(end <= promised, "{end:.1} MiB");
}
