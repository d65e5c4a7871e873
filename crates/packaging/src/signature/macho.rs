//! Universal files, their slices, and where in a slice the signature lies.
//!
//! The formats are those of `mach-o/fat.h` and `mach-o/loader.h`.

use super::bytes::{Malformed, be32, be64, le32, le64, part};
use std::fmt;

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Architecture {
    /// `CPU_TYPE_…` of `mach/machine.h`.
    pub family: u32,
    /// `CPU_SUBTYPE_…`, without the bits for features.
    pub variant: u32,
}

/// What is in a universal file for one kind of processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) data: &'a [u8],
}

/// What the load commands say that matters to a signature. All offsets are in the slice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    pub(crate) is_executable: bool,
    pub(crate) text: Option<Segment>,
    pub(crate) linkedit: Option<Segment>,
    pub(crate) signatures: Vec<Region>,
}

/// A segment's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) memory_size: u64,
    pub(crate) file: Region,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

const FAT_32: u32 = 0xcafe_babe;
const FAT_64: u32 = 0xcafe_babf;
const MAGIC_64: u32 = 0xfeed_facf;
const HEADER_64_SIZE: u64 = 32;
const MH_EXECUTE: u32 = 2;
const LC_SEGMENT_64: u32 = 0x19;
const LC_CODE_SIGNATURE: u32 = 0x1d;
/// More kinds of processors than Apple ever had.
const SLICES_MAX: u32 = 32;

impl Region {
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(self.size)
    }
}

impl Architecture {
    /// Of Apple's own processors.
    pub const ARM64: Architecture = Architecture {
        family: 0x0100_000c,
        variant: 0,
    };
    /// Of Intel's.
    pub const X86_64: Architecture = Architecture {
        family: 0x0100_0007,
        variant: 3,
    };
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Architecture::ARM64 => f.write_str("arm64"),
            Architecture::X86_64 => f.write_str("x86_64"),
            Architecture { family, variant } => {
                write!(f, "processor {family:#x} variant {variant:#x}")
            }
        }
    }
}

/// The slices of a universal file, or the one of a file that is not universal.
pub(crate) fn slices(file: &[u8]) -> Result<Vec<Slice<'_>>, Malformed> {
    match be32(file, 0, "the first bytes")? {
        FAT_32 => universal(file, 20),
        FAT_64 => universal(file, 32),
        _ => {
            let architecture = architecture(file)?;
            Ok(vec![Slice {
                architecture,
                data: file,
            }])
        }
    }
}

/// Where things are in a slice.
pub(crate) fn layout(slice: &[u8]) -> Result<Layout, Malformed> {
    architecture(slice)?;
    let count = le32(slice, 16, "the number of load commands")?;
    let size = le32(slice, 20, "the size of the load commands")?;
    let commands = part(slice, HEADER_64_SIZE, size.into(), "the load commands")?;
    let mut layout = Layout {
        is_executable: le32(slice, 12, "the kind of file")? == MH_EXECUTE,
        ..Layout::default()
    };
    let mut offset = 0;
    for _ in 0..count {
        let length = le32(commands, offset + 4, "the size of a load command")?;
        if length < 8 {
            return Err(Malformed::new("a load command is shorter than its head"));
        }
        let command = part(commands, offset, length.into(), "a load command")?;
        read_command(command, &mut layout)?;
        offset += u64::from(length);
    }
    Ok(layout)
}

fn universal(file: &[u8], entry_size: u64) -> Result<Vec<Slice<'_>>, Malformed> {
    let count = be32(file, 4, "the number of slices")?;
    if count == 0 || count > SLICES_MAX {
        return Err(Malformed(format!("a universal file of {count} slices")));
    }
    let entries = (0..u64::from(count)).map(|index| 8 + index * entry_size);
    let slices: Vec<_> = entries
        .map(|offset| universal_slice(file, offset, entry_size == 32))
        .collect::<Result<_, _>>()?;
    let mut regions: Vec<_> = slices.iter().map(|(region, _)| *region).collect();
    regions.sort_by_key(|region| region.offset);
    if regions.windows(2).any(|it| it[0].end() > it[1].offset) {
        return Err(Malformed::new("slices of the universal file overlap"));
    }
    Ok(slices.into_iter().map(|(_, slice)| slice).collect())
}

fn universal_slice(file: &[u8], entry: u64, is_64: bool) -> Result<(Region, Slice<'_>), Malformed> {
    let number = |offset| be32(file, entry + offset, "the place of a slice").map(u64::from);
    let region = match is_64 {
        true => Region {
            offset: be64(file, entry + 8, "the place of a slice")?,
            size: be64(file, entry + 16, "the size of a slice")?,
        },
        false => Region {
            offset: number(8)?,
            size: number(12)?,
        },
    };
    let data = part(file, region.offset, region.size, "a slice")?;
    let said = Architecture {
        family: be32(file, entry, "the processor of a slice")?,
        variant: be32(file, entry + 4, "the processor of a slice")? & 0x00ff_ffff,
    };
    let architecture = architecture(data)?;
    match said == architecture {
        true => Ok((region, Slice { architecture, data })),
        false => Err(Malformed(format!(
            "the universal file says {said} where a program for {architecture} is"
        ))),
    }
}

fn architecture(slice: &[u8]) -> Result<Architecture, Malformed> {
    if le32(slice, 0, "a program's first bytes")? != MAGIC_64 {
        return Err(Malformed::new("not a 64-bit Mach-O file"));
    }
    Ok(Architecture {
        family: le32(slice, 4, "the processor")?,
        variant: le32(slice, 8, "the processor")? & 0x00ff_ffff,
    })
}

fn read_command(command: &[u8], layout: &mut Layout) -> Result<(), Malformed> {
    match le32(command, 0, "the kind of a load command")? {
        LC_SEGMENT_64 => {
            let segment = Segment {
                memory_size: le64(command, 32, "a segment's size")?,
                file: Region {
                    offset: le64(command, 40, "a segment's place")?,
                    size: le64(command, 48, "a segment's size")?,
                },
            };
            match part(command, 8, 16, "a segment's name")? {
                b"__TEXT\0\0\0\0\0\0\0\0\0\0" => layout.text = Some(segment),
                b"__LINKEDIT\0\0\0\0\0\0" => layout.linkedit = Some(segment),
                _ => {}
            }
        }
        LC_CODE_SIGNATURE => layout.signatures.push(Region {
            offset: le32(command, 8, "the place of the signature")?.into(),
            size: le32(command, 12, "the size of the signature")?.into(),
        }),
        _ => {}
    }
    Ok(())
}
