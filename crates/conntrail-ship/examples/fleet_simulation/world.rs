//! Made-up traffic with the variety that a fleet's has: 400 executables and 60,000 names by how
//! often they are used, favourites of each machine and of each executable, bursts as a page makes
//! them, sizes and durations spread over magnitudes, and the hours of a day.

use record::sample::Random;
use record::{
    Ancestor, Attribution, ByteQuality, CodeSignature, Connection, ConnectionId, Device, Direction,
    Ending, Endpoint, EndpointId, Hostname, IdentitySource, Mono, NameSource, Origin, Outcome,
    Phase, Process, ProcessKey, Protocol, Record, SignatureValidity, Stamp, Traffic, User, Wall,
};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const EXECUTABLES: usize = 400;
const DOMAINS: usize = 60_000;
const FAVOURITES: usize = 40;
const AFFINE: usize = 6;

/// How much happens in each hour of a day, beside the others.
const HOURS: [f64; 24] = [
    0.3, 0.25, 0.2, 0.2, 0.25, 0.4, 0.8, 1.5, 2.4, 2.6, 2.5, 2.3, 2.1, 2.4, 2.5, 2.4, 2.2, 1.8,
    1.2, 1.0, 0.9, 0.8, 0.6, 0.4,
];

const PORTS: [u16; 14] = [
    443, 443, 443, 443, 443, 443, 443, 443, 80, 22, 8_443, 993, 5_223, 3_478,
];

/// What part of a day's records has been made when `part` of the day has passed.
pub(crate) fn day_so_far(part: f64) -> f64 {
    let hours = part.clamp(0.0, 1.0) * 24.0;
    let (whole, rest) = (hours as usize, hours.fract());
    let before: f64 = HOURS.iter().take(whole).sum();
    let now = HOURS.get(whole).map_or(0.0, |it| it * rest);
    (before + now) / HOURS.iter().sum::<f64>()
}

/// What all machines have in common.
pub(crate) struct World {
    executables: Zipf,
    domains: Zipf,
    names: Vec<Arc<str>>,
    affine: Vec<[usize; AFFINE]>,
}

impl World {
    /// The same for the same seed.
    pub(crate) fn new(seed: u64) -> Arc<World> {
        let mut random = Random::new(seed);
        let domains = Zipf::new(DOMAINS, 1.05);
        let affine = (0..EXECUTABLES).map(|_| std::array::from_fn(|_| domains.pick(&mut random)));
        Arc::new(World {
            executables: Zipf::new(EXECUTABLES, 1.1),
            names: (0..DOMAINS).map(domain).collect(),
            affine: affine.collect(),
            domains,
        })
    }
}

/// One machine and its users.
pub(crate) struct Machine {
    world: Arc<World>,
    /// What its records say of it.
    pub(crate) device: Device,
    random: Random,
    favourites: [usize; FAVOURITES],
    processes: HashMap<usize, Arc<Process>>,
    executable: usize,
    user: User,
    address: IpAddr,
    ordinal: u64,
}

impl Machine {
    /// The same for the same number.
    pub(crate) fn new(world: &Arc<World>, number: u64) -> Machine {
        let mut random = Random::new(0x6d61_6368 + number * 7_919);
        let mut endpoint = [0; 16];
        endpoint[..8].copy_from_slice(&random.number().to_le_bytes());
        endpoint[8..].copy_from_slice(&random.number().to_le_bytes());
        let mac = !number.is_multiple_of(3);
        let device = Device {
            endpoint: EndpointId(endpoint),
            hostname: format!("{}-{number:05}.example", if mac { "mac" } else { "lnx" }),
            os_name: if mac { "macOS" } else { "Debian GNU/Linux" }.to_owned(),
            os_version: Some(random.pick(&["26.1", "15.7.2", "12", "13"]).to_owned()),
            kernel_release: None,
            boot_id: None,
            machine_id: None,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Machine {
            favourites: std::array::from_fn(|_| world.domains.pick(&mut random)),
            processes: HashMap::new(),
            executable: 0,
            user: User {
                uid: 501,
                name: Some(format!("user{:06x}", random.below(1 << 24)).into()),
            },
            address: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | random.below(1 << 22) as u32)),
            ordinal: 0,
            world: Arc::clone(world),
            device,
            random,
        }
    }

    /// A connection that ended now.
    pub(crate) fn close(&mut self, at: Stamp) -> Record {
        self.ordinal += 1;
        // Three in five belong to a burst, most of these to what the one before belonged to.
        if self.random.below(100) >= 48 {
            self.executable = self.world.executables.pick(&mut self.random);
        }
        let executable = self.executable;
        let domain = self.domain(executable);
        let is_lookup = matches!(executable, 5 | 6);
        let random = &mut self.random;
        let duration_ns = if is_lookup {
            1_000_000 * (1 + random.below(60))
        } else {
            (lognormal(random, 7.5, 2.0) * 1e6).min(7.2e12) as u64
        }
        .min(at.mono.0);
        let opened = Mono(at.mono.0 - duration_ns);
        let remote = address(domain, random);
        let remote_port = if is_lookup { 53 } else { random.pick(&PORTS) };
        let quic = remote_port == 443 && random.below(100) < 18;
        let is_named = random.below(100) < 82;
        let handshake_ns = random.size(26).min(duration_ns);
        let rtt_us = Some(random.size(17) as u32);
        let (outcome, errno) = match random.below(100) {
            0..95 => (Outcome::Closed, None),
            95..97 => (Outcome::Reset, None),
            _ => (Outcome::Refused, Some(111)),
        };
        let traffic = traffic(random, is_lookup, outcome);
        let inbound = random.one_in(25);
        let local_port = 49_152 + random.below(16_384) as u16;
        let process = self.process(executable, at);
        Record::Connection(Connection {
            id: ConnectionId {
                epoch: 1,
                ordinal: self.ordinal,
            },
            phase: Phase::Close(Ending { outcome, errno }),
            at,
            process: Some(process),
            attribution: Attribution::from_source(IdentitySource::Connect),
            responsible: None,
            hostname: is_named.then(|| Hostname {
                name: Arc::clone(&self.world.names[domain]),
                source: NameSource::SystemLibrary,
            }),
            protocol: if is_lookup || quic {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
            direction: if inbound {
                Direction::Inbound
            } else {
                Direction::Outbound
            },
            local: place(self.address, local_port),
            remote: place(remote, remote_port),
            network_namespace: None,
            opened: Some(opened),
            established: Some(opened.plus_ns(handshake_ns)),
            traffic,
            rtt_us: rtt_us.filter(|_| !is_lookup),
            retransmits: Some(0),
            closer_pid: None,
            origin: Origin::Live,
            treated: None,
            aggregate: None,
        })
    }

    fn domain(&mut self, executable: usize) -> usize {
        match self.random.below(100) {
            0..35 => self.world.affine[executable][self.random.below(AFFINE as u64) as usize],
            35..67 => self.favourites[self.random.below(FAVOURITES as u64) as usize],
            _ => self.world.domains.pick(&mut self.random),
        }
    }

    fn process(&mut self, executable: usize, at: Stamp) -> Arc<Process> {
        // A tool on the command line is another process each time.
        let is_short =
            matches!(executable, 7..=10) || executable.is_multiple_of(5) && executable >= 40;
        if !is_short && let Some(process) = self.processes.get(&executable) {
            return Arc::clone(process);
        }
        let process = Arc::new(process(&mut self.random, executable, &self.user, at));
        if !is_short {
            self.processes.insert(executable, Arc::clone(&process));
        }
        process
    }
}

/// Numbers below a bound, the small ones far more often.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Zipf(sums.collect())
    }

    fn pick(&self, random: &mut Random) -> usize {
        let all = self.0.last().copied().unwrap_or_default();
        let place = part(random) * all;
        self.0
            .partition_point(|sum| *sum < place)
            .min(self.0.len() - 1)
    }
}

/// From 0 to 1.
fn part(random: &mut Random) -> f64 {
    (random.number() >> 11) as f64 / (1_u64 << 53) as f64
}

fn lognormal(random: &mut Random, mean: f64, deviation: f64) -> f64 {
    let (radius, angle) = (part(random).max(1e-12), part(random));
    let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
    (mean + deviation * normal).exp()
}

fn mixed(number: usize, salt: u64) -> u64 {
    Random::new(number as u64 * 0x1_0000 + salt).number()
}

fn domain(number: usize) -> Arc<str> {
    const PLACES: [&str; 8] = [
        "www",
        "api",
        "cdn",
        "edge",
        "img",
        "telemetry",
        "static",
        "s3.us-east-1",
    ];
    let word = format!("{:016x}", mixed(number, 1));
    let ending = if number.is_multiple_of(3) {
        "net"
    } else {
        "com"
    };
    format!(
        "{}.{}.{ending}",
        PLACES[number % 8],
        &word[..5 + number % 7]
    )
    .into()
}

/// One of a few of a name's addresses; 18 in 100 of version 6.
fn address(domain: usize, random: &mut Random) -> IpAddr {
    let count = 1 + mixed(domain, 2) % 8;
    let bits = mixed(domain, 16 + random.below(count));
    if random.below(100) < 18 {
        let low = u128::from(bits);
        IpAddr::V6(Ipv6Addr::from(
            (0x2606_u128 << 112) | ((low >> 32) << 80) | (low & 0xffff_ffff),
        ))
    } else {
        let first = 0x0100_0000_u32;
        IpAddr::V4(Ipv4Addr::from(
            first + (bits as u32) % (0xde00_0000 - first),
        ))
    }
}

fn place(address: IpAddr, port: u16) -> Endpoint {
    Endpoint {
        address: Some(address),
        port: Some(port),
    }
}

fn traffic(random: &mut Random, is_lookup: bool, outcome: Outcome) -> Traffic {
    let (bytes_out, bytes_in) = if outcome == Outcome::Refused {
        (0, 0)
    } else if is_lookup {
        (38 + random.below(52), 60 + random.below(260))
    } else {
        (
            lognormal(random, 7.2, 1.3).max(60.0) as u64,
            lognormal(random, 8.4, 1.9).max(52.0) as u64,
        )
    };
    Traffic {
        bytes_out: Some(bytes_out),
        bytes_in: Some(bytes_in),
        packets_out: Some(bytes_out / 900 + 2 + random.below(6)),
        packets_in: Some(bytes_in / 1_200 + 2 + random.below(6)),
        quality: ByteQuality::Exact,
    }
}

fn process(random: &mut Random, executable: usize, user: &User, at: Stamp) -> Process {
    let name = format!("app{executable}");
    let path = if executable.is_multiple_of(3) {
        format!("/usr/lib/{name}/bin/{name}")
    } else {
        format!("/Applications/{name}.app/Contents/MacOS/{name}")
    };
    let age_ns = random.size(43).min(at.mono.0);
    let start_ns = at.mono.0 - age_ns;
    let mut cpid = [0; 16];
    cpid[..8].copy_from_slice(&random.number().to_le_bytes());
    cpid[8..].copy_from_slice(&random.number().to_le_bytes());
    let mut cdhash = [0; 20];
    let version = random.below(4);
    cdhash[..8].copy_from_slice(&mixed(executable, 100 + version).to_le_bytes());
    cdhash[8..16].copy_from_slice(&mixed(executable, 200 + version).to_le_bytes());
    let vendor = executable % 90;
    let parent = random.pick(&["launchd", "systemd", "zsh", "bash", "Terminal", "sshd"]);
    Process {
        cpid: Some(cpid),
        name: Some(name.as_str().into()),
        path: Some(path.into()),
        user: Some(user.clone()),
        started: Some(Wall(at.wall.0 - age_ns as i64)),
        signature: Some(CodeSignature {
            validity: SignatureValidity::Valid,
            status: None,
            signing_id: Some(format!("com.vendor{vendor}.{name}").into()),
            team_id: Some(format!("{:010X}", mixed(vendor, 3) & 0xff_ffff_ffff).into()),
            cdhash: Some(cdhash),
            platform: Some(false),
        }),
        ancestors: vec![Ancestor {
            key: ProcessKey {
                pid: 1 + random.below(900) as u32,
                start_ns: 1_000_000_000,
                exec_id: 0,
            },
            cpid: None,
            name: Some(parent.into()),
            path: Some(format!("/sbin/{parent}").into()),
        }],
        ..Process::bare(ProcessKey {
            pid: 500 + random.below(90_000) as u32,
            start_ns,
            exec_id: 0,
        })
    }
}
