//! What a rule covers is nowhere in what is written, in no encoding.

use crate::{applied, engine, policy, rule};
use policy::{Decision, Engine, Policy};
use record::wire::Writer;
use record::{
    Ancestor, CodeSignature, Connection, Endpoint, ExecutableFile, Hostname, NameSource, Phase,
    PolicyAction, PolicyField, Process, ProcessKey, Record, RecordId, SignatureValidity, Stamp,
    Traffic, User, codec, ocsf, sample,
};
use std::net::IpAddr;
use std::sync::Arc;

/// A process whose every value has `mark` in it, or is a number that nothing else has.
fn process(mark: &str, offset: u32) -> Process {
    let path = format!("/Users/{mark}-person/{mark}-folder/{mark}-program");
    let key = |pid| ProcessKey {
        pid,
        start_ns: 77_000 + u64::from(offset),
        exec_id: 1,
    };
    Process {
        cpid: Some([offset as u8; 16]),
        name: Some(format!("{mark}-program").into()),
        command_line: Some(format!("{path} --token={mark}-argument").into()),
        file: Some(ExecutableFile {
            device: 1_987_650_000 + offset,
            inode: 98_700_123_450_000 + u64::from(offset),
        }),
        user: Some(User {
            uid: 3_141_590_000 + offset,
            name: Some(format!("{mark}-user").into()),
        }),
        effective_uid: Some(2_718_280_000 + offset),
        login_uid: Some(1_618_030_000 + offset),
        audit_session: Some(1_414_210_000 + offset),
        cgroup: Some(17_320_508_070_000 + u64::from(offset)),
        signature: Some(CodeSignature {
            validity: SignatureValidity::Valid,
            status: Some(-1_234_567),
            signing_id: Some(format!("{mark}.signing.id").into()),
            team_id: Some(format!("{mark}-team").into()),
            cdhash: Some([0xc0 + offset as u8; 20]),
            platform: Some(false),
        }),
        ancestors: vec![Ancestor {
            key: key(5_000 + offset),
            cpid: None,
            name: Some(format!("{mark}-parent").into()),
            path: Some(format!("/Users/{mark}-person/{mark}-nest/{mark}-parent").into()),
        }],
        path: Some(path.into()),
        ..Process::bare(key(4_000 + offset))
    }
}

fn planted() -> Connection {
    let Record::Connection(connection) = sample::closes(1, 1).remove(0) else {
        unreachable!("closes are connections")
    };
    Connection {
        process: Some(process("alfa", 1).into()),
        responsible: Some(process("bravo", 2).into()),
        local: endpoint("198.51.100.201", 54_321),
        remote: endpoint("2001:db8:7777:8888::9999", 43_210),
        hostname: Some(Hostname {
            name: "planted-host.sub.example.com".into(),
            source: NameSource::SystemLibrary,
        }),
        network_namespace: Some(4_026_999_999),
        traffic: Traffic {
            bytes_out: Some(1_234_567_890_123),
            bytes_in: Some(2_345_678_901_234),
            packets_out: Some(3_456_789_012),
            packets_in: Some(4_567_890_123),
            ..connection.traffic
        },
        rtt_us: Some(1_357_924),
        retransmits: Some(2_468_024),
        closer_pid: Some(4_000_111),
        ..connection
    }
}

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint {
        address: Some(address.parse().unwrap()),
        port: Some(port),
    }
}

/// The bytes by which a number is known again: as text, and as it stands in canonical bytes.
fn number(number: u64) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).uint(1, number);
    vec![number.to_string().into_bytes(), bytes[1..].to_vec()]
}

fn numbers(these: &[u64]) -> Vec<Vec<u8>> {
    these.iter().flat_map(|it| number(*it)).collect()
}

fn texts(these: &[&str]) -> Vec<Vec<u8>> {
    let marks = ["alfa", "bravo"].into_iter();
    let texts = marks.flat_map(|mark| these.iter().map(move |it| format!("{mark}{it}")));
    texts.map(String::into_bytes).collect()
}

fn address(text: &str) -> Vec<Vec<u8>> {
    let address: IpAddr = text.parse().unwrap();
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    vec![text.as_bytes().to_vec(), octets]
}

/// What must be nowhere when `field` is treated.
fn needles(field: PolicyField) -> Vec<Vec<u8>> {
    let both = |base: u64| numbers(&[base + 1, base + 2]);
    match field {
        PolicyField::Record => Vec::new(),
        PolicyField::RemoteAddress => address("2001:db8:7777:8888::9999"),
        PolicyField::RemotePort => number(43_210),
        PolicyField::LocalAddress => address("198.51.100.201"),
        PolicyField::LocalPort => number(54_321),
        PolicyField::Hostname => vec![b"planted-host".to_vec()],
        PolicyField::Process => {
            let parts = [
                PolicyField::ProcessName,
                PolicyField::ProcessPath,
                PolicyField::ProcessHome,
                PolicyField::CommandLine,
                PolicyField::ProcessFile,
                PolicyField::Signature,
                PolicyField::Ancestors,
                PolicyField::User,
                PolicyField::UserName,
            ];
            let mut all: Vec<_> = parts.into_iter().flat_map(needles).collect();
            all.extend(numbers(&[4_000_111, 77_001, 77_002]));
            all
        }
        PolicyField::ProcessName => texts(&["-program", "-parent"]),
        PolicyField::ProcessPath => texts(&["-folder", "-nest"]),
        PolicyField::ProcessHome => texts(&["-person"]),
        PolicyField::CommandLine => texts(&["-argument"]),
        PolicyField::ProcessFile => [both(1_987_650_000), both(98_700_123_450_000)].concat(),
        PolicyField::Signature => {
            let hashes = [[0xc1; 20], [0xc2; 20]].map(|it: [u8; 20]| it.to_vec());
            let hex = ["c1", "c2"].map(|it| it.repeat(20).into_bytes());
            [
                texts(&[".signing.id", "-team"]),
                hashes.to_vec(),
                hex.to_vec(),
            ]
            .concat()
        }
        PolicyField::Ancestors => [texts(&["-parent"]), numbers(&[5_001, 5_002])].concat(),
        PolicyField::Responsible => vec![b"bravo".to_vec()],
        PolicyField::User => [
            texts(&["-user"]),
            both(3_141_590_000),
            both(2_718_280_000),
            both(1_618_030_000),
            both(1_414_210_000),
        ]
        .concat(),
        PolicyField::UserName => texts(&["-user"]),
        PolicyField::Container => [number(4_026_999_999), both(17_320_508_070_000)].concat(),
        PolicyField::Traffic => numbers(&[
            1_234_567_890_123,
            2_345_678_901_234,
            3_456_789_012,
            4_567_890_123,
            1_357_924,
            2_468_024,
        ]),
    }
}

/// A record in every form in which it can leave the recorder.
fn encodings(connection: &Connection) -> Vec<Vec<u8>> {
    let record = Record::Connection(connection.clone());
    let mut canonical = Vec::new();
    codec::encode(&record, &mut canonical);
    let id = RecordId {
        epoch: 1,
        sequence: 1,
    };
    let json = ocsf::to_json(id, &record, &sample::device()).into_bytes();
    let debug = format!("{record:?}").into_bytes();
    vec![canonical, json, debug]
}

fn is_in(needle: &[u8], encodings: &[Vec<u8>]) -> bool {
    let mut windows = encodings.iter().map(|it| it.windows(needle.len()));
    windows.any(|mut windows| windows.any(|it| it == needle))
}

fn assert_absent(connection: &Connection, field: PolicyField, what: &str) {
    let encodings = encodings(connection);
    for needle in needles(field) {
        let shown = String::from_utf8_lossy(&needle).into_owned();
        assert!(!is_in(&needle, &encodings), "{what}: {shown} is left");
    }
}

#[test]
fn what_is_planted_is_found_where_no_rule_takes_it_away() {
    let before = encodings(&planted());
    for field in PolicyField::ALL {
        for needle in needles(*field) {
            let shown = String::from_utf8_lossy(&needle).into_owned();
            assert!(is_in(&needle, &before), "{}: {shown}", field.name());
        }
    }
}

#[test]
fn a_value_that_a_rule_covers_is_in_no_encoding() {
    let mut tried = 0;
    for field in PolicyField::ALL.iter().skip(1) {
        for action in ["drop", "truncate", "pseudonymise"] {
            let text = format!("version = 1\n{}", rule(action, field.name(), ""));
            let Ok(policy) = Policy::parse(&text) else {
                continue;
            };
            let (decision, after) = applied(&mut engine(&policy.into()), &planted());
            let what = format!("{action} {}", field.name());
            assert_eq!(decision, Decision::Changed, "{what}");
            assert_absent(&after, *field, &what);
            tried += 1;
        }
    }
    assert_eq!(tried, 18 + 5 + 8, "every field with every action it allows");
}

#[test]
fn without_a_key_what_should_get_a_pseudonym_is_left_out() {
    for field in [
        "remote.address",
        "hostname",
        "process.name",
        "user",
        "user.name",
    ] {
        let mut engine = Engine::default();
        let policy = policy(&rule("pseudonymise", field, ""));
        engine.set_policy(Some(policy), Stamp::default());
        let (_, after) = applied(&mut engine, &planted());
        let field = PolicyField::ALL
            .iter()
            .find(|it| it.name() == field)
            .unwrap();
        assert_absent(&after, *field, field.name());
        assert!(
            !is_in(b"pseudonym#", &encodings(&after)),
            "{}",
            field.name()
        );
        let marks = after.treated.unwrap();
        assert!(
            marks.iter().all(|it| it.action == PolicyAction::Drop),
            "{marks:?}"
        );
    }
}

#[test]
fn what_a_value_stands_in_goes_with_it() {
    for (rule, hidden) in [
        (rule("drop", "process.name", ""), "alfa-program"),
        (rule("drop", "process.name", ""), "alfa-folder"),
        (rule("drop", "process.path", ""), "alfa-argument"),
        (rule("truncate", "process.path", ""), "alfa-argument"),
        (rule("drop", "user.name", ""), "alfa-person"),
        (rule("pseudonymise", "user", ""), "bravo-person"),
    ] {
        let (_, after) = applied(&mut engine(&policy(&rule)), &planted());
        assert!(
            !is_in(hidden.as_bytes(), &encodings(&after)),
            "{rule} {hidden}"
        );
    }
}

#[test]
fn an_address_that_is_given_as_a_name_is_treated_as_the_address() {
    for action in ["drop", "truncate", "pseudonymise"] {
        for name in ["2001:db8:7777:8888::9999", "[2001:db8:7777:8888::9999]"] {
            let mut connection = planted();
            connection.hostname.as_mut().unwrap().name = name.into();
            let rules = rule(action, "remote.address", "");
            let (_, after) = applied(&mut engine(&policy(&rules)), &connection);
            assert_absent(&after, PolicyField::RemoteAddress, action);
            let marks = after.treated.unwrap();
            assert!(marks.iter().any(|it| it.field == PolicyField::Hostname));
        }
    }
}

#[test]
fn the_strict_policy_leaves_nothing_of_what_was_planted() {
    let (decision, after) = applied(&mut engine(&Arc::new(Policy::strict())), &planted());
    assert_eq!(decision, Decision::Changed);
    for field in PolicyField::ALL {
        assert_absent(&after, *field, "strict");
    }
    assert!(
        matches!(after.phase, Phase::Close(_)),
        "that it ended stays"
    );
}

#[test]
fn alone_a_record_is_treated_the_same_whatever_came_before() {
    let rules = rule(
        "drop",
        "record",
        "when = { destination = \"*.example.com\" }",
    );
    let mut engine = engine(&policy(&rules));
    let mut open = planted();
    open.phase = Phase::Open;
    open.hostname = None;
    let mut alone = |connection: &Connection| {
        let mut record = Record::Connection(connection.clone());
        engine.apply_alone(&mut record)
    };
    assert_eq!(alone(&open), Decision::Kept);
    assert_eq!(alone(&planted()), Decision::Dropped(1));
    assert_eq!(alone(&planted()), Decision::Dropped(1));
}

#[test]
fn the_close_of_what_was_told_is_kept_as_an_outline() {
    let rules = rule(
        "drop",
        "record",
        "when = { destination = \"*.example.com\" }",
    );
    let mut engine = engine(&policy(&rules));
    let mut open = planted();
    open.phase = Phase::Open;
    open.hostname = None;
    assert_eq!(applied(&mut engine, &open).0, Decision::Kept);
    let (decision, after) = applied(&mut engine, &planted());
    assert_eq!(decision, Decision::Changed);
    assert_eq!((after.id, after.phase), (planted().id, planted().phase));
    for field in PolicyField::ALL {
        assert_absent(&after, *field, "outline");
    }
    let marks = after.treated.unwrap();
    assert_eq!((marks.len(), marks[0].field), (1, PolicyField::Record));
    assert_eq!(
        applied(&mut engine, &planted()).0,
        Decision::Dropped(1),
        "once is enough"
    );
}
