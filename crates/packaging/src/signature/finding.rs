//! What can be wrong with a signature.

use super::bytes::{Hash, Malformed};
use super::macho::Architecture;
use std::fmt;

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A bundle or program, from the outermost bundle on, with the architecture when it matters.
    pub place: String,
    /// What is wrong.
    pub mistake: Mistake,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.mistake)
    }
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Not what it should be at all.
    #[error("{part} cannot be read: {why}")]
    Unreadable {
        /// Of the signature.
        part: String,
        /// What is wrong with it.
        why: Malformed,
    },
    /// Something follows the signature in its slice, or the slice ends before it.
    #[error("the signature ends at {end}, but the slice at {size}")]
    NotAtEnd {
        /// Of the signature's place, in bytes.
        end: u64,
        /// Of the slice, in bytes.
        size: u64,
    },
    /// The segment for the linker does not end with the signature.
    #[error("the segment __LINKEDIT does not hold the signature and end with it")]
    Linkedit,
    /// There is something between the signature's end and that of its place.
    #[error("something stands behind the signature in its place")]
    Filling,
    /// Two parts share bytes.
    #[error("the parts {one:#x} and {other:#x} of the signature overlap")]
    Overlap {
        /// A slot.
        one: u32,
        /// Another slot.
        other: u32,
    },
    /// A slot is there twice.
    #[error("the signature has two parts {slot:#x}")]
    Twice {
        /// Which slot.
        slot: u32,
    },
    /// A part is not of the kind that its slot asks for.
    #[error("the part {slot:#x} of the signature has the magic number {magic:#x}")]
    Magic {
        /// Which slot.
        slot: u32,
        /// What it begins with.
        magic: u32,
    },
    /// The format is too old for the system's checks of today.
    #[error("the code directory {slot:#x} is of the old version {version:#x}")]
    Version {
        /// Which code directory.
        slot: u32,
        /// Of its format.
        version: u32,
    },
    /// No code directory has SHA-256.
    #[error("no code directory has the digest SHA-256")]
    OldDigests,
    /// Code directories of one signature say different things.
    #[error("the code directories disagree about {what}")]
    DirectoriesDiffer {
        /// About what.
        what: &'static str,
    },
    /// Not everything is signed, or more than there is.
    #[error("{limit} bytes are signed, but the signature begins at {start}")]
    CodeLimit {
        /// What the code directory says.
        limit: u64,
        /// Where the signature begins.
        start: u64,
    },
    /// The number of digests does not fit.
    #[error("the code directory has {found} digests of pages where {expected} belong")]
    PageCount {
        /// In the code directory.
        found: usize,
        /// From the size.
        expected: u64,
    },
    /// A page is not what was signed.
    #[error("page {page} at {offset} is not what was signed ({hash})")]
    Page {
        /// Its number, from 0 on.
        page: usize,
        /// In the slice.
        offset: u64,
        /// Of which kind the digest is.
        hash: Hash,
    },
    /// The place of the code is not that of the segment.
    #[error("the code directory places the code elsewhere than the segment __TEXT")]
    ExecutableSegment,
    /// The system treats such a program as its own part.
    #[error("the code directory says that this is part of the system ({platform})")]
    Platform {
        /// Its number.
        platform: u8,
    },
    /// Something that was signed is not what it was.
    #[error("{part} is not what was signed ({hash})")]
    Changed {
        /// What.
        part: String,
        /// Of which kind the digest is.
        hash: Hash,
    },
    /// Something that was signed is gone.
    #[error("{part} was signed, but is not there")]
    Gone {
        /// What.
        part: String,
    },
    /// Something is there that was not signed.
    #[error("{part} is there, but was not signed")]
    NotSealed {
        /// What.
        part: String,
    },
    /// The signature has no requirement by which the system recognizes the program.
    #[error("the signature has no designated requirement")]
    NoRequirement,
    /// The program does not meet its own requirement.
    #[error("the program does not meet its own requirement: {clause}")]
    RequirementNotMet {
        /// What is not met.
        clause: String,
    },
    /// One encoding of the entitlements is missing.
    #[error("the entitlements are there in one encoding only")]
    OneEncoding,
    /// Both encodings of the entitlements are there and differ.
    #[error("the two encodings of the entitlements differ at {key}")]
    EncodingsDiffer {
        /// The first key that differs.
        key: String,
    },
    /// Nobody signed, though the code directory does not say so, or the other way round.
    #[error("the flag for signatures of nobody is {flag}, which does not fit the signer's message")]
    Adhoc {
        /// Whether the flag is set.
        flag: bool,
    },
    /// The signer signed another code directory.
    #[error("the signer signed another code directory")]
    MessageDigest,
    /// Apple's list of code directories in the signed message names others.
    #[error("the signed list of code directories ({list}) does not name those that are there")]
    DirectoryList {
        /// Which of Apple's two lists.
        list: &'static str,
    },
    /// The signer's key does not fit the signature.
    #[error("the signature is not that of the certificate \"{certificate}\"")]
    Signature {
        /// Who signed, as it seems.
        certificate: String,
    },
    /// The signature's algorithm is none that this reader knows.
    #[error("the signature of \"{certificate}\" has an algorithm that cannot be checked here")]
    Algorithm {
        /// Who signed, as it seems.
        certificate: String,
    },
    /// A certificate is not signed by the one that its issuer has.
    #[error("the certificate \"{certificate}\" is not signed by its issuer")]
    Chain {
        /// Which.
        certificate: String,
    },
    /// The chain does not end in a root.
    #[error("the issuer of the certificate \"{certificate}\" is not there")]
    NoRoot {
        /// The last that is there.
        certificate: String,
    },
    /// The certificate was not valid when it signed.
    #[error("signed at {time}, when the certificate \"{certificate}\" was not valid")]
    Expired {
        /// Which.
        certificate: String,
        /// When.
        time: String,
    },
    /// The certificate is another team's.
    #[error("the team in the code directory is {team}, in the certificate {unit}")]
    Team {
        /// In the code directory.
        team: String,
        /// In the certificate.
        unit: String,
    },
    /// Slices of one program say different things.
    #[error("the slice for {architecture} differs from the first one in its {what}")]
    SlicesDiffer {
        /// Which slice.
        architecture: Architecture,
        /// In what.
        what: &'static str,
    },
    /// The Info.plist has another identifier than the signature.
    #[error("the signature is for \"{signed}\", the Info.plist says \"{info}\"")]
    Identifier {
        /// In the code directory.
        signed: String,
        /// In the Info.plist.
        info: String,
    },
    /// A file that nothing vouches for.
    #[error("{path} is not among the sealed resources")]
    ResourceAdded {
        /// From the bundle's Contents folder on.
        path: String,
    },
    /// A file is gone.
    #[error("{path} is among the sealed resources, but not there")]
    ResourceGone {
        /// From the bundle's Contents folder on.
        path: String,
    },
    /// A file is not what it was.
    #[error("{path} is not what was sealed ({hash})")]
    ResourceChanged {
        /// From the bundle's Contents folder on.
        path: String,
        /// Of which kind the digest is.
        hash: Hash,
    },
    /// A file is sealed without a digest that counts.
    #[error("{path} is sealed without the digest SHA-256")]
    ResourceWithoutDigest {
        /// From the bundle's Contents folder on.
        path: String,
    },
    /// A link points elsewhere.
    #[error("the link {path} does not point to where it was sealed")]
    Link {
        /// From the bundle's Contents folder on.
        path: String,
    },
    /// A rule leaves out files that may not be left out.
    #[error("the rule {rule} leaves out files that the system wants sealed")]
    Omission {
        /// The rule's pattern.
        rule: String,
    },
    /// Code in the bundle is not what was sealed.
    #[error("{path} is not the code that was sealed")]
    NestedChanged {
        /// From the bundle's Contents folder on.
        path: String,
    },
    /// Code in the bundle has another requirement than was sealed.
    #[error("{path} has another requirement than was sealed")]
    NestedRequirement {
        /// From the bundle's Contents folder on.
        path: String,
    },
    /// Nobody signed the package.
    #[error("nobody signed it")]
    Unsigned,
    /// A package has two signatures of different signers.
    #[error("the two signatures are of different certificates")]
    Signers,
    /// Not what was asked for.
    #[error("the {what} is {found}, not {expected}")]
    Unexpected {
        /// What.
        what: &'static str,
        /// As it is.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// The hardened runtime is off.
    #[error("the hardened runtime is off")]
    NoRuntime,
}

/// Where mistakes are written down.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    place: String,
    pub(crate) all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn new(place: impl Into<String>) -> Findings {
        Findings {
            place: place.into(),
            all: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, mistake: Mistake) {
        let place = self.place.clone();
        self.all.push(Finding { place, mistake });
    }

    /// Adds the mistake unless this holds.
    pub(crate) fn expect(&mut self, holds: bool, mistake: impl FnOnce() -> Mistake) {
        if !holds {
            self.add(mistake());
        }
    }

    /// The value, or the mistake that it cannot be read.
    pub(crate) fn readable<T>(&mut self, part: &str, value: Result<T, Malformed>) -> Option<T> {
        let part = part.to_owned();
        value
            .map_err(|why| self.add(Mistake::Unreadable { part, why }))
            .ok()
    }
}
