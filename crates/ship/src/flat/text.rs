//! The flat text of a row: the same from the record and, in SQL, from the columns of a store.
//!
//! Word of the table, then each column after a tab. A number is decimal, a moment the milliseconds
//! since 1970, yes and no are 1 and 0, an address is 32 hexadecimal digits, a UUID stands in the
//! form 8-4-4-4-12, each in lower case; what is unknown is empty. A text is the count of its bytes,
//! a colon and itself, so that no two rows have one text.

use super::bytes::{Form, Writer, table_of};
use super::{Column, Kind, Provenance, Table, Value};
use crate::Item;
use std::net::IpAddr;

/// Writes flat texts.
#[derive(Debug)]
pub struct Texts(Writer<TextForm>);

impl Default for Texts {
    fn default() -> Texts {
        Texts(Writer::new(TextForm))
    }
}

impl Texts {
    /// What comes next is of another batch.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Appends the flat text of an item.
    pub fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        out.extend_from_slice(table_of(&item.record).kind().as_bytes());
        self.0.item(provenance, item, out);
    }
}

/// The flat text of a row of `table`, as an expression of ClickHouse over its columns.
pub fn row_expression(table: Table) -> String {
    let columns = table.columns().iter().map(column_expression);
    let columns: Vec<String> = columns.collect();
    format!(
        "concat('{}\\t', {})",
        table.kind(),
        columns.join(", '\\t', ")
    )
}

/// The digest of a manifest, in hexadecimal, as an aggregate expression of ClickHouse over rows
/// with two columns: `sequence`, and `row_text` as [`row_expression`] gives it. What is grouped is
/// what arrived of one batch, each record once.
pub fn digest_expression() -> &'static str {
    "lower(hex(SHA256(arrayStringConcat(arrayMap(it -> it.2, \
     arraySort(it -> it.1, groupArray((sequence, row_text)))), '\\n'))))"
}

fn column_expression(column: &Column) -> String {
    let name = column.name;
    let bare = match column.kind {
        Kind::Text | Kind::Word => return format!("toString(length({name})), ':', {name}"),
        Kind::UInt16 | Kind::UInt32 | Kind::UInt64 | Kind::Int32 | Kind::Uuid => {
            format!("toString({name})")
        }
        Kind::Bool => format!("toString(toUInt8({name}))"),
        Kind::Time => format!("toString(toUnixTimestamp64Milli({name}))"),
        Kind::Address => format!("lower(hex({name}))"),
    };
    match column.nullable {
        true => format!("ifNull({bare}, '')"),
        false => bare,
    }
}

#[derive(Debug)]
struct TextForm;

impl Form for TextForm {
    #[inline(always)]
    fn value(&self, _: Table, _: usize, value: Value<'_>, out: &mut Vec<u8>) {
        out.push(b'\t');
        match value {
            Value::Unknown => {}
            Value::Uint(number) => write_number(number, out),
            Value::Int(number) | Value::Time(number) => write_signed(number, out),
            Value::Bool(it) => out.push(if it { b'1' } else { b'0' }),
            Value::Text(text) => {
                write_number(text.len() as u64, out);
                out.push(b':');
                out.extend_from_slice(text.as_bytes());
            }
            Value::Address(address) => write_hex(&address_bytes(address), out),
            Value::Uuid(bytes) => write_uuid(&bytes, out),
        }
    }
}

/// The sixteen bytes of an address of either version.
pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Sixteen bytes in the form 8-4-4-4-12.
pub(crate) fn write_uuid(bytes: &[u8; 16], out: &mut Vec<u8>) {
    for (index, part) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if index > 0 {
            out.push(b'-');
        }
        write_hex(&bytes[part], out);
    }
}

/// Bytes in hexadecimal, in lower case.
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        let digit = |bits: u8| DIGITS[usize::from(bits)];
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// A number in decimal.
#[inline]
pub(crate) fn write_number(number: u64, out: &mut Vec<u8>) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else if number < EIGHT_DIGITS {
        let digits = eight_digits(number);
        let zeros = digits.trailing_zeros() / 8;
        write_bytes((digits | ZEROS) >> (zeros * 8), 8 - zeros as usize, out);
    } else {
        write_number(number / EIGHT_DIGITS, out);
        let digits = eight_digits(number % EIGHT_DIGITS);
        write_bytes(digits | ZEROS, 8, out);
    }
}

/// The first number that has more than eight digits.
const EIGHT_DIGITS: u64 = 100_000_000;
/// Eight times the digit zero.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The digits of a number below [`EIGHT_DIGITS`] as numbers, a byte each, the first digit in the
/// lowest byte. Halves, quarters and bytes are divided at once, each by multiplying with what the
/// divisor goes so many times into a power of two.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((quarters - tens * 10) << 8)
}

/// Appends the first bytes of eight: to append eight and take the rest away again costs less than
/// to append so many.
#[inline]
fn write_bytes(bytes: u64, count: usize, out: &mut Vec<u8>) {
    let end = out.len() + count;
    out.extend_from_slice(&bytes.to_le_bytes());
    out.truncate(end);
}

/// A number with a sign in decimal.
pub(crate) fn write_signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    write_number(number.unsigned_abs(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_in_decimal() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let around = powers.flat_map(|it| [it - 1, it, it + 1, it.wrapping_mul(7)]);
        let parts = (0..10_000).flat_map(|part| [part, part * 10_000, part * 10_001]);
        for number in around.chain(parts).chain([u64::MAX, 105, 990]) {
            let mut out = Vec::new();
            write_number(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
