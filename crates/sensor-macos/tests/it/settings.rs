//! Loopback, the kill switch and the breaker.

use crate::stage::{Stage, pass, set_profile};
use darwin_double::machine;
use flow::Event;
use objc2_network_extension::NEFilterAction;
use objc2_network_extension::driver::{
    Answer, Endpoint, Flow, FlowSpec, When, answer_apply_settings, applied_settings, cue,
    let_any_protocol_cover_raw, settings_in_force,
};
use objc2_network_extension::{NEFilterManagerError, NEProviderStopReason};
use record::{BreakerCause, BreakerState, LossCause, LostKind};
use sensor_macos::FilterSettings;
use std::sync::Arc;
use std::time::Duration;

fn changed(state: BreakerState, cause: BreakerCause, crashes: u32) -> Event {
    Event::BreakerChanged {
        state,
        cause,
        crashes,
    }
}

fn loopback(number: u64, address: &str) -> Flow {
    Flow::new(&FlowSpec {
        remote: Some(Endpoint::host(address, 8_080)),
        local: Some(Endpoint::host(address, 0)),
        ..FlowSpec::outbound_tcp(number)
    })
}

/// Whether the system asks the filter about a flow of each kind.
fn asked(stage: &Stage) -> [bool; 5] {
    [
        loopback(1, "127.8.9.1"),
        loopback(2, "::1"),
        Flow::new(&FlowSpec::outbound_tcp(3)),
        Flow::new(&FlowSpec::outbound_udp(4).over_v6()),
        Flow::new(&FlowSpec::outbound_icmp(5)),
    ]
    .map(|flow| stage.provider().offer(&flow).is_ok())
}

// facts: loopback-not-delivered, rule-5-default-settings
#[test]
fn without_settings_all_but_loopback_is_asked_about() {
    let mut stage = Stage::new();
    stage.start();
    assert_eq!(asked(&stage), [false, false, true, true, true]);
    assert_eq!(applied_settings(), []);
}

// facts: loopback-not-delivered, raw-through-rules/a, raw-through-rules/b, settings-limits
#[test]
fn with_loopback_opted_in_everything_of_any_protocol_is_asked_about() {
    for any_covers_raw in [true, false] {
        let mut stage = Stage::with(|options| {
            let settings = FilterSettings {
                loopback: true,
                ..FilterSettings::default()
            };
            options.settings = settings;
            options.on_vendor_config = Arc::new(move |_| settings);
        });
        let_any_protocol_cover_raw(any_covers_raw);
        stage.start();
        assert_eq!(asked(&stage), [true; 5], "{any_covers_raw}");
        let applied = applied_settings();
        assert_eq!(applied.len(), 1);
        assert!(applied[0].is_valid);
        assert_eq!(applied[0].default_action, NEFilterAction::FilterData);
    }
}

// facts: settings-answer/a, settings-answer/b, start-must-not-wait
#[test]
fn starting_does_not_wait_for_the_answer_to_its_settings() {
    let answers = [
        Answer::NEVER,
        Answer::OK.when(When::AtOnce),
        Answer::OK.when(When::OnCue),
        Answer::OK.when(When::After(Duration::from_millis(50))),
        Answer::manager_error(NEFilterManagerError::ConfigurationInvalid),
    ];
    for answer in answers {
        let mut stage = Stage::new();
        set_profile(&[("loopback", true)]);
        answer_apply_settings(answer);
        stage.start();
        assert_eq!(applied_settings().len(), 1);
        cue();
    }
}

// facts: settings-answer/b
#[test]
fn a_refusal_and_a_silence_are_told_and_a_refusal_is_asked_again() {
    let mut stage = Stage::new();
    set_profile(&[("loopback", true)]);
    answer_apply_settings(Answer::error("NEFilterErrorDomain", 4));
    stage.start();
    let limit = stage.until_limited("refused");
    assert!(limit.contains("(error 4)"), "{limit}");
    pass(3);
    stage.settle();
    assert_eq!(applied_settings().len(), 1, "not so soon");
    answer_apply_settings(Answer::NEVER);
    pass(30);
    stage.settle();
    assert_eq!(applied_settings().len(), 2);
    pass(30);
    stage.until_limited("does not answer whether it will ask about connections of this");
    stage.settle();
    assert_eq!(applied_settings().len(), 2, "an answer may still come");
}

// facts: vendor-configuration, breaker-settings, private-relay-and-filter, no-network-after-wake
#[test]
fn the_kill_switch_of_a_profile_works_at_once_and_back() {
    let mut stage = Stage::new();
    stage.start();
    assert_eq!(asked(&stage), [false, false, true, true, true]);
    set_profile(&[("stand_aside", true)]);
    pass(2);
    let tripped = changed(BreakerState::Tripped, BreakerCause::Managed, 0);
    stage.until("tripped", |event| *event == tripped);
    stage.settle();
    assert_eq!(asked(&stage), [false; 5]);
    let in_force = settings_in_force().unwrap();
    assert_eq!(in_force.default_action, NEFilterAction::Allow);
    assert!(in_force.is_valid && !in_force.rules.is_empty());

    set_profile(&[]);
    pass(2);
    let healed = changed(BreakerState::Healed, BreakerCause::Managed, 0);
    stage.until("healed", |event| *event == healed);
    stage.settle();
    assert_eq!(asked(&stage), [false, false, true, true, true]);
    assert!(settings_in_force().unwrap().is_nil, "the system's own");
}

// facts: vendor-configuration, breaker-settings
#[test]
fn a_kill_switch_that_is_set_before_the_start_works_from_the_start() {
    let mut stage = Stage::new();
    set_profile(&[("stand_aside", true), ("loopback", true)]);
    stage.start();
    stage.settle();
    assert_eq!(asked(&stage), [false; 5]);
    let tripped = changed(BreakerState::Tripped, BreakerCause::Managed, 0);
    assert!(stage.events.contains(&tripped), "{:?}", stage.events);
}

// facts: vendor-configuration
#[test]
fn loopback_can_be_opted_in_and_out_while_the_filter_runs() {
    let mut stage = Stage::new();
    stage.start();
    set_profile(&[("loopback", true)]);
    pass(2);
    stage.until_limited("are asked for");
    stage.settle();
    assert_eq!(asked(&stage), [true; 5]);
    set_profile(&[("loopback", false)]);
    pass(2);
    stage.until_limited("are not seen");
    stage.settle();
    assert_eq!(asked(&stage), [false, false, true, true, true]);
}

#[test]
fn settings_are_given_again_to_a_filter_that_starts_again() {
    let mut stage = Stage::new();
    set_profile(&[("loopback", true)]);
    stage.start();
    stage.stop(NEProviderStopReason::UserInitiated);
    stage.until("stopped", |it| matches!(it, Event::SensorStopped { .. }));
    stage.start();
    assert_eq!(applied_settings().len(), 2);
}

#[test]
fn settings_that_panic_are_counted_and_nothing_is_changed() {
    let mut stage = Stage::with(|options| {
        options.on_vendor_config = Arc::new(|_| panic!("what a profile"));
    });
    stage.start();
    stage.settle();
    let faults = stage.lost(LossCause::Fault, LostKind::Events);
    pass(2);
    stage.settle();
    assert!(stage.lost(LossCause::Fault, LostKind::Events) > faults);
    assert_eq!(asked(&stage), [false, false, true, true, true]);
}

// facts: crash-resets-connections, crash-fail-mode/a, crash-fail-mode/b, quit-unexpectedly
// facts: breaker-settings
#[test]
fn after_three_crashes_the_filter_stands_aside_until_the_next_boot() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        stage.start();
        assert_eq!(asked(&stage), [false, false, true, true, true]);
        pass(30);
        stage.crash_and_launch();
    }
    let tripped = changed(BreakerState::Tripped, BreakerCause::Crashes, 3);
    stage.until("tripped", |event| *event == tripped);
    stage.start();
    assert_eq!(asked(&stage), [false; 5]);
    assert_eq!(settings_in_force().unwrap().rules.len(), 1);

    machine::set_text_variable(
        "kern.bootsessionuuid",
        "00000000-0000-0000-0000-000000000002",
    );
    stage.crash_and_launch();
    let healed = changed(BreakerState::Healed, BreakerCause::Boot, 3);
    stage.until("healed", |event| *event == healed);
    stage.start();
    let applied = settings_in_force();
    assert!(applied.is_none_or(|settings| settings.rules.len() == 1));
}

#[test]
fn a_stop_in_order_is_no_crash() {
    let mut stage = Stage::new();
    for _ in 0..4 {
        stage.start();
        stage.stop(NEProviderStopReason::ConfigurationDisabled);
        stage.until("stopped", |it| matches!(it, Event::SensorStopped { .. }));
        stage.settle();
        stage.crash_and_launch();
    }
    stage.settle();
    let is_breaker = |event: &Event| matches!(event, Event::BreakerChanged { .. });
    assert!(!stage.events.iter().any(is_breaker), "{:?}", stage.events);
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told_and_stops_nothing() {
    let mut stage = Stage::with(|options| {
        options.state_directory = Some("/nonexistent/conntrail".into());
    });
    stage.until_limited("The breaker cannot write");
    stage.start();
    let flow = stage.offer(&FlowSpec::outbound_tcp(1));
    stage.until_opened(&flow);
}
