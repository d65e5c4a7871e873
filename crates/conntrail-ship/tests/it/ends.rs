//! From a trail that is being written to files, with the program killed again and again.

use record::{Device, EndpointId, Notice, NoticeKind, Record, RecordId, UndeliveredCause, sample};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use trail::{Item, TrailError, TrailReader, TrailWriter, WriterOptions, segments_dir};

pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(place.lake()).unwrap();
        place
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    pub(crate) fn configure(&self, more: &str) -> PathBuf {
        let path = self.folder.path().join("ship.toml");
        let lake = self.lake();
        let text = format!(
            "{more}\n[destination.lake]\nformat = \"flat\"\nbatch_records_max = 50\n\
             batch_age_max_ms = 50\nretry_max_ms = 500\nfilter.opens = true\n\
             [destination.lake.file]\nfolder = {lake:?}\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn writer(&self) -> TrailWriter {
        self.writer_of(EndpointId([9; 16]), 64 << 20)
    }

    /// The recorder of this machine, with room for so many bytes.
    pub(crate) fn writer_of(&self, endpoint: EndpointId, quota_bytes: u64) -> TrailWriter {
        let device = Device {
            endpoint,
            ..sample::device()
        };
        let mut options = WriterOptions::new(device, quota_bytes);
        options.segment_bytes = 64 << 10;
        let open = || TrailWriter::open(&self.state(), options.clone(), host::clock::stamp());
        // A program that another test starts has our files until it is another program.
        let mut opened = open();
        while matches!(opened, Err(TrailError::Locked { .. })) {
            thread::sleep(Duration::from_millis(5));
            opened = open();
        }
        let mut writer = opened.unwrap();
        let previous = writer.previous();
        let kind = NoticeKind::RecorderStarted { previous };
        let at = host::clock::stamp();
        writer.append(&Record::Notice(Notice { at, kind }), at.mono);
        writer
    }

    pub(crate) fn command(&self, what: &str, config: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conntrail-ship"));
        command.arg(what).arg("--config").arg(config);
        command.arg("--state-dir").arg(self.state());
        command.stderr(Stdio::null());
        command
    }

    pub(crate) fn once(&self, config: &Path) -> bool {
        let mut command = self.command("once", config);
        let status = command.args(["--timeout-s", "60"]).status().unwrap();
        status.success()
    }

    /// Rows of the recorder's trail by their id, and how often each is there.
    pub(crate) fn rows(&self) -> BTreeMap<RecordId, u64> {
        let mut rows = BTreeMap::new();
        for entry in fs::read_dir(self.lake()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "marks") {
                continue;
            }
            for line in fs::read_to_string(&path).unwrap().lines() {
                let row: Value = serde_json::from_str(line).unwrap_or(Value::Null);
                // Numbers that JSON cannot hold exactly everywhere are text.
                let digits = |key: &str| row[key].as_str().and_then(|it| it.parse().ok());
                let number = |key: &str| row[key].as_u64().or(digits(key));
                let (Some(epoch), Some(sequence)) = (number("epoch"), number("sequence")) else {
                    continue;
                };
                if row["source"].as_str().is_none_or(str::is_empty) {
                    *rows.entry(RecordId { epoch, sequence }).or_default() += 1;
                }
            }
        }
        rows
    }

    /// Bytes of all lines about the recorder's trail, its manifests among them.
    fn bytes_of_rows(&self) -> u64 {
        let entries = fs::read_dir(self.lake()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let files = paths.filter(|path| path.extension().is_some_and(|it| it != "marks"));
        let texts = files.map(|path| fs::read_to_string(path).unwrap_or_default());
        let is_mine = |line: &&str| !line.contains("\"source\":\"ship\"");
        let bytes = |text: String| -> usize {
            text.lines()
                .filter(is_mine)
                .map(|line| line.len() + 1)
                .sum()
        };
        texts.map(bytes).sum::<usize>() as u64
    }

    pub(crate) fn ids(&self) -> BTreeSet<RecordId> {
        let mut reader = TrailReader::open(&segments_dir(&self.state())).unwrap();
        let mut ids = BTreeSet::new();
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Record { id, .. } = item {
                ids.insert(id);
            }
        }
        ids
    }

    pub(crate) fn declared(&self) -> Vec<record::Undelivered> {
        let own = self.state().join("ship");
        let mut reader = TrailReader::open(&segments_dir(&own)).unwrap();
        let mut declared = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Record {
                record: Record::Notice(notice),
                ..
            } = item
                && let NoticeKind::Undelivered(it) = notice.kind
            {
                declared.push(it);
            }
        }
        declared
    }
}

pub(crate) fn write(writer: &mut TrailWriter, seed: u64, count: usize) {
    for record in sample::records(seed, count) {
        writer.append(&record, host::clock::mono()).unwrap();
    }
    let _ = writer.flush(host::clock::stamp()).unwrap();
}

pub(crate) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn however_often_the_shipper_is_killed_every_record_arrives() {
    let place = Place::new();
    let config = place.configure("");
    for life in 0..3 {
        let mut writer = place.writer();
        for part in 0..5 {
            let child = place.command("run", &config).spawn().unwrap();
            write(&mut writer, 10 * life + part, 400);
            thread::sleep(Duration::from_millis(80 + 70 * part));
            kill(child);
        }
    }
    assert!(place.once(&config), "not all was delivered");
    let rows = place.rows();
    let ids = place.ids();
    assert!(ids.len() > 6_000);
    let delivered: BTreeSet<RecordId> = rows.keys().copied().collect();
    let lost = ids.difference(&delivered).count();
    assert_eq!((lost, delivered.len()), (0, ids.len()));
    assert_eq!(place.declared(), []);
}

#[test]
fn what_the_trail_lost_before_it_was_sent_is_declared() {
    let place = Place::new();
    let config = place.configure("");
    let mut writer = place.writer();
    (0..10).for_each(|seed| write(&mut writer, seed, 1_000));
    drop(writer);
    let mut segments: Vec<PathBuf> = fs::read_dir(segments_dir(&place.state()))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "trail"))
        .collect();
    segments.sort();
    assert!(segments.len() > 3, "{segments:?}");
    let all = place.ids();
    fs::remove_file(&segments[1]).unwrap();
    let mut bytes = fs::read(&segments[2]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&segments[2], bytes).unwrap();
    let is_done = place.once(&config);
    assert!(is_done);
    let rows = place.rows();
    let declared = place.declared();
    let is_declared = |id: &RecordId| {
        declared.iter().any(|it| {
            it.epoch == id.epoch && (it.first_sequence..=it.last_sequence).contains(&id.sequence)
        })
    };
    for id in &all {
        assert!(
            rows.contains_key(id) != is_declared(id),
            "{id:?} is nowhere, or both"
        );
    }
    let causes: BTreeSet<UndeliveredCause> = declared.iter().map(|it| it.cause).collect();
    let expected = [UndeliveredCause::Gone, UndeliveredCause::Damaged];
    assert_eq!(causes, BTreeSet::from(expected));
    let told: u64 = declared.iter().map(|it| it.records.unwrap()).sum();
    assert_eq!(told as usize, all.len() - rows.len());
}

#[test]
fn a_shipper_says_how_it_goes_and_serves_figures() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = nobody.local_addr().unwrap();
    drop(nobody);
    let config = place.configure(&format!(
        "metrics_listen = \"{address}\"\n\
         [destination.dead.elastic]\nurl = \"http://{dead}\"\n"
    ));
    let made_ns = host::clock::wall().0;
    let mut writer = place.writer();
    write(&mut writer, 1, 500);
    let child = place.command("run", &config).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let text = loop {
        assert!(Instant::now() < end, "no figures");
        thread::sleep(Duration::from_millis(200));
        let text = get(&address.to_string()).unwrap_or_default();
        if text.contains("lag_records{destination=\"lake\"} 0") && dead_lag_s(&text) >= 2.0 {
            break text;
        }
    };
    // The first record of the trail waits since the writer was opened.
    let age_s = (host::clock::wall().0 - made_ns) as f64 / 1e9;
    assert!(dead_lag_s(&text) <= age_s, "{text}");
    assert!(
        text.contains("lag_seconds{destination=\"lake\"} 0\n"),
        "{text}"
    );
    kill(child);
    let expected = "conntrail_ship_up{destination=\"lake\"} 1";
    assert!(text.contains(expected), "{text}");
    let status = conntrail_ship::status::read(&place.state()).unwrap();
    let lake = &status.destinations["lake"];
    assert_eq!(
        (lake.kind.as_str(), lake.state.as_str()),
        ("file", "delivering")
    );
    assert!(lake.records >= 500);
    assert_eq!(lake.lag_ns, Some(0));
    assert!(status.destinations["dead"].lag_ns > Some(0));
}

/// By the figures; not a number where they do not say.
fn dead_lag_s(text: &str) -> f64 {
    let name = "conntrail_ship_lag_seconds{destination=\"dead\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(f64::NAN, |it| it.parse().unwrap())
}

/// What the plan says of the recorder's trail, as far as it was recorded.
fn plan(place: &Place, config: &Path) -> ship::Planned {
    let config = ship::config::parse(&fs::read_to_string(config).unwrap()).unwrap();
    let mut planner = ship::Planner::new(&config.destination["lake"], None).unwrap();
    planner.begin(&trail::Source::Recorder);
    let mut reader = TrailReader::open(&segments_dir(&place.state())).unwrap();
    while let Some(item) = reader.next_raw().unwrap() {
        let found = planner.found(item);
        planner.take(found, reader.head());
    }
    planner.finish()
}

#[test]
fn what_shipping_takes_was_planned_within_a_tenth() {
    let place = Place::new();
    let config = place.configure("");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("batch_age_max_ms = 50", "batch_age_max_ms = 700");
    fs::write(&config, text.replace("filter.opens = true\n", "")).unwrap();
    let mut writer = place.writer();
    let child = place.command("run", &config).spawn().unwrap();
    // Slow enough that age ends most batches, and a burst that fills some.
    for (index, mut record) in (0_u64..).zip(sample::records(5, 500)) {
        let now = host::clock::stamp();
        match &mut record {
            Record::Connection(connection) => connection.at = now,
            Record::Notice(notice) => notice.at = now,
        }
        writer.append(&record, now.mono).unwrap();
        let _ = writer.flush(now).unwrap();
        if index < 120 {
            thread::sleep(Duration::from_millis(40));
        }
    }
    drop(writer);
    thread::sleep(Duration::from_secs(2));
    kill(child);
    assert!(place.once(&config));
    let planned = plan(&place, &config);
    assert!(planned.left_out.opens > 0 && planned.batches > 10);
    let records = place.rows().len() as u64;
    assert_eq!(records, planned.records);
    let bytes: u64 = place.bytes_of_rows();
    let difference = bytes.abs_diff(planned.bytes);
    assert!(difference * 10 <= bytes, "{bytes} bytes, and {planned:?}");
}

fn get(address: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn a_destination_that_is_dead_slows_no_other() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let dead = format!("[destination.dead.file]\nfolder = {:?}\n", file.join("x"));
    let config = place.configure(&dead);
    let mut writer = place.writer();
    write(&mut writer, 1, 3_000);
    let child = place.command("run", &config).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while place.rows().len() < 3_001 {
        assert!(Instant::now() < end, "{} rows", place.rows().len());
        thread::sleep(Duration::from_millis(100));
    }
    let status = loop {
        let status = conntrail_ship::status::read(&place.state());
        if let Some(status) = status.filter(|it| it.destinations.len() == 2) {
            break status;
        }
        assert!(Instant::now() < end, "no status");
        thread::sleep(Duration::from_millis(100));
    };
    kill(child);
    let dead = &status.destinations["dead"];
    assert!(
        ["waiting", "misconfigured"].contains(&dead.state.as_str()),
        "{dead:?}"
    );
    assert!(dead.problem.is_some());
    assert_eq!(dead.records, 0);
}

/// What of it is in memory does not grow with what waits.
#[cfg(target_os = "linux")]
#[test]
fn a_backlog_is_read_as_it_is_sent() {
    let place = Place::new();
    let config = place.configure("");
    let mut writer = place.writer();
    (0..30).for_each(|seed| write(&mut writer, seed, 2_000));
    let child = place.command("run", &config).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    let is_drained = |status: conntrail_ship::status::Status| {
        let lake = status.destinations.get("lake");
        lake.is_some_and(|it| it.lag_records == Some(0) && it.records > 60_000)
    };
    while !conntrail_ship::status::read(&place.state()).is_some_and(is_drained) {
        assert!(Instant::now() < end, "it does not drain");
        thread::sleep(Duration::from_millis(200));
    }
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    kill(child);
    let line = text.lines().find(|it| it.starts_with("VmHWM:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("at most {kilobytes} kB");
    assert!(kilobytes < 40 << 10, "{kilobytes} kB");
}

#[test]
fn a_wrong_configuration_is_named_and_nothing_is_tried() {
    let place = Place::new();
    let config = place.configure("ledger_intervall_s = 3\n");
    let output = place
        .command("check", &config)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("did you mean \"ledger_interval_s\"?"),
        "{text}"
    );
    assert!(!place.state().exists());
}
