//! The whole chain: a filter's callbacks, the sensor, the flow table, the trail, and the answer to
//! a question about it.

#[path = "../../examples/recorded_day/day.rs"]
mod day;
mod schema;

use crate::stage::{Stage, pass};
use darwin_double::machine::{self, Process};
use day::Played;
use flow::stream::{self, Call};
use flow::{Event, FlowTable, Output};
use objc2_network_extension::driver::{Flow, FlowSpec};
use query::{Answer, Answers, Filter};
use record::{
    ByteQuality, Connection, Device, IdentitySource, LostKind, Notice, NoticeKind, Origin, Outcome,
    Phase, Record, RecordId, SensorKind, SignatureValidity, StopReason, ocsf,
};
use sensor_macos::Sensor;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use trail::{TrailWriter, WriterOptions, segments_dir};

/// What the trail says of the day, read back.
static DAY: OnceLock<Vec<(RecordId, Record, Arc<Device>)>> = OnceLock::new();

fn answers() -> &'static [(RecordId, Record, Arc<Device>)] {
    DAY.get_or_init(|| through_the_trail(&day::play()))
}

fn through_the_trail(played: &Played) -> Vec<(RecordId, Record, Arc<Device>)> {
    let directory = tempfile::tempdir().unwrap();
    let header = &played.header;
    let options = WriterOptions::new(header.device.clone(), 64 << 20);
    let mut trail = TrailWriter::open(directory.path(), options, header.start).unwrap();
    let previous = trail.previous();
    let started = NoticeKind::RecorderStarted { previous };
    let notice = |at, kind| Record::Notice(Notice { at, kind });
    trail.append(&notice(header.start, started), header.start.mono);
    for record in &played.records {
        trail.append(record, record.at().mono).unwrap();
    }
    let end = played.records.last().unwrap().at();
    let stopped = NoticeKind::RecorderStopped {
        reason: StopReason::Requested,
        tally: replayed(&played.to_stream()).tally(),
    };
    trail.append(&notice(end, stopped), end.mono).unwrap();
    let flushed = trail.close(end).unwrap();
    assert!(flushed.dropped.is_none() && flushed.trouble.is_none());
    let filter = Filter {
        all_phases: true,
        ..Filter::default()
    };
    let mut answers = Answers::new(&segments_dir(directory.path()), filter).unwrap();
    let mut all = Vec::new();
    while let Some(answer) = answers.next_answer().unwrap() {
        match answer {
            Answer::Record { id, record, device } => all.push((id, record, device)),
            Answer::Hole(hole) => panic!("{hole}"),
        }
    }
    all
}

/// A table that was told the whole stream.
fn replayed(bytes: &[u8]) -> FlowTable {
    let mut bytes = bytes;
    let header = stream::decode_header(&mut bytes).unwrap();
    let mut table = FlowTable::new(header.config, header.epoch, header.start);
    let drain = |table: &mut FlowTable| while table.poll_output().is_some() {};
    while let Some(call) = stream::decode_call(&mut bytes).unwrap() {
        match call {
            Call::Handle(event, now) => table.handle(event, now),
            Call::Timeout(now) => table.handle_timeout(now),
        }
        drain(&mut table);
    }
    table.handle_stop();
    drain(&mut table);
    table
}

fn closes() -> impl Iterator<Item = &'static Connection> {
    answers().iter().filter_map(|(_, record, _)| match record {
        Record::Connection(connection) if matches!(connection.phase, Phase::Close(_)) => {
            Some(connection)
        }
        Record::Connection(_) | Record::Notice(_) => None,
    })
}

/// A flow that gives way to its successor was closed by a close that was lost, and the books count
/// it as such.
fn closes_counted() -> u64 {
    let is_counted = |it: &&Connection| match it.phase {
        Phase::Close(ending) => ending.outcome != Outcome::Superseded,
        Phase::Open | Phase::Update => unreachable!("they are closes"),
    };
    closes().filter(is_counted).count() as u64
}

fn notices() -> impl Iterator<Item = &'static NoticeKind> {
    answers().iter().filter_map(|(_, record, _)| match record {
        Record::Notice(notice) => Some(&notice.kind),
        Record::Connection(_) => None,
    })
}

/// The closes of connections of a process with this name.
fn closes_of(name: &str) -> Vec<&'static Connection> {
    let is_its = |it: &&Connection| {
        let process = it.process.as_deref();
        process.and_then(|it| it.name.as_deref()) == Some(name)
    };
    closes().filter(is_its).collect()
}

fn outcomes_of(name: &str) -> Vec<Outcome> {
    let outcome = |it: &Connection| match it.phase {
        Phase::Close(ending) => ending.outcome,
        Phase::Open | Phase::Update => unreachable!("they are closes"),
    };
    closes_of(name).into_iter().map(outcome).collect()
}

fn validity_of(name: &str) -> SignatureValidity {
    let process = closes_of(name)[0].process.as_ref().unwrap();
    process.signature.as_ref().unwrap().validity
}

// facts: local-endpoint-late, hostname-sometimes, statistics-cumulative, rule-6-both-tokens
#[test]
fn a_connection_is_recorded_with_process_signature_name_and_bytes() {
    let [curl] = closes_of("curl")[..] else {
        panic!("{:?}", closes_of("curl"));
    };
    let process = curl.process.as_ref().unwrap();
    assert_eq!(process.path.as_deref(), Some("/usr/bin/curl"));
    let command_line = process.command_line.as_deref().unwrap();
    assert!(command_line.contains("https://www.example.org/"));
    assert_eq!(process.ancestors[0].name.as_deref(), Some("zsh"));
    let user = process.user.as_ref().unwrap();
    assert_eq!((user.uid, user.name.as_deref()), (501, Some("user")));
    assert!(process.cpid.is_some() && process.started.is_some());
    let signature = process.signature.as_ref().unwrap();
    assert_eq!(signature.signing_id.as_deref(), Some("com.apple.curl"));
    assert_eq!(signature.platform, Some(true));
    assert_eq!(curl.attribution.source, IdentitySource::AuditToken);
    assert_eq!(
        curl.hostname.as_ref().map(|it| &*it.name),
        Some("www.example.org")
    );
    assert_eq!(curl.local.port, Some(50_123), "it came late");
    let traffic = curl.traffic;
    assert_eq!(
        (traffic.bytes_in, traffic.bytes_out),
        (Some(52_000), Some(1_100))
    );
    assert_eq!(traffic.quality, ByteQuality::Exact);
    assert_eq!(outcomes_of("curl"), [Outcome::Unknown]);
    assert_eq!(
        curl.at.mono.since_ns(curl.opened.unwrap()) / 1_000_000_000,
        7
    );
}

// facts: two-tokens, zero-bytes-at-close, delegation/a
#[test]
fn an_app_behind_a_service_is_recorded_beside_it_and_zero_bytes_are_unverified() {
    let delegated = closes_of("nsurlsessiond");
    let for_app = delegated.iter().find(|it| it.responsible.is_some());
    let for_app = for_app.unwrap();
    let app = for_app.responsible.as_ref().unwrap();
    assert_eq!(app.name.as_deref(), Some("Browser"));
    let team = app.signature.as_ref().unwrap().team_id.as_deref();
    assert_eq!(team, Some("BROWSER123"));
    assert_eq!(for_app.traffic.quality, ByteQuality::ZeroUnverified);
    assert_eq!(delegated.len(), 2);
}

// facts: inbound-token-is-the-listeners
#[test]
fn who_holds_a_connection_from_outside_takes_the_place_of_who_listens() {
    let inbound = answers().iter().filter_map(|(_, record, _)| match record {
        Record::Connection(connection) if connection.local.port == Some(22) => Some(connection),
        Record::Connection(_) | Record::Notice(_) => None,
    });
    let inbound: Vec<_> = inbound.collect();
    let name = |it: &Connection| it.process.as_ref()?.name.clone();
    assert_eq!(inbound[0].phase, Phase::Open);
    assert_eq!(inbound[0].attribution.source, IdentitySource::ListenerToken);
    assert_eq!(name(inbound[0]).as_deref(), Some("sshd"));
    assert_eq!(inbound[1].phase, Phase::Update);
    assert_eq!(inbound[1].attribution.source, IdentitySource::Snapshot);
    assert_eq!(name(inbound[1]).as_deref(), Some("sshd-session"));
    let ancestors = &inbound[1].process.as_ref().unwrap().ancestors;
    assert_eq!(ancestors[0].name.as_deref(), Some("sshd"));
}

// facts: short-lived-process, unsigned-is-not-invalid, deleted-executable, zero-token
#[test]
fn what_could_not_be_found_out_is_recorded_as_that() {
    let vanished = closes().filter(|it| it.process.as_ref().is_some_and(|it| it.vanished));
    let vanished = vanished.map(|it| it.process.as_ref().unwrap());
    let vanished: Vec<_> = vanished
        .map(|it| (it.key.pid, it.path.as_deref()))
        .collect();
    assert_eq!(vanished, [(510, None), (1_018, None)]);
    assert_eq!(validity_of("unsigned"), SignatureValidity::Unsigned);
    assert_eq!(validity_of("changed"), SignatureValidity::Invalid);
    assert_eq!(validity_of("curl"), SignatureValidity::Valid);
    let sudo = closes_of("sudo")[0].process.as_ref().unwrap();
    assert_eq!(sudo.effective_uid, Some(0));
    let nobodys = closes().filter(|it| it.process.is_none());
    let bytes: Vec<_> = nobodys.map(|it| it.traffic.bytes_in).collect();
    assert_eq!(bytes, [Some(64)], "the one with a token of zeros");
}

// facts: close-missing, flow-id-comes-back, sleep-in-mid-flow, existing-flows-not-offered
#[test]
fn an_end_that_is_not_told_is_concluded_and_says_how() {
    let expected = [Outcome::Superseded, Outcome::ProcessGone];
    assert_eq!(outcomes_of("backup"), expected);
    assert_eq!(outcomes_of("mDNSResponder"), [Outcome::Idle]);
    let expected = [Outcome::AgedOut, Outcome::Unwatched];
    assert_eq!(outcomes_of("server"), expected);
    let chat = closes_of("Chat");
    assert_eq!(outcomes_of("Chat"), [Outcome::Unwatched]);
    assert_eq!(chat[0].origin, Origin::Snapshot);
    assert_eq!(chat[0].opened, None);
}

// facts: sleep-and-wake, tcp-meter, rule-15-blind-spots, report-without-flow
#[test]
fn what_happened_to_the_recording_is_recorded_too() {
    let has = |is_it: fn(&NoticeKind) -> bool| assert!(notices().any(is_it));
    has(|it| {
        matches!(it, NoticeKind::SensorStarted { sensor, limits }
        if *sensor == SensorKind::MacosFilter && limits.len() > 8)
    });
    has(|it| {
        matches!(it, NoticeKind::SensorStopped { reason, .. }
        if reason == "the app is being updated")
    });
    has(|it| *it == NoticeKind::Sleeping);
    has(|it| matches!(it, NoticeKind::Slept { duration_ns } if *duration_ns == 7_200_000_000_000));
    has(|it| matches!(it, NoticeKind::Coverage(_)));
    has(|it| matches!(it, NoticeKind::BreakerChanged { .. }));
    has(|it| matches!(it, NoticeKind::SensorLimited { .. }));
    has(|it| matches!(it, NoticeKind::Lost { what, .. } if *what == LostKind::Closes));
}

#[test]
fn the_books_of_the_day_balance() {
    let tally = notices().find_map(|it| match it {
        NoticeKind::RecorderStopped { tally, .. } => Some(*tally),
        _ => None,
    });
    let tally = tally.unwrap();
    assert_eq!(tally.live, 0);
    assert_eq!(tally.closes_lost, 1, "the report that named no flow");
    assert_eq!(tally.closes_recorded, closes_counted());
    assert_eq!(tally.closes_made, tally.closes_recorded + tally.closes_lost);
    let sequences = answers().iter().map(|(id, ..)| id.sequence);
    assert!(sequences.eq(1..=answers().len() as u64), "none is missing");
}

#[test]
fn every_record_of_the_day_is_json_of_its_class() {
    for (id, record, device) in answers() {
        let json = ocsf::to_json(*id, record, device);
        let event: serde_json::Value = serde_json::from_str(&json).unwrap();
        let is_connection = matches!(record, Record::Connection(_));
        assert_eq!(event["class_uid"] == 4001, is_connection, "{json}");
    }
}

#[test]
fn the_recorded_day_is_replayed_without_strays_and_is_the_day_of_the_example() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/mac.events");
    let bytes = std::fs::read(file).unwrap();
    assert!(bytes.len() < 200_000);
    let mut rest = &bytes[..];
    let header = stream::decode_header(&mut rest).unwrap();
    assert_eq!(header.device.os_name, "macOS");
    assert_eq!(header.device.hostname, "", "nobody's machine");
    let counters = replayed(&bytes).counters();
    assert_eq!(counters.strays, 0, "{counters:?}");
    assert_eq!(counters.live, 0);
    assert_eq!(counters.closes_recorded, closes_counted());
}

/// Offers flows until `is_over`; how long the slowest waited, in nanoseconds.
fn slowest_ns(stage: &Stage, is_over: impl Fn() -> bool) -> u64 {
    let mut slowest_ns = 0;
    for number in 1_000.. {
        let flow = Flow::new(&FlowSpec::outbound_tcp(number));
        slowest_ns = slowest_ns.max(stage.provider().new_flow(&flow).elapsed_ns);
        if number > 1_050 && is_over() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    slowest_ns
}

const STALL: Duration = Duration::from_secs(2);
const MUCH_LESS_NS: u64 = 1_000_000_000;

// facts: hung-filter-hangs-connects, connect-waits-for-verdict, rule-7-identity-off-the-path
#[test]
fn a_call_that_takes_two_seconds_behind_the_queue_makes_no_flow_wait() {
    for function in [
        "proc_pidpath_audittoken",
        "proc_pidinfo",
        "SecCodeCopyGuestWithAttributes",
        "SecCodeCopySigningInformation",
        "SecCodeCheckValidity",
        "sysctlbyname",
    ] {
        let mut stage = Stage::new();
        stage.start();
        let token = machine::add(Process::new(701));
        pass(60);
        let calls = machine::calls_of(function);
        machine::on(function).nth(1).stall(STALL);
        stage.offer(&FlowSpec {
            process_token: Some(token.to_vec()),
            ..FlowSpec::outbound_tcp(1)
        });
        let mut sensor = stage.sensor.take().unwrap();
        thread::scope(|scope| {
            let told = scope.spawn(move || {
                let mut events = Vec::new();
                while machine::calls_of(function) == calls {
                    sensor.poll(Duration::from_millis(10), &mut events).unwrap();
                }
                sensor.poll(STALL, &mut events).unwrap();
                (sensor, events)
            });
            let slowest_ns = slowest_ns(&stage, || told.is_finished());
            assert!(slowest_ns < MUCH_LESS_NS, "{function}: {slowest_ns}");
            let (sensor, events) = told.join().unwrap();
            assert!(events.iter().any(|it| matches!(it, Event::Opened(_))));
            drop(sensor);
        });
    }
}

// facts: hung-filter-hangs-connects
#[test]
fn a_look_at_sockets_that_takes_two_seconds_makes_no_flow_wait() {
    for function in ["proc_listallpids", "proc_pidinfo", "proc_pidfdinfo"] {
        let socket = darwin_double::machine::Socket::tcp("192.0.2.7:50005", "198.51.100.5:443");
        let mut stage = Stage::with(|_| {
            machine::add(Process::new(702).holding(socket));
            machine::on(function).nth(1).stall(STALL);
        });
        let slowest_ns = slowest_ns(&stage, || machine::calls_of(function) > 0);
        assert!(slowest_ns < MUCH_LESS_NS, "{function}: {slowest_ns}");
        let is_found = |event: &Event| {
            matches!(event, Event::Opened(it)
            if it.origin == Origin::Snapshot)
        };
        stage.until("found", is_found);
    }
}

// facts: hung-filter-hangs-connects
#[test]
fn a_trail_that_takes_two_seconds_to_write_makes_no_flow_wait() {
    let mut stage = Stage::new();
    stage.start();
    let mut sensor = stage.sensor.take().unwrap();
    thread::scope(|scope| {
        let recording = scope.spawn(move || {
            let start = crate::stage::clock();
            let mut table = FlowTable::new(flow::Config::default(), 1, start);
            let mut events = Vec::new();
            sensor.poll(Duration::from_secs(10), &mut events).unwrap();
            for event in events {
                table.handle(event, start.mono);
            }
            // Here the disk stands still while the records are written.
            thread::sleep(STALL);
            let records = std::iter::from_fn(|| table.poll_output());
            let is_record = |it: &Output| matches!(it, Output::Record(_));
            let count = records.filter(is_record).count();
            (sensor, count)
        });
        let slowest_ns = slowest_ns(&stage, || recording.is_finished());
        assert!(slowest_ns < MUCH_LESS_NS, "{slowest_ns}");
        drop(recording.join().unwrap());
    });
}
