//! `unsafe` lives in few places, and every one of them says why it is sound.

use super::Finding;
use super::source::{RustFile, Tree, line_of};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Meta};

/// Where `unsafe` may be: a directory, ending in a slash, or a single file.
const HOMES: &[&str] = &[
    "crates/app-macos/src/",
    "crates/app-macos/tests/",
    "crates/darwin-double/",
    "crates/host/src/darwin.rs",
    "crates/host/src/preferences/macos.rs",
    "crates/network-extension-double/",
    "crates/objc-double/",
    "crates/sensor-linux/examples/",
    "crates/sensor-linux/src/sys/",
    "crates/sensor-macos/src/provider.rs",
    "crates/sensor-macos/src/sys/",
    "crates/sensor-macos/examples/",
    "crates/sensor-macos/tests/",
    "crates/system-extensions-double/",
    // The macro that makes the entry point of libFuzzer.
    "xtask/fuzz/",
];

/// How many lines of code may stand between a `SAFETY` comment and its `unsafe`: a statement that
/// is broken over lines puts them apart.
const CODE_LINES_BETWEEN_MAX: usize = 2;

/// `unsafe` occurs at home only.
pub(super) fn homes(tree: &Tree) -> Vec<Finding> {
    let strangers = tree.rust.iter().filter(|file| !is_home(&file.path));
    let found = strangers.flat_map(|file| unsafe_lines(file).map(move |line| (file, line)));
    found
        .map(|(file, line)| {
            let problem = "has `unsafe` outside the places listed in xtask/src/tidy/unsafe_code.rs";
            Finding::new(format!("{}:{line}", file.path), problem)
        })
        .collect()
}

/// Every crate forbids `unsafe`, or denies it when it has a home for some. One that is a home as a
/// whole need not say more.
pub(super) fn forbidden(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust.iter().filter(|file| is_crate_root(&file.path)) {
        let Some(whole) = &file.whole else { continue };
        let directory = file
            .path
            .rsplit_once("/src/")
            .map_or("", |(directory, _)| directory);
        if HOMES.contains(&format!("{directory}/").as_str()) {
            continue;
        }
        let has_home = HOMES
            .iter()
            .any(|home| home.starts_with(&format!("{directory}/src/")));
        let is_main = file.path.ends_with("/main.rs");
        let (level, fine) = match has_home && !is_main {
            true => (
                "deny",
                has_level(&whole.attrs, "deny") || has_level(&whole.attrs, "forbid"),
            ),
            false => ("forbid", has_level(&whole.attrs, "forbid")),
        };
        if !fine {
            findings.push(Finding::new(
                &file.path,
                format!("lacks `#![{level}(unsafe_code)]`"),
            ));
        }
    }
    findings
}

/// Every `unsafe` block has a comment above it that says why it is sound.
pub(super) fn explained(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.rust {
        let lines: Vec<&str> = tree.files[&file.path].lines().map(str::trim).collect();
        for line in unsafe_lines(file).filter(|line| !is_explained(&lines, *line)) {
            let problem = "has `unsafe` without a `// SAFETY:` comment above it";
            findings.push(Finding::new(format!("{}:{line}", file.path), problem));
        }
    }
    findings
}

fn is_home(path: &str) -> bool {
    HOMES
        .iter()
        .any(|home| path == *home || (home.ends_with('/') && path.starts_with(home)))
}

fn is_crate_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs") || path.contains("/src/bin/")
}

fn has_level(attributes: &[Attribute], level: &str) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident(level) => list
            .tokens
            .to_string()
            .split(',')
            .any(|lint| lint.trim() == "unsafe_code"),
        _ => false,
    })
}

fn unsafe_lines(file: &RustFile) -> impl Iterator<Item = usize> {
    let mut scan = Unsafe::default();
    if let Some(whole) = &file.whole {
        scan.visit_file(whole);
    }
    scan.0.into_iter()
}

fn is_explained(lines: &[&str], line: usize) -> bool {
    let says_why = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
    let here = line - 1;
    let mut code_lines_left = CODE_LINES_BETWEEN_MAX;
    for text in lines[..here].iter().rev() {
        let is_comment = text.starts_with("//") || text.starts_with("#[");
        if is_comment && says_why(text) {
            return true;
        }
        if !is_comment {
            if code_lines_left == 0 || text.is_empty() || text.ends_with(['{', '}', ';']) {
                break;
            }
            code_lines_left -= 1;
        }
    }
    says_why(lines[here])
}

/// The lines on which something unsafe is done or promised. Declaring an `unsafe fn` does neither:
/// its calls are the blocks, and `unsafe_op_in_unsafe_fn` makes its body need blocks too.
#[derive(Default)]
struct Unsafe(Vec<usize>);

impl Unsafe {
    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(word) if word == "unsafe" => self.0.push(line_of(word.span())),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.0.push(line_of(block.unsafe_token.span()));
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        self.0
            .extend(block.unsafety.map(|token| line_of(token.span())));
        visit::visit_item_impl(self, block);
    }

    fn visit_item_foreign_mod(&mut self, block: &'ast syn::ItemForeignMod) {
        self.0
            .extend(block.unsafety.map(|token| line_of(token.span())));
        visit::visit_item_foreign_mod(self, block);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "fn f() {\n    // SAFETY: nothing happens.\n    unsafe {}\n}\n";

    #[test]
    fn unsafe_abroad_is_found() {
        assert_eq!(
            homes(&Tree::of(&[("crates/sensor-linux/src/sys/mod.rs", BLOCK)])),
            []
        );
        assert_eq!(
            homes(&Tree::of(&[("crates/trail/src/lib.rs", BLOCK)])).len(),
            1
        );
        let hidden = "fn f() { assert!(unsafe { g() }); }";
        assert_eq!(
            homes(&Tree::of(&[("crates/trail/tests/it/main.rs", hidden)])).len(),
            1
        );
        let sync = "struct S; unsafe impl Sync for S {}";
        assert_eq!(
            homes(&Tree::of(&[("crates/query/src/lib.rs", sync)])).len(),
            1
        );
    }

    #[test]
    fn a_crate_that_does_not_forbid_is_found() {
        let root = |path, text| forbidden(&Tree::of(&[(path, text)])).len();
        assert_eq!(
            root("crates/trail/src/lib.rs", "#![forbid(unsafe_code)]"),
            0
        );
        assert_eq!(root("crates/trail/src/lib.rs", ""), 1);
        assert_eq!(root("crates/trail/src/lib.rs", "#![deny(unsafe_code)]"), 1);
        assert_eq!(
            root("crates/sensor-linux/src/lib.rs", "#![deny(unsafe_code)]"),
            0
        );
        assert_eq!(root("crates/sensor-linux/src/lib.rs", ""), 1);
        assert_eq!(root("crates/conntrail/src/main.rs", "fn main() {}"), 1);
        assert_eq!(root("crates/host/src/lib.rs", ""), 1);
        assert_eq!(root("crates/host/src/lib.rs", "#![deny(unsafe_code)]"), 0);
        assert_eq!(root("crates/objc-double/src/lib.rs", ""), 0);
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        let at = |text: &str| explained(&Tree::of(&[("crates/sensor-linux/src/sys/a.rs", text)]));
        assert_eq!(at(BLOCK), []);
        assert_eq!(at("fn f() {\n    unsafe {}\n}\n").len(), 1);
        assert_eq!(
            at("fn f() {\n    // SAFETY: sound.\n    let x =\n        unsafe { g() };\n}"),
            []
        );
        let second = "fn f() {\n    // SAFETY: sound.\n    unsafe { a() };\n    unsafe { b() };\n}";
        assert_eq!(at(second).len(), 1);
    }
}
