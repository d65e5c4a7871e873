//! Linux has no preferences that a management forces upon a machine.

use crate::config::ManagedValue;

pub(super) const NOT_SHOWN: Option<&str> = None;

pub(super) fn managed() -> Vec<(String, ManagedValue)> {
    Vec::new()
}
