//! What no safe library offers: the kernel's bytes and its system calls.
//!
//! All `unsafe` of this crate is below here, each use with its reason.

#![allow(unsafe_code)]

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) mod abi;
#[cfg(target_os = "linux")]
pub(crate) mod bpf;
#[cfg(target_os = "linux")]
pub(crate) mod netlink;
