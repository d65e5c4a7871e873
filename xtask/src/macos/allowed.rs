//! What the programs may touch on macOS: the lists under `macos/allowed`, and the linker stubs that
//! are made of them.
//!
//! A stub says which symbols a library of the system has. Ours say only which of them we use, so
//! that the linker refuses everything else.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the lists are, in the repository.
pub(super) const DIRECTORY: &str = "macos/allowed";

/// The selectors, the classes and the names, beside the lists of symbols.
const SELECTORS: &str = "selectors.toml";
const NAMES: &str = "names.toml";

/// Everything that is allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// The libraries, by their short name: `libobjc`, `Foundation`.
    pub(super) libraries: BTreeMap<String, Library>,
    /// What we send and implement.
    pub(super) selectors: Selectors,
    /// Other names that stand in the programs.
    pub(super) names: Names,
}

/// A library of the system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Library {
    /// Where the system has it, which is what a program that is linked with it says.
    pub(super) install_name: String,
    /// The programs that may load it.
    pub(super) programs: BTreeSet<String>,
    /// Which symbols, header by header.
    #[serde(default)]
    pub(super) from: Vec<Source>,
}

/// Symbols that come from one place.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Source {
    /// The header of the SDK that declares them, or [`COMPILER`].
    pub(super) header: String,
    /// The first macOS that has them, when the header names one.
    pub(super) since: Option<String>,
    /// The architecture that alone has them under this name.
    pub(super) only: Option<String>,
    /// The programs that may ask for them, where not all may that load the library.
    pub(super) programs: Option<BTreeSet<String>>,
    /// Why, where no header declares them.
    pub(super) why: Option<String>,
    /// As the linker writes them: an underscore before the name in C.
    pub(super) symbols: BTreeSet<String>,
}

/// Stands for a header where compilers emit the name by themselves.
pub(super) const COMPILER: &str = "compiler";

/// The Objective-C side.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Selectors {
    /// Classes of the system.
    #[serde(rename = "class", default)]
    pub(super) classes: Vec<Kind>,
    /// Protocols of the system.
    #[serde(rename = "protocol", default)]
    pub(super) protocols: Vec<Kind>,
}

/// A class or a protocol of the system, as far as we know it. The same one stands twice when a
/// later macOS brought more of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Kind {
    /// Its name.
    pub(super) name: String,
    /// The library that has it.
    pub(super) library: String,
    /// The header that declares it.
    pub(super) header: String,
    /// The first macOS that has it.
    pub(super) since: String,
    /// Selectors that we send, and why.
    #[serde(default)]
    pub(super) sends: BTreeMap<String, String>,
    /// Selectors that we implement, and why.
    #[serde(default)]
    pub(super) implements: BTreeMap<String, String>,
}

/// Names that stand in the programs like selectors do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Names {
    /// The class that the system instantiates, and the program that brings it.
    pub(super) provider: Provider,
    /// Classes of our own, and why they are there.
    pub(super) ours: BTreeMap<String, String>,
    /// Functions of the system that are looked up by name while the program runs.
    #[serde(rename = "looked-up", default)]
    pub(super) looked_up: Vec<LookedUp>,
    /// Names that only look like selectors, and what they are.
    pub(super) plain: BTreeMap<String, String>,
}

/// The class that the property list of the extension names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    /// Its name.
    pub(super) class: String,
    /// The only program that has it.
    pub(super) program: String,
}

/// A function that is looked up by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookedUp {
    /// Its name.
    pub(super) name: String,
    /// The header that declares it.
    pub(super) header: String,
    /// Who looks it up, and what for.
    pub(super) why: String,
}

impl Allowed {
    /// Reads the lists in the repository.
    pub(super) fn load(root: &Path) -> Result<Allowed> {
        let directory = root.join(DIRECTORY);
        let mut allowed = Allowed {
            selectors: read(&directory.join(SELECTORS))?,
            names: read(&directory.join(NAMES))?,
            libraries: BTreeMap::new(),
        };
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match name.strip_suffix(".toml") {
                Some(library) if name != SELECTORS && name != NAMES => {
                    allowed.libraries.insert(library.to_owned(), read(&path)?);
                }
                Some(_) | None => {}
            }
        }
        allowed.consistent()?;
        Ok(allowed)
    }

    /// The library of a path, with its short name.
    pub(super) fn library_at(&self, install_name: &str) -> Option<(&str, &Library)> {
        let mut all = self.libraries.iter();
        all.find(|(_, library)| library.install_name == install_name)
            .map(|(name, library)| (name.as_str(), library))
    }

    /// Every selector.
    pub(super) fn all_selectors(&self) -> BTreeSet<&str> {
        let kinds = self.kinds();
        kinds
            .flat_map(|kind| kind.sends.keys().chain(kind.implements.keys()))
            .map(String::as_str)
            .collect()
    }

    /// Every class and protocol of the system.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.selectors
            .classes
            .iter()
            .chain(&self.selectors.protocols)
    }

    /// Every name that may stand in a program.
    pub(super) fn all_names(&self) -> BTreeSet<&str> {
        let names = &self.names;
        let words = names.ours.keys().chain(names.plain.keys());
        let mut all = self.all_selectors();
        all.extend(words.map(String::as_str));
        all.extend(self.kinds().map(|kind| kind.name.as_str()));
        all.extend(names.looked_up.iter().map(|it| it.name.as_str()));
        all.insert(&names.provider.class);
        all
    }

    /// Writes a stub for every library but one, which has a place of its own: frameworks as
    /// frameworks, the others beside them.
    pub(super) fn write_stubs(&self, directory: &Path, but: &str) -> Result<()> {
        for name in self.libraries.keys().filter(|name| *name != but) {
            let path = directory.join(stub_path(name));
            write_if_new(&path, &self.stub(name))?;
        }
        Ok(())
    }

    /// The stub of a library, in version 4 of the text form that Apple's own SDK has.
    pub(super) fn stub(&self, name: &str) -> String {
        let library = &self.libraries[name];
        let mut text = format!(
            "--- !tapi-tbd\ntbd-version: 4\ntargets: [ {} ]\ninstall-name: '{}'\n\
             current-version: 1\n",
            targets(None),
            library.install_name
        );
        let mut exports = String::new();
        for source in &library.from {
            let symbols: Vec<&str> = source.symbols.iter().map(String::as_str).collect();
            let targets = targets(source.only.as_deref());
            append_exports(&mut exports, &targets, "symbols", &symbols);
        }
        let classes: BTreeSet<&str> = self.classes_of(name).collect();
        let classes: Vec<&str> = classes.into_iter().collect();
        if !classes.is_empty() {
            append_exports(&mut exports, &targets(None), "objc-classes", &classes);
        }
        // An empty list is no list to linkers.
        if !exports.is_empty() {
            text = text + "exports:\n" + &exports;
        }
        text + "...\n"
    }

    fn classes_of(&self, library: &str) -> impl Iterator<Item = &str> {
        let classes = self.selectors.classes.iter();
        classes
            .filter(move |class| class.library == library)
            .map(|class| class.name.as_str())
    }

    /// What the form of the files cannot say.
    fn consistent(&self) -> Result<()> {
        for kind in self.kinds() {
            let name = &kind.name;
            if !self.libraries.contains_key(&kind.library) {
                bail!(
                    "{SELECTORS}: {name} is in `{}`, which has no list",
                    kind.library
                );
            }
            let reasons = kind.sends.values().chain(kind.implements.values());
            if !is_header(&kind.header) || reasons.clone().any(String::is_empty) {
                bail!("{SELECTORS}: {name} needs a header, and a reason for every selector");
            }
        }
        for function in &self.names.looked_up {
            if !is_header(&function.header) || function.why.is_empty() {
                bail!("{NAMES}: {} needs a header and a `why`", function.name);
            }
        }
        for (name, library) in &self.libraries {
            let mut sources = library.from.iter();
            sources
                .try_for_each(|source| source.consistent(&library.programs))
                .with_context(|| format!("{name}.toml is not as it should be"))?;
        }
        Ok(())
    }
}

impl Source {
    /// `programs` may load the library.
    fn consistent(&self, programs: &BTreeSet<String>) -> Result<()> {
        let is_emitted = self.header == COMPILER;
        if is_emitted != self.why.is_some() || !(is_emitted || is_header(&self.header)) {
            bail!(
                "{:?} needs a header or, from compilers, a `why`",
                self.symbols
            );
        }
        if !matches!(self.only.as_deref(), None | Some("arm64" | "x86_64")) {
            bail!("{:?}: `only` is arm64 or x86_64", self.symbols);
        }
        let mut own = self.programs.iter().flatten();
        if let Some(stranger) = own.find(|it| !programs.contains(*it)) {
            bail!("{:?}: {stranger} may not load this library", self.symbols);
        }
        Ok(())
    }
}

/// Writes a file unless it says just that already, so that nothing is newer than it need be.
pub(super) fn write_if_new(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not as it should be", path.display()))
}

fn is_header(path: &str) -> bool {
    path.strip_suffix(".h").is_some_and(|name| !name.is_empty())
}

fn stub_path(library: &str) -> PathBuf {
    if library.starts_with("lib") {
        PathBuf::from(format!("{library}.tbd"))
    } else {
        Path::new(&format!("{library}.framework")).join(format!("{library}.tbd"))
    }
}

fn targets(only: Option<&str>) -> String {
    match only {
        Some(architecture) => format!("{architecture}-macos"),
        None => "x86_64-macos, arm64-macos".to_owned(),
    }
}

fn append_exports(text: &mut String, targets: &str, key: &str, names: &[&str]) {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let list = quoted.join(", ");
    write!(text, "  - targets: [ {targets} ]\n    {key}: [ {list} ]\n")
        .expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    fn library(text: &str) -> Allowed {
        let mut allowed = Allowed::default();
        let library = toml::from_str(text).unwrap();
        allowed.libraries.insert("libbsm".to_owned(), library);
        allowed
    }

    const BSM: &str = "install-name = '/usr/lib/libbsm.0.dylib'\nprograms = ['conntraild']\n";

    #[test]
    fn a_stub_has_the_listed_symbols_and_no_other() {
        let text = format!(
            "{BSM}[[from]]\nheader = 'bsm/libbsm.h'\nsymbols = ['_audit_token_to_pid']\n\
             [[from]]\nheader = 'bsm/libbsm.h'\nonly = 'x86_64'\nsymbols = ['_old$UNIX']\n"
        );
        let stub = library(&text).stub("libbsm");
        let wanted = "--- !tapi-tbd\ntbd-version: 4\ntargets: [ x86_64-macos, arm64-macos ]\n\
            install-name: '/usr/lib/libbsm.0.dylib'\ncurrent-version: 1\nexports:\n\
            \x20 - targets: [ x86_64-macos, arm64-macos ]\n\
            \x20   symbols: [ '_audit_token_to_pid' ]\n\
            \x20 - targets: [ x86_64-macos ]\n    symbols: [ '_old$UNIX' ]\n...\n";
        assert_eq!(stub, wanted);
    }

    #[test]
    fn a_stub_of_a_library_of_which_nothing_is_used_says_only_where_it_is() {
        let stub = library(BSM).stub("libbsm");
        assert!(stub.ends_with("current-version: 1\n...\n"), "{stub}");
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused() {
        let text = format!("{BSM}[[from]]\nheader = 'a.h'\nsymbol = ['_a']\nsymbols = []\n");
        assert!(toml::from_str::<Library>(&text).is_err());
    }

    #[test]
    fn what_compilers_emit_needs_a_reason() {
        let text = format!("{BSM}[[from]]\nheader = 'compiler'\nsymbols = ['_a']\n");
        let error = format!("{:#}", library(&text).consistent().unwrap_err());
        assert!(error.contains("a `why`"), "{error}");
        let text = format!("{BSM}[[from]]\nheader = 'somewhere'\nsymbols = ['_a']\n");
        assert!(library(&text).consistent().is_err());
    }

    #[test]
    fn what_is_for_one_program_is_for_one_that_may_load_the_library() {
        let list = |program: &str| {
            let from = "[[from]]\nheader = 'a.h'\nsymbols = ['_a']";
            library(&format!("{BSM}{from}\nprograms = ['{program}']\n")).consistent()
        };
        assert!(list("conntraild").is_ok());
        let error = format!("{:#}", list("conntrail-ship").unwrap_err());
        assert!(error.contains("conntrail-ship may not load"), "{error}");
    }

    #[test]
    fn the_lists_in_the_tree_are_as_they_should_be() {
        let allowed = Allowed::load(&Workspace::load().unwrap().root).unwrap();
        assert!(allowed.libraries.contains_key("NetworkExtension"));
        assert!(allowed.all_selectors().contains("handleNewFlow:"));
    }
}
