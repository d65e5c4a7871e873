//! The shipper: reads trails, and delivers what is in them to where the company keeps such things.
//!
//! What is sent when is decided by [`ship`], which is pure. Here are the destinations themselves,
//! [`sinks`], and what runs them: [`run`] has a thread for each, so that a dead one slows no other.

#![forbid(unsafe_code)]

mod bounded;
pub mod configuration;
mod desk;
pub mod endpoint;
pub mod fleet;
pub mod http;
mod lag;
mod metrics;
mod own;
pub mod plan;
pub mod power;
pub mod relay;
pub mod run;
pub mod secrets;
pub mod sinks;
mod state;
pub mod status;
pub mod tls;
mod warnings;
mod worker;
