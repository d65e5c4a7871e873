//! The class that macOS makes an instance of and calls: the only Objective-C in this crate.
//!
//! Three things hold for every callback:
//! - **It allows.** There is one verdict in this crate, made in one place.
//! - **No panic leaves it.** The frames above are not Rust; what is caught is counted.
//! - **Nothing of its arguments is kept.** They are copied, not retained.
//!
//! No message is sent that is documented to raise an exception, or of which a check made before
//! does not show that it cannot: a selector that an older system lacks, an index, a range or a nil
//! argument. What the headers promise never to be nil is asked for as if it could be.

#![expect(unsafe_code, reason = "messages to Objective-C objects")]
#![expect(
    deprecated,
    reason = "the endpoint that replaces NWHostEndpoint is a Network.framework object, \
              which exists from macOS 15 on; this one still answers there"
)]

use crate::intake::{ControlKind, Intake};
use crate::raw::{
    LongName, RawEvent, RawFlow, RawReport, RawSocket, RawToken, Text, port_from_text,
};
use crate::settings::{self, ConfigValue, FilterMode};
use block2::{DynBlock, RcBlock};
use objc2::rc::{Allocated, Retained, autoreleasepool};
use objc2::runtime::{AnyClass, AnyObject, NSObjectProtocol};
use objc2::{
    AnyThread, ClassType, DefinedClass, DowncastTarget, Message, define_class, msg_send, sel,
};
use objc2_foundation::{NSArray, NSData, NSDictionary, NSError, NSString, NSUUID};
use objc2_network_extension::{
    NEFilterAction, NEFilterDataProvider, NEFilterFlow, NEFilterNewFlowVerdict,
    NEFilterProviderConfiguration, NEFilterReport, NEFilterReportFrequency, NEFilterRule,
    NEFilterSettings, NEFilterSocketFlow, NENetworkRule as Network, NENetworkRuleProtocol,
    NEProvider, NEProviderStopReason, NETrafficDirection, NWEndpoint, NWHostEndpoint,
};
use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The name that the extension's property list gives for `com.apple.networkextension.filter-data`
/// under `NEProviderClasses`.
pub const PROVIDER_CLASS: &str = "ConntrailFilterProvider";

/// Where the instances put what they see. The system makes them and gives them no argument.
static INTAKE: Mutex<Option<Arc<Intake>>> = Mutex::new(None);

/// What an instance has.
pub(crate) struct Ivars {
    intake: Option<Arc<Intake>>,
    /// macOS 13 and later have `sourceProcessAuditToken`.
    has_process_token: bool,
}

define_class!(
    // SAFETY: NEFilterDataProvider is made to be subclassed, and asks of a subclass only what is
    // implemented here; there is no Drop.
    #[unsafe(super(NEFilterDataProvider))]
    #[name = "ConntrailFilterProvider"]
    #[ivars = Ivars]
    pub(crate) struct FilterProvider;

    // SAFETY: NSObjectProtocol asks for nothing.
    unsafe impl NSObjectProtocol for FilterProvider {}

    impl FilterProvider {
        // SAFETY: the type is that of `-[NSObject init]`.
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Option<Retained<Self>> {
            let intake = INTAKE.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let has_process_token =
                NEFilterFlow::class().responds_to(sel!(sourceProcessAuditToken));
            let this = this.set_ivars(Ivars {
                intake,
                has_process_token,
            });
            // SAFETY: the designated initializer of the superclass.
            unsafe { msg_send![super(this), init] }
        }

        // SAFETY: the types are those of the header, which debug builds check.
        #[unsafe(method(startFilterWithCompletionHandler:))]
        fn start_filter(&self, done: &DynBlock<dyn Fn(*mut NSError)>) {
            self.started();
            done.call((ptr::null_mut(),));
        }

        // SAFETY: the types are those of the header, which debug builds check.
        #[unsafe(method(stopFilterWithReason:completionHandler:))]
        fn stop_filter(&self, reason: NEProviderStopReason, done: &DynBlock<dyn Fn()>) {
            self.guarded(|intake| {
                intake.forget_provider(&self.handle());
                intake.put_control(ControlKind::Stopped(reason.0));
            });
            done.call(());
        }

        // SAFETY: the types are those of the header, which debug builds check.
        #[unsafe(method(sleepWithCompletionHandler:))]
        fn sleep(&self, done: &DynBlock<dyn Fn()>) {
            self.guarded(|intake| intake.put_control(ControlKind::Sleeping));
            done.call(());
        }

        // SAFETY: the types are those of the header, which debug builds check.
        #[unsafe(method(wake))]
        fn wake(&self) {
            self.guarded(|intake| intake.put_control(ControlKind::Woke));
        }

        // SAFETY: the types are those of the header, which debug builds check.
        #[unsafe(method_id(handleNewFlow:))]
        fn handle_new_flow(&self, flow: &NEFilterFlow) -> Option<Retained<NEFilterNewFlowVerdict>> {
            self.guarded(|intake| {
                let mut event = RawEvent::Flow {
                    at: intake.now().mono,
                    flow: RawFlow::default(),
                };
                if let RawEvent::Flow { flow: raw, .. } = &mut event {
                    autoreleasepool(|_| self.copy_flow(flow, raw, intake));
                }
                intake.put(event);
            });
            verdict()
        }

        // SAFETY: the types are those of the header, which debug builds check.
        #[unsafe(method(handleReport:))]
        fn handle_report(&self, report: &NEFilterReport) {
            self.guarded(|intake| {
                let mut event = RawEvent::Report(RawReport {
                    at: intake.now().mono,
                    ..RawReport::default()
                });
                if let RawEvent::Report(raw) = &mut event {
                    autoreleasepool(|_| self.copy_report(report, raw, intake));
                }
                intake.put(event);
            });
        }
    }
);

/// The only verdict: the flow passes, its end is reported, and its bytes about every five seconds.
/// No byte of it is shown to us.
///
/// `None`, which becomes nil, only if the system makes no verdict: there is nothing better to say.
fn verdict() -> Option<Retained<NEFilterNewFlowVerdict>> {
    caught(|| {
        // SAFETY: plain factory and setters, on an object that nobody else has yet.
        unsafe {
            let verdict = NEFilterNewFlowVerdict::allowVerdict();
            verdict.setShouldReport(true);
            verdict.setStatisticsReportFrequency(NEFilterReportFrequency::Low);
            verdict
        }
    })
}

impl FilterProvider {
    /// Nothing here waits, and each step goes on when the one before it panicked.
    fn started(&self) {
        self.guarded(|intake| {
            intake.put_control(ControlKind::Started);
            intake.set_provider(self.handle());
        });
        self.guarded(|intake| {
            let values = self.handle().vendor_config();
            intake.settings.set((intake.on_vendor_config)(values));
        });
        self.guarded(|intake| self.handle().apply_at_start(intake));
    }

    fn handle(&self) -> ProviderHandle {
        ProviderHandle(self.retain())
    }

    /// Runs `work`; a panic in it is counted and goes no further.
    fn guarded(&self, work: impl FnOnce(&Arc<Intake>)) {
        if let Some(intake) = &self.ivars().intake
            && caught(|| work(intake)).is_none()
        {
            intake.count_fault();
        }
    }

    fn copy_report(&self, report: &NEFilterReport, raw: &mut RawReport, intake: &Intake) {
        // SAFETY: plain getters.
        unsafe {
            raw.event = report.event().0;
            raw.bytes_in = report.bytesInboundCount() as u64;
            raw.bytes_out = report.bytesOutboundCount() as u64;
            if let Some(flow) = report.flow() {
                self.copy_flow(&flow, raw.flow.insert(RawFlow::default()), intake);
            }
        }
    }

    /// Everything is written where it will stay: to copy it once more would take a fifth of the
    /// time.
    fn copy_flow(&self, flow: &NEFilterFlow, raw: &mut RawFlow, intake: &Intake) {
        // SAFETY: plain getters; `identifier` returns an NSUUID, or nil against its word.
        unsafe {
            let id: Option<Retained<NSUUID>> = msg_send![flow, identifier];
            raw.id = id.map(|id| id.as_bytes());
            raw.direction = flow.direction().0;
            if self.ivars().has_process_token {
                copy_token(flow.sourceProcessAuditToken(), &mut raw.process);
            }
            copy_token(flow.sourceAppAuditToken(), &mut raw.app);
        }
        if let Some(flow) = SOCKET_FLOWS.downcast(flow) {
            copy_socket(flow, raw, intake);
        }
    }
}

fn copy_token(data: Option<Retained<NSData>>, raw: &mut RawToken) {
    if let Some(data) = data {
        // SAFETY: nobody changes the data of a flow while we look at it.
        *raw = RawToken::from_bytes(unsafe { data.as_bytes_unchecked() });
    }
}

fn copy_socket(flow: &NEFilterSocketFlow, raw: &mut RawFlow, intake: &Intake) {
    raw.is_socket = true;
    let socket = &mut raw.socket;
    // SAFETY: plain getters.
    unsafe {
        socket.protocol = flow.socketProtocol();
        if socket.protocol == 0 {
            socket.kind = flow.socketType();
        }
        if let Some(endpoint) = flow.remoteEndpoint() {
            socket.remote_port = copy_endpoint(&endpoint, Text::Remote, socket);
        }
        if let Some(endpoint) = flow.localEndpoint() {
            socket.local_port = copy_endpoint(&endpoint, Text::Local, socket);
        }
        if let Some(name) = flow.remoteHostname() {
            with_text(&name, |text| copy_name(text, socket, raw.id, intake));
        }
    }
}

/// Copies the text of one side, and returns its port.
fn copy_endpoint(endpoint: &NWEndpoint, side: Text, socket: &mut RawSocket) -> Option<u16> {
    let Some(endpoint) = HOSTS.downcast(endpoint) else {
        socket.malformed += 1;
        return None;
    };
    // SAFETY: both return an NSString, or nil against their word.
    let (host, port): (Option<Retained<NSString>>, Option<Retained<NSString>>) =
        unsafe { (msg_send![endpoint, hostname], msg_send![endpoint, port]) };
    if let Some(host) = host {
        let is_copied = with_text(&host, |text| {
            text.is_some_and(|text| socket.texts.put(side, text))
        });
        socket.malformed += u8::from(!is_copied);
    }
    let port = port?;
    let port = with_text(&port, |text| text.and_then(port_from_text));
    socket.malformed += u8::from(port.is_none());
    port
}

static SOCKET_FLOWS: KindOf<NEFilterSocketFlow> = KindOf {
    last: AtomicPtr::new(ptr::null_mut()),
    kind: PhantomData,
};
static HOSTS: KindOf<NWHostEndpoint> = KindOf {
    last: AtomicPtr::new(ptr::null_mut()),
    kind: PhantomData,
};

/// Tells objects of a class from others. It remembers the very class of the last one, which is
/// nearly always that of the next, so that it need not send a message.
struct KindOf<T> {
    last: AtomicPtr<AnyClass>,
    kind: PhantomData<fn() -> T>,
}

impl<T: ClassType + DowncastTarget> KindOf<T> {
    fn downcast<'a>(&self, object: &'a AnyObject) -> Option<&'a T> {
        let class = ptr::from_ref(object.class()).cast_mut();
        if self.last.load(Ordering::Relaxed) != class {
            object.downcast_ref::<T>()?;
            self.last.store(class, Ordering::Relaxed);
        }
        // SAFETY: objects of its class were found to be of this kind, and classes stay.
        Some(unsafe { &*ptr::from_ref(object).cast::<T>() })
    }
}

/// Copies a name into the event, or beside it.
fn copy_name(text: Option<&[u8]>, socket: &mut RawSocket, id: Option<[u8; 16]>, intake: &Intake) {
    if text.is_some_and(|text| socket.texts.put(Text::Name, text)) {
        return;
    }
    let name = id
        .zip(text)
        .and_then(|(id, text)| LongName::from_bytes(id, text));
    socket.has_long_name = name.is_some_and(|name| intake.put_name(name));
    socket.malformed += u8::from(!socket.has_long_name);
}

/// Gives the text as UTF-8, up to its first zero, to `read`; `None` when it is no text, as half a
/// letter of UTF-16 is none.
///
/// To be called in a pool: the system may put a copy of the text there.
pub(crate) fn with_text<T>(text: &NSString, read: impl FnOnce(Option<&[u8]>) -> T) -> T {
    let start = text.UTF8String();
    if start.is_null() {
        return read(None);
    }
    // SAFETY: it ends with a zero, and it lives as long as the text or the pool, and so during
    // this call.
    read(Some(unsafe { CStr::from_ptr(start) }.to_bytes()))
}

/// A provider that runs, for whoever must ask it for its configuration or change its settings.
#[derive(Clone)]
pub(crate) struct ProviderHandle(Retained<FilterProvider>);

// SAFETY: Apple documents NEProvider: "Instances of this class are thread safe." Our own instance
// variables are never changed after `init`, and are Send and Sync.
unsafe impl Send for ProviderHandle {}
// SAFETY: as for Send.
unsafe impl Sync for ProviderHandle {}

impl ProviderHandle {
    /// Both are the same instance.
    pub(crate) fn is(&self, other: &ProviderHandle) -> bool {
        ptr::eq(&*self.0, &*other.0)
    }

    /// The `VendorConfig` of the filter's configuration, as it is now.
    pub(crate) fn vendor_config(&self) -> Vec<(String, ConfigValue)> {
        autoreleasepool(|_| {
            // SAFETY: plain getters. Both may be nil, the first against its word.
            let vendor: Option<Retained<AnyObject>> = unsafe {
                let configuration: Option<Retained<NEFilterProviderConfiguration>> =
                    msg_send![&*self.0, filterConfiguration];
                configuration
                    .and_then(|configuration| msg_send![&*configuration, vendorConfiguration])
            };
            vendor
                .and_then(|vendor| vendor.downcast::<NSDictionary>().ok())
                .map_or_else(Vec::new, |dictionary| settings::values(&dictionary))
        })
    }

    /// Tells the system what to do with flows, if that is not what it was told last. The answer
    /// comes later, as [`ControlKind::Applied`].
    pub(crate) fn apply_if_new(&self, intake: &Arc<Intake>) {
        if intake.settings.mode() != intake.settings.told() {
            self.apply(intake);
        }
    }

    /// Tells the system what to do with flows, unless it does that anyway: a filter that starts
    /// has its own settings or none.
    pub(crate) fn apply_at_start(&self, intake: &Arc<Intake>) {
        let defaults = [intake.settings.mode(), intake.settings.told()];
        if defaults != [FilterMode::Default; 2] {
            self.apply(intake);
        }
    }

    /// Tells the system what to do with flows.
    pub(crate) fn apply(&self, intake: &Arc<Intake>) {
        let mode = intake.settings.tell();
        intake.put_control(ControlKind::Applying(mode));
        autoreleasepool(|_| self.apply_mode(mode, intake));
    }

    fn apply_mode(&self, mode: FilterMode, intake: &Arc<Intake>) {
        let settings = match mode {
            FilterMode::Default => None,
            FilterMode::Loopback => Some(loopback_settings()),
            FilterMode::StandAside => Some(stand_aside_settings()),
        };
        let intake = Arc::clone(intake);
        let answered = RcBlock::new(move |error: *mut NSError| {
            let told = caught(|| {
                // SAFETY: the system gives an NSError or nil, which lives during this call.
                let code = unsafe { error.as_ref() }.map(NSError::code);
                intake.put_control(ControlKind::Applied(mode, code));
            });
            if told.is_none() {
                intake.count_fault();
            }
        });
        // SAFETY: the block may be called on any thread: all it has is Send and Sync.
        unsafe {
            self.0
                .applySettings_completionHandler(settings.as_deref(), &answered);
        }
    }
}

/// Loopback passes unasked whatever the default is, unless a rule names it. Everything else of any
/// protocol falls to the default, which asks us: a rule for "any" would say no more, and perhaps
/// less, since the headers speak of TCP and UDP there.
fn loopback_settings() -> Retained<NEFilterSettings> {
    let rules = [("127.0.0.0", 8), ("::1", 128)].map(|(address, prefix)| {
        // SAFETY: the endpoint is an address, as asked for, and port zero is every port.
        let network = unsafe {
            NWHostEndpoint::endpointWithHostname_port(
                &NSString::from_str(address),
                &NSString::from_str("0"),
            )
        };
        rule(Some(&network), prefix, NEFilterAction::FilterData)
    });
    filter_settings(&rules, NEFilterAction::FilterData)
}

/// With the default "allow" the headers ask for at least one rule.
fn stand_aside_settings() -> Retained<NEFilterSettings> {
    let everything = rule(None, 0, NEFilterAction::Allow);
    filter_settings(&[everything], NEFilterAction::Allow)
}

fn rule(
    remote: Option<&NWHostEndpoint>,
    prefix: usize,
    action: NEFilterAction,
) -> Retained<NEFilterRule> {
    // SAFETY: nil networks are documented to match all; the prefix fits the address.
    unsafe {
        let network =
            Network::initWithRemoteNetwork_remotePrefix_localNetwork_localPrefix_protocol_direction(
                Network::alloc(),
                remote,
                prefix,
                None,
                0,
                NENetworkRuleProtocol::Any,
                NETrafficDirection::Any,
            );
        NEFilterRule::initWithNetworkRule_action(NEFilterRule::alloc(), &network, action)
    }
}

fn filter_settings(
    rules: &[Retained<NEFilterRule>],
    default: NEFilterAction,
) -> Retained<NEFilterSettings> {
    let rules = NSArray::from_retained_slice(rules);
    // SAFETY: fewer than a thousand rules, and at least one.
    unsafe {
        NEFilterSettings::initWithRules_defaultAction(NEFilterSettings::alloc(), &rules, default)
    }
}

/// Registers the class, and says where its instances put what they see: those that are made from
/// now on.
pub(crate) fn install(intake: Arc<Intake>) {
    let _ = FilterProvider::class();
    let before = {
        let mut slot = INTAKE.lock().unwrap_or_else(PoisonError::into_inner);
        slot.replace(intake)
    };
    drop(before);
}

/// Undoes [`install`], if it was for `intake`.
pub(crate) fn uninstall(intake: &Arc<Intake>) {
    intake.forget_any_provider();
    let before = {
        let mut slot = INTAKE.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|installed| Arc::ptr_eq(installed, intake))
    };
    drop(before);
}

/// Makes the process answer the system's requests for providers.
pub(crate) fn start_system_extension_mode() {
    // SAFETY: documented to be called by a system extension, early.
    autoreleasepool(|_| unsafe { NEProvider::startSystemExtensionMode() });
}

/// Gives the main thread to the system, for ever.
pub(crate) fn serve() -> ! {
    // SAFETY: called on the main thread, which does nothing else from now on.
    unsafe { dispatch_main() }
}

// SAFETY: the declaration is that of <dispatch/queue.h>.
unsafe extern "C" {
    /// `dispatch/queue.h`: runs the blocks of the main queue and does not return.
    fn dispatch_main() -> !;
}

/// Runs `work` where objects may be made: on our own threads nobody else takes them away.
pub(crate) fn pooled<T>(work: impl FnOnce() -> T) -> T {
    autoreleasepool(|_| work())
}

/// What `work` returns; `None` when it panicked.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // What was thrown may panic when it is dropped, and there is nobody left to catch it.
            mem::forget(payload);
            None
        }
    }
}
