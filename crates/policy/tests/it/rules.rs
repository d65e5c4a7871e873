//! Which rule decides, and what it does.

use crate::{applied, engine, key, policy, rule};
use policy::{Decision, Engine, Policy, Shown, explain};
use record::{
    Connection, Direction, Hostname, NameSource, Notice, NoticeKind, Phase, PolicyAction,
    PolicyField, Process, Protocol, Record, SignatureValidity, Stamp, Tally, codec, pseudonym,
    sample,
};
use std::sync::Arc;

fn connection() -> Connection {
    let Record::Connection(connection) = sample::closes(3, 1).remove(0) else {
        unreachable!("closes are connections")
    };
    let mut connection = connection;
    connection.direction = Direction::Outbound;
    connection.protocol = Protocol::Tcp;
    connection.remote.address = Some("10.20.30.40".parse().unwrap());
    connection.remote.port = Some(443);
    connection.hostname = Some(Hostname {
        name: "a.b.Example.com".into(),
        source: NameSource::SystemLibrary,
    });
    change(&mut connection, |process| {
        process.path = Some("/opt/vpn/bin/client".into());
        process.name = Some("client".into());
        let user = process.user.as_mut().unwrap();
        (user.uid, user.name) = (1_000, Some("ana".into()));
        process.signature = None;
    });
    connection
}

fn change(connection: &mut Connection, change: impl FnOnce(&mut Process)) {
    let mut process = match &connection.process {
        Some(process) => Process::clone(process),
        None => Process::bare(record::ProcessKey {
            pid: 1,
            start_ns: 1,
            exec_id: 1,
        }),
    };
    change(&mut process);
    connection.process = Some(process.into());
}

fn drops(when: &str, connection: &Connection) -> bool {
    let rules = rule("drop", "record", &format!("when = {{ {when} }}"));
    applied(&mut engine(&policy(&rules)), connection).0 == Decision::Dropped(1)
}

#[test]
fn each_criterion_matches_what_it_names_and_nothing_else() {
    let connection = connection();
    for (matching, other) in [
        ("process = \"/opt/vpn/**\"", "process = \"/opt/vpn/*\""),
        ("process = \"client\"", "process = \"clien\""),
        ("process = [\"x\", \"cli*\"]", "process = \"/client\""),
        ("user = \"ana\"", "user = \"ben\""),
        ("user = 1000", "user = [0, \"1000\"]"),
        ("destination = \"private\"", "destination = \"loopback\""),
        (
            "destination = \"10.20.0.0/16\"",
            "destination = \"10.21.0.0/16\"",
        ),
        (
            "destination = \"10.20.30.40\"",
            "destination = \"10.20.30.41\"",
        ),
        (
            "destination = \"*.example.com\"",
            "destination = \"example.com\"",
        ),
        (
            "destination = \"a.b.example.com\"",
            "destination = \"*.a.b.example.com\"",
        ),
        ("port = 443", "port = [80, \"444-65535\"]"),
        ("port = \"400-500\"", "port = \"0-442\""),
        (
            "direction = \"outbound\"",
            "direction = [\"inbound\", \"unknown\"]",
        ),
        ("protocol = \"tcp\"", "protocol = [\"udp\", 1]"),
        ("protocol = 6", "protocol = 17"),
        ("port = 443, user = \"ana\"", "port = 443, user = \"ben\""),
    ] {
        assert!(drops(matching, &connection), "{matching}");
        assert!(!drops(other, &connection), "{other}");
    }
}

#[test]
fn a_signer_is_believed_only_where_the_system_finds_the_signature_good() {
    let mut connection = connection();
    let sign = |connection: &mut Connection, validity| {
        change(connection, |process| {
            process.signature = Some(record::CodeSignature {
                validity,
                status: None,
                signing_id: Some("com.example.vpn".into()),
                team_id: Some("ABCDE12345".into()),
                cdhash: None,
                platform: Some(true),
            });
        });
    };
    let criteria = [
        "team = \"ABCDE12345\"",
        "signing_id = \"com.example.*\"",
        "platform = true",
    ];
    sign(&mut connection, SignatureValidity::Valid);
    assert!(criteria.iter().all(|it| drops(it, &connection)));
    assert!(!drops("platform = false", &connection));
    sign(&mut connection, SignatureValidity::Invalid);
    assert!(!criteria.iter().any(|it| drops(it, &connection)));
}

#[test]
fn what_is_not_known_matches_nothing() {
    let mut connection = connection();
    connection.process = None;
    connection.hostname = None;
    connection.remote = record::Endpoint::default();
    for when in [
        "process = \"**\"",
        "user = 0",
        "platform = false",
        "destination = [\"0.0.0.0/0\", \"::/0\", \"*.com\"]",
        "port = \"0-65535\"",
    ] {
        assert!(!drops(when, &connection), "{when}");
    }
    assert!(drops("direction = \"outbound\"", &connection));
}

#[test]
fn a_name_that_is_an_address_is_a_destination_like_that_address() {
    let mut connection = connection();
    connection.remote.address = None;
    connection.hostname.as_mut().unwrap().name = "10.20.30.40".into();
    assert!(drops("destination = \"private\"", &connection));
    assert!(!drops("destination = \"loopback\"", &connection));
}

#[test]
fn a_process_matches_by_whoever_made_the_connection_or_on_whose_behalf() {
    let mut connection = connection();
    connection.responsible = connection.process.take();
    change(&mut connection, |process| {
        process.path = Some("/usr/libexec/agent".into())
    });
    assert!(drops("process = \"/opt/vpn/**\"", &connection));
    assert!(drops("process = \"/usr/libexec/agent\"", &connection));
    let mixed = "process = \"/usr/libexec/agent\", user = \"ana\"";
    assert!(!drops(mixed, &connection), "one process must meet both");
}

#[test]
fn the_first_rule_that_names_a_part_decides_it() {
    let rules = [
        rule("keep", "user", "when = { process = \"client\" }"),
        rule("drop", "user", ""),
        rule("truncate", "remote.address", "to = { ipv4 = 8 }"),
        rule("drop", "destination", ""),
    ]
    .concat();
    let mut engine = engine(&policy(&rules));
    let (decision, after) = applied(&mut engine, &connection());
    assert_eq!(decision, Decision::Changed);
    assert_eq!(after.remote.address, Some("10.0.0.0".parse().unwrap()));
    assert_eq!((after.remote.port, after.hostname), (None, None));
    assert!(after.process.unwrap().user.is_some());
    let marks: Vec<_> = after
        .treated
        .unwrap()
        .iter()
        .map(|it| (it.field, it.rule))
        .collect();
    let mut other = connection();
    change(&mut other, |process| process.name = Some("curl".into()));
    assert_eq!(applied(&mut engine, &other).1.process.unwrap().user, None);
    assert_eq!(
        marks,
        [
            (PolicyField::RemoteAddress, 3),
            (PolicyField::RemotePort, 4),
            (PolicyField::Hostname, 4),
        ]
    );
}

#[test]
fn a_record_is_kept_or_dropped_by_the_first_rule_that_names_it() {
    let keep = rule("keep", "record", "when = { port = 443 }");
    let drop = rule("drop", "record", "when = { user = \"ana\" }");
    let user = rule("drop", "user", "");
    let after = |rules: &[&str]| applied(&mut engine(&policy(&rules.concat())), &connection());
    assert_eq!(after(&[&keep, &drop, &user]).0, Decision::Kept);
    assert_eq!(after(&[&drop, &keep]).0, Decision::Dropped(1));
    assert_eq!(after(&[&user, &drop]).0, Decision::Dropped(2));
    let (decision, kept) = after(&[&user, &keep, &drop]);
    assert_eq!(
        decision,
        Decision::Changed,
        "what a rule before decided stays so"
    );
    assert_eq!(kept.process.unwrap().user, None);
}

#[test]
fn what_is_kept_of_a_whole_survives_it() {
    let rules = [
        rule("keep", "process.name", ""),
        rule("drop", "process", ""),
    ]
    .concat();
    let (_, after) = applied(&mut engine(&policy(&rules)), &connection());
    let process = after.process.unwrap();
    assert_eq!(process.name.as_deref(), Some("client"));
    assert_eq!(
        (&process.path, &process.user, process.file),
        (&None, &None, None)
    );
    let rules = [
        rule("pseudonymise", "user.name", ""),
        rule("drop", "user", ""),
    ]
    .concat();
    let (_, after) = applied(&mut engine(&policy(&rules)), &connection());
    let user = after.process.as_ref().unwrap().user.clone().unwrap();
    assert_eq!(user.uid, pseudonym::UID);
    assert!(user.name.unwrap().starts_with(pseudonym::TEXT));
    let whole = applied(
        &mut engine(&policy(&rule("drop", "process", ""))),
        &connection(),
    );
    assert_eq!(whole.1.process, None);
}

#[test]
fn what_would_go_along_is_kept_by_a_rule_above() {
    let rules = [
        rule("keep", "process.path", ""),
        rule("drop", "process.name", ""),
    ]
    .concat();
    let (_, after) = applied(&mut engine(&policy(&rules)), &connection());
    let process = after.process.unwrap();
    assert_eq!((&process.name, process.file), (&None, None));
    assert_eq!(process.path.as_deref(), Some("/opt/vpn/bin/client"));
    let below = [
        rule("drop", "process.name", ""),
        rule("keep", "process.path", ""),
    ]
    .concat();
    let (_, after) = applied(&mut engine(&policy(&below)), &connection());
    assert_eq!(after.process.unwrap().path, None, "below it is too late");
}

/// As many pairs of processes and of rules that match as make it forget, and mix up if it could.
#[test]
fn what_is_remembered_of_a_process_changes_nothing() {
    let fields = [
        "user",
        "process.path",
        "process.file",
        "container",
        "process.ancestors",
    ];
    let fields = [&fields[..], &["process.command_line", "process.home"]].concat();
    let rules = fields.iter().enumerate().map(|(bit, field)| {
        let ports = (0..128).filter(|port| port & 1 << bit != 0);
        let ports: Vec<String> = ports.map(|port: u32| port.to_string()).collect();
        rule(
            "drop",
            field,
            &format!("when = {{ port = [{}] }}", ports.join(", ")),
        )
    });
    let policy = policy(&rules.collect::<String>());
    let mut shared = engine(&policy);
    let closes: Vec<Connection> = sample::closes(8, 40)
        .into_iter()
        .map(|record| match record {
            Record::Connection(connection) => connection,
            Record::Notice(_) => unreachable!("closes are connections"),
        })
        .collect();
    for _ in 0..2 {
        for port in 0..128 {
            for close in &closes {
                let mut close = close.clone();
                close.remote.port = Some(port);
                let expected = applied(&mut engine(&policy), &close);
                assert_eq!(applied(&mut shared, &close), expected);
            }
        }
    }
}

#[test]
fn marks_say_what_was_done_and_only_that() {
    let rules = [
        rule("drop", "user", ""),
        rule("pseudonymise", "hostname", ""),
        rule("drop", "process.signature", ""),
    ]
    .concat();
    let (_, after) = applied(&mut engine(&policy(&rules)), &connection());
    let marks = after.treated.as_deref().unwrap();
    let marks: Vec<_> = marks
        .iter()
        .map(|it| (it.field, it.action, it.rule))
        .collect();
    assert_eq!(
        marks,
        [
            (PolicyField::Hostname, PolicyAction::Pseudonymise, 2),
            (PolicyField::User, PolicyAction::Drop, 1),
        ],
        "there was no signature and no home folder to drop"
    );
    let mut bytes = Vec::new();
    codec::encode(&Record::Connection(after.clone()), &mut bytes);
    assert_eq!(codec::decode(&bytes), Ok(Record::Connection(after)));
}

#[test]
fn a_pseudonym_stays_the_same_until_the_key_changes() {
    let rules = [
        rule("pseudonymise", "user", ""),
        rule("pseudonymise", "destination", ""),
    ];
    assert!(
        Policy::parse(&format!("version = 1\n{}", rules[1])).is_err(),
        "ports cannot"
    );
    let rules = [rules[0].clone(), rule("pseudonymise", "remote.address", "")].concat();
    let mut engine = engine(&policy(&rules));
    // One process, which the engine remembers.
    let connection = connection();
    let (_, open) = applied(&mut engine, &connection);
    let (_, close) = applied(&mut engine, &connection);
    assert_eq!(open, close);
    assert_ne!(open.remote.address, connection.remote.address);
    let uid = open.process.as_ref().unwrap().user.as_ref().unwrap().uid;
    assert_eq!(uid, pseudonym::UID);
    engine.set_key(Some(policy::PseudonymKey::new([9; 32])));
    let (_, later) = applied(&mut engine, &connection);
    assert_ne!(later.remote.address, open.remote.address);
    assert_ne!(later.process, open.process);
    engine.set_key(None);
    let (_, without) = applied(&mut engine, &connection);
    assert_eq!(
        (without.remote.address, &without.process.unwrap().user),
        (None, &None)
    );
}

#[test]
fn the_name_of_a_user_may_come_late_and_the_pseudonym_is_the_same() {
    let mut engine = engine(&policy(&rule("pseudonymise", "user", "")));
    let mut early = connection();
    change(&mut early, |process| {
        process.user.as_mut().unwrap().name = None
    });
    let (_, early) = applied(&mut engine, &early);
    let (_, late) = applied(&mut engine, &connection());
    let user = |it: Connection| it.process.unwrap().user.clone().unwrap();
    assert_eq!(user(early), user(late));
}

#[test]
fn applying_is_deterministic_and_twice_is_once_where_nothing_is_replaced() {
    let rules = [
        rule("keep", "user", "when = { user = \"root\" }"),
        rule("drop", "user", ""),
        rule("truncate", "remote.address", ""),
        rule("truncate", "hostname", ""),
        rule(
            "truncate",
            "process.path",
            "when = { direction = \"outbound\" }",
        ),
        rule("drop", "process.ancestors", "when = { protocol = \"udp\" }"),
    ]
    .concat();
    let policy = policy(&rules);
    let (mut one, mut other) = (engine(&policy), engine(&policy));
    let mut changed = 0;
    for record in sample::records(9, 3_000) {
        let (mut first, mut second) = (record.clone(), record.clone());
        let decision = one.apply(&mut first);
        assert_eq!(
            decision,
            engine(&policy).apply(&mut second),
            "whatever came before"
        );
        assert_eq!(first, second);
        changed += u32::from(decision == Decision::Changed);
        other.apply(&mut second);
        assert_eq!(first, second, "twice");
    }
    assert!(changed > 1_000, "{changed}");
}

#[test]
fn an_open_and_its_close_get_the_same_treatment() {
    let rules = [
        rule("drop", "record", "when = { port = 22 }"),
        rule("drop", "user", ""),
        rule(
            "truncate",
            "remote.address",
            "when = { destination = \"0.0.0.0/0\" }",
        ),
    ]
    .concat();
    let mut engine = engine(&policy(&rules));
    let (mut dropped, mut treated) = (0, 0);
    for record in sample::closes(4, 2_000) {
        let Record::Connection(close) = record else {
            unreachable!("closes are connections")
        };
        let open = Connection {
            phase: Phase::Open,
            ..close.clone()
        };
        let (one, open) = applied(&mut engine, &open);
        let (other, close) = applied(&mut engine, &close);
        assert_eq!(one, other);
        assert_eq!(open.treated, close.treated);
        dropped += u32::from(matches!(one, Decision::Dropped(_)));
        treated += u32::from(one == Decision::Changed);
    }
    assert!(dropped > 100 && treated > 1_000, "{dropped} {treated}");
}

#[test]
fn an_aggregate_that_is_dropped_counts_its_connections() {
    let mut engine = engine(&policy(&rule("drop", "record", "when = { port = 443 }")));
    let mut dropped = 0;
    let mut made = 0;
    for record in sample::records(11, 4_000) {
        let Record::Connection(connection) = record else {
            continue;
        };
        let Some(aggregate) = connection.aggregate.as_deref().copied() else {
            continue;
        };
        made += aggregate.connections;
        let (decision, _) = applied(&mut engine, &connection);
        if matches!(decision, Decision::Dropped(_)) {
            dropped += aggregate.connections;
        }
    }
    let tally = Tally {
        closes_made: made + 5,
        closes_recorded: 5,
        closes_aggregated: made,
        ..Tally::default()
    };
    let mut ledger = Record::Notice(Notice {
        at: Stamp::default(),
        kind: NoticeKind::Ledger(tally),
    });
    engine.apply(&mut ledger);
    let expected = Tally {
        closes_aggregated: made - dropped,
        closes_dropped: dropped,
        ..tally
    };
    let kind = NoticeKind::Ledger(expected);
    assert!(dropped > 1_000 && dropped < made);
    assert_eq!(
        ledger,
        Record::Notice(Notice {
            at: Stamp::default(),
            kind
        })
    );
}

#[test]
fn the_books_balance() {
    let rules = [
        rule("drop", "record", "when = { port = 443 }"),
        rule("drop", "user", ""),
    ];
    let mut engine = engine(&policy(&rules.concat()));
    let mut kept = 0;
    let closes = sample::closes(5, 1_000);
    let made = closes.len() as u64;
    for mut record in closes {
        kept += u64::from(!matches!(engine.apply(&mut record), Decision::Dropped(_)));
    }
    let tally = Tally {
        closes_made: made + 3,
        closes_recorded: made,
        closes_lost: 3,
        ..Tally::default()
    };
    let mut ledger = Record::Notice(Notice {
        at: Stamp::default(),
        kind: NoticeKind::Ledger(tally),
    });
    assert_eq!(engine.apply(&mut ledger), Decision::Kept);
    let Record::Notice(Notice {
        kind: NoticeKind::Ledger(tally),
        ..
    }) = ledger
    else {
        panic!("it stays a ledger")
    };
    assert_eq!(tally.closes_recorded, kept);
    assert_eq!(
        tally.closes_made,
        tally.closes_recorded + tally.closes_dropped + tally.closes_lost
    );
    let counts = engine.take_counts(Stamp::default()).unwrap();
    assert_eq!(
        (counts.records, counts.dropped),
        (made, tally.closes_dropped)
    );
    assert_eq!(counts.rules[0].dropped, counts.dropped);
    assert_eq!(counts.rules[1].changed, counts.changed);
    assert!(counts.dropped > 100 && counts.changed > 100);
    assert_eq!(
        engine.take_counts(Stamp::default()),
        None,
        "they begin anew"
    );
}

#[test]
fn what_is_shown_is_what_would_be_recorded_and_is_counted_nowhere() {
    let rules = [
        rule("drop", "record", "when = { port = 22 }"),
        rule("drop", "traffic", "when = { port = 443 }"),
        rule(
            "pseudonymise",
            "remote.address",
            "when = { protocol = \"tcp\" }",
        ),
        rule("drop", "user", "when = { direction = \"inbound\" }"),
    ];
    let policy = policy(&rules.concat());
    let (mut shows, mut applies) = (engine(&policy), engine(&policy));
    let mut seen = std::collections::BTreeSet::new();
    for record in sample::closes(9, 2_000) {
        let Record::Connection(mut connection) = record else {
            unreachable!("closes are connections")
        };
        connection.phase = Phase::Update;
        let (decision, recorded) = applied(&mut applies, &connection);
        let mut shown = connection.clone();
        match shows.show(&mut shown) {
            Shown::Nothing => assert_eq!(decision, Decision::Dropped(1)),
            Shown::WithTraffic => assert_eq!(shown, recorded),
            Shown::WithoutTraffic => {
                assert_eq!(shown, recorded);
                assert_eq!(
                    (shown.traffic.bytes_out, shown.remote.port),
                    (None, Some(443))
                );
            }
        }
        seen.insert(decision != Decision::Dropped(1));
    }
    assert_eq!(seen.len(), 2, "some are dropped and some are not");
    assert_eq!(shows.take_counts(Stamp::default()), None);
    assert!(applies.take_counts(Stamp::default()).is_some());
    let mut silent = connection();
    silent.traffic = record::Traffic::default();
    assert_eq!(
        shows.show(&mut silent),
        Shown::WithoutTraffic,
        "the rule is there even where nothing is known"
    );
}

#[test]
fn without_a_policy_everything_is_kept() {
    let mut engine = Engine::default();
    for record in sample::records(6, 500) {
        let mut after = record.clone();
        assert_eq!(engine.apply(&mut after), Decision::Kept);
        assert_eq!(after, record);
    }
    assert_eq!(engine.take_counts(Stamp::default()), None);
}

#[test]
fn an_explanation_names_the_rule_of_every_part_and_why_others_do_not_match() {
    let rules = [
        rule(
            "keep",
            "user",
            "when = { user = \"ben\", port = [443, 80] }",
        ),
        rule("drop", "user", ""),
        rule("truncate", "hostname", ""),
    ]
    .concat();
    let policy = policy(&rules);
    let explained = explain(&policy, Some(&key()), &connection());
    assert_eq!(explained.decision, Decision::Changed);
    let misses: Vec<_> = explained.rules.iter().map(|it| it.misses.clone()).collect();
    assert_eq!(misses, [vec!["user"], vec![], vec![]]);
    assert_eq!(explained.rules[1].line, Some(7));
    let part = |field| explained.parts.iter().find(|it| it.field == field).unwrap();
    let user = part(PolicyField::UserName);
    assert_eq!(user.decided, Some((2, Some(PolicyAction::Drop))));
    assert_eq!((user.before.as_str(), user.after.as_deref()), ("ana", None));
    let hostname = part(PolicyField::Hostname);
    assert_eq!(hostname.after.as_deref(), Some("Example.com"));
    assert_eq!(part(PolicyField::RemotePort).decided, None);
}

#[test]
fn a_hundred_and_twenty_eight_rules_work_and_one_more_is_refused() {
    let rules: String = (0..127)
        .map(|port| rule("drop", "record", &format!("when = {{ port = {port} }}")))
        .collect();
    let last = rule("drop", "user", "when = { port = 443 }");
    let full = policy(&(rules.clone() + &last));
    let (_, after) = applied(&mut engine(&full), &connection());
    assert_eq!(after.treated.unwrap()[0].rule, 128);
    let problems = Policy::parse(&format!("version = 1\n{rules}{last}{last}")).unwrap_err();
    assert!(problems[0].message.contains("129 rules"), "{problems:?}");
    let _: Arc<Policy> = full;
}
