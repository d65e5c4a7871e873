//! The installed profiles for somebody else's eyes: our payloads, and of each the keys that have no
//! room for a secret.

use super::{CONTENT_FILTER, Ours, POLICY, Payload, is_our_filter, parse, payloads};
use crate::words;
use plist::{Dictionary, Value};

/// What is shown of a payload of ours and of others. A filter has `UserName`, `Password` and a
/// `VendorConfig` in which vendors put what they like; those are not here.
const SHOWN: &[(&str, &[&str])] = &[
    (
        POLICY,
        &[
            "AllowUserOverrides",
            "AllowedSystemExtensionTypes",
            "AllowedSystemExtensions",
            "AllowedTeamIdentifiers",
            "NonRemovableFromUISystemExtensions",
            "NonRemovableSystemExtensions",
            "RemovableSystemExtensions",
        ],
    ),
    (
        CONTENT_FILTER,
        &[
            "FilterDataProviderBundleIdentifier",
            "FilterDataProviderDesignatedRequirement",
            "FilterGrade",
            "FilterPacketProviderBundleIdentifier",
            "FilterPackets",
            "FilterSockets",
            "FilterType",
            "Organization",
            "PluginBundleID",
            "UserDefinedName",
        ],
    ),
    ("com.apple.servicemanagement", &["Rules"]),
];

/// Longer values are cut.
const TEXT_MAX: usize = 1_000;

/// Entries of one list or dictionary.
const ENTRIES_MAX: usize = 200;

/// What the tool [`super::PROFILES_TOOL`] printed, without whatever could be a secret: a line a
/// value. `domain` is the payload type of our settings; of those, and of our filter's
/// `VendorConfig`, the values are shown of which `is_setting` says that they are settings.
///
/// # Errors
/// As [`super::read`].
pub fn reduced(
    text: &str,
    ours: Ours<'_>,
    domain: &str,
    is_setting: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, String> {
    let profiles = parse(text)?;
    let mut lines = Vec::new();
    let mut others = 0_usize;
    for payload in payloads(&profiles) {
        let shown = SHOWN.iter().find(|(kind, _)| *kind == payload.kind);
        if let Some((_, keys)) = shown {
            lines.push(format!("payload {}", payload.kind));
            lines.extend(keys.iter().filter_map(|key| line(&payload, key)));
            if is_our_filter(&payload, ours) {
                let vendor = payload.get("VendorConfig").and_then(Value::as_dictionary);
                settings(vendor, "VendorConfig ", is_setting, &mut lines);
            }
        } else if payload.kind == domain {
            lines.push(format!("payload {domain}"));
            let content = payload.get("PayloadContent").and_then(Value::as_dictionary);
            settings(content, "", is_setting, &mut lines);
        } else {
            others += 1;
        }
    }
    lines.push(format!("{others} payloads of other types are not shown"));
    Ok(lines)
}

fn line(payload: &Payload<'_>, key: &str) -> Option<String> {
    Some(format!("  {key} = {}", shown(payload.get(key)?, 0)))
}

/// Settings stand alone as `section.name`, or in a dictionary for their section.
fn settings(
    found: Option<&Dictionary>,
    prefix: &str,
    is_setting: &dyn Fn(&str) -> bool,
    lines: &mut Vec<String>,
) {
    let mut add = |key: String, value: &Value| {
        let text = match is_setting(&key) {
            true => shown(value, 0),
            false => "(not a setting, not shown)".to_owned(),
        };
        lines.push(format!("  {prefix}{} = {text}", cut(&key)));
    };
    for (key, value) in found.into_iter().flatten().take(ENTRIES_MAX) {
        match value.as_dictionary() {
            Some(section) => {
                for (name, value) in section.iter().take(ENTRIES_MAX) {
                    add(format!("{key}.{name}"), value);
                }
            }
            None => add(key.clone(), value),
        }
    }
}

/// Lists and dictionaries of a policy are two deep, rules three.
fn shown(value: &Value, depth: usize) -> String {
    const DEPTH_MAX: usize = 4;
    let many =
        |parts: Vec<String>, open: &str, close: &str| format!("{open}{}{close}", parts.join(", "));
    if depth == DEPTH_MAX {
        "…".to_owned()
    } else if let Some(list) = value.as_array() {
        let entries = list.iter().take(ENTRIES_MAX);
        many(entries.map(|it| shown(it, depth + 1)).collect(), "[", "]")
    } else if let Some(entries) = value.as_dictionary() {
        let entries = entries.iter().take(ENTRIES_MAX);
        let entry =
            |(key, it): (&String, &Value)| format!("{}: {}", cut(key), shown(it, depth + 1));
        many(entries.map(entry).collect(), "{", "}")
    } else if let Some(text) = value.as_string() {
        cut(text)
    } else if let Some(boolean) = value.as_boolean() {
        boolean.to_string()
    } else if let Some(number) = value.as_signed_integer() {
        number.to_string()
    } else {
        "(neither text, number nor boolean)".to_owned()
    }
}

fn cut(text: &str) -> String {
    words::clean(&text.chars().take(TEXT_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{OURS, by_team, listed};
    use super::*;

    const DOMAIN: &str = "org.example";

    fn lines(payloads: &[(&str, &str)]) -> String {
        let is_setting = |key: &str| key == "filter.upgrade_when";
        let lines = reduced(&listed(payloads), OURS, DOMAIN, &is_setting).unwrap();
        lines.join("\n")
    }

    #[test]
    fn our_payloads_are_shown_and_other_types_only_counted() {
        let policy = by_team(
            "AllowedSystemExtensions",
            "AB12CD34EF",
            "org.example.filter",
        ) + "<key>AllowUserOverrides</key><false/>";
        let rules = "<key>Rules</key><array><dict><key>RuleType</key><string>Label</string>\
                     <key>Depth</key><array><array><string>x</string></array></array>\
                     </dict></array>";
        let text = lines(&[
            (POLICY, &policy),
            ("com.apple.servicemanagement", rules),
            (
                "com.apple.wifi.managed",
                "<key>Password</key><string>hush</string>",
            ),
        ]);
        assert_eq!(
            text,
            "payload com.apple.system-extension-policy\n  AllowUserOverrides = false\n  \
             AllowedSystemExtensions = {AB12CD34EF: [org.example.filter]}\n\
             payload com.apple.servicemanagement\n  \
             Rules = [{RuleType: Label, Depth: [[…]]}]\n\
             1 payloads of other types are not shown"
        );
    }

    #[test]
    fn of_settings_only_those_are_shown_that_are_settings() {
        let content = "<key>filter.upgrade_when</key><string>wake\u{7}</string>\
                       <key>filter</key><dict><key>token</key><string>hush</string></dict>\
                       <key>password</key><string>hush</string>";
        let filter = format!(
            "<key>FilterDataProviderBundleIdentifier</key><string>org.example.filter</string>\
             <key>Password</key><string>hush</string><key>FilterSockets</key><true/>\
             <key>FilterGrade</key><integer>3</integer><key>Organization</key><real>1.5</real>\
             <key>VendorConfig</key><dict>{content}</dict>"
        );
        let text = lines(&[(CONTENT_FILTER, &filter), (DOMAIN, content)]);
        assert!(!text.contains("hush"), "{text}");
        for expected in [
            "  VendorConfig filter.upgrade_when = wake·\n",
            "  VendorConfig filter.token = (not a setting, not shown)\n",
            "  password = (not a setting, not shown)\n",
            "  FilterSockets = true\n",
            "  FilterGrade = 3\n",
            "  Organization = (neither text, number nor boolean)\n",
        ] {
            assert!(text.contains(expected), "no {expected} in {text}");
        }
    }

    #[test]
    fn another_vendors_filter_is_shown_without_its_configuration() {
        let filter = "<key>FilterDataProviderBundleIdentifier</key><string>com.other</string>\
                      <key>VendorConfig</key><dict><key>filter.upgrade_when</key>\
                      <string>hush</string></dict>";
        let text = lines(&[(CONTENT_FILTER, filter)]);
        assert!(
            text.contains("com.other") && !text.contains("hush"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_list_of_profiles_is_an_error() {
        assert!(reduced("<plist", OURS, DOMAIN, &|_| true).is_err());
    }
}
