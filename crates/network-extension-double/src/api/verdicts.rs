//! Verdicts: all that can be made, those we must never make among them.

use objc2::ffi::NSUInteger;
use objc2::rc::Retained;
use objc2_foundation::{NSObject, NSString};

use super::{NEFilterReportFrequency, api, framework_class};

framework_class! { value NEFilterVerdict: NSObject }

api! { NEFilterVerdict;
    none fn shouldReport[shouldReport](&self) -> bool;
    none fn setShouldReport[setShouldReport:](&self, should_report: bool);
}

framework_class! { value NEFilterNewFlowVerdict: NEFilterVerdict, NSObject }

api! { NEFilterNewFlowVerdict;
    none fn statisticsReportFrequency[statisticsReportFrequency](&self) -> NEFilterReportFrequency;
    none fn setStatisticsReportFrequency[setStatisticsReportFrequency:](
        &self,
        statistics_report_frequency: NEFilterReportFrequency
    );
    none fn needRulesVerdict[needRulesVerdict]() -> Retained<NEFilterNewFlowVerdict>;
    none fn allowVerdict[allowVerdict]() -> Retained<NEFilterNewFlowVerdict>;
    none fn dropVerdict[dropVerdict]() -> Retained<NEFilterNewFlowVerdict>;
    none fn remediateVerdictWithRemediationURLMapKey_remediationButtonTextMapKey
        [remediateVerdictWithRemediationURLMapKey:remediationButtonTextMapKey:](
        remediation_url_map_key: &NSString,
        remediation_button_text_map_key: &NSString
    ) -> Retained<NEFilterNewFlowVerdict>;
    none fn URLAppendStringVerdictWithMapKey[URLAppendStringVerdictWithMapKey:](
        url_append_map_key: &NSString
    ) -> Retained<NEFilterNewFlowVerdict>;
    none fn filterDataVerdictWithFilterInbound_peekInboundBytes_filterOutbound_peekOutboundBytes
        [filterDataVerdictWithFilterInbound:peekInboundBytes:filterOutbound:peekOutboundBytes:](
        filter_inbound: bool,
        peek_inbound_bytes: NSUInteger,
        filter_outbound: bool,
        peek_outbound_bytes: NSUInteger
    ) -> Retained<NEFilterNewFlowVerdict>;
    none fn pauseVerdict[pauseVerdict]() -> Retained<NEFilterNewFlowVerdict>;
}

framework_class! { value NEFilterControlVerdict: NEFilterNewFlowVerdict, NEFilterVerdict, NSObject }

framework_class! { value NEFilterDataVerdict: NEFilterVerdict, NSObject }

api! { NEFilterDataVerdict;
    none fn statisticsReportFrequency[statisticsReportFrequency](&self) -> NEFilterReportFrequency;
    none fn setStatisticsReportFrequency[setStatisticsReportFrequency:](
        &self,
        statistics_report_frequency: NEFilterReportFrequency
    );
    none fn allowVerdict[allowVerdict]() -> Retained<NEFilterDataVerdict>;
    none fn dropVerdict[dropVerdict]() -> Retained<NEFilterDataVerdict>;
    none fn remediateVerdictWithRemediationURLMapKey_remediationButtonTextMapKey
        [remediateVerdictWithRemediationURLMapKey:remediationButtonTextMapKey:](
        remediation_url_map_key: Option<&NSString>,
        remediation_button_text_map_key: Option<&NSString>
    ) -> Retained<NEFilterDataVerdict>;
    none fn dataVerdictWithPassBytes_peekBytes[dataVerdictWithPassBytes:peekBytes:](
        pass_bytes: NSUInteger,
        peek_bytes: NSUInteger
    ) -> Retained<NEFilterDataVerdict>;
    none fn needRulesVerdict[needRulesVerdict]() -> Retained<NEFilterDataVerdict>;
    none fn pauseVerdict[pauseVerdict]() -> Retained<NEFilterDataVerdict>;
}

framework_class! { value NEFilterRemediationVerdict: NEFilterVerdict, NSObject }

api! { NEFilterRemediationVerdict;
    none fn allowVerdict[allowVerdict]() -> Retained<NEFilterRemediationVerdict>;
    none fn dropVerdict[dropVerdict]() -> Retained<NEFilterRemediationVerdict>;
    none fn needRulesVerdict[needRulesVerdict]() -> Retained<NEFilterRemediationVerdict>;
}
