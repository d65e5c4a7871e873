//! The mode `mixed`: every way a connection can go, over and over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::options::Options;
use crate::plan::{Project, endpoints_at, has_route};
use crate::scenario::Scenario;
use crate::table::{Plan, Service};

/// Peers of one socket in [`Scenario::UdpManyPeers`].
const PEERS: u16 = 3;

/// Bytes each way in [`Scenario::LargeTransfer`].
const LARGE_BYTES: u32 = 1 << 20;

/// What is played in turn.
const CASES: [Scenario; 22] = [
    Scenario::ServerClosesFirst,
    Scenario::ClientClosesFirst,
    Scenario::Refused,
    Scenario::Unreachable,
    Scenario::ResetByClient,
    Scenario::ResetByServer,
    Scenario::LargeTransfer,
    Scenario::ZeroBytes,
    Scenario::HalfClose,
    Scenario::NonBlocking,
    Scenario::NonBlockingRefused,
    Scenario::SeveralExchanges,
    Scenario::Bound,
    Scenario::Mapped,
    Scenario::Thread,
    Scenario::Inherited,
    Scenario::ExecAfterConnect,
    Scenario::UdpConnected,
    Scenario::UdpUnconnected,
    Scenario::UdpSilent,
    Scenario::UdpRefused,
    Scenario::UdpManyPeers,
];

/// An address that documentation owns and nobody has, of the same family as `like`.
pub(crate) fn nobodys_address(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// The ports of a run.
#[derive(Clone, Copy)]
struct Ports {
    /// First of those where servers listen.
    first: u16,
    /// How many of those.
    count: u16,
}

impl Ports {
    /// A port where nobody listens.
    fn closed(self) -> u16 {
        self.first + self.count
    }

    /// A port where nobody accepts.
    fn deaf(self) -> u16 {
        self.closed() + 1
    }

    /// A port where a server listens.
    fn open(self, turn: usize) -> u16 {
        self.first + (turn % usize::from(self.count)) as u16
    }
}

/// All cases in turn, until there are as many rows as asked for.
pub(crate) fn project(options: &Options) -> Project {
    let ports = Ports {
        first: options.port,
        count: options.ports.max(PEERS),
    };
    let addresses = &options.addresses;
    let mut endpoints = endpoints_at(addresses, ports.first, ports.count, Service::Stream);
    endpoints.extend(endpoints_at(
        addresses,
        ports.first,
        ports.count,
        Service::Datagram,
    ));
    endpoints.extend(endpoints_at(addresses, ports.deaf(), 1, Service::Deaf));

    let count = options.count as usize;
    let mut plans: Vec<Plan> = Vec::with_capacity(count);
    for address in addresses {
        plans.extend(full_queue(*address, ports));
    }
    let possible: Vec<_> = addresses
        .iter()
        .map(|address| possible_cases(*address))
        .collect();
    for round in 0.. {
        if plans.len() >= count {
            break;
        }
        let turn = round % addresses.len();
        for scenario in &possible[turn] {
            plans.extend(plan_case(
                options,
                ports,
                addresses[turn],
                *scenario,
                plans.len(),
            ));
        }
    }
    cut(&mut plans, count);
    let plain = Scenario::ServerClosesFirst;
    while plans.len() < count {
        plans.extend(plan_case(options, ports, addresses[0], plain, plans.len()));
    }
    Project { endpoints, plans }
}

/// Cuts the plans to `count` rows; a group that does not fit whole is left out.
fn cut(plans: &mut Vec<Plan>, count: usize) {
    let mut end = count.min(plans.len());
    while plans.get(end).is_some_and(|plan| plan.group_rows == 0) {
        end -= 1;
    }
    plans.truncate(end);
}

/// The cases that can be played with `address`.
fn possible_cases(address: IpAddr) -> Vec<Scenario> {
    let nobody = nobodys_address(address);
    let is_routed = has_route(nobody);
    if is_routed {
        eprintln!("ground_truth: a route leads to {nobody}: `unreachable` is left out");
    }
    let is_possible = |scenario: &Scenario| {
        !(*scenario == Scenario::Unreachable && is_routed
            || *scenario == Scenario::Mapped && address.is_ipv6())
    };
    CASES.into_iter().filter(is_possible).collect()
}

/// A connection that fills an accept queue, and one that finds it full.
fn full_queue(address: IpAddr, ports: Ports) -> [Plan; 2] {
    let first = Plan::new(Scenario::NeverAccepted, address, ports.deaf());
    let second = Plan::new(Scenario::TimedOut, address, ports.deaf());
    [
        Plan {
            group_rows: 2,
            ..first
        },
        Plan {
            group_rows: 0,
            ..second
        },
    ]
}

/// The plans of one case: one, or as many as it has peers.
fn plan_case(
    options: &Options,
    ports: Ports,
    address: IpAddr,
    scenario: Scenario,
    turn: usize,
) -> Vec<Plan> {
    let usual = Plan {
        request_bytes: options.payload_bytes,
        reply_bytes: options.payload_bytes,
        ..Plan::new(scenario, address, ports.open(turn))
    };
    if scenario == Scenario::UdpManyPeers {
        let peer = |n: u16| Plan {
            group_rows: if n == 0 { PEERS } else { 0 },
            server_port: ports.open(turn + usize::from(n)),
            ..usual
        };
        return (0..PEERS).map(peer).collect();
    }
    vec![adapt(usual, address, ports)]
}

/// Gives a plan what its scenario needs besides the usual.
fn adapt(usual: Plan, address: IpAddr, ports: Ports) -> Plan {
    let is = |scenarios: &[Scenario]| scenarios.contains(&usual.scenario);
    if is(&[
        Scenario::Refused,
        Scenario::NonBlockingRefused,
        Scenario::UdpRefused,
    ]) {
        Plan {
            server_port: ports.closed(),
            ..usual
        }
    } else if is(&[Scenario::Unreachable]) {
        Plan {
            server_address: nobodys_address(address).into(),
            ..usual
        }
    } else if is(&[Scenario::LargeTransfer]) {
        Plan {
            request_bytes: LARGE_BYTES,
            reply_bytes: LARGE_BYTES,
            ..usual
        }
    } else if is(&[Scenario::SeveralExchanges]) {
        Plan {
            exchanges: 5,
            pause_ms: 20,
            ..usual
        }
    } else if is(&[Scenario::Inherited, Scenario::ExecAfterConnect]) {
        Plan {
            exchanges: 2,
            ..usual
        }
    } else {
        usual
    }
}
