//! Side trails, read as one with the recorder's: real files in several folders.

use crate::helpers::*;
use record::{Device, EndpointId, Notice, NoticeKind, Record, RecordId, Stamp, Wall};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};
use trail::{
    Cursor, Item, Merged, MergedReader, ReadOptions, Source, TrailReader, TrailWriter,
    WriterOptions, segments_dir, side_trails,
};

fn side(name: &str) -> Source {
    Source::Side(name.into())
}

/// Writes an epoch of notices of these seconds below a state folder.
fn keep(state: &Path, seconds: &[u64]) {
    let endpoint = EndpointId([state.file_name().unwrap().len() as u8; 16]);
    let device = Device {
        endpoint,
        ..device()
    };
    let options = WriterOptions {
        segment_bytes: 450,
        ..WriterOptions::new(device, 1 << 30)
    };
    let mut writer = TrailWriter::open(state, options, at(0)).unwrap();
    for (index, seconds) in seconds.iter().enumerate() {
        let mono = second(index as u64);
        let wall = at(*seconds).wall;
        let notice = Record::Notice(Notice {
            at: Stamp { wall, mono },
            kind: NoticeKind::Sleeping,
        });
        writer.append(&notice, mono).unwrap();
        drop(writer.flush(at(*seconds)).unwrap());
    }
    drop(writer.close(at(1_000)).unwrap());
}

/// The recorder's trail and two others.
fn three() -> TempDir {
    let state = tempdir().unwrap();
    keep(state.path(), &[10, 20, 30, 40, 50, 60]);
    keep(&state.path().join("ship"), &[5, 20, 45]);
    keep(&state.path().join("upgrades"), &[20, 20, 55, 70]);
    state
}

fn merged(state: &Path) -> MergedReader {
    let mut readers = vec![(
        Source::Recorder,
        TrailReader::open(&segments_dir(state)).unwrap(),
    )];
    for found in side_trails(state).trails {
        let reader = TrailReader::open(&segments_dir(&found.state)).unwrap();
        readers.push((Source::Side(found.name), reader));
    }
    readers.reverse();
    MergedReader::new(readers)
}

type Places = Vec<(Source, u64, u64)>;

/// Source, sequence and second of each record; what else there was.
fn read(reader: &mut MergedReader) -> (Places, Vec<(Source, String)>) {
    let (mut places, mut others) = (Vec::new(), Vec::new());
    while let Some((source, found)) = reader.next_merged().unwrap() {
        match found {
            Merged::Item(Item::Record { id, record, device }) => {
                let own = match &source {
                    Source::Recorder => None,
                    Source::Side(name) => Some(EndpointId([name.len() as u8; 16])),
                };
                assert!(own.is_none_or(|own| own == device.endpoint), "{source}");
                let Wall(since) = Wall(record.at().wall.0 - at(0).wall.0);
                places.push((source, id.sequence, since as u64 / 1_000_000_000));
            }
            Merged::Item(item) => others.push((source, format!("{item:?}"))),
            Merged::Unread { error, is_given_up } => {
                others.push((source, format!("{is_given_up} {error}")));
            }
        }
    }
    (places, others)
}

fn segments_of(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(segments_dir(state)).unwrap();
    let paths = entries.map(|it| it.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|it| it.extension().is_some_and(|it| it == "trail"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn records_of_several_trails_come_in_the_order_of_time_and_say_where_they_are_from() {
    let state = three();
    let (places, others) = read(&mut merged(state.path()));
    assert_eq!(others, []);
    let (recorder, ship, upgrades) = (|| Source::Recorder, || side("ship"), || side("upgrades"));
    let expected = [
        (ship(), 1, 5),
        (recorder(), 1, 10),
        (recorder(), 2, 20),
        (ship(), 2, 20),
        (upgrades(), 1, 20),
        (upgrades(), 2, 20),
        (recorder(), 3, 30),
        (recorder(), 4, 40),
        (ship(), 3, 45),
        (recorder(), 5, 50),
        (upgrades(), 3, 55),
        (recorder(), 6, 60),
        (upgrades(), 4, 70),
    ];
    assert_eq!(places, expected);
}

#[test]
fn a_clock_that_stepped_in_one_trail_changes_the_order_of_none() {
    let state = tempdir().unwrap();
    keep(state.path(), &[10, 20, 30, 40]);
    keep(&state.path().join("ship"), &[15, 900, 16, 35]);
    let (places, _) = read(&mut merged(state.path()));
    let order: Vec<(Option<&str>, u64)> = places
        .iter()
        .map(|(source, sequence, _)| (source.name(), *sequence))
        .collect();
    let (main, ship) = (None, Some("ship"));
    let expected = [
        (main, 1),
        (ship, 1),
        (main, 2),
        (main, 3),
        (main, 4),
        (ship, 2),
        (ship, 3),
        (ship, 4),
    ];
    assert_eq!(order, expected);
}

#[test]
fn what_is_wrong_with_a_side_trail_is_told_with_its_name_and_costs_the_others_nothing() {
    let state = three();
    let before = read(&mut merged(state.path())).0;
    let segments = segments_of(&state.path().join("upgrades"));
    assert!(segments.len() > 2, "{segments:?}");
    fs::remove_file(&segments[1]).unwrap();
    let damaged = &segments_of(&state.path().join("ship"))[0];
    let mut bytes = fs::read(damaged).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(damaged, bytes).unwrap();
    let (places, others) = read(&mut merged(state.path()));
    let of_recorder = |places: &Places| {
        let mut of_recorder = places.clone();
        of_recorder.retain(|(source, ..)| *source == Source::Recorder);
        of_recorder
    };
    assert_eq!(of_recorder(&places), of_recorder(&before));
    assert!(places.len() < before.len());
    let told = |name, word: &str| {
        let mut told = others.iter();
        told.any(|(source, words)| *source == side(name) && words.contains(word))
    };
    assert!(told("ship", "Damaged"), "{others:?}");
    assert!(told("upgrades", "Missing"), "{others:?}");
    assert!(others.iter().all(|(source, _)| *source != Source::Recorder));
}

#[test]
fn a_side_trail_that_cannot_be_listed_any_more_is_given_up_and_the_others_end_as_ever() {
    let state = three();
    let mut reader = merged(state.path());
    let side_folder = segments_dir(&state.path().join("ship"));
    fs::remove_dir_all(&side_folder).unwrap();
    // A link to itself: whoever follows it gets an error each time.
    symlink(&side_folder, &side_folder).unwrap();
    let (places, others) = read(&mut reader);
    let count = |source: &Source| places.iter().filter(|it| it.0 == *source).count();
    assert_eq!((count(&Source::Recorder), count(&side("upgrades"))), (6, 4));
    let mut ends = others.iter().map(|(_, words)| words.starts_with("true"));
    assert_eq!(ends.next_back(), Some(true), "{others:?}");
    assert!(ends.all(|is_given_up| !is_given_up));
    assert!(others.iter().all(|(source, _)| *source == side("ship")));
    assert_eq!(read(&mut reader).0, [], "and it stays so");
}

#[test]
fn a_reader_that_follows_gets_what_comes_later_in_any_trail() {
    let state = three();
    let mut reader = merged(state.path());
    assert_eq!(read(&mut reader).0.len(), 13);
    keep(&state.path().join("ship"), &[80]);
    keep(state.path(), &[75, 90]);
    let seconds: Vec<u64> = read(&mut reader).0.iter().map(|it| it.2).collect();
    assert_eq!(seconds, [75, 80, 90]);
}

#[test]
fn a_position_is_that_of_the_last_record_that_was_handed_out() {
    let state = three();
    let mut reader = merged(state.path());
    for _ in 0..4 {
        reader.next_merged().unwrap().unwrap();
    }
    let positions: Vec<(Source, RecordId)> = reader
        .positions()
        .map(|(source, cursor)| (source.clone(), cursor.last))
        .collect();
    let id = |sequence| RecordId { epoch: 1, sequence };
    assert_eq!(
        positions,
        [(Source::Recorder, id(2)), (side("ship"), id(2))]
    );
    let ship = segments_dir(&state.path().join("ship"));
    let cursor: Cursor = reader.positions().last().unwrap().1;
    let (rest, _) = TrailReader::resume(&ship, ReadOptions::default(), &cursor).unwrap();
    let (places, _) = read(&mut MergedReader::new([(side("ship"), rest)]));
    assert_eq!(places, [(side("ship"), 3, 45)]);
}
