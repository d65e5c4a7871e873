//! A real collector.

use crate::support::*;
use conntrail_ship::sinks::Otlp;
use engines::Rotel;
use record::{EndpointId, RecordId, sample};
use serde_json::{Map, Value, json};
use ship::{
    Answer, Batch, BatchId, Compression, Encoder, EncoderSettings, Format, Framing, Item, LeftOut,
    Manifest, Parcel, config,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A batch of so many connections and notices.
fn batch(first: u64, count: usize) -> Batch {
    let device = Arc::new(sample::device());
    let items: Vec<Item> = (first..)
        .zip(sample::records(first, count))
        .map(|(sequence, record)| Item {
            id: RecordId { epoch: 3, sequence },
            record,
        })
        .collect();
    let endpoint: EndpointId = device.endpoint;
    Batch {
        manifest: Manifest {
            id: BatchId {
                endpoint,
                source: trail::Source::Recorder,
                epoch: 3,
                first,
                last: first + count as u64 - 1,
                view: 1,
            },
            sent: count as u64,
            left_out: LeftOut::default(),
            digest: [7; 32],
            head: None,
            until: None,
        },
        device,
        items,
    }
}

fn encode(batch: &Batch, format: Format, compression: Compression) -> Parcel {
    let settings = EncoderSettings {
        format,
        framing: Framing::Plain,
        compression,
        level: None,
    };
    Encoder::new(settings).unwrap().encode(batch)
}

fn sink(collector: &Rotel) -> Otlp {
    let settings = config::Otlp {
        url: collector.logs_url(),
        headers_file: None,
    };
    Otlp::new(&destination(), &settings).unwrap()
}

/// What is sent, read from the JSON that we write.
fn sent(batch: &Batch) -> BTreeMap<String, Value> {
    let body = encode(batch, Format::OtlpJson, Compression::None).body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let records = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        .as_array()
        .unwrap();
    let told = |record: &Value| {
        let attributes = attributes(&record["attributes"]);
        (
            attributes["log.record.uid"].as_str().unwrap().to_owned(),
            attributes,
        )
    };
    records.iter().map(told).collect()
}

/// Attributes as an object.
fn attributes(pairs: &Value) -> Value {
    let pairs = pairs.as_array().unwrap().iter();
    let pair = |pair: &Value| {
        (
            pair["key"].as_str().unwrap().to_owned(),
            value(&pair["value"]),
        )
    };
    Value::Object(pairs.map(pair).collect::<Map<_, _>>())
}

/// `AnyValue` as plain JSON.
fn value(any: &Value) -> Value {
    let (kind, value_) = any.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "intValue" => match value_ {
            Value::String(digits) => json!(digits.parse::<i64>().unwrap()),
            number => number.clone(),
        },
        "arrayValue" => {
            let values = value_["values"].as_array();
            json!(values.into_iter().flatten().map(value).collect::<Vec<_>>())
        }
        "stringValue" | "boolValue" | "doubleValue" => value_.clone(),
        other => panic!("{other}"),
    }
}

/// What arrived, by the records' unique names.
fn arrived(collector: &Rotel, count: usize) -> BTreeMap<String, Value> {
    let records = collector.wait_for(count).into_iter();
    records
        .map(|record| {
            let attributes = record["attributes"].clone();
            (
                attributes["log.record.uid"].as_str().unwrap().to_owned(),
                attributes,
            )
        })
        .collect()
}

/// Delivers what may have to be sent again.
#[track_caller]
fn deliver_at_last(sink: &Otlp, parcel: &Parcel) {
    for _ in 0..10 {
        match deliver(sink, parcel) {
            Answer::Accepted => return,
            other => again(other),
        };
    }
    panic!("it was never taken");
}

#[test]
#[ignore = "needs rotel: starts a collector"]
fn what_is_sent_arrives_in_each_form() {
    let batch = batch(1, 200);
    let sent = sent(&batch);
    assert_eq!(sent.len(), 201, "the manifest too");
    for (format, compression) in [
        (Format::OtlpProtobuf, Compression::Gzip),
        (Format::OtlpProtobuf, Compression::None),
        (Format::OtlpJson, Compression::Gzip),
        (Format::OtlpJson, Compression::None),
    ] {
        let collector = Rotel::start();
        let answer = deliver(&sink(&collector), &encode(&batch, format, compression));
        assert_eq!(answer, Answer::Accepted, "{format:?} {compression:?}");
        let arrived = arrived(&collector, 201);
        assert_eq!(arrived, sent, "{format:?} {compression:?}");
    }
}

#[test]
#[ignore = "needs rotel: stops, kills, pauses and restarts a collector"]
fn nothing_is_missing_after_the_collector_was_away() {
    let collector = Rotel::start();
    let sink = sink(&collector);
    type Do = fn(&Rotel);
    let away: [(Do, Do); 3] = [
        (|it| _ = it.stop(), |it| it.restart()),
        (|it| it.kill(), |it| it.restart()),
        (|it| it.pause(), |it| it.resume()),
    ];
    let mut expected = BTreeMap::new();
    let mut first = 1;
    let mut accepted_while_away = 0;
    for (leave, return_) in away {
        let batch = batch(first, 20);
        let parcel = encode(&batch, Format::OtlpProtobuf, Compression::Gzip);
        leave(&collector);
        match deliver(&sink, &parcel) {
            // It hangs some moments after it was told to.
            Answer::Accepted => accepted_while_away += 1,
            other => _ = again(other),
        }
        return_(&collector);
        deliver_at_last(&sink, &parcel);
        expected.append(&mut sent(&batch));
        first += 20;
        // A paused collector may have taken what it was sent before, and so has it twice.
        assert_eq!(arrived(&collector, expected.len()), expected);
    }
    assert!(
        accepted_while_away < 2,
        "a collector that is gone takes nothing"
    );
}

#[test]
#[ignore = "needs rotel: starts a collector"]
fn what_the_collector_cannot_read_is_refused() {
    let collector = Rotel::start();
    let mut parcel = encode(&batch(1, 5), Format::OtlpProtobuf, Compression::None);
    parcel.body = b"this is no protobuf at all".to_vec();
    let reason = refused(deliver(&sink(&collector), &parcel));
    assert!(reason.starts_with("400 Bad Request"), "{reason}");
}

/// It takes the compressed bytes for a broken body, and says 400 without a word.
#[test]
#[ignore = "needs rotel: starts a collector"]
fn a_collector_without_zstd_is_found_out_and_no_record_is_blamed() {
    let collector = Rotel::start();
    for format in [Format::OtlpProtobuf, Format::OtlpJson] {
        let parcel = encode(&batch(1, 5), format, Compression::Zstd);
        let reason = misconfigured(deliver(&sink(&collector), &parcel));
        assert!(reason.contains("compression = \"gzip\""), "{reason}");
    }
}

#[test]
#[ignore = "needs rotel: starts a collector"]
fn what_is_too_long_for_the_collector_is_to_be_cut() {
    let collector = Rotel::start();
    let mut parcel = encode(&batch(1, 5), Format::OtlpProtobuf, Compression::None);
    parcel.body = vec![0; 40 << 20];
    let answer = deliver(&sink(&collector), &parcel);
    assert!(matches!(answer, Answer::TooLarge { .. }), "{answer:?}");
}
