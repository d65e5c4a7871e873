//! The digest of a batch.

use super::{Provenance, Texts};
use crate::Item;
use sha2::{Digest, Sha256};

/// SHA-256 over the flat texts of `items`, which stand in the order of their sequences, with a line
/// break between two.
pub fn digest(texts: &mut Texts, provenance: Provenance<'_>, items: &[Item]) -> [u8; 32] {
    let mut sum = Sha256::new();
    let mut text = Vec::with_capacity(1_024);
    texts.begin();
    for (index, item) in items.iter().enumerate() {
        text.clear();
        if index > 0 {
            text.push(b'\n');
        }
        texts.item(provenance, item, &mut text);
        sum.update(&text);
    }
    sum.finalize().into()
}
