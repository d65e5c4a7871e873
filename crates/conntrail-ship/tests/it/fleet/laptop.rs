//! A machine with a real trail, recorded while the real shipper reads it.

use super::made::from_now;
use record::{
    Device, EndpointId, Mono, Notice, NoticeKind, Phase, Record, RecordId, StopReason, Tally,
    Undelivered, sample,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use trail::{Item, TrailReader, TrailWriter, WriterOptions, segments_dir};

/// A machine; its recorder runs from [`Laptop::begin`] on.
pub(super) struct Laptop {
    folder: tempfile::TempDir,
    writer: Option<TrailWriter>,
    seed: u64,
    /// Everything that was ever recorded, and whether it is the open of a connection.
    pub(super) recorded: BTreeMap<RecordId, bool>,
}

/// The shipper as it is shipped; it ends with the value.
pub(super) struct Shipper(Child);

impl Laptop {
    pub(super) const ENDPOINT: EndpointId = EndpointId([0x5a; 16]);

    pub(super) fn new() -> Laptop {
        Laptop {
            folder: tempfile::tempdir().unwrap(),
            writer: None,
            seed: 0,
            recorded: BTreeMap::new(),
        }
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A file beside the trail.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts the recorder, with so much room; one that runs is stopped in order.
    pub(super) fn begin(&mut self, quota_bytes: u64) {
        self.end();
        let device = Device {
            endpoint: Laptop::ENDPOINT,
            ..sample::device()
        };
        let mut options = WriterOptions::new(device, quota_bytes);
        options.segment_bytes = 32 << 10;
        let writer = TrailWriter::open(&self.state(), options, host::clock::stamp()).unwrap();
        let previous = writer.previous();
        self.writer = Some(writer);
        self.notice(NoticeKind::RecorderStarted { previous });
    }

    /// Stops the recorder in order.
    pub(super) fn end(&mut self) {
        if self.writer.is_some() {
            self.notice(NoticeKind::RecorderStopped {
                reason: StopReason::Requested,
                tally: Tally::default(),
            });
            self.writer = None;
        }
    }

    /// Records so many connections' moments, durably, a hundred at a time.
    pub(super) fn record(&mut self, count: usize) {
        self.seed += 1;
        let is_connection = |it: &Record| matches!(it, Record::Connection(_));
        let moments = sample::records(self.seed, 2 * count).into_iter();
        let moments: Vec<Record> = moments.filter(is_connection).take(count).collect();
        assert_eq!(moments.len(), count);
        for part in moments.chunks(100) {
            part.iter().for_each(|moment| self.append(just_now(moment)));
            self.flush();
        }
    }

    fn notice(&mut self, kind: NoticeKind) {
        let at = host::clock::stamp();
        self.append(Record::Notice(Notice { at, kind }));
        self.flush();
    }

    fn append(&mut self, record: Record) {
        let is_open = matches!(&record, Record::Connection(it) if matches!(it.phase, Phase::Open));
        let writer = self.writer.as_mut().unwrap();
        let id = writer.append(&record, host::clock::mono()).unwrap();
        self.recorded.insert(id, is_open);
    }

    /// What the quota takes is declared before it goes, as the recorder does it.
    fn flush(&mut self) {
        loop {
            let writer = self.writer.as_mut().unwrap();
            let flushed = writer.flush(host::clock::stamp()).unwrap();
            if flushed.evicting.is_empty() {
                return;
            }
            for range in flushed.evicting {
                let kind = NoticeKind::TrailEvicted {
                    epoch: range.epoch,
                    first_sequence: range.first_sequence,
                    last_sequence: range.last_sequence.unwrap(),
                };
                let at = host::clock::stamp();
                self.append(Record::Notice(Notice { at, kind }));
            }
        }
    }

    /// Starts the shipper.
    pub(super) fn ship(&self, config: &Path) -> Shipper {
        let mut command = self.command("run", config);
        Shipper(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn command(&self, what: &str, config: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conntrail-ship"));
        command.arg(what).arg("--config").arg(config);
        command.arg("--state-dir").arg(self.state());
        command
    }

    /// What the shipper declared of the recorder's trail for a destination.
    pub(super) fn declared(&self, destination: &str) -> Vec<Undelivered> {
        let own = segments_dir(&self.state().join("ship"));
        let mut reader = TrailReader::open(&own).unwrap();
        let mut declared = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            if let Item::Record {
                record: Record::Notice(notice),
                ..
            } = item
                && let NoticeKind::Undelivered(it) = notice.kind
                && it.destination == destination
                && it.source.is_none()
            {
                declared.push(it);
            }
        }
        declared
    }

    /// Records that neither arrived, nor were left out as opens are, nor were declared.
    pub(super) fn unexplained(
        &self,
        arrived: &BTreeSet<RecordId>,
        declared: &[Undelivered],
    ) -> Vec<RecordId> {
        let is_declared = |id: &RecordId| {
            declared.iter().any(|it| {
                let range = it.first_sequence..=it.last_sequence;
                it.epoch == id.epoch && range.contains(&id.sequence)
            })
        };
        let told =
            |id: &RecordId, is_open: bool| is_open || arrived.contains(id) || is_declared(id);
        let missing = self.recorded.iter().filter(|it| !told(it.0, *it.1));
        missing.map(|it| *it.0).collect()
    }
}

impl Shipper {
    pub(super) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Ends it in order.
    pub(super) fn stop(mut self) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(status.success());
        for _ in 0..200 {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the shipper does not end");
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same a moment ago: what is old has expired for a store.
fn just_now(record: &Record) -> Record {
    let mut record = record.clone();
    if let Record::Connection(connection) = &mut record {
        connection.at = from_now(0);
        connection.at.mono = Mono(3_600_000_000_000);
        connection.opened = connection.opened.map(|_| Mono(3_599_000_000_000));
        connection.established = None;
    }
    record
}
