//! Plays the system: everything that calls a provider or answers it.
//!
//! The state of the pretended Mac is one for the whole process, as the frameworks' is. A test
//! begins with [`alone`], which waits for other tests to end, puts everything back to its
//! beginning, and in the end checks that the code under test leaked nothing.
//!
//! ```no_run
//! use objc2_network_extension::driver::{self, FlowSpec, Provider, SeenVerdict};
//!
//! let _alone = driver::alone();
//! let provider = Provider::launch("ConntrailFilterProvider").unwrap();
//! assert_eq!(provider.start().wait_for_end(), [None]);
//! let flow = driver::Flow::new(&FlowSpec::outbound_tcp(1));
//! assert!(provider.new_flow(&flow).is_observed());
//! ```
//!
//! # How sure each behaviour is
//!
//! Every item names its source and one of four grades. *Documented*: Apple's headers, as quoted
//! in the docs of objc2-network-extension 0.3.2, or Apple's pages and engineers. *Seen in code*:
//! Apple's published kernel (xnu-11417.101.15, macOS 15.4) or a shipping product. *Reported*: by
//! people outside Apple. *Not confirmed*: nobody outside Apple knows; there is a switch then.

mod answers;
mod conditions;
mod flow;
mod manager;
mod provider;
mod settings;
mod value;

use std::sync::{Mutex, MutexGuard, PoisonError};

use objc_double::Snapshot;

use crate::classes::{configuration, manager as manager_class, providers, verdicts};

pub use answers::{Answer, Failure, When, cue, settle};
pub use conditions::{
    os_version, set_os_version, system_extension_mode_starts, wait_for_system_extension_mode,
};
pub use flow::{Endpoint, Flow, FlowSpec};
pub use manager::{
    Configuration, ManagerCall, Stored, answer_manager, app_configuration, manager_calls,
    set_stored, set_vendor_configuration, stored,
};
pub use provider::{
    Completed, Completion, LaunchError, Provider, ReportSpec, SeenVerdict, VerdictKind,
    forbidden_messages, verdicts_made,
};
pub use settings::{
    AppliedSettings, NetworkRule, RULES_MAX, Rule, answer_apply_settings, applied_settings,
    let_any_protocol_cover_raw, settings_in_force,
};
pub use value::{ProviderConfiguration, Value};

pub(crate) use conditions::{is_macos_11, is_macos_13, is_macos_15, note_system_extension_mode};
pub(crate) use manager::manager_called;
pub(crate) use settings::settings_applied;

/// One test's time alone with the pretended Mac; see [`alone`].
#[must_use = "the test is alone only as long as this lives"]
pub struct Alone {
    before: Snapshot,
    forgiven: bool,
    _lock: MutexGuard<'static, ()>,
}

/// Waits until no other test uses the pretended Mac, and puts it back to its beginning.
///
/// When the guard goes, unless the test is panicking already, this panics if objects, references
/// or blocks were leaked meanwhile, if objects were autoreleased without a pool, or if a message
/// was sent that raises on a Mac. Providers and flows of the test must be gone by then: declare
/// them after the guard.
pub fn alone() -> Alone {
    static LOCK: Mutex<()> = Mutex::new(());
    let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    reset();
    objc_double::take_raised();
    Alone {
        before: Snapshot::now(),
        forgiven: false,
        _lock: lock,
    }
}

impl Alone {
    /// What was leaked so far, by class. The pretended system's own threads are waited for.
    pub fn leaks(&self) -> Vec<String> {
        settle();
        self.before.leaks()
    }

    /// Ends without the checks: for tests that leak or raise on purpose.
    pub fn forgive(mut self) {
        self.forgiven = true;
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        reset();
        if self.forgiven || std::thread::panicking() {
            return;
        }
        let raised = objc_double::take_raised();
        assert_eq!(raised, [""; 0], "messages that raise on a Mac");
        assert_eq!(self.before.leaks(), [""; 0], "not given back");
    }
}

/// Puts everything back to its beginning, after the pretended system's threads have ended.
fn reset() {
    answers::reset();
    conditions::reset();
    settings::reset();
    manager::reset();
    manager_class::reset();
    configuration::replace(None);
    providers::reset();
    verdicts::reset();
    objc_double::clear_reactions();
    objc_double::hand_over_returned_objects(false);
}
