//! Rows as lines of JSON, for `JSONEachRow` and for people. What is unknown is left out.

use super::bytes::{Form, Writer, table_of};
use super::text::{write_number, write_signed, write_uuid};
use super::{Provenance, Table, Value};
use crate::{Item, Manifest};
use record::Device;
use std::io::Write;

/// Writes lines of JSON: `kind` says of which table, then the columns that are known.
#[derive(Debug)]
pub struct Lines(Writer<Json>);

impl Default for Lines {
    fn default() -> Lines {
        Lines(Writer::new(Json))
    }
}

impl Lines {
    /// What comes next is of another batch.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Appends an item as an object, without a line break.
    pub fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        open(table_of(&item.record), out);
        self.0.item(provenance, item, out);
        out.push(b'}');
    }

    /// Appends a manifest as an object, without a line break.
    pub fn manifest(&mut self, device: &Device, manifest: &Manifest, out: &mut Vec<u8>) {
        open(Table::Batches, out);
        self.0.manifest(device, manifest, out);
        out.push(b'}');
    }
}

fn open(table: Table, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"");
    out.extend_from_slice(table.kind().as_bytes());
    out.push(b'"');
}

#[derive(Debug)]
struct Json;

impl Form for Json {
    #[inline(always)]
    fn value(&self, table: Table, column: usize, value: Value<'_>, out: &mut Vec<u8>) {
        if matches!(value, Value::Unknown | Value::Text("")) {
            return;
        }
        out.extend_from_slice(b",\"");
        out.extend_from_slice(table.columns()[column].name.as_bytes());
        out.extend_from_slice(b"\":");
        write_json_value(value, b' ', out);
    }
}

/// A value in JSON; `separator` stands between the date and the time of a moment.
pub(crate) fn write_json_value(value: Value<'_>, separator: u8, out: &mut Vec<u8>) {
    match value {
        Value::Unknown => out.extend_from_slice(b"null"),
        Value::Uint(number) => write_number(number, out),
        Value::Int(number) => write_signed(number, out),
        Value::Bool(it) => out.extend_from_slice(if it { b"true" } else { b"false" }),
        Value::Text(text) => write_json_text(text, out),
        Value::Time(moment_ms) => {
            out.push(b'"');
            write_moment(moment_ms, separator, out);
            out.push(b'"');
        }
        Value::Address(address) => {
            write!(out, "\"{address}\"").expect("memory can be written");
        }
        Value::Uuid(bytes) => {
            out.push(b'"');
            write_uuid(&bytes, out);
            out.push(b'"');
        }
    }
}

/// A text in JSON, with its quotes.
pub(crate) fn write_json_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("memory can be written");
    }
}

/// A moment as `2026-01-31 23:59:59.999`, with `separator` in the middle; with a `T` there it is
/// of ISO 8601, and ends with a `Z`.
pub(crate) fn write_moment(moment_ms: i64, separator: u8, out: &mut Vec<u8>) {
    let (days, rest_ms) = (moment_ms.div_euclid(DAY_MS), moment_ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (seconds, millis) = (rest_ms / 1_000, rest_ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let start = out.len();
    out.extend_from_slice(b"0000-00-00T00:00:00.000Z");
    let text = &mut out[start..];
    let year = year.rem_euclid(10_000);
    for (at, number) in [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, hour),
        (14, minute),
        (17, second),
        (20, millis / 10),
    ] {
        text[at] += (number / 10) as u8;
        text[at + 1] += (number % 10) as u8;
    }
    text[22] += (millis % 10) as u8;
    text[10] = separator;
    if separator != b'T' {
        out.truncate(start + 23);
    }
}

const DAY_MS: i64 = 86_400_000;

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years begin in
/// March here, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(moment_ms: i64, separator: u8) -> String {
        let mut out = Vec::new();
        write_moment(moment_ms, separator, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_are_dates_of_the_calendar() {
        for (moment_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(moment(moment_ms, b'T'), expected);
        }
        assert_eq!(moment(0, b' '), "1970-01-01 00:00:00.000");
    }

    #[test]
    fn texts_of_any_letters_survive() {
        for text in ["", "plain", "é\"\\\n\t\u{1}\u{7f}", "\u{2028}"] {
            let mut out = Vec::new();
            write_json_text(text, &mut out);
            let back: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(back, text);
        }
    }
}
