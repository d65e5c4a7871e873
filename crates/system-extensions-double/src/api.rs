//! What code sees: the same names, types and signatures as the crate for Apple has.

use dispatch2::DispatchQueue;
use objc2::encode::{Encode, Encoding, RefEncode};
use objc2::ffi::NSInteger;
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{extern_class, extern_conformance, extern_methods, extern_protocol};
use objc2_foundation::{NSArray, NSError, NSString};

macro_rules! integer_enum {
    ($(#[$about:meta])* $name:ident {
        $($(#[$about_value:meta])* $value:ident = $number:literal,)+
    }) => {
        $(#[$about])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub NSInteger);

        impl $name {
            $($(#[$about_value])* pub const $value: Self = Self($number);)+
        }

        // SAFETY: it is transparent over the integer.
        unsafe impl Encode for $name {
            const ENCODING: Encoding = NSInteger::ENCODING;
        }

        // SAFETY: as above.
        unsafe impl RefEncode for $name {
            const ENCODING_REF: Encoding = Encoding::Pointer(&Self::ENCODING);
        }
    };
}

integer_enum! {
    /// Why a request failed; documented, header.
    OSSystemExtensionErrorCode {
        /// No reason is given.
        Unknown = 1,
        /// The app lacks the entitlement to install extensions.
        MissingEntitlement = 2,
        /// The app is not in a folder for apps.
        UnsupportedParentBundleLocation = 3,
        /// The app has no such extension.
        ExtensionNotFound = 4,
        /// The extension has no identifier.
        ExtensionMissingIdentifier = 5,
        /// Two extensions have the same identifier.
        DuplicateExtensionIdentifer = 6,
        /// The extension is of no known kind.
        UnknownExtensionCategory = 7,
        /// A signature does not match.
        CodeSignatureInvalid = 8,
        /// The extension is not as it must be.
        ValidationFailed = 9,
        /// Device management forbids it.
        ForbiddenBySystemPolicy = 10,
        /// The delegate, or somebody else, called it off.
        RequestCanceled = 11,
        /// A newer request for the same extension came.
        RequestSuperseded = 12,
        /// An administrator must agree.
        AuthorizationRequired = 13,
    }
}

integer_enum! {
    /// What a delegate says to another version; documented, header.
    OSSystemExtensionReplacementAction {
        /// Leave the one that is there.
        Cancel = 0,
        /// Replace it.
        Replace = 1,
    }
}

integer_enum! {
    /// How a request was completed; documented, header.
    OSSystemExtensionRequestResult {
        /// It is done.
        Completed = 0,
        /// It will be done at the next start of the machine.
        WillCompleteAfterReboot = 1,
    }
}

extern_class!(
    /// A request to activate, to remove or to describe an extension.
    // SAFETY: the class is defined in this crate, directly below NSObject.
    #[unsafe(super(NSObject))]
    #[derive(Debug, PartialEq, Eq, Hash)]
    pub struct OSSystemExtensionRequest;
);

extern_conformance!(
    // SAFETY: its root class is NSObject.
    unsafe impl NSObjectProtocol for OSSystemExtensionRequest {}
);

impl OSSystemExtensionRequest {
    extern_methods!(
        /// A request that the extension in this app be active.
        ///
        /// # Safety
        ///
        /// The queue may be used from any thread.
        #[unsafe(method(activationRequestForExtension:queue:))]
        #[unsafe(method_family = none)]
        pub unsafe fn activationRequestForExtension_queue(
            identifier: &NSString,
            queue: &DispatchQueue,
        ) -> Retained<Self>;

        /// A request that the extension be removed.
        ///
        /// # Safety
        ///
        /// As above.
        #[unsafe(method(deactivationRequestForExtension:queue:))]
        #[unsafe(method_family = none)]
        pub unsafe fn deactivationRequestForExtension_queue(
            identifier: &NSString,
            queue: &DispatchQueue,
        ) -> Retained<Self>;

        /// A request for what is installed under the identifier.
        ///
        /// # Safety
        ///
        /// As above.
        #[unsafe(method(propertiesRequestForExtension:queue:))]
        #[unsafe(method_family = none)]
        pub unsafe fn propertiesRequestForExtension_queue(
            identifier: &NSString,
            queue: &DispatchQueue,
        ) -> Retained<Self>;

        /// Who hears the answers, while it is alive.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(delegate))]
        #[unsafe(method_family = none)]
        pub unsafe fn delegate(
            &self,
        ) -> Option<Retained<ProtocolObject<dyn OSSystemExtensionRequestDelegate>>>;

        /// Sets who hears the answers; the reference is weak.
        ///
        /// # Safety
        ///
        /// The delegate is called on the request's queue.
        #[unsafe(method(setDelegate:))]
        #[unsafe(method_family = none)]
        pub unsafe fn setDelegate(
            &self,
            delegate: Option<&ProtocolObject<dyn OSSystemExtensionRequestDelegate>>,
        );

        /// Which extension it is about.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(identifier))]
        #[unsafe(method_family = none)]
        pub unsafe fn identifier(&self) -> Retained<NSString>;
    );
}

extern_class!(
    /// What the system says of an installed extension.
    // SAFETY: the class is defined in this crate, directly below NSObject.
    #[unsafe(super(NSObject))]
    #[derive(Debug, PartialEq, Eq, Hash)]
    pub struct OSSystemExtensionProperties;
);

extern_conformance!(
    // SAFETY: its root class is NSObject.
    unsafe impl NSObjectProtocol for OSSystemExtensionProperties {}
);

impl OSSystemExtensionProperties {
    extern_methods!(
        /// `CFBundleIdentifier`
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(bundleIdentifier))]
        #[unsafe(method_family = none)]
        pub unsafe fn bundleIdentifier(&self) -> Retained<NSString>;

        /// `CFBundleVersion`
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(bundleVersion))]
        #[unsafe(method_family = none)]
        pub unsafe fn bundleVersion(&self) -> Retained<NSString>;

        /// `CFBundleShortVersionString`
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(bundleShortVersion))]
        #[unsafe(method_family = none)]
        pub unsafe fn bundleShortVersion(&self) -> Retained<NSString>;

        /// Whether it may run.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(isEnabled))]
        #[unsafe(method_family = none)]
        pub unsafe fn isEnabled(&self) -> bool;

        /// Whether the user must approve it first.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(isAwaitingUserApproval))]
        #[unsafe(method_family = none)]
        pub unsafe fn isAwaitingUserApproval(&self) -> bool;

        /// Whether it is being removed.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(isUninstalling))]
        #[unsafe(method_family = none)]
        pub unsafe fn isUninstalling(&self) -> bool;
    );
}

extern_class!(
    /// Takes requests.
    // SAFETY: the class is defined in this crate, directly below NSObject.
    #[unsafe(super(NSObject))]
    #[derive(Debug, PartialEq, Eq, Hash)]
    pub struct OSSystemExtensionManager;
);

extern_conformance!(
    // SAFETY: its root class is NSObject.
    unsafe impl NSObjectProtocol for OSSystemExtensionManager {}
);

impl OSSystemExtensionManager {
    extern_methods!(
        /// The one manager.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(sharedManager))]
        #[unsafe(method_family = none)]
        pub unsafe fn sharedManager() -> Retained<OSSystemExtensionManager>;

        /// Hands in a request.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(submitRequest:))]
        #[unsafe(method_family = none)]
        pub unsafe fn submitRequest(&self, request: &OSSystemExtensionRequest);
    );
}

extern_protocol!(
    /// Hears what becomes of a request.
    ///
    /// # Safety
    ///
    /// Whoever adopts it has the methods with these selectors and types.
    pub unsafe trait OSSystemExtensionRequestDelegate: NSObjectProtocol {
        /// Another version is active: what to do?
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(request:actionForReplacingExtension:withExtension:))]
        #[unsafe(method_family = none)]
        unsafe fn request_actionForReplacingExtension_withExtension(
            &self,
            request: &OSSystemExtensionRequest,
            existing: &OSSystemExtensionProperties,
            ext: &OSSystemExtensionProperties,
        ) -> OSSystemExtensionReplacementAction;

        /// The user must approve it; the request stays open.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(requestNeedsUserApproval:))]
        #[unsafe(method_family = none)]
        unsafe fn requestNeedsUserApproval(&self, request: &OSSystemExtensionRequest);

        /// It is done.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(request:didFinishWithResult:))]
        #[unsafe(method_family = none)]
        unsafe fn request_didFinishWithResult(
            &self,
            request: &OSSystemExtensionRequest,
            result: OSSystemExtensionRequestResult,
        );

        /// It failed.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[unsafe(method(request:didFailWithError:))]
        #[unsafe(method_family = none)]
        unsafe fn request_didFailWithError(
            &self,
            request: &OSSystemExtensionRequest,
            error: &NSError,
        );

        /// What is installed.
        ///
        /// # Safety
        ///
        /// None beyond those of any message.
        #[optional]
        #[unsafe(method(request:foundProperties:))]
        #[unsafe(method_family = none)]
        unsafe fn request_foundProperties(
            &self,
            request: &OSSystemExtensionRequest,
            properties: &NSArray<OSSystemExtensionProperties>,
        );
    }
);
