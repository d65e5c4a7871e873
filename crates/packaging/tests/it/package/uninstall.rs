//! The script that removes everything, in a bare root.

use super::bare_root::{Answer, BareRoot, Ran, TOOL, listing, policy, profiles};
use super::sample::{Sample, TEAM};
use mdm::identity::EXTENSION;
use packaging::package::{Script, script};
use std::fs;

const PLIST: &str = "Library/LaunchDaemons/com.conntrail.agent.upgrade.plist";
const RECORDS: &str = "Library/Application Support/Conntrail/trail";
const LOG: &str = "Library/Logs/Conntrail/upgrade.log";

const ID: &str = "id -u";
const PROFILES: &str = "profiles show -type configuration -output stdout-xml";
const BOOTOUT: &str = "launchctl bootout system/com.conntrail.agent.upgrade";
const BOOTSTRAP: &str =
    "launchctl bootstrap system /Library/LaunchDaemons/com.conntrail.agent.upgrade.plist";
const SHIP_PLIST: &str = "Library/LaunchDaemons/com.conntrail.agent.ship.plist";
const SHIP_BOOTOUT: &str = "launchctl bootout system/com.conntrail.agent.ship";
const SHIP_BOOTSTRAP: &str =
    "launchctl bootstrap system /Library/LaunchDaemons/com.conntrail.agent.ship.plist";
const DEACTIVATE: &str = "conntrail deactivate";
const FORGET: &str = "pkgutil --forget com.conntrail.agent.pkg";

fn machine(profiles: &str, end: Answer<'_>) -> BareRoot {
    let root = BareRoot::new();
    root.command("launchctl", &[]);
    root.command("pkgutil", &[]);
    root.command("id", &[("-u", "0\n", 0)]);
    root.command("profiles", &[("show", profiles, 0)]);
    root.tool(&[end]);
    root.command("dscl", &[]);
    root.write(PLIST, "x");
    root.write(SHIP_PLIST, "x");
    root.write(RECORDS, "x");
    root.write(LOG, "x");
    root.write("Applications/Other.app/x", "x");
    root
}

fn run(root: &BareRoot, arguments: &[&str]) -> Ran {
    let text = script(Script::Uninstall, &Sample::new().product()).unwrap();
    let ran = root.run(&text, arguments);
    assert!(root.at("Applications/Other.app/x").exists());
    ran
}

fn listed(key: &str) -> String {
    profiles(&[policy(&listing(key, &[(TEAM, &[EXTENSION])]))])
}

fn is_there(root: &BareRoot) -> [bool; 4] {
    [TOOL, PLIST, RECORDS, LOG].map(|it| root.at(it).exists())
}

const DONE: Answer<'_> = ("deactivate", "The extension is removed.\n", 0);

#[test]
fn everything_but_the_records_is_removed() {
    let root = machine("", DONE);
    let ran = run(&root, &[]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        ran.asked,
        [ID, PROFILES, BOOTOUT, SHIP_BOOTOUT, DEACTIVATE, FORGET]
    );
    assert_eq!(is_there(&root), [false, false, true, true]);
    assert!(!root.at(SHIP_PLIST).exists());
    ran.must_log(&[
        "may ask an administrator",
        "The extension is removed.",
        "upgrade is removed",
        "The app /Applications/Conntrail.app is removed.",
        "is forgotten",
        "ship is removed",
        "stays in /Library/Application Support/Conntrail",
        "the account _conntrail that may read them",
    ]);
}

#[test]
fn the_records_are_removed_where_that_is_asked_for() {
    let root = machine("", DONE);
    let ran = run(&root, &["--with-records"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(is_there(&root), [false; 4]);
    ran.must_log(&[
        "What was recorded in",
        "are removed",
        "_conntrail is removed",
    ]);
    let gone = ["/Users", "/Groups"].map(|it| format!("dscl . -delete {it}/_conntrail"));
    assert_eq!(ran.asked[ran.asked.len() - 2..], gone);
}

#[test]
fn only_root_can_and_only_with_known_arguments() {
    let root = machine("", DONE);
    root.command("id", &[("-u", "501\n", 0)]);
    let ran = run(&root, &[]);
    assert_eq!((ran.code, ran.asked), (Some(1), vec![ID.to_owned()]));
    for (argument, code) in [("--everything", 2), ("--help", 0)] {
        let root = machine("", DONE);
        let ran = run(&root, &[argument]);
        assert_eq!(ran.code, Some(code));
        assert!(ran.printed.contains("usage: "), "{ran:?}");
        assert_eq!(ran.asked, Vec::<String>::new());
        assert_eq!(is_there(&root), [true; 4]);
    }
}

#[test]
fn an_extension_that_device_management_holds_keeps_the_app() {
    let root = machine(&listed("NonRemovableSystemExtensions"), DONE);
    let ran = run(&root, &[]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        ran.asked,
        [
            ID,
            PROFILES,
            BOOTOUT,
            SHIP_BOOTOUT,
            BOOTSTRAP,
            SHIP_BOOTSTRAP
        ]
    );
    assert_eq!(is_there(&root), [true; 4]);
    ran.must_log(&[
        "Device management holds the extension",
        "Nothing is removed",
    ]);
}

#[test]
fn an_extension_that_cannot_be_removed_keeps_the_app() {
    for (code, words) in [(1, "NOT be removed (code 1)"), (3, "waits for an approval")] {
        let root = machine("", ("deactivate", "It says why.\n", code));
        let ran = run(&root, &[]);
        assert_eq!(ran.code, Some(1));
        assert_eq!(
            ran.asked,
            [
                ID,
                PROFILES,
                BOOTOUT,
                SHIP_BOOTOUT,
                DEACTIVATE,
                BOOTSTRAP,
                SHIP_BOOTSTRAP
            ]
        );
        assert_eq!(is_there(&root), [true; 4]);
        ran.must_log(&["It says why.", words, "Nothing is removed"]);
    }
}

#[test]
fn force_removes_the_app_all_the_same() {
    let root = machine(&listed("NonRemovableSystemExtensions"), DONE);
    let ran = run(&root, &["--force"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.asked, [ID, PROFILES, BOOTOUT, SHIP_BOOTOUT, FORGET]);
    assert_eq!(is_there(&root), [false, false, true, true]);
    ran.must_log(&[
        "Device management holds the extension",
        "Conntrail.app is removed",
    ]);
}

#[test]
fn nobody_is_announced_where_a_profile_lets_the_extension_go() {
    let ran = run(&machine(&listed("RemovableSystemExtensions"), DONE), &[]);
    assert_eq!(ran.code, Some(0));
    ran.must_not_log("may ask an administrator");
    assert!(ran.asked.contains(&DEACTIVATE.to_owned()));
}

#[test]
fn an_extension_that_goes_at_the_next_start_is_removed() {
    let root = machine("", ("deactivate", "", 4));
    let ran = run(&root, &[]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(is_there(&root), [false, false, true, true]);
    ran.must_log(&["at the next start of the machine"]);
}

#[test]
fn what_is_left_without_the_app_is_removed_too() {
    let root = machine("", DONE);
    fs::remove_dir_all(root.at("Applications/Conntrail.app")).unwrap();
    root.command("pkgutil", &[("--forget", "no receipt\n", 1)]);
    let ran = run(&root, &[]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.asked, [ID, PROFILES, BOOTOUT, SHIP_BOOTOUT, FORGET]);
    assert_eq!(is_there(&root), [false, false, true, true]);
    ran.must_log(&["The app is not there", "There was no receipt"]);
}
