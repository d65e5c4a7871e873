//! The process of an engine: started, asked whether it answers, stopped, killed, paused.

use crate::port::Port;
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long an engine may take until it answers; a cluster elects its leaders in that time.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long an engine may take to stop when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How often an engine is asked whether it answers, or has ended.
const POLL: Duration = Duration::from_millis(20);

/// How much of the end of its log is shown when something went wrong, in lines.
const LOG_SHOWN_LINES: usize = 60;

/// What is started and how it is asked whether it answers.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) ready: Ready,
}

/// Asks an engine whether it answers; the error says what it said instead.
pub(crate) type Ready = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// An engine's process, with its folder and its ports.
///
/// It dies with the value, and with the process of the test whatever ends that. Every method may
/// be called while other threads speak to the engine.
pub struct Server {
    name: String,
    folder: TempDir,
    launch: Launch,
    _ports: Vec<Port>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    is_paused: bool,
}

impl Server {
    /// Starts an engine and waits until it answers.
    pub(crate) fn start(name: &str, folder: TempDir, ports: Vec<Port>, launch: Launch) -> Server {
        let server = Server::launch(name, folder, ports, launch);
        server.wait_until_ready();
        server
    }

    /// Starts an engine and does not wait.
    pub(crate) fn launch(name: &str, folder: TempDir, ports: Vec<Port>, launch: Launch) -> Server {
        let server = Server {
            name: name.to_owned(),
            folder,
            launch,
            _ports: ports,
            state: Mutex::default(),
        };
        server.spawn();
        server
    }

    /// Ends it as a service manager would: SIGTERM, and the wait until it has ended.
    ///
    /// # Panics
    ///
    /// When it does not run, or takes longer than a minute to end.
    pub fn stop(&self) -> ExitStatus {
        self.resume();
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            let mut state = self.state();
            if let Some(status) = state.child.as_mut().and_then(has_ended) {
                state.child = None;
                return status;
            }
            drop(state);
            thread::sleep(POLL);
        }
        self.fail("did not stop when it was asked to");
    }

    /// Ends it as a power cut would, apart from what the kernel has not written yet: SIGKILL.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.reap();
    }

    /// Freezes it: its connections stay open and nothing is answered.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        self.state().is_paused = true;
    }

    /// Lets a frozen engine go on; nothing when it is not frozen.
    pub fn resume(&self) {
        let was_paused = std::mem::take(&mut self.state().is_paused);
        if was_paused {
            self.signal(Signal::CONT);
        }
    }

    /// Starts it again on the same data and the same ports and waits until it answers; one that
    /// still runs is stopped first.
    ///
    /// # Panics
    ///
    /// When it does not answer within 60 s, with the end of its log.
    pub fn restart(&self) {
        self.start_again();
        self.wait_until_ready();
    }

    /// Starts it again and does not wait: a member of a cluster may answer only with others.
    pub fn start_again(&self) {
        if self.is_running() {
            self.stop();
        }
        self.spawn();
    }

    /// Waits until it answers.
    ///
    /// # Panics
    ///
    /// When it does not within 60 s, or ends, with the end of its log.
    pub fn wait_until_ready(&self) {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let answer = (self.launch.ready)();
            let Err(reason) = answer else { return };
            if !self.is_running() {
                self.fail("ended instead of answering");
            }
            if Instant::now() >= deadline {
                self.fail(&format!("does not answer: {reason}"));
            }
            thread::sleep(POLL);
        }
    }

    /// Whether its process runs; a paused one does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut state = self.state();
        state
            .child
            .as_mut()
            .is_some_and(|child| has_ended(child).is_none())
    }

    /// The id of its process, while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.state().child.as_ref().map(Child::id)
    }

    /// Its folder, with its configuration, its data and its log; removed with the value.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything that it has printed so far, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn spawn(&self) {
        let child = self.try_spawn().unwrap_or_else(|error| {
            panic!(
                "cannot start {} ({}): {error}",
                self.name,
                self.launch.program.display()
            )
        });
        *self.state() = State {
            child: Some(child),
            is_paused: false,
        };
    }

    fn try_spawn(&self) -> io::Result<Child> {
        let log = self.open_log()?;
        // It must not outlive this process, not even when that is killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.launch.program)
            .args(&self.launch.arguments)
            .envs(
                self.launch
                    .environment
                    .iter()
                    .map(|(key, value)| (key, value)),
            )
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A group of its own, so that what it starts is signaled with it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        spawn_for_good(command)
    }

    fn open_log(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(self.log_file())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn signal(&self, signal: Signal) {
        let state = self.state();
        let Some(child) = &state.child else {
            panic!("{} does not run", self.name)
        };
        send(child, signal);
    }

    fn reap(&self) {
        let mut state = self.state();
        if let Some(mut child) = state.child.take() {
            // A killed child that cannot be waited for was waited for already.
            let _ = child.wait();
        }
        state.is_paused = false;
    }

    fn fail(&self, problem: &str) -> ! {
        panic!(
            "{} {problem}; the end of its log:\n{}",
            self.name,
            self.end_of_log()
        );
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_SHOWN_LINES)..].join("\n")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "the end of the log of {}:\n{}",
                self.name,
                self.end_of_log()
            );
        }
        let child = self.state().child.take();
        if let Some(mut child) = child {
            send(&child, Signal::KILL);
            let _ = child.wait();
        }
    }
}

/// What an engine's folder is made in.
pub(crate) fn folder(name: &str) -> TempDir {
    let made = tempfile::Builder::new()
        .prefix(&format!("conntrail-{name}-"))
        .tempdir();
    made.unwrap_or_else(|error| panic!("cannot make a folder for {name}: {error}"))
}

/// Writes a file that an engine reads when it starts.
pub(crate) fn write(path: &Path, contents: &str) {
    if let Err(error) = fs::write(path, contents) {
        panic!("cannot write {}: {error}", path.display());
    }
}

fn has_ended(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().ok().flatten()
}

/// To the whole group; a leader that nobody has waited for keeps its id, so no stranger is hit.
fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A group whose last member has just ended is no failure.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a child that dies with this process.
///
/// The kernel kills such a child when the thread ends that started it, and a test is a thread. So
/// a thread that never ends starts them all.
fn spawn_for_good(command: Command) -> io::Result<Child> {
    static STARTER: LazyLock<Mutex<Sender<Request>>> = LazyLock::new(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                // Whoever no longer listens has panicked, and its engine must not run on.
                if let Err(unheard) = answer.send(command.spawn())
                    && let Ok(mut child) = unheard.0
                {
                    send(&child, Signal::KILL);
                    let _ = child.wait();
                }
            }
        });
        Mutex::new(sender)
    });
    let (answer, child) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts engines is gone");
    let starter = STARTER.lock().unwrap_or_else(|poison| poison.into_inner());
    starter.send((command, answer)).map_err(|_| gone(()))?;
    drop(starter);
    child.recv().map_err(|_| gone(()))?
}
