//! The list of what is exported.

use darwin_double::symbols::SYMBOLS;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names that follow the export attribute in the sources.
fn exported(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            exported(&path, names);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let after = text.split("#[unsafe(no_mangle)]\n").skip(1);
        names.extend(after.map(|item| {
            let line = item.lines().next().unwrap_or_default();
            let name = [" fn ", "static "]
                .iter()
                .find_map(|word| line.split_once(word));
            let (_, name) = name.unwrap_or_else(|| panic!("what is exported by {line}?"));
            let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            name[..end.unwrap_or(name.len())].to_owned()
        }));
    }
}

#[test]
fn every_exported_name_is_listed_with_its_header() {
    let mut names = BTreeSet::new();
    exported(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut names,
    );
    let listed: BTreeSet<String> = SYMBOLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, listed);
    assert_eq!(listed.len(), SYMBOLS.len(), "a name is listed twice");
    assert!(SYMBOLS.iter().all(|(_, header)| header.ends_with(".h")));
}
