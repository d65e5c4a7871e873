//! Nothing happens in between.

use crate::helpers::*;
use record::{
    Notice, NoticeKind, PreviousEpoch, Record, RecordId, StopReason, Tally, Wall, sample,
};
use std::path::Path;
use trail::testing::MemoryDisk;
use trail::{Item, ReadOptions, TrailError, WriterOptions, verify_on};

#[test]
fn records_come_back_with_their_ids_and_machine() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    let records = sample::records(1, 1_234);
    for record in &records {
        writer.append(record, second(1)).unwrap();
    }
    told_nothing(&writer.close(at(2)).unwrap());
    let mut reader = reader(&disk, ReadOptions::default());
    for (index, expected) in records.iter().enumerate() {
        let item = reader.next_item().unwrap().unwrap();
        let Item::Record {
            id,
            record,
            device: machine,
        } = item
        else {
            panic!("{item:?}")
        };
        assert_eq!(
            id,
            RecordId {
                epoch: 1,
                sequence: index as u64 + 1
            }
        );
        assert_eq!(record, *expected);
        assert_eq!(*machine, device());
    }
    assert_eq!(reader.next_item().unwrap(), None);
    assert_eq!(reader.warnings().count(), 0);
}

#[test]
fn records_of_any_size_survive() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    let sizes = [0, 1, 127, 128, 70_000, 200_000, 300_000, 1 << 20, 3];
    for (index, size) in sizes.iter().enumerate() {
        let bytes = vec![index as u8; *size];
        assert!(writer.append_encoded(&bytes, Wall(0), second(0)).is_some());
    }
    told_nothing(&writer.flush(at(1)).unwrap());
    assert_eq!(
        writer.append_encoded(&vec![0; (1 << 20) + 1], Wall(0), second(1)),
        None
    );
    assert_eq!(writer.dropped(), 1);
    let found = read(&disk);
    for (index, size) in sizes.iter().enumerate() {
        let id = RecordId {
            epoch: 1,
            sequence: index as u64 + 1,
        };
        assert_eq!(found.records[&id], vec![index as u8; *size]);
    }
    assert_eq!(
        writer
            .flush(at(2))
            .unwrap()
            .dropped
            .map(|dropped| dropped.count),
        Some(1)
    );
}

#[test]
fn epochs_follow_each_other_and_know_how_the_last_one_ended() {
    let disk = MemoryDisk::new();
    assert_eq!(open(&disk, options()).unwrap().previous(), None);
    let mut second_epoch = open(&disk, options()).unwrap();
    let nothing = PreviousEpoch {
        epoch: 1,
        last_sequence: 0,
        last_at: None,
        stopped_in_order: false,
    };
    assert_eq!(second_epoch.previous(), Some(nothing));
    let stopped = Record::Notice(Notice {
        at: at(9),
        kind: NoticeKind::RecorderStopped {
            reason: StopReason::Requested,
            tally: Tally::default(),
        },
    });
    for record in sample::closes(1, 2).iter().chain([&stopped]) {
        second_epoch.append(record, second(9)).unwrap();
    }
    told_nothing(&second_epoch.close(at(9)).unwrap());
    let third = open(&disk, options()).unwrap();
    let in_order = PreviousEpoch {
        epoch: 2,
        last_sequence: 3,
        last_at: Some(at(9)),
        stopped_in_order: true,
    };
    assert_eq!((third.epoch(), third.previous()), (3, Some(in_order)));
    drop(third);
    let mut fourth = open(&disk, options()).unwrap();
    assert_eq!(
        fourth.previous(),
        Some(in_order),
        "an epoch without records ends nothing"
    );
    let close = &sample::closes(2, 1)[0];
    fourth.append(close, second(10)).unwrap();
    told_nothing(&fourth.close(at(10)).unwrap());
    let after_crash = open(&disk, options()).unwrap().previous().unwrap();
    assert_eq!(
        (after_crash.epoch, after_crash.stopped_in_order),
        (4, false)
    );
    assert_eq!(after_crash.last_at, Some(close.at()));
}

#[test]
fn no_epoch_comes_twice_even_if_all_is_deleted() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 5, 5);
    drop(writer);
    let state = Path::new(STATE);
    let bare = MemoryDisk::new();
    bare.put(
        &state.join("epoch"),
        &disk.contents(&state.join("epoch")).unwrap(),
    );
    assert_eq!(open(&bare, options()).unwrap().epoch(), 2);
    disk.put(&state.join("epoch"), b"damaged");
    assert_eq!(
        open(&disk, options()).unwrap().epoch(),
        2,
        "the segments tell"
    );
    disk.put(&state.join("epoch"), b"18446744073709551615");
    assert_eq!(
        open(&disk, options()).unwrap().epoch(),
        2,
        "no such epoch can be"
    );
    disk.put(&dir().join("e00000041-s000000000001.trail"), b"");
    assert_eq!(
        open(&disk, options()).unwrap().epoch(),
        42,
        "an id of 41 may have been seen"
    );
    disk.break_blocks(&state.join("epoch"), 0..8);
    assert!(
        open(&disk, options()).unwrap().epoch() > 900,
        "more than a few may have left nothing but their number"
    );
    disk.put(&state.join("epoch"), b"99999999\n");
    disk.break_blocks(&state.join("epoch"), 0..0);
    assert!(matches!(
        open(&disk, options()),
        Err(TrailError::EpochsExhausted { .. })
    ));
}

#[test]
fn two_writers_are_one_too_many() {
    let disk = MemoryDisk::new();
    let first = open(&disk, options()).unwrap();
    let refused = open(&disk, options()).err().unwrap().to_string();
    let holder = format!("another recorder (process {})", std::process::id());
    assert!(refused.starts_with(&holder), "{refused}");
    assert!(refused.contains("/state/trail.lock"), "{refused}");
    drop(first);
    assert_eq!(open(&disk, options()).unwrap().epoch(), 2);
}

#[test]
fn flush_is_due_after_an_interval_or_when_much_waits() {
    let disk = MemoryDisk::new();
    let mut writer = open(
        &disk,
        WriterOptions {
            flush_bytes: 1_000,
            ..options()
        },
    )
    .unwrap();
    assert_eq!(writer.poll_timeout(), None);
    append(&mut writer, 1, 5);
    append(&mut writer, 2, 5);
    assert_eq!(writer.poll_timeout(), Some(second(6)));
    assert!(!writer.should_flush(second(5)) && writer.should_flush(second(6)));
    for sequence in 3..50 {
        append(&mut writer, sequence, 5);
    }
    assert!(writer.should_flush(second(5)));
    told_nothing(&writer.flush(at(5)).unwrap());
    assert_eq!(writer.poll_timeout(), None);
    assert_eq!(
        writer.durable(),
        Some(RecordId {
            epoch: 1,
            sequence: 49
        })
    );
    let calls = disk.calls();
    told_nothing(&writer.flush(at(6)).unwrap());
    assert_eq!(
        disk.calls(),
        calls,
        "where nothing waits nothing is written"
    );
}

#[test]
fn frame_is_packed_as_soon_as_it_is_full() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    for sequence in 1..500 {
        append(&mut writer, sequence, 1);
    }
    let raw_bytes = writer.pending_bytes();
    append(&mut writer, 500, 1);
    assert!(writer.pending_bytes() < raw_bytes / 2);
}

#[test]
fn segments_are_full_but_not_fuller() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 40, 2);
    let lengths: Vec<_> = segments(&disk)
        .iter()
        .map(|path| disk.contents(path).unwrap().len())
        .collect();
    assert!(
        lengths.len() > 3 && lengths.iter().all(|length| *length <= 600),
        "{lengths:?}"
    );
    let found = read(&disk);
    found.assert_true();
    assert_eq!(found.ids(), ids(1, 1..=40));
    let report = verify_on(disk, &dir(), ReadOptions::default()).unwrap();
    assert_eq!(report.segments, lengths.len() as u64);
    assert_eq!(report.bytes, lengths.iter().sum::<usize>() as u64);
}

#[test]
fn verify_counts_what_is_there() {
    let disk = MemoryDisk::new();
    for _ in 0..2 {
        let mut writer = open(&disk, options()).unwrap();
        for record in sample::closes(1, 10) {
            writer.append(&record, second(1)).unwrap();
        }
        told_nothing(&writer.close(at(1)).unwrap());
    }
    let report = verify_on(disk, &dir(), ReadOptions::default()).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(
        (report.records, report.segments, report.unpublished_bytes),
        (20, 2, 0)
    );
    let spans: Vec<_> = report
        .epochs
        .iter()
        .map(|epoch| {
            (
                epoch.epoch,
                epoch.first_sequence,
                epoch.last_sequence,
                epoch.records,
            )
        })
        .collect();
    assert_eq!(spans, [(1, 1, 10, 10), (2, 1, 10, 10)]);
}
