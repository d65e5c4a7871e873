//! CoreFoundation: objects with a count, and the few classes that we use.
//!
//! An object that nobody holds any more is kept for a while without its content, so that a
//! release too many, or a use after the last, is found and not undefined: see
//! [`over_released`]. A static object, such as a key of a dictionary, is not counted.

pub(crate) mod array;
mod base;
mod bundle;
pub(crate) mod data;
mod date;
pub(crate) mod dictionary;
pub(crate) mod number;
pub(crate) mod object;
pub(crate) mod preferences;
mod run_loop;
pub(crate) mod string;
pub(crate) mod url;

pub use object::{Kind, created, live, live_total, over_released};
pub use string::set_strings_have_pointers;

/// Forgets what went wrong, and what tests have switched.
pub(crate) fn reset() {
    object::reset();
    string::set_strings_have_pointers(true);
    preferences::reset();
    bundle::reset();
}
