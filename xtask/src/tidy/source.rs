//! The source tree as the checks see it.

use super::Finding;
use crate::workspace::{Graph, Member, Workspace};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, ImplItem, Item, Meta};

/// Hidden directories that belong to the project; the others are somebody's editor's.
const OUR_HIDDEN_DIRECTORIES: &[&str] = &[".ci", ".cargo", ".github"];

/// What we build for whoever uses Conntrail; as in `deny.toml`.
const SHIPPED_TARGETS: [&str; 4] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
];

/// Has a program, and is not shipped.
const OURS_ALONE: &str = "xtask";

/// Every text file of the project, and what cargo knows about its crates.
#[derive(Default)]
pub(crate) struct Tree {
    /// The text files by path, relative to the root, with forward slashes.
    pub(crate) files: BTreeMap<String, String>,
    /// The parsed ones among them.
    pub(crate) rust: Vec<RustFile>,
    /// Every path that exists, files that are no text and directories included.
    pub(crate) paths: Vec<String>,
    /// Our crates.
    pub(crate) members: Vec<Member>,
    /// Who depends on whom, on whatever target.
    pub(crate) graph: Graph,
    /// What each program that we ship is built from, for each target.
    pub(crate) builds: Vec<Build>,
}

/// What one program is built from for one target.
pub(crate) struct Build {
    /// The package that the program is in.
    pub(crate) program: String,
    /// The target.
    pub(crate) target: &'static str,
    /// Every package that is built for it.
    pub(crate) packages: BTreeSet<String>,
}

/// One file of Rust.
pub(crate) struct RustFile {
    /// Its path, relative to the root.
    pub(crate) path: String,
    /// Everything in it; `None` when it is not valid Rust.
    pub(crate) whole: Option<syn::File>,
    /// What is left when the tests are taken out; empty for files of tests.
    pub(crate) shipped: Option<syn::File>,
}

impl Tree {
    /// Reads the working tree: tracked or not, so that a new file is checked before its commit.
    pub(crate) fn load(workspace: &Workspace) -> Result<Tree> {
        let mut tree = Tree {
            members: workspace.members.clone(),
            graph: workspace.graph.clone(),
            ..Tree::default()
        };
        tree.builds = builds(workspace)?;
        tree.walk(&workspace.root, "")?;
        tree.parse();
        Ok(tree)
    }

    /// A tree out of nothing but texts, for the tests of the checks.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.paths.push((*path).to_owned());
            tree.files.insert((*path).to_owned(), (*text).to_owned());
        }
        tree.parse();
        tree
    }

    /// The text files with one of these extensions.
    pub(crate) fn with_extension(&self, extensions: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .filter(|(path, _)| {
                path.rsplit_once('.')
                    .is_some_and(|(_, extension)| extensions.contains(&extension))
            })
    }

    /// The Rust files that end up in a build of a crate.
    pub(crate) fn sources_of(&self, directory: &str) -> impl Iterator<Item = &RustFile> {
        let prefix = format!("{directory}/src/");
        self.rust
            .iter()
            .filter(move |file| file.path.starts_with(&prefix))
    }

    fn walk(&mut self, root: &Path, directory: &str) -> Result<()> {
        let here = root.join(directory);
        let entries = fs::read_dir(&here)
            .with_context(|| format!("cannot list the directory {}", here.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if directory.is_empty() {
                name.clone()
            } else {
                format!("{directory}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_dir() && is_ours(&entry.path(), &name) {
                self.paths.push(path.clone());
                self.walk(root, &path)?;
            } else if kind.is_file() {
                self.add(&entry.path(), path);
            }
        }
        Ok(())
    }

    fn add(&mut self, file: &Path, path: String) {
        // A file that is no text, or that an editor has just taken away, has nothing to check.
        if let Ok(text) = fs::read_to_string(file) {
            self.files.insert(path.clone(), text);
        }
        self.paths.push(path);
    }

    fn parse(&mut self) {
        let sources = self.files.iter().filter(|(path, _)| path.ends_with(".rs"));
        self.rust = sources
            .map(|(path, text)| RustFile::parse(path, text))
            .collect();
        let tests: Vec<String> = self.rust.iter().flat_map(RustFile::test_modules).collect();
        for file in &mut self.rust {
            if tests.iter().any(|module| file.belongs_to(module)) {
                file.shipped = None;
            }
        }
    }
}

fn builds(workspace: &Workspace) -> Result<Vec<Build>> {
    let mut builds = Vec::new();
    let members = workspace.members.iter();
    for member in members.filter(|it| !it.programs.is_empty() && it.name != OURS_ALONE) {
        for target in SHIPPED_TARGETS {
            builds.push(Build {
                program: member.name.clone(),
                target,
                packages: workspace.built_from(&member.name, target)?,
            });
        }
    }
    Ok(builds)
}

impl RustFile {
    fn parse(path: &str, text: &str) -> RustFile {
        let whole = syn::parse_file(text).ok();
        let is_test = path
            .split('/')
            .any(|part| matches!(part, "tests" | "benches"));
        let mut shipped = whole.clone().filter(|_| !is_test);
        if let Some(file) = &mut shipped {
            WithoutTests.visit_file_mut(file);
        }
        RustFile {
            path: path.to_owned(),
            whole,
            shipped,
        }
    }

    /// The modules in files of their own that this file declares for tests only, as paths
    /// without an extension.
    fn test_modules(&self) -> Vec<String> {
        let items = self.whole.iter().flat_map(|file| &file.items);
        let declared = items.filter_map(|item| match item {
            Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => {
                Some(format!("{}/{}", self.directory_of_modules(), module.ident))
            }
            _ => None,
        });
        declared.collect()
    }

    fn belongs_to(&self, module: &str) -> bool {
        self.path
            .strip_prefix(module)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    fn directory_of_modules(&self) -> &str {
        let (directory, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        match name {
            "lib.rs" | "main.rs" | "mod.rs" => directory,
            _ => self.path.strip_suffix(".rs").unwrap_or(&self.path),
        }
    }
}

/// Every Rust file parses; without that the other checks are blind.
pub(super) fn unparsable(tree: &Tree) -> Vec<Finding> {
    let blind = tree.rust.iter().filter(|file| file.whole.is_none());
    blind
        .map(|file| Finding::new(&file.path, "is not valid Rust"))
        .collect()
}

/// Where a piece of syntax starts.
pub(super) fn line_of(span: proc_macro2::Span) -> usize {
    span.start().line
}

/// Whether attributes put an item into test builds only.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.any(|word| word == "test") && !condition.contains("not")
        }
        Meta::List(_) | Meta::NameValue(_) => false,
    })
}

struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_test(attributes(item)));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_test(attributes(item)));
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        block.items.retain(|item| match item {
            ImplItem::Fn(function) => !is_test(&function.attrs),
            ImplItem::Const(constant) => !is_test(&constant.attrs),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, block);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

fn is_ours(directory: &Path, name: &str) -> bool {
    // Cargo marks every directory that it builds into.
    let is_build = directory.join("CACHEDIR.TAG").exists() || name == "target";
    let is_hidden = name.starts_with('.') && !OUR_HIDDEN_DIRECTORIES.contains(&name);
    !is_build && !is_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped_functions(tree: &Tree) -> Vec<String> {
        let files = tree.rust.iter().filter_map(|file| file.shipped.as_ref());
        let items = files.flat_map(|file| &file.items);
        let names = items.filter_map(|item| match item {
            Item::Fn(function) => Some(function.sig.ident.to_string()),
            _ => None,
        });
        names.collect()
    }

    #[test]
    fn tests_are_taken_out_wherever_they_are() {
        let tree = Tree::of(&[
            (
                "crates/a/src/lib.rs",
                "mod one; #[cfg(test)] mod two; fn kept() {}",
            ),
            (
                "crates/a/src/one.rs",
                "fn also_kept() {} #[cfg(test)] mod three; #[test] fn t() {}",
            ),
            ("crates/a/src/one/three.rs", "fn dropped() {}"),
            ("crates/a/src/two/deep.rs", "fn dropped() {}"),
            ("crates/a/tests/it/main.rs", "fn dropped() {}"),
            (
                "crates/a/src/sample.rs",
                "#[cfg(any(test, feature = \"sample\"))] fn dropped() {}",
            ),
        ]);
        assert_eq!(shipped_functions(&tree), ["kept", "also_kept"]);
    }

    #[test]
    fn code_for_builds_that_are_no_tests_stays() {
        let tree = Tree::of(&[("crates/a/src/lib.rs", "#[cfg(not(test))] fn kept() {}")]);
        assert_eq!(shipped_functions(&tree), ["kept"]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_found() {
        let tree = Tree::of(&[("crates/a/src/lib.rs", "fn {")]);
        assert_eq!(unparsable(&tree).len(), 1);
    }
}
