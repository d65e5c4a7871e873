//! The ledger as whoever audits a machine sees it.

use crate::tool::{office, run, stdout};
use record::{
    Device, Mono, Notice, NoticeKind, Record, RecordCounts, StageCounts, Stamp, StopReason, Tally,
    sample,
};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;
use trail::{TrailWriter, WriterOptions};

/// A trail of a start, `count` closes, counts that tell of `told` closes, and the stop.
fn kept(count: usize, told: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = WriterOptions::new(Device::default(), 1 << 30);
    let mut writer = TrailWriter::open(folder.path(), options, Stamp::default()).unwrap();
    let counts = |records, closes| RecordCounts { records, closes };
    let tally = Tally {
        closes_made: told,
        closes_recorded: told,
        ..Tally::default()
    };
    let kinds = [
        NoticeKind::StageCounts(StageCounts {
            given: counts(count as u64, told),
            own: 1,
            recorded: counts(1 + count as u64, told),
            ..StageCounts::default()
        }),
        NoticeKind::RecorderStopped {
            reason: StopReason::Requested,
            tally,
        },
    ];
    let notice = |kind| {
        Record::Notice(Notice {
            at: Stamp::default(),
            kind,
        })
    };
    let mut records = vec![notice(NoticeKind::RecorderStarted { previous: None })];
    records.extend(sample::closes(2, count));
    records.extend(kinds.map(notice));
    for record in &records {
        writer.append(record, Mono(0)).unwrap();
    }
    drop(writer.close(Stamp::default()).unwrap());
    folder
}

fn verify(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut arguments = vec!["--state-dir", folder.to_str().unwrap(), "verify"];
    arguments.extend(more);
    let output = run(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

#[test]
fn a_ledger_that_balances_says_so_and_adds_up_from_top_to_bottom() {
    let folder = kept(31, 31);
    let (code, text) = verify(folder.path(), &["--ledger"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("The ledger balances."), "{text}");
    let line = |what: &str| {
        let line = text.lines().find(|it| it.trim_start().starts_with(what));
        let line = line.unwrap_or_else(|| panic!("no \"{what}\" in {text}"));
        let numbers = line.split_whitespace().rev().take(2);
        let mut numbers: Vec<u64> = numbers.map(|it| it.parse().unwrap()).collect();
        numbers.reverse();
        numbers
    };
    assert_eq!(line("the flow table gave"), [31, 31]);
    assert_eq!(line("notices of the recorder"), [0, 1]);
    assert_eq!(line("= recorded"), [31, 32]);
    assert_eq!(line("+ recorded since then"), [0, 2]);
    assert_eq!(line("= there"), [31, 34]);
}

#[test]
fn a_ledger_that_does_not_balance_names_the_line_and_by_how_much() {
    let folder = kept(31, 33);
    let (code, text) = verify(folder.path(), &["--ledger"]);
    assert_eq!(code, Some(4), "{text}");
    let expected = "DOES NOT BALANCE  at record 33, by 2: 33 closes recorded since the last count, \
                    31 there";
    assert!(text.contains(expected), "{text}");
    let (code, _) = verify(folder.path(), &[]);
    assert_eq!(code, Some(0), "without the ledger all is there");
}

#[test]
fn the_ledger_comes_as_json_too() {
    let folder = kept(5, 6);
    let (code, text) = verify(folder.path(), &["--ledger", "--json"]);
    assert_eq!(code, Some(4));
    let ledger: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(ledger["balances"], false);
    let epoch = &ledger["epochs"][0];
    assert_eq!(epoch["end"], "in_order");
    assert_eq!(epoch["stages"]["recorded"]["closes"], 6);
    assert_eq!(epoch["read"]["closes"], 5);
    assert_eq!(epoch["findings"][0]["line"], "closes_read");
    let (code, _) = verify(folder.path(), &["--json"]);
    assert_eq!(code, Some(2), "JSON is of the ledger alone");
}

#[test]
fn what_nobody_told_is_not_told_and_no_zero() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    stdout(&["replay", office().to_str().unwrap(), "--state-dir", state]);
    let (code, text) = verify(folder.path(), &["--ledger"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("stage by stage: not told"), "{text}");
}
