//! File systems that fill up, go away, or stand still; each in a mount namespace of its own.

use super::{Books, HASTY, Load, PATIENCE, Place, Running};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// A small file system that nobody else sees; gone with the process that holds it.
struct Island {
    holder: Child,
    mounted: PathBuf,
}

/// Of a core, beside twice what recording takes anyway: whoever tries in a circle takes all of it.
const TROUBLE_PER_MILLE_MAX: u64 = 200;
const MEMORY_MAX: u64 = 200 << 20;

impl Island {
    /// `how` mounts it on `$1`, in a folder `$2` that it may use.
    fn make(folder: &Path, how: &str) -> Island {
        let mounted = folder.join("island");
        fs::create_dir(&mounted).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec"])
            .arg(format!("{how}; echo ready; exec sleep 300"))
            .arg("sh")
            .args([&mounted, folder])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "`{how}` failed");
        Island { holder, mounted }
    }

    /// Where it is, seen from here.
    fn path(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root)
            .join(self.mounted.strip_prefix("/").unwrap())
            .join(name)
    }

    /// Runs a program there, with the mount point as its last argument.
    fn run(&self, words: &[&str]) {
        let status = Command::new("nsenter")
            .args(["--target", &self.holder.id().to_string(), "--mount"])
            .args(words)
            .arg(&self.mounted)
            .status()
            .unwrap();
        assert!(status.success(), "{words:?}: {status}");
    }

    fn fill(&self) {
        let mut chunk = vec![1_u8; 1 << 20];
        let mut index = 0;
        while chunk.len() > 512 {
            if fs::write(self.path(&format!("filler{index}")), &chunk).is_err() {
                chunk.truncate(chunk.len() / 2);
            }
            index += 1;
        }
        // A write that failed may have left a hole at the end.
        let _ = fs::write(self.path("filler-last"), vec![1_u8; 64 << 10]);
    }

    fn empty(&self) {
        for entry in fs::read_dir(self.path("")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("filler")
            {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // A test that failed may have left it frozen, and then nobody on it can even be killed.
        let _ = Command::new("nsenter")
            .args(["--target", &self.holder.id().to_string(), "--mount"])
            .args(["fsfreeze", "--unfreeze"])
            .arg(&self.mounted)
            .stderr(Stdio::null())
            .status();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

const MEMORY_DISK: &str = "mount -t tmpfs -o size=4m none \"$1\"";
const LOOP_DISK: &str = "truncate -s 24M \"$2/disk\"; mkfs.ext4 -q \"$2/disk\"; \
    mount -o loop,errors=remount-ro \"$2/disk\" \"$1\"";

/// An island, and a place on it.
fn settle_on(how: &str) -> (Island, Place) {
    let folder = tempdir().unwrap();
    let island = Island::make(folder.path(), how);
    let state = island.path("state");
    let place = Place::at(folder, state, HASTY);
    (island, place)
}

/// What a recorder takes of processor and memory while its disk is in order.
struct Modesty {
    per_mille_before: u64,
    cpu_ms: u64,
    since: Instant,
}

impl Modesty {
    fn measure(recorder: &Running) -> Modesty {
        let (since, cpu_ms) = (Instant::now(), recorder.cpu_ms());
        thread::sleep(Duration::from_secs(2));
        let passed_ms = since.elapsed().as_millis() as u64;
        Modesty {
            per_mille_before: (recorder.cpu_ms() - cpu_ms) * 1_000 / passed_ms,
            cpu_ms: recorder.cpu_ms(),
            since: Instant::now(),
        }
    }

    /// It takes no more now than a disk in trouble may cost.
    fn check(&self, recorder: &Running) {
        let used_ms = recorder.cpu_ms() - self.cpu_ms;
        let per_mille = used_ms * 1_000 / self.since.elapsed().as_millis() as u64;
        let before = self.per_mille_before;
        let memory = recorder.resident_bytes();
        println!("  processor before {before} per mille, then {per_mille}; memory {memory} bytes");
        assert!(per_mille < 2 * before + TROUBLE_PER_MILLE_MAX);
        assert!(memory < MEMORY_MAX);
    }
}

/// So many records that losing or misplacing some would show.
const RECORDS_MIN: usize = 21;

fn settle(place: &Place) {
    let mut books = Books::default();
    books.look(&place.state);
    let records = books.records();
    assert!(records >= RECORDS_MIN, "only {records} records");
    books.settle(&place.state);
}

/// A polled sensor sees few of the load's short connections, and what is left of a page that the
/// trail has must fill up first.
fn wait_for_times(recorder: &Running, words: &str, times: usize) {
    let since = Instant::now();
    while recorder.log().matches(words).count() < times {
        let log = recorder.log();
        assert!(
            since.elapsed() < PATIENCE,
            "not {times} times {words}:\n{log}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs mount: root and mount namespaces"]
fn a_disk_that_others_fill_and_empty_is_waited_for() {
    let (island, place) = settle_on(MEMORY_DISK);
    let load = Load::start_for_polling();
    let recorder = place.start("sampled");
    recorder.wait_for("recording to");
    let modesty = Modesty::measure(&recorder);
    for round in 1..=2 {
        island.fill();
        wait_for_times(&recorder, "cannot be written now", round);
        thread::sleep(Duration::from_millis(1_500));
        island.empty();
        wait_for_times(&recorder, "can be written again", round);
    }
    modesty.check(&recorder);
    place.wait_for_records(RECORDS_MIN);
    load.stop();
    let log = recorder.stop();
    assert!(log.contains("free space on that file system"), "{log}");
    settle(&place);
}

#[test]
#[ignore = "needs mount: root and mount namespaces"]
fn a_disk_that_becomes_read_only_is_said_and_the_next_start_goes_on() {
    let (island, place) = settle_on(LOOP_DISK);
    let load = Load::start_for_polling();
    let recorder = place.start("sampled");
    recorder.wait_for("recording to");
    place.wait_for_records(RECORDS_MIN);
    let mut books = Books::default();
    books.look(&place.state);
    let modesty = Modesty::measure(&recorder);
    // What a fault of the device does, as the file system is mounted by most distributions.
    let fault = "d=$(findmnt -no SOURCE \"$0\"); \
                 echo 1 > /sys/fs/ext4/$(basename \"$d\")/trigger_fs_error";
    island.run(&["sh", "-ec", fault]);
    recorder.wait_for("cannot be written now");
    thread::sleep(Duration::from_secs(3));
    modesty.check(&recorder);
    load.stop();
    recorder.kill();
    let repair = "d=$(findmnt -no SOURCE \"$0\"); f=${0%/island}/disk; umount \"$0\"; \
                  e2fsck -fy \"$f\" > \"$f.log\" 2>&1 || test $? -le 1; \
                  mount -o loop \"$f\" \"$0\"";
    island.run(&["sh", "-ec", repair]);
    place.start("sampled").stop_when_recording();
    books.settle(&place.state);
    assert_eq!(books.epochs(), 2);
}

#[test]
#[ignore = "needs mount: root and mount namespaces"]
fn a_disk_that_is_full_or_read_only_at_the_start_is_said_and_nothing_is_harmed() {
    let (island, place) = settle_on(MEMORY_DISK);
    place.start("sampled").stop_when_recording();
    let mut books = Books::default();
    books.look(&place.state);
    island.fill();
    let (status, log) = place.start("sampled").wait_for_end();
    assert!(!status.success() && log.contains("free space"), "{log}");
    island.empty();
    island.run(&["mount", "-o", "remount,ro"]);
    let (status, log) = place.start("sampled").wait_for_end();
    assert!(!status.success() && log.contains("for writing"), "{log}");
    island.run(&["mount", "-o", "remount,rw"]);
    books.look(&place.state);
    place.start("sampled").stop_when_recording();
    books.settle(&place.state);
}

#[test]
#[ignore = "needs mount: root and mount namespaces"]
fn a_disk_that_is_unmounted_beneath_the_recorder_is_noticed() {
    let (island, place) = settle_on(MEMORY_DISK);
    let load = Load::start_for_polling();
    let recorder = place.start("sampled");
    recorder.wait_for("recording to");
    place.wait_for_records(RECORDS_MIN);
    island.run(&["umount", "--lazy"]);
    recorder.wait_for("were deleted by somebody else");
    place.wait_for_records(1);
    load.stop();
    recorder.stop();
    let report = trail::verify(&trail::segments_dir(&place.state)).unwrap();
    assert!(
        report.records > 0 && report.looks_untouched(),
        "{report:#?}"
    );
}

#[test]
#[ignore = "needs mount: root and mount namespaces"]
fn a_disk_that_stands_still_delays_no_connection_and_loses_no_order() {
    let (island, place) = settle_on(LOOP_DISK);
    let load = Load::start_for_polling();
    let recorder = place.start("sampled");
    recorder.wait_for("recording to");
    place.wait_for_records(RECORDS_MIN);
    let before = load.slowest();
    let modesty = Modesty::measure(&recorder);
    island.run(&["fsfreeze", "--freeze"]);
    thread::sleep(Duration::from_secs(5));
    let (during, memory) = (load.slowest(), recorder.resident_bytes());
    island.run(&["fsfreeze", "--unfreeze"]);
    println!("  slowest connect before {before:?}, while the disk stood still {during:?}");
    println!("  memory then {memory} bytes");
    // What others do on the machine is in it, but not five seconds.
    assert!(during < Duration::from_secs(2), "{during:?}");
    thread::sleep(Duration::from_millis(1_500));
    modesty.check(&recorder);
    place.wait_for_records(2 * RECORDS_MIN);
    load.stop();
    recorder.stop();
    settle(&place);
}
