//! A small filter, which does on demand what a filter must not do.

use std::cell::RefCell;
use std::sync::Mutex;

use block2::{DynBlock, RcBlock};
use objc2::rc::{Allocated, Retained, autoreleasepool};
use objc2::{AnyThread, ClassType, DefinedClass, define_class, msg_send};
use objc2_foundation::{NSArray, NSData, NSError, NSObjectProtocol, NSString};
use objc2_network_extension::driver::Provider;
use objc2_network_extension::*;

/// What the filter does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Habit {
    #[default]
    Good,
    /// Does not call the completion block.
    Silent,
    /// Calls the completion block twice.
    Twice,
    /// Gives the completion block an error.
    Refuses,
    /// Keeps the flow.
    Hoards,
    /// Drops the flow.
    Drops,
    /// Waits for the settings before it is started.
    StandsAside,
    /// Asks the base class to resume the flow.
    Resumes,
}

pub(crate) static HABIT: Mutex<Habit> = Mutex::new(Habit::Good);

/// What the filter was told, in words.
pub(crate) static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A filter of this habit, as the system launches it.
pub(crate) fn filter(habit: Habit) -> Provider {
    let _ = Filter::class();
    *HABIT.lock().unwrap_or_else(|poison| poison.into_inner()) = habit;
    TOLD.lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .clear();
    Provider::launch("SmallFilter").unwrap()
}

/// What the filter was told since it was launched.
pub(crate) fn told() -> Vec<String> {
    std::mem::take(&mut *TOLD.lock().unwrap())
}

fn habit() -> Habit {
    *HABIT.lock().unwrap()
}

fn tell(words: String) {
    TOLD.lock().unwrap().push(words);
}

#[derive(Default)]
pub(crate) struct Ivars {
    hoard: RefCell<Vec<Retained<NEFilterFlow>>>,
}

define_class!(
    // SAFETY: the superclass may be subclassed.
    #[unsafe(super(NEFilterDataProvider))]
    #[name = "SmallFilter"]
    #[ivars = Ivars]
    pub(crate) struct Filter;

    // SAFETY: the protocol asks for nothing unsafe.
    unsafe impl NSObjectProtocol for Filter {}

    impl Filter {
        // SAFETY: these are the types of the selector.
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Option<Retained<Self>> {
            let this = this.set_ivars(Ivars::default());
            // SAFETY: the receiver answers with this type.
            unsafe { msg_send![super(this), init] }
        }

        // SAFETY: these are the types of the selector.
        #[unsafe(method(startFilterWithCompletionHandler:))]
        fn start(&self, done: &DynBlock<dyn Fn(*mut NSError)>) {
            match habit() {
                Habit::Silent => {}
                Habit::Twice => {
                    done.call((std::ptr::null_mut(),));
                    done.call((std::ptr::null_mut(),));
                }
                Habit::Refuses => {
                    let error = NSError::new(9, &NSString::from_str("SmallFilterDomain"));
                    done.call((Retained::as_ptr(&error).cast_mut(),));
                }
                Habit::StandsAside => self.stand_aside(done),
                Habit::Good | Habit::Hoards | Habit::Drops | Habit::Resumes => {
                    done.call((std::ptr::null_mut(),));
                }
            }
        }

        // SAFETY: these are the types of the selector.
        #[unsafe(method(stopFilterWithReason:completionHandler:))]
        fn stop(&self, reason: NEProviderStopReason, done: &DynBlock<dyn Fn()>) {
            tell(format!("stop {}", reason.0));
            done.call(());
        }

        // SAFETY: these are the types of the selector.
        #[unsafe(method(wake))]
        fn woke(&self) {
            tell("wake".to_owned());
        }

        // SAFETY: these are the types of the selector.
        #[unsafe(method_id(handleNewFlow:))]
        fn new_flow(&self, flow: &NEFilterFlow) -> Retained<NEFilterNewFlowVerdict> {
            tell(describe(flow));
            self.judge(flow)
        }

        // SAFETY: these are the types of the selector.
        #[unsafe(method(handleReport:))]
        fn report(&self, report: &NEFilterReport) {
            // SAFETY: these methods ask nothing of their callers.
            let (event, inbound, outbound) = unsafe {
                (report.event().0, report.bytesInboundCount(), report.bytesOutboundCount())
            };
            // SAFETY: these methods ask nothing of their callers.
            let flow = unsafe { report.flow() }.map(|flow| describe(&flow));
            tell(format!("report {event} {inbound} {outbound} {flow:?}"));
        }
    }
);

impl Filter {
    fn judge(&self, flow: &NEFilterFlow) -> Retained<NEFilterNewFlowVerdict> {
        // SAFETY: these methods ask nothing of their callers.
        unsafe {
            match habit() {
                Habit::Hoards => self.ivars().hoard.borrow_mut().push(flow.into()),
                Habit::Drops => return NEFilterNewFlowVerdict::dropVerdict(),
                Habit::Resumes => self.resumeFlow_withVerdict(flow, &NEFilterVerdict::new()),
                Habit::Good | Habit::Silent | Habit::Twice => {}
                Habit::Refuses | Habit::StandsAside => {}
            }
            let verdict = NEFilterNewFlowVerdict::allowVerdict();
            verdict.setShouldReport(true);
            verdict.setStatisticsReportFrequency(NEFilterReportFrequency::Low);
            verdict
        }
    }

    /// Applies settings that allow everything, and starts when they are in force.
    fn stand_aside(&self, done: &DynBlock<dyn Fn(*mut NSError)>) {
        let settings = settings(&[("192.0.2.255", 32)], NEFilterAction::Allow);
        let done = done.copy();
        let then = RcBlock::new(move |error: *mut NSError| done.call((error,)));
        // SAFETY: these methods ask nothing of their callers.
        unsafe { self.applySettings_completionHandler(Some(&settings), &then) };
    }
}

/// Settings with a rule for each outbound remote network, which filters, and a default.
pub(crate) fn settings(
    networks: &[(&str, usize)],
    default: NEFilterAction,
) -> Retained<NEFilterSettings> {
    let rules: Vec<_> = networks
        .iter()
        .map(|(address, prefix)| autoreleasepool(|_| filtering(address, *prefix)))
        .collect();
    let rules = NSArray::from_retained_slice(&rules);
    // SAFETY: these methods ask nothing of their callers.
    unsafe {
        NEFilterSettings::initWithRules_defaultAction(NEFilterSettings::alloc(), &rules, default)
    }
}

/// A rule that filters what goes out to a network.
fn filtering(address: &str, prefix: usize) -> Retained<NEFilterRule> {
    /// A shorter name, for the longest of all methods.
    type Rule = NENetworkRule;
    let host = NSString::from_str(address);
    // SAFETY: these methods ask nothing of their callers.
    unsafe {
        let network = NWHostEndpoint::endpointWithHostname_port(&host, &NSString::new());
        let rule =
            Rule::initWithRemoteNetwork_remotePrefix_localNetwork_localPrefix_protocol_direction(
                Rule::alloc(),
                Some(&network),
                prefix,
                None,
                0,
                NENetworkRuleProtocol::Any,
                NETrafficDirection::Outbound,
            );
        let action = NEFilterAction::FilterData;
        NEFilterRule::initWithNetworkRule_action(NEFilterRule::alloc(), &rule, action)
    }
}

/// Everything a flow says, in words.
fn describe(flow: &NEFilterFlow) -> String {
    let bytes = |data: Option<Retained<NSData>>| data.map(|data| data.len());
    let end = |end: Option<Retained<NWEndpoint>>| {
        let end = end?;
        let Some(host) = end.downcast_ref::<NWHostEndpoint>() else {
            return Some("no host".to_owned());
        };
        // SAFETY: these methods ask nothing of their callers.
        Some(unsafe { format!("{} {}", host.hostname(), host.port()) })
    };
    // SAFETY: these methods ask nothing of their callers.
    unsafe {
        let mut words = format!(
            "flow {:?} {:?} {:?} {:?} {:?}",
            flow.identifier().as_bytes()[7],
            flow.direction().0,
            bytes(flow.sourceAppAuditToken()),
            bytes(flow.sourceProcessAuditToken()),
            flow.URL()
                .and_then(|url| url.host())
                .map(|host| host.to_string()),
        );
        if let Some(socket) = flow.downcast_ref::<NEFilterSocketFlow>() {
            words += &format!(
                " {:?} {:?} {:?} {} {} {}",
                end(socket.remoteEndpoint()),
                end(socket.localEndpoint()),
                socket.remoteHostname().map(|name| name.to_string()),
                socket.socketFamily(),
                socket.socketType(),
                socket.socketProtocol(),
            );
        }
        words
    }
}
