//! Everything of the bundle that comes before signing: the same to the byte wherever it is made.

use super::output::Output;
use crate::macos::{self, Architecture, Slices};
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use mdm::identity::Identity;
use mdm::jobs::JOBS;
use packaging::app::{self, Parts, Resource};
use packaging::package::{self, Product, Script};
use packaging::sbom::{self, Shipped, Static, Target};
use packaging::{build_id, notices, universal};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The script that removes everything, in the app's `Resources`.
const UNINSTALL: &str = "uninstall.sh";

/// What is said in the app about others' work.
const NOTICES: &str = "NOTICES.txt";

/// What the app is made of besides the programs.
pub(super) struct Profiles<'a> {
    pub(super) app: &'a [u8],
    pub(super) extension: &'a [u8],
}

/// The programs, each one file for all processors.
pub(super) struct Programs(Vec<(&'static str, Vec<u8>)>);

impl Programs {
    /// Builds them, or says what is missing and how to get it.
    pub(super) fn build(workspace: &Workspace, sources: &Workspace) -> Result<Programs> {
        Programs::join(slices(workspace, sources, &Architecture::ALL)?)
    }

    /// Builds them from `sources` for the first architecture only, which takes half the time; for
    /// the other, what [`Programs::build`] made from the sources of `workspace` is taken.
    pub(super) fn build_again(workspace: &Workspace, sources: &Workspace) -> Result<Programs> {
        let (again, before) = Architecture::ALL.split_at(1);
        let mut joined = slices(workspace, sources, again)?;
        for ((_, files), (_, more)) in joined.iter_mut().zip(slices(workspace, workspace, before)?)
        {
            files.extend(more);
        }
        Programs::join(joined)
    }

    fn join(slices: Vec<Slices>) -> Result<Programs> {
        let joined = slices.into_iter().map(|(name, files)| {
            let mut files: Vec<Vec<u8>> = files.iter().map(|it| read(it)).collect::<Result<_>>()?;
            for file in &mut files {
                build_id::settle(file).with_context(|| format!("{name} cannot be used"))?;
            }
            let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
            let joined = universal::join(&files).with_context(|| format!("cannot join {name}"))?;
            Ok((name, joined))
        });
        Ok(Programs(joined.collect::<Result<_>>()?))
    }

    fn named(&self, name: &str) -> Result<&[u8]> {
        let found = self.0.iter().find(|(it, _)| *it == name);
        let (_, program) = found.with_context(|| format!("{name} was not built"))?;
        Ok(program)
    }
}

fn slices(
    workspace: &Workspace,
    sources: &Workspace,
    architectures: &[Architecture],
) -> Result<Vec<Slices>> {
    match macos::programs(workspace, sources, architectures)? {
        Ok(slices) => Ok(slices),
        Err(missing) => bail!("{}; fix: {}", missing.reason, missing.fix),
    }
}

/// Writes the app as it is before it is signed, and what accompanies it; returns the app's folder.
///
/// The programs were built from `sources` with the tools that `workspace` keeps.
pub(super) fn write(
    workspace: &Workspace,
    sources: &Workspace,
    programs: &Programs,
    product: &Product<'_>,
    profiles: &Profiles<'_>,
    output: &Output,
) -> Result<PathBuf> {
    let Product {
        identity, version, ..
    } = *product;
    let shipped = shipped(workspace, sources)?;
    let notices = notices::write(&shipped)?;
    output.write(NOTICES, notices.as_bytes())?;
    output.write("sbom.cdx.json", &sbom::write(&shipped, version, None))?;
    let uninstall = package::script(Script::Uninstall, product)?;
    let helpers = app::helpers(product.jobs, &identity.app).into_iter();
    let helpers = helpers.map(|it| Ok((it.program, programs.named(it.program)?)));
    let helpers = helpers.collect::<Result<Vec<_>>>()?;
    let parts = Parts {
        app: &identity.app,
        extension: &identity.extension,
        version,
        app_program: programs.named(app::APP_PROGRAM)?,
        extension_program: programs.named(app::EXTENSION_PROGRAM)?,
        helpers: &helpers,
        app_profile: profiles.app,
        extension_profile: profiles.extension,
        resources: &[
            Resource {
                name: NOTICES,
                content: notices.as_bytes(),
                executable: false,
            },
            Resource {
                name: UNINSTALL,
                content: uninstall.as_bytes(),
                executable: true,
            },
        ],
    };
    let app = app::write(&parts, &output.folder("unsigned")?)?;
    look_at(workspace, &app, identity)?;
    Ok(app)
}

/// What is in the programs must be on the lists, in the form in which it is shipped.
pub(super) fn look_at(workspace: &Workspace, app: &Path, identity: &Identity) -> Result<()> {
    let extension = app::extension_path(app, &identity.extension);
    let mut files = vec![
        (
            app::APP_PROGRAM,
            app.join("Contents/MacOS").join(app::APP_PROGRAM),
        ),
        (
            app::EXTENSION_PROGRAM,
            extension
                .join("Contents/MacOS")
                .join(app::EXTENSION_PROGRAM),
        ),
    ];
    let helpers = app::helpers(JOBS, &identity.app).into_iter();
    files.extend(helpers.map(|it| (it.program, app.join("Contents/MacOS").join(it.program))));
    let findings = macos::findings(workspace, &files)?;
    match findings.is_empty() {
        true => Ok(()),
        false => bail!(
            "the programs are not as they must be:\n{}",
            findings.join("\n")
        ),
    }
}

/// What is in the programs: what cargo says, and what came with the tools.
fn shipped(workspace: &Workspace, sources: &Workspace) -> Result<Shipped> {
    let mut said = Vec::new();
    for triple in macos::triples() {
        let mut metadata = cargo(sources, "metadata");
        metadata.args(["--format-version", "1", "--filter-platform", triple]);
        let mut tree = cargo(sources, "tree");
        for program in macos::PROGRAMS {
            tree.args(["--package", program]);
        }
        tree.args(["--edges", "normal,no-proc-macro", "--prefix", "none"]);
        tree.args(["--target", triple]);
        said.push((process::read(&mut metadata)?, process::read(&mut tree)?));
    }
    let targets: Vec<Target> = said
        .iter()
        .map(|(metadata, tree)| Target { metadata, tree })
        .collect();
    let lock = fs::read_to_string(sources.root.join("Cargo.lock"))?;
    Ok(Shipped::read(
        &targets,
        &lock,
        macos::PROGRAMS,
        statics(workspace)?,
    )?)
}

fn cargo(workspace: &Workspace, verb: &str) -> Command {
    let mut cargo = process::cargo();
    cargo.current_dir(&workspace.root).args([verb, "--locked"]);
    cargo
}

/// What is in every Rust program without being a package. Of its two licences, the one whose text
/// we have is taken.
fn statics(workspace: &Workspace) -> Result<Vec<Static>> {
    let version = process::read(Command::new("rustc").arg("--version"))?;
    let version = version.split(' ').nth(1).unwrap_or_default();
    let text = fs::read_to_string(workspace.root.join("LICENSE-APACHE"))?;
    let rust = Static {
        name: "rust-std".to_owned(),
        version: version.to_owned(),
        description: "the standard library of Rust".to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
        texts: vec![text],
    };
    let mut statics = vec![rust];
    if let Some((version, text)) = macos::linker(workspace)? {
        statics.push(Static {
            name: "zig-compiler-rt".to_owned(),
            version,
            description: "what a C compiler expects of every program; zig brings it".to_owned(),
            licence: "MIT".to_owned(),
            texts: vec![text],
        });
    }
    Ok(statics)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
