//! One JSON object a record, in every framing.

use crate::batches::{FORMATS, LINES, batch, framed, plain, settings, side};
use serde_json::Value;
use ship::{Batch, Compression, Encoder, EncoderError, Format, Framing};
use std::collections::BTreeSet;
use trail::Source;

/// Where each format has the unique name.
fn uid(format: Format, event: &Value) -> String {
    let uid = match format {
        Format::Ocsf | Format::Ocsf11 => &event["metadata"]["uid"],
        Format::Ecs => &event["event.id"],
        Format::Otel => &event["log.record.uid"],
        Format::Flat if event["kind"] == "manifest" => return batch_id(event),
        Format::Flat => {
            let source = event["source"].as_str().map(|it| format!(".{it}"));
            return format!(
                "{}{}-{}-{}",
                event["endpoint"].as_str().unwrap(),
                source.unwrap_or_default(),
                event["epoch"],
                event["sequence"]
            );
        }
        Format::Native | Format::OtlpProtobuf | Format::OtlpJson | Format::Parquet => {
            unreachable!("not of lines")
        }
    };
    uid.as_str().unwrap().to_owned()
}

fn batch_id(event: &Value) -> String {
    let source = event["source"].as_str().map(|it| format!(".{it}"));
    format!(
        "{}{}-{}-{}-{}-{:08x}",
        event["endpoint"].as_str().unwrap(),
        source.unwrap_or_default(),
        event["epoch"],
        event["first_sequence"],
        event["last_sequence"],
        event["view"].as_u64().unwrap()
    )
}

fn expected_uids(batch: &Batch) -> Vec<String> {
    let side = batch.manifest.id.source.name().map(|it| format!(".{it}"));
    let front = format!("{}{}-7", batch.device.endpoint, side.unwrap_or_default());
    let items = batch.items.iter();
    let uids = items.map(|item| format!("{front}-{}", item.id.sequence));
    uids.chain([batch.manifest.id.to_string()]).collect()
}

fn parsed(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    assert!(text.ends_with('\n'));
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_record_of_every_kind_is_a_line_with_its_name_and_the_manifest_is_the_last() {
    for source in [Source::Recorder, side()] {
        let batch = batch(3, 3_000, source);
        for format in LINES {
            let parcel = plain(format, &batch);
            let events = parsed(&parcel.body);
            let uids: Vec<String> = events.iter().map(|event| uid(format, event)).collect();
            assert!(uids == expected_uids(&batch), "{format:?}");
            assert_eq!(parcel.records, 3_000);
            let mut start = 0;
            for (end, event) in parcel.ends.iter().zip(&events) {
                let line: Value = serde_json::from_slice(&parcel.body[start..*end]).unwrap();
                assert_eq!(line, *event);
                start = *end;
            }
        }
    }
}

#[test]
fn names_differ_between_the_trails_of_one_machine() {
    for format in LINES {
        let mut uids = BTreeSet::new();
        for source in [Source::Recorder, side()] {
            for event in parsed(&plain(format, &batch(3, 100, source)).body) {
                assert!(uids.insert(uid(format, &event)), "{format:?}");
            }
        }
    }
}

#[test]
fn the_same_batch_becomes_the_same_bytes_whatever_was_encoded_before() {
    let (one, other) = (batch(4, 500, Source::Recorder), batch(5, 500, side()));
    for format in FORMATS {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let settings = settings(format, Framing::Plain, compression);
            let Ok(mut used) = Encoder::new(settings.clone()) else {
                assert_eq!((format, compression), (Format::Native, Compression::Gzip));
                continue;
            };
            used.encode(&other);
            let first = used.encode(&one);
            used.encode(&other);
            let fresh = Encoder::new(settings).unwrap().encode(&one);
            assert!(first == used.encode(&one) && first == fresh, "{format:?}");
        }
    }
}

#[test]
fn every_line_of_bulk_stands_behind_what_to_do_with_it() {
    let batch = batch(6, 200, side());
    for format in LINES {
        let lines = parsed(&framed(format, Framing::Bulk, &batch).body);
        let expected = expected_uids(&batch);
        assert_eq!(lines.len(), 2 * expected.len());
        for (pair, expected) in lines.chunks(2).zip(expected) {
            assert_eq!(pair[0]["create"]["_id"], *expected);
            assert_eq!(uid(format, &pair[1]), expected);
        }
    }
}

#[test]
fn the_collector_gets_time_host_and_fields_beside_the_event() {
    let batch = batch(6, 200, Source::Recorder);
    let framing = Framing::Collector {
        fields: vec![("index".into(), "net\"work".into())],
    };
    let parcel = framed(Format::Ecs, framing, &batch);
    for (line, item) in parsed(&parcel.body).iter().zip(&batch.items) {
        let time_ms = item.record.at().wall.as_millis();
        assert_eq!(line["time"].as_f64().unwrap(), time_ms as f64 / 1_000.0);
        assert_eq!(line["host"], "laptop-17.example");
        assert_eq!(line["index"], "net\"work");
        assert!(line["event"]["event.id"].is_string());
    }
}

/// Messages by their counts, as RFC 6587 says.
fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|it| *it == b' ').unwrap();
        let count: usize = std::str::from_utf8(&bytes[..space])
            .unwrap()
            .parse()
            .unwrap();
        let (message, rest) = bytes[space + 1..].split_at(count);
        messages.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = rest;
    }
    messages
}

#[test]
fn syslog_messages_are_counted_and_carry_the_name() {
    let batch = batch(6, 200, Source::Recorder);
    let framing = Framing::Syslog {
        message_bytes_max: 100_000,
    };
    let messages = messages(&framed(Format::Flat, framing, &batch).body);
    let uids = expected_uids(&batch);
    assert_eq!(messages.len(), uids.len());
    for (message, uid) in messages.iter().zip(uids) {
        let parts: Vec<&str> = message.splitn(7, ' ').collect();
        assert_eq!(
            (parts[0], parts[2], parts[3]),
            ("<134>1", "laptop-17.example", "conntrail")
        );
        assert!(parts[1].ends_with('Z') && parts[4] == "-");
        let (structured, json) = parts[6].split_once("] ").unwrap();
        assert_eq!(structured, format!("[conntrail@32473 uid=\"{uid}\""));
        let event: Value = serde_json::from_str(json).unwrap();
        assert_eq!(event["kind"], parts[5]);
    }
}

#[test]
fn a_message_beyond_the_limit_is_told_and_not_cut() {
    let batch = batch(6, 200, Source::Recorder);
    let framing = Framing::Syslog {
        message_bytes_max: 1_000,
    };
    let parcel = framed(Format::Flat, framing, &batch);
    assert!(!parcel.too_long.is_empty() && parcel.too_long.len() < 200);
    assert_eq!(parcel.records, 200 - parcel.too_long.len());
    assert_eq!(messages(&parcel.body).len(), parcel.records + 1);
    for index in &parcel.too_long {
        let before = index.checked_sub(1).map_or(0, |it| parcel.ends[it]);
        assert_eq!(parcel.ends[*index], before, "nothing of it is sent");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_with_what_would() {
    let syslog = Framing::Syslog {
        message_bytes_max: 8_192,
    };
    for (format, framing, compression, expected) in [
        (
            Format::OtlpProtobuf,
            Framing::Bulk,
            Compression::None,
            "choose ocsf",
        ),
        (
            Format::Native,
            syslog.clone(),
            Compression::None,
            "choose ocsf",
        ),
        (Format::Ecs, syslog, Compression::Gzip, "choose none"),
        (
            Format::Ecs,
            Framing::Bulk,
            Compression::Zstd,
            "choose gzip or none",
        ),
        (
            Format::Native,
            Framing::Plain,
            Compression::Gzip,
            "choose zstd or none",
        ),
    ] {
        let error = Encoder::new(settings(format, framing, compression))
            .err()
            .unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let level = ship::EncoderSettings {
        level: Some(99),
        ..settings(Format::Ecs, Framing::Plain, Compression::Gzip)
    };
    assert!(matches!(
        Encoder::new(level),
        Err(EncoderError::Level { most: 9, .. })
    ));
}

#[test]
fn ecs_names_the_sides_by_who_began() {
    let batch = batch(7, 1_000, Source::Recorder);
    let events = parsed(&plain(Format::Ecs, &batch).body);
    let mut inbound = 0;
    for (event, item) in events.iter().zip(&batch.items) {
        let record::Record::Connection(connection) = &item.record else {
            continue;
        };
        let is_inbound = connection.direction == record::Direction::Inbound;
        inbound += usize::from(is_inbound);
        let (local, remote) = match is_inbound {
            true => ("destination.port", "source.port"),
            false => ("source.port", "destination.port"),
        };
        let port = |port: Option<u16>| port.map_or(Value::Null, Value::from);
        assert_eq!(event[local], port(connection.local.port));
        assert_eq!(event[remote], port(connection.remote.port));
    }
    assert!(inbound > 100);
}
