//! Code directories: the digests of everything that is signed (`codedirectory.h` in Apple's
//! Security, `CS_CodeDirectory` in `cs_blobs.h`).

use super::bytes::{Hash, Malformed, be32, be64, part};
use std::collections::BTreeMap;

/// The digests of a program and of what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeDirectory {
    /// Where it stands in the signature: 0, or from 0x1000 on for alternates.
    pub slot: u32,
    /// Of the format, such as 0x20500.
    pub version: u32,
    /// See [`ADHOC`] and [`RUNTIME`].
    pub flags: u32,
    /// What the program is called.
    pub identifier: String,
    /// Who signed it, as the signer says.
    pub team: Option<String>,
    /// Of which kind the digests are.
    pub hash: Hash,
    /// The pages have so many bytes.
    pub page_size: u64,
    /// So many bytes from the slice's beginning are signed.
    pub code_limit: u64,
    /// Not 0 for parts of the system.
    pub platform: u8,
    /// From version 0x20400 on.
    pub executable: Option<ExecutableSegment>,
    /// Of which system's rules the hardened runtime are, from version 0x20500 on:
    /// major version in the upper half, minor and patch in a byte each.
    pub runtime: Option<u32>,
    /// Digests of what is not code, by slot.
    pub special: BTreeMap<u32, Vec<u8>>,
    /// Digests of the pages, in order.
    pub pages: Vec<Vec<u8>>,
    /// Of the code directory itself: by which the system knows the program.
    pub digest: Vec<u8>,
    /// SHA-256 of the code directory, whatever its own kind of digest is.
    pub sha256: Vec<u8>,
}

/// Where a program's code lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutableSegment {
    /// In the slice.
    pub base: u64,
    /// How many bytes.
    pub limit: u64,
    /// 1 for a main program.
    pub flags: u64,
}

/// Nobody vouches for the signature.
pub const ADHOC: u32 = 0x2;
/// The hardened runtime is on.
pub const RUNTIME: u32 = 0x1_0000;

const WITH_SCATTER: u32 = 0x2_0100;
const WITH_TEAM: u32 = 0x2_0200;
const WITH_LIMIT_64: u32 = 0x2_0300;
const WITH_EXECUTABLE: u32 = 0x2_0400;
const WITH_RUNTIME: u32 = 0x2_0500;
/// More special slots than there are.
const SPECIAL_MAX: u32 = 64;
/// Names are no longer than this.
const NAME_MAX: usize = 1024;

impl CodeDirectory {
    /// From the part of the signature, with its head.
    pub(crate) fn read(slot: u32, blob: &[u8]) -> Result<CodeDirectory, Malformed> {
        let number = |offset| be32(blob, offset, "the code directory");
        let version = number(8)?;
        let sizes = part(blob, 36, 4, "the code directory")?;
        let hash = Hash::of_code_directory(sizes[1]);
        let hash = hash.ok_or_else(|| Malformed(format!("digests of kind {}", sizes[1])))?;
        if usize::from(sizes[0]) != hash.size() || !(12..=16).contains(&sizes[3]) {
            return Err(Malformed::new(
                "the code directory's digests or pages have an odd size",
            ));
        }
        if version >= WITH_SCATTER && number(44)? != 0 {
            return Err(Malformed::new("the code directory is scattered"));
        }
        let (special, pages) = digests(blob, hash)?;
        Ok(CodeDirectory {
            slot,
            version,
            flags: number(12)?,
            identifier: name(blob, number(20)?)?,
            team: team(blob, version)?,
            hash,
            page_size: 1 << sizes[3],
            code_limit: code_limit(blob, version)?,
            platform: sizes[2],
            executable: executable(blob, version)?,
            runtime: match version >= WITH_RUNTIME {
                true => Some(number(88)?),
                false => None,
            },
            special,
            pages,
            digest: hash.digest(blob),
            sha256: Hash::Sha256.digest(blob),
        })
    }

    /// By which the system knows the program: the digest's first 20 bytes.
    pub fn cdhash(&self) -> &[u8] {
        &self.digest[..20]
    }

    /// Whether the hardened runtime is on.
    pub fn has_runtime(&self) -> bool {
        self.flags & RUNTIME != 0
    }

    /// Whether nobody vouches for the signature.
    pub fn is_adhoc(&self) -> bool {
        self.flags & ADHOC != 0
    }

    /// The digest in a slot, unless it says that there is nothing.
    pub(crate) fn sealed(&self, slot: u32) -> Option<&[u8]> {
        let digest = self.special.get(&slot)?;
        digest.iter().any(|byte| *byte != 0).then_some(digest)
    }
}

type Digests = (BTreeMap<u32, Vec<u8>>, Vec<Vec<u8>>);

fn digests(blob: &[u8], hash: Hash) -> Result<Digests, Malformed> {
    let number = |offset| be32(blob, offset, "the code directory");
    let (start, special, pages) = (number(16)?, number(24)?, number(28)?);
    if special > SPECIAL_MAX {
        return Err(Malformed(format!(
            "a code directory with {special} special slots"
        )));
    }
    let size = hash.size() as u64;
    let before = u64::from(start).checked_sub(u64::from(special) * size);
    let before = before.ok_or_else(|| Malformed::new("special slots lie before the beginning"))?;
    let all = (u64::from(special) + u64::from(pages)) * size;
    let all = part(blob, before, all, "the digests")?;
    let (first, second) = all.split_at(special as usize * hash.size());
    let first = first.chunks_exact(hash.size()).map(<[u8]>::to_vec);
    let special = (1..=special).rev().zip(first).collect();
    let pages = second
        .chunks_exact(hash.size())
        .map(<[u8]>::to_vec)
        .collect();
    Ok((special, pages))
}

fn team(blob: &[u8], version: u32) -> Result<Option<String>, Malformed> {
    if version < WITH_TEAM {
        return Ok(None);
    }
    match be32(blob, 48, "the team")? {
        0 => Ok(None),
        offset => name(blob, offset).map(Some),
    }
}

fn code_limit(blob: &[u8], version: u32) -> Result<u64, Malformed> {
    if version >= WITH_LIMIT_64 {
        let limit = be64(blob, 56, "the code's end")?;
        if limit != 0 {
            return Ok(limit);
        }
    }
    be32(blob, 32, "the code's end").map(u64::from)
}

fn executable(blob: &[u8], version: u32) -> Result<Option<ExecutableSegment>, Malformed> {
    if version < WITH_EXECUTABLE {
        return Ok(None);
    }
    let number = |offset| be64(blob, offset, "the place of the code");
    Ok(Some(ExecutableSegment {
        base: number(64)?,
        limit: number(72)?,
        flags: number(80)?,
    }))
}

fn name(blob: &[u8], offset: u32) -> Result<String, Malformed> {
    let wrong = || Malformed::new("a name in the code directory is cut off or not UTF-8");
    let rest = blob.get(offset as usize..).ok_or_else(wrong)?;
    let end = rest.iter().take(NAME_MAX).position(|byte| *byte == 0);
    let name = &rest[..end.ok_or_else(wrong)?];
    Ok(std::str::from_utf8(name).map_err(|_| wrong())?.to_owned())
}
