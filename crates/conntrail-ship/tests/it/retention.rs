//! What the recorder's retention takes, and recorders that start again, while the shipper is away
//! or looks on.

use crate::ends::{Place, write};
use crate::program::{Collector, Mood, Shipper, configure, until};
use record::{
    EndpointId, Notice, NoticeKind, Record, RecordId, Undelivered, UndeliveredCause, sample,
};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use trail::{Item, SegmentName, TrailReader, TrailWriter, segments_dir};

const AT_ONCE: Mood = Mood::Takes(Duration::ZERO);

/// A quarter of a megabyte: four segments.
const QUOTA_BYTES: u64 = 256 << 10;

const MACHINE: EndpointId = EndpointId([9; 16]);

fn once(place: &Place) -> String {
    let (code, log) = Shipper::once(place, &["--timeout-s", "30"]);
    assert_eq!(code, Some(0), "{log}");
    log
}

/// Writes as the recorder does, which declares what its retention takes before it goes.
fn record(writer: &mut TrailWriter, seed: u64, count: usize) -> Vec<RecordId> {
    let mut ids = Vec::new();
    for record in sample::closes(seed, count) {
        ids.push(writer.append(&record, host::clock::mono()).unwrap());
    }
    loop {
        let flushed = writer.flush(host::clock::stamp()).unwrap();
        if flushed.evicting.is_empty() {
            return ids;
        }
        for range in flushed.evicting {
            let at = host::clock::stamp();
            let kind = NoticeKind::TrailEvicted {
                epoch: range.epoch,
                first_sequence: range.first_sequence,
                last_sequence: range.last_sequence.unwrap(),
            };
            let notice = Record::Notice(Notice { at, kind });
            ids.push(writer.append(&notice, at.mono).unwrap());
        }
    }
}

/// The epoch of the oldest segment.
fn oldest_epoch(place: &Place) -> u64 {
    let entries = fs::read_dir(segments_dir(&place.state())).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let segments = names.filter_map(|name| SegmentName::parse(name.to_str().unwrap()));
    segments.min().unwrap().epoch
}

/// Ranges that the recorder declared as evicted.
fn evicted(place: &Place) -> Vec<(u64, u64, u64)> {
    let mut reader = TrailReader::open(&segments_dir(&place.state())).unwrap();
    let mut ranges = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        if let Item::Record {
            record: Record::Notice(notice),
            ..
        } = item
            && let NoticeKind::TrailEvicted {
                epoch,
                first_sequence,
                last_sequence,
            } = notice.kind
        {
            ranges.push((epoch, first_sequence, last_sequence));
        }
    }
    ranges
}

#[test]
fn what_retention_took_while_the_shipper_was_away_is_declared_and_the_ledger_balances() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    let mut writer = place.writer_of(MACHINE, QUOTA_BYTES);
    let mut all = vec![RecordId {
        epoch: 1,
        sequence: 1,
    }];
    all.extend(record(&mut writer, 1, 500));
    once(&place);
    let delivered_before = good.rows();
    assert_eq!(delivered_before.len(), 501);
    all.extend(record(&mut writer, 2, 300));
    // Epochs come and go until the second is gone to its end.
    let mut seed = 10;
    while oldest_epoch(&place) < 4 {
        drop(writer);
        writer = place.writer_of(MACHINE, QUOTA_BYTES);
        let epoch = writer.epoch();
        all.push(RecordId { epoch, sequence: 1 });
        for _ in 0..4 {
            seed += 1;
            all.extend(record(&mut writer, seed, 300));
        }
    }
    assert!(writer.epoch() < 40, "{}", writer.epoch());
    once(&place);
    let (rows, declared, evicted) = (good.rows(), place.declared(), evicted(&place));
    // Where nobody knows any more how far an epoch went, only the first that is gone is named.
    let is_declared = |id: &RecordId| {
        let last = |it: &Undelivered| it.records.map_or(u64::MAX, |_| it.last_sequence);
        let holds = |it: &Undelivered| (it.first_sequence..=last(it)).contains(&id.sequence);
        declared.iter().any(|it| it.epoch == id.epoch && holds(it))
    };
    let is_evicted = |id: &RecordId| {
        let mut ranges = evicted.iter();
        ranges.any(|it| it.0 == id.epoch && (it.1..=it.2).contains(&id.sequence))
    };
    for id in &all {
        let count = rows.get(id).copied().unwrap_or(0);
        assert!(count <= 1, "{id:?} is there {count} times");
        assert!(
            (count == 1) != is_declared(id),
            "{id:?} is nowhere, or both: {declared:?} {evicted:?}"
        );
        assert!(count == 1 || is_evicted(id), "{id:?} was there");
    }
    assert!(delivered_before.keys().all(|id| rows.contains_key(id)));
    assert!(declared.iter().all(|it| it.cause == UndeliveredCause::Gone));
    let lost: u64 = declared.iter().map(|it| it.records.unwrap_or(0)).sum();
    println!("{} delivered, {lost} declared lost", rows.len());
    once(&place);
    assert_eq!(place.declared(), declared);
    assert_eq!(good.rows(), rows);
}

#[test]
fn a_destination_that_is_new_gets_what_is_there_and_what_is_not_is_declared_once() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    let mut writer = place.writer_of(MACHINE, QUOTA_BYTES);
    let mut seed = 0;
    while evicted(&place).len() < 3 {
        seed += 1;
        record(&mut writer, seed, 500);
    }
    let there = place.ids();
    assert!(there.first().unwrap().sequence > 1);
    once(&place);
    let rows = good.rows();
    let delivered: BTreeSet<RecordId> = rows.keys().copied().collect();
    assert_eq!(delivered, there);
    assert!(rows.values().all(|it| *it == 1));
    // It never got these, and whoever counts what it has must know why.
    let declared = place.declared();
    let [gone] = &declared[..] else {
        panic!("{declared:?}");
    };
    let before = there.first().unwrap().sequence - 1;
    assert_eq!((gone.first_sequence, gone.last_sequence), (1, before));
    assert_eq!(gone.cause, UndeliveredCause::Gone);
    once(&place);
    assert_eq!(place.declared(), declared);
}

#[test]
fn a_recorder_that_starts_again_is_followed_from_epoch_to_epoch() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    let mut writer = place.writer();
    write(&mut writer, 0, 200);
    let shipper = Shipper::run(&place, &[]);
    for seed in 1..5 {
        drop(writer);
        writer = place.writer();
        write(&mut writer, seed, 200);
        until("the new epoch", || {
            good.rows().len() == 201 * (seed as usize + 1)
        });
    }
    let (status, _, log) = shipper.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(good.rows().values().all(|it| *it == 1));
    assert_eq!(
        good.rows().into_keys().collect::<BTreeSet<_>>(),
        place.ids()
    );
    assert_eq!(place.declared(), []);
}

/// As after the machine was given another identity: the trail goes on, in another epoch.
#[test]
fn a_machine_whose_identity_changes_has_its_trail_sent_once() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    let mut count = 0;
    for (seed, machine) in [(1, MACHINE), (2, EndpointId([8; 16]))] {
        let mut writer = place.writer_of(machine, 64 << 20);
        write(&mut writer, seed, 1_500);
        count += 1_501;
    }
    for _ in 0..3 {
        let log = once(&place);
        let rows = good.rows();
        assert_eq!(rows.len(), count, "{log}");
        assert!(rows.values().all(|it| *it == 1), "there twice: {log}");
        write(
            &mut place.writer_of(EndpointId([8; 16]), 64 << 20),
            99,
            1_500,
        );
        count += 1_501;
    }
    assert_eq!(place.declared(), []);
}
