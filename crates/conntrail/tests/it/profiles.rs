//! `conntrail profile`: files in, files and sentences out.

use crate::tool::{run, stdout};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const TEAM: &str = "AB12CD34EF";

/// Writes profiles with these arguments beside the usual ones.
fn written(more: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let usual = ["profile", "write", "--team", TEAM, "--output", path];
    stdout(&[&usual[..], more].concat());
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn file(folder: &TempDir, name: &str) -> String {
    let path = folder.path().join(name);
    path.to_str().unwrap().to_owned()
}

/// The rules that the files break, and the exit code.
fn broken(arguments: &[&str]) -> (Vec<String>, i32) {
    let output = run(&[&["profile", "check", "--json"], arguments].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let rules = findings.map(|it| it["rule"].as_str().unwrap().to_owned());
    (rules.collect(), output.status.code().unwrap())
}

const COMBINED: &str = "conntrail.mobileconfig";

const IDENTITY: &[&str] = &[
    "--team",
    TEAM,
    "--app",
    "com.conntrail.agent",
    "--extension",
    "com.conntrail.agent.filter",
];

#[test]
fn writing_twice_gives_the_same_files() {
    let settings = [
        "--setting",
        "flow.flows_max=5000",
        "--organization",
        "Example",
    ];
    let (one, other) = (written(&settings), written(&settings));
    let names = names(one.path());
    assert_eq!(names.len(), 7, "{names:?}");
    for name in names {
        let read = |folder: &TempDir| fs::read(folder.path().join(&name)).unwrap();
        assert_eq!(read(&one), read(&other), "{name}");
    }
}

#[test]
fn what_is_written_passes_the_check() {
    let folder = written(&["--minimum-macos", "14"]);
    let combined = file(&folder, COMBINED);
    let expected = (vec![], 0);
    let arguments = [&[combined.as_str(), "--macos", "14"], IDENTITY].concat();
    assert_eq!(broken(&arguments), expected);
    let names = names(folder.path());
    let single = names.iter().filter(|name| *name != COMBINED);
    let single: Vec<String> = single.map(|name| file(&folder, name)).collect();
    let single: Vec<&str> = single.iter().map(String::as_str).collect();
    assert_eq!(broken(&[&single, IDENTITY].concat()), expected);
    let both = [&single[..], &[&combined], IDENTITY].concat();
    assert_eq!(broken(&both), (vec!["filter-twice".to_owned()], 0));
}

#[test]
fn what_the_agent_would_refuse_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profiles");
    let path = path.to_str().unwrap();
    for wrong in [
        ["--setting", "filter.loopbak=true"],
        ["--setting", "flow.flows_max=3"],
        ["--vendor-setting", "filter.stand_aside=maybe"],
        ["--minimum-macos", "12"],
        ["--grade", "any"],
        ["--app", "no identifier"],
    ] {
        let usual = ["profile", "write", "--team", TEAM, "--output", path];
        let output = run(&[&usual[..], &wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    assert!(!Path::new(path).exists());
}

#[test]
fn a_file_of_another_run_is_named_and_left() {
    let folder = written(&["--setting", "filter.loopback=true"]);
    let path = folder.path().to_str().unwrap();
    let text = stdout(&["profile", "write", "--team", TEAM, "--output", path]);
    let note = "note: conntrail-settings.mobileconfig is from another run";
    assert!(text.contains(note), "{text}");
    assert!(names(folder.path()).contains(&"conntrail-settings.mobileconfig".to_owned()));
}

#[test]
fn a_mistake_is_explained_in_sentences() {
    let folder = written(&[]);
    let combined = file(&folder, COMBINED);
    let text = fs::read_to_string(&combined).unwrap();
    let text = text.replace("inspector", "Inspector");
    fs::write(&combined, text).unwrap();
    let output = run(&[&["profile", "check", &combined], IDENTITY].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "error: the value is \"Inspector\", which is none of firewall, inspector [key-value]",
        "FilterGrade",
        &combined,
        "1 error, 0 warnings, 1 remark in 1 profile, 4 payloads",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn files_that_are_no_profiles_are_named_and_the_others_checked() {
    let folder = written(&[]);
    let combined = file(&folder, COMBINED);
    let strange = file(&folder, "strange");
    for contents in [
        &b""[..],
        b"hello",
        b"bplist00",
        b"\x30\x80\x06",
        b"<plist>\xff",
    ] {
        fs::write(&strange, contents).unwrap();
        let arguments = [&[combined.as_str(), &strange], IDENTITY].concat();
        assert_eq!(broken(&arguments), (vec!["not-a-profile".to_owned()], 1));
    }
    let folder = folder.path().to_str().unwrap();
    let arguments = [&[combined.as_str(), folder, "/nowhere/x"], IDENTITY].concat();
    let not_read = || "file-not-read".to_owned();
    assert_eq!(broken(&arguments), (vec![not_read(), not_read()], 1));
}

#[test]
fn a_huge_file_is_refused_and_not_read_to_its_end() {
    let folder = written(&[]);
    let combined = file(&folder, COMBINED);
    let arguments = [&[combined.as_str(), "/dev/zero"], IDENTITY].concat();
    assert_eq!(broken(&arguments), (vec!["not-a-profile".to_owned()], 1));
}

#[test]
fn a_setting_that_means_nothing_is_found_with_the_nearest() {
    let folder = written(&["--setting", "filter.loopback=true"]);
    let combined = file(&folder, COMBINED);
    let text = fs::read_to_string(&combined).unwrap();
    fs::write(&combined, text.replace("filter.loopback", "filter.lopback")).unwrap();
    let text = stdout(&[&["profile", "check", &combined], IDENTITY].concat());
    assert!(text.contains("the nearest is filter.loopback"), "{text}");
}
