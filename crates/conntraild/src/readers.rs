//! Lets one group read the trail.

use crate::log::say;
use host::config::Config;
use host::groups::group_id;
use std::path::Path;

/// Gives the trail in a state folder to the group that the configuration names. Where that group
/// does not exist, the trail is for the recorder's own group alone: too few readers can be mended,
/// and too many cannot. Recording goes on in any case.
pub(crate) fn admit(state_dir: &Path, config: &Config) {
    if config.group.is_empty() {
        return;
    }
    let group = group_id(&config.group).unwrap_or_else(|error| {
        say(&format!(
            "trail.group: {error}; until the next start only the recorder's own group can read the \
             trail, recording goes on"
        ));
        rustix::process::getegid().as_raw()
    });
    if let Err(error) = trail::share(state_dir, group) {
        say(&format!(
            "trail.group: not all of the trail is given to group {group}, recording goes on: \
             {error}"
        ));
    }
}
