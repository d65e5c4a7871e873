//! Readers that go on where they were, whatever happened to them or to the trail.

use crate::helpers::*;
use record::{Device, EndpointId, RecordId};
use std::path::{Path, PathBuf};
use trail::testing::MemoryDisk;
use trail::{
    Cursor, Disk, DiskFile, Item, ReadOptions, Resumed, TrailError, TrailReader, WriterOptions,
};

fn cursor(epoch: u64, sequence: u64) -> Cursor {
    Cursor {
        endpoint: device().endpoint,
        last: RecordId { epoch, sequence },
    }
}

fn resume(disk: &MemoryDisk, cursor: &Cursor) -> (Vec<RecordId>, Resumed) {
    let options = ReadOptions::default();
    let resumed = TrailReader::resume_on(disk.clone(), &dir(), options, cursor);
    let (mut reader, resumed) = resumed.unwrap();
    (drain(&mut reader).ids(), resumed)
}

fn place() -> PathBuf {
    PathBuf::from("/reader/cursor")
}

/// Three epochs of ten records, several segments each.
fn recorded() -> MemoryDisk {
    let disk = MemoryDisk::new();
    for _ in 0..3 {
        write_groups(&mut open(&disk, small_segments()).unwrap(), 1, 10, 1);
    }
    disk
}

fn all() -> Vec<RecordId> {
    (1..=3).flat_map(|epoch| ids(epoch, 1..=10)).collect()
}

#[test]
fn a_reader_goes_on_after_any_record() {
    let disk = recorded();
    for (index, last) in all().iter().enumerate() {
        let (read, resumed) = resume(&disk, &cursor(last.epoch, last.sequence));
        assert_eq!(read, all()[index + 1..]);
        assert_eq!(resumed, Resumed::Here);
    }
    assert_eq!(resume(&disk, &cursor(1, 0)), (all(), Resumed::Here));
}

#[test]
fn places_that_are_gone_are_declared() {
    let disk = recorded();
    let names = segments(&disk);
    let second = names
        .iter()
        .position(|it| it.to_string_lossy().contains("e00000002"));
    for gone in &names[..second.unwrap() + 1] {
        disk.remove(gone).unwrap();
        let left = read(&disk).ids();
        let first = left[0];
        for last in all().iter().filter(|last| **last < first) {
            let (read, resumed) = resume(&disk, &cursor(last.epoch, last.sequence));
            assert_eq!(read, left);
            let between = all()
                .iter()
                .filter(|id| *last < **id && **id < first)
                .count() as u64;
            // Once the beginning of the next epoch is gone too, nothing tells how long it was.
            let expected = match between {
                0 => Resumed::Here,
                _ if first.epoch == last.epoch || first.sequence == 1 => {
                    Resumed::Gap(Some(between))
                }
                _ => Resumed::Gap(None),
            };
            assert_eq!(resumed, expected, "{last:?} before {first:?}");
        }
    }
}

#[test]
fn a_cursor_of_another_time_or_machine_reads_from_the_beginning_and_says_so() {
    let disk = recorded();
    let (read, resumed) = resume(&disk, &cursor(9, 1));
    assert_eq!((read, resumed), (all(), Resumed::StartedOver));
    let (read, resumed) = resume(&disk, &cursor(3, 11));
    assert_eq!((read, resumed), (vec![], Resumed::Ahead));
    let (read, resumed) = resume(&disk, &cursor(u64::MAX, u64::MAX));
    assert_eq!((read, resumed), (all(), Resumed::StartedOver));
    let other = Cursor {
        endpoint: EndpointId([9; 16]),
        ..cursor(2, 3)
    };
    let ours = device().endpoint;
    assert_eq!(resume(&disk, &other), (all(), Resumed::OtherEndpoint(ours)));
    let nothing = MemoryDisk::new();
    assert_eq!(resume(&nothing, &other), (vec![], Resumed::StartedOver));
}

#[test]
fn what_is_no_cursor_is_refused_by_name() {
    let disk = MemoryDisk::new();
    assert_eq!(Cursor::load_on(&disk, &place()).unwrap(), None);
    for bytes in [&b""[..], b"conntrail-cursor1", &[0xff; 200], &[b'0'; 4_000]] {
        disk.put(&place(), bytes);
        let error = Cursor::load_on(&disk, &place()).unwrap_err();
        assert!(matches!(error, TrailError::NoCursor { .. }));
        assert!(error.to_string().contains("/reader/cursor"));
    }
}

/// Reads in steps of three, writes what it read to a file, syncs that, and only then moves on.
fn read_in_steps(reader_disk: &MemoryDisk, trail: &MemoryDisk) -> Option<()> {
    let path = place();
    reader_disk.create_dir(Path::new("/reader")).ok()?;
    let out = Path::new("/reader/out");
    let text = reader_disk.contents(out).unwrap_or_default();
    let file = match reader_disk.open(out) {
        Ok(file) => file,
        Err(_) => {
            let file = reader_disk.create(out).ok()?;
            reader_disk.sync_dir(Path::new("/reader")).ok()?;
            file
        }
    };
    let mut end = text.len() as u64 / 16 * 16;
    let known = Cursor::load_on(reader_disk, &path).expect("whole or not there");
    let known = known.unwrap_or(cursor(1, 0));
    let resumed = TrailReader::resume_on(trail.clone(), &dir(), ReadOptions::default(), &known);
    let mut reader = resumed.unwrap().0;
    let mut step = 0;
    while let Some(item) = reader.next_item().unwrap() {
        let id = match item {
            Item::Record { id, .. } | Item::Unreadable { id, .. } => id,
            other @ (Item::Damaged(_) | Item::Missing(_)) => panic!("{other:?}"),
        };
        let mut bytes = id.epoch.to_le_bytes().to_vec();
        bytes.extend(id.sequence.to_le_bytes());
        file.write_at(&bytes, end).ok()?;
        end += 16;
        step += 1;
        if step % 3 == 0 {
            file.sync().ok()?;
            cursor(id.epoch, id.sequence)
                .save_on(reader_disk, &path)
                .ok()?;
        }
    }
    Some(())
}

/// Every record is there, and none twice but for what was read since the cursor was moved last.
fn assert_at_least_once(disk: &MemoryDisk) {
    let bytes = disk.contents(Path::new("/reader/out")).unwrap();
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let mut read: Vec<_> = bytes
        .chunks_exact(16)
        .map(|it| RecordId {
            epoch: number(&it[..8]),
            sequence: number(&it[8..]),
        })
        // What was torn or lost of an entry that was not synced is no record.
        .filter(|id| all().contains(id))
        .collect();
    let shown = read.len();
    read.sort();
    read.dedup();
    assert_eq!(read, all());
    assert!(shown - read.len() <= 3, "{shown} for {}", read.len());
}

#[test]
fn a_crash_at_any_call_of_a_reader_loses_nothing_and_repeats_a_step_at_most() {
    let trail = recorded();
    let healthy = MemoryDisk::new();
    assert!(read_in_steps(&healthy, &trail).is_some());
    assert_at_least_once(&healthy);
    for call in 0..healthy.calls() {
        for seed in 0..4 {
            let disk = MemoryDisk::new();
            disk.cut_power_at(call);
            assert!(read_in_steps(&disk, &trail).is_none());
            let before = disk.after_power_cut(seed * 977 + call);
            assert!(read_in_steps(&before, &trail).is_some());
            assert_at_least_once(&before);
            let killed = disk.after_kill();
            assert!(read_in_steps(&killed, &trail).is_some());
            assert_at_least_once(&killed);
        }
    }
}

#[test]
fn the_recorder_never_touches_a_cursor() {
    let disk = recorded();
    let inside = Path::new(STATE).join("cursor");
    disk.put(&inside, b"anything");
    let stranger = WriterOptions {
        device: Device::default(),
        ..small_segments()
    };
    write_groups(&mut open(&disk, stranger).unwrap(), 1, 3, 1);
    assert_eq!(disk.contents(&inside), Some(b"anything".to_vec()));
}
