//! Attributes of OpenTelemetry, one JSON object a record: for those who keep lines and know the
//! semantic conventions.

use super::lines::manifest_time_ms;
use super::otlp::UID;
use super::uid::{event_name, write_batch_uid, write_uid};
use crate::flat::{
    Form, Provenance, Table, Value, Writer, table_of, write_json_value, write_moment,
};
use crate::{Batch, Item};

/// Writes lines.
pub(super) struct Otel(Writer<Attributes>);

impl Otel {
    pub(super) fn new() -> Otel {
        Otel(Writer::new(Attributes))
    }

    pub(super) fn begin(&mut self) {
        self.0.begin();
    }

    pub(super) fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        let time_ms = item.record.at().wall.as_millis();
        begin(table_of(&item.record), time_ms, out);
        write_uid(provenance, item.id.sequence, out);
        out.push(b'"');
        self.0.item(provenance, item, out);
        out.push(b'}');
    }

    pub(super) fn manifest(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        begin(Table::Batches, manifest_time_ms(batch), out);
        write_batch_uid(batch, out);
        out.push(b'"');
        self.0.manifest(&batch.device, &batch.manifest, out);
        out.push(b'}');
    }
}

/// Up to the unique name and its first quote.
fn begin(table: Table, time_ms: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    write_moment(time_ms, b'T', out);
    out.extend_from_slice(b"\",\"event_name\":\"");
    out.extend_from_slice(event_name(table).as_bytes());
    out.extend_from_slice(b"\",\"");
    out.extend_from_slice(UID.as_bytes());
    out.extend_from_slice(b"\":\"");
}

#[derive(Debug)]
struct Attributes;

impl Form for Attributes {
    #[inline(always)]
    fn value(&self, table: Table, column: usize, value: Value<'_>, out: &mut Vec<u8>) {
        let name = table.columns()[column].otel;
        if name.is_empty() || matches!(value, Value::Unknown | Value::Text("")) {
            return;
        }
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write_json_value(value, b'T', out);
    }
}
