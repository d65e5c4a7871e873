//! The destinations against the real engines, broken in the ways in which they break; and those over
//! HTTP against servers that behave as their vendors document: contract tests. These show that we
//! keep to the contract as we read it, not that the product does.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails where it stands"
)]

mod certificates;
mod contract_elastic;
mod contract_hec;
mod contract_otlp;
mod contract_trouble;
mod ends;
mod nats;
mod parcels;
mod proxy;
mod s3;
mod server;
mod support;
mod syslog;
