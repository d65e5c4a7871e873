//! The filter's configuration as the system keeps it, and how it answers the app.

use std::sync::Mutex;

use block2::DynBlock;
use objc_double::{Strong, foundation};
use objc2::runtime::AnyObject;
use objc2_foundation::NSError;

use super::answers::{Answer, answer};
use super::value::{ProviderConfiguration, Value, dictionary};
use crate::classes::manager::{Memory, memory};
use crate::classes::{configuration, lock};
use crate::{NEFilterManagerError, NEFilterManagerGrade};

/// A call of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagerCall {
    /// `loadFromPreferencesWithCompletionHandler:`
    Load,
    /// `saveToPreferencesWithCompletionHandler:`
    Save,
    /// `removeFromPreferencesWithCompletionHandler:`
    Remove,
}

/// A filter configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Whether the filter is on.
    pub is_enabled: bool,
    /// What people are shown.
    pub description: Option<String>,
    /// Whether it sees traffic before (firewall) or after other filters (inspector).
    pub grade: NEFilterManagerGrade,
    /// What the filter does.
    pub provider: Option<ProviderConfiguration>,
    /// `disableEncryptedDNSSettings`.
    pub disables_encrypted_dns: bool,
}

impl Default for Configuration {
    fn default() -> Configuration {
        Configuration {
            is_enabled: false,
            description: None,
            grade: NEFilterManagerGrade::Firewall,
            provider: None,
            disables_encrypted_dns: false,
        }
    }
}

/// What the system keeps for the app.
///
/// The filters of others are kept elsewhere, and no call of an app shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stored {
    /// Nothing.
    #[default]
    Nothing,
    /// What the app has saved.
    ByApp(Configuration),
    /// What a profile of the device management has brought. *Not confirmed*: what an app may do
    /// then; here, loading shows it, and saving and removing are refused with code 5.
    ByProfile(Configuration),
}

/// Answers that a test ordered, in place of what follows from what is stored.
struct Ordered {
    load: Option<Answer>,
    save: Option<Answer>,
    remove: Option<Answer>,
}

static STORED: Mutex<Stored> = Mutex::new(Stored::Nothing);

static ORDERED: Mutex<Ordered> = Mutex::new(Ordered {
    load: None,
    save: None,
    remove: None,
});

static CALLS: Mutex<Vec<ManagerCall>> = Mutex::new(Vec::new());

/// From now on a call of the manager is answered like this, whatever is stored.
///
/// The error codes 1 to 6 are *documented* as `NEFilterManagerError`. Without an order:
///
/// - Saving or removing what a profile has brought is refused with code 5 (see [`Stored`]).
/// - Saving before loading is refused with code 3, stale. *Documented*: the code's meaning.
/// - Saving without a provider configuration is refused with code 1. *Not confirmed*.
/// - Removing nothing succeeds. *Not confirmed*.
pub fn answer_manager(call: ManagerCall, answer: Answer) {
    let mut ordered = lock(&ORDERED);
    match call {
        ManagerCall::Load => ordered.load = Some(answer),
        ManagerCall::Save => ordered.save = Some(answer),
        ManagerCall::Remove => ordered.remove = Some(answer),
    }
}

/// The calls of the manager so far, oldest first, answered or not.
pub fn manager_calls() -> Vec<ManagerCall> {
    lock(&CALLS).clone()
}

/// What the system keeps.
pub fn stored() -> Stored {
    lock(&STORED).clone()
}

/// Sets what the system keeps.
pub fn set_stored(stored: Stored) {
    *lock(&STORED) = stored;
}

/// What the app has saved; none if nothing, or if it is a profile's.
pub fn app_configuration() -> Option<Configuration> {
    match stored() {
        Stored::ByApp(configuration) => Some(configuration),
        Stored::ByProfile(_) | Stored::Nothing => None,
    }
}

/// Sets the keys of our own that `filterConfiguration` gives to providers from now on; none for
/// no dictionary at all.
///
/// *Documented* in Apple's schema of `com.apple.webcontent-filter`, key `VendorConfig`.
pub fn set_vendor_configuration(keys: Option<&[(String, Value)]>) {
    let fields = configuration::Fields {
        filter_sockets: true,
        vendor_configuration: keys.map(dictionary),
        ..configuration::Fields::default()
    };
    let object = configuration::NE_FILTER_PROVIDER_CONFIGURATION.create(Mutex::new(fields));
    configuration::replace(Some(object));
}

pub(crate) fn manager_called(
    call: ManagerCall,
    manager: &AnyObject,
    done: &DynBlock<dyn Fn(*mut NSError)>,
) {
    lock(&CALLS).push(call);
    let manager = Strong::to(manager);
    let ordered = {
        let ordered = lock(&ORDERED);
        match call {
            ManagerCall::Load => ordered.load,
            ManagerCall::Save => ordered.save,
            ManagerCall::Remove => ordered.remove,
        }
    };
    match call {
        ManagerCall::Load => answer(ordered.unwrap_or(Answer::OK), done, move || load(&manager)),
        ManagerCall::Save => {
            let natural = natural_answer_to_save(&lock(memory(&manager)));
            answer(ordered.unwrap_or(natural), done, move || save(&manager));
        }
        ManagerCall::Remove => {
            let natural = natural_answer_to_remove();
            answer(ordered.unwrap_or(natural), done, remove);
        }
    }
}

pub(super) fn reset() {
    set_stored(Stored::Nothing);
    *lock(&ORDERED) = Ordered {
        load: None,
        save: None,
        remove: None,
    };
    lock(&CALLS).clear();
}

fn natural_answer_to_save(memory: &Memory) -> Answer {
    match *lock(&STORED) {
        Stored::ByProfile(_) => {
            Answer::manager_error(NEFilterManagerError::ConfigurationPermissionDenied)
        }
        Stored::ByApp(_) | Stored::Nothing if !memory.is_loaded => {
            Answer::manager_error(NEFilterManagerError::ConfigurationStale)
        }
        Stored::ByApp(_) | Stored::Nothing if memory.configuration.is_none() => {
            Answer::manager_error(NEFilterManagerError::ConfigurationInvalid)
        }
        Stored::ByApp(_) | Stored::Nothing => Answer::OK,
    }
}

fn natural_answer_to_remove() -> Answer {
    match *lock(&STORED) {
        Stored::ByProfile(_) => {
            Answer::manager_error(NEFilterManagerError::ConfigurationPermissionDenied)
        }
        Stored::ByApp(_) | Stored::Nothing => Answer::OK,
    }
}

fn load(manager: &AnyObject) {
    let loaded = match stored() {
        Stored::ByApp(configuration) | Stored::ByProfile(configuration) => configuration,
        Stored::Nothing => Configuration::default(),
    };
    let fresh = Memory {
        description: loaded.description.as_deref().map(foundation::string),
        configuration: loaded.provider.as_ref().map(configuration::object),
        is_enabled: loaded.is_enabled,
        grade: loaded.grade,
        disables_encrypted_dns: loaded.disables_encrypted_dns,
        is_loaded: true,
    };
    let old = std::mem::replace(&mut *lock(memory(manager)), fresh);
    drop(old);
}

fn save(manager: &AnyObject) {
    let memory = lock(memory(manager));
    let provider = memory.configuration.as_ref();
    let saved = Configuration {
        is_enabled: memory.is_enabled,
        description: memory
            .description
            .as_ref()
            .map(|text| foundation::text(text).to_owned()),
        grade: memory.grade,
        provider: provider.map(|object| ProviderConfiguration::of_object(object)),
        disables_encrypted_dns: memory.disables_encrypted_dns,
    };
    drop(memory);
    set_stored(Stored::ByApp(saved));
}

fn remove() {
    set_stored(Stored::Nothing);
}
