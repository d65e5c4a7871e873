//! The live table of the real recorder; no privilege is needed, only a file system in memory.

use crate::recorder::Recorder;
use host::clock;
use live::{Expected, ReadError, Row, State, Table};
use record::PolicyField;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CONFIG: &str =
    "[sensor]\nkind = \"sampled\"\npoll_interval_ms = 200\n[live]\ninterval_ms = 100\n";

/// Longer than anything takes here.
const WAIT_MAX: Duration = Duration::from_secs(20);

struct Folder(TempDir);

impl Folder {
    fn new(policy: Option<&str>) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("conntrail.toml"), CONFIG).unwrap();
        if let Some(policy) = policy {
            fs::write(folder.path().join("policy.toml"), policy).unwrap();
        }
        Folder(folder)
    }

    fn record(&self) -> Recorder {
        let config = self.0.path().join("conntrail.toml");
        Recorder::start(&["--config", config.to_str().unwrap()])
    }
}

fn expected(state: &Path) -> Expected {
    let endpoint = fs::read_to_string(state.join("endpoint-id")).unwrap();
    Expected {
        endpoint: endpoint.trim().parse().unwrap(),
        owner: rustix::process::geteuid().as_raw(),
        boot_id: host::device::boot_id(),
    }
}

fn read(state: &Path) -> Result<Table, ReadError> {
    live::read(&host::paths::own_live_folders(state), &expected(state))
}

fn rows(table: &Table) -> Vec<Row> {
    table.rows().collect::<Result<_, _>>().unwrap()
}

/// Where the table of the recorder is that keeps its trail in `state`.
pub(crate) fn path(state: &Path) -> PathBuf {
    let endpoint = expected(state).endpoint.to_string();
    let folders = host::paths::own_live_folders(state);
    let mut paths = folders.iter().map(|it| it.join(&endpoint).join("live"));
    paths.find(|it| it.exists()).unwrap()
}

/// The first table that is as it should be.
fn wait_for(state: &Path, is_right: impl Fn(&Table) -> bool) -> Table {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match read(state) {
            Ok(table) if is_right(&table) => return table,
            Ok(table) => assert!(Instant::now() < deadline, "still {:?}", table.snapshot),
            Err(error) => assert!(Instant::now() < deadline, "still {error}"),
        }
        sleep(Duration::from_millis(20));
    }
}

fn has_port(table: &Table, port: u16) -> bool {
    let is_it = |row: &Row| row.connection.remote.port == Some(port);
    rows(table).iter().any(is_it)
}

fn connect() -> (TcpStream, TcpStream, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server, address.port())
}

/// A table that a killed recorder left, removed when the test is over.
struct LeftOver(PathBuf);

impl Drop for LeftOver {
    fn drop(&mut self) {
        // The test may have failed before there was one.
        let _ = fs::remove_file(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

#[test]
fn what_is_open_is_in_the_table_what_ended_is_not_and_a_stop_takes_it_away() {
    let recorder = Folder::new(None).record();
    let state = recorder.state_dir().to_owned();
    let (client, server, port) = connect();
    let table = wait_for(&state, |it| has_port(it, port));
    let rows = rows(&table);
    let row = rows
        .iter()
        .find(|it| it.connection.remote.port == Some(port))
        .unwrap();
    let process = row.connection.process.as_ref().unwrap();
    assert_eq!(process.key.pid, std::process::id());
    assert_eq!(row.connection.id.epoch, table.header.epoch);
    assert_eq!(row.connection.treated, None);
    let ids: Vec<u64> = rows.iter().map(|it| it.connection.id.ordinal).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(matches!(table.state(clock::mono()), State::Live { .. }));
    let metadata = fs::metadata(path(&state)).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o640);
    let trail = fs::metadata(trail::segments_dir(&state)).unwrap();
    assert_eq!(metadata.gid(), trail.gid(), "whoever reads one reads both");
    drop((client, server));
    wait_for(&state, |it| !has_port(it, port));
    let file = path(&state);
    drop(recorder.stop());
    assert!(!file.exists() && !file.parent().unwrap().exists());
}

#[test]
fn no_secret_of_the_policy_is_in_the_table() {
    let (shunned, kept) = (connect(), connect());
    let rules = format!(
        "version = 1\n\
         [[rule]]\nname = \"shunned\"\naction = \"drop\"\nfields = [\"record\"]\n\
         when = {{ port = {} }}\n\
         [[rule]]\nname = \"users\"\naction = \"drop\"\nfields = [\"user\", \"traffic\"]\n\
         when = {{ destination = \"loopback\" }}\n\
         [[rule]]\nname = \"folders\"\naction = \"truncate\"\nfields = [\"process.path\"]\n\
         when = {{ destination = \"loopback\" }}\n\
         [[rule]]\nname = \"here\"\naction = \"pseudonymise\"\nfields = [\"local.address\"]\n\
         when = {{ port = {} }}\n",
        shunned.2, kept.2
    );
    let folder = Folder::new(Some(&rules));
    let recorder = folder.record();
    let state = recorder.state_dir().to_owned();
    let table = wait_for(&state, |it| has_port(it, kept.2));
    let withheld = wait_for(&state, |it| it.snapshot.withheld > 0);
    assert!(withheld.snapshot.rows > 0);
    let rows = rows(&table);
    let is_shunned = |it: &&Row| it.connection.remote.port == Some(shunned.2);
    assert_eq!(rows.iter().find(is_shunned), None);
    let is_kept = |it: &&Row| it.connection.remote.port == Some(kept.2);
    let row = rows.iter().find(is_kept).unwrap();
    assert_eq!(
        (row.rate, row.last_seen),
        (None, None),
        "both tell of traffic"
    );
    let process = row.connection.process.as_ref().unwrap();
    assert_eq!((&process.user, process.login_uid), (&None, None));
    let marks = row.connection.treated.as_deref().unwrap();
    let fields = [PolicyField::User, PolicyField::LocalAddress];
    let has_mark = |field| marks.iter().any(|it| it.field == field);
    assert!(fields.into_iter().all(has_mark), "{marks:?}");
    let bytes = fs::read(path(&state)).unwrap();
    let own_folder = std::env::current_exe().unwrap();
    let own_folder = own_folder.parent().unwrap().to_str().unwrap();
    assert_eq!(count(&bytes, own_folder), 0, "a path was truncated");
    assert!(
        count(&bytes, process.name.as_deref().unwrap()) > 0,
        "that is shown"
    );
    let later = recorder.stop();
    let close = later.closes().find(|it| it.remote.port == Some(kept.2));
    assert_eq!(close, None, "it still is open");
    let recorded = later
        .connections
        .iter()
        .find(|it| it.remote.port == Some(kept.2));
    assert_eq!(
        recorded.unwrap().local.address,
        row.connection.local.address,
        "the pseudonym is the record's"
    );
}

#[test]
fn what_a_new_policy_takes_away_is_in_the_table_no_more() {
    let (_client, _server, port) = connect();
    let folder = Folder::new(None);
    let recorder = folder.record();
    let state = recorder.state_dir().to_owned();
    wait_for(&state, |it| has_port(it, port));
    let own_path = std::env::current_exe().unwrap();
    let own_path = own_path.to_str().unwrap();
    assert!(count(&fs::read(path(&state)).unwrap(), own_path) > 0);
    let rules = "version = 1\n[[rule]]\nname = \"paths\"\naction = \"drop\"\n\
                 fields = [\"process.path\"]\nwhen = { protocol = \"tcp\" }\n";
    let draft = folder.0.path().join("draft");
    fs::write(&draft, rules).unwrap();
    fs::rename(draft, folder.0.path().join("policy.toml")).unwrap();
    recorder.hang_up();
    recorder.wait_for("is in force");
    let is_treated = |it: &Table| rows(it).iter().any(|row| row.connection.treated.is_some());
    wait_for(&state, is_treated);
    assert_eq!(count(&fs::read(path(&state)).unwrap(), own_path), 0);
}

fn count(bytes: &[u8], text: &str) -> usize {
    let windows = bytes.windows(text.len());
    windows.filter(|it| *it == text.as_bytes()).count()
}

#[test]
fn a_recorder_that_was_killed_or_stands_still_is_not_shown_as_live() {
    let mut recorder = Folder::new(None).record();
    let state = recorder.state_dir().to_owned();
    wait_for(&state, |_| true);
    let _left_over = LeftOver(path(&state));
    recorder.stall();
    let is_stale = |it: &Table| matches!(it.state(clock::mono()), State::Stale { .. });
    let begun = Instant::now();
    wait_for(&state, is_stale);
    assert!(begun.elapsed() < Duration::from_secs(5));
    recorder.go_on();
    wait_for(&state, |it| {
        matches!(it.state(clock::mono()), State::Live { .. })
    });
    recorder.crash();
    let table = read(&state).unwrap();
    assert_eq!(table.state(clock::mono()), State::Gone);
    let late = clock::mono().plus_ns(60_000_000_000);
    assert!(!matches!(table.state(late), State::Live { .. }));
    // The next one, of whatever endpoint, clears away.
    drop(Folder::new(None).record().stop());
    assert!(matches!(read(&state), Err(ReadError::NotThere(_))));
}

#[test]
fn no_reader_can_hold_the_recorder_up() {
    let recorder = Folder::new(None).record();
    let state = recorder.state_dir().to_owned();
    wait_for(&state, |_| true);
    let file = path(&state);
    let locked = File::open(&file).unwrap();
    locked.lock().unwrap();
    let mut slow = Command::new("dd")
        .arg(format!("if={}", file.display()))
        .args(["of=/dev/null", "bs=1"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(50));
    let pid = Pid::from_raw(slow.id() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(slow.try_wait().unwrap(), None, "it is in the middle");
    let before = read(&state).unwrap().snapshot.generation;
    let (_client, _server, port) = connect();
    let table = wait_for(&state, |it| it.snapshot.generation > before + 5);
    assert!(matches!(table.state(clock::mono()), State::Live { .. }));
    wait_for(&state, |it| has_port(it, port));
    slow.kill().unwrap();
    slow.wait().unwrap();
    drop(locked);
    let kept = recorder.stop();
    assert!(
        kept.connections
            .iter()
            .any(|it| it.remote.port == Some(port))
    );
}

#[test]
fn a_table_that_was_taken_away_comes_back_and_one_that_is_off_is_not_made() {
    let recorder = Folder::new(None).record();
    let state = recorder.state_dir().to_owned();
    wait_for(&state, |_| true);
    fs::remove_file(path(&state)).unwrap();
    wait_for(&state, |it| {
        matches!(it.state(clock::mono()), State::Live { .. })
    });
    drop(recorder.stop());
    let folder = Folder::new(None);
    let config = CONFIG.replace("interval_ms = 100", "interval_ms = 0");
    fs::write(folder.0.path().join("conntrail.toml"), config).unwrap();
    let recorder = folder.record();
    sleep(Duration::from_millis(500));
    assert!(matches!(
        read(recorder.state_dir()),
        Err(ReadError::NotThere(_))
    ));
}
