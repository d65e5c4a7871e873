//! Autorelease pools: one stack of objects a thread, cut where pools begin.

use std::ffi::c_void;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use objc2::runtime::AnyObject;

use crate::classes::{Role, class_of};
use crate::thread::{self, Count};
use crate::{Id, objects};

static WITHOUT_POOL: AtomicU64 = AtomicU64::new(0);

static HAND_OVER: AtomicBool = AtomicBool::new(false);

/// How many objects were autoreleased on a thread that had no pool: on a Mac, leaks.
pub fn autoreleased_without_pool() -> u64 {
    WITHOUT_POOL.load(Relaxed)
}

/// Whether an object that a method returns may pass to its caller without the pool.
///
/// Apple's runtime does this where both sides cooperate, as objc2 does. The default here is not
/// to, because the pool is the worse case; what measures a cost turns it on.
pub fn hand_over_returned_objects(is_on: bool) {
    HAND_OVER.store(is_on, Relaxed);
}

/// Releases what is left when a thread ends.
pub(crate) fn drain() {
    pop_to(0);
    thread::current().depth.set(0);
}

/// Gives a reference to the caller of a method that does not give references away.
#[inline]
pub(crate) fn return_value(object: &AnyObject) {
    if !HAND_OVER.load(Relaxed) {
        return autorelease(object);
    }
    let thread = thread::current();
    let earlier = thread.returned.replace(ptr::from_ref(object).cast_mut());
    take_in(earlier);
}

fn autorelease(object: &AnyObject) {
    let class = class_of(object);
    if class.role() == Role::Meta || objects::retain_count(object) >= objects::IMMORTAL {
        return;
    }
    let thread = thread::current();
    thread.add(class.number(), Count::Autorelease);
    match thread.depth.get() {
        0 => {
            WITHOUT_POOL.fetch_add(1, Relaxed);
        }
        _ => thread
            .pool
            .borrow_mut()
            .push(ptr::from_ref(object).cast_mut()),
    }
}

/// Puts into the pool what was returned and whose caller did not take it.
#[inline]
fn take_in(returned: Id) {
    // SAFETY: the reference that came with it keeps the object alive.
    if let Some(object) = unsafe { returned.as_ref() } {
        autorelease(object);
    }
}

fn pop_to(mark: usize) {
    let thread = thread::current();
    take_in(thread.returned.replace(null_mut()));
    // A release may autorelease more, so the stack is not borrowed while it runs.
    loop {
        let mut pool = thread.pool.borrow_mut();
        let Some(object) = (pool.len() > mark).then(|| pool.pop()).flatten() else {
            return;
        };
        drop(pool);
        // SAFETY: the pool holds a reference until here.
        objects::release(unsafe { &*object });
    }
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_autoreleasePoolPush() -> *mut c_void {
    let thread = thread::current();
    take_in(thread.returned.replace(null_mut()));
    thread.depth.set(thread.depth.get() + 1);
    ptr::without_provenance_mut(thread.pool.borrow().len() + 1)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_autoreleasePoolPop(pool: *mut c_void) {
    pop_to(pool.addr() - 1);
    let thread = thread::current();
    thread.depth.set(thread.depth.get().saturating_sub(1));
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_retain(object: Option<&AnyObject>) -> Option<&AnyObject> {
    object.inspect(|object| objects::retain(object))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_release(object: Option<&AnyObject>) {
    if let Some(object) = object {
        objects::release(object);
    }
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_autorelease(object: Option<&AnyObject>) -> Option<&AnyObject> {
    object.inspect(|object| autorelease(object))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_autoreleaseReturnValue(object: Option<&AnyObject>) -> Option<&AnyObject> {
    object.inspect(|object| return_value(object))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_retainAutorelease(object: Option<&AnyObject>) -> Option<&AnyObject> {
    objc_autorelease(objc_retain(object))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_retainAutoreleaseReturnValue(
    object: Option<&AnyObject>,
) -> Option<&AnyObject> {
    objc_autoreleaseReturnValue(objc_retain(object))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_retainAutoreleasedReturnValue(
    object: Option<&AnyObject>,
) -> Option<&AnyObject> {
    let object = object?;
    let returned = &thread::current().returned;
    if ptr::eq(returned.get(), object) {
        // The reference that came with the object becomes the caller's.
        returned.set(null_mut());
    } else {
        objects::retain(object);
    }
    Some(object)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_storeStrong<'a>(
    place: &mut Option<&'a AnyObject>,
    object: Option<&'a AnyObject>,
) {
    objc_retain(object);
    objc_release(std::mem::replace(place, object));
}
