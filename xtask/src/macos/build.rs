//! Building the programs for macOS, and what is built.

use super::allowed::Allowed;
use super::image::Image;
use super::judge::{self, RULES, Subject};
use super::kit::Kit;
use super::{Architecture, DEPLOYMENT_TARGET, PROGRAMS, SYSTEM_LIBRARY, show};
use crate::install::{self, Missing};
use crate::process;
use crate::test::needs::Variables;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use object::read::macho::{FatArch, MachOFatFile32};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells a test where the kit is, and where the programs are.
pub(super) const KIT: &str = "CONNTRAIL_MACOS_KIT";
/// See [`KIT`].
pub(super) const PROGRAMS_DIRECTORY: &str = "CONNTRAIL_MACOS_PROGRAMS";

/// The crates that only macOS has; the programs bring all others.
const CRATES: &[&str] = &["sensor-macos", "app-macos"];

/// A whole newer Rust with the source of its library, from which a library for macOS can be built
/// where none can be downloaded.
const RUST_WITH_SOURCE: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const SOURCE_CARGO: &str = "/usr/bin/cargo";
const SOURCE_LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/std";

/// Everything that building takes.
pub(super) struct Builder {
    allowed: Allowed,
    /// Nothing on a Mac, where Xcode has all of it.
    kit: Option<Kit>,
    rust: Rust,
}

/// Where Rust's library for macOS comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rust {
    /// It is installed beside the compiler.
    Installed,
    /// It is built from its source with the programs.
    Source,
}

/// A program that was built.
pub(super) struct Program {
    /// Its name.
    pub(super) name: &'static str,
    /// What for.
    pub(super) architecture: Architecture,
    /// What is in it.
    pub(super) image: Image,
}

/// All programs for all architectures.
pub(super) struct Built {
    /// In the order of the architectures.
    pub(super) programs: Vec<Program>,
}

/// Builds the programs, for the tests that look at them.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Result<Variables, Missing>> {
    let builder = match Builder::install(workspace)? {
        Ok(builder) => builder,
        Err(missing) => return Ok(Err(missing)),
    };
    // The planted mistakes are linked with the kit even on a Mac.
    let kit = match Kit::install(workspace, builder.allowed())? {
        Ok(kit) => kit,
        Err(missing) => return Ok(Err(missing)),
    };
    builder.build(workspace, &Architecture::ALL)?;
    let output = builder.output(workspace);
    show::print(&Built::load(&output)?, builder.allowed());
    Ok(Ok(vec![
        (KIT, kit.directory.into()),
        (PROGRAMS_DIRECTORY, output.into()),
    ]))
}

impl Builder {
    /// Installs what is missing, or says why it cannot be had.
    pub(super) fn install(workspace: &Workspace) -> Result<Result<Builder, Missing>> {
        let allowed = Allowed::load(&workspace.root)?;
        let rust = match rust(workspace)? {
            Ok(rust) => rust,
            Err(missing) => return Ok(Err(missing)),
        };
        let kit = match cfg!(target_os = "macos") {
            true => xcode().map(|()| None),
            false => Kit::install(workspace, &allowed)?.map(Some),
        };
        Ok(kit.map(|kit| Builder { allowed, kit, rust }))
    }

    /// The lists.
    pub(super) fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// Links the programs for these architectures, as they are shipped.
    pub(super) fn build(
        &self,
        workspace: &Workspace,
        architectures: &[Architecture],
    ) -> Result<()> {
        // Whatever is not there yet has no folder whose name could be kept out.
        process::run(process::cargo().current_dir(&workspace.root).arg("fetch"))?;
        let mut build = self.cargo(workspace, "build", architectures);
        build.arg("--release");
        for program in PROGRAMS {
            build.args(["--package", program, "--bin", program]);
        }
        process::run(&mut build).context(
            "the programs do not link for macOS; a symbol that is missing is one that \
             macos/allowed does not list",
        )
    }

    /// Checks the types of everything that macOS has, for both architectures.
    pub(super) fn check(&self, workspace: &Workspace) -> Result<()> {
        let mut check = self.cargo(workspace, "check", &Architecture::ALL);
        for package in PROGRAMS.iter().chain(CRATES) {
            check.args(["--package", package]);
        }
        process::run(&mut check)
    }

    /// The directory in which cargo builds, with one directory an architecture in it.
    pub(super) fn output(&self, workspace: &Workspace) -> PathBuf {
        match self.rust {
            Rust::Installed => workspace.target.clone(),
            // Another compiler: neither may throw away what the other has built.
            Rust::Source => workspace.target.join("rust-from-source"),
        }
    }

    fn cargo(&self, workspace: &Workspace, verb: &str, architectures: &[Architecture]) -> Command {
        let mut cargo = match self.rust {
            Rust::Installed => process::cargo(),
            Rust::Source => source_cargo(),
        };
        cargo.current_dir(&workspace.root).arg(verb);
        if self.rust == Rust::Source {
            cargo.arg("-Zbuild-std=std,panic_unwind");
        }
        cargo.arg("--target-dir").arg(self.output(workspace));
        for architecture in architectures {
            cargo.args(["--target", architecture.triple()]);
        }
        cargo.env("MACOSX_DEPLOYMENT_TARGET", DEPLOYMENT_TARGET);
        cargo.envs(self.kit.iter().flat_map(Kit::environment));
        cargo.env("CARGO_ENCODED_RUSTFLAGS", nameless(workspace));
        // Optimized in parts, the parts give each other's functions names that are others in every
        // build; as a whole there is nothing to name. And only as a whole a program asks the system
        // for nothing that it has no use for: else what Rust's library opens connections with is in
        // the recorder too.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "fat");
        cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
        cargo
    }
}

/// What keeps the folders of this machine out of the programs: they are nobody's business, and
/// with them two builds of one source would differ.
fn nameless(workspace: &Workspace) -> String {
    let mut names = vec![(workspace.root.clone(), "conntrail")];
    names.extend(sources_of_others().into_iter().map(|it| (it, "crates")));
    names.push((PathBuf::from("/usr/lib/rustlib/src/rust"), "rust"));
    let flags = names
        .iter()
        .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()));
    flags.collect::<Vec<_>>().join("\u{1f}")
}

/// Where cargo has the sources of other people's crates, a folder for each place they come from.
fn sources_of_others() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let entries = cargo.map(|it| fs::read_dir(it.join("registry/src")));
    let entries = entries.and_then(Result::ok).into_iter().flatten();
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

impl Built {
    /// Reads the programs that [`Builder::build`] has built.
    pub(super) fn load(output: &Path) -> Result<Built> {
        let mut programs = Vec::new();
        for architecture in Architecture::ALL {
            for name in PROGRAMS {
                let path = place(output, architecture, name);
                let image = Image::parse(&read(&path)?)
                    .with_context(|| format!("{} cannot be understood", path.display()))?;
                programs.push(Program {
                    name,
                    architecture,
                    image,
                });
            }
        }
        Ok(Built { programs })
    }

    /// Reads the programs from files for all processors: a path for each name.
    pub(super) fn load_universal(files: &[(&'static str, PathBuf)]) -> Result<Built> {
        let mut programs = Vec::new();
        for (name, path) in files {
            let file = read(path)?;
            let unclear = || format!("{} is no program for several processors", path.display());
            let head = MachOFatFile32::parse(file.as_slice()).with_context(unclear)?;
            let mut missing = Architecture::ALL.to_vec();
            for slice in head.arches() {
                let image = Image::parse(slice.data(file.as_slice()).with_context(unclear)?)?;
                let architecture = image.architecture.with_context(unclear)?;
                missing.retain(|it| *it != architecture);
                programs.push(Program {
                    name,
                    architecture,
                    image,
                });
            }
            if let Some(architecture) = missing.first() {
                bail!("{} has no {}", path.display(), architecture.name());
            }
        }
        Ok(Built { programs })
    }

    /// Everything that breaks a rule.
    pub(super) fn findings(&self, allowed: &Allowed) -> Result<Vec<String>> {
        let mut findings = judge::too_new(allowed)?;
        findings.extend(judge::unused(&self.images(), allowed, SYSTEM_LIBRARY));
        for (rule, find) in RULES {
            for program in &self.programs {
                let found = find(&program.subject(), allowed);
                let place = program.place();
                findings.extend(found.iter().map(|it| format!("{place}: {it} ({rule})")));
            }
        }
        Ok(findings)
    }

    /// What is in the programs.
    pub(super) fn images(&self) -> Vec<&Image> {
        self.programs.iter().map(|program| &program.image).collect()
    }
}

impl Program {
    /// For the judge.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            program: self.name,
            architecture: self.architecture,
            image: &self.image,
        }
    }

    /// For the reader.
    pub(super) fn place(&self) -> String {
        format!("{} ({})", self.name, self.architecture.name())
    }
}

/// Where cargo has put a program.
pub(super) fn place(output: &Path, architecture: Architecture, name: &str) -> PathBuf {
    output
        .join(architecture.triple())
        .join("release")
        .join(name)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn xcode() -> Result<(), Missing> {
    let mut ask = Command::new("xcrun");
    if process::succeeds(ask.args(["--sdk", "macosx", "--show-sdk-path"])) {
        return Ok(());
    }
    Err(Missing::new(
        "there is no SDK for macOS here",
        "xcode-select --install",
    ))
}

/// Gets a library of Rust for macOS: the one that fits the compiler, or else a compiler with the
/// source of one.
fn rust(workspace: &Workspace) -> Result<Result<Rust, Missing>> {
    let triples = Architecture::ALL.map(Architecture::triple);
    if has_library(workspace, &triples)? {
        return Ok(Ok(Rust::Installed));
    }
    let add = format!("rustup target add {}", triples.join(" "));
    if process::find("rustup").is_some() {
        println!("installing Rust's library for macOS ({add})");
        let mut rustup = Command::new("rustup");
        rustup.current_dir(&workspace.root).args(["target", "add"]);
        if process::succeeds(rustup.args(triples)) && has_library(workspace, &triples)? {
            return Ok(Ok(Rust::Installed));
        }
    }
    if !Path::new(SOURCE_LIBRARY).exists() {
        let because = "rustup cannot get Rust's library for macOS, and there is no source of it";
        if let Err(missing) = install::debian(RUST_WITH_SOURCE, because) {
            let fix = format!("{add}, or {}", missing.fix);
            return Ok(Err(Missing::new(missing.reason, fix)));
        }
    }
    Ok(Ok(Rust::Source))
}

fn has_library(workspace: &Workspace, triples: &[&str]) -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut ask = Command::new(rustc);
    ask.current_dir(&workspace.root)
        .args(["--print", "sysroot"]);
    let sysroot = process::read(&mut ask)?;
    let libraries = Path::new(sysroot.trim_end()).join("lib/rustlib");
    Ok(triples
        .iter()
        .all(|triple| libraries.join(triple).join("lib").is_dir()))
}

/// The other cargo, with the compiler that is beside it.
fn source_cargo() -> Command {
    let mut cargo = Command::new(SOURCE_CARGO);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut first = OsString::from("/usr/bin:");
    first.push(path);
    cargo
        .env("PATH", first)
        // Building the library is not stable; nothing of ours uses what is not.
        .env("RUSTC_BOOTSTRAP", "1")
        // A library that was built just now has nothing for debuggers that would have to be taken
        // out, and the program that would do it is not in the package.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN");
    cargo
}
