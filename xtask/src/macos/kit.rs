//! The other half of a compiler for macOS, on a machine that is no Mac: a linker, a C compiler,
//! and stubs for the libraries of the system.
//!
//! Linker and compiler are zig's, which comes as a Python wheel and brings the C headers and a stub
//! of libSystem. That stub lists everything libSystem has; ours takes its place.

use super::allowed::{Allowed, write_if_new};
use super::{Architecture, DEPLOYMENT_TARGET, SYSTEM_LIBRARY};
use crate::install::{self, Missing};
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What pip installs.
const REQUIREMENTS: &str = "macos/requirements.txt";

/// The SDK whose headers the lists were written from. A program says which SDK it was made with,
/// and the system treats it accordingly, so it should not say a later one than we know.
const SDK_SETTINGS: &str = "{\"Version\":\"15.5\"}";

/// The names under which this program stands in for the compiler and the archiver. Rust knows from
/// such an ending how to talk to a linker, and build scripts how to talk to a compiler.
const COMPILER: &str = "-clang";
const ARCHIVER: &str = "-ar";

/// Where all of it is.
#[derive(Clone, Debug)]
pub(super) struct Kit {
    /// `bin` with the names above, `zig` itself, its library `lib` with our libSystem, the other
    /// `stubs`, and a `cache`.
    pub(super) directory: PathBuf,
}

impl Kit {
    /// Installs what is missing, and brings the stubs up to date.
    pub(super) fn install(
        workspace: &Workspace,
        allowed: &Allowed,
    ) -> Result<Result<Kit, Missing>> {
        let kit = Kit::in_directory(workspace.tools("macos")?);
        let zig = match kit.zig(&workspace.root.join(REQUIREMENTS)) {
            Ok(Ok(zig)) => zig,
            Ok(Err(missing)) => return Ok(Err(missing)),
            Err(error) => return Err(error.context("cannot install the compiler for macOS")),
        };
        link(&kit.directory.join("zig"), &zig.join("zig"))?;
        kit.write_library(&zig.join("lib"), allowed)?;
        allowed.write_stubs(&kit.stubs(), SYSTEM_LIBRARY)?;
        let this = std::env::current_exe().context("this program does not know where it is")?;
        for architecture in Architecture::ALL {
            for name in [COMPILER, ARCHIVER] {
                let name = format!("{}{name}", architecture.triple());
                link(&kit.directory.join("bin").join(name), &this)?;
            }
        }
        Ok(Ok(kit))
    }

    /// The kit that is in a directory.
    pub(super) fn in_directory(directory: PathBuf) -> Kit {
        Kit { directory }
    }

    /// Of zig.
    pub(super) fn version_and_licence(&self) -> Result<(String, String)> {
        let version = process::read(&mut self.command("version"))?;
        let zig = fs::read_link(self.directory.join("zig")).context("the linker is gone")?;
        let licence = fs::read_to_string(zig.with_file_name("LICENSE"))
            .context("the linker came without its licence")?;
        Ok((version.trim_end().to_owned(), licence))
    }

    /// What cargo and the build scripts must know.
    pub(super) fn environment(&self) -> Vec<(String, OsString)> {
        let mut variables = vec![
            // Nothing reads it but rustc, which warns when there is no SDK at all.
            ("SDKROOT".to_owned(), self.stubs().into_os_string()),
        ];
        for architecture in Architecture::ALL {
            let triple = architecture.triple();
            let program =
                |ending: &str| self.directory.join("bin").join(format!("{triple}{ending}"));
            let [lower, upper] = [triple.replace('-', "_"), architecture.variable()];
            let linker = format!("CARGO_TARGET_{upper}_LINKER");
            variables.push((linker, program(COMPILER).into()));
            variables.push((format!("CC_{lower}"), program(COMPILER).into()));
            variables.push((format!("AR_{lower}"), program(ARCHIVER).into()));
        }
        variables
    }

    /// A compiler that also links, against the stubs of this kit.
    pub(super) fn compiler(&self, architecture: Architecture, deployment: &str) -> Command {
        let mut command = self.command("cc");
        let target = format!("{}.{deployment}", architecture.zig());
        command.args(["-target", &target]);
        // Without optimization zig adds checks that call into a library of its own.
        command.arg("-fno-sanitize=undefined");
        command.arg("-F").arg(self.stubs());
        command.arg("-L").arg(self.stubs());
        command
    }

    fn stubs(&self) -> PathBuf {
        self.directory.join("stubs")
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.directory.join("zig"));
        let cache = self.directory.join("cache");
        command
            .env("ZIG_LIB_DIR", self.directory.join("lib"))
            .env("ZIG_GLOBAL_CACHE_DIR", &cache)
            .env("ZIG_LOCAL_CACHE_DIR", &cache)
            .arg(tool);
        command
    }

    /// The directory of zig, installed when the list of what pip installs is new.
    fn zig(&self, requirements: &Path) -> Result<Result<PathBuf, Missing>> {
        let recipe = fs::read_to_string(requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let stamp = self.directory.join("recipe");
        let environment = self.directory.join("venv");
        let installed = fs::read_to_string(&stamp).unwrap_or_default();
        if let Some(zig) = installed.strip_prefix(&recipe).map(PathBuf::from)
            && zig.join("zig").is_file()
        {
            return Ok(Ok(zig));
        }
        println!("installing the compiler for macOS ({REQUIREMENTS})");
        let python = match install::python(&environment, requirements) {
            Ok(python) => python,
            Err(missing) => return Ok(Err(missing)),
        };
        let where_it_is = "import os, ziglang; print(os.path.dirname(ziglang.__file__))";
        let zig = process::read(Command::new(python).args(["-c", where_it_is]))?;
        let zig = zig.trim_end();
        fs::write(stamp, format!("{recipe}{zig}"))?;
        Ok(Ok(PathBuf::from(zig)))
    }

    /// Zig's library, of which all is zig's but two files.
    fn write_library(&self, zig: &Path, allowed: &Allowed) -> Result<()> {
        let library = self.directory.join("lib");
        mirror(zig, &library, "libc")?;
        mirror(&zig.join("libc"), &library.join("libc"), "darwin")?;
        let stub = allowed.stub(SYSTEM_LIBRARY);
        write_if_new(&library.join(SYSTEM_STUB), &stub)?;
        let settings = library.join(SYSTEM_STUB).with_file_name("SDKSettings.json");
        write_if_new(&settings, SDK_SETTINGS)
    }
}

/// Where zig's library has the stub of libSystem.
pub(super) const SYSTEM_STUB: &str = "libc/darwin/libSystem.tbd";

/// Whether this program was called as one of the tools of a kit; then it becomes that tool, and
/// comes back only to say why it could not.
pub(crate) fn called_as_tool() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let call = Call::parse(Path::new(&arguments.next()?))?;
    let error = call.command(arguments).exec();
    eprintln!("cannot start {}: {error}", call.kit.directory.display());
    Some(ExitCode::FAILURE)
}

/// A call under the name of a tool.
struct Call {
    kit: Kit,
    /// The architecture when it is the compiler, and nothing when it is the archiver.
    compiler: Option<Architecture>,
}

impl Call {
    fn parse(path: &Path) -> Option<Call> {
        let name = path.file_name()?.to_str()?;
        let compiler = match (name.strip_suffix(COMPILER), name.strip_suffix(ARCHIVER)) {
            (Some(triple), _) => Some(Architecture::of_triple(triple)?),
            (None, Some(triple)) => Architecture::of_triple(triple).map(|_| None)?,
            (None, None) => return None,
        };
        let directory = path.parent()?.parent()?.to_owned();
        Some(Call {
            kit: Kit { directory },
            compiler,
        })
    }

    fn command(&self, arguments: impl Iterator<Item = OsString>) -> Command {
        let Some(architecture) = self.compiler else {
            let mut command = self.kit.command("ar");
            command.args(arguments);
            return command;
        };
        let deployment = std::env::var("MACOSX_DEPLOYMENT_TARGET");
        let deployment = deployment.as_deref().unwrap_or(DEPLOYMENT_TARGET);
        let mut command = self.kit.compiler(architecture, deployment);
        command.args(without_target(arguments));
        command
    }
}

/// What Rust and build scripts say to Apple's compiler about the target, zig must not hear: it says
/// the same with `-target`.
fn without_target(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let with_value: [&OsStr; 3] = ["-arch", "-isysroot", "-syslibroot"].map(OsStr::new);
    let mut kept = Vec::new();
    let mut skips_next = false;
    for argument in arguments {
        if std::mem::take(&mut skips_next) {
            continue;
        }
        skips_next = with_value.contains(&argument.as_os_str());
        let text = argument.to_string_lossy();
        let is_target = ["-mmacosx-version-min=", "-mmacos-version-min=", "--target="]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if !skips_next && !is_target {
            kept.push(argument);
        }
    }
    kept
}

/// Makes `there` a directory of links to everything in `original` but one entry.
fn mirror(original: &Path, there: &Path, but: &str) -> Result<()> {
    let entries =
        fs::read_dir(original).with_context(|| format!("cannot read {}", original.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != but {
            link(&there.join(entry.file_name()), &entry.path())?;
        }
    }
    Ok(())
}

fn link(at: &Path, to: &Path) -> Result<()> {
    if fs::read_link(at).is_ok_and(|there| there == to) {
        return Ok(());
    }
    let parent = at.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    if fs::symlink_metadata(at).is_ok() {
        fs::remove_file(at).with_context(|| format!("cannot replace {}", at.display()))?;
    }
    symlink(to, at).with_context(|| format!("cannot create {}", at.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_target_is_said_once() {
        let said = "-arch arm64 -mmacosx-version-min=13.0.0 a.o -isysroot /sdk -lSystem -o b \
            --target=arm64-apple-macosx -Wl,-dead_strip";
        let kept = without_target(words(said).into_iter());
        assert_eq!(kept, words("a.o -lSystem -o b -Wl,-dead_strip"));
    }

    #[test]
    fn a_tool_is_known_by_its_name_and_finds_its_kit() {
        let call = |path: &str| Call::parse(Path::new(path));
        let compiler = call("/kit/bin/aarch64-apple-darwin-clang").unwrap();
        assert_eq!(compiler.kit.directory, Path::new("/kit"));
        assert_eq!(compiler.compiler, Some(Architecture::Arm64));
        let archiver = call("/kit/bin/x86_64-apple-darwin-ar").unwrap();
        assert_eq!(archiver.compiler, None);
        for other in [
            "target/debug/xtask",
            "/kit/bin/riscv-clang",
            "clang",
            "/usr/bin/ar",
        ] {
            assert!(call(other).is_none(), "{other}");
        }
    }

    #[test]
    fn the_compiler_gets_the_target_of_its_name() {
        let call = Call::parse(Path::new("/kit/bin/x86_64-apple-darwin-clang")).unwrap();
        let command = process::describe(&call.command(words("a.o -arch x86_64").into_iter()));
        assert!(
            command.starts_with("/kit/zig cc -target x86_64-macos."),
            "{command}"
        );
        assert!(command.ends_with("-L /kit/stubs a.o"), "{command}");
    }
}
