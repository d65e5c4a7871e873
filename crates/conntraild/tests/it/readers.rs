//! Who may read what the real recorder keeps.

use crate::recorder::{Recorder, program};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A configuration that names this group.
fn naming(group: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[sensor]\nkind = \"sampled\"\n[trail]\ngroup = \"{group}\"\n[live]\ninterval_ms = 100\n"
    );
    fs::write(folder.path().join("conntrail.toml"), text).unwrap();
    folder
}

fn record(config: &TempDir) -> Recorder {
    let config = config.path().join("conntrail.toml");
    Recorder::start(&["--config", config.to_str().unwrap()])
}

/// Group and mode.
fn rights(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.gid(), metadata.mode() & 0o7777)
}

#[test]
fn an_unknown_group_is_said_loudly_and_recording_goes_on_for_nobody_else() {
    let config = naming("no-such-group");
    let state = config.path().join("state");
    let mut recorder = Command::new(program("conntraild"));
    recorder.args(["--for", "1s", "--state-dir"]).arg(&state);
    recorder
        .arg("--config")
        .arg(config.path().join("conntrail.toml"));
    let output = recorder.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("no group \"no-such-group\"") && said.contains("recording goes on"),
        "{said}"
    );
    let own = rustix::process::getegid().as_raw();
    let segments = trail::segments_dir(&state);
    assert_eq!(rights(&segments), (own, 0o2750));
    assert_eq!(rights(&state), (own, 0o2750));
    assert_eq!(rights(&state.join("trail.lock")).1, 0o600);
    assert!(trail::verify(&segments).unwrap().records > 1);
}

mod mount {
    use super::*;
    use crate::live_table;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;
    use std::thread::sleep;
    use std::time::Duration;

    const READERS: u32 = 77_001;
    const OTHERS: u32 = 77_002;

    /// Whether a lesser user of this group can do that to a file or folder.
    fn can(group: u32, what: &str, path: &Path) -> bool {
        let status = Command::new("setpriv")
            .args(["--reuid", "65534", "--clear-groups", "--regid"])
            .args([&group.to_string(), "sh", "-c", what, "sh"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    }

    const READ: &str = "if [ -d \"$1\" ]; then ls \"$1\"; else head -c 1 \"$1\"; fi";
    const WRITE: &str = "if [ -d \"$1\" ]; then : > \"$1/new\"; else : >> \"$1\"; fi";
    const HOLD: &str = "flock --nonblock \"$1\" true";

    fn assert_only_readers_read(path: &Path) {
        assert!(can(READERS, READ, path), "{} is not read", path.display());
        assert!(!can(OTHERS, READ, path), "{} is read", path.display());
        for group in [READERS, OTHERS] {
            assert!(!can(group, WRITE, path), "{} is written", path.display());
        }
    }

    fn segments_of(state: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(trail::segments_dir(state)).unwrap();
        let paths = entries.map(|it| it.unwrap().path());
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|it| it == "trail");
        paths.filter(is_segment).collect()
    }

    fn assert_given(state: &Path) {
        let segments = trail::segments_dir(state);
        for folder in [state, &segments] {
            assert_eq!(rights(folder), (READERS, 0o2750), "{}", folder.display());
            assert_only_readers_read(folder);
        }
        let mut files = segments_of(state);
        assert!(!files.is_empty());
        files.extend([segments.join("head"), state.join("epoch")]);
        for file in &files {
            assert_eq!(rights(file), (READERS, 0o640), "{}", file.display());
            assert_only_readers_read(file);
        }
        let lock = state.join("trail.lock");
        assert_eq!(rights(&lock).1, 0o600);
        assert!(!can(READERS, READ, &lock) && !can(READERS, HOLD, &lock));
        assert_eq!(rights(&state.join("endpoint-id")).1 & !0o644, 0);
    }

    fn wait_for(path: impl Fn() -> bool) {
        for _ in 0..500 {
            if path() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("waited in vain");
    }

    #[test]
    #[ignore = "needs mount: becomes other users, which takes root and setpriv of util-linux"]
    fn the_named_group_reads_the_trail_and_the_live_table_and_nobody_else_does() {
        let config = naming(&READERS.to_string());
        let recorder = record(&config);
        let state = recorder.state_dir().to_owned();
        wait_for(|| !segments_of(&state).is_empty());
        assert_given(&state);
        let table = live_table::path(&state);
        assert_eq!(rights(&table), (READERS, 0o640));
        assert_only_readers_read(&table);
    }

    #[test]
    #[ignore = "needs mount: becomes other users, which takes root and setpriv of util-linux"]
    fn what_was_there_is_given_to_the_group_at_the_next_start() {
        let recorder = Recorder::start(&["--sensor", "sampled"]);
        let state = recorder.state_dir().to_owned();
        wait_for(|| !segments_of(&state).is_empty());
        assert_eq!(rights(&segments_of(&state)[0]), (0, 0o640));
        let key = state.join("policy.key");
        fs::write(&key, "secret").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        assert!(!can(READERS, READ, &trail::segments_dir(&state)));
        let config = naming(&READERS.to_string());
        let config = config.path().join("conntrail.toml");
        let recorder = recorder.crash_and_restart(&["--config", config.to_str().unwrap()]);
        assert_eq!(recorder.state_dir(), state);
        assert_given(&state);
        assert_eq!(rights(&key), (0, 0o600));
        drop(recorder.stop());
    }
}
