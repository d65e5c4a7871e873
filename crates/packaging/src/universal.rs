//! One file with a program for every processor.
//!
//! The form is that of `mach-o/fat.h`: a head of big-endian numbers, then the slices.

use object::macho::{CPU_SUBTYPE_ARM64_ALL, CPU_SUBTYPE_X86_64_ALL, CPU_TYPE_ARM64};
use object::macho::{CPU_TYPE_X86_64, FAT_MAGIC, MH_MAGIC_64};

/// Slices begin at multiples of the page of Apple's processors, 16 KiB, which is one of Intel's
/// too.
const ALIGNMENT_BITS: u32 = 14;

const HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 20;

/// Why programs do not fit into one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a program of this kind.
    #[error("slice {0} is no 64-bit program for macOS: build it again with `cargo xtask macos`")]
    NotAProgram(usize),
    /// Two for the same processor.
    #[error("slices {0} and {1} are for the same processor: one of each is needed")]
    Twice(usize, usize),
    /// The numbers in the head have 32 bits.
    #[error("the slices are larger than 4 GiB together")]
    TooLarge,
}

/// Joins programs into one file, in the order given.
///
/// # Errors
/// When one is no program for macOS, two are for the same processor, or all are too large.
pub fn join(programs: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let mut processors = Vec::new();
    for (position, program) in programs.iter().enumerate() {
        let processor = processor(program).ok_or(Error::NotAProgram(position))?;
        if let Some(other) = processors.iter().position(|it| *it == processor) {
            return Err(Error::Twice(other, position));
        }
        processors.push(processor);
    }
    let mut file = Vec::new();
    for number in [FAT_MAGIC, size(programs.len())?] {
        file.extend(number.to_be_bytes());
    }
    let mut end = HEAD_BYTES + ENTRY_BYTES * programs.len();
    for (program, (kind, subkind)) in programs.iter().zip(&processors) {
        let begin = end.next_multiple_of(1 << ALIGNMENT_BITS);
        end = begin + program.len();
        for number in [
            *kind,
            *subkind,
            size(begin)?,
            size(program.len())?,
            ALIGNMENT_BITS,
        ] {
            file.extend(number.to_be_bytes());
        }
    }
    for program in programs {
        file.resize(file.len().next_multiple_of(1 << ALIGNMENT_BITS), 0);
        file.extend_from_slice(program);
    }
    Ok(file)
}

/// Kind and subkind, as the head of a program says them.
fn processor(program: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| {
        let bytes = program.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let known = [
        (CPU_TYPE_ARM64, CPU_SUBTYPE_ARM64_ALL),
        (CPU_TYPE_X86_64, CPU_SUBTYPE_X86_64_ALL),
    ];
    let found = (number(4)?, number(8)?);
    (number(0)? == MH_MAGIC_64 && known.contains(&found)).then_some(found)
}

fn size(count: usize) -> Result<u32, Error> {
    u32::try_from(count).map_err(|_| Error::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::macho::FatArch;

    fn program(kind: u32, subkind: u32, filler: u8) -> Vec<u8> {
        let head = [MH_MAGIC_64, kind, subkind].map(u32::to_le_bytes);
        [head.concat(), vec![filler; 20_000]].concat()
    }

    fn both() -> [Vec<u8>; 2] {
        [
            program(CPU_TYPE_X86_64, CPU_SUBTYPE_X86_64_ALL, 1),
            program(CPU_TYPE_ARM64, CPU_SUBTYPE_ARM64_ALL, 2),
        ]
    }

    #[test]
    fn a_reader_that_is_not_ours_finds_both_slices() {
        let [intel, apple] = both();
        let file = join(&[&intel, &apple]).unwrap();
        let head = object::read::macho::MachOFatFile32::parse(file.as_slice()).unwrap();
        let slices: Vec<&[u8]> = head
            .arches()
            .iter()
            .map(|it| it.data(file.as_slice()).unwrap())
            .collect();
        assert_eq!(slices, [intel.as_slice(), apple.as_slice()]);
        assert!(head.arches().iter().all(|it| it.offset() % (1 << 14) == 0));
    }

    #[test]
    fn what_is_no_program_or_there_twice_is_refused() {
        let [intel, apple] = both();
        assert_eq!(join(&[&intel, b"MZ"]), Err(Error::NotAProgram(1)));
        assert_eq!(join(&[&intel, &apple, &intel]), Err(Error::Twice(0, 2)));
        let other = program(12, 0, 0);
        assert_eq!(join(&[&other]), Err(Error::NotAProgram(0)));
    }
}
