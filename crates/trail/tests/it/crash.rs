//! The power goes at any moment.

use crate::helpers::*;
use record::RecordId;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use trail::testing::MemoryDisk;
use trail::{Flushed, ReadOptions, SegmentRange, WriterOptions, verify_on};

/// What was promised before the power went.
#[derive(Default)]
struct Promises {
    durable: BTreeSet<RecordId>,
    /// What readers saw.
    seen: BTreeSet<RecordId>,
    /// What was announced to be evicted, whether or not that was carried out.
    evicting: Vec<SegmentRange>,
    epochs: Vec<u64>,
}

impl Promises {
    fn flushed(&mut self, disk: &MemoryDisk, writer: &Writer, flushed: &Flushed) {
        let last = writer.durable().map_or(0, |id| id.sequence);
        self.durable.extend(ids(writer.epoch(), 1..=last));
        self.evicting.extend(&flushed.evicting);
        self.look(disk);
    }

    fn look(&mut self, disk: &MemoryDisk) {
        let found = read(disk);
        found.assert_true();
        self.seen.extend(found.ids());
    }

    fn may_be_gone(&self, id: RecordId) -> bool {
        self.evicting.iter().any(|range| {
            range.epoch == id.epoch
                && (range.first_sequence..=range.last_sequence.unwrap()).contains(&id.sequence)
        })
    }
}

fn tight() -> WriterOptions {
    WriterOptions {
        segment_bytes: 600,
        quota_bytes: 1_200,
        ..options()
    }
}

/// Three epochs with rotation and eviction. Stops at the first thing that does not work.
fn run(disk: &MemoryDisk, promises: &mut Promises) -> Option<()> {
    for _ in 0..3 {
        let mut writer = open(disk, tight()).ok()?;
        promises.epochs.push(writer.epoch());
        let mut sequence = 0;
        for group in 0..7 {
            for _ in 0..=group % 3 {
                sequence += 1;
                append(&mut writer, sequence, sequence);
            }
            let flushed = writer.flush(at(sequence));
            promises.look(disk);
            let flushed = flushed.ok()?;
            promises.flushed(disk, &writer, &flushed);
            for _ in &flushed.evicting {
                sequence += 1;
                append(&mut writer, sequence, sequence);
            }
        }
        let durable: Vec<_> = ids(writer.epoch(), 1..=sequence);
        promises
            .evicting
            .extend(writer.close(at(99)).ok()?.evicting);
        promises.durable.extend(durable);
    }
    Some(())
}

#[test]
fn power_cut_at_any_call_keeps_every_promise() {
    let healthy = MemoryDisk::new();
    let mut promises = Promises::default();
    assert!(run(&healthy, &mut promises).is_some());
    assert!(promises.evicting.len() >= 4, "{:?}", promises.evicting);
    for call in 0..healthy.calls() {
        for seed in 0..4 {
            let disk = MemoryDisk::new();
            disk.cut_power_at(call);
            let mut promises = Promises::default();
            // Not every failure is one for the caller: old segments can be deleted later.
            run(&disk, &mut promises);
            check_after(&disk.after_power_cut(seed * 7_919 + call), &promises);
        }
    }
}

fn check_after(disk: &MemoryDisk, promises: &Promises) {
    let everything = read_all(disk);
    everything.assert_true();
    for id in &promises.durable {
        let there = everything.records.contains_key(id);
        assert!(
            there || promises.may_be_gone(*id),
            "{id:?} was synced and is gone"
        );
    }
    for id in &promises.seen {
        let there = everything.records.contains_key(id);
        assert!(
            there || promises.may_be_gone(*id),
            "{id:?} was read and is gone"
        );
    }
    let published = read(disk);
    published.assert_true();
    assert!(
        published
            .ids()
            .iter()
            .all(|id| everything.records.contains_key(id))
    );

    assert_unbroken(disk);
    let mut writer = open(disk, tight()).unwrap();
    let epoch = writer.epoch();
    let latest = promises.epochs.last().copied().unwrap_or(0);
    assert!(epoch > latest, "epoch {epoch} after {latest}");
    assert!(
        everything.ids().iter().all(|id| id.epoch < epoch),
        "an id would come twice"
    );
    let last = everything.ids().last().copied();
    let previous = writer
        .previous()
        .filter(|previous| previous.last_sequence > 0);
    let previous = previous.map(|previous| (previous.epoch, previous.last_sequence));
    assert_eq!(previous, last.map(|last| (last.epoch, last.sequence)));
    write_more(&mut writer, disk, &everything);
}

/// After a restart readers that trust the head see all that is there, and what is new.
fn write_more(writer: &mut Writer, disk: &MemoryDisk, before: &Findings) {
    let old = read(disk);
    assert_eq!(old.ids(), before.ids());
    append(writer, 1, 1);
    append(writer, 2, 1);
    let flushed = writer.flush(at(1)).unwrap();
    assert!(flushed.trouble.is_none() && flushed.vanished.is_empty());
    let now = read(disk);
    now.assert_true();
    let expected: Vec<_> = before
        .ids()
        .into_iter()
        .chain(ids(writer.epoch(), 1..=2))
        .collect();
    assert_eq!(now.ids(), expected);
    assert_unbroken(disk);
}

/// A crash is no edit.
fn assert_unbroken(disk: &MemoryDisk) {
    let everything = ReadOptions {
        unpublished_too: true,
        ..ReadOptions::default()
    };
    let chain = verify_on(disk.clone(), &dir(), everything).unwrap().chain;
    assert_eq!(chain.breaks, []);
}

#[test]
fn what_a_killed_recorder_left_is_safe_once_the_next_one_names_it() {
    let healthy = MemoryDisk::new();
    assert!(run(&healthy, &mut Promises::default()).is_some());
    for call in 0..healthy.calls() {
        let disk = MemoryDisk::new();
        disk.cut_power_at(call);
        let mut promises = Promises::default();
        run(&disk, &mut promises);
        check_after(&disk.after_kill(), &promises);
        let killed = disk.after_kill();
        let named = open(&killed, tight()).unwrap().previous();
        let Some(named) = named.filter(|named| named.last_sequence > 0) else {
            continue;
        };
        let last = RecordId {
            epoch: named.epoch,
            sequence: named.last_sequence,
        };
        let after = read_all(&killed.after_power_cut(call));
        assert!(
            after.records.contains_key(&last),
            "{last:?} was named and is gone"
        );
    }
}

/// Three records that are synced, and two more that are left behind them: the write of a third
/// failed, and so did cutting them off.
pub(crate) fn failed_write(disk: &MemoryDisk) -> Writer {
    let mut writer = open(disk, options()).unwrap();
    write_groups(&mut writer, 1, 3, 1);
    for sequence in 4..=6 {
        append(&mut writer, sequence, sequence);
        disk.fail(disk.calls()..disk.calls() + 1, ErrorKind::Other);
        writer.flush(at(sequence)).unwrap_err();
    }
    let call = disk.calls();
    disk.fail(call + 2..call + 5, ErrorKind::Other);
    writer.flush(at(7)).unwrap_err();
    assert_eq!(read(disk).ids(), ids(1, 1..=3));
    assert_eq!(read_all(disk).ids(), ids(1, 1..=5));
    writer
}

#[test]
fn what_a_failed_write_left_never_hides_what_was_synced_later() {
    let mut came_back = 0;
    for seed in 0..200 {
        let disk = MemoryDisk::new();
        let mut writer = failed_write(&disk);
        told_nothing(&writer.flush(at(8)).unwrap());
        append(&mut writer, 7, 9);
        told_nothing(&writer.flush(at(9)).unwrap());
        drop(writer);
        assert_eq!(segments(&disk).len(), 2);
        let synced = disk.durable_length(&segments(&disk)[0]);

        let disk = disk.after_power_cut(seed);
        came_back += u64::from(disk.length(&segments(&disk)[0]) > Some(synced));
        let found = read_all(&disk);
        found.assert_true();
        assert_eq!((found.ids(), found.declared_lost()), (ids(1, 1..=7), 0));
        let after = ReadOptions {
            after: Some(ids(1, [3])[0]),
            unpublished_too: true,
            ..ReadOptions::default()
        };
        assert_eq!(drain(&mut reader(&disk, after)).ids(), ids(1, 4..=7));
        assert_unbroken(&disk);
        let next = open(&disk, options()).unwrap();
        assert_eq!(next.previous().unwrap().last_sequence, 7);
    }
    assert!(came_back > 50, "{came_back}");
}

#[test]
fn what_a_failed_write_left_is_shown_where_nothing_repeats_it() {
    let disk = MemoryDisk::new();
    let mut writer = failed_write(&disk);
    disk.cut_power_at(disk.calls() + 1);
    writer.flush(at(8)).unwrap_err();
    drop(writer);
    let disk = disk.after_kill();
    assert_eq!(segments(&disk).len(), 2, "the second has half a header");
    let next = open(&disk, options()).unwrap();
    assert_eq!(next.previous().unwrap().last_sequence, 5);
    let after = ReadOptions {
        after: Some(ids(1, [3])[0]),
        ..ReadOptions::default()
    };
    assert_eq!(drain(&mut reader(&disk, after)).ids(), ids(1, 4..=5));
    assert_eq!(read(&disk).ids(), ids(1, 1..=5));
    assert_unbroken(&disk);
}

#[test]
fn an_end_that_was_damaged_before_the_next_epoch_is_no_edit() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 4, 2);
    drop(writer);
    let path = &segments(&disk)[0];
    let end = disk.length(path).unwrap();
    assert!(disk.rot(path, end - 1..end, |byte| *byte ^= 1));
    let disk = disk.after_kill();
    let mut next = open(&disk, options()).unwrap();
    assert_eq!(next.previous().unwrap().last_sequence, 2);
    write_groups(&mut next, 1, 2, 2);
    assert_eq!(read(&disk).damaged.len(), 1);
    assert_unbroken(&disk);
}

#[test]
fn declared_eviction_outlives_a_power_cut() {
    let healthy = MemoryDisk::new();
    assert!(run(&healthy, &mut Promises::default()).is_some());
    for call in 0..healthy.calls() {
        let disk = MemoryDisk::new();
        disk.cut_power_at(call);
        let mut promises = Promises::default();
        run(&disk, &mut promises);
        let after = read_all(&disk.after_power_cut(call));
        // Whatever is gone was announced, and something newer than the announcement is there.
        for id in promises
            .durable
            .iter()
            .filter(|id| !after.records.contains_key(id))
        {
            assert!(promises.may_be_gone(*id));
            assert!(after.ids().last() > Some(id));
        }
    }
}
