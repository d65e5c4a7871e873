//! Each engine starts, does its one job, and is broken in every way that other tests rely on.

mod clickhouse;
mod fleet;
mod kafka;
mod lifetime;
mod nats;
mod rotel;
mod s3;
mod syslog;
mod tls;
