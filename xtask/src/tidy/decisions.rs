//! Every decision is in the list of decisions.

use super::Finding;
use super::source::Tree;

const DIRECTORY: &str = "docs/adr/";
const LIST: &str = "docs/adr/README.md";

/// A page of `docs/adr/` that its README does not link is a page that nobody finds.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let list = tree.files.get(LIST).map(String::as_str).unwrap_or_default();
    let pages = tree
        .with_extension(&["md"])
        .filter_map(|(path, _)| path.strip_prefix(DIRECTORY));
    pages
        .filter(|name| *name != "README.md" && !list.contains(&format!("]({name})")))
        .map(|name| {
            Finding::new(
                format!("{DIRECTORY}{name}"),
                format!("is not linked in {LIST}"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlisted_decision_is_found() {
        let page = ("docs/adr/0001-own-frames.md", "# Own frames");
        assert_eq!(check(&Tree::of(&[page])).len(), 1);
        assert_eq!(
            check(&Tree::of(&[page, (LIST, "- [1](0001-own-frames.md)")])),
            []
        );
    }
}
