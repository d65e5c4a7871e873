//! Disks that refuse to be written.

use crate::helpers::*;
use record::RecordId;
use std::io::ErrorKind;
use trail::testing::MemoryDisk;
use trail::{Dropped, ReadOptions, TrailError, WriterOptions, verify_on};

/// Thirty records in groups of three, over several segments; flushes that fail are left to the
/// next ones.
fn stubborn_run(disk: &MemoryDisk) -> Option<Writer> {
    let mut writer = open(disk, small_segments()).ok()?;
    for sequence in 1..=30 {
        append(&mut writer, sequence, sequence);
        if sequence.is_multiple_of(3) {
            let durable = writer.durable();
            let flushed = writer.flush(at(sequence));
            assert!(writer.durable() >= durable);
            let seen = read(disk);
            seen.assert_true();
            assert_eq!(seen.ids().last().copied(), writer.durable(), "{flushed:?}");
            assert_eq!(
                (seen.declared_lost(), flushed.is_ok()),
                (0, writer.pending_bytes() == 0)
            );
        }
    }
    let tries = (31..40).find(|seconds| writer.flush(at(*seconds)).is_ok());
    assert!(tries.is_some());
    Some(writer)
}

fn everything() -> ReadOptions {
    ReadOptions {
        unpublished_too: true,
        ..ReadOptions::default()
    }
}

#[test]
fn failure_at_any_call_loses_and_repeats_nothing() {
    let healthy = MemoryDisk::new();
    assert!(stubborn_run(&healthy).is_some());
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for count in [1, 2, 7] {
            for call in 0..healthy.calls() {
                let disk = MemoryDisk::new();
                disk.fail(call..call + count, kind);
                let Some(writer) = stubborn_run(&disk) else {
                    continue;
                };
                assert_eq!(writer.dropped(), 0);
                drop(writer);
                let restarted = disk.after_power_cut(call);
                for found in [read(&disk), read_all(&disk), read_all(&restarted)] {
                    found.assert_true();
                    assert_eq!(found.ids(), ids(1, 1..=30), "call {call} for {count}");
                    assert_eq!(found.declared_lost(), 0);
                    assert!(found.damaged.iter().all(|damaged| damaged.offset > 0));
                }
                for disk in [&disk, &restarted] {
                    let report = verify_on(disk.clone(), &dir(), everything()).unwrap();
                    assert_eq!((report.chain.breaks, report.chain.unchecked), (vec![], 0));
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_dropped_and_told_once() {
    let disk = MemoryDisk::new();
    let mut writer = open(
        &disk,
        WriterOptions {
            pending_max_bytes: 1_000,
            ..options()
        },
    )
    .unwrap();
    write_groups(&mut writer, 1, 2, 2);
    disk.fail(0..u64::MAX, ErrorKind::StorageFull);
    let mut kept = 2;
    let mut dropped = 0;
    for seconds in 10..200 {
        let next = RecordId {
            epoch: 1,
            sequence: kept + 1,
        };
        match writer.append_encoded(&bytes_of(next), at(seconds).wall, second(seconds)) {
            Some(id) => {
                assert_eq!((id, dropped), (next, 0), "the newest go, not the oldest");
                kept += 1;
            }
            None => dropped += 1,
        }
        if writer.should_flush(second(seconds)) {
            let error = writer.flush(at(seconds)).unwrap_err();
            assert!(error.to_string().contains("free space"), "{error}");
            assert!(
                !writer.should_flush(second(seconds)),
                "the disk gets a rest"
            );
        }
    }
    assert!(kept > 5 && dropped > 100 && writer.dropped() == dropped);
    disk.fail(0..0, ErrorKind::Other);
    let told = writer.flush(at(200)).unwrap().dropped;
    let Some(Dropped { count, since }) = told else {
        panic!("nothing was told")
    };
    assert_eq!(count, dropped);
    assert!(at(10) <= since && since < at(60), "{since:?}");
    append(&mut writer, kept + 1, 201);
    told_nothing(&writer.flush(at(201)).unwrap());
    let found = read(&disk);
    found.assert_true();
    assert_eq!(
        (found.ids(), found.declared_lost()),
        (ids(1, 1..=kept + 1), 0)
    );
}

#[test]
fn epoch_that_cannot_be_kept_is_not_begun() {
    let disk = MemoryDisk::new();
    open(&disk, options()).unwrap();
    let opening = disk.calls();
    let probe = MemoryDisk::new();
    drop(open(&probe, options()).unwrap());
    drop(open(&probe, options()).unwrap());
    for call in opening..probe.calls() {
        let disk = MemoryDisk::new();
        drop(open(&disk, options()).unwrap());
        disk.fail(call..call + 1, ErrorKind::StorageFull);
        match open(&disk, options()) {
            Ok(writer) => assert_eq!(writer.epoch(), 2),
            Err(TrailError::Io { path, .. }) => assert!(path.starts_with(STATE)),
            Err(other) => panic!("{other}"),
        }
        let epoch = open(&disk, options()).unwrap().epoch();
        assert!((2..=3).contains(&epoch), "{epoch}");
    }
}
