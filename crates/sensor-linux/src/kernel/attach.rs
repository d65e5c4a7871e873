//! Loads the kernel program and attaches it.

use super::control_groups::ControlGroups;
use super::peers::Table;
use super::{Options, nanoseconds};
use crate::SensorError;
use crate::sys::abi::CounterBytes;
use crate::sys::bpf::MapIterator;
use aya::maps::{HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::links::{CgroupAttachMode, FdLink};
use aya::programs::{
    BtfTracePoint, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, FExit, Iter,
    Program, ProgramError,
};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel, include_bytes_aligned};
use std::error::Error;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The program at work. Everything is detached when this is dropped, and when the process ends in
/// whatever way: nothing is pinned.
pub(super) struct Attached {
    pub(super) ring: RingBuf<MapData>,
    pub(super) counters: PerCpuArray<MapData, CounterBytes>,
    /// Walks over all sockets that have state.
    pub(super) alive: MapIterator,
    /// Tells the totals of sockets, and of the peers of unconnected ones.
    pub(super) totals: [MapIterator; 2],
    /// The program whose missed runs are counted.
    pub(super) tcp_program: OwnedFd,
    _links: Vec<FdLink>,
}

/// What is used once, when the sensor starts.
pub(super) struct Start {
    pub(super) attached: Attached,
    pub(super) table: Table,
    /// Reads as one event for each TCP socket that listens. To be read at once: until then nobody
    /// knows whose the connections are that come in.
    pub(super) listeners: File,
    /// Reads as one event for each connection.
    pub(super) sockets: File,
    /// What this kernel does not offer.
    pub(super) limits: Vec<String>,
}

/// Loads and attaches everything.
pub(super) fn attach(options: &Options) -> Result<Start, SensorError> {
    let groups = ControlGroups::open()?;
    let btf = Btf::from_sys_fs().map_err(|error| SensorError::NoTypeInformation {
        reason: error.to_string(),
    })?;
    let mut loading = Loading {
        ebpf: load(options, &btf)?,
        btf,
        links: Vec::new(),
    };
    // The kernel takes its time to verify each program, so that comes before the first is at work.
    loading.load_programs()?;
    let mut limits = loading.load_optional(options.first_io);
    if groups.root != "/" {
        limits.push(format!(
            "Only processes below the control group {} are seen.",
            groups.root
        ));
    }
    loading.attach_programs(&groups.directory)?;
    let listeners = loading.iterate_files("find_listeners")?;
    let sockets = loading.iterate_files("find_sockets")?;
    let iterators = loading.iterate_maps()?;
    let tcp_program = loading.tcp_program()?;
    let Loading {
        mut ebpf, links, ..
    } = loading;
    let attached = Attached {
        ring: RingBuf::try_from(take_map(&mut ebpf, "ring"))
            .map_err(|error| refused("map the ring", &error))?,
        counters: PerCpuArray::try_from(take_map(&mut ebpf, "counters"))
            .map_err(|error| refused("open the counters", &error))?,
        alive: iterators.alive,
        totals: iterators.totals,
        tcp_program,
        _links: links,
    };
    let table = HashMap::try_from(iterators.flows)
        .map_err(|error| refused("open the table of datagram flows", &error))?;
    Ok(Start {
        attached,
        table,
        listeners,
        sockets,
        limits,
    })
}

/// The program as it is compiled from `bpf/connections.bpf.c`.
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/connections.bpf.o");

/// The mode that sets no flag. Since Linux 5.7 attaching makes a link, which always leaves other
/// programs where they are, and the kernel refuses the flag that would ask for just that:
/// <https://elixir.bootlin.com/linux/v6.12/source/kernel/bpf/cgroup.c> (`cgroup_bpf_link_attach`).
const BESIDE_OTHERS: CgroupAttachMode = CgroupAttachMode::Single;

struct Loading {
    ebpf: Ebpf,
    btf: Btf,
    links: Vec<FdLink>,
}

/// A flow that is younger than this is soon told of by its close, most likely.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Iterators, and the map that is used otherwise too.
struct Iterators {
    alive: MapIterator,
    totals: [MapIterator; 2],
    flows: Map,
}

/// What the library's steps fail with; all kinds become a [`SensorError::Refused`].
type Failure = Box<dyn Error>;

fn load(options: &Options, btf: &Btf) -> Result<Ebpf, SensorError> {
    let ring_bytes = options.ring_bytes_used();
    let wake_bytes = options.wake_bytes.min(ring_bytes / 8);
    let capture_arguments = u32::from(options.capture_arguments);
    let settled = options.totals_interval.min(SETTLED_AFTER);
    EbpfLoader::new()
        .btf(Some(btf))
        .verifier_log_level(VerifierLogLevel::DEBUG)
        .override_global("cfg_wake_bytes", &wake_bytes, true)
        .override_global("cfg_capture_arguments", &capture_arguments, true)
        .override_global("cfg_udp_idle_ns", &nanoseconds(options.udp_idle), true)
        .override_global("cfg_settled_ns", &nanoseconds(settled), true)
        .map_max_entries("ring", ring_bytes)
        .load(OBJECT)
        .map_err(|error| refused("create the maps of the kernel program", &error))
}

/// Hooks on addresses: connect(), sendto() and the like.
const ADDRESS_HOOKS: [&str; 6] = [
    "on_connect4",
    "on_connect6",
    "on_sendmsg4",
    "on_sendmsg6",
    "on_recvmsg4",
    "on_recvmsg6",
];

/// Hooks on sockets: bind() and close().
const SOCKET_HOOKS: [&str; 3] = ["on_bind4", "on_bind6", "on_release"];

const PACKET_HOOKS: [(&str, CgroupSkbAttachType); 2] = [
    ("on_egress", CgroupSkbAttachType::Egress),
    ("on_ingress", CgroupSkbAttachType::Ingress),
];

const TCP_PROGRAM: &str = "on_tcp_state";

impl Loading {
    fn load_programs(&mut self) -> Result<(), SensorError> {
        for name in ADDRESS_HOOKS {
            self.step("load", name, |program: &mut CgroupSockAddr, _| {
                Ok(program.load()?)
            })?;
        }
        for name in SOCKET_HOOKS {
            self.step("load", name, |program: &mut CgroupSock, _| {
                Ok(program.load()?)
            })?;
        }
        for (name, _) in PACKET_HOOKS {
            self.step("load", name, |program: &mut CgroupSkb, _| {
                Ok(program.load()?)
            })?;
        }
        self.step("load", TCP_PROGRAM, |program: &mut BtfTracePoint, btf| {
            Ok(program.load("inet_sock_set_state", btf)?)
        })?;
        for name in ["find_listeners", "find_sockets"] {
            self.step("load", name, |program: &mut Iter, btf| {
                Ok(program.load("task_file", btf)?)
            })?;
        }
        for name in ["list_alive", "tell_sockets"] {
            self.step("load", name, |program: &mut Iter, btf| {
                Ok(program.load("bpf_sk_storage_map", btf)?)
            })?;
        }
        self.step("load", "tell_peers", |program: &mut Iter, btf| {
            Ok(program.load("bpf_map_elem", btf)?)
        })
    }

    /// Owners first: once connections are seen, whoever made them is known. All hooks answer "go
    /// on", and others' programs stay attached beside them.
    fn attach_programs(&mut self, groups: &File) -> Result<(), SensorError> {
        for name in ADDRESS_HOOKS {
            let link = self.step("attach", name, |program: &mut CgroupSockAddr, _| {
                let id = program.attach(groups, BESIDE_OTHERS)?;
                Ok(program.take_link(id)?.try_into()?)
            })?;
            self.links.push(link);
        }
        for name in SOCKET_HOOKS {
            let link = self.step("attach", name, |program: &mut CgroupSock, _| {
                let id = program.attach(groups, BESIDE_OTHERS)?;
                Ok(program.take_link(id)?.try_into()?)
            })?;
            self.links.push(link);
        }
        for (name, way) in PACKET_HOOKS {
            let link = self.step("attach", name, |program: &mut CgroupSkb, _| {
                let id = program.attach(groups, way, BESIDE_OTHERS)?;
                Ok(program.take_link(id)?.try_into()?)
            })?;
            self.links.push(link);
        }
        let link = self.step("attach", TCP_PROGRAM, |program: &mut BtfTracePoint, _| {
            let id = program.attach()?;
            Ok(program.take_link(id)?.into())
        })?;
        self.links.push(link);
        Ok(())
    }

    /// Whatever tells who accepts a connection; none of it is essential. Returns what is missing.
    fn load_optional(&mut self, first_io: bool) -> Vec<String> {
        let mut limits = Vec::new();
        let newer = self.function_exit("on_accept", "inet_csk_accept");
        let exit = newer.or_else(|newer| {
            let older = self.function_exit("on_accept_before_6_10", "inet_csk_accept");
            older.map_err(|_| newer)
        });
        match exit {
            Ok(link) => self.links.push(link),
            Err(error) => limits.push(format!(
                "A connection that another process accepted than the one that listened is \
                 corrected when it is {}: the kernel refuses to tell who accepts ({}).",
                if first_io {
                    "first read or written"
                } else {
                    "closed"
                },
                reason_of(&*error)
            )),
        }
        if first_io {
            limits.extend(self.attach_first_io());
        }
        limits
    }

    fn attach_first_io(&mut self) -> Option<String> {
        let receive = self.tracepoint("on_receive", "sock_recv_length");
        let send = self.tracepoint("on_send", "sock_send_length");
        match receive.and_then(|receive| Ok([receive, send?])) {
            Ok(links) => {
                self.links.extend(links);
                None
            }
            Err(error) => Some(format!(
                "Who first reads or writes an accepted connection is not seen, which needs Linux \
                 6.3 ({}).",
                reason_of(&*error)
            )),
        }
    }

    fn tracepoint(&mut self, name: &str, tracepoint: &str) -> Result<FdLink, Failure> {
        self.with(name, |program: &mut BtfTracePoint, btf| {
            program.load(tracepoint, btf)?;
            let id = program.attach()?;
            Ok(program.take_link(id)?.into())
        })
    }

    fn function_exit(&mut self, name: &str, function: &str) -> Result<FdLink, Failure> {
        self.with(name, |program: &mut FExit, btf| {
            program.load(function, btf)?;
            let id = program.attach()?;
            Ok(program.take_link(id)?.into())
        })
    }

    fn iterate_files(&mut self, name: &str) -> Result<File, SensorError> {
        self.step(
            "iterate over open files with",
            name,
            |program: &mut Iter, _| {
                let id = program.attach()?;
                Ok(program.take_link(id)?.into_file()?)
            },
        )
    }

    fn iterate_maps(&mut self) -> Result<Iterators, SensorError> {
        let taken = (
            take_map(&mut self.ebpf, "sockets"),
            take_map(&mut self.ebpf, "flows"),
        );
        let (Map::SkStorage(sockets), Map::HashMap(peers)) = &taken else {
            unreachable!("the object, which is part of this binary, has maps of these types");
        };
        Ok(Iterators {
            alive: self.iterate("list_alive", sockets)?,
            totals: [
                self.iterate("tell_sockets", sockets)?,
                self.iterate("tell_peers", peers)?,
            ],
            flows: taken.1,
        })
    }

    fn iterate(&mut self, name: &str, map: &MapData) -> Result<MapIterator, SensorError> {
        self.step("iterate over maps with", name, |program: &mut Iter, _| {
            Ok(MapIterator::new(program.fd()?.as_fd(), map.fd().as_fd())?)
        })
    }

    fn tcp_program(&mut self) -> Result<OwnedFd, SensorError> {
        self.step("hold", TCP_PROGRAM, |program: &mut BtfTracePoint, _| {
            Ok(program.fd()?.as_fd().try_clone_to_owned()?)
        })
    }

    /// Does something essential with the program called `name`.
    fn step<P, T>(
        &mut self,
        verb: &str,
        name: &str,
        work: impl FnOnce(&mut P, &Btf) -> Result<T, Failure>,
    ) -> Result<T, SensorError>
    where
        for<'a> &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        self.with(name, work)
            .map_err(|error| refused(&format!("{verb} {name}"), &*error))
    }

    fn with<P, T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut P, &Btf) -> Result<T, Failure>,
    ) -> Result<T, Failure>
    where
        for<'a> &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or("the object has no such program")?;
        work(<&mut P>::try_from(program)?, &self.btf)
    }
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Map {
    ebpf.take_map(name)
        .expect("the object, which is part of this binary, has this map")
}

fn refused(step: &str, error: &(dyn Error + 'static)) -> SensorError {
    SensorError::Refused {
        step: step.to_owned(),
        reason: reason_of(error),
        advice: advice(),
    }
}

/// What the kernel said. Of the verifier's log, which can be long, the last line.
fn reason_of(error: &(dyn Error + 'static)) -> String {
    if let Some(ProgramError::LoadError {
        io_error,
        verifier_log,
    }) = error.downcast_ref()
    {
        let log = verifier_log.to_string();
        let verdict = log
            .lines()
            .rfind(|line| !line.is_empty() && !line.starts_with("processed "));
        return match verdict {
            Some(verdict) => format!("{io_error}: {verdict}"),
            None => io_error.to_string(),
        };
    }
    let mut reason = error.to_string();
    let mut deeper = error.source();
    while let Some(cause) = deeper {
        let cause_text = cause.to_string();
        if !reason.contains(&cause_text) {
            reason = format!("{reason}: {cause_text}");
        }
        deeper = cause.source();
    }
    reason
}

fn advice() -> &'static str {
    if holds_capabilities() {
        "the capabilities are there, so either the kernel is too old (5.12 is needed) or its \
         policy forbids it (lockdown, seccomp, a security module); use the sampled sensor here"
    } else {
        "run as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    }
}

/// Reads the effective set; see proc_pid_status(5) and capabilities(7).
fn holds_capabilities() -> bool {
    const NEEDED: u64 = 1 << 12 | 1 << 38 | 1 << 39;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set & NEEDED == NEEDED)
}
