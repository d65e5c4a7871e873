//! What a connection costs the table: `cargo run --release -p flow --example table_cost`.
//!
//! Opens and closes a million connections of a hundred processes, with a thousand alive at a time,
//! a few times without and with a limit that nobody reaches, in turns, and with one that all are
//! beyond; prints the best of each in nanoseconds a connection.

#![expect(
    clippy::disallowed_methods,
    reason = "the table has no clock, and what measures it needs one"
)]

use flow::{Closed, Config, Event, FlowKey, FlowTable, Opened, Owner, Tuple};
use record::{
    Attribution, Direction, Ending, Endpoint, IdentitySource, Mono, Origin, Outcome, ProcessKey,
    Protocol, Stamp, Traffic, Wall,
};
use std::time::Instant;

const CONNECTIONS: u64 = 1_000_000;
const ALIVE: u64 = 1_000;
const ROUNDS: usize = 9;

fn main() {
    let limits = [
        ("no limit", 0),
        ("a limit that nobody reaches", u64::MAX),
        ("all beyond the limit", 1),
    ];
    let mut best = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        for ((_, limit), best) in limits.iter().zip(&mut best) {
            *best = best.min(cost_ns(*limit));
        }
    }
    for ((name, _), best) in limits.iter().zip(best) {
        println!("{best:.0} ns a connection: {name}");
    }
}

fn cost_ns(burst_max: u64) -> f64 {
    let start = Stamp {
        wall: Wall(1_790_000_000_000_000_000),
        mono: Mono(1_000_000_000),
    };
    let config = Config {
        burst_max,
        ..Config::default()
    };
    let mut table = FlowTable::new(config, 1, start);
    let began = Instant::now();
    for number in 0..CONNECTIONS + ALIVE {
        let now = start.mono.plus_ns(number * 5_000);
        if number < CONNECTIONS {
            table.handle(Event::Opened(opened(number, now)), now);
        }
        if let Some(number) = number.checked_sub(ALIVE) {
            table.handle(Event::Closed(closed(number, now)), now);
        }
        if now >= table.poll_timeout() {
            table.handle_timeout(now);
        }
        while table.poll_output().is_some() {}
    }
    table.handle_stop();
    while table.poll_output().is_some() {}
    assert_eq!(table.tally().closes_made, CONNECTIONS);
    began.elapsed().as_nanos() as f64 / CONNECTIONS as f64
}

fn key(number: u64) -> FlowKey {
    FlowKey {
        socket: number,
        part: 0,
    }
}

fn tuple(number: u64) -> Tuple {
    let endpoint = |last: u8, port| Endpoint {
        address: Some([192, 0, 2, last].into()),
        port: Some(port),
    };
    Tuple {
        protocol: Protocol::Tcp,
        direction: Direction::Outbound,
        local: endpoint(1, number as u16),
        remote: endpoint((number % 200) as u8, 443),
        network_namespace: Some(1),
    }
}

fn owner(number: u64) -> Option<Owner> {
    Some(Owner {
        process: ProcessKey {
            pid: (number % 100) as u32,
            start_ns: 7,
            exec_id: 0,
        },
        attribution: Attribution::from_source(IdentitySource::Connect),
        responsible: None,
    })
}

fn opened(number: u64, now: Mono) -> Opened {
    Opened {
        key: key(number),
        at: now,
        tuple: tuple(number),
        owner: owner(number),
        opened: Some(now),
        established: Some(now),
        origin: Origin::Live,
    }
}

fn closed(number: u64, now: Mono) -> Closed {
    Closed {
        key: key(number),
        at: now,
        tuple: tuple(number),
        owner: owner(number),
        opened: None,
        established: None,
        traffic: Traffic::default(),
        rtt_us: None,
        retransmits: None,
        closer_pid: None,
        ending: Ending {
            outcome: Outcome::Closed,
            errno: None,
        },
        origin: Origin::Live,
    }
}
