//! Panics and stalls, wherever they come from: a flow is let through whatever happens to us.

use crate::stage::{ENOUGH, Stage, break_clock};
use flow::Event;
use objc_double::{Reaction, clear_reactions, on_send};
use objc2_network_extension::driver::{Flow, FlowSpec};
use objc2_network_extension::{NEFilterReportEvent, NEProviderStopReason};
use record::{LossCause, LostKind};
use sensor_macos::Sensor;
use std::panic;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs `work` without the noise of its panics.
fn quietly(work: impl FnOnce()) {
    static HOOK: Mutex<()> = Mutex::new(());
    let _hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(panic::AssertUnwindSafe(work));
    panic::set_hook(before);
    if let Err(payload) = result {
        let text = payload.downcast_ref::<String>().map_or("?", String::as_str);
        panic!("{text}");
    }
}

// facts: rule-3-panics-caught, crash-resets-connections
#[test]
fn a_panic_at_any_message_about_a_flow_still_lets_it_through() {
    let messages = [
        "identifier",
        "getUUIDBytes:",
        "direction",
        "sourceAppAuditToken",
        "sourceProcessAuditToken",
        "bytes",
        "remoteEndpoint",
        "localEndpoint",
        "hostname",
        "port",
        "UTF8String",
        "remoteHostname",
        "socketType",
        "socketProtocol",
    ];
    for message in messages {
        let mut stage = Stage::new();
        quietly(|| {
            on_send(message, Reaction::Panic("a fault"));
            let flow = stage.offer(&FlowSpec {
                hostname: Some("example.org".to_owned()),
                // So that its type is asked for, too.
                protocol: 0,
                ..FlowSpec::outbound_tcp(1)
            });
            let provider = stage.provider();
            provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 1, 1);
            assert_eq!(flow.retain_count(), 1, "{message}");
            clear_reactions();
        });
        stage.settle();
        assert_eq!(
            stage.lost(LossCause::Fault, LostKind::Events),
            2,
            "{message}"
        );
        let flow = stage.offer(&FlowSpec::outbound_tcp(2));
        stage.until_opened(&flow);
    }
}

// facts: rule-3-panics-caught
#[test]
fn a_panic_in_any_callback_is_counted_and_the_callback_is_answered() {
    let mut stage = Stage::new();
    quietly(|| {
        break_clock(true);
        let provider = stage.provider();
        let flow = Flow::new(&FlowSpec::outbound_tcp(1));
        assert!(provider.new_flow(&flow).is_observed());
        provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 1, 1);
        assert_eq!(provider.start().wait_for_end(), [None]);
        assert_eq!(provider.sleep().wait_for_end(), [None]);
        provider.wake();
        let stopped = provider.stop(NEProviderStopReason::None);
        assert_eq!(stopped.wait_for_end(), [None]);
        break_clock(false);
    });
    stage.settle();
    assert_eq!(stage.lost(LossCause::Fault, LostKind::Events), 6);
    stage.start();
    let flow = stage.offer(&FlowSpec::outbound_tcp(2));
    stage.until_opened(&flow);
}

// facts: rule-3-panics-caught, settings-answer/b
#[test]
fn a_panic_while_settings_are_made_or_answered_is_counted() {
    for message in [
        "applySettings:completionHandler:",
        "code",
        "filterConfiguration",
    ] {
        let mut stage = Stage::new();
        quietly(|| {
            crate::stage::set_profile(&[("loopback", true)]);
            let refusal = objc2_network_extension::driver::Answer::error("NEFilterErrorDomain", 1);
            objc2_network_extension::driver::answer_apply_settings(refusal);
            on_send(message, Reaction::Panic("a fault"));
            let started = stage.provider().start().wait_for_end();
            objc2_network_extension::driver::settle();
            clear_reactions();
            assert_eq!(started, [None], "{message}");
        });
        stage.settle();
        assert!(
            stage.lost(LossCause::Fault, LostKind::Events) >= 1,
            "{message}"
        );
    }
}

// facts: hung-filter-hangs-connects, rule-2-constant-work
#[test]
fn a_sensor_that_hangs_does_not_make_a_flow_wait() {
    let mut stage = Stage::new();
    stage.start();
    // Nobody polls: the queue fills, and what does not fit is counted.
    let began = Instant::now();
    let flows = 20_000;
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    for _ in 0..flows {
        assert!(stage.provider().new_flow(&flow).is_observed());
    }
    assert!(began.elapsed() < ENOUGH);
    stage.events.clear();
    stage.settle();
    let told = stage
        .events
        .iter()
        .filter(|it| matches!(it, Event::Opened(_)));
    let told = told.count() as u64;
    assert_eq!(
        told + stage.lost(LossCause::QueueFull, LostKind::Opens),
        flows
    );
}

// facts: hung-filter-hangs-connects
#[test]
fn a_configuration_that_hangs_holds_up_nobody_but_the_sensor() {
    let mut stage = Stage::new();
    stage.start();
    on_send(
        "filterConfiguration",
        Reaction::Stall(Duration::from_secs(2)),
    );
    crate::stage::pass(2);
    let provider = stage.provider.take().unwrap();
    let mut sensor = stage.sensor.take().unwrap();
    std::thread::scope(|scope| {
        let sensor = scope.spawn(|| sensor.poll(Duration::ZERO, &mut Vec::new()));
        let mut slowest_ns = 0;
        while !sensor.is_finished() {
            let flow = Flow::new(&FlowSpec::outbound_tcp(1));
            slowest_ns = slowest_ns.max(provider.new_flow(&flow).elapsed_ns);
        }
        assert!(slowest_ns < 1_000_000_000, "{slowest_ns}");
    });
    clear_reactions();
}
