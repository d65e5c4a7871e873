//! Everything that can be checked here, in one run, with one table at its end.
//!
//! Ordinary tests run as `cargo test` would run them. Tests that need something special are
//! ordinary tests too, ignored with the reason `needs <need>: ...`; see [`needs`]. The names of all
//! tests are committed in `tests.txt`, so that none can disappear unseen.

mod adapter;
pub(crate) mod ahead;
mod checks;
mod doc;
pub(crate) mod libtest;
mod list;
pub(crate) mod needs;
mod report;
mod suites;

use crate::duration;
use crate::workspace::Workspace;
use ahead::Ahead;
use anyhow::{Context, Result};
use needs::Need;
use report::{Report, Verdict};
use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use suites::{Case, Suite};

/// How long one test program may take, and how long one test that runs alone.
const SUITE_LIMIT: Duration = Duration::from_secs(15 * 60);
const CASE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// The report of the last run, for a second run that continues it.
const LAST_RUN: &str = "last-test-run.json";

/// What `cargo xtask test` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also run what needs root and a real kernel, or a compiler of its own.
    #[arg(long)]
    full: bool,
    /// Run only what the plain run leaves to --full, and end with the result of both.
    #[arg(long, requires = "full")]
    only_full: bool,
    /// Run only the tests with this need: schema, apple, clang, macos, bundle, release, fuzzer,
    /// mount, nats, clickhouse, rotel, s3, syslog, kafka, fleet or kernel.
    #[arg(long, conflicts_with_all = ["only_full", "bless"], value_parser = Need::parse)]
    need: Option<Need>,
    /// Write the names of all tests to tests.txt, and run nothing.
    #[arg(long, conflicts_with = "full")]
    bless: bool,
    /// Fail when anything is skipped; so it is wherever CI is set.
    #[arg(long)]
    no_skip: bool,
}

/// `cargo xtask test`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if options.bless {
        return bless(workspace);
    }
    let mut run = Run {
        workspace,
        options,
        report: Report::default(),
    };
    if !options.only_full && options.need.is_none() {
        checks::run(workspace, &mut run.report)?;
    }
    run.build_and_test();
    run.finish()
}

fn bless(workspace: &Workspace) -> Result<ExitCode> {
    let suites = suites::build(workspace)?;
    let mut names = checks::names();
    names.extend(adapter::names(&workspace.root)?);
    for suite in &suites {
        names.extend(suite.list()?.into_iter().map(|case| suite.name_of(&case)));
    }
    names.extend(doc::list(workspace)?);
    println!("{}", list::write(&workspace.root, names)?);
    Ok(ExitCode::SUCCESS)
}

struct Run<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
    report: Report,
}

impl Run<'_> {
    /// Whatever goes wrong here, the run goes on to its table and its closing line.
    fn build_and_test(&mut self) {
        let result = self.build().and_then(|suites| self.test(&suites));
        if let Err(error) = result {
            println!("{error:#}");
            self.report
                .add(checks::GROUP_BUILD, checks::NAME_BUILD, Verdict::Failed);
        }
    }

    fn build(&mut self) -> Result<Vec<Suite>> {
        let started = Instant::now();
        report::announce("building the tests");
        let suites = suites::build(self.workspace);
        self.report.spent(checks::GROUP_BUILD, started.elapsed());
        let suites = suites?;
        self.report
            .add(checks::GROUP_BUILD, checks::NAME_BUILD, Verdict::Passed);
        Ok(suites)
    }

    fn test(&mut self, suites: &[Suite]) -> Result<()> {
        if let Some(need) = self.options.need {
            return self.one_need(need, suites);
        }
        if !self.options.full {
            ahead::start_for_the_next(self.workspace)?;
        }
        let mut waiting: Vec<(&Suite, Case)> = Vec::new();
        for suite in suites {
            let (special, ordinary): (Vec<Case>, Vec<Case>) =
                suite.list()?.into_iter().partition(|case| case.is_ignored);
            self.ordinary(suite, &ordinary)?;
            waiting.extend(special.into_iter().map(|case| (suite, case)));
        }
        self.doc_tests()?;
        let mut ahead = None;
        for need in Need::ALL {
            ahead = self.beside(need, ahead)?;
            let of_need =
                |(suite, case): &(&Suite, Case)| Need::of(&suite.name_of(case)) == Some(need);
            let (now, rest) = waiting.into_iter().partition(of_need);
            waiting = rest;
            self.special(need, now)?;
        }
        self.adapter()?;
        for (suite, case) in waiting {
            println!(
                "{} is ignored without a need; see CONTRIBUTING.md",
                suite.name_of(&case)
            );
            self.report
                .add("tests", suite.name_of(&case), Verdict::Failed);
        }
        self.compare_names();
        Ok(())
    }

    /// Starts what is built ahead with the first need of its own kind, and waits for it with the
    /// first that it was built for.
    fn beside(&mut self, need: Need, ahead: Option<Ahead>) -> Result<Option<Ahead>> {
        if !self.options.full || !need.belongs_to_full() {
            return Ok(ahead);
        }
        match (ahead, need.is_built_ahead()) {
            (None, false) => Ahead::start(self.workspace).map(Some),
            (Some(ahead), true) => {
                let started = Instant::now();
                ahead.finish()?;
                self.report.spent("ahead", started.elapsed());
                Ok(None)
            }
            (ahead, _) => Ok(ahead),
        }
    }

    fn one_need(&mut self, need: Need, suites: &[Suite]) -> Result<()> {
        let mut cases = Vec::new();
        for suite in suites {
            let of_need =
                |case: &Case| case.is_ignored && Need::of(&suite.name_of(case)) == Some(need);
            let listed = suite.list()?.into_iter().filter(of_need);
            cases.extend(listed.map(|case| (suite, case)));
        }
        self.try_special(need, cases)
    }

    fn ordinary(&mut self, suite: &Suite, cases: &[Case]) -> Result<()> {
        if self.options.only_full || cases.is_empty() {
            // The names still count: a second run must not let a test of the first one disappear.
            cases
                .iter()
                .for_each(|case| self.report.see(suite.name_of(case)));
            return Ok(());
        }
        let started = Instant::now();
        let log = self.log(&suite.name)?;
        let verdicts = suite.run(&log, SUITE_LIMIT)?;
        let mut passed = 0;
        for case in cases {
            // A test without a verdict took its program down with it, or never came to an end.
            let has_passed = verdicts.get(&case.name) == Some(&libtest::Verdict::Passed);
            passed += usize::from(has_passed);
            let verdict = if has_passed {
                Verdict::Passed
            } else {
                Verdict::Failed
            };
            self.report.add("tests", suite.name_of(case), verdict);
        }
        report::progress(&suite.name, passed, cases.len(), started.elapsed());
        if passed < cases.len() {
            libtest::print_failures(&log)?;
        }
        self.report.spent("tests", started.elapsed());
        Ok(())
    }

    fn doc_tests(&mut self) -> Result<()> {
        if self.options.only_full {
            doc::list(self.workspace)?
                .into_iter()
                .for_each(|name| self.report.see(name));
            return Ok(());
        }
        let started = Instant::now();
        let log = self.log("doc")?;
        let verdicts = doc::run(self.workspace, &log, SUITE_LIMIT)?;
        let passed = verdicts
            .values()
            .filter(|it| **it == libtest::Verdict::Passed)
            .count();
        report::progress("doc", passed, verdicts.len(), started.elapsed());
        if passed < verdicts.len() {
            libtest::print_failures(&log)?;
        }
        for (name, verdict) in verdicts {
            self.report.add("doc", name, verdict.into());
        }
        self.report.spent("doc", started.elapsed());
        Ok(())
    }

    fn adapter(&mut self) -> Result<()> {
        if self.options.full {
            adapter::run(self.workspace, &mut self.report)
        } else {
            adapter::defer(&self.workspace.root, &mut self.report)
        }
    }

    fn special(&mut self, need: Need, cases: Vec<(&Suite, Case)>) -> Result<()> {
        let (is_plain, only_full) = (!self.options.full, self.options.only_full);
        let started = Instant::now();
        if only_full && !need.belongs_to_full() {
            cases
                .iter()
                .for_each(|(suite, case)| self.report.see(suite.name_of(case)));
        } else if is_plain && need.belongs_to_full() {
            for (suite, case) in cases {
                self.report
                    .add(need.name(), suite.name_of(&case), Verdict::Deferred);
            }
        } else if !cases.is_empty() {
            self.try_special(need, cases)?;
            self.report.spent(need.name(), started.elapsed());
        }
        Ok(())
    }

    fn try_special(&mut self, need: Need, cases: Vec<(&Suite, Case)>) -> Result<()> {
        report::announce(&format!("preparing {}", need.name()));
        let variables = match need.prepare(self.workspace) {
            Ok(Ok(variables)) => variables,
            Ok(Err(missing)) => {
                for (suite, case) in cases {
                    let skipped = Verdict::Skipped(missing.clone());
                    self.report.add(need.name(), suite.name_of(&case), skipped);
                }
                return Ok(());
            }
            Err(error) => {
                println!("{error:#}");
                for (suite, case) in cases {
                    self.report
                        .add(need.name(), suite.name_of(&case), Verdict::Failed);
                }
                return Ok(());
            }
        };
        for (suite, case) in cases {
            self.alone(need, suite, &case, &variables)?;
        }
        Ok(())
    }

    fn alone(
        &mut self,
        need: Need,
        suite: &Suite,
        case: &Case,
        variables: &needs::Variables,
    ) -> Result<()> {
        let started = Instant::now();
        let name = suite.name_of(case);
        let log = self.log(&name)?;
        let verdict = suite.run_alone(case, variables, &log, CASE_LIMIT)?;
        let passed = usize::from(verdict == libtest::Verdict::Passed);
        report::progress(&name, passed, 1, started.elapsed());
        if passed == 0 {
            libtest::print_failures(&log)?;
        }
        self.report.add(need.name(), name, verdict.into());
        Ok(())
    }

    fn compare_names(&mut self) {
        let mut names = checks::names();
        names.extend(self.report.seen().map(str::to_owned));
        let difference = list::compare(&self.workspace.root, names);
        let verdict = if difference.is_none() {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        difference
            .iter()
            .for_each(|difference| println!("{difference}"));
        self.report
            .add(checks::GROUP_NAMES, checks::NAME_NAMES, verdict);
    }

    fn finish(mut self) -> Result<ExitCode> {
        let file = self.workspace.tools("")?.join(LAST_RUN);
        if self.options.only_full {
            let age = self.join(&file)?;
            println!(
                "\njoined with the plain run that ended {} ago",
                duration::show(age)
            );
        } else if self.options.need.is_none() {
            self.report.save(&file)?;
        }
        self.report.print();
        let is_strict = self.options.no_skip || env::var_os("CI").is_some();
        Ok(self.report.exit_code(is_strict))
    }

    fn join(&mut self, file: &Path) -> Result<Duration> {
        let first = Report::load(file)
            .context("there is no plain run to join; run `cargo xtask test` first")?;
        let age = std::fs::metadata(file)?
            .modified()?
            .elapsed()
            .unwrap_or_default();
        self.report.join(first);
        Ok(age)
    }

    fn log(&self, name: &str) -> Result<std::path::PathBuf> {
        let directory = self.workspace.tools("logs")?;
        Ok(directory.join(format!("{}.log", name.replace("::", "."))))
    }
}
