//! Files that are not as they were written.

use crate::helpers::*;
use record::sample::{self, Random};
use record::{Notice, NoticeKind, Record, RecordId};
use std::path::PathBuf;
use trail::testing::MemoryDisk;
use trail::{Damaged, Item, ReadOptions, SegmentName, verify_on};

/// One segment of an epoch that is over, with frames of two records each.
struct Victim {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The byte after each frame.
    ends: Vec<usize>,
}

const FRAMES: u64 = 6;
const MARKER: [u8; 8] = [0xc7, 0x1e, 0xa5, 0x0d, 0x93, 0x7a, 0x42, 0xe8];

fn victim() -> Victim {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    let mut ends = Vec::new();
    for frame in 0..FRAMES {
        write_groups(&mut writer, 2 * frame + 1, 2, 2);
        ends.push(disk.contents(&segments(&disk)[0]).unwrap().len());
    }
    let path = segments(&disk).remove(0);
    let bytes = disk.contents(&path).unwrap();
    assert_eq!(ends.last(), Some(&bytes.len()));
    Victim { path, bytes, ends }
}

impl Victim {
    /// A disk with these bytes in the place of the segment's, and a later epoch.
    fn disk_with(&self, bytes: &[u8]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.put(&self.path, bytes);
        let mut writer = open(&disk, options()).unwrap();
        assert_eq!(writer.epoch(), 2);
        write_groups(&mut writer, 1, 2, 2);
        disk
    }

    fn header_bytes(&self) -> usize {
        self.bytes
            .windows(8)
            .position(|window| window == MARKER)
            .unwrap()
    }

    /// Sequences of the frames that `spoilt` leaves alone.
    fn outside(&self, spoilt: &std::ops::Range<usize>) -> Vec<RecordId> {
        let starts = std::iter::once(self.header_bytes()).chain(self.ends.iter().copied());
        let frames = starts.zip(&self.ends).zip(0..FRAMES);
        let whole =
            frames.filter(|((start, end), _)| spoilt.end <= *start || **end <= spoilt.start);
        let kept = whole.flat_map(|(_, frame)| ids(1, 2 * frame + 1..=2 * frame + 2));
        kept.chain(ids(2, 1..=2)).collect()
    }
}

#[test]
fn every_truncation_leaves_the_frames_before_it() {
    let victim = victim();
    for length in 0..victim.bytes.len() {
        let found = read(&victim.disk_with(&victim.bytes[..length]));
        found.assert_true();
        assert_eq!(
            found.ids(),
            victim.outside(&(length..victim.bytes.len())),
            "{length}"
        );
        let clean = victim.ends.contains(&length) || length == victim.header_bytes();
        assert_eq!(found.damaged.is_empty(), clean || length == 0, "{length}");
        assert!(found.damaged.iter().all(|damaged| damaged.at_end));
    }
}

#[test]
fn every_flipped_byte_costs_at_most_its_frame_and_is_reported() {
    let victim = victim();
    for at in 0..victim.bytes.len() {
        for bits in [0x01, 0x80] {
            let mut bytes = victim.bytes.clone();
            bytes[at] ^= bits;
            let found = read(&victim.disk_with(&bytes));
            found.assert_true();
            assert_eq!(found.ids(), victim.outside(&(at..at + 1)), "byte {at}");
            assert_eq!(found.missing, []);
            let [damaged] = &found.damaged[..] else {
                panic!("byte {at}: {found:?}")
            };
            let range = damaged.offset..damaged.offset + damaged.bytes;
            assert!(
                range.contains(&(at as u64)),
                "byte {at} is not in {damaged:?}"
            );
            check_loss(&victim, at, damaged);
        }
    }
}

fn check_loss(victim: &Victim, at: usize, damaged: &Damaged) {
    let segment = SegmentName {
        epoch: 1,
        first_sequence: 1,
    };
    assert_eq!(damaged.segment, segment);
    let in_last = at >= victim.ends[FRAMES as usize - 2];
    assert_eq!(damaged.at_end, in_last, "byte {at}");
    match damaged.lost_records {
        Some(lost) if at < victim.header_bytes() => assert_eq!(lost, 0),
        Some(lost) => assert_eq!(lost, 2, "byte {at}"),
        // Nothing follows in the epoch, and the frame's header is no help.
        None => assert!(in_last, "byte {at}"),
    }
}

#[test]
fn every_removed_or_inserted_stretch_is_survived() {
    let victim = victim();
    for at in 0..victim.bytes.len() {
        for count in [1, 8, 61] {
            let mut shorter = victim.bytes.clone();
            shorter.drain(at..(at + count).min(victim.bytes.len()));
            let found = read(&victim.disk_with(&shorter));
            found.assert_true();
            assert!(
                found.records.len() as u64 >= 2 * FRAMES + 2 - 4 - 2,
                "at {at}"
            );
            let mut longer = victim.bytes.clone();
            longer.splice(at..at, vec![0xaa; count]);
            let found = read(&victim.disk_with(&longer));
            found.assert_true();
            assert!(found.records.len() as u64 >= 2 * FRAMES, "at {at}");
        }
    }
}

#[test]
fn zeroed_block_costs_the_frames_it_touches() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    let mut dice = Random::new(3);
    for sequence in 1..=100 {
        let mut bytes = bytes_of(RecordId { epoch: 1, sequence });
        bytes.extend((0..900).map(|_| dice.number() as u8));
        writer
            .append_encoded(&bytes, at(0).wall, second(0))
            .unwrap();
        told_nothing(&writer.flush(at(1)).unwrap());
    }
    drop(writer);
    let path = segments(&disk).remove(0);
    let mut bytes = disk.contents(&path).unwrap();
    bytes[40_960..45_056].fill(0);
    disk.put(&path, &bytes);
    let found = read(&disk);
    let lost = 100 - found.records.len() as u64;
    assert!((4..=6).contains(&lost), "{lost}");
    assert_eq!((found.damaged.len(), found.declared_lost()), (1, lost));
    let report = verify_on(disk, &dir(), ReadOptions::default()).unwrap();
    assert!(!report.is_complete());
}

#[test]
fn frame_of_another_epoch_in_a_reused_block_is_not_read() {
    let disk = MemoryDisk::new();
    for _ in 0..2 {
        let mut writer = open(&disk, options()).unwrap();
        write_groups(&mut writer, 1, 6, 2);
    }
    let paths = segments(&disk);
    let [first, mut second] = [0, 1].map(|index| disk.contents(&paths[index]).unwrap());
    assert_eq!(first.len(), second.len());
    let starts: Vec<_> = (0..first.len())
        .filter(|at| first[*at..].starts_with(&MARKER))
        .collect();
    second[starts[1]..starts[2]].copy_from_slice(&first[starts[1]..starts[2]]);
    disk.put(&paths[1], &second);
    let found = read(&disk);
    found.assert_true();
    assert_eq!(
        (
            found.records.len(),
            found.damaged.len(),
            found.declared_lost()
        ),
        (10, 1, 2)
    );
}

#[test]
fn verify_tells_a_crash_from_a_loss() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    for record in sample::closes(1, 10) {
        writer.append(&record, second(1)).unwrap();
        told_nothing(&writer.flush(at(1)).unwrap());
    }
    drop(writer);
    let path = segments(&disk).remove(0);
    let bytes = disk.contents(&path).unwrap();
    disk.put(&path, &bytes[..bytes.len() - 9]);
    let mut writer = open(&disk, options()).unwrap();
    let previous = writer.previous();
    assert_eq!(previous.map(|previous| previous.last_sequence), Some(9));
    let kind = NoticeKind::RecorderStarted { previous };
    writer
        .append(&Record::Notice(Notice { at: at(2), kind }), second(2))
        .unwrap();
    told_nothing(&writer.flush(at(2)).unwrap());
    let verified = || verify_on(disk.clone(), &dir(), ReadOptions::default()).unwrap();
    let after_crash = verified();
    assert!(after_crash.is_complete(), "{after_crash:?}");
    assert_eq!((after_crash.damaged.len(), after_crash.records), (1, 10));
    disk.put(&path, &bytes[..bytes.len() / 2]);
    let after_loss = verified();
    assert!(!after_loss.is_complete());
    let lost: u64 = after_loss
        .undeclared
        .iter()
        .map(|gap| gap.last_sequence - gap.first_sequence + 1)
        .sum();
    assert!((4..=6).contains(&lost), "{after_loss:?}");
}

#[test]
fn unreadable_blocks_are_damage_like_any_other() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 400, 2);
    let path = segments(&disk).remove(0);
    let length = disk.contents(&path).unwrap().len() as u64;
    assert!(length > 16_384);
    disk.break_blocks(&path, 8_192..8_193);
    let found = read(&disk);
    found.assert_true();
    let lost = 400 - found.records.len() as u64;
    assert!((2..200).contains(&lost), "{lost}");
    assert_eq!((found.damaged.len(), found.declared_lost()), (1, lost));
}

/// The headers of the last two frames are whole, but none of their payloads.
#[test]
fn frames_whose_headers_are_left_say_at_the_end_how_many_records_went_with_them() {
    let victim = victim();
    for (spoilt, lost) in [(vec![5], 2), (vec![4, 5], 4), (vec![3, 5], 4)] {
        let mut bytes = victim.bytes.clone();
        for frame in spoilt {
            bytes[victim.ends[frame] - 1] ^= 1;
        }
        let found = read(&victim.disk_with(&bytes));
        found.assert_true();
        assert_eq!(found.declared_lost(), lost);
        assert_eq!(found.missing, []);
    }
}

/// A frame between them is gone with its header, and the sequences around it tell.
#[test]
fn a_frame_that_is_gone_before_one_with_a_header_is_counted_too() {
    let victim = victim();
    let mut bytes = victim.bytes.clone();
    bytes[victim.ends[3]..victim.ends[4]].fill(0);
    bytes[victim.ends[5] - 1] ^= 1;
    let found = read(&victim.disk_with(&bytes));
    found.assert_true();
    let [damaged] = &found.damaged[..] else {
        panic!("{found:?}")
    };
    assert_eq!((damaged.at_end, damaged.lost_records), (true, Some(4)));
}

#[test]
fn a_damaged_copy_of_what_is_there_costs_nothing() {
    let victim = victim();
    let copy = victim.ends[0]..victim.ends[1];
    let mut bytes = victim.bytes[..victim.ends[3]].to_vec();
    bytes.extend_from_slice(&victim.bytes[copy]);
    *bytes.last_mut().unwrap() ^= 1;
    let disk = victim.disk_with(&bytes);
    let found = read(&disk);
    let report = verify_on(disk, &dir(), ReadOptions::default()).unwrap();
    // A reader passes over what it has read before, and only `verify` looks at it.
    assert_eq!(found.damaged, []);
    let lost: Vec<Option<u64>> = report.damaged.iter().map(|it| it.lost_records).collect();
    assert_eq!(lost, [Some(0)]);
    assert_eq!((report.records, report.spoilt), (10, 0));
    assert_eq!(report.missing, []);
}

#[test]
fn a_copy_of_what_was_read_tells_not_what_damage_before_it_cost() {
    let victim = victim();
    let copy = &victim.bytes[victim.ends[0]..victim.ends[1]];
    let mut bytes = victim.bytes[..victim.ends[3]].to_vec();
    bytes[victim.ends[3] - 1] ^= 1;
    bytes.extend_from_slice(copy);
    let ended = bytes.clone();
    bytes.extend_from_slice(&victim.bytes[victim.ends[4]..]);
    // The fourth and the fifth of six frames are gone; at an end, the fourth's header tells.
    for (bytes, lost, at_end) in [(bytes, 4, false), (ended, 2, true)] {
        let found = read(&victim.disk_with(&bytes));
        let [damaged] = &found.damaged[..] else {
            panic!("{found:?}")
        };
        assert_eq!(damaged.offset, victim.ends[2] as u64);
        assert_eq!((damaged.lost_records, damaged.at_end), (Some(lost), at_end));
        assert_eq!(found.missing, []);
    }
}

#[test]
fn damage_across_segments_is_counted_once() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 60, 2);
    drop(writer);
    let paths = segments(&disk);
    let mut second_segment = disk.contents(&paths[1]).unwrap();
    let middle = second_segment.len() / 2;
    second_segment[middle..].fill(0);
    disk.put(&paths[1], &second_segment);
    disk.put(&paths[2], &[0x55; 700]);
    let found = read(&disk);
    found.assert_true();
    assert_eq!(found.records.len() as u64 + found.declared_lost(), 60);
    assert_eq!(found.damaged.len(), 2);
    assert_eq!(found.missing, []);
}

#[test]
fn missing_segment_is_a_gap() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, small_segments()).unwrap();
    write_groups(&mut writer, 1, 60, 2);
    let paths = segments(&disk);
    let fewer = MemoryDisk::new();
    for path in paths.iter().filter(|path| **path != paths[3]) {
        fewer.put(path, &disk.contents(path).unwrap());
    }
    let found = read(&fewer);
    assert_eq!((found.missing.len(), found.damaged.len()), (1, 0));
    assert_eq!(found.records.len() as u64 + found.declared_lost(), 60);
}

#[test]
fn frame_hidden_in_a_record_is_never_read() {
    let forger = MemoryDisk::new();
    let mut writer = open(&forger, options()).unwrap();
    for sequence in 1..=5 {
        append(&mut writer, sequence, 1);
    }
    told_nothing(&writer.flush(at(1)).unwrap());
    let segment = forger.contents(&segments(&forger)[0]).unwrap();
    let start = segment
        .windows(8)
        .position(|window| window == MARKER)
        .unwrap();
    let forged = segment[start..].to_vec();

    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    writer
        .append_encoded(&forged, at(1).wall, second(1))
        .unwrap();
    told_nothing(&writer.flush(at(1)).unwrap());
    drop(writer);
    let path = segments(&disk).remove(0);
    let mut bytes = disk.contents(&path).unwrap();
    assert_eq!(
        bytes.windows(8).filter(|window| *window == MARKER).count(),
        1
    );
    let frame = bytes
        .windows(8)
        .position(|window| window == MARKER)
        .unwrap();
    bytes[frame + 10] ^= 1;
    disk.put(&path, &bytes);
    let found = read(&disk);
    assert_eq!((found.records.len(), found.damaged.len()), (0, 1));
}

#[test]
fn garbage_is_survived_by_reader_and_writer() {
    for seed in 0..40 {
        let disk = MemoryDisk::new();
        let mut dice = Random::new(seed);
        let names = [
            "trail/e00000003-s000000000001.trail",
            "trail/e00000003-s000000000009.trail",
            "trail/e00000005-s000000000001.trail",
            "trail/head",
            "trail/head.new",
            "epoch",
        ];
        for name in names {
            disk.put(&PathBuf::from(STATE).join(name), &garbage(&mut dice));
        }
        let before = read(&disk);
        assert_eq!(before.records.len(), 0);
        let mut writer = open(&disk, options()).unwrap();
        assert_eq!(writer.epoch(), 6);
        write_groups(&mut writer, 1, 4, 2);
        assert_eq!(read(&disk).ids(), ids(6, 1..=4));
        assert!(verify_on(disk, &dir(), ReadOptions::default()).is_ok());
    }
}

/// Random bytes that look like ours here and there.
fn garbage(dice: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..dice.below(200) {
        match dice.below(4) {
            0 => bytes.extend_from_slice(&MARKER),
            1 => bytes.extend_from_slice(b"\x89CTRAIL\n\x01\x00\x00\x00"),
            2 => bytes.extend(std::iter::repeat_n(0, dice.below(5_000) as usize)),
            _ => bytes.extend((0..dice.below(300)).map(|_| dice.number() as u8)),
        }
    }
    bytes
}

#[test]
fn file_full_of_markers_takes_no_time() {
    let disk = MemoryDisk::new();
    let path = dir().join("e00000001-s000000000001.trail");
    disk.put(&path, &MARKER.repeat(200_000));
    disk.put(&dir().join("e00000002-s000000000001.trail"), b"");
    let mut reader = reader(&disk, ReadOptions::default());
    assert_eq!(drain(&mut reader).damaged.len(), 1);
    assert!(
        reader.bytes_read() < 3 * 1_600_000,
        "{}",
        reader.bytes_read()
    );
}

/// A frame's header with a right checksum, whatever it says.
fn forged_header(payload: u32, records: u16, first_sequence: u64) -> Vec<u8> {
    let mut header = MARKER.to_vec();
    header.extend_from_slice(&payload.to_le_bytes());
    header.extend_from_slice(&(2u32 << 20).to_le_bytes());
    header.extend_from_slice(&1u32.to_le_bytes());
    header.extend_from_slice(&records.to_le_bytes());
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&first_sequence.to_le_bytes());
    header.extend_from_slice(&[0; 24]);
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    header
}

#[test]
fn lies_under_right_checksums_end_quickly_and_yield_nothing() {
    let mut dice = Random::new(5);
    for _ in 0..20 {
        let disk = MemoryDisk::new();
        let path = dir().join("e00000001-s000000000001.trail");
        let mut bytes = Vec::new();
        while bytes.len() < 500_000 {
            let payload = dice.size(21) as u32;
            let records = dice.number() as u16;
            bytes.extend(forged_header(payload, records, dice.size(64)));
            bytes.extend((0..dice.below(100)).map(|_| dice.number() as u8));
        }
        disk.put(&path, &bytes);
        disk.put(&dir().join("e00000002-s000000000001.trail"), b"");
        let mut reader = reader(&disk, ReadOptions::default());
        let found = drain(&mut reader);
        assert_eq!(found.records.len(), 0);
        assert!(!found.damaged.is_empty());
        assert!(reader.bytes_read() < 5_000_000, "{}", reader.bytes_read());
        assert_eq!(open(&disk, options()).unwrap().epoch(), 3);
    }
}

#[test]
fn record_of_a_newer_version_is_reported_and_passed() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    let close = &sample::closes(1, 1)[0];
    writer
        .append_encoded(b"\xff\xff", at(1).wall, second(1))
        .unwrap();
    writer.append(close, second(1)).unwrap();
    told_nothing(&writer.flush(at(1)).unwrap());
    let mut reader = reader(&disk, ReadOptions::default());
    let first = reader.next_item().unwrap();
    assert!(
        matches!(first, Some(Item::Unreadable { id, .. }) if id.sequence == 1),
        "{first:?}"
    );
    let next: Option<Record> = match reader.next_item().unwrap() {
        Some(Item::Record { record, .. }) => Some(record),
        other => panic!("{other:?}"),
    };
    assert_eq!(next.as_ref(), Some(close));
}

/// The first segment of a golden folder: its first `count` frames with the header before them, and
/// the frame after those.
fn golden_frames(name: &str, count: usize) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let disk = golden(name);
    let path = segments(&disk).remove(0);
    let bytes = disk.contents(&path).unwrap();
    let starts: Vec<usize> = bytes
        .windows(MARKER.len())
        .enumerate()
        .filter_map(|(at, window)| (window == MARKER).then_some(at))
        .collect();
    let [begin, end] = [starts[count], starts[count + 1]];
    (path, bytes[..begin].to_vec(), bytes[begin..end].to_vec())
}

#[test]
fn a_frame_of_another_version_than_its_segment_is_damage() {
    for (version, other) in [("v1", "v2"), ("v2", "v1")] {
        let (path, front, own) = golden_frames(version, 1);
        let (_, _, foreign) = golden_frames(other, 1);
        let found = |frame: &[u8]| {
            let disk = MemoryDisk::new();
            disk.put(&path, &[front.as_slice(), frame].concat());
            write_groups(&mut open(&disk, options()).unwrap(), 1, 2, 2);
            let found = read(&disk);
            let of_first = found.records.keys().filter(|id| id.epoch == 1).count();
            (of_first, found.damaged.len())
        };
        let (with_own, nothing) = found(&own);
        let (with_foreign, damaged) = found(&foreign);
        assert_eq!(
            (nothing, damaged),
            (0, 1),
            "{version} with a frame of {other}"
        );
        assert!(
            with_foreign < with_own,
            "{version}: {with_foreign} of {with_own}"
        );
    }
}
