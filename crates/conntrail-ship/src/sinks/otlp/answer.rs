//! What a collector says, in protobuf or JSON.

use super::{JSON, PROTOBUF};
use serde_json::Value;

/// `ExportLogsPartialSuccess` of an `ExportLogsServiceResponse`; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    /// Log records that it does not want.
    pub(super) rejected: u64,
    /// What it has to say.
    pub(super) message: String,
}

/// What an `ExportLogsServiceResponse` says; `None` for everything else.
pub(super) fn export_response(content_type: &str, body: &[u8]) -> Option<Partial> {
    match content_type {
        PROTOBUF => {
            let partial = fields(body)?.into_iter().rfind(|field| field.number == 1);
            match partial {
                None => Some(Partial::default()),
                Some(field) => partial_success(field.bytes()?),
            }
        }
        JSON => partial_success_json(body),
        _ => None,
    }
}

/// The message of a `google.rpc.Status`.
pub(super) fn status_message(content_type: &str, body: &[u8]) -> Option<String> {
    match content_type {
        PROTOBUF => {
            let message = fields(body)?.into_iter().rfind(|field| field.number == 2)?;
            text(message.bytes()?)
        }
        JSON => {
            let status: Value = serde_json::from_slice(body).ok()?;
            Some(status.get("message")?.as_str()?.to_owned())
        }
        _ => None,
    }
}

fn partial_success(bytes: &[u8]) -> Option<Partial> {
    let mut partial = Partial::default();
    for field in fields(bytes)? {
        match (field.number, field.value) {
            // A negative number of records is none.
            (1, Wire::Number(count)) => {
                partial.rejected = u64::try_from(count.cast_signed()).unwrap_or(0);
            }
            (2, Wire::Bytes(bytes)) => partial.message = text(bytes)?,
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    Some(partial)
}

/// 64-bit numbers are strings in JSON, and some write them as numbers all the same.
fn partial_success_json(body: &[u8]) -> Option<Partial> {
    let response: Value = serde_json::from_slice(body).ok()?;
    let partial = match response.as_object()?.get("partialSuccess") {
        None | Some(Value::Null) => return Some(Partial::default()),
        Some(partial) => partial.as_object()?,
    };
    let rejected = match partial.get("rejectedLogRecords") {
        None | Some(Value::Null) => 0,
        Some(Value::String(digits)) => digits.parse::<i64>().ok()?,
        Some(number) => number.as_i64()?,
    };
    let message = partial.get("errorMessage").and_then(Value::as_str);
    Some(Partial {
        rejected: u64::try_from(rejected).unwrap_or(0),
        message: message.unwrap_or_default().to_owned(),
    })
}

/// A field of a protobuf message.
struct Field<'a> {
    number: u64,
    value: Wire<'a>,
}

/// A value as it stands on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Field<'a> {
    fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Wire::Bytes(bytes) => Some(bytes),
            Wire::Number(_) | Wire::Fixed => None,
        }
    }
}

/// All fields of a message; `None` for bytes that are none.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (key, rest) = number(bytes)?;
        let (value, rest) = match key & 7 {
            0 => {
                let (value, rest) = number(rest)?;
                (Wire::Number(value), rest)
            }
            1 => (Wire::Fixed, rest.split_at_checked(8)?.1),
            2 => {
                let (length, rest) = number(rest)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Wire::Bytes(value), rest)
            }
            5 => (Wire::Fixed, rest.split_at_checked(4)?.1),
            _ => return None,
        };
        let number = key >> 3;
        (number > 0).then_some(())?;
        fields.push(Field { number, value });
        bytes = rest;
    }
    Some(fields)
}

/// A number of variable length, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(bytes).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partial(rejected: u64, message: &str) -> Option<Partial> {
        Some(Partial {
            rejected,
            message: message.to_owned(),
        })
    }

    #[test]
    fn an_answer_in_protobuf_is_read() {
        let read = |body: &[u8]| export_response(PROTOBUF, body);
        assert_eq!(read(b""), partial(0, ""));
        assert_eq!(read(b"\x0a\x00"), partial(0, ""));
        assert_eq!(
            read(b"\x0a\x08\x08\xac\x02\x12\x03bad"),
            partial(300, "bad")
        );
        assert_eq!(read(b"\x0a\x05\x12\x03hmm"), partial(0, "hmm"));
        // A field of a later version, and a negative count.
        assert_eq!(read(b"\x0a\x02\x18\x01"), partial(0, ""));
        let negative = b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(read(negative), partial(0, ""));
    }

    #[test]
    fn an_answer_in_json_is_read() {
        let read = |body: &str| export_response(JSON, body.as_bytes());
        assert_eq!(read("{}"), partial(0, ""));
        assert_eq!(read(r#"{"partialSuccess":{}}"#), partial(0, ""));
        let some = r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"bad"}}"#;
        assert_eq!(read(some), partial(3, "bad"));
        assert_eq!(
            read(r#"{"partialSuccess":{"rejectedLogRecords":3}}"#),
            partial(3, "")
        );
        for other in ["", "[]", "\"ok\"", "<html>", r#"{"partialSuccess":7}"#] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_answer_of_a_collector_is_not_taken_for_one() {
        let read = |body: &[u8]| export_response(PROTOBUF, body);
        assert_eq!(read(b"<html>Welcome to the hotel</html>"), None);
        assert_eq!(read(b"\x0a\x05\x12"), None);
        assert_eq!(read(b"\x0a\x02\x0a\x00"), None);
        assert_eq!(read(b"\x08\x01"), None);
        assert_eq!(export_response("text/html", b""), None);
        assert_eq!(export_response("", b""), None);
    }

    #[test]
    fn a_status_tells_its_message() {
        let status = b"\x08\x03\x12\x06broken";
        assert_eq!(status_message(PROTOBUF, status).as_deref(), Some("broken"));
        let json = br#"{"code":3,"message":"broken"}"#;
        assert_eq!(status_message(JSON, json).as_deref(), Some("broken"));
        assert_eq!(status_message("text/plain", b"broken"), None);
    }
}
