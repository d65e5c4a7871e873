//! Short functions, and ignored tests that say what they wait for.

use super::Finding;
use super::source::{RustFile, Tree, line_of};
use crate::test::needs::Need;
use std::collections::BTreeMap;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Lit, Meta};

/// No function may be longer, except those in the list.
const LENGTH_MAX_LINES: usize = 70;

/// Nine functions out of ten are at most this long.
const NINTH_DECILE_MAX_LINES: usize = 30;

/// The functions that were longer when the rule came; `path::function length` a line.
const LIST: &str = "xtask/long-functions.txt";

/// Functions fit on a screen.
///
/// The list of exceptions is a ratchet: a function in it may only shrink, and the list with it.
pub(super) fn length(tree: &Tree) -> Vec<Finding> {
    let functions = measure(tree);
    let mut listed = exceptions(tree);
    let mut findings = Vec::new();
    for function in functions
        .iter()
        .filter(|function| function.lines > LENGTH_MAX_LINES)
    {
        let allowed = listed.remove(function.name.as_str());
        findings.extend(judge(function, allowed));
    }
    findings.extend(listed.keys().map(|name| {
        Finding::new(
            LIST,
            format!("{name} is short now or gone; take it out of the list"),
        )
    }));
    findings.extend(judge_all(&functions));
    findings
}

/// An ignored test says what it needs, so that the runner can tell when to run it.
pub(super) fn ignored(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.rust {
        let mut scan = Ignored {
            file,
            findings: &mut findings,
        };
        if let Some(whole) = &file.whole {
            scan.visit_file(whole);
        }
    }
    findings
}

struct Function {
    /// Path of the file and path within it, so that two functions of one name stay apart.
    name: String,
    place: String,
    lines: usize,
}

fn measure(tree: &Tree) -> Vec<Function> {
    let mut scan = Lengths::default();
    for file in &tree.rust {
        if let Some(shipped) = &file.shipped {
            scan.path.clone_from(&file.path);
            scan.visit_file(shipped);
        }
    }
    scan.functions
}

fn exceptions(tree: &Tree) -> BTreeMap<&str, usize> {
    let list = tree.files.get(LIST).map(String::as_str).unwrap_or_default();
    let entries = list.lines().filter(|line| !line.starts_with('#'));
    entries
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, lines)| Some((name, lines.parse().ok()?)))
        .collect()
}

fn judge(function: &Function, allowed: Option<usize>) -> Option<Finding> {
    let lines = function.lines;
    let problem = match allowed {
        None => format!("is {lines} lines long, {LENGTH_MAX_LINES} are the limit; split it"),
        Some(allowed) if lines > allowed => format!("grew from {allowed} to {lines} lines"),
        Some(allowed) if lines < allowed => format!("shrank; write {lines} for it in {LIST}"),
        Some(_) => return None,
    };
    Some(Finding::new(
        &function.place,
        format!("{} {problem}", function.name),
    ))
}

fn judge_all(functions: &[Function]) -> Option<Finding> {
    let mut lengths: Vec<usize> = functions.iter().map(|function| function.lines).collect();
    lengths.sort_unstable();
    let ninth_decile = *lengths.get(lengths.len() * 9 / 10)?;
    let problem = format!(
        "one function in ten has {ninth_decile} lines or more; {NINTH_DECILE_MAX_LINES} are the \
         limit"
    );
    (ninth_decile > NINTH_DECILE_MAX_LINES).then(|| Finding::new("the workspace", problem))
}

#[derive(Default)]
struct Lengths {
    path: String,
    scope: Vec<String>,
    functions: Vec<Function>,
}

impl Lengths {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = line_of(signature.fn_token.span);
        let last = block.brace_token.span.close().end().line;
        let scope = self
            .scope
            .iter()
            .map(|part| format!("{part}::"))
            .collect::<String>();
        self.functions.push(Function {
            name: format!("{}::{scope}{}", self.path, signature.ident),
            place: format!("{}:{first}", self.path),
            lines: last - first + 1,
        });
    }

    fn within(&mut self, scope: String, visit: impl FnOnce(&mut Self)) {
        self.scope.push(scope);
        visit(self);
        self.scope.pop();
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let name = match &*block.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.within(name.unwrap_or_default(), |scan| {
            visit::visit_item_impl(scan, block)
        });
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.within(module.ident.to_string(), |scan| {
            visit::visit_item_mod(scan, module)
        });
    }
}

struct Ignored<'a> {
    file: &'a RustFile,
    findings: &'a mut Vec<Finding>,
}

impl<'ast> Visit<'ast> for Ignored<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let ignore = function
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("ignore"));
        if ignore.is_some_and(|attribute| !names_a_need(attribute)) {
            let place = format!("{}:{}", self.file.path, line_of(function.sig.fn_token.span));
            let problem = format!(
                "{} is ignored; give the reason as \"needs {}: ...\"",
                function.sig.ident,
                Need::ALL.map(Need::name).join("|")
            );
            self.findings.push(Finding::new(place, problem));
        }
    }
}

fn names_a_need(attribute: &Attribute) -> bool {
    let Meta::NameValue(reason) = &attribute.meta else {
        return false;
    };
    let Expr::Lit(literal) = &reason.value else {
        return false;
    };
    let Lit::Str(text) = &literal.lit else {
        return false;
    };
    let text = text.value();
    let need = text
        .strip_prefix("needs ")
        .and_then(|rest| rest.split_once(':'));
    need.is_some_and(|(need, _)| Need::ALL.iter().any(|it| it.name() == need))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
    }

    fn found(lines: usize, list: &str) -> Vec<String> {
        // Short ones around it keep the ninth decile low.
        let code = format!("{}{}", function(lines), "fn short() {}\n".repeat(20));
        let tree = Tree::of(&[("crates/a/src/lib.rs", &code), (LIST, list)]);
        length(&tree)
            .into_iter()
            .map(|finding| finding.problem)
            .collect()
    }

    #[test]
    fn a_long_function_is_found() {
        assert_eq!(found(70, ""), [""; 0]);
        assert!(found(71, "")[0].contains("71 lines"));
    }

    #[test]
    fn the_list_only_shrinks() {
        assert_eq!(found(90, "crates/a/src/lib.rs::long 90"), [""; 0]);
        assert!(found(91, "crates/a/src/lib.rs::long 90")[0].contains("grew"));
        assert!(found(89, "crates/a/src/lib.rs::long 90")[0].contains("shrank"));
        assert!(found(60, "crates/a/src/lib.rs::long 90")[0].contains("short now"));
    }

    #[test]
    fn many_middling_functions_are_found() {
        let code = function(31).repeat(10);
        let findings = length(&Tree::of(&[("crates/a/src/lib.rs", &code)]));
        assert!(findings[0].problem.contains("one function in ten"));
    }

    #[test]
    fn tests_may_be_long() {
        let code = format!("#[cfg(test)] mod tests {{ {} }}", function(90));
        assert_eq!(length(&Tree::of(&[("crates/a/src/lib.rs", &code)])), []);
    }

    #[test]
    fn a_test_ignored_without_a_need_is_found() {
        let at = |attribute: &str| {
            let code = format!("#[test]\n#[ignore{attribute}]\nfn t() {{}}");
            ignored(&Tree::of(&[("crates/a/tests/it/main.rs", &code)])).len()
        };
        assert_eq!(at(" = \"needs kernel: a real one\""), 0);
        assert_eq!(at(""), 1);
        assert_eq!(at(" = \"slow\""), 1);
        assert_eq!(at(" = \"needs luck: much\""), 1);
    }
}
