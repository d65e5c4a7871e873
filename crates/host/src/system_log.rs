//! The log of the operating system, for a program that nobody watches.

#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(not(target_os = "macos"))]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

/// Hands a line to the system's log, where what a program writes on standard error is lost.
///
/// On Linux nothing happens: there the service manager keeps standard error.
pub fn say(line: &str) {
    platform::say(line);
}
