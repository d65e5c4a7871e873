//! Planted faults: mistakes put into a copy of the macOS adapter, each of which a test must notice.
//!
//! A test that cannot fail proves nothing, and nobody sees that it cannot. So `macos/faults.toml`
//! lists mistakes that somebody could make, each as a text and what stands there instead; every one
//! is put into a copy of the tree alone, and the adapter's tests, in the debug build that checks
//! type encodings, must fail. All share one build folder, so that a fault costs one small build.
//! While the tests of some faults run, which wait more than they compute, the next one is built.

use crate::duration;
use crate::process;
use crate::test::libtest::{self, Verdict};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The list, relative to the root.
const LIST: &str = "macos/faults.toml";

/// Fewer would not say much about the tests.
const FAULTS_MIN: usize = 30;

/// How long the tests may take with a fault in the code: one that hangs is noticed too.
const LIMIT: Duration = Duration::from_secs(150);

/// How long the first build, of everything, may take.
const LIMIT_FIRST: Duration = Duration::from_secs(900);

/// How many test programs run at a time. They take their turns at doubles of the system, and so
/// wait most of their time.
const LANES: usize = 4;

/// How often the tests' log is looked at.
const POLL: Duration = Duration::from_millis(50);

/// The test programs of a crate.
const PROGRAMS: [&[&str]; 2] = [SCENARIOS, UNIT_TESTS];
const SCENARIOS: &[&str] = &["--test", "it"];
const UNIT_TESTS: &[&str] = &["--lib"];

/// What the system calls: there the scenarios notice more than the unit tests.
const CALLED_BY_THE_SYSTEM: &[&str] = &["provider.rs", "sensor.rs"];

/// What `cargo xtask faults` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the faults whose name contains this.
    filter: Option<String>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A name, in words that say what is wrong then.
    pub(crate) name: String,
    package: String,
    file: String,
    find: String,
    replace: String,
}

/// Who noticed a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// These tests.
    Tests(Vec<String>),
    /// The compiler.
    Compiler,
    /// The clock: the tests did not end.
    OutOfTime,
    /// Nobody.
    Nobody,
}

/// `cargo xtask faults`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let faults = load(&workspace.root)?;
    let is_chosen = |fault: &Fault| {
        let filter = options.filter.as_deref();
        filter.is_none_or(|filter| fault.name.contains(filter))
    };
    let chosen: Vec<Fault> = faults.into_iter().filter(is_chosen).collect();
    ensure!(!chosen.is_empty(), "no fault has such a name; see {LIST}");
    let mut unnoticed = 0;
    plant_all(workspace, &chosen, |_, noticed| {
        unnoticed += usize::from(*noticed == Noticed::Nobody);
    })?;
    Ok(if unnoticed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The list, checked: enough of them, each name once.
pub(crate) fn load(root: &Path) -> Result<Vec<Fault>> {
    load_list(root, LIST, FAULTS_MIN)
}

/// Another such list, checked alike.
pub(crate) fn load_list(root: &Path, list: &str, count_min: usize) -> Result<Vec<Fault>> {
    let path = root.join(list);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let faults = parse(&text).with_context(|| format!("in {list}"))?;
    let count = faults.len();
    ensure!(
        count >= count_min,
        "{list} has {count} faults, at least {count_min} belong there"
    );
    Ok(faults)
}

/// Plants each fault alone in a copy of the tree and tells `each` who noticed; prints a table.
pub(crate) fn plant_all(
    workspace: &Workspace,
    faults: &[Fault],
    mut each: impl FnMut(&Fault, &Noticed),
) -> Result<()> {
    let garden = Garden::lay_out(workspace, "faults")?;
    let started = Instant::now();
    garden.must_be_healthy(faults)?;
    println!(
        "healthy without a fault ({})",
        duration::show(started.elapsed())
    );
    let mut count = 0;
    let plant = |fault: &Fault, lane: usize| {
        let begun = Instant::now();
        (garden.plant(fault, lane), begun.elapsed())
    };
    in_lanes(faults, plant, |fault, (noticed, time)| {
        let noticed = noticed?;
        count += usize::from(noticed != Noticed::Nobody);
        println!(
            "{:<44} {:>6}  {}",
            fault.name,
            duration::show(time),
            noticed.in_words()
        );
        each(fault, &noticed);
        Ok(())
    })?;
    println!(
        "{count} of {} faults noticed, {} in all",
        faults.len(),
        duration::show(started.elapsed())
    );
    Ok(())
}

/// Does something with each job, some at a time, and tells what came of it in the order in which
/// they end.
fn in_lanes<T: Sync, R: Send>(
    jobs: &[T],
    act: impl Fn(&T, usize) -> R + Sync,
    mut hear: impl FnMut(&T, R) -> Result<()>,
) -> Result<()> {
    let (next, act) = (AtomicUsize::new(0), &act);
    let (told, heard) = mpsc::channel();
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (told, next) = (told.clone(), &next);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens any more after an error.
                    if told.send((job, act(job, lane))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        heard
            .into_iter()
            .try_for_each(|(job, done)| hear(job, done))
    })
}

impl Noticed {
    fn in_words(&self) -> String {
        match self {
            Noticed::Tests(tests) => match tests.as_slice() {
                [] => "a test program that ended early".to_owned(),
                [one] => one.clone(),
                [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            },
            Noticed::Compiler => "the compiler".to_owned(),
            Noticed::OutOfTime => "tests that did not end".to_owned(),
            Noticed::Nobody => "NOBODY".to_owned(),
        }
    }
}

/// A copy of the tree, and the folder that its builds share.
pub(crate) struct Garden {
    tree: PathBuf,
    target: PathBuf,
    tools: PathBuf,
    /// Held by whoever changes the copy, or builds it.
    building: Mutex<()>,
}

impl Garden {
    /// A copy in the folder `name` of the tools, next to its builds.
    pub(crate) fn lay_out(workspace: &Workspace, name: &str) -> Result<Garden> {
        let tools = workspace.tools(name)?;
        let tree = tools.join("tree");
        workspace.copy_sources(&tree)?;
        Ok(Garden {
            tree,
            target: tools.join("target"),
            tools,
            building: Mutex::new(()),
        })
    }

    /// Each program runs twice, beside others as it will with a fault: what fails by that would
    /// count as noticed.
    fn must_be_healthy(&self, faults: &[Fault]) -> Result<()> {
        let packages: BTreeSet<&str> = faults.iter().map(|it| it.package.as_str()).collect();
        let programs = packages
            .iter()
            .flat_map(|package| PROGRAMS.map(|program| (*package, program)));
        let programs: Vec<(&str, &[&str])> = programs.collect();
        let twice = [programs.as_slice(), &programs].concat();
        let test = |(package, program): &(&str, &[&str]), lane: usize| {
            let noticed = self.test(None, package, program, lane, LIMIT_FIRST)?;
            Ok((noticed, self.log(lane)))
        };
        in_lanes(&twice, test, |(package, _), tested: Result<_>| {
            let (noticed, log) = tested?;
            ensure!(
                noticed == Noticed::Nobody,
                "{package} fails without any fault ({}); the log was {}",
                noticed.in_words(),
                log.display()
            );
            Ok(())
        })
    }

    /// The copy.
    pub(crate) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Where the copy is built.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Does something while the fault is in the copy.
    pub(crate) fn with<T>(&self, fault: &Fault, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.tree.join(&fault.file);
        let healthy = fs::read_to_string(&path)
            .with_context(|| format!("{}: cannot read {}", fault.name, fault.file))?;
        fs::write(&path, fault.put_into(&healthy)?)?;
        let done = act();
        fs::write(&path, healthy)?;
        done
    }

    /// The second program is built and run only when the first noticed nothing.
    fn plant(&self, fault: &Fault, lane: usize) -> Result<Noticed> {
        for program in fault.programs() {
            let noticed = self.test(Some(fault), &fault.package, program, lane, LIMIT)?;
            if noticed != Noticed::Nobody {
                return Ok(noticed);
            }
        }
        Ok(Noticed::Nobody)
    }

    fn test(
        &self,
        fault: Option<&Fault>,
        package: &str,
        program: &[&str],
        lane: usize,
        limit: Duration,
    ) -> Result<Noticed> {
        let Some(executable) = self.build_alone(fault, package, program, lane)? else {
            return Ok(Noticed::Compiler);
        };
        let mut tests = Command::new(executable);
        tests.current_dir(self.tree.join("crates").join(package));
        run_until_a_failure(&mut tests, &self.log(lane), limit)
    }

    /// Builds a test program while nobody else does, and takes it away from where the next build
    /// would replace it. It is moved and not copied: a file that somebody has open for writing
    /// cannot be run, and a process that is just being started may have all of ours open.
    fn build_alone(
        &self,
        fault: Option<&Fault>,
        package: &str,
        program: &[&str],
        lane: usize,
    ) -> Result<Option<PathBuf>> {
        let _alone = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let build = || self.build(package, program, lane);
        let built = match fault {
            Some(fault) => self.with(fault, build)?,
            None => build()?,
        };
        let taken = self.tools.join(format!("lane-{lane}"));
        built
            .map(|built| fs::rename(&built, &taken).map(|()| taken))
            .transpose()
            .context("cannot move a test program")
    }

    fn log(&self, lane: usize) -> PathBuf {
        self.tools.join(format!("log-{lane}"))
    }

    /// Builds a test program; `None` when the compiler refuses.
    fn build(&self, package: &str, program: &[&str], lane: usize) -> Result<Option<PathBuf>> {
        let mut command = process::cargo();
        command
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // One crate is built again and again.
            .env("CARGO_INCREMENTAL", "1")
            .args(["test", "--no-run", "--quiet", "--package", package])
            .arg("--message-format=json")
            .args(program)
            .stdin(Stdio::null());
        let output = command.output().context("cannot start cargo")?;
        if !output.status.success() {
            fs::write(self.log(lane), &output.stderr)?;
            return Ok(None);
        }
        let programs = process::test_programs(&String::from_utf8_lossy(&output.stdout));
        let executable = programs.into_iter().next();
        executable.context("cargo built no test program").map(Some)
    }
}

/// Runs a test program until one of its tests fails, or it ends, or its time is over: with a
/// serious fault every test fails, and many of them by waiting in vain.
fn run_until_a_failure(tests: &mut Command, log: &Path, limit: Duration) -> Result<Noticed> {
    let file = fs::File::create(log)?;
    let mut child = tests
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .context("cannot start the tests")?;
    let deadline = Instant::now() + limit;
    loop {
        let ended = process::wait_for(&mut child, POLL)?;
        let failed = failed(&String::from_utf8_lossy(&fs::read(log)?));
        let is_over = Instant::now() >= deadline;
        if ended.is_none() && (is_over || !failed.is_empty()) {
            child.kill()?;
            child.wait()?;
        }
        match ended {
            _ if !failed.is_empty() => return Ok(Noticed::Tests(failed)),
            Some(status) if status.success() => return Ok(Noticed::Nobody),
            Some(_) => return Ok(Noticed::Tests(Vec::new())),
            None if is_over => return Ok(Noticed::OutOfTime),
            None => {}
        }
    }
}

impl Fault {
    /// The test programs, first the one that is likelier to notice.
    fn programs(&self) -> [&'static [&'static str]; 2] {
        let is_called = |name: &&str| self.file.ends_with(*name);
        if CALLED_BY_THE_SYSTEM.iter().any(is_called) {
            [SCENARIOS, UNIT_TESTS]
        } else {
            [UNIT_TESTS, SCENARIOS]
        }
    }

    fn put_into(&self, healthy: &str) -> Result<String> {
        let count = healthy.matches(&self.find).count();
        ensure!(
            count == 1,
            "{}: its text occurs {count} times in {}, it must occur once; mend the list",
            self.name,
            self.file
        );
        Ok(healthy.replace(&self.find, &self.replace))
    }
}

/// The tests that failed so far.
fn failed(log: &str) -> Vec<String> {
    let verdicts = libtest::verdicts(log).into_iter();
    let failed = verdicts.filter(|(_, verdict)| *verdict == Verdict::Failed);
    failed.map(|(name, _)| name).collect()
}

fn parse(text: &str) -> Result<Vec<Fault>> {
    let table: toml::Table = text.parse()?;
    let list = table
        .get("fault")
        .and_then(toml::Value::as_array)
        .context("there is no [[fault]]")?;
    let mut names = BTreeSet::new();
    let mut faults = Vec::new();
    for entry in list {
        let fault = fault(entry)?;
        ensure!(
            names.insert(fault.name.clone()),
            "{} is there twice",
            fault.name
        );
        ensure!(
            fault.find != fault.replace,
            "{} changes nothing",
            fault.name
        );
        faults.push(fault);
    }
    Ok(faults)
}

fn fault(entry: &toml::Value) -> Result<Fault> {
    let text = |key: &str| {
        let value = entry.get(key).and_then(toml::Value::as_str);
        value.map(str::to_owned)
    };
    let name = text("name").context("a fault has no name")?;
    let of = |key: &str| text(key).with_context(|| format!("{name} has no text `{key}`"));
    let file = of("file")?;
    let package = file
        .strip_prefix("crates/")
        .and_then(|rest| rest.split('/').next())
        .with_context(|| format!("{name}: {file} is not in crates/"))?
        .to_owned();
    Ok(Fault {
        package,
        find: of("find")?,
        replace: of("replace")?,
        file,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "[[fault]]\nname = \"drops\"\nfile = \"crates/sensor-macos/src/a.rs\"\n\
                          find = \"allow()\"\nreplace = \"drop()\"\n";

    #[test]
    fn a_fault_replaces_its_text_once_or_complains() {
        let fault = parse(LISTED).unwrap().remove(0);
        assert_eq!(fault.package, "sensor-macos");
        assert_eq!(fault.put_into("x allow() y").unwrap(), "x drop() y");
        for wrong in ["", "allow() allow()"] {
            let error = fault.put_into(wrong).unwrap_err().to_string();
            assert!(error.contains("must occur once"), "{error}");
        }
    }

    #[test]
    fn a_list_with_a_mistake_is_refused() {
        for (wrong, complaint) in [
            (String::new(), "no [[fault]]"),
            (
                LISTED.replace("find =", "fnd ="),
                "drops has no text `find`",
            ),
            (LISTED.replace("drop()", "allow()"), "changes nothing"),
            (LISTED.repeat(2), "twice"),
            (LISTED.replace("crates/", "src/"), "not in crates/"),
        ] {
            let error = format!("{:#}", parse(&wrong).unwrap_err());
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn the_log_says_who_noticed() {
        let log = "test a::one ... ok\ntest a::two ... FAILED\n\ntest b ... FAILED\n";
        assert_eq!(failed(log), ["a::two", "b"]);
        assert_eq!(failed("test a::one ... ok\n"), [""; 0]);
    }

    #[test]
    fn every_job_is_done_once_and_an_error_ends_the_rest() {
        let jobs: Vec<usize> = (0..40).collect();
        let mut done = Vec::new();
        in_lanes(
            &jobs,
            |job, lane| (*job, lane),
            |_, (job, lane)| {
                assert!(lane < LANES);
                done.push(job);
                Ok(())
            },
        )
        .unwrap();
        done.sort_unstable();
        assert_eq!(done, jobs);
        let mut count = 0;
        let failed = in_lanes(
            &jobs,
            |_, _| (),
            |_, ()| {
                count += 1;
                anyhow::bail!("no more")
            },
        );
        assert_eq!((failed.is_err(), count), (true, 1));
    }

    #[test]
    fn tests_that_fail_hang_or_die_are_told_apart() {
        let log = std::env::temp_dir().join(format!("xtask-faults-{}", std::process::id()));
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run_until_a_failure(&mut command, &log, Duration::from_millis(500)).unwrap()
        };
        let fails = run("echo 'test a ... FAILED'; exec sleep 60");
        assert_eq!(fails, Noticed::Tests(vec!["a".to_owned()]));
        assert_eq!(run("exec sleep 60"), Noticed::OutOfTime);
        assert_eq!(run("exit 101"), Noticed::Tests(Vec::new()));
        assert_eq!(run("echo 'test a ... ok'"), Noticed::Nobody);
        fs::remove_file(log).unwrap();
    }
}
