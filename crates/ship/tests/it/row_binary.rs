//! Rows in `RowBinary`, read by a small reader made of the types that the tables name.

use crate::batches::{batch, side};
use serde_json::{Map, Value, json};
use ship::flat::{Column, Lines, Provenance, Rows, Table};
use std::net::{IpAddr, Ipv6Addr};

/// Takes a value of a type of ClickHouse; null where it is unknown.
fn take(kind: &str, bytes: &mut &[u8]) -> Value {
    if let Some(inner) = kind.strip_prefix("Nullable(") {
        return match take_bytes(1, bytes)[0] {
            0 => take(inner.strip_suffix(')').unwrap(), bytes),
            1 => Value::Null,
            other => panic!("{other} is neither null nor not"),
        };
    }
    match kind {
        "UInt16" => number(2, bytes).into(),
        "UInt32" => number(4, bytes).into(),
        "UInt64" => number(8, bytes).into(),
        "Int32" => (number(4, bytes) as u32 as i32).into(),
        "Bool" => (number(1, bytes) == 1).into(),
        "String" | "LowCardinality(String)" => {
            let length = record::wire::take_varint(bytes).unwrap() as usize;
            String::from_utf8(take_bytes(length, bytes).to_vec())
                .unwrap()
                .into()
        }
        "DateTime64(3, 'UTC')" => json!({ "ms": number(8, bytes) as i64 }),
        "IPv6" => {
            let octets: [u8; 16] = take_bytes(16, bytes).try_into().unwrap();
            let address = Ipv6Addr::from(octets);
            let address = address
                .to_ipv4_mapped()
                .map_or(IpAddr::V6(address), IpAddr::V4);
            address.to_string().into()
        }
        "UUID" => {
            let (high, low) = (number(8, bytes), number(8, bytes));
            let text = format!("{high:016x}{low:016x}");
            let parts = [
                &text[..8],
                &text[8..12],
                &text[12..16],
                &text[16..20],
                &text[20..],
            ];
            parts.join("-").into()
        }
        other => panic!("no such type: {other}"),
    }
}

fn take_bytes<'a>(count: usize, bytes: &mut &'a [u8]) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn number(width: usize, bytes: &mut &[u8]) -> u64 {
    let taken = take_bytes(width, bytes).iter().rev();
    taken.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// What the line of JSON says in this column, as `take` would: a moment is compared elsewhere.
fn expected(column: &Column, line: &Value) -> Value {
    let value = &line[column.name];
    match value.is_null() && !column.nullable {
        true => "".into(),
        false => value.clone(),
    }
}

#[test]
fn a_row_says_what_the_line_says() {
    let batch = batch(8, 4_000, side());
    let provenance = Provenance::of(&batch);
    let (mut rows, mut lines) = (Rows::default(), Lines::default());
    for item in &batch.items {
        let (mut row, mut line) = (Vec::new(), Vec::new());
        rows.item(provenance, item, &mut row);
        lines.item(provenance, item, &mut line);
        let line: Value = serde_json::from_slice(&line).unwrap();
        let table = match line["kind"].as_str().unwrap() {
            "connection" => Table::Connections,
            "notice" => Table::Notices,
            other => panic!("{other}"),
        };
        compare(table, &row, &line);
    }
    let (mut row, mut line) = (Vec::new(), Vec::new());
    rows.manifest(&batch.device, &batch.manifest, &mut row);
    lines.manifest(&batch.device, &batch.manifest, &mut line);
    compare(
        Table::Batches,
        &row,
        &serde_json::from_slice(&line).unwrap(),
    );
}

fn compare(table: Table, row: &[u8], line: &Value) {
    let mut rest = row;
    let mut seen = Map::new();
    for column in table.columns() {
        let value = take(&column.clickhouse_type(), &mut rest);
        let expected = expected(column, line);
        match value.get("ms").and_then(Value::as_i64) {
            Some(ms) => {
                let millis = format!(".{:03}", ms.rem_euclid(1_000));
                assert!(
                    expected.as_str().unwrap().ends_with(&millis),
                    "{}",
                    column.name
                );
            }
            None => assert_eq!(value, expected, "{}", column.name),
        }
        seen.insert(column.name.to_owned(), value);
    }
    assert!(rest.is_empty(), "{} bytes are left", rest.len());
    if let (Some(start), Some(duration)) = (
        seen.get("start_time"),
        seen.get("duration_ms").and_then(Value::as_u64),
    ) {
        assert!(start["ms"].as_i64().unwrap() > 0 && duration < 1 << 40);
    }
}
