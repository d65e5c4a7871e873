//! Who: processes, their users and their ancestry.

use crate::Wall;
use std::sync::Arc;

/// Names one program run of one process on one boot.
///
/// A pid alone is reused; with its start time and its count of `exec` calls it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Process id (thread group id) in the recorder's pid namespace.
    pub pid: u32,
    /// Linux: when the process was forked, in nanoseconds since boot. macOS: zero, as `exec_id`
    /// alone tells the users of a pid apart; where that is not known, when the process was forked,
    /// in nanoseconds since 1970.
    pub start_ns: u64,
    /// Linux: the kernel's `self_exec_id`, which rises with every `exec`; zero where it is not
    /// known. macOS: the pid version, which is new with every `fork` and `exec`; zero where it is
    /// not known.
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
    /// The effective user id, where it is not the user's.
    pub effective_uid: Option<u32>,
    /// The user who logged in, which `su` and `sudo` do not change.
    pub login_uid: Option<u32>,
    /// Audit session, which tells the logins of one user apart.
    pub audit_session: Option<u32>,
    /// When it was forked, by the wall clock of that moment; where the system keeps that instead of
    /// a time since boot.
    pub started: Option<Wall>,
    /// Who vouches for its code.
    pub signature: Option<CodeSignature>,
    /// It was gone when it was looked up: only what the kernel said at the flow is known.
    pub vanished: bool,
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
            effective_uid: None,
            login_uid: None,
            audit_session: None,
            started: None,
            signature: None,
            vanished: false,
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

/// The code signature of a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeSignature {
    /// Whether the system finds it good.
    pub validity: SignatureValidity,
    /// What the system answered, where `validity` is not [`SignatureValidity::Valid`].
    pub status: Option<i32>,
    /// Identifier that the signer gave.
    pub signing_id: Option<Arc<str>>,
    /// Team that signed, by its ten letters and digits.
    pub team_id: Option<Arc<str>>,
    /// Hash of the code directory, which names this very build.
    pub cdhash: Option<[u8; 20]>,
    /// It is part of the operating system.
    pub platform: Option<bool>,
}

/// Whether the system finds a signature good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureValidity {
    /// Checked and good.
    Valid,
    /// Checked and not good.
    Invalid,
    /// There is none.
    Unsigned,
    /// Could not be checked.
    Unknown,
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
