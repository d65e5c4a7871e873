//! What ran, what failed, what was skipped and why: the table at the end of a run.

use super::libtest;
use crate::duration;
use crate::install::Missing;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How one test or check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Well.
    Passed,
    /// Not well.
    Failed,
    /// It could not run here.
    Skipped(Missing),
    /// The plain run leaves it to `--full`.
    Deferred,
}

/// Tests of this group compare with others' data, which nothing here can install: whoever has it
/// names it, and everywhere else they are skipped, loudly.
const BROUGHT: &str = "apple";

/// Everything a run has to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// By name: the group and the verdict.
    outcomes: BTreeMap<String, (String, Verdict)>,
    /// The groups in the order in which they came, with the time that each took.
    groups: Vec<(String, Duration)>,
    /// Names of tests that exist but belong to another run.
    elsewhere: BTreeSet<String>,
}

/// Says what comes now.
pub(super) fn announce(what: &str) {
    println!("-- {what}");
}

/// Says how a test program, or a test that ran alone, ended.
pub(super) fn progress(name: &str, passed: usize, all: usize, time: Duration) {
    let verdict = if passed == all { "ok" } else { "FAILED" };
    let count = match all {
        1 => String::new(),
        _ => format!("{passed} of {all} passed, "),
    };
    println!("{verdict:<6} {name}: {count}{}", duration::show(time));
}

impl From<libtest::Verdict> for Verdict {
    fn from(verdict: libtest::Verdict) -> Verdict {
        match verdict {
            libtest::Verdict::Passed => Verdict::Passed,
            // An example in the documentation that does not run proves nothing.
            libtest::Verdict::Failed | libtest::Verdict::Ignored => Verdict::Failed,
        }
    }
}

impl Report {
    /// Notes how a test ended.
    pub(super) fn add(&mut self, group: &str, name: impl Into<String>, verdict: Verdict) {
        self.spent(group, Duration::ZERO);
        self.outcomes
            .insert(name.into(), (group.to_owned(), verdict));
    }

    /// Notes the time that a group took.
    pub(super) fn spent(&mut self, group: &str, time: Duration) {
        match self.groups.iter_mut().find(|(name, _)| name == group) {
            Some((_, spent)) => *spent += time,
            None => self.groups.push((group.to_owned(), time)),
        }
    }

    /// Notes that a test exists, although another run runs it.
    pub(super) fn see(&mut self, name: String) {
        self.elsewhere.insert(name);
    }

    /// All tests that exist.
    pub(super) fn seen(&self) -> impl Iterator<Item = &str> {
        self.outcomes
            .keys()
            .chain(&self.elsewhere)
            .map(String::as_str)
    }

    /// Puts an earlier run before this one. What both ran counts as it ended in the worse case.
    pub(super) fn join(&mut self, earlier: Report) {
        for (name, (group, verdict)) in earlier.outcomes {
            let was_bad = verdict == Verdict::Failed;
            if was_bad || !self.outcomes.contains_key(&name) {
                self.outcomes.insert(name, (group, verdict));
            }
        }
        let later = std::mem::replace(&mut self.groups, earlier.groups);
        later
            .into_iter()
            .for_each(|(group, time)| self.spent(&group, time));
        for name in self.lost() {
            println!("{name} ran in neither run");
            self.add("tests", name, Verdict::Failed);
        }
    }

    /// What one run left to the other, and the other did not run.
    fn lost(&self) -> Vec<String> {
        let unseen = self
            .elsewhere
            .iter()
            .filter(|name| !self.outcomes.contains_key(*name));
        let deferred = self
            .outcomes
            .iter()
            .filter(|(_, (_, it))| *it == Verdict::Deferred);
        unseen
            .chain(deferred.map(|(name, _)| name))
            .cloned()
            .collect()
    }

    /// Prints the table, then what failed and what was skipped, then the closing line.
    pub(super) fn print(&self) {
        println!(
            "\n{:<10} {:>6} {:>6} {:>7}  time",
            "group", "ran", "failed", "skipped"
        );
        for (group, time) in &self.groups {
            let of_group = self.outcomes.values().filter(|(name, _)| name == group);
            let count = Count::of(of_group.map(|(_, verdict)| verdict));
            let ran = count.passed + count.failed;
            let time = duration::show(*time);
            println!(
                "{group:<10} {ran:>6} {:>6} {:>7}  {time}",
                count.failed, count.skipped
            );
        }
        self.print_skipped();
        self.print_failed();
        let count = Count::of(self.outcomes.values().map(|(_, verdict)| verdict));
        println!(
            "\n{} passed, {} failed, {} skipped",
            count.passed, count.failed, count.skipped
        );
    }

    /// Whether all is well. Where nobody reads the table, a skipped test is a failure; what the
    /// plain run leaves to `--full` is not skipped for good.
    pub(super) fn exit_code(&self, is_strict: bool) -> ExitCode {
        if self.is_well(is_strict) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// Keeps the report for the run that continues this one.
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.to_json())?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Reads what [`Report::save`] kept.
    pub(super) fn load(file: &Path) -> Result<Report> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Report::from_json(&serde_json::from_str(&text)?))
    }

    fn is_well(&self, is_strict: bool) -> bool {
        self.outcomes
            .values()
            .all(|(group, verdict)| match verdict {
                Verdict::Passed | Verdict::Deferred => true,
                Verdict::Failed => false,
                Verdict::Skipped(_) => !is_strict || group == BROUGHT,
            })
    }

    fn print_skipped(&self) {
        let mut reasons: BTreeMap<(&str, Missing), usize> = BTreeMap::new();
        for (group, verdict) in self.outcomes.values() {
            if let Some(missing) = reason(verdict) {
                *reasons.entry((group, missing)).or_default() += 1;
            }
        }
        for ((group, missing), count) in reasons {
            println!(
                "\nskipped: {count} of {group}: {}\n    fix: {}",
                missing.reason, missing.fix
            );
        }
    }

    fn print_failed(&self) {
        let failed = self
            .outcomes
            .iter()
            .filter(|(_, (_, it))| *it == Verdict::Failed);
        let names: Vec<&str> = failed.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            println!("\nfailed:\n    {}", names.join("\n    "));
        }
    }

    fn to_json(&self) -> Value {
        let outcomes = self.outcomes.iter().map(|(name, (group, verdict))| {
            let mut outcome = json!({"name": name, "group": group, "verdict": word(verdict)});
            if let Verdict::Skipped(missing) = verdict {
                outcome["reason"] = json!(missing.reason);
                outcome["fix"] = json!(missing.fix);
            }
            outcome
        });
        let groups = self
            .groups
            .iter()
            .map(|(group, time)| json!([group, time.as_secs_f64()]));
        json!({"outcomes": outcomes.collect::<Vec<_>>(), "groups": groups.collect::<Vec<_>>()})
    }

    fn from_json(value: &Value) -> Report {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut report = Report::default();
        for group in value["groups"].as_array().into_iter().flatten() {
            let time = Duration::try_from_secs_f64(group[1].as_f64().unwrap_or_default());
            report.spent(&text(&group[0]), time.unwrap_or_default());
        }
        for outcome in value["outcomes"].as_array().into_iter().flatten() {
            let verdict = match text(&outcome["verdict"]).as_str() {
                "passed" => Verdict::Passed,
                "deferred" => Verdict::Deferred,
                "skipped" => Verdict::Skipped(Missing::new(
                    text(&outcome["reason"]),
                    text(&outcome["fix"]),
                )),
                _ => Verdict::Failed,
            };
            report.add(&text(&outcome["group"]), text(&outcome["name"]), verdict);
        }
        report
    }
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    fn of<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Count {
        let mut count = Count::default();
        for verdict in verdicts {
            match verdict {
                Verdict::Passed => count.passed += 1,
                Verdict::Failed => count.failed += 1,
                Verdict::Skipped(_) | Verdict::Deferred => count.skipped += 1,
            }
        }
        count
    }
}

fn reason(verdict: &Verdict) -> Option<Missing> {
    match verdict {
        Verdict::Skipped(missing) => Some(missing.clone()),
        Verdict::Deferred => Some(Missing::new(
            "the plain run leaves it to --full",
            "cargo xtask test --full",
        )),
        Verdict::Passed | Verdict::Failed => None,
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Skipped(_) => "skipped",
        Verdict::Deferred => "deferred",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped() -> Verdict {
        Verdict::Skipped(Missing::new("no network", "plug it in"))
    }

    fn report(outcomes: &[(&str, Verdict)]) -> Report {
        let mut report = Report::default();
        for (name, verdict) in outcomes {
            report.add("tests", *name, verdict.clone());
        }
        report
    }

    #[test]
    fn a_skip_is_a_failure_only_where_nobody_reads() {
        let report = report(&[("a", Verdict::Passed), ("b", skipped())]);
        assert!(report.is_well(false));
        assert!(!report.is_well(true));
    }

    #[test]
    fn what_is_left_to_the_full_run_is_not_skipped_for_good() {
        let mut full = report(&[("b", Verdict::Passed)]);
        let plain = report(&[("a", Verdict::Passed), ("b", Verdict::Deferred)]);
        assert!(plain.is_well(true));
        full.see("a".to_owned());
        full.join(plain);
        assert_eq!(full.outcomes["b"].1, Verdict::Passed);
        assert_eq!(Count::of(full.outcomes.values().map(|it| &it.1)).passed, 2);
    }

    #[test]
    fn a_failure_of_the_first_run_survives_the_second() {
        let mut full = report(&[("check::build", Verdict::Passed)]);
        full.join(report(&[("check::build", Verdict::Failed)]));
        assert!(!full.is_well(false));
    }

    #[test]
    fn a_test_that_ran_in_neither_run_is_a_failure() {
        let mut full = report(&[("b", Verdict::Passed)]);
        full.see("a".to_owned());
        full.join(report(&[]));
        assert!(!full.is_well(false));
        let mut full = report(&[("b", Verdict::Passed)]);
        full.join(report(&[("a", Verdict::Deferred)]));
        assert!(!full.is_well(false));
    }

    #[test]
    fn a_report_survives_the_disk() {
        let all = [
            ("a", Verdict::Passed),
            ("b", Verdict::Failed),
            ("c", skipped()),
            ("d", Verdict::Deferred),
        ];
        let mut report = report(&all);
        report.spent("tests", Duration::from_millis(1500));
        assert_eq!(Report::from_json(&report.to_json()), report);
    }
}
