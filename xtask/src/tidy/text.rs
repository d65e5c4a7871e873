//! Rules about plain text: width, leftovers, places that are nobody's business, headings.

use super::Finding;
use super::source::Tree;

/// Two files fit side by side on a screen at this width.
const COLUMNS_MAX: usize = 100;

/// What a finished line does not contain. Written in halves, so that this file is finished too.
const LEFTOVERS: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
];

/// Hosts of package registries: where packages come from is the machine's business.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("debian", ".org"),
    concat!("npmjs", ".org"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Directories of one developer's machine.
const DEVELOPER_DIRECTORIES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// Directories of people who exist only in test data.
const INVENTED_DIRECTORIES: &[&str] = &[concat!("/ho", "me/ana/")];

/// Words that mean something only where somebody works, not to whoever reads.
const LOCAL_WORDS: &[&str] = &[concat!("farm", "-"), concat!("../", "shared")];

/// The one shell script of the developer's. Everything else is Rust, so that it runs and is tested
/// everywhere.
const SHELL_SCRIPT: &str = ".ci/run";

/// Scripts that run on Macs that have nothing else; their tests are in `packaging`.
const INSTALLED_SCRIPTS: &str = "macos/package/";

/// Source code is at most 100 columns wide.
pub(super) fn columns(tree: &Tree) -> Vec<Finding> {
    each_line(tree, &["rs", "c", "h", "py"], |line| {
        let columns = line.chars().count();
        (columns > COLUMNS_MAX).then(|| format!("is {columns} columns wide"))
    })
}

/// Nothing is left for later.
pub(super) fn leftovers(tree: &Tree) -> Vec<Finding> {
    each_line(tree, &["rs", "c", "h", "py", "toml", "md"], |line| {
        let left = LEFTOVERS.iter().find(|word| has_word(line, word));
        left.map(|word| format!("has `{word}`; do it now or open an issue"))
    })
}

/// The project names no registry and no place on a developer's machine.
pub(super) fn places(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The form of lock files is cargo's, and continuous integration knows its own machine.
    let is_ours = |path: &str| !path.ends_with("Cargo.lock") && path != SHELL_SCRIPT;
    let files = tree.files.iter().filter(|(path, _)| is_ours(path));
    for (path, text) in files {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(problem) = foreign_place(line) {
                findings.push(Finding::new(format!("{path}:{number}"), problem));
            }
        }
    }
    findings
}

/// There is no shell script but the one that continuous integration calls.
pub(super) fn shell_scripts(tree: &Tree) -> Vec<Finding> {
    let scripts = tree.files.iter().filter(|(path, text)| {
        let first = text.lines().next().unwrap_or_default();
        let is_shell = first.starts_with("#!") && first.trim_end().ends_with("sh");
        is_shell || path.ends_with(".sh") || path.ends_with(".bash")
    });
    scripts
        .filter(|(path, _)| *path != SHELL_SCRIPT && !path.starts_with(INSTALLED_SCRIPTS))
        .map(|(path, _)| Finding::new(path, "is a shell script; make it a task of xtask"))
        .collect()
}

/// A page has one title.
pub(super) fn titles(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension(&["md"]) {
        let titles = super::links::prose(text)
            .filter(|(_, line)| line.starts_with("# "))
            .count();
        if titles != 1 {
            findings.push(Finding::new(
                path,
                format!("has {titles} titles (`# `), not one"),
            ));
        }
    }
    findings
}

fn each_line(
    tree: &Tree,
    extensions: &[&str],
    problem: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension(extensions) {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(problem) = problem(line) {
                findings.push(Finding::new(format!("{path}:{number}"), problem));
            }
        }
    }
    findings
}

fn foreign_place(line: &str) -> Option<String> {
    let is_invented = |at: usize| {
        INVENTED_DIRECTORIES
            .iter()
            .any(|directory| line[at..].starts_with(directory))
    };
    let begins_a_path = |at: usize| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}'))
    };
    let directory = DEVELOPER_DIRECTORIES.iter().find(|directory| {
        line.match_indices(**directory)
            .any(|(at, _)| begins_a_path(at) && !is_invented(at))
    });
    let host = REGISTRIES.iter().find(|host| line.contains(**host));
    let word = LOCAL_WORDS.iter().find(|word| has_word(line, word));
    match (directory, host, word) {
        (Some(directory), ..) => Some(format!("names {directory}, which exists on few machines")),
        (_, Some(host), _) => Some(format!(
            "names the registry {host}; machines bring their own"
        )),
        (.., Some(word)) => Some(format!("says `{word}`, which means nothing to strangers")),
        (None, None, None) => None,
    }
}

/// Whether a word begins somewhere in a line, and not in the middle of another word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_line_is_found() {
        let at = |width: usize| {
            columns(&Tree::of(&[(
                "a.rs",
                &format!("//{}", "ü".repeat(width - 2)),
            )]))
        };
        assert_eq!(at(100), []);
        assert_eq!(at(101).len(), 1);
    }

    #[test]
    fn leftovers_are_found() {
        for word in LEFTOVERS {
            assert_eq!(
                leftovers(&Tree::of(&[("a.rs", &format!("fn f() {{ {word} }}"))])).len(),
                1
            );
        }
        assert_eq!(
            leftovers(&Tree::of(&[("a.md", "A prefix of MAXXX is a word.")])),
            []
        );
    }

    #[test]
    fn foreign_places_are_found() {
        let hosts = REGISTRIES
            .iter()
            .map(|host| format!("see https://{host}/a"));
        let directories = DEVELOPER_DIRECTORIES
            .iter()
            .map(|it| format!("cd {it}main"));
        let words = LOCAL_WORDS.iter().map(|word| format!("see {word}thing"));
        for line in hosts.chain(directories).chain(words) {
            assert_eq!(
                places(&Tree::of(&[("docs/a.md", &line)])).len(),
                1,
                "{line}"
            );
        }
    }

    #[test]
    fn a_directory_inside_another_path_is_nobodys_machine() {
        let line = concat!("see target/wo", "rk/a and $X", "/data");
        assert_eq!(places(&Tree::of(&[("docs/a.md", line)])), []);
    }

    #[test]
    fn people_in_test_data_may_have_homes() {
        let line = format!("{}bin/curl", INVENTED_DIRECTORIES[0]);
        assert_eq!(places(&Tree::of(&[("a.json", &line)])), []);
    }

    #[test]
    fn a_second_shell_script_is_found() {
        assert_eq!(
            shell_scripts(&Tree::of(&[(SHELL_SCRIPT, "#!/usr/bin/env bash\n")])),
            []
        );
        assert_eq!(
            shell_scripts(&Tree::of(&[("macos/package/postinstall", "#!/bin/sh\n")])),
            []
        );
        assert_eq!(
            shell_scripts(&Tree::of(&[("tools/go", "#!/bin/sh\n")])).len(),
            1
        );
        assert_eq!(shell_scripts(&Tree::of(&[("go.sh", "")])).len(), 1);
    }

    #[test]
    fn a_page_without_a_title_or_with_two_is_found() {
        let at = |text| titles(&Tree::of(&[("a.md", text)])).len();
        assert_eq!(at("# One\n\n```sh\n# a comment\n```\n"), 0);
        assert_eq!(at("Nothing.\n"), 1);
        assert_eq!(at("# One\n\n# Two\n"), 1);
    }
}
