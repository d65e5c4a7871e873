//! Forced values of the preferences, by CFPreferences.
//!
//! A configuration profile forces keys one by one (`filter.loopback`) or a section as a dictionary
//! (`filter` with `loopback` in it); both are read. Whether the list of keys that the system gives
//! names forced keys is not documented, so every key that has a meaning is asked for as well.

#![expect(
    unsafe_code,
    reason = "constants of CoreFoundation, and what its containers hold, have no safe form"
)]
#![cfg_attr(
    not(target_os = "macos"),
    allow(dead_code, reason = "elsewhere only tests call it")
)]

use super::PREFERENCES_DOMAIN;
use crate::config::{ManagedValue, SETTINGS};
use objc2_core_foundation::{
    CFArray, CFBoolean, CFData, CFDate, CFDictionary, CFNumber, CFPreferencesAppSynchronize,
    CFPreferencesAppValueIsForced, CFPreferencesCopyAppValue, CFPreferencesCopyKeyList, CFString,
    CFType, kCFPreferencesAnyHost, kCFPreferencesAnyUser, kCFPreferencesCurrentHost,
    kCFPreferencesCurrentUser,
};
use std::collections::BTreeSet;

pub(super) const NOT_SHOWN: Option<&str> = Some(
    "values in the VendorConfig of the filter's profile are known to the recorder only, whose log \
     names them",
);

/// Keys of one list, and entries of one dictionary, that are looked at.
const ENTRIES_MAX: usize = 256;

/// The longest key, and the longest text, in UTF-16 units.
const TEXT_MAX_UNITS: isize = 1_024;

pub(super) fn managed() -> Vec<(String, ManagedValue)> {
    let domain = CFString::from_str(PREFERENCES_DOMAIN);
    // Without this a program that runs on keeps what it read first.
    CFPreferencesAppSynchronize(&domain);
    let mut keys = keys_with_a_meaning();
    keys.extend(listed_keys(&domain));
    let mut values = Vec::new();
    for key in keys {
        let name = CFString::from_str(&key);
        if CFPreferencesAppValueIsForced(&name, &domain)
            && let Some(value) = CFPreferencesCopyAppValue(&name, &domain)
        {
            flatten(key, &value, &mut values);
        }
    }
    values
}

fn keys_with_a_meaning() -> BTreeSet<String> {
    let keys = SETTINGS.iter().map(|setting| setting.key);
    let sections = keys.clone().filter_map(|key| key.split_once('.'));
    let sections = sections.map(|(section, _)| section);
    keys.chain(sections).map(str::to_owned).collect()
}

/// The keys that the domain has anywhere, forced or not.
fn listed_keys(domain: &CFString) -> Vec<String> {
    // SAFETY: the constants are set before any code of ours runs and never change.
    let (any_user, user) = unsafe { (kCFPreferencesAnyUser, kCFPreferencesCurrentUser) };
    // SAFETY: as above.
    let (any_host, host) = unsafe { (kCFPreferencesAnyHost, kCFPreferencesCurrentHost) };
    let places = [
        (any_user, any_host),
        (any_user, host),
        (user, any_host),
        (user, host),
    ];
    let mut found = Vec::new();
    for (user, host) in places {
        let Some(keys) = CFPreferencesCopyKeyList(domain, user, host) else {
            continue;
        };
        // SAFETY: whatever an array of CoreFoundation holds is an object of CoreFoundation.
        let keys = unsafe { keys.cast_unchecked::<CFType>() };
        let keys = (0..keys.len().min(ENTRIES_MAX)).filter_map(|index| keys.get(index));
        found.extend(keys.filter_map(|key| short_text(key.downcast_ref()?)));
    }
    found
}

/// Sections become `section.name`; what is nested deeper has no meaning.
fn flatten(key: String, value: &CFType, values: &mut Vec<(String, ManagedValue)>) {
    let entries = value.downcast_ref::<CFDictionary>();
    let is_section = !key.contains('.');
    let Some(entries) = entries.filter(|it| is_section && it.len() <= ENTRIES_MAX) else {
        values.push((key, plain(value)));
        return;
    };
    // SAFETY: whatever a property list holds is an object of CoreFoundation.
    let entries = unsafe { entries.cast_unchecked::<CFType, CFType>() };
    let (names, entries) = entries.to_vecs();
    for (name, entry) in names.iter().zip(&entries) {
        let name = name.downcast_ref().and_then(short_text);
        let name = name.unwrap_or_else(|| "(a very long name)".to_owned());
        values.push((format!("{key}.{name}"), plain(entry)));
    }
}

fn plain(value: &CFType) -> ManagedValue {
    if let Some(boolean) = value.downcast_ref::<CFBoolean>() {
        return ManagedValue::Boolean(boolean.as_bool());
    }
    if let Some(number) = value.downcast_ref::<CFNumber>() {
        let whole = number.as_i64().filter(|_| !number.is_float_type());
        return whole.map_or(
            ManagedValue::Other("a fraction or a number of more than 64 bits"),
            ManagedValue::Integer,
        );
    }
    if let Some(text) = value.downcast_ref::<CFString>() {
        return short_text(text).map_or(
            ManagedValue::Other("a text of more than 1024 letters"),
            ManagedValue::Text,
        );
    }
    ManagedValue::Other(kind(value))
}

fn kind(value: &CFType) -> &'static str {
    if value.downcast_ref::<CFArray>().is_some() {
        "a list"
    } else if value.downcast_ref::<CFDictionary>().is_some() {
        "a dictionary"
    } else if value.downcast_ref::<CFData>().is_some() {
        "bytes"
    } else if value.downcast_ref::<CFDate>().is_some() {
        "a date"
    } else {
        "something else"
    }
}

fn short_text(text: &CFString) -> Option<String> {
    (text.length() <= TEXT_MAX_UNITS).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;
    use crate::preferences::MANAGED_PREFERENCES;
    use darwin_double::machine::{self, Value};

    fn force(key: &str, value: impl Into<Value>) {
        machine::force(PREFERENCES_DOMAIN, key, value);
    }

    fn of(key: &str, value: ManagedValue) -> (String, ManagedValue) {
        (key.to_owned(), value)
    }

    fn layers() -> Layers {
        let mut layers = Layers::default();
        layers.add_managed(MANAGED_PREFERENCES, managed());
        layers
    }

    // facts: managed-preferences-forced
    #[test]
    fn forced_values_are_read_whether_they_stand_alone_or_in_sections() {
        let _machine = machine::lock();
        assert_eq!(managed(), []);
        force("filter.loopback", true);
        force("flow", Value::dictionary([("flows_max", 5_000_i64.into())]));
        force(
            "filter",
            Value::dictionary([
                ("stand_aside", true.into()),
                ("upgrade_when", "wake".into()),
            ]),
        );
        let layers = layers();
        assert_eq!(layers.problems(), []);
        assert!(layers.config.loopback && layers.config.stand_aside);
        assert_eq!(layers.config.flows_max, 5_000);
        assert_eq!(layers.config.upgrade_when.to_string(), "wake");
    }

    // facts: managed-preferences-forced
    #[test]
    fn what_a_user_or_an_administrator_set_is_not_management() {
        let _machine = machine::lock();
        machine::preferences(|all| {
            for values in [&mut all.user, &mut all.computer] {
                let values = values.entry(PREFERENCES_DOMAIN.to_owned()).or_default();
                values.insert("filter.stand_aside".to_owned(), true.into());
                values.insert("nonsense".to_owned(), true.into());
            }
        });
        machine::force("com.example.other", "filter.stand_aside", true);
        assert_eq!(managed(), []);
    }

    // facts: managed-key-list/a, managed-key-list/b
    #[test]
    fn unknown_keys_are_named_where_the_system_lists_forced_ones() {
        let _machine = machine::lock();
        force("filter.loopbak", true);
        force("filter", Value::dictionary([("looopback", true.into())]));
        let problems = |lists_hold_forced| {
            machine::preferences(|all| all.lists_hold_forced = lists_hold_forced);
            let problems = layers().problems().into_iter();
            problems.map(|it| it.message).collect::<Vec<_>>()
        };
        let nested = "there is no setting filter.looopback; the nearest is filter.loopback";
        let alone = "there is no setting filter.loopbak; the nearest is filter.loopback";
        assert_eq!(problems(true), [nested, alone]);
        assert_eq!(problems(false), [nested]);
    }

    #[test]
    fn a_change_is_seen_at_the_next_reading() {
        let _machine = machine::lock();
        machine::preferences(|all| all.cached = true);
        assert_eq!(managed(), []);
        force("filter.stand_aside", true);
        let aside = of("filter.stand_aside", ManagedValue::Boolean(true));
        assert_eq!(managed(), [aside]);
        machine::preferences(|all| all.forced.clear());
        assert_eq!(managed(), []);
    }

    #[test]
    fn values_of_every_kind_are_read_or_named() {
        let _machine = machine::lock();
        let long = "x".repeat(2_000);
        let kinds = [
            (Value::from("now"), ManagedValue::Text("now".to_owned())),
            (Value::from(-7_i64), ManagedValue::Integer(-7)),
            (
                Value::from(1.5),
                ManagedValue::Other("a fraction or a number of more than 64 bits"),
            ),
            (
                Value::from(&*long),
                ManagedValue::Other("a text of more than 1024 letters"),
            ),
            (
                Value::from(vec![true.into()]),
                ManagedValue::Other("a list"),
            ),
            (Value::Data(vec![1]), ManagedValue::Other("bytes")),
            (Value::Date(1.0), ManagedValue::Other("a date")),
            (
                Value::dictionary([("a", true.into())]),
                ManagedValue::Other("a dictionary"),
            ),
        ];
        for (forced, expected) in kinds {
            force("filter.upgrade_when", forced.clone());
            assert_eq!(managed(), [of("filter.upgrade_when", expected.clone())]);
            machine::preferences(|all| all.forced.clear());
            force("filter", Value::dictionary([("upgrade_when", forced)]));
            assert_eq!(managed(), [of("filter.upgrade_when", expected)]);
            machine::preferences(|all| all.forced.clear());
        }
    }

    #[test]
    fn keys_and_dictionaries_beyond_measure_are_named_not_copied() {
        let _machine = machine::lock();
        machine::preferences(|all| all.lists_hold_forced = true);
        let many = (0..300).map(|number| (format!("key{number}"), true.into()));
        force("filter", Value::Dictionary(many.collect()));
        let section = of("filter", ManagedValue::Other("a dictionary"));
        assert_eq!(managed(), [section]);
        machine::preferences(|all| all.forced.clear());
        let long = "k".repeat(2_000);
        force(&long, true);
        force("flow", Value::dictionary([(&long, true.into())]));
        let name = of("flow.(a very long name)", ManagedValue::Boolean(true));
        assert_eq!(managed(), [name]);
        machine::preferences(|all| all.forced.clear());
        for number in 0..300 {
            force(&format!("key{number}"), true);
        }
        assert!(managed().len() <= ENTRIES_MAX);
    }

    #[test]
    fn a_system_that_does_not_answer_manages_nothing() {
        let _machine = machine::lock();
        force("filter.loopback", true);
        for function in [
            "CFPreferencesAppSynchronize",
            "CFPreferencesCopyKeyList",
            "CFPreferencesCopyAppValue",
        ] {
            machine::on(function).fail(1);
        }
        assert_eq!(managed(), []);
    }
}
