//! What is wrong with a set of profiles: all those that one machine gets.
//!
//! Nothing here is about a running machine. A profile that passes is well formed and says what the
//! agent needs; whether the system takes it is only known there.

mod form;
mod others;
mod ours;
mod prose;
mod requirement;
pub mod rules;
mod set;
mod settings;

pub use rules::{Grade, Rule};

use crate::document;
use crate::identity::{BundleId, TeamId};
use crate::schema::Version;
use crate::value::{Dictionary, Value};

/// A file, or why it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// How it is called in findings.
    pub name: String,
    /// What is in it.
    pub contents: Result<Vec<u8>, String>,
}

/// What the profiles should be for. What is not told is inferred from them.
pub struct Expected<'a> {
    /// The identifier of the app.
    pub app: Option<BundleId>,
    /// The identifier of the extension.
    pub extension: Option<BundleId>,
    /// Who signs them.
    pub team: Option<TeamId>,
    /// The macOS that the machines have: what it does not know is found.
    pub macos: Option<Version>,
    /// The preferences domain of the agent.
    pub preferences_domain: &'a str,
    /// What the agent would say of settings, a sentence each.
    pub problems_of_settings: &'a dyn Fn(&Dictionary) -> Vec<String>,
}

/// Something to know about a set of profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule it is about.
    pub rule: Rule,
    /// Where.
    pub place: Place,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it, in a sentence.
    pub advice: String,
}

/// Where something is, as far as it is in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Option<String>,
    /// The payload in it, by its type and identifier.
    pub payload: Option<String>,
    /// The key in that, with dots between the levels.
    pub key: Option<String>,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The gravest first, then in the order of the files.
    pub findings: Vec<Finding>,
    /// Further findings that are only counted.
    pub left_off: usize,
    /// Files that were understood as profiles.
    pub profiles: usize,
    /// Payloads in them.
    pub payloads: usize,
}

/// Findings that are told one by one.
const FINDINGS_MAX: usize = 1_000;

/// Checks a set of profiles.
pub fn check(inputs: &[Input], expected: &Expected<'_>) -> Report {
    let mut findings = Findings::default();
    let profiles = read(inputs, &mut findings);
    let payloads = payloads(&profiles, &mut findings);
    for profile in &profiles {
        form::profile(profile, expected.macos, &mut findings);
    }
    for payload in &payloads {
        form::payload(payload, expected.macos, &mut findings);
        prose::payload(payload, &mut findings);
    }
    set::check(&profiles, &payloads, &mut findings);
    let ours = ours::Ours::find(expected, &payloads, &mut findings);
    ours::check(&ours, expected, &payloads, &mut findings);
    settings::check(&ours, expected, &payloads, &mut findings);
    others::check(&ours, &payloads, &mut findings);
    let Findings { mut list, left_off } = findings;
    list.sort_by_key(|finding| finding.rule.grade);
    Report {
        findings: list,
        left_off,
        profiles: profiles.len(),
        payloads: payloads.len(),
    }
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    left_off: usize,
}

impl Findings {
    fn add(&mut self, rule: Rule, place: Place, message: String, advice: &str) {
        if self.only_counts() {
            return;
        }
        self.list.push(Finding {
            rule,
            place,
            message,
            advice: advice.to_owned(),
        });
    }
}

impl Findings {
    /// Whether there are so many that one more was only counted.
    fn only_counts(&mut self) -> bool {
        let is_full = self.list.len() >= FINDINGS_MAX;
        self.left_off += usize::from(is_full);
        is_full
    }
}

/// A file that is a profile.
struct Profile {
    file: String,
    top: Dictionary,
}

impl Profile {
    fn place(&self, key: &str) -> Place {
        Place {
            file: Some(self.file.clone()),
            payload: None,
            key: (!key.is_empty()).then(|| key.to_owned()),
        }
    }
}

/// A payload of one.
struct Payload<'a> {
    profile: &'a Profile,
    kind: &'a str,
    keys: &'a Dictionary,
    label: String,
}

impl<'a> Payload<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.keys.get(key).and_then(Value::as_text)
    }

    fn boolean(&self, key: &str) -> Option<bool> {
        self.keys.get(key).and_then(Value::as_boolean)
    }

    fn place(&self, key: &str) -> Place {
        Place {
            payload: Some(self.label.clone()),
            ..self.profile.place(key)
        }
    }

    /// What it says, without what identifies it.
    fn says(&self) -> Dictionary {
        let is_head = |key: &str| {
            let head = [
                "Identifier",
                "UUID",
                "DisplayName",
                "Description",
                "Organization",
            ];
            let name = key.strip_prefix("Payload");
            name.is_some_and(|it| head.contains(&it) || it == "Version" || it == "Enabled")
        };
        let entries = self.keys.iter().filter(|(key, _)| !is_head(key));
        entries
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

fn read(inputs: &[Input], findings: &mut Findings) -> Vec<Profile> {
    let mut profiles = Vec::new();
    for (position, input) in inputs.iter().enumerate() {
        let place = Place {
            file: Some(input.name.clone()),
            ..Place::default()
        };
        let bytes = match &input.contents {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("the file could not be read: {error}");
                findings.add(
                    rules::NOT_READ,
                    place,
                    message,
                    "Name files that can be read.",
                );
                continue;
            }
        };
        let is_same = |it: &&Input| it.contents.as_ref() == Ok(bytes);
        if let Some(same) = inputs[..position].iter().find(is_same) {
            let message = format!(
                "the file is the same as {}, and is not checked again",
                same.name
            );
            findings.add(rules::FILE_TWICE, place, message, "Name each file once.");
            continue;
        }
        profiles.extend(read_one(&input.name, bytes, place, findings));
    }
    profiles
}

fn read_one(name: &str, bytes: &[u8], place: Place, findings: &mut Findings) -> Option<Profile> {
    const NOT_A_PROFILE: &str = "Export the configuration profile itself, as .mobileconfig.";
    let document = match document::read(bytes) {
        Ok(document) => document,
        Err(error) => {
            let message = error.to_string();
            findings.add(rules::NOT_A_PROFILE, place, message, NOT_A_PROFILE);
            return None;
        }
    };
    let kind = document.value.kind();
    let top = document.value.as_dictionary().cloned();
    let Some(top) = top.filter(|top| top.contains_key("PayloadType")) else {
        let message = format!("the file is {kind} as a property list, without PayloadType");
        findings.add(rules::NOT_A_PROFILE, place, message, NOT_A_PROFILE);
        return None;
    };
    if document.is_signed {
        let message = "the file is signed; the signature was not verified".to_owned();
        let advice = "Verify it on a Mac with security cms -D, if it matters.";
        findings.add(rules::SIGNATURE, place.clone(), message, advice);
    }
    for key in document.keys_twice {
        let message = format!("the key {} stands twice in one dictionary", shown(&key));
        let advice = "Take one of them out: which of the two counts is not defined.";
        findings.add(rules::KEY_TWICE, place.clone(), message, advice);
    }
    Some(Profile {
        file: name.to_owned(),
        top,
    })
}

fn payloads<'a>(profiles: &'a [Profile], findings: &mut Findings) -> Vec<Payload<'a>> {
    let mut payloads = Vec::new();
    for profile in profiles {
        if profile.top.get("IsEncrypted") == Some(&Value::Boolean(true)) {
            let message = "the payloads are encrypted and were not looked at".to_owned();
            let advice = "Check the profile as it was before it was encrypted.";
            findings.add(
                rules::ENCRYPTED,
                profile.place("IsEncrypted"),
                message,
                advice,
            );
            continue;
        }
        let content = profile.top.get("PayloadContent").and_then(Value::as_list);
        for (position, item) in content.unwrap_or_default().iter().enumerate() {
            let Some(keys) = item.as_dictionary() else {
                let message = format!("a payload is {}, not a dictionary", item.kind());
                let key = format!("PayloadContent.{position}");
                let advice = "Take it out or write it as a dictionary.";
                findings.add(rules::KEY_TYPE, profile.place(&key), message, advice);
                continue;
            };
            let text = |key: &str| keys.get(key).and_then(Value::as_text);
            let kind = text("PayloadType").unwrap_or_default();
            let name = text("PayloadIdentifier").map_or(format!("{position}"), shown_plain);
            payloads.push(Payload {
                profile,
                kind,
                keys,
                label: format!("{} {name}", shown_plain(kind)),
            });
        }
    }
    payloads
}

/// What somebody else wrote, fit to be shown in quotes.
fn shown(text: &str) -> String {
    format!("\"{}\"", shown_plain(text))
}

/// What somebody else wrote, fit to be shown: short, and without anything that a terminal obeys.
fn shown_plain(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 120;
    let short: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    let safe = |letter: char| match letter {
        _ if letter.is_control() => '\u{fffd}',
        // They turn the direction of the text around, so that it reads as another.
        '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => letter,
    };
    format!("{}{more}", short.chars().map(safe).collect::<String>())
}

#[cfg(test)]
mod tests;
