//! The profiles that the management of a fleet needs, written.
//!
//! The same wishes give the same bytes: nothing is drawn by lot, and the identifiers that must be
//! unique are made of what they identify. So a profile that is uploaded again replaces the one that
//! was there.

use crate::identity::Identity;
use crate::jobs::{JOBS, Job};
use crate::requirement::Requirement;
use crate::schema::{COMMON, FILTER, NOTIFICATIONS, POLICY, SERVICES, Version};
use crate::value::{Dictionary, Value, dictionary, to_xml};
use sha2::{Digest, Sha256};

/// What the profiles shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose they are.
    pub identity: Identity,
    /// Who provides them, for whoever reads their description.
    pub organization: Option<String>,
    /// Where the filter stands among others.
    pub grade: Grade,
    /// Who may remove the extension.
    pub removal: Removal,
    /// The oldest macOS of the fleet.
    pub minimum_macos: Version,
    /// The preferences domain of the agent: the type of the payload with its settings.
    pub preferences_domain: String,
    /// Managed settings, by key. Not checked here.
    pub settings: Dictionary,
    /// Settings that come with the filter's configuration, by key. Not checked here.
    pub vendor_settings: Dictionary,
}

/// The value of `FilterGrade`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grade {
    /// After the firewalls: sees what they let pass.
    #[default]
    Inspector,
    /// Before the inspectors.
    Firewall,
}

/// Who may remove the extension, as far as profiles can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Removal {
    /// An administrator by the app; from macOS 15 on nobody by System Settings or the Finder.
    #[default]
    ByAdministrator,
    /// Everybody who can start the app, without a password.
    ByAnybody,
    /// From macOS 15 on nobody while the profile is there.
    ByNobody,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The files, the combined one first.
    pub files: Vec<File>,
    /// What whoever uploads them should know, a sentence or two each.
    pub remarks: Vec<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without a folder.
    pub name: String,
    /// Its bytes.
    pub contents: Vec<u8>,
    /// What is in it, in a few words.
    pub about: String,
}

/// The oldest macOS that has the agent.
pub const MINIMUM_MACOS: Version = Version {
    major: 13,
    minor: 0,
};

/// The first macOS that knows `NonRemovableSystemExtensions` and
/// `NonRemovableFromUISystemExtensions` (schema of `com.apple.system-extension-policy`).
const LOCKS_SINCE: Version = Version {
    major: 15,
    minor: 0,
};

impl Grade {
    /// As it stands in a profile.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Inspector => "inspector",
            Grade::Firewall => "firewall",
        }
    }
}

/// Writes one profile for each payload, and one with all of them.
pub fn write(wanted: &Wanted) -> Written {
    let mut payloads = vec![policy(wanted), filter(wanted)];
    payloads.extend(services(wanted, JOBS));
    payloads.push(notifications(wanted));
    payloads.extend(settings(wanted));
    let mut files = vec![combined(wanted, &payloads)];
    files.extend(payloads.iter().map(|payload| single(wanted, payload)));
    files.extend(locks(wanted).map(|payload| single(wanted, &payload)));
    Written {
        files,
        remarks: remarks(wanted),
    }
}

/// The profile that makes the filter stand aside while it is installed.
///
/// It has identifiers of its own, so that taking it back takes nothing else away.
pub fn kill_switch(wanted: &Wanted) -> File {
    let payload = Payload {
        name: "kill-switch",
        title: "Conntrail: KILL SWITCH".to_owned(),
        description:
            "Makes the content filter stand aside: nothing is recorded while this profile \
                      is installed."
                .to_owned(),
        payload_type: wanted.preferences_domain.clone(),
        keys: Vec::new(),
        settings: [("filter.stand_aside".to_owned(), Value::from(true))]
            .into_iter()
            .collect(),
    };
    single(wanted, &payload)
}

/// A payload before it has identifiers.
struct Payload {
    /// What its file and its identifiers end in.
    name: &'static str,
    title: String,
    description: String,
    payload_type: String,
    keys: Vec<(&'static str, Value)>,
    settings: Dictionary,
}

fn policy(wanted: &Wanted) -> Payload {
    let mut keys = allowing(wanted);
    let identity = &wanted.identity;
    match wanted.removal {
        Removal::ByAnybody => keys.push(("RemovableSystemExtensions", by_team(wanted))),
        Removal::ByAdministrator | Removal::ByNobody => {}
    }
    if wanted.minimum_macos >= LOCKS_SINCE {
        keys.extend(lock_keys(wanted));
    }
    Payload {
        name: "system-extension",
        title: "Conntrail: system extension".to_owned(),
        description: format!(
            "Allows the system extension {} of team {} to load without a question.",
            identity.extension, identity.team
        ),
        payload_type: POLICY.name.to_owned(),
        keys,
        settings: Dictionary::new(),
    }
}

/// What macOS before 15 does not know stands in a profile of its own: what such a macOS does with a
/// key that it does not know is not documented.
fn locks(wanted: &Wanted) -> Option<Payload> {
    if wanted.minimum_macos >= LOCKS_SINCE {
        return None;
    }
    Some(Payload {
        name: "system-extension-macos-15",
        title: "Conntrail: system extension, macOS 15 and later".to_owned(),
        description: "Keeps users from switching the system extension off. Only for macOS 15 and \
                      later."
            .to_owned(),
        payload_type: POLICY.name.to_owned(),
        keys: allowing(wanted)
            .into_iter()
            .chain(lock_keys(wanted))
            .collect(),
        settings: Dictionary::new(),
    })
}

fn allowing(wanted: &Wanted) -> Vec<(&'static str, Value)> {
    let types = Value::List(vec!["NetworkExtension".into()]);
    let types = [(wanted.identity.team.as_str(), types)];
    vec![
        ("AllowedSystemExtensions", by_team(wanted)),
        ("AllowedSystemExtensionTypes", dictionary(types)),
    ]
}

fn lock_keys(wanted: &Wanted) -> Vec<(&'static str, Value)> {
    let from_ui = ("NonRemovableFromUISystemExtensions", by_team(wanted));
    match wanted.removal {
        // Apple allows both at once: the app may remove it, and hands in System Settings may not.
        Removal::ByAdministrator | Removal::ByAnybody => vec![from_ui],
        Removal::ByNobody => vec![from_ui, ("NonRemovableSystemExtensions", by_team(wanted))],
    }
}

/// The extension under its team.
fn by_team(wanted: &Wanted) -> Value {
    let extension = Value::List(vec![wanted.identity.extension.as_str().into()]);
    dictionary([(wanted.identity.team.as_str(), extension)])
}

fn filter(wanted: &Wanted) -> Payload {
    let identity = &wanted.identity;
    let requirement =
        Requirement::designated(&identity.extension, &identity.team, &identity.signer);
    let mut keys: Vec<(&str, Value)> = vec![
        ("FilterType", "Plugin".into()),
        ("UserDefinedName", "Conntrail".into()),
        ("PluginBundleID", identity.app.as_str().into()),
        ("FilterSockets", true.into()),
        ("FilterPackets", false.into()),
        (
            "FilterDataProviderBundleIdentifier",
            identity.extension.as_str().into(),
        ),
        (
            "FilterDataProviderDesignatedRequirement",
            requirement.to_string().into(),
        ),
        ("FilterGrade", wanted.grade.name().into()),
    ];
    if let Some(organization) = &wanted.organization {
        keys.push(("Organization", organization.as_str().into()));
    }
    if !wanted.vendor_settings.is_empty() {
        let settings = wanted.vendor_settings.clone();
        keys.push(("VendorConfig", Value::Dictionary(settings)));
    }
    Payload {
        name: "content-filter",
        title: "Conntrail: content filter".to_owned(),
        description: "Configures and enables the content filter, which sees which process \
                      connects where and never what is transferred."
            .to_owned(),
        payload_type: FILTER.name.to_owned(),
        keys,
        settings: Dictionary::new(),
    }
}

fn services(wanted: &Wanted, jobs: &[Job]) -> Option<Payload> {
    if jobs.is_empty() {
        return None;
    }
    let identity = &wanted.identity;
    let rule = |job: &Job| {
        dictionary([
            ("RuleType", "Label".into()),
            ("RuleValue", job.label(&identity.app).into()),
            ("TeamIdentifier", identity.team.as_str().into()),
            ("Comment", format!("Conntrail: {}", job.purpose).into()),
        ])
    };
    let rules = jobs.iter().map(rule).collect();
    Some(Payload {
        name: "service-management",
        title: "Conntrail: background items".to_owned(),
        description: "Allows the background jobs of Conntrail; users cannot switch them off."
            .to_owned(),
        payload_type: SERVICES.name.to_owned(),
        keys: vec![("Rules", Value::List(rules))],
        settings: Dictionary::new(),
    })
}

fn notifications(wanted: &Wanted) -> Payload {
    let item = dictionary([
        ("BundleIdentifier", wanted.identity.app.as_str().into()),
        ("NotificationsEnabled", false.into()),
    ]);
    Payload {
        name: "notifications",
        title: "Conntrail: notifications".to_owned(),
        description: "Conntrail shows no notifications, and nobody is asked whether it may."
            .to_owned(),
        payload_type: NOTIFICATIONS.name.to_owned(),
        keys: vec![("NotificationSettings", Value::List(vec![item]))],
        settings: Dictionary::new(),
    }
}

fn settings(wanted: &Wanted) -> Option<Payload> {
    if wanted.settings.is_empty() {
        return None;
    }
    Some(Payload {
        name: "settings",
        title: "Conntrail: settings".to_owned(),
        description: "Settings that nobody on the machine can change.".to_owned(),
        payload_type: wanted.preferences_domain.clone(),
        keys: Vec::new(),
        settings: wanted.settings.clone(),
    })
}

fn combined(wanted: &Wanted, payloads: &[Payload]) -> File {
    let payloads: Vec<&Payload> = payloads.iter().collect();
    let titles: Vec<_> = payloads.iter().map(|it| it.name).collect();
    let description = "All that Conntrail needs to work without a question to anybody.";
    file(
        wanted,
        "conntrail",
        "Conntrail",
        description,
        &payloads,
        format!("all in one: {}", titles.join(", ")),
    )
}

fn single(wanted: &Wanted, payload: &Payload) -> File {
    let name = format!("conntrail-{}", payload.name);
    let (title, description) = (&payload.title, &payload.description);
    let about = payload.payload_type.clone();
    file(wanted, &name, title, description, &[payload], about)
}

fn file(
    wanted: &Wanted,
    name: &str,
    title: &str,
    description: &str,
    payloads: &[&Payload],
    about: String,
) -> File {
    let identifier = format!("{}.profile.{name}", wanted.identity.app);
    let contents = payloads.iter().map(|it| content(wanted, &identifier, it));
    let contents = Value::List(contents.collect());
    let mut entries = head(wanted, &identifier, "Configuration", title, description);
    entries.extend([
        ("PayloadScope", "System".into()),
        ("PayloadRemovalDisallowed", true.into()),
        ("TargetDeviceType", Value::Integer(MAC)),
        ("PayloadContent", contents),
    ]);
    File {
        name: format!("{name}.mobileconfig"),
        contents: to_xml(&named(entries)).into_bytes(),
        about,
    }
}

/// `TargetDeviceType` of a Mac.
const MAC: i64 = 5;

fn content(wanted: &Wanted, profile: &str, payload: &Payload) -> Value {
    let identifier = format!("{profile}.{}", payload.name);
    let (kind, title) = (&payload.payload_type, &payload.title);
    let mut entries = payload.settings.clone();
    let head = head(wanted, &identifier, kind, title, &payload.description);
    let keys = head.into_iter().chain(payload.keys.clone());
    entries.extend(keys.map(|(key, value)| (key.to_owned(), value)));
    Value::Dictionary(entries)
}

fn head(
    wanted: &Wanted,
    identifier: &str,
    payload_type: &str,
    title: &str,
    description: &str,
) -> Vec<(&'static str, Value)> {
    let mut entries = vec![
        ("PayloadType", payload_type.into()),
        ("PayloadVersion", Value::Integer(1)),
        ("PayloadIdentifier", identifier.into()),
        ("PayloadUUID", unique(identifier, payload_type).into()),
        ("PayloadDisplayName", title.into()),
        ("PayloadDescription", description.into()),
    ];
    if let Some(organization) = &wanted.organization {
        entries.push(("PayloadOrganization", organization.as_str().into()));
    }
    debug_assert!(COMMON.keys.len() >= entries.len());
    entries
}

fn named(entries: Vec<(&'static str, Value)>) -> Value {
    let entries = entries.into_iter();
    Value::Dictionary(
        entries
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// A UUID of version 8 (RFC 9562): the beginning of a hash of what it stands for.
fn unique(identifier: &str, payload_type: &str) -> String {
    let hash = Sha256::digest(format!("conntrail profile\n{identifier}\n{payload_type}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

fn remarks(wanted: &Wanted) -> Vec<String> {
    let mut remarks = vec![
        "Install either the combined profile or the single ones, not both: the filter would be \
         configured twice."
            .to_owned(),
    ];
    if locks(wanted).is_some() {
        remarks.push(format!(
            "Assign conntrail-system-extension-macos-15.mobileconfig only to Macs with macOS 15 or \
             later, in addition: its keys are not known to macOS {}, and what an older macOS does \
             with unknown keys is not documented.",
            wanted.minimum_macos
        ));
    }
    if wanted.removal == Removal::ByNobody {
        remarks.push(
            "Before you remove Conntrail, take back the profile with NonRemovableSystemExtensions: \
             while it is there, the extension cannot be deactivated."
                .to_owned(),
        );
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{APP, EXTENSION, Signer};

    pub(super) fn wanted() -> Wanted {
        Wanted {
            identity: Identity {
                app: APP.parse().unwrap(),
                extension: EXTENSION.parse().unwrap(),
                team: "AB12CD34EF".parse().unwrap(),
                signer: Signer::DeveloperId,
            },
            organization: Some("Example & Sons".to_owned()),
            grade: Grade::Inspector,
            removal: Removal::ByAdministrator,
            minimum_macos: MINIMUM_MACOS,
            preferences_domain: "com.conntrail.agent".to_owned(),
            settings: [("filter.loopback".to_owned(), true.into())].into(),
            vendor_settings: [("flow.flows_max".to_owned(), 5_000.into())].into(),
        }
    }

    fn names(wanted: &Wanted) -> Vec<String> {
        let files = write(wanted).files;
        files.into_iter().map(|file| file.name).collect()
    }

    /// The payloads of a file, as another reader sees them.
    fn payloads(wanted: &Wanted, name: &str) -> Vec<plist::Dictionary> {
        let files = write(wanted).files;
        let file = files.iter().find(|file| file.name == name).unwrap();
        let value = plist::Value::from_reader_xml(&*file.contents).unwrap();
        let content = &value.as_dictionary().unwrap()["PayloadContent"];
        let content = content.as_array().unwrap().iter();
        content
            .map(|it| it.as_dictionary().unwrap().clone())
            .collect()
    }

    #[test]
    fn the_same_wishes_give_the_same_bytes() {
        assert_eq!(write(&wanted()), write(&wanted()));
    }

    #[test]
    fn what_changes_in_a_profile_does_not_change_its_identifiers() {
        let other = Wanted {
            grade: Grade::Firewall,
            organization: None,
            ..wanted()
        };
        let name = "conntrail-content-filter.mobileconfig";
        let (one, other) = (payloads(&wanted(), name), payloads(&other, name));
        assert_ne!(one, other);
        for key in ["PayloadUUID", "PayloadIdentifier"] {
            assert_eq!(one[0][key], other[0][key]);
        }
    }

    #[test]
    fn unique_identifiers_are_well_formed_and_differ() {
        let one = unique("a", "b");
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'8', "{one}");
        assert!(b"89AB".contains(&one.as_bytes()[19]), "{one}");
        assert_ne!(one, unique("a", "c"));
        assert_ne!(one, unique("c", "b"));
    }

    #[test]
    fn there_is_a_file_for_each_payload_and_one_with_all() {
        assert_eq!(
            names(&wanted()),
            [
                "conntrail.mobileconfig",
                "conntrail-system-extension.mobileconfig",
                "conntrail-content-filter.mobileconfig",
                "conntrail-service-management.mobileconfig",
                "conntrail-notifications.mobileconfig",
                "conntrail-settings.mobileconfig",
                "conntrail-system-extension-macos-15.mobileconfig",
            ]
        );
        assert_eq!(payloads(&wanted(), "conntrail.mobileconfig").len(), 5);
    }

    #[test]
    fn without_jobs_there_is_no_service_management() {
        assert!(services(&wanted(), &[]).is_none());
        assert!(services(&wanted(), JOBS).is_some());
    }

    #[test]
    fn keys_of_macos_15_stand_apart_unless_the_whole_fleet_has_it() {
        let locks = [
            "NonRemovableFromUISystemExtensions",
            "NonRemovableSystemExtensions",
        ];
        let main = "conntrail-system-extension.mobileconfig";
        let apart = "conntrail-system-extension-macos-15.mobileconfig";
        let mut wanted = Wanted {
            removal: Removal::ByNobody,
            ..wanted()
        };
        let has_locks =
            |payload: &plist::Dictionary| locks.iter().all(|it| payload.contains_key(it));
        assert!(!has_locks(&payloads(&wanted, main)[0]));
        assert!(has_locks(&payloads(&wanted, apart)[0]));
        wanted.minimum_macos = LOCKS_SINCE;
        assert!(has_locks(&payloads(&wanted, main)[0]));
        assert!(!names(&wanted).contains(&apart.to_owned()));
        wanted.removal = Removal::ByAnybody;
        let payload = &payloads(&wanted, main)[0];
        let [from_ui, at_all] = locks;
        assert!(payload.contains_key("RemovableSystemExtensions"));
        assert!(payload.contains_key(from_ui) && !payload.contains_key(at_all));
    }

    #[test]
    fn the_kill_switch_takes_nothing_else_away_when_it_is_taken_back() {
        let file = kill_switch(&wanted());
        let profile = plist::Value::from_reader(std::io::Cursor::new(&file.contents)).unwrap();
        let profile = profile.as_dictionary().unwrap();
        let payload = profile["PayloadContent"].as_array().unwrap()[0].as_dictionary();
        let payload = payload.unwrap();
        assert_eq!(payload["filter.stand_aside"].as_boolean(), Some(true));
        let ordinary = payloads(&wanted(), "conntrail-settings.mobileconfig");
        assert_eq!(payload["PayloadType"], ordinary[0]["PayloadType"]);
        for key in ["PayloadIdentifier", "PayloadUUID"] {
            assert_ne!(payload[key], ordinary[0][key], "{key}");
        }
    }

    #[test]
    fn each_job_is_managed_by_its_label_and_only_for_the_team() {
        let payload = &payloads(&wanted(), "conntrail-service-management.mobileconfig")[0];
        let rules = payload["Rules"].as_array().unwrap();
        assert_eq!(rules.len(), JOBS.len());
        for (rule, job) in rules.iter().zip(JOBS) {
            let rule = rule.as_dictionary().unwrap();
            let text = |key: &str| rule[key].as_string().unwrap();
            assert_eq!(text("RuleType"), "Label");
            assert_eq!(text("RuleValue"), job.label(&wanted().identity.app));
            assert_eq!(text("TeamIdentifier"), "AB12CD34EF");
            assert!(text("Comment").contains(job.purpose));
        }
    }

    #[test]
    fn the_filter_is_recognized_by_the_extension_and_configured_for_the_app() {
        let payload = &payloads(&wanted(), "conntrail-content-filter.mobileconfig")[0];
        let text = |key: &str| payload[key].as_string().unwrap();
        assert_eq!(text("PluginBundleID"), APP);
        assert_eq!(text("FilterDataProviderBundleIdentifier"), EXTENSION);
        let requirement = text("FilterDataProviderDesignatedRequirement");
        assert!(requirement.starts_with("identifier \"com.conntrail.agent.filter\" and"));
        assert!(requirement.ends_with("\"AB12CD34EF\""), "{requirement}");
        assert_eq!(text("Organization"), "Example & Sons");
        let config = payload["VendorConfig"].as_dictionary().unwrap();
        assert_eq!(config["flow.flows_max"].as_signed_integer(), Some(5_000));
    }
}
