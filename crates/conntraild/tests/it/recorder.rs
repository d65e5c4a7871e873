//! Runs the recorder, and reads what it kept.

use query::{Answer, Answers, Filter};
use record::{Connection, Notice, NoticeKind, Phase, Record};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A recorder at work on a state folder of its own.
pub(crate) struct Recorder {
    child: Child,
    log: Receiver<String>,
    state: TempDir,
}

/// What a recorder kept.
pub(crate) struct Kept {
    pub(crate) connections: Vec<Connection>,
    pub(crate) notices: Vec<Notice>,
    /// Both, in the order they were recorded.
    pub(crate) records: Vec<Record>,
    state: TempDir,
}

const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(60);

/// Where a test has no configuration of its own: every connection has a record, as the truth that
/// it is compared with has, however many a process makes.
fn whole(state: &TempDir, arguments: &[&str]) -> Vec<PathBuf> {
    if arguments.contains(&"--config") {
        return Vec::new();
    }
    let config = state.path().join("conntraild.toml");
    std::fs::write(&config, "[flow]\nburst_max = 0\n").unwrap();
    vec!["--config".into(), config]
}

impl Recorder {
    /// Starts one and waits until it records.
    pub(crate) fn start(arguments: &[&str]) -> Recorder {
        Recorder::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    fn start_in(state: TempDir, arguments: &[&str]) -> Recorder {
        let mut child = Command::new(program("conntraild"))
            .arg("--state-dir")
            .arg(state.path())
            .args(whole(&state, arguments))
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = read_log(&mut child);
        let recorder = Recorder { child, log, state };
        recorder.wait_for("recording to");
        recorder
    }

    /// Stops its world: it reads nothing until [`Recorder::go_on`].
    pub(crate) fn stall(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// The folder that it keeps its trail in.
    pub(crate) fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Kills it as a crash would, and leaves what it left.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to look at its privacy policy now.
    pub(crate) fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Kills it as a crash would, and starts another on the same folder.
    pub(crate) fn crash_and_restart(mut self, arguments: &[&str]) -> Recorder {
        self.crash();
        let state = std::mem::replace(&mut self.state, tempfile::tempdir().unwrap());
        Recorder::start_in(state, arguments)
    }

    /// Stops it in order and reads what it kept.
    pub(crate) fn stop(mut self) -> Kept {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let deadline = Instant::now() + STOP_MAX;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("the recorder does not stop"),
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        assert!(status.success(), "the recorder failed: {status}");
        let state = std::mem::replace(&mut self.state, tempfile::tempdir().unwrap());
        Kept::read(state)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).unwrap()
    }

    /// Waits until it says something with `words` in it.
    pub(crate) fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + START_MAX;
        let mut said = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) if line.contains(words) => return,
                Ok(line) => said += &(line + "\n"),
                Err(_) => panic!("the recorder never said \"{words}\", only:\n{said}"),
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // It is gone already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kept {
    fn read(state: TempDir) -> Kept {
        let filter = Filter {
            all_phases: true,
            ..Filter::default()
        };
        let segments = trail::segments_dir(state.path());
        let mut answers = Answers::new(&segments, filter).unwrap();
        let mut kept = Kept {
            connections: Vec::new(),
            notices: Vec::new(),
            records: Vec::new(),
            state,
        };
        while let Some(answer) = answers.next_answer().unwrap() {
            if let Answer::Record { record, .. } = &answer {
                kept.records.push(record.clone());
            }
            match answer {
                Answer::Record {
                    record: Record::Connection(it),
                    ..
                } => kept.connections.push(it),
                Answer::Record {
                    record: Record::Notice(it),
                    ..
                } => kept.notices.push(it),
                Answer::Hole(hole) => panic!("{hole}"),
            }
        }
        kept
    }

    /// The ledger, which must balance.
    pub(crate) fn balanced(&self) -> trail::Book {
        let book = self.ledger();
        for account in &book.accounts {
            assert_eq!(account.findings, [], "{account:#?}");
        }
        book
    }

    /// The ledger of what is on the disk now.
    pub(crate) fn ledger(&self) -> trail::Book {
        trail::balance(&self.segments()).unwrap()
    }

    /// Where the segments are.
    pub(crate) fn segments(&self) -> PathBuf {
        trail::segments_dir(self.state.path())
    }

    /// The connections that ended.
    pub(crate) fn closes(&self) -> impl Iterator<Item = &Connection> {
        self.connections
            .iter()
            .filter(|it| matches!(it.phase, Phase::Close(_)))
    }

    /// How many of `what` were declared lost.
    pub(crate) fn declared_lost(&self, what: record::LostKind) -> u64 {
        let lost = |notice: &Notice| match &notice.kind {
            NoticeKind::Lost {
                what: kind, count, ..
            } if *kind == what => *count,
            _ => None,
        };
        self.notices.iter().filter_map(lost).sum()
    }
}

/// A program of the project: the one that was built for the whole run, or cargo's own.
pub(crate) fn program(name: &str) -> PathBuf {
    match std::env::var_os("CONNTRAIL_BIN_DIR") {
        Some(folder) => Path::new(&folder).join(name),
        None => PathBuf::from(env!("CARGO_BIN_EXE_conntraild")),
    }
}

fn read_log(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let stderr = child.stderr.take().unwrap();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // The test may have stopped listening; the recorder must still be able to write.
            let _ = sender.send(line);
        }
    });
    receiver
}
