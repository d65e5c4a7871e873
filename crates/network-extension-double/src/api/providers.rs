//! Providers: the classes that a filter inherits from.

use block2::DynBlock;
use objc2::ffi::NSUInteger;
use objc2::rc::Retained;
use objc2_foundation::{NSData, NSError, NSObject};

use super::{
    NEFilterDataVerdict, NEFilterFlow, NEFilterNewFlowVerdict, NEFilterProviderConfiguration,
    NEFilterRemediationVerdict, NEFilterReport, NEFilterSettings, NEFilterSocketFlow,
    NEFilterVerdict, NEProviderStopReason, NETrafficDirection, api, framework_class,
};

framework_class! { NEProvider: NSObject }

api! { NEProvider;
    none fn sleepWithCompletionHandler[sleepWithCompletionHandler:](
        &self,
        completion_handler: &DynBlock<dyn Fn()>
    );
    none fn wake[wake](&self);
    none fn startSystemExtensionMode[startSystemExtensionMode]();
}

framework_class! { NEFilterProvider: NEProvider, NSObject }

api! { NEFilterProvider;
    none fn startFilterWithCompletionHandler[startFilterWithCompletionHandler:](
        &self,
        completion_handler: &DynBlock<dyn Fn(*mut NSError)>
    );
    none fn stopFilterWithReason_completionHandler[stopFilterWithReason:completionHandler:](
        &self,
        reason: NEProviderStopReason,
        completion_handler: &DynBlock<dyn Fn()>
    );
    none fn filterConfiguration[filterConfiguration](
        &self
    ) -> Retained<NEFilterProviderConfiguration>;
    none fn handleReport[handleReport:](&self, report: &NEFilterReport);
}

framework_class! { NEFilterDataProvider: NEFilterProvider, NEProvider, NSObject }

api! { NEFilterDataProvider;
    none fn handleNewFlow[handleNewFlow:](
        &self,
        flow: &NEFilterFlow
    ) -> Retained<NEFilterNewFlowVerdict>;
    none fn handleInboundDataFromFlow_readBytesStartOffset_readBytes
        [handleInboundDataFromFlow:readBytesStartOffset:readBytes:](
        &self,
        flow: &NEFilterFlow,
        offset: NSUInteger,
        read_bytes: &NSData
    ) -> Retained<NEFilterDataVerdict>;
    none fn handleOutboundDataFromFlow_readBytesStartOffset_readBytes
        [handleOutboundDataFromFlow:readBytesStartOffset:readBytes:](
        &self,
        flow: &NEFilterFlow,
        offset: NSUInteger,
        read_bytes: &NSData
    ) -> Retained<NEFilterDataVerdict>;
    none fn handleInboundDataCompleteForFlow[handleInboundDataCompleteForFlow:](
        &self,
        flow: &NEFilterFlow
    ) -> Retained<NEFilterDataVerdict>;
    none fn handleOutboundDataCompleteForFlow[handleOutboundDataCompleteForFlow:](
        &self,
        flow: &NEFilterFlow
    ) -> Retained<NEFilterDataVerdict>;
    none fn handleRemediationForFlow[handleRemediationForFlow:](
        &self,
        flow: &NEFilterFlow
    ) -> Retained<NEFilterRemediationVerdict>;
    none fn handleRulesChanged[handleRulesChanged](&self);
    none fn applySettings_completionHandler[applySettings:completionHandler:](
        &self,
        settings: Option<&NEFilterSettings>,
        completion_handler: &DynBlock<dyn Fn(*mut NSError)>
    );
    none fn resumeFlow_withVerdict[resumeFlow:withVerdict:](
        &self,
        flow: &NEFilterFlow,
        verdict: &NEFilterVerdict
    );
    none fn updateFlow_usingVerdict_forDirection[updateFlow:usingVerdict:forDirection:](
        &self,
        flow: &NEFilterSocketFlow,
        verdict: &NEFilterDataVerdict,
        direction: NETrafficDirection
    );
}
