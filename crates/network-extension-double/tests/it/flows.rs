//! What providers see of flows, and what is seen of providers.

use objc_double::{Reaction, on_send, take_raised};
use objc2::sel;
use objc2_network_extension::driver::{
    Endpoint, Flow, FlowSpec, ReportSpec, SeenVerdict, VerdictKind, alone, forbidden_messages,
    set_os_version, verdicts_made,
};
use objc2_network_extension::{NEFilterAction, NEFilterReportEvent, NEFilterReportFrequency};

use crate::filter::{Habit, filter, told};
use crate::panic_text;

#[test]
fn everything_a_flow_was_given_is_seen() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let spec = FlowSpec {
        hostname: Some("exämple.org".to_owned()),
        url: Some("https://www.example.org/secret?path".to_owned()),
        process_token: Some(vec![1; 5]),
        ..FlowSpec::outbound_tcp(3).over_v6()
    };
    let flow = Flow::new(&spec);
    let seen = provider.new_flow(&flow);
    assert!(seen.is_observed());
    let words = told();
    let expected = "flow 3 2 Some(32) Some(5) Some(\"www.example.org\") \
                    Some(\"2001:db8::1 443\") Some(\":: 0\") Some(\"exämple.org\") 30 1 6";
    assert_eq!(words, [expected]);
    assert_eq!(flow.retain_count(), 1);
}

#[test]
fn what_may_be_nil_is_nil() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let bare = FlowSpec::inbound_tcp(4).with_nothing_optional();
    assert!(provider.new_flow(&Flow::new(&bare)).is_observed());
    assert_eq!(told(), ["flow 4 1 None None None None None None 2 1 6"]);
    let odd = FlowSpec {
        remote: Some(Endpoint::Service {
            name: "printer".to_owned(),
        }),
        ..bare.clone()
    };
    assert!(provider.new_flow(&Flow::new(&odd)).is_observed());
    assert_eq!(
        told(),
        ["flow 4 1 None None None Some(\"no host\") None None 2 1 6"]
    );
    let browser = FlowSpec {
        is_browser: true,
        ..bare
    };
    assert!(provider.new_flow(&Flow::new(&browser)).is_observed());
    assert_eq!(told(), ["flow 4 1 None None None"]);
}

#[test]
fn a_flow_without_an_identifier_panics_in_whoever_asks() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let nameless = FlowSpec {
        has_identifier: false,
        ..FlowSpec::outbound_tcp(1)
    };
    let flow = Flow::new(&nameless);
    let text = panic_text(|| provider.new_flow(&flow));
    assert!(text.contains("identifier"), "{text}");
}

#[test]
fn what_comes_late_is_seen_late() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let flow = Flow::new(&FlowSpec::outbound_tcp(5).with_nothing_optional());
    let event = NEFilterReportEvent::Statistics;
    provider.report(Some(&flow), event, 10, 20);
    flow.set_local(Some(&Endpoint::host("192.0.2.7", 50_123)));
    flow.set_remote(Some(&Endpoint::host("192.0.2.1", 443)));
    flow.set_hostname(Some("late.example"));
    provider.report(Some(&flow), event, 10, 20);
    flow.set_local(None);
    provider.report_as(&ReportSpec {
        flow: None,
        event: NEFilterReportEvent::FlowClosed,
        action: NEFilterAction::Allow,
        bytes_inbound: usize::MAX,
        bytes_outbound: 0,
    });
    let expected = [
        "report 4 10 20 Some(\"flow 5 2 None None None None None None 2 1 6\")".to_owned(),
        "report 4 10 20 Some(\"flow 5 2 None None None Some(\\\"192.0.2.1 443\\\") \
         Some(\\\"192.0.2.7 50123\\\") Some(\\\"late.example\\\") 2 1 6\")"
            .to_owned(),
        format!("report 3 {} 0 None", usize::MAX),
    ];
    assert_eq!(told(), expected);
}

#[test]
fn a_wrong_verdict_is_seen_and_counted() {
    let _alone = alone();
    let provider = filter(Habit::Drops);
    let seen = provider.new_flow(&Flow::new(&FlowSpec::outbound_udp(1)));
    assert!(!seen.is_observed());
    let expected = SeenVerdict {
        kind: VerdictKind::Drop,
        should_report: false,
        frequency: NEFilterReportFrequency::None,
        elapsed_ns: seen.elapsed_ns,
    };
    assert_eq!(seen, expected);
    assert_eq!(verdicts_made(VerdictKind::Drop), 1);
    assert_eq!(verdicts_made(VerdictKind::Allow), 0);
    let others = VerdictKind::FORBIDDEN.into_iter().skip(1);
    assert!(others.into_iter().all(|kind| verdicts_made(kind) == 0));
}

#[test]
fn a_hoarded_flow_is_seen_at_the_flow_and_in_the_accounts() {
    let alone = alone();
    let provider = filter(Habit::Hoards);
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    provider.new_flow(&flow);
    assert_eq!(flow.retain_count(), 2);
    drop(flow);
    let leaks = alone.leaks();
    let expected = "NEFilterSocketFlow: 1 objects, 1 references";
    assert!(leaks.contains(&expected.to_owned()), "{leaks:?}");
}

#[test]
fn a_message_that_holds_traffic_is_noted() {
    let _alone = alone();
    let provider = filter(Habit::Resumes);
    provider.new_flow(&Flow::new(&FlowSpec::outbound_tcp(1)));
    assert_eq!(forbidden_messages(), ["resumeFlow:withVerdict:"]);
}

#[test]
fn the_messages_of_one_callback_are_recorded() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    let (seen, sent) = provider.new_flow_recorded(&flow);
    assert!(seen.is_observed());
    assert_eq!(
        sent.iter().filter(|name| **name == "allowVerdict").count(),
        1
    );
    assert!(sent.contains(&"sourceProcessAuditToken"));
    assert!(!sent.contains(&"handleNewFlow:"));
    let last = [
        "allowVerdict",
        "setShouldReport:",
        "setStatisticsReportFrequency:",
    ];
    assert_eq!(sent[sent.len() - 3..], last);
}

#[test]
fn the_messages_about_a_report_are_recorded() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let sent = provider.report_recorded(&ReportSpec {
        flow: None,
        event: NEFilterReportEvent::FlowClosed,
        action: NEFilterAction::Allow,
        bytes_inbound: 1,
        bytes_outbound: 2,
    });
    assert_eq!(
        sent,
        ["event", "bytesInboundCount", "bytesOutboundCount", "flow"]
    );
}

#[test]
fn a_message_can_be_made_to_fail() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    on_send("direction", Reaction::Panic("no direction"));
    assert_eq!(panic_text(|| provider.new_flow(&flow)), "no direction");
}

#[test]
fn an_older_system_lacks_what_came_later() {
    let alone = alone();
    let flow = Flow::new(&FlowSpec::outbound_tcp(1));
    let answers = |selector| objc_double::responds_to(flow.object(), selector);
    assert!(answers(sel!(remoteFlowEndpoint)) && answers(sel!(sourceProcessAuditToken)));
    set_os_version(13, 6);
    assert!(!answers(sel!(localFlowEndpoint)) && answers(sel!(sourceProcessAuditToken)));
    assert!(answers(sel!(localEndpoint)));
    set_os_version(12, 0);
    assert!(!answers(sel!(sourceProcessAuditToken)));
    let provider = filter(Habit::Good);
    let text = panic_text(|| provider.new_flow(&flow));
    assert!(text.contains("sourceProcessAuditToken"), "{text}");
    drop((flow, provider));
    take_raised();
    assert_eq!(alone.leaks(), [""; 0]);
}

#[test]
fn eight_threads_bring_flows_at_once() {
    let _alone = alone();
    let provider = filter(Habit::Good);
    let shared = Flow::new(&FlowSpec::outbound_udp(1));
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (provider, shared) = (&provider, &shared);
            scope.spawn(move || {
                for number in 0..200 {
                    let flow = Flow::new(&FlowSpec::outbound_tcp(thread * 1000 + number));
                    assert!(provider.new_flow(&flow).is_observed());
                    assert!(provider.new_flow(shared).is_observed());
                    let event = NEFilterReportEvent::FlowClosed;
                    provider.report(Some(&flow), event, 1, 1);
                    assert_eq!(flow.retain_count(), 1);
                }
            });
        }
    });
    assert_eq!(shared.retain_count(), 1);
    assert_eq!(told().len(), 8 * 200 * 3);
}
