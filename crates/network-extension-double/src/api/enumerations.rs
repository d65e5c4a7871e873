//! Enumerations: numbers with names, open for values that come with later systems.

use objc2::encode::{Encode, Encoding, RefEncode};
use objc2::ffi::NSInteger;

macro_rules! enumeration {
    ($name:ident { $($value:ident = $number:literal),* $(,)? }) => {
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub NSInteger);

        impl $name {
            $(pub const $value: Self = Self($number);)*
        }

        // SAFETY: it is a transparent integer.
        unsafe impl Encode for $name {
            const ENCODING: Encoding = NSInteger::ENCODING;
        }

        // SAFETY: as above.
        unsafe impl RefEncode for $name {
            const ENCODING_REF: Encoding = Encoding::Pointer(&Self::ENCODING);
        }
    };
}

enumeration! {
    NEProviderStopReason {
        None = 0,
        UserInitiated = 1,
        ProviderFailed = 2,
        NoNetworkAvailable = 3,
        UnrecoverableNetworkChange = 4,
        ProviderDisabled = 5,
        AuthenticationCanceled = 6,
        ConfigurationFailed = 7,
        IdleTimeout = 8,
        ConfigurationDisabled = 9,
        ConfigurationRemoved = 10,
        Superceded = 11,
        UserLogout = 12,
        UserSwitch = 13,
        ConnectionFailed = 14,
        Sleep = 15,
        AppUpdate = 16,
        InternalError = 17,
    }
}

enumeration! { NENetworkRuleProtocol { Any = 0, TCP = 1, UDP = 2 } }

enumeration! { NETrafficDirection { Any = 0, Inbound = 1, Outbound = 2 } }

enumeration! { NEFilterReportFrequency { None = 0, Low = 1, Medium = 2, High = 3 } }

enumeration! {
    NEFilterAction { Invalid = 0, Allow = 1, Drop = 2, Remediate = 3, FilterData = 4 }
}

enumeration! {
    NEFilterReportEvent { NewFlow = 1, DataDecision = 2, FlowClosed = 3, Statistics = 4 }
}

enumeration! { NEFilterDataAttribute { HasIPHeader = 1 } }

enumeration! {
    NEFilterManagerError {
        ConfigurationInvalid = 1,
        ConfigurationDisabled = 2,
        ConfigurationStale = 3,
        ConfigurationCannotBeRemoved = 4,
        ConfigurationPermissionDenied = 5,
        ConfigurationInternalError = 6,
    }
}

enumeration! { NEFilterManagerGrade { Firewall = 1, Inspector = 2 } }
