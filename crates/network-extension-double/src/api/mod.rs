//! The bindings: what `objc2-network-extension` declares, as far as a filter can meet it.
//!
//! `deprecated` marks are those of the real crate, so that both builds warn alike.

mod endpoints;
mod enumerations;
mod flows;
mod manager;
mod providers;
mod rules;
mod verdicts;

pub use endpoints::{NWBonjourServiceEndpoint, NWEndpoint, NWHostEndpoint};
pub use enumerations::{
    NEFilterAction, NEFilterDataAttribute, NEFilterManagerError, NEFilterManagerGrade,
    NEFilterReportEvent, NEFilterReportFrequency, NENetworkRuleProtocol, NEProviderStopReason,
    NETrafficDirection,
};
pub use flows::{NEFilterBrowserFlow, NEFilterFlow, NEFilterReport, NEFilterSocketFlow};
pub use manager::{
    NEFilterConfigurationDidChangeNotification, NEFilterErrorDomain, NEFilterManager,
    NEFilterProviderConfiguration,
};
pub use providers::{NEFilterDataProvider, NEFilterProvider, NEProvider};
pub use rules::{NEFilterRule, NEFilterSettings, NENetworkRule};
pub use verdicts::{
    NEFilterControlVerdict, NEFilterDataVerdict, NEFilterNewFlowVerdict,
    NEFilterRemediationVerdict, NEFilterVerdict,
};

/// A type for a class, with `init` and `new`, and with the conformances of a value type if asked.
macro_rules! framework_class {
    ($(#[$attribute:meta])* $name:ident: $($above:ident),+) => {
        // SAFETY: the double defines a class of this name, below these.
        objc2::extern_class!(
            #[unsafe(super($($above),+))]
            #[derive(Debug, PartialEq, Eq, Hash)]
            $(#[$attribute])*
            pub struct $name;
        );
        const _: () = {
            use objc2::runtime::NSObjectProtocol;
            // SAFETY: it inherits from NSObject.
            objc2::extern_conformance!(unsafe impl NSObjectProtocol for $name {});
        };
        api! { $name;
            init fn init[init](this: objc2::rc::Allocated<Self>) -> objc2::rc::Retained<Self>;
            new fn new[new]() -> objc2::rc::Retained<Self>;
        }
    };
    (value $(#[$attribute:meta])* $name:ident: $($above:ident),+) => {
        framework_class!($(#[$attribute])* $name: $($above),+);
        const _: () = {
            use objc2_foundation::{CopyingHelper, NSCoding, NSCopying, NSSecureCoding};
            // SAFETY: the double's class can be copied.
            objc2::extern_conformance!(unsafe impl NSCopying for $name {});
            // SAFETY: a copy is of the same class.
            unsafe impl CopyingHelper for $name {
                type Result = Self;
            }
            // SAFETY: the double's class panics when it is archived.
            objc2::extern_conformance!(unsafe impl NSCoding for $name {});
            // SAFETY: as above.
            objc2::extern_conformance!(unsafe impl NSSecureCoding for $name {});
        };
    };
}

/// Methods: the family that decides about references, the name, the selector, the signature.
macro_rules! api {
    ($class:ident; $(
        $(#[$attribute:meta])*
        $family:ident fn $name:ident[$($selector:tt)*]($($arguments:tt)*) $(-> $return:ty)?;
    )*) => {
        impl $class {
            // SAFETY: the double's class answers the selectors with these types; in debug builds
            // every message is checked against them.
            objc2::extern_methods!($(
                $(#[$attribute])*
                #[unsafe(method($($selector)*))] // SAFETY: as above.
                #[unsafe(method_family = $family)] // SAFETY: as above.
                pub unsafe fn $name($($arguments)*) $(-> $return)?; // SAFETY: as above.
            )*);
        }
    };
}

use {api, framework_class};
