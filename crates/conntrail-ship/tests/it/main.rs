//! Destinations, against the real engines where they can be had, broken in the ways in which they
//! break; `contract_…` against servers that behave as vendors document: contract tests, which show
//! that we keep to the contract as we read it, not that the product does. And the program as a
//! whole, with real trails.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails where it stands"
)]

mod certificates;
mod configured;
mod contract_elastic;
mod contract_hec;
mod contract_otlp;
mod contract_trouble;
mod delays;
mod ends;
mod fleet;
mod nats;
mod parcels;
mod power;
mod program;
mod proxy;
mod retention;
mod rotel;
mod s3;
mod server;
mod service;
mod state;
mod support;
mod syslog;
