//! Every relative link in the documentation leads somewhere.

use super::Finding;
use super::source::Tree;
use std::collections::BTreeMap;

/// Files exist and have the headings that links name.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension(&["md"]) {
        for (number, target) in links(text) {
            if let Some(problem) = broken(tree, path, target) {
                findings.push(Finding::new(format!("{path}:{number}"), problem));
            }
        }
    }
    findings
}

/// The lines of a page, with their numbers, that are not inside a fenced block of code.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

fn broken(tree: &Tree, page: &str, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    if is_elsewhere || target.is_empty() {
        return None;
    }
    let file = if file.is_empty() {
        page.to_owned()
    } else {
        resolve(page, file)
    };
    if !file.is_empty() && !tree.paths.contains(&file) {
        return Some(format!("links to {file}, which does not exist"));
    }
    let headings = tree
        .files
        .get(&file)
        .filter(|_| file.ends_with(".md"))
        .map(|text| anchors(text));
    let lacks = headings.is_some_and(|headings| !anchor.is_empty() && !headings.contains(anchor));
    lacks.then(|| format!("links to #{anchor}, which no heading of {file} makes"))
}

/// A relative link, as a path from the root. What climbs above the root stays as it is and is
/// therefore never found.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = match link.starts_with('/') {
        true => Vec::new(),
        false => page.split('/').collect(),
    };
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.is_empty() => return link.to_owned(),
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// The targets of all links of a page: inline, by reference, and in HTML.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let definition = line
            .trim_start()
            .starts_with('[')
            .then(|| line.split_once("]: "));
        if let Some((_, target)) = definition.flatten() {
            found.push((number, target.split_whitespace().next().unwrap_or_default()));
        }
        for (opening, closing) in [("](", ')'), ("href=\"", '"'), ("src=\"", '"')] {
            let starts = line
                .match_indices(opening)
                .filter(|(at, _)| !is_in_code(line, *at));
            for (at, _) in starts {
                let rest = &line[at + opening.len()..];
                let target = rest.split([closing, ' ']).next().unwrap_or_default();
                found.push((number, target));
            }
        }
    }
    found
}

fn is_in_code(line: &str, at: usize) -> bool {
    line[..at].matches('`').count() % 2 == 1
}

/// The anchors that a page's headings make, as the usual forges make them.
fn anchors(text: &str) -> Anchors {
    let mut anchors = Anchors(BTreeMap::new());
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            *anchors.0.entry(slug(heading.trim())).or_insert(0) += 1;
        }
    }
    anchors
}

/// How often each anchor is made: the second of a name gets `-1` at its end, and so on.
struct Anchors(BTreeMap<String, usize>);

impl Anchors {
    fn contains(&self, anchor: &str) -> bool {
        if self.0.contains_key(anchor) {
            return true;
        }
        let repeated = anchor
            .rsplit_once('-')
            .and_then(|(name, number)| Some(number.parse::<usize>().ok()? < *self.0.get(name)?));
        repeated.unwrap_or(false)
    }
}

fn slug(heading: &str) -> String {
    let mut slug = String::new();
    let mut in_target = false;
    let text = heading.replace("](", "\u{0}(");
    for c in text.chars() {
        match c {
            '\u{0}' => in_target = true,
            ')' if in_target => in_target = false,
            _ if in_target => {}
            ' ' => slug.push('-'),
            _ if c.is_alphanumeric() || c == '-' || c == '_' => slug.extend(c.to_lowercase()),
            _ => {}
        }
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        let mut tree = Tree::of(&[
            ("docs/a.md", text),
            (
                "docs/b.md",
                "# The `trail`, twice\n\n## Again\n\n## Again\n",
            ),
            ("README.md", "# Root"),
        ]);
        tree.paths.push("crates".to_owned());
        check(&tree).len()
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[x](c.md)",
            "[x](b.md#never)",
            "[x](b.md#again-2)",
            "[x](../../README.md)",
            "[x]: c.md",
            "<img src=\"c.png\">",
            "# A\n[x](#b)",
            "`code` and [x](c.md)",
        ] {
            assert_eq!(found(text), 1, "{text}");
        }
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        for text in [
            "[x](b.md#the-trail-twice) [y](b.md#again-1)",
            "[x](../README.md) ![y](./b.md) [z](../crates/)",
            "[x](https://example.org/c.md) <a href=\"mailto:a@b\">",
            "```\n[x](c.md)\n```\n`[x](c.md)`",
            "# A `b`\n[x](#a-b)",
        ] {
            assert_eq!(found(text), 0, "{text}");
        }
    }
}
