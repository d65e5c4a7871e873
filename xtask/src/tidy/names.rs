//! What is there is named where strangers look for it.

use super::Finding;
use super::source::Tree;

const MAP: &str = "ARCHITECTURE.md";
const CHANGELOG: &str = "CHANGELOG.md";

/// A crate's folder has its name, and the map of the code names it.
pub(super) fn crates(tree: &Tree) -> Vec<Finding> {
    let map = tree.files.get(MAP).map(String::as_str).unwrap_or_default();
    let mut findings = Vec::new();
    for member in &tree.members {
        let folder = member.directory.rsplit('/').next().unwrap_or_default();
        if folder != member.name {
            let problem = format!("holds the package {}; give both one name", member.name);
            findings.push(Finding::new(&member.directory, problem));
        }
        if !map.contains(&format!("`{}`", member.name)) {
            findings.push(Finding::new(
                MAP,
                format!("does not name the crate `{}`", member.name),
            ));
        }
    }
    findings
}

/// The changelog has a place for the next entry.
pub(super) fn changelog(tree: &Tree) -> Vec<Finding> {
    let text = tree
        .files
        .get(CHANGELOG)
        .map(String::as_str)
        .unwrap_or_default();
    let has_place = text
        .lines()
        .any(|line| line.starts_with("## ") && line.contains("Unreleased"));
    let finding = Finding::new(CHANGELOG, "has no section `## Unreleased`");
    if has_place { Vec::new() } else { vec![finding] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Member;

    fn found(directory: &str, map: &str) -> usize {
        let mut tree = Tree::of(&[(MAP, map)]);
        let directory = directory.to_owned();
        tree.members.push(Member {
            name: "flow".to_owned(),
            directory,
            ..Member::default()
        });
        crates(&tree).len()
    }

    #[test]
    fn a_crate_in_a_strange_folder_is_found() {
        assert_eq!(found("crates/flow", "`flow` is pure"), 0);
        assert_eq!(found("crates/flows", "`flow` is pure"), 1);
    }

    #[test]
    fn a_crate_that_the_map_forgets_is_found() {
        assert_eq!(found("crates/flow", "nothing"), 1);
    }

    #[test]
    fn a_changelog_without_a_next_section_is_found() {
        assert_eq!(
            changelog(&Tree::of(&[(CHANGELOG, "## [Unreleased]\n")])),
            []
        );
        assert_eq!(changelog(&Tree::of(&[(CHANGELOG, "## 1.0.0\n")])).len(), 1);
        assert_eq!(changelog(&Tree::of(&[])).len(), 1);
    }
}
