//! Between the system's threads and ours: one bounded queue, never waited for.
//!
//! A callback that finds the queue full counts what it could not tell and returns. Nothing here
//! allocates for an event, and no lock is held but for the moment of handing over a thread's name.
//!
//! Memory: the queue takes `capacity` times 264 bytes, at once and for ever: 2.1 MiB with the
//! default of [`CAPACITY`]. The few names that an event has no room for take 70 KiB.

use crate::Clock;
use crate::provider::ProviderHandle;
use crate::raw::{LongName, RawEvent};
use crate::settings::{FilterMode, LiveSettings, VendorConfigured};
use record::Stamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// Events that wait at most. At 4,000 flows a second, of which every one ends, that is a second in
/// which nobody takes them.
pub(crate) const CAPACITY: usize = 8_192;

/// Long names that wait at most.
const LONG_NAMES_MAX: usize = 256;

/// Starts, stops and the like that wait at most.
const CONTROLS_MAX: usize = 64;

/// Something that the system asked of the provider, or answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    /// When.
    pub(crate) at: Stamp,
    /// What.
    pub(crate) kind: ControlKind,
}

/// What the system asked or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlKind {
    /// `startFilterWithCompletionHandler:`.
    Started,
    /// `stopFilterWithReason:completionHandler:` with this `NEProviderStopReason`.
    Stopped(isize),
    /// `sleepWithCompletionHandler:`.
    Sleeping,
    /// `wake`.
    Woke,
    /// The system was told to do this with flows. It answers late, or never.
    Applying(FilterMode),
    /// The answer to settings that were to be applied; the code of the error, if there was one.
    Applied(FilterMode, Option<isize>),
}

/// What the callbacks know. Shared by all of them and the sensor.
pub(crate) struct Intake {
    clock: Clock,
    events: SyncSender<RawEvent>,
    long_names: SyncSender<LongName>,
    controls: SyncSender<Control>,
    drops: DropCounters,
    faults: AtomicU64,
    waiting: AtomicBool,
    waiter: Mutex<Option<Thread>>,
    provider: Mutex<Option<ProviderHandle>>,
    /// What holds now.
    pub(crate) settings: LiveSettings,
    /// Turns what the configuration of the filter carries into settings.
    pub(crate) on_vendor_config: VendorConfigured,
}

/// The other end of the queue.
pub(crate) struct Outlet {
    events: Receiver<RawEvent>,
    long_names: Receiver<LongName>,
    controls: Receiver<Control>,
}

#[derive(Default)]
struct DropCounters {
    opens: AtomicU64,
    updates: AtomicU64,
    closes: AtomicU64,
    controls: AtomicU64,
}

/// What did not fit into the queue, or went wrong, since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// New flows that did not fit.
    pub(crate) opens: u64,
    /// Statistics and other reports that did not fit.
    pub(crate) updates: u64,
    /// Reports of closed flows that did not fit.
    pub(crate) closes: u64,
    /// Starts, stops and the like that did not fit.
    pub(crate) controls: u64,
    /// Callbacks whose work panicked.
    pub(crate) faults: u64,
}

/// Number of the report that ends a flow, `NEFilterReportEventFlowClosed`.
pub(crate) const REPORT_CLOSED: isize = 3;

impl Intake {
    /// An empty queue for `capacity` events, and both of its ends.
    pub(crate) fn new(
        capacity: usize,
        clock: Clock,
        settings: LiveSettings,
        on_vendor_config: VendorConfigured,
    ) -> (Arc<Intake>, Outlet) {
        let (events, events_out) = sync_channel(capacity.max(1));
        let (long_names, long_names_out) = sync_channel(LONG_NAMES_MAX);
        let (controls, controls_out) = sync_channel(CONTROLS_MAX);
        let intake = Intake {
            clock,
            events,
            long_names,
            controls,
            drops: DropCounters::default(),
            faults: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            waiter: Mutex::new(None),
            provider: Mutex::new(None),
            settings,
            on_vendor_config,
        };
        let outlet = Outlet {
            events: events_out,
            long_names: long_names_out,
            controls: controls_out,
        };
        (Arc::new(intake), outlet)
    }

    /// Both clocks, now.
    pub(crate) fn now(&self) -> Stamp {
        (self.clock)()
    }

    /// Puts in an event, or counts that it did not fit.
    pub(crate) fn put(&self, event: RawEvent) {
        match self.events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(event) | TrySendError::Disconnected(event)) => {
                self.drops.of(&event).fetch_add(1, Ordering::Relaxed);
            }
        }
        self.wake();
    }

    /// Puts in a name, before the event that it belongs to; `false` when it does not fit.
    pub(crate) fn put_name(&self, name: LongName) -> bool {
        self.long_names.try_send(name).is_ok()
    }

    /// Puts in what the system asked, or counts that it did not fit.
    pub(crate) fn put_control(&self, kind: ControlKind) {
        let control = Control {
            at: self.now(),
            kind,
        };
        if self.controls.try_send(control).is_err() {
            self.drops.controls.fetch_add(1, Ordering::Relaxed);
        }
        self.wake();
    }

    /// Counts a callback whose work panicked.
    pub(crate) fn count_fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.wake();
    }

    /// Remembers whom to ask for the configuration, and to apply settings.
    pub(crate) fn set_provider(&self, provider: ProviderHandle) {
        let before = locked(&self.provider).replace(provider);
        drop(before);
    }

    /// Forgets the provider, if it is `provider`.
    pub(crate) fn forget_provider(&self, provider: &ProviderHandle) {
        let mut slot = locked(&self.provider);
        let forgotten = slot.take_if(|known| known.is(provider));
        drop(slot);
        drop(forgotten);
    }

    /// Forgets whatever provider there is.
    pub(crate) fn forget_any_provider(&self) {
        let forgotten = locked(&self.provider).take();
        drop(forgotten);
    }

    /// The provider that was started last and not stopped.
    pub(crate) fn provider(&self) -> Option<ProviderHandle> {
        locked(&self.provider).clone()
    }

    /// What was lost since the last call.
    pub(crate) fn take_losses(&self) -> Losses {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Losses {
            opens: take(&self.drops.opens),
            updates: take(&self.drops.updates),
            closes: take(&self.drops.closes),
            controls: take(&self.drops.controls),
            faults: take(&self.faults),
        }
    }

    fn wake(&self) {
        // A processor may do this look before others see what was put in. To forbid it would make
        // each flow wait until they do; see `Outlet::wait` for why it is no matter.
        if self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::Relaxed) {
            let waiter = locked(&self.waiter).clone();
            if let Some(waiter) = waiter {
                waiter.unpark();
            }
        }
    }
}

impl Outlet {
    /// The next event, if there is one.
    pub(crate) fn event(&self) -> Option<RawEvent> {
        taken(self.events.try_recv())
    }

    /// The next name that came beside an event, if there is one.
    pub(crate) fn long_name(&self) -> Option<LongName> {
        taken(self.long_names.try_recv())
    }

    /// The next start, stop or the like, if there is one.
    pub(crate) fn control(&self) -> Option<Control> {
        taken(self.controls.try_recv())
    }

    /// Waits until something is put in, up to `timeout`. What was put in before this call and not
    /// taken out is not waited for: it is returned at once.
    ///
    /// Whoever puts something in just now may not see yet that it is waited for. So after the
    /// moment that a processor may keep to itself what it writes, which is far below a millisecond,
    /// there is a second look.
    pub(crate) fn wait(&self, intake: &Intake, timeout: Duration) -> Waited {
        *locked(&intake.waiter) = Some(thread::current());
        intake.waiting.store(true, Ordering::SeqCst);
        let moment = timeout.min(Duration::from_millis(1));
        let mut waited = self.wait_once(intake, Duration::ZERO);
        for timeout in [moment, timeout - moment] {
            if waited == Waited::InVain {
                waited = self.wait_once(intake, timeout);
            }
        }
        intake.waiting.store(false, Ordering::SeqCst);
        waited
    }

    /// Waits up to `timeout`, and looks. A wake-up without a cause ends it early, which does no
    /// harm.
    fn wait_once(&self, intake: &Intake, timeout: Duration) -> Waited {
        if !timeout.is_zero() {
            thread::park_timeout(timeout);
        }
        if !intake.waiting.load(Ordering::SeqCst) {
            return Waited::Woken;
        }
        match (self.event(), self.control()) {
            (None, None) => Waited::InVain,
            (event, control) => Waited::Found(event, control),
        }
    }
}

/// What came of waiting.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The time ran out.
    InVain,
    /// Something was put in.
    Woken,
    /// These were there already.
    Found(Option<RawEvent>, Option<Control>),
}

impl DropCounters {
    fn of(&self, event: &RawEvent) -> &AtomicU64 {
        match event {
            RawEvent::Flow { .. } => &self.opens,
            RawEvent::Report(report) if report.event == REPORT_CLOSED => &self.closes,
            RawEvent::Report(_) => &self.updates,
        }
    }
}

fn taken<T>(received: Result<T, TryRecvError>) -> Option<T> {
    received.ok()
}

/// What is behind these locks is whole at every moment, so that a panic elsewhere spoils nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::RawReport;
    use crate::settings::FilterSettings;
    use record::{Mono, Wall};
    use std::sync::Barrier;
    use std::time::Instant;

    const ENOUGH: Duration = Duration::from_secs(30);

    fn clock() -> Stamp {
        Stamp {
            wall: Wall(7),
            mono: Mono(9),
        }
    }

    fn intake(capacity: usize) -> (Arc<Intake>, Outlet) {
        let settings = FilterSettings::default();
        Intake::new(
            capacity,
            clock,
            LiveSettings::new(settings, false),
            Arc::new(move |_| settings),
        )
    }

    fn report(event: isize, bytes_in: u64) -> RawEvent {
        RawEvent::Report(RawReport {
            at: Mono(1),
            event,
            bytes_in,
            bytes_out: 0,
            flow: None,
        })
    }

    // facts: rule-2-constant-work, rule-10-bounded
    #[test]
    fn what_does_not_fit_is_counted_by_kind_and_never_waited_for() {
        let (intake, outlet) = intake(2);
        for event in [4, 4, 4, REPORT_CLOSED, REPORT_CLOSED, 4] {
            intake.put(report(event, 0));
        }
        for _ in 0..CONTROLS_MAX + 3 {
            intake.put_control(ControlKind::Woke);
        }
        intake.count_fault();
        let losses = intake.take_losses();
        let expected = Losses {
            opens: 0,
            updates: 2,
            closes: 2,
            controls: 3,
            faults: 1,
        };
        assert_eq!(losses, expected);
        assert_eq!(intake.take_losses(), Losses::default());
        assert_eq!(outlet.event(), Some(report(4, 0)));
        assert_eq!(outlet.control().unwrap().at, clock());
    }

    #[test]
    fn what_nobody_takes_any_more_is_counted_too() {
        let (intake, outlet) = intake(2);
        drop(outlet);
        intake.put(report(REPORT_CLOSED, 0));
        assert_eq!(intake.take_losses().closes, 1);
    }

    #[test]
    fn waiting_ends_in_vain_or_finds_what_was_there() {
        let (intake, outlet) = intake(2);
        assert_eq!(outlet.wait(&intake, Duration::ZERO), Waited::InVain);
        intake.put(report(4, 1));
        let found = Waited::Found(Some(report(4, 1)), None);
        assert_eq!(outlet.wait(&intake, ENOUGH), found);
        intake.put_control(ControlKind::Woke);
        let Waited::Found(None, Some(control)) = outlet.wait(&intake, ENOUGH) else {
            panic!();
        };
        assert_eq!(control.kind, ControlKind::Woke);
    }

    #[test]
    fn a_long_wait_ends_when_something_is_put_in() {
        const LONG: Duration = Duration::from_secs(30);
        let (intake, outlet) = intake(2);
        let began = Instant::now();
        // Not a scoped thread: the end of one wakes the thread that waits for it.
        let other = Arc::clone(&intake);
        let putting = thread::spawn(move || {
            while !other.waiting.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            // Past the second look, so that nothing but the wake-up ends the wait.
            thread::sleep(Duration::from_millis(200));
            other.put(report(4, 1));
        });
        outlet.wait(&intake, LONG);
        putting.join().unwrap();
        assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    }

    // facts: concurrent-callbacks/b
    #[test]
    fn no_wake_up_is_lost_however_threads_interleave() {
        const THREADS: u64 = 8;
        const EACH: u64 = 2_000;
        let (intake, outlet) = intake(CAPACITY);
        let barrier = Barrier::new(THREADS as usize);
        let began = Instant::now();
        let mut sum = 0;
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (intake, barrier) = (&intake, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for each in 0..EACH {
                        intake.put(report(4, thread * EACH + each));
                        thread::yield_now();
                    }
                });
            }
            let mut taken = intake.take_losses().updates;
            while taken < THREADS * EACH {
                // Longer than the whole test may take: a lost wake-up cannot hide.
                if let Waited::Found(Some(event), _) = outlet.wait(&intake, 2 * ENOUGH) {
                    count(&event, &mut taken, &mut sum);
                }
                while let Some(event) = outlet.event() {
                    count(&event, &mut taken, &mut sum);
                }
                taken += intake.take_losses().updates;
            }
        });
        assert!(began.elapsed() < ENOUGH, "{:?}", began.elapsed());
        assert!(sum <= (0..THREADS * EACH).sum());
    }

    fn count(event: &RawEvent, taken: &mut u64, sum: &mut u64) {
        if let RawEvent::Report(report) = event {
            *taken += 1;
            *sum += report.bytes_in;
        }
    }
}
