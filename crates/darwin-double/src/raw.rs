//! What C callers hand over, as Rust sees it.
//!
//! The functions here are called by the exported functions only, with what their C callers passed.
//! That those pointers are good for what the header says is the callers' promise: it is their
//! `unsafe` block that declares the function and calls it.

use std::ffi::{CStr, c_char};

/// The `length` bytes at `start`: none if there is no address or no length.
pub(crate) fn bytes<'a>(start: *const u8, length: isize) -> &'a [u8] {
    match usize::try_from(length) {
        Ok(length) if length > 0 && !start.is_null() => {
            // SAFETY: the C caller promised `length` readable bytes at this address, which stay
            // as they are until the function returns.
            unsafe { std::slice::from_raw_parts(start, length) }
        }
        _ => &[],
    }
}

/// The `count` values at `start`: none if there is no address or no count.
pub(crate) fn values<T: Copy>(start: *const T, count: isize) -> Vec<T> {
    match usize::try_from(count) {
        Ok(count) if !start.is_null() => (0..count)
            // SAFETY: the C caller promised an array of `count` such values at this address.
            .map(|index| unsafe { start.add(index).read_unaligned() })
            .collect(),
        _ => Vec::new(),
    }
}

/// The string at `start`, without its end; the empty one if there is no address.
pub(crate) fn text<'a>(start: *const c_char) -> &'a CStr {
    if start.is_null() {
        return c"";
    }
    // SAFETY: the C caller promised a string that ends with a zero byte.
    unsafe { CStr::from_ptr(start) }
}

/// What stands at `place`, if it is a place.
pub(crate) fn get<T: Copy>(place: *const T) -> Option<T> {
    if place.is_null() {
        return None;
    }
    // SAFETY: the C caller promised a value of this type here; nothing is said of its alignment.
    Some(unsafe { place.read_unaligned() })
}

/// Writes one value, unless the caller did not want it.
pub(crate) fn put<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the C caller promised room for one value of this type.
        unsafe { place.write_unaligned(value) };
    }
}

/// Writes `values` one behind the other, unless the caller did not want them.
pub(crate) fn fill<T: Copy>(place: *mut T, values: &[T]) {
    if !place.is_null() {
        let (from, to): (*const u8, *mut u8) = (values.as_ptr().cast(), place.cast());
        // SAFETY: the C caller promised room, and the exported function has compared what it
        // writes with the room that was promised; the caller's memory is never ours. Bytes need
        // no alignment.
        unsafe { std::ptr::copy_nonoverlapping(from, to, size_of_val(values)) };
    }
}

/// Sets what `errno` reads on this thread, as `__error` of `sys/errno.h` does on macOS. The numbers
/// are those of the system the test runs on, so that names of the `libc` crate mean the same.
pub(crate) fn set_errno(code: i32) {
    // SAFETY: the address is this thread's own `errno`, which lives as long as the thread.
    unsafe { *libc::__errno_location() = code };
}
