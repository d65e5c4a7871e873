//! The system's side of a provider: launches it, calls it, watches what it answers.

use std::ffi::CString;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use block2::RcBlock;
use objc_double::{class_of, recorded, selector};
use objc2::msg_send;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyClass, AnyObject};
use objc2_foundation::NSError;

use super::flow::Flow;
use super::settings::{self, Consulted};
use crate::classes::providers::{self, NE_FILTER_DATA_PROVIDER};
use crate::classes::{flows, lock, verdicts};
use crate::{
    NEFilterAction, NEFilterDataProvider, NEFilterNewFlowVerdict, NEFilterReport,
    NEFilterReportEvent, NEFilterReportFrequency, NEProviderStopReason,
};

/// How long a completion that the system needs is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Methods by which a provider would look at payload or answer for WebKit. The base class has
/// them; a subclass that has its own wants to be called.
const PAYLOAD_METHODS: [&str; 5] = [
    "handleInboundDataFromFlow:readBytesStartOffset:readBytes:",
    "handleOutboundDataFromFlow:readBytesStartOffset:readBytes:",
    "handleInboundDataCompleteForFlow:",
    "handleOutboundDataCompleteForFlow:",
    "handleRemediationForFlow:",
];

/// What a verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictKind {
    /// Let it pass; the only one we may give.
    Allow,
    /// Drop it.
    Drop,
    /// Ask for rules; there is no control provider on macOS.
    NeedRules,
    /// Let it wait. *Documented*: TCP without limit, UDP is dropped after 10 s.
    Pause,
    /// Show a page; WebKit only.
    Remediate,
    /// Change the URL; WebKit only.
    AppendToUrl,
    /// Show us the payload.
    FilterData,
    /// Any answer to a callback about payload.
    Data,
    /// Made by `init`, and so without a meaning.
    Blank,
}

impl VerdictKind {
    pub(crate) const COUNT: usize = 9;

    /// Every kind but [`Allow`](VerdictKind::Allow): what must never be made.
    pub const FORBIDDEN: [VerdictKind; 8] = [
        VerdictKind::Drop,
        VerdictKind::NeedRules,
        VerdictKind::Pause,
        VerdictKind::Remediate,
        VerdictKind::AppendToUrl,
        VerdictKind::FilterData,
        VerdictKind::Data,
        VerdictKind::Blank,
    ];
}

/// How many verdicts of a kind were made since [`alone`](super::alone), by whomever.
pub fn verdicts_made(kind: VerdictKind) -> u64 {
    verdicts::made(kind)
}

/// Messages to the base class that read, hold or resume traffic, since [`alone`](super::alone).
pub fn forbidden_messages() -> Vec<&'static str> {
    providers::forbidden()
}

/// What a provider answered about a flow, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenVerdict {
    /// What becomes of the flow.
    pub kind: VerdictKind,
    /// Whether the provider wants to hear of the flow's end. *Documented*: `handleReport:` is
    /// then called when the flow is closed.
    pub should_report: bool,
    /// How often it wants to hear of bytes. *Documented*: low is about every 5 s.
    pub frequency: NEFilterReportFrequency,
    /// From the call to the answer, in nanoseconds. The flow waits for so long.
    pub elapsed_ns: u64,
}

impl SeenVerdict {
    /// Whether it is the one verdict we may give: allowed, reported, counted slowly.
    pub fn is_observed(&self) -> bool {
        let low = NEFilterReportFrequency::Low;
        (self.kind, self.should_report, self.frequency) == (VerdictKind::Allow, true, low)
    }
}

/// Why a provider could not be launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchError {
    /// No class of this name is registered.
    NoSuchClass,
    /// The class does not inherit from `NEFilterDataProvider`.
    NotAFilter,
    /// `init` returned nil.
    InitReturnedNil,
}

/// A provider object in the hands of the system, which calls it from any thread.
///
/// *Not confirmed*: on which queue, and whether at the same time. Tests must do both. A panic
/// that leaves a callback reaches the test; on a Mac it ends the process.
pub struct Provider(Retained<NEFilterDataProvider>);

// SAFETY: the header of `NEProvider` says that its instances are thread safe.
unsafe impl Send for Provider {}
// SAFETY: as above.
unsafe impl Sync for Provider {}

/// A report, where [`Provider::report`] says too little.
pub struct ReportSpec<'a> {
    /// The flow; *documented* as possibly nil.
    pub flow: Option<&'a Flow>,
    /// What happened. *Documented*: new flows and data decisions are for control providers,
    /// which macOS has not; *not confirmed* that they never come.
    pub event: NEFilterReportEvent,
    /// What was done.
    pub action: NEFilterAction,
    /// Bytes received so far. *Seen in code*: cumulative, XNU `bsd/net/content_filter.c`,
    /// `cfil_data_common`; *not confirmed* that it is passed on unchanged. *Reported*: zero at
    /// the close of what NSURLSession and Network.framework made.
    pub bytes_inbound: usize,
    /// Bytes sent so far; as above.
    pub bytes_outbound: usize,
}

impl Provider {
    /// Makes an instance of the class that the extension's property list names.
    pub fn launch(class: &str) -> Result<Provider, LaunchError> {
        let name = CString::new(class).map_err(|_| LaunchError::NoSuchClass)?;
        let class = AnyClass::get(&name).ok_or(LaunchError::NoSuchClass)?;
        let mut above = std::iter::successors(Some(class), |class| class.superclass());
        let base = NE_FILTER_DATA_PROVIDER.class().as_any();
        if !above.any(|class| std::ptr::eq(class, base)) {
            return Err(LaunchError::NotAFilter);
        }
        // SAFETY: the class inherits `alloc` and `init`, with these types.
        let object = autoreleasepool(|_| unsafe {
            let object: *mut NEFilterDataProvider = msg_send![class, alloc];
            let object: *mut NEFilterDataProvider = msg_send![object, init];
            Retained::from_raw(object)
        });
        object.map(Provider).ok_or(LaunchError::InitReturnedNil)
    }

    /// Calls `startFilterWithCompletionHandler:`. It may be called more than once: *reported*
    /// for transparent proxies (FB21464147) and by the asker of Apple Developer Forums thread
    /// 835908.
    pub fn start(&self) -> Completion {
        let (watch, notice) = Watch::begin();
        let block = RcBlock::new(move |error: *mut NSError| {
            // SAFETY: the provider passes nil or an error that lives through the call.
            notice.called(unsafe { error.as_ref() });
        });
        // SAFETY: `start` is answered by every filter with these types.
        autoreleasepool(|_| unsafe { self.0.startFilterWithCompletionHandler(&block) });
        watch.returned(move || drop(block))
    }

    /// Calls `stopFilterWithReason:completionHandler:`. *Not confirmed* which reasons a filter
    /// in a system extension gets.
    pub fn stop(&self, reason: NEProviderStopReason) -> Completion {
        let (watch, notice) = Watch::begin();
        let block = RcBlock::new(move || notice.called(None));
        // SAFETY: `stop` is answered by every filter with these types.
        autoreleasepool(|_| unsafe {
            self.0
                .stopFilterWithReason_completionHandler(reason, &block)
        });
        watch.returned(move || drop(block))
    }

    /// Calls `sleepWithCompletionHandler:`. *Documented*: the block must be called.
    pub fn sleep(&self) -> Completion {
        let (watch, notice) = Watch::begin();
        let block = RcBlock::new(move || notice.called(None));
        // SAFETY: `sleep` is answered by every provider with these types.
        autoreleasepool(|_| unsafe { self.0.sleepWithCompletionHandler(&block) });
        watch.returned(move || drop(block))
    }

    /// Calls `wake`.
    pub fn wake(&self) {
        // SAFETY: `wake` is answered by every provider.
        autoreleasepool(|_| unsafe { self.0.wake() });
    }

    /// Calls `handleNewFlow:`, whatever settings are in force.
    pub fn new_flow(&self, flow: &Flow) -> SeenVerdict {
        let flow = flow.as_filter_flow();
        // SAFETY: `handleNewFlow:` is answered by every filter with these types.
        self.judged(|| unsafe { self.0.handleNewFlow(flow) })
    }

    /// Like [`new_flow`](Self::new_flow), with the selectors that the provider sent meanwhile on
    /// the calling thread, in order.
    pub fn new_flow_recorded(&self, flow: &Flow) -> (SeenVerdict, Vec<&'static str>) {
        let flow = flow.as_filter_flow();
        let mut sent = Vec::new();
        let verdict = self.judged(|| {
            // SAFETY: as in `new_flow`.
            let (verdict, all) = recorded(|| unsafe { self.0.handleNewFlow(flow) });
            // The first is the system's own `handleNewFlow:`.
            sent = all.into_iter().skip(1).collect();
            verdict
        });
        (verdict, sent)
    }

    /// What the system does with a new flow: asks the provider, unless the settings in force
    /// decide. See [`answer_apply_settings`](super::answer_apply_settings) for the rules.
    ///
    /// `Err` is what becomes of the flow without the provider; it then gets no report either.
    pub fn offer(&self, flow: &Flow) -> Result<SeenVerdict, NEFilterAction> {
        match settings::consulted(flow.spec()) {
            Consulted::Provider => Ok(self.new_flow(flow)),
            Consulted::Nobody(action) => Err(action),
        }
    }

    /// Calls `handleReport:` about an allowed flow.
    ///
    /// The order of reports and new flows is *not confirmed*; reports can come for flows that
    /// were never seen (*reported* by egressview), and some flows never close (the same).
    pub fn report(
        &self,
        flow: Option<&Flow>,
        event: NEFilterReportEvent,
        bytes_inbound: usize,
        bytes_outbound: usize,
    ) {
        self.report_as(&ReportSpec {
            flow,
            event,
            action: NEFilterAction::Allow,
            bytes_inbound,
            bytes_outbound,
        });
    }

    /// Calls `handleReport:`.
    pub fn report_as(&self, spec: &ReportSpec) {
        // SAFETY: `handleReport:` is answered by every filter with these types.
        with_report(spec, |report| unsafe { self.0.handleReport(report) });
    }

    /// Like [`report_as`](Self::report_as); returns the selectors that the provider sent
    /// meanwhile on the calling thread, in order.
    pub fn report_recorded(&self, spec: &ReportSpec) -> Vec<&'static str> {
        with_report(spec, |report| {
            // SAFETY: as in `report_as`.
            let ((), sent) = recorded(|| unsafe { self.0.handleReport(report) });
            // The first is the system's own `handleReport:`.
            sent.into_iter().skip(1).collect()
        })
    }

    /// Methods about payload that the provider's class has of its own: there must be none.
    pub fn payload_methods(&self) -> Vec<&'static str> {
        let own = class_of(self.object());
        let base = NE_FILTER_DATA_PROVIDER.class();
        let overrides = |name: &&str| !own.shares_method(base, selector(name));
        PAYLOAD_METHODS.into_iter().filter(overrides).collect()
    }

    /// The provider's object.
    pub fn object(&self) -> &AnyObject {
        &self.0
    }

    /// Reads the verdict without sending it messages, and lets go of it.
    fn judged(&self, ask: impl FnOnce() -> Retained<NEFilterNewFlowVerdict>) -> SeenVerdict {
        autoreleasepool(|_| {
            let start = Instant::now();
            let object = ask();
            let elapsed_ns = start.elapsed().as_nanos() as u64;
            let verdict = verdicts::verdict(&object);
            SeenVerdict {
                kind: verdict.kind,
                should_report: verdict
                    .should_report
                    .load(std::sync::atomic::Ordering::Relaxed),
                frequency: verdict.frequency(),
                elapsed_ns,
            }
        })
    }
}

/// Makes a report, hands it over and lets go of it.
fn with_report<T>(spec: &ReportSpec, hand_over: impl FnOnce(&NEFilterReport) -> T) -> T {
    autoreleasepool(|_| {
        let report = flows::NE_FILTER_REPORT.create(flows::Report {
            flow: spec.flow.map(Flow::reference),
            action: spec.action,
            event: spec.event,
            bytes_inbound: spec.bytes_inbound,
            bytes_outbound: spec.bytes_outbound,
        });
        let report: Retained<NEFilterReport> = report.into_retained();
        hand_over(&report)
    })
}

/// One call of a completion block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The code of the error it was given; none is success.
    pub error: Option<isize>,
    /// From the system's call to this one, in nanoseconds.
    pub after_ns: u64,
    /// The thread that called it.
    pub thread: ThreadId,
}

/// What became of the completion block of one call.
///
/// It ends when the provider has let go of the block, called or not.
pub struct Completion {
    state: Arc<State>,
    /// How long the system's call took until it returned, in nanoseconds.
    pub returned_after_ns: u64,
}

impl Completion {
    /// The calls so far.
    pub fn calls(&self) -> Vec<Completed> {
        lock(&self.state.progress).calls.clone()
    }

    /// Waits for the first call and returns it; none if it does not come.
    pub fn wait_for_call(&self, timeout: Duration) -> Option<Completed> {
        let progress = lock(&self.state.progress);
        let is_open = |progress: &mut Progress| progress.calls.is_empty() && !progress.has_ended;
        let waited = self
            .state
            .changed
            .wait_timeout_while(progress, timeout, is_open);
        let (progress, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        progress.calls.first().cloned()
    }

    /// Waits until nobody can call the block any more, and returns the error code of each call,
    /// none for success. One call is right, no call and two calls are wrong.
    ///
    /// # Panics
    ///
    /// When the provider still has the block after half a minute.
    pub fn wait_for_end(&self) -> Vec<Option<isize>> {
        let progress = lock(&self.state.progress);
        let is_held = |progress: &mut Progress| !progress.has_ended;
        let waited = self
            .state
            .changed
            .wait_timeout_while(progress, PATIENCE, is_held);
        let (progress, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(
            progress.has_ended,
            "the provider keeps the completion block"
        );
        progress.calls.iter().map(|call| call.error).collect()
    }
}

struct State {
    start: Instant,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    calls: Vec<Completed>,
    has_ended: bool,
}

/// The system's end, while the call runs.
struct Watch(Arc<State>);

/// The block's end; when it goes, nobody can call the block any more.
struct Notice(Arc<State>);

impl Watch {
    fn begin() -> (Watch, Notice) {
        let state = Arc::new(State {
            start: Instant::now(),
            progress: Mutex::default(),
            changed: Condvar::new(),
        });
        (Watch(state.clone()), Notice(state))
    }

    /// The call has returned; the system lets go of its own reference to the block.
    fn returned(self, let_go: impl FnOnce()) -> Completion {
        let returned_after_ns = self.0.start.elapsed().as_nanos() as u64;
        let_go();
        Completion {
            state: self.0,
            returned_after_ns,
        }
    }
}

impl Notice {
    fn called(&self, error: Option<&NSError>) {
        let call = Completed {
            error: error.map(NSError::code),
            after_ns: self.0.start.elapsed().as_nanos() as u64,
            thread: std::thread::current().id(),
        };
        lock(&self.0.progress).calls.push(call);
        self.0.changed.notify_all();
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        lock(&self.0.progress).has_ended = true;
        self.0.changed.notify_all();
    }
}
