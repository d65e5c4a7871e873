//! Folders of Linux: <https://specifications.freedesktop.org/basedir-spec/latest/>.

use std::ffi::OsString;
use std::path::PathBuf;

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
