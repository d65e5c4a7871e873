//! `CoreFoundation/CFString.h`: strings of UTF-16 units, made from and handed out as bytes.

use super::object::{Body, Kind, Ref};
use crate::machine::note;
use crate::raw;
use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};

/// `kCFStringEncodingUTF8`.
const UTF_8: u32 = 0x0800_0100;
/// `kCFStringEncodingASCII`.
const ASCII: u32 = 0x0600;
/// `kCFStringEncodingUTF16`, in the order of the machine.
const UTF_16: u32 = 0x0100;
/// `kCFStringEncodingMacRoman`, of which only the half that is ASCII is known here.
const MAC_ROMAN: u32 = 0;
/// `kCFStringEncodingISOLatin1`.
const LATIN_1: u32 = 0x0201;

static HAVE_POINTERS: AtomicBool = AtomicBool::new(true);

/// A string.
pub(crate) enum Text {
    /// A key or a name that lives as long as the program.
    Constant(&'static str),
    /// Made at run time.
    Units {
        units: Vec<u16>,
        /// The bytes, if all are ASCII: what `CFStringGetCStringPtr` points at.
        ascii: Option<CString>,
    },
}

/// `CFRange` of `CFBase.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) location: isize,
    pub(crate) length: isize,
}

/// Whether `CFStringGetCStringPtr` has a pointer to give for strings of ASCII, as it mostly does
/// on macOS; a caller must be able to do without.
pub fn set_strings_have_pointers(have: bool) {
    HAVE_POINTERS.store(have, Ordering::Relaxed);
}

/// A new string, which the caller holds.
pub(crate) fn new(text: &str) -> Ref {
    Ref::new(Body::Text(Text::from_units(text.encode_utf16().collect())))
}

/// What a string says.
///
/// # Panics
/// If the object is something else.
pub(crate) fn read(string: Ref) -> String {
    text_of(&string).to_text()
}

pub(super) fn text_of(string: &Ref) -> &Text {
    let Body::Text(text) = string.body() else {
        string.is_not("CFString")
    };
    text
}

impl Text {
    pub(super) const fn constant(text: &'static str) -> Self {
        Self::Constant(text)
    }

    fn from_units(units: Vec<u16>) -> Self {
        let bytes: Option<Vec<u8>> = units
            .iter()
            .map(|unit| u8::try_from(*unit).ok().filter(u8::is_ascii))
            .collect();
        let ascii = bytes.and_then(|bytes| CString::new(bytes).ok());
        Self::Units { units, ascii }
    }

    fn units(&self) -> Cow<'_, [u16]> {
        match self {
            Self::Constant(text) => text.encode_utf16().collect(),
            Self::Units { units, .. } => Cow::Borrowed(units),
        }
    }

    pub(super) fn to_text(&self) -> String {
        String::from_utf16_lossy(&self.units())
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.units() == other.units()
    }

    pub(super) fn hash(&self) -> usize {
        let mix = |hash: usize, unit: &u16| (hash ^ usize::from(*unit)).wrapping_mul(0x0100_01B3);
        self.units().iter().fold(0x811C_9DC5, mix)
    }
}

/// `CFString.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetTypeID() -> usize {
    Kind::String as usize
}

/// `CFString.h`: NULL for bytes that are not of the encoding.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringCreateWithBytes(
    _allocator: Ref,
    bytes: *const u8,
    length: isize,
    encoding: u32,
    _external: u8,
) -> Ref {
    note("CFStringCreateWithBytes");
    decoded(raw::bytes(bytes, length), encoding)
}

/// `CFString.h`: the bytes are copied here too; freeing them is asked of no allocator.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringCreateWithBytesNoCopy(
    _allocator: Ref,
    bytes: *const u8,
    length: isize,
    encoding: u32,
    _external: u8,
    _deallocator: Ref,
) -> Ref {
    note("CFStringCreateWithBytesNoCopy");
    decoded(raw::bytes(bytes, length), encoding)
}

/// `CFString.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringCreateWithCString(
    _allocator: Ref,
    text: *const c_char,
    encoding: u32,
) -> Ref {
    note("CFStringCreateWithCString");
    decoded(raw::text(text).to_bytes(), encoding)
}

/// `CFString.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringCreateWithCStringNoCopy(
    _allocator: Ref,
    text: *const c_char,
    encoding: u32,
    _deallocator: Ref,
) -> Ref {
    note("CFStringCreateWithCStringNoCopy");
    decoded(raw::text(text).to_bytes(), encoding)
}

/// `CFString.h`: UTF-16 units, which need not be valid.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringCreateWithCharacters(
    _allocator: Ref,
    units: *const u16,
    count: isize,
) -> Ref {
    note("CFStringCreateWithCharacters");
    Ref::new(Body::Text(Text::from_units(raw::values(units, count))))
}

/// `CFString.h`: strings do not change here, so that a copy is the same one held once more.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringCreateCopy(_allocator: Ref, string: Ref) -> Ref {
    note("CFStringCreateCopy");
    text_of(&string);
    string.retain()
}

/// `CFString.h`: how many UTF-16 units.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetLength(string: Ref) -> isize {
    note("CFStringGetLength");
    text_of(&string).units().len().cast_signed()
}

/// `CFString.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetCharacterAtIndex(string: Ref, index: isize) -> u16 {
    note("CFStringGetCharacterAtIndex");
    text_of(&string).units()[index.cast_unsigned()]
}

/// `CFString.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetCharacters(string: Ref, range: Range, buffer: *mut u16) {
    note("CFStringGetCharacters");
    raw::fill(buffer, &text_of(&string).units()[range.indexes()]);
}

/// `CFString.h`: false if the bytes and a zero do not fit or the encoding lacks a character.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetCString(
    string: Ref,
    buffer: *mut c_char,
    size: isize,
    encoding: u32,
) -> u8 {
    note("CFStringGetCString");
    let units = text_of(&string).units();
    let all = encoded(&units, encoding, 0, usize::MAX);
    let fits = usize::try_from(size).is_ok_and(|size| all.bytes.len() < size);
    if all.converted < units.len() || !fits {
        return 0;
    }
    let mut bytes = all.bytes;
    bytes.push(0);
    raw::fill(buffer.cast(), &bytes);
    1
}

/// `CFString.h`: a pointer into the string, if it has the bytes at hand; NULL is no error.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetCStringPtr(string: Ref, encoding: u32) -> *const c_char {
    note("CFStringGetCStringPtr");
    let known = matches!(encoding, UTF_8 | ASCII | MAC_ROMAN | LATIN_1);
    if !known || !HAVE_POINTERS.load(Ordering::Relaxed) {
        return std::ptr::null();
    }
    let Text::Units {
        ascii: Some(ascii), ..
    } = text_of(&string)
    else {
        return std::ptr::null();
    };
    ascii.as_ptr()
}

/// `CFString.h`: as many units of the range as fit, never half a character. Answers how many
/// units; with no buffer, how many bytes it would take.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetBytes(
    string: Ref,
    range: Range,
    encoding: u32,
    loss: u8,
    _external: u8,
    buffer: *mut u8,
    size: isize,
    used: *mut isize,
) -> isize {
    note("CFStringGetBytes");
    let units = text_of(&string).units();
    let room = if buffer.is_null() {
        usize::MAX
    } else {
        usize::try_from(size).unwrap_or(0)
    };
    let part = encoded(&units[range.indexes()], encoding, loss, room);
    raw::fill(buffer, &part.bytes);
    raw::put(used, part.bytes.len().cast_signed());
    part.converted.cast_signed()
}

/// `CFString.h`: so many bytes are enough for so many units.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringGetMaximumSizeForEncoding(length: isize, encoding: u32) -> isize {
    note("CFStringGetMaximumSizeForEncoding");
    match encoding {
        UTF_8 => length * 3,
        UTF_16 => length * 2,
        _ => length,
    }
}

/// `CFString.h`: less -1, equal 0, greater 1; by units, and without regard of the options.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringCompare(one: Ref, other: Ref, _options: usize) -> isize {
    note("CFStringCompare");
    text_of(&one).units().cmp(&text_of(&other).units()) as isize
}

/// `CFString.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringHasPrefix(string: Ref, prefix: Ref) -> u8 {
    note("CFStringHasPrefix");
    u8::from(
        text_of(&string)
            .units()
            .starts_with(&text_of(&prefix).units()),
    )
}

/// `CFString.h`.
#[unsafe(no_mangle)]
extern "C-unwind" fn CFStringHasSuffix(string: Ref, suffix: Ref) -> u8 {
    note("CFStringHasSuffix");
    u8::from(
        text_of(&string)
            .units()
            .ends_with(&text_of(&suffix).units()),
    )
}

impl Range {
    fn indexes(self) -> std::ops::Range<usize> {
        let start = self.location.cast_unsigned();
        start..start + self.length.cast_unsigned()
    }
}

fn decoded(bytes: &[u8], encoding: u32) -> Ref {
    let units: Option<Vec<u16>> = match encoding {
        UTF_8 => std::str::from_utf8(bytes)
            .ok()
            .map(|text| text.encode_utf16().collect()),
        ASCII | MAC_ROMAN => bytes
            .is_ascii()
            .then(|| bytes.iter().copied().map(u16::from).collect()),
        LATIN_1 => Some(bytes.iter().copied().map(u16::from).collect()),
        UTF_16 => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let units = pairs.iter().map(|pair| u16::from_ne_bytes(*pair)).collect();
            rest.is_empty().then_some(units)
        }
        _ => None,
    };
    units.map_or(Ref::NONE, |units| {
        Ref::new(Body::Text(Text::from_units(units)))
    })
}

struct Encoded {
    bytes: Vec<u8>,
    /// How many units they stand for.
    converted: usize,
}

fn encoded(units: &[u16], encoding: u32, loss: u8, room: usize) -> Encoded {
    let mut all = Encoded {
        bytes: Vec::new(),
        converted: 0,
    };
    for character in char::decode_utf16(units.iter().copied()) {
        let length = character
            .as_ref()
            .map_or(1, |character| character.len_utf16());
        let bytes = match character {
            Ok(character) => encoded_character(character, encoding),
            Err(_) => None,
        };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None if loss != 0 => vec![loss],
            None => break,
        };
        if all.bytes.len() + bytes.len() > room {
            break;
        }
        all.bytes.extend_from_slice(&bytes);
        all.converted += length;
    }
    all
}

fn encoded_character(character: char, encoding: u32) -> Option<Vec<u8>> {
    match encoding {
        UTF_8 => Some(character.encode_utf8(&mut [0; 4]).as_bytes().to_vec()),
        UTF_16 => {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units);
            Some(units.iter().flat_map(|unit| unit.to_ne_bytes()).collect())
        }
        ASCII | MAC_ROMAN => u8::try_from(character)
            .ok()
            .filter(u8::is_ascii)
            .map(|byte| vec![byte]),
        LATIN_1 => u8::try_from(character).ok().map(|byte| vec![byte]),
        _ => None,
    }
}
