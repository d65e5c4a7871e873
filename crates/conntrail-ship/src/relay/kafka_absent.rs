//! In place of Kafka, in programs that were built without it.

use super::clickhouse::Inserted;
use super::events::Event;
use super::settings;
use std::convert::Infallible;

/// There is none.
pub(super) struct Producer(Infallible);

impl Producer {
    /// # Errors
    ///
    /// Always, with what to build.
    pub(super) fn new(_: &settings::Kafka) -> Result<Producer, String> {
        Err("this program was built without Kafka; build one with it: \
             `cargo build --release -p conntrail-ship --features kafka`"
            .to_owned())
    }

    pub(super) async fn send(&mut self, _: &mut Vec<Event>) -> Inserted {
        match self.0 {}
    }
}
