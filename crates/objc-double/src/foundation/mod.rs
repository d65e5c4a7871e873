//! The Foundation classes that code on objc2-foundation meets: strings, data, UUIDs, numbers,
//! arrays, dictionaries, enumerators, errors, URLs. The immutable ones.
//!
//! The functions here make and read their objects without sending messages, for other doubles.

mod array;
mod data;
mod dictionary;
mod enumerator;
mod error;
mod number;
mod string;
mod url;
mod uuid;

use std::ffi::c_void;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr::{null_mut, slice_from_raw_parts};

use objc2::runtime::AnyObject;

use crate::{Id, Strong};

pub use array::{NS_ARRAY, array, elements};
pub use data::{NS_DATA, bytes, data};
pub use dictionary::{NS_DICTIONARY, dictionary, lookup, pairs};
pub use error::{
    NS_ERROR, NSCocoaErrorDomain, NSLocalizedDescriptionKey, NSLocalizedFailureReasonErrorKey,
    NSLocalizedRecoverySuggestionErrorKey, NSOSStatusErrorDomain, NSPOSIXErrorDomain,
    NSUnderlyingErrorKey, error,
};
pub use number::{NS_NUMBER, NS_VALUE, Number, number};
pub use string::{ConstantString, NS_STRING, StringObject, string, text};
pub use url::{NS_URL, url};
pub use uuid::{NS_UUID, uuid};

/// What a method returns that may have nothing: the object, kept by the caller's pool, or nil.
pub fn returned(object: Option<&Strong>) -> Id {
    object.map_or(null_mut(), |object| object.clone().returned())
}

fn hash_of(value: impl Hash) -> usize {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish() as usize
}

/// Compares as collections do, with `isEqual:`.
fn is_equal(one: &AnyObject, other: &AnyObject) -> bool {
    // SAFETY: every object answers `isEqual:`, which takes one.
    unsafe { objc2::msg_send![one, isEqual: other] }
}

/// # Safety
///
/// There must be so many bytes at the address, and they must not change meanwhile; with no
/// bytes, any address will do.
unsafe fn bytes_at<'a>(address: *const c_void, length: usize) -> &'a [u8] {
    match length {
        0 => &[],
        // SAFETY: as the caller promises.
        _ => unsafe { &*slice_from_raw_parts(address.cast::<u8>(), length) },
    }
}

/// The objects of a C array, each with a reference of its own.
///
/// # Safety
///
/// There must be so many objects at the address.
unsafe fn objects_at(address: *const Id, count: usize, whose: &str) -> Vec<Strong> {
    let object = |index: usize| {
        // SAFETY: as the caller promises.
        match unsafe { (*address.add(index)).as_ref() } {
            Some(object) => Strong::to(object),
            None => {
                let text = format!("{whose} was given nil at {index}");
                crate::raise("NSInvalidArgumentException", &text)
            }
        }
    };
    (0..count).map(object).collect()
}
