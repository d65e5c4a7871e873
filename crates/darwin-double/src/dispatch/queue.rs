//! Queues and what is put into them.

use super::main_queue;
use crate::machine::{enter, note};
use crate::raw;
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The mark of a queue that somebody holds.
const ALIVE: usize = 0xD15A_7C40;
/// How many queues that nobody holds are kept, so that a use of one is recognized.
const DEAD_KEPT_MAX: usize = 4_096;
/// `DISPATCH_TIME_FOREVER`.
const FOREVER: u64 = u64::MAX;

/// `dispatch/queue.h`: the queue of the main thread; its address is the queue.
#[unsafe(no_mangle)]
static _dispatch_main_q: Queue = Queue::fixed(Order::Main, c"com.apple.main-thread");
/// `dispatch/queue.h`: asks for a queue that works on many things at once; its address counts.
#[unsafe(no_mangle)]
static _dispatch_queue_attr_concurrent: Queue = Queue::fixed(Order::Concurrent, c"concurrent");

static GLOBAL: Queue = Queue::fixed(Order::Concurrent, c"com.apple.root.default-qos");
static DEAD: Mutex<VecDeque<QueueRef>> = Mutex::new(VecDeque::new());
static LIVE: AtomicUsize = AtomicUsize::new(0);
static BOOT: AtomicU64 = AtomicU64::new(0);
static BUSY: Mutex<usize> = Mutex::new(0);
static BUSY_CHANGED: Condvar = Condvar::new();

/// A queue.
struct Queue {
    mark: AtomicUsize,
    counted: bool,
    count: AtomicUsize,
    order: Order,
    label: Label,
    context: AtomicPtr<c_void>,
    serial: Mutex<Serial>,
}

enum Label {
    Fixed(&'static CStr),
    Owned(CString),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Main,
    Serial,
    Concurrent,
}

struct Serial {
    jobs: VecDeque<Job>,
    /// A thread works on them.
    served: bool,
}

/// What C callers hold: the address of a queue.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct QueueRef(*const Queue);

// SAFETY: a queue may be used by any thread: its parts are atomic or behind a mutex.
unsafe impl Send for QueueRef {}
// SAFETY: as above.
unsafe impl Sync for QueueRef {}

/// A function and what it is called with.
pub(super) struct Job {
    function: extern "C" fn(*mut c_void),
    context: *mut c_void,
}

// SAFETY: who puts work into a queue promises that it may run on another thread.
unsafe impl Send for Job {}

impl Job {
    pub(super) fn run(self) {
        (self.function)(self.context);
    }
}

/// How many queues somebody holds.
pub fn live_queues() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Waits until no global or serial queue has work, started or not; false if that takes longer
/// than `timeout`. Work that is to begin later does not count, nor does the main queue.
pub fn wait_idle(timeout: Duration) -> bool {
    let (busy, _) = BUSY_CHANGED
        .wait_timeout_while(busy(), timeout, |busy| *busy > 0)
        .unwrap_or_else(PoisonError::into_inner);
    *busy == 0
}

pub(super) fn reset() {
    BOOT.fetch_add(1, Ordering::Relaxed);
}

fn busy() -> MutexGuard<'static, usize> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    const fn fixed(order: Order, label: &'static CStr) -> Self {
        Self::with(order, Label::Fixed(label), false)
    }

    const fn with(order: Order, label: Label, counted: bool) -> Self {
        Self {
            mark: AtomicUsize::new(ALIVE),
            counted,
            count: AtomicUsize::new(1),
            order,
            label,
            context: AtomicPtr::new(std::ptr::null_mut()),
            serial: Mutex::new(Serial {
                jobs: VecDeque::new(),
                served: false,
            }),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Serial> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueRef {
    fn get(&self) -> &Queue {
        if self.0.is_null() {
            crash("a dispatch function was called with NULL for a queue");
        }
        // SAFETY: the C caller promised a queue. One that nobody holds is kept, without its mark.
        let queue = unsafe { &*self.0 };
        if queue.mark.load(Ordering::Acquire) != ALIVE {
            crash("a queue was used that nobody holds any more");
        }
        queue
    }

    fn push(self, job: Job) {
        match self.get().order {
            Order::Main => main_queue::push(job),
            Order::Concurrent => on_a_thread(move || job.run()),
            Order::Serial => self.push_serial(job),
        }
    }

    fn push_serial(self, job: Job) {
        *busy() += 1;
        let mut serial = self.get().jobs();
        serial.jobs.push_back(job);
        if std::mem::replace(&mut serial.served, true) {
            return;
        }
        drop(serial);
        retain(self);
        on_a_thread(move || {
            let queue = self;
            queue.serve();
            release(queue);
        });
    }

    fn serve(self) {
        loop {
            let mut serial = self.get().jobs();
            let Some(job) = serial.jobs.pop_front() else {
                serial.served = false;
                return;
            };
            drop(serial);
            job.run();
            done_with_one();
        }
    }
}

/// A mistake that ends the process on macOS too. The functions of this file are called as ones
/// that do not unwind, so a panic is not possible.
fn crash(problem: &str) -> ! {
    eprintln!("darwin-double: {problem}");
    std::process::abort();
}

fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    *busy() += 1;
    let started = thread::Builder::new()
        .name("dispatch-worker".to_owned())
        .spawn(move || {
            work();
            done_with_one();
        });
    if started.is_err() {
        crash("there is no thread for a dispatch queue");
    }
}

fn done_with_one() {
    *busy() -= 1;
    BUSY_CHANGED.notify_all();
}

fn retain(queue: QueueRef) {
    let queue = queue.get();
    if queue.counted {
        queue.count.fetch_add(1, Ordering::Relaxed);
    }
}

fn release(queue: QueueRef) {
    let held = queue.get();
    if !held.counted || held.count.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    held.mark.store(0, Ordering::Release);
    LIVE.fetch_sub(1, Ordering::Relaxed);
    let mut dead = DEAD.lock().unwrap_or_else(PoisonError::into_inner);
    dead.push_back(queue);
    if dead.len() > DEAD_KEPT_MAX
        && let Some(oldest) = dead.pop_front()
    {
        // SAFETY: it came from a box, nobody holds it, and it stood in the list once.
        drop(unsafe { Box::from_raw(oldest.0.cast_mut()) });
    }
}

fn new(label: *const c_char, attribute: QueueRef) -> QueueRef {
    let concurrent = std::ptr::eq(attribute.0, &raw const _dispatch_queue_attr_concurrent);
    let order = if concurrent {
        Order::Concurrent
    } else {
        Order::Serial
    };
    let label = Label::Owned(raw::text(label).to_owned());
    LIVE.fetch_add(1, Ordering::Relaxed);
    QueueRef(Box::leak(Box::new(Queue::with(order, label, true))))
}

/// `dispatch/queue.h`: NULL for the attribute makes a serial queue. The caller releases it.
#[unsafe(no_mangle)]
extern "C" fn dispatch_queue_create(label: *const c_char, attribute: QueueRef) -> QueueRef {
    enter("dispatch_queue_create", None);
    new(label, attribute)
}

/// `dispatch/queue.h`: the target is not looked at. The caller releases the queue. On macOS the
/// symbol has `$V2` at its end; elsewhere the bindings ask for the plain name.
#[unsafe(no_mangle)]
extern "C" fn dispatch_queue_create_with_target(
    label: *const c_char,
    attribute: QueueRef,
    _target: QueueRef,
) -> QueueRef {
    enter("dispatch_queue_create_with_target", None);
    new(label, attribute)
}

/// `dispatch/queue.h`: one queue stands for all global ones. It is not counted.
#[unsafe(no_mangle)]
extern "C" fn dispatch_get_global_queue(_identifier: isize, _flags: usize) -> QueueRef {
    enter("dispatch_get_global_queue", None);
    QueueRef(&GLOBAL)
}

/// `dispatch/queue.h`: the label of the queue; no queue asks for that of the queue that runs us,
/// which is known here for the main one only.
#[unsafe(no_mangle)]
extern "C" fn dispatch_queue_get_label(queue: QueueRef) -> *const c_char {
    note("dispatch_queue_get_label");
    if queue.0.is_null() {
        let main = main_queue::is_main_thread();
        return if main {
            c"com.apple.main-thread".as_ptr()
        } else {
            c"".as_ptr()
        };
    }
    match &queue.get().label {
        Label::Fixed(label) => label.as_ptr(),
        Label::Owned(label) => label.as_ptr(),
    }
}

/// `dispatch/object.h`.
#[unsafe(no_mangle)]
extern "C" fn dispatch_retain(queue: QueueRef) {
    note("dispatch_retain");
    retain(queue);
}

/// `dispatch/object.h`.
#[unsafe(no_mangle)]
extern "C" fn dispatch_release(queue: QueueRef) {
    note("dispatch_release");
    release(queue);
}

/// `dispatch/object.h`.
#[unsafe(no_mangle)]
extern "C" fn dispatch_set_context(queue: QueueRef, context: *mut c_void) {
    note("dispatch_set_context");
    queue.get().context.store(context, Ordering::Release);
}

/// `dispatch/object.h`.
#[unsafe(no_mangle)]
extern "C" fn dispatch_get_context(queue: QueueRef) -> *mut c_void {
    note("dispatch_get_context");
    queue.get().context.load(Ordering::Acquire)
}

/// `dispatch/object.h`: queues are active from the start here.
#[unsafe(no_mangle)]
extern "C" fn dispatch_activate(queue: QueueRef) {
    note("dispatch_activate");
    queue.get();
}

/// `dispatch/queue.h`: the function is called later.
#[unsafe(no_mangle)]
extern "C" fn dispatch_async_f(
    queue: QueueRef,
    context: *mut c_void,
    function: extern "C" fn(*mut c_void),
) {
    enter("dispatch_async_f", None);
    queue.push(Job { function, context });
}

/// `dispatch/queue.h`: as `dispatch_async_f`; a concurrent queue does not wait here either.
#[unsafe(no_mangle)]
extern "C" fn dispatch_barrier_async_f(
    queue: QueueRef,
    context: *mut c_void,
    function: extern "C" fn(*mut c_void),
) {
    enter("dispatch_barrier_async_f", None);
    queue.push(Job { function, context });
}

/// `dispatch/queue.h`: the function is called, in its turn, before this returns.
#[unsafe(no_mangle)]
extern "C" fn dispatch_sync_f(
    queue: QueueRef,
    context: *mut c_void,
    function: extern "C" fn(*mut c_void),
) {
    enter("dispatch_sync_f", None);
    let job = Job { function, context };
    match queue.get().order {
        Order::Concurrent => job.run(),
        Order::Main if main_queue::is_main_thread() => {
            crash("the main thread waits for itself in dispatch_sync_f");
        }
        Order::Main | Order::Serial => push_and_wait(queue, job),
    }
}

/// `dispatch/queue.h`: the function is called at a time made by `dispatch_time`, unless the
/// machine is booted anew before.
#[unsafe(no_mangle)]
extern "C" fn dispatch_after_f(
    when: u64,
    queue: QueueRef,
    context: *mut c_void,
    function: extern "C" fn(*mut c_void),
) {
    enter("dispatch_after_f", None);
    if when == FOREVER {
        return;
    }
    retain(queue);
    let job = Job { function, context };
    let boot = BOOT.load(Ordering::Relaxed);
    let wait = Duration::from_nanos(when.saturating_sub(now_ns()));
    let started = thread::Builder::new()
        .name("dispatch-timer".to_owned())
        .spawn(move || {
            thread::sleep(wait);
            if BOOT.load(Ordering::Relaxed) == boot {
                queue.push(job);
            }
            release(queue);
        });
    if started.is_err() {
        crash("there is no thread for dispatch_after_f");
    }
}

/// `dispatch/time.h`: `delta` nanoseconds after `when`; 0 is now.
#[unsafe(no_mangle)]
extern "C" fn dispatch_time(when: u64, delta: i64) -> u64 {
    note("dispatch_time");
    match when {
        FOREVER => FOREVER,
        0 => now_ns().saturating_add_signed(delta),
        when => when.saturating_add_signed(delta),
    }
}

fn push_and_wait(queue: QueueRef, job: Job) {
    struct Waited {
        job: Option<Job>,
        done: mpsc::Sender<()>,
    }
    extern "C" fn run(waited: *mut c_void) {
        // SAFETY: the address is that of the box below, which nobody else has.
        let mut waited = unsafe { Box::from_raw(waited.cast::<Waited>()) };
        if let Some(job) = waited.job.take() {
            job.run();
        }
        // Nobody waits only if the process ends.
        let _ = waited.done.send(());
    }
    let (done, finished) = mpsc::channel();
    let waited = Box::new(Waited {
        job: Some(job),
        done,
    });
    queue.push(Job {
        function: run,
        context: Box::into_raw(waited).cast(),
    });
    if finished.recv().is_err() {
        crash("work in a queue was thrown away while somebody waited for it");
    }
}

/// Nanoseconds since the first use, plus one, since 0 stands for now.
fn now_ns() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}
