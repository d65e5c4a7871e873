//! What is open now, from a live table as a recorder keeps it.

use crate::tool::{complaint, stdout};
use live::{Counts, Options, Rate, TableWriter};
use record::{EndpointId, Mono, Phase, Record, sample};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SECOND_NS: u64 = 1_000_000_000;

/// A state folder, and a live table of its endpoint that is removed with it.
struct Kept {
    folder: TempDir,
    writer: Option<TableWriter>,
}

impl Kept {
    fn new(number: u8) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = [number; 16];
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
        let endpoint = EndpointId(bytes);
        fs::write(folder.path().join("endpoint-id"), endpoint.to_string()).unwrap();
        let options = Options {
            endpoint,
            epoch: 1,
            boot_id: host::device::boot_id(),
            rows_max: 100,
            group: None,
        };
        let mut folders = host::paths::own_live_folders(folder.path()).into_iter();
        let base = folders
            .find(|it| host::paths::is_in_memory(it.parent().unwrap()))
            .expect("one of them is in memory");
        let writer = TableWriter::create(&base, &options, host::clock::stamp()).unwrap();
        Kept {
            folder,
            writer: Some(writer),
        }
    }

    /// Shows as many connections, the later the busier.
    fn show(&mut self, count: usize, good_for_ns: u64) {
        let writer = self.writer.as_mut().unwrap();
        writer.begin(host::clock::stamp());
        for (record, number) in sample::closes(1, count).into_iter().zip(1..) {
            let Record::Connection(mut connection) = record else {
                panic!("closes are connections")
            };
            connection.phase = Phase::Update;
            connection.id.ordinal = number;
            connection.remote.port = Some(if number == 1 { 4_321 } else { 4_322 });
            let rate = (number > 1).then_some(Rate {
                from: Mono(SECOND_NS),
                until: Mono(2 * SECOND_NS),
                out_per_s: Some(number * 1_000),
                in_per_s: None,
            });
            let record = Record::Connection(connection);
            assert!(writer.push(&record, Some(Mono(1)), rate).unwrap());
        }
        let counts = Counts {
            withheld: 3,
            ..Counts::default()
        };
        writer
            .show(counts, host::clock::mono(), good_for_ns)
            .unwrap();
    }

    fn ask<'a>(&'a self, question: &[&'a str]) -> Vec<&'a str> {
        let state = self.folder.path().to_str().unwrap();
        [&["--state-dir", state, "live"], question].concat()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // A test that failed leaves it, and the next recorder clears it away.
        let _ = self.writer.take().map(TableWriter::remove);
    }
}

#[test]
fn what_is_open_is_shown_busiest_first_with_what_is_not_shown() {
    let mut kept = Kept::new(1);
    kept.show(9, 600 * SECOND_NS);
    let text = stdout(&kept.ask(&[]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 11, "{text}");
    assert!(lines[1].contains("9.0 kB/s"), "{text}");
    assert!(
        !lines[9].contains("/s"),
        "an unknown rate comes last: {text}"
    );
    assert!(
        lines[10].starts_with("9 open, from the live table"),
        "{text}"
    );
    assert!(
        lines[10].contains("3 left out by the privacy policy"),
        "{text}"
    );
    let one = stdout(&kept.ask(&["--port", "4321", "--json"]));
    let row: serde_json::Value = serde_json::from_str(one.trim()).unwrap();
    assert_eq!(row["remote"]["port"], 4_321);
    assert!(
        row["rate_out_per_s"].is_null(),
        "unknown is not zero: {row}"
    );
    let busiest = stdout(&kept.ask(&["--json"]));
    let row: serde_json::Value = serde_json::from_str(busiest.lines().next().unwrap()).unwrap();
    assert_eq!(row["rate_out_per_s"], 9_000);
    assert_eq!(row["rate_window_ns"], SECOND_NS);
    assert!(row["rate_in_per_s"].is_null());
}

#[test]
fn what_is_stale_or_not_there_is_not_shown_as_live() {
    let mut kept = Kept::new(2);
    assert!(complaint(&kept.ask(&[])).contains("has no snapshot yet"));
    kept.show(9, 0);
    let said = complaint(&kept.ask(&[]));
    assert!(said.contains("hangs, or is gone"), "{said}");
    let said = complaint(&kept.ask(&["--json"]));
    assert!(said.contains("conntrail watch"), "{said}");
    kept.writer.take().unwrap().remove().unwrap();
    assert!(complaint(&kept.ask(&[])).contains("there is no live table at"));
    fs::remove_file(Path::new(kept.folder.path()).join("endpoint-id")).unwrap();
    assert!(complaint(&kept.ask(&[])).contains("endpoint-id"));
}
