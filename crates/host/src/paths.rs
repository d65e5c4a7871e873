//! Where things are, unless somebody says otherwise.

use std::path::PathBuf;

/// The state folder: of the machine for root, of the user for others.
///
/// It holds the trail and the endpoint's identity.
pub fn default_state_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/conntrail");
    }
    let of_user = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let of_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    of_user
        .filter(|path| path.is_absolute())
        .or_else(of_home)
        .unwrap_or_else(std::env::temp_dir)
        .join("conntrail")
}

/// The configuration file that is read when none is named and it exists.
pub fn default_config_file() -> PathBuf {
    PathBuf::from("/etc/conntrail/conntrail.toml")
}
