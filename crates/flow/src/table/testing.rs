//! Events as tests of the table tell them, and what comes of them.

use super::{Config, FlowTable, Output, SECOND_NS};
use crate::event::{Closed, Event, FlowKey, Introduction, Opened, Owner, Tuple};
use record::{
    Attribution, ByteQuality, Connection, Direction, Ending, Endpoint, IdentitySource, Mono,
    Origin, Outcome, Phase, Process, ProcessKey, Protocol, Record, Stamp, Traffic, Wall,
};

pub(crate) const START: Stamp = Stamp {
    wall: Wall(1_000_000 * SECOND_NS as i64),
    mono: Mono(1_000),
};

pub(crate) fn table() -> FlowTable {
    FlowTable::new(
        Config {
            open_delay_ns: 0,
            ..Config::default()
        },
        3,
        START,
    )
}

pub(crate) fn key(socket: u64) -> FlowKey {
    FlowKey { socket, part: 0 }
}

pub(crate) fn process(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_ns: 7,
        exec_id: 1,
    }
}

pub(crate) fn tuple() -> Tuple {
    let address = |last| Some(std::net::IpAddr::from([192, 0, 2, last]));
    Tuple {
        protocol: Protocol::Tcp,
        direction: Direction::Outbound,
        local: Endpoint {
            address: address(1),
            port: Some(40_000),
        },
        remote: Endpoint {
            address: address(2),
            port: Some(443),
        },
        network_namespace: Some(1),
    }
}

pub(crate) fn owner(pid: u32, source: IdentitySource) -> Option<Owner> {
    Some(Owner {
        process: process(pid),
        attribution: Attribution::from_source(source),
        responsible: None,
    })
}

pub(crate) fn opened(socket: u64, at: u64) -> Opened {
    Opened {
        key: key(socket),
        at: Mono(at),
        tuple: tuple(),
        owner: owner(9, IdentitySource::Connect),
        opened: Some(Mono(at - 5)),
        established: Some(Mono(at)),
        origin: Origin::Live,
    }
}

pub(crate) fn closed(socket: u64, at: u64) -> Closed {
    Closed {
        key: key(socket),
        at: Mono(at),
        tuple: tuple(),
        owner: owner(9, IdentitySource::Connect),
        opened: Some(Mono(at - 50)),
        established: Some(Mono(at - 40)),
        traffic: Traffic {
            bytes_out: Some(0),
            ..Traffic::default()
        },
        rtt_us: Some(12),
        retransmits: Some(0),
        closer_pid: Some(9),
        ending: Ending {
            outcome: Outcome::Closed,
            errno: None,
        },
        origin: Origin::Live,
    }
}

pub(crate) fn table_with(config: Config) -> FlowTable {
    FlowTable::new(config, 3, START)
}

/// A process of which a path is known too.
pub(crate) fn introduction(pid: u32) -> Introduction {
    let mut process = Process::bare(process(pid));
    process.path = Some(format!("/usr/bin/p{pid}").into());
    Introduction {
        process,
        parent: None,
    }
}

/// The path of the owner, if somebody introduced it.
pub(crate) fn path(connection: &Connection) -> Option<&str> {
    connection.process.as_ref()?.path.as_deref()
}

pub(crate) fn bytes(bytes_out: u64, bytes_in: u64, quality: ByteQuality) -> Traffic {
    Traffic {
        bytes_out: Some(bytes_out),
        bytes_in: Some(bytes_in),
        quality,
        ..Traffic::default()
    }
}

pub(crate) fn updated(socket: u64, traffic: Traffic) -> Event {
    Event::Updated {
        key: key(socket),
        traffic,
        flow: None,
    }
}

/// Totals together with what the sensor knows of the flow.
pub(crate) fn reported(socket: u64, at: u64, traffic: Traffic) -> Event {
    Event::Updated {
        key: key(socket),
        traffic,
        flow: Some(Opened {
            origin: Origin::Inferred,
            ..opened(socket, at)
        }),
    }
}

pub(crate) fn outcome(connection: &Connection) -> Option<Outcome> {
    match connection.phase {
        Phase::Close(ending) => Some(ending.outcome),
        Phase::Open | Phase::Update => None,
    }
}

/// Makes the calls that are due until `until`, and gives what comes of them.
pub(crate) fn run_until(table: &mut FlowTable, until: u64) -> Vec<Connection> {
    let mut told = connections(table);
    while table.poll_timeout() <= Mono(until) {
        let due = table.poll_timeout();
        table.handle_timeout(due);
        told.extend(connections(table));
    }
    told
}

pub(crate) fn drain(table: &mut FlowTable) -> Vec<Record> {
    let outputs = std::iter::from_fn(|| table.poll_output());
    outputs
        .filter_map(|output| match output {
            Output::Record(record) => Some(record),
            Output::Want(_) => None,
        })
        .collect()
}

pub(crate) fn connections(table: &mut FlowTable) -> Vec<Connection> {
    drain(table)
        .into_iter()
        .filter_map(|record| match record {
            Record::Connection(connection) => Some(connection),
            Record::Notice(_) => None,
        })
        .collect()
}
