//! What device management allows on this machine: whether the extension may be activated without a
//! question to the user, and whether a profile brings the filter's configuration.
//!
//! No public programming interface tells an app which profiles are installed; the tool
//! `/usr/bin/profiles` does, as a property list. Where in it the payloads stand is not documented,
//! so whatever has a `PayloadType` counts as one. Built and tested off-Mac.

mod reduced;

pub use reduced::reduced;

use crate::child;
use plist::{Dictionary, Value};
use std::time::Duration;

/// The tool that shows the installed profiles; those of the computer only to root.
pub const PROFILES_TOOL: (&str, &[&str]) = (
    "/usr/bin/profiles",
    &["show", "-type", "configuration", "-output", "stdout-xml"],
);

/// The payload that allows system extensions.
pub const POLICY: &str = "com.apple.system-extension-policy";

/// The payload with a content filter's configuration.
pub const CONTENT_FILTER: &str = "com.apple.webcontent-filter";

/// Profiles with certificates and icons in them are long.
const OUTPUT_MAX_BYTES: u64 = 8 << 20;

/// What nests deeper is not looked at; a payload stands at the fourth level.
const DEPTH_MAX: usize = 16;

/// What to look for among the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours<'a> {
    /// The extension's bundle identifier.
    pub extension: &'a str,
    /// Who signed it, where that is known.
    pub team: Option<&'a str>,
}

/// What the profiles say of the extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// Whether it may be activated without a question.
    pub extension: Permission,
    /// Whether a profile has the configuration of its filter.
    pub filter: bool,
    /// The setting `filter.upgrade_when` in the `VendorConfig` of that configuration.
    pub upgrade_when: Option<String>,
}

/// Whether the extension may be activated without a question to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// It may not, for a reason that is half a sentence.
    Missing(String),
    /// The profiles could not be read, for a reason that is half a sentence.
    Unknown(String),
}

/// Asks the system's tool.
pub fn ask(ours: Ours<'_>, timeout: Duration) -> Management {
    ask_with(PROFILES_TOOL, ours, timeout)
}

/// As [`ask`], with another tool in its place.
pub fn ask_with(tool: (&str, &[&str]), ours: Ours<'_>, timeout: Duration) -> Management {
    let output = child::output_of_at_most(OUTPUT_MAX_BYTES, tool.0, tool.1, timeout);
    let output = output.map_err(|error| error.to_string());
    let read = output.and_then(|text| read(&text, ours));
    read.unwrap_or_else(|trouble| Management {
        extension: Permission::Unknown(trouble),
        filter: false,
        upgrade_when: None,
    })
}

/// Reads what the tool printed.
///
/// # Errors
/// When it is no property list, in half a sentence.
pub fn read(text: &str, ours: Ours<'_>) -> Result<Management, String> {
    let profiles = parse(text)?;
    let payloads = payloads(&profiles);
    let filter = payloads.iter().find(|it| is_our_filter(it, ours));
    Ok(Management {
        extension: permission(&payloads, ours),
        filter: filter.is_some(),
        upgrade_when: filter.and_then(|it| upgrade_when(it)),
    })
}

/// Without a profile the tool may print a sentence instead of a list.
fn parse(text: &str) -> Result<Value, String> {
    if !text.contains("<plist") {
        return Ok(Value::Dictionary(Dictionary::new()));
    }
    Value::from_reader_xml(text.as_bytes())
        .map_err(|error| format!("the list of profiles cannot be read: {error}"))
}

/// A payload: what is said about it, and what is in it.
#[derive(Clone, Copy)]
struct Payload<'a> {
    kind: &'a str,
    about: &'a Dictionary,
}

impl<'a> Payload<'a> {
    /// A value of it; the tool puts them into a dictionary of their own.
    fn get(&self, key: &str) -> Option<&'a Value> {
        let content = self.about.get("PayloadContent");
        let inner = content.and_then(Value::as_dictionary);
        inner.and_then(|it| it.get(key)).or(self.about.get(key))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_string)
    }
}

fn payloads(profiles: &Value) -> Vec<Payload<'_>> {
    let mut found = Vec::new();
    let mut left = vec![(profiles, 0)];
    while let Some((value, depth)) = left.pop() {
        if let Some(about) = value.as_dictionary() {
            let kind = about.get("PayloadType").and_then(Value::as_string);
            found.extend(kind.map(|kind| Payload { kind, about }));
        }
        if depth < DEPTH_MAX {
            let entries = value.as_array().into_iter().flatten();
            let values = value
                .as_dictionary()
                .into_iter()
                .flat_map(Dictionary::values);
            // The last is taken first, and what stands first must be found first.
            let inner: Vec<_> = entries.chain(values).map(|it| (it, depth + 1)).collect();
            left.extend(inner.into_iter().rev());
        }
    }
    found
}

fn is_our_filter(payload: &Payload<'_>, ours: Ours<'_>) -> bool {
    payload.kind == CONTENT_FILTER
        && payload.text("FilterDataProviderBundleIdentifier") == Some(ours.extension)
}

/// Written `filter.upgrade_when`, or as `upgrade_when` in a dictionary `filter`.
fn upgrade_when(filter: &Payload<'_>) -> Option<String> {
    let settings = filter.get("VendorConfig")?.as_dictionary()?;
    let section = settings.get("filter").and_then(Value::as_dictionary);
    let value = settings
        .get("filter.upgrade_when")
        .or(section.and_then(|it| it.get("upgrade_when")));
    value?.as_string().map(str::to_owned)
}

/// What one policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Silent,
    OtherTeam,
    OtherTypes,
    Granted,
}

fn permission(payloads: &[Payload<'_>], ours: Ours<'_>) -> Permission {
    let policies = payloads.iter().filter(|it| it.kind == POLICY);
    let verdict = policies.map(|it| verdict(it, ours)).max();
    let Ours { extension, team } = ours;
    let of_team = team.map_or(String::new(), |team| format!(" of team {team}"));
    Permission::Missing(match verdict {
        Some(Verdict::Granted) => return Permission::Granted,
        Some(Verdict::OtherTypes) => {
            format!("the payload {POLICY} allows{of_team} no extension of type NetworkExtension")
        }
        Some(Verdict::OtherTeam) => {
            format!("the payload {POLICY} allows {extension} of another team only, not{of_team}")
        }
        Some(Verdict::Silent) => {
            format!("the installed payloads {POLICY} do not name {extension}{of_team}")
        }
        None => format!("no payload {POLICY} is installed"),
    })
}

fn verdict(policy: &Payload<'_>, ours: Ours<'_>) -> Verdict {
    let by_team = policy.get("AllowedSystemExtensions");
    let lists = by_team.and_then(Value::as_dictionary).into_iter().flatten();
    let naming = lists.filter(|(_, list)| holds(Some(list), ours.extension));
    let naming: Vec<&String> = naming.map(|(team, _)| team).collect();
    let is_named = match ours.team {
        Some(team) => naming.iter().any(|it| *it == team),
        None => !naming.is_empty(),
    };
    let whole_team = ours
        .team
        .is_some_and(|team| holds(policy.get("AllowedTeamIdentifiers"), team));
    match (is_named || whole_team, is_type_allowed(policy, ours)) {
        (true, true) => Verdict::Granted,
        (true, false) => Verdict::OtherTypes,
        (false, _) if !naming.is_empty() => Verdict::OtherTeam,
        (false, _) => Verdict::Silent,
    }
}

/// A team without an entry may have extensions of every type (Apple's schema of the payload).
fn is_type_allowed(policy: &Payload<'_>, ours: Ours<'_>) -> bool {
    let by_team = policy.get("AllowedSystemExtensionTypes");
    let types = by_team.and_then(Value::as_dictionary);
    let of_team = types
        .zip(ours.team)
        .and_then(|(types, team)| types.get(team));
    of_team.is_none_or(|types| holds(Some(types), "NetworkExtension"))
}

fn holds(list: Option<&Value>, text: &str) -> bool {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    entries.into_iter().any(|it| it.as_string() == Some(text))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const OURS: Ours<'static> = Ours {
        extension: "org.example.filter",
        team: Some("AB12CD34EF"),
    };

    /// A list of profiles in the shape that the tool gives.
    pub(crate) fn listed(payloads: &[(&str, &str)]) -> String {
        let payload = |(kind, content): &(&str, &str)| {
            format!(
                "<dict><key>PayloadType</key><string>{kind}</string>\
                 <key>PayloadContent</key><dict>{content}</dict></dict>"
            )
        };
        let payloads: String = payloads.iter().map(payload).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
             <key>_computerlevel</key><array><dict><key>ProfileDisplayName</key>\
             <string>Agents</string><key>ProfileItems</key><array>{payloads}</array></dict></array>\
             </dict></plist>"
        )
    }

    pub(crate) fn by_team(key: &str, team: &str, entry: &str) -> String {
        format!(
            "<key>{key}</key><dict><key>{team}</key><array><string>{entry}</string></array></dict>"
        )
    }

    fn permission_by(policy: &str, ours: Ours<'_>) -> Permission {
        read(&listed(&[(POLICY, policy)]), ours).unwrap().extension
    }

    fn missing(permission: Permission, words: &str) {
        assert!(
            matches!(&permission, Permission::Missing(why) if why.contains(words)),
            "{permission:?}"
        );
    }

    #[test]
    fn the_extension_may_be_named_under_its_team_or_the_whole_team_allowed() {
        let named = by_team(
            "AllowedSystemExtensions",
            "AB12CD34EF",
            "org.example.filter",
        );
        assert_eq!(permission_by(&named, OURS), Permission::Granted);
        let team = "<key>AllowedTeamIdentifiers</key><array><string>AB12CD34EF</string></array>";
        assert_eq!(permission_by(team, OURS), Permission::Granted);
        let unknown = Ours { team: None, ..OURS };
        assert_eq!(permission_by(&named, unknown), Permission::Granted);
        missing(
            permission_by(team, unknown),
            "do not name org.example.filter",
        );
    }

    #[test]
    fn what_a_policy_lacks_is_told() {
        let other = by_team(
            "AllowedSystemExtensions",
            "ZZZZZZZZZZ",
            "org.example.filter",
        );
        missing(
            permission_by(&other, OURS),
            "another team only, not of team AB12CD34EF",
        );
        let silent = by_team("AllowedSystemExtensions", "AB12CD34EF", "org.example.other");
        missing(
            permission_by(&silent, OURS),
            "do not name org.example.filter of team",
        );
        let named = by_team(
            "AllowedSystemExtensions",
            "AB12CD34EF",
            "org.example.filter",
        );
        let types =
            |kind| named.clone() + &by_team("AllowedSystemExtensionTypes", "AB12CD34EF", kind);
        missing(
            permission_by(&types("DriverExtension"), OURS),
            "type NetworkExtension",
        );
        assert_eq!(
            permission_by(&types("NetworkExtension"), OURS),
            Permission::Granted
        );
        let none = read("There are no configuration profiles installed", OURS).unwrap();
        missing(
            none.extension,
            "no payload com.apple.system-extension-policy is installed",
        );
    }

    #[test]
    fn one_policy_that_allows_it_is_enough() {
        let named = by_team(
            "AllowedSystemExtensions",
            "AB12CD34EF",
            "org.example.filter",
        );
        let other = by_team(
            "AllowedSystemExtensions",
            "ZZZZZZZZZZ",
            "org.example.filter",
        );
        let text = listed(&[(POLICY, &named), (POLICY, &other), ("com.apple.wifi", "")]);
        assert_eq!(read(&text, OURS).unwrap().extension, Permission::Granted);
    }

    #[test]
    fn a_filter_is_ours_when_it_names_our_extension() {
        let filter = |extension: &str, more: &str| {
            let name = "FilterDataProviderBundleIdentifier";
            let content = format!("<key>{name}</key><string>{extension}</string>{more}");
            read(&listed(&[(CONTENT_FILTER, &content)]), OURS).unwrap()
        };
        assert!(!filter("org.example.other", "").filter);
        let plain = filter("org.example.filter", "");
        assert_eq!((plain.filter, plain.upgrade_when), (true, None));
        let flat = "<key>VendorConfig</key><dict><key>filter.upgrade_when</key>\
                    <string>wake</string></dict>";
        let found = filter("org.example.filter", flat);
        assert_eq!(found.upgrade_when.as_deref(), Some("wake"));
        let section = "<key>VendorConfig</key><dict><key>filter</key><dict>\
                       <key>upgrade_when</key><string>now</string></dict></dict>";
        let found = filter("org.example.filter", section);
        assert_eq!(found.upgrade_when.as_deref(), Some("now"));
    }

    #[test]
    fn a_list_that_is_cut_off_or_nests_without_end_allows_nothing() {
        let error = read("<plist version=\"1.0\"><dict><key>a", OURS).unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
        let deep = "<array>".repeat(200) + &"</array>".repeat(200);
        let found = read(&format!("<plist version=\"1.0\">{deep}</plist>"), OURS).unwrap();
        missing(found.extension, "no payload");
    }

    #[test]
    fn a_tool_that_does_not_answer_is_not_a_no() {
        let soon = Duration::from_millis(50);
        let hangs = ask_with(("/bin/sh", &["-c", "exec sleep 600"]), OURS, soon);
        let Permission::Unknown(trouble) = hangs.extension else {
            panic!("{hangs:?}")
        };
        assert!(trouble.contains("did not answer"), "{trouble}");
        let plenty = Duration::from_secs(60);
        let silent = ask_with(("/bin/sh", &["-c", "true"]), OURS, plenty);
        missing(silent.extension, "no payload");
        // Where this test runs, the tool may be missing.
        assert_ne!(ask(OURS, plenty).extension, Permission::Granted);
    }
}
