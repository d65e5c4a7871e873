//! The version of the pretended system, and whether the extension has reported for duty.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::classes::lock;

/// The version after a reset: the one whose kernel the facts were read from.
const NEWEST: (u16, u16) = (15, 4);

static VERSION: AtomicU32 = AtomicU32::new(encoded(NEWEST));

static STARTS: Mutex<usize> = Mutex::new(0);

static STARTED: Condvar = Condvar::new();

const fn encoded((major, minor): (u16, u16)) -> u32 {
    ((major as u32) << 16) | minor as u32
}

/// From now on the system is this version of macOS: what came later is not there.
///
/// Objects then no longer answer what their classes got in later versions. *Documented*:
/// availability marks of the headers, as transcribed in xamarin-macios `networkextension.cs`:
/// `sourceProcessAuditToken` 13.0, `remoteFlowEndpoint` and `localFlowEndpoint` 15.0,
/// `disableEncryptedDNSSettings` 15.0. *Not confirmed* to the minor version: `remoteHostname`,
/// 11.0 here.
pub fn set_os_version(major: u16, minor: u16) {
    VERSION.store(encoded((major, minor)), Ordering::Release);
    objc_double::forget_cached_methods();
}

/// The version of macOS, major and minor.
pub fn os_version() -> (u16, u16) {
    let version = VERSION.load(Ordering::Acquire);
    ((version >> 16) as u16, version as u16)
}

/// How often `startSystemExtensionMode` was called.
///
/// *Documented* in the header of `NEProvider`: from then on the system asks the process for
/// providers; it is to be called as early as possible.
pub fn system_extension_mode_starts() -> usize {
    *lock(&STARTS)
}

/// Waits for `startSystemExtensionMode`; whether it came in time.
pub fn wait_for_system_extension_mode(timeout: Duration) -> bool {
    let starts = lock(&STARTS);
    let waited = STARTED.wait_timeout_while(starts, timeout, |starts| *starts == 0);
    match waited {
        Ok((starts, _)) => *starts > 0,
        Err(_) => false,
    }
}

pub(crate) fn note_system_extension_mode() {
    *lock(&STARTS) += 1;
    STARTED.notify_all();
}

pub(crate) fn is_macos_11() -> bool {
    os_version() >= (11, 0)
}

pub(crate) fn is_macos_13() -> bool {
    os_version() >= (13, 0)
}

pub(crate) fn is_macos_15() -> bool {
    os_version() >= (15, 0)
}

pub(super) fn reset() {
    *lock(&STARTS) = 0;
    if os_version() != NEWEST {
        set_os_version(NEWEST.0, NEWEST.1);
    }
}
