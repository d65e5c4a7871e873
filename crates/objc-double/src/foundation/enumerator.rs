//! `NSEnumerator`, and the protocol that `for` loops use.

use std::collections::VecDeque;
use std::ptr::{self, NonNull, null_mut};
use std::sync::{Mutex, PoisonError};

use objc2::runtime::AnyObject;
use objc2_foundation::NSFastEnumerationState;

use super::array;
use crate::{Id, NS_OBJECT, Strong, class};

/// What is left to enumerate; what was given out stays alive with the enumerator.
struct Left {
    left: VecDeque<Strong>,
    given: Vec<Strong>,
}

class! {
    /// Walks over a collection once.
    static NS_ENUMERATOR: Mutex<Left> = "NSEnumerator": NS_OBJECT;

    - "nextObject" (this) -> Id { next(this).map_or(null_mut(), Strong::returned) }
    - "allObjects" (this) -> Id {
        let rest = std::iter::from_fn(|| next(this)).collect();
        array(rest).returned()
    }
    - "countByEnumeratingWithState:objects:count:"
        (this, state: NonNull<NSFastEnumerationState>, place: NonNull<Id>, room: usize) -> usize
    {
        let batch: Vec<Strong> = std::iter::from_fn(|| next(this)).take(room).collect();
        // SAFETY: the sender passes its state and so much room. A state of its own is not
        // needed: the enumerator knows where it is.
        unsafe {
            (*state.as_ptr()).state = 0;
            enumerate(batch.iter(), state, place, room)
        }
    }
}

/// An enumerator over objects.
pub(super) fn enumerator(objects: Vec<Strong>) -> Strong {
    NS_ENUMERATOR.create(Mutex::new(Left {
        left: objects.into(),
        given: Vec::new(),
    }))
}

fn next(this: &AnyObject) -> Option<Strong> {
    let mut left = NS_ENUMERATOR
        .of(this)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let object = left.left.pop_front()?;
    left.given.push(object.clone());
    Some(object)
}

/// Fills the sender's room with the next objects; returns how many.
///
/// # Safety
///
/// The state must be the sender's own, and there must be so much room.
pub(super) unsafe fn enumerate<'a>(
    objects: impl Iterator<Item = &'a Strong>,
    state: NonNull<NSFastEnumerationState>,
    place: NonNull<Id>,
    room: usize,
) -> usize {
    /// Whatever a mutation would change: nothing here ever does.
    static NEVER_CHANGES: usize = 0;
    let state = state.as_ptr();
    // SAFETY: as the caller promises; the sender only reads through `mutationsPtr`.
    unsafe {
        let mut count = 0;
        for object in objects.skip((*state).state as usize).take(room) {
            place
                .add(count)
                .write(ptr::from_ref::<AnyObject>(object).cast_mut());
            count += 1;
        }
        (*state).state += count as u64;
        (*state).itemsPtr = place.as_ptr().cast();
        (*state).mutationsPtr = (&raw const NEVER_CHANGES).cast_mut().cast();
        count
    }
}
