//! What batches become, read back by readers that know nothing of the writers.

mod batches;
mod golden;
mod lines;
mod native;
mod otlp;
mod row_binary;
mod schema;
mod tables;
