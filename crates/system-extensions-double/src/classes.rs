//! What answers the messages.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use dispatch2::{DispatchObject, DispatchQueue, DispatchRetained};
use objc_double::foundation::{returned, string, text};
use objc_double::{Bool, Id, NS_OBJECT, Strong, class};
use objc2::rc::{Retained, Weak};
use objc2::runtime::AnyObject;

use crate::api::{
    OSSystemExtensionErrorCode, OSSystemExtensionReplacementAction, OSSystemExtensionRequestResult,
};
use crate::driver::{self, Installed, Kind};

/// What a request object holds.
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) identifier: String,
    pub(crate) queue: DispatchRetained<DispatchQueue>,
    delegate: Mutex<WeakObject>,
}

/// A reference that does not keep its object alive.
#[derive(Default)]
pub(crate) struct WeakObject(Option<Weak<AnyObject>>);

// SAFETY: weak references of the runtime are loaded and cleared under its lock, and what they
// refer to are requests, which are `Sync` here, and delegates, which the header lets any thread of
// the queue call.
unsafe impl Send for WeakObject {}
// SAFETY: as above.
unsafe impl Sync for WeakObject {}

impl WeakObject {
    pub(crate) fn to(object: &AnyObject) -> WeakObject {
        WeakObject(Some(Weak::new(object)))
    }

    pub(crate) fn load(&self) -> Option<Strong> {
        let object: Retained<AnyObject> = self.0.as_ref()?.load()?;
        Some(Strong::from(object))
    }
}

impl Request {
    pub(crate) fn delegate(&self) -> Option<Strong> {
        self.lock().load()
    }

    fn lock(&self) -> MutexGuard<'_, WeakObject> {
        self.delegate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_request(kind: Kind, identifier: &AnyObject, queue: &DispatchQueue) -> Id {
    let request = REQUEST.create(Request {
        kind,
        identifier: text(identifier).to_owned(),
        queue: queue.retain(),
        delegate: Mutex::default(),
    });
    request.returned()
}

class! {
    /// A request. Its delegate is a weak property: documented, header.
    pub(crate) static REQUEST: Request = "OSSystemExtensionRequest": NS_OBJECT;
    + "activationRequestForExtension:queue:"
        (_class, identifier: &AnyObject, queue: &DispatchQueue) -> Id
        { new_request(Kind::Activation, identifier, queue) }
    + "deactivationRequestForExtension:queue:"
        (_class, identifier: &AnyObject, queue: &DispatchQueue) -> Id
        { new_request(Kind::Deactivation, identifier, queue) }
    + "propertiesRequestForExtension:queue:"
        (_class, identifier: &AnyObject, queue: &DispatchQueue) -> Id
        { new_request(Kind::Properties, identifier, queue) }
    - "delegate" (this) -> Id { returned(REQUEST.of(this).delegate().as_ref()) }
    - "setDelegate:" (this, delegate: Option<&AnyObject>) {
        *REQUEST.of(this).lock() = delegate.map(WeakObject::to).unwrap_or_default();
    }
    - "identifier" (this) -> Id { string(&REQUEST.of(this).identifier).returned() }
}

class! {
    /// What is said of an installed extension.
    pub(crate) static PROPERTIES: Installed = "OSSystemExtensionProperties": NS_OBJECT;
    - "bundleIdentifier" (this) -> Id { string(&PROPERTIES.of(this).identifier).returned() }
    - "bundleVersion" (this) -> Id { maybe(PROPERTIES.of(this).build.as_deref()) }
    - "bundleShortVersion" (this) -> Id { maybe(PROPERTIES.of(this).short.as_deref()) }
    - "isEnabled" (this) -> Bool { Bool::new(PROPERTIES.of(this).enabled) }
    - "isAwaitingUserApproval" (this) -> Bool { Bool::new(PROPERTIES.of(this).awaiting_approval) }
    - "isUninstalling" (this) -> Bool { Bool::new(PROPERTIES.of(this).uninstalling) }
}

fn maybe(words: Option<&str>) -> Id {
    returned(words.map(string).as_ref())
}

static SHARED: LazyLock<Strong> = LazyLock::new(|| MANAGER.create(()));

/// Makes the one manager, which is there for good, so that it is no leak of whoever asks first.
pub(crate) fn make_manager() {
    LazyLock::force(&SHARED);
}

class! {
    /// The one manager of a process.
    pub(crate) static MANAGER: () = "OSSystemExtensionManager": NS_OBJECT;
    + "sharedManager" (_class) -> Id { returned(Some(&SHARED)) }
    - "submitRequest:" (_this, request: &AnyObject) { driver::submitted(request) }
}

objc_double::protocol! {
    "OSSystemExtensionRequestDelegate";
    required "request:actionForReplacingExtension:withExtension:"
        fn(Id, Id, Id) -> OSSystemExtensionReplacementAction;
    required "requestNeedsUserApproval:" fn(Id);
    required "request:didFinishWithResult:" fn(Id, OSSystemExtensionRequestResult);
    required "request:didFailWithError:" fn(Id, Id);
    optional "request:foundProperties:" fn(Id, Id);
}

/// The domain of [`OSSystemExtensionErrorCode`].
pub(crate) const DOMAIN: &str = "OSSystemExtensionErrorDomain";

/// An error as the system gives it.
pub(crate) fn error(domain: &str, code: isize) -> Strong {
    objc_double::foundation::error(domain, code, None)
}

impl From<OSSystemExtensionErrorCode> for driver::Failure {
    fn from(code: OSSystemExtensionErrorCode) -> driver::Failure {
        driver::Failure {
            domain: DOMAIN.to_owned(),
            code: code.0,
        }
    }
}
