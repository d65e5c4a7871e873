//! Killing recorders at random moments.

use super::Place;
use super::books::Books;
use super::load::wall_ns;
use crate::recorder::program;
use std::fmt;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How to kill.
pub(super) struct Kills {
    pub(super) sensor: &'static str,
    pub(super) count: usize,
    /// Every so many lives one is long enough to sync, rotate, rewrite and evict.
    pub(super) long_every: usize,
    pub(super) short_ms_max: u64,
    pub(super) long_ms: Range<u64>,
    /// Whether readers run and are killed beside.
    pub(super) readers: bool,
}

/// What came of it.
pub(super) struct Table {
    kills: usize,
    readers_killed: usize,
    epochs: usize,
    records: usize,
    /// The longest from the last durable record to the kill, of a recorder that lived long.
    lost_ns_max: i64,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  recorders killed             {:>8}", self.kills)?;
        writeln!(
            f,
            "  readers killed               {:>8}",
            self.readers_killed
        )?;
        writeln!(f, "  epochs with a record         {:>8}", self.epochs)?;
        writeln!(f, "  records, all read back       {:>8}", self.records)?;
        let lost_ms = self.lost_ns_max / 1_000_000;
        write!(f, "  most lost before a kill, ms  {lost_ms:>8}")
    }
}

/// A machine that does nothing else syncs each record within a second; one that runs other tests
/// needs some more to come to it.
const LOST_NS_MAX: i64 = 5_000_000_000;

/// A machine that is busy otherwise gets fewer kills, not a longer test.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Starts and kills a recorder, and after each kill looks whether all is as it was.
pub(super) fn kill_often(place: &Place, kills: &Kills, books: &mut Books) -> Table {
    let mut dice = Dice(0x5eed_0001);
    let mut table = Table {
        kills: 0,
        readers_killed: 0,
        epochs: 0,
        records: 0,
        lost_ns_max: 0,
    };
    let since = Instant::now();
    for index in 0..kills.count {
        if since.elapsed() > TIME_MAX {
            break;
        }
        table.kills += 1;
        let recorder = place.start(kills.sensor);
        let is_long = index % kills.long_every == 0;
        let readers = if kills.readers {
            watchers(place)
        } else {
            Vec::new()
        };
        if is_long {
            recorder.wait_for("recording to");
            let span = kills.long_ms.end - kills.long_ms.start;
            let live_ms = kills.long_ms.start + dice.below(span);
            thread::sleep(Duration::from_millis(live_ms));
        } else {
            let live_us = dice.below(kills.short_ms_max * 1_000);
            thread::sleep(Duration::from_micros(live_us));
        }
        table.readers_killed += readers.len();
        readers.into_iter().for_each(end);
        let killed_ns = wall_ns();
        recorder.kill();
        // What a life before left is no measure of this one.
        books.take_last_wall_ns();
        books.look(&place.state);
        if is_long && let Some(last_ns) = books.take_last_wall_ns() {
            table.lost_ns_max = table.lost_ns_max.max(killed_ns - last_ns);
        }
    }
    place.start(kills.sensor).stop_when_recording();
    books.look(&place.state);
    (table.epochs, table.records) = (books.epochs(), books.records());
    assert!(table.lost_ns_max < LOST_NS_MAX, "{table}");
    table
}

fn watchers(place: &Place) -> Vec<Child> {
    let watch = |command: &str| {
        Command::new(program("conntrail"))
            .arg("--state-dir")
            .arg(&place.state)
            .arg(command)
            .arg("--json")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    vec![watch("watch"), watch("query")]
}

fn end(mut reader: Child) {
    // A query may have ended by itself.
    let _ = reader.kill();
    reader.wait().unwrap();
}

/// Random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
