//! Where the relay brings what it has: rows into a store, or events into a topic.

use super::clickhouse::{Insert, Inserted, Store};
use super::events::{Event, Events};
use super::producer::Producer;
use super::round::{Postmark, Round};
use super::settings::Settings;
use anyhow::{Result, anyhow, bail};
use ship::{Batch, Format};

/// One of the two, for all of the relay's life.
pub(super) enum Target {
    /// Rows.
    ClickHouse(Store),
    /// Events of this format.
    Kafka(Box<Producer>, Format),
}

/// A round in the words of its target.
pub(super) enum Pile {
    /// For ClickHouse.
    Rows(Box<Round>),
    /// For Kafka.
    Events(Box<Events>),
}

/// Some of a round: what is delivered as one, and again as one.
pub(super) enum Step {
    /// Rows of a table.
    Insert(Insert),
    /// Events, those that are not in yet.
    Events {
        /// How many there were.
        count: u64,
        /// Those that are left.
        left: Vec<Event>,
    },
}

impl Target {
    /// The one of which the settings speak.
    ///
    /// # Errors
    ///
    /// When it cannot be set up, or this program was built without it.
    pub(super) fn new(settings: &Settings) -> Result<Target> {
        match (&settings.clickhouse, &settings.kafka) {
            (Some(clickhouse), None) => Ok(Target::ClickHouse(Store::new(clickhouse)?)),
            (None, Some(kafka)) => {
                let producer = Producer::new(kafka);
                let producer = producer.map_err(|error| anyhow!("[kafka]: {error}"))?;
                // It is known to be a format of events before the first message comes.
                Events::new(kafka.format).map_err(|error| anyhow!("kafka.format: {error}"))?;
                Ok(Target::Kafka(Box::new(producer), kafka.format))
            }
            (None, None) | (Some(_), Some(_)) => bail!("one of [clickhouse] and [kafka] it is"),
        }
    }

    /// An empty round.
    pub(super) fn pile(&self) -> Pile {
        match self {
            Target::ClickHouse(_) => Pile::Rows(Box::default()),
            Target::Kafka(_, format) => {
                let events = Events::new(*format);
                Pile::Events(Box::new(events.expect("the format was tried before")))
            }
        }
    }

    /// Delivers once. What is in is taken out of the step, where it is in by parts.
    pub(super) async fn take(&mut self, step: &mut Step) -> Inserted {
        match (self, step) {
            (Target::ClickHouse(store), Step::Insert(insert)) => store.insert(insert).await,
            (Target::Kafka(producer, _), Step::Events { left, .. }) => producer.send(left).await,
            (Target::ClickHouse(_), Step::Events { .. }) | (Target::Kafka(..), Step::Insert(_)) => {
                unreachable!("a round is made for its target")
            }
        }
    }
}

impl Pile {
    /// Rows or events so far.
    pub(super) fn count(&self) -> usize {
        match self {
            Pile::Rows(round) => round.count(),
            Pile::Events(events) => events.count(),
        }
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Pile::Rows(round) => round.bytes(),
            Pile::Events(events) => events.bytes(),
        }
    }

    /// Adds the batch of a message.
    ///
    /// # Errors
    ///
    /// When it is not what its own manifest says; then nothing was added.
    pub(super) fn add(
        &mut self,
        postmark: &Postmark,
        batch: &Batch,
        message: &[u8],
    ) -> Result<(), String> {
        match self {
            Pile::Rows(round) => round.add(postmark, batch),
            Pile::Events(events) => events.add(batch, message),
        }
    }

    /// Adds a message that cannot be read, whole, with the reason.
    pub(super) fn set_aside(&mut self, postmark: &Postmark, message: &[u8], reason: &str) {
        match self {
            Pile::Rows(round) => round.set_aside(postmark, message, reason),
            Pile::Events(events) => events.set_aside(postmark, message, reason),
        }
    }

    /// What is delivered, in this order.
    pub(super) fn into_steps(self) -> Vec<Step> {
        match self {
            Pile::Rows(round) => round.into_inserts().into_iter().map(Step::Insert).collect(),
            Pile::Events(events) => {
                let left = events.into_events();
                let count = left.len() as u64;
                vec![Step::Events { count, left }]
            }
        }
    }
}

impl Step {
    /// The table, or that it is none.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Step::Insert(insert) => insert.table,
            Step::Events { .. } => "kafka",
        }
    }

    /// Rows or events.
    pub(super) fn count(&self) -> u64 {
        match self {
            Step::Insert(insert) => insert.rows,
            Step::Events { count, .. } => *count,
        }
    }
}
