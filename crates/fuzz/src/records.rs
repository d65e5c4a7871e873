//! Records, devices and processes.

use record::codec::{self, Decoder};
use record::{Record, RecordId, Wall, ocsf, sample};

/// What is read comes out the same when it is written, and is then canonical.
pub(crate) fn record(bytes: &[u8]) {
    let Ok(record) = codec::decode(bytes) else {
        return;
    };
    let canonical = encoded(&record);
    let again = codec::decode(&canonical).expect("what was written can be read");
    assert_eq!(again, record);
    assert_eq!(encoded(&again), canonical, "one form only");
    let mut decoder = Decoder::default();
    for _ in 0..2 {
        let known = decoder
            .decode(bytes)
            .expect("what could be read can be read");
        assert_eq!(known, record, "whatever was read before");
    }
}

pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    sample::records(1, 60).iter().map(encoded).collect()
}

/// Every record that can be read is one line of JSON.
pub(crate) fn ocsf(bytes: &[u8]) {
    let Ok(record) = codec::decode(bytes) else {
        return;
    };
    let id = RecordId {
        epoch: 7,
        sequence: 99,
    };
    let text = ocsf::to_json(id, &record, &sample::device());
    assert!(!text.contains('\n'), "one event a line: {text}");
    let value: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    assert!(
        value.get("class_uid").is_some_and(|it| it.is_u64()),
        "{text}"
    );
    assert!(value.get("time").is_some_and(|it| it.is_i64()), "{text}");
}

pub(crate) fn device(bytes: &[u8]) {
    let Ok(device) = codec::decode_device(bytes) else {
        return;
    };
    let mut canonical = Vec::new();
    codec::encode_device(&device, &mut canonical);
    assert_eq!(codec::decode_device(&canonical), Ok(device));
}

pub(crate) fn device_seeds() -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    codec::encode_device(&sample::device(), &mut whole);
    vec![whole, Vec::new()]
}

pub(crate) fn process(bytes: &[u8]) {
    let Ok(process) = codec::decode_process(bytes) else {
        return;
    };
    let mut canonical = Vec::new();
    codec::encode_process(&process, &mut canonical);
    assert_eq!(codec::decode_process(&canonical), Ok(process));
}

pub(crate) fn process_seeds() -> Vec<Vec<u8>> {
    let records = sample::closes(2, 30);
    let processes = records.iter().filter_map(|record| match record {
        Record::Connection(it) => it.process.as_deref(),
        Record::Notice(_) => None,
    });
    let encode = |process| {
        let mut bytes = Vec::new();
        codec::encode_process(process, &mut bytes);
        bytes
    };
    processes.map(encode).collect()
}

pub(crate) fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(record, &mut bytes);
    bytes
}

/// When a record was made.
pub(crate) fn wall(record: &Record) -> Wall {
    record.at().wall
}
