//! Our settings, by whichever way they come.

use super::ours::Ours;
use super::set::words;
use super::{Expected, Findings, Payload, Place, rules, shown};
use crate::value::{Dictionary, Value};
use std::collections::BTreeMap;

pub(super) fn check(
    ours: &Ours,
    expected: &Expected<'_>,
    payloads: &[Payload<'_>],
    findings: &mut Findings,
) {
    let domain = expected.preferences_domain;
    let mut seen: BTreeMap<String, (Value, Place)> = BTreeMap::new();
    for payload in payloads {
        for (key, settings) in preferences(payload, domain) {
            problems(expected, payload, &key, &settings, findings);
            conflicts(payload, settings, &mut seen, findings);
        }
        let config = payload
            .keys
            .get("VendorConfig")
            .and_then(Value::as_dictionary);
        if let Some(config) = config.filter(|_| ours.has(payload)) {
            problems(expected, payload, "VendorConfig", config, findings);
        }
    }
}

/// The settings in a payload of ours, and the key under which they are.
fn preferences(payload: &Payload<'_>, domain: &str) -> Vec<(String, Dictionary)> {
    if payload.kind == domain {
        let own = payload
            .keys
            .iter()
            .filter(|(key, _)| !key.starts_with("Payload"));
        let own = own.map(|(key, value)| (key.clone(), value.clone()));
        return vec![(String::new(), own.collect())];
    }
    if payload.kind != "com.apple.ManagedClient.preferences" {
        return Vec::new();
    }
    let within = |value: Option<&Value>, key: &str| -> Option<Value> {
        value?.as_dictionary()?.get(key).cloned()
    };
    let ours = within(payload.keys.get("PayloadContent"), domain);
    let forced = within(ours.as_ref(), "Forced");
    let forced = forced.as_ref().and_then(Value::as_list).unwrap_or_default();
    let settings = forced.iter().filter_map(|it| {
        let settings = within(Some(it), "mcx_preference_settings")?;
        Some((domain.to_owned(), settings.as_dictionary()?.clone()))
    });
    settings.collect()
}

fn problems(
    expected: &Expected<'_>,
    payload: &Payload<'_>,
    key: &str,
    settings: &Dictionary,
    findings: &mut Findings,
) {
    for problem in (expected.problems_of_settings)(settings) {
        let advice = "Correct it or take it out; conntrail config lists every setting.";
        findings.add(rules::SETTING, payload.place(key), problem, advice);
    }
}

fn conflicts(
    payload: &Payload<'_>,
    settings: Dictionary,
    seen: &mut BTreeMap<String, (Value, Place)>,
    findings: &mut Findings,
) {
    for (key, value) in flattened(settings) {
        match seen.get(&key) {
            Some((first, _)) if *first == value => {}
            Some((_, place)) => {
                let message = format!("{} has another value in {}", shown(&key), words(place));
                let advice = "Set it in one place: which of the two counts is not defined.";
                let place = payload.place(&super::shown_plain(&key));
                findings.add(rules::CONFLICT, place, message, advice);
            }
            None => {
                seen.insert(key, (value, payload.place("")));
            }
        }
    }
}

/// Sections as `section.name`.
fn flattened(settings: Dictionary) -> Vec<(String, Value)> {
    let flat = settings.into_iter().flat_map(|(key, value)| match value {
        Value::Dictionary(section) => {
            let entries = section.into_iter();
            entries
                .map(|(name, value)| (format!("{key}.{name}"), value))
                .collect::<Vec<_>>()
        }
        Value::Boolean(_)
        | Value::Integer(_)
        | Value::Real(_)
        | Value::Text(_)
        | Value::Date(_)
        | Value::Data(_)
        | Value::List(_) => vec![(key, value)],
    });
    flat.collect()
}
