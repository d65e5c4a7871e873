//! Log records of OpenTelemetry in protocol buffers, one attribute a datum:
//! <https://opentelemetry.io/docs/specs/otlp/>.
//!
//! What is the same for all records of a batch is said once, of the resource.

use super::uid::{event_name, write_batch_uid, write_uid_prefix};
use crate::flat::{
    Column, Form, Provenance, Table, Value, Writer, table_of, write_moment, write_number,
    write_uuid,
};
use crate::{Batch, Item};
use record::ocsf::notice_words;
use record::wire::push_varint;
use record::{Record, Wall};
use std::io::Write;
use std::net::IpAddr;

/// The version of the semantic conventions that attributes follow.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";
/// What emits the records.
pub(super) const SCOPE: &str = "conntrail";
/// `SEVERITY_NUMBER_INFO`.
pub(super) const SEVERITY_INFO: u8 = 9;

/// Writes `ExportLogsServiceRequest` messages.
pub(super) struct Otlp {
    in_resource: Writer<Attributes>,
    in_record: Writer<Attributes>,
    /// What unique names begin with.
    uid: Vec<u8>,
}

impl Otlp {
    pub(super) fn new() -> Otlp {
        Otlp {
            in_resource: Writer::new(Attributes::new(IN_RESOURCE)),
            in_record: Writer::new(Attributes::new(IN_RECORD)),
            uid: Vec::with_capacity(128),
        }
    }

    /// Puts a batch into `out` and returns where it begins there.
    pub(super) fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> usize {
        let provenance = Provenance::of(batch);
        self.in_resource.begin();
        self.uid.clear();
        write_uid_prefix(provenance, &mut self.uid);
        let resource = self.resource(provenance);
        let mut scope = Vec::with_capacity(32);
        text(SCOPE_NAME, SCOPE, &mut scope);
        // The lengths that come first are known when all is written.
        let room = resource.len() + scope.len() + 4 * FIELD_BYTES_MAX;
        out.clear();
        out.resize(room, 0);
        for item in &batch.items {
            self.item(provenance, item, out);
        }
        self.manifest(batch, out);
        text(SCOPE_SCHEMA_URL, SCHEMA_URL, out);

        let mut scope_logs = Vec::with_capacity(room);
        bytes(SCOPE_OF_LOGS, &scope, &mut scope_logs);
        let logs = scope_logs.len() + out.len() - room;
        let mut front = Vec::with_capacity(room);
        bytes(RESOURCE, &resource, &mut front);
        front.push(SCOPE_LOGS);
        push_varint(&mut front, logs as u64);
        front.extend_from_slice(&scope_logs);
        let request = front.len() + out.len() - room;
        let mut head = vec![RESOURCE_LOGS];
        push_varint(&mut head, request as u64);
        head.extend_from_slice(&front);
        let start = room - head.len();
        out[start..room].copy_from_slice(&head);
        start
    }

    fn resource(&mut self, provenance: Provenance<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(1_024);
        text_attribute(IN_RESOURCE, "service.name", SCOPE.as_bytes(), &mut out);
        self.in_resource.provenance(provenance, &mut out);
        out
    }

    fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        let Wall(time_ns) = item.record.at().wall;
        let start = open(LOG_RECORD, out);
        begin(table_of(&item.record), Some(time_ns), out);
        if let Record::Notice(notice) = &item.record {
            let message = notice_words(&notice.kind).message;
            let mut body = Vec::with_capacity(message.len() + 4);
            text(ANY_TEXT, &message, &mut body);
            bytes(BODY, &body, out);
        }
        let prefix = self.uid.len();
        write_number(item.id.sequence, &mut self.uid);
        text_attribute(IN_RECORD, UID, &self.uid, out);
        self.uid.truncate(prefix);
        self.in_record.item(provenance, item, out);
        close(start, out);
    }

    fn manifest(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let until = batch.manifest.until;
        let start = open(LOG_RECORD, out);
        begin(Table::Batches, until.map(|Wall(time_ns)| time_ns), out);
        let mut uid = Vec::with_capacity(128);
        write_batch_uid(batch, &mut uid);
        text_attribute(IN_RECORD, UID, &uid, out);
        self.in_record.manifest(&batch.device, &batch.manifest, out);
        close(start, out);
    }
}

/// Begins a log record. What observes is the recorder, so the time at which it was observed is the
/// record's own.
fn begin(table: Table, time_ns: Option<i64>, out: &mut Vec<u8>) {
    if let Some(time_ns) = time_ns {
        let mut times = [0; 18];
        for (field, key) in times.chunks_exact_mut(9).zip([TIME, OBSERVED_TIME]) {
            field[0] = key;
            field[1..].copy_from_slice(&time_ns.to_le_bytes());
        }
        out.extend_from_slice(&times);
    }
    out.extend_from_slice(&[SEVERITY, SEVERITY_INFO]);
    text(EVENT_NAME, event_name(table), out);
}

/// The attribute with the unique name of a record.
pub(super) const UID: &str = "log.record.uid";

/// Attributes of a resource, or of log records.
#[derive(Debug)]
struct Attributes {
    /// The key of the field that they are.
    key: u8,
    /// By table and column; `None` for a column that is no attribute.
    openings: [Vec<Option<Opening>>; Table::ALL.len()],
}

/// An attribute up to its value, with lengths of zero.
///
/// It has room for a number behind it: to append all of it and take the rest away again costs less
/// than to append so many bytes.
#[derive(Debug)]
struct Opening {
    bytes: [u8; OPENING_BYTES],
    length: usize,
}

const OPENING_BYTES: usize = 64;

impl Attributes {
    fn new(key: u8) -> Attributes {
        let opening = |column: &Column| match column.otel {
            "" => None,
            name => Some(Opening::new(key, name)),
        };
        let openings = Table::ALL.map(|table| table.columns().iter().map(opening).collect());
        Attributes { key, openings }
    }
}

impl Form for Attributes {
    const TELLS_PROVENANCE: bool = false;

    #[inline(always)]
    fn value(&self, table: Table, column: usize, value: Value<'_>, out: &mut Vec<u8>) {
        if let Some(opening) = &self.openings[table as usize][column] {
            let name = table.columns()[column].otel;
            self.attribute(name, opening, value, out);
        }
    }
}

impl Attributes {
    /// An attribute, where its value is known.
    #[inline(always)]
    fn attribute(&self, name: &str, opening: &Opening, value: Value<'_>, out: &mut Vec<u8>) {
        match value {
            Value::Unknown | Value::Text("") => {}
            Value::Uint(number) => match i64::try_from(number) {
                Ok(number) => opening.int(number, out),
                // No number of the protocol holds it.
                Err(_) => text_attribute(self.key, name, number.to_string().as_bytes(), out),
            },
            Value::Int(number) => opening.int(number, out),
            Value::Bool(it) => {
                opening.short(out, |out| out.extend_from_slice(&[ANY_BOOL, it.into()]));
            }
            Value::Text(text) => text_attribute(self.key, name, text.as_bytes(), out),
            Value::Time(_) | Value::Address(_) | Value::Uuid(_) => {
                opening.short(out, |out| {
                    out.extend_from_slice(&[ANY_TEXT, 0]);
                    let start = out.len();
                    write_text(value, out);
                    out[start - 1] = (out.len() - start) as u8;
                });
            }
        }
    }
}

impl Opening {
    fn new(key: u8, name: &str) -> Opening {
        let mut bytes = [0; OPENING_BYTES];
        let length = 6 + name.len();
        assert!(length + 11 <= OPENING_BYTES, "names are short");
        bytes[..4].copy_from_slice(&[key, 0, ATTRIBUTE_NAME, name.len() as u8]);
        bytes[4..length - 2].copy_from_slice(name.as_bytes());
        bytes[length - 2] = ATTRIBUTE_VALUE;
        Opening { bytes, length }
    }

    /// An attribute that with its name has less than 128 bytes, so that each length takes one.
    #[inline(always)]
    fn short(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        let value = start + self.length;
        out.extend_from_slice(&self.bytes);
        out.truncate(value);
        write(out);
        let end = out.len();
        assert!(end - start - 2 < 0x80, "a name and its value are short");
        out[start + 1] = (end - start - 2) as u8;
        out[value - 1] = (end - value) as u8;
    }

    #[inline(always)]
    fn int(&self, number: i64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let attribute = &mut out[start..];
        attribute[self.length] = ANY_INT;
        let mut end = self.length + 1;
        let mut rest = number as u64;
        while rest >= 0x80 {
            attribute[end] = rest as u8 | 0x80;
            rest >>= 7;
            end += 1;
        }
        attribute[end] = rest as u8;
        end += 1;
        attribute[1] = (end - 2) as u8;
        attribute[self.length - 1] = (end - self.length) as u8;
        out.truncate(start + end);
    }
}

/// What is a text in OpenTelemetry, though it is none in our tables.
pub(super) fn write_text(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Time(moment_ms) => write_moment(moment_ms, b'T', out),
        Value::Address(IpAddr::V4(address)) => {
            for (index, byte) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                write_number(byte.into(), out);
            }
        }
        Value::Address(address) => write!(out, "{address}").expect("memory can be written"),
        Value::Uuid(bytes) => write_uuid(&bytes, out),
        Value::Unknown | Value::Uint(_) | Value::Int(_) | Value::Bool(_) | Value::Text(_) => {}
    }
}

#[inline(always)]
fn text_attribute(key: u8, name: &str, value: &[u8], out: &mut Vec<u8>) {
    let length = value.len() as u64;
    open_attribute(key, name, 1 + varint_length(length) + value.len(), out);
    out.push(ANY_TEXT);
    push_varint(out, length);
    out.extend_from_slice(value);
}

/// All of an attribute that comes before the value, which is of this length.
#[inline(always)]
fn open_attribute(key: u8, name: &str, value_length: usize, out: &mut Vec<u8>) {
    let value_field = 1 + varint_length(value_length as u64) + value_length;
    out.push(key);
    push_varint(out, (2 + name.len() + value_field) as u64);
    // Our names are shorter than 128 bytes.
    out.extend_from_slice(&[ATTRIBUTE_NAME, name.len() as u8]);
    out.extend_from_slice(name.as_bytes());
    out.push(ATTRIBUTE_VALUE);
    push_varint(out, value_length as u64);
}

/// Begins a field whose length is known at its end, and is seldom of other than two bytes.
fn open(key: u8, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[key, 0, 0]);
    out.len()
}

/// Ends the field whose bytes begin at `start`.
fn close(start: usize, out: &mut Vec<u8>) {
    let length = (out.len() - start) as u64;
    if varint_length(length) == 2 {
        out[start - 2] = length as u8 | 0x80;
        out[start - 1] = (length >> 7) as u8;
    } else {
        let mut varint = Vec::with_capacity(10);
        push_varint(&mut varint, length);
        out.splice(start - 2..start, varint);
    }
}

fn text(key: u8, value: &str, out: &mut Vec<u8>) {
    bytes(key, value.as_bytes(), out);
}

fn bytes(key: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(key);
    push_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[inline(always)]
fn varint_length(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// A key and a length take no more.
const FIELD_BYTES_MAX: usize = 11;

/// Key of a field with bytes; all our numbers fit one byte.
const fn key(field: u8) -> u8 {
    field << 3 | 2
}

// ExportLogsServiceRequest
const RESOURCE_LOGS: u8 = key(1);
// ResourceLogs
const RESOURCE: u8 = key(1);
const SCOPE_LOGS: u8 = key(2);
// Resource
const IN_RESOURCE: u8 = key(1);
// ScopeLogs
const SCOPE_OF_LOGS: u8 = key(1);
const LOG_RECORD: u8 = key(2);
const SCOPE_SCHEMA_URL: u8 = key(3);
// InstrumentationScope
const SCOPE_NAME: u8 = key(1);
// LogRecord
const TIME: u8 = 1 << 3 | 1;
const SEVERITY: u8 = 2 << 3;
const BODY: u8 = key(5);
const IN_RECORD: u8 = key(6);
const OBSERVED_TIME: u8 = 11 << 3 | 1;
const EVENT_NAME: u8 = key(12);
// KeyValue
const ATTRIBUTE_NAME: u8 = key(1);
const ATTRIBUTE_VALUE: u8 = key(2);
// AnyValue
const ANY_TEXT: u8 = key(1);
const ANY_BOOL: u8 = 2 << 3;
const ANY_INT: u8 = 3 << 3;
