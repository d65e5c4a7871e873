use engines::{Rotel, http};
use serde_json::json;

/// Posts one record with this name; the status of the answer, or 0 when there is none.
pub(crate) fn post(collector: &Rotel, name: &str) -> u16 {
    let body = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "host.name", "value": {"stringValue": "laptop"}}]},
        "scopeLogs": [{"scope": {"name": "conntrail"}, "logRecords": [{
            "timeUnixNano": "1700000000000000000",
            "eventName": name,
            "attributes": [
                {"key": "bytes", "value": {"intValue": "-5"}},
                {"key": "open", "value": {"boolValue": true}},
            ],
        }]}],
    }]})
    .to_string();
    let request = http::Request {
        method: "POST",
        target: "/v1/logs",
        headers: &[("Content-Type", "application/json")],
        body: body.as_bytes(),
    };
    http::send(collector.http_port(), &request).map_or(0, |answer| answer.status)
}

#[test]
#[ignore = "needs rotel: starts a collector"]
fn a_record_that_was_received_is_told_whole() {
    let collector = Rotel::start();
    assert_eq!(post(&collector, "connection.close"), 200);
    let records = collector.wait_for(1);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["event_name"], "connection.close");
    assert_eq!(records[0]["time_unix_nano"], 1_700_000_000_000_000_000_u64);
    assert_eq!(records[0]["attributes"], json!({"bytes": -5, "open": true}));
    assert_eq!(records[0]["resource"], json!({"host.name": "laptop"}));
    assert_eq!(records[0]["scope"], "conntrail");
}

#[test]
#[ignore = "needs rotel: starts a collector"]
fn a_collector_that_was_killed_receives_again_after_a_restart() {
    let collector = Rotel::start();
    assert_eq!(post(&collector, "one"), 200);
    assert_eq!(collector.wait_for(1).len(), 1);
    collector.kill();
    assert_eq!(post(&collector, "two"), 0);
    collector.restart();
    assert_eq!(post(&collector, "three"), 200);
    let names: Vec<_> = collector
        .wait_for(2)
        .iter()
        .map(|it| it["event_name"].clone())
        .collect();
    assert_eq!(names, ["one", "three"]);
    collector.pause();
    collector.resume();
    collector.stop();
}
