//! The real file system.

use crate::helpers::*;
use record::{RecordId, sample};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::tempdir;
use trail::{
    Item, RawItem, TrailError, TrailReader, TrailWriter, WriterOptions, segments_dir, verify,
};

fn append_closes(writer: &mut TrailWriter, seed: u64, count: usize) {
    for record in sample::closes(seed, count) {
        writer.append(&record, second(1)).unwrap();
    }
}

fn count(state: &Path) -> u64 {
    let report = verify(&segments_dir(state)).unwrap();
    assert_eq!(report.damaged, []);
    report.records
}

#[test]
fn records_come_back_from_real_files() {
    let state = tempdir().unwrap();
    let options = WriterOptions {
        segment_bytes: 20_000,
        ..options()
    };
    let mut writer = TrailWriter::open(state.path(), options, at(0)).unwrap();
    let mut reader = TrailReader::open(&segments_dir(state.path())).unwrap();
    let mut read = 0;
    for seed in 0..10 {
        append_closes(&mut writer, seed, 300);
        told_nothing(&writer.flush(at(seed)).unwrap());
        for expected in sample::closes(seed, 300) {
            let item = reader.next_item().unwrap();
            let Some(Item::Record { id, record, .. }) = item else {
                panic!("{item:?}")
            };
            read += 1;
            assert_eq!(
                (id, record),
                (
                    RecordId {
                        epoch: 1,
                        sequence: read
                    },
                    expected
                )
            );
        }
        assert_eq!(reader.next_item().unwrap(), None);
    }
    assert!(fs::read_dir(segments_dir(state.path())).unwrap().count() > 3);
}

#[test]
fn readers_beside_a_busy_writer_find_nothing_wrong() {
    let state = tempdir().unwrap();
    let options = WriterOptions {
        segment_bytes: 30_000,
        ..options()
    };
    let mut writer = TrailWriter::open(state.path(), options, at(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| follow_until(&segments_dir(state.path()), &done, 100 * 50));
        }
        for seed in 0..100 {
            append_closes(&mut writer, seed, 50);
            told_nothing(&writer.flush(at(seed)).unwrap());
        }
        done.store(true, Ordering::Release);
    });
}

fn follow_until(dir: &Path, done: &AtomicBool, expected: u64) {
    let mut reader = TrailReader::open(dir).unwrap();
    let mut last = 0;
    loop {
        let finished = done.load(Ordering::Acquire);
        while let Some(item) = reader.next_raw().unwrap() {
            let RawItem::Record { id, .. } = item else {
                panic!("{item:?}")
            };
            assert_eq!(id.sequence, last + 1);
            last += 1;
        }
        if finished {
            break;
        }
    }
    assert_eq!(last, expected);
}

#[test]
fn group_may_read_and_others_may_not() {
    let state = tempdir().unwrap();
    let path = state.path().join("made");
    let mut writer = TrailWriter::open(&path, options(), at(0)).unwrap();
    append_closes(&mut writer, 1, 1);
    told_nothing(&writer.flush(at(1)).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&segments_dir(&path))), (0o750, 0o750));
    let mut files = 0;
    for entry in fs::read_dir(segments_dir(&path)).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o640);
        files += 1;
    }
    assert_eq!((files, mode(&path.join("epoch"))), (2, 0o640));
}

#[test]
fn folder_that_hands_its_group_on_goes_on_doing_so() {
    let state = tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o2750)).unwrap();
    let handed_on = fs::metadata(state.path()).unwrap().permissions().mode() & 0o2000;
    let writer = TrailWriter::open(state.path(), options(), at(0)).unwrap();
    drop(writer);
    let made = fs::metadata(segments_dir(state.path()))
        .unwrap()
        .permissions()
        .mode();
    // macOS hands groups on without being told.
    let expected = if cfg!(target_os = "linux") {
        0o750 | handed_on
    } else {
        0o750
    };
    assert_eq!(made & 0o7777, expected);
}

#[test]
fn second_writer_is_told_who_the_first_is() {
    let state = tempdir().unwrap();
    let writer = TrailWriter::open(state.path(), options(), at(0)).unwrap();
    let refused = TrailWriter::open(state.path(), options(), at(0))
        .err()
        .unwrap();
    assert!(matches!(refused, TrailError::Locked { .. }));
    assert!(
        refused
            .to_string()
            .contains(&format!("process {}", std::process::id()))
    );
    drop(writer);
    assert_eq!(
        TrailWriter::open(state.path(), options(), at(0))
            .unwrap()
            .epoch(),
        2
    );
}

#[test]
fn directory_that_is_deleted_is_made_again() {
    let state = tempdir().unwrap();
    let dir = segments_dir(state.path());
    let mut writer = TrailWriter::open(state.path(), options(), at(0)).unwrap();
    append_closes(&mut writer, 1, 10);
    told_nothing(&writer.flush(at(1)).unwrap());
    fs::remove_dir_all(&dir).unwrap();
    append_closes(&mut writer, 2, 10);
    let flushed = writer.flush(at(2)).unwrap();
    assert!(flushed.trouble.is_none(), "{flushed:?}");
    let [gone] = &flushed.vanished[..] else {
        panic!("{flushed:?}")
    };
    assert_eq!((gone.first_sequence, gone.last_sequence), (1, Some(10)));
    assert_eq!(count(state.path()), 10);
    fs::rename(&dir, state.path().join("aside")).unwrap();
    append_closes(&mut writer, 3, 10);
    assert_eq!(writer.flush(at(3)).unwrap().vanished.len(), 1);
    assert_eq!(count(state.path()), 10);
}

#[test]
fn head_that_is_deleted_is_made_again() {
    let state = tempdir().unwrap();
    let head = segments_dir(state.path()).join("head");
    let mut writer = TrailWriter::open(state.path(), options(), at(0)).unwrap();
    append_closes(&mut writer, 1, 10);
    told_nothing(&writer.flush(at(1)).unwrap());
    fs::remove_file(&head).unwrap();
    append_closes(&mut writer, 2, 10);
    told_nothing(&writer.flush(at(2)).unwrap());
    assert!(head.exists());
    assert_eq!(count(state.path()), 20);
}

#[test]
fn directory_that_does_not_exist_is_an_empty_trail() {
    let state = tempdir().unwrap();
    assert_eq!(count(state.path()), 0);
    fs::write(segments_dir(state.path()), "a file").unwrap();
    let error = verify(&segments_dir(state.path())).unwrap_err().to_string();
    assert!(error.starts_with("cannot list"), "{error}");
}

#[test]
fn hostile_folder_neither_stops_a_writer_nor_hangs_a_reader() {
    let state = tempdir().unwrap();
    let dir = segments_dir(state.path());
    fs::create_dir(&dir).unwrap();
    let elsewhere = state.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    let pipe = |name: &str| mknodat(CWD, dir.join(name), FileType::Fifo, Mode::RWXU, 0).unwrap();
    pipe("e00000001-s000000000001.trail");
    pipe("head.new");
    fs::create_dir(dir.join("e00000002-s000000000001.trail")).unwrap();
    symlink(&elsewhere, dir.join("e00000003-s000000000001.trail")).unwrap();
    symlink(&elsewhere, dir.join("head")).unwrap();
    symlink(&elsewhere, dir.join("rewrite.new")).unwrap();
    symlink(&elsewhere, state.path().join("epoch")).unwrap();
    fs::hard_link(&elsewhere, state.path().join("epoch.new")).unwrap();
    let sparse = fs::File::create(dir.join("e00000004-s000000000001.trail")).unwrap();
    sparse.set_len(10 << 30).unwrap();
    let started = std::time::Instant::now();
    let options = WriterOptions {
        quota_bytes: 100 << 30,
        ..options()
    };
    let mut writer = TrailWriter::open(state.path(), options, at(0)).unwrap();
    assert_eq!(writer.epoch(), 5);
    append_closes(&mut writer, 1, 10);
    told_nothing(&writer.flush(at(1)).unwrap());
    let report = verify(&dir).unwrap();
    assert_eq!(report.records, 10);
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
    assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
}
