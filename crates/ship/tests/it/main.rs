//! What batches become, read back by readers that know nothing of the writers.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

mod batches;
mod golden;
mod lines;
mod native;
mod otlp;
mod row_binary;
mod schema;
mod tables;
