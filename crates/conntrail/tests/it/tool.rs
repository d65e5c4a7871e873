//! Runs the tool.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The stream of events that comes with the project: office machines at work.
pub(crate) fn office() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/office.events")
}

/// What the tool says to `arguments`.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Command::new(env!("CARGO_BIN_EXE_conntrail"))
        .args(arguments)
        .env("HOME", home)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

/// What it prints, when it must succeed.
pub(crate) fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{errors}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What it complains about, when it must fail.
pub(crate) fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}
