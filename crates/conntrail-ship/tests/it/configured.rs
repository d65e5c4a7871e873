//! Where the destinations are configured, with the program as launchd and systemd start it.

use crate::ends::{Place, kill, write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// The program as its job on a Mac starts it, with the settings in `recorder`.
fn job(place: &Place, recorder: &Path) -> Command {
    let mut jobs = mdm::jobs::JOBS.iter();
    let job = jobs.find(|job| job.program == "conntrail-ship").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_conntrail-ship"));
    command
        .args(job.arguments)
        .arg("--recorder-config")
        .arg(recorder);
    command.arg("--state-dir").arg(place.state());
    command
}

fn settings(place: &Place, text: &str) -> PathBuf {
    let path = place.folder.path().join("conntrail.toml");
    fs::write(&path, text).unwrap();
    path
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn where_no_destination_is_configured_it_says_so_in_a_line_and_ends_without_an_error() {
    let place = Place::new();
    let recorder = settings(&place, "");
    let output = job(&place, &recorder).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let file = recorder.with_file_name("ship.toml");
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert!(!place.state().exists(), "it left something behind");
    fs::write(&file, "# No destination yet.\n").unwrap();
    assert_eq!(job(&place, &recorder).status().unwrap().code(), Some(0));
}

#[test]
fn a_file_that_somebody_named_and_that_is_not_there_is_an_error() {
    let place = Place::new();
    let missing = place.folder.path().join("missing.toml");
    let recorder = settings(&place, &format!("[ship]\nconfig_file = {missing:?}\n"));
    let output = job(&place, &recorder).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("missing.toml"), "{}", said(&output));
    let mut named = Command::new(env!("CARGO_BIN_EXE_conntrail-ship"));
    named.arg("run").arg("--config").arg(&missing);
    let output = named
        .arg("--state-dir")
        .arg(place.state())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("missing.toml"), "{}", said(&output));
}

#[test]
fn a_running_shipper_sees_that_the_configuration_is_another_one() {
    let place = Place::new();
    let text = fs::read_to_string(place.configure("")).unwrap();
    fs::remove_file(place.folder.path().join("ship.toml")).unwrap();
    let elsewhere = text.replace("/lake\"", "/elsewhere\"");
    assert_ne!(text, elsewhere);
    let in_settings = |text: &str| format!("[ship]\nconfig = '''\n{text}'''\n");
    let recorder = settings(&place, &in_settings(&elsewhere));
    fs::create_dir(place.folder.path().join("elsewhere")).unwrap();
    let mut writer = place.writer();
    write(&mut writer, 1, 500);
    let child = job(&place, &recorder).spawn().unwrap();
    thread::sleep(Duration::from_secs(1));
    settings(&place, &in_settings(&text));
    let end = Instant::now() + Duration::from_secs(60);
    let mut seed = 2;
    while place.rows().is_empty() {
        assert!(Instant::now() < end, "nothing goes where it is to go now");
        write(&mut writer, seed, 100);
        seed += 1;
        thread::sleep(Duration::from_millis(200));
    }
    kill(child);
}

#[test]
fn a_plan_is_made_for_the_destinations_in_the_settings() {
    let place = Place::new();
    let text = fs::read_to_string(place.configure("")).unwrap();
    fs::remove_file(place.folder.path().join("ship.toml")).unwrap();
    let recorder = settings(&place, &format!("[ship]\nconfig = '''\n{text}'''\n"));
    let program = |command: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_conntrail-ship"));
        program.arg(command).arg("--state-dir").arg(place.state());
        program.arg("--recorder-config").arg(&recorder);
        program
    };
    let nothing = program("plan").output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(said(&nothing).contains("nothing was recorded"));
    let mut writer = place.writer();
    write(&mut writer, 1, 200);
    drop(writer);
    let output = program("plan").arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let planned: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(planned["destination"], "lake");
    assert!(program("once").status().unwrap().success());
    assert_eq!(planned["records"], place.rows().len());
    assert!(place.rows().len() >= 200);
    let unknown = program("plan").args(["--destination", "sea"]).output();
    let unknown = unknown.unwrap();
    assert!(said(&unknown).contains("no destination \"sea\""));
}
