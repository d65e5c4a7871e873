//! Values of a property list, and the text form of one.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A value of a property list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, or one that no setting can have, as it is written.
    Real(String),
    /// A text.
    Text(String),
    /// A moment, as it is written.
    Date(String),
    /// Bytes.
    Data(Vec<u8>),
    /// Values, one after the other.
    List(Vec<Value>),
    /// Values with names.
    Dictionary(Dictionary),
}

/// Values with names, in the order of the names.
pub type Dictionary = BTreeMap<String, Value>;

impl Value {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Boolean(_) => "true or false",
            Value::Integer(_) => "a whole number",
            Value::Real(_) => "a number with a fraction",
            Value::Text(_) => "a text",
            Value::Date(_) => "a date",
            Value::Data(_) => "data",
            Value::List(_) => "a list",
            Value::Dictionary(_) => "a dictionary",
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Boolean(_)
            | Value::Integer(_)
            | Value::Real(_)
            | Value::Date(_)
            | Value::Data(_)
            | Value::List(_)
            | Value::Dictionary(_) => None,
        }
    }

    /// Whether it is true or false, if it is either.
    pub fn as_boolean(&self) -> Option<bool> {
        match self {
            Value::Boolean(value) => Some(*value),
            Value::Integer(_)
            | Value::Real(_)
            | Value::Text(_)
            | Value::Date(_)
            | Value::Data(_)
            | Value::List(_)
            | Value::Dictionary(_) => None,
        }
    }

    /// The values, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            Value::Boolean(_)
            | Value::Integer(_)
            | Value::Real(_)
            | Value::Text(_)
            | Value::Date(_)
            | Value::Data(_)
            | Value::Dictionary(_) => None,
        }
    }

    /// The names and values, if it is a dictionary.
    pub fn as_dictionary(&self) -> Option<&Dictionary> {
        match self {
            Value::Dictionary(entries) => Some(entries),
            Value::Boolean(_)
            | Value::Integer(_)
            | Value::Real(_)
            | Value::Text(_)
            | Value::Date(_)
            | Value::Data(_)
            | Value::List(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Boolean(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Integer(value)
    }
}

/// A dictionary of these entries.
pub fn dictionary<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    Value::Dictionary(entries.into())
}

/// The file that a property list in XML is: tabs, one value a line, names in their order.
pub fn to_xml(value: &Value) -> String {
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                   <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
                   \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
                   <plist version=\"1.0\">\n"
        .to_owned();
    write_value(value, 0, &mut out);
    out.push_str("</plist>\n");
    out
}

fn write_value(value: &Value, depth: usize, out: &mut String) {
    let indent = "\t".repeat(depth);
    match value {
        Value::Boolean(value) => element(&indent, if *value { "true" } else { "false" }, None, out),
        Value::Integer(value) => element(&indent, "integer", Some(&value.to_string()), out),
        Value::Real(text) => element(&indent, "real", Some(text), out),
        Value::Text(text) => element(&indent, "string", Some(text), out),
        Value::Date(text) => element(&indent, "date", Some(text), out),
        Value::Data(bytes) => element(&indent, "data", Some(&base64(bytes)), out),
        Value::List(values) => {
            group(&indent, "array", values.is_empty(), out, |out| {
                for value in values {
                    write_value(value, depth + 1, out);
                }
            });
        }
        Value::Dictionary(entries) => {
            group(&indent, "dict", entries.is_empty(), out, |out| {
                for (key, value) in entries {
                    element(&format!("{indent}\t"), "key", Some(key), out);
                    write_value(value, depth + 1, out);
                }
            });
        }
    }
}

fn element(indent: &str, name: &str, text: Option<&str>, out: &mut String) {
    match text {
        Some(text) => writeln!(out, "{indent}<{name}>{}</{name}>", escaped(text)),
        None => writeln!(out, "{indent}<{name}/>"),
    }
    .expect("a text takes whatever is written to it");
}

fn group(indent: &str, name: &str, empty: bool, out: &mut String, inner: impl Fn(&mut String)) {
    if empty {
        element(indent, name, None, out);
        return;
    }
    out.push_str(&format!("{indent}<{name}>\n"));
    inner(out);
    out.push_str(&format!("{indent}</{name}>\n"));
}

/// XML has no form at all for most control characters; they become the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(letter),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let letter = BASE64[(bits >> (18 - 6 * index)) as usize & 63];
            out.push(if index <= chunk.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    out
}

/// The bytes of a base64 text with or without white space, or `None` when it is none.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let letters = text.bytes().filter(|it| !it.is_ascii_whitespace());
    let letters: Vec<u8> = letters.take_while(|it| *it != b'=').collect();
    let mut out = Vec::with_capacity(letters.len() / 4 * 3 + 2);
    for chunk in letters.chunks(4) {
        let mut bits = 0u32;
        for letter in chunk {
            let digit = BASE64.iter().position(|it| it == letter)?;
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        bits <<= 6 * (4 - chunk.len());
        let bytes = bits.to_be_bytes();
        let length = match chunk.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        out.extend_from_slice(&bytes[1..=length]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_text_form() {
        for length in 0..70u8 {
            let bytes: Vec<u8> = (0..length).map(|it| it.wrapping_mul(37)).collect();
            assert_eq!(from_base64(&base64(&bytes)), Some(bytes));
        }
        assert_eq!(base64(b"Man"), "TWFu");
        assert_eq!(base64(b"M"), "TQ==");
        assert_eq!(from_base64("TW\n Fu"), Some(b"Man".to_vec()));
        for wrong in ["T", "T?==", "ä"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn another_reader_reads_what_is_written() {
        let value = dictionary([
            ("b", Value::Boolean(true)),
            ("a & <b>", "\"x\" ]]> \r\n\t\u{1}ä".into()),
            (
                "list",
                Value::List(vec![Value::Integer(-3), Value::List(vec![])]),
            ),
            ("data", Value::Data(vec![0, 255, 7])),
            ("none", Value::Dictionary(Dictionary::new())),
        ]);
        let xml = to_xml(&value);
        let read = plist::Value::from_reader_xml(xml.as_bytes()).unwrap();
        let read = read.as_dictionary().unwrap();
        assert_eq!(
            read["a & <b>"].as_string(),
            Some("\"x\" ]]> \r\n\t\u{fffd}ä")
        );
        assert_eq!(read["b"].as_boolean(), Some(true));
        assert_eq!(read["data"].as_data(), Some(&[0, 255, 7][..]));
        let list = read["list"].as_array().unwrap();
        assert_eq!(list[0].as_signed_integer(), Some(-3));
        assert_eq!(read["none"].as_dictionary().map(|it| it.len()), Some(0));
        let keys: Vec<&String> = read.keys().collect();
        assert_eq!(keys, ["a & <b>", "b", "data", "list", "none"]);
    }
}
