//! `NSData`.

use std::ffi::c_void;
use std::ptr::{self, null};

use objc2::runtime::{AnyObject, Bool, NSZone};

use super::{bytes_at, hash_of};
use crate::{Id, NS_OBJECT, Strong, class};

class! {
    /// Bytes.
    pub static NS_DATA: Box<[u8]> = "NSData": NS_OBJECT;

    + "data" (_class) -> Id { data(&[]).returned() }
    - "init" (this) -> Id {
        NS_DATA.fill(this, Box::default());
        ptr::from_ref(this).cast_mut()
    }
    - "initWithBytes:length:" (this, address: *const c_void, length: usize) -> Id {
        // SAFETY: the sender passes so many bytes.
        NS_DATA.fill(this, unsafe { bytes_at(address, length) }.into());
        ptr::from_ref(this).cast_mut()
    }
    - "bytes" (this) -> *const c_void {
        match bytes(this) {
            [] => null(),
            bytes => bytes.as_ptr().cast(),
        }
    }
    - "length" (this) -> usize { bytes(this).len() }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
    - "hash" (this) -> usize { hash_of(bytes(this)) }
    - "isEqual:" (this, other: Option<&AnyObject>) -> Bool { Bool::new(is_same(this, other)) }
    - "isEqualToData:" (this, other: Option<&AnyObject>) -> Bool {
        Bool::new(is_same(this, other))
    }
}

/// New data.
pub fn data(bytes: &[u8]) -> Strong {
    NS_DATA.create(bytes.into())
}

/// What data holds.
///
/// # Panics
///
/// When the object is no data.
pub fn bytes(object: &AnyObject) -> &[u8] {
    NS_DATA.of(object)
}

fn is_same(this: &AnyObject, other: Option<&AnyObject>) -> bool {
    let other = other.filter(|other| NS_DATA.is_class_of(other));
    other.is_some_and(|other| bytes(this) == bytes(other))
}
