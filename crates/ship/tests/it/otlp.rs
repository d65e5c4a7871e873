//! Log records of OpenTelemetry, read with messages declared after the published protocol.

use crate::batches::{batch, plain, side};
use prost::Message;
use serde_json::{Map, Value};
use ship::flat::{Column, Kind, Lines, PROVENANCE, Provenance, Table};
use ship::{Batch, Format};
use trail::Source;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    severity_number: i32,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    event_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
}

fn any(value: &AnyValue) -> Value {
    match value.value.as_ref().unwrap() {
        Any::Text(text) => text.as_str().into(),
        Any::Bool(it) => (*it).into(),
        Any::Int(number) => (*number).into(),
    }
}

fn attributes(attributes: &[KeyValue]) -> Map<String, Value> {
    let pairs = attributes.iter();
    let pairs = pairs.map(|it| (it.key.clone(), any(it.value.as_ref().unwrap())));
    let map: Map<String, Value> = pairs.collect();
    assert_eq!(map.len(), attributes.len(), "each name is given once");
    map
}

/// What the lines of flat columns say, under the names of OpenTelemetry.
fn expected(columns: &[Column], line: &Value) -> Map<String, Value> {
    let mut map = Map::new();
    for column in columns {
        let value = match (&line[column.name], column.kind) {
            (Value::Null, _) => continue,
            (Value::String(text), Kind::Time) => (text.replace(' ', "T") + "Z").into(),
            (value, _) => value.clone(),
        };
        if !column.otel.is_empty() {
            map.insert(column.otel.to_owned(), value);
        }
    }
    map
}

fn flat_lines(batch: &Batch) -> Vec<(Table, Value)> {
    let mut lines = Lines::default();
    let item = |item| {
        let mut line = Vec::new();
        lines.item(Provenance::of(batch), item, &mut line);
        let line: Value = serde_json::from_slice(&line).unwrap();
        let table = match line["kind"].as_str() {
            Some("connection") => Table::Connections,
            _ => Table::Notices,
        };
        (table, line)
    };
    let mut all: Vec<(Table, Value)> = batch.items.iter().map(item).collect();
    let mut line = Vec::new();
    lines.manifest(&batch.device, &batch.manifest, &mut line);
    all.push((Table::Batches, serde_json::from_slice(&line).unwrap()));
    all
}

fn check(batch: &Batch, request: &Request) {
    let [resource_logs] = &request.resource_logs[..] else {
        panic!("one machine is one resource");
    };
    let [scope_logs] = &resource_logs.scope_logs[..] else {
        panic!("one scope");
    };
    let lines = flat_lines(batch);
    let mut resource = expected(&Table::Batches.columns()[..PROVENANCE], &lines[0].1);
    resource.insert("service.name".to_owned(), "conntrail".into());
    let attributes_of_resource = &resource_logs.resource.as_ref().unwrap().attributes;
    assert_eq!(attributes(attributes_of_resource), resource);
    assert_eq!(scope_logs.scope.as_ref().unwrap().name, "conntrail");
    assert!(
        scope_logs
            .schema_url
            .starts_with("https://opentelemetry.io/schemas/")
    );
    assert_eq!(scope_logs.log_records.len(), lines.len());
    for (index, (log, (table, line))) in scope_logs.log_records.iter().zip(&lines).enumerate() {
        let mut expected = expected(&table.columns()[PROVENANCE..], line);
        let mut seen = attributes(&log.attributes);
        let uid = seen.remove("log.record.uid").unwrap();
        match batch.items.get(index) {
            Some(item) => {
                let time_ns = item.record.at().wall.0 as u64;
                assert_eq!(log.time_unix_nano, time_ns);
                assert_eq!(log.observed_time_unix_nano, time_ns);
                let suffix = format!("-7-{}", item.id.sequence);
                assert!(uid.as_str().unwrap().ends_with(&suffix));
            }
            None => assert_eq!(uid, batch.manifest.id.to_string()),
        }
        if *table == Table::Notices {
            let body = any(log.body.as_ref().unwrap());
            assert_eq!(body, line["message"]);
        }
        assert_eq!(
            log.event_name,
            format!("conntrail.{}", line["kind"].as_str().unwrap())
        );
        // A number beyond the protocol's is a text.
        for value in expected.values_mut() {
            if value
                .as_u64()
                .is_some_and(|number| i64::try_from(number).is_err())
            {
                *value = value.to_string().into();
            }
        }
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_log_record_says_every_datum_of_its_record_and_nothing_else() {
    for source in [Source::Recorder, side()] {
        let batch = batch(9, 3_000, source);
        let parcel = plain(Format::OtlpProtobuf, &batch);
        check(&batch, &Request::decode(&parcel.body[..]).unwrap());
    }
}

#[test]
fn a_batch_without_records_is_a_manifest() {
    let batch = batch(9, 0, Source::Recorder);
    let parcel = plain(Format::OtlpProtobuf, &batch);
    let request = Request::decode(&parcel.body[..]).unwrap();
    let logs = &request.resource_logs[0].scope_logs[0].log_records;
    assert_eq!((logs.len(), logs[0].time_unix_nano), (1, 0));
}

/// The mapping of the protocol to JSON, back into messages.
fn from_json(json: &Value) -> Request {
    let list = |value: &Value| value.as_array().unwrap().clone();
    let resource_logs = list(&json["resourceLogs"])
        .into_iter()
        .map(|it| ResourceLogs {
            resource: Some(Resource {
                attributes: attributes_from_json(&it["resource"]["attributes"]),
            }),
            scope_logs: list(&it["scopeLogs"])
                .iter()
                .map(scope_logs_from_json)
                .collect(),
        });
    Request {
        resource_logs: resource_logs.collect(),
    }
}

fn scope_logs_from_json(json: &Value) -> ScopeLogs {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let logs = json["logRecords"].as_array().unwrap().iter();
    let logs = logs.map(|it| LogRecord {
        time_unix_nano: text(&it["timeUnixNano"]).parse().unwrap_or(0),
        severity_number: it["severityNumber"].as_i64().unwrap() as i32,
        body: it.get("body").map(any_from_json),
        attributes: attributes_from_json(&it["attributes"]),
        observed_time_unix_nano: text(&it["observedTimeUnixNano"]).parse().unwrap_or(0),
        event_name: text(&it["eventName"]),
    });
    ScopeLogs {
        scope: Some(Scope {
            name: text(&json["scope"]["name"]),
        }),
        log_records: logs.collect(),
        schema_url: text(&json["schemaUrl"]),
    }
}

fn attributes_from_json(json: &Value) -> Vec<KeyValue> {
    let pairs = json.as_array().unwrap().iter();
    let pairs = pairs.map(|it| KeyValue {
        key: it["key"].as_str().unwrap().to_owned(),
        value: Some(any_from_json(&it["value"])),
    });
    pairs.collect()
}

fn any_from_json(json: &Value) -> AnyValue {
    let value = match (&json["stringValue"], &json["intValue"], &json["boolValue"]) {
        (Value::String(text), Value::Null, Value::Null) => Any::Text(text.clone()),
        (Value::Null, Value::String(number), Value::Null) => Any::Int(number.parse().unwrap()),
        (Value::Null, Value::Null, Value::Bool(it)) => Any::Bool(*it),
        other => panic!("{other:?}"),
    };
    AnyValue { value: Some(value) }
}

#[test]
fn json_says_the_same_as_protocol_buffers() {
    let batch = batch(10, 2_000, side());
    let json = plain(Format::OtlpJson, &batch).body;
    let json = from_json(&serde_json::from_slice(&json).unwrap());
    let protobuf = plain(Format::OtlpProtobuf, &batch).body;
    assert!(json == Request::decode(&protobuf[..]).unwrap());
}
