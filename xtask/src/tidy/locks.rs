//! Lock files beside that of the workspace.
//!
//! Some packages are no members of the workspace, so that nothing else is built with their
//! dependencies; each has a lock file, which cargo takes as it is. Whoever changes what one of our
//! crates needs changes the workspace's lock file without noticing, and not these: they would fail
//! long after, where nobody looks. What cargo would say then is said here, without cargo and
//! without a network.

use super::Finding;
use super::source::Tree;
use semver::{Version, VersionReq};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// The workspace's own.
const OURS: &str = "Cargo.lock";

/// Every lock file agrees with the manifests that it is for, of our crates among them.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let locks = tree.with_extension(&["lock"]);
    let locks = locks.filter(|(path, _)| path.ends_with("/Cargo.lock"));
    let mut findings = Vec::new();
    for (path, text) in locks {
        let directory = path.trim_end_matches("/Cargo.lock");
        let mut problems = Problems::default();
        match Lock::parse(text) {
            Some(lock) => lock.compare(tree, directory, &mut problems),
            None => problems.add("it is no lock file".to_owned()),
        }
        let remedy = format!(
            "`cargo update --workspace --manifest-path {directory}/Cargo.toml` mends it, as that \
             of the workspace in {OURS}"
        );
        let problems = problems.0.into_iter();
        findings.extend(problems.map(|it| Finding::new(path, format!("{it}; {remedy}"))));
    }
    findings
}

#[derive(Default)]
struct Problems(BTreeSet<String>);

impl Problems {
    fn add(&mut self, problem: String) {
        self.0.insert(problem);
    }
}

/// A lock file, by the names of packages.
struct Lock(BTreeMap<String, Vec<Locked>>);

struct Locked {
    version: String,
    /// It is a folder of ours.
    is_path: bool,
    /// Name and, where there are several of that name, version.
    dependencies: Vec<(String, Option<String>)>,
}

/// What a manifest says that it needs.
struct Needed {
    name: String,
    /// Of the registry's.
    requirement: Option<String>,
    /// The folder, where it is ours.
    directory: Option<String>,
    /// It may be absent.
    is_optional: bool,
}

impl Lock {
    fn parse(text: &str) -> Option<Lock> {
        let table: Table = text.parse().ok()?;
        let mut lock = BTreeMap::<String, Vec<Locked>>::new();
        for package in table.get("package")?.as_array()? {
            let words = |it: &Value| {
                let mut words = it.as_str().unwrap_or_default().split(' ');
                let name = words.next().unwrap_or_default().to_owned();
                (name, words.next().map(str::to_owned))
            };
            let dependencies = package.get("dependencies").and_then(Value::as_array);
            lock.entry(package.get("name")?.as_str()?.to_owned())
                .or_default()
                .push(Locked {
                    version: package.get("version")?.as_str()?.to_owned(),
                    is_path: package.get("source").is_none(),
                    dependencies: dependencies.into_iter().flatten().map(words).collect(),
                });
        }
        Some(Lock(lock))
    }

    /// Compares the manifest in a folder, and those of our crates that it reaches.
    fn compare(&self, tree: &Tree, directory: &str, problems: &mut Problems) {
        let (mut waiting, mut seen) = (vec![directory.to_owned()], BTreeSet::new());
        while let Some(here) = waiting.pop() {
            if !seen.insert(here.clone()) {
                continue;
            }
            let Some(manifest) = Manifest::read(tree, &here) else {
                problems.add(format!("{here}/Cargo.toml is needed, and is no manifest"));
                continue;
            };
            let needed = manifest.needed(here == directory);
            let ours = needed.iter().filter(|it| !it.is_optional);
            waiting.extend(ours.filter_map(|it| it.directory.clone()));
            self.compare_one(&manifest, &needed, problems);
        }
    }

    fn compare_one(&self, manifest: &Manifest, needed: &[Needed], problems: &mut Problems) {
        let name = &manifest.name;
        let mut of_name = self.0.get(name).into_iter().flatten();
        let Some(locked) = of_name.find(|it| it.is_path && it.version == manifest.version) else {
            problems.add(format!("{name} {} is not in it", manifest.version));
            return;
        };
        for it in needed.iter().filter(|it| !it.is_optional) {
            let mut locked = locked
                .dependencies
                .iter()
                .filter(|(name, _)| *name == it.name);
            if !locked.any(|(_, version)| self.satisfies(it, version.as_deref())) {
                let requirement = it.requirement.as_deref().unwrap_or_default();
                let text = format!("{} {requirement}", it.name);
                problems.add(format!("{name} needs {}, and not by it", text.trim_end()));
            }
        }
        for (used, _) in &locked.dependencies {
            if !needed.iter().any(|it| it.name == *used) {
                problems.add(format!("{name} does not need {used} any more"));
            }
        }
    }

    /// Whether what is locked under this name, and version where it says one, is what is needed.
    fn satisfies(&self, needed: &Needed, version: Option<&str>) -> bool {
        let of_name = self.0.get(&needed.name).into_iter().flatten();
        let mut those = of_name.filter(|it| version.is_none_or(|version| version == it.version));
        those.any(|it| match &needed.requirement {
            _ if needed.directory.is_some() => it.is_path,
            Some(requirement) => is_met(requirement, &it.version),
            None => true,
        })
    }
}

struct Manifest {
    name: String,
    version: String,
    table: Table,
    /// That of the workspace which it is a member of, where it is one of ours.
    workspace: Option<Table>,
    directory: String,
}

impl Manifest {
    fn read(tree: &Tree, directory: &str) -> Option<Manifest> {
        let read = |path: &str| tree.files.get(path)?.parse::<Table>().ok();
        let table = read(&format!("{directory}/Cargo.toml"))?;
        let is_root = table.contains_key("workspace");
        let workspace = if is_root { None } else { read("Cargo.toml") };
        let package = table.get("package")?;
        let version = match package.get("version")? {
            Value::String(version) => version.clone(),
            _ => {
                let of_all = workspace.as_ref()?.get("workspace")?.get("package")?;
                of_all.get("version")?.as_str()?.to_owned()
            }
        };
        Some(Manifest {
            name: package.get("name")?.as_str()?.to_owned(),
            version,
            workspace,
            directory: directory.to_owned(),
            table,
        })
    }

    /// What it needs on whatever system; for its tests only where it is what the lock file is for.
    fn needed(&self, with_tests: bool) -> Vec<Needed> {
        let systems = self.table.get("target").and_then(Value::as_table);
        let systems = systems.into_iter().flat_map(Table::values);
        let tables = systems.filter_map(Value::as_table).chain([&self.table]);
        let mut kinds = vec!["dependencies", "build-dependencies"];
        if with_tests {
            kinds.push("dev-dependencies");
        }
        let mut needed = Vec::new();
        for table in tables {
            for kind in &kinds {
                let lines = table.get(*kind).and_then(Value::as_table);
                let lines = lines.into_iter().flatten();
                needed.extend(lines.map(|(name, line)| self.one(name, line)));
            }
        }
        needed
    }

    fn one(&self, name: &str, line: &Value) -> Needed {
        let is = |key: &str| line.get(key).and_then(Value::as_bool) == Some(true);
        let of_all = || {
            let workspace = self.workspace.as_ref()?.get("workspace")?;
            workspace.get("dependencies")?.get(name)
        };
        let (base, told) = match of_all().filter(|_| is("workspace")) {
            Some(told) => ("", told),
            None => (self.directory.as_str(), line),
        };
        let text = |key: &str| told.get(key).and_then(Value::as_str);
        Needed {
            name: text("package").unwrap_or(name).to_owned(),
            requirement: told.as_str().or(text("version")).map(str::to_owned),
            directory: text("path").map(|path| joined(base, path)),
            is_optional: is("optional"),
        }
    }
}

/// A path from a folder, both relative to the root.
fn joined(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').filter(|it| !it.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a version meets a requirement; what is neither is not judged.
fn is_met(requirement: &str, version: &str) -> bool {
    match (VersionReq::parse(requirement), Version::parse(version)) {
        (Ok(requirement), Ok(version)) => requirement.matches(&version),
        (Err(_), _) | (_, Err(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\"crates/*\"]\n[workspace.package]\n\
                        version = \"0.1.0\"\n[workspace.dependencies]\nserde = \"1.0.3\"\n\
                        record = { path = \"crates/record\" }\n";
    const RECORD: &str = "[package]\nname = \"record\"\nversion.workspace = true\n[dependencies]\n\
                          serde.workspace = true\nfast = { version = \"2\", optional = true }\n\
                          [dev-dependencies]\nquick = \"9\"\n";
    const TOOL: &str = "[package]\nname = \"tool\"\nversion = \"0.0.0\"\n[workspace]\n\
                        [dependencies]\nrecord = { path = \"../../crates/record\" }\n\
                        [target.'cfg(unix)'.dependencies]\nredb = \"4.0\"\n";
    const LOCK: &str = "version = 4\n[[package]]\nname = \"record\"\nversion = \"0.1.0\"\n\
                        dependencies = [\"serde\"]\n\
                        [[package]]\nname = \"redb\"\nversion = \"4.1.2\"\nsource = \"r\"\n\
                        [[package]]\nname = \"serde\"\nversion = \"1.0.200\"\nsource = \"r\"\n\
                        [[package]]\nname = \"tool\"\nversion = \"0.0.0\"\n\
                        dependencies = [\"record\", \"redb\"]\n";

    /// What is found where one text stands for another.
    fn found(path: &str, from: &str, to: &str) -> Vec<String> {
        let mut files = vec![
            ("Cargo.toml", ROOT.to_owned()),
            ("Cargo.lock", "version = 4\n".to_owned()),
            ("crates/record/Cargo.toml", RECORD.to_owned()),
            ("xtask/tool/Cargo.toml", TOOL.to_owned()),
            ("xtask/tool/Cargo.lock", LOCK.to_owned()),
        ];
        for (name, text) in &mut files {
            if *name == path {
                assert!(text.contains(from), "{from}");
                *text = text.replace(from, to);
            }
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(it, text)| (*it, &**text)).collect();
        let findings = check(&Tree::of(&files)).into_iter();
        findings
            .map(|it| {
                it.problem
                    .split("; `cargo update")
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn a_lock_file_that_agrees_is_left_alone() {
        assert_eq!(found("", "", ""), [""; 0]);
    }

    #[test]
    fn what_a_member_needs_anew_or_no_more_is_found_in_every_lock_file() {
        let record = "crates/record/Cargo.toml";
        for (path, from, to, problem) in [
            (
                "Cargo.toml",
                "1.0.3",
                "1.0.201",
                "record needs serde 1.0.201, and not by it",
            ),
            (
                "Cargo.toml",
                "1.0.3",
                "2",
                "record needs serde 2, and not by it",
            ),
            ("Cargo.toml", "0.1.0", "0.2.0", "record 0.2.0 is not in it"),
            (
                record,
                "[dev-",
                "hmac = \"0.13\"\n[dev-",
                "record needs hmac 0.13, and not by it",
            ),
            (
                record,
                "serde.workspace = true\n",
                "",
                "record does not need serde any more",
            ),
            (
                "xtask/tool/Cargo.toml",
                "4.0",
                "=4.0.0",
                "tool needs redb =4.0.0, and not by it",
            ),
            (
                "xtask/tool/Cargo.lock",
                "\"record\", ",
                "",
                "tool needs record, and not by it",
            ),
        ] {
            assert_eq!(found(path, from, to), [problem], "{path}: {to}");
        }
    }

    #[test]
    fn a_file_that_is_no_lock_file_is_told() {
        let lock = "xtask/tool/Cargo.lock";
        assert_eq!(
            found(lock, "version = 4", "version"),
            ["it is no lock file"]
        );
    }

    #[test]
    fn requirements_mean_what_they_mean_to_cargo() {
        for (requirement, version, expected) in [
            ("1", "1.9.0", true),
            ("1.2", "1.1.9", false),
            ("1.2", "2.0.0", false),
            ("0.38", "0.38.4", true),
            ("0.38", "0.39.0", false),
            ("0.0.3", "0.0.4", false),
            ("0", "0.9.1", true),
            ("0.3.44-rc.2", "0.3.44", true),
            ("=1.2.3", "1.2.3", true),
            ("=1.2.3", "1.2.4", false),
        ] {
            assert_eq!(
                is_met(requirement, version),
                expected,
                "{requirement} {version}"
            );
        }
    }
}
