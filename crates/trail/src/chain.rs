//! The hash chain: what was recorded cannot be changed without changing every head after it.
//!
//! Records are hashed in groups, as they were first written together: a group is cheaper than
//! each record alone, and survives that frames are made anew. Each group's hash covers the one
//! before it, its epoch and sequences, and the canonical bytes of its records with their lengths.
//! A chain begins anew with each epoch, from what was known of the one before.

use record::EndpointId;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// A link of the chain.
pub(crate) type Hash = [u8; 32];

/// The chain at one of its points: whoever keeps it elsewhere can later tell whether the records
/// up to there are still what they were.
///
/// Written as `EPOCH:SEQUENCE:HEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    /// The epoch.
    pub epoch: u64,
    /// The last record that it covers; all before it in the epoch are covered too, and with them
    /// what was known of the epoch before.
    pub sequence: u64,
    /// SHA-256.
    pub hash: [u8; 32],
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.epoch, self.sequence)?;
        self.hash
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not EPOCH:SEQUENCE:HEX, with numbers from 1 on and 64 digits, \
     as `conntrail verify` writes a head"
)]
pub struct HeadError;

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Head, HeadError> {
        let mut parts = text.split(':');
        let (Some(epoch), Some(sequence), Some(hex), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError);
        };
        let number = |text: &str| text.parse().ok().filter(|it| *it > 0).ok_or(HeadError);
        Ok(Head {
            epoch: number(epoch)?,
            sequence: number(sequence)?,
            hash: from_hex(hex).ok_or(HeadError)?,
        })
    }
}

/// 32 bytes in hexadecimal digits.
pub(crate) fn from_hex(hex: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if hex.len() != 2 * hash.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

/// The link before the first record of an epoch.
pub(crate) fn genesis(
    endpoint: EndpointId,
    epoch: u64,
    previous: Option<Head>,
    device_bytes: &[u8],
) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(GENESIS);
    hasher.update(endpoint.0);
    hasher.update(epoch.to_le_bytes());
    let (sequence, hash) = previous.map_or((0, [0; 32]), |head| (head.sequence, head.hash));
    hasher.update(previous.map_or(0, |head| head.epoch).to_le_bytes());
    hasher.update(sequence.to_le_bytes());
    hasher.update(hash);
    hasher.update(device_bytes);
    hasher.finalize().into()
}

/// The link after a group of `count` records whose bytes are `records`, each with its length
/// before it as a varint.
pub(crate) fn link(
    before: &Hash,
    epoch: u64,
    first_sequence: u64,
    count: u32,
    records: &[u8],
) -> Hash {
    let mut front = [0; 52];
    front[..32].copy_from_slice(before);
    front[32..40].copy_from_slice(&epoch.to_le_bytes());
    front[40..48].copy_from_slice(&first_sequence.to_le_bytes());
    front[48..].copy_from_slice(&count.to_le_bytes());
    let mut hasher = Sha256::new();
    hasher.update(front);
    hasher.update(records);
    hasher.finalize().into()
}

/// Keeps a chain from being taken for anything else that is hashed, or for a later version of it.
const GENESIS: [u8; 16] = *b"conntrail-chain1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_as_text_and_what_is_none_is_refused() {
        let head = Head {
            epoch: 3,
            sequence: 1_000,
            hash: std::array::from_fn(|index| index as u8 * 8 + 1),
        };
        let text = head.to_string();
        assert_eq!(text.parse(), Ok(head));
        let digits = "0".repeat(64);
        for bad in [
            "",
            "3:4",
            &text[1..],
            &format!("0:1:{digits}"),
            &format!("1:0:{digits}"),
            &format!("1:1:{}", &digits[1..]),
            &format!("1:1:{digits}0"),
            &format!("1:1:{}g", &digits[1..]),
            &format!("1:1:{}", "ä".repeat(32)),
            &format!("1:1:{digits}:1"),
        ] {
            assert_eq!(bad.parse::<Head>(), Err(HeadError), "{bad}");
        }
    }

    #[test]
    fn each_thing_that_a_link_covers_changes_it() {
        let base = link(&[1; 32], 2, 3, 4, b"records");
        for other in [
            link(&[2; 32], 2, 3, 4, b"records"),
            link(&[1; 32], 3, 3, 4, b"records"),
            link(&[1; 32], 2, 4, 4, b"records"),
            link(&[1; 32], 2, 3, 5, b"records"),
            link(&[1; 32], 2, 3, 4, b"recordz"),
        ] {
            assert_ne!(other, base);
        }
        let head = Head {
            epoch: 1,
            sequence: 9,
            hash: [7; 32],
        };
        let (endpoint, stranger) = (EndpointId([1; 16]), EndpointId([2; 16]));
        let base = genesis(endpoint, 2, Some(head), b"device");
        let later = Head {
            sequence: 10,
            ..head
        };
        for other in [
            genesis(stranger, 2, Some(head), b"device"),
            genesis(endpoint, 3, Some(head), b"device"),
            genesis(endpoint, 2, None, b"device"),
            genesis(endpoint, 2, Some(later), b"device"),
            genesis(endpoint, 2, Some(head), b"devicf"),
        ] {
            assert_ne!(other, base);
        }
    }
}
