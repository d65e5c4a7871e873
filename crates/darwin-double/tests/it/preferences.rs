//! Preferences.

use darwin_double::cf;
use darwin_double::machine::{self, Value};
use objc2_core_foundation::*;

const DOMAIN: &str = "com.example.agent";

fn value(key: &str) -> Option<CFRetained<CFType>> {
    CFPreferencesCopyAppValue(&CFString::from_str(key), &CFString::from_str(DOMAIN))
        .map(|value| value.retain())
}

fn text(key: &str) -> Option<String> {
    value(key)?
        .downcast_ref::<CFString>()
        .map(ToString::to_string)
}

fn forced(key: &str) -> bool {
    CFPreferencesAppValueIsForced(&CFString::from_str(key), &CFString::from_str(DOMAIN))
}

fn set_user(key: &str, value: impl Into<Value>) {
    let value = value.into();
    machine::preferences(|all| {
        all.user
            .entry(DOMAIN.to_owned())
            .or_default()
            .insert(key.to_owned(), value);
    });
}

fn keys() -> Option<Vec<String>> {
    // SAFETY: they are constants.
    let (user, host) = unsafe { (kCFPreferencesCurrentUser, kCFPreferencesAnyHost) };
    let keys = CFPreferencesCopyKeyList(&CFString::from_str(DOMAIN), user, host)?;
    // SAFETY: keys are strings.
    let keys: CFRetained<CFArray<CFString>> = unsafe { CFRetained::cast_unchecked(keys) };
    Some(keys.iter().map(|key| key.to_string()).collect())
}

#[test]
fn a_forced_value_goes_before_the_users() {
    let _machine = machine::lock();
    set_user("Server", "mine");
    assert_eq!(
        (text("Server").as_deref(), forced("Server")),
        (Some("mine"), false)
    );
    machine::force(DOMAIN, "Server", "theirs");
    assert_eq!(
        (text("Server").as_deref(), forced("Server")),
        (Some("theirs"), true)
    );
    assert_eq!((text("Other"), forced("Other")), (None, false));
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn values_are_of_every_class() {
    let _machine = machine::lock();
    machine::force(DOMAIN, "Flag", true);
    machine::force(DOMAIN, "Count", 5_i64);
    machine::force(DOMAIN, "Share", 0.5);
    machine::force(DOMAIN, "List", vec![Value::from("a"), Value::from(1_i64)]);
    machine::force(DOMAIN, "Bytes", Value::Data(vec![1, 2]));
    machine::force(DOMAIN, "Since", Value::Date(0.0));
    machine::force(
        DOMAIN,
        "Table",
        Value::dictionary([("inner", Value::from("text"))]),
    );
    let class = |key| {
        let value = value(key).unwrap();
        [
            value.downcast_ref::<CFBoolean>().is_some(),
            value.downcast_ref::<CFNumber>().is_some(),
            value.downcast_ref::<CFArray>().is_some(),
            value.downcast_ref::<CFData>().is_some(),
            value.downcast_ref::<CFDate>().is_some(),
            value.downcast_ref::<CFDictionary>().is_some(),
        ]
        .map(u8::from)
    };
    let classes = ["Flag", "Count", "Share", "List", "Bytes", "Since", "Table"].map(class);
    let expected = [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ];
    assert_eq!(classes, expected);
    assert_eq!(cf::live_total(), 0);
}

#[test]
fn whether_lists_hold_forced_keys_is_up_to_the_machine() {
    let _machine = machine::lock();
    assert_eq!(keys(), None);
    machine::force(DOMAIN, "Forced", 1_i64);
    assert_eq!(keys(), None);
    set_user("Own", 2_i64);
    assert_eq!(keys().unwrap(), ["Own"]);
    machine::preferences(|all| all.lists_hold_forced = true);
    assert_eq!(keys().unwrap(), ["Forced", "Own"]);
}

#[test]
fn many_values_come_as_a_dictionary() {
    let _machine = machine::lock();
    set_user("One", "1");
    set_user("Two", "2");
    // SAFETY: they are constants.
    let (user, host) = unsafe { (kCFPreferencesCurrentUser, kCFPreferencesAnyHost) };
    let domain = CFString::from_str(DOMAIN);
    assert_eq!(
        CFPreferencesCopyMultiple(None, &domain, user, host).count(),
        2
    );
    let wanted = CFArray::from_retained_objects(&[CFString::from_str("Two")]);
    let wanted: &CFArray = (*wanted).as_ref();
    assert_eq!(
        CFPreferencesCopyMultiple(Some(wanted), &domain, user, host).count(),
        1
    );
}

#[test]
fn a_change_may_be_seen_only_after_a_synchronization() {
    let _machine = machine::lock();
    machine::preferences(|all| all.cached = true);
    machine::force(DOMAIN, "Key", "old");
    assert_eq!(text("Key").as_deref(), Some("old"));
    machine::force(DOMAIN, "Key", "new");
    assert_eq!(text("Key").as_deref(), Some("old"));
    assert!(CFPreferencesAppSynchronize(&CFString::from_str(DOMAIN)));
    assert_eq!(text("Key").as_deref(), Some("new"));
    machine::on("CFPreferencesAppSynchronize").fail(1);
    assert!(!CFPreferencesAppSynchronize(&CFString::from_str(DOMAIN)));
}

#[test]
fn the_current_application_is_the_main_bundle() {
    let _machine = machine::lock();
    machine::force("com.example.agent.filter", "Key", "value");
    // SAFETY: it is a constant.
    let application = unsafe { kCFPreferencesCurrentApplication };
    assert!(CFPreferencesAppValueIsForced(
        &CFString::from_str("Key"),
        application
    ));
}
