//! Verdicts, each counted by what it says.

use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, Ordering};

use objc_double::{Bool, ClassOf, Id, NS_OBJECT, Strong, class};
use objc2::runtime::{AnyObject, NSZone};

use super::itself;
use crate::NEFilterReportFrequency;
use crate::driver::VerdictKind;

/// What a verdict says.
pub(crate) struct Verdict {
    pub(crate) kind: VerdictKind,
    pub(crate) should_report: AtomicBool,
    frequency: AtomicIsize,
}

static MADE: [AtomicU64; VerdictKind::COUNT] = [const { AtomicU64::new(0) }; VerdictKind::COUNT];

/// How many verdicts of a kind were made since the last reset.
pub(crate) fn made(kind: VerdictKind) -> u64 {
    MADE[kind as usize].load(Ordering::Relaxed)
}

pub(crate) fn reset() {
    MADE.iter()
        .for_each(|count| count.store(0, Ordering::Relaxed));
}

impl Verdict {
    fn new(kind: VerdictKind) -> Verdict {
        MADE[kind as usize].fetch_add(1, Ordering::Relaxed);
        Verdict {
            kind,
            should_report: AtomicBool::new(false),
            frequency: AtomicIsize::new(0),
        }
    }

    pub(crate) fn frequency(&self) -> NEFilterReportFrequency {
        NEFilterReportFrequency(self.frequency.load(Ordering::Relaxed))
    }

    fn set_frequency(&self, frequency: NEFilterReportFrequency) {
        self.frequency.store(frequency.0, Ordering::Relaxed);
    }
}

/// What the verdict says, whatever its class.
pub(crate) fn verdict(object: &AnyObject) -> &Verdict {
    NE_FILTER_VERDICT.of(object)
}

fn made_of(class: &'static ClassOf<()>, kind: VerdictKind) -> Id {
    let object: Strong = class.class().allocate();
    NE_FILTER_VERDICT.fill(&object, Verdict::new(kind));
    object.returned()
}

class! {
    /// The base of all verdicts.
    pub(crate) static NE_FILTER_VERDICT: Verdict = "NEFilterVerdict": NS_OBJECT;

    - "init" (this) -> Id {
        NE_FILTER_VERDICT.fill(this, Verdict::new(VerdictKind::Blank));
        itself(this)
    }
    - "shouldReport" (this) -> Bool {
        Bool::new(verdict(this).should_report.load(Ordering::Relaxed))
    }
    - "setShouldReport:" (this, should_report: Bool) {
        verdict(this).should_report.store(should_report.as_bool(), Ordering::Relaxed);
    }
    - "copyWithZone:" (this, _zone: *mut NSZone) -> Id { Strong::to(this).owned() }
}

class! {
    /// What `handleNewFlow:` returns.
    pub(crate) static NE_FILTER_NEW_FLOW_VERDICT: () = "NEFilterNewFlowVerdict": NE_FILTER_VERDICT;

    + "allowVerdict" (_class) -> Id { made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::Allow) }
    + "dropVerdict" (_class) -> Id { made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::Drop) }
    + "needRulesVerdict" (_class) -> Id {
        made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::NeedRules)
    }
    + "pauseVerdict" (_class) -> Id { made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::Pause) }
    + "remediateVerdictWithRemediationURLMapKey:remediationButtonTextMapKey:"
        (_class, _url: &AnyObject, _button: &AnyObject) -> Id
    {
        made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::Remediate)
    }
    + "URLAppendStringVerdictWithMapKey:" (_class, _key: &AnyObject) -> Id {
        made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::AppendToUrl)
    }
    + "filterDataVerdictWithFilterInbound:peekInboundBytes:filterOutbound:peekOutboundBytes:"
        (_class, _inbound: Bool, _peek_in: usize, _outbound: Bool, _peek_out: usize) -> Id
    {
        made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::FilterData)
    }
    - "statisticsReportFrequency" (this) -> NEFilterReportFrequency { verdict(this).frequency() }
    - "setStatisticsReportFrequency:" (this, frequency: NEFilterReportFrequency) {
        verdict(this).set_frequency(frequency)
    }
}

class! {
    /// What a control provider returns; there are none on macOS.
    static NE_FILTER_CONTROL_VERDICT: () = "NEFilterControlVerdict": NE_FILTER_NEW_FLOW_VERDICT;
}

class! {
    /// What the callbacks about payload return.
    pub(crate) static NE_FILTER_DATA_VERDICT: () = "NEFilterDataVerdict": NE_FILTER_VERDICT;

    + "allowVerdict" (_class) -> Id { made_of(&NE_FILTER_DATA_VERDICT, VerdictKind::Data) }
    + "dropVerdict" (_class) -> Id { made_of(&NE_FILTER_DATA_VERDICT, VerdictKind::Data) }
    + "needRulesVerdict" (_class) -> Id { made_of(&NE_FILTER_DATA_VERDICT, VerdictKind::Data) }
    + "pauseVerdict" (_class) -> Id { made_of(&NE_FILTER_DATA_VERDICT, VerdictKind::Data) }
    + "remediateVerdictWithRemediationURLMapKey:remediationButtonTextMapKey:"
        (_class, _url: Option<&AnyObject>, _button: Option<&AnyObject>) -> Id
    {
        made_of(&NE_FILTER_DATA_VERDICT, VerdictKind::Data)
    }
    + "dataVerdictWithPassBytes:peekBytes:" (_class, _pass: usize, _peek: usize) -> Id {
        made_of(&NE_FILTER_DATA_VERDICT, VerdictKind::Data)
    }
    - "statisticsReportFrequency" (this) -> NEFilterReportFrequency { verdict(this).frequency() }
    - "setStatisticsReportFrequency:" (this, frequency: NEFilterReportFrequency) {
        verdict(this).set_frequency(frequency)
    }
}

/// A data verdict that lets everything pass: what the base class answers.
pub(crate) fn pass_everything() -> Id {
    made_of(&NE_FILTER_DATA_VERDICT, VerdictKind::Data)
}

/// A remediation verdict that lets everything pass.
pub(crate) fn remediate_nothing() -> Id {
    made_of(&NE_FILTER_REMEDIATION_VERDICT, VerdictKind::Remediate)
}

/// A verdict as the base class's `handleNewFlow:` gives it.
pub(crate) fn of_base_class() -> Id {
    made_of(&NE_FILTER_NEW_FLOW_VERDICT, VerdictKind::Blank)
}

class! {
    /// What `handleRemediationForFlow:` returns; WebKit only.
    static NE_FILTER_REMEDIATION_VERDICT: () = "NEFilterRemediationVerdict": NE_FILTER_VERDICT;

    + "allowVerdict" (_class) -> Id { remediate_nothing() }
    + "dropVerdict" (_class) -> Id { remediate_nothing() }
    + "needRulesVerdict" (_class) -> Id { remediate_nothing() }
}
