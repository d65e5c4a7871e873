//! A question about an hour opens what has something of that hour, and nothing else.

use crate::helpers::*;
use record::{Stamp, Wall, sample};
use std::ops::RangeInclusive;
use std::path::Path;
use trail::testing::MemoryDisk;
use trail::{ReadOptions, WriterOptions};

const HOUR_S: u64 = 3_600;
const DAYS: u64 = 30;

fn hours(from: u64, to: u64) -> RangeInclusive<Wall> {
    at(from * HOUR_S).wall..=Wall(at(to * HOUR_S).wall.0 - 1)
}

fn of(range: RangeInclusive<Wall>) -> ReadOptions {
    ReadOptions {
        wall: Some(range),
        ..ReadOptions::default()
    }
}

/// Thirty days of a record every four minutes, in about a hundred segments.
fn month() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let options = WriterOptions {
        segment_bytes: 40 << 10,
        ..options()
    };
    let mut writer = open(&disk, options).unwrap();
    let records = sample::closes(1, (DAYS * 24 * 15) as usize);
    for (index, record) in (0..).zip(&records) {
        let mut bytes = Vec::new();
        record::codec::encode(record, &mut bytes);
        let now = index * 240;
        writer
            .append_encoded(&bytes, at(now).wall, second(now))
            .unwrap();
        told_nothing(&writer.flush(at(now)).unwrap());
    }
    disk
}

#[test]
fn an_hour_of_thirty_days_opens_only_the_segments_that_have_something_of_it() {
    let disk = month();
    let count = segments(&disk).len();
    assert!(count > 60, "{count} segments");
    let cost = |options: ReadOptions| {
        let (opens, bytes) = disk.reads();
        let found = read_with(&disk, options).ids();
        let (opens_after, bytes_after) = disk.reads();
        (found, opens_after - opens, bytes_after - bytes)
    };
    let (everything, _, all_bytes) = cost(ReadOptions::default());
    for hour in [0, 100, 360, 719] {
        let (found, opens, bytes) = cost(of(hours(hour, hour + 1)));
        let wanted = ids(1, hour * 15 + 1..=hour * 15 + 15);
        assert!(wanted.iter().all(|id| found.contains(id)), "hour {hour}");
        // The segments, the head twice or thrice, the file of times.
        assert!(opens <= 2 + 6, "{opens} files for hour {hour}");
        assert!(bytes * 20 < all_bytes, "{bytes} of {all_bytes}");
        println!("hour {hour}: {opens} files of {count} opened, {bytes} bytes of {all_bytes} read");
    }
    assert_eq!(everything.len() as u64, DAYS * 24 * 15);
}

fn read_with(disk: &MemoryDisk, options: ReadOptions) -> Findings {
    drain(&mut reader(disk, options))
}

/// Records whose time jumps about, as when somebody sets the clock, in several epochs.
fn stepped() -> (MemoryDisk, Vec<(record::RecordId, Wall)>) {
    let disk = MemoryDisk::new();
    let mut made = Vec::new();
    let mut dice = sample::Random::new(5);
    for epoch in 1..=3 {
        let mut writer = open(&disk, small_segments()).unwrap();
        for sequence in 1..=40 {
            let wall = at(dice.below(30) * HOUR_S).wall;
            let id = record::RecordId { epoch, sequence };
            writer.append_encoded(&bytes_of(id), wall, second(sequence));
            let now = Stamp {
                wall,
                mono: second(sequence),
            };
            told_nothing(&writer.flush(now).unwrap());
            made.push((id, wall));
        }
    }
    (disk, made)
}

fn assert_none_hidden(disk: &MemoryDisk, made: &[(record::RecordId, Wall)], what: &str) {
    for hour in 0..30 {
        let range = hours(hour, hour + 1);
        let found = read_with(disk, of(range.clone()));
        for (id, wall) in made.iter().filter(|(_, wall)| range.contains(wall)) {
            assert!(found.records.contains_key(id), "{what}: {id:?} of {wall:?}");
        }
        assert_eq!(found.missing, [], "{what}");
    }
}

#[test]
fn no_step_of_the_clock_hides_a_record() {
    let (disk, made) = stepped();
    assert_none_hidden(&disk, &made, "as written");
    let mut writer = open(&disk, small_segments()).unwrap();
    while let Some(due) = writer.tend_timeout() {
        writer.tend(due).unwrap();
    }
    assert_none_hidden(&disk, &made, "rewritten");
}

#[test]
fn no_damage_of_the_file_of_times_hides_a_record_and_without_it_all_is_opened() {
    let (disk, made) = stepped();
    let times = Path::new(STATE).join("times");
    let whole = disk.contents(&times).unwrap();
    for at in (0..whole.len()).step_by(251) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        disk.put(&times, &flipped);
        assert_none_hidden(&disk, &made, "flipped");
        disk.put(&times, &whole[..at]);
        assert_none_hidden(&disk, &made, "cut");
    }
    disk.remove_times();
    assert_none_hidden(&disk, &made, "without");
    disk.put(&times, &whole);
    let path = segments(&disk).remove(2);
    let grown = [disk.contents(&path).unwrap(), vec![0; 9]].concat();
    disk.put(&path, &grown);
    let (before, _) = disk.reads();
    read_with(&disk, of(hours(900, 901)));
    assert!(
        disk.reads().0 > before,
        "a file of another length is opened"
    );
}

trait WithoutTimes {
    fn remove_times(&self);
}

impl WithoutTimes for MemoryDisk {
    fn remove_times(&self) {
        trail::Disk::remove(self, &Path::new(STATE).join("times")).unwrap();
    }
}

#[test]
fn a_power_cut_at_any_call_leaves_no_times_that_hide_a_record() {
    let run = |disk: &MemoryDisk| -> Option<()> {
        let mut writer = open(disk, small_segments()).ok()?;
        for sequence in 1..=20 {
            append(&mut writer, sequence, sequence * HOUR_S);
            drop(writer.flush(at(sequence * HOUR_S)).ok()?);
        }
        Some(())
    };
    let healthy = MemoryDisk::new();
    assert!(run(&healthy).is_some());
    for call in 0..healthy.calls() {
        let disk = MemoryDisk::new();
        disk.cut_power_at(call);
        run(&disk);
        let after = disk.after_power_cut(call);
        drop(open(&after, small_segments()).unwrap());
        let made: Vec<_> = read(&after)
            .ids()
            .into_iter()
            .map(|id| (id, at(id.sequence * HOUR_S).wall))
            .collect();
        assert_none_hidden(&after, &made, "after a power cut");
    }
}
