//! Readers beside the writer.

use crate::helpers::*;
use record::{RecordId, Wall};
use std::path::PathBuf;
use trail::testing::MemoryDisk;
use trail::{Disk, DiskFile, Missing, ReadOptions, Warning, WriterOptions};

#[test]
fn reader_follows_across_segments_and_epochs_without_rereading() {
    let disk = MemoryDisk::new();
    let mut reader = reader(&disk, ReadOptions::default());
    assert_eq!(drain(&mut reader).ids(), []);
    let mut read = Vec::new();
    for _ in 0..3 {
        let mut writer = open(&disk, small_segments()).unwrap();
        assert_eq!(drain(&mut reader).ids(), []);
        for group in 0..10 {
            write_groups(&mut writer, group * 3 + 1, 3, 3);
            let found = drain(&mut reader);
            found.assert_true();
            let sequences = group * 3 + 1..=group * 3 + 3;
            assert_eq!(found.ids(), ids(writer.epoch(), sequences));
            read.extend(found.ids());
        }
    }
    assert_eq!(read.len(), 90);
    let total: usize = segments(&disk)
        .iter()
        .map(|path| disk.contents(path).unwrap().len())
        .sum();
    assert!(
        reader.bytes_read() < 2 * total as u64,
        "{} of {total}",
        reader.bytes_read()
    );
}

#[test]
fn only_what_was_synced_is_seen() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 4, 2);
    append(&mut writer, 5, 5);
    // The write works, the sync after it does not.
    disk.fail(
        disk.calls() + 1..disk.calls() + 9,
        std::io::ErrorKind::Other,
    );
    assert!(writer.flush(at(5)).is_err());
    assert_eq!(read(&disk).ids(), ids(1, 1..=4));
    assert_eq!(
        read_all(&disk).ids(),
        ids(1, 1..=5),
        "it is in the file, though"
    );
}

#[test]
fn reader_of_everything_waits_for_a_frame_that_is_being_written() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 6, 2);
    let path = segments(&disk).remove(0);
    let whole = disk.contents(&path).unwrap();
    let growing = MemoryDisk::new();
    growing.put(&path, b"");
    let everything = ReadOptions {
        unpublished_too: true,
        ..ReadOptions::default()
    };
    let mut reader = reader(&growing, everything);
    let mut read = Vec::new();
    // The reader must find the file it already has open longer than before.
    let file = growing.create(&path).unwrap();
    for (offset, byte) in whole.iter().enumerate() {
        file.write_at(&[*byte], offset as u64).unwrap();
        let found = drain(&mut reader);
        assert_eq!(
            (found.damaged, found.missing),
            (vec![], vec![]),
            "at {offset}"
        );
        read.extend(found.records.into_keys());
    }
    assert_eq!(read, ids(1, 1..=6));
}

#[test]
fn reader_goes_on_after_a_record() {
    let disk = MemoryDisk::new();
    for _ in 0..2 {
        let mut writer = open(&disk, small_segments()).unwrap();
        write_groups(&mut writer, 1, 30, 3);
    }
    let all = read(&disk).ids();
    for (index, id) in all.iter().enumerate() {
        let mut reader = reader(
            &disk,
            ReadOptions {
                after: Some(*id),
                ..ReadOptions::default()
            },
        );
        let found = drain(&mut reader);
        assert_eq!(found.ids(), all[index + 1..]);
        assert_eq!(found.missing, []);
    }
    for (epoch, sequence, rest) in [(0, 7, 60), (1, 99, 30), (2, 99, 0), (9, u64::MAX, 0)] {
        let after = Some(RecordId { epoch, sequence });
        let found = drain(&mut reader(
            &disk,
            ReadOptions {
                after,
                ..ReadOptions::default()
            },
        ));
        assert_eq!((found.records.len(), found.missing.len()), (rest, 0));
    }
}

#[test]
fn cursor_on_a_deleted_record_tells_what_was_missed() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 30, 3);
    let kept = MemoryDisk::new();
    for path in &segments(&disk)[2..] {
        kept.put(path, &disk.contents(path).unwrap());
    }
    let after = Some(RecordId {
        epoch: 1,
        sequence: 2,
    });
    let found = drain(&mut reader(
        &kept,
        ReadOptions {
            after,
            ..ReadOptions::default()
        },
    ));
    let first = found.sequences()[0];
    assert_eq!(
        found.missing,
        [Missing {
            epoch: 1,
            first_sequence: 3,
            last_sequence: first - 1
        }]
    );
}

#[test]
fn time_range_touches_only_its_frames() {
    let disk = MemoryDisk::new();
    let options = WriterOptions {
        flush_bytes: 1 << 30,
        ..options()
    };
    let mut writer = open(&disk, options).unwrap();
    let mut dice = record::sample::Random::new(1);
    for sequence in 1..=50 {
        let noise: Vec<u8> = (0..40_000).map(|_| dice.number() as u8).collect();
        writer
            .append_encoded(&noise, at(sequence).wall, second(0))
            .unwrap();
        told_nothing(&writer.flush(at(sequence)).unwrap());
    }
    let wanted = |from, to| ReadOptions {
        wall: Some(at(from).wall..=at(to).wall),
        ..ReadOptions::default()
    };
    let mut some = reader(&disk, wanted(20, 21));
    let found = drain(&mut some);
    assert_eq!((found.sequences(), found.missing), (vec![20, 21], vec![]));
    assert!(some.bytes_read() < 200_000, "{}", some.bytes_read());
    let mut none = reader(&disk, wanted(60, 70));
    assert_eq!(drain(&mut none).ids(), []);
    assert!(none.bytes_read() < 80_000, "{}", none.bytes_read());
    let all = ReadOptions {
        wall: Some(Wall(i64::MIN)..=Wall(i64::MAX)),
        ..ReadOptions::default()
    };
    assert_eq!(drain(&mut reader(&disk, all)).records.len(), 50);
}

#[test]
fn without_a_head_everything_is_read() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 20, 2);
    let head = disk.contents(&dir().join("head")).unwrap();
    let mut torn = head.clone();
    torn[30] ^= 1;
    for bytes in [&torn[..], &head[..40], b"", b"nonsense"] {
        disk.put(&dir().join("head"), bytes);
        assert_eq!(read(&disk).ids(), ids(1, 1..=20));
    }
    disk.put(&dir().join("head"), &head);
    assert_eq!(read(&disk).ids(), ids(1, 1..=20));
}

#[test]
fn head_from_another_time_hides_nothing_that_is_whole() {
    let disk = MemoryDisk::new();
    let head_path = dir().join("head");
    let mut first = open(&disk, small_segments()).unwrap();
    write_groups(&mut first, 1, 4, 2);
    let early = disk.contents(&head_path).unwrap();
    write_groups(&mut first, 5, 16, 2);
    drop(first);
    let mut next = open(&disk, small_segments()).unwrap();
    write_groups(&mut next, 1, 20, 2);
    let future = disk.contents(&head_path).unwrap();
    drop(next);
    disk.put(&head_path, &early);
    let found = read(&disk);
    let expected: Vec<_> = ids(1, 1..=4).into_iter().chain(ids(2, 1..=20)).collect();
    assert_eq!(
        found.ids(),
        expected,
        "its own epoch as far as it says, others whole"
    );
    let report = trail::verify_on(disk.clone(), &dir(), ReadOptions::default()).unwrap();
    assert!(report.unpublished_bytes > 0);
    let writer = open(&disk, small_segments()).unwrap();
    assert_eq!(
        read(&disk).records.len(),
        40,
        "the next start sets it right"
    );
    drop(writer);
    let old = MemoryDisk::new();
    for path in segments(&disk)
        .iter()
        .filter(|path| path.to_string_lossy().contains("e00000001"))
    {
        old.put(path, &disk.contents(path).unwrap());
    }
    old.put(&head_path, &future);
    assert_eq!(read(&old).ids(), ids(1, 1..=20));
}

#[test]
fn strangers_are_named_and_left_alone() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 6, 2);
    let original = disk.contents(&segments(&disk)[0]).unwrap();
    disk.put(&dir().join("notes.txt"), b"hello");
    disk.put(&dir().join("e00000009-s000000000001.trail"), &original);
    let mut newer = original[..72].to_vec();
    newer[8] = 3;
    newer[12..16].copy_from_slice(&76u32.to_le_bytes());
    newer.extend_from_slice(&crc32c::crc32c(&newer).to_le_bytes());
    disk.put(&dir().join("e00000010-s000000000001.trail"), &newer);
    let mut reader = reader(&disk, ReadOptions::default());
    let found = drain(&mut reader);
    assert_eq!((found.ids(), found.damaged), (ids(1, 1..=6), vec![]));
    let path = |name: &str| -> PathBuf { dir().join(name) };
    let expected = [
        Warning::Foreign(path("notes.txt")),
        Warning::Renamed(path("e00000009-s000000000001.trail")),
        Warning::NewerFormat(path("e00000010-s000000000001.trail"), 3),
    ];
    assert_eq!(reader.warnings().cloned().collect::<Vec<_>>(), expected);
}
