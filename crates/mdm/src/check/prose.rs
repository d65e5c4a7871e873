//! What Apple's schema says in sentences only: a rule each.

use super::{Findings, Payload, rules, shown};
use crate::identity::TeamId;
use crate::schema::{FILTER, POLICY};
use crate::value::{Dictionary, Value};
use std::collections::BTreeSet;

/// The rules of one payload.
pub(super) fn payload(payload: &Payload<'_>, findings: &mut Findings) {
    if payload.kind == FILTER.name {
        filter(payload, findings);
    } else if payload.kind == POLICY.name {
        policy(payload, findings);
    }
}

fn filter(payload: &Payload<'_>, findings: &mut Findings) {
    let mut add = |rule, key: &str, message: &str, advice: &str| {
        findings.add(rule, payload.place(key), message.to_owned(), advice);
    };
    match payload.text("FilterType") {
        Some("Plugin") => {}
        Some(_) => add(
            rules::FILTER_TYPE,
            "FilterType",
            "macOS has only filters of the type Plugin",
            "Write Plugin.",
        ),
        None => add(
            rules::FILTER_TYPE,
            "FilterType",
            "FilterType is not there, and then it is BuiltIn, which macOS does not have",
            "Write Plugin.",
        ),
    }
    let is_there = |key: &str| payload.text(key).is_some_and(|text| !text.is_empty());
    for (rule, key, condition) in [
        (rules::FILTER_NAME, "UserDefinedName", None),
        (rules::FILTER_PLUGIN, "PluginBundleID", None),
        (
            rules::SOCKETS_PROVIDER,
            "FilterDataProviderBundleIdentifier",
            Some("FilterSockets"),
        ),
        (
            rules::SOCKETS_REQUIREMENT,
            "FilterDataProviderDesignatedRequirement",
            Some("FilterSockets"),
        ),
        (
            rules::PACKETS_PROVIDER,
            "FilterPacketProviderBundleIdentifier",
            Some("FilterPackets"),
        ),
        (
            rules::PACKETS_REQUIREMENT,
            "FilterPacketProviderDesignatedRequirement",
            Some("FilterPackets"),
        ),
    ] {
        let applies = condition.is_none_or(|it| payload.boolean(it) == Some(true));
        if applies && !is_there(key) {
            let because = condition.unwrap_or("FilterType Plugin");
            let message = format!("{key} is not there, and {because} needs it");
            add(
                rule,
                key,
                &message,
                "Add it; the vendor of the filter documents its value.",
            );
        }
    }
    let filters = ["FilterSockets", "FilterPackets"];
    if filters.iter().all(|key| payload.boolean(key) != Some(true)) {
        add(
            rules::FILTER_NOTHING,
            "FilterSockets",
            "neither FilterSockets nor FilterPackets is true, so that nothing is filtered",
            "Set the one that the filter has a provider for; for Conntrail that is FilterSockets.",
        );
    }
    secrets(payload, findings);
}

fn secrets(payload: &Payload<'_>, findings: &mut Findings) {
    const ADVICE: &str = "Hand it over in another way: whoever may read the configuration of the \
                          filter on the machine can read it.";
    if payload.keys.contains_key("Password") {
        let message = "the profile holds a password".to_owned();
        findings.add(rules::SECRET, payload.place("Password"), message, ADVICE);
    }
    let config = payload
        .keys
        .get("VendorConfig")
        .and_then(Value::as_dictionary);
    let mut open: Vec<(String, &Dictionary)> = Vec::new();
    open.extend(config.map(|config| ("VendorConfig".to_owned(), config)));
    while let Some((path, entries)) = open.pop() {
        for (name, value) in entries {
            let path = format!("{path}.{}", super::shown_plain(name));
            if sounds_secret(name) {
                let message = format!("{} sounds like a secret", shown(name));
                findings.add(rules::SECRET, payload.place(&path), message, ADVICE);
            }
            open.extend(value.as_dictionary().map(|entries| (path, entries)));
        }
    }
}

fn sounds_secret(name: &str) -> bool {
    const SECRETS: &[&str] = &[
        "apikey",
        "credential",
        "passphrase",
        "passwd",
        "password",
        "privatekey",
        "psk",
        "secret",
        "token",
    ];
    let letters = name.chars().filter(|letter| letter.is_ascii_alphanumeric());
    let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    SECRETS.iter().any(|secret| name.contains(secret))
}

/// The keys that map teams to extensions.
pub(super) const BY_TEAM: &[&str] = &[
    "AllowedSystemExtensions",
    "RemovableSystemExtensions",
    "NonRemovableSystemExtensions",
    "NonRemovableFromUISystemExtensions",
];

const TYPES: &[&str] = &[
    "DriverExtension",
    "EndpointSecurityExtension",
    "NetworkExtension",
];

fn policy(payload: &Payload<'_>, findings: &mut Findings) {
    const TYPES_KEY: &str = "AllowedSystemExtensionTypes";
    let teams = payload
        .keys
        .get("AllowedTeamIdentifiers")
        .and_then(Value::as_list);
    let teams: BTreeSet<&str> = teams
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_text)
        .collect();
    for (team, _) in entries(payload, "AllowedSystemExtensions") {
        if teams.contains(team) {
            let message = format!(
                "the team {} is allowed as a whole and by extension",
                shown(team)
            );
            let advice = "Take it out of AllowedTeamIdentifiers, and list each extension.";
            let place = payload.place("AllowedTeamIdentifiers");
            findings.add(rules::TEAM_TWICE, place, message, advice);
        }
    }
    for key in BY_TEAM.iter().chain(&[TYPES_KEY]) {
        let named = entries(payload, key).map(|(team, _)| team);
        named.for_each(|team| team_form(payload, key, team, findings));
    }
    for team in teams {
        team_form(payload, "AllowedTeamIdentifiers", team, findings);
    }
    for (_, kind) in pairs(payload, TYPES_KEY) {
        if !TYPES.contains(&kind) {
            let message = format!("there is no type {} of system extensions", shown(kind));
            let advice = format!("Write one of {}.", TYPES.join(", "));
            findings.add(
                rules::EXTENSION_TYPE,
                payload.place(TYPES_KEY),
                message,
                &advice,
            );
        }
    }
}

fn team_form(payload: &Payload<'_>, key: &str, team: &str, findings: &mut Findings) {
    if team.parse::<TeamId>().is_err() {
        let message = format!("{} is no Team ID", shown(team));
        let advice = "Write ten capital letters and digits.";
        findings.add(rules::TEAM_FORM, payload.place(key), message, advice);
    }
}

/// The teams of a key that maps them, with what they are mapped to.
fn entries<'a>(payload: &Payload<'a>, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let entries = payload.keys.get(key).and_then(Value::as_dictionary);
    let entries = entries.into_iter().flatten();
    entries.map(|(team, value)| (team.as_str(), value))
}

/// Team and extension, or team and type, one by one.
pub(super) fn pairs<'a>(
    payload: &Payload<'a>,
    key: &str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    entries(payload, key).flat_map(|(team, value)| {
        let values = value.as_list().unwrap_or_default().iter();
        values.filter_map(Value::as_text).map(move |it| (team, it))
    })
}
