//! Questions, and wrong ones.

use crate::tool::{complaint, office, run, stdout};
use std::fs;
use tempfile::TempDir;

struct Office {
    folder: TempDir,
}

impl Office {
    fn kept() -> Office {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().to_str().unwrap();
        stdout(&["replay", office().to_str().unwrap(), "--state-dir", state]);
        Office { folder }
    }

    fn ask(&self, question: &[&str]) -> String {
        let mut arguments = vec!["--state-dir", self.folder.path().to_str().unwrap(), "query"];
        arguments.extend(question);
        stdout(&arguments)
    }

    fn count(&self, question: &[&str]) -> usize {
        let mut question = question.to_vec();
        question.push("--json");
        self.ask(&question)
            .lines()
            .filter(|it| it.contains("\"class_uid\":4001"))
            .count()
    }
}

#[test]
fn a_cursor_gives_each_event_once_and_says_when_it_is_of_another_trail() {
    let office = Office::kept();
    let cursor = office.folder.path().join("cursor");
    let cursor = cursor.to_str().unwrap();
    let ask = || office.ask(&["--json", "--cursor", cursor]);
    assert_eq!(ask(), office.ask(&["--json"]));
    assert_eq!(ask(), "", "nothing is new");
    let text = fs::read_to_string(cursor).unwrap();
    let other = Office::kept();
    let state = other.folder.path().to_str().unwrap();
    let question = ["--state-dir", state, "query", "--json", "--cursor", cursor];
    let answer = run(&question);
    assert!(answer.status.success());
    fs::write(cursor, &text[1..]).unwrap();
    assert!(complaint(&question).contains("holds no cursor"));
    let without_json = complaint(&["--state-dir", state, "query", "--cursor", cursor]);
    assert!(without_json.contains("--json"), "{without_json}");
}

#[test]
fn each_filter_narrows_and_filters_combine() {
    let office = Office::kept();
    let all = office.count(&[]);
    for question in [
        ["--process", "browser"],
        ["--to", "::/0"],
        ["--port", "443"],
        ["--outcome", "refused"],
    ] {
        let some = office.count(&question);
        assert!(some > 0 && some < all, "{question:?} gives {some} of {all}");
    }
    let v6 = office.count(&["--to", "::/0"]);
    let v4 = office.count(&["--to", "0.0.0.0/0"]);
    assert_eq!(v4 + v6, all);
    let both = office.count(&["--to", "::/0", "--port", "443"]);
    assert!(both > 0 && both < v6);
    assert_eq!(
        office.count(&["--since", "1s"]),
        0,
        "the office was recorded long ago"
    );
    assert_eq!(office.count(&["--until", "1s"]), all);
}

#[test]
fn a_story_tells_the_whole_of_it() {
    let office = Office::kept();
    let text = office.ask(&["--process", "browser"]);
    for word in [
        "browser[",
        "→",
        "sent ",
        "received ",
        "/browser by ",
        "started by",
        "certain",
    ] {
        assert!(text.contains(word), "no \"{word}\" in {text}");
    }
    assert!(text.lines().last().unwrap().contains("shown"), "{text}");
}

#[test]
fn wrong_questions_are_explained() {
    let nowhere = complaint(&["--state-dir", "/nowhere", "query"]);
    assert!(
        nowhere.contains("nothing was recorded in /nowhere"),
        "{nowhere}"
    );
    let outcome = complaint(&["query", "--outcome", "great"]);
    assert!(
        outcome.contains("great") && outcome.contains("refused"),
        "{outcome}"
    );
    let network = complaint(&["query", "--to", "10.0.0.0/99"]);
    assert!(network.contains("10.0.0.0/99"), "{network}");
    let since = complaint(&["query", "--since", "yesterday"]);
    assert!(
        since.contains("yesterday") && since.contains("10m"),
        "{since}"
    );
}

#[test]
fn damage_is_found_by_verify_and_told_by_queries() {
    let office = Office::kept();
    let segments = trail::segments_dir(office.folder.path());
    let segment = fs::read_dir(segments)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "trail"))
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let state = office.folder.path().to_str().unwrap();
    let output = run(&["--state-dir", state, "verify"]);
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        report.contains("DAMAGED") && report.contains("records were lost"),
        "{report}"
    );
    let text = office.ask(&["--process", "browser"]);
    assert!(
        text.contains("may be missing above") && text.contains("are damaged"),
        "{text}"
    );
}

#[test]
fn verify_compares_with_a_head_that_was_kept() {
    let office = Office::kept();
    let state = office.folder.path().to_str().unwrap();
    let report = stdout(&["--state-dir", state, "verify"]);
    assert!(
        report.contains("Only a head that was kept elsewhere"),
        "{report}"
    );
    let head = report
        .lines()
        .last()
        .unwrap()
        .strip_prefix("head ")
        .unwrap();
    let report = stdout(&["--state-dir", state, "verify", "--anchor", head]);
    assert!(
        report.contains("holds; nothing changed from record 1 of"),
        "{report}"
    );
    let digit = if head.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{digit}", &head[..head.len() - 1]);
    let output = run(&["--state-dir", state, "verify", "--anchor", &other]);
    assert_eq!(output.status.code(), Some(3));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        report.contains("DOES NOT HOLD; what it covers was changed"),
        "{report}"
    );
    let nonsense = run(&["--state-dir", state, "verify", "--anchor", "1:2:3"]);
    let complaint = String::from_utf8(nonsense.stderr).unwrap();
    assert!(complaint.contains("not EPOCH:SEQUENCE:HEX"), "{complaint}");
}

#[test]
fn settings_are_shown_as_a_file_with_their_origins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, "[sensor]\nkind = \"sampled\"\n").unwrap();
    let text = stdout(&["config", "--config", path.to_str().unwrap()]);
    assert!(
        text.contains("kind = \"sampled\"") && text.contains("c.toml:2"),
        "{text}"
    );
    fs::write(&path, &text).unwrap();
    stdout(&["config", "--config", path.to_str().unwrap()]);
    fs::write(&path, "[sensor]\nkinds = 1\n").unwrap();
    let complaint = complaint(&["config", "--config", path.to_str().unwrap()]);
    assert!(
        complaint.contains("c.toml:2") && complaint.contains("sensor.kind"),
        "{complaint}"
    );
}
