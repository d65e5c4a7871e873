//! Blocks, through the real block2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use block2::{DynBlock, RcBlock, StackBlock, global_block};
use objc_double::{Id, NS_OBJECT, class, live_blocks};
use objc2::rc::Retained;
use objc2::runtime::{AnyObject, NSObject};
use objc2::{ClassType, msg_send};

use crate::alone;

class! {
    /// Calls what it is given, at once.
    static CALLER: () = "Caller": NS_OBJECT;
    - "call:" (_this, block: &DynBlock<dyn Fn(usize)>) { block.call((5,)) }
    - "keep:" (_this, block: &DynBlock<dyn Fn(usize)>) -> Id {
        let kept = block.copy();
        kept.call((1,));
        std::ptr::null_mut()
    }
}

global_block! {
    static TWICE = |number: i32| -> i32 { number * 2 };
}

#[test]
fn a_block_on_the_heap_is_freed_with_what_it_captured() {
    let _alone = alone();
    let before = live_blocks();
    let captured = Arc::new(AtomicUsize::new(0));
    let inside = captured.clone();
    let block = RcBlock::new(move |number: usize| {
        inside.fetch_add(number, Ordering::SeqCst);
    });
    assert_eq!(live_blocks(), before + 1);
    let copy = block.clone();
    block.call((2,));
    drop(block);
    copy.call((3,));
    assert_eq!(captured.load(Ordering::SeqCst), 5);
    drop(copy);
    assert_eq!(live_blocks(), before);
    assert_eq!(Arc::strong_count(&captured), 1);
}

#[test]
fn a_block_on_the_stack_is_copied_when_it_is_kept() {
    let _alone = alone();
    let captured = Arc::new(AtomicUsize::new(0));
    let inside = captured.clone();
    let block = StackBlock::new(move |number: usize| {
        inside.fetch_add(number, Ordering::SeqCst);
    });
    let caller = CALLER.class().allocate();
    let block: &DynBlock<dyn Fn(usize)> = &block;
    // SAFETY: the receiver answers with this type.
    let _: () = unsafe { msg_send![&*caller, call: block] };
    // SAFETY: the receiver answers with this type.
    let nothing: Option<Retained<AnyObject>> = unsafe { msg_send![&*caller, keep: block] };
    assert!(nothing.is_none());
    assert_eq!(captured.load(Ordering::SeqCst), 6);
}

#[test]
fn a_block_that_captures_nothing_is_never_copied() {
    let _alone = alone();
    let before = live_blocks();
    let copy = TWICE.copy();
    assert_eq!(copy.call((21,)), 42);
    assert_eq!(live_blocks(), before);
    let _ = NSObject::class();
}
