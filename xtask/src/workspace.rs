//! What cargo knows about this workspace: where it is, what is in it, who depends on whom.

use crate::process;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace on disk.
pub(crate) struct Workspace {
    /// The directory of the root manifest.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// The version that all crates of this repository have.
    pub(crate) version: String,
    /// The crates of this repository.
    pub(crate) members: Vec<Member>,
    /// Every crate, ours and others', and its dependencies.
    pub(crate) graph: Graph,
}

/// One crate of this repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// The package's name.
    pub(crate) name: String,
    /// Its directory, relative to the root of the repository.
    pub(crate) directory: String,
    /// Its examples.
    pub(crate) examples: Vec<String>,
    /// Its programs.
    pub(crate) programs: Vec<String>,
    /// Whether it has a library.
    pub(crate) has_library: bool,
}

/// Who depends on whom, by package name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// Dependencies that end up in a build.
    pub(crate) shipped: BTreeMap<String, BTreeSet<String>>,
    /// Dependencies of tests, examples and benchmarks alone.
    pub(crate) development: BTreeMap<String, BTreeSet<String>>,
}

impl Workspace {
    /// Asks cargo. In continuous integration a lock file that is out of date is an error.
    pub(crate) fn load() -> Result<Workspace> {
        let root = root()?;
        let mut metadata = process::cargo();
        metadata
            .current_dir(&root)
            .args(["metadata", "--format-version", "1"]);
        if env::var_os("CI").is_some() {
            metadata.arg("--locked");
        }
        let text = process::read(&mut metadata).context("cannot read the workspace")?;
        let metadata: Value = serde_json::from_str(&text)?;
        let target = text_of(&metadata, "target_directory").into();
        let members = members(&metadata, &root);
        Ok(Workspace {
            root,
            target,
            version: version(&metadata),
            members,
            graph: Graph::from_metadata(&metadata),
        })
    }

    /// Everything that a package is built from for one target, itself not counted. The graph
    /// knows only what it may be built from, whatever the target.
    pub(crate) fn built_from(&self, package: &str, target: &str) -> Result<BTreeSet<String>> {
        let mut tree = process::cargo();
        tree.current_dir(&self.root).args(["tree", "--quiet"]);
        tree.args(["--package", package, "--target", target]);
        tree.args(["--edges", "normal,build", "--prefix", "none"]);
        tree.args(["--format", "{p}"]);
        if env::var_os("CI").is_some() {
            tree.arg("--locked");
        }
        let text = process::read(&mut tree)?;
        let names = text.lines().filter_map(|line| line.split(' ').next());
        let names = names.filter(|name| *name != package).map(str::to_owned);
        Ok(names.collect())
    }

    /// A directory for what xtask itself keeps, made when it is not there.
    pub(crate) fn tools(&self, name: &str) -> Result<PathBuf> {
        let directory = self.target.join("tools").join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(directory)
    }

    /// Makes `to` a copy of what is in the tree, or would be with the next commit. A file that is
    /// there already and the same stays as it is, so that nothing is built again because of it.
    pub(crate) fn copy_sources(&self, to: &Path) -> Result<()> {
        let mut list = Command::new("git");
        list.current_dir(&self.root).arg("ls-files");
        list.args(["--cached", "--others", "--exclude-standard"]);
        let mut copied = BTreeSet::new();
        for file in process::read(&mut list)?.lines() {
            let (from, to) = (self.root.join(file), to.join(file));
            if !from.is_file() {
                continue;
            }
            let bytes = fs::read(&from).with_context(|| format!("cannot read {file}"))?;
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                let directory = to.parent().context("a file has a directory")?;
                fs::create_dir_all(directory)?;
                fs::copy(&from, &to).with_context(|| format!("cannot copy {file}"))?;
            }
            copied.insert(to);
        }
        remove_others(to, &copied).context("cannot clear the last copy of the tree")
    }

    /// The same workspace, with its tree and what is built from it elsewhere.
    pub(crate) fn moved(&self, root: PathBuf, target: PathBuf) -> Workspace {
        Workspace {
            root,
            target,
            version: self.version.clone(),
            members: self.members.clone(),
            graph: self.graph.clone(),
        }
    }

    /// Whether a crate of this repository has an example.
    pub(crate) fn has_example(&self, member: &str, example: &str) -> bool {
        self.members
            .iter()
            .any(|it| it.name == member && it.examples.iter().any(|name| name == example))
    }
}

impl Graph {
    /// Everything that a package pulls into a build, itself not counted.
    pub(crate) fn reachable(&self, from: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![from];
        while let Some(package) = waiting.pop() {
            for next in self.shipped.get(package).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    waiting.push(next);
                }
            }
        }
        seen
    }

    /// Who depends directly on a package, in builds and in tests.
    pub(crate) fn dependents(&self, of: &str) -> BTreeSet<&str> {
        let edges = self.shipped.iter().chain(&self.development);
        edges
            .filter(|(_, to)| to.contains(of))
            .map(|(from, _)| from.as_str())
            .collect()
    }

    /// Every package that occurs.
    pub(crate) fn packages(&self) -> BTreeSet<&str> {
        let edges = self.shipped.iter().chain(&self.development);
        edges
            .flat_map(|(from, to)| to.iter().map(String::as_str).chain([from.as_str()]))
            .collect()
    }

    fn from_metadata(metadata: &Value) -> Graph {
        let mut graph = Graph::default();
        let names: BTreeMap<&str, &str> = array(metadata, "packages")
            .map(|package| (text_of(package, "id"), text_of(package, "name")))
            .collect();
        for node in array(&metadata["resolve"], "nodes") {
            let from = names[text_of(node, "id")];
            for dependency in array(node, "deps") {
                graph.add(from, names[text_of(dependency, "pkg")], dependency);
            }
        }
        graph
    }

    fn add(&mut self, from: &str, to: &str, dependency: &Value) {
        for kind in array(dependency, "dep_kinds") {
            let edges = match kind["kind"].as_str() {
                Some("dev") => &mut self.development,
                Some(_) | None => &mut self.shipped,
            };
            edges
                .entry(from.to_owned())
                .or_default()
                .insert(to.to_owned());
        }
    }
}

/// Removes every file that is not one of `kept`.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_others(&entry.path(), kept)?;
        } else if !kept.contains(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn root() -> Result<PathBuf> {
    // Cargo tells a program that it runs where its manifest is now; the path from the build may
    // be older than the last move of the directory.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest
        .parent()
        .context("the directory of xtask has no parent")?;
    Ok(root.to_owned())
}

fn version(metadata: &Value) -> String {
    let ours = array(metadata, "workspace_members").next();
    let package = array(metadata, "packages").find(|it| ours == Some(&it["id"]));
    package.map_or_else(String::new, |it| text_of(it, "version").to_owned())
}

fn members(metadata: &Value, root: &Path) -> Vec<Member> {
    let ours: BTreeSet<&str> = array(metadata, "workspace_members")
        .filter_map(Value::as_str)
        .collect();
    array(metadata, "packages")
        .filter(|package| ours.contains(text_of(package, "id")))
        .map(|package| member(package, root))
        .collect()
}

fn member(package: &Value, root: &Path) -> Member {
    let manifest = Path::new(text_of(package, "manifest_path"));
    let directory = manifest.parent().unwrap_or(root);
    let directory = directory.strip_prefix(root).unwrap_or(directory);
    let targets = |kind: &str| {
        array(package, "targets")
            .filter(|target| array(target, "kind").any(|it| it == kind))
            .map(|target| text_of(target, "name").to_owned())
            .collect::<Vec<_>>()
    };
    Member {
        name: text_of(package, "name").to_owned(),
        directory: directory.to_string_lossy().into_owned(),
        examples: targets("example"),
        programs: targets("bin"),
        has_library: !targets("lib").is_empty(),
    }
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata() -> Value {
        let package = |name: &str| json!({"id": format!("{name} 1"), "name": name});
        json!({
            "packages": [package("a"), package("b"), package("c"), package("d")],
            "resolve": {"nodes": [
                {"id": "a 1", "deps": [
                    {"pkg": "b 1", "dep_kinds": [{"kind": null}]},
                    {"pkg": "d 1", "dep_kinds": [{"kind": "dev"}]},
                ]},
                {"id": "b 1", "deps": [{"pkg": "c 1", "dep_kinds": [{"kind": "build"}]}]},
            ]},
        })
    }

    #[test]
    fn reaches_through_builds_but_not_through_tests() {
        let graph = Graph::from_metadata(&metadata());
        assert_eq!(
            graph.reachable("a"),
            BTreeSet::from(["b".to_owned(), "c".to_owned()])
        );
        assert_eq!(graph.dependents("d"), BTreeSet::from(["a"]));
    }

    #[test]
    fn knows_its_own_workspace() {
        let workspace = Workspace::load().unwrap();
        assert!(
            workspace
                .members
                .iter()
                .any(|it| it.name == "xtask" && it.directory == "xtask")
        );
        assert!(workspace.graph.reachable("xtask").contains("syn"));
    }

    #[test]
    fn a_copy_of_the_tree_keeps_what_is_the_same_and_nothing_else() {
        let workspace = Workspace::load().unwrap();
        let copy = env::temp_dir().join(format!("xtask-copy-{}", std::process::id()));
        workspace.copy_sources(&copy).unwrap();
        let [same, changed] = ["Cargo.toml", "Cargo.lock"].map(|it| copy.join(it));
        let stranger = copy.join("xtask/stranger");
        let long_ago = std::time::UNIX_EPOCH;
        let file = fs::File::options().write(true).open(&same).unwrap();
        file.set_modified(long_ago).unwrap();
        fs::write(&changed, "planted").unwrap();
        fs::write(&stranger, "planted").unwrap();
        workspace.copy_sources(&copy).unwrap();
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(modified(&same), long_ago);
        let original = fs::read(workspace.root.join("Cargo.lock")).unwrap();
        assert_eq!(fs::read(&changed).unwrap(), original);
        assert!(!stranger.exists());
        fs::remove_dir_all(copy).unwrap();
    }

    #[test]
    fn knows_what_only_one_target_is_built_from() {
        let workspace = Workspace::load().unwrap();
        let has_kernel_sensor = |target: &str| {
            let packages = workspace.built_from("conntraild", target).unwrap();
            packages.contains("sensor-linux")
        };
        assert!(has_kernel_sensor("x86_64-unknown-linux-gnu"));
        assert!(!has_kernel_sensor("aarch64-apple-darwin"));
    }
}
