//! The privacy policy: what of a record is left out, shortened or replaced before it is kept.
//!
//! A text ([`Policy::parse`]) becomes a compiled policy, and an [`Engine`] applies it to one record
//! after the other. Nothing here touches a file, a clock or randomness: the text and the key come
//! from whoever calls, so that the same records under the same policy and key come out the same.
//!
//! The language, with examples: `docs/privacy-policy.md`.
//!
//! Order is the whole of its logic: rules are read from the top, and for each part of a record the
//! first rule that matches the record and names the part decides. Whether a rule matches depends on
//! the record as it came, never on what another rule made of it.

#![forbid(unsafe_code)]

mod criteria;
mod engine;
mod explain;
mod fields;
mod glob;
mod intervals;
mod matcher;
mod parse;
mod plan;
mod pseudonym;
mod slots;
mod treat;

pub use engine::{Decision, Engine, Shown};
pub use explain::{Explanation, Part, Verdict, explain};
pub use fields::{describe, shown};
pub use parse::Problem;
pub use pseudonym::{KEY_BYTES, PseudonymKey};

use criteria::Criteria;
use fields::FieldSet;
use matcher::Matcher;
use record::PolicyField;
use sha2::{Digest, Sha256};

/// Rules of a policy at most. A list within a rule may be of any length.
pub const RULES_MAX: usize = 128;

/// Bytes of a policy's text at most.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A policy that is right, ready to be applied.
#[derive(Debug)]
pub struct Policy {
    hash: Option<[u8; 32]>,
    rules: Vec<Rule>,
    rotate_s: u64,
    matcher: Matcher,
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    /// From 1.
    pub(crate) line: usize,
    pub(crate) action: Action,
    /// As they are named, with what they contain.
    pub(crate) fields: FieldSet,
    pub(crate) criteria: Criteria,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Drop,
    Truncate(Truncation),
    Pseudonymise,
    Keep,
}

/// How much a truncation leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncation {
    pub(crate) ipv4_bits: u8,
    pub(crate) ipv6_bits: u8,
    pub(crate) labels: u8,
}

impl Policy {
    /// Reads a policy. A text with any mistake is no policy at all.
    ///
    /// # Errors
    /// All mistakes, in the order of the text, twenty at most; each says where it is, what is wrong
    /// and what would be right.
    pub fn parse(text: &str) -> Result<Policy, Vec<Problem>> {
        let parsed = parse::parse(text)?;
        Ok(Policy {
            hash: Some(Sha256::digest(text.as_bytes()).into()),
            matcher: Matcher::new(&parsed.rules),
            rules: parsed.rules,
            rotate_s: parsed.rotate_s,
        })
    }

    /// Leaves out every part that a rule could name, and drops no record. It is in force where a
    /// policy should be and none that is right is known.
    pub fn strict() -> Policy {
        let parts = FieldSet::ALL.without(FieldSet::of(PolicyField::Record));
        let rules = vec![Rule {
            name: "strict, as no right policy is known".to_owned(),
            line: 0,
            action: Action::Drop,
            fields: parts,
            criteria: Criteria::default(),
        }];
        Policy {
            hash: None,
            matcher: Matcher::new(&rules),
            rules,
            rotate_s: parse::ROTATE_S_DEFAULT,
        }
    }

    /// SHA-256 of the text; `None` for [`Policy::strict`].
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.hash
    }

    /// Names of the rules, the first is rule 1.
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// The line a rule begins at, counted from 1; `None` where no rule of this number stands in a
    /// text.
    pub fn rule_line(&self, rule: u8) -> Option<usize> {
        let index = usize::from(rule).checked_sub(1)?;
        self.rules
            .get(index)
            .map(|rule| rule.line)
            .filter(|it| *it > 0)
    }

    /// Some rule makes pseudonyms, for which a key is needed.
    pub fn makes_pseudonyms(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.action == Action::Pseudonymise)
    }

    /// Seconds after which another key takes the place of the one before.
    pub fn rotate_s(&self) -> u64 {
        self.rotate_s
    }
}
