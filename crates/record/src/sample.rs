//! Made-up records of realistic variety, the same for the same seed.
//!
//! For tests and benchmarks only (feature `sample`). Addresses are from the ranges reserved for
//! documentation.

use crate::{
    Aggregate, AggregateCause, AggregateScope, Ancestor, AppCount, Attribution, BreakerCause,
    BreakerState, ByteQuality, CodeSignature, Connection, ConnectionId, Coverage, Delivery,
    DeliveryGuarantee, DeliveryLeftOut, DeliveryState, Device, Direction, Ending, Endpoint,
    EndpointId, ExecutableFile, ExtensionReplaced, Hostname, IdentitySource, LossCause, LossStage,
    LostKind, Mono, NameSource, Notice, NoticeKind, Origin, Outcome, Phase, PolicyAction,
    PolicyChanged, PolicyCounts, PolicyField, PolicyState, PreviousEpoch, Process, ProcessKey,
    Protocol, Record, RecordCounts, RuleCount, SensorKind, SignatureValidity, StageCounts, Stamp,
    StopReason, Tally, TcpCounts, Traffic, Treated, Undelivered, UndeliveredCause, User, Wall,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// `count` records: mostly connections, with every kind of notice among them.
pub fn records(seed: u64, count: usize) -> Vec<Record> {
    let mut world = World::new(seed);
    (0..count).map(|_| world.record()).collect()
}

/// `count` closed connections, as an endpoint makes them.
pub fn closes(seed: u64, count: usize) -> Vec<Record> {
    let mut world = World::new(seed);
    (0..count)
        .map(|_| Record::Connection(world.close()))
        .collect()
}

/// A machine with everything known.
pub fn device() -> Device {
    Device {
        endpoint: EndpointId(*b"\x5e\x1f\x00\x11\x22\x33\x44\x55\x86\x77\x88\x99\xaa\xbb\xcc\xdd"),
        hostname: "laptop-17.example".to_owned(),
        os_name: "Debian GNU/Linux".to_owned(),
        os_version: Some("12".to_owned()),
        kernel_release: Some("6.1.0-40-amd64".to_owned()),
        boot_id: Some([0x42; 16]),
        machine_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
        agent_version: "0.1.0".to_owned(),
    }
}

/// A small generator of numbers (SplitMix64): good enough for data, the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    /// A size spread over magnitudes, as sizes are: below two to the power of `bits`.
    pub fn size(&mut self, bits: u64) -> u64 {
        let bits = self.below(bits) + 1;
        self.number() >> (64 - bits)
    }
}

struct World {
    random: Random,
    processes: Vec<Arc<Process>>,
    /// As macOS tells of them.
    mac_processes: Vec<Arc<Process>>,
    remotes: Vec<IpAddr>,
    clock_ns: u64,
    ordinal: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let processes = (0..40).map(|_| Arc::new(process(&mut random))).collect();
        let remotes = (0..300).map(|_| address(&mut random)).collect();
        let mut mac_random = Random::new(seed ^ 0x4d61_6373);
        let mac_processes = (0..40)
            .map(|_| Arc::new(mac_process(&mut mac_random)))
            .collect();
        World {
            random,
            processes,
            mac_processes,
            remotes,
            clock_ns: 3_600_000_000_000,
            ordinal: 0,
        }
    }

    fn record(&mut self) -> Record {
        if self.random.one_in(12) {
            let kind = self.notice();
            return Record::Notice(Notice {
                at: self.stamp(),
                kind,
            });
        }
        let mut connection = self.close();
        if self.random.one_in(3) {
            self.tell_as_macos(&mut connection);
        }
        match self.random.below(4) {
            0 => connection.phase = Phase::Open,
            1 => connection.phase = Phase::Update,
            _ => {}
        }
        if self.random.one_in(10) {
            self.forget(&mut connection);
        }
        connection.treated = self.random.one_in(15).then(|| treated(&mut self.random));
        self.sum_up(&mut connection);
        Record::Connection(connection)
    }

    fn stamp(&mut self) -> Stamp {
        self.clock_ns += self.random.size(34);
        stamp(self.clock_ns)
    }

    fn close(&mut self) -> Connection {
        let at = self.stamp();
        let random = &mut self.random;
        self.ordinal += 1;
        let lifetime_ns = random.size(38).min(at.mono.0);
        let handshake_ns = random.size(26).min(lifetime_ns);
        let opened = Mono(at.mono.0 - lifetime_ns);
        let outcome = if random.one_in(8) {
            random.pick(&Outcome::ALL[..KERNEL_OUTCOMES])
        } else {
            Outcome::Closed
        };
        let source = if random.one_in(6) {
            random.pick(&IdentitySource::ALL[..KERNEL_SOURCES])
        } else {
            IdentitySource::Connect
        };
        let errno = (outcome != Outcome::Closed).then(|| random.below(130) as i32);
        let remote = random.pick(&self.remotes);
        Connection {
            id: ConnectionId {
                epoch: 7,
                ordinal: self.ordinal,
            },
            phase: Phase::Close(Ending { outcome, errno }),
            at,
            process: (source != IdentitySource::None).then(|| random.pick(&self.processes)),
            attribution: Attribution::from_source(source),
            responsible: None,
            hostname: None,
            protocol: random.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp]),
            direction: random.pick(&[Direction::Outbound, Direction::Outbound, Direction::Inbound]),
            local: endpoint(local_address(remote), 32_768 + random.below(28_232) as u16),
            remote: endpoint(
                remote,
                random.pick(&[443, 443, 443, 80, 53, 22, 993, 8_443]),
            ),
            network_namespace: Some(4_026_531_840),
            opened: Some(opened),
            established: Some(opened.plus_ns(handshake_ns)),
            traffic: traffic(random),
            rtt_us: Some(random.size(17) as u32),
            retransmits: Some(random.below(60).saturating_sub(57) as u32),
            closer_pid: None,
            origin: if random.one_in(20) {
                random.pick(Origin::ALL)
            } else {
                Origin::Live
            },
            treated: None,
            aggregate: None,
        }
    }

    /// What a content filter tells: the app behind a service, names, and late or doubtful counts.
    fn tell_as_macos(&mut self, connection: &mut Connection) {
        let random = &mut self.random;
        connection.process = Some(random.pick(&self.mac_processes));
        let source = random.pick(&[IdentitySource::AuditToken, IdentitySource::ListenerToken]);
        connection.attribution = Attribution::from_source(source);
        connection.responsible = random
            .one_in(2)
            .then(|| random.pick(&self.mac_processes))
            .filter(|responsible| connection.process.as_ref() != Some(responsible));
        connection.hostname = (!random.one_in(3)).then(|| Hostname {
            name: random.pick(HOSTNAMES).into(),
            source: NameSource::SystemLibrary,
        });
        connection.network_namespace = None;
        connection.rtt_us = None;
        connection.retransmits = None;
        if random.one_in(3) {
            connection.phase = Phase::Close(Ending {
                outcome: random.pick(&Outcome::ALL[KERNEL_OUTCOMES..]),
                errno: None,
            });
        }
        if random.one_in(4) {
            connection.traffic = Traffic {
                bytes_out: Some(0),
                bytes_in: Some(0),
                quality: ByteQuality::ZeroUnverified,
                ..Traffic::default()
            };
        }
    }

    /// Makes one close in twenty the sum of many, without a draw that other records would feel.
    fn sum_up(&mut self, connection: &mut Connection) {
        let is_close = matches!(connection.phase, Phase::Close(_));
        if !is_close || !connection.id.ordinal.is_multiple_of(20) {
            return;
        }
        let mut random = Random::new(connection.id.ordinal);
        let scope = random.pick(AggregateScope::ALL);
        connection.aggregate = Some(Box::new(Aggregate {
            connections: 1 + random.size(20),
            cause: AggregateCause::Burst,
            scope,
            limit: 10_000,
            interval_ns: 60_000_000_000,
        }));
        connection.local.port = None;
        connection.rtt_us = None;
        match scope {
            AggregateScope::Destination => {}
            AggregateScope::Process => {
                connection.local = Endpoint::default();
                connection.remote = Endpoint::default();
                connection.hostname = None;
            }
        }
    }

    fn forget(&mut self, connection: &mut Connection) {
        let random = &mut self.random;
        match random.below(7) {
            0 => connection.process = None,
            1 => connection.traffic = Traffic::default(),
            2 => connection.local = Endpoint::default(),
            3 => (connection.opened, connection.established) = (None, None),
            4 => (connection.rtt_us, connection.retransmits) = (None, None),
            5 => connection.protocol = Protocol::Other(random.below(256) as u8),
            _ => connection.closer_pid = Some(random.size(22) as u32),
        }
        if random.one_in(3) {
            connection.direction = Direction::Unknown;
            connection.network_namespace = None;
        }
    }

    fn notice(&mut self) -> NoticeKind {
        let since = stamp(self.clock_ns - 1_000_000);
        let random = &mut self.random;
        match random.below(19) {
            0 => NoticeKind::RecorderStarted {
                previous: previous(random, since),
            },
            1 => NoticeKind::RecorderStopped {
                reason: random.pick(StopReason::ALL),
                tally: tally(random),
            },
            2 => NoticeKind::SensorStarted {
                sensor: random.pick(SensorKind::ALL),
                limits: vec!["Raw sockets are not seen.".to_owned(); random.below(3) as usize],
            },
            3 => NoticeKind::SensorStopped {
                sensor: random.pick(SensorKind::ALL),
                reason: "The ring could not be read.".to_owned(),
            },
            4 => NoticeKind::Lost {
                stage: random.pick(LossStage::ALL),
                cause: random.pick(LossCause::ALL),
                what: random.pick(LostKind::ALL),
                count: (!random.one_in(4)).then(|| random.size(30)),
                since,
            },
            5 => NoticeKind::Slept {
                duration_ns: random.size(50),
            },
            6 => NoticeKind::ClockStepped {
                by_ns: random.size(50) as i64 - (1 << 49),
            },
            7 => NoticeKind::TrailEvicted {
                epoch: random.size(20),
                first_sequence: 1,
                last_sequence: random.size(30),
            },
            8 => NoticeKind::SensorLimited {
                sensor: random.pick(SensorKind::ALL),
                limit: "Connections of this machine with itself are not seen.".to_owned(),
            },
            9 => NoticeKind::BreakerChanged {
                state: random.pick(BreakerState::ALL),
                cause: random.pick(BreakerCause::ALL),
                crashes: random.below(5) as u32,
            },
            10 => NoticeKind::Coverage(coverage(random, since)),
            11 => NoticeKind::ExtensionReplaced(replaced(random)),
            12 => NoticeKind::Sleeping,
            13 => NoticeKind::PolicyChanged(policy(random)),
            14 => NoticeKind::PolicyCounts(policy_counts(random, since)),
            15 => NoticeKind::StageCounts(stage_counts(random)),
            17 => NoticeKind::Undelivered(undelivered(random)),
            18 => NoticeKind::Delivery(Box::new(delivery(random, since))),
            _ => NoticeKind::Ledger(tally(random)),
        }
    }
}

/// How many of the choices the sensors of Linux make, which stand first; the others come only with
/// what the filter of macOS tells.
const KERNEL_OUTCOMES: usize = 11;
const KERNEL_SOURCES: usize = 9;
const KERNEL_QUALITIES: usize = 4;

const PROGRAMS: &[&str] = &[
    "/usr/lib/firefox-esr/firefox-esr",
    "/usr/bin/curl",
    "/usr/bin/ssh",
    "/usr/lib/apt/methods/https",
    "/opt/chat/chat --type=utility",
    "/usr/sbin/chronyd",
    "/usr/bin/python3.11",
    "/usr/lib/systemd/systemd-resolved",
    "/home/ana/.local/bin/outil-réseau",
];

const START_NS_MIN: u64 = 1_000_000_000;

fn process(random: &mut Random) -> Process {
    let path = random.pick(PROGRAMS);
    let user_name = random.pick(&["ana", "root", "www-data"]);
    let key = key(random);
    Process {
        cpid: Some(cpid(random)),
        name: path.rsplit('/').next().map(Into::into),
        path: Some(path.into()),
        file: Some(ExecutableFile {
            device: 0x0080_0001,
            inode: random.size(22),
        }),
        command_line: random.one_in(5).then(|| format!("{path} --quiet").into()),
        user: Some(User {
            uid: random.size(10) as u32,
            name: Some(user_name.into()),
        }),
        login_uid: (!random.one_in(3)).then_some(1_000),
        cgroup: Some(random.size(14)),
        ancestors: (0..random.below(4)).map(|_| ancestor(random)).collect(),
        ..Process::bare(key)
    }
}

const HOSTNAMES: &[&str] = &[
    "www.example.com",
    "api.example.org",
    "bücher.example",
    "xn--",
];

const APPS: &[(&str, &str)] = &[
    ("/usr/libexec/nsurlsessiond", "com.apple.nsurlsessiond"),
    (
        "/Applications/Chat.app/Contents/MacOS/Chat",
        "com.example.chat",
    ),
    ("/usr/bin/curl", "com.apple.curl"),
    ("/opt/homebrew/bin/wget", "wget"),
];

/// A process as macOS tells of it; one in four was gone when it was looked up.
fn mac_process(random: &mut Random) -> Process {
    let (path, signing_id) = random.pick(APPS);
    let key = ProcessKey {
        pid: 1 + random.size(17) as u32,
        start_ns: 0,
        exec_id: random.size(32) as u32,
    };
    let gone = random.one_in(4);
    let mut process = Process {
        user: Some(User {
            uid: 501,
            name: Some("ana".into()),
        }),
        effective_uid: random.one_in(3).then_some(0),
        login_uid: Some(501),
        audit_session: Some(100_000 + random.below(20) as u32),
        vanished: gone,
        ..Process::bare(key)
    };
    if !gone {
        process.cpid = Some(cpid(random));
        process.name = path.rsplit('/').next().map(Into::into);
        process.path = Some(path.into());
        process.started = Some(Wall(BOOT_WALL_NS + random.size(41) as i64));
        process.signature = Some(signature(random, signing_id));
        process.ancestors = vec![Ancestor {
            key: ProcessKey {
                pid: 1,
                start_ns: BOOT_WALL_NS as u64,
                exec_id: 0,
            },
            cpid: Some(cpid(random)),
            name: Some("launchd".into()),
            path: Some("/sbin/launchd".into()),
        }];
    }
    process
}

fn signature(random: &mut Random, signing_id: &str) -> CodeSignature {
    let validity = if random.one_in(2) {
        random.pick(SignatureValidity::ALL)
    } else {
        SignatureValidity::Valid
    };
    let is_signed = validity != SignatureValidity::Unsigned;
    let mut cdhash = [0; 20];
    cdhash[..8].copy_from_slice(&random.number().to_le_bytes());
    CodeSignature {
        validity,
        status: (validity != SignatureValidity::Valid).then(|| -67_000 - random.below(100) as i32),
        signing_id: is_signed.then(|| signing_id.into()),
        team_id: (is_signed && random.one_in(2)).then(|| "ABCDE12345".into()),
        cdhash: is_signed.then_some(cdhash),
        platform: (!random.one_in(3)).then(|| signing_id.starts_with("com.apple.")),
    }
}

fn ancestor(random: &mut Random) -> Ancestor {
    let name = random.pick(&["bash", "systemd", "sshd", "gnome-shell"]);
    Ancestor {
        key: key(random),
        cpid: Some(cpid(random)),
        name: Some(name.into()),
        path: Some(format!("/usr/bin/{name}").into()),
    }
}

fn key(random: &mut Random) -> ProcessKey {
    ProcessKey {
        pid: 1 + random.size(22) as u32,
        start_ns: START_NS_MIN + random.size(41),
        exec_id: random.below(4) as u32,
    }
}

fn cpid(random: &mut Random) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.number().to_le_bytes());
    bytes[8..].copy_from_slice(&random.number().to_le_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

fn address(random: &mut Random) -> IpAddr {
    let host = random.number();
    match random.below(4) {
        0 => IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(host))),
        1 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, host as u8)),
        2 => IpAddr::V4(Ipv4Addr::new(198, 51, 100, host as u8)),
        _ => IpAddr::V4(Ipv4Addr::new(203, 0, 113, host as u8)),
    }
}

fn local_address(remote: IpAddr) -> IpAddr {
    match remote {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77)),
    }
}

fn endpoint(address: IpAddr, port: u16) -> Endpoint {
    Endpoint {
        address: Some(address),
        port: Some(port),
    }
}

fn traffic(random: &mut Random) -> Traffic {
    let (bytes_out, bytes_in) = (random.size(18), random.size(24));
    Traffic {
        bytes_out: Some(bytes_out),
        bytes_in: Some(bytes_in),
        packets_out: Some(bytes_out.div_ceil(1_400)),
        packets_in: Some(bytes_in.div_ceil(1_400)),
        quality: if random.one_in(9) {
            random.pick(&ByteQuality::ALL[..KERNEL_QUALITIES])
        } else {
            ByteQuality::Exact
        },
    }
}

fn previous(random: &mut Random, last_at: Stamp) -> Option<PreviousEpoch> {
    (!random.one_in(3)).then(|| PreviousEpoch {
        epoch: random.size(20),
        last_sequence: random.size(30),
        last_at: (!random.one_in(3)).then_some(last_at),
        stopped_in_order: random.one_in(2),
    })
}

fn tally(random: &mut Random) -> Tally {
    let (closes_recorded, closes_lost) = (random.size(30), random.below(3));
    let closes_dropped = random.below(2) * random.size(10);
    let closes_aggregated = if closes_recorded.is_multiple_of(5) {
        closes_recorded / 5
    } else {
        0
    };
    Tally {
        closes_made: closes_recorded + closes_aggregated + closes_dropped + closes_lost,
        closes_recorded,
        closes_aggregated,
        closes_dropped,
        closes_lost,
        live: random.size(12),
    }
}

fn coverage(random: &mut Random, since: Stamp) -> Coverage {
    let is_available = !random.one_in(4);
    Coverage {
        since,
        system: is_available.then(|| counts(random)),
        unavailable: (!is_available).then(|| "The counters have an unknown size.".to_owned()),
        recorded: counts(random),
        missed_estimate: random.one_in(3).then(|| random.size(8)),
        unseen: vec!["Subflows of Multipath TCP.".to_owned(); random.below(3) as usize],
    }
}

fn counts(random: &mut Random) -> TcpCounts {
    TcpCounts {
        outbound: random.size(16),
        inbound: random.size(12),
    }
}

fn replaced(random: &mut Random) -> ExtensionReplaced {
    let apps = ["Chat", "nsurlsessiond", "other"];
    let by_app: Vec<AppCount> = apps[..random.below(4) as usize]
        .iter()
        .map(|app| AppCount {
            app: (*app).to_owned(),
            count: random.size(6),
        })
        .collect();
    ExtensionReplaced {
        from: (!random.one_in(3)).then(|| "0.1.0".to_owned()),
        to: "0.2.0".to_owned(),
        reset_estimate: by_app.iter().map(|it| it.count).sum(),
        by_app,
        flows_arrive: random.pick(&[None, Some(false), Some(true)]),
    }
}

fn treated(random: &mut Random) -> Arc<[Treated]> {
    let mark = |random: &mut Random| Treated {
        field: random.pick(PolicyField::ALL),
        action: random.pick(PolicyAction::ALL),
        rule: 1 + random.below(128) as u8,
    };
    (0..=random.below(4)).map(|_| mark(random)).collect()
}

fn policy(random: &mut Random) -> PolicyChanged {
    let state = random.pick(PolicyState::ALL);
    let is_there = state != PolicyState::Removed;
    let is_right = [PolicyState::InForce, PolicyState::Removed].contains(&state);
    PolicyChanged {
        state,
        hash: is_there.then(|| std::array::from_fn(|_| random.number() as u8)),
        source: is_there.then(|| "/etc/conntrail/policy.toml".to_owned()),
        problem: (!is_right).then(|| "line 3, column 1: there is no key fild".to_owned()),
        rules: vec!["no user names".to_owned(); random.below(4) as usize],
    }
}

fn policy_counts(random: &mut Random, since: Stamp) -> PolicyCounts {
    let rules: Vec<RuleCount> = (0..random.below(4) as u8)
        .map(|rule| RuleCount {
            rule: rule + 1,
            dropped: random.size(20),
            changed: random.size(20),
        })
        .collect();
    let dropped = rules.iter().map(|it| it.dropped).sum();
    let changed = rules.iter().map(|it| it.changed).sum();
    PolicyCounts {
        since,
        hash: random.one_in(2).then_some([0xb7; 32]),
        records: dropped + changed + random.size(20),
        dropped,
        changed,
        rules,
    }
}

fn stage_counts(random: &mut Random) -> StageCounts {
    let mut both = |bits| {
        let closes = random.size(bits);
        RecordCounts {
            records: closes + random.size(bits),
            closes,
        }
    };
    let (recorded, dropped, refused) = (both(30), both(8), both(4));
    let own = random.below(50);
    StageCounts {
        given: RecordCounts {
            records: recorded.records + dropped.records + refused.records,
            closes: recorded.closes + dropped.closes + refused.closes,
        },
        own,
        dropped,
        refused,
        recorded: RecordCounts {
            records: recorded.records + own,
            ..recorded
        },
        closes_waiting: random.below(4),
        closes_repeated: random.size(6),
        ends_told_before: random.below(3),
        flows_evicted: random.size(6),
        records_evicted: random.size(20),
        segments_rewritten: random.size(5),
    }
}

fn undelivered(random: &mut Random) -> Undelivered {
    let first_sequence = 1 + random.size(30);
    let range = 1 + random.size(10);
    Undelivered {
        destination: random.pick(&["lake", "siem"]).to_owned(),
        source: random.one_in(4).then(|| "app".to_owned()),
        epoch: random.size(20),
        first_sequence,
        last_sequence: first_sequence + range - 1,
        records: (!random.one_in(4)).then_some(range),
        cause: random.pick(UndeliveredCause::ALL),
        reason: "The object is not mapped.".to_owned(),
    }
}

fn delivery(random: &mut Random, since: Stamp) -> Delivery {
    let state = random.pick(DeliveryState::ALL);
    let batches = random.size(16);
    let is_waiting = [DeliveryState::Waiting, DeliveryState::Misconfigured].contains(&state);
    Delivery {
        destination: random.pick(&["lake", "siem"]).to_owned(),
        guarantee: random.pick(DeliveryGuarantee::ALL),
        state,
        since,
        records: batches * 150,
        batches,
        bytes: batches * 9_000,
        retries: random.size(6),
        left_out: DeliveryLeftOut {
            opens: batches * 120,
            filtered: random.size(8),
            dropped: random.size(8),
            refused: random.below(2),
            missing: random.below(3),
        },
        lag_records: (!random.one_in(4)).then(|| random.size(20)),
        lag_ns: (!random.one_in(4)).then(|| random.size(40)),
        problem: is_waiting.then(|| "Connection refused: is it running?".to_owned()),
    }
}

const BOOT_WALL_NS: i64 = 1_790_000_000_000_000_000;

/// A moment of the monotonic clock, on a wall clock that never steps.
fn stamp(mono_ns: u64) -> Stamp {
    Stamp {
        wall: Wall(BOOT_WALL_NS + mono_ns as i64),
        mono: Mono(mono_ns),
    }
}
