//! Every fact about macOS that our code can meet has a scenario that shows how it meets it.
//!
//! The facts stand in `docs/macos-facts.md`, each under a heading that is its name. A test says
//! which facts it shows in a comment above itself, `// facts: one, another`. Where a fact is not
//! confirmed, both behaviours are tested: their names are the fact's with `/a` and `/b`.

use super::Finding;
use super::source::Tree;
use std::collections::BTreeMap;

/// Where the facts stand.
const FACTS: &str = "docs/macos-facts.md";

/// The page that says which test shows which fact.
pub(crate) const SCENARIOS: &str = "docs/macos-scenarios.md";

/// How a test names the facts that it shows.
const MARK: &str = "// facts: ";

/// Under which fact there is nothing to show, and why.
const EXCUSE: &str = "No scenario:";

/// What the page of facts says of a fact that has two possible behaviours.
const UNSURE: &str = "not confirmed";

#[derive(Debug, PartialEq, Eq)]
struct Fact {
    name: String,
    line: usize,
    grade: String,
    is_excused: bool,
}

impl Fact {
    /// What must be shown of it.
    fn behaviours(&self) -> Vec<String> {
        if self.is_excused {
            Vec::new()
        } else if self.grade == UNSURE {
            vec![format!("{}/a", self.name), format!("{}/b", self.name)]
        } else {
            vec![self.name.clone()]
        }
    }
}

/// The tests that show each behaviour.
type Scenarios = BTreeMap<String, Vec<String>>;

/// No row is empty, no test names a fact that does not exist, and the page is current.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.files.get(FACTS) else {
        return Vec::new();
    };
    let facts = facts(text);
    let scenarios = scenarios(tree);
    let mut findings = Vec::new();
    for fact in &facts {
        for behaviour in fact.behaviours() {
            if !scenarios.contains_key(&behaviour) {
                let place = format!("{FACTS}:{}", fact.line);
                let problem = format!("no test says `{MARK}{behaviour}`");
                findings.push(Finding::new(place, problem));
            }
        }
    }
    let known: Vec<String> = facts.iter().flat_map(Fact::behaviours).collect();
    for (behaviour, tests) in scenarios.iter().filter(|(it, _)| !known.contains(it)) {
        let problem = format!("shows `{behaviour}`, which {FACTS} does not ask for");
        findings.extend(tests.iter().map(|test| Finding::new(test, &problem)));
    }
    if tree.files.get(SCENARIOS) != Some(&page(tree)) {
        let problem = "is not what `cargo xtask facts` writes; run it and commit the page";
        findings.push(Finding::new(SCENARIOS, problem));
    }
    findings
}

/// The page of facts and the tests that show them.
pub(crate) fn page(tree: &Tree) -> String {
    let facts = facts(tree.files.get(FACTS).map_or("", |text| text));
    let scenarios = scenarios(tree);
    let shown: usize = facts.iter().filter(|fact| !fact.is_excused).count();
    let tests: std::collections::BTreeSet<&String> = scenarios.values().flatten().collect();
    let mut page = format!(
        "# macOS scenarios\n\n\
         Made by `cargo xtask facts`; do not edit. Which test shows how the agent meets which of \
         the\n[facts about macOS](macos-facts.md): {shown} facts, {} tests. A fact that is not \
         confirmed has two\nrows, one for each behaviour.\n\n\
         | fact | grade | shown by |\n|---|---|---|\n",
        tests.len()
    );
    for fact in &facts {
        for behaviour in fact.behaviours() {
            let tests = scenarios.get(&behaviour).map_or_else(String::new, |tests| {
                tests
                    .iter()
                    .map(|it| format!("`{it}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            });
            page.push_str(&format!("| `{behaviour}` | {} | {tests} |\n", fact.grade));
        }
    }
    page
}

fn facts(text: &str) -> Vec<Fact> {
    let lines: Vec<&str> = text.lines().collect();
    let heads = lines.iter().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("### `")?.strip_suffix('`')?;
        Some((index, name))
    });
    heads
        .map(|(index, name)| {
            let body: Vec<&str> = lines[index + 1..]
                .iter()
                .take_while(|line| !line.starts_with('#'))
                .copied()
                .collect();
            let first = body.first().copied().unwrap_or_default();
            let grade = first.split_once(" · ").map_or("rule", |(grade, _)| grade);
            Fact {
                name: name.to_owned(),
                line: index + 1,
                grade: grade.to_owned(),
                is_excused: body.iter().any(|line| line.starts_with(EXCUSE)),
            }
        })
        .collect()
}

fn scenarios(tree: &Tree) -> Scenarios {
    let mut scenarios = Scenarios::new();
    let sources = tree.with_extension(&["rs"]);
    for (path, text) in sources.filter(|(path, _)| path.starts_with("crates/")) {
        for (behaviours, test) in marked(text) {
            let name = format!("{}::{test}", place_of(path));
            for behaviour in behaviours {
                let tests = scenarios.entry(behaviour).or_default();
                if !tests.contains(&name) {
                    tests.push(name.clone());
                }
            }
        }
    }
    scenarios
}

/// The marks in a file, each with the name of the function that follows.
fn marked(text: &str) -> Vec<(Vec<String>, &str)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(names) = line.strip_prefix(MARK) else {
            continue;
        };
        let function = lines[index..].iter().find_map(|line| {
            let rest = line.strip_prefix("fn ")?;
            rest.split('(').next()
        });
        let names = names.split(',').map(|name| name.trim().to_owned());
        if let Some(function) = function {
            found.push((names.collect(), function));
        }
    }
    found
}

/// `crates/sensor-macos/tests/it/start.rs` is `sensor-macos::it::start`.
fn place_of(path: &str) -> String {
    let short = path.trim_start_matches("crates/").trim_end_matches(".rs");
    let parts = short
        .split('/')
        .filter(|part| !["src", "tests"].contains(part));
    parts.collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Facts\n\n### `sure`\nseen in code · somewhere\n\nText.\n\n\
                        ### `unsure`\nnot confirmed · somewhere\n\nText.\n\n\
                        ### `elsewhere`\nreported · somewhere\n\nNo scenario: not ours.\n\n\
                        ### `rule-1`\nA rule.\n";

    fn tree(test: &str) -> Tree {
        let files = [(FACTS, PAGE), ("crates/sensor-macos/tests/it/a.rs", test)];
        let page = page(&Tree::of(&files));
        Tree::of(&[files[0], files[1], (SCENARIOS, &page)])
    }

    const WHOLE: &str = "// facts: sure, unsure/a\n#[test]\nfn one() {}\n\n\
                         // facts: unsure/b, rule-1\n#[test]\nfn two() {}\n";

    #[test]
    fn a_row_without_a_test_is_found() {
        assert_eq!(check(&tree(WHOLE)), []);
        let found = check(&tree(&WHOLE.replace("unsure/b, ", "")));
        assert_eq!(found.len(), 1);
        assert!(found[0].problem.contains("unsure/b"), "{found:?}");
        assert_eq!(found[0].place, "docs/macos-facts.md:8");
    }

    #[test]
    fn a_test_of_a_fact_that_does_not_exist_is_found() {
        for stranger in ["sure, strange", "unsure", "elsewhere"] {
            let found = check(&tree(&format!(
                "{WHOLE}// facts: {stranger}\n#[test]\nfn f() {{}}\n"
            )));
            assert_eq!(found.len(), 1, "{stranger}");
            assert_eq!(found[0].place, "sensor-macos::it::a::f");
        }
    }

    #[test]
    fn a_page_that_is_not_current_is_found() {
        let mut tree = tree(WHOLE);
        tree.files.insert(SCENARIOS.to_owned(), "old".to_owned());
        assert_eq!(check(&tree)[0].place, SCENARIOS);
    }

    #[test]
    fn the_page_names_the_test_of_each_behaviour_once() {
        let page = page(&tree(&format!(
            "{WHOLE}// facts: sure\n#[test]\nfn one() {{}}\n"
        )));
        assert!(page.contains("| `sure` | seen in code | `sensor-macos::it::a::one` |\n"));
        assert!(page.contains("| `unsure/b` | not confirmed | `sensor-macos::it::a::two` |\n"));
        assert!(page.contains("| `rule-1` | rule | `sensor-macos::it::a::two` |\n"));
        assert!(!page.contains("elsewhere"));
        assert!(page.contains("3 facts, 2 tests"));
    }
}
