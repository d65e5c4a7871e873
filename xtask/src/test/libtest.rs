//! What the test harness of the standard library prints.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Well.
    Passed,
    /// Not well.
    Failed,
    /// It did not run.
    Ignored,
}

/// Reads `test NAME ... VERDICT` lines.
///
/// A child process of a test writes past the harness, so that a verdict may follow somebody
/// else's half line.
pub(crate) fn verdicts(output: &str) -> BTreeMap<String, Verdict> {
    output.lines().filter_map(verdict).collect()
}

/// The names in a `--list --format terse`.
pub(super) fn listed(output: &str) -> impl Iterator<Item = &str> {
    output
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
}

/// Prints a log without the lines that say that all is well.
pub(super) fn print_failures(log: &Path) -> Result<()> {
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    for line in String::from_utf8_lossy(&text).lines() {
        let is_calm = matches!(verdict(line), Some((_, Verdict::Passed | Verdict::Ignored)));
        if !is_calm {
            println!("    {line}");
        }
    }
    println!("    (all of it is in {})", log.display());
    Ok(())
}

fn verdict(line: &str) -> Option<(String, Verdict)> {
    let (before, after) = line.rsplit_once(" ... ")?;
    let verdict = match after.split([',', ' ']).next()? {
        "ok" => Verdict::Passed,
        "FAILED" => Verdict::Failed,
        "ignored" => Verdict::Ignored,
        _ => return None,
    };
    let before = before.strip_suffix(" - should panic").unwrap_or(before);
    let name = match before.strip_prefix("test ") {
        Some(name) => name,
        None => before.rsplit_once("test ")?.1,
    };
    Some((name.to_owned(), verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_verdicts() {
        let output = "\nrunning 5 tests\n\
            test codec::tests::round_trip ... ok\n\
            test table::tests::overflows - should panic ... ok\n\
            test kernel::counts ... ignored, needs kernel: real sockets\n\
            server listening on 80test table::tests::bad ... FAILED\n\
            test crates/flow/src/lib.rs - table::Flow (line 9) - compile fail ... ok\n\
            \ntest result: FAILED. 3 passed; 1 failed; 1 ignored\n";
        let expected = [
            ("codec::tests::round_trip", Verdict::Passed),
            (
                "crates/flow/src/lib.rs - table::Flow (line 9) - compile fail",
                Verdict::Passed,
            ),
            ("kernel::counts", Verdict::Ignored),
            ("table::tests::bad", Verdict::Failed),
            ("table::tests::overflows", Verdict::Passed),
        ];
        let expected = expected.map(|(name, verdict)| (name.to_owned(), verdict));
        assert_eq!(verdicts(output), BTreeMap::from(expected));
    }

    #[test]
    fn reads_a_list() {
        let output = "a::b: test\nc: benchmark\n\n2 tests, 1 benchmark\n";
        assert_eq!(listed(output).collect::<Vec<_>>(), ["a::b"]);
    }
}
