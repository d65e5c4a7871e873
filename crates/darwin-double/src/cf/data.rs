//! `CoreFoundation/CFData.h`: bytes.

use super::object::{Body, Kind, Ref};
use super::string::Range;
use crate::machine::note;
use crate::raw;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// New data, which the caller holds.
pub(crate) fn new(bytes: &[u8]) -> Ref {
    Ref::new(Body::Data(Mutex::new(bytes.to_vec())))
}

/// The bytes of data.
///
/// # Panics
/// If the object is something else.
pub(crate) fn copy(data: Ref) -> Vec<u8> {
    bytes_of(&data).clone()
}

fn bytes_of(data: &Ref) -> MutexGuard<'_, Vec<u8>> {
    let Body::Data(bytes) = data.body() else {
        data.is_not("CFData")
    };
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `CFData.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataGetTypeID() -> usize {
    Kind::Data as usize
}

/// `CFData.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataCreate(_allocator: Ref, bytes: *const u8, length: isize) -> Ref {
    note("CFDataCreate");
    new(raw::bytes(bytes, length))
}

/// `CFData.h`: the bytes are copied here too.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataCreateWithBytesNoCopy(
    _allocator: Ref,
    bytes: *const u8,
    length: isize,
    _deallocator: Ref,
) -> Ref {
    note("CFDataCreateWithBytesNoCopy");
    new(raw::bytes(bytes, length))
}

/// `CFData.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataCreateCopy(_allocator: Ref, data: Ref) -> Ref {
    note("CFDataCreateCopy");
    new(&copy(data))
}

/// `CFData.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataCreateMutable(_allocator: Ref, _capacity: isize) -> Ref {
    note("CFDataCreateMutable");
    new(&[])
}

/// `CFData.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataAppendBytes(data: Ref, bytes: *const u8, length: isize) {
    note("CFDataAppendBytes");
    bytes_of(&data).extend_from_slice(raw::bytes(bytes, length));
}

/// `CFData.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataGetLength(data: Ref) -> isize {
    note("CFDataGetLength");
    bytes_of(&data).len().cast_signed()
}

/// `CFData.h`: NULL for no bytes, as macOS may answer.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataGetBytePtr(data: Ref) -> *const u8 {
    note("CFDataGetBytePtr");
    let bytes = bytes_of(&data);
    if bytes.is_empty() {
        std::ptr::null()
    } else {
        bytes.as_ptr()
    }
}

/// `CFData.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDataGetBytes(data: Ref, range: Range, buffer: *mut u8) {
    note("CFDataGetBytes");
    let start = range.location.cast_unsigned();
    raw::fill(
        buffer,
        &bytes_of(&data)[start..start + range.length.cast_unsigned()],
    );
}
