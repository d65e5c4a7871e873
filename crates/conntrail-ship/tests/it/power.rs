//! Politeness on battery, on a machine whose supplies are files of the test.

use crate::ends::{Place, write};
use crate::program::{Collector, Mood, Shipper, configure, lake, status_of, until};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn put(supplies: &Path, supply: &str, name: &str, text: &str) {
    let supply = supplies.join(supply);
    fs::create_dir_all(&supply).unwrap();
    fs::write(supply.join(name), text).unwrap();
}

#[test]
fn on_battery_what_is_to_be_held_waits_for_mains_and_the_rest_does_not() {
    let place = Place::new();
    let supplies = place.folder.path().join("supplies");
    for (supply, name, text) in [
        ("AC", "type", "Mains\n"),
        ("AC", "online", "0\n"),
        ("BAT0", "type", "Battery\n"),
        ("BAT0", "status", "Discharging\n"),
    ] {
        put(&supplies, supply, name, text);
    }
    let collector = Collector::new(Mood::Takes(Duration::ZERO));
    let held = collector.destination("held", "on_battery = \"hold\"\n");
    configure(&place, &[&held, &lake(&place, "lake", 50)]);
    let mut writer = place.writer();
    write(&mut writer, 1, 500);
    let arguments = ["--power-supplies", supplies.to_str().unwrap()];

    // Not all is delivered, and it does not say that it is.
    let (code, log) = Shipper::once(&place, &[&arguments[..], &["--timeout-s", "3"]].concat());
    assert_eq!(code, Some(1), "{log}");
    assert_eq!(collector.requests(), 0);

    let shipper = Shipper::run(&place, &arguments);
    write(&mut writer, 2, 500);
    until("what is not held", || place.rows().len() == 1_001);
    let is_paused = || status_of(&place, "held").is_some_and(|it| it.state == "paused");
    until("a word about it", is_paused);
    assert_eq!(collector.requests(), 0);
    put(&supplies, "AC", "online", "1\n");
    until("what was held", || collector.taken().len() == 1_001);
    assert!(collector.rows().values().all(|it| *it == 1));
    drop(shipper);
}
