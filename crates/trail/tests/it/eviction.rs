//! The quota, and what others delete.

use crate::helpers::*;
use record::{Notice, NoticeKind, Record, RecordId, sample};
use trail::testing::MemoryDisk;
use trail::{Disk, ReadOptions, SegmentRange, WriterOptions, verify_on};

fn tight() -> WriterOptions {
    WriterOptions {
        segment_bytes: 3_000,
        quota_bytes: 12_000,
        ..options()
    }
}

/// Writes real records and declares evictions as a recorder must.
fn record_for_a_while(writer: &mut Writer, groups: u64) -> Vec<SegmentRange> {
    let mut evicted = Vec::new();
    for (second_now, group) in sample::closes(1, groups as usize * 5).chunks(5).enumerate() {
        for record in group {
            writer.append(record, second(second_now as u64)).unwrap();
        }
        let flushed = writer.flush(at(second_now as u64)).unwrap();
        assert!(flushed.trouble.is_none() && flushed.vanished.is_empty());
        for range in flushed.evicting {
            let kind = NoticeKind::TrailEvicted {
                epoch: range.epoch,
                first_sequence: range.first_sequence,
                last_sequence: range.last_sequence.unwrap(),
            };
            let notice = Record::Notice(Notice {
                at: at(second_now as u64),
                kind,
            });
            writer.append(&notice, second(second_now as u64)).unwrap();
            evicted.push(range);
        }
    }
    evicted
}

/// Syncs the last declarations.
fn close(writer: Writer) {
    told_nothing(&writer.close(at(99)).unwrap());
}

#[test]
fn oldest_segments_go_and_are_declared_first() {
    let disk = MemoryDisk::new();
    for epoch in 1..=3 {
        let mut writer = open(&disk, tight()).unwrap();
        let evicted = record_for_a_while(&mut writer, 60);
        assert!(evicted.len() > 3, "epoch {epoch}: {evicted:?}");
        close(writer);
        let report = verify_on(disk.clone(), &dir(), ReadOptions::default()).unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert!(report.bytes <= 12_000 + 3_000, "{}", report.bytes);
        let last = evicted.last().unwrap();
        let through = RecordId {
            epoch: last.epoch,
            sequence: last.last_sequence.unwrap(),
        };
        assert_eq!(report.evicted_through, Some(through));
        assert!(!report.missing.is_empty());
    }
}

#[test]
fn evicted_ranges_join_without_gap_or_overlap() {
    let disk = MemoryDisk::new();
    let mut ranges = Vec::new();
    for _ in 0..3 {
        ranges.extend(record_for_a_while(&mut open(&disk, tight()).unwrap(), 40));
    }
    // What was announced when a run ended was not carried out, so it is announced again.
    ranges.dedup();
    assert!(ranges.len() > 6, "{ranges:?}");
    for pair in ranges.windows(2) {
        let next = match pair[0].epoch == pair[1].epoch {
            true => pair[0].last_sequence.unwrap() + 1,
            false => 1,
        };
        assert_eq!(pair[1].first_sequence, next, "{pair:?}");
    }
}

#[test]
fn nothing_goes_before_its_declaration_is_synced() {
    let disk = MemoryDisk::new();
    let mut writer = open(
        &disk,
        WriterOptions {
            segment_bytes: 600,
            quota_bytes: 1_500,
            ..options()
        },
    )
    .unwrap();
    let mut sequence = 0;
    let evicting = loop {
        sequence += 1;
        append(&mut writer, sequence, sequence);
        let flushed = writer.flush(at(sequence)).unwrap();
        if !flushed.evicting.is_empty() {
            break flushed.evicting;
        }
    };
    assert_eq!(evicting.len(), 1);
    let before = segments(&disk);
    assert!(
        writer.flush(at(sequence)).unwrap().evicting.is_empty(),
        "it is told once"
    );
    append(&mut writer, sequence + 1, sequence);
    assert_eq!(segments(&disk), before);
    let flushed = writer.flush(at(sequence)).unwrap();
    assert!(flushed.trouble.is_none());
    assert!(!segments(&disk).contains(&before[0]));
}

#[test]
fn segments_without_records_go_without_words() {
    let disk = MemoryDisk::new();
    disk.put(&dir().join("e00000001-s000000000001.trail"), &[0x33; 5_000]);
    let mut writer = open(
        &disk,
        WriterOptions {
            quota_bytes: 2_000,
            ..options()
        },
    )
    .unwrap();
    append(&mut writer, 1, 1);
    told_nothing(&writer.flush(at(1)).unwrap());
    assert_eq!(segments(&disk).len(), 1);
    assert_eq!(read(&disk).ids(), ids(2, 1..=1));
}

#[test]
fn what_others_delete_is_told() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 30, 2);
    let paths = segments(&disk);
    for path in &paths[1..] {
        disk.remove(path).unwrap();
    }
    let second_name = trail::SegmentName::parse(paths[1].file_name().unwrap().to_str().unwrap());
    let first_gone = second_name.unwrap().first_sequence;
    append(&mut writer, 31, 31);
    let flushed = writer.flush(at(31)).unwrap();
    let gone = flushed.vanished;
    assert_eq!(gone.len(), paths.len() - 1);
    assert_eq!((gone[0].epoch, gone[0].first_sequence), (1, first_gone));
    assert_eq!(gone.last().unwrap().last_sequence, Some(30));
    let found = read(&disk);
    found.assert_true();
    assert_eq!(found.ids(), ids(1, (1..first_gone).chain([31])));
    assert_eq!(found.declared_lost(), 31 - first_gone);
}

/// A trail with one segment of an epoch that is over, and a writer that has to evict it soon.
fn about_to_evict(disk: &MemoryDisk) -> Writer {
    let mut before = open(disk, small_segments()).unwrap();
    write_groups(&mut before, 1, 2, 1);
    drop(before);
    let options = WriterOptions {
        quota_bytes: 800,
        ..options()
    };
    open(disk, options).unwrap()
}

/// What of the epoch that is over will go, after one more record.
fn evicted_of_the_first(writer: &mut Writer, sequence: u64) -> Option<SegmentRange> {
    append(writer, sequence, sequence);
    let evicting = writer.flush(at(sequence)).unwrap().evicting;
    evicting.into_iter().find(|range| range.epoch == 1)
}

#[test]
fn what_cannot_be_read_for_a_moment_does_not_go_undeclared() {
    let disk = MemoryDisk::new();
    let mut writer = about_to_evict(&disk);
    let oldest = segments(&disk).remove(0);
    disk.break_blocks(&oldest, 0..1 << 20);
    for sequence in 1..=5 {
        assert_eq!(evicted_of_the_first(&mut writer, sequence), None);
        assert!(segments(&disk).contains(&oldest));
    }
    disk.break_blocks(&oldest, 0..0);
    let told = (6..=8).find_map(|it| evicted_of_the_first(&mut writer, it));
    let range = SegmentRange {
        epoch: 1,
        first_sequence: 1,
        last_sequence: Some(2),
    };
    assert_eq!(told, Some(range));
}

#[test]
fn what_can_never_be_read_goes_at_last_and_is_declared() {
    let disk = MemoryDisk::new();
    let mut writer = about_to_evict(&disk);
    let oldest = segments(&disk).remove(0);
    disk.break_blocks(&oldest, 0..1 << 20);
    let told = |it| Some((it, evicted_of_the_first(&mut writer, it)?));
    let (told_at, range) = (1..=30).find_map(told).expect("it must not stay");
    assert_eq!(range.first_sequence, 1);
    for later in 1..=20 {
        assert_eq!(evicted_of_the_first(&mut writer, told_at + later), None);
    }
    assert!(!segments(&disk).contains(&oldest));
}
