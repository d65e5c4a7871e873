//! Whether a signature of the kind RSA fits (RFC 8017, section 8.2.2).

use super::bytes::{Hash, Malformed};
use super::der::{Elements, INTEGER, SEQUENCE};
use num_bigint::BigUint;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    modulus: BigUint,
    exponent: BigUint,
    size: usize,
}

/// Larger keys than anybody signs with would only cost time.
const SIZE_MAX: usize = 1024;

impl PublicKey {
    /// From its encoding in a certificate (RFC 8017, appendix A.1.1).
    pub(crate) fn read(data: &[u8]) -> Result<PublicKey, Malformed> {
        let mut inside = Elements::new(data).one(SEQUENCE)?.inside();
        let modulus = inside.one(INTEGER)?.content;
        let exponent = inside.one(INTEGER)?.content;
        let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
        if modulus.len() > SIZE_MAX || modulus.is_empty() || exponent.len() > 8 {
            return Err(Malformed::new("an RSA key has an unusual size"));
        }
        Ok(PublicKey {
            modulus: BigUint::from_bytes_be(modulus),
            exponent: BigUint::from_bytes_be(exponent),
            size: modulus.len(),
        })
    }

    /// Whether this key signed the digest.
    pub(crate) fn fits(&self, hash: Hash, digest: &[u8], signature: &[u8]) -> bool {
        let Some(expected) = padded(hash, digest, self.size) else {
            return false;
        };
        if signature.len() != self.size || self.modulus.bits() < 1024 {
            return false;
        }
        let signature = BigUint::from_bytes_be(signature);
        signature < self.modulus
            && signature.modpow(&self.exponent, &self.modulus) == BigUint::from_bytes_be(&expected)
    }
}

/// What the signature must hold: the digest, its kind, and filling.
fn padded(hash: Hash, digest: &[u8], size: usize) -> Option<Vec<u8>> {
    let algorithm: &[u8] = match hash {
        Hash::Sha1 => &[0x2b, 0x0e, 0x03, 0x02, 0x1a],
        Hash::Sha256 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
        Hash::Sha384 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
        Hash::Sha512 => &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
        Hash::Sha256Truncated => return None,
    };
    let length = |data: &[u8], more: usize| u8::try_from(data.len() + more).ok();
    let mut info = vec![0x30, length(algorithm, digest.len() + 8)?];
    info.extend([0x30, length(algorithm, 4)?, 0x06, length(algorithm, 0)?]);
    info.extend(algorithm);
    info.extend([0x05, 0x00, 0x04, length(digest, 0)?]);
    info.extend(digest);
    let filling = size.checked_sub(info.len() + 3).filter(|it| *it >= 8)?;
    let mut padded = vec![0, 1];
    padded.resize(2 + filling, 0xff);
    padded.push(0);
    padded.extend(info);
    Some(padded)
}
