//! `conntrail profile check`.

use host::preferences::PREFERENCES_DOMAIN;
use mdm::check::{Expected, Finding, Grade, Input, Report, check};
use mdm::document::FILE_MAX_BYTES;
use mdm::identity::{BundleId, TeamId};
use mdm::schema::Version;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to check, and what should be in it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The profiles: all that one machine gets, those of other products too.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The Team ID that signs Conntrail; inferred from the profiles when it is not given.
    #[arg(long, value_name = "TEAMID")]
    team: Option<TeamId>,
    /// The identifier of the app; inferred when it is not given.
    #[arg(long, value_name = "ID")]
    app: Option<BundleId>,
    /// The identifier of the system extension; inferred when it is not given.
    #[arg(long, value_name = "ID")]
    extension: Option<BundleId>,
    /// The oldest macOS that gets these profiles: what it does not know is found.
    #[arg(long, value_name = "VERSION")]
    macos: Option<Version>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Prints what was found. The exit code is 1 when there is an error among it.
///
/// # Errors
/// When nobody reads the output.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let inputs: Vec<Input> = arguments.files.iter().map(|path| input(path)).collect();
    let report = check(
        &inputs,
        &Expected {
            app: arguments.app.clone(),
            extension: arguments.extension.clone(),
            team: arguments.team.clone(),
            macos: arguments.macos,
            preferences_domain: PREFERENCES_DOMAIN,
            problems_of_settings: &super::problems,
        },
    );
    let text = match arguments.json {
        true => json(&report),
        false => words(&report),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(match number(&report, Grade::Error) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn input(path: &Path) -> Input {
    let shown = path.display().to_string();
    let is_safe = |letter: char| !letter.is_control();
    let shown = shown
        .chars()
        .map(|it| if is_safe(it) { it } else { '\u{fffd}' });
    Input {
        name: shown.collect(),
        contents: read(path).map_err(|error| error.to_string()),
    }
}

/// One byte more than is allowed, so that too much shows.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn number(report: &Report, grade: Grade) -> usize {
    let of_grade = report.findings.iter().filter(|it| it.rule.grade == grade);
    of_grade.count()
}

fn words(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        out.push_str(&paragraph(finding));
    }
    if report.left_off > 0 {
        out.push_str(&format!(
            "{} more findings are not shown\n\n",
            report.left_off
        ));
    }
    let numbers = [Grade::Error, Grade::Warning, Grade::Remark].map(|grade| {
        let number = number(report, grade);
        let ending = if number == 1 { "" } else { "s" };
        format!("{number} {}{ending}", grade.name())
    });
    out.push_str(&format!(
        "{} in {}, {}\n",
        numbers.join(", "),
        counted(report.profiles, "profile"),
        counted(report.payloads, "payload")
    ));
    out
}

fn paragraph(finding: &Finding) -> String {
    let Finding {
        rule,
        place,
        message,
        advice,
    } = finding;
    let mut out = format!("{}: {message} [{}]\n", rule.grade.name(), rule.name);
    let parts = [&place.file, &place.payload, &place.key];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    if !parts.is_empty() {
        out.push_str(&format!("  in {}\n", parts.join(", ")));
    }
    out.push_str(&format!("  {advice}\n\n"));
    out
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn json(report: &Report) -> String {
    let findings = report.findings.iter().map(|finding| {
        let Finding {
            rule,
            place,
            message,
            advice,
        } = finding;
        let or_null = |part: &Option<String>| part.as_deref().map_or("null".to_owned(), quoted);
        let fields = [
            ("grade", quoted(rule.grade.name())),
            ("rule", quoted(rule.name)),
            ("file", or_null(&place.file)),
            ("payload", or_null(&place.payload)),
            ("key", or_null(&place.key)),
            ("message", quoted(message)),
            ("advice", quoted(advice)),
        ];
        let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
        format!("{{{}}}", fields.join(","))
    });
    let findings: Vec<String> = findings.collect();
    format!(
        "{{\"profiles\":{},\"payloads\":{},\"left_off\":{},\"findings\":[{}]}}\n",
        report.profiles,
        report.payloads,
        report.left_off,
        findings.join(",")
    )
}

fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            _ if letter.is_control() => {
                write!(out, "\\u{:04x}", u32::from(letter)).expect("a text takes what is written");
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_text_the_json_is_json() {
        let text = "a \"b\" \\ \n \u{1b}[2J \u{7f} ä \u{202e}";
        let read: String = serde_json::from_str(&quoted(text)).unwrap();
        assert_eq!(read, text);
    }

    #[test]
    fn a_folder_and_a_missing_file_are_named_as_such() {
        assert!(
            read(Path::new("/"))
                .unwrap_err()
                .to_string()
                .contains("folder")
        );
        assert!(read(Path::new("/nowhere/x")).is_err());
    }

    #[test]
    fn an_endless_file_is_read_only_as_far_as_a_profile_can_be() {
        let bytes = read(Path::new("/dev/zero")).unwrap();
        assert_eq!(bytes.len(), FILE_MAX_BYTES + 1);
    }
}
