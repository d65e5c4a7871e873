//! Files as they come: property lists as XML or binary, signed or not.
//!
//! Whatever the bytes are, reading ends soon, with a value or with a sentence: nesting, the number
//! of values and the size are bounded.

mod binary;
mod signed;
mod xml;

use crate::value::Value;

/// A file that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What is in it.
    pub value: Value,
    /// Whether a signature is around it. It was not verified.
    pub is_signed: bool,
    /// Keys that stand more than once in one dictionary, of which the last counts here.
    pub keys_twice: Vec<String>,
}

/// The largest file that is read, in bytes.
pub const FILE_MAX_BYTES: usize = 16 << 20;

/// How deep values may be nested.
const DEPTH_MAX: usize = 64;

/// How many values there may be.
const VALUES_MAX: usize = 200_000;

/// Bytes of all texts and data together. A binary list can name one text many times.
const CONTENTS_MAX_BYTES: usize = 2 * FILE_MAX_BYTES;

/// Repeated keys that are named.
const KEYS_TWICE_MAX: usize = 20;

/// Why a file is no property list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Longer than [`FILE_MAX_BYTES`].
    #[error("the file is larger than 16 MiB, and no profile is")]
    TooLarge,
    /// Neither XML nor binary nor signed.
    #[error("the file is no property list: it begins with neither XML nor \"bplist00\"")]
    Strange,
    /// Begins as XML and does not go on so.
    #[error("the XML is broken at byte {at}: {what}")]
    Xml {
        /// Where, from the beginning of the property list.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// Begins as a binary property list and does not go on so.
    #[error("the binary property list is broken: {0}")]
    Binary(&'static str),
    /// Begins as a signed message and holds no property list.
    #[error("the file is signed, or encoded as signed files are, but no profile was found in it")]
    Signed,
    /// More than any profile has.
    #[error("the file holds values nested deeper than 64, or more of them than any profile")]
    Beyond,
}

/// Reads a file of any of the forms.
///
/// # Errors
/// When it is none of them, or is broken.
pub fn read(bytes: &[u8]) -> Result<Document, Error> {
    if bytes.len() > FILE_MAX_BYTES {
        return Err(Error::TooLarge);
    }
    match signed::content(bytes) {
        Some(content) => {
            let content = content.ok_or(Error::Signed)?;
            read_plain(&content, true)
        }
        None => read_plain(bytes, false),
    }
}

fn read_plain(bytes: &[u8], is_signed: bool) -> Result<Document, Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    let mut keys_twice = Vec::new();
    let value = if bytes.starts_with(b"bplist") {
        binary::read(bytes)?
    } else {
        xml::read(bytes, &mut keys_twice)?
    };
    Ok(Document {
        value,
        is_signed,
        keys_twice,
    })
}

/// What may still come.
struct Budget {
    values: usize,
    bytes: usize,
}

impl Budget {
    fn new() -> Budget {
        Budget {
            values: VALUES_MAX,
            bytes: CONTENTS_MAX_BYTES,
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        self.values = self.values.checked_sub(1).ok_or(Error::Beyond)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Error::Beyond)?;
        Ok(())
    }
}

/// What the tests of other modules take for a signed file.
#[cfg(test)]
pub(crate) fn signed_in_a_test(bytes: &[u8]) -> Vec<u8> {
    signed::tests::around(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{self, dictionary};

    fn sample() -> Value {
        dictionary([
            ("boolean", true.into()),
            ("data", Value::Data(vec![1, 2, 3])),
            (
                "list",
                Value::List(vec!["one".into(), 2.into(), (-1).into()]),
            ),
            ("text", "grüße & <more>".into()),
            ("within", dictionary([("empty", Value::List(vec![]))])),
        ])
    }

    fn binary_of(value: &Value) -> Vec<u8> {
        let xml = value::to_xml(value);
        let value = plist::Value::from_reader_xml(xml.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        value.to_writer_binary(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_same_values_come_of_every_form() {
        let sample = sample();
        let xml = value::to_xml(&sample).into_bytes();
        for bytes in [xml.clone(), binary_of(&sample)] {
            let document = read(&bytes).unwrap();
            assert_eq!(document.value, sample);
            assert!(!document.is_signed);
            let document = read(&signed::tests::around(&bytes)).unwrap();
            assert_eq!(document.value, sample);
            assert!(document.is_signed);
        }
        let with_mark = [b"\xef\xbb\xbf".as_slice(), &xml].concat();
        assert_eq!(read(&with_mark).unwrap().value, sample);
    }

    #[test]
    fn bytes_that_are_no_list_are_an_error_and_no_panic() {
        assert_eq!(read(b""), Err(Error::Empty));
        assert_eq!(read(b"PK\x03\x04 a zip file"), Err(Error::Strange));
        assert_eq!(read(b"\xff\xfe\x00"), Err(Error::Strange));
        assert_eq!(read(&vec![b' '; FILE_MAX_BYTES + 1]), Err(Error::TooLarge));
        assert!(matches!(read(b"<html></html>"), Err(Error::Xml { .. })));
        assert!(matches!(read(b"bplist00"), Err(Error::Binary(_))));
        assert_eq!(read(b"\x30\x03\x02\x01\x01"), Err(Error::Signed));
    }

    #[test]
    fn every_beginning_and_every_flipped_bit_ends_without_a_panic() {
        let sample = sample();
        let xml = value::to_xml(&sample).into_bytes();
        let binary = binary_of(&sample);
        let signed = signed::tests::around(&xml);
        for whole in [xml, binary, signed] {
            for length in 0..whole.len() {
                let _ = read(&whole[..length]);
            }
            for position in 0..whole.len() {
                for flip in [0x01, 0x10, 0x80, 0xff] {
                    let mut broken = whole.clone();
                    broken[position] ^= flip;
                    let _ = read(&broken);
                }
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let deep = "<array>".repeat(500_000);
        let text = format!("<plist version=\"1.0\">{deep}");
        assert_eq!(read(text.as_bytes()), Err(Error::Beyond));
        let many = "<true/>".repeat(VALUES_MAX + 1);
        let text = format!("<plist><array>{many}</array></plist>");
        assert_eq!(read(text.as_bytes()), Err(Error::Beyond));
    }

    #[test]
    fn a_key_that_stands_twice_is_named() {
        let text = "<plist><dict><key>a</key><true/><key>a</key><false/></dict></plist>";
        let document = read(text.as_bytes()).unwrap();
        assert_eq!(document.keys_twice, ["a"]);
        assert_eq!(document.value, dictionary([("a", false.into())]));
    }
}
