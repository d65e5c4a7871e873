//! What no safe library offers: the C functions of macOS that this crate calls.
//!
//! All of them are declared in public headers. [`layout`] reads what they fill in, without trust
//! and without `unsafe`.

#![allow(unsafe_code)]

pub(crate) mod bsm;
pub(crate) mod layout;
pub(crate) mod libproc;
pub(crate) mod registry;
pub(crate) mod security;
pub(crate) mod sysctl;
