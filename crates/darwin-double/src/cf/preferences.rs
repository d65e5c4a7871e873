//! `CoreFoundation/CFPreferences.h`: settings of users, of the computer, and forced ones.

use super::object::{Body, Object, Ref};
use super::{array, data, dictionary, number, string};
use crate::machine::{Preferences, Value, enter, machine};
use crate::raw;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

static ANY_APPLICATION: Object = Object::constant("kCFPreferencesAnyApplication");
static CURRENT_APPLICATION: Object = Object::constant("kCFPreferencesCurrentApplication");
static ANY_HOST: Object = Object::constant("kCFPreferencesAnyHost");
static CURRENT_HOST: Object = Object::constant("kCFPreferencesCurrentHost");
static ANY_USER: Object = Object::constant("kCFPreferencesAnyUser");
static CURRENT_USER: Object = Object::constant("kCFPreferencesCurrentUser");

/// `CFPreferences.h`.
#[unsafe(no_mangle)]
static kCFPreferencesAnyApplication: Ref = ANY_APPLICATION.reference();
/// `CFPreferences.h`: the domain named like the main bundle.
#[unsafe(no_mangle)]
static kCFPreferencesCurrentApplication: Ref = CURRENT_APPLICATION.reference();
/// `CFPreferences.h`.
#[unsafe(no_mangle)]
static kCFPreferencesAnyHost: Ref = ANY_HOST.reference();
/// `CFPreferences.h`.
#[unsafe(no_mangle)]
static kCFPreferencesCurrentHost: Ref = CURRENT_HOST.reference();
/// `CFPreferences.h`.
#[unsafe(no_mangle)]
static kCFPreferencesAnyUser: Ref = ANY_USER.reference();
/// `CFPreferences.h`.
#[unsafe(no_mangle)]
static kCFPreferencesCurrentUser: Ref = CURRENT_USER.reference();

type Values = BTreeMap<String, Value>;

/// What was read of each domain, where a change is seen only after a synchronization.
static SEEN: Mutex<BTreeMap<String, Domain>> = Mutex::new(BTreeMap::new());

/// The values of one domain, by where they come from.
#[derive(Clone, Default)]
struct Domain {
    forced: Values,
    user: Values,
    computer: Values,
    lists_hold_forced: bool,
}

/// Which of them a caller asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    CurrentUser,
    AnyUser,
    Nobody,
}

pub(super) fn reset() {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The object a value is, which the caller holds.
pub(crate) fn object_of(value: &Value) -> Ref {
    match value {
        Value::Boolean(value) => number::boolean(*value),
        Value::Integer(value) => number::new(number::Number::Integer(*value)),
        Value::Real(value) => number::new(number::Number::Real(*value)),
        Value::Text(text) => string::new(text),
        Value::Data(bytes) => data::new(bytes),
        Value::Date(seconds) => Ref::new(Body::Date(*seconds)),
        Value::Array(items) => array::new(items.iter().map(object_of).collect()),
        Value::Dictionary(entries) => dictionary_of(entries),
    }
}

fn dictionary_of(values: &Values) -> Ref {
    let entries = values
        .iter()
        .map(|(key, value)| (string::new(key), object_of(value)));
    dictionary::new(entries.collect())
}

/// `CFPreferences.h`: a forced value, else the user's, else the computer's, else the user's for
/// any application; NULL if there is none. The caller releases it.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesCopyAppValue(key: Ref, application: Ref) -> Ref {
    if enter("CFPreferencesCopyAppValue", None).is_some() {
        return Ref::NONE;
    }
    value_for(&string::read(key), &name_of(application))
        .as_ref()
        .map_or(Ref::NONE, object_of)
}

/// `CFPreferences.h`: whether a profile has set it.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesAppValueIsForced(key: Ref, application: Ref) -> u8 {
    if enter("CFPreferencesAppValueIsForced", None).is_some() {
        return 0;
    }
    u8::from(
        domain(&name_of(application))
            .forced
            .contains_key(&string::read(key)),
    )
}

/// `CFPreferences.h`: false for what is no boolean, and then `valid` is 0.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesGetAppBooleanValue(
    key: Ref,
    application: Ref,
    valid: *mut u8,
) -> u8 {
    let failed = enter("CFPreferencesGetAppBooleanValue", None).is_some();
    let value = value_for(&string::read(key), &name_of(application)).filter(|_| !failed);
    let value = value.and_then(|value| value.as_boolean());
    raw::put(valid, u8::from(value.is_some()));
    u8::from(value == Some(true))
}

/// `CFPreferences.h`: 0 for what is no whole number, and then `valid` is 0.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesGetAppIntegerValue(
    key: Ref,
    application: Ref,
    valid: *mut u8,
) -> isize {
    let failed = enter("CFPreferencesGetAppIntegerValue", None).is_some();
    let value = value_for(&string::read(key), &name_of(application)).filter(|_| !failed);
    let value = value.and_then(|value| value.as_integer());
    let value = value.and_then(|value| isize::try_from(value).ok());
    raw::put(valid, u8::from(value.is_some()));
    value.unwrap_or(0)
}

/// `CFPreferences.h`: one value of one place; NULL if there is none. The caller releases it.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesCopyValue(
    key: Ref,
    application: Ref,
    user: Ref,
    host: Ref,
) -> Ref {
    if enter("CFPreferencesCopyValue", None).is_some() {
        return Ref::NONE;
    }
    let domain = domain(&name_of(application));
    let values = domain.of(whose(user, host));
    values.get(&string::read(key)).map_or(Ref::NONE, object_of)
}

/// `CFPreferences.h`: the keys of one place; NULL if there is none. The caller releases it.
/// Whether forced keys are among them, Apple does not say.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesCopyKeyList(application: Ref, user: Ref, host: Ref) -> Ref {
    if enter("CFPreferencesCopyKeyList", None).is_some() {
        return Ref::NONE;
    }
    let values = domain(&name_of(application)).listed(whose(user, host));
    if values.is_empty() {
        return Ref::NONE;
    }
    array::new(values.keys().map(|key| string::new(key)).collect())
}

/// `CFPreferences.h`: many values of one place, all if no keys are named. The caller releases it.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesCopyMultiple(
    keys: Ref,
    application: Ref,
    user: Ref,
    host: Ref,
) -> Ref {
    if enter("CFPreferencesCopyMultiple", None).is_some() {
        return dictionary::new(Vec::new());
    }
    let mut values = domain(&name_of(application)).listed(whose(user, host));
    if !keys.is_none() {
        let wanted: BTreeSet<String> = array::read(keys).into_iter().map(string::read).collect();
        values.retain(|key, _| wanted.contains(key));
    }
    dictionary_of(&values)
}

/// `CFPreferences.h`: from now on what is stored is what is read. False if it failed.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFPreferencesAppSynchronize(application: Ref) -> u8 {
    if enter("CFPreferencesAppSynchronize", None).is_some() {
        return 0;
    }
    SEEN.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&name_of(application));
    1
}

fn value_for(key: &str, application: &str) -> Option<Value> {
    let Domain {
        forced,
        user,
        computer,
        ..
    } = domain(application);
    let any = || domain("kCFPreferencesAnyApplication").user.remove(key);
    let own = [forced, user, computer]
        .into_iter()
        .find_map(|mut values| values.remove(key));
    own.or_else(any)
}

fn name_of(application: Ref) -> String {
    if application != kCFPreferencesCurrentApplication {
        return string::read(application);
    }
    match machine().bundle.information.get("CFBundleIdentifier") {
        Some(Value::Text(identifier)) => identifier.clone(),
        _ => String::new(),
    }
}

fn whose(user: Ref, host: Ref) -> Whose {
    match (string::read(user).as_str(), string::read(host).as_str()) {
        ("kCFPreferencesCurrentUser", "kCFPreferencesAnyHost") => Whose::CurrentUser,
        ("kCFPreferencesAnyUser", _) => Whose::AnyUser,
        _ => Whose::Nobody,
    }
}

fn domain(name: &str) -> Domain {
    let (stored, cached) = {
        let machine = machine();
        (
            Domain::stored(&machine.preferences, name),
            machine.preferences.cached,
        )
    };
    if !cached {
        return stored;
    }
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.entry(name.to_owned()).or_insert(stored).clone()
}

impl Domain {
    fn stored(preferences: &Preferences, name: &str) -> Self {
        let of = |all: &BTreeMap<String, Values>| all.get(name).cloned().unwrap_or_default();
        Self {
            forced: of(&preferences.forced),
            user: of(&preferences.user),
            computer: of(&preferences.computer),
            lists_hold_forced: preferences.lists_hold_forced,
        }
    }

    fn of(&self, whose: Whose) -> Values {
        match whose {
            Whose::CurrentUser => self.user.clone(),
            Whose::AnyUser => self.computer.clone(),
            Whose::Nobody => Values::new(),
        }
    }

    fn listed(&self, whose: Whose) -> Values {
        let mut values = self.of(whose);
        if self.lists_hold_forced && whose != Whose::Nobody {
            values.extend(self.forced.clone());
        }
        values
    }
}
