//! The committed corpus and all seeds, through every target.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

use fuzz::{TARGETS, Target};
use record::sample::Random;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The corpus stays small: what adds nothing to what is reached does not belong into it.
const FILES_MAX: usize = 300;
const BYTES_MAX: u64 = 1 << 20;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &Target) -> Vec<PathBuf> {
    let folder = corpus().join(target.name);
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = listed.map(|it| it.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let target = fuzz::target(name).unwrap();
    for file in inputs(target) {
        let bytes = fs::read(&file).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| (target.check)(&bytes)));
        assert!(
            result.is_ok(),
            "{} does not hold; see above",
            file.display()
        );
    }
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    let mut random = Random::new(1);
    for seed in seeds {
        (target.check)(&seed);
        for _ in 0..CHANGES {
            let changed = change(&seed, &mut random);
            let result = catch_unwind(AssertUnwindSafe(|| (target.check)(&changed)));
            assert!(result.is_ok(), "does not hold; see above: {changed:02x?}");
        }
    }
}

/// How many times each seed is changed.
const CHANGES: usize = 25;

/// The seed with a few bytes that are others, gone, or there twice.
fn change(seed: &[u8], random: &mut Random) -> Vec<u8> {
    const NUMBERS: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let to = (at + random.below(9) as usize).min(bytes.len());
        match random.below(5) {
            0 => bytes[at..to].fill_with(|| random.number() as u8),
            1 => bytes[at..to].fill(random.pick(&NUMBERS)),
            2 => drop(bytes.drain(at..to)),
            3 => bytes.extend_from_within(at..to),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

macro_rules! replayed {
    ($($name:ident),+ $(,)?) => {
        mod fuzz_corpora_replayed {
            $(#[test] fn $name() { super::replay(stringify!($name)); })+
        }
        const REPLAYED: &[&str] = &[$(stringify!($name)),+];
    };
}

replayed!(
    record,
    device,
    process,
    ocsf,
    policy,
    flow_stream,
    kernel_ring,
    segment,
    dense_segment,
    frame,
    trail_head,
    epoch,
    chain_head,
    batch,
    ship_config,
);

#[test]
fn every_target_is_replayed_and_has_a_folder_of_its_own() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED);
    for folder in fs::read_dir(corpus()).unwrap() {
        let name = folder.unwrap().file_name();
        assert!(
            names.contains(&name.to_str().unwrap()),
            "nobody replays {name:?}"
        );
    }
}

#[test]
fn the_corpus_is_small() {
    let files: Vec<PathBuf> = TARGETS.iter().flat_map(inputs).collect();
    let bytes: u64 = files.iter().map(|it| fs::metadata(it).unwrap().len()).sum();
    assert!(files.len() <= FILES_MAX, "{} files", files.len());
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}

#[test]
fn what_holds_of_seeds_does_not_hold_by_chance() {
    // Each seed of a format that is read is good: it reaches what is checked behind the reading.
    for record in (fuzz::target("record").unwrap().seeds)() {
        record::codec::decode(&record).unwrap();
    }
    for stream in (fuzz::target("flow_stream").unwrap().seeds)() {
        flow::stream::decode_header(&mut stream.as_slice()).unwrap();
    }
    for text in (fuzz::target("ship_config").unwrap().seeds)() {
        ship::config::parse(std::str::from_utf8(&text).unwrap()).unwrap();
    }
    for policy in (fuzz::target("policy").unwrap().seeds)() {
        policy::Policy::parse(std::str::from_utf8(&policy).unwrap()).unwrap();
    }
}

mod fuzzer {
    use super::*;
    use std::iter;
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// How many targets run at a time; a fuzzer takes one processor.
    const AT_A_TIME: usize = 2;

    /// Long enough to run all of the corpus and some thousand inputs made of it.
    const SECONDS: u32 = 4;

    /// So many lines at the end of what the fuzzer says are the finding.
    const LINES_MAX: usize = 60;

    #[test]
    #[ignore = "needs fuzzer: libFuzzer, and the code instrumented for it"]
    fn every_target_holds_for_some_seconds() {
        let runner = PathBuf::from(std::env::var_os("CONNTRAIL_FUZZER").unwrap());
        let next = AtomicUsize::new(0);
        let fuzz_some = || {
            let targets = iter::from_fn(|| TARGETS.get(next.fetch_add(1, Ordering::Relaxed)));
            let failures = targets.filter_map(|target| fuzz(target, &runner).err());
            failures.collect::<Vec<String>>()
        };
        let failures = thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(fuzz_some)).collect();
            let found = threads.into_iter().flat_map(|it| it.join().unwrap());
            found.collect::<Vec<String>>()
        });
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    fn fuzz(target: &Target, runner: &Path) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        for (index, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.path().join(index.to_string()), seed).unwrap();
        }
        // Beside the fuzzer, where it outlives the test.
        let finding = runner.with_file_name(format!("{}.finding", target.name));
        let _ = fs::remove_file(&finding);
        let output = Command::new(runner)
            .env("CONNTRAIL_FUZZ_TARGET", target.name)
            .args(["-max_len=16384", "-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!("-max_total_time={SECONDS}"))
            .arg(format!("-exact_artifact_path={}", finding.display()))
            .args([folder.path(), &corpus().join(target.name)])
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        let said = end_of(&String::from_utf8_lossy(&output.stderr));
        let input = fs::read(&finding).unwrap_or_default();
        let (name, status) = (target.name, output.status);
        Err(format!(
            "{name}: {status}\n{said}\nThe input is {}, in hexadecimal:\n{}",
            finding.display(),
            hexadecimal(&input)
        ))
    }

    /// The last lines, but those that only tell how far it got.
    fn end_of(said: &str) -> String {
        let lines: Vec<&str> = said.lines().filter(|it| !it.starts_with('#')).collect();
        lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
    }

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
