//! Old segments are written a second time.

use crate::helpers::*;
use record::{Record, RecordId, sample};
use std::io::ErrorKind;
use trail::testing::MemoryDisk;
use trail::{Disk, Head, ReadOptions, Report, Rewritten, WriterOptions, verify_anchored_on};

fn options_of_slow_machine() -> WriterOptions {
    WriterOptions {
        segment_bytes: 6_000,
        rewrite_bytes: 900,
        ..options()
    }
}

/// An epoch of records that came one by one, with a head now and then.
fn quiet_epoch(disk: &MemoryDisk, count: usize) -> Vec<Head> {
    let mut writer = open(disk, options_of_slow_machine()).unwrap();
    let records = sample::closes(writer.epoch(), count);
    let heads = (0..).zip(&records).map(|(second_now, record)| {
        writer.append(record, second(second_now)).unwrap();
        told_nothing(&writer.flush(at(second_now)).unwrap());
        writer.head().unwrap()
    });
    heads.collect()
}

/// Tends until there is nothing more to do.
fn tend(writer: &mut Writer) -> Vec<Rewritten> {
    let mut done = Vec::new();
    while let Some(due) = writer.tend_timeout() {
        done.extend(writer.tend(due).unwrap());
    }
    done
}

fn report(disk: &MemoryDisk, anchors: &[Head]) -> Report {
    verify_anchored_on(disk.clone(), &dir(), ReadOptions::default(), anchors).unwrap()
}

fn length(disk: &MemoryDisk) -> usize {
    let lengths = segments(disk)
        .into_iter()
        .map(|path| disk.contents(&path).unwrap().len());
    lengths.sum()
}

#[test]
fn rewritten_segments_are_smaller_and_otherwise_the_same() {
    let disk = MemoryDisk::new();
    let heads = quiet_epoch(&disk, 200);
    let (before, bytes_before) = (read(&disk), length(&disk));
    let names = segments(&disk);
    let mut writer = open(&disk, options_of_slow_machine()).unwrap();
    let done = tend(&mut writer);
    assert_eq!(done.len(), names.len());
    assert!(done.iter().all(|it| it.bytes_after < it.bytes_before));
    assert_eq!(read(&disk), before);
    assert_eq!(segments(&disk), names);
    assert!(
        length(&disk) < bytes_before / 2,
        "{} of {bytes_before}",
        length(&disk)
    );
    let report = report(&disk, &heads);
    assert!(report.is_complete() && report.looks_untouched() && report.anchors_hold());
    assert_eq!(report.chain.stretches.len(), 1);
    assert_eq!(tend(&mut open_again(writer, &disk)), [], "once is enough");
    assert!(!disk.paths().contains(&dir().join("rewrite.new")));
}

fn open_again(writer: Writer, disk: &MemoryDisk) -> Writer {
    drop(writer);
    open(disk, options_of_slow_machine()).unwrap()
}

/// A dense segment of an epoch that is over: its path and bytes, and what is in it.
fn dense_segment() -> (std::path::PathBuf, Vec<u8>, Findings) {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 24, 2);
    drop(writer);
    let whole = read(&disk);
    tend(&mut open(&disk, options()).unwrap());
    let path = segments(&disk).remove(0);
    let bytes = disk.contents(&path).unwrap();
    assert_eq!(bytes[64], 1, "it is dense");
    (path, bytes, whole)
}

#[test]
fn every_flip_and_every_cut_of_a_dense_segment_is_found_and_costs_its_frame_only() {
    let (path, bytes, whole) = dense_segment();
    let header = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let disk_with = |bytes: &[u8]| {
        let disk = MemoryDisk::new();
        disk.put(&path, bytes);
        drop(open(&disk, options()).unwrap());
        disk
    };
    assert_eq!(read(&disk_with(&bytes)), whole);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let found = read(&disk_with(&flipped));
            found.assert_true();
            let kept = if at < header { whole.ids() } else { Vec::new() };
            assert_eq!(found.ids(), kept, "bit {bit} of byte {at}");
            let [damaged] = &found.damaged[..] else {
                panic!("bit {bit} of byte {at}: {found:?}")
            };
            let range = damaged.offset..damaged.offset + damaged.bytes;
            assert!(range.contains(&(at as u64)), "{at} is not in {damaged:?}");
        }
        let found = read(&disk_with(&bytes[..at]));
        assert_eq!(found.ids(), [], "cut at {at}");
        assert_eq!(found.damaged.is_empty(), at == 0 || at == header, "{at}");
    }
}

#[test]
fn what_earlier_versions_wrote_stays_as_it_is_byte_for_byte() {
    let disk = golden("v1");
    let before: Vec<_> = segments(&disk)
        .into_iter()
        .map(|path| (disk.contents(&path).unwrap(), path))
        .collect();
    let records = read(&disk).records;
    let mut writer = open(&disk, options()).unwrap();
    assert_eq!(tend(&mut writer), []);
    write_groups(&mut writer, 1, 5, 1);
    drop(writer.close(at(9)).unwrap());
    for (bytes, path) in before {
        assert_eq!(disk.contents(&path), Some(bytes), "{}", path.display());
    }
    let after = read(&disk).records;
    assert!(
        records
            .iter()
            .all(|(id, bytes)| after.get(id) == Some(bytes))
    );
}

#[test]
fn what_a_crash_left_under_other_names_is_no_part_of_the_trail_and_in_nobodys_way() {
    let (path, bytes, _) = dense_segment();
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options_of_slow_machine()).unwrap();
    write_groups(&mut writer, 1, 60, 1);
    drop(writer);
    let whole = read(&disk);
    for name in ["rewrite.new", "head.new"] {
        for left in [&bytes[..], &bytes[..bytes.len() / 2], b""] {
            disk.put(&dir().join(name), left);
            let mut found = reader(&disk, ReadOptions::default());
            assert_eq!(drain(&mut found), whole, "{name}");
            assert_eq!(found.warnings().count(), 0);
        }
    }
    disk.put(&disk_root("times.new"), b"half");
    let mut writer = open(&disk, options_of_slow_machine()).unwrap();
    assert!(!disk.paths().contains(&dir().join("rewrite.new")));
    assert!(!tend(&mut writer).is_empty());
    assert!(!disk.paths().contains(&dir().join("head.new")));
    assert_eq!(read(&disk), whole);
    assert!(!segments(&disk).is_empty() && path.starts_with(dir()));
}

fn disk_root(name: &str) -> std::path::PathBuf {
    std::path::Path::new(STATE).join(name)
}

/// It runs where records are taken in, so what one call does must be bounded.
#[test]
fn one_call_of_tend_reads_and_writes_a_bounded_amount() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    for record in sample::closes(1, 20_000).chunks(40) {
        for record in record {
            writer.append(record, second(1)).unwrap();
        }
        told_nothing(&writer.flush(at(1)).unwrap());
    }
    drop(writer);
    let options = options();
    let mut writer = open(&disk, options.clone()).unwrap();
    let (mut most, mut most_calls) = (0, 0);
    while let Some(due) = writer.tend_timeout() {
        let (before, calls) = (disk.reads().1, disk.calls());
        writer.tend(due).unwrap();
        most = most.max(disk.reads().1 - before);
        most_calls = most_calls.max(disk.calls() - calls);
    }
    // One frame more than what was asked for, and what is read ahead.
    let bound = options.rewrite_bytes + (300 << 10);
    assert!(most > 0 && most < bound, "{most} bytes in one call");
    assert!(most_calls <= 9, "{most_calls} writes in one call");
}

#[test]
fn rewriting_takes_small_steps_and_pauses() {
    let disk = MemoryDisk::new();
    quiet_epoch(&disk, 100);
    let mut writer = open(&disk, options_of_slow_machine()).unwrap();
    let mut steps = 0;
    while let Some(due) = writer.tend_timeout() {
        let calls = disk.calls();
        writer.tend(due).unwrap();
        // A new file and its header, a frame, a sync, a name, a sync.
        assert!(disk.calls() - calls <= 9);
        let calls = disk.calls();
        assert_eq!(writer.tend(due).unwrap(), None);
        assert_eq!(disk.calls(), calls, "not twice in a second");
        steps += 1;
    }
    assert!(steps > 25, "{steps}");
    let mut never = open(
        &disk,
        WriterOptions {
            rewrite_bytes: 0,
            ..options()
        },
    )
    .err();
    assert!(never.is_some(), "the lock is held");
    drop(writer);
    never = None;
    assert!(never.is_none());
    let writer = open(
        &disk,
        WriterOptions {
            rewrite_bytes: 0,
            ..options()
        },
    )
    .unwrap();
    assert_eq!(writer.tend_timeout(), None);
}

#[test]
fn what_a_failed_sync_left_is_never_made_one_with_what_is_synced() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 60, 1);
    append(&mut writer, 61, 61);
    let call = disk.calls();
    disk.fail(call + 1..call + 3, ErrorKind::Other);
    writer.flush(at(61)).unwrap_err();
    let first = segments(&disk)[0].clone();
    let left = disk.contents(&first).unwrap();
    let tend = |writer: &mut Writer, from: u64| {
        for seconds in from..from + 200 {
            assert_eq!(writer.tend(second(seconds)).unwrap(), None);
        }
        assert_eq!(disk.contents(&first), Some(left.clone()));
    };
    // The head still says how much of it is synced.
    tend(&mut writer, 100);
    assert_eq!(read(&disk).ids(), ids(1, 1..=60));
    told_nothing(&writer.flush(at(62)).unwrap());
    assert_eq!(segments(&disk).len(), 2);
    tend(&mut writer, 400);
    assert_eq!(read(&disk).ids(), ids(1, 1..=61));
}

#[test]
fn power_cut_while_rewriting_leaves_exactly_one_copy() {
    let recorded = MemoryDisk::new();
    let heads = quiet_epoch(&recorded, 60);
    let before = read_all(&recorded);
    let calls = {
        let disk = recorded.after_kill();
        tend(&mut open(&disk, options_of_slow_machine()).unwrap());
        disk.calls()
    };
    assert!(calls > 20, "{calls}");
    for call in 0..calls {
        for seed in 0..3 {
            let disk = recorded.after_power_cut(0);
            disk.cut_power_at(call);
            if let Ok(mut writer) = open(&disk, options_of_slow_machine()) {
                while let Some(due) = writer.tend_timeout().filter(|due| *due < second(99)) {
                    drop(writer.tend(due));
                }
            }
            let after = disk.after_power_cut(seed * 7_919 + call);
            let everything = read_all(&after);
            assert_eq!(
                (&everything.records, &everything.damaged),
                (&before.records, &before.damaged)
            );
            let mut writer = open(&after, options_of_slow_machine()).unwrap();
            tend(&mut writer);
            assert_eq!(read(&after).records, before.records);
            assert!(!after.paths().contains(&dir().join("rewrite.new")));
            assert!(report(&after, &heads).anchors_hold());
        }
    }
}

#[test]
fn disk_that_refuses_leaves_the_segment_and_is_asked_again() {
    let recorded = MemoryDisk::new();
    quiet_epoch(&recorded, 60);
    let before = read(&recorded);
    for call in 0..40 {
        let disk = recorded.after_kill();
        let mut writer = open(&disk, options_of_slow_machine()).unwrap();
        let from = disk.calls() + call;
        disk.fail(from..from + 1, ErrorKind::StorageFull);
        let mut done = 0;
        let mut failed = 0;
        while let Some(due) = writer.tend_timeout() {
            match writer.tend(due) {
                Ok(rewritten) => done += usize::from(rewritten.is_some()),
                Err(_) => {
                    failed += 1;
                    assert!(writer.tend_timeout() >= Some(due.plus_ns(60_000_000_000)));
                }
            }
            assert_eq!(read(&disk).records, before.records);
        }
        assert!(failed <= 1);
        // Where only the last sync failed, the new name is there, if not for sure.
        assert!(done + failed >= segments(&disk).len(), "{call}: {done}");
        assert!(report(&disk, &[]).looks_untouched());
    }
}

#[test]
fn reader_that_holds_the_old_file_reads_on() {
    let disk = MemoryDisk::new();
    quiet_epoch(&disk, 100);
    let all = read(&disk).ids();
    let mut reader = reader(&disk, ReadOptions::default());
    let mut read = Vec::new();
    for _ in 0..7 {
        if let Some(trail::RawItem::Record { id, .. }) = reader.next_raw().unwrap() {
            read.push(id);
        }
    }
    let mut writer = open(&disk, options_of_slow_machine()).unwrap();
    assert!(!tend(&mut writer).is_empty());
    let rest = drain(&mut reader);
    assert_eq!((&rest.damaged[..], &rest.missing[..]), (&[][..], &[][..]));
    read.extend(rest.ids());
    assert_eq!(read, all);
}

#[test]
fn damaged_segment_stays_as_it_is() {
    let recorded = MemoryDisk::new();
    quiet_epoch(&recorded, 40);
    let path = segments(&recorded).remove(0);
    let whole = recorded.contents(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let disk = recorded.after_kill();
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        disk.put(&path, &bytes);
        let before = read(&disk);
        let mut writer = open(&disk, options_of_slow_machine()).unwrap();
        let done = tend(&mut writer);
        assert_eq!(done.len(), segments(&disk).len() - 1);
        assert_eq!(disk.contents(&path).unwrap(), bytes, "byte {at}");
        assert_eq!(read(&disk), before);
    }
}

#[test]
fn segment_that_is_evicted_meanwhile_does_not_come_back() {
    let disk = MemoryDisk::new();
    quiet_epoch(&disk, 100);
    let mut writer = open(&disk, options_of_slow_machine()).unwrap();
    writer.tend(second(1)).unwrap();
    let newest = segments(&disk).pop().unwrap();
    disk.remove(&newest).unwrap();
    for turn in 2..100 {
        drop(writer.tend(second(turn)));
    }
    assert!(!segments(&disk).contains(&newest));
}

#[test]
fn dense_trail_can_be_read_by_address_and_from_any_record() {
    let disk = MemoryDisk::new();
    quiet_epoch(&disk, 90);
    let all = read(&disk).ids();
    tend(&mut open(&disk, options_of_slow_machine()).unwrap());
    for (index, id) in all.iter().enumerate() {
        let after = Some(*id);
        let found = drain(&mut reader(
            &disk,
            ReadOptions {
                after,
                ..ReadOptions::default()
            },
        ));
        assert_eq!(found.ids(), all[index + 1..]);
    }
    for record in sample::closes(1, 90) {
        let Record::Connection(connection) = record else {
            continue;
        };
        let remote = connection
            .remote
            .address
            .map(|address| trail::RemoteNetwork {
                address,
                prefix_length: if address.is_ipv4() { 32 } else { 128 },
            });
        let mut reader = reader(
            &disk,
            ReadOptions {
                remote,
                ..ReadOptions::default()
            },
        );
        let mut found = false;
        while let Some(item) = reader.next_item().unwrap() {
            if let trail::Item::Record {
                record: Record::Connection(it),
                ..
            } = item
            {
                found |= it == connection;
            }
        }
        assert!(found);
    }
}

#[test]
fn segments_that_are_too_old_go_as_declared() {
    let disk = MemoryDisk::new();
    let day_ns = 1_000_000_000 * 86_400;
    let aged = WriterOptions {
        age_max_ns: Some(day_ns),
        segment_bytes: 1_500,
        ..options_of_slow_machine()
    };
    let mut writer = open(&disk, aged).unwrap();
    let mut evicted = Vec::new();
    let mut sequence = 0;
    for hour in 1..=60 {
        for _ in 0..20 {
            sequence += 1;
            append(&mut writer, sequence, hour * 3_600);
        }
        let flushed = writer.flush(at(hour * 3_600)).unwrap();
        for range in &flushed.evicting {
            sequence += 1;
            append(&mut writer, sequence, hour * 3_600);
            evicted.push(*range);
        }
        told_nothing_else(&flushed);
    }
    assert!(evicted.len() >= 2, "{evicted:?}");
    let last = evicted.last().unwrap().last_sequence.unwrap();
    let first_left = read(&disk).ids()[0];
    assert!(
        first_left
            <= RecordId {
                epoch: 1,
                sequence: last + 1
            }
    );
    // Twenty records an hour: what is a day old is gone, but for a segment or so.
    let kept = read(&disk).ids().len();
    assert!((24 * 20..40 * 20).contains(&kept), "{kept}");
}

fn told_nothing_else(flushed: &trail::Flushed) {
    assert!(flushed.dropped.is_none() && flushed.trouble.is_none());
    assert!(flushed.vanished.is_empty());
}

#[test]
fn clock_that_was_set_ahead_deletes_nothing_until_it_has_proved_itself() {
    let disk = MemoryDisk::new();
    let aged = WriterOptions {
        age_max_ns: Some(1_000_000_000 * 86_400),
        segment_bytes: 1_500,
        ..options_of_slow_machine()
    };
    let mut writer = open(&disk, aged).unwrap();
    let year_ns = 365 * 86_400 * 1_000_000_000;
    let mut sequence = 0;
    let mut evicted_at = Vec::new();
    for minute in 1..=200 {
        for _ in 0..20 {
            sequence += 1;
            append(&mut writer, sequence, minute * 60);
        }
        let mut now = at(minute * 60);
        // Ahead from the hundredth minute on.
        now.wall.0 += if minute >= 100 { year_ns } else { 0 };
        let flushed = writer.flush(now).unwrap();
        for _ in &flushed.evicting {
            sequence += 1;
            append(&mut writer, sequence, minute * 60);
            evicted_at.push(minute);
        }
        told_nothing_else(&flushed);
    }
    assert_eq!(evicted_at.first(), Some(&160), "{evicted_at:?}");
}
