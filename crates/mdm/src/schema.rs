//! What Apple's published schema says of the payloads we write, as a table of our own.
//!
//! The facts are those of release "macOS 15.1" of github.com/apple/device-management; a test
//! compares them, key by key, with a checkout of it. What that schema says in prose only is not
//! here but in [`crate::check`], a rule each.

mod payloads;

#[cfg(test)]
mod apple;

pub use payloads::{COMMON, FILTER, NOTIFICATIONS, POLICY, SERVICES, TOP_LEVEL};

use std::fmt;
use std::str::FromStr;

/// A version of macOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

/// What is known of a type of payload, or of a part that all have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadRules {
    /// The type, as `PayloadType` names it; for the two parts that all have, their name in the
    /// schema.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Against what the facts are tested.
    pub source: Source,
    /// On which macOS and how it can be installed.
    pub macos: Terms,
    /// Its own keys.
    pub keys: &'static [Key],
}

/// Against what the facts of a payload type are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Against Apple's file, in every run that has one.
    AppleFile,
    /// Against this table only, where no full checkout of the schema is at hand.
    OwnTable,
}

/// On which macOS and how a payload can be installed; `None` where the schema does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The first that has it.
    pub introduced: Version,
    /// From when on it should not be used.
    pub deprecated: Option<Version>,
    /// From when on it has no effect.
    pub removed: Option<Version>,
    /// Whether a machine can have several.
    pub multiple: Option<bool>,
    /// Whether it can come for the machine.
    pub device_channel: Option<bool>,
    /// Whether it can come for a user.
    pub user_channel: Option<bool>,
    /// Whether only a management that the user approved can install it.
    pub user_approved: Option<bool>,
    /// Whether a person can install it by hand.
    pub manual_install: Option<bool>,
}

/// A key of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As it is written; [`ANY`] where the keys are free.
    pub name: &'static str,
    /// Of what kind its value is.
    pub kind: Kind,
    /// Whether it must be there.
    pub presence: Presence,
    /// On which macOS.
    pub macos: Availability,
    /// From when on it should not be used.
    pub deprecated: Option<Version>,
    /// From when on it has no effect.
    pub removed: Option<Version>,
    /// The only values it can have, if there are such.
    pub allowed: &'static [Literal],
    /// What holds when it is not there.
    pub default: Option<Literal>,
    /// The form of the text, as a regular expression.
    pub format: Option<&'static str>,
    /// The keys in it; of a list the one item.
    pub keys: &'static [Key],
}

/// The name of a key that stands for all keys.
pub const ANY: &str = "ANY";

/// The kind of a value, as the schema tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Kind {
    Text,
    Integer,
    Real,
    Boolean,
    Date,
    Data,
    List,
    Dictionary,
    Any,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not.
    Optional,
    /// The schema does not say, as of items of lists.
    Unsaid,
}

/// On which macOS a key has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// On every one that has the payload.
    AsPayload,
    /// From this one on.
    Since(Version),
    /// On none: the key is for other systems.
    Never,
}

/// A value that the schema names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal {
    /// A text.
    Text(&'static str),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
}

/// The types of payload in the table.
pub const PAYLOADS: &[&PayloadRules] = &[&POLICY, &FILTER, &SERVICES, &NOTIFICATIONS];

/// The rules of a type of payload.
pub fn rules_of(payload_type: &str) -> Option<&'static PayloadRules> {
    PAYLOADS
        .iter()
        .copied()
        .find(|rules| rules.name == payload_type)
}

/// A text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no version of macOS: write it as 13, 14.5 or 15.1.1")]
pub struct NoVersion(String);

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Version, NoVersion> {
        let wrong = || NoVersion(text.chars().take(40).collect());
        let mut parts = text.split('.');
        let mut number = || match parts.next() {
            Some(part) if part.bytes().all(|it| it.is_ascii_digit()) => {
                part.parse().map(Some).map_err(|_| wrong())
            }
            Some(_) => Err(wrong()),
            None => Ok(None),
        };
        let (major, minor, _patch): (Option<u16>, Option<u16>, Option<u16>) =
            (number()?, number()?, number()?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Version {
            major: major.ok_or_else(wrong)?,
            minor: minor.unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Text(text) => f.write_str(text),
            Literal::Integer(number) => number.fmt(f),
            Literal::Boolean(value) => value.fmt(f),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Text => "a text",
            Kind::Integer => "a whole number",
            Kind::Real => "a number",
            Kind::Boolean => "true or false",
            Kind::Date => "a date",
            Kind::Data => "data",
            Kind::List => "a list",
            Kind::Dictionary => "a dictionary",
            Kind::Any => "anything",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        let version = |major, minor| Ok(Version { major, minor });
        assert_eq!("13".parse(), version(13, 0));
        assert_eq!("15.4".parse(), version(15, 4));
        assert_eq!("10.15.7".parse(), version(10, 15));
        for wrong in ["", "x", "15.", ".1", "15.1.2.3", "-1", "+1", "99999999"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_table_is_sound_in_itself() {
        fn look(keys: &[Key], within: &str) {
            for (position, key) in keys.iter().enumerate() {
                let place = format!("{within}.{}", key.name);
                let twice = keys[..position].iter().any(|it| it.name == key.name);
                assert!(!twice, "{place} stands twice");
                let has_keys = matches!(key.kind, Kind::List | Kind::Dictionary);
                assert!(has_keys || key.keys.is_empty(), "{place}");
                assert!(key.kind != Kind::List || key.keys.len() == 1, "{place}");
                let default_is_allowed = key
                    .default
                    .is_none_or(|it| key.allowed.is_empty() || key.allowed.contains(&it));
                assert!(default_is_allowed, "{place}");
                look(key.keys, &place);
            }
        }
        for rules in [&TOP_LEVEL, &COMMON].iter().chain(PAYLOADS) {
            look(rules.keys, rules.name);
        }
    }
}
