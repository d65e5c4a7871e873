//! The committed list of test names.
//!
//! A test that is gone, renamed or never compiled looks exactly like one that passes, unless
//! somebody keeps a list.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The list, one name a line, sorted.
pub(super) const FILE: &str = "tests.txt";

/// What is gone from the list and what is new, in words; `None` when nothing is.
pub(super) fn compare(root: &Path, found: Vec<String>) -> Option<String> {
    // Without a list every test is new.
    let text = fs::read_to_string(root.join(FILE)).unwrap_or_default();
    let difference = difference(&text, &found.into_iter().collect());
    let advice = "`cargo xtask test --bless` brings the list up to date";
    (!difference.is_empty()).then(|| format!("the tests differ from {FILE}:\n{difference}{advice}"))
}

/// Writes the list anew and says what has changed.
pub(super) fn write(root: &Path, found: Vec<String>) -> Result<String> {
    let path = root.join(FILE);
    let old = fs::read_to_string(&path).unwrap_or_default();
    let found: BTreeSet<String> = found.into_iter().collect();
    let text: String = found.iter().map(|name| format!("{name}\n")).collect();
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!(
        "{}{FILE} has {} names",
        difference(&old, &found),
        found.len()
    ))
}

fn difference(list: &str, found: &BTreeSet<String>) -> String {
    let listed: BTreeSet<String> = list.lines().map(str::to_owned).collect();
    let gone = listed
        .difference(found)
        .map(|name| format!("  gone: {name}\n"));
    let new = found
        .difference(&listed)
        .map(|name| format!("  new:  {name}\n"));
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_same_names_are_no_difference() {
        assert_eq!(difference("a::b\nc::d\n", &names(&["c::d", "a::b"])), "");
    }

    #[test]
    fn a_test_that_is_gone_and_one_that_is_new_are_found() {
        let text = difference("a::b\nc::d\n", &names(&["a::b", "e::f"]));
        assert_eq!(text, "  gone: c::d\n  new:  e::f\n");
    }
}
