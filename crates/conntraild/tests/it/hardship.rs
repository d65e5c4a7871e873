//! What may befall a recorder: it is killed at any moment, another one is there already, the disk
//! is full, gone or stands still, the clock is set.

mod books;
mod kernel;
mod kills;
mod load;
mod mount;
mod running;

use books::Books;
use kills::{Kills, kill_often};
use load::Load;
use running::Running;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

/// Polls often, and fills and evicts segments within seconds.
const HASTY: &str = "[sensor]\npoll_interval_ms = 50\n\
    [trail]\nquota_bytes = 1048576\nsegment_bytes = 65536\n";

/// A state folder and a configuration, on whatever file system.
struct Place {
    _folder: TempDir,
    state: PathBuf,
    config: PathBuf,
}

impl Place {
    fn make(config: &str) -> Place {
        let folder = tempdir().unwrap();
        let state = folder.path().join("state");
        Place::at(folder, state, config)
    }

    fn at(folder: TempDir, state: PathBuf, config: &str) -> Place {
        let file = folder.path().join("config.toml");
        fs::write(&file, config).unwrap();
        Place {
            _folder: folder,
            state,
            config: file,
        }
    }

    fn start(&self, sensor: &str) -> Running {
        Running::start(&self.state, &self.config, sensor)
    }

    /// Waits until its trail has at least so many records, however few connections a polled sensor
    /// sees on a machine that has other things to do.
    fn wait_for_records(&self, count: usize) {
        let since = Instant::now();
        loop {
            let mut books = Books::default();
            books.look(&self.state);
            let records = books.records();
            if records >= count {
                return;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "only {records} of {count} records"
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Long, because a test may share the machine with others.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_recorder_that_is_killed_again_and_again_loses_nothing_that_was_synced() {
    let place = Place::make(HASTY);
    let load = Load::start();
    let mut books = Books::default();
    let kills = Kills {
        sensor: "sampled",
        count: 100,
        long_every: 8,
        short_ms_max: 120,
        long_ms: 1_100..1_500,
        readers: false,
    };
    let table = kill_often(&place, &kills, &mut books);
    load.stop();
    books.settle(&place.state);
    println!("{table}");
    assert!(books.epochs() > 12, "hardly any epoch was recorded");
}

#[test]
fn a_second_recorder_is_refused_by_name_and_another_folder_has_its_own() {
    let (first, second) = (Place::make(HASTY), Place::make(HASTY));
    let recorder = first.start("sampled");
    recorder.wait_for("recording to");
    let refused = first.start("sampled");
    let (status, log) = refused.wait_for_end();
    assert!(!status.success());
    let holder = format!("process {}", recorder.pid());
    assert!(
        log.contains("another recorder") && log.contains(&holder),
        "{log}"
    );
    let beside = second.start("sampled");
    beside.wait_for("recording to");
    let load = Load::start_for_polling();
    first.wait_for_records(4);
    second.wait_for_records(4);
    load.stop();
    for (place, recorder) in [(&first, recorder), (&second, beside)] {
        recorder.stop();
        let mut books = Books::default();
        books.look(&place.state);
        assert!(books.records() > 3, "only {} records", books.records());
        books.settle(&place.state);
    }
}

#[test]
fn a_folder_that_is_removed_while_recording_is_made_again_and_the_loss_is_said() {
    let place = Place::make(HASTY);
    let load = Load::start_for_polling();
    let recorder = place.start("sampled");
    place.wait_for_records(4);
    fs::remove_dir_all(&place.state).unwrap();
    recorder.wait_for("were deleted by somebody else");
    place.wait_for_records(1);
    load.stop();
    recorder.stop();
    let report = trail::verify(&trail::segments_dir(&place.state)).unwrap();
    assert!(report.records > 0, "{report:?}");
    assert!(report.looks_untouched(), "{report:?}");
    let first = report.epochs[0].first_sequence;
    assert!(first > 1, "nothing was removed, so nothing was tested");
    let next = place.start("sampled");
    next.wait_for("epoch 2)");
    next.stop();
}

/// Takes the wall clock of a program from a file: seconds that are added.
const CLOCK_SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    int result = (int)syscall(SYS_clock_gettime, id, t);
    if (id == CLOCK_REALTIME && result == 0) {
        char text[32] = {0};
        int file = open(getenv("SHIFT_FILE"), O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) t->tv_sec += atol(text);
            close(file);
        }
    }
    return result;
}
"#;

const DAY_S: i64 = 86_400;

/// A wall clock that a test sets, for one program only.
struct FakeClock {
    folder: TempDir,
}

impl FakeClock {
    fn make() -> FakeClock {
        let folder = tempdir().unwrap();
        let source = folder.path().join("clock.c");
        fs::write(&source, CLOCK_SOURCE).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(folder.path().join("clock.so"))
            .arg(&source)
            .status()
            .unwrap();
        assert!(built.success(), "the C compiler that Rust links with");
        let clock = FakeClock { folder };
        clock.shift(0);
        clock
    }

    fn shift(&self, seconds: i64) {
        let file = self.folder.path().join("shift");
        let new = self.folder.path().join("shift.new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    fn variables(&self) -> [(&str, PathBuf); 2] {
        [
            ("LD_PRELOAD", self.folder.path().join("clock.so")),
            ("SHIFT_FILE", self.folder.path().join("shift")),
        ]
    }
}

#[test]
fn a_clock_set_back_and_a_year_ahead_is_told_and_deletes_nothing() {
    let aged = format!("{HASTY}age_max_s = 604800\n");
    let place = Place::make(&aged);
    let clock = FakeClock::make();
    let earlier = place.start("sampled");
    earlier.wait_for("recording to");
    thread::sleep(Duration::from_millis(1_500));
    earlier.stop();
    let load = Load::start();
    let variables = clock.variables();
    let recorder = Running::start_with(&place.state, &place.config, "sampled", &variables);
    recorder.wait_for("recording to");
    for seconds in [0, -DAY_S, 365 * DAY_S, 0] {
        clock.shift(seconds);
        thread::sleep(Duration::from_millis(2_600));
    }
    load.stop();
    recorder.stop();
    let mut books = Books::default();
    books.look(&place.state);
    let steps = books.clock_steps_s();
    let told = |wanted: i64| steps.iter().any(|step| (step - wanted).abs() < 60);
    assert!(
        told(-DAY_S) && told(366 * DAY_S) && told(-365 * DAY_S),
        "{steps:?}"
    );
    let longest = books.longest_connection_ns();
    assert!(longest < 60_000_000_000, "one lasted {longest} ns");
    books.settle(&place.state);
    assert_eq!(
        books.evicted(),
        None,
        "a clock that is wrong deleted records"
    );
}

#[test]
fn a_state_folder_full_of_traps_is_recorded_to_all_the_same() {
    let place = Place::make(HASTY);
    let segments = trail::segments_dir(&place.state);
    fs::create_dir_all(&segments).unwrap();
    let elsewhere = place.config.with_file_name("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    trap(&segments.join("e00000001-s000000000001.trail"));
    fs::create_dir(segments.join("e00000002-s000000000001.trail")).unwrap();
    for name in ["head", "head.new", "rewrite.new"] {
        std::os::unix::fs::symlink(&elsewhere, segments.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(&elsewhere, place.state.join("endpoint-id.new")).unwrap();
    trap(&place.state.join("epoch"));
    let recorder = place.start("sampled");
    recorder.wait_for("recording to");
    recorder.stop();
    let mut books = Books::default();
    books.look(&place.state);
    assert!(books.records() > 2);
    assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
}

#[test]
fn an_identity_that_is_a_pipe_is_an_error_and_no_hang() {
    let place = Place::make(HASTY);
    fs::create_dir_all(&place.state).unwrap();
    trap(&place.state.join("endpoint-id"));
    let (status, log) = place.start("sampled").wait_for_end();
    assert!(!status.success());
    assert!(log.contains("endpoint-id"), "{log}");
}

/// A pipe that nobody ever writes to.
fn trap(path: &Path) {
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    );
    made.unwrap();
}
