//! Dispatch queues and the main run loop, through the bindings.

use darwin_double::{dispatch, machine};
use dispatch2::{
    DispatchObject, DispatchQoS, DispatchQueue, DispatchQueueAttr, DispatchTime,
    GlobalQueueIdentifier,
};
use objc2_core_foundation::{CFRunLoop, CFRunLoopRunResult, kCFRunLoopDefaultMode};
use std::ffi::CStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn global() -> dispatch2::DispatchRetained<DispatchQueue> {
    DispatchQueue::global_queue(GlobalQueueIdentifier::QualityOfService(
        DispatchQoS::Default,
    ))
}

#[test]
fn work_for_the_main_queue_waits_for_the_main_thread() {
    let _machine = machine::lock();
    let (done, finished) = mpsc::channel();
    DispatchQueue::main().exec_async(move || done.send(dispatch::is_main_thread()).unwrap());
    assert!(finished.try_recv().is_err());
    assert_eq!(dispatch::run_pending_on_main(), 1);
    assert_eq!(finished.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn the_main_thread_runs_until_the_test_is_content() {
    let _machine = machine::lock();
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        DispatchQueue::main().exec_async(move || done.send(7).unwrap());
    });
    let mut got = None;
    assert!(dispatch::run_main(PATIENCE, || {
        got = finished.try_recv().ok();
        got.is_some()
    }));
    assert_eq!(got, Some(7));
    assert!(!dispatch::run_main(Duration::from_millis(1), || false));
}

#[test]
fn dispatch_main_serves_the_main_queue_and_does_not_return() {
    let _machine = machine::lock();
    assert!(!dispatch::main_was_entered());
    let main = thread::spawn(|| {
        dispatch2::dispatch_main();
    });
    assert!(dispatch::wait_for_main(PATIENCE));
    let (done, finished) = mpsc::channel();
    for number in 0..3 {
        let done = done.clone();
        DispatchQueue::main().exec_async(move || done.send(number).unwrap());
    }
    let numbers: Vec<_> = (0..3)
        .map(|_| finished.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(!main.is_finished());
}

#[test]
fn a_serial_queue_does_one_thing_after_the_other() {
    let _machine = machine::lock();
    let queue = DispatchQueue::new("com.example.serial", DispatchQueueAttr::SERIAL);
    let (done, finished) = mpsc::channel();
    for number in 0..100 {
        let done = done.clone();
        queue.exec_async(move || done.send(number).unwrap());
    }
    let mut waited = 0;
    queue.exec_sync(|| waited = 100);
    assert_eq!(waited, 100);
    drop(done);
    assert_eq!(
        finished.iter().collect::<Vec<_>>(),
        (0..100).collect::<Vec<_>>()
    );
    assert_eq!(dispatch::live_queues(), 1);
    drop(queue);
    assert!(dispatch::wait_idle(PATIENCE));
    assert_eq!(dispatch::live_queues(), 0);
}

#[test]
fn a_queue_lives_until_its_work_is_done() {
    let _machine = machine::lock();
    let queue = DispatchQueue::new("com.example.short", DispatchQueueAttr::SERIAL);
    let (go, wait) = mpsc::channel::<()>();
    queue.exec_async(move || wait.recv().unwrap());
    drop(queue);
    assert_eq!(dispatch::live_queues(), 1);
    go.send(()).unwrap();
    assert!(dispatch::wait_idle(PATIENCE));
    assert_eq!(dispatch::live_queues(), 0);
}

#[test]
fn a_global_queue_does_many_things_at_once() {
    let _machine = machine::lock();
    let (one, other) = (mpsc::channel(), mpsc::channel());
    global().exec_async(move || {
        one.0.send(()).unwrap();
        other.1.recv().unwrap();
    });
    global().exec_async(move || {
        one.1.recv().unwrap();
        other.0.send(()).unwrap();
    });
    assert!(dispatch::wait_idle(PATIENCE));
}

#[test]
fn work_for_later_comes_later() {
    let _machine = machine::lock();
    let (done, finished) = mpsc::channel();
    let when = DispatchTime::NOW.time(10_000_000);
    let begin = std::time::Instant::now();
    global()
        .after(when, move || done.send(()).unwrap())
        .unwrap();
    assert_eq!(finished.recv_timeout(PATIENCE), Ok(()));
    assert!(begin.elapsed() >= Duration::from_millis(10));
}

#[test]
fn the_main_run_loop_serves_the_main_queue_until_it_is_stopped() {
    let _machine = machine::lock();
    let (done, finished) = mpsc::channel();
    let main = thread::spawn(move || {
        DispatchQueue::main().exec_async(move || {
            done.send(CFRunLoop::current() == CFRunLoop::main())
                .unwrap();
            CFRunLoop::main().unwrap().stop();
        });
        CFRunLoop::run();
    });
    assert_eq!(finished.recv_timeout(PATIENCE), Ok(true));
    main.join().unwrap();
}

#[test]
fn a_run_of_the_main_loop_says_why_it_ended() {
    let _machine = machine::lock();
    // SAFETY: it is a constant.
    let mode = unsafe { kCFRunLoopDefaultMode };
    assert_eq!(
        CFRunLoop::run_in_mode(mode, 0.0, true),
        CFRunLoopRunResult::TimedOut
    );
    DispatchQueue::main().exec_async(|| {});
    assert_eq!(
        CFRunLoop::run_in_mode(mode, 60.0, true),
        CFRunLoopRunResult::HandledSource
    );
    DispatchQueue::main().exec_async(|| CFRunLoop::main().unwrap().stop());
    assert_eq!(
        CFRunLoop::run_in_mode(mode, 60.0, false),
        CFRunLoopRunResult::Stopped
    );
    let elsewhere = thread::spawn(|| {
        // SAFETY: it is a constant.
        let mode = unsafe { kCFRunLoopDefaultMode };
        CFRunLoop::run_in_mode(mode, 60.0, false)
    });
    assert_eq!(elsewhere.join().unwrap(), CFRunLoopRunResult::Finished);
}

#[test]
fn a_queue_keeps_what_it_was_given() {
    let _machine = machine::lock();
    let queue = DispatchQueue::new("com.example.label", DispatchQueueAttr::concurrent());
    // SAFETY: the label is a string that lives as long as the queue.
    let label = unsafe { CStr::from_ptr(DispatchQueue::label(Some(&queue)).as_ptr()) };
    assert_eq!(label, c"com.example.label");
    let mut value = 5_u8;
    // SAFETY: the queue only keeps the address.
    unsafe { queue.set_context((&raw mut value).cast()) };
    assert_eq!(queue.context(), (&raw mut value).cast());
}
