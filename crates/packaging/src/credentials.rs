//! Certificates and provisioning profiles, and whether they fit each other.
//!
//! Five things must agree before a Mac runs the filter: the app's identifier, the extension's,
//! the team, the certificate that signs both, and a provisioning profile for each. Where they do
//! not, the Mac says "code signature invalid" or kills the program without a word, long after
//! somebody made the package. So everything that can be compared is compared before anything is
//! signed, and all that is wrong is told at once.
//!
//! [`Files`] are what somebody gives; [`Files::read`] reads them into [`Credentials`];
//! [`agreement::check`] says what is wrong with these, each [`agreement::Mismatch`] in a sentence.
//! [`self_signed`] makes files of the same shape that nobody trusts, for tests and trials.
//!
//! What decides most is the [`Variant`]. The entitlement by which the system accepts a content
//! filter has another value with a Developer ID than for development, and only the profile of the
//! same variant allows it (Apple's Developer Technical Support, forum threads 737894 and 795579).
//!
//! | | Developer ID | development |
//! |---|---|---|
//! | runs on | every Mac, once notarized | the Macs listed in the profile |
//! | application certificate | Developer ID Application | Apple Development |
//! | installer certificate | Developer ID Installer | none |
//! | content-filter value | `content-filter-provider-systemextension` | `content-filter-provider` |
//! | profile | `ProvisionsAllDevices` | `ProvisionedDevices` |
//!
//! What is not done here: Apple's signatures on the certificates and profiles are not verified,
//! and revocation is not asked for. The Mac does both. An edited profile is still noticed, since
//! the digest in its signature no longer fits.

use certificate::{Certificate, Key};
use mdm::identity::Signer;
use provisioning::Profile;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub mod agreement;
mod ber;
pub mod certificate;
pub mod provisioning;
pub mod self_signed;

/// For whom a build is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// For machines in the field.
    DeveloperId,
    /// For the developer's own machines.
    Development,
}

/// The files that somebody signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate for programs, its key and its issuers, in any number of files: PEM, or one
    /// certificate in DER.
    pub application: Vec<PathBuf>,
    /// The same for packages; empty where packages are not signed.
    pub installer: Vec<PathBuf>,
    /// The app's `.provisionprofile`.
    pub app_profile: PathBuf,
    /// The extension's.
    pub extension_profile: PathBuf,
}

/// What is in these files.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// Signs programs.
    pub application: Signing,
    /// Signs packages.
    pub installer: Option<Signing>,
    /// The app's profile.
    pub app_profile: Profile,
    /// The extension's profile.
    pub extension_profile: Profile,
}

/// A certificate with what came along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The one that signs.
    pub certificate: Certificate,
    /// Its issuer, the issuer of that and so on, as far as they were given.
    pub issuers: Vec<Certificate>,
    /// The private keys that came along: none where a token or a service keeps it.
    pub keys: Vec<Key>,
}

/// Why files are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Of the file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is no certificate or key.
    #[error("{path} is not to be used: {source}")]
    Certificate {
        /// Of the file.
        path: PathBuf,
        /// What is wrong.
        source: certificate::Error,
    },
    /// A file is no profile.
    #[error("{path} is not to be used: {source}")]
    Profile {
        /// Of the file.
        path: PathBuf,
        /// What is wrong.
        source: provisioning::Error,
    },
    /// The files of one certificate do not make one.
    #[error("{paths}: {source}")]
    Together {
        /// Of the files, with commas between.
        paths: String,
        /// What is wrong.
        source: certificate::Error,
    },
}

/// A text names no variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no variant: there are developer-id and development")]
pub struct UnknownVariant(String);

impl Variant {
    /// Both.
    pub const ALL: [Variant; 2] = [Variant::DeveloperId, Variant::Development];

    /// As it is written in options and paths.
    pub fn name(self) -> &'static str {
        match self {
            Variant::DeveloperId => "developer-id",
            Variant::Development => "development",
        }
    }

    /// The value of `com.apple.developer.networking.networkextension` by which the system accepts
    /// a content filter that is signed so.
    pub fn content_filter_value(self) -> &'static str {
        match self {
            Variant::DeveloperId => "content-filter-provider-systemextension",
            Variant::Development => "content-filter-provider",
        }
    }

    /// The kind of certificate that signs programs.
    pub fn application_kind(self) -> certificate::Kind {
        match self {
            Variant::DeveloperId => certificate::Kind::DeveloperIdApplication,
            Variant::Development => certificate::Kind::AppleDevelopment,
        }
    }

    /// What a designated requirement must say of the certificate that signs programs.
    pub fn signer(self, certificate: &Certificate) -> Signer {
        match self {
            Variant::DeveloperId => Signer::DeveloperId,
            Variant::Development => Signer::Development {
                common_name: certificate.common_name.clone(),
            },
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Variant, UnknownVariant> {
        Variant::ALL
            .into_iter()
            .find(|it| it.name() == text)
            .ok_or_else(|| UnknownVariant(text.to_owned()))
    }
}

impl Files {
    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// Names the file, says what is wrong with it and how to get a better one.
    pub fn read(&self) -> Result<Credentials, Error> {
        Ok(Credentials {
            application: Signing::read(&self.application)?,
            installer: match self.installer.is_empty() {
                true => None,
                false => Some(Signing::read(&self.installer)?),
            },
            app_profile: profile(&self.app_profile)?,
            extension_profile: profile(&self.extension_profile)?,
        })
    }
}

impl Signing {
    /// Reads a certificate, its key and its issuers from any number of files, in any order.
    ///
    /// # Errors
    ///
    /// As [`Files::read`].
    pub fn read(paths: &[PathBuf]) -> Result<Signing, Error> {
        let mut contents = certificate::Contents::default();
        for path in paths {
            let of_file = certificate::read(&bytes(path)?);
            contents.extend(of_file.map_err(|source| Error::Certificate {
                path: path.clone(),
                source,
            })?);
        }
        let chain = contents.chain().map_err(|source| {
            let paths: Vec<_> = paths.iter().map(|it| it.display().to_string()).collect();
            Error::Together {
                paths: paths.join(", "),
                source,
            }
        })?;
        Ok(Signing {
            certificate: chain[0].clone(),
            issuers: chain[1..].iter().map(|&it| it.clone()).collect(),
            keys: contents.keys.clone(),
        })
    }

    /// The certificate and its issuers as PEM, in the order in which the signing tool wants them:
    /// it takes the first that it meets for the one that signs.
    pub fn to_pem(&self) -> String {
        let chain = std::iter::once(&self.certificate).chain(&self.issuers);
        chain.map(Certificate::to_pem).collect()
    }
}

fn profile(path: &Path) -> Result<Profile, Error> {
    Profile::parse(&bytes(path)?).map_err(|source| Error::Profile {
        path: path.to_owned(),
        source,
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_read_as_it_is_written() {
        for variant in Variant::ALL {
            assert_eq!(variant.name().parse(), Ok(variant));
        }
        let wrong = UnknownVariant("release".to_owned());
        assert_eq!("release".parse::<Variant>(), Err(wrong));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let files = Files {
            application: vec!["/nowhere/application.pem".into()],
            installer: vec![],
            app_profile: "/nowhere/app.provisionprofile".into(),
            extension_profile: "/nowhere/extension.provisionprofile".into(),
        };
        let error = files.read().unwrap_err().to_string();
        assert!(
            error.starts_with("/nowhere/application.pem cannot be read: "),
            "{error}"
        );
    }
}
