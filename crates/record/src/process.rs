//! Who: processes, their users and their ancestry.

use std::sync::Arc;

/// Names one program run of one process on one boot.
///
/// A pid alone is reused; with its start time and its count of `exec` calls it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Process id (thread group id) in the recorder's pid namespace.
    pub pid: u32,
    /// When the process was forked, in nanoseconds since boot.
    pub start_ns: u64,
    /// The kernel's `self_exec_id`: rises with every `exec`. Zero where it is not known.
    pub exec_id: u32,
}

/// A process as it was when it first used the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Which run of which process.
    pub key: ProcessKey,
    /// OCSF Common Process ID, the same from every tool that computes it.
    pub cpid: Option<[u8; 16]>,
    /// Name of the executable file; of the thread where no executable is known.
    pub name: Option<Arc<str>>,
    /// Full path of the executable.
    pub path: Option<Arc<str>>,
    /// The file behind `path`.
    pub file: Option<ExecutableFile>,
    /// Command line; only where the policy asks for it.
    pub command_line: Option<Arc<str>>,
    /// The user it ran as.
    pub user: Option<User>,
    /// The user who logged in, which `su` and `sudo` do not change.
    pub login_uid: Option<u32>,
    /// Control group id, which names the service or container.
    pub cgroup: Option<u64>,
    /// Parent first, then its parent; at most [`Process::ANCESTORS_MAX`].
    pub ancestors: Vec<Ancestor>,
}

impl Process {
    /// How far up the ancestry goes.
    pub const ANCESTORS_MAX: usize = 4;

    /// A process of which only the key is known.
    pub fn bare(key: ProcessKey) -> Process {
        Process {
            key,
            cpid: None,
            name: None,
            path: None,
            file: None,
            command_line: None,
            user: None,
            login_uid: None,
            cgroup: None,
            ancestors: Vec::new(),
        }
    }
}

/// The file on disk that a process runs, whatever its path says later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutableFile {
    /// Device number as the kernel counts it.
    pub device: u32,
    /// Inode on that device.
    pub inode: u64,
}

/// An account on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Numeric id.
    pub uid: u32,
    /// Account name, where it could be looked up.
    pub name: Option<Arc<str>>,
}

/// A parent, grandparent and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Which run of which process.
    pub key: ProcessKey,
    /// OCSF Common Process ID.
    pub cpid: Option<[u8; 16]>,
    /// Name of the executable file.
    pub name: Option<Arc<str>>,
    /// Full path of the executable.
    pub path: Option<Arc<str>>,
}
