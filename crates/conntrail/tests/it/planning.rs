//! The plan, which the shipper makes; that it is right is shown where the shipper's tests are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn the_program_beside_the_tool_is_asked_and_answers_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let installed = folder.path().join("installed");
    fs::create_dir(&installed).unwrap();
    let tool = installed.join("conntrail");
    fs::copy(env!("CARGO_BIN_EXE_conntrail"), &tool).unwrap();
    // As packages put it among what everybody can start.
    let link = folder.path().join("conntrail");
    std::os::unix::fs::symlink(&tool, &link).unwrap();
    let ask = || {
        let mut ask = Command::new(&link);
        let arguments = ["plan", "--machines", "7", "--help"];
        ask.args(["--state-dir", "/a b"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let alone = ask();
    let said = String::from_utf8(alone.stderr).unwrap();
    assert!(!alone.status.success());
    assert!(
        said.contains("conntrail-ship is not there, which makes the plan"),
        "{said}"
    );
    let shipper = installed.join("conntrail-ship");
    fs::write(&shipper, "#!/bin/sh\nprintf '%s|' \"$@\"\nexit 3\n").unwrap();
    fs::set_permissions(&shipper, Permissions::from_mode(0o755)).unwrap();
    let asked = ask();
    let said = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(said, "plan|--state-dir|/a b|--machines|7|--help|");
    assert_eq!(asked.status.code(), Some(3));
}
