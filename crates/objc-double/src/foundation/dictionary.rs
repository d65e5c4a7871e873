//! `NSDictionary`.

use std::ptr::{self, NonNull};

use objc2::runtime::{AnyObject, Bool, NSZone};
use objc2_foundation::NSFastEnumerationState;

use super::enumerator::{enumerate, enumerator};
use super::{array, is_equal, objects_at, returned};
use crate::{Id, NS_OBJECT, Strong, class, root};

/// Keys and their values, in the order they were given.
#[derive(Default)]
pub struct Pairs {
    keys: Vec<Strong>,
    values: Vec<Strong>,
}

class! {
    /// Values by key.
    pub static NS_DICTIONARY: Pairs = "NSDictionary": NS_OBJECT;

    + "dictionary" (_class) -> Id { dictionary(Vec::new()).returned() }
    - "init" (this) -> Id {
        NS_DICTIONARY.fill(this, Pairs::default());
        ptr::from_ref(this).cast_mut()
    }
    - "initWithObjects:forKeys:count:"
        (this, values: *mut Id, keys: *mut Id, count: usize) -> Id
    {
        // SAFETY: the sender passes so many of both.
        let (keys, values) = unsafe {
            (objects_at(keys, count, "a dictionary"), objects_at(values, count, "a dictionary"))
        };
        let keys = keys.iter().map(|key| copied(key)).collect();
        NS_DICTIONARY.fill(this, Pairs { keys, values });
        ptr::from_ref(this).cast_mut()
    }
    - "count" (this) -> usize { NS_DICTIONARY.of(this).keys.len() }
    - "objectForKey:" (this, key: &AnyObject) -> Id { returned(lookup(this, key)) }
    - "objectForKeyedSubscript:" (this, key: &AnyObject) -> Id { returned(lookup(this, key)) }
    - "allKeys" (this) -> Id { array(NS_DICTIONARY.of(this).keys.clone()).returned() }
    - "allValues" (this) -> Id { array(NS_DICTIONARY.of(this).values.clone()).returned() }
    - "keyEnumerator" (this) -> Id {
        enumerator(NS_DICTIONARY.of(this).keys.clone()).returned()
    }
    - "objectEnumerator" (this) -> Id {
        enumerator(NS_DICTIONARY.of(this).values.clone()).returned()
    }
    - "countByEnumeratingWithState:objects:count:"
        (this, state: NonNull<NSFastEnumerationState>, place: NonNull<Id>, room: usize) -> usize
    {
        // SAFETY: the sender passes its state and so much room.
        unsafe { enumerate(NS_DICTIONARY.of(this).keys.iter(), state, place, room) }
    }
    - "getObjects:andKeys:" (this, values: *mut Id, keys: *mut Id) {
        // SAFETY: the sender passes null or has room for all.
        unsafe {
            give(&NS_DICTIONARY.of(this).values, values);
            give(&NS_DICTIONARY.of(this).keys, keys);
        }
    }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
    - "hash" (this) -> usize { NS_DICTIONARY.of(this).keys.len() }
    - "isEqual:" (this, other: Option<&AnyObject>) -> Bool {
        let other = other.filter(|other| NS_DICTIONARY.is_class_of(other));
        Bool::new(other.is_some_and(|other| is_same(this, other)))
    }
}

/// A dictionary of keys and values.
pub fn dictionary(pairs: Vec<(Strong, Strong)>) -> Strong {
    let (keys, values) = pairs.into_iter().unzip();
    NS_DICTIONARY.create(Pairs { keys, values })
}

/// The value of a key, if the dictionary has it.
///
/// # Panics
///
/// When the object is no dictionary.
pub fn lookup<'a>(object: &'a AnyObject, key: &AnyObject) -> Option<&'a Strong> {
    let found = pairs(object).find(|(own, _)| is_equal(own, key));
    found.map(|(_, value)| value)
}

/// The keys and values of a dictionary, in the order they were given.
///
/// # Panics
///
/// When the object is no dictionary.
pub fn pairs(object: &AnyObject) -> impl Iterator<Item = (&Strong, &Strong)> {
    let own = NS_DICTIONARY.of(object);
    own.keys.iter().zip(&own.values)
}

fn is_same(this: &AnyObject, other: &AnyObject) -> bool {
    let mut own = pairs(this);
    NS_DICTIONARY.of(this).keys.len() == NS_DICTIONARY.of(other).keys.len()
        && own.all(|(key, value)| lookup(other, key).is_some_and(|other| is_equal(value, other)))
}

fn copied(key: &AnyObject) -> Strong {
    // SAFETY: a copy comes with a reference, which the dictionary keeps.
    let copy = unsafe { objc2::rc::Retained::from_raw(root::copy(key)) };
    copy.expect("keys can be copied").into()
}

/// # Safety
///
/// The place must be null or have room for all.
unsafe fn give(objects: &[Strong], place: *mut Id) {
    if place.is_null() {
        return;
    }
    for (index, object) in objects.iter().enumerate() {
        // SAFETY: as the caller promises.
        unsafe {
            place
                .add(index)
                .write(ptr::from_ref::<AnyObject>(object).cast_mut())
        };
    }
}
