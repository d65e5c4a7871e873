//! `CoreFoundation/CFDictionary.h`.

use super::array::Item;
use super::object::{Body, Held, Kind, Ref};
use crate::machine::note;
use crate::raw;
use objc2_core_foundation::{CFDictionaryKeyCallBacks, CFDictionaryValueCallBacks};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CFDictionary.h`: for keys that are objects. Here only its presence counts, as for arrays.
#[unsafe(no_mangle)]
static kCFTypeDictionaryKeyCallBacks: CFDictionaryKeyCallBacks = CFDictionaryKeyCallBacks {
    version: 0,
    retain: None,
    release: None,
    copyDescription: None,
    equal: None,
    hash: None,
};

/// `CFDictionary.h`: for keys that are strings.
#[unsafe(no_mangle)]
static kCFCopyStringDictionaryKeyCallBacks: CFDictionaryKeyCallBacks = CFDictionaryKeyCallBacks {
    version: 0,
    retain: None,
    release: None,
    copyDescription: None,
    equal: None,
    hash: None,
};

/// `CFDictionary.h`: for values that are objects.
#[unsafe(no_mangle)]
static kCFTypeDictionaryValueCallBacks: CFDictionaryValueCallBacks = CFDictionaryValueCallBacks {
    version: 0,
    retain: None,
    release: None,
    copyDescription: None,
    equal: None,
};

/// The entries of a dictionary, in the order they came.
pub(crate) struct Entries {
    holds_keys: bool,
    holds_values: bool,
    entries: Mutex<Vec<(Item, Item)>>,
}

type Addresses = (*const c_void, *const c_void);

impl Entries {
    fn lock(&self) -> MutexGuard<'_, Vec<(Item, Item)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn addresses(&self) -> Vec<Addresses> {
        self.lock()
            .iter()
            .map(|(key, value)| (key.address(), value.address()))
            .collect()
    }

    fn value(&self, key: *const c_void) -> Option<*const c_void> {
        let entries = self.lock();
        entries
            .iter()
            .find(|(own, _)| own.is(key))
            .map(|(_, value)| value.address())
    }

    /// Sets a value; what stood there is let go after the dictionary is as it shall be.
    fn set(&self, (key, value): Addresses, if_present: bool, if_absent: bool) {
        let new = Item::new(value, self.holds_values);
        let mut entries = self.lock();
        let place = entries.iter_mut().find(|(own, _)| own.is(key));
        let old = match place {
            Some((_, value)) if if_present => Some(std::mem::replace(value, new)),
            Some(_) => Some(new),
            None if if_absent => {
                entries.push((Item::new(key, self.holds_keys), new));
                None
            }
            None => Some(new),
        };
        drop(entries);
        drop(old);
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        let same = |(key, value): Addresses| {
            let own = self.lock();
            own.iter()
                .any(|(own_key, own_value)| own_key.is(key) && own_value.is(value))
        };
        self.count() == other.count() && other.addresses().into_iter().all(same)
    }
}

/// A new dictionary of these objects, which it takes over; the caller holds the dictionary.
pub(crate) fn new(entries: Vec<(Ref, Ref)>) -> Ref {
    let taken = |object| Item::Object(Held::taking(object));
    let entries = entries
        .into_iter()
        .map(|(key, value)| (taken(key), taken(value)))
        .collect();
    let entries = Mutex::new(entries);
    Ref::new(Body::Dictionary(Entries {
        holds_keys: true,
        holds_values: true,
        entries,
    }))
}

/// What stands under a key, which nobody holds for the caller.
pub(crate) fn value(dictionary: Ref, key: Ref) -> Option<Ref> {
    entries_of(&dictionary)
        .value(key.address())
        .map(Ref::from_address)
}

/// How many entries there are.
pub(crate) fn count(dictionary: Ref) -> usize {
    entries_of(&dictionary).count()
}

fn entries_of(dictionary: &Ref) -> &Entries {
    let Body::Dictionary(entries) = dictionary.body() else {
        dictionary.is_not("CFDictionary")
    };
    entries
}

fn make(entries: Vec<Addresses>, holds_keys: bool, holds_values: bool) -> Ref {
    let made = Entries {
        holds_keys,
        holds_values,
        entries: Mutex::new(Vec::new()),
    };
    for entry in entries {
        // Of entries with the same key the first stays, as on macOS.
        made.set(entry, false, true);
    }
    Ref::new(Body::Dictionary(made))
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryGetTypeID() -> usize {
    Kind::Dictionary as usize
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryCreate(
    _allocator: Ref,
    keys: *const *const c_void,
    values: *const *const c_void,
    count: isize,
    key_callbacks: *const CFDictionaryKeyCallBacks,
    value_callbacks: *const CFDictionaryValueCallBacks,
) -> Ref {
    note("CFDictionaryCreate");
    let (keys, values) = (raw::values(keys, count), raw::values(values, count));
    let entries = keys.into_iter().zip(values).collect();
    make(
        entries,
        !key_callbacks.is_null(),
        !value_callbacks.is_null(),
    )
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryCreateMutable(
    _allocator: Ref,
    _capacity: isize,
    key_callbacks: *const CFDictionaryKeyCallBacks,
    value_callbacks: *const CFDictionaryValueCallBacks,
) -> Ref {
    note("CFDictionaryCreateMutable");
    make(
        Vec::new(),
        !key_callbacks.is_null(),
        !value_callbacks.is_null(),
    )
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryCreateCopy(_allocator: Ref, dictionary: Ref) -> Ref {
    note("CFDictionaryCreateCopy");
    let entries = entries_of(&dictionary);
    make(
        entries.addresses(),
        entries.holds_keys,
        entries.holds_values,
    )
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryGetCount(dictionary: Ref) -> isize {
    note("CFDictionaryGetCount");
    count(dictionary).cast_signed()
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryContainsKey(dictionary: Ref, key: *const c_void) -> u8 {
    note("CFDictionaryContainsKey");
    u8::from(entries_of(&dictionary).value(key).is_some())
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryContainsValue(dictionary: Ref, value: *const c_void) -> u8 {
    note("CFDictionaryContainsValue");
    u8::from(
        entries_of(&dictionary)
            .lock()
            .iter()
            .any(|(_, own)| own.is(value)),
    )
}

/// `CFDictionary.h`: NULL if there is none; not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryGetValue(dictionary: Ref, key: *const c_void) -> *const c_void {
    note("CFDictionaryGetValue");
    entries_of(&dictionary)
        .value(key)
        .unwrap_or(std::ptr::null())
}

/// `CFDictionary.h`: not held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryGetValueIfPresent(
    dictionary: Ref,
    key: *const c_void,
    place: *mut *const c_void,
) -> u8 {
    note("CFDictionaryGetValueIfPresent");
    let Some(value) = entries_of(&dictionary).value(key) else {
        return 0;
    };
    raw::put(place, value);
    1
}

/// `CFDictionary.h`: none is held for the caller.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryGetKeysAndValues(
    dictionary: Ref,
    keys: *mut *const c_void,
    values: *mut *const c_void,
) {
    note("CFDictionaryGetKeysAndValues");
    let (own_keys, own_values): (Vec<_>, Vec<_>) =
        entries_of(&dictionary).addresses().into_iter().unzip();
    raw::fill(keys, &own_keys);
    raw::fill(values, &own_values);
}

/// `CFDictionary.h`: nothing if there is a value already.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryAddValue(
    dictionary: Ref,
    key: *const c_void,
    value: *const c_void,
) {
    note("CFDictionaryAddValue");
    entries_of(&dictionary).set((key, value), false, true);
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionarySetValue(
    dictionary: Ref,
    key: *const c_void,
    value: *const c_void,
) {
    note("CFDictionarySetValue");
    entries_of(&dictionary).set((key, value), true, true);
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryRemoveValue(dictionary: Ref, key: *const c_void) {
    note("CFDictionaryRemoveValue");
    let mut entries = entries_of(&dictionary).lock();
    let place = entries.iter().position(|(own, _)| own.is(key));
    let removed = place.map(|place| entries.remove(place));
    drop(entries);
    drop(removed);
}

/// `CFDictionary.h`: nothing if there is no value yet.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryReplaceValue(
    dictionary: Ref,
    key: *const c_void,
    value: *const c_void,
) {
    note("CFDictionaryReplaceValue");
    entries_of(&dictionary).set((key, value), true, false);
}

/// `CFDictionary.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFDictionaryRemoveAllValues(dictionary: Ref) {
    note("CFDictionaryRemoveAllValues");
    let removed = std::mem::take(&mut *entries_of(&dictionary).lock());
    drop(removed);
}
