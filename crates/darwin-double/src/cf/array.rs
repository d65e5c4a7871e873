//! `CoreFoundation/CFArray.h`.

use super::object::{Body, Held, Kind, Ref};
use super::string::Range;
use crate::machine::note;
use crate::raw;
use objc2_core_foundation::CFArrayCallBacks;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CFArray.h`: for arrays of objects. Here the address of this, or of a structure that is not
/// NULL at all, says that the array holds its items; what functions it names is not looked at.
#[unsafe(no_mangle)]
static kCFTypeArrayCallBacks: CFArrayCallBacks = CFArrayCallBacks {
    version: 0,
    retain: None,
    release: None,
    copyDescription: None,
    equal: None,
};

/// What is in an array or a dictionary: an object that is held, or an address nobody looks at.
pub(crate) enum Item {
    Object(Held),
    Address(*const c_void),
}

// SAFETY: an address is not followed; an object may be used by any thread.
unsafe impl Send for Item {}

impl Item {
    pub(super) fn new(address: *const c_void, held: bool) -> Self {
        if held {
            return Self::Object(Held::new(Ref::from_address(address)));
        }
        Self::Address(address)
    }

    pub(super) fn address(&self) -> *const c_void {
        match self {
            Self::Object(held) => held.get().address(),
            Self::Address(address) => *address,
        }
    }

    pub(super) fn is(&self, other: *const c_void) -> bool {
        match self {
            Self::Object(held) => super::base::equal(held.get(), Ref::from_address(other)),
            Self::Address(address) => *address == other,
        }
    }
}

/// The items of an array.
pub(crate) struct Items {
    holds: bool,
    items: Mutex<Vec<Item>>,
}

impl Items {
    fn lock(&self) -> MutexGuard<'_, Vec<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn addresses(&self) -> Vec<*const c_void> {
        self.lock().iter().map(Item::address).collect()
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        let other = other.addresses();
        let own = self.lock();
        own.len() == other.len() && own.iter().zip(other).all(|(item, other)| item.is(other))
    }
}

/// A new array of these objects, which it takes over; the caller holds the array.
pub(crate) fn new(items: Vec<Ref>) -> Ref {
    let items = items
        .into_iter()
        .map(|item| Item::Object(Held::taking(item)))
        .collect();
    Ref::new(Body::Array(Items {
        holds: true,
        items: Mutex::new(items),
    }))
}

/// The objects in an array, which nobody holds for the caller.
pub(crate) fn read(array: Ref) -> Vec<Ref> {
    items_of(&array)
        .addresses()
        .into_iter()
        .map(Ref::from_address)
        .collect()
}

fn items_of(array: &Ref) -> &Items {
    let Body::Array(items) = array.body() else {
        array.is_not("CFArray")
    };
    items
}

fn make(addresses: &[*const c_void], holds: bool) -> Ref {
    let items = addresses
        .iter()
        .map(|address| Item::new(*address, holds))
        .collect();
    Ref::new(Body::Array(Items {
        holds,
        items: Mutex::new(items),
    }))
}

/// `CFArray.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayGetTypeID() -> usize {
    Kind::Array as usize
}

/// `CFArray.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayCreate(
    _allocator: Ref,
    values: *const *const c_void,
    count: isize,
    callbacks: *const CFArrayCallBacks,
) -> Ref {
    note("CFArrayCreate");
    make(&raw::values(values, count), !callbacks.is_null())
}

/// `CFArray.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayCreateMutable(
    _allocator: Ref,
    _capacity: isize,
    callbacks: *const CFArrayCallBacks,
) -> Ref {
    note("CFArrayCreateMutable");
    make(&[], !callbacks.is_null())
}

/// `CFArray.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayCreateCopy(_allocator: Ref, array: Ref) -> Ref {
    note("CFArrayCreateCopy");
    let items = items_of(&array);
    make(&items.addresses(), items.holds)
}

/// `CFArray.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayGetCount(array: Ref) -> isize {
    note("CFArrayGetCount");
    items_of(&array).count().cast_signed()
}

/// `CFArray.h`: not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayGetValueAtIndex(array: Ref, index: isize) -> *const c_void {
    note("CFArrayGetValueAtIndex");
    items_of(&array).lock()[index.cast_unsigned()].address()
}

/// `CFArray.h`: not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayGetValues(array: Ref, range: Range, values: *mut *const c_void) {
    note("CFArrayGetValues");
    let start = range.location.cast_unsigned();
    let end = start + range.length.cast_unsigned();
    raw::fill(values, &items_of(&array).addresses()[start..end]);
}

/// `CFArray.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayContainsValue(array: Ref, range: Range, value: *const c_void) -> u8 {
    note("CFArrayContainsValue");
    let start = range.location.cast_unsigned();
    let end = start + range.length.cast_unsigned();
    u8::from(
        items_of(&array).lock()[start..end]
            .iter()
            .any(|item| item.is(value)),
    )
}

/// `CFArray.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFArrayAppendValue(array: Ref, value: *const c_void) {
    note("CFArrayAppendValue");
    let items = items_of(&array);
    items.lock().push(Item::new(value, items.holds));
}
