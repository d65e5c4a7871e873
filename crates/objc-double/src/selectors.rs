//! Selectors: names made unique, so that to compare two is to compare two addresses.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex, PoisonError};

use objc2::runtime::{Bool, Sel};

static NAMES: LazyLock<Mutex<HashMap<&'static CStr, Sel>>> = LazyLock::new(Mutex::default);

/// Every selector is aligned like this, so that a method cache can drop the low bits.
#[repr(C, align(16))]
struct Chunk([u8; 16]);

/// The selector of a name.
///
/// # Panics
///
/// When the name holds a zero byte.
pub fn selector(name: &str) -> Sel {
    intern(&CString::new(name).expect("a selector holds no zero byte"))
}

pub(crate) fn intern(name: &CStr) -> Sel {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return *known;
    }
    let bytes = name.to_bytes_with_nul();
    let chunks = bytes.len().div_ceil(size_of::<Chunk>());
    let memory = Vec::leak((0..chunks).map(|_| Chunk([0; 16])).collect());
    let mut written = bytes.iter();
    for chunk in memory.iter_mut() {
        for (to, from) in chunk.0.iter_mut().zip(written.by_ref().take(16)) {
            *to = *from;
        }
    }
    let start = NonNull::from(memory).cast::<c_char>();
    // SAFETY: the memory begins with the name and its zero byte, and it is never freed.
    let (name, sel) = unsafe { (CStr::from_ptr(start.as_ptr()), from_address(start)) };
    names.insert(name, sel);
    sel
}

/// Where the name of the selector lies, which is what tells it from others.
pub(crate) fn address(sel: Sel) -> usize {
    name_pointer(sel) as usize
}

pub(crate) fn name(sel: Sel) -> &'static str {
    // SAFETY: a selector points to a name that ends with a zero byte and is never freed.
    let name = unsafe { CStr::from_ptr(name_pointer(sel)) };
    name.to_str().unwrap_or("(a selector that is not UTF-8)")
}

fn name_pointer(sel: Sel) -> *const c_char {
    // SAFETY: a `Sel` is a transparent pointer.
    unsafe { std::mem::transmute::<Sel, *const c_char>(sel) }
}

/// # Safety
///
/// The address must come from `intern`.
unsafe fn from_address(start: NonNull<c_char>) -> Sel {
    // SAFETY: a `Sel` is a transparent pointer that is not null.
    unsafe { std::mem::transmute::<NonNull<c_char>, Sel>(start) }
}

#[unsafe(no_mangle)]
extern "C" fn sel_registerName(name: *const c_char) -> Sel {
    // SAFETY: the caller passes a string that ends with a zero byte.
    intern(unsafe { CStr::from_ptr(name) })
}

#[unsafe(no_mangle)]
extern "C" fn sel_getName(sel: Sel) -> *const c_char {
    name_pointer(sel)
}

#[unsafe(no_mangle)]
extern "C" fn sel_isEqual(left: Sel, right: Sel) -> Bool {
    Bool::new(address(left) == address(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_selector() {
        let long = "a:name:that:is:longer:than:one:chunk:";
        assert_eq!(address(selector(long)), address(selector(long)));
        assert_ne!(address(selector("one")), address(selector("other")));
        assert_eq!(name(selector(long)), long);
        assert_eq!(name(selector("exactlyfifteen:")), "exactlyfifteen:");
        assert_eq!(name(selector("exactlysixteens:")), "exactlysixteens:");
    }
}
