//! Settings: their limits, and which flows the provider is asked about.

use block2::RcBlock;
use objc2::rc::autoreleasepool;
use objc2_foundation::NSError;
use objc2_network_extension::driver::{
    Answer, Endpoint, Flow, FlowSpec, Provider, RULES_MAX, When, alone, answer_apply_settings,
    applied_settings, let_any_protocol_cover_raw, settings_in_force,
};
use objc2_network_extension::{
    NEFilterAction, NEFilterDataProvider, NEFilterSettings, NENetworkRuleProtocol,
    NETrafficDirection,
};

use crate::filter::{Habit, filter, settings};

/// Applies settings as the provider would, and returns the code of the error.
fn apply(provider: &Provider, settings: Option<&NEFilterSettings>) -> Option<isize> {
    answer_apply_settings(Answer::OK.when(When::AtOnce));
    let (sender, answers) = std::sync::mpsc::channel();
    autoreleasepool(|_| {
        let object = provider
            .object()
            .downcast_ref::<NEFilterDataProvider>()
            .unwrap();
        let done = RcBlock::new(move |error: *mut NSError| {
            // SAFETY: it is nil, or an error that lives through the call.
            let code = unsafe { error.as_ref() }.map(|error| error.code());
            sender.send(code).unwrap();
        });
        // SAFETY: these methods ask nothing of their callers.
        unsafe { object.applySettings_completionHandler(settings, &done) };
    });
    answers.recv().unwrap()
}

fn to(address: &str) -> FlowSpec {
    FlowSpec {
        remote: Some(Endpoint::host(address, 80)),
        ..FlowSpec::outbound_tcp(1)
    }
}

#[test]
fn without_settings_everything_but_loopback_is_asked_about() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let asked = |address| provider.offer(&Flow::new(&to(address))).is_ok();
    assert!(asked("192.0.2.1") && asked("2001:db8::1"));
    assert!(!asked("127.0.0.1") && !asked("::1"));
    assert_eq!(apply(&provider, None), None);
    assert!(settings_in_force().unwrap().is_nil);
    assert!(asked("192.0.2.1") && !asked("127.0.0.1"));
}

#[test]
fn loopback_is_asked_about_when_a_rule_names_it() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let loopback = settings(
        &[("127.0.0.0", 8), ("::1", 128)],
        NEFilterAction::FilterData,
    );
    assert_eq!(apply(&provider, Some(&loopback)), None);
    let asked = |spec: &FlowSpec| provider.offer(&Flow::new(spec)).is_ok();
    assert!(asked(&to("127.0.0.1")) && asked(&to("127.9.9.9")) && asked(&to("::1")));
    assert!(asked(&to("192.0.2.1")));
    let inbound = FlowSpec {
        direction: NETrafficDirection::Inbound,
        ..to("127.0.0.1")
    };
    assert!(!asked(&inbound), "the rule is for the other direction");

    let everything = settings(&[("0.0.0.0", 0)], NEFilterAction::FilterData);
    assert_eq!(apply(&provider, Some(&everything)), None);
    assert!(
        !asked(&to("127.0.0.1")),
        "a wildcard does not name loopback"
    );
}

#[test]
fn a_filter_that_stands_aside_is_asked_about_nothing() {
    let _alone = alone();
    let provider = filter(Habit::StandsAside);
    assert_eq!(provider.start().wait_for_end(), [None]);
    let offered = |spec: &FlowSpec| provider.offer(&Flow::new(spec));
    assert_eq!(offered(&to("192.0.2.1")), Err(NEFilterAction::Allow));
    assert_eq!(
        offered(&FlowSpec::outbound_icmp(1)),
        Err(NEFilterAction::Allow)
    );
    assert!(
        offered(&to("192.0.2.255")).is_ok(),
        "the one rule the system demands"
    );
}

#[test]
fn settings_beyond_the_limits_are_refused() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let none = settings(&[], NEFilterAction::Allow);
    assert_eq!(apply(&provider, Some(&none)), Some(1));
    let many = vec![("192.0.2.1", 32); RULES_MAX + 1];
    let too_many = settings(&many, NEFilterAction::FilterData);
    assert_eq!(apply(&provider, Some(&too_many)), Some(1));
    assert_eq!(settings_in_force(), None);
    let most = settings(&many[1..], NEFilterAction::Drop);
    assert_eq!(apply(&provider, Some(&most)), None);
    let validity: Vec<bool> = applied_settings().iter().map(|one| one.is_valid).collect();
    assert_eq!(validity, [false, false, true]);
}

#[test]
fn whether_any_protocol_covers_raw_sockets_is_a_switch() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let network = settings(&[("192.0.2.0", 24)], NEFilterAction::Allow);
    assert_eq!(apply(&provider, Some(&network)), None);
    let echo = Flow::new(&FlowSpec::outbound_icmp(1));
    assert!(provider.offer(&echo).is_ok());
    let_any_protocol_cover_raw(false);
    assert_eq!(provider.offer(&echo), Err(NEFilterAction::Allow));
}

#[test]
fn applied_rules_can_be_read() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let network = settings(&[("127.0.0.0", 8)], NEFilterAction::FilterData);
    assert_eq!(apply(&provider, Some(&network)), None);
    let applied = applied_settings().pop().unwrap();
    assert_eq!(applied.default_action, NEFilterAction::FilterData);
    let rule = &applied.rules[0];
    assert_eq!(rule.action, NEFilterAction::FilterData);
    assert_eq!(
        rule.network.remote,
        Some(("127.0.0.0".to_owned(), String::new()))
    );
    assert_eq!(
        (rule.network.remote_prefix, &rule.network.local),
        (8, &None)
    );
    assert_eq!(rule.network.protocol, NENetworkRuleProtocol::Any);
    assert_eq!(rule.network.direction, NETrafficDirection::Outbound);
}
