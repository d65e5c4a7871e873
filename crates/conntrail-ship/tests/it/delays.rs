//! New records arrive soon, whatever else there is to do.

use crate::ends::{Place, write};
use crate::program::{Collector, Mood, Shipper, configure, destination, until};
use crate::server::Server;
use record::RecordId;
use record::sample;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};
use trail::TrailWriter;

/// No new record may take longer.
const DELAY_LIMIT: Duration = Duration::from_secs(5);

const AT_ONCE: Mood = Mood::Takes(Duration::ZERO);

/// Records a few at a time, for so long; when each could be read.
fn record_for(writer: &mut TrailWriter, time: Duration) -> BTreeMap<RecordId, Instant> {
    let mut recorded = BTreeMap::new();
    let end = Instant::now() + time;
    let mut seed = 1_000;
    while Instant::now() < end {
        seed += 1;
        let records = sample::records(seed, 3);
        let ids = records.iter().map(|record| {
            let id = writer.append(record, host::clock::mono());
            id.unwrap()
        });
        let ids: Vec<RecordId> = ids.collect();
        let _ = writer.flush(host::clock::stamp()).unwrap();
        let now = Instant::now();
        recorded.extend(ids.into_iter().map(|id| (id, now)));
        thread::sleep(Duration::from_millis(100));
    }
    recorded
}

/// All of these arrived, and none late.
#[track_caller]
fn none_is_late(collector: &Collector, recorded: &BTreeMap<RecordId, Instant>) {
    let is_there = |it: &(Instant, RecordId)| recorded.contains_key(&it.1);
    until("all new records", || {
        collector.taken().iter().filter(|it| is_there(it)).count() >= recorded.len()
    });
    let mut longest = Duration::ZERO;
    for (at, id) in collector.taken().iter().filter(|it| is_there(it)) {
        longest = longest.max(at.saturating_duration_since(recorded[id]));
    }
    println!("{} records, none later than {longest:?}", recorded.len());
    assert!(longest < DELAY_LIMIT, "{longest:?}");
}

#[test]
fn new_records_are_not_held_up_by_a_backlog() {
    let place = Place::new();
    // 200 batches of 50, two at a time: 25 s.
    let slow = Collector::new(Mood::Takes(Duration::from_millis(250)));
    configure(&place, &[&slow.destination("slow", "in_flight_max = 2\n")]);
    let mut writer = place.writer();
    (0..5).for_each(|seed| write(&mut writer, seed, 2_000));
    let shipper = Shipper::run(&place, &[]);
    until("the backlog to drain", || slow.taken().len() > 100);
    let recorded = record_for(&mut writer, Duration::from_secs(4));
    none_is_late(&slow, &recorded);
    let is_old = |it: &&(Instant, RecordId)| !recorded.contains_key(&it.1);
    let (taken, all) = (slow.taken(), place.ids().len());
    let old = taken.iter().filter(is_old).count();
    assert!(old < all - recorded.len(), "there was no backlog any more");
    // It drained beside.
    let first = taken.iter().position(|it| recorded.contains_key(&it.1));
    let beside = taken[first.unwrap()..].iter().filter(is_old).count();
    assert!(beside >= 50, "{beside} of the backlog beside new ones");
    drop(shipper);
}

/// What another destination of the same shipper does.
fn not_held_up_by(other: &str) {
    let place = Place::new();
    let good = Collector::new(AT_ONCE);
    configure(&place, &[&good.destination("good", ""), other]);
    let mut writer = place.writer();
    write(&mut writer, 1, 500);
    let shipper = Shipper::run(&place, &[]);
    until("what was there", || good.taken().len() == 501);
    let recorded = record_for(&mut writer, Duration::from_secs(3));
    none_is_late(&good, &recorded);
    drop(shipper);
}

#[test]
fn new_records_are_not_held_up_by_another_destination_that_hangs() {
    let hanging = Collector::new(Mood::Hangs);
    not_held_up_by(&hanging.destination("other", ""));
    assert!(hanging.requests() > 0);
}

#[test]
fn new_records_are_not_held_up_by_another_destination_that_asks_for_patience() {
    let busy = Collector::new(Mood::IsBusy(3_600));
    not_held_up_by(&busy.destination("other", ""));
    // Those that were under way when it said so, and no more.
    let requests = busy.requests();
    assert!((1..=4).contains(&requests), "{requests}");
}

#[test]
fn new_records_are_not_held_up_by_another_destination_that_is_not_there() {
    let nowhere = Server::nowhere().url("/v1/logs");
    not_held_up_by(&destination("other", &nowhere, ""));
}

#[test]
fn a_destination_that_was_away_gets_new_records_first_when_it_is_back() {
    let (place, away) = (Place::new(), Collector::new(Mood::IsBusy(1)));
    configure(&place, &[&away.destination("away", "in_flight_max = 2\n")]);
    let mut writer = place.writer();
    write(&mut writer, 1, 100);
    let shipper = Shipper::run(&place, &[]);
    until("a refusal", || away.requests() > 0);
    (2..6).for_each(|seed| write(&mut writer, seed, 2_000));
    away.is_now(Mood::Takes(Duration::from_millis(250)));
    until("its return", || !away.taken().is_empty());
    let recorded = record_for(&mut writer, Duration::from_secs(3));
    none_is_late(&away, &recorded);
    assert!(away.taken().len() < place.ids().len());
    drop(shipper);
}
