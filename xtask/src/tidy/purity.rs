//! The pure crates touch nothing but their arguments.
//!
//! A recorded stream of events must replay to the same bytes on every machine. That holds only
//! while no clock, file, socket, thread, log, randomness or hash order gets in.

use super::Finding;
use super::source::{Tree, line_of};
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Meta, Pat, Type, UseTree};

/// The crates that are pure.
const PURE: &[&str] = &["record", "flow", "policy", "ship"];

/// What they must not name, by the beginning of its path, and what to do instead.
const BANNED_PATHS: &[(&str, &str)] = &[
    ("std::env", "take the value as an argument"),
    ("std::fs", "take the bytes as an argument"),
    ("std::io::stderr", "return a value instead of printing"),
    ("std::io::stdin", "take the bytes as an argument"),
    ("std::io::stdout", "return a value instead of printing"),
    ("std::net::TcpListener", "sockets belong to the shells"),
    ("std::net::TcpStream", "sockets belong to the shells"),
    ("std::net::UdpSocket", "sockets belong to the shells"),
    ("std::os", "the operating system belongs to the shells"),
    ("std::process", "the operating system belongs to the shells"),
    ("std::thread", "threads belong to the shells"),
    (
        "std::time::Instant",
        "time is an argument: use record::Mono",
    ),
    (
        "std::time::SystemTime",
        "time is an argument: use record::Wall",
    ),
    ("Instant::now", "time is an argument: use record::Mono"),
    ("SystemTime::now", "time is an argument: use record::Wall"),
    ("getrandom", "randomness comes from the seed"),
    ("rand", "randomness comes from the seed"),
    ("log", "return a notice instead of logging"),
    ("tracing", "return a notice instead of logging"),
];

/// Macros that print or log.
const BANNED_MACROS: &[&str] = &[
    "dbg", "debug", "eprint", "eprintln", "error", "info", "print", "println", "trace", "warn",
];

/// Methods whose order is the order of hashes. `retain` is not among them: what it keeps does not
/// depend on the order, as long as its closure has no effects.
const ORDERED_BY_HASH: &[&str] = &[
    "drain",
    "extract_if",
    "into_iter",
    "into_keys",
    "into_values",
    "iter",
    "iter_mut",
    "keys",
    "values",
    "values_mut",
];

/// No clock, file, socket, thread, log or randomness in the pure crates.
pub(super) fn touches(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for_each_pure_file(tree, |path, file| {
        let mut scan = Touches {
            path,
            findings: &mut findings,
        };
        scan.visit_file(file);
    });
    findings
}

/// No iteration over hash maps and sets in the pure crates.
///
/// This reads names, not types, so it knows fields, arguments and `let`s whose declared type is a
/// hash map in the same file. The lint in the crates' `clippy.toml` knows types and catches what
/// slips through here. A function whose result does not depend on the order says so to both:
/// `#[expect(clippy::disallowed_methods, reason = "...")]`.
pub(super) fn hash_iteration(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for_each_pure_file(tree, |path, file| {
        let mut names = HashNames::default();
        names.visit_file(file);
        let mut scan = HashIteration {
            path,
            names: names.0,
            findings: &mut findings,
        };
        scan.visit_file(file);
    });
    findings
}

fn for_each_pure_file<'a>(tree: &'a Tree, mut scan: impl FnMut(&'a str, &'a syn::File)) {
    for member in PURE {
        for file in tree.sources_of(&format!("crates/{member}")) {
            if let Some(shipped) = &file.shipped {
                scan(&file.path, shipped);
            }
        }
    }
}

struct Touches<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Touches<'_> {
    fn judge(&mut self, path: &str, span: proc_macro2::Span) {
        let begins = |banned: &str| {
            path.strip_prefix(banned)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let banned = BANNED_PATHS.iter().find(|(banned, _)| begins(banned));
        if let Some((_, instead)) = banned {
            let place = format!("{}:{}", self.path, line_of(span));
            self.findings.push(Finding::new(
                place,
                format!("a pure crate names {path}; {instead}"),
            ));
        }
    }

    fn judge_use(&mut self, tree: &UseTree, prefix: &str) {
        let join = |name: &syn::Ident| {
            if prefix.is_empty() {
                name.to_string()
            } else {
                format!("{prefix}::{name}")
            }
        };
        match tree {
            UseTree::Path(path) => self.judge_use(&path.tree, &join(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => self.judge(prefix, name.span()),
            UseTree::Name(name) => self.judge(&join(&name.ident), name.span()),
            UseTree::Rename(rename) => self.judge(&join(&rename.ident), rename.span()),
            UseTree::Glob(glob) => self.judge(prefix, glob.span()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.judge_use(tree, prefix);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Touches<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.judge_use(&item.tree, "");
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single word may be anybody's variable; only a path can lead out of the crate.
        if path.segments.len() > 1 {
            self.judge(&text_of(path), path.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = text_of(&call.path);
        let last = name.rsplit("::").next().unwrap_or_default();
        if BANNED_MACROS.contains(&last) {
            let place = format!("{}:{}", self.path, line_of(call.span()));
            let problem = format!("a pure crate calls {name}!; return a value instead");
            self.findings.push(Finding::new(place, problem));
        }
        visit::visit_macro(self, call);
    }
}

/// The names that are declared with the type of a hash map or set.
#[derive(Default)]
struct HashNames(BTreeSet<String>);

impl HashNames {
    fn add(&mut self, name: &syn::Ident, declared: &Type) {
        if is_hash_collection(declared) {
            self.0.insert(name.to_string());
        }
    }
}

impl<'ast> Visit<'ast> for HashNames {
    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.add(name, &field.ty);
        }
    }

    fn visit_pat_type(&mut self, pattern: &'ast syn::PatType) {
        if let Pat::Ident(name) = &*pattern.pat {
            self.add(&name.ident, &pattern.ty);
        }
    }
}

struct HashIteration<'a> {
    path: &'a str,
    names: BTreeSet<String>,
    findings: &'a mut Vec<Finding>,
}

impl HashIteration<'_> {
    fn judge(&mut self, collection: &Expr) {
        let Some(name) = last_name(collection).filter(|name| self.names.contains(name)) else {
            return;
        };
        let place = format!("{}:{}", self.path, line_of(collection.span()));
        let problem = format!(
            "iterates over the hash collection `{name}`; use a BTreeMap, or say why the order \
             does not matter"
        );
        self.findings.push(Finding::new(place, problem));
    }
}

impl<'ast> Visit<'ast> for HashIteration<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_excused(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_excused(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if ORDERED_BY_HASH.contains(&call.method.to_string().as_str()) {
            self.judge(&call.receiver);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_for_loop(&mut self, for_loop: &'ast syn::ExprForLoop) {
        self.judge(&for_loop.expr);
        visit::visit_expr_for_loop(self, for_loop);
    }
}

fn is_excused(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("expect") => {
            let excuse = list.tokens.to_string();
            excuse.contains("disallowed_methods") && excuse.contains("reason")
        }
        _ => false,
    })
}

fn is_hash_collection(declared: &Type) -> bool {
    match declared {
        Type::Reference(reference) => is_hash_collection(&reference.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let name = last.ident.to_string();
            name.ends_with("HashMap") || name.ends_with("HashSet")
        }),
        _ => false,
    }
}

fn last_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Reference(reference) => last_name(&reference.expr),
        Expr::Paren(paren) => last_name(&paren.expr),
        Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        Expr::Field(field) => match &field.member {
            syn::Member::Named(name) => Some(name.to_string()),
            syn::Member::Unnamed(_) => None,
        },
        _ => None,
    }
}

fn text_of(path: &syn::Path) -> String {
    let segments = path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string());
    segments.collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(code: &str) -> usize {
        touches(&Tree::of(&[("crates/flow/src/lib.rs", code)])).len()
    }

    fn iterated(code: &str) -> usize {
        hash_iteration(&Tree::of(&[("crates/record/src/lib.rs", code)])).len()
    }

    #[test]
    fn every_way_out_is_found() {
        for code in [
            "use std::fs;",
            "use std::{collections::BTreeMap, fs::File};",
            "use std::net::{IpAddr, TcpStream};",
            "use std::time::*; fn f() { let _ = Instant::now(); }",
            "fn f() { std::thread::spawn(|| {}); }",
            "fn f() -> Option<String> { std::env::var(\"A\").ok() }",
            "fn f() { println!(\"x\"); }",
            "fn f() { tracing::info!(\"x\"); }",
            "fn f() -> u8 { rand::random() }",
            "use std::time::SystemTime as Clock;",
        ] {
            assert!(touched(code) > 0, "{code}");
        }
    }

    #[test]
    fn what_stays_inside_is_fine() {
        let code = "use std::net::IpAddr; use std::io; fn f(log: u8) -> u8 { log } \
                    fn g() -> String { format!(\"x\") } #[cfg(test)] mod tests { use std::fs; }";
        assert_eq!(touched(code), 0);
    }

    #[test]
    fn other_crates_may_touch_the_world() {
        assert_eq!(
            touches(&Tree::of(&[("crates/trail/src/lib.rs", "use std::fs;")])),
            []
        );
    }

    #[test]
    fn iteration_in_hash_order_is_found() {
        let table = "struct T { flows: FxHashMap<u8, u8> }";
        for body in [
            "self.flows.values().count()",
            "for x in &self.flows {}",
            "self.flows.drain()",
        ] {
            assert_eq!(
                iterated(&format!(
                    "{table} impl T {{ fn f(&mut self) {{ {body}; }} }}"
                )),
                1
            );
        }
        assert_eq!(
            iterated("fn f(set: &HashSet<u8>) { for x in set.iter() {} }"),
            1
        );
    }

    #[test]
    fn a_function_may_say_why_the_order_does_not_matter() {
        let code = |reason: &str| {
            format!(
                "#[expect(clippy::disallowed_methods{reason})]\n\
                 fn f(set: &HashSet<u8>) -> usize {{ set.iter().count() }}"
            )
        };
        assert_eq!(iterated(&code(", reason = \"counts\"")), 0);
        assert_eq!(iterated(&code("")), 1);
    }

    #[test]
    fn lookups_and_ordered_maps_are_fine() {
        let code = "struct T { flows: FxHashMap<u8, u8>, due: BTreeMap<u8, u8> } \
                    impl T { fn f(&self) { self.flows.get(&1); self.due.values(); } }";
        assert_eq!(iterated(code), 0);
    }
}
