//! The parts of a signature (`cs_blobs.h`, `CS_SuperBlob`).

use super::bytes::{Malformed, be32, part};
use super::macho::Region;

/// One part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a> {
    /// What it is for.
    pub(crate) slot: u32,
    pub(crate) magic: u32,
    /// In the signature.
    pub(crate) region: Region,
    /// With its head.
    pub(crate) whole: &'a [u8],
}

pub(crate) const DIRECTORY: u32 = 0;
pub(crate) const INFO: u32 = 1;
pub(crate) const REQUIREMENTS: u32 = 2;
pub(crate) const RESOURCES: u32 = 3;
pub(crate) const ENTITLEMENTS: u32 = 5;
pub(crate) const ENTITLEMENTS_DER: u32 = 7;
pub(crate) const ALTERNATES: std::ops::Range<u32> = 0x1000..0x1005;
pub(crate) const SIGNATURE: u32 = 0x1_0000;

const SUPERBLOB: u32 = 0xfade_0cc0;
const COUNT_MAX: u32 = 64;
const HEAD: u64 = 8;

impl<'a> Blob<'a> {
    /// Without its head.
    pub(crate) fn content(&self) -> &'a [u8] {
        &self.whole[8..]
    }

    /// Whether the slot holds a code directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.slot == DIRECTORY || ALTERNATES.contains(&self.slot)
    }

    /// What the magic number of this slot's part is, where the format says so.
    pub(crate) fn expected_magic(&self) -> Option<u32> {
        match self.slot {
            REQUIREMENTS => Some(0xfade_0c01),
            ENTITLEMENTS => Some(0xfade_7171),
            ENTITLEMENTS_DER => Some(0xfade_7172),
            8..=11 => Some(0xfade_8181),
            SIGNATURE => Some(0xfade_0b01),
            _ if self.is_directory() => Some(0xfade_0c02),
            _ => None,
        }
    }
}

/// The parts of the signature at the beginning of the bytes, and how long it is.
pub(crate) fn read(data: &[u8]) -> Result<(Vec<Blob<'_>>, u64), Malformed> {
    if be32(data, 0, "the signature")? != SUPERBLOB {
        return Err(Malformed::new("the signature does not begin as one"));
    }
    let size = u64::from(be32(data, 4, "the signature's size")?);
    let data = part(data, 0, size, "the signature")?;
    let count = be32(data, 8, "the number of parts")?;
    if count > COUNT_MAX {
        return Err(Malformed(format!("a signature of {count} parts")));
    }
    let entries = (0..u64::from(count)).map(|index| 12 + index * 8);
    let blobs = entries.map(|entry| blob(data, entry, count));
    Ok((blobs.collect::<Result<_, _>>()?, size))
}

fn blob(data: &[u8], entry: u64, count: u32) -> Result<Blob<'_>, Malformed> {
    let slot = be32(data, entry, "the index of the signature")?;
    let offset = u64::from(be32(data, entry + 4, "the index of the signature")?);
    let name = format!("part {slot:#x} of the signature");
    if offset < 12 + u64::from(count) * 8 {
        return Err(Malformed(format!("{name} lies in the signature's index")));
    }
    let size = u64::from(be32(data, offset + 4, &name)?);
    if size < HEAD {
        return Err(Malformed(format!("{name} is shorter than its head")));
    }
    Ok(Blob {
        slot,
        magic: be32(data, offset, &name)?,
        region: Region { offset, size },
        whole: part(data, offset, size, &name)?,
    })
}
