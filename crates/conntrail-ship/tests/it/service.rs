//! How the program ends and takes another configuration, as whoever runs services expects it.

use crate::ends::{Place, write};
use crate::program::{Collector, Mood, Shipper, configure, lake, status_of, until};
use record::RecordId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// What the documentation promises, and what a machine that has much else to do may add.
const END_LIMIT: Duration = Duration::from_secs(6 + 3);

const AT_ONCE: Mood = Mood::Takes(Duration::ZERO);

#[track_caller]
fn each_once(rows: &BTreeMap<RecordId, u64>, ids: &BTreeSet<RecordId>) {
    let there: BTreeSet<RecordId> = rows.keys().copied().collect();
    let lost = ids.difference(&there).count();
    let twice = rows.values().filter(|it| **it > 1).count();
    assert_eq!((lost, twice, rows.len()), (0, 0, ids.len()));
}

#[test]
fn told_to_stop_it_ends_soon_though_a_destination_hangs_and_nothing_is_lost_or_there_twice() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    let hanging = Collector::new(Mood::Hangs);
    let destinations = [
        good.destination("good", ""),
        hanging.destination("hanging", ""),
    ];
    configure(&place, &[&destinations[0], &destinations[1]]);
    let mut writer = place.writer();
    for round in 0..3 {
        write(&mut writer, round, 600);
        let shipper = Shipper::run(&place, &[]);
        let before = (good.taken().len(), hanging.requests());
        until("deliveries", || {
            good.taken().len() > before.0 && hanging.requests() > before.1
        });
        let (status, took, log) = shipper.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(took < END_LIMIT, "{took:?}: {log}");
    }
    assert_eq!(hanging.taken(), []);
    hanging.is_now(AT_ONCE);
    let (code, log) = Shipper::once(&place, &["--timeout-s", "30"]);
    assert_eq!(code, Some(0), "{log}");
    each_once(&good.rows(), &place.ids());
    each_once(&hanging.rows(), &place.ids());
    assert_eq!(place.declared(), []);
}

/// A shipper with much to write to a standard output that nobody reads, and to a lake.
fn unread(place: &Place) -> Shipper {
    let unread = "[destination.unread]\nbatch_age_max_ms = 50\n[destination.unread.file]\n";
    configure(place, &[&lake(place, "lake", 50), unread]);
    let mut writer = place.writer();
    write(&mut writer, 1, 2_000);
    Shipper::run_unread(place)
}

#[test]
fn told_to_stop_it_ends_soon_though_nobody_reads_its_standard_output() {
    let place = Place::new();
    let shipper = unread(&place);
    until("the other destination", || place.rows().len() == 2_001);
    let (status, took, log) = shipper.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < END_LIMIT, "{took:?}: {log}");
    assert!(log.contains("unread does not end"), "{log}");
}

#[test]
fn a_destination_that_hangs_does_not_hold_up_another_configuration() {
    let place = Place::new();
    let shipper = unread(&place);
    until("a destination", || place.rows().len() == 2_001);
    let good = Collector::new(AT_ONCE);
    configure(&place, &[&good.destination("good", "")]);
    shipper.signal("-HUP");
    until("the new destination", || good.taken().len() == 2_001);
    let (status, _, log) = shipper.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn destinations_come_go_and_change_and_nothing_is_lost_or_there_twice() {
    let place = Place::new();
    let (first, second) = (Collector::new(AT_ONCE), Collector::new(AT_ONCE));
    let (one, two) = (first.destination("one", ""), second.destination("two", ""));
    let mut writer = place.writer();
    write(&mut writer, 0, 0);
    configure(&place, &[&lake(&place, "lake", 50), &one]);
    let shipper = Shipper::run(&place, &[]);
    shipper.is_up(&place);
    let mut seed = 0;
    let mut more = |told: &[&str]| {
        configure(&place, told);
        shipper.signal("-HUP");
        seed += 1;
        write(&mut writer, seed, 500);
        let all = 500 * seed as usize + 1;
        until("files", || place.rows().len() == all);
    };
    more(&[&lake(&place, "lake", 50), &one]);
    until("the first collector", || first.taken().len() == 501);
    // One goes, one changes, one comes, while records are written.
    more(&[&lake(&place, "lake", 20), &two]);
    until("the second collector", || second.taken().len() == 1_001);
    until("one to be gone", || status_of(&place, "one").is_none());
    assert_eq!(first.taken().len(), 501);
    // The one that was gone goes on where it was.
    more(&[&lake(&place, "lake", 10), &one, &two]);
    until("the first collector again", || first.taken().len() == 1_501);
    until("the second collector too", || second.taken().len() == 1_501);
    let (status, _, log) = shipper.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    for rows in [place.rows(), first.rows(), second.rows()] {
        each_once(&rows, &place.ids());
    }
    assert_eq!(place.declared(), []);
}

#[test]
fn a_configuration_that_is_wrong_is_named_and_the_one_before_stays() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    let right = good.destination("good", "");
    configure(&place, &[&right]);
    let mut writer = place.writer();
    write(&mut writer, 0, 0);
    let shipper = Shipper::run(&place, &[]);
    shipper.is_up(&place);
    let wrong = [
        ("[destination.good", "ship.toml is wrong"),
        ("ledger_intervall_s = 3", "ledger_interval_s"),
        ("[destination.good]\nformat = \"oscf\"", "oscf"),
    ];
    let mut count = 1;
    let mut goes_on = |seed: u64| {
        write(&mut writer, seed, 100);
        count += 100;
        until("new records", || good.taken().len() == count);
    };
    goes_on(1);
    for (seed, (text, told)) in (2..).zip(wrong) {
        configure(&place, &[text]);
        shipper.signal("-HUP");
        shipper.says(told);
        goes_on(seed);
    }
    let folder = place.folder.path();
    fs::rename(folder.join("ship.toml"), folder.join("away.toml")).unwrap();
    shipper.says("ship.toml: No such file");
    goes_on(9);
    let log = shipper.log();
    let stayed = "the configuration before stays in force";
    assert!(log.matches(stayed).count() >= 4, "{log}");
    configure(&place, &[&right, &lake(&place, "lake", 50)]);
    shipper.signal("-HUP");
    until("files", || place.rows().len() == good.taken().len());
    let (status, _, log) = shipper.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    each_once(&good.rows(), &place.ids());
}
