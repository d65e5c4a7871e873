//! Which symbols a program asks the system for, read from what the loader reads.
//!
//! There are two forms. The older is a program of one-byte operations (`LC_DYLD_INFO_ONLY`), the
//! newer a table (`LC_DYLD_CHAINED_FIXUPS`); both are described in `<mach-o/loader.h>` and
//! `<mach-o/fixup-chains.h>`. The symbol table says the same again, but nothing that runs needs it.

use anyhow::{Context, Result, bail};
use object::macho;

/// A symbol, and the number of the library that it is asked from. Numbers from 1 on count the
/// libraries in the order in which the program names them; the others are special.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bind {
    /// As the linker writes it.
    pub(super) symbol: String,
    /// Which library.
    pub(super) ordinal: i64,
}

/// Reads the operations of one stream: the ordinary or the lazy one.
pub(super) fn operations(stream: &[u8]) -> Result<Vec<Bind>> {
    let mut reader = Reader(stream);
    let mut binds: Vec<Bind> = Vec::new();
    let (mut ordinal, mut symbol) = (0, String::new());
    while let Some(byte) = reader.byte() {
        let immediate = byte & macho::BIND_IMMEDIATE_MASK;
        match byte & macho::BIND_OPCODE_MASK {
            macho::BIND_OPCODE_SET_DYLIB_ORDINAL_IMM => ordinal = i64::from(immediate),
            macho::BIND_OPCODE_SET_DYLIB_ORDINAL_ULEB => {
                ordinal = i64::try_from(reader.number()?)?;
            }
            macho::BIND_OPCODE_SET_DYLIB_SPECIAL_IMM => ordinal = special(immediate),
            macho::BIND_OPCODE_SET_SYMBOL_TRAILING_FLAGS_IMM => symbol = reader.text()?,
            // These end in a bind; the numbers say where and how often.
            macho::BIND_OPCODE_DO_BIND | macho::BIND_OPCODE_DO_BIND_ADD_ADDR_IMM_SCALED => {
                binds.push(bind(&symbol, ordinal));
            }
            macho::BIND_OPCODE_DO_BIND_ADD_ADDR_ULEB => {
                reader.number()?;
                binds.push(bind(&symbol, ordinal));
            }
            macho::BIND_OPCODE_DO_BIND_ULEB_TIMES_SKIPPING_ULEB => {
                reader.number()?;
                reader.number()?;
                binds.push(bind(&symbol, ordinal));
            }
            macho::BIND_OPCODE_SET_ADDEND_SLEB
            | macho::BIND_OPCODE_SET_SEGMENT_AND_OFFSET_ULEB
            | macho::BIND_OPCODE_ADD_ADDR_ULEB => {
                reader.number()?;
            }
            // The lazy stream has an end after every symbol.
            macho::BIND_OPCODE_DONE | macho::BIND_OPCODE_SET_TYPE_IMM => {}
            other => bail!("operation {other:#x} of the loader is not known here"),
        }
    }
    binds.sort();
    binds.dedup();
    Ok(binds)
}

/// Reads the table of imports of the newer form.
pub(super) fn chained(fixups: &[u8]) -> Result<Vec<Bind>> {
    let word = |at: usize| -> Result<u32> {
        let bytes = fixups
            .get(at..at + 4)
            .context("the table of imports is cut")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    let (table, names) = (word(8)? as usize, word(12)? as usize);
    let (count, format) = (word(16)? as usize, word(20)?);
    if word(24)? != 0 {
        bail!("the names of imports are compressed");
    }
    let mut binds = Vec::new();
    for index in 0..count {
        let (ordinal, offset) = match format {
            1 => short_import(word(table + index * 4)?),
            2 => short_import(word(table + index * 8)?),
            3 => long_import(word(table + index * 16)?, word(table + index * 16 + 4)?),
            other => bail!("imports have the form {other}, which is not known here"),
        };
        let text = fixups.get(names + offset..).context("a name is missing")?;
        binds.push(bind(&Reader(text).text()?, ordinal));
    }
    binds.sort();
    Ok(binds)
}

/// Eight bits of library, one of weakness, the rest is the place of the name.
fn short_import(word: u32) -> (i64, usize) {
    let [ordinal, ..] = word.to_le_bytes();
    // From 0xf1 on these are negative numbers, which are the special ones.
    let ordinal = match ordinal {
        0xf1.. => i64::from(ordinal) - 0x100,
        _ => i64::from(ordinal),
    };
    (ordinal, (word >> 9) as usize)
}

/// Sixteen bits of library, and the name in a word of its own.
fn long_import(low: u32, high: u32) -> (i64, usize) {
    let ordinal = i64::from(low & 0xffff);
    let ordinal = if ordinal > 0xfff0 {
        ordinal - 0x1_0000
    } else {
        ordinal
    };
    (ordinal, high as usize)
}

/// Four bits that stand for a negative number.
fn special(immediate: u8) -> i64 {
    match immediate {
        0 => 0,
        other => i64::from(other) - 16,
    }
}

fn bind(symbol: &str, ordinal: i64) -> Bind {
    Bind {
        symbol: symbol.to_owned(),
        ordinal,
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number in seven-bit groups, the lowest first. Of negative ones only the length matters.
    fn number(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte().context("a number is cut")?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("a number has more than ten bytes")
    }

    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let (text, rest) = self.0.split_at(end.context("a name has no end")?);
        self.0 = &rest[1..];
        Ok(String::from_utf8(text.to_vec())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_operations_of_the_loader() {
        let mut stream = vec![macho::BIND_OPCODE_SET_DYLIB_ORDINAL_IMM | 2];
        stream.extend([macho::BIND_OPCODE_SET_SYMBOL_TRAILING_FLAGS_IMM]);
        stream.extend(b"_open\0");
        stream.extend([macho::BIND_OPCODE_SET_TYPE_IMM | 1]);
        stream.extend([
            macho::BIND_OPCODE_SET_SEGMENT_AND_OFFSET_ULEB | 2,
            0x80,
            0x01,
        ]);
        stream.extend([macho::BIND_OPCODE_DO_BIND, macho::BIND_OPCODE_DONE]);
        // Not bound: named, but never used.
        stream.extend([macho::BIND_OPCODE_SET_SYMBOL_TRAILING_FLAGS_IMM]);
        stream.extend(b"_close\0");
        stream.extend([macho::BIND_OPCODE_SET_DYLIB_SPECIAL_IMM | 0xe]);
        stream.extend([macho::BIND_OPCODE_SET_SYMBOL_TRAILING_FLAGS_IMM]);
        stream.extend(b"_flat\0");
        stream.extend([macho::BIND_OPCODE_DO_BIND_ULEB_TIMES_SKIPPING_ULEB, 3, 8]);
        let binds = operations(&stream).unwrap();
        assert_eq!(binds, [bind("_flat", -2), bind("_open", 2)]);
    }

    #[test]
    fn refuses_operations_that_it_does_not_know() {
        assert!(operations(&[macho::BIND_OPCODE_THREADED]).is_err());
        assert!(operations(&[macho::BIND_OPCODE_ADD_ADDR_ULEB, 0x80]).is_err());
        assert!(operations(&[macho::BIND_OPCODE_SET_SYMBOL_TRAILING_FLAGS_IMM, b'_']).is_err());
    }

    fn table(format: u32, imports: &[u8], names: &[u8]) -> Vec<u8> {
        let names_at = 28 + u32::try_from(imports.len()).unwrap();
        let mut table = Vec::new();
        for word in [0, 0, 28, names_at, 2, format, 0_u32] {
            table.extend(word.to_le_bytes());
        }
        table.extend(imports);
        table.extend(names);
        table
    }

    #[test]
    fn reads_the_table_of_imports() {
        let words = |words: &[u32]| words.iter().flat_map(|it| it.to_le_bytes()).collect();
        let short: Vec<u8> = words(&[3, 0xfe | (6 << 9)]);
        let with_addend: Vec<u8> = words(&[3, 7, 0xfe | (6 << 9), 7]);
        let long: Vec<u8> = words(&[3, 0, 0, 0, 0xfffe, 6, 0, 0]);
        for (format, imports) in [(1, short), (2, with_addend), (3, long)] {
            let binds = chained(&table(format, &imports, b"_open\0_flat\0")).unwrap();
            assert_eq!(binds, [bind("_flat", -2), bind("_open", 3)], "{format}");
        }
    }

    #[test]
    fn a_cut_table_is_an_error() {
        let whole = table(1, &[3, 0, 0, 0, 3, 0, 0, 0], b"_open\0");
        for length in 0..whole.len() {
            assert!(chained(&whole[..length]).is_err(), "{length}");
        }
    }
}
