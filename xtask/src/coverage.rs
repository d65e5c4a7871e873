//! Which lines of the macOS adapter no test executes.
//!
//! The adapter is what nobody here can try on a Mac, so every line of it runs on Linux against the
//! doubles; the few that cannot are listed with their reasons in `macos/unexecuted.toml`, and count
//! as not executed.

use crate::duration;
use crate::install::Missing;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The list of lines that no test executes, relative to the root.
const LIST: &str = "macos/unexecuted.toml";

/// More would say that the adapter is not tested.
const LISTED_MAX: usize = 20;

/// The crates whose every line counts.
const PACKAGES: &[&str] = &["app-macos", "sensor-macos"];

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    executed: usize,
    counted: usize,
    /// Lines that no test executes, by file: number and text.
    missed: Vec<(String, usize, String)>,
}

/// A line that is known not to run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    file: String,
    line: String,
    /// Some runs execute it: it is a matter of microseconds.
    sometimes: bool,
}

/// `cargo xtask coverage`.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    match check(workspace)? {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(missing) => {
            println!("cannot measure: {}; {}", missing.reason, missing.fix);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Measures, prints the figure, and says whether every line is executed or listed.
pub(crate) fn check(workspace: &Workspace) -> Result<Result<bool, Missing>> {
    let tools = match Tools::find() {
        Ok(tools) => tools,
        Err(missing) => return Ok(Err(missing)),
    };
    let started = Instant::now();
    let measured = measure(workspace, &tools)?;
    let listed = load(&workspace.root)?;
    let problems = compare(&measured, &listed);
    for problem in &problems {
        println!("{problem}");
    }
    println!(
        "{} of {} lines of {} executed ({:.2} %), {} listed as not executed, {}",
        measured.executed,
        measured.counted,
        PACKAGES.join(" and "),
        100.0 * measured.executed as f64 / measured.counted.max(1) as f64,
        listed.len(),
        duration::show(started.elapsed())
    );
    Ok(Ok(problems.is_empty()))
}

/// The two programs that read what an instrumented test wrote.
struct Tools {
    merge: PathBuf,
    export: PathBuf,
}

impl Tools {
    fn find() -> Result<Tools, Missing> {
        let fix = "rustup component add llvm-tools";
        let there = || {
            let root = process::read(Command::new("rustc").args(["--print", "sysroot"])).ok()?;
            let libraries = Path::new(root.trim()).join("lib/rustlib");
            let hosts = fs::read_dir(libraries).ok()?.flatten();
            hosts
                .map(|host| host.path().join("bin"))
                .find(|bin| bin.join("llvm-profdata").is_file())
        };
        if there().is_none() && process::find("rustup").is_some() {
            println!("installing llvm-tools ({fix})");
            process::succeeds(Command::new("rustup").args(["component", "add", "llvm-tools"]));
        }
        let bin = there().ok_or_else(|| Missing::new("llvm-tools is not installed", fix))?;
        Ok(Tools {
            merge: bin.join("llvm-profdata"),
            export: bin.join("llvm-cov"),
        })
    }
}

fn measure(workspace: &Workspace, tools: &Tools) -> Result<Measured> {
    let directory = workspace.tools("coverage")?;
    let profiles = directory.join("profiles");
    if profiles.exists() {
        fs::remove_dir_all(&profiles)?;
    }
    let programs = build(workspace, &directory)?;
    for program in &programs {
        process::run(
            Command::new(program)
                .current_dir(&workspace.root)
                .arg("--quiet")
                .env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw")),
        )
        .context("a test fails when its lines are counted")?;
    }
    let merged = directory.join("merged.profdata");
    let raw = fs::read_dir(&profiles)?.map(|entry| Ok(entry?.path()));
    let raw = raw.collect::<Result<Vec<PathBuf>>>()?;
    process::run(
        Command::new(&tools.merge)
            .args(["merge", "--sparse", "--output"])
            .arg(&merged)
            .args(raw),
    )?;
    let (first, others) = programs
        .split_first()
        .context("there is at least one test program")?;
    let mut export = Command::new(&tools.export);
    export
        .args(["export", "--format=lcov"])
        .arg(format!("--instr-profile={}", merged.display()))
        .arg(first);
    for program in others {
        export.arg(format!("--object={}", program.display()));
    }
    export.arg("--sources");
    for package in PACKAGES {
        export.arg(workspace.root.join("crates").join(package).join("src"));
    }
    judge(&process::read(&mut export)?, &workspace.root)
}

/// Builds the adapter's test programs so that they count their lines.
fn build(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut command = process::cargo();
    command
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", directory.join("target"))
        .env("RUSTFLAGS", "-Cinstrument-coverage")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("LLVM_PROFILE_FILE", directory.join("build.profraw"))
        .args(["test", "--no-run", "--lib", "--tests"])
        .arg("--message-format=json-render-diagnostics");
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    let programs = process::test_programs(&process::read(&mut command)?);
    ensure!(!programs.is_empty(), "cargo built no test programs");
    Ok(programs)
}

/// Reads the tracefile: `SF:` names a file, `DA:line,count` one of its lines.
fn judge(tracefile: &str, root: &Path) -> Result<Measured> {
    let mut counts: BTreeMap<String, BTreeMap<usize, u64>> = BTreeMap::new();
    let mut file = String::new();
    for line in tracefile.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path);
            file = path
                .strip_prefix(root)
                .unwrap_or(path)
                .display()
                .to_string();
        } else if let Some((number, count)) = line
            .strip_prefix("DA:")
            .and_then(|pair| pair.split_once(','))
        {
            let slot = counts.entry(file.clone()).or_default();
            let slot = slot.entry(number.parse()?).or_default();
            *slot = (*slot).max(count.parse()?);
        }
    }
    ensure!(!counts.is_empty(), "no line of the adapter was counted");
    let mut measured = Measured::default();
    for (file, lines) in counts {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("cannot read {file}"))?;
        measured.add(&file, &text, &lines);
    }
    Ok(measured)
}

impl Measured {
    /// Tests in the file itself do not count.
    fn add(&mut self, file: &str, text: &str, counts: &BTreeMap<usize, u64>) {
        let lines: Vec<&str> = text.lines().collect();
        let tests = lines.iter().position(|line| *line == "#[cfg(test)]");
        let shipped = tests.unwrap_or(lines.len());
        for (number, count) in counts.iter().filter(|(number, _)| **number <= shipped) {
            self.counted += 1;
            if *count > 0 {
                self.executed += 1;
            } else {
                let text = lines.get(number - 1).map_or("", |line| line.trim());
                self.missed
                    .push((file.to_owned(), *number, text.to_owned()));
            }
        }
    }
}

/// What is missed and not listed, and what is listed and not missed.
fn compare(measured: &Measured, listed: &[Listed]) -> Vec<String> {
    let mut left: Vec<&Listed> = listed.iter().collect();
    let mut problems = Vec::new();
    for (file, number, text) in &measured.missed {
        let found = left
            .iter()
            .position(|it| it.file == *file && it.line == *text);
        match found {
            Some(index) => drop(left.remove(index)),
            None => problems.push(format!("{file}:{number}: no test executes `{text}`")),
        }
    }
    let surplus = left.iter().filter(|it| !it.sometimes);
    problems.extend(surplus.map(|it| {
        format!(
            "{LIST}: `{}` of {} is executed, or not there any more",
            it.line, it.file
        )
    }));
    problems
}

fn load(root: &Path) -> Result<Vec<Listed>> {
    let text =
        fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let listed = parse(&text).with_context(|| format!("in {LIST}"))?;
    let count = listed.len();
    ensure!(
        count <= LISTED_MAX,
        "{LIST} lists {count} lines, at most {LISTED_MAX} may go unexecuted"
    );
    Ok(listed)
}

fn parse(text: &str) -> Result<Vec<Listed>> {
    let table: toml::Table = text.parse()?;
    let Some(list) = table.get("line").and_then(toml::Value::as_array) else {
        return Ok(Vec::new());
    };
    let of = |entry: &toml::Value, key: &str| {
        let value = entry.get(key).and_then(toml::Value::as_str);
        let value = value.filter(|text| !text.is_empty());
        value
            .map(str::to_owned)
            .with_context(|| format!("a line has no `{key}`"))
    };
    list.iter()
        .map(|entry| {
            of(entry, "reason")?;
            Ok(Listed {
                file: of(entry, "file")?,
                line: of(entry, "text")?,
                sometimes: entry.get("sometimes").and_then(toml::Value::as_bool) == Some(true),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(counts: &[(usize, u64)]) -> Measured {
        let text = "fn a() {\n    b();\n}\n#[cfg(test)]\nmod tests {}\n";
        let mut measured = Measured::default();
        measured.add("a.rs", text, &counts.iter().copied().collect());
        measured
    }

    fn listed(line: &str) -> Listed {
        Listed {
            file: "a.rs".to_owned(),
            line: line.to_owned(),
            sometimes: false,
        }
    }

    #[test]
    fn a_line_that_no_test_executes_is_found_unless_it_is_listed() {
        let measured = measured(&[(1, 3), (2, 0), (3, 3), (5, 0)]);
        assert_eq!((measured.executed, measured.counted), (2, 3));
        let problems = compare(&measured, &[]);
        assert_eq!(problems, ["a.rs:2: no test executes `b();`"]);
        assert_eq!(compare(&measured, &[listed("b();")]), [""; 0]);
    }

    #[test]
    fn a_listed_line_that_is_executed_is_found() {
        let problems = compare(&measured(&[(1, 3), (2, 1)]), &[listed("b();")]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("is executed"), "{problems:?}");
        let sometimes = Listed {
            sometimes: true,
            ..listed("b();")
        };
        assert_eq!(compare(&measured(&[(2, 1)]), &[sometimes]), [""; 0]);
    }

    #[test]
    fn a_listed_line_needs_a_reason() {
        let line = "[[line]]\nfile = \"a.rs\"\ntext = \"b();\"\n";
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains("reason"), "{error}");
        let whole = format!("{line}reason = \"it never returns\"\n");
        assert_eq!(parse(&whole).unwrap(), [listed("b();")]);
    }
}
