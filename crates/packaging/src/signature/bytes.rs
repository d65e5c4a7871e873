//! Parts and numbers out of bytes that nobody vouches for.

use plist::Value;
use quick_xml::Reader;
use quick_xml::events::Event;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::fmt;
use std::io::Cursor;

/// Deeper than any property list is.
const DEPTH_MAX: usize = 64;

/// What is wrong with bytes that should have been something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) String);

/// A kind of digest, as code signatures number them (`cs_blobs.h`, `CS_HASHTYPE_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// SHA-256, of which the first 20 bytes are kept.
    Sha256Truncated,
    /// 48 bytes.
    Sha384,
    /// 64 bytes. Not in code directories, but in packages.
    Sha512,
}

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Malformed {
        Malformed(what.into())
    }
}

impl Hash {
    /// The kind with this number in a code directory.
    pub(crate) fn of_code_directory(number: u8) -> Option<Hash> {
        match number {
            1 => Some(Hash::Sha1),
            2 => Some(Hash::Sha256),
            3 => Some(Hash::Sha256Truncated),
            4 => Some(Hash::Sha384),
            _ => None,
        }
    }

    /// The kind with this name of an algorithm (RFC 3370, RFC 5754).
    pub(crate) fn of_algorithm(oid: &str) -> Option<Hash> {
        match oid {
            "1.3.14.3.2.26" => Some(Hash::Sha1),
            "2.16.840.1.101.3.4.2.1" => Some(Hash::Sha256),
            "2.16.840.1.101.3.4.2.2" => Some(Hash::Sha384),
            "2.16.840.1.101.3.4.2.3" => Some(Hash::Sha512),
            _ => None,
        }
    }

    /// Of these bytes.
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::digest(data).to_vec(),
            Hash::Sha256 => Sha256::digest(data).to_vec(),
            Hash::Sha256Truncated => Sha256::digest(data)[..20].to_vec(),
            Hash::Sha384 => Sha384::digest(data).to_vec(),
            Hash::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    /// How many bytes a digest has.
    pub fn size(self) -> usize {
        match self {
            Hash::Sha1 | Hash::Sha256Truncated => 20,
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hash::Sha1 => "SHA-1",
            Hash::Sha256 => "SHA-256",
            Hash::Sha256Truncated => "truncated SHA-256",
            Hash::Sha384 => "SHA-384",
            Hash::Sha512 => "SHA-512",
        })
    }
}

/// So many bytes from there on; `what` says in an error what they would have been.
pub(crate) fn part<'a>(
    data: &'a [u8],
    offset: u64,
    length: u64,
    what: &str,
) -> Result<&'a [u8], Malformed> {
    let outside = || {
        let size = data.len();
        Malformed(format!(
            "{what} would be {length} bytes at {offset}, outside of {size} bytes"
        ))
    };
    let end = offset.checked_add(length).ok_or_else(outside)?;
    let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
    let (start, end) = range.ok_or_else(outside)?;
    data.get(start..end).ok_or_else(outside)
}

/// The number there, most significant byte first.
pub(crate) fn be32(data: &[u8], offset: u64, what: &str) -> Result<u32, Malformed> {
    Ok(u32::from_be_bytes(array(data, offset, what)?))
}

/// The number there, most significant byte first.
pub(crate) fn be64(data: &[u8], offset: u64, what: &str) -> Result<u64, Malformed> {
    Ok(u64::from_be_bytes(array(data, offset, what)?))
}

/// The number there, least significant byte first.
pub(crate) fn le32(data: &[u8], offset: u64, what: &str) -> Result<u32, Malformed> {
    Ok(u32::from_le_bytes(array(data, offset, what)?))
}

/// The number there, least significant byte first.
pub(crate) fn le64(data: &[u8], offset: u64, what: &str) -> Result<u64, Malformed> {
    Ok(u64::from_le_bytes(array(data, offset, what)?))
}

/// Two hexadecimal digits a byte.
pub(crate) fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A property list in XML; nothing that is signed here is in another format.
///
/// It is read twice because the first reader knows a limit of depth, and the second does not.
pub(crate) fn property_list(data: &[u8]) -> Result<Value, Malformed> {
    check_depth(data)?;
    let value = Value::from_reader_xml(Cursor::new(data));
    value.map_err(|error| Malformed(format!("no property list: {error}")))
}

fn check_depth(document: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::from_reader(document);
    let mut depth = 0_usize;
    loop {
        let event = reader.read_event();
        match event.map_err(|error| Malformed(format!("no property list: {error}")))? {
            Event::Start(_) if depth == DEPTH_MAX => {
                return Err(Malformed::new("the property list is nested too deep"));
            }
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Eof => return Ok(()),
            Event::Empty(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
}

fn array<const N: usize>(data: &[u8], offset: u64, what: &str) -> Result<[u8; N], Malformed> {
    let bytes = part(data, offset, N as u64, what)?;
    Ok(bytes.try_into().expect("the part is as long as was asked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_lists_are_not_nested_without_limit() {
        let nested = |depth| {
            let (open, close) = ("<array>".repeat(depth), "</array>".repeat(depth));
            let text =
                format!("<?xml version=\"1.0\"?><plist version=\"1.0\">{open}{close}</plist>");
            property_list(text.as_bytes())
        };
        assert!(nested(8).is_ok());
        assert!(nested(200_000).is_err());
        assert!(property_list(b"bplist00").is_err());
    }

    #[test]
    fn nothing_is_read_outside() {
        let data = [1, 2, 3, 4];
        assert_eq!(be32(&data, 0, "x").unwrap(), 0x0102_0304);
        assert_eq!(le32(&data, 0, "x").unwrap(), 0x0403_0201);
        assert!(be32(&data, 1, "x").is_err());
        assert!(part(&data, u64::MAX, 2, "x").is_err());
        assert!(part(&data, 4, 0, "x").unwrap().is_empty());
    }
}
