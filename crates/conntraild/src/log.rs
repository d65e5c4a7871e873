//! The recorder's log: one line a happening, on standard error.

use std::io::Write;

/// Writes a line. When nobody can read it, recording goes on.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "conntraild: {line}");
}
