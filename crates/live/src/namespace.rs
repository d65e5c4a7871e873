//! Which processes this one can know of.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::os::unix::fs::MetadataExt;

/// The inode of the namespace in which process ids of this process mean something; zero where the
/// system has no such namespaces or does not tell.
pub(crate) fn own() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |it| it.ino())
}

/// Whether there is certainly no process of this id, as far as `namespace` is ours.
pub(crate) fn is_gone(pid: u32, namespace: u64) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    namespace == own() && pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}
