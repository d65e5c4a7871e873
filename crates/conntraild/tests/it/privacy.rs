//! The privacy policy, from the file to what is kept; no privilege is needed.

use crate::recorder::{Kept, Recorder};
use record::{
    Connection, NoticeKind, Phase, PolicyAction, PolicyChanged, PolicyField, PolicyState, Record,
};
use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// Two polls and a bit.
const LONG_ENOUGH: Duration = Duration::from_millis(700);

/// A folder with a configuration in it, and beside it a policy.
struct Folder(TempDir);

impl Folder {
    fn new(policy: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        let config =
            "[sensor]\nkind = \"sampled\"\npoll_interval_ms = 200\n[flow]\nburst_max = 0\n";
        fs::write(folder.config(), config).unwrap();
        folder.set_policy(policy);
        folder
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("conntrail.toml")
    }

    fn set_policy(&self, rules: &str) {
        let text = format!("version = 1\n{rules}");
        // Who writes a file in place is seen half way; who renames is not.
        let draft = self.0.path().join("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.0.path().join("policy.toml")).unwrap();
    }

    fn record(&self) -> Recorder {
        Recorder::start(&["--config", self.config().to_str().unwrap()])
    }
}

fn rule(name: &str, action: &str, fields: &str, when: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\naction = \"{action}\"\nfields = [{fields}]\n\
         when = {{ {when} }}\n"
    )
}

fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn policies(kept: &Kept) -> Vec<&PolicyChanged> {
    let changed = kept.notices.iter().filter_map(|it| match &it.kind {
        NoticeKind::PolicyChanged(changed) => Some(changed),
        _ => None,
    });
    changed.collect()
}

fn states(kept: &Kept) -> Vec<PolicyState> {
    policies(kept).iter().map(|it| it.state).collect()
}

/// What was counted, by the name of the rule: records dropped, and records changed.
fn counts(kept: &Kept) -> BTreeMap<String, (u64, u64)> {
    let mut names: &[String] = &[];
    let mut counts = BTreeMap::new();
    // Counts are told before the policy that they were counted under gives way.
    for notice in &kept.notices {
        match &notice.kind {
            NoticeKind::PolicyChanged(changed) => names = &changed.rules,
            NoticeKind::PolicyCounts(policy) => {
                for rule in &policy.rules {
                    let name = names[usize::from(rule.rule) - 1].clone();
                    let count: &mut (u64, u64) = counts.entry(name).or_default();
                    count.0 += rule.dropped;
                    count.1 += rule.changed;
                }
            }
            _ => {}
        }
    }
    counts
}

/// The closes of the clients' sides of connections to `port`.
fn closes_to(kept: &Kept, port: u16) -> Vec<&Connection> {
    kept.closes()
        .filter(|it| it.remote.port == Some(port))
        .collect()
}

#[test]
fn what_the_policy_takes_away_is_never_recorded_and_what_it_did_is() {
    let (shunned, treated) = (listener(), listener());
    let (shunned_port, treated_port) = (port(&shunned), port(&treated));
    let rules = [
        rule(
            "shunned",
            "drop",
            "\"record\"",
            &format!("port = {shunned_port}"),
        ),
        rule("users", "drop", "\"user\"", "destination = \"loopback\""),
        rule(
            "folders",
            "truncate",
            "\"process.path\"",
            "destination = \"loopback\"",
        ),
        rule(
            "here",
            "pseudonymise",
            "\"local.address\"",
            &format!("port = {treated_port}"),
        ),
    ];
    let folder = Folder::new(&rules.concat());
    let recorder = folder.record();
    sleep(LONG_ENOUGH);
    let ends: Vec<_> = (0..5)
        .flat_map(|_| [connect(&shunned), connect(&treated)])
        .collect();
    sleep(LONG_ENOUGH);
    drop(ends);
    sleep(LONG_ENOUGH);
    let kept = recorder.stop();
    assert!(closes_to(&kept, shunned_port).is_empty());
    let ours = closes_to(&kept, treated_port);
    assert_eq!(ours.len(), 5);
    for close in ours {
        let process = close.process.as_ref().unwrap();
        assert_eq!((&process.user, process.login_uid), (&None, None));
        assert!(!process.path.as_ref().unwrap().contains('/'), "{process:?}");
        let local = close.local.address.unwrap();
        assert_eq!(record::pseudonym::version(local), Some(4), "{local}");
        let marks: Vec<_> = close
            .treated
            .as_deref()
            .unwrap()
            .iter()
            .map(|it| it.rule)
            .collect();
        assert!(marks.contains(&2) && marks.contains(&4), "{marks:?}");
    }
    let counts = counts(&kept);
    assert!(counts["shunned"].0 >= 5, "{counts:?}");
    assert!(counts["here"].1 >= 5, "{counts:?}");
    assert_eq!(states(&kept), [PolicyState::InForce]);
    assert_books(&kept);
}

/// What ended was recorded, dropped by policy or declared lost; the trail has what was recorded.
fn assert_books(kept: &Kept) {
    let stopped = kept.notices.iter().find_map(|it| match &it.kind {
        NoticeKind::RecorderStopped { tally, .. } => Some(*tally),
        _ => None,
    });
    let tally = stopped.unwrap();
    let accounted = tally.closes_recorded + tally.closes_dropped + tally.closes_lost;
    assert_eq!(tally.closes_made, accounted, "{tally:?}");
    assert_eq!(
        kept.closes().count() as u64,
        tally.closes_recorded,
        "{tally:?}"
    );
    let counts = kept.notices.iter().filter_map(|it| match &it.kind {
        NoticeKind::PolicyCounts(counts) => Some(counts.records - counts.dropped),
        _ => None,
    });
    let passed: u64 = counts.sum();
    assert_eq!(
        kept.connections.len() as u64,
        passed,
        "what passed is in the trail"
    );
}

#[test]
fn a_policy_that_changes_while_connections_run_loses_none_of_them() {
    const ROUNDS: usize = 12;
    const EACH: usize = 8;
    let listener = listener();
    let port = port(&listener);
    let names = ["odd", "even"];
    let when = format!("port = {port}");
    let policy = |round: usize| {
        let action = if round.is_multiple_of(2) {
            "drop"
        } else {
            "pseudonymise"
        };
        rule(names[round % 2], action, "\"user\"", &when)
    };
    let folder = Folder::new(&policy(0));
    let recorder = folder.record();
    sleep(LONG_ENOUGH);
    let mut ends = Vec::new();
    for round in 1..=ROUNDS {
        ends.push((0..EACH).map(|_| connect(&listener)).collect::<Vec<_>>());
        folder.set_policy(&policy(round));
        recorder.hang_up();
        recorder.wait_for("is in force");
        if ends.len() > 3 {
            drop(ends.remove(0));
        }
    }
    folder.set_policy("[[rule]]\nname = \"wrong\"\naction = \"forget\"\nfields = [\"user\"]\n");
    recorder.hang_up();
    recorder.wait_for("is refused");
    sleep(LONG_ENOUGH);
    drop(ends);
    sleep(LONG_ENOUGH);
    let kept = recorder.stop();
    assert_eq!(closes_to(&kept, port).len(), ROUNDS * EACH, "each once");
    let expected = [
        vec![PolicyState::InForce; ROUNDS + 1],
        vec![PolicyState::Kept],
    ]
    .concat();
    assert_eq!(states(&kept), expected);
    let refused = policies(&kept)[ROUNDS + 1];
    assert!(
        refused
            .problem
            .as_ref()
            .unwrap()
            .contains("line 4, column 10"),
        "{refused:?}"
    );
    assert_eq!(
        refused.hash,
        policies(&kept)[ROUNDS].hash,
        "what was in force stays"
    );
    assert_every_record_is_under_the_policy_told_before(&kept, port);
    assert_books(&kept);
}

fn assert_every_record_is_under_the_policy_told_before(kept: &Kept, port: u16) {
    let mut in_force = String::new();
    let mut seen = BTreeMap::new();
    for record in &kept.records {
        match record {
            Record::Notice(notice) => {
                if let NoticeKind::PolicyChanged(changed) = &notice.kind {
                    in_force.clone_from(&changed.rules[0]);
                }
            }
            Record::Connection(connection) if connection.remote.port == Some(port) => {
                let marks = connection.treated.as_deref().unwrap();
                let mark = marks
                    .iter()
                    .find(|it| it.field == PolicyField::User)
                    .unwrap();
                let expected = match in_force.as_str() {
                    "odd" => PolicyAction::Drop,
                    _ => PolicyAction::Pseudonymise,
                };
                assert_eq!(mark.action, expected, "under {in_force}");
                *seen.entry(in_force.clone()).or_insert(0) += 1;
            }
            Record::Connection(_) => {}
        }
    }
    assert_eq!(seen.len(), 2, "both policies saw records: {seen:?}");
}

#[test]
fn a_start_with_a_wrong_policy_records_nothing_personal_or_goes_by_the_last_good_one() {
    let listener = listener();
    let folder = Folder::new("[[rule]]\nname = \"no fields\"\naction = \"drop\"\n");
    let recorder = folder.record();
    let play = || {
        sleep(LONG_ENOUGH);
        let ends = connect(&listener);
        sleep(LONG_ENOUGH);
        drop(ends);
        sleep(LONG_ENOUGH);
    };
    play();
    folder.set_policy(&rule("good", "drop", "\"user.name\"", "protocol = \"tcp\""));
    recorder.hang_up();
    recorder.wait_for("is in force");
    // What is recorded is on the disk within a second.
    sleep(Duration::from_millis(1_500));
    folder.set_policy("nonsense");
    let config = folder.config();
    let arguments = ["--config", config.to_str().unwrap()];
    let recorder = recorder.crash_and_restart(&arguments);
    play();
    let kept = recorder.stop();
    assert_eq!(
        states(&kept),
        [
            PolicyState::Strict,
            PolicyState::InForce,
            PolicyState::LastGood
        ]
    );
    assert_eq!(policies(&kept)[2].rules, ["good"]);
    assert_eq!(policies(&kept)[2].hash, policies(&kept)[1].hash);
    let strict = closes_before(&kept, PolicyState::InForce);
    assert!(
        !strict.is_empty(),
        "that there were connections is recorded"
    );
    for close in strict {
        assert_eq!((&close.process, &close.hostname), (&None, &None));
        assert_eq!((close.remote, close.local), Default::default());
        assert!(matches!(close.phase, Phase::Close(_)));
    }
    let later: Vec<_> = kept.closes().filter(|it| it.id.epoch == 2).collect();
    assert!(
        later
            .iter()
            .any(|it| it.remote.port == Some(port(&listener)))
    );
    let user = |it: &&Connection| it.process.as_ref().and_then(|it| it.user.clone());
    assert!(later.iter().filter_map(user).all(|it| it.name.is_none()));
}

/// The closes that were recorded before a policy was first in this state.
fn closes_before(kept: &Kept, state: PolicyState) -> Vec<&Connection> {
    let is_state = |record: &&Record| match record {
        Record::Notice(notice) => {
            matches!(&notice.kind, NoticeKind::PolicyChanged(it) if it.state == state)
        }
        Record::Connection(_) => false,
    };
    let closes = kept.records.iter().take_while(|it| !is_state(it));
    let closes = closes.filter_map(|record| match record {
        Record::Connection(it) if matches!(it.phase, Phase::Close(_)) => Some(it),
        Record::Connection(_) | Record::Notice(_) => None,
    });
    closes.collect()
}

#[test]
fn events_are_not_written_past_a_policy() {
    let folder = Folder::new(&rule("users", "drop", "\"user\"", "protocol = \"tcp\""));
    let events = folder.0.path().join("events");
    let output = std::process::Command::new(crate::recorder::program("conntraild"))
        .arg("--state-dir")
        .arg(folder.0.path().join("state"))
        .arg("--config")
        .arg(folder.config())
        .arg("--record-events")
        .arg(&events)
        .args(["--for", "1s"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a privacy policy is in force"), "{said}");
    assert!(!events.exists());
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

mod kernel {
    use super::*;
    use crate::truth::Namespace;
    use record::LostKind;
    use std::collections::BTreeSet;
    use std::thread::scope;

    #[test]
    #[ignore = "needs kernel: root, eBPF and network namespaces"]
    fn twenty_thousand_connections_are_recorded_once_while_policies_come_and_go() {
        const COUNT: usize = 20_000;
        let namespace = Namespace::make("policy");
        let names = ["odd", "even"];
        let policy = |round: usize| {
            let action = ["drop", "pseudonymise"][round % 2];
            rule(names[round % 2], action, "\"user\"", "protocol = \"tcp\"")
        };
        let folder = Folder::new(&policy(0));
        let config = folder.config();
        let recorder =
            Recorder::start(&["--sensor", "kernel", "--config", config.to_str().unwrap()]);
        let rounds = scope(|scope| {
            let played = scope.spawn(|| namespace.play(&["fork", "--count", &COUNT.to_string()]));
            let mut rounds = 0;
            while !played.is_finished() {
                rounds += 1;
                folder.set_policy(&policy(rounds));
                recorder.hang_up();
                recorder.wait_for("is in force");
            }
            assert_eq!(played.join().unwrap().len(), COUNT);
            rounds
        });
        let kept = recorder.stop();
        assert_eq!(states(&kept), vec![PolicyState::InForce; rounds + 1]);
        let ours = |it: &&Connection| it.network_namespace == Some(namespace.inode);
        let closes: Vec<_> = kept.closes().filter(ours).collect();
        let ids: BTreeSet<_> = closes.iter().map(|it| it.id).collect();
        assert_eq!(
            (closes.len(), ids.len()),
            (2 * COUNT, 2 * COUNT),
            "each end once"
        );
        assert_eq!(kept.declared_lost(LostKind::Closes), 0);
        let dropped = closes
            .iter()
            .filter(|it| it.process.as_ref().unwrap().user.is_none());
        let dropped = dropped.count();
        assert!(
            dropped > 100 && dropped < 2 * COUNT - 100,
            "{dropped} under one of two"
        );
        let is_treated = |it: &&&Connection| it.treated.is_some();
        assert_eq!(closes.iter().filter(is_treated).count(), 2 * COUNT);
        assert!(rounds >= 3, "{rounds} policies");
        assert_books(&kept);
    }
}
