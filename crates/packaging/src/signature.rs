//! Code signatures, read back.
//!
//! Nothing here knows how a signature is made: everything that it says is computed again from the
//! files, and what does not fit is a [`Finding`]. The formats are those that Apple publishes with
//! the sources of its systems (`cs_blobs.h`, `codedirectory.h`, `requirement.h`).
//!
//! What is not checked, because it needs Apple: whether the certificates go back to Apple's own,
//! whether they were withdrawn, and the signature of a timestamp.

use mdm::requirement::Requirement;
use plist::Dictionary;
use std::io;
use std::path::{Path, PathBuf};

mod bundle;
mod bytes;
pub mod certificate;
pub mod cms;
mod der;
pub mod directory;
mod entitlements;
mod executable;
mod finding;
mod macho;
pub mod package;
pub mod requirement;
mod resources;
mod rsa;
mod superblob;

pub use bundle::BundleSignature;
pub use bytes::{Hash, Malformed};
pub use executable::SliceSignature;
pub use finding::{Finding, Mistake};
pub use macho::Architecture;
pub use resources::{Resources, Seal};

use executable::Surroundings;
use finding::Findings;

/// Why a signature cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that must be there cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// A file is not what it must be.
    #[error("{path}: {why}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: Malformed,
    },
    /// Larger than anything that is made to be installed.
    #[error("{path} is too large, or holds too many files or bundles in bundles")]
    TooMuch {
        /// Which.
        path: PathBuf,
    },
}

/// What a bundle's signature should say.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// What the program is called.
    pub identifier: &'a str,
    /// Who signed it.
    pub team: &'a str,
    /// By which the system recognizes it.
    pub requirement: &'a Requirement,
    /// What it may do.
    pub entitlements: &'a Dictionary,
}

/// The signature of a bundle for macOS, and of the bundles in it. It is not judged.
///
/// # Errors
///
/// What cannot be read.
pub fn read_bundle(path: &Path) -> Result<BundleSignature, Error> {
    bundle::inspect(path).map(|(signature, _)| signature)
}

/// The signature of a bundle for macOS, and of the bundles in it, and all that is wrong with them.
///
/// # Errors
///
/// What cannot be read of the outermost bundle. Of others that is a finding.
pub fn verify_bundle(path: &Path) -> Result<(BundleSignature, Vec<Finding>), Error> {
    bundle::inspect(path)
}

/// The signature of a program that is not the main one of a bundle, and all that is wrong with it.
///
/// # Errors
///
/// What cannot be read.
pub fn verify_program(path: &Path) -> Result<(Vec<SliceSignature>, Vec<Finding>), Error> {
    let name = path.file_name().unwrap_or(path.as_os_str());
    let program = bundle::read(path)?;
    let inspected = executable::inspect(&program, Surroundings::default(), &name.to_string_lossy());
    inspected.map_err(|why| Error::Malformed {
        path: path.to_owned(),
        why,
    })
}

/// Compares one bundle with what it should be. The bundles in it are not looked at.
///
/// The hardened runtime must be on.
pub fn compare(bundle: &BundleSignature, expected: &Expected<'_>) -> Vec<Finding> {
    compare_program(&bundle.slices, &bundle.path, expected)
}

/// Compares the program at a path with what it should be, as [`compare`] does.
pub fn compare_program(
    slices: &[SliceSignature],
    path: &Path,
    expected: &Expected<'_>,
) -> Vec<Finding> {
    let mut all = Vec::new();
    for slice in slices {
        let place = format!("{} ({})", path.display(), slice.architecture);
        let mut findings = Findings::new(place);
        compare_slice(slice, expected, &mut findings);
        all.append(&mut findings.all);
    }
    all
}

fn compare_slice(slice: &SliceSignature, expected: &Expected<'_>, findings: &mut Findings) {
    let found = slice.designated().map(ToString::to_string);
    compare_text(
        "designated requirement",
        found,
        expected.requirement,
        findings,
    );
    for directory in &slice.directories {
        findings.expect(directory.has_runtime(), || Mistake::NoRuntime);
        let identifier = Some(directory.identifier.clone());
        compare_text("identifier", identifier, expected.identifier, findings);
        compare_text("team", directory.team.clone(), expected.team, findings);
    }
    let found = slice.entitlements.clone().unwrap_or_default();
    let keys = found.keys().chain(expected.entitlements.keys());
    let mut different = keys.filter(|key| found.get(key) != expected.entitlements.get(key));
    if let Some(key) = different.next() {
        findings.add(Mistake::Unexpected {
            what: "value of an entitlement",
            found: format!("{key}: {:?}", found.get(key)),
            expected: format!("{:?}", expected.entitlements.get(key)),
        });
    }
}

fn compare_text(
    what: &'static str,
    found: Option<String>,
    expected: impl ToString,
    findings: &mut Findings,
) {
    let (found, expected) = (found.unwrap_or_default(), expected.to_string());
    findings.expect(found == expected, || Mistake::Unexpected {
        what,
        found,
        expected,
    });
}

impl Error {
    fn unreadable(path: &Path, why: io::Error) -> Error {
        Error::Unreadable {
            path: path.to_owned(),
            why,
        }
    }
}
