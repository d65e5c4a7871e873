//! Designated requirements: the words by which the system recognizes a program of ours, whatever
//! its version.
//!
//! The language is Apple's ("Code Signing Requirement Language", and TN3127 for the requirements
//! that its tools write for each kind of certificate).

mod text;

pub use text::{ParseError, parse};

use crate::identity::{BundleId, Signer, TeamId};
use std::fmt;

/// All of its clauses must hold, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// One after the other.
    pub clauses: Vec<Clause>,
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// The signature names this identifier.
    Identifier(String),
    /// The certificates go back to Apple.
    AnchorAppleGeneric,
    /// A certificate has this extension.
    Extension {
        /// Which certificate.
        certificate: Certificate,
        /// The extension, as numbers with dots between.
        oid: String,
    },
    /// A certificate has this in its subject.
    Subject {
        /// Which certificate.
        certificate: Certificate,
        /// `OU` or `CN`.
        field: String,
        /// What must stand there.
        value: String,
    },
}

/// A certificate of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// The one that signed.
    Leaf,
    /// Its issuer.
    Issuer,
}

/// In the certificate authority that issues Developer IDs.
pub const DEVELOPER_ID_AUTHORITY: &str = "1.2.840.113635.100.6.2.6";
/// In a certificate "Developer ID Application".
pub const DEVELOPER_ID_APPLICATION: &str = "1.2.840.113635.100.6.1.13";
/// In a certificate "Developer ID Installer".
pub const DEVELOPER_ID_INSTALLER: &str = "1.2.840.113635.100.6.1.14";
/// In the certificate authority "Apple Worldwide Developer Relations".
pub const DEVELOPER_RELATIONS_AUTHORITY: &str = "1.2.840.113635.100.6.2.1";

impl Requirement {
    /// What Apple's tools write into a program that is signed so.
    pub fn designated(identifier: &BundleId, team: &TeamId, signer: &Signer) -> Requirement {
        let mut clauses = vec![
            Clause::Identifier(identifier.as_str().to_owned()),
            Clause::AnchorAppleGeneric,
        ];
        let extension = |certificate, oid: &str| Clause::Extension {
            certificate,
            oid: oid.to_owned(),
        };
        let subject = |field: &str, value: &str| Clause::Subject {
            certificate: Certificate::Leaf,
            field: field.to_owned(),
            value: value.to_owned(),
        };
        match signer {
            Signer::DeveloperId => clauses.extend([
                extension(Certificate::Issuer, DEVELOPER_ID_AUTHORITY),
                extension(Certificate::Leaf, DEVELOPER_ID_APPLICATION),
                subject("OU", team.as_str()),
            ]),
            Signer::Development { common_name } => clauses.extend([
                subject("CN", common_name),
                extension(Certificate::Issuer, DEVELOPER_RELATIONS_AUTHORITY),
            ]),
        }
        Requirement { clauses }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, clause) in self.clauses.iter().enumerate() {
            if position > 0 {
                f.write_str(" and ")?;
            }
            clause.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clause::Identifier(identifier) => write!(f, "identifier {}", quoted(identifier)),
            Clause::AnchorAppleGeneric => f.write_str("anchor apple generic"),
            Clause::Extension { certificate, oid } => {
                write!(f, "certificate {certificate}[field.{oid}] /* exists */")
            }
            Clause::Subject {
                certificate,
                field,
                value,
            } => write!(
                f,
                "certificate {certificate}[subject.{field}] = {}",
                quoted(value)
            ),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Certificate::Leaf => "leaf",
            Certificate::Issuer => "1",
        })
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn designated(signer: &Signer) -> String {
        let identifier = "org.example.filter".parse().unwrap();
        let team = "AB12CD34EF".parse().unwrap();
        Requirement::designated(&identifier, &team, signer).to_string()
    }

    #[test]
    fn a_developer_id_is_recognized_by_its_team() {
        assert_eq!(
            designated(&Signer::DeveloperId),
            "identifier \"org.example.filter\" and anchor apple generic \
             and certificate 1[field.1.2.840.113635.100.6.2.6] /* exists */ \
             and certificate leaf[field.1.2.840.113635.100.6.1.13] /* exists */ \
             and certificate leaf[subject.OU] = \"AB12CD34EF\""
        );
    }

    #[test]
    fn a_development_certificate_is_recognized_by_its_name() {
        let signer = Signer::Development {
            common_name: "Apple Development: \"A\" (X)".to_owned(),
        };
        assert_eq!(
            designated(&signer),
            "identifier \"org.example.filter\" and anchor apple generic \
             and certificate leaf[subject.CN] = \"Apple Development: \\\"A\\\" (X)\" \
             and certificate 1[field.1.2.840.113635.100.6.2.1] /* exists */"
        );
    }
}
