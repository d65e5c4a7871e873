//! The same records into and out of three stores, on one thread: the trail, SQLite, and redb.
//!
//! `stores FOLDER [RECORDS]`: made-up records are encoded and appended in batches of 500, made
//! durable once a second and at the end, then all are read back as bytes. Each store does it in
//! turn, five rounds; the median is printed. The trail also chains and indexes them, and
//! compresses; the others do not.

#![forbid(unsafe_code)]

use record::{Mono, Record, Stamp, codec, sample};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use rusqlite::{Connection, params};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trail::{TrailReader, TrailWriter, WriterOptions, segments_dir};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;
const BATCH: usize = 500;
const DISTINCT: usize = 20_000;
const SYNC_EVERY: Duration = Duration::from_secs(1);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("the first argument is a folder")?);
    let count: usize = match arguments.next() {
        Some(count) => count.parse()?,
        None => 500_000,
    };
    let records = sample::closes(1, DISTINCT.min(count));
    let stores: [(&str, fn(&Path, &[Record], usize) -> Outcome<Figures>); 3] = [
        ("trail", in_trail),
        ("sqlite", in_sqlite),
        ("redb", in_redb),
    ];
    let mut rounds = stores.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((name, run), figures) in stores.iter().zip(&mut rounds) {
            let place = folder.join(name);
            if place.exists() {
                fs::remove_dir_all(&place)?;
            }
            fs::create_dir_all(&place)?;
            figures.push(run(&place, &records, count)?);
            fs::remove_dir_all(&place)?;
        }
    }
    for ((name, _), figures) in stores.iter().zip(&rounds) {
        print(name, figures, count as f64);
    }
    Ok(())
}

/// What one run took.
struct Figures {
    write_cpu_s: f64,
    read_cpu_s: f64,
    bytes: u64,
}

fn print(name: &str, figures: &[Figures], count: f64) {
    let write_us = median(figures, |it| it.write_cpu_s) * 1e6 / count;
    let read_us = median(figures, |it| it.read_cpu_s) * 1e6 / count;
    let both_us = median(figures, |it| it.write_cpu_s + it.read_cpu_s) * 1e6 / count;
    let bytes = median(figures, |it| it.bytes as f64) / count;
    println!(
        "{name}: write_cpu_us={write_us:.3} written_per_cpu_s={:.0} read_cpu_us={read_us:.3} \
         both_cpu_us={both_us:.3} bytes_per_record={bytes:.1}",
        1e6 / write_us
    );
}

fn median(figures: &[Figures], part: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(part).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn in_trail(folder: &Path, records: &[Record], count: usize) -> Outcome<Figures> {
    const QUOTA_BYTES: u64 = 1 << 40;
    let began = cpu_s();
    let options = WriterOptions::new(sample::device(), QUOTA_BYTES);
    let mut trail = TrailWriter::open(folder, options, now())?;
    for batch in batches(records, count) {
        let moment = now();
        for record in batch {
            trail
                .append(record, moment.mono)
                .ok_or("a record was dropped")?;
        }
        if trail.should_flush(moment.mono) {
            drop(trail.flush(moment)?);
        }
    }
    drop(trail.close(now())?);
    let written = cpu_s();
    let mut reader = TrailReader::open(&segments_dir(folder))?;
    let mut read = 0;
    while reader.next_raw()?.is_some() {
        read += 1;
    }
    finish(folder, began, written, read, count)
}

fn in_sqlite(folder: &Path, records: &[Record], count: usize) -> Outcome<Figures> {
    let began = cpu_s();
    let path = folder.join("records.sqlite");
    let connection = Connection::open(&path)?;
    // A transaction is durable when the log is synced: here by the checkpoint, once a second.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE records (sequence INTEGER PRIMARY KEY, record BLOB NOT NULL);",
    )?;
    let (mut encoder, mut bytes) = (codec::Encoder::default(), Vec::new());
    let (mut sequence, mut synced) = (0i64, Instant::now());
    for batch in batches(records, count) {
        connection.execute_batch("BEGIN")?;
        let mut insert = connection.prepare_cached("INSERT INTO records VALUES (?1, ?2)")?;
        for record in batch {
            bytes.clear();
            encoder.encode(record, &mut bytes);
            sequence += 1;
            insert.execute(params![sequence, bytes])?;
        }
        connection.execute_batch("COMMIT")?;
        if synced.elapsed() >= SYNC_EVERY {
            checkpoint(&connection)?;
            synced = Instant::now();
        }
    }
    checkpoint(&connection)?;
    let written = cpu_s();
    let mut select =
        connection.prepare("SELECT sequence, record FROM records ORDER BY sequence")?;
    let mut rows = select.query([])?;
    let (mut read, mut length) = (0, 0);
    while let Some(row) = rows.next()? {
        length += row.get_ref(1)?.as_blob()?.len();
        read += 1;
    }
    assert!(length > read);
    finish(folder, began, written, read, count)
}

fn checkpoint(connection: &Connection) -> Outcome<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

fn in_redb(folder: &Path, records: &[Record], count: usize) -> Outcome<Figures> {
    let began = cpu_s();
    let database = Database::create(folder.join("records.redb"))?;
    let (mut encoder, mut bytes) = (codec::Encoder::default(), Vec::new());
    let (mut sequence, mut synced) = (0, Instant::now());
    let last = count.div_ceil(BATCH) - 1;
    for (index, batch) in batches(records, count).enumerate() {
        let mut transaction = database.begin_write()?;
        let due = synced.elapsed() >= SYNC_EVERY || index == last;
        if due {
            synced = Instant::now();
        } else {
            transaction.set_durability(Durability::None)?;
        }
        let mut table = transaction.open_table(RECORDS)?;
        for record in batch {
            bytes.clear();
            encoder.encode(record, &mut bytes);
            sequence += 1;
            table.insert(sequence, &bytes[..])?;
        }
        drop(table);
        transaction.commit()?;
    }
    let written = cpu_s();
    let table = database.begin_read()?.open_table(RECORDS)?;
    let (mut read, mut length) = (0, 0);
    for entry in table.iter()? {
        length += entry?.1.value().len();
        read += 1;
    }
    assert!(length > read);
    finish(folder, began, written, read, count)
}

fn finish(folder: &Path, began: f64, written: f64, read: usize, count: usize) -> Outcome<Figures> {
    if read != count {
        return Err(format!("{read} of {count} records came back").into());
    }
    Ok(Figures {
        write_cpu_s: written - began,
        read_cpu_s: cpu_s() - written,
        bytes: size(folder)?,
    })
}

/// The records again and again, in batches, until there were enough.
fn batches(records: &[Record], count: usize) -> impl Iterator<Item = Vec<&Record>> {
    let mut all = records.iter().cycle().take(count);
    std::iter::from_fn(move || {
        let batch: Vec<_> = all.by_ref().take(BATCH).collect();
        (!batch.is_empty()).then_some(batch)
    })
}

fn size(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn now() -> Stamp {
    let time = clock_gettime(ClockId::Boottime);
    Stamp {
        mono: Mono(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64),
        ..Stamp::default()
    }
}
