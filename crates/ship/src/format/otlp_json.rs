//! Log records of OpenTelemetry as JSON: the same as in protocol buffers, in its mapping to JSON,
//! where a number of 64 bits is a text.

use super::otlp::{SCHEMA_URL, SCOPE, SEVERITY_INFO, UID, write_text};
use super::uid::{event_name, write_batch_uid, write_uid};
use crate::flat::{
    Form, Provenance, Table, Value, Writer, table_of, write_json_text, write_number,
};
use crate::{Batch, Item};
use record::ocsf::notice_words;
use record::{Record, Wall};
use std::io::Write;

/// Writes `ExportLogsServiceRequest` messages as JSON.
pub(super) struct OtlpJson {
    in_resource: Writer<Attributes<true>>,
    in_record: Writer<Attributes<false>>,
}

impl OtlpJson {
    pub(super) fn new() -> OtlpJson {
        OtlpJson {
            in_resource: Writer::new(Attributes),
            in_record: Writer::new(Attributes),
        }
    }

    /// Appends a batch.
    pub(super) fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let provenance = Provenance::of(batch);
        out.extend_from_slice(b"{\"resourceLogs\":[{\"resource\":{\"attributes\":[");
        text_attribute("service.name", SCOPE.as_bytes(), out);
        self.in_resource.provenance(provenance, out);
        write!(
            out,
            "]}},\"scopeLogs\":[{{\"scope\":{{\"name\":\"{SCOPE}\"}},\"logRecords\":["
        )
        .expect("memory can be written");
        self.in_record.begin();
        for item in &batch.items {
            self.item(provenance, item, out);
            out.push(b',');
        }
        self.manifest(batch, out);
        write!(out, "],\"schemaUrl\":\"{SCHEMA_URL}\"}}]}}]}}").expect("memory can be written");
    }

    fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        let Wall(time_ns) = item.record.at().wall;
        begin(table_of(&item.record), Some(time_ns), out);
        if let Record::Notice(notice) = &item.record {
            out.extend_from_slice(b",\"body\":{\"stringValue\":");
            write_json_text(&notice_words(&notice.kind).message, out);
            out.push(b'}');
        }
        uid(out, |out| write_uid(provenance, item.id.sequence, out));
        self.in_record.item(provenance, item, out);
        out.extend_from_slice(b"]}");
    }

    fn manifest(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let until = batch.manifest.until;
        begin(Table::Batches, until.map(|Wall(time_ns)| time_ns), out);
        uid(out, |out| write_batch_uid(batch, out));
        self.in_record.manifest(&batch.device, &batch.manifest, out);
        out.extend_from_slice(b"]}");
    }
}

fn begin(table: Table, time_ns: Option<i64>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(time_ns) = time_ns {
        // The protocol knows no time before 1970; what a wrong clock says wraps as its bytes do.
        let time_ns = time_ns as u64;
        write!(
            out,
            "\"timeUnixNano\":\"{time_ns}\",\"observedTimeUnixNano\":\"{time_ns}\","
        )
        .expect("memory can be written");
    }
    let name = event_name(table);
    write!(
        out,
        "\"severityNumber\":{SEVERITY_INFO},\"eventName\":\"{name}\""
    )
    .expect("memory can be written");
}

fn uid(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut uid = Vec::with_capacity(80);
    write(&mut uid);
    out.extend_from_slice(b",\"attributes\":[");
    text_attribute(UID, &uid, out);
}

fn text_attribute(name: &str, value: &[u8], out: &mut Vec<u8>) {
    write!(out, "{{\"key\":\"{name}\",\"value\":{{\"stringValue\":\"")
        .expect("memory can be written");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\"}}");
}

/// Attributes of a resource, or of a log record; others come before.
#[derive(Debug)]
struct Attributes<const IN_RESOURCE: bool>;

impl<const IN_RESOURCE: bool> Form for Attributes<IN_RESOURCE> {
    const TELLS_PROVENANCE: bool = IN_RESOURCE;

    fn value(&self, table: Table, column: usize, value: Value<'_>, out: &mut Vec<u8>) {
        let name = table.columns()[column].otel;
        if name.is_empty() || matches!(value, Value::Unknown | Value::Text("")) {
            return;
        }
        write!(out, ",{{\"key\":\"{name}\",\"value\":{{").expect("memory can be written");
        match value {
            Value::Unknown => {}
            Value::Uint(number) if i64::try_from(number).is_err() => {
                write!(out, "\"stringValue\":\"{number}\"").expect("memory can be written");
            }
            Value::Uint(number) => {
                out.extend_from_slice(b"\"intValue\":\"");
                write_number(number, out);
                out.push(b'"');
            }
            Value::Int(number) => {
                write!(out, "\"intValue\":\"{number}\"").expect("memory can be written");
            }
            Value::Bool(it) => {
                write!(out, "\"boolValue\":{it}").expect("memory can be written");
            }
            Value::Text(text) => {
                out.extend_from_slice(b"\"stringValue\":");
                write_json_text(text, out);
            }
            Value::Time(_) | Value::Address(_) | Value::Uuid(_) => {
                out.extend_from_slice(b"\"stringValue\":\"");
                write_text(value, out);
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"}}");
    }
}
