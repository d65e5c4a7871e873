//! Golden records: what was once published stays readable and becomes the same events.
//!
//! `tests/golden/v2/NAME.hex` holds canonical bytes, `NAME.json` the event they become; `v1` the
//! same from before the measures of a connection were packed into one field.
//! Files are only ever added. With `CONNTRAIL_BLESS` set, missing ones are written; those that
//! exist are never touched.

use record::{AggregateScope, ByteQuality, IdentitySource, Record, RecordId, codec, ocsf, sample};
use std::fs;
use std::path::{Path, PathBuf};

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(version)
}

/// The first sample of each kind of record, and of each thing that only some connections have, by a
/// name that tells it.
fn wanted() -> Vec<(String, Record)> {
    let mut wanted: Vec<(String, Record)> = Vec::new();
    for record in sample::records(2026, 4_000) {
        for name in [vec![name(&record)], traits(&record)].concat() {
            if wanted.iter().all(|(taken, _)| *taken != name) {
                wanted.push((name, record.clone()));
            }
        }
    }
    wanted
}

/// What not every connection has.
fn traits(record: &Record) -> Vec<String> {
    let Record::Connection(connection) = record else {
        return Vec::new();
    };
    let process = connection.process.as_deref();
    let signature = process.and_then(|it| it.signature.as_ref());
    let source = connection.attribution.source;
    let by_token = [IdentitySource::AuditToken, IdentitySource::ListenerToken].contains(&source);
    let is_unverified = connection.traffic.quality == ByteQuality::ZeroUnverified;
    let has_effective = process.is_some_and(|it| it.effective_uid.is_some());
    let traits = [
        connection.hostname.as_ref().map(|_| "hostname"),
        connection.responsible.as_ref().map(|_| "responsible"),
        process.filter(|it| it.vanished).map(|_| "vanished"),
        has_effective.then_some("effective_uid"),
        signature.map(|it| it.validity.name()),
        by_token.then(|| source.name()),
        is_unverified.then_some("zero_unverified"),
        connection.treated.as_ref().map(|_| "treated"),
        connection.aggregate.as_ref().map(|it| match it.scope {
            AggregateScope::Destination => "aggregate-destination",
            AggregateScope::Process => "aggregate-process",
        }),
    ];
    let named = traits.into_iter().flatten();
    named.map(|it| format!("connection-with-{it}")).collect()
}

fn name(record: &Record) -> String {
    let event = event(record);
    let notes = &event["unmapped"]["conntrail"];
    let text = |key: &str| notes[key].as_str().map(str::to_owned);
    match (text("notice"), text("phase"), text("outcome")) {
        (Some(notice), _, _) => format!("notice-{notice}"),
        (None, Some(phase), Some(outcome)) => format!("connection-{phase}-{outcome}"),
        (None, phase, _) => format!("connection-{}", phase.expect("a connection has a phase")),
    }
}

fn event(record: &Record) -> serde_json::Value {
    let id = RecordId {
        epoch: 7,
        sequence: 42,
    };
    serde_json::from_str(&ocsf::to_json(id, record, &sample::device())).expect("our own JSON")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// The golden records of a version, each with where it stands and its bytes; the event that each
/// becomes is compared.
fn golden(version: &str) -> Vec<(PathBuf, Vec<u8>, Record)> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder(version)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        let bytes = unhex(&fs::read_to_string(&path).unwrap());
        let record = codec::decode(&bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let json = fs::read_to_string(path.with_extension("json")).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            event(&record),
            expected,
            "{path:?} becomes another event now"
        );
        records.push((path, bytes, record));
    }
    assert!(records.len() >= 20, "only {} in {version}", records.len());
    records
}

#[test]
fn every_golden_record_still_reads_and_encodes_the_same() {
    for (path, bytes, record) in golden("v2") {
        let mut again = Vec::new();
        codec::encode(&record, &mut again);
        assert_eq!(
            hex(&again),
            hex(&bytes),
            "{path:?} has other canonical bytes now"
        );
    }
}

#[test]
fn every_golden_record_of_earlier_versions_still_reads_the_same() {
    golden("v1");
}

#[test]
fn every_kind_of_record_has_a_golden_file() {
    for (name, record) in wanted() {
        let path = folder("v2").join(format!("{name}.hex"));
        if !path.exists() && std::env::var_os("CONNTRAIL_BLESS").is_some() {
            let mut bytes = Vec::new();
            codec::encode(&record, &mut bytes);
            fs::write(&path, hex(&bytes) + "\n").unwrap();
            let json = serde_json::to_string_pretty(&event(&record)).unwrap() + "\n";
            fs::write(path.with_extension("json"), json).unwrap();
        }
        assert!(
            path.exists(),
            "{name} has no golden file; add it with CONNTRAIL_BLESS=1"
        );
    }
}
