//! The kernel program: rebuilding it, and proving that the one in the tree is what its source says.
//!
//! The object is checked in, so that nobody needs a compiler for it. That is only honest while
//! anybody can build the same bytes.

use crate::install::{self, Missing};
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const DIRECTORY: &str = "crates/sensor-linux/bpf";
const SOURCE: &str = "connections.bpf.c";
const OBJECT: &str = "connections.bpf.o";

/// One version of the compiler for everybody, or the bytes differ.
const COMPILER: &str = "clang-19";
const STRIP: &str = "llvm-strip-19";
const PACKAGES: &[&str] = &["clang-19", "llvm-19", "libbpf-dev"];
/// The header that only `libbpf-dev` brings.
const HELPERS: &str = "/usr/include/bpf/bpf_helpers.h";

/// What `cargo xtask bpf` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Compare with the object in the tree instead of replacing it.
    #[arg(long)]
    check: bool,
}

/// `cargo xtask bpf`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if let Err(missing) = prepare() {
        bail!("{}; fix: {}", missing.reason, missing.fix);
    }
    let built = build(workspace)?;
    let checked_in = workspace.root.join(DIRECTORY).join(OBJECT);
    if options.check {
        compare(&built, &checked_in)?;
        println!("{DIRECTORY}/{OBJECT} is what {COMPILER} makes of its source");
        return Ok(ExitCode::SUCCESS);
    }
    fs::copy(&built, &checked_in)
        .with_context(|| format!("cannot write {}", checked_in.display()))?;
    println!(
        "wrote {DIRECTORY}/{OBJECT}, {} bytes",
        fs::metadata(&checked_in)?.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that the compiler is there.
pub(crate) fn prepare() -> Result<(), Missing> {
    if !Path::new(HELPERS).exists() {
        install::debian(PACKAGES, &format!("{HELPERS} is not there"))?;
    }
    install::programs(&[COMPILER, STRIP], PACKAGES)
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let object = workspace.tools("bpf")?.join(OBJECT);
    // Relative paths only, in the directory of the source: the object must not know where it was
    // built.
    let mut compile = Command::new(COMPILER);
    compile
        .current_dir(workspace.root.join(DIRECTORY))
        .args([
            "-g",
            "-O2",
            "-mcpu=v3",
            "-target",
            "bpf",
            "-D__TARGET_ARCH_x86",
        ])
        .args([
            "-I.",
            "-I/usr/include/x86_64-linux-gnu",
            "-fdebug-compilation-dir=.",
        ])
        .args(["-c", SOURCE, "-o"])
        .arg(&object);
    process::run(&mut compile)?;
    process::run(Command::new(STRIP).arg("-g").arg(&object))?;
    Ok(object)
}

fn compare(built: &Path, checked_in: &Path) -> Result<()> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (built, checked_in) = (read(built)?, read(checked_in)?);
    if built != checked_in {
        bail!(
            "{DIRECTORY}/{OBJECT} ({} bytes) is not what {COMPILER} makes of its source ({} \
             bytes); `cargo xtask bpf` brings it up to date",
            checked_in.len(),
            built.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod clang {
    use super::*;

    #[test]
    #[ignore = "needs clang: rebuilds the kernel program"]
    fn the_object_in_the_tree_is_what_its_source_says() {
        let workspace = Workspace::load().unwrap();
        let built = build(&workspace).unwrap();
        compare(&built, &workspace.root.join(DIRECTORY).join(OBJECT)).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_out_of_date_is_told() {
        let directory = std::env::temp_dir().join(format!("xtask-bpf-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.join(name));
        fs::write(&a, "same").unwrap();
        fs::write(&b, "same").unwrap();
        compare(&a, &b).unwrap();
        fs::write(&b, "other").unwrap();
        let error = compare(&a, &b).unwrap_err().to_string();
        assert!(error.contains("cargo xtask bpf"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }
}
