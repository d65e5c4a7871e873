//! A collector passes on what it received to the engines that a fleet stores it in.

use crate::rotel;
use engines::{ClickHouse, Rotel, Tansu};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

/// What a collector's exporter for ClickHouse fills.
const TABLE: &str = "CREATE TABLE otel_logs (Timestamp DateTime64(9), TraceId String, \
    SpanId String, TraceFlags UInt8, SeverityText String, SeverityNumber UInt8, \
    ServiceName String, Body String, ResourceSchemaUrl String, \
    ResourceAttributes Map(LowCardinality(String), String), ScopeSchemaUrl String, \
    ScopeName String, ScopeVersion String, ScopeAttributes Map(LowCardinality(String), String), \
    LogAttributes Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY Timestamp";

fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "nothing has come");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs fleet: starts a collector and ClickHouse"]
fn a_collector_fills_a_table_of_clickhouse() {
    let store = ClickHouse::start();
    store.run(TABLE);
    let collector = Rotel::start_with(&[
        "--exporter=clickhouse",
        "--clickhouse-exporter-compression=none",
        "--clickhouse-exporter-async-insert=false",
        "--clickhouse-exporter-database=default",
        &format!("--clickhouse-exporter-endpoint={}", store.url()),
    ]);
    assert_eq!(rotel::post(&collector, "connection.close"), 200);
    let rows = until(|| {
        let found = store.query_json("SELECT ScopeName, LogAttributes FROM otel_logs");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["ScopeName"], "conntrail");
    assert_eq!(rows[0]["LogAttributes"]["bytes"], "-5");
}

#[test]
#[ignore = "needs fleet: starts a collector and a Kafka broker"]
fn a_collector_writes_to_a_topic_of_kafka() {
    let broker = Tansu::start();
    broker.create_topic("logs", 1);
    let collector = Rotel::start_with(&[
        "--exporter=kafka",
        "--kafka-exporter-format=json",
        "--kafka-exporter-logs-topic=logs",
        &format!("--kafka-exporter-brokers={}", broker.bootstrap()),
    ]);
    assert_eq!(rotel::post(&collector, "connection.close"), 200);
    let records = until(|| {
        let found = broker.records("logs");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(records.len(), 1);
    let value: Value = serde_json::from_slice(&records[0].value).unwrap();
    assert!(value.to_string().contains("connection.close"), "{value}");
}
