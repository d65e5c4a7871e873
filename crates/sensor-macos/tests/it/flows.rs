//! Flows from their beginning to their end.

use crate::stage::{ENOUGH, SECOND_NS, START, Stage, key, pass, set_wall_back};
use darwin_double::machine::{self, Process};
use flow::Event;
use objc2_network_extension::driver::{
    self, Endpoint, Flow, FlowSpec, Provider, VerdictKind, forbidden_messages, verdicts_made,
};
use objc2_network_extension::{NEFilterReportEvent, NEProviderStopReason};
use record::{
    ByteQuality, Direction, IdentitySource, LossCause, LostKind, Mono, Origin, Outcome, Protocol,
};
use sensor_macos::PROVIDER_CLASS;
use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

// facts: tcp-outbound-at-connect, local-endpoint-late, allow-and-report, rule-1-one-verdict
#[test]
fn a_connection_is_told_from_its_beginning_to_its_end() {
    let mut stage = Stage::new();
    let token = machine::add(Process::new(501).at("/usr/bin/curl"));
    stage.start();
    let flow = stage.offer(&FlowSpec {
        process_token: Some(token.to_vec()),
        app_token: Some(token.to_vec()),
        hostname: Some("example.org".to_owned()),
        ..FlowSpec::outbound_tcp(1)
    });
    let opened = stage.until_opened(&flow);
    assert_eq!(opened.at, START);
    assert_eq!(opened.tuple.protocol, Protocol::Tcp);
    assert_eq!(opened.tuple.direction, Direction::Outbound);
    assert_eq!(opened.tuple.remote.port, Some(443));
    assert_eq!(opened.tuple.local.port, None, "not bound yet");
    let owner = opened.owner.unwrap();
    assert_eq!(owner.process.pid, 501);
    assert_eq!(owner.attribution.source, IdentitySource::AuditToken);
    stage.until(
        "named",
        |event| matches!(event, Event::Named { hostname, .. } if &*hostname.name == "example.org"),
    );
    stage.until("introduced", |event| {
        matches!(event, Event::ProcessSeen(it)
            if it.process.key == owner.process
                && it.process.path.as_deref() == Some("/usr/bin/curl"))
    });

    pass(5);
    flow.set_local(Some(&Endpoint::host("192.0.2.7", 50_123)));
    let provider = stage.provider();
    provider.report(Some(&flow), NEFilterReportEvent::Statistics, 9_000, 80);
    let updated = stage.until("updated", |event| matches!(event, Event::Updated { .. }));
    let Event::Updated {
        traffic, flow: now, ..
    } = updated
    else {
        unreachable!();
    };
    assert_eq!(
        (traffic.bytes_in, traffic.bytes_out),
        (Some(9_000), Some(80))
    );
    assert_eq!(now.unwrap().tuple.local.port, Some(50_123));

    pass(1);
    let provider = stage.provider();
    provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 9_500, 90);
    let closed = stage.until_closed(&flow);
    assert_eq!(closed.at, Mono(START.0 + 6 * SECOND_NS));
    assert_eq!(closed.traffic.bytes_in, Some(9_500));
    assert_eq!(closed.traffic.quality, ByteQuality::Exact);
    assert_eq!(closed.ending.outcome, Outcome::Unknown);
    assert_eq!(closed.tuple.local.port, Some(50_123));
    assert_eq!(flow.retain_count(), 1, "nobody holds it");

    stage.stop(NEProviderStopReason::UserInitiated);
    let stopped = stage.until("stopped", |event| {
        matches!(event, Event::SensorStopped { .. })
    });
    assert!(matches!(stopped, Event::SensorStopped { reason, .. }
        if reason == "the user stopped the filter"));
    stage.until("unwatched", |event| {
        matches!(event, Event::Unwatched { .. })
    });
}

// facts: rule-1-one-verdict, peek-stalls-smb, packet-provider-costs
#[test]
fn every_kind_of_flow_is_let_through_and_no_byte_of_it_is_asked_for() {
    let stage = Stage::new();
    let kinds = [
        FlowSpec::outbound_tcp(1),
        FlowSpec::inbound_tcp(2),
        FlowSpec::outbound_udp(3),
        FlowSpec::outbound_icmp(4),
        FlowSpec::outbound_tcp(5).over_v6(),
        FlowSpec::outbound_tcp(6).with_nothing_optional(),
        FlowSpec {
            is_browser: true,
            ..FlowSpec::outbound_tcp(7)
        },
        FlowSpec {
            has_identifier: false,
            ..FlowSpec::outbound_tcp(8)
        },
    ];
    for spec in &kinds {
        stage.offer(spec);
    }
    for kind in VerdictKind::FORBIDDEN {
        assert_eq!(verdicts_made(kind), 0, "{kind:?}");
    }
    assert_eq!(verdicts_made(VerdictKind::Allow), kinds.len() as u64);
    assert_eq!(forbidden_messages(), [""; 0]);
    assert_eq!(stage.provider().payload_methods(), [""; 0]);
}

// facts: rule-2-constant-work, flow-url-is-content, connect-waits-for-verdict
#[test]
fn a_new_flow_costs_these_messages_and_no_others() {
    let allowed = BTreeSet::from([
        "allowVerdict",
        "autorelease",
        "bytes",
        "dealloc",
        "direction",
        "UTF8String",
        "getUUIDBytes:",
        "hostname",
        "identifier",
        "isKindOfClass:",
        "length",
        "localEndpoint",
        "port",
        "release",
        "remoteEndpoint",
        "remoteHostname",
        "retain",
        "setShouldReport:",
        "setStatisticsReportFrequency:",
        "socketProtocol",
        "socketType",
        "sourceAppAuditToken",
        "sourceProcessAuditToken",
    ]);
    let stage = Stage::new();
    let flow = Flow::new(&FlowSpec {
        hostname: Some("example.org".to_owned()),
        url: Some("https://example.org/secret".to_owned()),
        ..FlowSpec::outbound_tcp(1)
    });
    let (verdict, sent) = stage.provider().new_flow_recorded(&flow);
    assert!(verdict.is_observed());
    let sent_others: Vec<_> = sent.iter().filter(|it| !allowed.contains(*it)).collect();
    assert_eq!(sent_others, [&""; 0]);
    assert!(sent.len() < 64, "{sent:?}");
}

// facts: inbound-token-is-the-listeners, tcp-inbound-at-syn, no-listen-event
#[test]
fn a_connection_from_outside_names_the_user_of_the_listening_socket() {
    let mut stage = Stage::new();
    let flow = stage.offer(&FlowSpec::inbound_tcp(1));
    let opened = stage.until_opened(&flow);
    assert_eq!(opened.tuple.direction, Direction::Inbound);
    assert_eq!(opened.tuple.local.port, Some(22));
    assert_eq!(opened.tuple.remote.port, Some(50_000));
    let source = opened.owner.unwrap().attribution.source;
    assert_eq!(source, IdentitySource::ListenerToken);
}

// facts: process-token-needs-macos-13
#[test]
fn an_older_system_that_has_no_process_token_is_not_asked_for_it() {
    let mut stage = Stage::new();
    driver::set_os_version(12, 0);
    let provider = Provider::launch(PROVIDER_CLASS).unwrap();
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    let (verdict, sent) = provider.new_flow_recorded(&flow);
    assert!(verdict.is_observed());
    assert!(!sent.contains(&"sourceProcessAuditToken"));
    let opened = stage.until_opened(&flow);
    assert_eq!(opened.owner.unwrap().process.pid, 1_001, "the app's");
}

// facts: endpoint-may-be-nil, token-missing-or-odd, hostname-sometimes
#[test]
fn a_flow_that_says_nothing_is_told_all_the_same() {
    let mut stage = Stage::new();
    let flow = stage.offer(&FlowSpec::outbound_tcp(1).with_nothing_optional());
    let opened = stage.until_opened(&flow);
    assert_eq!(opened.owner, None);
    assert_eq!(opened.tuple.remote.address, None);
    assert_eq!(opened.tuple.local.address, None);
}

// facts: endpoint-may-be-nil
#[test]
fn endpoints_that_are_no_addresses_are_not_taken_for_some() {
    let mut stage = Stage::new();
    let service = Endpoint::Service {
        name: "printer".to_owned(),
    };
    let flow = stage.offer(&FlowSpec {
        remote: Some(service),
        local: Some(Endpoint::Host {
            address: "192.0.2.7".to_owned(),
            port: "https".to_owned(),
        }),
        ..FlowSpec::outbound_tcp(1)
    });
    let opened = stage.until_opened(&flow);
    assert_eq!(opened.tuple.remote.address, None);
    assert!(opened.tuple.local.address.is_some());
    assert_eq!(opened.tuple.local.port, None);
    stage.settle();
    assert_eq!(stage.lost(LossCause::Malformed, LostKind::Events), 2);
}

// facts: explicit-proxy, hostname-sometimes
#[test]
fn a_name_in_the_place_of_the_remote_address_is_told_as_the_name() {
    let mut stage = Stage::new();
    let flow = stage.offer(&FlowSpec {
        remote: Some(Endpoint::host("proxy.example.org", 3_128)),
        ..FlowSpec::outbound_tcp(1)
    });
    let opened = stage.until_opened(&flow);
    assert_eq!(opened.tuple.remote.address, None);
    assert_eq!(opened.tuple.remote.port, Some(3_128));
    stage.until("named", |event| {
        matches!(event, Event::Named { key: it, hostname }
            if *it == key(&flow) && &*hostname.name == "proxy.example.org")
    });
}

// facts: hostname-sometimes, rule-10-bounded
#[test]
fn a_name_that_is_longer_than_any_name_is_counted_and_not_told() {
    let mut stage = Stage::new();
    for (number, length) in [(1, 255), (2, 256), (3, 100_000)] {
        stage.offer(&FlowSpec {
            hostname: Some("a".repeat(length)),
            ..FlowSpec::outbound_tcp(number)
        });
    }
    stage.settle();
    let named = stage
        .events
        .iter()
        .filter(|it| matches!(it, Event::Named { .. }));
    assert_eq!(named.count(), 1);
    assert_eq!(stage.lost(LossCause::Malformed, LostKind::Events), 2);
}

// facts: browser-flows-never
#[test]
fn a_flow_of_no_socket_is_counted_as_not_tracked() {
    let mut stage = Stage::new();
    stage.offer(&FlowSpec {
        is_browser: true,
        ..FlowSpec::outbound_tcp(1)
    });
    stage.settle();
    assert_eq!(stage.lost(LossCause::Malformed, LostKind::Connections), 1);
}

// facts: close-without-open
#[test]
fn a_close_of_a_flow_that_was_never_offered_tells_what_it_knows() {
    let mut stage = Stage::new();
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    let provider = stage.provider();
    provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 5, 6);
    let closed = stage.until_closed(&flow);
    assert_eq!(closed.origin, Origin::Inferred);
    assert_eq!(closed.tuple.remote.port, Some(443));
    assert_eq!(closed.owner.unwrap().process.pid, 1_001);
    assert_eq!(flow.retain_count(), 1);
}

// facts: report-without-flow, unknown-report-event, new-flow-reports/b
#[test]
fn reports_that_make_no_sense_are_counted() {
    let mut stage = Stage::new();
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    let provider = stage.provider();
    provider.report(None, NEFilterReportEvent::FlowClosed, 0, 0);
    provider.report(None, NEFilterReportEvent::Statistics, 0, 0);
    provider.report(Some(&flow), NEFilterReportEvent(77), 0, 0);
    provider.report(Some(&flow), NEFilterReportEvent::NewFlow, 0, 0);
    provider.report(Some(&flow), NEFilterReportEvent::DataDecision, 0, 0);
    stage.settle();
    assert_eq!(stage.lost(LossCause::Malformed, LostKind::Closes), 1);
    assert_eq!(stage.lost(LossCause::Malformed, LostKind::Events), 2);
    stage.until_limited("\"new flow\"");
    stage.until_limited("\"data decision\"");
}

// facts: bytes-are-payload
#[test]
fn counts_of_any_size_arrive_whole() {
    let mut stage = Stage::new();
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    let provider = stage.provider();
    provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, usize::MAX, 0);
    let closed = stage.until_closed(&flow);
    assert_eq!(closed.traffic.bytes_in, Some(u64::MAX));
}

// facts: concurrent-callbacks/b
#[test]
fn callbacks_from_eight_threads_at_once_are_all_told() {
    const EACH: u64 = 250;
    let mut stage = Stage::new();
    stage.start();
    let shared = Flow::new(&FlowSpec::outbound_tcp(9_999_999));
    let provider = stage.provider.take().unwrap();
    let mut opened = BTreeSet::new();
    thread::scope(|scope| {
        for thread in 0..8 {
            let (provider, shared) = (&provider, &shared);
            scope.spawn(move || {
                for each in 0..EACH {
                    let flow = Flow::new(&FlowSpec::outbound_tcp(thread * EACH + each));
                    assert!(provider.new_flow(&flow).is_observed());
                    provider.report(Some(shared), NEFilterReportEvent::Statistics, 1, 1);
                    provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 1, 1);
                }
            });
        }
        let deadline = Instant::now() + ENOUGH;
        let mut closed = 0;
        while closed < 8 * EACH && Instant::now() < deadline {
            stage.poll();
            for event in stage.events.drain(..) {
                // Two thousand processes at once are more than are looked up.
                let is_loss = matches!(&event, Event::Lost { what, .. }
                    if *what != LostKind::Processes);
                assert!(!is_loss, "{event:?}");
                closed += u64::from(matches!(event, Event::Closed(_)));
                if let Event::Opened(it) = event {
                    assert!(opened.insert(it.key), "told twice");
                }
            }
        }
        assert_eq!(closed, 8 * EACH);
    });
    assert_eq!(opened.len() as u64, 8 * EACH);
    assert_eq!(shared.retain_count(), 1);
}

// facts: wall-clock-back, rule-11-continuous-clock
#[test]
fn a_wall_clock_that_goes_back_shows_in_the_next_reading() {
    let mut stage = Stage::new();
    stage.start();
    stage.events.clear();
    set_wall_back(3_600);
    pass(60);
    let read = stage.until("read", |event| matches!(event, Event::ClockRead { .. }));
    let Event::ClockRead { mono, wall } = read else {
        unreachable!();
    };
    assert_eq!(mono, Mono(START.0 + 60 * SECOND_NS));
    assert_eq!(wall.0, (1_700_000_000 + 60 - 3_600) * SECOND_NS as i64);
}

// facts: rule-15-blind-spots
#[test]
fn the_first_poll_tells_what_a_filter_does_not_see() {
    let mut stage = Stage::new();
    stage.poll();
    let is_start = |event: &Event| matches!(event, Event::SensorStarted { .. });
    let Event::SensorStarted { limits, .. } = stage.until("started", is_start) else {
        unreachable!();
    };
    for words in [
        "there before the filter",
        "raw Ethernet",
        "Private Relay",
        "mDNSResponder",
        "refused",
        "zero bytes",
        "with itself",
        "until macOS starts the filter",
    ] {
        assert!(limits.iter().any(|limit| limit.contains(words)), "{words}");
    }
}
