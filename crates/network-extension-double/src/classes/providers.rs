//! The classes a provider inherits from.

use std::sync::Mutex;

use block2::DynBlock;
use objc_double::{Id, NS_OBJECT, class, raise};
use objc2::runtime::AnyObject;
use objc2_foundation::NSError;

use super::{configuration, lock, verdicts};
use crate::driver::{note_system_extension_mode, settings_applied};
use crate::{NEProviderStopReason, NETrafficDirection};

/// Selectors by which a provider would read, hold or drop traffic, as often as they were sent to
/// the base class.
static FORBIDDEN: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// What was sent to the base class that must never be sent, since the last reset.
pub(crate) fn forbidden() -> Vec<&'static str> {
    lock(&FORBIDDEN).clone()
}

pub(crate) fn reset() {
    lock(&FORBIDDEN).clear();
}

fn forbid(selector: &'static str) {
    lock(&FORBIDDEN).push(selector);
}

class! {
    /// The base of all providers.
    pub(crate) static NE_PROVIDER: () = "NEProvider": NS_OBJECT;

    + "startSystemExtensionMode" (_class) { note_system_extension_mode() }
    - "sleepWithCompletionHandler:" (_this, done: &DynBlock<dyn Fn()>) { done.call(()) }
    - "wake" (_this) {}
}

class! {
    /// The base of all filters.
    pub(crate) static NE_FILTER_PROVIDER: () = "NEFilterProvider": NE_PROVIDER;

    - "startFilterWithCompletionHandler:" (_this, _done: &DynBlock<dyn Fn(*mut NSError)>) {
        must_be_overridden("startFilterWithCompletionHandler:")
    }
    - "stopFilterWithReason:completionHandler:"
        (_this, _reason: NEProviderStopReason, _done: &DynBlock<dyn Fn()>)
    {
        must_be_overridden("stopFilterWithReason:completionHandler:")
    }
    - "filterConfiguration" (_this) -> Id { configuration::current().returned() }
    - "handleReport:" (_this, _report: &AnyObject) {}
}

class! {
    /// The base of filters of flows.
    pub(crate) static NE_FILTER_DATA_PROVIDER: () = "NEFilterDataProvider": NE_FILTER_PROVIDER;

    - "handleNewFlow:" (_this, _flow: &AnyObject) -> Id { verdicts::of_base_class() }
    - "applySettings:completionHandler:"
        (_this, settings: Option<&AnyObject>, done: &DynBlock<dyn Fn(*mut NSError)>)
    {
        settings_applied(settings, done)
    }
    - "handleInboundDataFromFlow:readBytesStartOffset:readBytes:"
        (_this, _flow: &AnyObject, _offset: usize, _bytes: &AnyObject) -> Id
    {
        forbid("handleInboundDataFromFlow:readBytesStartOffset:readBytes:");
        verdicts::pass_everything()
    }
    - "handleOutboundDataFromFlow:readBytesStartOffset:readBytes:"
        (_this, _flow: &AnyObject, _offset: usize, _bytes: &AnyObject) -> Id
    {
        forbid("handleOutboundDataFromFlow:readBytesStartOffset:readBytes:");
        verdicts::pass_everything()
    }
    - "handleInboundDataCompleteForFlow:" (_this, _flow: &AnyObject) -> Id {
        forbid("handleInboundDataCompleteForFlow:");
        verdicts::pass_everything()
    }
    - "handleOutboundDataCompleteForFlow:" (_this, _flow: &AnyObject) -> Id {
        forbid("handleOutboundDataCompleteForFlow:");
        verdicts::pass_everything()
    }
    - "handleRemediationForFlow:" (_this, _flow: &AnyObject) -> Id {
        forbid("handleRemediationForFlow:");
        verdicts::remediate_nothing()
    }
    - "handleRulesChanged" (_this) { forbid("handleRulesChanged") }
    - "resumeFlow:withVerdict:" (_this, _flow: &AnyObject, _verdict: &AnyObject) {
        forbid("resumeFlow:withVerdict:")
    }
    - "updateFlow:usingVerdict:forDirection:"
        (_this, _flow: &AnyObject, _verdict: &AnyObject, _direction: NETrafficDirection)
    {
        forbid("updateFlow:usingVerdict:forDirection:")
    }
}

fn must_be_overridden(selector: &str) {
    raise(
        "NSInternalInconsistencyException",
        &format!("{selector} is not overridden"),
    )
}
