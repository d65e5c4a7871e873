//! Looks for bytes that break what must hold of a format: libFuzzer over the targets of the crate
//! `fuzz`.
//!
//! The compiler instruments the code for it, which the stable toolchain can. libFuzzer itself is
//! C++ and stays in a package of its own, `xtask/fuzz`.

use crate::install::{self, Missing};
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What `cargo xtask fuzz` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which format, by the name of its folder in crates/fuzz/corpus; all, one after the other,
    /// unless told.
    names: Vec<String>,
    /// How long, in seconds for each.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Afterwards bring the committed corpus up to date: the smallest inputs that reach what was
    /// reached.
    #[arg(long)]
    keep: bool,
}

/// Names the program that runs one target, for tests.
pub(crate) const VARIABLE: &str = "CONNTRAIL_FUZZER";

const CORPUS: &str = "crates/fuzz/corpus";
const RUNNER: &str = "xtask/fuzz/Cargo.toml";

/// Counters at the edges between blocks of code, and what numbers are compared with.
const INSTRUMENTED: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Bounds of one input: bytes, seconds, and mebibytes of memory.
const LIMITS: [&str; 3] = ["-max_len=16384", "-timeout=10", "-rss_limit_mb=2048"];

/// What is kept for each target: so many inputs at most, none larger.
const KEPT_MAX: usize = 20;
const KEPT_BYTES_MAX: u64 = 6_000;

/// `cargo xtask fuzz`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if let Err(missing) = prepare() {
        bail!("{}; fix: {}", missing.reason, missing.fix);
    }
    let known = names(workspace)?;
    if let Some(stranger) = options.names.iter().find(|name| !known.contains(name)) {
        bail!("there is no format `{stranger}`, only {}", known.join(", "));
    }
    let runner = build(workspace)?;
    let wanted = match options.names.as_slice() {
        [] => known.as_slice(),
        wanted => wanted,
    };
    for name in wanted {
        let folder = Folder::make(workspace, name)?;
        println!("{name}: {} seconds", options.seconds);
        folder.fuzz(&runner, options.seconds)?;
        if options.keep {
            folder.keep(&runner)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that libFuzzer can be built.
pub(crate) fn prepare() -> Result<(), Missing> {
    install::programs(&["c++"], &["g++"])
}

/// Builds what runs one target.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let host = host()?;
    let target = workspace.target.join("fuzz");
    let mut build = process::cargo();
    // For a named target, so that build scripts and macros are not instrumented.
    build
        .args(["build", "--release", "--locked", "--target", &host])
        .arg("--manifest-path")
        .arg(workspace.root.join(RUNNER))
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", INSTRUMENTED);
    process::run(&mut build)?;
    Ok(target.join(host).join("release/fuzz-runner"))
}

fn host() -> Result<String> {
    let version = process::read(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("rustc does not say what it runs on")?
        .to_owned())
}

fn names(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in fs::read_dir(workspace.root.join(CORPUS))? {
        names.push(folder?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Where one target's inputs are.
struct Folder {
    name: String,
    committed: PathBuf,
    /// What was found here so far, on this machine.
    found: PathBuf,
    /// Of the size of the corpus.
    kept: PathBuf,
}

impl Folder {
    fn make(workspace: &Workspace, name: &str) -> Result<Folder> {
        let place = format!("fuzz/{name}");
        let folder = Folder {
            name: name.to_owned(),
            committed: workspace.root.join(CORPUS).join(name),
            found: workspace.tools(&format!("{place}/found"))?,
            kept: workspace.tools(&format!("{place}/kept"))?,
        };
        let arguments = ["run", "--quiet", "--package", "fuzz", "--example", "seeds"];
        let mut seeds = process::cargo();
        seeds.current_dir(&workspace.root).args(arguments);
        process::run(seeds.args(["--", name]).arg(&folder.found))?;
        Ok(folder)
    }

    fn fuzz(&self, runner: &Path, seconds: u32) -> Result<()> {
        let mut command = self.command(runner);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/", self.found.display()))
            .args([&self.found, &self.committed]);
        let status = command.status()?;
        if !status.success() {
            bail!(
                "{} does not hold; the input is the last file written to {} (see above), which \
                 belongs into {} once it is mended",
                self.name,
                self.found.display(),
                self.committed.display()
            );
        }
        Ok(())
    }

    /// Adds the smallest inputs that reach all that is reached. What was committed stays: it broke
    /// something once.
    fn keep(&self, runner: &Path) -> Result<()> {
        fs::remove_dir_all(&self.kept)?;
        fs::create_dir_all(&self.kept)?;
        let mut merge = self.command(runner);
        merge
            .arg("-merge=1")
            .args([&self.kept, &self.committed, &self.found]);
        process::run(&mut merge)?;
        let mut inputs = Vec::new();
        for file in fs::read_dir(&self.kept)? {
            let file = file?;
            inputs.push((file.metadata()?.len(), file.path()));
        }
        inputs.retain(|(bytes, _)| *bytes <= KEPT_BYTES_MAX);
        inputs.sort();
        let committed = fs::read_dir(&self.committed)?.count();
        let room = KEPT_MAX.saturating_sub(committed);
        // Some of each size: the large ones reach what no small one does.
        let step = inputs.len().div_ceil(room.max(1)).max(1);
        for (_, path) in inputs.iter().rev().step_by(step).take(room) {
            let name = path.file_name().context("a file has a name")?;
            fs::copy(path, self.committed.join(name))?;
        }
        Ok(())
    }

    fn command(&self, runner: &Path) -> Command {
        let mut command = Command::new(runner);
        command
            .env("CONNTRAIL_FUZZ_TARGET", &self.name)
            .args(LIMITS)
            .arg("-verbosity=1");
        command
    }
}
