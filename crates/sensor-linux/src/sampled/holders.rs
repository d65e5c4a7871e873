//! Which process holds a socket, and what is known of that process.

use super::process::{
    Stat, Status, executable_path, file_name, inode_of_link, parse_login_uid, ticks_per_second,
    unified_cgroup, unified_cgroup_mount,
};
use flow::{Event, Introduction};
use record::{ExecutableFile, Process, ProcessKey, User};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Finds holders, and introduces each process once.
pub(super) struct Holders {
    boot_id: Option<[u8; 16]>,
    ticks_per_second: u64,
    cgroup_root: Option<OwnedFd>,
    /// What was told of a process; also where to look first, since who holds one socket usually
    /// holds the next.
    introduced: BTreeMap<u32, Introduction>,
    /// Since `introduced` was empty, counting a pid each time that it went to another process.
    introductions: usize,
}

impl Holders {
    /// Knows nobody yet.
    pub(super) fn new(boot_id: Option<[u8; 16]>) -> Holders {
        Holders {
            boot_id,
            ticks_per_second: read_ticks_per_second(),
            cgroup_root: open_cgroup_root(),
            introduced: BTreeMap::new(),
            introductions: 0,
        }
    }

    /// Finds who holds the sockets with these inodes, of the processes that this account may look
    /// into, and appends the introduction of those not met before.
    pub(super) fn find(
        &mut self,
        mut wanted: BTreeSet<u64>,
        events: &mut Vec<Event>,
    ) -> HashMap<u64, ProcessKey> {
        let mut found = HashMap::new();
        if wanted.is_empty() {
            return found;
        }
        if self.introductions >= INTRODUCTIONS_MAX {
            self.introduced.clear();
            self.introductions = 0;
        }
        let known: Vec<u32> = self.introduced.keys().copied().collect();
        let others = all_pids()
            .into_iter()
            .filter(|pid| known.binary_search(pid).is_err());
        for pid in known.iter().copied().chain(others) {
            if wanted.is_empty() {
                break;
            }
            let Ok(directory) = ProcessDirectory::open(pid) else {
                continue;
            };
            let held = directory.sockets_among(&wanted);
            if held.is_empty() {
                continue;
            }
            let Some(key) = self.introduce(&directory, events) else {
                continue;
            };
            for inode in held {
                wanted.remove(&inode);
                found.insert(inode, key);
            }
        }
        found
    }

    /// Introduces a process after those of its ancestors that are not introduced yet.
    fn introduce(
        &mut self,
        directory: &ProcessDirectory,
        events: &mut Vec<Event>,
    ) -> Option<ProcessKey> {
        let facts = self.read(directory)?;
        let key = facts.process.key;
        let mut line = vec![facts];
        while let Some(child) = line.last()
            && line.len() <= Process::ANCESTORS_MAX
            && !self.is_introduced(&child.process)
        {
            let Some(parent) = self.read_parent(child) else {
                break;
            };
            line.push(parent);
        }
        let mut parent = None;
        for facts in line.into_iter().rev() {
            if self.is_introduced(&facts.process) {
                parent = Some(facts.process.key);
                continue;
            }
            let introduction = Introduction {
                parent,
                process: facts.process,
            };
            parent = Some(introduction.process.key);
            self.introduced
                .insert(introduction.process.key.pid, introduction.clone());
            events.push(Event::ProcessSeen(introduction));
        }
        Some(key)
    }

    fn is_introduced(&self, process: &Process) -> bool {
        self.introduced
            .get(&process.key.pid)
            .is_some_and(|known| known.process == *process)
    }

    /// Reads the parent, unless its pid went to a younger process meanwhile.
    fn read_parent(&self, child: &Facts) -> Option<Facts> {
        if child.parent_pid == 0 {
            return None;
        }
        let parent = self.read(&ProcessDirectory::open(child.parent_pid).ok()?)?;
        (parent.process.key.start_ns <= child.process.key.start_ns).then_some(parent)
    }

    fn read(&self, directory: &ProcessDirectory) -> Option<Facts> {
        let stat = Stat::parse(&directory.text("stat")?)?;
        let status = Status::parse(&directory.text("status")?)?;
        let path = directory.link("exe").map(|link| executable_path(&link));
        let name = path
            .as_deref()
            .and_then(file_name)
            .or(Some(stat.thread_name));
        let key = ProcessKey {
            pid: directory.pid,
            start_ns: ticks_to_ns(stat.start_ticks, self.ticks_per_second),
            exec_id: 0,
        };
        let process = Process {
            cpid: self.cpid(directory, stat.start_ticks, status.innermost_pid),
            name,
            path,
            file: directory.executable_file(),
            user: Some(User {
                uid: status.uid,
                name: None,
            }),
            login_uid: directory
                .text("loginuid")
                .as_deref()
                .and_then(parse_login_uid),
            cgroup: self.cgroup(directory),
            ..Process::bare(key)
        };
        Some(Facts {
            process,
            parent_pid: stat.parent_pid,
        })
    }

    fn cpid(
        &self,
        directory: &ProcessDirectory,
        start_ticks: u64,
        innermost_pid: Option<u32>,
    ) -> Option<[u8; 16]> {
        let pid_namespace = inode_of_link(&directory.link("ns/pid")?, "pid")?;
        let tgid = i64::from(innermost_pid?);
        Some(record::cpid::linux(
            self.boot_id?,
            pid_namespace,
            start_ticks,
            tgid,
        ))
    }

    /// The control group's id is the inode of its directory.
    fn cgroup(&self, directory: &ProcessDirectory) -> Option<u64> {
        let text = directory.text("cgroup")?;
        let path = match unified_cgroup(&text)? {
            "" => ".",
            path => path,
        };
        let found = rustix::fs::statat(self.cgroup_root.as_ref()?, path, AtFlags::empty()).ok()?;
        Some(found.st_ino)
    }
}

/// How much of the machine this process can look into.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Inode of its network namespace.
    pub(super) network_namespace: Option<u32>,
    uid: u32,
    may_read_all: bool,
    is_in_first_pid_namespace: bool,
}

impl View {
    /// Looks at this process. What cannot be read counts as not allowed.
    pub(super) fn read() -> View {
        let status = ProcessDirectory::open(std::process::id())
            .ok()
            .and_then(|directory| Status::parse(&directory.text("status")?));
        let capabilities = status.map_or(0, |status| status.capabilities);
        let may_pass_permissions = capabilities & (CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH) != 0;
        let network_namespace = own_namespace("net");
        View {
            network_namespace: network_namespace.and_then(|inode| inode.try_into().ok()),
            uid: rustix::process::getuid().as_raw(),
            may_read_all: may_pass_permissions && capabilities & CAP_SYS_PTRACE != 0,
            is_in_first_pid_namespace: own_namespace("pid") == Some(FIRST_PID_NAMESPACE),
        }
    }

    /// What it cannot see, one sentence each.
    pub(super) fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        if !self.may_read_all {
            limits.push(format!(
                "only processes of user {} can be looked into: connections of other users have \
                 no owner",
                self.uid
            ));
        }
        if !self.is_in_first_pid_namespace {
            limits.push(
                "connections of processes outside this pid namespace have no owner".to_owned(),
            );
        }
        limits
    }
}

fn own_namespace(kind: &str) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    inode_of_link(link.as_os_str().as_bytes(), kind)
}

/// What is known of a process.
struct Facts {
    process: Process,
    parent_pid: u32,
}

/// An open `/proc/<pid>`. It stays with its process: when the pid goes to another one, reading
/// fails, so that what is read through it is all of one process.
struct ProcessDirectory {
    pid: u32,
    directory: OwnedFd,
}

impl ProcessDirectory {
    fn open(pid: u32) -> io::Result<ProcessDirectory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(ProcessDirectory { pid, directory })
    }

    /// Which of the `wanted` inodes are among its open sockets; none where this account may not
    /// look.
    fn sockets_among(&self, wanted: &BTreeSet<u64>) -> Vec<u64> {
        let mut held = Vec::new();
        let Ok(descriptors) = self.open_at("fd", OFlags::DIRECTORY) else {
            return held;
        };
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&descriptors, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            let mut link = [0; LINK_BYTES_MAX];
            let Ok(length) =
                rustix::fs::readlinkat_raw(&descriptors, entry.file_name(), &mut link[..])
            else {
                continue;
            };
            let inode = link
                .get(..length)
                .and_then(|link| inode_of_link(link, "socket"));
            held.extend(inode.filter(|inode| wanted.contains(inode)));
        }
        held
    }

    fn executable_file(&self) -> Option<ExecutableFile> {
        let file = rustix::fs::statat(&self.directory, "exe", AtFlags::empty()).ok()?;
        Some(ExecutableFile {
            device: kernel_device(file.st_dev),
            inode: file.st_ino,
        })
    }

    fn text(&self, name: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let file = File::from(self.open_at(name, OFlags::empty()).ok()?);
        file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn link(&self, name: &str) -> Option<Vec<u8>> {
        let target = rustix::fs::readlinkat(&self.directory, name, Vec::new()).ok()?;
        Some(target.into_bytes())
    }

    fn open_at(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | flags;
        rustix::fs::openat(&self.directory, name, flags, Mode::empty())
    }
}

fn all_pids() -> Vec<u32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::openat(CWD, "/proc", flags, Mode::empty()).and_then(Dir::new)
    else {
        return Vec::new();
    };
    directory
        .map_while(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
        .collect()
}

/// A program with file capabilities may not read its own vector. A hundred is what every
/// architecture that Rust builds for Linux on has.
fn read_ticks_per_second() -> u64 {
    std::fs::read("/proc/self/auxv")
        .ok()
        .and_then(|vector| ticks_per_second(&vector))
        .filter(|ticks| *ticks != 0)
        .unwrap_or(100)
}

fn open_cgroup_root() -> Option<OwnedFd> {
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let mount = unified_cgroup_mount(&mounts)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, mount, flags, Mode::empty()).ok()
}

/// A device number as the kernel counts it, which is not how it hands it to programs.
fn kernel_device(device: rustix::fs::Dev) -> u32 {
    (rustix::fs::major(device) << 20) | rustix::fs::minor(device)
}

fn ticks_to_ns(ticks: u64, ticks_per_second: u64) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Bits of the capabilities that open every process (`linux/capability.h`).
const CAP_DAC_OVERRIDE: u64 = 1 << 1;
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// `PROC_PID_INIT_INO`, the inode of the pid namespace that the machine booted with.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// After this many what was told is forgotten, and told again when it is needed. The flow table
/// remembers twice as many, so that it never lacks a process that is not told again.
const INTRODUCTIONS_MAX: usize = 16_384;

/// `socket:[` and `]` around the longest number, and a byte to see that it is not longer.
const LINK_BYTES_MAX: usize = 32;

/// The longest of the files, a list of control groups, is far shorter.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
