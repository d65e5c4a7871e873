//! Who the product is: identifiers that everything installed must agree on.

use std::fmt;
use std::str::FromStr;

/// An Apple developer team: ten capital letters and digits.
///
/// The form is that of Apple's own tools for writing profiles (`^[A-Z0-9]{10}$`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeamId(String);

/// An identifier of a bundle, in reverse domain notation.
///
/// Letters, digits, hyphens and dots, as Apple's "Bundle ID" help says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BundleId(String);

/// What the product is called and who signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of the app that holds the extension.
    pub app: BundleId,
    /// Of the system extension in it.
    pub extension: BundleId,
    /// Who signs both.
    pub team: TeamId,
    /// With what kind of certificate.
    pub signer: Signer,
}

/// The kind of certificate that signs the app and the extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A "Developer ID Application" certificate: for machines in the field.
    DeveloperId,
    /// An "Apple Development" certificate: for the developer's own machines.
    Development {
        /// The common name in the certificate, which the requirement names.
        common_name: String,
    },
}

/// The app's identifier where nobody chose another.
pub const APP: &str = "com.conntrail.agent";

/// The extension's identifier where nobody chose another.
pub const EXTENSION: &str = "com.conntrail.agent.filter";

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a team.
    #[error(
        "\"{0}\" is no Team ID: it has ten capital letters and digits, and stands under Membership \
         in the developer account"
    )]
    Team(String),
    /// Not a bundle identifier.
    #[error(
        "\"{0}\" is no bundle identifier: two or more parts of letters, digits and hyphens with \
         dots between, such as {APP}"
    )]
    Bundle(String),
}

impl FromStr for TeamId {
    type Err = Error;

    fn from_str(text: &str) -> Result<TeamId, Error> {
        let fits = |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit();
        match text.len() == 10 && text.bytes().all(fits) {
            true => Ok(TeamId(text.to_owned())),
            false => Err(Error::Team(text.to_owned())),
        }
    }
}

impl FromStr for BundleId {
    type Err = Error;

    fn from_str(text: &str) -> Result<BundleId, Error> {
        let fits = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(fits);
        match text.contains('.') && text.split('.').all(is_part) {
            true => Ok(BundleId(text.to_owned())),
            false => Err(Error::Bundle(text.to_owned())),
        }
    }
}

impl TeamId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BundleId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TeamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_has_ten_capitals_and_digits() {
        assert!("AB12CD34EF".parse::<TeamId>().is_ok());
        for wrong in ["", "AB12CD34E", "AB12CD34EFG", "ab12cd34ef", "AB12CD34E."] {
            assert_eq!(wrong.parse::<TeamId>(), Err(Error::Team(wrong.to_owned())));
        }
    }

    #[test]
    fn a_bundle_identifier_has_parts() {
        for right in [APP, EXTENSION, "a.b", "com.Some-1.app"] {
            assert_eq!(right.parse::<BundleId>().unwrap().as_str(), right);
        }
        for wrong in ["", "app", "a..b", ".a.b", "a.b.", "a_b.c", "a.b c", "ä.b"] {
            assert!(wrong.parse::<BundleId>().is_err(), "{wrong}");
        }
    }
}
