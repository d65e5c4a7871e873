//! Signed heads: that a device's key was there when the chain was as it is.
//!
//! Whoever can write the files can make the whole chain anew, but cannot sign its heads without the
//! key. Signatures lie beside the segments and not in them, in a file for each segment: they come
//! later than what they sign, may be missing, and go with the segment.

use crate::chain::{Head, from_hex};
use crate::disk::{Disk, DiskFile};
use crate::error::{Context, TrailError};
use crate::format::SegmentName;
use ed25519_dalek::{Signer, VerifyingKey};
use record::{EndpointId, Wall};
use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The folder of the signatures in a state directory.
pub fn signatures_dir(state: &Path) -> PathBuf {
    state.join(FOLDER)
}

/// The folder of the signatures that belong to a folder of segments.
pub(crate) fn beside(segments: &Path) -> PathBuf {
    segments.parent().unwrap_or(segments).join(FOLDER)
}

/// A device's secret key (Ed25519, RFC 8032). It is wiped from memory when it is dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that is made of 32 bytes, which nobody may be able to guess.
    pub fn from_seed(seed: [u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The text of a key file, which must be kept from everybody's eyes.
    pub fn to_text(&self) -> String {
        format!("{SECRET_WORD} {}\n", Hex(&self.0.to_bytes()))
    }

    /// What others check the signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, endpoint: EndpointId, head: Head, at: Wall) -> SignedHead {
        let mut signed = SignedHead {
            endpoint,
            head,
            at,
            key: self.public(),
            signature: [0; 64],
        };
        signed.signature = self.0.sign(&signed.message()).to_bytes();
        signed
    }
}

/// Says nothing of the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.public())
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<SigningKey, KeyError> {
        let seed = key_bytes(text, SECRET_WORD).ok_or(KeyError::NotSecret)?;
        Ok(SigningKey::from_seed(seed))
    }
}

/// A device's public key, written in 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The text of a file of a public key.
    pub fn to_text(&self) -> String {
        format!("{PUBLIC_WORD} {self}\n")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        if key_bytes(text, SECRET_WORD).is_some() {
            return Err(KeyError::SecretForPublic);
        }
        let bytes = key_bytes(text, PUBLIC_WORD).ok_or(KeyError::NotPublic)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::NotPublic)?;
        if key.is_weak() {
            return Err(KeyError::NotPublic);
        }
        Ok(PublicKey(bytes))
    }
}

/// A text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing can be signed with it.
    #[error("it holds no signing key, as `conntrail key new` makes it")]
    NotSecret,
    /// No signature can be checked with it.
    #[error("it holds no public key, as `conntrail key public` writes it")]
    NotPublic,
    /// It is the secret one, which does not belong where signatures are checked.
    #[error(
        "it holds the secret signing key; only the recorder should have that: give the public key, \
         which `conntrail key public` writes"
    )]
    SecretForPublic,
}

/// A head, and who said when that it was the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignedHead {
    pub(crate) endpoint: EndpointId,
    pub(crate) head: Head,
    pub(crate) at: Wall,
    pub(crate) key: PublicKey,
    signature: [u8; 64],
}

impl SignedHead {
    /// Whether the key that is named made the signature.
    pub(crate) fn is_genuine(&self) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature);
        VerifyingKey::from_bytes(&self.key.0)
            .is_ok_and(|key| key.verify_strict(&self.message(), &signature).is_ok())
    }

    /// Whether it can be about this segment of this machine.
    pub(crate) fn belongs_to(&self, name: SegmentName) -> bool {
        self.head.epoch == name.epoch && self.head.sequence >= name.first_sequence
    }

    fn message(&self) -> [u8; MESSAGE_BYTES] {
        let mut bytes = [0; MESSAGE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.endpoint.0);
        bytes[24..32].copy_from_slice(&self.head.epoch.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.head.sequence.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.head.hash);
        bytes[72..80].copy_from_slice(&self.at.0.to_le_bytes());
        bytes[80..].copy_from_slice(&self.key.0);
        bytes
    }

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..MESSAGE_BYTES].copy_from_slice(&self.message());
        bytes[MESSAGE_BYTES..CHECKED_BYTES].copy_from_slice(&self.signature);
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<SignedHead> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]).to_le_bytes();
        if bytes[..8] != MAGIC || bytes[CHECKED_BYTES..] != checksum {
            return None;
        }
        let number = |at: usize| -> Option<[u8; 8]> { bytes[at..at + 8].try_into().ok() };
        Some(SignedHead {
            endpoint: EndpointId(bytes[8..24].try_into().ok()?),
            head: Head {
                epoch: u64::from_le_bytes(number(24)?),
                sequence: u64::from_le_bytes(number(32)?),
                hash: bytes[40..72].try_into().ok()?,
            },
            at: Wall(i64::from_le_bytes(number(72)?)),
            key: PublicKey(bytes[80..MESSAGE_BYTES].try_into().ok()?),
            signature: bytes[MESSAGE_BYTES..CHECKED_BYTES].try_into().ok()?,
        })
    }
}

/// What stands in one file of signatures.
#[derive(Debug, Default)]
pub(crate) struct SignatureFile {
    pub(crate) heads: Vec<SignedHead>,
    /// Entries that are not as they were written, or were written in part.
    pub(crate) damaged: u64,
}

impl SignatureFile {
    /// What is there for a segment; a file that is missing or cannot be read has nothing.
    pub(crate) fn read<D: Disk>(disk: &D, dir: &Path, name: SegmentName) -> SignatureFile {
        let mut bytes = vec![0; ENTRIES_MAX as usize * ENTRY_BYTES];
        let count = disk
            .open(&dir.join(file_name(name)))
            .and_then(|file| file.read_at(&mut bytes, 0))
            .unwrap_or(0);
        let mut found = SignatureFile::default();
        for entry in bytes[..count].chunks(ENTRY_BYTES) {
            match SignedHead::parse(entry) {
                Some(head) => found.heads.push(head),
                None => found.damaged += 1,
            }
        }
        found
    }

    /// The segments that have such a file, as many as anybody should have.
    pub(crate) fn names<D: Disk>(disk: &D, dir: &Path) -> Vec<SegmentName> {
        let entries = disk.list(dir).unwrap_or_default();
        let files = entries.iter().filter(|entry| entry.is_file);
        let stems = files.filter_map(|entry| entry.name.strip_suffix(SUFFIX));
        let names = stems.filter_map(|stem| SegmentName::parse(&format!("{stem}.trail")));
        names.take(FILES_MAX).collect()
    }
}

/// The signatures of a trail that is being written.
pub(crate) struct Signatures<F> {
    dir: PathBuf,
    /// The last heads of segments that were ended since anything was signed.
    sealed: VecDeque<(SegmentName, Head)>,
    open: Option<OpenFile<F>>,
    /// The last sequence that was signed.
    signed: u64,
}

struct OpenFile<F> {
    name: SegmentName,
    file: F,
    entries: u64,
}

impl<F: DiskFile> Signatures<F> {
    pub(crate) fn new(state: &Path) -> Signatures<F> {
        Signatures {
            dir: signatures_dir(state),
            sealed: VecDeque::new(),
            open: None,
            signed: 0,
        }
    }

    /// A segment was ended; its last head should be signed too, because what is signed later
    /// covers it only while nothing in between is damaged.
    pub(crate) fn sealed(&mut self, name: SegmentName, head: Head) {
        self.sealed.push_back((name, head));
        if self.sealed.len() > SEALED_MAX {
            self.sealed.pop_front();
        }
    }

    /// Whether `head` was signed, and all that was sealed.
    pub(crate) fn is_done(&self, head: Option<Head>) -> bool {
        self.sealed.is_empty() && head.is_none_or(|head| head.sequence <= self.signed)
    }

    /// Signs what was sealed, and the head of the segment that is written, at most
    /// [`SIGNED_AT_ONCE`] together. What was not signed is left for the next call.
    pub(crate) fn sign<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        current: Option<(SegmentName, Head)>,
        sign: impl Fn(Head) -> SignedHead,
    ) -> Result<(), TrailError> {
        for _ in 0..SIGNED_AT_ONCE {
            let Some((name, head)) = self.sealed.front().copied().or(current) else {
                return Ok(());
            };
            if head.sequence > self.signed {
                self.append(disk, name, sign(head))?;
                self.signed = head.sequence;
            }
            if self.sealed.pop_front().is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Forgets a segment that is deleted. The signatures go first: those that are left without
    /// their segment show that somebody else took it away.
    pub(crate) fn delete<D: Disk<File = F>>(&mut self, disk: &D, name: SegmentName) {
        self.sealed.retain(|(sealed, _)| *sealed != name);
        self.open.take_if(|open| open.name == name);
        // Where there was none there is nothing to do, and nothing depends on it otherwise.
        let _ = disk.remove(&self.dir.join(file_name(name)));
    }

    fn append<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        name: SegmentName,
        signed: SignedHead,
    ) -> Result<(), TrailError> {
        let path = self.dir.join(file_name(name));
        // A file that failed may be half written, and one that somebody deleted is no use.
        let open = self.open.take().filter(|open| open.name == name);
        let there = open.filter(|open| disk.leads_to(&path, &open.file).unwrap_or(false));
        let mut open = match there {
            Some(open) => open,
            None => self.create(disk, name, &path)?,
        };
        let offset = slot(open.entries) * ENTRY_BYTES as u64;
        let written = open.file.write_at(&signed.to_bytes(), offset);
        written.context("write", &path)?;
        open.file.sync().context("sync", &path)?;
        if open.entries == 0 {
            disk.sync_dir(&self.dir).context("sync", &self.dir)?;
        }
        open.entries += 1;
        self.open = Some(open);
        Ok(())
    }

    /// Makes the file of a segment, or goes on with it where an attempt before failed.
    fn create<D: Disk<File = F>>(
        &self,
        disk: &D,
        name: SegmentName,
        path: &Path,
    ) -> Result<OpenFile<F>, TrailError> {
        disk.create_dir(&self.dir).context("create", &self.dir)?;
        let kept = SignatureFile::read(disk, &self.dir, name);
        let file = disk.create(path).context("create", path)?;
        for (entry, head) in (0..).zip(&kept.heads) {
            let offset = entry * ENTRY_BYTES as u64;
            file.write_at(&head.to_bytes(), offset)
                .context("write", path)?;
        }
        let entries = kept.heads.len() as u64;
        Ok(OpenFile {
            name,
            file,
            entries,
        })
    }
}

/// Where an entry is written: one after the other, and when there is no more room in the last two
/// places in turn, so that one of them is always whole.
fn slot(entries: u64) -> u64 {
    if entries < ENTRIES_MAX {
        entries
    } else {
        ENTRIES_MAX - 2 + entries % 2
    }
}

fn file_name(name: SegmentName) -> String {
    let name = name.to_string();
    format!("{}{SUFFIX}", name.strip_suffix(".trail").unwrap_or(&name))
}

fn key_bytes(text: &str, word: &str) -> Option<[u8; 32]> {
    let digits = text.trim_end().strip_prefix(word)?.strip_prefix(' ')?;
    from_hex(digits)
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const FOLDER: &str = "signatures";
const SUFFIX: &str = ".sig";
const SECRET_WORD: &str = "conntrail-signing-key1";
const PUBLIC_WORD: &str = "conntrail-public-key1";
const MAGIC: [u8; 8] = *b"\x89CTSIGN\n";
const MESSAGE_BYTES: usize = 112;
const CHECKED_BYTES: usize = MESSAGE_BYTES + 64;
const ENTRY_BYTES: usize = CHECKED_BYTES + 4;

/// Most signatures of one segment: under 46 KiB.
const ENTRIES_MAX: u64 = 256;
const FILES_MAX: usize = 1 << 20;
const SEALED_MAX: usize = 256;

/// Each is a sync, and nobody else's records should wait for many.
const SIGNED_AT_ONCE: usize = 4;
