//! Getting what a task needs, or saying why it cannot be had and what would help.

use crate::process;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why something cannot be done on this machine, and what the reader can do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Missing {
    /// Why, as half a sentence.
    pub(crate) reason: String,
    /// The command or step that mends it.
    pub(crate) fix: String,
}

impl Missing {
    /// Both halves at once.
    pub(crate) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Missing {
        Missing {
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

/// Makes sure that `programs` are there, installing Debian `packages` when one is not.
pub(crate) fn programs(programs: &[&str], packages: &[&str]) -> Result<(), Missing> {
    let absent = || {
        programs
            .iter()
            .find(|program| process::find(program).is_none())
    };
    let Some(first) = absent() else { return Ok(()) };
    debian(packages, &format!("`{first}` is not installed"))?;
    match absent() {
        None => Ok(()),
        Some(program) => Err(Missing::new(
            format!(
                "`{program}` is not there even with {} installed",
                packages.join(", ")
            ),
            format!("install `{program}` and put it on the PATH"),
        )),
    }
}

/// Installs Debian packages; `because` says what is missing without them.
pub(crate) fn debian(packages: &[&str], because: &str) -> Result<(), Missing> {
    let by_hand = format!("sudo apt-get install {}", packages.join(" "));
    if process::find("apt-get").is_none() {
        let fix = format!(
            "install the equivalent of the Debian packages {}",
            packages.join(", ")
        );
        return Err(Missing::new(
            format!("{because} and there is no apt-get here"),
            fix,
        ));
    }
    if !process::is_root() {
        return Err(Missing::new(
            format!("{because} and only root can install it"),
            by_hand,
        ));
    }
    println!("installing {} ({because})", packages.join(", "));
    // A fresh machine has no package lists yet; a used one need not fetch them again.
    let install = || apt(&["install"], packages);
    let installed = install() || (apt(&["update"], &[]) && install());
    if installed {
        Ok(())
    } else {
        Err(Missing::new(format!("{because}, apt-get failed"), by_hand))
    }
}

/// Unpacks Debian packages into a folder, without installing them: nothing of the machine changes.
pub(crate) fn unpack(packages: &[&str], directory: &Path) -> Result<(), Missing> {
    println!(
        "unpacking {} into {}",
        packages.join(", "),
        directory.display()
    );
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.current_dir(directory)
            .args(["--quiet", "download"])
            .args(packages);
        process::succeeds(&mut apt)
    };
    // A fresh machine has no package lists yet.
    let is_there = download() || (apt(&["update"], &[]) && download());
    let script = "for package in ./*.deb; do dpkg-deb --extract \"$package\" . || exit; done";
    let mut extract = Command::new("sh");
    extract.current_dir(directory).args(["-c", script]);
    if is_there && process::succeeds(&mut extract) {
        return Ok(());
    }
    Err(Missing::new(
        format!(
            "the Debian packages {} could not be had",
            packages.join(", ")
        ),
        "check the network and, as root, `apt-get update`, then run again",
    ))
}

/// Makes sure that a rustup component answers to `cargo <subcommand>`.
pub(crate) fn component(subcommand: &str, component: &str) -> Result<(), Missing> {
    let there = || process::succeeds(process::cargo().args([subcommand, "--version"]));
    let fix = format!("rustup component add {component}");
    if there() {
        return Ok(());
    }
    if process::find("rustup").is_some() {
        println!("installing {component} ({fix})");
        process::succeeds(Command::new("rustup").args(["component", "add", component]));
    }
    if there() {
        Ok(())
    } else {
        Err(Missing::new(format!("{component} is not installed"), fix))
    }
}

/// Makes a Python environment of our own with exactly the pinned packages in it, and returns its
/// interpreter.
pub(crate) fn python(environment: &Path, requirements: &Path) -> Result<PathBuf, Missing> {
    let interpreter = environment.join("bin/python");
    let pinned = |interpreter: &Path| {
        let mut pip = Command::new(interpreter);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(["--require-hashes", "--only-binary", ":all:", "-r"])
        .arg(requirements);
        process::read(&mut pip)
    };
    if interpreter.exists() && pinned(&interpreter).is_ok() {
        return Ok(interpreter);
    }
    let python = python_with_venv()?;
    make_environment(&python, environment)?;
    pinned(&interpreter).map(|_| interpreter).map_err(|error| {
        let last = error
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned();
        let fix = "check the network and the Python package index, then run again";
        Missing::new(
            format!("pip could not install the pinned packages: {last}"),
            fix,
        )
    })
}

fn python_with_venv() -> Result<PathBuf, Missing> {
    let usable = || {
        let candidates = process::find("python3")
            .into_iter()
            .chain(["/usr/bin/python3".into()]);
        candidates.into_iter().find(|python| {
            process::succeeds(Command::new(python).args(["-c", "import ensurepip, venv"]))
        })
    };
    if let Some(python) = usable() {
        return Ok(python);
    }
    debian(&["python3-venv"], "Python with venv is not installed")?;
    usable().ok_or_else(|| {
        Missing::new(
            "no python3 here can make environments",
            "sudo apt-get install python3-venv",
        )
    })
}

fn make_environment(python: &Path, environment: &Path) -> Result<(), Missing> {
    let mut venv = Command::new(python);
    venv.args(["-m", "venv", "--clear"]).arg(environment);
    process::read(&mut venv).map(drop).map_err(|error| {
        let reason = format!("cannot make a Python environment: {error:#}");
        Missing::new(
            reason,
            format!("remove {} and run again", environment.display()),
        )
    })
}

fn apt(verb: &[&str], packages: &[&str]) -> bool {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["--yes", "--quiet", "--no-install-recommends"])
        .args(verb)
        .args(packages);
    process::succeeds(&mut apt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_there_need_no_installation() {
        assert_eq!(programs(&["sh", "ls"], &["no-such-package"]), Ok(()));
    }
}
