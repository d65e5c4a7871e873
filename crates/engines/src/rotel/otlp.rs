//! A reader of OTLP's log records, written from the published definitions of the messages and
//! sharing nothing with what writes them.

use serde_json::{Map, Value, json};

/// A field of a message: its number, and what it holds.
enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
}

/// Every log record in a request to export some; `None` when the bytes are no such request.
pub(super) fn log_records(request: &[u8]) -> Option<Vec<Value>> {
    let mut records = Vec::new();
    for of_resource in messages(request, 1)? {
        let mut resource = Map::new();
        for message in messages(of_resource, 1)? {
            resource = attributes(message, 1)?;
        }
        for of_scope in messages(of_resource, 2)? {
            let mut scope = Value::Null;
            for message in messages(of_scope, 1)? {
                scope = text(messages(message, 1)?.first().copied().unwrap_or_default());
            }
            for message in messages(of_scope, 2)? {
                let mut record = log_record(message)?;
                record.insert("resource".to_owned(), resource.clone().into());
                record.insert("scope".to_owned(), scope.clone());
                records.push(record.into());
            }
        }
    }
    Some(records)
}

fn log_record(message: &[u8]) -> Option<Map<String, Value>> {
    let mut record = Map::new();
    for field in fields(message)? {
        let (name, value) = match field {
            Field::Number(1, time) => ("time_unix_nano", json!(time)),
            Field::Number(2, severity) => ("severity_number", json!(severity)),
            Field::Number(11, time) => ("observed_time_unix_nano", json!(time)),
            Field::Bytes(3, severity) => ("severity_text", text(severity)),
            Field::Bytes(5, body) => ("body", any_value(body)?),
            Field::Bytes(12, name) => ("event_name", text(name)),
            Field::Number(..) | Field::Bytes(..) => continue,
        };
        record.insert(name.to_owned(), value);
    }
    record.insert("attributes".to_owned(), attributes(message, 6)?.into());
    Some(record)
}

fn attributes(message: &[u8], number: u64) -> Option<Map<String, Value>> {
    let mut found = Map::new();
    for pair in messages(message, number)? {
        let key = text(messages(pair, 1)?.first()?);
        let value = messages(pair, 2)?.first().copied().unwrap_or_default();
        found.insert(key.as_str()?.to_owned(), any_value(value)?);
    }
    Some(found)
}

fn any_value(message: &[u8]) -> Option<Value> {
    let Some(field) = fields(message)?.into_iter().next() else {
        return Some(Value::Null);
    };
    Some(match field {
        Field::Bytes(1, value) => text(value),
        Field::Number(2, value) => json!(value != 0),
        Field::Number(3, value) => json!(value.cast_signed()),
        Field::Number(4, value) => json!(f64::from_bits(value)),
        Field::Bytes(5, list) => {
            let values: Option<Vec<Value>> =
                messages(list, 1)?.into_iter().map(any_value).collect();
            values?.into()
        }
        Field::Bytes(6, list) => attributes(list, 1)?.into(),
        Field::Bytes(7, bytes) => json!(bytes),
        Field::Number(..) | Field::Bytes(..) => return None,
    })
}

fn messages(message: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let matching = fields(message)?
        .into_iter()
        .filter_map(|field| match field {
            Field::Bytes(number, bytes) if number == wanted => Some(bytes),
            Field::Bytes(..) | Field::Number(..) => None,
        });
    Some(matching.collect())
}

fn fields(mut rest: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let number = key >> 3;
        found.push(match key & 7 {
            0 => Field::Number(number, varint(&mut rest)?),
            1 => Field::Number(
                number,
                u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?),
            ),
            2 => {
                let length = varint(&mut rest)?;
                Field::Bytes(number, take(&mut rest, usize::try_from(length).ok()?)?)
            }
            5 => {
                let bytes = take(&mut rest, 4)?.try_into().ok()?;
                Field::Number(number, u32::from_le_bytes(bytes).into())
            }
            _ => return None,
        });
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_no_request() {
        // One resource with one scope with one record: a time, and an attribute `a` that is 5.
        let attribute = [0x32, 7, 0x0a, 1, b'a', 0x12, 2, 0x18, 5];
        let mut record = vec![0x09, 1, 0, 0, 0, 0, 0, 0, 0];
        record.extend(attribute);
        let wrap = |tag: u8, inner: &[u8]| {
            let mut outer = vec![tag, u8::try_from(inner.len()).unwrap()];
            outer.extend(inner);
            outer
        };
        let request = wrap(0x0a, &wrap(0x12, &wrap(0x12, &record)));
        let records = log_records(&request).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["time_unix_nano"], 1);
        assert_eq!(records[0]["attributes"], json!({"a": 5}));
        assert_eq!(log_records(&request[..request.len() - 1]), None);
    }
}
