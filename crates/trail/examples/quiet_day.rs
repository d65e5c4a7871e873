//! How many bytes a record takes on a machine with little to do, before and after its segments
//! were written a second time.
//!
//! `quiet_day DIR [RECORDS]`: a day of made-up records, seven a minute in bursts of one to five,
//! each burst synced by itself, as a recorder does.

use record::sample::{self, Random};
use record::{Mono, Stamp, Wall};
use std::path::{Path, PathBuf};
use trail::{TrailWriter, WriterOptions, segments_dir, verify};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("the first argument is a folder"));
    let count = arguments
        .next()
        .map_or(10_000, |it| it.parse().expect("a number of records"));
    let options = WriterOptions {
        segment_bytes: 1 << 20,
        ..WriterOptions::new(sample::device(), 1 << 30)
    };
    let mut trail = TrailWriter::open(&folder, options.clone(), at(0)).expect("a trail");
    let bursts = write(&mut trail, count);
    drop(trail.close(at(86_400)).expect("the disk takes the rest"));
    print("as_written", &folder, count);
    let mut trail = TrailWriter::open(&folder, options, at(86_401)).expect("a trail");
    while let Some(due) = trail.tend_timeout() {
        trail.tend(due).expect("the disk takes it");
    }
    drop(trail);
    print("rewritten", &folder, count);
    let report = verify(&segments_dir(&folder)).expect("the trail can be read");
    assert!(report.is_complete() && report.looks_untouched());
    assert_eq!(
        (report.records, report.chain.stretches.len()),
        (count as u64, 1)
    );
    println!("records_per_burst={:.2}", count as f64 / bursts as f64);
}

fn write(trail: &mut TrailWriter, count: usize) -> u64 {
    let mut dice = Random::new(7);
    let (mut records, mut bursts) = (sample::closes(1, count).into_iter(), 0);
    loop {
        let burst: Vec<_> = records.by_ref().take(1 + dice.below(5) as usize).collect();
        if burst.is_empty() {
            return bursts;
        }
        bursts += 1;
        let now = at(bursts * 25);
        for record in &burst {
            trail
                .append(record, now.mono)
                .expect("nothing waits for long");
        }
        drop(trail.flush(now).expect("the disk takes it"));
    }
}

fn print(when: &str, folder: &Path, count: usize) {
    let entries = std::fs::read_dir(segments_dir(folder)).expect("the folder is there");
    let lengths = entries.map(|it| it.and_then(|it| it.metadata()).map_or(0, |it| it.len()));
    let bytes: u64 = lengths.sum();
    println!(
        "{when}: bytes_per_record={:.1}",
        bytes as f64 / count as f64
    );
}

fn at(seconds: u64) -> Stamp {
    Stamp {
        wall: Wall(1_700_000_000_000_000_000 + seconds as i64 * 1_000_000_000),
        mono: Mono(seconds * 1_000_000_000),
    }
}
