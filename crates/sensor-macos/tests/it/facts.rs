//! What the fact page says and no other scenario shows: kinds of traffic, whose it is, what is not
//! seen, and both answers where nobody could tell us which is right.

use crate::stage::{ENOUGH, SECOND_NS, START, Stage, key, pass, set_profile};
use darwin_double::machine::{self, Code, FileKind, Process, Socket};
use flow::{Event, Introduction, Opened};
use objc2_network_extension::NEFilterReportEvent;
use objc2_network_extension::driver::{
    self, Answer, Endpoint, Flow, FlowSpec, Provider, answer_apply_settings,
};
use record::{NameSource, Origin, ProcessKey, Protocol, TcpCounts};
use sensor_macos::{FilterSettings, PROVIDER_CLASS, Sensor};
use std::time::{Duration, Instant};

/// Calls of the C library and of frameworks that can take long, those of the start included.
const SLOW_FUNCTIONS: [&str; 11] = [
    "proc_listallpids",
    "proc_pidinfo",
    "proc_pidfdinfo",
    "proc_pidpath",
    "proc_pidpath_audittoken",
    "SecCodeCopyGuestWithAttributes",
    "SecCodeCheckValidity",
    "SecCodeCopySigningInformation",
    "IOServiceGetMatchingService",
    "sysctl",
    "sysctlbyname",
];

/// Adds what happens to what the stage has, until it is enough.
fn gather(stage: &mut Stage, what: &str, is_enough: impl Fn(&[Event]) -> bool) {
    let deadline = Instant::now() + ENOUGH;
    while !is_enough(&stage.events) {
        assert!(Instant::now() < deadline, "not {what}: {:?}", stage.events);
        let sensor = stage.sensor.as_mut().unwrap();
        let timeout = Duration::from_millis(100);
        sensor.poll(timeout, &mut stage.events).unwrap();
    }
}

fn opened(events: &[Event]) -> Vec<Opened> {
    let opened = events.iter().filter_map(|event| match event {
        Event::Opened(opened) => Some(*opened),
        _ => None,
    });
    opened.collect()
}

fn introduced(events: &[Event], token: &[u8; 32]) -> Option<Introduction> {
    let key = process_key(token);
    events.iter().find_map(|event| match event {
        Event::ProcessSeen(introduction) if introduction.process.key == key => {
            Some(introduction.clone())
        }
        _ => None,
    })
}

fn gather_introduction(stage: &mut Stage, token: &[u8; 32]) -> Introduction {
    gather(stage, "introduced", |events| {
        introduced(events, token).is_some()
    });
    introduced(&stage.events, token).unwrap()
}

/// How the table will call the process of a token.
fn process_key(token: &[u8; 32]) -> ProcessKey {
    let word = |place: usize| u32::from_ne_bytes(*token[4 * place..].first_chunk().unwrap());
    ProcessKey {
        pid: word(5),
        start_ns: 0,
        exec_id: word(7),
    }
}

/// The flow is made by one process on behalf of another, or of itself.
fn by(process: &[u8; 32], app: &[u8; 32], spec: FlowSpec) -> FlowSpec {
    FlowSpec {
        process_token: Some(process.to_vec()),
        app_token: Some(app.to_vec()),
        ..spec
    }
}

fn limits_at_start(stage: &mut Stage) -> Vec<String> {
    let is_start = |event: &Event| matches!(event, Event::SensorStarted { .. });
    match stage.until("started", is_start) {
        Event::SensorStarted { limits, .. } => limits,
        other => unreachable!("{other:?}"),
    }
}

fn says(limits: &[String], words: &str) -> bool {
    limits.iter().any(|limit| limit.contains(words))
}

// facts: dns-belongs-to-the-resolver
#[test]
fn a_query_is_a_flow_of_the_resolver_and_the_app_that_asked_is_not_named() {
    let mut stage = Stage::new();
    let resolver = Process::new(300).at("/usr/sbin/mDNSResponder");
    let resolver = resolver.with_code(Code::platform("com.apple.mDNSResponder"));
    let token = machine::add(resolver);
    let limits = limits_at_start(&mut stage);
    assert!(says(&limits, "looked up by mDNSResponder"));
    let flow = stage.offer(&by(&token, &token, FlowSpec::outbound_udp(1)));
    let seen = gather_introduction(&mut stage, &token);
    assert_eq!(
        seen.process.path.as_deref(),
        Some("/usr/sbin/mDNSResponder")
    );
    assert_eq!(seen.process.signature.unwrap().platform, Some(true));
    let query = stage.until_opened(&flow);
    assert_eq!(query.tuple.protocol, Protocol::Udp);
    assert_eq!(query.tuple.remote.port, Some(53));
    let owner = query.owner.unwrap();
    assert_eq!(owner.process, process_key(&token));
    assert_eq!(owner.responsible, None);
}

fn with_a_guest(stage: &mut Stage) -> [u8; 32] {
    stage.sensor = None;
    stage.provider = None;
    let hypervisor = Process::new(700)
        .at("/usr/local/bin/hypervisor")
        .holding(Socket::vsock([2, 1_024], [3, 22]))
        .holding(Socket::unix("/var/run/guest"))
        .holding(Socket::kernel_control("com.apple.net.utun_control"))
        .holding(FileKind::CHANNEL)
        .holding(FileKind::VNODE)
        .holding(Socket::tcp("192.0.2.7:50001", "198.51.100.1:443"));
    let token = machine::add(hypervisor);
    stage.crash_and_launch();
    token
}

// facts: other-sockets-invisible, virtual-machines/b, snapshot-unknown-sockets
#[test]
fn what_is_no_internet_socket_is_not_told_and_that_is_said() {
    let mut stage = Stage::new();
    with_a_guest(&mut stage);
    gather(&mut stage, "listed", |events| !opened(events).is_empty());
    let listed = opened(&stage.events);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].origin, Origin::Snapshot);
    assert_eq!(listed[0].tuple.remote.port, Some(443));
    let limits = limits_at_start(&mut stage);
    for words in ["local sockets", "raw Ethernet and BPF", "virtual machines"] {
        assert!(says(&limits, words), "{words}");
    }
}

// facts: virtual-machines/a
#[test]
fn what_a_guest_does_through_its_host_is_a_flow_of_the_program_that_runs_it() {
    let mut stage = Stage::new();
    let token = with_a_guest(&mut stage);
    stage.start();
    let flow = stage.offer(&by(&token, &token, FlowSpec::outbound_tcp(1)));
    let seen = gather_introduction(&mut stage, &token);
    assert_eq!(
        seen.process.path.as_deref(),
        Some("/usr/local/bin/hypervisor")
    );
    let owner = stage.until_opened(&flow).owner.unwrap();
    assert_eq!(owner.process, process_key(&token));
}

// facts: delegation/a, two-tokens
#[test]
fn an_app_whose_flow_a_service_makes_is_introduced_beside_the_service() {
    let mut stage = Stage::new();
    let service = machine::add(Process::new(310).at("/usr/libexec/nsurlsessiond"));
    let app = machine::add(Process::new(400).at("/Applications/App.app/Contents/MacOS/App"));
    let flow = stage.offer(&by(&service, &app, FlowSpec::outbound_tcp(1)));
    gather_introduction(&mut stage, &service);
    gather_introduction(&mut stage, &app);
    let owner = stage.until_opened(&flow).owner.unwrap();
    assert_eq!(owner.process, process_key(&service));
    assert_eq!(owner.responsible, Some(process_key(&app)));
}

// facts: delegation/b
#[test]
fn a_service_that_names_itself_as_the_app_acts_for_nobody_else() {
    let mut stage = Stage::new();
    let service = machine::add(Process::new(310).at("/usr/libexec/nsurlsessiond"));
    let flow = stage.offer(&by(&service, &service, FlowSpec::outbound_tcp(1)));
    gather_introduction(&mut stage, &service);
    let owner = stage.until_opened(&flow).owner.unwrap();
    assert_eq!(owner.process, process_key(&service));
    assert_eq!(owner.responsible, None);
}

// facts: own-flows/a
#[test]
fn a_connection_of_the_agent_that_is_offered_is_told_as_any() {
    let mut stage = Stage::new();
    let own = machine::token(machine::own_pid());
    let flow = stage.offer(&by(&own, &own, FlowSpec::outbound_tcp(1)));
    let path = gather_introduction(&mut stage, &own).process.path.unwrap();
    assert!(path.ends_with("com.example.agent.filter"), "{path}");
    let owner = stage.until_opened(&flow).owner.unwrap();
    assert_eq!(owner.process, process_key(&own));
    let provider = stage.provider();
    provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 7, 8);
    assert_eq!(stage.until_closed(&flow).traffic.bytes_out, Some(8));
}

// facts: own-flows/b
#[test]
fn a_connection_of_the_agent_that_is_not_offered_is_found_as_any() {
    let mut stage = Stage::new();
    stage.sensor = None;
    stage.provider = None;
    machine::change(machine::own_pid(), |own| {
        let holding = own
            .clone()
            .holding(Socket::tcp("192.0.2.7:50002", "203.0.113.1:443"));
        *own = holding;
    });
    stage.crash_and_launch();
    gather(&mut stage, "listed", |events| !opened(events).is_empty());
    let listed = opened(&stage.events);
    assert_eq!(listed[0].origin, Origin::Snapshot);
    let owner = listed[0].owner.unwrap();
    assert_eq!(owner.process.pid.cast_signed(), machine::own_pid());
}

// facts: early-boot, existing-flows-not-offered
#[test]
fn what_began_before_the_filter_is_marked_and_nothing_is_made_up_about_it() {
    let mut stage = Stage::new();
    with_a_guest(&mut stage);
    assert_eq!(stage.provider().start().wait_for_end(), [None]);
    gather(&mut stage, "listed", |events| !opened(events).is_empty());
    let listed = opened(&stage.events)[0];
    assert_eq!((listed.origin, listed.opened), (Origin::Snapshot, None));
    let place = |words: &str| {
        stage.events.iter().position(|event| match event {
            Event::SensorStarted { limits, .. } => says(limits, words),
            Event::SensorLimited { limit, .. } => limit == words,
            _ => false,
        })
    };
    let warned = place("until macOS starts the filter").unwrap();
    let started = place("macOS started the filter");
    assert!(started.is_none_or(|started| warned < started));
    stage.until_limited("macOS started the filter");
}

fn through_a_relay(hostname: Option<&str>) -> (Opened, Option<(String, NameSource)>) {
    let mut stage = Stage::new();
    let limits = limits_at_start(&mut stage);
    assert!(says(&limits, "Private Relay goes to the relay"));
    let flow = stage.offer(&FlowSpec {
        remote: Some(Endpoint::host("203.0.113.77", 443)),
        hostname: hostname.map(str::to_owned),
        ..FlowSpec::outbound_udp(1)
    });
    stage.settle();
    let key = key(&flow);
    let name = stage.events.iter().find_map(|event| match event {
        Event::Named { key: of, hostname } if *of == key => {
            Some((hostname.name.to_string(), hostname.source))
        }
        _ => None,
    });
    (stage.until_opened(&flow), name)
}

// facts: private-relay, hostname-under-relay/a
#[test]
fn through_a_relay_the_address_is_the_relays_and_the_name_is_kept() {
    let (opened, name) = through_a_relay(Some("www.example.org"));
    let relay = "203.0.113.77".parse().unwrap();
    assert_eq!(opened.tuple.remote.address, Some(relay));
    let told = ("www.example.org".to_owned(), NameSource::SystemLibrary);
    assert_eq!(name, Some(told));
}

// facts: private-relay, hostname-under-relay/b
#[test]
fn through_a_relay_that_hides_the_name_none_is_made_up() {
    assert_eq!(through_a_relay(None).1, None);
    let (_, name) = through_a_relay(Some("relay.example.net"));
    assert_eq!(name.unwrap().0, "relay.example.net");
}

// facts: interface-not-told
#[test]
fn no_interface_is_asked_for_and_none_is_left_in_an_address() {
    let mut stage = Stage::new();
    let flow = Flow::new(&FlowSpec {
        remote: Some(Endpoint::host("fe80::1%en0", 443)),
        ..FlowSpec::outbound_tcp(1).over_v6()
    });
    let (verdict, sent) = stage.provider().new_flow_recorded(&flow);
    assert!(verdict.is_observed());
    let asks = |message: &&str| message.to_lowercase().contains("interface");
    assert!(!sent.is_empty() && !sent.iter().any(asks), "{sent:?}");
    let remote = stage.until_opened(&flow).tuple.remote;
    assert_eq!(remote.address, "fe80::1".parse().ok());
}

// facts: fast-user-switching, user-from-token
#[test]
fn flows_of_two_users_are_told_side_by_side_with_user_and_session() {
    let mut stage = Stage::new();
    stage.start();
    let of = |pid, user, session| {
        let mut process = Process::new(pid).of_user(user, 20);
        process.session = session;
        machine::add(process)
    };
    let tokens = [of(501, 501, 100_003), of(502, 502, 100_019)];
    let flows = [(1, 0), (2, 1), (3, 0)].map(|(number, user): (u64, usize)| {
        let spec = FlowSpec::outbound_tcp(number);
        (
            stage.offer(&by(&tokens[user], &tokens[user], spec)),
            tokens[user],
        )
    });
    for (token, user, session) in [(tokens[0], 501, 100_003), (tokens[1], 502, 100_019)] {
        let process = gather_introduction(&mut stage, &token).process;
        assert_eq!(process.user.unwrap().uid, user);
        assert_eq!(process.audit_session, Some(session));
    }
    let is_stop = |event: &Event| matches!(event, Event::SensorStopped { .. });
    assert!(!stage.events.iter().any(is_stop));
    for (flow, token) in &flows {
        let owner = stage.until_opened(flow).owner.unwrap();
        assert_eq!(owner.process, process_key(token));
    }
}

// facts: filter-stuck-starting, start-must-not-wait, rule-4-start-at-once
#[test]
fn the_filter_starts_while_every_call_of_the_system_hangs() {
    let mut stage = Stage::new();
    let holds = SLOW_FUNCTIONS.map(|function| machine::on(function).hold());
    set_profile(&[("loopback", true)]);
    answer_apply_settings(Answer::NEVER);
    let completion = stage.provider().start();
    assert_eq!(completion.wait_for_end(), [None]);
    assert!(completion.calls()[0].after_ns <= completion.returned_after_ns);
    stage.offer(&FlowSpec::outbound_tcp(1));
    drop(holds);
    let flow = stage.offer(&FlowSpec::outbound_tcp(2));
    stage.until_opened(&flow);
}

// facts: interface-counters-zero, tcp-meter
#[test]
fn coverage_is_measured_by_the_counters_of_tcp_and_by_no_interface() {
    let mut stage = Stage::new();
    stage.start();
    stage.events.clear();
    machine::tcp(|tcp| (tcp.attempts, tcp.accepts) = (7, 2));
    stage.offer(&FlowSpec::outbound_tcp(1));
    pass(60);
    machine::called_on_this_thread();
    let is_reading = |event: &Event| matches!(event, Event::CoverageRead { .. });
    let read = stage.until("read", is_reading);
    let called = machine::called_on_this_thread();
    let Event::CoverageRead {
        system, recorded, ..
    } = read
    else {
        unreachable!();
    };
    let counts = |outbound, inbound| TcpCounts { outbound, inbound };
    assert_eq!(
        (system, recorded.outbound),
        (Ok(counts(7, 2)), 1),
        "{recorded:?}"
    );
    // Interfaces are read by `sysctl` with numbers, or from the registry: neither is called here.
    assert!(called.contains(&"sysctlbyname"), "{called:?}");
    let others = ["sysctl", "IOServiceGetMatchingService"];
    assert!(!called.iter().any(|name| others.contains(name)));
}

// facts: crash-fail-mode/a
#[test]
fn flows_that_passed_while_the_extension_was_down_are_found_and_marked() {
    let mut stage = Stage::new();
    stage.start();
    stage.sensor = None;
    stage.provider = None;
    let socket = Socket::tcp("192.0.2.7:50003", "198.51.100.3:443");
    machine::add(Process::new(800).holding(socket));
    stage.crash_and_launch();
    gather(&mut stage, "listed", |events| !opened(events).is_empty());
    assert_eq!(opened(&stage.events)[0].origin, Origin::Snapshot);
    assert_eq!(opened(&stage.events)[0].opened, None);
}

// facts: crash-fail-mode/b
#[test]
fn flows_that_waited_for_the_extension_are_all_let_go_before_it_starts() {
    let mut stage = Stage::new();
    stage.start();
    stage.crash_and_launch();
    let holds = SLOW_FUNCTIONS.map(|function| machine::on(function).hold());
    let waiting: Vec<Flow> = (1..=200)
        .map(|number| stage.offer(&FlowSpec::outbound_tcp(number)))
        .collect();
    drop(holds);
    assert_eq!(stage.provider().start().wait_for_end(), [None]);
    gather(&mut stage, "told", |events| {
        opened(events).len() == waiting.len()
    });
    let told: Vec<_> = opened(&stage.events).iter().map(|it| it.key).collect();
    assert_eq!(told, waiting.iter().map(key).collect::<Vec<_>>());
}

// facts: concurrent-callbacks/a
#[test]
fn callbacks_that_come_one_after_the_other_are_told_in_their_order() {
    let mut stage = Stage::new();
    let flows: Vec<Flow> = (1..=20)
        .map(|number| Flow::new(&FlowSpec::outbound_tcp(number)))
        .collect();
    for flow in &flows {
        let provider = stage.provider();
        provider.new_flow(flow);
        provider.report(Some(flow), NEFilterReportEvent::Statistics, 1, 1);
        provider.report(Some(flow), NEFilterReportEvent::FlowClosed, 2, 2);
    }
    stage.settle();
    let told = stage.events.iter().filter_map(|event| match event {
        Event::Opened(opened) => Some((opened.key, 'o')),
        Event::Updated { key, .. } => Some((*key, 'u')),
        Event::Closed(closed) => Some((closed.key, 'c')),
        _ => None,
    });
    let expected = flows
        .iter()
        .flat_map(|flow| ['o', 'u', 'c'].map(|what| (key(flow), what)));
    assert!(told.eq(expected), "{:?}", stage.events);
}

// facts: new-flow-reports/a
#[test]
fn without_reports_of_new_flows_flows_begin_by_being_offered() {
    let mut stage = Stage::new();
    stage.start();
    stage.events.clear();
    pass(3);
    let flow = stage.offer(&FlowSpec::outbound_tcp(1));
    let provider = stage.provider();
    provider.report(Some(&flow), NEFilterReportEvent::FlowClosed, 1, 1);
    stage.settle();
    let is_limit = |event: &Event| matches!(event, Event::SensorLimited { .. });
    assert!(!stage.events.iter().any(is_limit), "{:?}", stage.events);
    assert_eq!(stage.until_opened(&flow).at.0, START.0 + 3 * SECOND_NS);
    stage.until_closed(&flow);
}

// facts: no-network-after-wake, filter-stuck-starting
#[test]
fn a_launch_waits_for_no_worker() {
    let holds = std::sync::Mutex::new(Vec::new());
    let mut stage = Stage::with(|options| {
        options.settings = FilterSettings::default();
        let workers = &SLOW_FUNCTIONS[..9];
        let held = workers.iter().map(|name| machine::on(name).hold());
        holds.lock().unwrap().extend(held);
    });
    let second = Provider::launch(PROVIDER_CLASS).unwrap();
    assert_eq!(second.start().wait_for_end(), [None]);
    stage.offer(&FlowSpec::outbound_tcp(1));
    drop(holds);
    driver::settle();
    let flow = stage.offer(&FlowSpec::outbound_tcp(2));
    stage.until_opened(&flow);
}

// facts: arguments-hold-secrets
#[test]
fn command_lines_are_read_only_once_the_profile_asks_for_them() {
    let mut stage = Stage::new();
    stage.start();
    let command_line = |stage: &mut Stage, pid: i32| {
        let process = Process::new(pid)
            .at("/usr/bin/tool")
            .with_arguments(&["tool", "--token=secret"]);
        let token = machine::add(process).to_vec();
        let spec = FlowSpec {
            process_token: Some(token.clone()),
            app_token: Some(token),
            ..FlowSpec::outbound_tcp(pid as u64)
        };
        let flow = stage.offer(&spec);
        stage.until_opened(&flow);
        let is_seen = |event: &Event| match event {
            Event::ProcessSeen(seen) => seen.process.key.pid == pid as u32,
            _ => false,
        };
        match stage.until("the process", is_seen) {
            Event::ProcessSeen(seen) => seen.process.command_line,
            _ => unreachable!("it was looked for"),
        }
    };
    assert_eq!(command_line(&mut stage, 700), None);
    set_profile(&[("command_lines", true)]);
    pass(3);
    stage.settle();
    let told = command_line(&mut stage, 701);
    assert_eq!(told.as_deref(), Some("tool --token=secret"));
}
