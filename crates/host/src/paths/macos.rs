//! Folders of macOS: what an app keeps for itself belongs into `Application Support`
//! (Apple, File System Programming Guide, "The Library Directory Stores App-Specific Files").

#![cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "elsewhere only tests use it")
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) const STATE_DIR_WORDS: &str =
    "/Library/Application Support/Conntrail for root, else the same below the home folder";
pub(super) const CONFIG_FILE: &str = "/Library/Application Support/Conntrail/conntrail.toml";
pub(super) const ROOT_STATE_DIR: &str = "/Library/Application Support/Conntrail";

pub(super) fn user_state_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let home = PathBuf::from(variable("HOME")?);
    Some(home.join("Library/Application Support/Conntrail"))
}

/// macOS has no file system in memory. The table is an ordinary file that nobody syncs: the system
/// writes its changed pages out when it sees fit.
pub(super) fn live_folders(state_dir: &Path, _uid: u32) -> Vec<PathBuf> {
    vec![state_dir.join("live-tables")]
}

pub(super) fn is_in_memory(_folder: &Path) -> bool {
    true
}
