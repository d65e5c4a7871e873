//! Which packages are in the programs: told by Cargo, for each processor.
//!
//! `cargo metadata` describes every package of the workspace and who needs whom, but with the
//! features of all members together, so that it names more than is built. `cargo tree` resolves
//! features for the programs alone, but describes nothing. Together they tell.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What Cargo says for one target.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `cargo metadata --format-version 1 --locked --filter-platform TARGET`
    pub metadata: &'a str,
    /// `cargo tree --locked -p ROOT… -e normal,no-proc-macro --prefix none --target TARGET`
    pub tree: &'a str,
}

/// Something in the programs that is no package of Cargo's, but came with the tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Static {
    /// Such as `rust-std`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is, in a few words.
    pub description: String,
    /// An SPDX expression.
    pub licence: String,
    /// The texts of its licences.
    pub texts: Vec<String>,
}

/// A package that is in one of the programs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// By which Cargo knows it.
    pub id: String,
    /// An SPDX expression.
    pub licence: String,
    /// The file that it names for its licence, where it names one.
    pub licence_file: Option<PathBuf>,
    /// Where its source is.
    pub folder: PathBuf,
    /// Who made it, where it says so.
    pub authors: Vec<String>,
    /// Where it is made.
    pub repository: Option<String>,
    /// SHA-256 of what the registry gave, in hexadecimal.
    pub checksum: Option<String>,
    /// Whether it is of this workspace.
    pub is_ours: bool,
    /// Whether it is one of the programs.
    pub is_root: bool,
    /// The ids of what it is built from, among the shipped.
    pub needs: BTreeSet<String>,
}

/// Everything that is in the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipped {
    packages: Vec<Package>,
    statics: Vec<Static>,
}

/// Why it is not known what is in the programs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What Cargo said is not JSON.
    #[error("what cargo metadata printed is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Something is not there that must be.
    #[error("cargo metadata says nothing about {0}: update Cargo, or this reader of it")]
    Lacks(String),
    /// The two do not fit together.
    #[error("cargo tree names {0}, which cargo metadata does not have: run both on one Cargo.lock")]
    Unknown(String),
    /// It is not a program.
    #[error("{0} is not among what cargo tree names: ask it about every program")]
    NoRoot(String),
    /// A package without a licence.
    #[error("{0} names no licence: ask its authors, or do without it")]
    NoLicence(String),
}

impl Shipped {
    /// Reads what Cargo said for each target. `lock` is the text of `Cargo.lock`, `roots` are the
    /// names of the programs' packages.
    ///
    /// # Errors
    /// When it cannot be read, does not fit together, or a package names no licence.
    pub fn read(
        targets: &[Target<'_>],
        lock: &str,
        roots: &[&str],
        statics: Vec<Static>,
    ) -> Result<Shipped, Error> {
        let checksums = checksums(lock);
        let mut packages: BTreeMap<String, Package> = BTreeMap::new();
        for target in targets {
            for mut package in of_target(target, roots)? {
                let key = (package.name.clone(), package.version.clone());
                package.checksum = checksums.get(&key).cloned();
                match packages.get_mut(&package.id) {
                    Some(known) => known.needs.append(&mut package.needs),
                    None => drop(packages.insert(package.id.clone(), package)),
                }
            }
        }
        let mut packages: Vec<Package> = packages.into_values().collect();
        packages.sort();
        for root in roots {
            if !packages.iter().any(|it| it.is_root && it.name == *root) {
                return Err(Error::NoRoot((*root).to_owned()));
            }
        }
        Ok(Shipped { packages, statics })
    }

    /// The packages, by name and version.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// What came with the tools.
    pub fn statics(&self) -> &[Static] {
        &self.statics
    }
}

fn of_target(target: &Target<'_>, roots: &[&str]) -> Result<Vec<Package>, Error> {
    let metadata: Value = serde_json::from_str(target.metadata)?;
    let named = named(target.tree);
    let mut packages = Vec::new();
    let mut found = BTreeSet::new();
    for about in list(&metadata, "packages")? {
        let key = (text(about, "name")?, text(about, "version")?);
        if named.contains(&key) {
            packages.push(package(about, roots)?);
            found.insert(key);
        }
    }
    if let Some((name, version)) = named.difference(&found).next() {
        return Err(Error::Unknown(format!("{name} {version}")));
    }
    let ids: BTreeSet<String> = packages.iter().map(|it| it.id.clone()).collect();
    let needs = needs(&metadata, &ids)?;
    for package in &mut packages {
        package.needs = needs.get(&package.id).cloned().unwrap_or_default();
    }
    Ok(packages)
}

/// Lines such as `trail v0.1.0 (/folder) (*)`.
fn named(tree: &str) -> BTreeSet<(String, String)> {
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let version = words.next()?.strip_prefix('v')?.to_owned();
        Some((name, version))
    };
    tree.lines().filter_map(pair).collect()
}

fn package(about: &Value, roots: &[&str]) -> Result<Package, Error> {
    let name = text(about, "name")?;
    let manifest = PathBuf::from(text(about, "manifest_path")?);
    let is_ours = about.get("source").is_none_or(Value::is_null);
    let optional = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
    let authors = about.get("authors").and_then(Value::as_array);
    let authors = authors.into_iter().flatten().filter_map(Value::as_str);
    let licence = optional("license").ok_or_else(|| Error::NoLicence(name.clone()))?;
    Ok(Package {
        version: text(about, "version")?,
        id: text(about, "id")?,
        // The way in which it was written before SPDX was.
        licence: licence.replace('/', " OR "),
        licence_file: optional("license_file").map(PathBuf::from),
        folder: manifest.parent().map(PathBuf::from).unwrap_or_default(),
        authors: authors.map(str::to_owned).collect(),
        repository: optional("repository"),
        checksum: None,
        is_ours,
        is_root: is_ours && roots.contains(&&*name),
        needs: BTreeSet::new(),
        name,
    })
}

/// Who is built from whom, as far as both are shipped. What is needed for building or testing only
/// does not count.
fn needs(
    metadata: &Value,
    shipped: &BTreeSet<String>,
) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let resolve = metadata.get("resolve");
    let nodes = resolve.ok_or_else(|| Error::Lacks("resolve".to_owned()))?;
    let mut needs = BTreeMap::new();
    for node in list(nodes, "nodes")? {
        let mut needed = BTreeSet::new();
        for other in list(node, "deps")? {
            let id = text(other, "pkg")?;
            let mut kinds = list(other, "dep_kinds")?.iter();
            let is_linked = kinds.any(|it| it.get("kind").is_none_or(Value::is_null));
            if is_linked && shipped.contains(&id) {
                needed.insert(id);
            }
        }
        needs.insert(text(node, "id")?, needed);
    }
    Ok(needs)
}

/// By name and version, of `Cargo.lock`, whose form Cargo alone writes: a key a line.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let mut lines = block.lines();
            let rest = lines.find_map(|it| it.strip_prefix(key)?.strip_prefix(" = \""))?;
            Some(rest.strip_suffix('"')?.to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, Error> {
    let list = value.get(key).and_then(Value::as_array);
    list.ok_or_else(|| Error::Lacks(key.to_owned()))
}

fn text(value: &Value, key: &str) -> Result<String, Error> {
    let text = value.get(key).and_then(Value::as_str);
    Ok(text.ok_or_else(|| Error::Lacks(key.to_owned()))?.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;
    use std::process::Command;
    use std::sync::OnceLock;

    pub(crate) const ROOTS: &[&str] = &["conntrail", "conntraild"];

    /// Two programs, a crate of ours, one of somebody else's, and three that are not shipped.
    pub(crate) fn made_up_metadata(folder: &Path) -> String {
        let package = |name: &str, version: &str, licence: Option<&str>, source: Option<&str>| {
            json!({
                "name": name,
                "version": version,
                "id": format!("{name}#{version}"),
                "license": licence,
                "license_file": null,
                "source": source,
                "manifest_path": folder.join(name).join("Cargo.toml"),
                "authors": ["Ana <ana@example.org>"],
                "repository": source.map(|_| "https://example.org/odd"),
            })
        };
        let needed = |id: &str, kind: Option<&str>| {
            let kinds = json!([{ "kind": kind, "target": null }]);
            json!({ "pkg": id, "dep_kinds": kinds })
        };
        let node = |id: &str, deps: Vec<Value>| json!({ "id": id, "deps": deps });
        let registry = Some("registry+x");
        json!({
            "packages": [
                package("conntrail", "0.1.0", Some("MIT"), None),
                package("conntraild", "0.1.0", Some("MIT"), None),
                package("record", "0.1.0", Some("MIT"), None),
                package("a-double", "0.1.0", Some("MIT"), None),
                package("odd", "1.0.0+b", Some("MIT/Apache-2.0"), registry),
                package("odd", "2.0.0", Some("GPL-3.0"), registry),
                package("derive", "1.0.0", None, registry),
            ],
            "resolve": { "nodes": [
                node("conntrail#0.1.0", vec![
                    needed("record#0.1.0", None),
                    needed("a-double#0.1.0", Some("dev")),
                    needed("odd#2.0.0", Some("build")),
                ]),
                node("conntraild#0.1.0", vec![needed("record#0.1.0", None)]),
                node("record#0.1.0", vec![
                    needed("odd#1.0.0+b", None),
                    needed("derive#1.0.0", None),
                ]),
                node("odd#1.0.0+b", vec![]),
            ]},
        })
        .to_string()
    }

    pub(crate) const MADE_UP_TREE: &str = "conntrail v0.1.0 (/x)\nrecord v0.1.0 (/x)\n\
                                           odd v1.0.0+b\n\nconntraild v0.1.0 (/x)\n\
                                           record v0.1.0 (/x) (*)\n";

    pub(crate) fn std_of_rust() -> Static {
        Static {
            name: "rust-std".to_owned(),
            version: "1.96.0".to_owned(),
            description: "the standard library of Rust".to_owned(),
            licence: "MIT OR Apache-2.0".to_owned(),
            texts: vec!["The licence of Rust".to_owned()],
        }
    }

    pub(crate) fn made_up_in(folder: &Path) -> Result<Shipped, Error> {
        let checksum = "ab".repeat(32);
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"odd\"\nversion = \"1.0.0+b\"\n\
             checksum = \"{checksum}\"\n\n[[package]]\nname = \"record\"\nversion = \"0.1.0\"\n"
        );
        let metadata = made_up_metadata(folder);
        let target = Target {
            metadata: &metadata,
            tree: MADE_UP_TREE,
        };
        Shipped::read(&[target, target], &lock, ROOTS, vec![std_of_rust()])
    }

    pub(crate) fn made_up() -> Shipped {
        made_up_in(Path::new("/nowhere")).unwrap()
    }

    /// What is only for Macs may never have been downloaded here.
    fn cargo(arguments: &[&str]) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let run = |more: &[&str]| {
            let mut command = Command::new(&cargo);
            command.args(arguments).args(more).current_dir(&root);
            command.output().unwrap()
        };
        let mut output = run(&["--offline"]);
        if !output.status.success() {
            output = run(&[]);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What of this workspace is shipped for Macs.
    pub(crate) fn real() -> &'static Shipped {
        static REAL: OnceLock<Shipped> = OnceLock::new();
        REAL.get_or_init(ask_cargo)
    }

    fn ask_cargo() -> Shipped {
        let targets = ["aarch64-apple-darwin", "x86_64-apple-darwin"].map(|target| {
            let metadata = [
                "metadata",
                "--format-version",
                "1",
                "--filter-platform",
                target,
            ];
            let tree = ["tree", "-p", ROOTS[0], "-p", ROOTS[1], "--prefix", "none"];
            let edges = ["-e", "normal,no-proc-macro", "--target", target];
            let locked = ["--locked"];
            let metadata = cargo(&[&metadata[..], &locked].concat());
            (metadata, cargo(&[&tree[..], &edges, &locked].concat()))
        });
        let targets = targets
            .each_ref()
            .map(|(metadata, tree)| Target { metadata, tree });
        let lock = include_str!("../../../../Cargo.lock");
        Shipped::read(&targets, lock, ROOTS, vec![std_of_rust()]).unwrap()
    }

    #[test]
    fn only_what_is_linked_is_shipped() {
        let shipped = made_up();
        let names: Vec<String> = shipped
            .packages()
            .iter()
            .map(|it| format!("{} {}", it.name, it.version))
            .collect();
        let expected = [
            "conntrail 0.1.0",
            "conntraild 0.1.0",
            "odd 1.0.0+b",
            "record 0.1.0",
        ];
        assert_eq!(names, expected);
        let record = &shipped.packages()[3];
        assert_eq!(record.needs, BTreeSet::from(["odd#1.0.0+b".to_owned()]));
        assert_eq!((record.is_ours, record.is_root), (true, false));
        let odd = &shipped.packages()[2];
        assert_eq!(odd.licence, "MIT OR Apache-2.0");
        assert_eq!(odd.checksum.as_deref(), Some(&*"ab".repeat(32)));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let folder = Path::new("/nowhere");
        let metadata = made_up_metadata(folder);
        let read = |metadata: &str, tree: &str| {
            let target = Target { metadata, tree };
            let error = Shipped::read(&[target], "", ROOTS, Vec::new());
            error.unwrap_err().to_string()
        };
        let tree = |more: &str| MADE_UP_TREE.to_owned() + more;
        assert!(read("{", "").contains("not JSON"));
        assert!(read("{}", "").contains("nothing about packages"));
        assert!(read(&metadata, "conntrail v0.1.0").contains("conntraild is not among"));
        assert!(read(&metadata, &tree("new v9.0.0")).contains("names new 9.0.0, which"));
        assert!(read(&metadata, &tree("derive v1.0.0")).contains("derive names no licence"));
    }

    #[test]
    fn of_this_workspace_the_programs_are_shipped_and_no_double() {
        let shipped = real();
        let names: BTreeSet<&str> = shipped.packages().iter().map(|it| &*it.name).collect();
        for expected in [
            "conntrail",
            "conntraild",
            "record",
            "sensor-macos",
            "objc2",
            "clap",
        ] {
            assert!(names.contains(expected), "{expected} is shipped");
        }
        for other in [
            "darwin-double",
            "jsonschema",
            "network-extension-double",
            "objc-double",
            "packaging",
            "sensor-linux",
            "serde_derive",
            "system-extensions-double",
            "tempfile",
            "xtask",
        ] {
            assert!(!names.contains(other), "{other} is not shipped");
        }
        for package in shipped.packages() {
            let is_hash = package.checksum.as_ref().is_some_and(|it| it.len() == 64);
            assert_ne!(package.is_ours, is_hash, "{}", package.name);
        }
        let needed: BTreeSet<&String> =
            shipped.packages().iter().flat_map(|it| &it.needs).collect();
        for package in shipped.packages() {
            assert!(
                package.is_root || needed.contains(&package.id),
                "{}",
                package.name
            );
        }
    }
}
