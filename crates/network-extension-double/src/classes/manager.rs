//! `NEFilterManager`: what an app holds in memory of the filter's configuration.

use std::sync::Mutex;

use block2::DynBlock;
use objc_double::foundation::returned;
use objc_double::{Bool, Id, NS_OBJECT, Strong, class, constant_string};
use objc2::runtime::AnyObject;
use objc2_foundation::NSError;

use super::{kept, lock};
use crate::NEFilterManagerGrade;
use crate::driver::{ManagerCall, is_macos_15, manager_called};

/// What the manager holds.
pub(crate) struct Memory {
    pub(crate) description: Option<Strong>,
    pub(crate) configuration: Option<Strong>,
    pub(crate) is_enabled: bool,
    pub(crate) grade: NEFilterManagerGrade,
    pub(crate) disables_encrypted_dns: bool,
    /// Whether it was loaded since it was made.
    pub(crate) is_loaded: bool,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            description: None,
            configuration: None,
            is_enabled: false,
            grade: NEFilterManagerGrade::Firewall,
            disables_encrypted_dns: false,
            is_loaded: false,
        }
    }
}

/// The process's one manager.
static SHARED: Mutex<Option<Strong>> = Mutex::new(None);

fn shared() -> Strong {
    let mut shared = lock(&SHARED);
    let fresh = || NE_FILTER_MANAGER.create(Mutex::default());
    shared.get_or_insert_with(fresh).clone()
}

/// Forgets the process's manager, as a new process has.
pub(crate) fn reset() {
    let old = lock(&SHARED).take();
    drop(old);
}

/// What a manager holds.
pub(crate) fn memory(object: &AnyObject) -> &Mutex<Memory> {
    NE_FILTER_MANAGER.of(object)
}

constant_string! {
    /// The domain of the manager's errors.
    pub(crate) static NEFilterErrorDomain = "NEFilterErrorDomain";
}

constant_string! {
    /// The name of the notification that the configuration has changed.
    pub(crate) static NEFilterConfigurationDidChangeNotification =
        "NEFilterConfigurationDidChangeNotification";
}

class! {
    /// Keeps the filter's configuration.
    pub(crate) static NE_FILTER_MANAGER: Mutex<Memory> = "NEFilterManager": NS_OBJECT;

    + "sharedManager" (_class) -> Id { shared().returned() }
    - "loadFromPreferencesWithCompletionHandler:"
        (this, done: &DynBlock<dyn Fn(*mut NSError)>)
    {
        manager_called(ManagerCall::Load, this, done)
    }
    - "saveToPreferencesWithCompletionHandler:" (this, done: &DynBlock<dyn Fn(*mut NSError)>) {
        manager_called(ManagerCall::Save, this, done)
    }
    - "removeFromPreferencesWithCompletionHandler:"
        (this, done: &DynBlock<dyn Fn(*mut NSError)>)
    {
        manager_called(ManagerCall::Remove, this, done)
    }
    - "localizedDescription" (this) -> Id {
        let description = lock(memory(this)).description.clone();
        returned(description.as_ref())
    }
    - "setLocalizedDescription:" (this, value: Option<&AnyObject>) {
        let old = std::mem::replace(&mut lock(memory(this)).description, kept(value));
        drop(old);
    }
    - "providerConfiguration" (this) -> Id {
        let configuration = lock(memory(this)).configuration.clone();
        returned(configuration.as_ref())
    }
    - "setProviderConfiguration:" (this, value: Option<&AnyObject>) {
        let old = std::mem::replace(&mut lock(memory(this)).configuration, kept(value));
        drop(old);
    }
    - "isEnabled" (this) -> Bool { Bool::new(lock(memory(this)).is_enabled) }
    - "setEnabled:" (this, value: Bool) { lock(memory(this)).is_enabled = value.as_bool() }
    - "grade" (this) -> NEFilterManagerGrade { lock(memory(this)).grade }
    - "setGrade:" (this, value: NEFilterManagerGrade) { lock(memory(this)).grade = value }
    - when is_macos_15 => "disableEncryptedDNSSettings" (this) -> Bool {
        Bool::new(lock(memory(this)).disables_encrypted_dns)
    }
    - when is_macos_15 => "setDisableEncryptedDNSSettings:" (this, value: Bool) {
        lock(memory(this)).disables_encrypted_dns = value.as_bool()
    }
}
