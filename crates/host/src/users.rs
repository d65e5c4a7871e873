//! Names of user ids.

#[cfg(not(target_os = "macos"))]
mod linux;
#[cfg(any(target_os = "macos", test))]
mod macos;

#[cfg(not(target_os = "macos"))]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

use std::sync::Arc;

/// The accounts of this machine.
#[derive(Debug)]
pub struct Users {
    accounts: platform::Accounts,
}

impl Users {
    /// The accounts of this machine.
    pub fn of_this_machine() -> Users {
        Users {
            accounts: platform::Accounts::of_this_machine(),
        }
    }

    /// The name of an account, if there is one and the system tells it at once.
    pub fn name(&mut self, uid: u32) -> Option<Arc<str>> {
        self.accounts.name(uid)
    }

    /// Names that the system told too late for [`Users::name`]; each is told once.
    pub fn late_names(&mut self) -> Vec<(u32, Arc<str>)> {
        self.accounts.late_names()
    }
}
