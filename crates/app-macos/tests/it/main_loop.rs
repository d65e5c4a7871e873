//! The main thread while work is under way.

use crate::world::{EXTENSION, PLENTY, SOON, WAIT, World};
use app_macos::extension::{Outcome, Replace, Request, submit};
use app_macos::main_loop::{Error, WATCHDOG, with_main_loop};
use dispatch2::DispatchQueue;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A program's life: the first thread that serves the run loop is its main thread.
fn on_main_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    darwin_double::machine::reset();
    thread::spawn(work).join().unwrap()
}

#[test]
fn what_the_system_puts_on_the_main_queue_is_done_meanwhile() {
    let _world = World::new();
    let result = on_main_thread(|| {
        with_main_loop(Some(PLENTY), || {
            let (give, take) = mpsc::channel();
            DispatchQueue::main().exec_async(move || give.send(thread::current().id()).unwrap());
            (take.recv_timeout(PLENTY).unwrap(), thread::current().id())
        })
    });
    let (on_main, worker) = result.unwrap();
    assert_ne!(on_main, worker);
}

#[test]
fn a_request_runs_from_end_to_end_under_the_main_loop() {
    let _world = World::new();
    let outcome = on_main_thread(|| {
        with_main_loop(Some(WATCHDOG), || {
            submit(EXTENSION, Request::Activate(Replace::Refused), WAIT)
        })
    });
    assert_eq!(outcome, Ok(Ok(Outcome::Done { replaced: None })));
}

#[test]
fn work_that_hangs_is_left_to_itself() {
    let _world = World::new();
    let begun = Instant::now();
    let result = on_main_thread(|| {
        with_main_loop(Some(SOON), || thread::park_timeout(Duration::from_secs(20)))
    });
    assert_eq!(result, Err(Error::Hung(SOON)));
    assert!(begun.elapsed() < PLENTY);
    assert!(Error::Hung(SOON).to_string().contains("150 ms"));
}

#[test]
fn work_that_panics_is_told_as_a_fault() {
    let _world = World::new();
    let result = on_main_thread(|| with_main_loop::<()>(None, || panic!("too much")));
    assert_eq!(result, Err(Error::Fault("too much".to_owned())));
    let result = on_main_thread(|| with_main_loop::<()>(None, || std::panic::panic_any(7)));
    assert_eq!(
        result,
        Err(Error::Fault("a panic without words".to_owned()))
    );
}

#[test]
fn off_the_main_thread_it_only_waits() {
    let _world = World::new();
    let (result, other) = on_main_thread(|| {
        with_main_loop(Some(PLENTY), || {
            // This thread is not the main one: there is nothing to serve on it.
            let result = with_main_loop(Some(PLENTY), || 7);
            let slow = with_main_loop(Some(PLENTY), || thread::sleep(SOON));
            let fault = with_main_loop::<()>(Some(PLENTY), || panic!("off"));
            (result, (slow, fault))
        })
        .unwrap()
    });
    assert_eq!(result, Ok(7));
    assert_eq!(other, (Ok(()), Err(Error::Fault("off".to_owned()))));
}

#[test]
fn a_result_is_not_lost_when_the_loop_is_stopped_before_it_runs() {
    let _world = World::new();
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(
            on_main_thread(|| with_main_loop(Some(PLENTY), || ())),
            Ok(())
        );
        assert!(begun.elapsed() < PLENTY / 2);
    }
}
