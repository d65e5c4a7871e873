//! The licences of everything that is in the programs, as one text for people.

use crate::sbom::{Package, Shipped, Static};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Our own two, which are the ones that most of the others have.
const APACHE: &str = include_str!("../../../LICENSE-APACHE");
const MIT: &str = include_str!("../../../LICENSE-MIT");

/// How files with licences are named, in whatever case.
const NAMES: &[&str] = &[
    "license",
    "licence",
    "copying",
    "notice",
    "unlicense",
    "copyright",
];

/// A folder with one file a licence (<https://reuse.software>).
const FOLDER: &str = "LICENSES";

/// Longer than any licence.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Why there are no notices.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A licence cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody knows under which words it may be used.
    #[error(
        "{0} comes without the text of its licence ({1}), which is none that this project has \
         the text of: get it from its repository, or do without the package"
    )]
    NoText(String, String),
}

/// What is in the programs, by whom, and the licences; the same input gives the same text.
///
/// A package that comes without a text has the standard one where it may be used under the MIT or
/// the Apache licence.
///
/// # Errors
/// When a text cannot be read, or is missing and cannot be had.
pub fn write(shipped: &Shipped) -> Result<String, Error> {
    let mut listed = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |name: &str, version: &str, licence: &str, found: Vec<String>| {
        let title = format!("{name} {version}");
        // Writing to a text cannot fail.
        let _ = writeln!(listed, "  {title:<40} {licence}");
        for text in found {
            texts.entry(text).or_default().insert(title.clone());
        }
    };
    for package in shipped.packages().iter().filter(|it| !it.is_ours) {
        add(
            &package.name,
            &package.version,
            &package.licence,
            texts_of(package)?,
        );
    }
    for one in shipped.statics() {
        add(&one.name, &one.version, &one.licence, texts_of_static(one)?);
    }
    Ok(put_together(&listed, &texts))
}

fn put_together(listed: &str, texts: &BTreeMap<String, BTreeSet<String>>) -> String {
    let own = format!(
        "Conntrail may be used under either of the Apache License 2.0 and the MIT license.\n\
         Its programs hold the work of others:\n\n{listed}\n\
         What follows are the texts of all of these licences, each with those it is the text of.\n"
    );
    let line = "-".repeat(80);
    let mut all = own;
    let ours = BTreeSet::from(["Conntrail".to_owned()]);
    let own = [(clean(APACHE), &ours), (clean(MIT), &ours)];
    // The order is that of the names and not of the texts.
    let mut others: Vec<(&BTreeSet<String>, &String)> =
        texts.iter().map(|(text, of)| (of, text)).collect();
    others.sort();
    let others = others.into_iter().map(|(of, text)| (text.clone(), of));
    for (text, of) in own.into_iter().chain(others) {
        let of: Vec<&str> = of.iter().map(String::as_str).collect();
        let _ = write!(all, "\n{line}\n{}\n{line}\n\n{text}", of.join(", "));
    }
    all
}

fn texts_of(package: &Package) -> Result<Vec<String>, Error> {
    let mut files = files_of(&package.folder)?;
    let named = package
        .licence_file
        .iter()
        .map(|it| package.folder.join(it));
    files.extend(named);
    files.sort();
    files.dedup();
    let texts: Vec<String> = files.iter().map(|it| read(it)).collect::<Result<_, _>>()?;
    match texts.is_empty() {
        true => standard(package),
        false => Ok(texts),
    }
}

fn texts_of_static(one: &Static) -> Result<Vec<String>, Error> {
    match one.texts.is_empty() {
        true => Err(Error::NoText(one.name.clone(), one.licence.clone())),
        false => Ok(one.texts.iter().map(|it| clean(it)).collect()),
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for (name, path) in entries(folder)? {
        let name = name.to_ascii_lowercase();
        let is_source = name.ends_with(".rs") || name.ends_with(".toml");
        let is_licence = NAMES.iter().any(|it| name.starts_with(it)) && !is_source;
        if is_licence && path.is_file() {
            found.push(path);
        }
    }
    let inner = folder.join(FOLDER);
    if inner.is_dir() {
        let files = entries(&inner)?.into_iter().map(|(_, path)| path);
        found.extend(files.filter(|it| it.is_file()));
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        found.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|it| it.take(FILE_MAX_BYTES).read_to_end(&mut bytes));
    read.map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Ok(clean(&String::from_utf8_lossy(&bytes)))
}

/// Texts that differ in their line ends only are equal.
fn clean(text: &str) -> String {
    let lines = text.trim_start_matches('\u{feff}').lines();
    let lines: Vec<&str> = lines.map(str::trim_end).collect();
    format!("{}\n", lines.join("\n").trim_matches('\n'))
}

/// What a package may be used under that comes without a text of its own.
fn standard(package: &Package) -> Result<Vec<String>, Error> {
    let licence = package.licence.replace(['(', ')'], "");
    for choice in licence.split(" OR ") {
        let texts: Option<Vec<String>> = choice
            .split(" AND ")
            .map(|licence| match licence.trim() {
                "Apache-2.0" => Some(clean(APACHE)),
                "MIT" => Some(mit_of(package)),
                _ => None,
            })
            .collect();
        if let Some(texts) = texts {
            return Ok(texts);
        }
    }
    let title = format!("{} {}", package.name, package.version);
    Err(Error::NoText(title, package.licence.clone()))
}

/// The words are everybody's, the copyright is theirs.
fn mit_of(package: &Package) -> String {
    let words = MIT
        .find("Permission is hereby granted")
        .map(|at| &MIT[at..]);
    let holders = match package.authors.is_empty() {
        true => format!("the authors of {}", package.name),
        false => package.authors.join(", "),
    };
    clean(&format!(
        "MIT License\n\nCopyright (c) {holders}\n\n{}",
        words.unwrap_or(MIT)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::tests_of_shipped::{made_up_in, real};

    /// The folder of the one package that is not ours.
    fn world() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("odd");
        fs::create_dir_all(&odd).unwrap();
        (folder, odd)
    }

    #[test]
    fn every_licence_file_is_in_it_once_with_whose_it_is() {
        let (folder, odd) = world();
        fs::write(odd.join("LICENSE-ODD"), "\u{feff}Odd words \r\nof odd\n\n").unwrap();
        fs::write(odd.join("COPYING"), "Odd words\nof odd").unwrap();
        fs::write(odd.join("notice.md"), "Notice this").unwrap();
        fs::write(odd.join("license.rs"), "source").unwrap();
        fs::create_dir_all(odd.join("LICENSES")).unwrap();
        fs::write(odd.join("LICENSES/X.txt"), "In a folder").unwrap();
        let text = write(&made_up_in(folder.path()).unwrap()).unwrap();
        for once in [
            "Odd words\nof odd\n",
            "Notice this\n",
            "In a folder\n",
            "The licence of Rust\n",
        ] {
            assert_eq!(text.matches(once).count(), 1, "{once} in {text}");
        }
        assert!(text.contains("  odd 1.0.0+b                              MIT OR Apache-2.0\n"));
        assert!(
            !text.contains("record 0.1.0") && !text.contains("source\n"),
            "{text}"
        );
        assert_eq!(text.matches(&clean(APACHE)).count(), 1);
        assert_eq!(text, write(&made_up_in(folder.path()).unwrap()).unwrap());
    }

    #[test]
    fn the_standard_text_is_theirs_where_they_left_it_out() {
        let (folder, _) = world();
        let text = write(&made_up_in(folder.path()).unwrap()).unwrap();
        let expected = "MIT License\n\nCopyright (c) Ana <ana@example.org>\n\nPermission is";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_package_without_a_text_that_we_have_is_named() {
        let (folder, _) = world();
        let shipped = made_up_in(folder.path()).unwrap();
        let mut odd = shipped.packages()[2].clone();
        let choices = [
            ("GPL-3.0", false),
            ("Apache-2.0 WITH LLVM-exception", false),
            ("MIT AND BSD-3-Clause", false),
            ("(MIT AND Apache-2.0)", true),
            ("Zlib OR Apache-2.0 OR MIT", true),
        ];
        for (licence, is_known) in choices {
            odd.licence = licence.to_owned();
            assert_eq!(texts_of(&odd).is_ok(), is_known, "{licence}");
        }
        odd.licence = "GPL-3.0".to_owned();
        let error = texts_of(&odd).unwrap_err().to_string();
        assert!(error.contains("odd 1.0.0+b comes without"), "{error}");
        odd.authors.clear();
        assert!(mit_of(&odd).contains("the authors of odd"));
        odd.folder = folder.path().join("gone");
        let error = texts_of(&odd).unwrap_err().to_string();
        assert!(error.contains("gone cannot be read"), "{error}");
        let mut rust = shipped.statics()[0].clone();
        rust.texts.clear();
        assert!(texts_of_static(&rust).is_err());
    }

    #[test]
    fn of_this_workspace_every_package_is_named_and_no_source_folder() {
        let shipped = real();
        let text = write(shipped).unwrap();
        for package in shipped.packages().iter().filter(|it| !it.is_ours) {
            let title = format!("{} {}", package.name, package.version);
            assert!(
                text.matches(&title).count() >= 2,
                "{title}: listed, and at a text"
            );
            let folder = package.folder.to_string_lossy().into_owned();
            assert!(!text.contains(&folder), "{folder}");
        }
    }
}
