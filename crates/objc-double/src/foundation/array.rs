//! `NSArray`.

use std::ptr::{self, NonNull};

use objc2::runtime::{AnyObject, Bool, NSZone};
use objc2_foundation::NSFastEnumerationState;

use super::enumerator::{enumerate, enumerator};
use super::{is_equal, objects_at, returned};
use crate::{Id, NS_OBJECT, Strong, class, raise};

class! {
    /// Ordered collections.
    pub static NS_ARRAY: Vec<Strong> = "NSArray": NS_OBJECT;

    + "array" (_class) -> Id { array(Vec::new()).returned() }
    - "init" (this) -> Id {
        NS_ARRAY.fill(this, Vec::new());
        ptr::from_ref(this).cast_mut()
    }
    - "initWithObjects:count:" (this, objects: *mut Id, count: usize) -> Id {
        // SAFETY: the sender passes so many objects.
        NS_ARRAY.fill(this, unsafe { objects_at(objects, count, "an array") });
        ptr::from_ref(this).cast_mut()
    }
    - "count" (this) -> usize { elements(this).len() }
    - "objectAtIndex:" (this, index: usize) -> Id {
        match elements(this).get(index) {
            Some(element) => element.clone().returned(),
            None => {
                let text = format!("index {index} in an array of {}", elements(this).len());
                raise("NSRangeException", &text)
            }
        }
    }
    - "firstObject" (this) -> Id { returned(elements(this).first()) }
    - "lastObject" (this) -> Id { returned(elements(this).last()) }
    - "containsObject:" (this, object: &AnyObject) -> Bool {
        Bool::new(elements(this).iter().any(|element| is_equal(element, object)))
    }
    - "getObjects:" (this, place: *mut Id) {
        for (index, element) in elements(this).iter().enumerate() {
            // SAFETY: the sender has room for all elements.
            unsafe { place.add(index).write(ptr::from_ref::<AnyObject>(element).cast_mut()) };
        }
    }
    - "objectEnumerator" (this) -> Id { enumerator(elements(this).clone()).returned() }
    - "countByEnumeratingWithState:objects:count:"
        (this, state: NonNull<NSFastEnumerationState>, place: NonNull<Id>, room: usize) -> usize
    {
        // SAFETY: the sender passes its state and so much room.
        unsafe { enumerate(elements(this).iter(), state, place, room) }
    }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
    - "hash" (this) -> usize { elements(this).len() }
    - "isEqual:" (this, other: Option<&AnyObject>) -> Bool {
        let other = other.filter(|other| NS_ARRAY.is_class_of(other)).map(elements);
        let same = |other: &[Strong]| {
            let mut pairs = elements(this).iter().zip(other);
            elements(this).len() == other.len() && pairs.all(|(one, other)| is_equal(one, other))
        };
        Bool::new(other.is_some_and(|other| same(other)))
    }
}

/// An array of objects.
pub fn array(elements: Vec<Strong>) -> Strong {
    NS_ARRAY.create(elements)
}

/// The elements of an array.
///
/// # Panics
///
/// When the object is no array.
pub fn elements(object: &AnyObject) -> &Vec<Strong> {
    NS_ARRAY.of(object)
}
