//! Side trails: their records in answers, and what `verify` says of them.

use crate::tool::{complaint, run};
use record::{
    Device, EndpointId, Mono, Notice, NoticeKind, Record, Stamp, StopReason, Tally, Wall, sample,
};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use trail::{TrailWriter, WriterOptions};

const SECOND_NS: i64 = 1_000_000_000;

fn at(seconds: i64) -> Stamp {
    Stamp {
        wall: Wall(1_700_000_000 * SECOND_NS + seconds * SECOND_NS),
        mono: Mono(0),
    }
}

fn keep(state: &Path, endpoint: u8, seconds: &[i64]) {
    let device = Device {
        endpoint: EndpointId([endpoint; 16]),
        ..sample::device()
    };
    let mut writer = TrailWriter::open(state, WriterOptions::new(device, 1 << 30), at(0)).unwrap();
    let last = seconds.len() - 1;
    for (index, seconds) in seconds.iter().enumerate() {
        let kind = match index {
            0 => NoticeKind::RecorderStarted {
                previous: writer.previous(),
            },
            _ if index == last => NoticeKind::RecorderStopped {
                reason: StopReason::Requested,
                tally: Tally::default(),
            },
            _ => NoticeKind::Sleeping,
        };
        let at = at(*seconds);
        writer
            .append(&Record::Notice(Notice { at, kind }), Mono(0))
            .unwrap();
        drop(writer.flush(at).unwrap());
    }
    drop(writer.close(at(100)).unwrap());
}

struct Trails(TempDir);

impl Trails {
    fn new() -> Trails {
        let folder = tempfile::tempdir().unwrap();
        let trails = Trails(folder);
        keep(trails.0.path(), 1, &[10, 20, 30]);
        keep(&trails.upgrades(), 2, &[5, 20, 25]);
        trails
    }

    fn upgrades(&self) -> PathBuf {
        self.0.path().join("upgrades")
    }

    fn say(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut all = vec!["--state-dir", self.0.path().to_str().unwrap()];
        all.extend(arguments);
        let output = run(&all);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Of each event the second, and the side trail that it is of.
    fn events(&self, arguments: &[&str]) -> Vec<(i64, String)> {
        let (code, text, _) = self.say(&[&["query", "--json"], arguments].concat());
        assert_eq!(code, Some(0));
        let event = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            let notes = &event["unmapped"]["conntrail"];
            let seconds = notes["time_ns"].as_i64().unwrap() / SECOND_NS - 1_700_000_000;
            let side = notes["side_trail"].as_str().unwrap_or_default();
            let uid = event["metadata"]["uid"].as_str().unwrap();
            let endpoint = if side.is_empty() {
                "01010101"
            } else {
                "02020202"
            };
            assert!(uid.starts_with(endpoint), "{uid} is of {side}");
            (seconds, side.to_owned())
        };
        text.lines().map(event).collect()
    }

    fn damage_side(&self) {
        let segment = self.upgrades().join("trail/e00000001-s000000000001.trail");
        let mut bytes = fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(segment, bytes).unwrap();
    }
}

fn told(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    let told = expected.iter();
    told.map(|(seconds, side)| (*seconds, (*side).to_owned()))
        .collect()
}

#[test]
fn queries_tell_what_side_trails_hold_in_its_time_and_whose_it_is() {
    let trails = Trails::new();
    let expected = [
        (5, "upgrades"),
        (10, ""),
        (20, ""),
        (20, "upgrades"),
        (25, "upgrades"),
        (30, ""),
    ];
    assert_eq!(trails.events(&[]), told(&expected));
    let until = ["--until", "2023-11-14T22:13:30Z"];
    assert_eq!(trails.events(&until), told(&expected[..2]));
    assert_eq!(trails.events(&["--process", "browser"]), []);
    let (_, text, _) = trails.say(&["query"]);
    let of_side: Vec<bool> = text
        .lines()
        .map(|it| it.starts_with("[upgrades]"))
        .collect();
    assert_eq!(of_side, [true, false, false, true, true, false, false]);
}

#[test]
fn the_stop_of_another_program_cuts_off_no_connection_of_the_recorder() {
    let trails = Trails::new();
    let mut open = sample::closes(1, 1);
    let Record::Connection(connection) = &mut open[0] else {
        panic!("closes are connections")
    };
    connection.phase = record::Phase::Open;
    connection.at = at(40);
    let options = WriterOptions::new(sample::device(), 1 << 30);
    let mut writer = TrailWriter::open(trails.0.path(), options, at(35)).unwrap();
    writer.append(&open[0], Mono(0)).unwrap();
    drop(writer.close(at(40)).unwrap());
    let (_, before, _) = trails.say(&["query"]);
    keep(&trails.upgrades(), 2, &[50, 51, 52]);
    let (_, after, _) = trails.say(&["query"]);
    let own = |text: &str| {
        let lines = text.lines().filter(|it| !it.starts_with("[upgrades]"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(before.contains("1 without an end"), "{before}");
    assert_eq!(own(&before), own(&after));
}

#[test]
fn each_trail_has_a_cursor_of_its_own_and_nothing_comes_twice() {
    let trails = Trails::new();
    let cursor = trails.0.path().join("cursor");
    let new = || trails.events(&["--cursor", cursor.to_str().unwrap()]);
    assert_eq!(new().len(), 6);
    assert_eq!(new(), []);
    keep(&trails.upgrades(), 2, &[3, 4]);
    assert_eq!(new(), told(&[(3, "upgrades"), (4, "upgrades")]));
    keep(trails.0.path(), 1, &[40, 50]);
    assert_eq!(new(), told(&[(40, ""), (50, "")]));
    let beside = fs::read_to_string(trails.0.path().join("cursor.upgrades")).unwrap();
    assert!(beside.contains(" 2 2 "), "{beside}");
}

#[test]
fn a_side_trail_that_cannot_be_read_is_told_of_and_costs_nothing_else() {
    let trails = Trails::new();
    trails.damage_side();
    fs::create_dir_all(trails.0.path().join("ship/trail")).unwrap();
    fs::create_dir_all(
        trails
            .0
            .path()
            .join("odd/trail/e00000001-s000000000001.trail"),
    )
    .unwrap();
    let (code, text, complaint) = trails.say(&["query", "--json"]);
    assert_eq!((code, text.lines().count()), (Some(0), 5));
    assert!(complaint.contains("[upgrades] e00000001"), "{complaint}");
    let (_, text, _) = trails.say(&["query", "--port", "1"]);
    assert!(text.contains("[upgrades] e00000001"), "{text}");
    let (code, text, _) = trails.say(&["verify"]);
    assert_eq!(code, Some(1), "{text}");
    let side = text.find("side trail upgrades").unwrap();
    let damaged = text.find("DAMAGED").unwrap();
    assert!(damaged > side, "{text}");
}

#[test]
fn verify_compares_what_is_trusted_with_the_trail_that_it_is_of() {
    let trails = Trails::new();
    let (code, text, _) = trails.say(&["verify"]);
    assert_eq!(code, Some(0), "{text}");
    let heads: Vec<&str> = text
        .lines()
        .filter_map(|it| it.strip_prefix("head "))
        .collect();
    assert!(
        heads.len() == 2 && heads[1].starts_with("upgrades=1:3:"),
        "{text}"
    );
    let anchored = ["verify", "--anchor", heads[0], "--anchor", heads[1]];
    let (code, text, _) = trails.say(&anchored);
    assert_eq!((code, text.matches("holds; nothing").count()), (Some(0), 2));
    let of_side = heads[1].strip_prefix("upgrades=").unwrap();
    let (code, _, _) = trails.say(&["verify", "--anchor", of_side]);
    assert_eq!(code, Some(3), "it is none of the recorder's");
    let state = trails.0.path().to_str().unwrap();
    let unknown = format!("ship={of_side}");
    let complaint = complaint(&["--state-dir", state, "verify", "--anchor", &unknown]);
    assert!(
        complaint.contains("side trail ship is not here"),
        "{complaint}"
    );
}

#[test]
fn ledgers_are_by_trail_and_the_worst_verdict_counts() {
    let trails = Trails::new();
    let (code, text, _) = trails.say(&["verify", "--ledger"]);
    assert_eq!(
        (code, text.matches("The ledger balances.").count()),
        (Some(0), 2)
    );
    let (_, text, _) = trails.say(&["verify", "--ledger", "--json"]);
    let books: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(books["balances"], true);
    assert_eq!(books["side_trails"]["upgrades"]["balances"], true);
    trails.damage_side();
    let (code, _, _) = trails.say(&["verify", "--ledger", "--json"]);
    assert_eq!(code, Some(1));
}
