//! The mode `office`: what the machines of a small office do all day, in short.
//!
//! Copies of this program stand for its programs, under names of their own, so that a recorder
//! sees different executables at different paths. They talk to servers on the addresses given,
//! which stand for the world outside; other machines' clients come in as well.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cast::{self, Program};
use crate::crew::{Crew, Deadline};
use crate::mixed::nobodys_address;
use crate::options::Options;
use crate::plan::{Project, endpoints_at, has_route};
use crate::random::Random;
use crate::report::Report;
use crate::run::{finish, wait_until_ready, wait_until_served};
use crate::scenario::{Protocol, Scenario};
use crate::table::{Endpoint, Plan, Service, Table};
use crate::{roles, sys, wire};

/// Where the servers of this machine listen.
const LOCAL_PORT: u16 = 8_080;

/// Where nobody listens.
const CLOSED_PORT: u16 = 8_443;

/// Largest reply over TCP.
const STREAM_BYTES_MAX: f64 = 4_194_304.0;

/// Largest datagram: it fits an ordinary packet.
const DATAGRAM_BYTES_MAX: f64 = 1_400.0;

/// Share of the duration in which programs start.
const STARTING_SHARE: f64 = 0.9;

/// One start of a program.
struct Start {
    /// Index into the cast.
    program: usize,
    /// Its first row.
    first: u32,
    /// Its rows.
    count: u32,
    /// When, from the beginning of the run.
    at_ms: u32,
}

/// Who is where.
struct Places {
    /// Addresses that stand for servers elsewhere.
    remote: Vec<IpAddr>,
    /// Addresses that stand for this machine.
    local: Vec<IpAddr>,
    /// Addresses to which no route leads.
    nowhere: Vec<IpAddr>,
}

impl Places {
    /// The places of the options.
    fn of(options: &Options) -> Self {
        let remote = options.addresses.clone();
        let nowhere = remote.iter().map(|address| nobodys_address(*address));
        let local = &options.local_addresses;
        Self {
            nowhere: nowhere.filter(|address| !has_route(*address)).collect(),
            local: if local.is_empty() {
                remote.clone()
            } else {
                local.clone()
            },
            remote,
        }
    }

    /// The address of this machine in the family of `peer`, if one was given.
    fn local_like(&self, peer: IpAddr) -> Option<IpAddr> {
        self.local
            .iter()
            .copied()
            .find(|address| address.is_ipv4() == peer.is_ipv4())
    }
}

/// Plans, starts and watches the office.
pub(crate) fn run(options: &Options, deadline: Deadline) -> io::Result<bool> {
    let cpu_before = sys::cpu_time();
    let places = Places::of(options);
    let (plans, starts) = Director::new(options, &places).plan();
    let remote = remote_endpoints(&places.remote);
    let local = endpoints_at(&places.local, LOCAL_PORT, 1, Service::Stream);
    let shares = [0, remote.len() as u32, (remote.len() + local.len()) as u32];
    let table = Project {
        endpoints: [remote, local].concat(),
        plans,
    }
    .into_table(1)?;
    let folder = Folder::create(options.programs.as_deref())?;

    let mut servers = Crew::default();
    for (server, share) in cast::SERVERS.into_iter().zip(shares.windows(2)) {
        let range = [share[0], share[1] - share[0]];
        let pid = roles::start_server(&folder.path_of(server)?, server, &table, range)?;
        servers.add("server", pid)?;
    }
    wait_until_ready(&table, &mut servers, deadline)?;
    let begun = Instant::now();
    let result = play_all(&table, &folder, &starts, deadline);
    let wall = begun.elapsed();
    let server_pids = servers.pids();
    let result = result.and(wait_until_served(&table, &mut servers));
    servers.stop();
    let programs = folder.program_paths();
    let report = Report {
        mode: options.mode.name(),
        table: &table,
        programs: &programs,
        servers: &server_pids,
        wall,
        cpu: sys::cpu_time() - cpu_before,
    };
    finish(options, &report, result)
}

/// Starts every program at its time and waits for all of them.
fn play_all(
    table: &Table,
    folder: &Folder,
    starts: &[Start],
    deadline: Deadline,
) -> io::Result<()> {
    let mut programs = Crew::default();
    for start in starts {
        let at_ns = table.signals().begun_boot_ns() + u64::from(start.at_ms) * 1_000_000;
        loop {
            let wait = Duration::from_nanos(at_ns.saturating_sub(sys::boot_ns()));
            if wait.is_zero() {
                break;
            }
            programs.reap(wait.min(deadline.remaining()?))?;
        }
        let Program { name, threads, .. } = cast::CAST[start.program];
        let rows = [start.first, start.count, threads];
        programs.add(
            name,
            roles::start_client(&folder.path_of(name)?, name, table, rows)?,
        )?;
    }
    programs.wait_all(deadline)
}

/// Every service of the world outside, at each of its addresses.
fn remote_endpoints(addresses: &[IpAddr]) -> Vec<Endpoint> {
    let streams = cast::REMOTE_STREAMS
        .iter()
        .map(|port| (*port, Service::Stream));
    let datagrams = cast::REMOTE_DATAGRAMS
        .iter()
        .map(|port| (*port, Service::Datagram));
    streams
        .chain(datagrams)
        .flat_map(|(port, service)| endpoints_at(addresses, port, 1, service))
        .collect()
}

/// Decides who does what, when.
struct Director<'a> {
    random: Random,
    places: &'a Places,
    count: u32,
    duration_ms: f64,
    plans: Vec<Plan>,
    starts: Vec<Start>,
}

impl<'a> Director<'a> {
    /// A director who has decided nothing yet.
    fn new(options: &Options, places: &'a Places) -> Self {
        Self {
            random: Random::new(options.seed),
            places,
            count: options.count,
            duration_ms: f64::from(options.duration_seconds) * 1_000.0,
            plans: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Plans the whole run; starts come in the order of their time.
    fn plan(mut self) -> (Vec<Plan>, Vec<Start>) {
        for program in cast::spanning() {
            let at_ms = self.random.fraction() * 0.03 * self.duration_ms;
            self.start(program, at_ms);
        }
        while self.left() > 0 {
            let program = cast::by_weight(self.random.fraction());
            let at_ms = self.random.fraction() * STARTING_SHARE * self.duration_ms;
            self.start(program, at_ms);
        }
        self.starts.sort_by_key(|start| start.at_ms);
        (self.plans, self.starts)
    }

    /// Connections yet to be planned.
    fn left(&self) -> u32 {
        self.count - self.plans.len() as u32
    }

    /// Plans one start of a program and its connections.
    fn start(&mut self, index: usize, at_ms: f64) {
        let program = &cast::CAST[index];
        let (least, most) = program.connections;
        let count = self.random.within(least..=most).min(self.left());
        let first = self.plans.len() as u32;
        let mut connection_at_ms = at_ms;
        for _ in 0..count {
            let plan = self.connection(program, connection_at_ms);
            self.plans.push(Plan {
                program: index as u16,
                ..plan
            });
            connection_at_ms += self.random.log_normal(program.gap_ms, 1.0);
            connection_at_ms = connection_at_ms.min(self.duration_ms);
        }
        if count > 0 {
            self.starts.push(Start {
                program: index,
                first,
                count,
                at_ms: at_ms as u32,
            });
        }
    }

    /// Plans one connection of a program that starts at `at_ms`.
    fn connection(&mut self, program: &Program, at_ms: f64) -> Plan {
        let service = *self.random.choose(program.services);
        let (most, smallest) = match service.0 {
            Protocol::Tcp => (STREAM_BYTES_MAX, wire::HEADER_BYTES),
            Protocol::Udp => (DATAGRAM_BYTES_MAX, wire::HEADER_BYTES),
        };
        let mut size = |(median, spread): (f64, f64)| {
            self.random
                .log_normal(median, spread)
                .clamp(smallest as f64, most) as u32
        };
        let (request_bytes, reply_bytes) = (size(program.request), size(program.reply));
        let (least, most) = program.exchanges;
        let exchanges = self.random.within(least..=most);
        // What starts late ends in time nevertheless.
        let left_ms = (self.duration_ms - at_ms).max(0.0) / f64::from(exchanges);
        let pause_ms = if program.is_spanning {
            left_ms * 0.95
        } else {
            self.random.log_normal(program.pause_ms, 0.8).min(left_ms)
        };
        Plan {
            exchanges: exchanges as u16,
            request_bytes,
            reply_bytes,
            pause_ms: pause_ms as u32,
            start_ms: at_ms as u32,
            ..self.placed(program, service)
        }
    }

    /// Chooses both ends of a connection, and how it goes.
    fn placed(&mut self, program: &Program, (protocol, port): (Protocol, u16)) -> Plan {
        let remote = *self.random.choose(&self.places.remote);
        let scenario = self.scenario(program, protocol);
        let local = self.places.local_like(remote);
        if program.is_inbound {
            // Another machine's program, and so under another machine's address.
            let local = local.unwrap_or(self.places.local[0]);
            let is_alike = local.is_ipv4() == remote.is_ipv4();
            let plan = Plan::new(scenario, local, LOCAL_PORT);
            let source = if is_alike { remote } else { local };
            return Plan {
                source_address: source.into(),
                server_program: cast::LOCAL_SERVER_INDEX,
                ..plan
            };
        }
        let (address, port) = if scenario == Scenario::Unreachable {
            (*self.random.choose(&self.places.nowhere), port)
        } else if [Scenario::Refused, Scenario::NonBlockingRefused].contains(&scenario) {
            (remote, CLOSED_PORT)
        } else {
            (remote, port)
        };
        let plan = Plan::new(scenario, address, port);
        let source = self
            .places
            .local_like(address)
            .map_or(plan.source_address, Into::into);
        Plan {
            source_address: source,
            server_program: cast::REMOTE_SERVER_INDEX,
            ..plan
        }
    }

    /// How a connection of the program goes.
    fn scenario(&mut self, program: &Program, protocol: Protocol) -> Scenario {
        if protocol == Protocol::Udp {
            let ways = [Scenario::UdpConnected, Scenario::UdpUnconnected];
            return *self.random.choose(&ways);
        }
        if program.is_spanning || program.is_inbound || !self.random.happens(program.trouble) {
            let ways = [
                Scenario::ClientClosesFirst,
                Scenario::ClientClosesFirst,
                Scenario::ServerClosesFirst,
                Scenario::NonBlocking,
            ];
            return *self.random.choose(&ways);
        }
        let ways = [
            Scenario::Refused,
            Scenario::NonBlockingRefused,
            Scenario::ResetByClient,
            Scenario::ResetByServer,
            Scenario::Unreachable,
        ];
        let possible = if self.places.nowhere.is_empty() {
            &ways[..4]
        } else {
            &ways[..]
        };
        *self.random.choose(possible)
    }
}

/// The folder with the programs. What was put there is removed again when this is dropped.
struct Folder {
    path: PathBuf,
    is_ours: bool,
}

impl Folder {
    /// Copies this program under every name of the cast into `wanted` or a temporary folder.
    fn create(wanted: Option<&Path>) -> io::Result<Self> {
        let temporary =
            || std::env::temp_dir().join(format!("ground-truth-office-{}", std::process::id()));
        let path = wanted.map_or_else(temporary, Path::to_path_buf);
        let is_ours = !path.exists();
        fs::create_dir_all(&path)?;
        // The kernel tells resolved paths, so the truth file must too.
        let path = path.canonicalize()?;
        if let Some(name) = program_names().find(|name| path.join(name).exists()) {
            let text = format!("{} is there already", path.join(name).display());
            return Err(io::Error::other(text));
        }
        let folder = Self { path, is_ours };
        for name in program_names() {
            fs::copy("/proc/self/exe", folder.path.join(name))?;
        }
        Ok(folder)
    }

    /// The path of a program, as system calls want it.
    fn path_of(&self, name: &str) -> io::Result<CString> {
        let path = self.path.join(name);
        let bytes = AsRef::<OsStr>::as_ref(&path).as_bytes();
        CString::new(bytes).map_err(io::Error::other)
    }

    /// The paths of all programs, in the order of their indices.
    fn program_paths(&self) -> Vec<String> {
        program_names()
            .map(|name| self.path.join(name).to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for name in program_names() {
            _ = fs::remove_file(self.path.join(name));
        }
        if self.is_ours {
            _ = fs::remove_dir(&self.path);
        }
    }
}

/// Names of all programs in the order of their indices: the cast, then the servers.
fn program_names() -> impl Iterator<Item = &'static str> {
    cast::CAST
        .iter()
        .map(|program| program.name)
        .chain(cast::SERVERS)
}
