//! Golden bytes: what destinations and stores were once sent.
//!
//! `tests/golden/v1/FORMAT` is one batch of a record of each kind. Files are only ever added. With
//! `CONNTRAIL_BLESS` set, missing ones are written; those that exist are never touched.

use crate::batches::{FORMATS, of_records, plain};
use record::{Record, RecordId, ocsf, sample};
use ship::flat::{Provenance, Rows, Table, Texts, row_expression};
use ship::{Batch, native};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use trail::Source;

/// A record of each kind of notice, and connections of each phase.
fn golden_batch() -> Batch {
    let mut kinds = BTreeSet::new();
    let mut wanted = Vec::new();
    for record in sample::records(2026, 4_000) {
        let kind = match &record {
            Record::Notice(notice) => ocsf::notice_words(&notice.kind).name.to_owned(),
            Record::Connection(connection) => format!("{:?}", connection.phase),
        };
        if kinds.insert(kind) {
            wanted.push(record);
        }
    }
    wanted.truncate(60);
    of_records(wanted, Source::Recorder)
}

fn hold(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/v1")
        .join(name);
    if !path.exists() && std::env::var_os("CONNTRAIL_BLESS").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    let golden = fs::read(&path)
        .unwrap_or_else(|error| panic!("{path:?}: {error}; add it with CONNTRAIL_BLESS=1"));
    assert!(golden == bytes, "{path:?} has other bytes now");
}

#[test]
fn every_format_has_the_bytes_that_it_had() {
    let batch = golden_batch();
    for format in FORMATS {
        let name = format!("{format:?}").to_lowercase();
        hold(&name, &plain(format, &batch).body);
    }
}

#[test]
fn rows_texts_and_expressions_are_what_they_were() {
    let batch = golden_batch();
    let (mut rows, mut texts) = (Rows::default(), Texts::default());
    let (mut row_bytes, mut text_bytes) = (Vec::new(), Vec::new());
    for item in &batch.items {
        rows.item(Provenance::of(&batch), item, &mut row_bytes);
        texts.item(Provenance::of(&batch), item, &mut text_bytes);
        text_bytes.push(b'\n');
    }
    hold("rows", &row_bytes);
    hold("texts", &text_bytes);
    for table in Table::ALL {
        let name = format!("expression_{}", table.name());
        hold(&name, (row_expression(table) + "\n").as_bytes());
    }
}

#[test]
fn the_golden_batch_still_reads() {
    let bytes = plain(ship::Format::Native, &golden_batch()).body;
    assert_eq!(native::decode(&bytes).unwrap(), golden_batch());
    assert_eq!(
        RecordId {
            epoch: 7,
            sequence: 1_000
        },
        golden_batch().items[0].id
    );
}
