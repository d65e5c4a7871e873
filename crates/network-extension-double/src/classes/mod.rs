//! What answers the messages: the framework's classes over plain Rust values.
//!
//! Methods that a provider overrides exist in the base classes too, because objc2 compares an
//! override's types with them when a provider class is registered.

pub(crate) mod configuration;
pub(crate) mod endpoints;
pub(crate) mod flows;
pub(crate) mod manager;
pub(crate) mod providers;
pub(crate) mod rules;
pub(crate) mod verdicts;

use std::sync::{Mutex, MutexGuard, PoisonError};

use objc_double::Strong;
use objc2::runtime::AnyObject;

/// Locks what a panicking test may have left locked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a method got, kept alive if it is not nil.
fn kept(object: Option<&AnyObject>) -> Option<Strong> {
    object.map(Strong::to)
}

/// An object as the pointer an initializer returns.
fn itself(object: &AnyObject) -> objc_double::Id {
    std::ptr::from_ref(object).cast_mut()
}
