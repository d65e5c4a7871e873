//! Folders of Linux: <https://specifications.freedesktop.org/basedir-spec/latest/>.

#![cfg_attr(
    target_os = "macos",
    allow(dead_code, reason = "elsewhere only tests use it")
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) const STATE_DIR_WORDS: &str =
    "/var/lib/conntrail for root, else ~/.local/state/conntrail";
pub(super) const CONFIG_FILE: &str = "/etc/conntrail/conntrail.toml";
pub(super) const ROOT_STATE_DIR: &str = "/var/lib/conntrail";

pub(super) fn user_state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let of_user = variable("XDG_STATE_HOME").map(PathBuf::from);
    let of_home = || Some(PathBuf::from(variable("HOME")?).join(".local/state"));
    let folder = of_user.filter(|path| path.is_absolute()).or_else(of_home);
    folder.map(|folder| folder.join("conntrail"))
}

/// `/run` is memory on most machines, and `/dev/shm` in most containers too.
pub(super) fn live_folders(_state_dir: &Path, uid: u32) -> Vec<PathBuf> {
    let run = match uid {
        0 => PathBuf::from("/run/conntrail"),
        uid => PathBuf::from(format!("/run/user/{uid}/conntrail")),
    };
    vec![run, PathBuf::from(format!("/dev/shm/conntrail-{uid}"))]
}

#[cfg(target_os = "linux")]
pub(super) fn is_in_memory(folder: &Path) -> bool {
    // `statfs(2)` lists both.
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const RAMFS_MAGIC: u64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(folder).map(|it| it.f_type as u64);
    kind.is_ok_and(|it| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&it))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_in_memory(_folder: &Path) -> bool {
    false
}
