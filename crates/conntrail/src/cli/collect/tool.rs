//! Tools of the system, which may hang, flood or fail without harm to us.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How often a child that has closed its output is asked whether it has ended.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// What a tool prints on both of its outputs, at most `max_bytes` of each, and how it failed if it
/// did: even then it may have said something.
///
/// # Errors
/// When it cannot be run or takes longer than `timeout`; it is ended then, and whatever it started.
pub(super) fn output(
    program: &str,
    arguments: &[String],
    max_bytes: u64,
    timeout: Duration,
) -> Result<String, String> {
    let deadline = Instant::now() + timeout;
    let failed = |error: io::Error| format!("{program} could not be run: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let said = read(child.stdout.take(), max_bytes);
    let complained = read(child.stderr.take(), max_bytes);
    let ended = finish(&mut child, &said, &complained, deadline);
    let Some((mut text, complaint, status)) = ended else {
        end(&mut child);
        let seconds = timeout.as_secs_f64();
        return Err(format!(
            "{program} did not end within {seconds:.0} s and was ended"
        ));
    };
    let status = status.map_err(failed)?;
    if text.len() as u64 >= max_bytes {
        text.push_str("\n(the rest is left out)\n");
    }
    if !complaint.is_empty() {
        text.push_str(&format!("\n(it complained)\n{complaint}"));
    }
    if !status.success() {
        text.push_str(&format!("\n(it failed: {status})\n"));
    }
    Ok(text)
}

/// Reads on a thread of its own, which ends with the child or with whoever inherited its output.
fn read(from: Option<impl Read + Send + 'static>, max_bytes: u64) -> Receiver<String> {
    let (give, take) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read until then is kept.
            let _ = from.take(max_bytes).read_to_end(&mut bytes);
        }
        // Nobody waits any more after the deadline.
        let _ = give.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    take
}

/// `None` when the deadline comes first.
fn finish(
    child: &mut Child,
    said: &Receiver<String>,
    complained: &Receiver<String>,
    deadline: Instant,
) -> Option<(String, String, io::Result<ExitStatus>)> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let text = said.recv_timeout(left()).ok()?;
    let complaint = complained.recv_timeout(left()).ok()?;
    loop {
        if let Some(status) = child.try_wait().transpose() {
            return Some((text, complaint, status));
        }
        if left().is_zero() {
            return None;
        }
        thread::sleep(WAIT_STEP);
    }
}

/// None of it can fail in a way that something could be done about: they are our own children.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Duration = Duration::from_secs(60);

    fn shell(script: &str, max_bytes: u64, timeout: Duration) -> Result<String, String> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        output("/bin/sh", &arguments, max_bytes, timeout)
    }

    #[test]
    fn both_outputs_and_the_failure_are_kept() {
        let text = shell("echo out; echo err >&2; exit 7", 1_000, PLENTY).unwrap();
        for expected in ["out\n", "(it complained)\nerr\n", "exit status: 7"] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_tool_that_hangs_is_ended_with_all_that_it_started() {
        let begun = Instant::now();
        let soon = Duration::from_millis(100);
        for script in ["sleep 600; true", "exec >&- 2>&-; exec sleep 600"] {
            let error = shell(script, 1_000, soon).unwrap_err();
            assert!(error.contains("did not end within"), "{error}");
        }
        assert!(begun.elapsed() < PLENTY);
    }

    #[test]
    fn a_tool_that_floods_is_cut_and_one_that_is_missing_is_named() {
        let script = "head -c 100000 /dev/zero | tr '\\0' x; true";
        let text = shell(script, 1_000, PLENTY).unwrap();
        assert!(
            text.contains("the rest is left out") && text.len() < 2_000,
            "{text}"
        );
        let error = output("/nowhere/tool", &[], 10, PLENTY).unwrap_err();
        assert!(error.contains("/nowhere/tool"), "{error}");
    }
}
