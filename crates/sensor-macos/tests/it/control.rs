//! Starting, stopping, sleeping.

use crate::stage::{SECOND_NS, START, Stage, pass};
use flow::Event;
use objc2_network_extension::NEFilterReportEvent;
use objc2_network_extension::NEProviderStopReason;
use objc2_network_extension::driver::{
    Flow, FlowSpec, LaunchError, Provider, applied_settings, system_extension_mode_starts,
};
use record::{LossCause, LostKind, Mono};
use sensor_macos::{PROVIDER_CLASS, run_system_extension};

fn is_start(event: &Event) -> bool {
    matches!(event, Event::SensorStarted { .. })
}

fn is_stop(event: &Event) -> bool {
    matches!(event, Event::SensorStopped { .. })
}

// facts: class-registered-before-mode
#[test]
fn the_class_is_there_before_the_system_asks_for_it() {
    let stage = Stage::new();
    assert_eq!(system_extension_mode_starts(), 0);
    run_system_extension();
    assert_eq!(system_extension_mode_starts(), 1);
    assert_eq!(PROVIDER_CLASS, "ConntrailFilterProvider");
    let other = Provider::launch("ConntrailOtherProvider").err();
    assert_eq!(other, Some(LaunchError::NoSuchClass));
    drop(stage);
}

// facts: start-must-not-wait, rule-4-start-at-once, rule-5-default-settings
#[test]
fn starting_answers_before_it_returns_and_changes_no_settings() {
    let stage = Stage::new();
    let completion = stage.provider().start();
    assert_eq!(completion.wait_for_end(), [None]);
    let call = &completion.calls()[0];
    assert_eq!(call.thread, std::thread::current().id());
    assert!(call.after_ns <= completion.returned_after_ns);
    assert_eq!(applied_settings(), []);
}

// facts: start-called-twice, start-twice-26, rule-4-start-at-once
#[test]
fn a_second_start_answers_too_and_is_told_as_such() {
    let mut stage = Stage::new();
    stage.start();
    stage.events.clear();
    for _ in 0..2 {
        assert_eq!(stage.provider().start().wait_for_end(), [None]);
        stage.until_limited("again while it ran");
    }
    assert!(!stage.events.iter().any(is_start));
    let flow = stage.offer(&FlowSpec::outbound_tcp(1));
    stage.until_opened(&flow);
}

// facts: stop-reasons, stop-reasons-that-arrive/a, stop-reasons-that-arrive/b, disabled-by-the-user
#[test]
fn every_reason_to_stop_is_told_in_words() {
    let mut stage = Stage::new();
    let mut reasons = Vec::new();
    for number in (0..=17).chain([18, -1]) {
        stage.start();
        stage.stop(NEProviderStopReason(number));
        let Event::SensorStopped { reason, .. } = stage.until("stopped", is_stop) else {
            unreachable!();
        };
        reasons.push(reason);
        stage.until("unwatched", |event| {
            matches!(event, Event::Unwatched { .. })
        });
    }
    assert_eq!(reasons[5], "the provider was disabled");
    assert_eq!(reasons[16], "the app is being updated");
    assert!(reasons[18].contains("not documented (18)"));
    assert!(reasons[19].contains("not documented (-1)"));
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons.len(), 20, "each has its own words");
}

// facts: stop-reasons
#[test]
fn what_came_before_a_stop_is_told_before_it_and_what_came_after_does_not_stay_open() {
    let mut stage = Stage::new();
    stage.start();
    let before = stage.offer(&FlowSpec::outbound_tcp(1));
    pass(1);
    stage.stop(NEProviderStopReason::ConfigurationRemoved);
    pass(1);
    let after = stage.offer(&FlowSpec::outbound_tcp(2));
    stage.until_opened(&before);
    stage.until("stopped", is_stop);
    let unwatched = stage.until("unwatched", |it| matches!(it, Event::Unwatched { .. }));
    let moment = Mono(START.0 + SECOND_NS);
    assert_eq!(unwatched, Event::Unwatched { before: moment });
    let opened = stage.until_opened(&after);
    let unwatched = stage.until("unwatched", |it| matches!(it, Event::Unwatched { .. }));
    assert!(matches!(unwatched, Event::Unwatched { before } if before > opened.at));
}

#[test]
fn a_filter_that_starts_again_after_a_stop_is_a_start_of_its_own() {
    let mut stage = Stage::new();
    stage.start();
    stage.stop(NEProviderStopReason::UserInitiated);
    stage.until("stopped", is_stop);
    assert_eq!(stage.provider().start().wait_for_end(), [None]);
    let Event::SensorStarted { limits, .. } = stage.until("started", is_start) else {
        unreachable!();
    };
    assert!(
        !limits
            .iter()
            .any(|limit| limit.contains("until macOS starts"))
    );
}

#[test]
fn a_stop_of_what_does_not_run_is_told_as_such() {
    let mut stage = Stage::new();
    stage.stop(NEProviderStopReason::UserInitiated);
    let limit = stage.until_limited("did not run");
    assert!(limit.ends_with("the user stopped the filter"));
}

// facts: sleep-and-wake, sleep-in-mid-flow, rule-11-continuous-clock
#[test]
fn sleep_is_told_with_its_length_and_flows_go_on_after_it() {
    let mut stage = Stage::new();
    stage.start();
    let flow = stage.offer(&FlowSpec::outbound_tcp(1));
    assert_eq!(stage.provider().sleep().wait_for_end(), [None]);
    assert_eq!(stage.provider().sleep().wait_for_end(), [None], "told once");
    stage.until("sleeping", |event| matches!(event, Event::Sleeping));
    pass(7_200);
    stage.provider().wake();
    let slept = stage.until("slept", |event| matches!(event, Event::Slept { .. }));
    let duration_ns = 7_200 * SECOND_NS;
    assert_eq!(slept, Event::Slept { duration_ns });
    let read = stage.until("read", |event| matches!(event, Event::ClockRead { .. }));
    assert!(matches!(read, Event::ClockRead { mono, .. }
        if mono == Mono(START.0 + duration_ns)));
    assert!(!stage.events.contains(&Event::Sleeping));
    let provider = stage.provider();
    provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 1, 1);
    stage.until_closed(&flow);
    stage.provider().wake();
    stage.settle();
    assert!(
        !stage
            .events
            .iter()
            .any(|it| matches!(it, Event::Slept { .. }))
    );
}

// facts: udp-explosion, rule-10-bounded
#[test]
fn what_does_not_fit_into_the_queue_is_counted_and_let_through() {
    let mut stage = Stage::with(|options| options.queue_capacity = 4);
    let flows: Vec<Flow> = (1..=6)
        .map(|number| stage.offer(&FlowSpec::outbound_udp(number)))
        .collect();
    let provider = stage.provider();
    provider.report(Some(&flows[0]), NEFilterReportEvent::Statistics, 1, 1);
    for flow in &flows[..3] {
        provider.report(Some(flow), NEFilterReportEvent::FlowClosed, 1, 1);
    }
    stage.settle();
    let opened = stage
        .events
        .iter()
        .filter(|it| matches!(it, Event::Opened(_)));
    assert_eq!(opened.count(), 4);
    assert_eq!(stage.lost(LossCause::QueueFull, LostKind::Opens), 2);
    assert_eq!(stage.lost(LossCause::QueueFull, LostKind::Events), 1);
    assert_eq!(stage.lost(LossCause::QueueFull, LostKind::Closes), 3);
    assert_eq!(flows[5].retain_count(), 1);
}

// facts: class-registered-before-mode, rule-3-panics-caught
#[test]
fn without_a_sensor_everything_is_let_through_and_answered() {
    let mut stage = Stage::new();
    stage.sensor = None;
    let orphan = Provider::launch(PROVIDER_CLASS).unwrap();
    for provider in [&orphan, stage.provider()] {
        assert_eq!(provider.start().wait_for_end(), [None]);
        let flow = Flow::new(&FlowSpec::outbound_tcp(1));
        assert!(provider.new_flow(&flow).is_observed());
        provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 1, 1);
        assert_eq!(provider.sleep().wait_for_end(), [None]);
        provider.wake();
        let stopped = provider.stop(NEProviderStopReason::None);
        assert_eq!(stopped.wait_for_end(), [None]);
    }
}
