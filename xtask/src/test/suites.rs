//! The test programs: building them, asking them what they test, running them.

use super::libtest::{self, Verdict};
use super::needs::Variables;
use crate::process::{self, Ended};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One test program.
pub(super) struct Suite {
    /// The crate and the target: `record::lib`, `conntraild::it`.
    pub(super) name: String,
    package: String,
    directory: PathBuf,
    executable: PathBuf,
}

/// One test in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// Its path within the program.
    pub(super) name: String,
    /// Whether it is ignored, which here means that it needs something.
    pub(super) is_ignored: bool,
}

/// Builds the test programs of all crates.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<Suite>> {
    let output = process::cargo()
        .current_dir(&workspace.root)
        .args([
            "test",
            "--workspace",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let messages = String::from_utf8(output.stdout).context("cargo printed no UTF-8")?;
    let mut suites: Vec<Suite> = messages
        .lines()
        .filter_map(|it| suite(workspace, it))
        .collect();
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}

impl Suite {
    /// What the program tests.
    pub(super) fn list(&self) -> Result<Vec<Case>> {
        let ask = |arguments: &[&str]| process::read(self.command().args(arguments));
        let all = ask(&["--list", "--format", "terse"])?;
        let ignored = ask(&["--list", "--format", "terse", "--ignored"])?;
        let ignored: BTreeSet<&str> = libtest::listed(&ignored).collect();
        let cases = libtest::listed(&all).map(|name| Case {
            name: name.to_owned(),
            is_ignored: ignored.contains(name),
        });
        Ok(cases.collect())
    }

    /// The name of a test in the whole workspace.
    pub(super) fn name_of(&self, case: &Case) -> String {
        format!("{}::{}", self.name, case.name)
    }

    /// Runs everything that is not ignored.
    pub(super) fn run(&self, log: &Path, limit: Duration) -> Result<BTreeMap<String, Verdict>> {
        let mut command = self.command();
        // With one thread the harness prints a name before its verdict, and what the test's
        // children print comes in between.
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        command.arg(format!("--test-threads={threads}"));
        let ended = process::run_logged(&mut command, log, limit)?;
        if matches!(ended, Ended::OutOfTime) {
            println!(
                "{} took longer than {} s and was stopped",
                self.name,
                limit.as_secs()
            );
        }
        Ok(libtest::verdicts(&read_lossy(log)?))
    }

    /// Runs one test in a process of its own, with what it needs in its environment.
    pub(super) fn run_alone(
        &self,
        case: &Case,
        variables: &Variables,
        log: &Path,
        limit: Duration,
    ) -> Result<Verdict> {
        let mut command = self.command();
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.args([
            &case.name,
            "--exact",
            "--include-ignored",
            "--test-threads=1",
        ]);
        let ended = process::run_logged(&mut command, log, limit)?;
        // A program that runs no test at all succeeds too.
        let ran = read_lossy(log)?.contains("test result: ok. 1 passed");
        Ok(match ended {
            Ended::Exited(status) if status.success() && ran => Verdict::Passed,
            Ended::Exited(_) | Ended::OutOfTime => Verdict::Failed,
        })
    }

    /// The program as cargo would start it.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .current_dir(&self.directory)
            .env("CARGO_MANIFEST_DIR", &self.directory)
            .env("CARGO_PKG_NAME", &self.package);
        command
    }
}

fn suite(workspace: &Workspace, message: &str) -> Option<Suite> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = message["executable"].as_str()?.into();
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let member = workspace
        .members
        .iter()
        .find(|it| workspace.root.join(&it.directory) == directory)?;
    let target = target_name(&member.name, &message["target"])?;
    Some(Suite {
        name: format!("{}::{target}", member.name),
        package: member.name.clone(),
        directory: directory.to_owned(),
        executable,
    })
}

/// The library is `lib` and the program that has the crate's name is `bin`; everything else has a
/// name of its own.
fn target_name(package: &str, target: &Value) -> Option<String> {
    let name = target["name"].as_str()?;
    let kind = target["kind"][0].as_str()?;
    Some(match kind {
        "bin" if name == package => "bin".to_owned(),
        "bin" | "example" | "test" => name.to_owned(),
        _ => "lib".to_owned(),
    })
}

fn read_lossy(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn targets_have_short_names() {
        let name = |kind: &str, name: &str| {
            target_name("conntrail", &json!({"kind": [kind], "name": name}))
        };
        assert_eq!(name("lib", "conntrail").as_deref(), Some("lib"));
        assert_eq!(name("bin", "conntrail").as_deref(), Some("bin"));
        assert_eq!(name("bin", "other").as_deref(), Some("other"));
        assert_eq!(name("test", "it").as_deref(), Some("it"));
    }
}
