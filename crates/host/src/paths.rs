//! Where things are, unless somebody says otherwise.

#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;

#[cfg(not(target_os = "macos"))]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The state folder: of the machine for root, of the user for others.
///
/// It holds the trail and the endpoint's identity.
pub fn default_state_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from(platform::ROOT_STATE_DIR);
    }
    platform::user_state_dir(variable).unwrap_or_else(|| std::env::temp_dir().join("conntrail"))
}

/// What `--state-dir` means, for the help of programs that read the trail.
pub fn state_dir_help() -> String {
    let words = platform::STATE_DIR_WORDS;
    format!("Folder of the trail [default: the recorder's own: {words}]")
}

/// What `--config` means, for the help of every program that has it.
pub fn config_file_help() -> String {
    let file = platform::CONFIG_FILE;
    format!("Configuration file [default: {file}, if it exists]")
}

/// The configuration file that is read when none is named and it exists.
pub fn default_config_file() -> PathBuf {
    PathBuf::from(platform::CONFIG_FILE)
}

/// The privacy policy that is read when none is named and it exists: beside the configuration file,
/// which may be a named one.
pub fn policy_file(config_file: Option<&Path>) -> PathBuf {
    let beside = config_file.map_or_else(default_config_file, Path::to_owned);
    beside.with_file_name("policy.toml")
}

/// The shipper's destinations that are read when none are named and the file exists: beside the
/// configuration file, which may be a named one.
pub fn ship_file(config_file: Option<&Path>) -> PathBuf {
    let beside = config_file.map_or_else(default_config_file, Path::to_owned);
    beside.with_file_name("ship.toml")
}

/// Where the recorder that keeps the trail in `state_dir` as the user `uid` may keep its live
/// table, the best place first. Each endpoint has a folder of its own below.
pub fn live_folders(state_dir: &Path, uid: u32) -> Vec<PathBuf> {
    platform::live_folders(state_dir, uid)
}

/// The same for the account that this program runs as.
pub fn own_live_folders(state_dir: &Path) -> Vec<PathBuf> {
    live_folders(state_dir, rustix::process::geteuid().as_raw())
}

/// Whether files in an existing folder stay in memory, as far as the system tells: what is written
/// there every second must not wear out a disk.
pub fn is_in_memory(folder: &Path) -> bool {
    platform::is_in_memory(folder)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_state_is_below_the_home_folder() {
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/users/ana"));
        assert_eq!(
            linux::user_state_dir(home),
            Some(PathBuf::from("/users/ana/.local/state/conntrail"))
        );
        assert_eq!(
            macos::user_state_dir(home),
            Some(PathBuf::from(
                "/users/ana/Library/Application Support/Conntrail"
            ))
        );
        let nothing = |_: &str| None;
        assert_eq!(linux::user_state_dir(nothing), None);
        assert_eq!(macos::user_state_dir(nothing), None);
    }

    #[test]
    fn the_live_table_is_in_memory_where_there_is_such_a_place() {
        let state = Path::new("/state");
        assert_eq!(
            linux::live_folders(state, 0),
            ["/run/conntrail", "/dev/shm/conntrail-0"].map(PathBuf::from)
        );
        assert_eq!(
            linux::live_folders(state, 1_000),
            ["/run/user/1000/conntrail", "/dev/shm/conntrail-1000"].map(PathBuf::from)
        );
        assert_eq!(
            macos::live_folders(state, 0),
            [PathBuf::from("/state/live-tables")]
        );
        assert!(
            !linux::is_in_memory(Path::new("/proc")),
            "that is no storage"
        );
        assert!(!linux::is_in_memory(Path::new("/nowhere")));
        assert!(macos::is_in_memory(state));
    }

    #[test]
    fn on_linux_a_user_may_say_where_state_goes() {
        let says = |folder: &'static str| {
            move |name: &str| match name {
                "XDG_STATE_HOME" => Some(OsString::from(folder)),
                "HOME" => Some(OsString::from("/users/ana")),
                _ => None,
            }
        };
        assert_eq!(
            linux::user_state_dir(says("/state")),
            Some(PathBuf::from("/state/conntrail"))
        );
        let relative = linux::user_state_dir(says("state"));
        assert!(relative.unwrap().starts_with("/users/ana"));
    }
}
