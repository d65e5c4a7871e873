//! Requirements as they stand in a signature, and the words that they mean.
//!
//! The codes are those of `requirement.h` in Apple's Security, the words those of Apple's "Code
//! Signing Requirement Language".

use super::bytes::{Malformed, be32, hex, part};
use super::der;
use mdm::requirement::{Certificate, Clause, Requirement};
use std::fmt;

mod reader;

/// One requirement of those in a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Internal {
    /// What it is for: 1 host, 2 guest, 3 designated, 4 library, 5 plug-in.
    pub kind: u32,
    /// What must hold.
    pub expression: Expression,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Never.
    Never,
    /// Always.
    Always,
    /// The signature names this identifier.
    Identifier(String),
    /// Apple itself signed.
    AppleAnchor,
    /// The certificates go back to Apple.
    AppleGenericAnchor,
    /// The certificates go back to an authority with this name, of those that Apple knows.
    NamedAnchor(String),
    /// What the system calls so.
    NamedCode(String),
    /// A certificate has this digest.
    CertificateHash {
        /// Which certificate.
        certificate: Position,
        /// SHA-1 of all of it.
        hash: Vec<u8>,
    },
    /// The system's user trusts a certificate.
    Trusted(Position),
    /// The system's user trusts some certificate of the chain.
    SomeTrusted,
    /// A code directory has this digest.
    CodeDirectoryHash(Vec<u8>),
    /// Of the Info.plist.
    Info {
        /// Which value.
        key: String,
        /// What must hold of it.
        test: Test,
    },
    /// Of the entitlements.
    Entitlement {
        /// Which value.
        key: String,
        /// What must hold of it.
        test: Test,
    },
    /// Of a certificate.
    Certificate {
        /// Which certificate.
        certificate: Position,
        /// Which part of it, such as `subject.OU` or `field.1.2.840.113635.100.6.1.13`.
        field: String,
        /// What must hold of it.
        test: Test,
    },
    /// The program is part of a system with this number.
    Platform(u32),
    /// Apple notarized it.
    Notarized,
    /// An old kind of Developer ID.
    LegacyDeveloperId,
    /// Both.
    And(Box<Expression>, Box<Expression>),
    /// At least one.
    Or(Box<Expression>, Box<Expression>),
    /// Not that.
    Not(Box<Expression>),
    /// Something that this reader does not know, but that says how long it is.
    Unknown(u32),
}

/// A certificate's place in the chain: 0 signed, 1 issued that, -1 is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(pub i32);

/// What must hold of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It compares so with this.
    Compares(Comparison, Vec<u8>),
    /// It is a time that compares so with this one, in seconds since 2001.
    Time(Comparison, i64),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same.
    Equal,
    /// The second is somewhere in the first.
    Contains,
    /// The first begins with the second.
    BeginsWith,
    /// The first ends with the second.
    EndsWith,
    /// The first is smaller, or earlier.
    Less,
    /// The first is larger, or later.
    Greater,
    /// The first is not larger, or not later.
    LessOrEqual,
    /// The first is not smaller, or not earlier.
    GreaterOrEqual,
}

const SET: u32 = 0xfade_0c01;
const REQUIREMENT: u32 = 0xfade_0c00;
const EXPRESSION_FORM: u32 = 1;
const DESIGNATED: u32 = 3;
/// More kinds of requirements than there are.
const KINDS_MAX: u32 = 16;

/// The requirements of a signature (its blob of magic number 0xfade0c01).
///
/// # Errors
///
/// What is wrong with the blob.
pub fn read_set(blob: &[u8]) -> Result<Vec<Internal>, Malformed> {
    if be32(blob, 0, "the requirements")? != SET {
        return Err(Malformed::new("not a set of requirements"));
    }
    let size = be32(blob, 4, "the size of the requirements")?;
    let blob = part(blob, 0, size.into(), "the requirements")?;
    let count = be32(blob, 8, "the number of requirements")?;
    if count > KINDS_MAX {
        return Err(Malformed(format!("a set of {count} requirements")));
    }
    let entries = (0..u64::from(count)).map(|index| 12 + index * 8);
    let one = |entry| {
        let offset = be32(blob, entry + 4, "the place of a requirement")?;
        let rest = blob.get(offset as usize..);
        let rest = rest.ok_or_else(|| Malformed::new("a requirement lies outside of its set"))?;
        Ok(Internal {
            kind: be32(blob, entry, "the kind of a requirement")?,
            expression: read(rest)?,
        })
    };
    entries.map(one).collect()
}

/// A requirement (a blob of magic number 0xfade0c00, which is also what a file of a compiled
/// requirement holds).
///
/// # Errors
///
/// What is wrong with the blob.
pub fn read(blob: &[u8]) -> Result<Expression, Malformed> {
    if be32(blob, 0, "a requirement")? != REQUIREMENT {
        return Err(Malformed::new("not a requirement"));
    }
    let size = be32(blob, 4, "the size of a requirement")?;
    let blob = part(blob, 0, size.into(), "a requirement")?;
    let form = be32(blob, 8, "the form of a requirement")?;
    if form != EXPRESSION_FORM {
        return Err(Malformed(format!(
            "a requirement of the unknown form {form}"
        )));
    }
    reader::read(&blob[12..])
}

/// By which the system recognizes the program.
pub fn designated(requirements: &[Internal]) -> Option<&Expression> {
    let mut all = requirements.iter();
    let found = all.find(|requirement| requirement.kind == DESIGNATED);
    found.map(|requirement| &requirement.expression)
}

/// Whether two requirements have the same words, apart from quotes, parentheses and comments.
pub fn is_same_text(one: &str, other: &str) -> bool {
    words(one) == words(other)
}

impl Expression {
    /// In the words of the project, when it uses nothing beyond them.
    pub fn known(&self) -> Option<Requirement> {
        let clauses = self.conjunction().into_iter().map(clause);
        let clauses = clauses.collect::<Option<_>>()?;
        Some(Requirement { clauses })
    }

    /// All that must hold, in order.
    pub fn conjunction(&self) -> Vec<&Expression> {
        let mut open = vec![self];
        let mut clauses = Vec::new();
        while let Some(next) = open.pop() {
            if let Expression::And(one, other) = next {
                open.extend([other.as_ref(), one.as_ref()]);
            } else {
                clauses.push(next);
            }
        }
        clauses
    }
}

fn clause(expression: &Expression) -> Option<Clause> {
    match expression {
        Expression::Identifier(identifier) => Some(Clause::Identifier(identifier.clone())),
        Expression::AppleGenericAnchor => Some(Clause::AnchorAppleGeneric),
        Expression::Certificate {
            certificate,
            field,
            test,
        } => certificate_clause(*certificate, field, test),
        Expression::Never
        | Expression::Always
        | Expression::AppleAnchor
        | Expression::NamedAnchor(_)
        | Expression::NamedCode(_)
        | Expression::CertificateHash { .. }
        | Expression::Trusted(_)
        | Expression::SomeTrusted
        | Expression::CodeDirectoryHash(_)
        | Expression::Info { .. }
        | Expression::Entitlement { .. }
        | Expression::Platform(_)
        | Expression::Notarized
        | Expression::LegacyDeveloperId
        | Expression::And(..)
        | Expression::Or(..)
        | Expression::Not(_)
        | Expression::Unknown(_) => None,
    }
}

fn certificate_clause(position: Position, field: &str, test: &Test) -> Option<Clause> {
    let certificate = match position.0 {
        0 => Certificate::Leaf,
        1 => Certificate::Issuer,
        _ => return None,
    };
    match (test, field.split_once('.')?) {
        (Test::Exists, ("field", oid)) => Some(Clause::Extension {
            certificate,
            oid: oid.to_owned(),
        }),
        (Test::Compares(Comparison::Equal, value), ("subject", field)) => Some(Clause::Subject {
            certificate,
            field: field.to_owned(),
            value: String::from_utf8(value.clone()).ok()?,
        }),
        (Test::Exists | Test::Absent | Test::Compares(..) | Test::Time(..), _) => None,
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Never => f.write_str("never"),
            Expression::Always => f.write_str("always"),
            Expression::Identifier(identifier) => write!(f, "identifier {}", quoted(identifier)),
            Expression::AppleAnchor => f.write_str("anchor apple"),
            Expression::AppleGenericAnchor => f.write_str("anchor apple generic"),
            Expression::NamedAnchor(name) => write!(f, "anchor apple {}", quoted(name)),
            Expression::NamedCode(name) => write!(f, "({})", quoted(name)),
            Expression::CertificateHash { certificate, hash } => {
                write!(f, "certificate {certificate} = H\"{}\"", hex(hash))
            }
            Expression::Trusted(certificate) => write!(f, "certificate {certificate} trusted"),
            Expression::SomeTrusted => f.write_str("anchor trusted"),
            Expression::CodeDirectoryHash(hash) => write!(f, "cdhash H\"{}\"", hex(hash)),
            Expression::Info { key, test } => write!(f, "info[{key}]{test}"),
            Expression::Entitlement { key, test } => {
                write!(f, "entitlement[{}]{test}", quoted(key))
            }
            Expression::Certificate {
                certificate,
                field,
                test,
            } => write!(f, "certificate {certificate}[{field}]{test}"),
            Expression::Platform(number) => write!(f, "platform = {number}"),
            Expression::Notarized => f.write_str("notarized"),
            Expression::LegacyDeveloperId => f.write_str("legacy"),
            Expression::And(one, other) => {
                write!(f, "{} and {}", Inner(one, 1), Inner(other, 1))
            }
            Expression::Or(one, other) => write!(f, "{one} or {other}"),
            Expression::Not(inner) => write!(f, "! {}", Inner(inner, 2)),
            Expression::Unknown(code) => write!(f, "/* unknown code {code:#x} */"),
        }
    }
}

/// In parentheses when it binds less than what it stands in.
struct Inner<'a>(&'a Expression, u8);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner(expression, level) = self;
        let binds_less = matches!(expression, Expression::Or(..))
            || matches!(expression, Expression::And(..)) && *level > 1;
        match binds_less {
            true => write!(f, "({expression})"),
            false => write!(f, "{expression}"),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("leaf"),
            -1 => f.write_str("root"),
            position => write!(f, "{position}"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (comparison, value) = match self {
            Test::Exists => return f.write_str(" /* exists */"),
            Test::Absent => return f.write_str(" absent"),
            Test::Time(comparison, seconds) => (comparison, format!("timestamp {seconds}")),
            Test::Compares(comparison, value) => match std::str::from_utf8(value) {
                Ok(text) => (comparison, quoted(text)),
                Err(_) => (comparison, format!("0x{}", hex(value))),
            },
        };
        match comparison {
            Comparison::Equal => write!(f, " = {value}"),
            Comparison::Contains => write!(f, " ~ {value}"),
            Comparison::BeginsWith => write!(f, " = {value}*"),
            Comparison::EndsWith => write!(f, " = *{value}"),
            Comparison::Less => write!(f, " < {value}"),
            Comparison::Greater => write!(f, " > {value}"),
            Comparison::LessOrEqual => write!(f, " <= {value}"),
            Comparison::GreaterOrEqual => write!(f, " >= {value}"),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        rest = match first {
            '(' | ')' => after,
            '"' => quoted_word(after, &mut words),
            '/' if after.starts_with('*') => after.split_once("*/").map_or("", |(_, end)| end),
            '=' | '[' | ']' | '!' => {
                words.push(first.to_string());
                after
            }
            _ => {
                let is_end = |it: char| it.is_whitespace() || "()\"=[]!".contains(it);
                let end = rest.find(is_end).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                &rest[end..]
            }
        }
        .trim_start();
    }
    words
}

fn quoted_word<'a>(text: &'a str, words: &mut Vec<String>) -> &'a str {
    let mut word = String::new();
    let mut letters = text.char_indices();
    while let Some((position, letter)) = letters.next() {
        match letter {
            '"' => {
                words.push(word);
                return &text[position + 1..];
            }
            '\\' => word.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    ""
}

/// `field.` and the name of an extension.
fn extension_field(oid: &[u8]) -> Result<String, Malformed> {
    Ok(format!("field.{}", der::oid(oid)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(name: &str) -> Box<Expression> {
        Box::new(Expression::Identifier(name.to_owned()))
    }

    #[test]
    fn parentheses_stand_where_they_are_needed() {
        let or = Expression::Or(identifier("a"), identifier("b"));
        let and = Expression::And(Box::new(or.clone()), identifier("c"));
        let text = "(identifier \"a\" or identifier \"b\") and identifier \"c\"";
        assert_eq!(and.to_string(), text);
        let not = Expression::Not(Box::new(Expression::And(identifier("a"), Box::new(or))));
        let text = "! (identifier \"a\" and (identifier \"a\" or identifier \"b\"))";
        assert_eq!(not.to_string(), text);
    }

    #[test]
    fn quotes_and_comments_do_not_make_another_requirement() {
        let one = "(identifier \"a.b\") and (certificate leaf[subject.OU] = \"X\")";
        let other = "identifier a.b and certificate leaf[subject.OU]=X /* exists */";
        assert!(is_same_text(one, other));
        assert!(!is_same_text(
            one,
            "identifier a.c and certificate leaf[subject.OU]=X"
        ));
        assert!(!is_same_text("identifier \"a b\"", "identifier a b"));
    }

    #[test]
    fn a_set_with_places_outside_is_refused() {
        let mut blob = Vec::new();
        for number in [SET, 20, 1, DESIGNATED, 4000] {
            blob.extend(number.to_be_bytes());
        }
        assert!(read_set(&blob).is_err());
        blob[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(read_set(&blob).is_err());
    }
}
