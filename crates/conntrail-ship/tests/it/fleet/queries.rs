//! The queries of `fleet/queries`, on records of which the answer is known, and that what is
//! committed is what is generated.

use super::made::{Fleet, HOUR_NS, Machine, close, from_now, notice, started};
use conntrail_ship::fleet::{self, Form};
use record::{
    Connection, Direction, Endpoint, Hostname, NameSource, NoticeKind, PolicyChanged, PolicyState,
    Process, Record, Undelivered, UndeliveredCause, User,
};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MINUTE_NS: i64 = 60_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fleet")
}

fn answer(fleet: &Fleet, query: &str) -> Vec<Vec<String>> {
    let path = folder().join("queries").join(query);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{query}: {error}"));
    let lines = fleet.ask(text.trim_end().trim_end_matches(';'));
    let columns = |line: &str| line.split('\t').map(str::to_owned).collect();
    lines
        .lines()
        .filter(|it| !it.is_empty())
        .map(columns)
        .collect()
}

fn program(connection: &mut Connection, name: &str, user: &str) {
    let process = connection.process.as_deref();
    let mut process: Process = process.expect("a close has a process").clone();
    process.name = Some(name.into());
    process.signature = None;
    process.user = Some(User {
        uid: 501,
        name: Some(user.into()),
    });
    connection.process = Some(Arc::new(process));
    connection.direction = Direction::Outbound;
    connection.aggregate = None;
}

fn destination(connection: &mut Connection, host: Option<&str>, address: &str) {
    connection.hostname = host.map(|name| Hostname {
        name: name.into(),
        source: NameSource::SystemLibrary,
    });
    connection.remote = Endpoint {
        address: Some(address.parse::<IpAddr>().unwrap()),
        port: Some(443),
    };
}

fn call(offset_ns: i64, name: &str, host: Option<&str>, bytes_out: Option<u64>) -> Record {
    close(offset_ns, |it| {
        program(it, name, "ada");
        destination(it, host, "192.0.2.7");
        it.traffic.bytes_out = bytes_out;
        it.traffic.bytes_in = Some(10);
    })
}

/// Records of one machine, put in with a start before them.
fn with(records: Vec<Record>) -> Fleet {
    let mut fleet = Fleet::start();
    let mut all = vec![started(from_now(-20 * DAY_NS), None)];
    all.extend(records);
    fleet.add(&[Machine::new(1).batch(1, 1, &all)]);
    // Everything came twice, and counts once.
    fleet.add(&[Machine::new(1).batch(1, 1, &all)]);
    fleet
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn top_talkers_are_ordered_by_bytes_and_unknown_bytes_are_not_zero() {
    let fleet = with(vec![
        call(-HOUR_NS, "curl", Some("a.example"), Some(100)),
        call(-HOUR_NS, "curl", Some("b.example"), Some(50)),
        call(-HOUR_NS, "curl", Some("b.example"), None),
        call(-HOUR_NS, "mute", Some("c.example"), None),
        call(-3 * DAY_NS, "old", Some("c.example"), Some(9_000)),
    ]);
    let found = answer(&fleet, "top-talkers.sql");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], ["curl", "", "3", "1", "2", "150", "30", "1"]);
    assert_eq!(found[1], ["mute", "", "1", "1", "1", "\\N", "10", "1"]);
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn a_destination_is_new_only_when_nobody_called_it_before() {
    let fleet = with(vec![
        call(-10 * MINUTE_NS, "curl", Some("new.example"), None),
        call(-9 * MINUTE_NS, "curl", Some("known.example"), None),
        call(-2 * DAY_NS, "other", Some("known.example"), None),
        call(-8 * MINUTE_NS, "curl", None, None),
    ]);
    let found = answer(&fleet, "first-seen-destinations.sql");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (&*found[0][0], &*found[0][2], &*found[0][3]),
        ("new.example", "1", "['curl']")
    );
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn an_even_beat_is_a_beacon_and_an_uneven_one_is_none() {
    let beat = |index: i64| {
        let jitter_ns = (index % 5) * 500_000_000;
        call(
            -5 * HOUR_NS + index * MINUTE_NS + jitter_ns,
            "beacon",
            Some("c2.example"),
            None,
        )
    };
    let uneven = |index: i64| {
        let offset_ns = -20 * HOUR_NS + index * index * 5_000_000_000;
        call(offset_ns, "reader", Some("news.example"), None)
    };
    let records = (0..60).map(beat).chain((0..60).map(uneven)).collect();
    let found = answer(&with(records), "beaconing.sql");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0][1..5], ["beacon", "c2.example", "443", "60"]);
    assert_eq!(found[0][5], "60");
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn addresses_of_both_versions_are_found() {
    let to = |address: &str| {
        close(-HOUR_NS, |it| {
            program(it, "curl", "ada");
            destination(it, None, address);
        })
    };
    let fleet = with(vec![
        to("203.0.113.66"),
        to("2001:db8::66"),
        to("203.0.113.67"),
    ]);
    let found = answer(&fleet, "connections-to-addresses.sql");
    let addresses: Vec<&str> = found.iter().map(|it| it[7].as_str()).collect();
    assert_eq!(addresses, ["::ffff:203.0.113.66", "2001:db8::66"]);
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn bytes_are_summed_by_user_and_day() {
    let by = |offset_ns: i64, user: &str, bytes_out: Option<u64>| {
        close(offset_ns, |it| {
            program(it, "curl", user);
            it.traffic.bytes_out = bytes_out;
        })
    };
    let fleet = with(vec![
        by(-2 * DAY_NS, "ada", Some(5)),
        by(-2 * DAY_NS, "ada", Some(6)),
        by(-2 * DAY_NS, "bob", None),
        by(-DAY_NS, "ada", Some(7)),
    ]);
    let found = answer(&fleet, "bytes-per-user.sql");
    let found: Vec<_> = found.iter().map(|it| it[1..4].join(" ")).collect();
    assert_eq!(found, ["ada 11 0", "bob \\N 1", "ada 7 0"]);
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn an_hour_of_a_machine_is_told_in_order() {
    let fleet = with(vec![
        call(-30 * MINUTE_NS, "curl", Some("a.example"), None),
        notice(from_now(-40 * MINUTE_NS), NoticeKind::Sleeping),
        call(-3 * HOUR_NS, "curl", Some("b.example"), None),
    ]);
    let found = answer(&fleet, "one-endpoint-one-hour.sql");
    let found: Vec<_> = found.iter().map(|it| it[4].as_str()).collect();
    assert_eq!(found, ["sleeping", "close"]);
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn each_alert_finds_what_it_is_for_and_nothing_else() {
    let alerts = [
        "alert-unexplained.sql",
        "alert-silent.sql",
        "alert-undelivered.sql",
        "alert-policy-off.sql",
        "alert-tampered.sql",
    ];
    let quiet = with(vec![close(-HOUR_NS, |_| {}), policy(PolicyState::InForce)]);
    for alert in alerts {
        assert_eq!(answer(&quiet, alert), Vec::<Vec<String>>::new(), "{alert}");
    }
    let undelivered = NoticeKind::Undelivered(Undelivered {
        destination: "lake".to_owned(),
        source: None,
        epoch: 9,
        first_sequence: 1,
        last_sequence: 2,
        records: None,
        cause: UndeliveredCause::Unknown,
        reason: "the link broke".to_owned(),
    });
    let mut loud = with(vec![
        notice(from_now(0), undelivered),
        policy(PolicyState::Removed),
    ]);
    let silent = Machine::new(2);
    loud.add(&[silent.batch(3, 1, &[started(from_now(-DAY_NS), Some((2, 5)))])]);
    for alert in alerts {
        let found = answer(&loud, alert);
        assert_eq!(found.len(), 1, "{alert}: {found:?}");
    }
    assert_eq!(answer(&loud, "alert-silent.sql")[0][0], silent.id());
    assert_eq!(
        answer(&loud, "alert-unexplained.sql")[0].last().unwrap(),
        "5"
    );
}

fn policy(state: PolicyState) -> Record {
    let changed = PolicyChanged {
        state,
        hash: None,
        source: None,
        problem: None,
        rules: Vec::new(),
    };
    notice(from_now(0), NoticeKind::PolicyChanged(changed))
}

#[test]
#[ignore = "needs fleet: starts ClickHouse"]
fn rollups_count_once_what_came_twice_and_take_up_what_came_later() {
    let mut fleet = with(vec![
        call(-2 * DAY_NS, "curl", Some("a.example"), Some(100)),
        call(-2 * DAY_NS, "curl", Some("a.example"), None),
    ]);
    let refresh = |fleet: &Fleet| {
        for view in ["daily_destinations_refresh", "daily_processes_refresh"] {
            fleet
                .engine
                .run(&format!("SYSTEM REFRESH VIEW conntrail.{view}"));
            fleet
                .engine
                .run(&format!("SYSTEM WAIT VIEW conntrail.{view}"));
        }
    };
    let sums = "SELECT connections, endpoints, bytes_out, connections_without_bytes \
                FROM conntrail.daily_destinations FINAL";
    refresh(&fleet);
    assert_eq!(fleet.ask(sums), "2\t1\t100\t1");
    let late = call(-2 * DAY_NS, "curl", Some("a.example"), Some(1));
    fleet.add(&[Machine::new(2).batch(1, 1, &[late])]);
    refresh(&fleet);
    assert_eq!(fleet.ask(sums), "3\t2\t101\t1");
    let processes = "SELECT sum(connections), count() FROM conntrail.daily_processes FINAL";
    assert_eq!(fleet.ask(processes), "3\t2");
}

#[test]
fn what_is_committed_is_what_is_generated() {
    let replicated = Form::Replicated {
        cluster: "conntrail".to_owned(),
    };
    for (form, name) in [(Form::Single, "single"), (replicated, "replicated")] {
        for statements in fleet::ddl(&form, "conntrail") {
            let path = folder().join("clickhouse").join(name).join(statements.name);
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == statements.text,
                "{} is another; run `conntrail-ship fleet ddl --out fleet/clickhouse/single`, and \
                 with `--replicated --cluster conntrail` for the other",
                path.display()
            );
        }
    }
}

#[test]
fn the_replicated_form_differs_only_in_engine_cluster_and_storage() {
    let cluster = "conntrail".to_owned();
    let replicated = fleet::ddl(&Form::Replicated { cluster }, "conntrail");
    let single = fleet::ddl(&Form::Single, "conntrail");
    let statements = |text: &str| -> String {
        let lines = text
            .lines()
            .skip_while(|it| it.starts_with("-- ") || it.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    };
    for (single, replicated) in single.iter().zip(&replicated) {
        assert!(replicated.text.contains("NOT RUN"));
        let plain = statements(&replicated.text)
            .replace(" ON CLUSTER 'conntrail'", "")
            .replace("ReplicatedReplacingMergeTree", "ReplacingMergeTree")
            .replace(", storage_policy = 'default'", "");
        assert_eq!(plain, statements(&single.text), "{}", single.name);
        assert_ne!(replicated.text, single.text, "{}", single.name);
    }
}
