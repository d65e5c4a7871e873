//! What Installer runs, in a bare root.

use super::bare_root::{Answer, BareRoot, Ran, TOOL};
use super::sample::Sample;
use packaging::package::{Script, script};
use std::fs;

const PACKAGE: [&str; 3] = ["/tmp/x.pkg", "/", "/"];

const BOOTOUT: &str = "launchctl bootout system/com.conntrail.agent.upgrade";
const BOOTSTRAP: &str =
    "launchctl bootstrap system /Library/LaunchDaemons/com.conntrail.agent.upgrade.plist";
const SHIP_BOOTOUT: &str = "launchctl bootout system/com.conntrail.agent.ship";
const SHIP_BOOTSTRAP: &str =
    "launchctl bootstrap system /Library/LaunchDaemons/com.conntrail.agent.ship.plist";
const ACTIVATE: &str = "conntrail activate --only-if-managed --no-wait --timeout 60s";

fn text(which: Script) -> String {
    script(which, &Sample::new().product()).unwrap()
}

/// A machine on which everything works, with this end of the activation.
fn machine(activation: Answer<'_>) -> BareRoot {
    let root = BareRoot::new();
    root.command("launchctl", &[]);
    root.command("sleep", &[]);
    root.account();
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
    let done = [BOOTOUT, SHIP_BOOTOUT, ACTIVATE, BOOTSTRAP, SHIP_BOOTSTRAP];
    assert_eq!(ran.asked_beside_account(), done);
    ran.must_log(&[
        "The extension is active.",
        "Activated",
        "upgrade is started",
        "ship is started",
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
        let done = [BOOTOUT, SHIP_BOOTOUT, ACTIVATE, BOOTSTRAP, SHIP_BOOTSTRAP];
        assert_eq!(ran.asked_beside_account(), done, "{code}");
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
    ran.must_log(&[
        "Installed on /Volumes/Other",
        "nothing is started",
        "_conntrail can be made on the volume that runs only: com.conntrail.agent.ship",
    ]);
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
    assert_eq!(ran.asked_beside_account()[3..9], tries);
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

const STATE: &str = "Library/Application Support/Conntrail";

#[test]
fn the_account_of_the_shipper_is_made_once_with_a_number_that_nobody_has() {
    let root = machine(DONE);
    let missing = "<dscl_cmd> DS Error: -14136 (eDSRecordNotFound)\n";
    root.command(
        "dscl",
        &[
            (". -read", missing, 56),
            (". -list /Users UniqueID", "_www 70\nboss 499\n", 0),
            (
                ". -list /Groups PrimaryGroupID",
                "_www   70\nsome   498\n",
                0,
            ),
        ],
    );
    let ran = install(&root);
    assert_eq!(ran.code, Some(0));
    let made: Vec<_> = ran
        .asked
        .iter()
        .filter(|it| it.contains("-create"))
        .collect();
    let of_group = "dscl . -create /Groups/_conntrail";
    let of_user = "dscl . -create /Users/_conntrail";
    let wanted = [
        of_group.to_owned(),
        format!("{of_group} PrimaryGroupID 497"),
        format!("{of_group} RealName Conntrail"),
        format!("{of_group} Password *"),
        of_user.to_owned(),
        format!("{of_user} UniqueID 497"),
        format!("{of_user} PrimaryGroupID 497"),
        format!("{of_user} RealName Conntrail"),
        format!("{of_user} NFSHomeDirectory /var/empty"),
        format!("{of_user} UserShell /usr/bin/false"),
        format!("{of_user} Password *"),
        format!("{of_user} IsHidden 1"),
    ];
    assert_eq!(made, wanted.iter().collect::<Vec<_>>());
    ran.must_log(&["_conntrail is made, number 497", "ship is started"]);
    let again = install(&machine(DONE));
    assert!(!again.asked.iter().any(|it| it.contains("-create")));
}

#[test]
fn without_its_account_the_shipper_is_not_started_and_the_rest_is() {
    let answers: [&[Answer<'_>]; 3] = [
        // No directory at all.
        &[(".", "", 1)],
        // Every number is taken.
        &[(". -read", "", 56), (". -list", &taken(), 0)],
        // Nothing may be written.
        &[
            (". -read", "", 56),
            (". -list", "root 0\n", 0),
            (". -create", "", 4),
        ],
    ];
    for answers in answers {
        let root = machine(DONE);
        root.command("dscl", answers);
        let ran = install(&root);
        assert_eq!(ran.code, Some(0));
        let done = [BOOTOUT, SHIP_BOOTOUT, ACTIVATE, BOOTSTRAP];
        assert_eq!(ran.asked_beside_account(), done);
        ran.must_log(&["_conntrail could NOT be made", "upgrade is started"]);
    }
}

fn taken() -> String {
    (400..500).map(|it| format!("some{it} {it}\n")).collect()
}

#[test]
fn the_trail_is_given_to_the_account_and_no_key_is() {
    let root = machine(DONE);
    for file in ["epoch", "trail/1.trail", "signatures/1.sig", "policy.key"] {
        root.write(&format!("{STATE}/{file}"), "x");
    }
    let ran = install(&root);
    let given: Vec<_> = ran
        .asked
        .iter()
        .filter_map(|it| it.strip_prefix("chgrp _conntrail "))
        .collect();
    let of_state = |name: &str| format!("/{STATE}{name}");
    let wanted = [
        "",
        "/epoch",
        "/trail",
        "/signatures",
        "/trail/1.trail",
        "/signatures/1.sig",
    ];
    assert_eq!(given, wanted.map(of_state));
    let owned: Vec<_> = ran
        .asked
        .iter()
        .filter_map(|it| it.strip_prefix("chown _conntrail:_conntrail "))
        .collect();
    assert_eq!(
        owned,
        [
            of_state("/ship"),
            "/Library/Logs/Conntrail/ship.log".to_owned()
        ]
    );
    assert!(root.at(&of_state("/ship")).is_dir());
}

#[test]
fn a_group_that_somebody_chose_for_the_trail_stays() {
    let root = machine(DONE);
    root.command("stat", &[("-f", "auditors\n", 0)]);
    let ran = install(&root);
    assert!(!ran.asked.iter().any(|it| it.starts_with("chgrp")));
    ran.must_log(&[
        "dseditgroup -o edit -a _conntrail -t user auditors",
        "ship is started",
    ]);
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
