use engines::Tansu;

#[test]
#[ignore = "needs kafka: starts a broker"]
fn what_was_produced_is_read_in_order() {
    let broker = Tansu::start();
    broker.create_topic("connections", 2);
    assert_eq!(broker.records("connections"), []);
    broker.produce("connections", "endpoint", &["one", "two"]);
    let records = broker.records("connections");
    let values: Vec<&[u8]> = records.iter().map(|record| &*record.value).collect();
    assert_eq!(values, [b"one", b"two"]);
    assert_eq!(records[1].key.as_deref(), Some(&b"endpoint"[..]));
    assert_eq!((records[0].offset, records[1].offset), (0, 1));
    assert_eq!(records[0].partition, records[1].partition);
}

#[test]
#[ignore = "needs kafka: starts a broker"]
fn a_broker_that_was_killed_starts_again_and_has_forgotten() {
    let broker = Tansu::start();
    broker.create_topic("connections", 1);
    broker.produce("connections", "endpoint", &["one"]);
    broker.kill();
    assert!(!broker.is_running());
    broker.restart();
    broker.create_topic("connections", 1);
    assert_eq!(broker.records("connections"), []);
    broker.pause();
    broker.resume();
    broker.produce("connections", "endpoint", &["two"]);
    assert_eq!(broker.records("connections").len(), 1);
}
