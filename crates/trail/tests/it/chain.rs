//! Edits under right checksums, and what heads kept elsewhere say of them.

use crate::helpers::*;
use record::{Notice, NoticeKind, Record, RecordId, sample};
use std::ops::Range;
use std::path::Path;
use trail::testing::MemoryDisk;
use trail::{
    AnchorVerdict, BreakKind, Head, ReadOptions, Report, Stretch, verify_anchored_on, verify_on,
};

/// Two epochs of one record a frame in several segments, and the head after each record.
fn recorded() -> (MemoryDisk, Vec<Head>) {
    let disk = MemoryDisk::new();
    let mut heads = Vec::new();
    for _ in 0..2 {
        let mut writer = open(&disk, segments_of_four()).unwrap();
        for sequence in 1..=COUNT {
            append(&mut writer, sequence, sequence);
            told_nothing(&writer.flush(at(sequence)).unwrap());
            heads.push(writer.head().unwrap());
        }
    }
    (disk, heads)
}

const COUNT: u64 = 10;

fn segments_of_four() -> trail::WriterOptions {
    trail::WriterOptions {
        segment_bytes: 820,
        ..options()
    }
}

fn checked(disk: &MemoryDisk, anchors: &[Head]) -> Report {
    verify_anchored_on(disk.clone(), &dir(), ReadOptions::default(), anchors).unwrap()
}

fn kinds(report: &Report) -> Vec<BreakKind> {
    report.chain.breaks.iter().map(|it| it.kind).collect()
}

/// Nothing is damaged or missing. What stands in for records here is not readable as one.
fn is_whole(report: &Report) -> bool {
    report.spoilt == 0 && report.undeclared.is_empty()
}

fn id(epoch: u64, sequence: u64) -> RecordId {
    RecordId { epoch, sequence }
}

/// Where the frames of a segment stand.
fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut frames = Vec::new();
    let mut at = u32_at(bytes, 12) as usize;
    while at < bytes.len() {
        let index = usize::from(u16::from_le_bytes([bytes[at + 56], bytes[at + 57]]));
        let end = at + 96 + index + u32_at(bytes, at + 8) as usize;
        frames.push(at..end);
        at = end;
    }
    frames
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Makes both checksums of a frame right again.
fn reseal(frame: &mut [u8]) {
    let index = usize::from(u16::from_le_bytes([frame[56], frame[57]]));
    let payload = crc32c::crc32c(&frame[96 + index..]);
    frame[52..56].copy_from_slice(&payload.to_le_bytes());
    let header = crc32c::crc32c(&frame[..92 + index]);
    frame[92 + index..96 + index].copy_from_slice(&header.to_le_bytes());
}

/// Makes the checksum of a segment's header right again.
fn reseal_header(segment: &mut [u8]) {
    let end = u32_at(segment, 12) as usize - 4;
    let checksum = crc32c::crc32c(&segment[..end]);
    segment[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn edited(disk: &MemoryDisk, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> MemoryDisk {
    let copy = disk.after_kill();
    let mut bytes = copy.contents(path).unwrap();
    edit(&mut bytes);
    copy.put(path, &bytes);
    copy
}

#[test]
fn one_chain_goes_through_segments_and_epochs() {
    let (disk, heads) = recorded();
    assert!(segments(&disk).len() >= 6);
    let report = checked(&disk, &heads);
    let whole = Stretch {
        first: id(1, 1),
        last: *heads.last().unwrap(),
    };
    assert_eq!(report.chain.stretches, [whole]);
    assert!(is_whole(&report) && report.looks_untouched() && report.anchors_hold());
    assert_eq!(report.chain.anchors.len(), heads.len());
    let holds = AnchorVerdict::Holds { first: id(1, 1) };
    assert!(report.chain.anchors.iter().all(|it| it.1 == holds));
    let mut reader = reader(&disk, ReadOptions::default());
    assert_eq!(reader.head(), None);
    for head in &heads {
        reader.next_raw().unwrap();
        assert_eq!(reader.head(), Some(*head));
    }
}

#[test]
fn head_depends_on_what_was_recorded_and_on_nothing_else() {
    let heads = |compression_level, segment_bytes| {
        let disk = MemoryDisk::new();
        let options = trail::WriterOptions {
            compression_level,
            segment_bytes,
            ..options()
        };
        let mut writer = open(&disk, options).unwrap();
        let heads = sample::closes(1, 40).into_iter().map(|record| {
            writer.append(&record, second(1)).unwrap();
            told_nothing(&writer.flush(at(1)).unwrap());
            writer.head().unwrap()
        });
        heads.collect::<Vec<_>>()
    };
    let expected = heads(1, 1 << 20);
    assert_eq!(heads(9, 1 << 20), expected);
    assert_eq!(heads(-3, 2_000), expected);
}

#[test]
fn every_edit_of_a_record_under_right_checksums_is_found() {
    let (disk, heads) = recorded();
    for path in segments(&disk) {
        let bytes = disk.contents(&path).unwrap();
        for frame in frames(&bytes) {
            let payload = frame.end - 3;
            let copy = edited(&disk, &path, |bytes| {
                bytes[payload] ^= 1;
                reseal(&mut bytes[frame.clone()]);
            });
            let report = checked(&copy, &heads);
            assert!(is_whole(&report), "the checksums are right");
            assert_eq!(kinds(&report), [BreakKind::Changed]);
            let contradicted = report
                .chain
                .anchors
                .iter()
                .filter(|it| it.1 == AnchorVerdict::Contradicted);
            let at = report.chain.breaks[0].first;
            assert_eq!(
                contradicted.map(|it| it.0.sequence).collect::<Vec<_>>(),
                [at.sequence]
            );
            assert_eq!(
                report.chain.stretches.len(),
                if at == heads_end(&heads) || at == id(1, 1) {
                    1
                } else {
                    2
                }
            );
        }
    }
}

fn heads_end(heads: &[Head]) -> RecordId {
    let last = heads.last().unwrap();
    id(last.epoch, last.sequence)
}

#[test]
fn frame_that_is_taken_out_swapped_or_brought_in_is_found() {
    let (disk, _) = recorded();
    let path = segments(&disk).remove(0);
    let bytes = disk.contents(&path).unwrap();
    let places = frames(&bytes);
    assert!(places.len() >= 4, "{}", places.len());
    let removed = edited(&disk, &path, |bytes| drop(bytes.drain(places[1].clone())));
    let report = checked(&removed, &[]);
    assert_eq!(kinds(&report), [BreakKind::Removed]);
    assert_eq!(
        (report.chain.breaks[0].first, report.undeclared.len()),
        (id(1, 2), 1)
    );
    let swapped = edited(&disk, &path, |bytes| {
        bytes[places[1].start..places[2].end].rotate_left(places[1].len());
    });
    assert_eq!(kinds(&checked(&swapped, &[])), [BreakKind::Removed]);
    let (other, _) = recorded_otherwise();
    let theirs = other.contents(&path).unwrap();
    let brought_in = edited(&disk, &path, |bytes| {
        let frame = frames(&theirs)[1].clone();
        drop(bytes.splice(places[1].clone(), theirs[frame].iter().copied()));
    });
    let report = checked(&brought_in, &[]);
    assert!(is_whole(&report));
    assert_eq!(kinds(&report), [BreakKind::Changed, BreakKind::Changed]);
}

/// The same ids and lengths, and other times, so that nothing but the chain can tell.
fn recorded_otherwise() -> (MemoryDisk, Vec<Head>) {
    let disk = MemoryDisk::new();
    let mut heads = Vec::new();
    for _ in 0..2 {
        let mut writer = open(&disk, segments_of_four()).unwrap();
        for sequence in 1..=COUNT {
            let mut bytes = bytes_of(id(writer.epoch(), sequence));
            bytes[0] = b'R';
            writer.append_encoded(&bytes, at(sequence).wall, second(sequence));
            told_nothing(&writer.flush(at(sequence)).unwrap());
            heads.push(writer.head().unwrap());
        }
    }
    (disk, heads)
}

#[test]
fn whole_trail_made_anew_is_found_by_an_anchor_only() {
    let (_, heads) = recorded();
    let (forged, _) = recorded_otherwise();
    let report = checked(&forged, &[]);
    assert!(is_whole(&report) && report.looks_untouched());
    for head in heads {
        let report = checked(&forged, &[head]);
        assert!(is_whole(&report) && !report.looks_untouched());
        assert_eq!(report.chain.anchors[0].1, AnchorVerdict::Contradicted);
    }
}

#[test]
fn end_that_is_cut_off_is_found_by_the_next_epoch_or_an_anchor() {
    let (disk, heads) = recorded();
    let paths = segments(&disk);
    let of_first_epoch = paths
        .iter()
        .filter(|it| it.to_string_lossy().contains("e00000001"));
    let last_of_first = of_first_epoch.max().unwrap();
    let cut = |path: &Path| {
        edited(&disk, path, |bytes| {
            let last = frames(bytes).pop().unwrap();
            bytes.truncate(last.start);
        })
    };
    let report = checked(&cut(last_of_first), &heads[9..10]);
    assert_eq!(kinds(&report), [BreakKind::CutOff]);
    assert_eq!(report.chain.breaks[0].first, id(1, COUNT));
    assert_eq!(report.chain.anchors[0].1, AnchorVerdict::Beyond);
    let newest = cut(paths.last().unwrap());
    newest.put(&dir().join("head"), b"");
    let report = checked(&newest, &[]);
    assert!(
        is_whole(&report) && report.looks_untouched(),
        "nobody could know"
    );
    let report = checked(&newest, &heads[19..]);
    assert!(!report.looks_untouched());
    assert_eq!(report.chain.anchors[0].1, AnchorVerdict::Beyond);
    let report = checked(&newest, &heads[18..19]);
    assert!(report.looks_untouched() && report.anchors_hold());
}

#[test]
fn header_with_another_head_or_machine_is_found() {
    let (disk, _) = recorded();
    for (index, path) in segments(&disk).iter().enumerate().skip(1) {
        let other_head = edited(&disk, path, |bytes| {
            bytes[90] ^= 1;
            reseal_header(bytes);
        });
        let found = kinds(&checked(&other_head, &[]));
        assert_eq!(
            found.first(),
            Some(&BreakKind::OtherBefore),
            "segment {index}"
        );
        let other_machine = edited(&disk, path, |bytes| {
            let end = u32_at(bytes, 12) as usize - 5;
            bytes[end] ^= 1;
            reseal_header(bytes);
        });
        let found = kinds(&checked(&other_machine, &[]));
        let first_of_epoch = path.to_string_lossy().contains("e00000002-s000000000001");
        let expected = match first_of_epoch {
            // The chain of the epoch begins with the machine, and so does the next segment.
            true => vec![BreakKind::Changed, BreakKind::OtherMachine],
            false => vec![BreakKind::OtherMachine],
        };
        assert!(found.starts_with(&expected), "segment {index}: {found:?}");
    }
}

#[test]
fn what_a_fault_does_is_not_called_an_edit() {
    let (disk, heads) = recorded();
    let path = segments(&disk).remove(1);
    let bytes = disk.contents(&path).unwrap();
    for at in 0..bytes.len() {
        let report = checked(&edited(&disk, &path, |bytes| bytes[at] ^= 0x40), &heads);
        assert_eq!(report.chain.breaks, [], "byte {at}");
        assert!(!report.damaged.is_empty());
        let verdicts: Vec<_> = report.chain.anchors.iter().map(|it| it.1).collect();
        assert!(
            !verdicts.contains(&AnchorVerdict::Contradicted),
            "byte {at}: {verdicts:?}"
        );
        let held = verdicts
            .iter()
            .filter(|it| matches!(it, AnchorVerdict::Holds { .. }));
        assert!(
            held.count() >= verdicts.len() - 3,
            "byte {at}: {verdicts:?}"
        );
    }
}

#[test]
fn damaged_frame_costs_the_proof_of_no_more_than_the_next() {
    let (disk, heads) = recorded();
    let path = segments(&disk).remove(0);
    let frame = frames(&disk.contents(&path).unwrap())[1].clone();
    let report = checked(
        &edited(&disk, &path, |bytes| bytes[frame.end - 1] ^= 1),
        &heads,
    );
    assert_eq!(
        (report.spoilt, report.chain.unchecked),
        (1, 0),
        "its header still tells the head"
    );
    let stretches = [
        Stretch {
            first: id(1, 1),
            last: heads[0],
        },
        Stretch {
            first: id(1, 3),
            last: heads[19],
        },
    ];
    assert_eq!(report.chain.stretches, stretches);
    assert_eq!(report.chain.anchors[1].1, AnchorVerdict::Gone);
    assert_eq!(
        report.chain.anchors[2].1,
        AnchorVerdict::Holds { first: id(1, 3) }
    );
    let report = checked(
        &edited(&disk, &path, |bytes| bytes[frame.start] ^= 1),
        &heads,
    );
    assert_eq!((report.spoilt, report.chain.unchecked), (1, 1));
    assert_eq!(report.chain.anchors[2].1, AnchorVerdict::Unproven);
    assert_eq!(
        report.chain.anchors[3].1,
        AnchorVerdict::Holds { first: id(1, 4) }
    );
}

#[test]
fn anchor_on_a_record_that_never_had_a_head_is_said_to_be_none() {
    let disk = MemoryDisk::new();
    let mut writer = open(&disk, options()).unwrap();
    write_groups(&mut writer, 1, 6, 3);
    let head = writer.head().unwrap();
    let within = Head {
        sequence: 5,
        ..head
    };
    let report = checked(
        &disk,
        &[
            within,
            head,
            Head {
                sequence: 7,
                ..head
            },
        ],
    );
    let verdicts: Vec<_> = report.chain.anchors.iter().map(|it| it.1).collect();
    let holds = AnchorVerdict::Holds { first: id(1, 1) };
    assert_eq!(
        verdicts,
        [AnchorVerdict::NoHead, holds, AnchorVerdict::Beyond]
    );
}

#[test]
fn chain_goes_on_after_eviction_from_what_the_oldest_segment_names() {
    let disk = MemoryDisk::new();
    let tight = trail::WriterOptions {
        segment_bytes: 900,
        quota_bytes: 3_000,
        ..options()
    };
    let mut writer = open(&disk, tight).unwrap();
    let mut heads = Vec::new();
    for second_now in 1..=60 {
        let close = &sample::closes(second_now, 1)[0];
        writer.append(close, second(second_now)).unwrap();
        for range in writer.flush(at(second_now)).unwrap().evicting {
            let kind = NoticeKind::TrailEvicted {
                epoch: range.epoch,
                first_sequence: range.first_sequence,
                last_sequence: range.last_sequence.unwrap(),
            };
            let notice = Record::Notice(Notice {
                at: at(second_now),
                kind,
            });
            writer.append(&notice, second(second_now)).unwrap();
        }
        heads.extend(writer.head());
    }
    told_nothing(&writer.close(at(99)).unwrap());
    let report = checked(&disk, &[heads[3], heads[59]]);
    assert!(is_whole(&report) && report.looks_untouched(), "{report:?}");
    let first = id(1, report.epochs[0].first_sequence);
    assert!(first.sequence > 10);
    assert_eq!(
        (report.chain.stretches.len(), report.chain.unchecked),
        (1, 0)
    );
    let verdicts: Vec<_> = report.chain.anchors.iter().map(|it| it.1).collect();
    assert_eq!(
        verdicts,
        [AnchorVerdict::Gone, AnchorVerdict::Holds { first }]
    );
}

#[test]
fn version_1_is_read_without_a_chain_and_continued_with_one() {
    let golden = golden("v1");
    let report = verify_on(golden.clone(), &dir(), ReadOptions::default()).unwrap();
    assert_eq!((report.records, report.chain.unchained), (218, 218));
    assert_eq!(report.chain.stretches, []);
    let mut writer = open(&golden, options()).unwrap();
    assert_eq!(
        (writer.epoch(), writer.previous().unwrap().last_sequence),
        (3, 66)
    );
    write_groups(&mut writer, 1, 4, 2);
    let head = writer.head().unwrap();
    let report = checked(&golden, &[head]);
    assert_eq!((report.records, report.chain.unchained), (222, 218));
    assert_eq!(report.damaged, []);
    let stretch = Stretch {
        first: id(3, 1),
        last: head,
    };
    assert_eq!(report.chain.stretches, [stretch]);
    assert!(report.anchors_hold() && report.looks_untouched());
}

#[test]
fn golden_folders_read_as_they_always_did() {
    for name in ["v1", "v2"] {
        let listing = golden(name).contents(&dir().join("listing.txt")).unwrap();
        let listing = String::from_utf8(listing).unwrap();
        assert_eq!(expected(&golden(name)), listing.lines().collect::<Vec<_>>());
    }
}
