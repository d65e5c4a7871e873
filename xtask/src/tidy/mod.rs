//! The rules of the house that no compiler knows.
//!
//! Every check is a function from the source tree to what is wrong with it, and every check has a
//! test that plants a violation and sees it found. The tree is plain data, so that those tests
//! need no files.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a syntax tree has dozens of variants, and a check is about two of them"
)]

mod decisions;
mod edges;
pub(crate) mod facts;
mod functions;
mod links;
mod locks;
mod names;
mod purity;
mod source;
mod text;
mod unsafe_code;

use crate::workspace::Workspace;
use anyhow::{Context, Result};
use source::Tree;
use std::fmt;
use std::process::ExitCode;

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, with the line when there is one, or the crate.
    pub(crate) place: String,
    /// What is wrong there and what to do about it.
    pub(crate) problem: String,
}

/// One rule.
pub(crate) struct Check {
    /// The name under which it appears in the list of tests.
    pub(crate) name: &'static str,
    find: fn(&Tree) -> Vec<Finding>,
}

/// All rules.
pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "parses",
        find: source::unparsable,
    },
    Check {
        name: "arrows",
        find: edges::arrows,
    },
    Check {
        name: "sensors_only_in_the_recorder",
        find: edges::sensors,
    },
    Check {
        name: "doubles_only_in_tests",
        find: edges::doubles,
    },
    Check {
        name: "recorder_has_no_heavy_crates",
        find: edges::recorder,
    },
    Check {
        name: "crates_with_an_owner",
        find: edges::owners,
    },
    Check {
        name: "lock_files_agree",
        find: locks::check,
    },
    Check {
        name: "pure_crates_depend_on_little",
        find: edges::pure_dependencies,
    },
    Check {
        name: "pure_crates_touch_nothing",
        find: purity::touches,
    },
    Check {
        name: "pure_crates_iterate_in_order",
        find: purity::hash_iteration,
    },
    Check {
        name: "unsafe_only_at_home",
        find: unsafe_code::homes,
    },
    Check {
        name: "unsafe_forbidden_elsewhere",
        find: unsafe_code::forbidden,
    },
    Check {
        name: "unsafe_explained",
        find: unsafe_code::explained,
    },
    Check {
        name: "function_length",
        find: functions::length,
    },
    Check {
        name: "ignored_tests_say_their_need",
        find: functions::ignored,
    },
    Check {
        name: "columns",
        find: text::columns,
    },
    Check {
        name: "leftovers",
        find: text::leftovers,
    },
    Check {
        name: "places",
        find: text::places,
    },
    Check {
        name: "shell_scripts",
        find: text::shell_scripts,
    },
    Check {
        name: "one_title_a_page",
        find: text::titles,
    },
    Check {
        name: "links",
        find: links::check,
    },
    Check {
        name: "decisions_listed",
        find: decisions::check,
    },
    Check {
        name: "facts_have_scenarios",
        find: facts::check,
    },
    Check {
        name: "crates_named",
        find: names::crates,
    },
    Check {
        name: "changelog",
        find: names::changelog,
    },
];

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

impl Finding {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// `cargo xtask tidy`.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut count = 0;
    for (check, findings) in find_all(workspace)? {
        count += findings.len();
        report(check, &findings);
    }
    if count > 0 {
        println!("tidy: {count} findings");
        return Ok(ExitCode::FAILURE);
    }
    println!("tidy: {} checks, nothing found", CHECKS.len());
    Ok(ExitCode::SUCCESS)
}

/// `cargo xtask facts`: writes the page that says which test shows which fact.
pub(crate) fn write_scenarios(workspace: &Workspace) -> Result<ExitCode> {
    let tree = Tree::load(workspace)?;
    let path = workspace.root.join(facts::SCENARIOS);
    std::fs::write(&path, facts::page(&tree))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let findings = facts::check(&Tree::load(workspace)?);
    report("facts_have_scenarios", &findings);
    println!("wrote {}", facts::SCENARIOS);
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs every check.
pub(crate) fn find_all(workspace: &Workspace) -> Result<Vec<(&'static str, Vec<Finding>)>> {
    let tree = Tree::load(workspace)?;
    let find = |check: &Check| {
        let mut findings = (check.find)(&tree);
        findings.sort();
        findings.dedup();
        (check.name, findings)
    };
    Ok(CHECKS.iter().map(find).collect())
}

/// Prints what one check found.
pub(crate) fn report(check: &str, findings: &[Finding]) {
    for finding in findings {
        println!("tidy/{check}: {finding}");
    }
}
