//! What only shows when all profiles of the set are put beside each other.

use super::prose::pairs;
use super::{Findings, Payload, Place, Profile, rules, shown};
use crate::schema::{NOTIFICATIONS, POLICY};
use crate::value::Value;
use std::collections::BTreeMap;

pub(super) fn check(profiles: &[Profile], payloads: &[Payload<'_>], findings: &mut Findings) {
    uuids(profiles, payloads, findings);
    identifiers(profiles, payloads, findings);
    removable(payloads, findings);
    overrides(payloads, findings);
    notifications(payloads, findings);
}

fn uuids(profiles: &[Profile], payloads: &[Payload<'_>], findings: &mut Findings) {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let of_profiles = profiles
        .iter()
        .map(|it| (it.top.get("PayloadUUID"), it.place("PayloadUUID")));
    let of_payloads = payloads
        .iter()
        .map(|it| (it.keys.get("PayloadUUID"), it.place("PayloadUUID")));
    for (uuid, place) in of_profiles.chain(of_payloads) {
        let Some(uuid) = uuid.and_then(Value::as_text) else {
            continue;
        };
        if let Some(first) = seen.get(&uuid.to_uppercase()) {
            let message = format!(
                "the PayloadUUID {} stands in {} too",
                shown(uuid),
                words(first)
            );
            let advice = "Give each its own: a UUID must be unique.";
            findings.add(rules::UUID_TWICE, place, message, advice);
        } else {
            seen.insert(uuid.to_uppercase(), place);
        }
    }
}

fn identifiers(profiles: &[Profile], payloads: &[Payload<'_>], findings: &mut Findings) {
    let mut seen: BTreeMap<(&str, &str), Place> = BTreeMap::new();
    let key = "PayloadIdentifier";
    let of_profiles = profiles
        .iter()
        .map(|it| ("", it.top.get(key), it.place(key)));
    let of_payloads = payloads
        .iter()
        .map(|it| (it.profile.file.as_str(), it.keys.get(key), it.place(key)));
    for (within, identifier, place) in of_profiles.chain(of_payloads) {
        let Some(identifier) = identifier.and_then(Value::as_text) else {
            continue;
        };
        if let Some(first) = seen.get(&(within, identifier)) {
            let message = format!(
                "the PayloadIdentifier {} is that of {} too",
                shown(identifier),
                words(first)
            );
            let advice = "Give each its own: of two profiles with one identifier the later \
                          replaces the earlier.";
            findings.add(rules::IDENTIFIER_TWICE, place, message, advice);
        } else {
            seen.insert((within, identifier), place);
        }
    }
}

/// One extension that is removable here and not removable there.
fn removable(payloads: &[Payload<'_>], findings: &mut Findings) {
    let policies = || payloads.iter().filter(|it| it.kind == POLICY.name);
    let of = |payload, key: &'static str| pairs(payload, key).map(move |pair| (pair, payload));
    let removable = policies().flat_map(|it| of(it, "RemovableSystemExtensions"));
    let removable: BTreeMap<(&str, &str), &Payload<'_>> = removable.collect();
    let not_removable = policies().flat_map(|it| of(it, "NonRemovableSystemExtensions"));
    for ((team, extension), payload) in not_removable {
        let Some(other) = removable.get(&(team, extension)) else {
            continue;
        };
        let message = format!(
            "{} of team {} is not removable here and removable in {}",
            shown(extension),
            shown(team),
            words(&other.place(""))
        );
        let advice = "Decide for one of the two.";
        let place = payload.place("NonRemovableSystemExtensions");
        findings.add(rules::REMOVABLE_AND_NOT, place, message, advice);
    }
}

fn overrides(payloads: &[Payload<'_>], findings: &mut Findings) {
    const KEY: &str = "AllowUserOverrides";
    let policies = payloads.iter().filter(|it| it.kind == POLICY.name);
    let said: Vec<_> = policies
        .filter_map(|it| Some((it, it.boolean(KEY)?)))
        .collect();
    let forbidden = said.iter().find(|(_, value)| !value);
    let allowed = said.iter().find(|(_, value)| *value);
    if let (Some((forbidden, _)), Some((allowed, _))) = (forbidden, allowed) {
        let message = format!(
            "users may not approve extensions here, and may in {}",
            words(&allowed.place(""))
        );
        let advice = "Say the same in all profiles, or say it in one only.";
        findings.add(rules::CONFLICT, forbidden.place(KEY), message, advice);
    }
}

fn notifications(payloads: &[Payload<'_>], findings: &mut Findings) {
    const KEY: &str = "NotificationSettings";
    let mut seen: BTreeMap<&str, (&Value, Place)> = BTreeMap::new();
    for payload in payloads.iter().filter(|it| it.kind == NOTIFICATIONS.name) {
        let items = payload.keys.get(KEY).and_then(Value::as_list);
        for item in items.unwrap_or_default() {
            let app = item
                .as_dictionary()
                .and_then(|it| it.get("BundleIdentifier"));
            let Some(app) = app.and_then(Value::as_text) else {
                continue;
            };
            match seen.get(app) {
                Some((first, _)) if *first == item => {}
                Some((_, place)) => {
                    let message = format!("{} has other settings in {}", shown(app), words(place));
                    let advice = "Keep one of the two.";
                    findings.add(rules::CONFLICT, payload.place(KEY), message, advice);
                }
                None => {
                    seen.insert(app, (item, payload.place(KEY)));
                }
            }
        }
    }
}

/// A place within a sentence.
pub(super) fn words(place: &Place) -> String {
    match (&place.payload, &place.file) {
        (Some(payload), Some(file)) => format!("{file} ({payload})"),
        (None, Some(file)) => file.clone(),
        (_, None) => "the set".to_owned(),
    }
}
