//! The programs that launchd starts.

use crate::identity::BundleId;

/// A program that launchd starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// What the label ends in; it begins with the app's identifier.
    pub name: &'static str,
    /// The program, in `Contents/MacOS` of the app.
    pub program: &'static str,
    /// What it is told.
    pub arguments: &'static [&'static str],
    /// When it is started.
    pub starts: Starts,
    /// Whom it runs as.
    pub account: Account,
    /// Why it runs, for whoever finds it in a list of background items.
    pub purpose: &'static str,
}

/// When launchd starts a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// Once, when the machine starts or the package is installed.
    Once,
    /// Then too, again when it fails, and where it ended because it has nothing to do, when that
    /// may have changed.
    WhileConfigured,
}

/// Whom a program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The superuser.
    Root,
    /// [`ACCOUNT`], which can read the trail and nothing else that is not for everybody.
    Own,
}

/// The account of programs that need none of root's rights, and its group. The installer's package
/// makes both.
pub const ACCOUNT: &str = "_conntrail";

/// Every job. A job is here only while the program it starts is.
pub const JOBS: &[Job] = &[
    Job {
        name: "upgrade",
        program: "conntrail",
        arguments: &["upgrade", "--when", "configured", "--wait", "30d"],
        starts: Starts::Once,
        account: Account::Root,
        purpose: "replaces the filter by the version in the app, at the moment that is configured",
    },
    Job {
        name: "ship",
        program: "conntrail-ship",
        arguments: &["run"],
        starts: Starts::WhileConfigured,
        account: Account::Own,
        purpose: "delivers what is recorded to the destinations that are configured",
    },
];

impl Job {
    /// The label under which launchd knows it.
    pub fn label(&self, app: &BundleId) -> String {
        format!("{app}.{}", self.name)
    }
}
