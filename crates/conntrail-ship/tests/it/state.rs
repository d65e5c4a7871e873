//! What the shipper keeps of each destination, damaged, out of reach, or not to be written.

use crate::ends::{Place, write};
use crate::program::{Collector, Mood, Shipper, configure, status_of, until};
use record::{RecordId, UndeliveredCause};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use trail::{Item, TrailReader, segments_dir};

const AT_ONCE: Mood = Mood::Takes(Duration::ZERO);

fn state_file(place: &Place) -> PathBuf {
    place.state().join("ship").join("good.state")
}

fn once(place: &Place) -> String {
    let (code, log) = Shipper::once(place, &["--timeout-s", "30"]);
    assert_eq!(code, Some(0), "{log}");
    log
}

/// A state with something in it that this version does not know, whole.
fn of_another_version(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let json = text.lines().next().unwrap();
    let json = json.replacen('{', "{\"held\":[],", 1);
    let digest = Sha256::digest(json.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{json}\n{digest}\n").into_bytes()
}

fn oldest_segment(state: &Path) -> PathBuf {
    let entries = fs::read_dir(segments_dir(state)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let segments = paths.filter(|path| path.extension().is_some_and(|it| it == "trail"));
    segments.min().unwrap()
}

#[test]
fn a_state_that_is_damaged_is_named_and_everything_that_is_there_is_sent_again() {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let noise: Damage = |bytes| (0..bytes.len()).map(|it| (it * 151 + 7) as u8).collect();
    let damages: [(Damage, &str); 4] = [
        (|bytes| bytes[..bytes.len() / 2].to_vec(), "it is damaged"),
        (|_| Vec::new(), "it is damaged"),
        (noise, "it is damaged"),
        (
            of_another_version,
            "another version of the program wrote it",
        ),
    ];
    for (damage, told) in damages {
        let (place, good) = (Place::new(), Collector::new(AT_ONCE));
        configure(&place, &[&good.destination("good", "")]);
        let mut writer = place.writer();
        (0..2).for_each(|seed| write(&mut writer, seed, 1_000));
        let log = once(&place);
        assert!(!log.contains("again"), "{log}");
        assert_eq!(good.rows().len(), 2_001);
        // What is gone by now was acknowledged before: it is not declared lost, but nobody knows.
        fs::remove_file(oldest_segment(&place.state())).unwrap();
        let left = place.ids();
        assert!((1..2_001).contains(&left.len()));

        let path = state_file(&place);
        fs::write(&path, damage(&fs::read(&path).unwrap())).unwrap();
        let log = once(&place);
        let line = format!("good: {}: {told}; everything is sent again", path.display());
        assert!(log.contains(&line), "{log}");
        let status = status_of(&place, "good").unwrap();
        assert!(status.warnings[0].contains("sent again"), "{status:?}");
        for (id, count) in good.rows() {
            let expected = 1 + u64::from(left.contains(&id));
            assert_eq!(count, expected, "{id:?}: {log}");
        }
        let declared = place.declared();
        let [unknown] = &declared[..] else {
            panic!("{declared:?}");
        };
        let before = left.first().unwrap().sequence - 1;
        assert_eq!((unknown.first_sequence, unknown.last_sequence), (1, before));
        assert_eq!(unknown.cause, UndeliveredCause::Unknown);

        let before = good.taken().len();
        let log = once(&place);
        assert!(!log.contains("again"), "{log}");
        assert_eq!(good.taken().len(), before);
        assert_eq!(place.declared(), declared);
    }
}

#[test]
fn while_a_state_cannot_be_read_nothing_is_sent_and_somebody_is_told_what_to_do() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    let mut writer = place.writer();
    write(&mut writer, 1, 500);
    once(&place);
    let (path, away) = (state_file(&place), place.folder.path().join("away"));
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    write(&mut writer, 2, 500);
    let shipper = Shipper::run(&place, &[]);
    let remedy = format!(
        "good: {} cannot be read, and nothing is sent",
        path.display()
    );
    shipper.says(&remedy);
    let is_told = || {
        let status = status_of(&place, "good");
        let problem = status.filter(|it| it.state == "misconfigured");
        problem.is_some_and(|it| it.problem.unwrap().contains("or remove it"))
    };
    until("a word in the status", is_told);
    assert_eq!(good.taken().len(), 501);
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    until("the rest", || good.taken().len() >= 1_001);
    let (status, _, log) = shipper.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(good.taken().len(), 1_001, "something was sent again");
    assert_eq!(place.declared(), []);
}

#[test]
fn while_a_state_cannot_be_saved_nothing_new_is_sent_and_nothing_is_declared_again() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    let mut writer = place.writer();
    write(&mut writer, 1, 100);
    let shipper = Shipper::run(&place, &[]);
    until("what was there", || good.taken().len() == 101);
    // In the way of what is put in the place of the state.
    let in_the_way = state_file(&place).with_extension("new");
    let shut = || fs::create_dir(&in_the_way).is_ok();
    until("a moment between two saves", shut);
    (2..6).for_each(|seed| write(&mut writer, seed, 1_000));
    shipper.says("good.state cannot be written, and nothing new is sent");
    // Several attempts.
    thread::sleep(Duration::from_secs(5));
    let log = shipper.log();
    assert_eq!(log.matches("cannot be written").count(), 1, "{log}");
    let status = status_of(&place, "good").unwrap();
    assert_eq!(status.state, "misconfigured");
    assert!(status.problem.unwrap().contains("make room"));
    assert_eq!(good.taken().len(), 101, "what no state knows was sent");
    assert!(status.records >= 101, "it forgot what it had done");
    fs::remove_dir(&in_the_way).unwrap();
    until("the rest", || good.rows().len() == 4_101);
    let (status, _, log) = shipper.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(good.rows().values().all(|it| *it == 1), "there twice");
    assert_eq!(place.declared(), []);
}

#[test]
fn a_loss_is_declared_once_though_the_state_cannot_be_saved() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    let mut writer = place.writer();
    (0..3).for_each(|seed| write(&mut writer, seed, 1_000));
    drop(writer);
    let first = oldest_segment(&place.state());
    let mut bytes = fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&first, bytes).unwrap();
    let in_the_way = state_file(&place).with_extension("new");
    fs::create_dir_all(&in_the_way).unwrap();
    let shipper = Shipper::run(&place, &[]);
    shipper.says("cannot be written");
    thread::sleep(Duration::from_secs(5));
    assert_eq!(good.requests(), 0);
    fs::remove_dir(&in_the_way).unwrap();
    let left = place.ids();
    let newest = *left.last().unwrap();
    until("the newest", || good.rows().contains_key(&newest));
    until("the rest", || good.rows().len() == left.len());
    let (_, _, log) = shipper.stop();
    let declared = place.declared();
    assert_eq!(declared.len(), 1, "{declared:?}: {log}");
}

#[test]
fn a_trail_that_was_set_back_is_named_and_sent_from_its_beginning() {
    let (place, good) = (Place::new(), Collector::new(AT_ONCE));
    configure(&place, &[&good.destination("good", "")]);
    for seed in 0..3 {
        write(&mut place.writer(), seed, 300);
    }
    once(&place);
    assert_eq!(good.rows().len(), 903);
    for entry in fs::read_dir(place.state()).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("ship") => {}
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    let mut writer = place.writer();
    write(&mut writer, 9, 400);
    assert_eq!(writer.epoch(), 1, "the recorder knows no epoch before");
    let log = once(&place);
    assert!(log.contains("was set back"), "{log}");
    let again: BTreeSet<RecordId> = good.taken()[903..].iter().map(|it| it.1).collect();
    assert_eq!(again, place.ids());
    assert_eq!(place.declared(), []);
}

mod mount {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A small disk in memory in the place of the shipper's folder, in a mount namespace of its
    /// own, which `cat` keeps; the program runs there too.
    struct SmallDisk(Child);

    impl SmallDisk {
        fn over(folder: &Path) -> SmallDisk {
            let script = "mount -t tmpfs -o size=256k tmpfs \"$0\" && echo ready && exec cat";
            let mut keeper = Command::new("unshare")
                .args(["--mount", "sh", "-ec", script])
                .arg(folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let mut output = BufReader::new(keeper.stdout.as_mut().unwrap());
            output.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            SmallDisk(keeper)
        }

        fn path(&self, path: &Path) -> PathBuf {
            let root = PathBuf::from(format!("/proc/{}/root", self.0.id()));
            root.join(path.strip_prefix("/").unwrap())
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    #[ignore = "needs mount: root and mount namespaces"]
    fn a_full_disk_holds_deliveries_back_until_there_is_room_and_nothing_is_there_twice() {
        let (place, good) = (Place::new(), Collector::new(AT_ONCE));
        configure(&place, &[&good.destination("good", "")]);
        let mut writer = place.writer();
        write(&mut writer, 1, 500);
        let folder = place.state().join("ship");
        fs::create_dir_all(&folder).unwrap();
        let disk = SmallDisk::over(&folder);
        let shipper = Shipper::run_in_mounts_of(&place, disk.0.id());
        until("what was there", || good.taken().len() == 501);
        let filler = disk.path(&folder).join("filler");
        let is_full = || {
            let mut bytes = fs::read(&filler).unwrap_or_default();
            bytes.resize(bytes.len() + 4_096, 7);
            fs::write(&filler, bytes).is_err()
        };
        until("a full disk", is_full);
        (2..6).for_each(|seed| write(&mut writer, seed, 1_000));
        shipper.says("make room on its disk");
        assert!(shipper.log().contains("No space left on device"));
        let taken = good.taken().len();
        thread::sleep(Duration::from_secs(3));
        assert_eq!(good.taken().len(), taken, "what no state knows was sent");
        fs::remove_file(&filler).unwrap();
        until("the rest", || good.rows().len() == 4_501);
        let (status, _, log) = shipper.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(
            good.rows().values().all(|it| *it == 1),
            "there twice: {log}"
        );
        let state = disk.path(&place.state());
        let mut reader = TrailReader::open(&segments_dir(&state.join("ship"))).unwrap();
        while let Some(item) = reader.next_item().unwrap() {
            assert!(
                !matches!(item, Item::Damaged(_) | Item::Missing(_)),
                "{item:?}"
            );
        }
    }
}
