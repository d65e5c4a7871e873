//! The real shipper through a real collector into a real ClickHouse.

use super::made::make_tables;
use engines::{ClickHouse, ClickHouseOptions, Rotel};
use record::{Device, EndpointId, Notice, NoticeKind, Record, sample};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use trail::{TrailWriter, WriterOptions};

/// What the ledger says of the recorder's trail.
const BOOKS: &str = "SELECT last_known, accounted, sent, received, rows_missing, \
    sequences_missing, unexplained, duplicates_after_merge FROM conntrail.ledger WHERE source = ''";

const LIMIT: Duration = Duration::from_secs(60);

/// A machine, a collector and a store.
struct Ground {
    store: ClickHouse,
    collector: Rotel,
    folder: tempfile::TempDir,
    writer: TrailWriter,
    /// Records so far.
    written: usize,
}

impl Ground {
    fn new() -> Ground {
        let store = ClickHouse::start_with(ClickHouseOptions {
            user: "conntrail_collector",
            password: "change-me",
        });
        make_tables(&store);
        let collector = start(&store);
        let folder = tempfile::tempdir().unwrap();
        let device = Device {
            endpoint: EndpointId([9; 16]),
            ..sample::device()
        };
        let options = WriterOptions::new(device, 64 << 20);
        let state = folder.path().join("state");
        let writer = TrailWriter::open(&state, options, host::clock::stamp()).unwrap();
        let config = format!(
            "[destination.store]\nbatch_records_max = 200\nbatch_age_max_ms = 50\n\
             retry_max_ms = 500\nfilter.opens = true\nproxy = \"\"\n\
             [destination.store.otlp]\nurl = \"{}\"\n",
            collector.logs_url()
        );
        fs::write(folder.path().join("ship.toml"), config).unwrap();
        let mut ground = Ground {
            store,
            collector,
            folder,
            writer,
            written: 0,
        };
        let kind = NoticeKind::RecorderStarted { previous: None };
        let at = host::clock::stamp();
        ground.append(&Record::Notice(Notice { at, kind }));
        ground
    }

    fn append(&mut self, record: &Record) {
        self.writer.append(record, host::clock::mono()).unwrap();
        self.written += 1;
    }

    /// Connections alone: notices that are made up tell of epochs that never were.
    fn record(&mut self, seed: u64, count: usize) {
        self.record_all(sample::closes(seed, count));
    }

    fn record_all(&mut self, records: Vec<Record>) {
        for record in &records {
            self.append(record);
        }
        let _ = self.writer.flush(host::clock::stamp()).unwrap();
    }

    /// Delivers everything; whether it was all acknowledged within so many seconds.
    fn ship(&self, limit_s: u64) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conntrail-ship"));
        command.arg("once").arg("--config");
        command.arg(self.folder.path().join("ship.toml"));
        command
            .arg("--state-dir")
            .arg(self.folder.path().join("state"));
        command.args(["--timeout-s", &limit_s.to_string()]);
        command.stderr(Stdio::null()).status().unwrap().success()
    }

    #[track_caller]
    fn waits_for(&self, query: &str, expected: &str) {
        let started = Instant::now();
        loop {
            let found = self.store.query(query);
            if found.trim_end() == expected {
                return;
            }
            let waited = started.elapsed();
            assert!(waited < LIMIT, "{query}: {found:?}, not {expected:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Everything is there, each once, and just as it was sent.
    #[track_caller]
    fn balances(&self) {
        let written = self.written;
        let books = format!("{written}\t{written}\t{written}\t{written}\t0\t0\t0\t0");
        self.waits_for(BOOKS, &books);
        self.waits_for("SELECT sum(unexplained) FROM conntrail.ledger", "0");
        self.waits_for("SELECT * FROM conntrail.tamper", "");
    }
}

/// As it is written down, with the addresses that there are.
fn start(store: &ClickHouse) -> Rotel {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fleet/collector/rotel.env");
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|it| !it.starts_with('#'));
    let written: Vec<(&str, &str)> = lines.filter_map(|it| it.split_once('=')).collect();
    assert!(written.len() > 10, "{written:?}");
    let url = format!("--clickhouse-exporter-endpoint={}", store.url());
    Rotel::start_in(&written, &[&url])
}

#[test]
#[ignore = "needs fleet: starts a collector and ClickHouse"]
fn what_comes_through_a_collector_balances_to_the_record() {
    let mut ground = Ground::new();
    ground.record(1, 1_500);
    assert!(ground.ship(60));
    ground.balances();
    let notices = "SELECT count() > 0 FROM conntrail.notices WHERE source = 'ship'";
    ground.waits_for(notices, "1");
    // A collector that is gone takes nothing, and so nothing is missing afterwards.
    ground.collector.kill();
    ground.record(2, 700);
    assert!(!ground.ship(3), "there is nobody who could take it");
    ground.collector.restart();
    assert!(ground.ship(60));
    ground.balances();
    // The rollups know of what came.
    ground
        .store
        .run("SYSTEM REFRESH VIEW conntrail.daily_processes_refresh");
    let sums = "SELECT (SELECT sum(connections) FROM conntrail.daily_processes FINAL) = \
                (SELECT sum(connections) FROM conntrail.connections FINAL WHERE phase = 'close')";
    ground.waits_for(sums, "1");
}

#[test]
#[ignore = "needs fleet: starts a collector and ClickHouse"]
fn every_column_is_what_it_was_whatever_was_recorded() {
    let mut ground = Ground::new();
    ground.record_all(sample::records(6, 1_500));
    assert!(ground.ship(60));
    let there = "SELECT uniqExact(sequence) FROM (SELECT sequence, source FROM \
                 conntrail.connections UNION ALL SELECT sequence, source FROM conntrail.notices) \
                 WHERE source = ''";
    ground.waits_for(there, "1501");
    let findings = "SELECT finding, count() > 7 FROM conntrail.tamper_batches GROUP BY finding";
    ground.waits_for(findings, "whole\t1");
}

#[test]
#[ignore = "needs fleet: starts a collector and ClickHouse"]
fn what_a_collector_took_and_lost_is_unexplained_to_the_record() {
    let mut ground = Ground::new();
    ground.record(3, 400);
    assert!(ground.ship(60));
    ground.balances();
    let before = ground.written;
    // It says that it has it, and it has it nowhere but in its memory.
    ground.store.stop();
    ground.record(4, 300);
    assert!(ground.ship(60));
    ground.collector.kill();
    ground.store.restart();
    ground.collector.restart();
    ground.record(5, 100);
    assert!(ground.ship(60));
    let (all, there) = (ground.written, before + 100);
    let books = format!("{all}\t{there}\t{there}\t{there}\t0\t300\t300\t0");
    ground.waits_for(BOOKS, &books);
    let gap = "SELECT first_sequence, last_sequence FROM conntrail.tamper_gaps WHERE source = ''";
    ground.waits_for(gap, &format!("{}\t{}", before + 1, before + 300));
}
