//! Unique names of records.

use crate::Batch;
use crate::flat::{Provenance, Table, write_number, write_uuid};
use std::io::Write;

/// `ENDPOINT[.SIDE]-EPOCH-SEQUENCE`, of letters, digits, `.`, `_` and `-` only.
pub(super) fn write_uid(provenance: Provenance<'_>, sequence: u64, out: &mut Vec<u8>) {
    write_uid_prefix(provenance, out);
    write_number(sequence, out);
}

/// All of it but the sequence.
pub(super) fn write_uid_prefix(provenance: Provenance<'_>, out: &mut Vec<u8>) {
    write_uuid(&provenance.device.endpoint.0, out);
    if let Some(name) = provenance.source.name() {
        out.push(b'.');
        out.extend_from_slice(name.as_bytes());
    }
    out.push(b'-');
    write_number(provenance.epoch, out);
    out.push(b'-');
}

/// The name of a manifest is that of its batch.
pub(super) fn write_batch_uid(batch: &Batch, out: &mut Vec<u8>) {
    write!(out, "{}", batch.manifest.id).expect("memory can be written");
}

/// What events are called that have a name.
pub(super) fn event_name(table: Table) -> &'static str {
    match table {
        Table::Connections => "conntrail.connection",
        Table::Notices => "conntrail.notice",
        Table::Batches => "conntrail.manifest",
    }
}
