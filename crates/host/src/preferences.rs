//! What whoever manages this machine set for Conntrail.

#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;

#[cfg(not(target_os = "macos"))]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use crate::config::ManagedValue;

/// The preferences of Conntrail: the type of the payload in a configuration profile.
pub const PREFERENCES_DOMAIN: &str = "com.conntrail.agent";

/// How the source of managed preferences is named.
pub const MANAGED_PREFERENCES: &str = "managed preferences com.conntrail.agent";

/// What a program other than the recorder cannot know of managed values, in a sentence.
pub const NOT_SHOWN: Option<&str> = platform::NOT_SHOWN;

/// Values that are forced upon this machine by its management, by `section.name`. Whatever a user
/// or an administrator may change is not among them.
///
/// On Linux there is no such thing.
pub fn managed() -> Vec<(String, ManagedValue)> {
    platform::managed()
}
