//! The real relay, built with its way to Kafka, between a real JetStream and a real broker.

use super::relay::{Relay, batches, bytes, make_stream, publish, wait_until};
use engines::{KafkaRecord, Nats, Tansu};
use serde_json::Value;
use ship::Batch;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const TOPIC: &str = "conntrail";

struct Ground {
    server: Nats,
    broker: Tansu,
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Ground {
        let (server, broker) = (Nats::start(), Tansu::start());
        make_stream(&server, 1);
        make_topics(&broker);
        let folder = tempfile::tempdir().unwrap();
        Ground {
            server,
            broker,
            folder,
        }
    }

    /// A relay that gives up on an event after two seconds, to try it again.
    fn relay(&self, more: &str) -> Relay {
        let path = self.folder.path().join("relay.toml");
        let text = format!(
            "[jetstream]\nservers = [\"{}\"]\nack_wait_s = 5\n\
             [kafka]\nbrokers = [\"{}\"]\ntopic = \"{TOPIC}\"\ntimeout_s = 2\n{more}\n\
             [round]\nrows = 1000\nage_max_ms = 300\nmessages_max = 10\n",
            self.server.url(),
            self.broker.bootstrap(),
        );
        fs::write(&path, text).unwrap();
        Relay::of(&program(), &path)
    }

    /// Waits until the stream has nothing that is not acknowledged.
    fn waits_until_all_is_acknowledged(&self) {
        wait_until(|| {
            let stream = self.server.stream("CONNTRAIL")?;
            let consumer = &stream["consumer_detail"][0];
            let left = [&consumer["num_pending"], &consumer["num_ack_pending"]];
            left.iter().all(|it| it.as_u64() == Some(0)).then_some(())
        });
    }
}

fn program() -> PathBuf {
    let program = std::env::var_os("CONNTRAIL_SHIP_KAFKA");
    program
        .expect("run by cargo xtask test --need kafka")
        .into()
}

fn make_topics(broker: &Tansu) {
    broker.create_topic(TOPIC, 3);
    broker.create_topic(&format!("{TOPIC}.refused"), 1);
}

fn header<'a>(record: &'a KafkaRecord, name: &str) -> &'a str {
    let found = record.headers.iter().find(|it| it.0 == name);
    std::str::from_utf8(&found.unwrap().1).unwrap()
}

fn ids(records: &[KafkaRecord]) -> BTreeSet<String> {
    let ids = records.iter().map(|it| header(it, "id").to_owned());
    ids.collect()
}

/// Names of all records, and of the batches themselves for the manifests.
fn expected(batches: &[Batch]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for batch in batches {
        let endpoint = batch.device.endpoint;
        for item in &batch.items {
            ids.insert(format!("{endpoint}-{}-{}", item.id.epoch, item.id.sequence));
        }
        ids.insert(batch.manifest.id.to_string());
    }
    ids
}

#[test]
#[ignore = "needs kafka: starts NATS and a Kafka broker, runs the relay"]
fn every_record_arrives_under_its_name_however_often_the_relay_is_killed() {
    let ground = Ground::new();
    let batches = batches(3, 2_000, 50);
    publish(&ground.server, &batches[..60]);
    let mut relay = ground.relay("");
    for goal in [500, 1_500] {
        wait_until(|| (ground.broker.records(TOPIC).len() > goal).then_some(()));
        relay.kill();
        relay = ground.relay("");
    }
    publish(&ground.server, &batches[60..]);
    ground.waits_until_all_is_acknowledged();
    relay.stop();
    let records = ground.broker.records(TOPIC);
    assert_eq!(ids(&records), expected(&batches));
    let mut partitions = BTreeSet::new();
    for record in &records {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        let value: Value = serde_json::from_slice(&record.value).unwrap();
        assert!(header(record, "id").starts_with(&key));
        assert_eq!(header(record, "format"), "ocsf");
        if header(record, "kind") == "record" {
            assert_eq!(value["metadata"]["uid"], header(record, "id"));
        }
        partitions.insert((key, record.partition));
    }
    assert_eq!(partitions.len(), 3, "a machine has one partition");
}

#[test]
#[ignore = "needs kafka: starts NATS, pauses a Kafka broker, runs the relay"]
fn nothing_is_acknowledged_while_the_broker_is_away_and_everything_is_there_afterwards() {
    let ground = Ground::new();
    let batches = batches(2, 1_000, 50);
    publish(&ground.server, &batches[..20]);
    let relay = ground.relay("format = \"flat\"");
    ground.waits_until_all_is_acknowledged();
    ground.broker.pause();
    publish(&ground.server, &batches[20..]);
    // Longer than the stream waits for an acknowledgement before it delivers again.
    thread::sleep(Duration::from_secs(12));
    let stream = ground.server.stream("CONNTRAIL").unwrap();
    let consumer = &stream["consumer_detail"][0];
    assert_eq!(consumer["ack_floor"]["stream_seq"], 20, "{consumer}");
    assert_eq!(consumer["num_redelivered"], 0, "{consumer}");
    ground.broker.resume();
    ground.waits_until_all_is_acknowledged();
    relay.stop();
    assert_eq!(ids(&ground.broker.records(TOPIC)), expected(&batches));
}

#[test]
#[ignore = "needs kafka: starts NATS, kills a Kafka broker, runs the relay"]
fn a_broker_that_was_killed_gets_what_it_had_not_acknowledged() {
    let ground = Ground::new();
    let batches = batches(2, 1_000, 50);
    publish(&ground.server, &batches[..20]);
    let relay = ground.relay("");
    ground.waits_until_all_is_acknowledged();
    ground.broker.kill();
    publish(&ground.server, &batches[20..]);
    thread::sleep(Duration::from_secs(3));
    ground.broker.restart();
    make_topics(&ground.broker);
    ground.waits_until_all_is_acknowledged();
    relay.stop();
    // What it had acknowledged is gone: it keeps everything in memory.
    let there = ids(&ground.broker.records(TOPIC));
    assert!(there.is_superset(&expected(&batches[20..])));
}

#[test]
#[ignore = "needs kafka: starts NATS and a Kafka broker, runs the relay"]
fn batches_can_stay_as_they_are_and_what_is_none_is_set_aside() {
    let ground = Ground::new();
    let batches = batches(1, 200, 50);
    publish(&ground.server, &batches);
    let mut client = ground.server.connect();
    let stored = client.store("conntrail.default.0", "not-a-batch", b"not a batch");
    assert!(stored.unwrap()["error"].is_null());
    let relay = ground.relay("format = \"native\"");
    ground.waits_until_all_is_acknowledged();
    relay.stop();
    let values = |topic: &str| {
        let records = ground.broker.records(topic).into_iter();
        records.map(|it| it.value).collect::<BTreeSet<_>>()
    };
    assert_eq!(values(TOPIC), batches.iter().map(bytes).collect());
    let refused = ground.broker.records(&format!("{TOPIC}.refused"));
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].value, b"not a batch");
    assert_eq!(header(&refused[0], "message_id"), "not-a-batch");
    assert_ne!(header(&refused[0], "reason"), "");
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_program_without_it_says_what_to_build() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    let text = "[jetstream]\nservers = [\"nats://127.0.0.1:1\"]\n\
                [kafka]\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"t\"\n";
    fs::write(&path, text).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_conntrail-ship"));
    let output = command.arg("relay").arg("--config").arg(&path).output();
    let output = output.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--features kafka"), "{said}");
}
