//! What a policy costs a record: `cargo run --release -p policy --example policy_cost`.
//!
//! Fifty rules of every kind of criterion, over the closes of an endpoint. Each figure is the least
//! of several runs, in nanoseconds a record.

#![expect(
    clippy::disallowed_methods,
    reason = "whoever measures needs a clock; what is measured has none"
)]

use policy::{Decision, Engine, Policy, PseudonymKey};
use record::{Connection, Process, Record, Stamp, sample};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

const RECORDS: usize = 200_000;
const RUNS: usize = 7;

/// Fifty rules that ask for what no record of the sample has.
fn rules_that_do_not_match() -> String {
    let mut text = "version = 1\n".to_owned();
    for number in 0..50 {
        let when = match number % 10 {
            0 => format!("process = \"/opt/vpn-{number}/**\""),
            1 => format!("process = [\"agent-{number}\", \"/srv/*/agent-{number}\"]"),
            2 => format!("team = \"TEAM{number}\", platform = false"),
            3 => format!("signing_id = \"com.vendor{number}.*\""),
            4 => format!("destination = [\"10.{number}.0.0/16\", \"2001:db9:{number}::/48\"]"),
            5 => format!("destination = [\"*.intern{number}.example\", \"host{number}.example\"]"),
            6 => format!(
                "port = [{}, \"2{number}00-2{number}99\"], protocol = \"udp\"",
                9_000 + number
            ),
            7 => format!("user = [\"user{number}\", {}]", 70_000 + number),
            8 => format!("destination = \"loopback\", user = \"user{number}\""),
            _ => format!("direction = \"unknown\", port = {}", 9_500 + number),
        };
        let rule = format!(
            "[[rule]]\nname = \"rule {number}\"\naction = \"drop\"\nfields = [\"record\"]\n\
             when = {{ {when} }}\n"
        );
        text.push_str(&rule);
    }
    text
}

fn rules_that_treat(action: &str, fields: &str) -> String {
    let mut text = rules_that_do_not_match();
    text.truncate(text.rfind("[[rule]]").unwrap_or(text.len()));
    write!(
        text,
        "[[rule]]\nname = \"treats\"\naction = \"{action}\"\nfields = [{fields}]\n"
    )
    .expect("writing to a string cannot fail");
    text
}

fn closes() -> Vec<Record> {
    let mut records = sample::closes(1, RECORDS);
    for (record, number) in records.iter_mut().zip(0..) {
        if let (Record::Connection(connection), true) = (record, number % 2 == 0) {
            connection.hostname = Some(record::Hostname {
                name: "edge.region.service.example.com".into(),
                source: record::NameSource::SystemLibrary,
            });
        }
    }
    records
}

/// Every record has a process that nobody saw before, as with short-lived programs.
fn with_own_processes(mut records: Vec<Record>) -> Vec<Record> {
    for record in &mut records {
        if let Record::Connection(Connection {
            process: Some(process),
            ..
        }) = record
        {
            *process = Arc::new(Process::clone(process));
        }
    }
    records
}

fn measure(what: &str, text: Option<&str>, records: &[Record]) {
    let policy = text.map(|text| match Policy::parse(text) {
        Ok(policy) => Arc::new(policy),
        Err(problems) => panic!("{problems:?}"),
    });
    let mut best_ns = f64::INFINITY;
    let mut touched = 0;
    for _ in 0..RUNS {
        let mut engine = Engine::default();
        engine.set_policy(policy.clone(), Stamp::default());
        engine.set_key(Some(PseudonymKey::new([7; policy::KEY_BYTES])));
        let mut work = records.to_vec();
        let began = Instant::now();
        touched = 0;
        for record in &mut work {
            touched += usize::from(engine.apply(record) != Decision::Kept);
        }
        best_ns = best_ns.min(began.elapsed().as_nanos() as f64 / records.len() as f64);
    }
    println!(
        "{what:<52} {best_ns:>7.0} ns   {touched} of {} touched",
        records.len()
    );
}

fn main() {
    let shared = closes();
    let own = with_own_processes(closes());
    let none = rules_that_do_not_match();
    measure("no policy", None, &shared);
    measure("50 rules, nothing matches", Some(&none), &shared);
    measure(
        "50 rules, nothing matches, every process is new",
        Some(&none),
        &own,
    );
    for (action, fields) in [
        ("drop", "\"user\""),
        ("truncate", "\"remote.address\", \"hostname\""),
        ("pseudonymise", "\"remote.address\", \"user\""),
    ] {
        let text = rules_that_treat(action, fields);
        measure(
            &format!("50 rules, the last: {action} {fields}"),
            Some(&text),
            &shared,
        );
    }
}
