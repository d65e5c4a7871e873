//! Plans of the simple modes, and the ports of all.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net;

use crate::options::{Mode, Options};
use crate::scenario::{Protocol, Scenario};
use crate::server::new_socket;
use crate::sys;
use crate::table::{Endpoint, Plan, Service, Shape, Table};

/// Client ports kept back for clients whose planned port is taken.
const SPARE_PORTS: u16 = 256;

/// What a run is about to do.
pub(crate) struct Project {
    /// Where servers listen.
    pub(crate) endpoints: Vec<Endpoint>,
    /// One plan per connection.
    pub(crate) plans: Vec<Plan>,
}

impl Project {
    /// Gives every plan its client port and writes all into a new table.
    pub(crate) fn into_table(mut self, ports: u16) -> io::Result<Table> {
        let client_ports = ClientPorts::read()?;
        client_ports.assign(&mut self.plans, ports)?;
        let shape = Shape {
            rows: u32::try_from(self.plans.len()).map_err(io::Error::other)?,
            endpoints: u32::try_from(self.endpoints.len()).map_err(io::Error::other)?,
            spare_port_first: client_ports.spare_first,
            spare_ports: SPARE_PORTS,
        };
        Table::create(shape, &self.endpoints, &self.plans)
    }
}

/// The ports the kernel gives to clients, in two parts.
struct ClientPorts {
    /// Ports for plans: none of them is in use yet.
    planned: Vec<u16>,
    /// The first of the ports kept back.
    spare_first: u16,
}

impl ClientPorts {
    /// Asks the kernel.
    fn read() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        let (first, last) = match (numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(last))) if last > first && last - first > SPARE_PORTS => {
                (first, last)
            }
            _ => {
                return Err(io::Error::other(format!(
                    "unusable local port range: {text}"
                )));
            }
        };
        let spare_first = last - SPARE_PORTS;
        let used = ports_in_use();
        let planned: Vec<u16> = (first..spare_first)
            .filter(|port| !used.contains(port))
            .collect();
        if planned.is_empty() {
            return Err(io::Error::other("all local ports are in use"));
        }
        Ok(Self {
            planned,
            spare_first,
        })
    }

    /// Gives each plan a client port, such that client and server port together are unique.
    ///
    /// A client port is used once while there are enough of them, else once per server port. The
    /// first one depends on the clock, so that one run does not look like the other.
    fn assign(&self, plans: &mut [Plan], server_ports: u16) -> io::Result<()> {
        let room = self.planned.len();
        let uses = if plans.len() <= room {
            1
        } else {
            usize::from(server_ports)
        };
        if plans.len() > room * uses {
            let text = format!("{} connections need more --ports", plans.len());
            return Err(io::Error::other(text));
        }
        let shift = (sys::boot_ns() / 1_000_000) as usize % room;
        for (id, plan) in plans.iter_mut().enumerate() {
            if plan.scenario != Scenario::Unreachable {
                plan.client_port = self.planned[(shift + id / uses) % room];
            }
        }
        Ok(())
    }
}

/// Local ports that sockets have, those included that only wait out their time.
fn ports_in_use() -> HashSet<u16> {
    let tables = ["tcp", "tcp6", "udp", "udp6"];
    // Without a table, clients find out by themselves which ports are taken.
    let texts = tables.map(|name| fs::read_to_string(format!("/proc/net/{name}")));
    let texts = texts.into_iter().flatten();
    texts
        .flat_map(|text| text.lines().filter_map(local_port).collect::<Vec<_>>())
        .collect()
}

/// The local port in a line of a kernel's socket table: ` 0: 0100007F:1F90 ...`.
fn local_port(line: &str) -> Option<u16> {
    let (_, port) = line.split_whitespace().nth(1)?.split_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

/// The project of the modes in which every connection is alike.
pub(crate) fn simple(options: &Options) -> Project {
    let service = if options.mode == Mode::Udp {
        Service::Datagram
    } else {
        Service::Stream
    };
    let ports = u32::from(options.ports);
    let plan_one = |id: u32| {
        // Shifted by one each time round, so that every address meets every port.
        let address = options.addresses[(id + id / ports) as usize % options.addresses.len()];
        Plan {
            request_bytes: options.payload_bytes,
            reply_bytes: options.payload_bytes,
            ..Plan::new(
                scenario_of(options.mode, id),
                address,
                options.port + (id % ports) as u16,
            )
        }
    };
    Project {
        endpoints: endpoints_at(&options.addresses, options.port, options.ports, service),
        plans: (0..options.count).map(plan_one).collect(),
    }
}

/// What the connections of a simple mode do.
fn scenario_of(mode: Mode, id: u32) -> Scenario {
    match mode {
        Mode::Udp if id.is_multiple_of(2) => Scenario::UdpConnected,
        Mode::Udp => Scenario::UdpUnconnected,
        Mode::Hold => Scenario::Held,
        Mode::Fork | Mode::Exec | Mode::Prefork | Mode::Loop | Mode::Mixed | Mode::Office => {
            Scenario::ServerClosesFirst
        }
    }
}

/// `service` at `count` ports of each address.
pub(crate) fn endpoints_at(
    addresses: &[IpAddr],
    port: u16,
    count: u16,
    service: Service,
) -> Vec<Endpoint> {
    let at = |address: &IpAddr| {
        let address = (*address).into();
        (port..port + count).map(move |port| Endpoint {
            address,
            port,
            service,
        })
    };
    addresses.iter().flat_map(at).collect()
}

/// Refuses addresses that are not this machine's: traffic must not leave it.
pub(crate) fn check_local(addresses: &[IpAddr]) -> io::Result<()> {
    for address in addresses {
        let address = SocketAddr::new(*address, 0);
        let bound =
            new_socket(address, Protocol::Udp).and_then(|socket| net::bind(&socket, &address));
        if address.ip().is_unspecified() || address.ip().is_multicast() || bound.is_err() {
            let text = format!("{} is not an address of this machine", address.ip());
            return Err(io::Error::other(text));
        }
    }
    Ok(())
}

/// Whether a route leads to `address`. Nothing is sent.
pub(crate) fn has_route(address: IpAddr) -> bool {
    let address = SocketAddr::new(address, 9);
    new_socket(address, Protocol::Udp)
        .and_then(|socket| net::connect(&socket, &address))
        .is_ok()
}
