//! A topic of Kafka, through librdkafka.

use super::clickhouse::Inserted;
use super::events::{Event, Topic};
use super::settings;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::VecDeque;
use std::time::Duration;

/// What waits in the library for the broker; the rest of a round waits here.
const QUEUE_KIB: u32 = 32 << 10;

/// How long events wait for others to go with them.
const LINGER_MS: u32 = 5;

/// How often a full queue is looked at, when nothing of it is ours.
const QUEUE_POLL: Duration = Duration::from_millis(10);

/// Produces, and waits for what the broker says.
pub(super) struct Producer {
    settings: settings::Kafka,
    /// None after a failure: an idempotent producer that gave up on something may never again be
    /// sure of its numbers, and a new one begins anew.
    producer: Option<FutureProducer>,
}

impl Producer {
    /// Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the library does not take the settings.
    pub(super) fn new(settings: &settings::Kafka) -> Result<Producer, String> {
        let producer = create(settings).map_err(|error| error.to_string())?;
        Ok(Producer {
            settings: settings.clone(),
            producer: Some(producer),
        })
    }

    /// Sends events and takes out those that all replicas in step have.
    pub(super) async fn send(&mut self, events: &mut Vec<Event>) -> Inserted {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => match create(&self.settings) {
                Ok(producer) => producer,
                Err(error) => return decide(&error, &self.settings),
            },
        };
        let mut sending = Sending {
            waiting: VecDeque::new(),
            is_in: vec![false; events.len()],
            bytes: 0,
            failure: None,
        };
        for (index, event) in events.iter().enumerate() {
            let topic = match event.topic {
                Topic::Records => &self.settings.topic,
                Topic::Refused => &self.settings.refused_topic,
            };
            if !sending.begin(&producer, topic, index, event).await {
                break;
            }
        }
        while sending.settle().await {}
        let mut is_in = sending.is_in.iter();
        events.retain(|_| !is_in.next().is_some_and(|it| *it));
        match sending.failure {
            None => {
                self.producer = Some(producer);
                Inserted::Done {
                    bytes: sending.bytes,
                }
            }
            Some(error) => decide(&error, &self.settings),
        }
    }
}

/// What was handed to the library, and what it said of it.
struct Sending {
    /// Which event, and how long.
    waiting: VecDeque<(usize, usize, DeliveryFuture)>,
    is_in: Vec<bool>,
    bytes: u64,
    failure: Option<KafkaError>,
}

impl Sending {
    /// Hands an event over as soon as there is room; false when it cannot be handed over.
    async fn begin(
        &mut self,
        producer: &FutureProducer,
        topic: &str,
        index: usize,
        event: &Event,
    ) -> bool {
        let headers = event.headers.iter();
        let headers = headers.fold(OwnedHeaders::new(), |headers, (key, value)| {
            let value = Some(value.as_str());
            headers.insert(Header { key, value })
        });
        let mut record = FutureRecord::to(topic)
            .payload(&event.value)
            .headers(headers);
        if !event.key.is_empty() {
            record = record.key(&event.key);
        }
        loop {
            match producer.send_result(record) {
                Ok(future) => {
                    self.waiting.push_back((index, event.value.len(), future));
                    return true;
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    if !self.settle().await {
                        tokio::time::sleep(QUEUE_POLL).await;
                    }
                }
                Err((error, _)) => {
                    self.failure.get_or_insert(error);
                    return false;
                }
            }
        }
    }

    /// Waits for the oldest; false when there is none.
    async fn settle(&mut self) -> bool {
        let Some((index, bytes, future)) = self.waiting.pop_front() else {
            return false;
        };
        match future.await {
            Ok(Ok(_)) => {
                self.is_in[index] = true;
                self.bytes += bytes as u64;
            }
            Ok(Err((error, _))) => _ = self.failure.get_or_insert(error),
            Err(_) => _ = self.failure.get_or_insert(KafkaError::Canceled),
        }
        true
    }
}

fn create(settings: &settings::Kafka) -> Result<FutureProducer, KafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", "conntrail-relay")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.codec", settings.compression.name())
        .set("linger.ms", LINGER_MS.to_string())
        .set("message.max.bytes", settings.record_bytes_max.to_string())
        .set(
            "message.timeout.ms",
            (settings.timeout_s * 1_000).to_string(),
        )
        .set("queue.buffering.max.kbytes", QUEUE_KIB.to_string())
        // As Kafka's own clients find the partition of a key.
        .set("partitioner", "murmur2_random");
    config.create()
}

fn decide(error: &KafkaError, settings: &settings::Kafka) -> Inserted {
    let brokers = settings.brokers.join(", ");
    let reason = format!("Kafka at {brokers}: {error}");
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidRecord) => {
            Inserted::Refused { reason }
        }
        Some(
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic,
        ) => Inserted::Misconfigured {
            reason: format!(
                "{reason}; make the topics {} and {}",
                settings.topic, settings.refused_topic
            ),
        },
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            Inserted::Misconfigured {
                reason: format!("{reason}; the relay may not write there"),
            }
        }
        Some(_) | None => Inserted::Again {
            after: None,
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> settings::Kafka {
        toml::from_str("brokers = [\"h:9092\"]\ntopic = \"t\"").unwrap()
    }

    #[test]
    fn the_library_takes_what_we_set() {
        assert!(Producer::new(&settings()).is_ok());
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_says_what_to_do() {
        let decided = |code| decide(&KafkaError::MessageProduction(code), &settings());
        for code in [
            Code::MessageTimedOut,
            Code::NotEnoughReplicas,
            Code::AllBrokersDown,
        ] {
            assert!(matches!(decided(code), Inserted::Again { .. }), "{code}");
        }
        let Inserted::Misconfigured { reason } = decided(Code::UnknownTopic) else {
            panic!("somebody has to make it");
        };
        assert!(reason.contains("make the topics t and "), "{reason}");
        let too_large = decided(Code::MessageSizeTooLarge);
        assert!(matches!(too_large, Inserted::Refused { .. }));
    }
}
