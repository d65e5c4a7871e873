//! Each engine starts, does its one job, and is broken in every way that other tests rely on.

mod clickhouse;
mod nats;
