//! How fast records get into a durable trail and out again, and how many bytes they take there.
//!
//! `throughput DIR [RECORDS]`: one thread, made-up records, a real folder. CPU time is that of the
//! thread, so a busy machine changes it less than the wall clock.

use record::{Mono, Record, Stamp, sample};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Instant;
use trail::{TrailReader, TrailWriter, WriterOptions, segments_dir};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("the first argument is a folder"));
    let count = arguments
        .next()
        .map_or(1_000_000, |it| it.parse().expect("a number of records"));
    let records = sample::closes(1, DISTINCT.min(count));
    let written = measure(|| write(&folder, &records, count));
    written.print("write", count);
    measure_chain(&records, count).print("chain", count);
    let bytes = size(&segments_dir(&folder));
    println!("bytes_per_record={:.1}", bytes as f64 / count as f64);
    measure(|| read_raw(&folder, count)).print("read_raw", count);
    measure(|| read(&folder, count)).print("read", count);
}

/// The recorder's records come hot from the flow table, so they are not fetched from far away here
/// either. A frame has 500 records, so nothing is gained by meeting one again.
const DISTINCT: usize = 20_000;

/// Appends as the recorder does: frames as they fill, a sync when it is due.
fn write(folder: &Path, records: &[Record], count: usize) {
    const QUOTA_BYTES: u64 = 1 << 40;
    let options = WriterOptions::new(sample::device(), QUOTA_BYTES);
    let mut trail = TrailWriter::open(folder, options, now()).expect("a trail can be opened");
    let mut records = records.iter().cycle().take(count).peekable();
    while records.peek().is_some() {
        let moment = now();
        for record in records.by_ref().take(500) {
            trail
                .append(record, moment.mono)
                .expect("nothing waits for long");
        }
        if trail.should_flush(moment.mono) {
            drop(trail.flush(moment).expect("the disk takes it"));
        }
    }
    drop(trail.close(now()).expect("the disk takes the rest"));
}

/// What the chain alone costs: the same hash over the same bytes in groups as large, which writing
/// cannot leave out.
fn measure_chain(records: &[Record], count: usize) -> Measured {
    const GROUP_BYTES: usize = 128 << 10;
    let mut bytes = Vec::new();
    for record in records {
        record::codec::encode(record, &mut bytes);
    }
    let mut left = bytes.len() * count / records.len();
    let mut head = [0; 32];
    let measured = measure(|| {
        while left > 0 {
            for group in bytes.chunks(GROUP_BYTES) {
                let group = &group[..group.len().min(left)];
                left -= group.len();
                let hasher = Sha256::new().chain_update(head).chain_update(group);
                head = hasher.finalize().into();
            }
        }
    });
    assert_ne!(head, [0; 32], "something was hashed");
    measured
}

fn read_raw(folder: &Path, count: usize) {
    let mut reader = TrailReader::open(&segments_dir(folder)).expect("the trail can be read");
    let items = std::iter::from_fn(|| reader.next_raw().expect("readable").map(drop)).count();
    assert_eq!(items, count, "every record comes back");
}

fn read(folder: &Path, count: usize) {
    let mut reader = TrailReader::open(&segments_dir(folder)).expect("the trail can be read");
    let items = std::iter::from_fn(|| reader.next_item().expect("readable")).count();
    assert_eq!(items, count, "every record comes back");
}

struct Measured {
    wall_s: f64,
    cpu_s: f64,
}

impl Measured {
    fn print(&self, what: &str, count: usize) {
        let Measured { wall_s, cpu_s } = self;
        println!(
            "{what}: cpu_us_per_record={:.3} records_per_cpu_s={:.0} records_per_s={:.0}",
            cpu_s * 1e6 / count as f64,
            count as f64 / cpu_s,
            count as f64 / wall_s
        );
    }
}

fn measure(work: impl FnOnce()) -> Measured {
    let (wall, cpu) = (Instant::now(), cpu_s());
    work();
    Measured {
        wall_s: wall.elapsed().as_secs_f64(),
        cpu_s: cpu_s() - cpu,
    }
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn now() -> Stamp {
    let time = clock_gettime(ClockId::Boottime);
    let mono = Mono(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
    Stamp {
        mono,
        ..Stamp::default()
    }
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries
        .map(|it| it.and_then(|it| it.metadata()).map_or(0, |it| it.len()))
        .sum()
}
