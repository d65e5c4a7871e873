//! One module a command: its arguments, and what it does.

pub(crate) mod collect;
pub(crate) mod config;
#[cfg(any(target_os = "macos", test))]
pub(crate) mod extension;
pub(crate) mod key;
pub(crate) mod live;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod query;
pub(crate) mod replay;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod watch;

use anyhow::bail;
use std::path::{Path, PathBuf};

/// The segments under a state folder.
///
/// # Errors
/// When nothing was ever recorded there, which is more likely a wrong folder than an empty answer.
fn recorded_in(state_dir: &Path) -> anyhow::Result<PathBuf> {
    let segments = trail::segments_dir(state_dir);
    if !segments.exists() {
        bail!(
            "nothing was recorded in {}: name the recorder's folder with --state-dir, or start \
             conntraild first",
            state_dir.display()
        );
    }
    Ok(segments)
}
