//! A linked program as plain data: what it loads, what it asks for, which texts are in it.
//!
//! This reads the file with the `object` crate and not with the tools of any compiler, so that a
//! mistake of the linker and a mistake of its own tools cannot agree with each other.

use super::Architecture;
use super::binds::{self, Bind};
use anyhow::{Context, Result, bail};
use object::LittleEndian as Little;
use object::macho;
use object::read::macho::{
    LoadCommandData, LoadCommandVariant, MachHeader, Nlist, Section, Segment,
};
use std::collections::BTreeSet;
use std::fmt;

/// What is looked at in a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    /// The processor, when it is one of ours.
    pub(super) architecture: Option<Architecture>,
    /// Whether it is a program, rather than a library or a part of one.
    pub(super) is_program: bool,
    /// Whether every import names its library, and whether the program may lie anywhere in memory.
    pub(super) is_two_level: bool,
    /// See [`Image::is_two_level`].
    pub(super) is_relocatable: bool,
    /// Whether there is a signature, be it nobody's.
    pub(super) is_signed: bool,
    /// The oldest macOS it runs on, and the SDK it says that it was made with.
    pub(super) minimum: Option<Version>,
    /// See [`Image::minimum`].
    pub(super) sdk: Option<Version>,
    /// The libraries it loads, in the order in which its imports count them.
    pub(super) libraries: Vec<String>,
    /// What it asks them for.
    pub(super) imports: BTreeSet<Bind>,
    /// Anything that makes the system look for code elsewhere: search paths, another loader,
    /// variables for the loader, symbols that may come from whatever library has them.
    pub(super) detours: Vec<String>,
    /// The texts that end in a zero, from the sections that hold only such.
    pub(super) texts: BTreeSet<String>,
    /// The sections that hold neither code nor such texts.
    pub(super) data: Vec<Vec<u8>>,
    /// The whole file.
    pub(super) file: Vec<u8>,
}

/// A version of macOS: first and second number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

/// The loader that every program of the system has.
const LOADER: &str = "/usr/lib/dyld";

/// Where Apple's own compilers put selectors and classes. Not every linker says that these hold
/// texts.
const NAMES_OF_OBJECTIVE_C: &[&[u8]] = &[b"__objc_methname", b"__objc_classname"];

impl Image {
    /// Reads a program of one architecture.
    pub(super) fn parse(file: &[u8]) -> Result<Image> {
        let header = macho::MachHeader64::<Little>::parse(file, 0)
            .context("this is no 64-bit program for macOS")?;
        let flags = header.flags(Little);
        let mut image = Image {
            architecture: Architecture::of_processor(header.cputype(Little)),
            is_program: header.filetype(Little) == macho::MH_EXECUTE,
            is_two_level: flags & macho::MH_TWOLEVEL != 0,
            is_relocatable: flags & macho::MH_PIE != 0,
            file: file.to_vec(),
            ..Image::default()
        };
        let mut commands = header.load_commands(Little, file, 0)?;
        while let Some(command) = commands.next()? {
            image.take(&command, file)?;
        }
        Ok(image)
    }

    /// The path of the library that an import is asked from; `None` for the special numbers.
    pub(super) fn library_of(&self, import: &Bind) -> Option<&str> {
        let index = usize::try_from(import.ordinal).ok()?.checked_sub(1)?;
        self.libraries.get(index).map(String::as_str)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are forty kinds of commands, and most say where debuggers find things"
    )]
    fn take(&mut self, command: &LoadCommandData<'_, Little>, file: &[u8]) -> Result<()> {
        use LoadCommandVariant as Variant;
        match command.variant()? {
            Variant::Segment64(segment, sections) => {
                for section in segment.sections(Little, sections)? {
                    self.take_section(section, file)?;
                }
            }
            Variant::Symtab(table) => self.take_symbols(table, file)?,
            Variant::Dylib(library) => {
                let path = text(command.string(Little, library.dylib.name)?)?;
                self.libraries.push(path);
            }
            Variant::DyldInfo(info) => self.take_operations(info, file)?,
            Variant::LinkeditData(place) => self.take_linkedit(place, file)?,
            Variant::BuildVersion(build) => {
                if build.platform.get(Little) != macho::PLATFORM_MACOS {
                    bail!("this was built for another system than macOS");
                }
                self.minimum = Some(Version::of(build.minos.get(Little)));
                self.sdk = Some(Version::of(build.sdk.get(Little)));
            }
            Variant::Rpath(path) => {
                let path = text(command.string(Little, path.path)?)?;
                self.detours.push(format!("searches {path} for libraries"));
            }
            Variant::LoadDylinker(loader) => {
                let path = text(command.string(Little, loader.name)?)?;
                if path != LOADER {
                    self.detours.push(format!("is loaded by {path}"));
                }
            }
            Variant::DyldEnvironment(variable) => {
                let variable = text(command.string(Little, variable.name)?)?;
                self.detours.push(format!("sets {variable} for the loader"));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_section(&mut self, section: &macho::Section64<Little>, file: &[u8]) -> Result<()> {
        let flags = section.flags(Little);
        let is_code =
            flags & (macho::S_ATTR_PURE_INSTRUCTIONS | macho::S_ATTR_SOME_INSTRUCTIONS) != 0;
        let Ok(bytes) = section.data(Little, file) else {
            bail!("a section lies outside of the file");
        };
        let holds_texts = flags & macho::SECTION_TYPE == macho::S_CSTRING_LITERALS
            || NAMES_OF_OBJECTIVE_C.contains(&section.name());
        if holds_texts {
            let texts = bytes.split(|byte| *byte == 0);
            self.texts
                .extend(texts.map(|it| String::from_utf8_lossy(it).into_owned()));
        } else if !is_code {
            self.data.push(bytes.to_vec());
        }
        Ok(())
    }

    fn take_symbols(&mut self, table: &macho::SymtabCommand<Little>, file: &[u8]) -> Result<()> {
        let table = table.symbols::<macho::MachHeader64<Little>, _>(Little, file)?;
        for symbol in table.iter().filter(|symbol| symbol.is_undefined()) {
            let [_, ordinal] = symbol.n_desc(Little).to_le_bytes();
            self.imports.insert(Bind {
                symbol: text(symbol.name(Little, table.strings())?)?,
                // The last two are special: any library, and the program itself.
                ordinal: match ordinal {
                    0xfe | 0xff => i64::from(ordinal) - 0x100,
                    _ => i64::from(ordinal),
                },
            });
        }
        Ok(())
    }

    fn take_operations(
        &mut self,
        info: &macho::DyldInfoCommand<Little>,
        file: &[u8],
    ) -> Result<()> {
        let eager = (info.bind_off.get(Little), info.bind_size.get(Little));
        let lazy = (
            info.lazy_bind_off.get(Little),
            info.lazy_bind_size.get(Little),
        );
        for (offset, size) in [eager, lazy] {
            self.imports
                .extend(binds::operations(part(file, offset, size)?)?);
        }
        let (offset, size) = (
            info.weak_bind_off.get(Little),
            info.weak_bind_size.get(Little),
        );
        for bind in binds::operations(part(file, offset, size)?)? {
            self.detours
                .push(format!("takes {} from whoever has it", bind.symbol));
        }
        Ok(())
    }

    fn take_linkedit(
        &mut self,
        place: &macho::LinkeditDataCommand<Little>,
        file: &[u8],
    ) -> Result<()> {
        match place.cmd.get(Little) {
            macho::LC_CODE_SIGNATURE => self.is_signed = true,
            macho::LC_DYLD_CHAINED_FIXUPS => {
                let (offset, size) = (place.dataoff.get(Little), place.datasize.get(Little));
                self.imports
                    .extend(binds::chained(part(file, offset, size)?)?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Version {
    /// Reads `13.0`.
    pub(super) fn parse(text: &str) -> Result<Version> {
        let (first, second) = text.split_once('.').unwrap_or((text, "0"));
        let second = second.split('.').next().unwrap_or_default();
        let number = |text: &str| {
            let number = text.parse();
            number.with_context(|| format!("{text:?} is no number of a version"))
        };
        Ok(Version(number(first)?, number(second)?))
    }

    /// Sixteen bits, then eight and eight.
    fn of(packed: u32) -> Version {
        Version(packed >> 16, (packed >> 8) & 0xff)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

fn part(file: &[u8], offset: u32, size: u32) -> Result<&[u8]> {
    let (offset, size) = (offset as usize, size as usize);
    file.get(offset..)
        .and_then(|rest| rest.get(..size))
        .context("a table lies outside of the file")
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).context("a name is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("10.15.4") < version("13.0"));
        assert_eq!(version("13"), Version::of(0x000d_0000));
        assert_eq!(Version::of(0x000f_0500).to_string(), "15.5");
        assert!(Version::parse("later").is_err());
    }

    #[test]
    fn what_is_no_program_is_told() {
        for file in [&b""[..], b"#!/bin/sh\n", &[0xcf, 0xfa, 0xed, 0xfe]] {
            let error = Image::parse(file).unwrap_err().to_string();
            assert!(error.contains("no 64-bit program"), "{error}");
        }
    }
}
