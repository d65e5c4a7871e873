//! Reference counts, pools, weak references, threads.

use std::sync::{Arc, Barrier};

use objc_double::{Strong, foundation, hand_over_returned_objects, retain_count, stats};
use objc2::msg_send;
use objc2::rc::{Retained, Weak, autoreleasepool};
use objc2::runtime::{AnyObject, NSObject};
use objc2_foundation::{NSArray, NSString, NSUUID};

use crate::alone;

#[test]
fn references_are_counted_and_the_last_one_destroys() {
    let _alone = alone();
    let before = stats("NSObject");
    let one = NSObject::new();
    let two = one.clone();
    assert_eq!(retain_count(&one), 2);
    drop(one);
    assert_eq!(retain_count(&two), 1);
    drop(two);
    let after = stats("NSObject");
    assert_eq!(after.alloc - before.alloc, 1);
    assert_eq!(after.dealloc - before.dealloc, 1);
    assert_eq!(after.retain - before.retain, 1);
    assert_eq!(after.release - before.release, 2);
}

#[test]
fn classes_and_constants_are_not_counted() {
    let _alone = alone();
    let domain = foundation::NSPOSIXErrorDomain.get();
    let before = retain_count(domain);
    drop(Strong::to(domain));
    assert_eq!(retain_count(domain), before);
    // SAFETY: the receiver answers with this type.
    let class: Retained<AnyObject> = unsafe { msg_send![objc2::class!(NSString), self] };
    drop(class);
}

#[test]
fn an_autoreleased_object_lives_until_its_pool_ends() {
    let _alone = alone();
    autoreleasepool(|_| {
        let object = NSObject::new();
        let weak = Weak::from_retained(&object);
        autoreleasepool(|_| {
            let _ = Retained::autorelease_ptr(object);
            assert!(weak.load().is_some());
        });
        assert!(weak.load().is_none());
    });
}

#[test]
fn objects_made_without_a_pool_are_found() {
    let mut alone = alone();
    std::thread::spawn(|| {
        let array = NSArray::from_retained_slice(&[NSObject::new()]);
        let element: Retained<NSObject> = array.objectAtIndex(0);
        drop((array, element));
    })
    .join()
    .unwrap();
    let leaks = alone.forgive();
    let expected = "1 objects autoreleased without a pool";
    assert!(leaks.contains(&expected.to_owned()), "{leaks:?}");
    assert!(
        leaks.contains(&"NSObject: 1 objects, 1 references".to_owned()),
        "{leaks:?}"
    );
}

#[test]
fn an_object_handed_over_skips_the_pool() {
    let _alone = alone();
    let array = NSArray::from_retained_slice(&[NSUUID::from_bytes([1; 16])]);
    let element = |expected: usize| {
        autoreleasepool(|_| {
            let element = array.objectAtIndex(0);
            assert_eq!(retain_count(&element), expected);
        });
    };
    element(3);
    hand_over_returned_objects(true);
    element(2);
    hand_over_returned_objects(false);
    element(3);
}

#[test]
fn an_object_that_nobody_takes_over_waits_in_the_pool() {
    let _alone = alone();
    let array = NSArray::from_retained_slice(&[NSUUID::from_bytes([1; 16])]);
    hand_over_returned_objects(true);
    autoreleasepool(|_| {
        // SAFETY: the array is not changed.
        let first = unsafe { array.objectAtIndex_unchecked(0) };
        assert_eq!(retain_count(first), 2);
        let second = array.objectAtIndex(0);
        assert_eq!(retain_count(&second), 3);
    });
    hand_over_returned_objects(false);
    autoreleasepool(|_| assert_eq!(retain_count(&array.objectAtIndex(0)), 3));
}

#[test]
fn a_weak_reference_becomes_nil_with_its_object() {
    let _alone = alone();
    let object = NSString::from_str("short-lived");
    let weak = Weak::from_retained(&object);
    let copy = weak.clone();
    assert_eq!(weak.load().as_deref(), Some(&*object));
    drop(weak);
    drop(object);
    assert!(copy.load().is_none());
    let moved: Weak<NSString> = Weak::default();
    assert!(moved.load().is_none());
}

#[test]
fn eight_threads_share_an_object_and_all_references_come_back() {
    let _alone = alone();
    let object = Arc::new(Strong::from(NSObject::new()));
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (object, start) = (object.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                for round in 0..2_000 {
                    autoreleasepool(|_| {
                        let another = Strong::clone(&object);
                        let text = NSString::from_str(&round.to_string());
                        assert_eq!(text.to_string(), round.to_string());
                        let _ = another.returned();
                    });
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(retain_count(&object), 1);
}

#[test]
fn weak_loads_race_with_the_last_release_and_never_revive() {
    let _alone = alone();
    for _ in 0..300 {
        let object = Strong::from(NSObject::new());
        let weak = Shared(Weak::new(&object));
        std::thread::scope(|scope| {
            scope.spawn(|| while weak.is_alive() {});
            drop(object);
        });
    }
}

/// A weak reference that threads share, which the runtime allows.
struct Shared(Weak<AnyObject>);

// SAFETY: these methods ask nothing of their callers.
unsafe impl Sync for Shared {}

impl Shared {
    fn is_alive(&self) -> bool {
        self.0.load().is_some()
    }
}
