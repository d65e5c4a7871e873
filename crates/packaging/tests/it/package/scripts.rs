//! What Installer runs, in a bare root.

use super::bare_root::{Answer, BareRoot, Ran, TOOL};
use super::sample::Sample;
use packaging::package::{Script, script};
use std::fs;

const PACKAGE: [&str; 3] = ["/tmp/x.pkg", "/", "/"];

const BOOTOUT: &str = "launchctl bootout system/com.conntrail.agent.upgrade";
const BOOTSTRAP: &str =
    "launchctl bootstrap system /Library/LaunchDaemons/com.conntrail.agent.upgrade.plist";
const ACTIVATE: &str = "conntrail activate --only-if-managed --no-wait --timeout 60s";

fn text(which: Script) -> String {
    script(which, &Sample::new().product()).unwrap()
}

/// A machine on which everything works, with this end of the activation.
fn machine(activation: Answer<'_>) -> BareRoot {
    let root = BareRoot::new();
    root.command("launchctl", &[]);
    root.command("sleep", &[]);
    root.tool(&[activation]);
    root
}

const DONE: Answer<'_> = ("activate", "The extension is active.\n", 0);

fn install(root: &BareRoot) -> Ran {
    root.run(&text(Script::Postinstall), &PACKAGE)
}

#[test]
fn the_extension_is_activated_where_the_tool_may_and_nobody_is_asked() {
    let root = machine(DONE);
    let ran = install(&root);
    assert_eq!(ran.code, Some(0));
    // The job comes last: two requests for one extension would supersede each other.
    assert_eq!(ran.asked, [BOOTOUT, ACTIVATE, BOOTSTRAP]);
    ran.must_log(&[
        "The extension is active.",
        "Activated",
        "upgrade is started",
    ]);
    assert!(root.at("Library/Logs/Conntrail").is_dir());
}

#[test]
fn every_end_of_the_activation_is_said_in_words_and_the_installation_succeeds() {
    for (code, words) in [
        (0, "Activated"),
        (1, "The activation FAILED, for the reason above"),
        (2, "does not know what it was told"),
        (3, "NOT activated"),
        (4, "after the next start"),
        (5, "Another version is active"),
        (6, "sees no connections"),
        (9, "ended with code 9"),
        (127, "ended with code 127"),
    ] {
        let ran = install(&machine(("activate", "It says why.\n", code)));
        assert_eq!(ran.code, Some(0), "{code}");
        assert_eq!(ran.asked, [BOOTOUT, ACTIVATE, BOOTSTRAP], "{code}");
        ran.must_log(&["It says why.", words]);
    }
}

#[test]
fn on_another_volume_nothing_is_started() {
    let root = machine(DONE);
    let ran = root.run(
        &text(Script::Postinstall),
        &["/tmp/x.pkg", "/", "/Volumes/Other"],
    );
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.asked, Vec::<String>::new());
    ran.must_log(&["Installed on /Volumes/Other", "nothing is started"]);
    assert!(root.at("Volumes/Other/Library/Logs/Conntrail").is_dir());
}

#[test]
fn an_app_that_is_not_there_fails_the_installation() {
    let root = machine(DONE);
    fs::remove_file(root.at(TOOL)).unwrap();
    let ran = install(&root);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.asked, Vec::<String>::new());
    ran.must_log(&["is NOT there"]);
}

#[test]
fn a_job_that_does_not_start_is_tried_again_and_then_left_to_the_next_start() {
    let root = machine(DONE);
    root.command(
        "launchctl",
        &[("bootstrap", "busy\n", 5), ("bootout", "no such job\n", 3)],
    );
    let ran = install(&root);
    assert_eq!(ran.code, Some(0));
    let tries = [
        BOOTSTRAP, "sleep 1", BOOTSTRAP, "sleep 2", BOOTSTRAP, "sleep 0",
    ];
    assert_eq!(ran.asked[2..], tries);
    ran.must_log(&["could not be started now"]);
}

#[test]
fn a_missing_logger_or_launchctl_does_not_fail_the_installation() {
    let root = machine(DONE);
    fs::remove_file(root.at("bin/logger")).unwrap();
    fs::remove_file(root.at("bin/launchctl")).unwrap();
    let ran = install(&root);
    assert_eq!(ran.code, Some(0));
    assert!(ran.asked.contains(&ACTIVATE.to_owned()));
    assert!(ran.printed.contains("Activated"));
}

#[test]
fn an_old_system_is_refused() {
    for (system, code) in [
        ("12.7.6", 1),
        ("11", 1),
        ("13.0", 0),
        ("15.1", 0),
        ("26.0", 0),
    ] {
        let root = BareRoot::new();
        root.command("sw_vers", &[("", system, 0)]);
        let ran = root.run(&text(Script::Preinstall), &PACKAGE);
        assert_eq!(ran.code, Some(code), "{system}");
        assert_eq!(ran.asked, ["sw_vers -productVersion"]);
        match code {
            1 => ran.must_log(&["is too old", "macOS 13.0 or later"]),
            _ => ran.must_log(&["No version is there; version 1.2.3.45 comes."]),
        }
    }
}

#[test]
fn a_system_whose_version_is_not_known_is_left_to_installer() {
    for (answer, code) in [("", 1), ("nonsense", 0), ("", 0)] {
        let root = BareRoot::new();
        root.command("sw_vers", &[("", answer, code)]);
        let ran = root.run(&text(Script::Preinstall), &PACKAGE);
        assert_eq!(ran.code, Some(0));
        ran.must_log(&["Installer has compared it already"]);
    }
}

#[test]
fn the_version_that_is_there_and_the_one_that_comes_are_said() {
    let root = BareRoot::new();
    root.command("sw_vers", &[("", "14.5", 0)]);
    let short = "-extract CFBundleShortVersionString raw -o - /";
    let plist = "/Applications/Conntrail.app/Contents/Info.plist";
    let answers = [
        ("-extract CFBundleShort", "1.2.2\n", 0),
        ("-extract", "44\n", 0),
    ];
    root.command("plutil", &answers);
    root.tool(&[]);
    let ran = root.run(&text(Script::Preinstall), &PACKAGE);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.asked.len(), 3);
    assert_eq!(
        ran.asked[1],
        format!("plutil {}{plist}", short.trim_end_matches('/'))
    );
    ran.must_log(&["Version 1.2.2, build 44, is there; version 1.2.3.45 comes."]);
    root.command("plutil", &[("", "", 1)]);
    let ran = root.run(&text(Script::Preinstall), &PACKAGE);
    assert_eq!(ran.code, Some(0));
    ran.must_log(&["Version unknown, build unknown, is there"]);
}

#[test]
fn another_volume_is_not_compared_with_the_system_that_runs() {
    let root = BareRoot::new();
    root.command("sw_vers", &[("", "12.0", 0)]);
    let ran = root.run(
        &text(Script::Preinstall),
        &["/tmp/x.pkg", "/", "/Volumes/Other"],
    );
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.asked, Vec::<String>::new());
    ran.must_log(&["is not the one that runs", "No version is there"]);
}
