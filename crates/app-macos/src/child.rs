//! A tool of the system as a child process, which may hang, flood or fail without harm to us.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Longer output than this is not what we asked for.
const OUTPUT_MAX_BYTES: u64 = 256 << 10;

/// How often a child that has closed its output is asked whether it has ended.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// It did not start, or its output could not be read.
    #[error("{program} could not be run: {source}")]
    Run {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time and was ended.
    #[error("{program} did not answer within {}", crate::words::duration(*after))]
    TimedOut {
        /// Which.
        program: String,
        /// After which time.
        after: Duration,
    },
    /// It ended with a complaint.
    #[error("{program} failed ({status})")]
    Failed {
        /// Which.
        program: String,
        /// How.
        status: ExitStatus,
    },
}

/// What `program` prints, the first 256 KiB of it.
///
/// # Errors
/// When it cannot be run, fails, or takes longer than `timeout`; it is ended then.
pub(crate) fn output(
    program: &str,
    arguments: &[&str],
    timeout: Duration,
) -> Result<String, ChildError> {
    output_of_at_most(OUTPUT_MAX_BYTES, program, arguments, timeout)
}

/// As [`output`], the first `max_bytes` of it.
pub(crate) fn output_of_at_most(
    max_bytes: u64,
    program: &str,
    arguments: &[&str],
    timeout: Duration,
) -> Result<String, ChildError> {
    let deadline = Instant::now() + timeout;
    let failed = |source| ChildError::Run {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let text = read(&mut child, max_bytes, deadline).and_then(|text| {
        let status = wait(&mut child, deadline)?;
        Some((text, status))
    });
    let Some((text, status)) = text else {
        end(&mut child);
        return Err(ChildError::TimedOut {
            program: program.to_owned(),
            after: timeout,
        });
    };
    let status = status.map_err(failed)?;
    if !status.success() {
        return Err(ChildError::Failed {
            program: program.to_owned(),
            status,
        });
    }
    let bytes = text.map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `None` when the deadline comes first. The thread that reads then ends with the child, or with
/// whoever inherited the child's output.
fn read(child: &mut Child, max_bytes: u64, deadline: Instant) -> Option<io::Result<Vec<u8>>> {
    let mut stdout = child.stdout.take().expect("it was asked to be piped");
    let (give, take) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.by_ref().take(max_bytes).read_to_end(&mut bytes);
        // Nobody waits any more after the deadline.
        let _ = give.send(read.map(|_| bytes));
    });
    let left = deadline.saturating_duration_since(Instant::now());
    take.recv_timeout(left).ok()
}

/// `None` when the deadline comes first.
fn wait(child: &mut Child, deadline: Instant) -> Option<io::Result<ExitStatus>> {
    loop {
        let status = child.try_wait().transpose();
        if status.is_some() || Instant::now() >= deadline {
            return status;
        }
        thread::sleep(WAIT_STEP);
    }
}

/// Neither can fail in a way that something could be done about: it is our own child.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<String, ChildError> {
        output("/bin/sh", &["-c", script], timeout)
    }

    const PLENTY: Duration = Duration::from_secs(60);

    #[test]
    fn output_is_returned_and_standard_error_is_not() {
        assert_eq!(shell("echo out; echo err >&2", PLENTY).unwrap(), "out\n");
    }

    #[test]
    fn a_tool_that_hangs_is_ended_in_time() {
        let begun = Instant::now();
        let error = shell("exec sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ChildError::TimedOut { .. }), "{error}");
        let error = shell("exec >&-; exec sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ChildError::TimedOut { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn a_tool_that_floods_is_cut_and_one_that_fails_is_named() {
        let flood = shell("head -c 1000000 /dev/zero | tr '\\0' x; true", PLENTY).unwrap();
        assert_eq!(flood.len() as u64, OUTPUT_MAX_BYTES);
        let error = shell("exit 7", PLENTY).unwrap_err();
        assert!(error.to_string().contains("exit status: 7"), "{error}");
        let error = output("/nowhere", &[], PLENTY).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
