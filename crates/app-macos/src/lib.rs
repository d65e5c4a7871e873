//! macOS: the life of the system extension and of the filter's configuration.
//!
//! [`extension`] asks the system to activate or remove the extension, [`filter`] looks after the
//! configuration that makes it see connections, [`upgrade`] replaces a running version with as
//! little harm as can be, [`management`] knows what profiles allow, [`status`] says how things
//! stand. Everything that the system answers, it answers late, twice or never; so everything here
//! has a timeout.
//!
//! Off Apple the same lines run on doubles of the frameworks. Built and tested off-Mac.

#![deny(unsafe_code)]

pub mod bundle;
mod child;
mod codes;
pub mod command;
#[expect(unsafe_code, reason = "sends messages to the system's objects")]
pub mod extension;
#[expect(unsafe_code, reason = "sends messages to the system's objects")]
pub mod filter;
#[expect(
    unsafe_code,
    reason = "names the run loop's mode, a constant of the system"
)]
pub mod main_loop;
pub mod management;
pub mod moment;
pub mod neighbours;
pub mod status;
pub mod upgrade;
pub mod words;

use std::any::Any;

// The double of the runtime must be linked where there is none.
#[cfg(all(test, not(target_vendor = "apple")))]
use {darwin_double as _, objc_double as _};

/// What a panic said.
fn fault_text(fault: &(dyn Any + Send)) -> String {
    let text = fault.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| fault.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}
