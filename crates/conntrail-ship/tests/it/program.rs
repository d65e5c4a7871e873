//! The program as a whole, started and told to end as a service manager does, and a collector that
//! does as it is told.

use crate::ends::Place;
use crate::server::{Act, Received, Server, reply_with};
use conntrail_ship::status::{self, DestinationStatus};
use record::RecordId;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(40);

/// What no collector has time for.
const EVER: Duration = Duration::from_secs(600);

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// `conntrail-ship` under way; killed when the test ends.
pub(crate) struct Shipper {
    child: Child,
    log: PathBuf,
}

impl Shipper {
    /// Delivers until it is told to stop.
    pub(crate) fn run(place: &Place, arguments: &[&str]) -> Shipper {
        Shipper::start(place, "run", arguments, Stdio::null())
    }

    /// The same, with standard output to somebody who does not read it.
    pub(crate) fn run_unread(place: &Place) -> Shipper {
        Shipper::start(place, "run", &[], Stdio::piped())
    }

    /// Delivers what is there, and ends; its exit code, and what it said.
    pub(crate) fn once(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
        let mut shipper = Shipper::start(place, "once", arguments, Stdio::null());
        let mut status = None;
        until("an end", || {
            status = shipper.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap().code(), shipper.log())
    }

    /// Delivers until it is told to stop, and sees the file systems that this process sees.
    pub(crate) fn run_in_mounts_of(place: &Place, pid: u32) -> Shipper {
        let plain = place.command("run", &place.folder.path().join("ship.toml"));
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &pid.to_string(), "--"]);
        command.arg(plain.get_program()).args(plain.get_args());
        Shipper::spawn(place, command)
    }

    fn start(place: &Place, what: &str, arguments: &[&str], output: Stdio) -> Shipper {
        let mut command = place.command(what, &place.folder.path().join("ship.toml"));
        command.args(arguments).stdout(output);
        Shipper::spawn(place, command)
    }

    fn spawn(place: &Place, mut command: Command) -> Shipper {
        let log = place.folder.path().join("log");
        command.stderr(File::create(&log).unwrap());
        Shipper {
            child: command.spawn().unwrap(),
            log,
        }
    }

    /// Waits until it is under way.
    pub(crate) fn is_up(&self, place: &Place) {
        let pid = self.child.id();
        let is_mine = || status::read(&place.state()).is_some_and(|it| it.pid == pid);
        until("a status", is_mine);
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Tells it to stop; how it ended, after what time, and what it said.
    pub(crate) fn stop(mut self) -> (ExitStatus, Duration, String) {
        let told = Instant::now();
        self.signal("-TERM");
        let mut ended = None;
        until("an end after SIGTERM", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        (ended.unwrap(), told.elapsed(), self.log())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "not {text:?} but {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes down the destinations, whole or not at all, as whoever replaces a file in use must.
pub(crate) fn configure(place: &Place, destinations: &[&str]) {
    let folder = place.folder.path();
    fs::write(folder.join("ship.new"), destinations.concat()).unwrap();
    fs::rename(folder.join("ship.new"), folder.join("ship.toml")).unwrap();
}

/// A destination of files in the lake's folder, with batches of so many records.
pub(crate) fn lake(place: &Place, name: &str, records: u32) -> String {
    let folder = place.lake();
    format!(
        "[destination.{name}]\nformat = \"flat\"\nbatch_records_max = {records}\n\
         batch_age_max_ms = 50\nfilter.opens = true\n\
         [destination.{name}.file]\nfolder = {folder:?}\n"
    )
}

/// How the state file says that a destination goes.
pub(crate) fn status_of(place: &Place, name: &str) -> Option<DestinationStatus> {
    status::read(&place.state())?.destinations.remove(name)
}

/// What a collector does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// It takes it, after so long.
    Takes(Duration),
    /// It never answers.
    Hangs,
    /// It says 503, and to come again after so many seconds.
    IsBusy(u64),
    /// It takes all of each request but so many, and does not say which.
    Rejects(u64),
}

/// A collector of OTLP, in JSON, that knows what it has taken.
pub(crate) struct Collector {
    server: Server,
    mood: Arc<Mutex<Mood>>,
    taken: Arc<Mutex<Vec<(Instant, RecordId)>>>,
}

impl Collector {
    pub(crate) fn new(mood: Mood) -> Collector {
        let mood = Arc::new(Mutex::new(mood));
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (mine, log) = (Arc::clone(&mood), Arc::clone(&taken));
        let server = Server::plain(move |request| act(*mine.lock().unwrap(), request, &log));
        Collector {
            server,
            mood,
            taken,
        }
    }

    pub(crate) fn is_now(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// A destination of this name, with settings that the test adds.
    pub(crate) fn destination(&self, name: &str, more: &str) -> String {
        destination(name, &self.server.url("/v1/logs"), more)
    }

    /// Requests, whatever became of them.
    pub(crate) fn requests(&self) -> usize {
        self.server.received().len()
    }

    /// Records of the recorder's trail in the order in which they were taken.
    pub(crate) fn taken(&self) -> Vec<(Instant, RecordId)> {
        self.taken.lock().unwrap().clone()
    }

    /// How often each record of the recorder's trail was taken.
    pub(crate) fn rows(&self) -> BTreeMap<RecordId, u64> {
        let mut rows = BTreeMap::new();
        for (_, id) in self.taken() {
            *rows.entry(id).or_default() += 1;
        }
        rows
    }
}

/// A destination that speaks OTLP in JSON.
pub(crate) fn destination(name: &str, url: &str, more: &str) -> String {
    format!(
        "[destination.{name}]\nformat = \"otlp-json\"\ncompression = \"none\"\nproxy = \"\"\n\
         batch_records_max = 50\nbatch_age_max_ms = 50\nretry_max_ms = 500\n\
         filter.opens = true\n{more}[destination.{name}.otlp]\nurl = {url:?}\n"
    )
}

fn act(mood: Mood, request: &Received, taken: &Mutex<Vec<(Instant, RecordId)>>) -> Act {
    let (pause, body) = match mood {
        Mood::Takes(pause) => (pause, "{}".to_owned()),
        Mood::Rejects(count) => {
            let told = format!(
                "{{\"partialSuccess\":{{\"rejectedLogRecords\":\"{count}\",\
                 \"errorMessage\":\"too old\"}}}}"
            );
            (Duration::ZERO, told)
        }
        Mood::Hangs => return Act::Wait(EVER, Box::new(Act::Close)),
        Mood::IsBusy(after_s) => {
            return reply_with(503, &[("Retry-After", &after_s.to_string())], b"");
        }
    };
    let now = Instant::now();
    let ids = ids(&request.body);
    taken
        .lock()
        .unwrap()
        .extend(ids.into_iter().map(|id| (now, id)));
    let answer = reply_with(200, &[("Content-Type", "application/json")], body);
    Act::Wait(pause, Box::new(answer))
}

/// Records of the recorder's trail; manifests have longer names, and side trails other ones.
fn ids(body: &[u8]) -> Vec<RecordId> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let records = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array();
    let id = |record: &Value| {
        let attributes = record["attributes"].as_array().unwrap();
        let uid = attributes.iter().find(|it| it["key"] == "log.record.uid");
        let uid = uid.unwrap()["value"]["stringValue"].as_str().unwrap();
        let (epoch, sequence) = uid.get(36..)?.strip_prefix('-')?.split_once('-')?;
        Some(RecordId {
            epoch: epoch.parse().unwrap(),
            sequence: sequence.parse().ok()?,
        })
    };
    records.into_iter().flatten().filter_map(id).collect()
}
