//! Weak references: places that become nil when their object dies.

use std::collections::HashMap;
use std::ptr::{self, null_mut};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use objc2::runtime::AnyObject;

use crate::{Id, objects};

/// The places that refer to an object, by its address.
static PLACES: LazyLock<Mutex<HashMap<usize, Vec<usize>>>> = LazyLock::new(Mutex::default);

/// Empties every place that refers to the object; its last reference is gone.
pub(crate) fn clear(object: &AnyObject) {
    let mut places = places();
    for place in places
        .remove(&ptr::from_ref(object).addr())
        .unwrap_or_default()
    {
        let place = ptr::with_exposed_provenance_mut::<Id>(place);
        // SAFETY: a place is taken out of the list before its memory goes, under this lock.
        unsafe { place.write(null_mut()) };
    }
}

fn places() -> MutexGuard<'static, HashMap<usize, Vec<usize>>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
///
/// The place must be valid, and hold nil or what was stored in it before.
unsafe fn store(place: *mut Id, object: Option<&AnyObject>) {
    let mut places = places();
    let address = place.expose_provenance();
    // SAFETY: as the caller promises.
    let old = unsafe { place.read() };
    if let Some(others) = places.get_mut(&old.addr()) {
        others.retain(|other| *other != address);
    }
    let new = object.map_or(null_mut(), |object| ptr::from_ref(object).cast_mut());
    if let Some(object) = object {
        objects::note_weak_reference(object);
        places.entry(new.addr()).or_default().push(address);
    }
    // SAFETY: as above.
    unsafe { place.write(new) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_storeWeak(place: *mut Id, object: Option<&AnyObject>) -> Id {
    // SAFETY: the caller passes a place that was initialized.
    unsafe {
        store(place, object);
        place.read()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_initWeak(place: *mut Id, object: Option<&AnyObject>) -> Id {
    // SAFETY: the caller passes a place that may be written.
    unsafe {
        place.write(null_mut());
        store(place, object);
        place.read()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_destroyWeak(place: *mut Id) {
    // SAFETY: the caller passes a place that was initialized.
    unsafe { store(place, None) };
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_loadWeakRetained(place: *mut Id) -> Id {
    let _places = places();
    // SAFETY: the caller passes a place that was initialized; under the lock the object's memory
    // stays, because `clear` must come first.
    let object = unsafe { place.read() };
    // SAFETY: as above.
    match unsafe { object.as_ref() } {
        Some(alive) if objects::try_retain(alive) => object,
        Some(_) | None => null_mut(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_copyWeak(to: *mut Id, from: *mut Id) {
    // SAFETY: the caller passes a place that may be written, and one that was initialized; the
    // object is retained until it is stored.
    unsafe {
        let object = objc_loadWeakRetained(from);
        objc_initWeak(to, object.as_ref());
        if let Some(object) = object.as_ref() {
            objects::release(object);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_moveWeak(to: *mut Id, from: *mut Id) {
    // SAFETY: as the caller promises.
    unsafe {
        objc_copyWeak(to, from);
        objc_destroyWeak(from);
    }
}
