//! Names that stand for values: the same for the same value under the same key.

use hmac::{Hmac, KeyInit, Mac};
use record::pseudonym;
use sha2::Sha256;
use std::fmt;
use std::net::IpAddr;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// A secret under which pseudonyms are made. Whoever has it can find out what a pseudonym stands
/// for by trying; without it nobody can, not even who has the values.
#[derive(Clone, PartialEq, Eq)]
pub struct PseudonymKey {
    secret: [u8; KEY_BYTES],
    id: u16,
}

/// Values of different kinds have different pseudonyms, even where their bytes are the same.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Address = 1,
    Hostname = 2,
    ProgramName = 3,
    ProgramPath = 4,
    CommandLine = 5,
    UserId = 6,
    UserName = 7,
}

impl PseudonymKey {
    /// A key of 32 random bytes.
    pub fn new(secret: [u8; KEY_BYTES]) -> PseudonymKey {
        let id = digest(&secret, b"conntrail pseudonym key id");
        PseudonymKey {
            secret,
            id: u16::from_be_bytes([id[0], id[1]]),
        }
    }

    /// Tells keys apart, in every pseudonym; it tells nothing of the secret.
    pub fn id(&self) -> u16 {
        self.id
    }

    pub(crate) fn text(&self, kind: Kind, value: &str) -> String {
        pseudonym::text(self.id, self.ten_bytes(kind, value.as_bytes()))
    }

    pub(crate) fn address(&self, value: IpAddr) -> IpAddr {
        let bytes = match value {
            IpAddr::V4(address) => self.ten_bytes(Kind::Address, &address.octets()),
            IpAddr::V6(address) => self.ten_bytes(Kind::Address, &address.octets()),
        };
        pseudonym::address(value, self.id, bytes)
    }

    fn ten_bytes(&self, kind: Kind, value: &[u8]) -> [u8; 10] {
        let mut message = Vec::with_capacity(value.len() + 1);
        message.push(kind as u8);
        message.extend_from_slice(value);
        let digest = digest(&self.secret, &message);
        std::array::from_fn(|index| digest[index])
    }
}

/// The secret stays one.
impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PseudonymKey({:04x})", self.id)
    }
}

fn digest(secret: &[u8; KEY_BYTES], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may have any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 1 of RFC 4231 has a key of 20 bytes, which the same key filled up with zeros
    /// equals.
    #[test]
    fn the_digest_is_that_of_the_standard() {
        let mut key = [0; KEY_BYTES];
        key[..20].fill(0x0b);
        let expected = 0xb0344c61d8db38535ca8afceaf0bf12b_u128.to_be_bytes();
        assert_eq!(digest(&key, b"Hi There")[..16], expected);
    }

    #[test]
    fn one_value_has_one_pseudonym_a_key_and_a_kind() {
        let (one, other) = (PseudonymKey::new([1; 32]), PseudonymKey::new([2; 32]));
        assert_ne!(one.id(), other.id());
        let ana = one.text(Kind::UserName, "ana");
        assert_eq!(ana, one.text(Kind::UserName, "ana"));
        assert_ne!(ana, one.text(Kind::UserName, "ben"));
        assert_ne!(ana, one.text(Kind::ProgramName, "ana"));
        assert_ne!(ana, other.text(Kind::UserName, "ana"));
        assert!(ana.starts_with(&format!("pseudonym#{:04x}#", one.id())));
        assert_eq!(ana.len(), "pseudonym#0000#".len() + 20);
    }

    #[test]
    fn an_address_stands_in_a_range_that_is_nobodys_and_keeps_its_family() {
        let key = PseudonymKey::new([7; 32]);
        for (text, version) in [("192.0.2.1", 4), ("2001:db8::1", 6)] {
            let address: IpAddr = text.parse().unwrap();
            let pseudonym = key.address(address);
            assert!(pseudonym.to_string().starts_with("3fff:"), "{pseudonym}");
            assert_eq!(record::pseudonym::version(pseudonym), Some(version));
            assert_eq!(record::pseudonym::version(address), None);
        }
    }

    #[test]
    fn a_key_never_shows_its_secret() {
        let key = PseudonymKey::new([0xee; 32]);
        assert_eq!(
            format!("{key:?}"),
            format!("PseudonymKey({:04x})", key.id())
        );
    }
}
