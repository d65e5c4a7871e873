//! Test-only: the real engines that records are shipped to.
//!
//! Each is installed by `cargo xtask test` (a test says what it needs in its path), started on
//! ports of the loopback with a folder of its own, asked until it answers, and broken as the test
//! likes: [`Server::stop`], [`Server::kill`], [`Server::pause`], [`Server::restart`]. All of them
//! die with the value, and with the test's process whatever ends that.
//!
//! Whatever goes wrong here is a panic that says what to do: there is nobody to handle it but the
//! reader of the test's output.

#![forbid(unsafe_code)]

mod certificates;
mod clickhouse;
pub mod http;
pub mod nats;
mod port;
mod program;
mod rotel;
mod rsyslog;
mod seaweed;
mod server;
mod tansu;

pub use certificates::Certificates;
pub use clickhouse::{ClickHouse, ClickHouseError, ClickHouseOptions};
pub use nats::{Nats, NatsCluster, NatsOptions};
pub use port::Port;
pub use rotel::Rotel;
pub use rsyslog::Rsyslog;
pub use seaweed::Seaweed;
pub use server::Server;
pub use tansu::{KafkaRecord, Tansu};
