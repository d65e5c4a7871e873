//! What `cargo xtask fleet` runs: a stream, a store, a relay and a shipper on this machine, and a
//! prompt for questions. Everything but the trail ends with it.
//!
//! Usage: fleet CONNTRAIL-SHIP STATE-DIR FLEET-FOLDER

#![forbid(unsafe_code)]

use engines::{ClickHouse, Nats};
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// What the destination is called, and the files of the shipper about it.
const DESTINATION: &str = "trial";

/// Room for what a machine records in weeks, and not all of its disk.
const STREAM_BYTES_MAX: u64 = 1 << 30;

/// How long the first rows may take.
const FIRST_ROWS_LIMIT: Duration = Duration::from_secs(30);

/// How often is looked for rows and for Ctrl-C.
const POLL: Duration = Duration::from_millis(100);

const FIRST_QUESTION: &str = "SELECT start_time, process_name, remote_ip, remote_port, bytes_out \
                              FROM conntrail.connections FINAL ORDER BY start_time DESC LIMIT 10";

/// A program of ours; it ends with the value.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(command: &mut Command, log: PathBuf) -> Fallible<Running> {
        let file = fs::File::create(&log)?;
        let command = command.stdin(Stdio::null()).stdout(file.try_clone()?);
        // In a group of its own, so that Ctrl-C is told to us alone and all ends in order.
        let child = command.stderr(file).process_group(0).spawn()?;
        Ok(Running { child, log })
    }

    /// Fails with the last words of one that runs no more.
    fn must_run(&mut self) -> Fallible<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            return Err(format!("a program of ours ended ({status}):\n{said}").into());
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already; it loses nothing by being killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Fallible<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [program, state, fleet] = &arguments[..] else {
        return Err("usage: fleet CONNTRAIL-SHIP STATE-DIR FLEET-FOLDER".into());
    };
    let (program, state, fleet) = (Path::new(program), Path::new(state), Path::new(fleet));
    let interrupted = watch_for_signals()?;
    println!("starting a stream and a store");
    let (stream, store) = (Nats::start(), ClickHouse::start());
    make_stream(&stream, fleet)?;
    make_tables(&store, program)?;
    let folder = stream.folder().join("ours");
    fs::create_dir(&folder)?;
    let relay = start_relay(program, &stream, &store, &folder)?;
    let shipper = start_shipper(program, &stream, state, &folder)?;
    println!("waiting for the first rows");
    let mut ours = [relay, shipper];
    wait_for_rows(&store, &mut ours, &interrupted)?;
    answer_questions(&store, state, &mut ours, &interrupted)?;
    println!("\nstopped; the store is gone, and the trail is as it was");
    Ok(())
}

/// Ctrl-C, a closed terminal and a polite kill all mean: end.
fn watch_for_signals() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

fn make_stream(stream: &Nats, fleet: &Path) -> Fallible<()> {
    let text = fs::read_to_string(fleet.join("nats/stream.json"))?;
    let mut config: serde_json::Value = serde_json::from_str(&text)?;
    config["num_replicas"] = 1.into();
    config["max_bytes"] = STREAM_BYTES_MAX.into();
    let payload = config.to_string();
    let mut client = stream.connect();
    let made = client.request("$JS.API.STREAM.CREATE.CONNTRAIL", &[], payload.as_bytes())?;
    let error = &made.json()["error"];
    if error.is_null() {
        return Ok(());
    }
    Err(format!("the stream cannot be made: {error}").into())
}

fn make_tables(store: &ClickHouse, program: &Path) -> Fallible<()> {
    let statements = Command::new(program).args(["fleet", "ddl"]).output()?;
    if !statements.status.success() {
        return Err(String::from_utf8_lossy(&statements.stderr).into());
    }
    let text = String::from_utf8(statements.stdout)?;
    for statement in text.split(";\n") {
        let says_something = |line: &str| !line.trim().is_empty() && !line.starts_with("--");
        if statement.lines().any(says_something) {
            let made = store.try_query(statement);
            made.map_err(|error| format!("{statement}\n{error}"))?;
        }
    }
    Ok(())
}

fn start_relay(
    program: &Path,
    stream: &Nats,
    store: &ClickHouse,
    folder: &Path,
) -> Fallible<Running> {
    let settings = folder.join("relay.toml");
    let text = format!(
        "[jetstream]\nservers = [{:?}]\n[clickhouse]\nurl = {:?}\n",
        stream.url(),
        store.url()
    );
    fs::write(&settings, text)?;
    let mut command = Command::new(program);
    command.arg("relay").arg("--config").arg(&settings);
    Running::start(&mut command, folder.join("relay.log"))
}

/// The store is new, so everything is sent, and not only what is new since the last time.
fn start_shipper(program: &Path, stream: &Nats, state: &Path, folder: &Path) -> Fallible<Running> {
    let saved = state.join("ship").join(format!("{DESTINATION}.state"));
    if saved.exists() {
        fs::remove_file(saved)?;
    }
    let settings = folder.join("ship.toml");
    let text = format!(
        "[destination.{DESTINATION}]\nbatch_age_max_ms = 1000\n\
         [destination.{DESTINATION}.jetstream]\nservers = [{:?}]\n",
        stream.url()
    );
    fs::write(&settings, text)?;
    let mut command = Command::new(program);
    command.arg("run").arg("--config").arg(&settings);
    command.arg("--state-dir").arg(state);
    Running::start(&mut command, folder.join("shipper.log"))
}

fn wait_for_rows(
    store: &ClickHouse,
    ours: &mut [Running],
    interrupted: &AtomicBool,
) -> Fallible<()> {
    let started = Instant::now();
    while rows(store) == 0 && !interrupted.load(Ordering::Relaxed) {
        ours.iter_mut().try_for_each(Running::must_run)?;
        if started.elapsed() > FIRST_ROWS_LIMIT {
            println!("no row yet; `cargo xtask run` in another terminal makes some");
            break;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn rows(store: &ClickHouse) -> u64 {
    let count = store.try_query("SELECT count() FROM conntrail.connections");
    count
        .ok()
        .and_then(|it| it.trim().parse().ok())
        .unwrap_or(0)
}

fn answer_questions(
    store: &ClickHouse,
    state: &Path,
    ours: &mut [Running],
    interrupted: &AtomicBool,
) -> Fallible<()> {
    println!("ask in SQL, a question a line; Ctrl-C or Ctrl-D ends it. For example:");
    println!("  {FIRST_QUESTION}");
    println!("  SELECT source, epoch, received, unexplained FROM conntrail.ledger");
    println!("from another terminal:");
    println!("  curl {} --data-binary 'SELECT ...'", store.url());
    println!("  conntrail --state-dir {} status", state.display());
    let questions = read_lines();
    prompt();
    while !interrupted.load(Ordering::Relaxed) {
        match questions.recv_timeout(POLL) {
            Ok(question) => {
                answer(store, &question);
                prompt();
            }
            Err(RecvTimeoutError::Timeout) => ours.iter_mut().try_for_each(Running::must_run)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

fn prompt() {
    if io::stdin().is_terminal() {
        print!("> ");
        // A prompt that cannot be shown keeps nobody from asking.
        let _ = io::stdout().flush();
    }
}

fn answer(store: &ClickHouse, question: &str) {
    let question = question.trim().trim_end_matches(';');
    if question.is_empty() {
        return;
    }
    let has_format = question.to_uppercase().contains(" FORMAT ");
    let pretty = match has_format {
        true => question.to_owned(),
        false => format!("{question} FORMAT PrettyCompactMonoBlock"),
    };
    match store.try_query(&pretty) {
        Ok(found) => println!("{}", found.trim_end()),
        Err(error) => println!("{error}"),
    }
}

/// Lines of standard input, from a thread that may wait for ever.
fn read_lines() -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
