//! What the table of the schema says: keys, types, values, versions.

use super::{Findings, Payload, Place, Profile, rules, shown};
use crate::schema::{
    ANY, Availability, COMMON, Key, Kind, Literal, Presence, TOP_LEVEL, Version, rules_of,
};
use crate::value::{Dictionary, Value};

/// In nearly every profile there is, and in no schema.
const LEGACY: &[&str] = &["PayloadEnabled"];

/// Letters of a key that is not known that are compared with those that are.
const COMPARED_MAX_CHARS: usize = 60;

/// The outermost dictionary. Its payloads have their own turn.
pub(super) fn profile(profile: &Profile, macos: Option<Version>, findings: &mut Findings) {
    let mut look = Look {
        place: profile.place(""),
        whole: "a profile",
        macos,
        findings,
    };
    let is_encrypted = profile.top.get("IsEncrypted") == Some(&Value::Boolean(true));
    for key in TOP_LEVEL.keys {
        match (key.name, profile.top.get(key.name)) {
            ("PayloadContent", None) if is_encrypted => {}
            (_, None) => look.missing(key, ""),
            // Both hold keys that the schema does not list.
            ("PayloadContent" | "ConsentText", Some(value)) => look.kind(key, value, key.name),
            (_, Some(value)) => look.value(key, value, key.name),
        }
    }
    look.unknown(&profile.top, "", &[TOP_LEVEL.keys]);
}

/// A payload, by its type; of an unknown type only what all have.
pub(super) fn payload(payload: &Payload<'_>, macos: Option<Version>, findings: &mut Findings) {
    let rules = rules_of(payload.kind);
    if let (Some(rules), Some(macos)) = (rules, macos)
        && rules.macos.introduced > macos
    {
        let message = format!(
            "macOS {macos} does not know payloads of this type; macOS {} is the first that does",
            rules.macos.introduced
        );
        let advice = "Assign it to newer Macs only.";
        findings.add(rules::PAYLOAD_TOO_NEW, payload.place(""), message, advice);
    }
    let is_for_user = payload.profile.top.get("PayloadScope") == Some(&"User".into());
    if is_for_user && rules.is_some_and(|it| it.macos.user_channel == Some(false)) {
        let message = "the profile is for users, and this payload is only for the machine";
        let place = payload.profile.place("PayloadScope");
        let advice = "Set PayloadScope to System, and assign the profile to computers.";
        findings.add(rules::SCOPE, place, message.to_owned(), advice);
    }
    let own = rules.map_or(&[][..], |rules| rules.keys);
    let mut look = Look {
        place: payload.place(""),
        whole: rules.map_or("a payload", |rules| rules.title),
        macos,
        findings,
    };
    look.keys(COMMON.keys, payload.keys, "");
    look.keys(own, payload.keys, "");
    if rules.is_some() {
        look.unknown(payload.keys, "", &[COMMON.keys, own]);
    }
}

struct Look<'a> {
    place: Place,
    whole: &'a str,
    macos: Option<Version>,
    findings: &'a mut Findings,
}

impl Look<'_> {
    fn at(&self, path: &str) -> Place {
        Place {
            key: Some(super::shown_plain(path)),
            ..self.place.clone()
        }
    }

    /// The keys of the table, as far as they are there.
    fn keys(&mut self, keys: &[Key], entries: &Dictionary, within: &str) {
        for key in keys {
            if key.name == ANY {
                for (name, value) in entries {
                    self.value(key, value, &joined(within, name));
                }
                continue;
            }
            match entries.get(key.name) {
                Some(value) => self.value(key, value, &joined(within, key.name)),
                None => self.missing(key, within),
            }
        }
    }

    fn missing(&mut self, key: &Key, within: &str) {
        if key.presence == Presence::Required {
            let message = format!("the key {} is missing", key.name);
            let place = self.at(&joined(within, key.name));
            let advice = format!("Add it; it is {}.", key.kind);
            self.findings
                .add(rules::KEY_MISSING, place, message, &advice);
        }
    }

    /// Entries that none of the lists of keys knows.
    fn unknown(&mut self, entries: &Dictionary, within: &str, lists: &[&[Key]]) {
        let names = || lists.iter().copied().flatten().map(|key| key.name);
        if names().any(|name| name == ANY) {
            return;
        }
        for name in entries.keys() {
            if names().any(|it| it == name) || LEGACY.contains(&name.as_str()) {
                continue;
            }
            // To look for the nearest of a hundred thousand keys would take minutes.
            if self.findings.only_counts() {
                continue;
            }
            let message = format!("{} has no key {}", self.whole, shown(name));
            let short: String = name
                .to_lowercase()
                .chars()
                .take(COMPARED_MAX_CHARS)
                .collect();
            let distance = |it: &str| strsim::levenshtein(&short, &it.to_lowercase());
            let near = names().min_by_key(|it| distance(it));
            let is_near = |it: &&str| distance(it) <= 3;
            let advice = match near.filter(is_near) {
                Some(near) => format!("Write {near}, if that is meant, or take it out."),
                None => "Take it out, unless a macOS after 15.1 brought it: what macOS does with \
                         keys that it does not know is not documented."
                    .to_owned(),
            };
            let place = self.at(&joined(within, name));
            self.findings
                .add(rules::KEY_UNKNOWN, place, message, &advice);
        }
    }

    fn value(&mut self, key: &Key, value: &Value, path: &str) {
        self.availability(key, path);
        if !fits(key.kind, value) {
            self.kind(key, value, path);
            return;
        }
        self.allowed(key, value, path);
        let is_of_form = value.as_text().is_none_or(is_like_uuid);
        if key.format.is_some() && !is_of_form {
            let message = "the text is no UUID".to_owned();
            let advice = "Write the PayloadUUID of the certificate's payload.";
            self.findings
                .add(rules::KEY_FORM, self.at(path), message, advice);
        }
        match value {
            Value::Dictionary(entries) => {
                self.keys(key.keys, entries, path);
                if !key.keys.is_empty() {
                    self.unknown(entries, path, &[key.keys]);
                }
            }
            Value::List(values) => {
                for (position, value) in values.iter().enumerate() {
                    for item in key.keys {
                        self.value(item, value, &joined(path, &position.to_string()));
                    }
                }
            }
            Value::Boolean(_)
            | Value::Integer(_)
            | Value::Real(_)
            | Value::Text(_)
            | Value::Date(_)
            | Value::Data(_) => {}
        }
    }

    fn kind(&mut self, key: &Key, value: &Value, path: &str) {
        if !fits(key.kind, value) {
            let message = format!("the value is {}, not {}", value.kind(), key.kind);
            let advice = format!("Write {}.", key.kind);
            self.findings
                .add(rules::KEY_TYPE, self.at(path), message, &advice);
        }
    }

    fn availability(&mut self, key: &Key, path: &str) {
        let since = match key.macos {
            Availability::AsPayload => return,
            Availability::Never => {
                let message = "the key has no meaning on macOS".to_owned();
                let advice = "Take it out.";
                self.findings
                    .add(rules::KEY_NOT_MACOS, self.at(path), message, advice);
                return;
            }
            Availability::Since(since) => since,
        };
        if let Some(macos) = self.macos.filter(|it| since > *it) {
            let message =
                format!("macOS {macos} does not know the key; macOS {since} is the first");
            let advice = "Move it into a profile that only newer Macs get.";
            self.findings
                .add(rules::KEY_TOO_NEW, self.at(path), message, advice);
        }
    }

    fn allowed(&mut self, key: &Key, value: &Value, path: &str) {
        let is = |literal: &Literal| match (literal, value) {
            (Literal::Text(text), Value::Text(value)) => text == value,
            (Literal::Integer(number), Value::Integer(value)) => number == value,
            (Literal::Integer(number), Value::Real(value)) => whole(value) == Some(*number),
            (Literal::Boolean(one), Value::Boolean(other)) => one == other,
            _ => false,
        };
        if key.allowed.is_empty() || key.allowed.iter().any(is) {
            return;
        }
        let value = match value {
            Value::Text(text) => shown(text),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(_)
            | Value::Real(_)
            | Value::Date(_)
            | Value::Data(_)
            | Value::List(_)
            | Value::Dictionary(_) => value.kind().to_owned(),
        };
        let allowed: Vec<String> = key.allowed.iter().map(Literal::to_string).collect();
        let message = format!(
            "the value is {value}, which is none of {}",
            allowed.join(", ")
        );
        let advice = "Write one of them; capitals count.";
        self.findings
            .add(rules::KEY_VALUE, self.at(path), message, advice);
    }
}

fn joined(within: &str, name: &str) -> String {
    match within {
        "" => name.to_owned(),
        _ => format!("{within}.{name}"),
    }
}

fn fits(kind: Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Any, _)
        | (Kind::Text, Value::Text(_))
        | (Kind::Integer | Kind::Real, Value::Integer(_))
        | (Kind::Real, Value::Real(_))
        | (Kind::Boolean, Value::Boolean(_))
        | (Kind::Date, Value::Date(_))
        | (Kind::Data, Value::Data(_))
        | (Kind::List, Value::List(_))
        | (Kind::Dictionary, Value::Dictionary(_)) => true,
        // Apple's own examples write a version as <real>1</real>.
        (Kind::Integer, Value::Real(text)) => whole(text).is_some(),
        _ => false,
    }
}

fn whole(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number = whole.parse().ok();
    number.filter(|_| fraction.bytes().all(|it| it == b'0'))
}

/// `8-4-4-4-12` letters and digits, the only form that the table has.
fn is_like_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length && part.bytes().all(|it| it.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_that_is_a_whole_number_is_read_as_one() {
        for (text, number) in [("1", 1), ("1.0", 1), ("10", 10), ("-3.00", -3)] {
            assert_eq!(whole(text), Some(number), "{text}");
        }
        for text in ["", "1.5", "1.0.0", "x", "inf"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
