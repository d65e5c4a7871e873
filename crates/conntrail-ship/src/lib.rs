//! The shipper: reads trails, and delivers what is in them to where the company keeps such things.
//!
//! What is sent when is decided by [`ship`], which is pure. Here are the destinations themselves,
//! [`sinks`], and what runs them.

#![forbid(unsafe_code)]

mod bounded;
pub mod http;
pub mod secrets;
pub mod sinks;
pub mod tls;
