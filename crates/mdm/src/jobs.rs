//! The programs that launchd starts.

use crate::identity::BundleId;

/// A program that launchd starts, as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// What the label ends in; it begins with the app's identifier.
    pub name: &'static str,
    /// The program, in `Contents/MacOS` of the app.
    pub program: &'static str,
    /// What it is told.
    pub arguments: &'static [&'static str],
    /// Why it runs, for whoever finds it in a list of background items.
    pub purpose: &'static str,
}

/// Every job. A job is here only while the program it starts is.
pub const JOBS: &[Job] = &[Job {
    name: "upgrade",
    program: "conntrail",
    arguments: &["upgrade", "--when", "configured", "--wait", "30d"],
    purpose: "replaces the filter by the version in the app, at the moment that is configured",
}];

impl Job {
    /// The label under which launchd knows it.
    pub fn label(&self, app: &BundleId) -> String {
        format!("{app}.{}", self.name)
    }
}
