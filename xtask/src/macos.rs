//! The programs for macOS: built on any machine, and looked at closely.
//!
//! On a Mac they are built with Xcode's SDK. Elsewhere a linker from a Python wheel and stubs made
//! of our own lists take its place, so that an import that is not listed does not even link. Either
//! way the finished files are then read again, and everything in them must be on the lists.

mod allowed;
mod binds;
mod build;
mod forbidden;
mod image;
mod judge;
mod kit;
#[cfg(test)]
mod linked;
mod show;

pub(crate) use build::prepare;
pub(crate) use kit::called_as_tool;

use crate::install::Missing;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use build::{Builder, Built};
use std::path::PathBuf;
use std::process::ExitCode;

/// The oldest macOS that the programs run on.
const DEPLOYMENT_TARGET: &str = "13.0";

/// The programs.
pub(crate) const PROGRAMS: &[&str] = &["conntraild", "conntrail", "conntrail-ship"];

/// The library whose list is mostly about Rust's own needs, and whose stub zig has a place for.
const SYSTEM_LIBRARY: &str = "libSystem";

/// What `cargo xtask macos` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only check the types, which is quicker; link nothing and look at nothing.
    #[arg(long)]
    check: bool,
}

/// A processor that macOS runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Architecture {
    /// Apple's own.
    Arm64,
    /// Intel's.
    X86_64,
}

/// `cargo xtask macos`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let builder = match Builder::install(workspace)? {
        Ok(builder) => builder,
        Err(missing) => bail!("{}; fix: {}", missing.reason, missing.fix),
    };
    if options.check {
        builder.check(workspace)?;
        println!("the types fit on both architectures");
        return Ok(ExitCode::SUCCESS);
    }
    builder.build(workspace, &Architecture::ALL)?;
    let built = Built::load(&builder.output(workspace))?;
    show::print(&built, builder.allowed());
    let findings = built.findings(builder.allowed())?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("\nnothing found that is not on the lists");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n{} findings", findings.len());
    Ok(ExitCode::FAILURE)
}

/// Installs what building takes, or says why it cannot be had.
pub(crate) fn install(workspace: &Workspace) -> Result<Result<(), Missing>> {
    Ok(Builder::install(workspace)?.map(drop))
}

/// A program, and the file of it for each processor.
pub(crate) type Slices = (&'static str, Vec<PathBuf>);

/// Builds the programs from `sources` for these architectures, with the compiler that `workspace`
/// keeps.
pub(crate) fn programs(
    workspace: &Workspace,
    sources: &Workspace,
    architectures: &[Architecture],
) -> Result<Result<Vec<Slices>, Missing>> {
    let builder = match Builder::install(workspace)? {
        Ok(builder) => builder,
        Err(missing) => return Ok(Err(missing)),
    };
    builder.build(sources, architectures)?;
    let output = builder.output(sources);
    let slices = PROGRAMS.iter().map(|name| {
        let files = architectures
            .iter()
            .map(|it| build::place(&output, *it, name));
        (*name, files.collect())
    });
    Ok(Ok(slices.collect()))
}

/// Everything in finished programs, each a file for all processors, that is not on the lists.
pub(crate) fn findings(
    workspace: &Workspace,
    files: &[(&'static str, PathBuf)],
) -> Result<Vec<String>> {
    let allowed = allowed::Allowed::load(&workspace.root)?;
    Built::load_universal(files)?.findings(&allowed)
}

/// The version and the licence of the linker, which leaves something of itself in the programs;
/// nothing on a Mac, where it is the system's own.
pub(crate) fn linker(workspace: &Workspace) -> Result<Option<(String, String)>> {
    if cfg!(target_os = "macos") {
        return Ok(None);
    }
    kit::Kit::in_directory(workspace.tools("macos")?)
        .version_and_licence()
        .map(Some)
}

/// As cargo calls the machines that the programs are for.
pub(crate) fn triples() -> [&'static str; 2] {
    Architecture::ALL.map(Architecture::triple)
}

impl Architecture {
    /// Both.
    pub(crate) const ALL: [Architecture; 2] = [Architecture::Arm64, Architecture::X86_64];

    /// As the tools of macOS call it.
    fn name(self) -> &'static str {
        match self {
            Architecture::Arm64 => "arm64",
            Architecture::X86_64 => "x86_64",
        }
    }

    /// As Rust calls it.
    fn triple(self) -> &'static str {
        match self {
            Architecture::Arm64 => "aarch64-apple-darwin",
            Architecture::X86_64 => "x86_64-apple-darwin",
        }
    }

    /// As zig calls it.
    fn zig(self) -> &'static str {
        match self {
            Architecture::Arm64 => "aarch64-macos",
            Architecture::X86_64 => "x86_64-macos",
        }
    }

    /// As cargo calls it in the names of variables.
    fn variable(self) -> String {
        self.triple().replace('-', "_").to_uppercase()
    }

    fn of_triple(triple: &str) -> Option<Architecture> {
        Architecture::ALL
            .into_iter()
            .find(|it| it.triple() == triple)
    }

    /// From the number in the head of a file.
    fn of_processor(number: u32) -> Option<Architecture> {
        match number {
            object::macho::CPU_TYPE_ARM64 => Some(Architecture::Arm64),
            object::macho::CPU_TYPE_X86_64 => Some(Architecture::X86_64),
            _ => None,
        }
    }
}
