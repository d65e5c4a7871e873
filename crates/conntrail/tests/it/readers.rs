//! Who may read a trail: the tool as other users.

use crate::tool::{office, run, stdout};
use std::fs;

#[test]
fn a_group_that_does_not_exist_is_a_problem_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conntrail.toml");
    let config = |group: &str| {
        fs::write(&file, format!("[trail]\ngroup = \"{group}\"\n")).unwrap();
        let output = run(&["config", "--config", file.to_str().unwrap()]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), complaint)
    };
    assert_eq!(config("77001"), (true, String::new()));
    let (is_right, complaint) = config("no-such-group");
    assert!(
        !is_right && complaint.contains("no-such-group"),
        "{complaint}"
    );
    let (is_right, complaint) = config("a:b");
    assert!(
        !is_right && complaint.contains("conntrail.toml:2"),
        "{complaint}"
    );
}

mod mount {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Output};

    const READERS: u32 = 77_001;
    const OTHERS: u32 = 77_002;

    /// What the tool says to a lesser user of this group.
    fn ask(tool: &Path, group: u32, arguments: &[&str]) -> Output {
        Command::new("setpriv")
            .args(["--reuid", "65534", "--clear-groups", "--regid"])
            .arg(group.to_string())
            .arg(tool)
            .args(arguments)
            .output()
            .unwrap()
    }

    #[test]
    #[ignore = "needs mount: becomes other users, which takes root and setpriv of util-linux"]
    fn a_member_of_the_group_asks_and_verifies_and_nobody_else_does() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        // The tool itself may be where only its builder can go.
        let tool = folder.path().join("conntrail");
        fs::copy(env!("CARGO_BIN_EXE_conntrail"), &tool).unwrap();
        let state = folder.path().join("state");
        let state_text = state.to_str().unwrap();
        stdout(&[
            "replay",
            office().to_str().unwrap(),
            "--state-dir",
            state_text,
        ]);
        for arguments in [&["query", "--json"][..], &["verify"]] {
            let arguments = [&["--state-dir", state_text], arguments].concat();
            assert!(!ask(&tool, READERS, &arguments).status.success());
            trail::share(&state, READERS).unwrap();
            let expected = stdout(&arguments);
            let answer = ask(&tool, READERS, &arguments);
            assert!(answer.status.success(), "{answer:?}");
            assert_eq!(String::from_utf8(answer.stdout).unwrap(), expected);
            let refused = ask(&tool, OTHERS, &arguments);
            assert!(!refused.status.success() && refused.stdout.is_empty());
            trail::share(&state, 0).unwrap();
        }
    }
}
