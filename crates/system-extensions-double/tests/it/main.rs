//! The doubled system as a careless app meets it.

#![cfg(not(target_vendor = "apple"))]
#![expect(unsafe_code, reason = "a delegate is made and messages are sent")]

use dispatch2::DispatchQueue;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{AnyThread, define_class, msg_send};
use objc2_foundation::{NSError, NSString};
use objc2_system_extensions::driver::{self, Answer, Failure, Installed, Machine};
use objc2_system_extensions::{
    OSSystemExtensionErrorCode, OSSystemExtensionManager, OSSystemExtensionProperties,
    OSSystemExtensionReplacementAction, OSSystemExtensionRequest, OSSystemExtensionRequestDelegate,
    OSSystemExtensionRequestResult,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static HEARD: AtomicUsize = AtomicUsize::new(0);
static PANICS: AtomicBool = AtomicBool::new(false);

define_class!(
    // SAFETY: NSObject has no rules for its subclasses, and there is no Drop.
    #[unsafe(super(NSObject))]
    #[name = "CarelessDelegate"]
    struct Careless;

    // SAFETY: it is a subclass of NSObject.
    unsafe impl NSObjectProtocol for Careless {}

    // SAFETY: the selectors and their types are those of the protocol; the optional one is not
    // there.
    unsafe impl OSSystemExtensionRequestDelegate for Careless {
        // SAFETY: as above.
        #[unsafe(method(request:actionForReplacingExtension:withExtension:))]
        fn replacing(
            &self,
            _request: &OSSystemExtensionRequest,
            _existing: &OSSystemExtensionProperties,
            _new: &OSSystemExtensionProperties,
        ) -> OSSystemExtensionReplacementAction {
            OSSystemExtensionReplacementAction::Replace
        }

        // SAFETY: as above.
        #[unsafe(method(requestNeedsUserApproval:))]
        fn needs_approval(&self, _request: &OSSystemExtensionRequest) {}

        // SAFETY: as above.
        #[unsafe(method(request:didFinishWithResult:))]
        fn finished(
            &self,
            _request: &OSSystemExtensionRequest,
            _result: OSSystemExtensionRequestResult,
        ) {
            HEARD.fetch_add(1, Ordering::SeqCst);
            assert!(!PANICS.load(Ordering::SeqCst), "a careless panic");
        }

        // SAFETY: as above.
        #[unsafe(method(request:didFailWithError:))]
        fn failed(&self, _request: &OSSystemExtensionRequest, _error: &NSError) {
            HEARD.fetch_add(1, Ordering::SeqCst);
        }
    }
);

fn begin(machine: Machine) -> darwin_double::machine::Guard {
    let alone = darwin_double::machine::lock();
    driver::reset(Machine {
        in_app: vec![Installed::new("org.example", "2")],
        installed: vec![Installed::new("org.example", "1")],
        ..machine
    });
    HEARD.store(0, Ordering::SeqCst);
    PANICS.store(false, Ordering::SeqCst);
    alone
}

fn delegate() -> Retained<Careless> {
    let delegate = Careless::alloc().set_ivars(());
    // SAFETY: `init` of NSObject takes nothing and returns the object.
    unsafe { msg_send![super(delegate), init] }
}

/// Submits a request that the delegate hears as long as somebody keeps it.
fn submit(delegate: &Careless, properties: bool) -> Retained<OSSystemExtensionRequest> {
    let identifier = NSString::from_str("org.example");
    let queue = DispatchQueue::new("test", None);
    // SAFETY: the arguments are of the types of the headers, and the delegate may be called on any
    // thread.
    unsafe {
        let request = match properties {
            true => {
                OSSystemExtensionRequest::propertiesRequestForExtension_queue(&identifier, &queue)
            }
            false => {
                OSSystemExtensionRequest::activationRequestForExtension_queue(&identifier, &queue)
            }
        };
        request.setDelegate(Some(ProtocolObject::from_ref(delegate)));
        assert_eq!(request.identifier().to_string(), "org.example");
        OSSystemExtensionManager::sharedManager().submitRequest(&request);
        request
    }
}

fn heard() -> usize {
    driver::settle();
    HEARD.load(Ordering::SeqCst)
}

// facts: request-kept-alive
#[test]
fn a_delegate_that_nobody_keeps_hears_nothing() {
    let _alone = begin(Machine {
        answer: Answer::Hold,
        ..Machine::default()
    });
    let request = autoreleasepool(|_| {
        let delegate = delegate();
        let request = submit(&delegate, false);
        // SAFETY: a property.
        assert!(unsafe { request.delegate() }.is_some());
        request
    });
    // SAFETY: a property.
    assert!(unsafe { request.delegate() }.is_none());
    driver::release();
    assert_eq!(heard(), 0);
    assert!(driver::history().unheard > 0);
}

// facts: request-kept-alive
#[test]
fn a_request_that_nobody_keeps_is_answered_only_if_the_system_keeps_it() {
    for keeps_requests in [false, true] {
        let _alone = begin(Machine {
            answer: Answer::Hold,
            keeps_requests,
            ..Machine::default()
        });
        let delegate = delegate();
        autoreleasepool(|_| drop(submit(&delegate, false)));
        driver::release();
        assert_eq!(heard(), usize::from(keeps_requests));
    }
}

#[test]
fn an_optional_method_that_is_not_there_is_not_called() {
    let _alone = begin(Machine::default());
    let delegate = delegate();
    let _request = autoreleasepool(|_| submit(&delegate, true));
    assert_eq!(heard(), 1, "only the end");
    assert_eq!(driver::history().escaped_panics, 0);
}

#[test]
fn a_panic_that_leaves_a_delegate_is_counted() {
    let _alone = begin(Machine::default());
    PANICS.store(true, Ordering::SeqCst);
    let delegate = delegate();
    let _request = autoreleasepool(|_| submit(&delegate, false));
    assert_eq!(heard(), 1);
    assert_eq!(driver::history().escaped_panics, 1);
}

#[test]
fn what_was_begun_before_a_reset_changes_nothing_after_it() {
    let _alone = begin(Machine {
        approval: driver::Approval::Needed,
        ..Machine::default()
    });
    let delegate = delegate();
    let _request = autoreleasepool(|_| submit(&delegate, false));
    driver::wait_until_user_is_asked();
    driver::reset(Machine::default());
    driver::approve();
    driver::settle();
    assert_eq!(driver::with(|machine| machine.installed.len()), 0);
    assert_eq!(driver::history(), driver::History::default());
}

#[test]
fn codes_are_failures_of_the_systems_domain() {
    for number in 1..=13 {
        let failure = Failure::from(OSSystemExtensionErrorCode(number));
        assert_eq!(failure, Failure::code(number));
        assert_eq!(failure.domain, "OSSystemExtensionErrorDomain");
    }
}
