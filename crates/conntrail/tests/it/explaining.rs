//! Checking a privacy policy, and asking what it does.

use crate::tool::{complaint, office, run, stdout};
use policy::{Engine, Policy};
use record::{Notice, NoticeKind, PolicyChanged, PolicyState, Record, Stamp, sample};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use trail::{TrailWriter, WriterOptions};

const RULES: &str = "version = 1
[[rule]]
name = \"backups go unseen\"
action = \"drop\"
fields = [\"record\"]
when = { process = \"backup\", port = 22 }
[[rule]]
name = \"the works council: no users\"
action = \"drop\"
fields = [\"user\"]
[[rule]]
name = \"networks, not hosts\"
action = \"truncate\"
fields = [\"remote.address\"]
";

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// A trail of one epoch, as the recorder writes it under [`RULES`].
    fn record(&self) {
        let policy = Arc::new(Policy::parse(RULES).unwrap());
        let mut engine = Engine::default();
        engine.set_policy(Some(Arc::clone(&policy)), Stamp::default());
        let options = WriterOptions::new(sample::device(), 1 << 30);
        let mut records = sample::closes(1, 20);
        let now = records[0].at();
        let mut writer = TrailWriter::open(&self.state(), options, now).unwrap();
        let notice = |kind| Record::Notice(Notice { at: now, kind });
        let changed = PolicyChanged {
            state: PolicyState::InForce,
            hash: policy.hash(),
            source: Some("/etc/conntrail/policy.toml".to_owned()),
            problem: None,
            rules: policy.rule_names().map(str::to_owned).collect(),
        };
        let started = NoticeKind::RecorderStarted { previous: None };
        writer.append(&notice(started), now.mono).unwrap();
        let changed = NoticeKind::PolicyChanged(changed);
        writer.append(&notice(changed), now.mono).unwrap();
        for record in &mut records {
            engine.apply(record);
            writer.append(record, now.mono).unwrap();
        }
        drop(writer.close(now).unwrap());
    }
}

#[test]
fn a_right_policy_is_listed_and_a_wrong_one_is_refused_with_line_and_reason() {
    let folder = Folder::new();
    let right = folder.file("right.toml", RULES);
    let said = stdout(&["config", "check-policy", &right]);
    assert!(said.contains("rule 2, line 7: the works council"), "{said}");
    let wrong = folder.file("wrong.toml", &RULES.replace("user\"]", "usr\"]"));
    let said = complaint(&["config", "check-policy", &wrong]);
    let expected = format!("{wrong}:10:11: there is no field \"usr\"; the nearest is user");
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn the_policy_beside_a_configuration_is_checked_with_it() {
    let folder = Folder::new();
    let config = folder.file("c.toml", "[flow]\nflows_max = 5_000\n");
    stdout(&["config", "--config", &config]);
    let said = complaint(&["config", "check-policy", "--config", &config]);
    assert!(said.contains("no policy is configured"), "{said}");
    let policy = folder.file("policy.toml", RULES);
    let said = stdout(&["config", "check-policy", "--config", &config]);
    assert!(
        said.contains(&policy) && said.contains("is right"),
        "{said}"
    );
    folder.file("policy.toml", "version = 1\nrules = 3\n");
    let said = complaint(&["config", "--config", &config]);
    assert!(
        said.contains("policy.toml:2:1: a policy has no key \"rules\""),
        "{said}"
    );
}

#[test]
fn a_record_of_the_trail_tells_which_rule_did_what() {
    let folder = Folder::new();
    folder.record();
    let state = folder.state();
    let ask = |arguments: &[&str]| {
        let mut all = vec!["--state-dir", state.to_str().unwrap(), "config", "explain"];
        all.extend(arguments);
        stdout(&all)
    };
    let said = ask(&["1-5"]);
    assert!(said.starts_with("record 1-5: "), "{said}");
    let in_force = "(in force, /etc/conntrail/policy.toml), told by record 1-2";
    assert!(said.contains(in_force), "{said}");
    for (field, what) in [
        (
            "user",
            "[left out by rule 2 \"the works council: no users\"]",
        ),
        (
            "remote.address",
            "[shortened by rule 3 \"networks, not hosts\"]",
        ),
        ("remote.port", "[as it came]"),
    ] {
        let mut lines = said.lines();
        let is_of = |line: &&str| line.split_whitespace().next() == Some(field);
        let line = lines
            .find(is_of)
            .unwrap_or_else(|| panic!("no {field} in {said}"));
        assert!(line.ends_with(what), "{line}");
    }
    assert_eq!(ask(&["--last", "3"]).matches("record 1-").count(), 3 + 3);
    let events = stdout(&["--state-dir", state.to_str().unwrap(), "query", "--json"]);
    let event: serde_json::Value = serde_json::from_str(events.lines().nth(4).unwrap()).unwrap();
    assert_eq!(ask(&[event["metadata"]["uid"].as_str().unwrap()]), said);
    let connection = event["connection_info"]["uid"].as_str().unwrap();
    assert_eq!(ask(&[connection]), said);
    assert_eq!(event["unmapped"]["conntrail"]["policy"][0]["rule"], 3);
}

#[test]
fn a_proposed_policy_tells_what_it_would_do_and_why_a_rule_does_not_match() {
    let folder = Folder::new();
    let policy = folder.file("p.toml", RULES);
    let office = office();
    let ask = |policy: &str| {
        let office = office.to_str().unwrap();
        stdout(&[
            "config", "explain", "--events", office, "--last", "400", "--policy", policy,
        ])
    };
    let said = ask(&policy);
    assert!(
        said.contains("rule 1 \"backups go unseen\" (drop, line 2) does not match: "),
        "{said}"
    );
    assert!(said.contains("→ the record would be changed"), "{said}");
    assert!(said.contains("→ nothing  [left out by rule 2]"), "{said}");
    let all = folder.file(
        "all.toml",
        &RULES.replace(
            "process = \"backup\", port = 22",
            "protocol = [\"tcp\", \"udp\"]",
        ),
    );
    let said = ask(&all);
    assert_eq!(said.matches("would be dropped by rule 1").count(), 400);
    let wrong = folder.file("wrong.toml", "x = 1");
    let office = office.to_str().unwrap();
    let said = complaint(&["config", "explain", "--events", office, "--policy", &wrong]);
    assert!(said.contains("wrong.toml:1:1: "), "{said}");
}

#[test]
fn what_is_not_there_is_an_error_in_words() {
    let folder = Folder::new();
    folder.record();
    let state = folder.state();
    let output = run(&[
        "--state-dir",
        state.to_str().unwrap(),
        "config",
        "explain",
        "9-9",
    ]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no such record of a connection"), "{said}");
    assert!(complaint(&["config", "explain", "x"]).contains("3-1042"));
}
