//! Recordings, and messages that fail or stall on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use objc_double::{
    Reaction, clear_reactions, objects_made_on_this_thread, on_send, recorded, sent_on_this_thread,
    start_recording, stop_recording,
};
use objc2_foundation::{NSData, NSString};

use crate::{alone, panic_text};

#[test]
fn a_recording_has_the_selectors_in_the_order_they_were_sent() {
    let _alone = alone();
    let data = NSData::with_bytes(b"abc");
    let (length, sent) = recorded(|| data.length() + data.length());
    assert_eq!(length, 6);
    assert_eq!(sent, ["length", "length"]);
    start_recording();
    let _ = data.length();
    assert_eq!(sent_on_this_thread(), ["length"]);
    assert_eq!(stop_recording(), ["length"]);
    let _ = data.length();
    assert_eq!(sent_on_this_thread(), [""; 0]);
}

#[test]
fn a_recording_hears_its_own_thread_only() {
    let _alone = alone();
    let ((), sent) = recorded(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| drop(NSString::from_str("elsewhere")));
        });
    });
    assert_eq!(sent, [""; 0]);
}

#[test]
fn objects_are_counted_by_the_thread_that_makes_them() {
    let _alone = alone();
    let before = objects_made_on_this_thread();
    let _text = NSString::from_str("one");
    std::thread::scope(|scope| {
        scope.spawn(|| drop(NSString::from_str("elsewhere")));
    });
    assert_eq!(objects_made_on_this_thread(), before + 1);
}

#[test]
fn a_message_panics_stalls_or_calls_on_demand() {
    let _alone = alone();
    let data = NSData::with_bytes(b"abc");
    on_send("length", Reaction::Panic("no length today"));
    assert_eq!(panic_text(|| data.length()), "no length today");

    on_send("length", Reaction::Stall(Duration::from_millis(30)));
    let start = Instant::now();
    assert_eq!(data.length(), 3);
    assert!(start.elapsed() >= Duration::from_millis(30));

    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let count = move || {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    on_send("length", Reaction::Call(Arc::new(count)));
    assert_eq!(data.length(), 3);
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    clear_reactions();
    assert_eq!(data.length(), 3);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
