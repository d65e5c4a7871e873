//! Rows in `RowBinary`, one after the other:
//! <https://clickhouse.com/docs/interfaces/formats/RowBinary>.

use super::bytes::{Form, Writer};
use super::text::address_bytes;
use super::{Column, Kind, Provenance, Table, Value};
use crate::{Item, Manifest};
use record::Device;
use record::wire::push_varint;

/// Writes rows in `RowBinary`.
#[derive(Debug)]
pub struct Rows(Writer<RowBinary>);

impl Default for Rows {
    fn default() -> Rows {
        Rows(Writer::new(RowBinary))
    }
}

impl Rows {
    /// What comes next is of another batch.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Appends the row of an item, which belongs into the table of its record.
    pub fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        self.0.item(provenance, item, out);
    }

    /// Appends the row of a manifest.
    pub fn manifest(&mut self, device: &Device, manifest: &Manifest, out: &mut Vec<u8>) {
        self.0.manifest(device, manifest, out);
    }
}

#[derive(Debug)]
struct RowBinary;

impl Form for RowBinary {
    #[inline(always)]
    fn value(&self, table: Table, column: usize, value: Value<'_>, out: &mut Vec<u8>) {
        let column: &Column = &table.columns()[column];
        if column.nullable {
            let is_null = value == Value::Unknown;
            out.push(u8::from(is_null));
            if is_null {
                return;
            }
        }
        match value {
            Value::Unknown => unreachable!("column {} is always known", column.name),
            Value::Uint(number) => write_uint(column.kind, number, out),
            Value::Int(number) => out.extend_from_slice(&(number as i32).to_le_bytes()),
            Value::Bool(it) => out.push(it.into()),
            Value::Text(text) => {
                push_varint(out, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
            Value::Time(moment_ms) => out.extend_from_slice(&moment_ms.to_le_bytes()),
            Value::Address(address) => out.extend_from_slice(&address_bytes(address)),
            Value::Uuid(bytes) => {
                // Two halves, each a little-endian number.
                let number = u128::from_be_bytes(bytes);
                out.extend_from_slice(&((number >> 64) as u64).to_le_bytes());
                out.extend_from_slice(&(number as u64).to_le_bytes());
            }
        }
    }
}

fn write_uint(kind: Kind, number: u64, out: &mut Vec<u8>) {
    match kind {
        Kind::UInt16 => out.extend_from_slice(&(number as u16).to_le_bytes()),
        Kind::UInt32 => out.extend_from_slice(&(number as u32).to_le_bytes()),
        Kind::UInt64
        | Kind::Int32
        | Kind::Bool
        | Kind::Text
        | Kind::Word
        | Kind::Time
        | Kind::Address
        | Kind::Uuid => out.extend_from_slice(&number.to_le_bytes()),
    }
}
