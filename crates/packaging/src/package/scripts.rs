//! The scripts: templates in `macos/package`, filled in.

use super::{APP_PATH, Error, NAME, OLDEST_MACOS, PROGRAM, Product, RECORDS, jobs};
use crate::archive::{Entry, Kind};
use mdm::jobs::{ACCOUNT, Account, Job};

/// A script, and the template that it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Runs before the files are installed.
    Preinstall,
    /// Runs after the files are installed.
    Postinstall,
    /// `Contents/Resources/uninstall.sh` of the app.
    Uninstall,
}

impl Script {
    /// The name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Script::Preinstall => "preinstall",
            Script::Postinstall => "postinstall",
            Script::Uninstall => "uninstall.sh",
        }
    }

    fn template(self) -> &'static str {
        match self {
            Script::Preinstall => include_str!("../../../../macos/package/preinstall"),
            Script::Postinstall => include_str!("../../../../macos/package/postinstall"),
            Script::Uninstall => include_str!("../../../../macos/package/uninstall.sh"),
        }
    }
}

/// A script for a product.
///
/// # Errors
/// When the template asks for something that nobody has.
pub fn script(script: Script, product: &Product<'_>) -> Result<String, Error> {
    filled(script.template(), &values(product)).map_err(|problem| Error::Script {
        script: script.name(),
        problem,
    })
}

/// The scripts that Installer runs, as it finds them.
pub(super) fn entries(product: &Product<'_>, modified_s: u32) -> Result<Vec<Entry>, Error> {
    let entry = |path: String, kind| Entry {
        path,
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        modified_s,
    };
    let mut entries = vec![entry(".".to_owned(), Kind::Folder)];
    for which in [Script::Postinstall, Script::Preinstall] {
        let text = script(which, product)?.into_bytes();
        entries.push(entry(format!("./{}", which.name()), Kind::File(text)));
    }
    Ok(entries)
}

/// Text between single quotes of the shell: identifiers and constants have no quote in them.
fn values(product: &Product<'_>) -> Vec<(&'static str, String)> {
    let identity = product.identity;
    let label = |job: &Job| job.label(&identity.app);
    let labels: Vec<_> = product.jobs.iter().map(label).collect();
    let own = || product.jobs.iter().filter(|it| it.account == Account::Own);
    let own_labels: Vec<_> = own().map(label).collect();
    let own_logs: Vec<_> = own().map(jobs::log_path).collect();
    vec![
        ("NAME", NAME.to_owned()),
        ("APP", APP_PATH.to_owned()),
        ("PROGRAM", PROGRAM.to_owned()),
        ("EXTENSION", identity.extension.to_string()),
        // In a pattern, a dot would stand for anything.
        (
            "EXTENSION_PATTERN",
            identity.extension.as_str().replace('.', "[.]"),
        ),
        ("TEAM", identity.team.to_string()),
        ("VERSION", product.package_version()),
        ("OLDEST", OLDEST_MACOS.to_owned()),
        ("PACKAGE", product.package_id()),
        ("LABELS", labels.join(" ")),
        ("OWN_LABELS", own_labels.join(" ")),
        ("OWN_LOGS", own_logs.join(" ")),
        ("ACCOUNT", ACCOUNT.to_owned()),
        ("RECORDS", RECORDS.to_owned()),
    ]
}

fn filled(template: &str, values: &[(&'static str, String)]) -> Result<String, String> {
    let mut out = template.to_owned();
    for (name, value) in values {
        if value.contains(['\'', '@', '\n']) {
            return Err(format!("{value:?} cannot stand in a script"));
        }
        out = out.replace(&format!("@{name}@"), value);
    }
    match left_over(&out) {
        Some(name) => Err(format!("nobody knows what {name} stands for")),
        None => Ok(out),
    }
}

/// A placeholder that was not filled in.
pub(super) fn left_over(text: &str) -> Option<&str> {
    let starts = text.match_indices('@').map(|it| it.0);
    let names = starts.filter_map(|start| {
        let length = text[start + 1..].find(|it: char| it != '_' && !it.is_ascii_uppercase())?;
        let end = start + 1 + length;
        (length > 0 && text[end..].starts_with('@')).then(|| &text[start..=end])
    });
    names.min_by_key(|it| it.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in_everywhere() {
        let values = [("A", "1".to_owned()), ("A_B", "2".to_owned())];
        assert_eq!(
            filled("@A@ @A_B@@A@ a@b.c $@", &values).unwrap(),
            "1 21 a@b.c $@"
        );
    }

    #[test]
    fn a_placeholder_that_nobody_knows_is_refused() {
        let error = filled("x='@A@' y='@OTHER@'", &[("A", "1".to_owned())]);
        assert_eq!(
            error,
            Err("nobody knows what @OTHER@ stands for".to_owned())
        );
    }

    #[test]
    fn a_value_that_would_end_its_quotes_is_refused() {
        for wrong in ["a'b", "@A@", "a\nb"] {
            assert!(
                filled("'@A@'", &[("A", wrong.to_owned())]).is_err(),
                "{wrong}"
            );
        }
    }
}
