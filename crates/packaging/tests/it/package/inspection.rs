//! Writing a package, and judging it.

use super::mistakes::{self, Many, Parts};
use super::sample::{Sample, try_package};
use mdm::jobs::{Account, Job, Starts};
use packaging::archive::{Kind, xar};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_package_is_what_it_should_be() {
    let sample = Sample::new();
    assert_eq!(sample.findings(&sample.package()), Vec::<String>::new());
}

#[test]
fn the_same_app_gives_the_same_package_wherever_it_is() {
    let (one, other) = (Sample::new(), Sample::new());
    other.write("Contents/Resources/empty", "", 0o644);
    assert_ne!(one.app(), other.app());
    assert_eq!(one.package(), other.package());
}

#[test]
fn nothing_of_who_builds_is_in_a_package() {
    let sample = Sample::new();
    let parts = Parts::of(&sample.package());
    let paths: Vec<_> = parts.payload.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        paths[..3],
        [".", "./Applications", "./Applications/Conntrail.app"]
    );
    assert_eq!(
        paths.last(),
        Some(&"./Library/LaunchDaemons/com.conntrail.agent.upgrade.plist")
    );
    assert!(
        parts
            .payload
            .iter()
            .all(|it| it.modified_s == super::sample::MODIFIED_S)
    );
    let modes = parts.payload.iter().map(|it| it.mode);
    assert!(modes.clone().all(|it| [0o755, 0o644, 0o775].contains(&it)));
    assert_eq!(modes.filter(|it| *it == 0o775).count(), 1);
}

#[test]
fn every_mistake_is_found() {
    let sample = Sample::new();
    mistakes::each_is_found(
        Many::All,
        &sample.package(),
        &sample.product(),
        &sample.app(),
    );
}

#[test]
fn a_changed_byte_anywhere_in_a_package_is_found() {
    let sample = Sample::new();
    let package = sample.package();
    for at in (0..package.len()).step_by(97) {
        let mut wrong = package.clone();
        wrong[at] ^= 0x10;
        let is_same = xar::read(&wrong).ok() == xar::read(&package).ok();
        assert!(is_same || !sample.findings(&wrong).is_empty(), "{at}");
    }
}

#[test]
fn an_app_that_changed_after_it_was_packed_is_found() {
    let sample = Sample::new();
    let package = sample.package();
    sample.write("Contents/Resources/more", "x", 0o644);
    let path = "./Applications/Conntrail.app/Contents/Resources/more";
    assert_eq!(
        sample.findings(&package),
        [format!("{path}: it is not in the payload")]
    );
}

#[test]
fn a_program_without_a_job_is_not_packed() {
    let sample = Sample::new();
    sample.write("Contents/MacOS/conntrail-shipper", "program", 0o755);
    let error = try_package(&sample.product(), &sample.app()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Contents/MacOS/conntrail-shipper: no job starts this program, and nothing else does"
    );
}

#[test]
fn a_job_without_its_program_is_not_packed_and_with_it_has_its_property_list() {
    const SHIPPER: &[Job] = &[Job {
        name: "ship",
        program: "conntrail-shipper",
        arguments: &[],
        starts: Starts::Once,
        account: Account::Root,
        purpose: "sends",
    }];
    let sample = Sample::new();
    fs::remove_file(sample.app().join("Contents/MacOS/conntrail-ship")).unwrap();
    let mut product = sample.product();
    product.jobs = SHIPPER;
    assert!(try_package(&product, &sample.app()).is_err());
    sample.write("Contents/MacOS/conntrail-shipper", "program", 0o755);
    let parts = Parts::of(&try_package(&product, &sample.app()).unwrap());
    let jobs: Vec<_> = parts
        .payload
        .iter()
        .filter_map(|it| it.path.strip_prefix("./Library/LaunchDaemons/"))
        .collect();
    assert_eq!(jobs, ["com.conntrail.agent.ship.plist"]);
}

#[test]
fn an_app_of_another_identity_or_version_is_not_packed() {
    let sample = Sample::new();
    let mut product = sample.product();
    product.version.build += 1;
    let error = try_package(&product, &sample.app())
        .unwrap_err()
        .to_string();
    let wanted = "CFBundleVersion is Some(\"45\") and must be \"46\"";
    assert!(error.ends_with(wanted), "{error}");
    let identity = mdm::identity::Identity {
        app: "com.example.other".parse().unwrap(),
        ..sample.identity.clone()
    };
    let mut product = sample.product();
    product.identity = &identity;
    let error = try_package(&product, &sample.app())
        .unwrap_err()
        .to_string();
    assert!(error.contains("CFBundleIdentifier"), "{error}");
}

#[test]
fn an_app_without_a_bundle_in_it_is_not_packed() {
    let sample = Sample::new();
    fs::remove_file(sample.app().join("Contents/Info.plist")).unwrap();
    assert!(try_package(&sample.product(), &sample.app()).is_err());
    assert!(try_package(&sample.product(), &sample.app().join("nowhere")).is_err());
}

#[test]
fn a_link_is_packed_as_one_and_found_where_it_leaves_its_folder() {
    let sample = Sample::new();
    symlink("empty", sample.app().join("Contents/Resources/link")).unwrap();
    let package = sample.package();
    assert_eq!(sample.findings(&package), Vec::<String>::new());
    let parts = Parts::of(&package);
    let links = parts
        .payload
        .iter()
        .filter(|it| matches!(it.kind, Kind::Link(_)));
    assert_eq!(links.count(), 1);
    symlink("/etc/passwd", sample.app().join("Contents/Resources/out")).unwrap();
    let findings = sample.findings(&sample.package());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].ends_with("a link that leaves its folder"));
}
