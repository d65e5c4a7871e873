//! A recorded stream replays to the byte, and damage in it is named.

use crate::tool::{complaint, office, run, stdout};
use sha2::{Digest, Sha256};
use std::fs;

/// What the office's stream becomes. It changes only when what is recorded does, which is a change
/// that the changelog tells of.
const OFFICE_SHA256: &str = include_str!("../../../../demo/office.sha256");

#[test]
fn the_office_replays_to_the_byte() {
    let office = office();
    let events = stdout(&["replay", office.to_str().unwrap(), "--json", "--all"]);
    let digest: String = Sha256::digest(events.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(digest, OFFICE_SHA256.trim());
}

#[test]
fn the_office_has_thousands_of_connections_of_many_kinds() {
    let office = office();
    let events = stdout(&["replay", office.to_str().unwrap(), "--json"]);
    let closes: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|event: &serde_json::Value| event["class_uid"] == 4001)
        .collect();
    assert!(closes.len() >= 2_000, "{} closes", closes.len());
    let kinds = |pointer: &str| {
        let mut kinds: Vec<String> = closes
            .iter()
            .filter_map(|it| Some(it.pointer(pointer)?.to_string()))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.len()
    };
    assert!(kinds("/actor/process/path") >= 8, "programs");
    assert!(kinds("/unmapped/conntrail/outcome") >= 3, "outcomes");
    assert_eq!(kinds("/connection_info/protocol_ver_id"), 2, "IP versions");
    assert!(kinds("/connection_info/protocol_num") >= 2, "protocols");
    assert!(kinds("/dst_endpoint/port") >= 6, "services");
    assert_eq!(kinds("/connection_info/direction_id"), 2, "directions");
}

#[test]
fn a_replay_can_be_kept_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let office = office();
    let office = office.to_str().unwrap();
    let lines = stdout(&["replay", office, "--json"]);
    let closes = lines
        .lines()
        .filter(|line| line.contains("\"class_uid\":4001"))
        .count();
    stdout(&["replay", office, "--state-dir", state]);
    let kept = stdout(&["--state-dir", state, "query", "--json"]);
    let kept_closes = kept
        .lines()
        .filter(|line| line.contains("\"class_uid\":4001"))
        .count();
    assert_eq!(kept_closes, closes);
    let verdict = stdout(&["--state-dir", state, "verify"]);
    assert!(
        verdict.contains("Every record that was synced is there"),
        "{verdict}"
    );
    stdout(&["replay", office, "--state-dir", state]);
    let twice = stdout(&["--state-dir", state, "query", "--json"]);
    let ids = |text: &str| {
        let events = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let mut ids: Vec<String> = events
            .map(|event| event.unwrap()["metadata"]["uid"].to_string())
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "no id twice");
        all
    };
    assert_eq!(ids(&twice), 2 * ids(&kept));
}

#[test]
fn a_cut_stream_is_replayed_up_to_the_cut_which_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.events");
    let whole = fs::read(office()).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let output = run(&["replay", path.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(output.stdout.iter().filter(|byte| **byte == b'\n').count() > 100);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("cut.events at byte"), "{complaint}");
}

#[test]
fn what_is_not_a_stream_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holiday.jpg");
    fs::write(&path, "JFIF").unwrap();
    let complaint = complaint(&["replay", path.to_str().unwrap()]);
    assert!(
        complaint.contains("holiday.jpg") && complaint.contains("CTEVENTS"),
        "{complaint}"
    );
}
