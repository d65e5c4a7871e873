//! `conntrail profile write`.

use anyhow::Context;
use host::config::SETTINGS;
use host::preferences::PREFERENCES_DOMAIN;
use mdm::identity::{APP, BundleId, EXTENSION, Identity, Signer, TeamId};
use mdm::profile::{Grade, MINIMUM_MACOS, Removal, Wanted, Written};
use mdm::schema::Version;
use mdm::value::{Dictionary, Value};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the profiles shall say.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The Team ID that signs the app: ten capital letters and digits.
    #[arg(long, value_name = "TEAMID")]
    team: TeamId,
    /// The identifier of the app.
    #[arg(long, value_name = "ID", default_value = APP)]
    app: BundleId,
    /// The identifier of the system extension in it.
    #[arg(long, value_name = "ID", default_value = EXTENSION)]
    extension: BundleId,
    /// For a build signed for development: the common name of its certificate.
    #[arg(long, value_name = "COMMON NAME")]
    development: Option<String>,
    /// Who provides the profiles, as users read it.
    #[arg(long, value_name = "TEXT")]
    organization: Option<String>,
    /// Where the filter stands: an inspector sees what the firewalls let pass.
    #[arg(long, default_value = "inspector")]
    grade: GradeChoice,
    /// A setting that nobody on the machine can change; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    setting: Vec<(String, Value)>,
    /// A setting that comes with the filter, before the preferences are there. Not for secrets.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    vendor_setting: Vec<(String, Value)>,
    /// Nobody can remove the extension while the profile is there (macOS 15 and later).
    #[arg(long, conflicts_with = "removable")]
    non_removable: bool,
    /// The app may remove the extension without an administrator's password.
    #[arg(long)]
    removable: bool,
    /// The oldest macOS of the fleet; what it does not know goes into a profile of its own.
    #[arg(long, value_name = "VERSION", default_value = "13", value_parser = supported)]
    minimum_macos: Version,
    /// Only the profile that makes the filter stand aside while it is installed, for emergencies.
    #[arg(long)]
    kill_switch: bool,
    /// The folder to write to; it is made if need be.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum GradeChoice {
    /// After the firewalls.
    Inspector,
    /// Before the inspectors.
    Firewall,
}

/// Writes the files and says what each is for.
///
/// # Errors
/// When the folder or a file cannot be written.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let wanted = wanted(arguments);
    let written = match arguments.kill_switch {
        true => Written {
            files: vec![mdm::profile::kill_switch(&wanted)],
            remarks: vec![
                "Nothing is recorded while this profile is installed: keep it ready, install it \
                 only when you must, and take it back."
                    .to_owned(),
            ],
        },
        false => mdm::profile::write(&wanted),
    };
    let folder = &arguments.output;
    fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} could not be made", folder.display()))?;
    for file in &written.files {
        let path = folder.join(&file.name);
        fs::write(&path, &file.contents)
            .with_context(|| format!("{} could not be written", path.display()))?;
    }
    let strangers = match arguments.kill_switch {
        true => Vec::new(),
        false => strangers(folder, &written)?,
    };
    print(arguments, &written, &strangers, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn wanted(arguments: &Arguments) -> Wanted {
    let signer = match &arguments.development {
        Some(common_name) => Signer::Development {
            common_name: common_name.clone(),
        },
        None => Signer::DeveloperId,
    };
    let removal = match (arguments.non_removable, arguments.removable) {
        (true, _) => Removal::ByNobody,
        (false, true) => Removal::ByAnybody,
        (false, false) => Removal::ByAdministrator,
    };
    let settings = |pairs: &[(String, Value)]| pairs.iter().cloned().collect();
    Wanted {
        identity: Identity {
            app: arguments.app.clone(),
            extension: arguments.extension.clone(),
            team: arguments.team.clone(),
            signer,
        },
        organization: arguments.organization.clone(),
        grade: match arguments.grade {
            GradeChoice::Inspector => Grade::Inspector,
            GradeChoice::Firewall => Grade::Firewall,
        },
        removal,
        minimum_macos: arguments.minimum_macos,
        preferences_domain: PREFERENCES_DOMAIN.to_owned(),
        settings: settings(&arguments.setting),
        vendor_settings: settings(&arguments.vendor_setting),
    }
}

/// Profiles of ours in the folder that this run did not write.
fn strangers(folder: &Path, written: &Written) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_ours = name.starts_with("conntrail") && name.ends_with(".mobileconfig");
        if is_ours && !written.files.iter().any(|file| file.name == name) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn print(
    arguments: &Arguments,
    written: &Written,
    strangers: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    for file in &written.files {
        let path = arguments.output.join(&file.name);
        writeln!(out, "{}: {}", path.display(), file.about)?;
    }
    for remark in &written.remarks {
        writeln!(out, "note: {remark}")?;
    }
    for (key, _) in arguments.setting.iter().chain(&arguments.vendor_setting) {
        let is_linux = |about: &str| about.starts_with("Linux only");
        if SETTINGS
            .iter()
            .any(|it| it.key == key && is_linux(it.about))
        {
            writeln!(out, "note: {key} has no effect on a Mac")?;
        }
    }
    for name in strangers {
        writeln!(
            out,
            "note: {name} is from another run and was left as it is"
        )?;
    }
    Ok(())
}

/// `KEY=VALUE`, of the kind that the setting takes.
fn setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write it as KEY=VALUE, such as filter.loopback=true")?;
    let value = match (value, value.parse::<i64>()) {
        ("true", _) => Value::Boolean(true),
        ("false", _) => Value::Boolean(false),
        (_, Ok(number)) => Value::Integer(number),
        (_, Err(_)) => Value::Text(value.to_owned()),
    };
    let settings: Dictionary = [(key.to_owned(), value.clone())].into();
    match super::problems(&settings).into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok((key.to_owned(), value)),
    }
}

fn supported(text: &str) -> Result<Version, String> {
    let version: Version = text.parse().map_err(|it| format!("{it}"))?;
    match version >= MINIMUM_MACOS {
        true => Ok(version),
        false => Err(format!("Conntrail needs macOS {MINIMUM_MACOS} or later")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::config::Layers;
    use mdm::document;

    fn arguments(settings: &[&str], vendor_settings: &[&str]) -> Arguments {
        let parsed = |all: &[&str]| all.iter().map(|it| setting(it).unwrap()).collect();
        Arguments {
            team: "AB12CD34EF".parse().unwrap(),
            app: APP.parse().unwrap(),
            extension: EXTENSION.parse().unwrap(),
            development: None,
            organization: None,
            grade: GradeChoice::Inspector,
            setting: parsed(settings),
            vendor_setting: parsed(vendor_settings),
            non_removable: false,
            kill_switch: false,
            removable: false,
            minimum_macos: MINIMUM_MACOS,
            output: PathBuf::new(),
        }
    }

    #[test]
    fn what_is_written_is_what_the_agent_reads() {
        let arguments = arguments(
            &["filter.upgrade_when=22:00-04:30", "flow.flows_max=5000"],
            &["filter.stand_aside=true"],
        );
        let written = mdm::profile::write(&wanted(&arguments));
        let value = document::read(&written.files[0].contents).unwrap().value;
        let payloads = value.as_dictionary().unwrap()["PayloadContent"].as_list();
        let payload_of = |kind: &str| {
            let mut payloads = payloads.unwrap().iter().filter_map(Value::as_dictionary);
            let found = payloads.find(|it| it["PayloadType"].as_text() == Some(kind));
            found.unwrap().clone()
        };
        let mut preferences = payload_of(PREFERENCES_DOMAIN);
        // The system takes these for itself; the rest is what it forces upon the domain.
        preferences.retain(|key, _| !key.starts_with("Payload"));
        let vendor = payload_of("com.apple.webcontent-filter")["VendorConfig"].clone();
        let mut layers = Layers::default();
        layers.add_managed("preferences", super::super::flattened(&preferences));
        let vendor = super::super::flattened(vendor.as_dictionary().unwrap());
        layers.add_managed("vendor", vendor);
        assert_eq!(layers.problems(), []);
        assert_eq!(layers.config.upgrade_when.to_string(), "22:00-04:30");
        assert_eq!(layers.config.flows_max, 5_000);
        assert!(layers.config.stand_aside);
    }

    #[test]
    fn every_setting_can_be_written_with_its_default() {
        for row in Layers::default().rows() {
            let text = format!("{}={}", row.key, row.value.trim_matches('"'));
            assert!(setting(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_setting_that_the_agent_would_refuse_is_refused() {
        for wrong in [
            "",
            "filter.loopback",
            "filter.loopbak=true",
            "flow.flows_max=x",
        ] {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }
}
