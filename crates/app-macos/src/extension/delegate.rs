//! The object that the system answers to, from threads of its own.

use super::{Properties, Replace, Replacement, Version};
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol};
use objc2::{AnyThread, DefinedClass, define_class, msg_send};
use objc2_foundation::{NSArray, NSError};
use objc2_system_extensions::{
    OSSystemExtensionProperties, OSSystemExtensionReplacementAction, OSSystemExtensionRequest,
    OSSystemExtensionRequestDelegate, OSSystemExtensionRequestResult,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};

/// What the system said, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Another version is there; what we answered.
    Replacing {
        replacement: Replacement,
        allowed: bool,
    },
    NeedsApproval,
    Finished(isize),
    Failed {
        domain: String,
        code: isize,
        detail: String,
    },
    Found(Vec<Properties>),
    /// A fault of our own in one of the callbacks, which was caught.
    Fault(String),
}

/// More answers than any request has; what does not fit is dropped.
const MESSAGES_MAX: usize = 16;

pub(super) struct Ivars {
    /// `None` once nobody waits any more.
    listener: Mutex<Option<SyncSender<Message>>>,
    replace: Replace,
}

define_class!(
    // SAFETY: NSObject has no rules for its subclasses, and there is no Drop.
    #[unsafe(super(NSObject))]
    #[name = "ConntrailExtensionRequestDelegate"]
    #[ivars = Ivars]
    pub(super) struct Delegate;

    // SAFETY: it is a subclass of NSObject.
    unsafe impl NSObjectProtocol for Delegate {}

    // SAFETY: the selectors and their types are those of the protocol's header.
    unsafe impl OSSystemExtensionRequestDelegate for Delegate {
        // SAFETY: as above.
        #[unsafe(method(request:actionForReplacingExtension:withExtension:))]
        fn replacing(
            &self,
            _request: &OSSystemExtensionRequest,
            existing: &OSSystemExtensionProperties,
            new: &OSSystemExtensionProperties,
        ) -> OSSystemExtensionReplacementAction {
            let allowed = self.guarded(|| {
                self.allow(Replacement {
                    from: version(existing),
                    to: version(new),
                })
            });
            match allowed {
                Some(true) => OSSystemExtensionReplacementAction::Replace,
                Some(false) | None => OSSystemExtensionReplacementAction::Cancel,
            }
        }

        // SAFETY: as above.
        #[unsafe(method(requestNeedsUserApproval:))]
        fn needs_approval(&self, _request: &OSSystemExtensionRequest) {
            self.guarded(|| self.tell(Message::NeedsApproval));
        }

        // SAFETY: as above.
        #[unsafe(method(request:didFinishWithResult:))]
        fn finished(
            &self,
            _request: &OSSystemExtensionRequest,
            result: OSSystemExtensionRequestResult,
        ) {
            self.guarded(|| self.tell(Message::Finished(result.0)));
        }

        // SAFETY: as above.
        #[unsafe(method(request:didFailWithError:))]
        fn failed(&self, _request: &OSSystemExtensionRequest, error: &NSError) {
            self.guarded(|| {
                self.tell(Message::Failed {
                    domain: error.domain().to_string(),
                    code: error.code(),
                    detail: error.localizedDescription().to_string(),
                })
            });
        }

        // SAFETY: as above.
        #[unsafe(method(request:foundProperties:))]
        fn found(
            &self,
            _request: &OSSystemExtensionRequest,
            found: &NSArray<OSSystemExtensionProperties>,
        ) {
            self.guarded(|| self.tell(Message::Found(found.iter().map(|it| read(&it)).collect())));
        }
    }
);

impl Delegate {
    /// A delegate and what it hears.
    pub(super) fn new(replace: Replace) -> (Retained<Delegate>, Receiver<Message>) {
        let (listener, messages) = mpsc::sync_channel(MESSAGES_MAX);
        let this = Delegate::alloc().set_ivars(Ivars {
            listener: Mutex::new(Some(listener)),
            replace,
        });
        // SAFETY: `init` of NSObject takes nothing and returns the object.
        (unsafe { msg_send![super(this), init] }, messages)
    }

    /// From here on nothing that the system says is heard, and every replacement is called off:
    /// nobody would know of it.
    pub(super) fn stop_listening(&self) {
        *self.listener() = None;
    }

    /// Whether to replace. The answer is in the channel before the system has it, so that whoever
    /// stops listening knows which answers were given.
    fn allow(&self, replacement: Replacement) -> bool {
        let listener = self.listener();
        let Some(listener) = listener.as_ref() else {
            return false;
        };
        let allowed = self.ivars().replace == Replace::Allowed;
        let told = listener.try_send(Message::Replacing {
            replacement,
            allowed,
        });
        allowed && told.is_ok()
    }

    fn tell(&self, message: Message) {
        if let Some(listener) = self.listener().as_ref() {
            // Full is more than anybody waits for, and without a receiver nobody waits.
            let _ = listener.try_send(message);
        }
    }

    fn listener(&self) -> std::sync::MutexGuard<'_, Option<SyncSender<Message>>> {
        let listener = &self.ivars().listener;
        listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No panic may leave a callback: the frames above it are not Rust.
    fn guarded<T>(&self, body: impl FnOnce() -> T) -> Option<T> {
        let caught = catch_unwind(AssertUnwindSafe(body));
        caught
            .inspect_err(|fault| self.tell(Message::Fault(crate::fault_text(&**fault))))
            .ok()
    }
}

fn read(properties: &OSSystemExtensionProperties) -> Properties {
    // SAFETY: the properties are alive for the length of the callback, and reading them has no
    // conditions.
    unsafe {
        Properties {
            identifier: properties.bundleIdentifier().to_string(),
            version: version(properties),
            enabled: properties.isEnabled(),
            awaiting_approval: properties.isAwaitingUserApproval(),
            uninstalling: properties.isUninstalling(),
        }
    }
}

fn version(properties: &OSSystemExtensionProperties) -> Version {
    // SAFETY: as in `read`.
    unsafe {
        Version {
            short: properties.bundleShortVersion().to_string(),
            build: properties.bundleVersion().to_string(),
        }
    }
}

#[cfg(test)]
#[cfg(not(target_vendor = "apple"))]
mod tests {
    use super::*;
    use dispatch2::DispatchQueue;
    use objc2::rc::autoreleasepool;
    use objc2_foundation::NSString;
    use objc2_system_extensions::driver::{Installed, properties};

    fn ask(delegate: &Delegate) -> OSSystemExtensionReplacementAction {
        let identifier = NSString::from_str("org.example");
        let queue = DispatchQueue::new("test", None);
        let existing = properties(Installed::new("org.example", "1"));
        let new = properties(Installed::new("org.example", "2"));
        // SAFETY: the messages are those of the headers, with objects of their types.
        unsafe {
            let request =
                OSSystemExtensionRequest::activationRequestForExtension_queue(&identifier, &queue);
            let protocol =
                objc2::runtime::ProtocolObject::<dyn OSSystemExtensionRequestDelegate>::from_ref(
                    delegate,
                );
            protocol.request_actionForReplacingExtension_withExtension(&request, &existing, &new)
        }
    }

    #[test]
    fn after_the_last_listener_every_replacement_is_called_off() {
        autoreleasepool(|_| {
            let (delegate, messages) = Delegate::new(Replace::Allowed);
            assert_eq!(ask(&delegate), OSSystemExtensionReplacementAction::Replace);
            assert_eq!(messages.try_iter().count(), 1, "who decides is told first");
            delegate.stop_listening();
            assert_eq!(ask(&delegate), OSSystemExtensionReplacementAction::Cancel);
            assert_eq!(messages.try_iter().count(), 0);
        });
    }

    #[test]
    fn a_replacement_that_cannot_be_told_is_called_off() {
        autoreleasepool(|_| {
            let (delegate, messages) = Delegate::new(Replace::Allowed);
            for _ in 0..MESSAGES_MAX {
                assert_eq!(ask(&delegate), OSSystemExtensionReplacementAction::Replace);
            }
            assert_eq!(ask(&delegate), OSSystemExtensionReplacementAction::Cancel);
            assert_eq!(messages.try_iter().count(), MESSAGES_MAX);
        });
    }
}
