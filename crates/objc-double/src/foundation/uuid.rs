//! `NSUUID`.

use std::ptr;

use objc2::encode::{Encoding, RefEncode};
use objc2::runtime::{AnyObject, Bool, NSZone};

use super::{hash_of, string};
use crate::{Id, NS_OBJECT, Strong, class};

/// A `uuid_t`, which as an argument is a pointer to an array of 16 bytes.
#[repr(transparent)]
struct Bytes([u8; 16]);

// SAFETY: the encoding of an array is that of the pointer C passes for it.
unsafe impl RefEncode for Bytes {
    const ENCODING_REF: Encoding = Encoding::Array(16, &Encoding::UChar);
}

class! {
    /// Unique identifiers.
    pub static NS_UUID: [u8; 16] = "NSUUID": NS_OBJECT;

    - "initWithUUIDBytes:" (this, bytes: &Bytes) -> Id {
        NS_UUID.fill(this, bytes.0);
        ptr::from_ref(this).cast_mut()
    }
    - "getUUIDBytes:" (this, bytes: &mut Bytes) { bytes.0 = *NS_UUID.of(this) }
    - "UUIDString" (this) -> Id { string(&written(NS_UUID.of(this))).returned() }
    - "description" (this) -> Id { string(&written(NS_UUID.of(this))).returned() }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
    - "hash" (this) -> usize { hash_of(NS_UUID.of(this)) }
    - "isEqual:" (this, other: Option<&AnyObject>) -> Bool {
        let other = other.filter(|other| NS_UUID.is_class_of(other));
        Bool::new(other.is_some_and(|other| NS_UUID.of(this) == NS_UUID.of(other)))
    }
}

/// A UUID of these bytes.
pub fn uuid(bytes: [u8; 16]) -> Strong {
    NS_UUID.create(bytes)
}

fn written(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02X}"));
    }
    text
}
