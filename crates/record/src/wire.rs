//! The wire format of protocol buffers, which is a public one: any language can read our bytes.
//!
//! Only what canonical records need: varints, byte strings and nested messages.
//! Fields are written in rising order of number and never twice unless repeated, so that one
//! record has one encoding. A field that is absent is unknown, which is not zero: a known zero is
//! written.
//!
//! Format: <https://protobuf.dev/programming-guides/encoding/>.

use std::net::IpAddr;

/// Writes fields to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    /// An unsigned number.
    #[inline]
    pub fn uint(&mut self, field: u32, value: u64) {
        self.key(field, KIND_VARINT);
        self.varint(value);
    }

    /// An unsigned number that may be unknown.
    #[inline]
    pub fn uint_if(&mut self, field: u32, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.uint(field, value.into());
        }
    }

    /// A signed number, small where it is near zero.
    #[inline]
    pub fn sint(&mut self, field: u32, value: i64) {
        self.uint(field, zigzag(value));
    }

    /// A byte string.
    #[inline]
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, KIND_BYTES);
        self.varint(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// An address of four or sixteen bytes that may be unknown.
    #[inline]
    pub fn address_if(&mut self, field: u32, value: Option<IpAddr>) {
        match value {
            Some(IpAddr::V4(address)) => self.bytes(field, &address.octets()),
            Some(IpAddr::V6(address)) => self.bytes(field, &address.octets()),
            None => {}
        }
    }

    /// A text that may be unknown.
    #[inline]
    pub fn text_if(&mut self, field: u32, value: Option<&str>) {
        if let Some(value) = value {
            self.bytes(field, value.as_bytes());
        }
    }

    /// A nested message, written by `body`.
    pub fn message(&mut self, field: u32, body: impl FnOnce(&mut Writer<'_>)) {
        self.key(field, KIND_BYTES);
        let length_at = self.out.len();
        self.out.push(0);
        body(&mut Writer { out: self.out });
        let length = self.out.len() - length_at - 1;
        self.out[length_at] = length as u8 & 0x7f;
        if length >= 0x80 {
            self.widen_length(length_at, length);
        }
    }

    /// Makes room for a length of more than one byte in front of the body it counts: most bodies
    /// are short, so the room is not kept free beforehand.
    fn widen_length(&mut self, length_at: usize, length: usize) {
        let mut prefix = [0; 10];
        let mut rest = length;
        let mut width = 0;
        while rest > 0 {
            prefix[width] = rest as u8 | 0x80;
            rest >>= 7;
            width += 1;
        }
        prefix[width - 1] &= 0x7f;
        let body = length_at + 1..length_at + 1 + length;
        self.out.resize(self.out.len() + width - 1, 0);
        self.out.copy_within(body, length_at + width);
        self.out[length_at..length_at + width].copy_from_slice(&prefix[..width]);
    }

    #[inline]
    fn key(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        push_varint(self.out, value);
    }
}

/// A run of short fields, put together where no field asks for room of its own: that costs half of
/// what it does to append each to a vector.
#[derive(Debug)]
pub(crate) struct Run {
    bytes: [u8; RUN_BYTES],
    length: usize,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            bytes: [0; RUN_BYTES],
            length: 0,
        }
    }
}

impl Run {
    /// Appends what was put in to `out`, and begins anew.
    #[inline]
    pub(crate) fn finish(&mut self, out: &mut Writer<'_>) {
        out.out.extend_from_slice(&self.bytes[..self.length]);
        self.length = 0;
    }

    /// Appends what was put in to `out` as one field, and begins anew.
    #[inline]
    pub(crate) fn finish_bytes(&mut self, field: u32, out: &mut Writer<'_>) {
        out.bytes(field, &self.bytes[..self.length]);
        self.length = 0;
    }

    /// A number without a key.
    #[inline(always)]
    pub(crate) fn varint(&mut self, value: u64) {
        let length = put_varint(self.room(), 0, value);
        self.length += length;
    }

    /// As [`Writer::uint`].
    #[inline(always)]
    pub(crate) fn uint(&mut self, field: u32, value: u64) {
        let room = self.room();
        let key_length = put_varint(room, 0, u64::from(field) << 3 | KIND_VARINT);
        let length = put_varint(room, key_length, value);
        self.length += length;
    }

    /// As [`Writer::uint_if`].
    #[inline(always)]
    pub(crate) fn uint_if(&mut self, field: u32, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.uint(field, value.into());
        }
    }

    /// As [`Writer::sint`].
    #[inline(always)]
    pub(crate) fn sint(&mut self, field: u32, value: i64) {
        self.uint(field, zigzag(value));
    }

    /// As [`Writer::address_if`].
    #[inline(always)]
    pub(crate) fn address_if(&mut self, field: u32, value: Option<IpAddr>) {
        match value {
            Some(IpAddr::V4(address)) => self.few_bytes(field, &address.octets()),
            Some(IpAddr::V6(address)) => self.few_bytes(field, &address.octets()),
            None => {}
        }
    }

    #[inline(always)]
    fn few_bytes<const N: usize>(&mut self, field: u32, value: &[u8; N]) {
        const { assert!(N < 0x80 && N + 6 <= FIELD_BYTES_MAX) };
        let room = self.room();
        let start = put_varint(room, 0, u64::from(field) << 3 | KIND_BYTES);
        room[start] = N as u8;
        room[start + 1..start + 1 + N].copy_from_slice(value);
        self.length += start + 1 + N;
    }

    #[inline(always)]
    fn room(&mut self) -> &mut [u8; FIELD_BYTES_MAX] {
        let (_, rest) = self.bytes.split_at_mut(self.length);
        let room = rest.first_chunk_mut();
        room.expect("a run has fewer fields than there is room for")
    }
}

/// A signed number as an unsigned one, small where it is near zero.
#[inline(always)]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The number of which [`zigzag`] made this one.
#[inline(always)]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a varint.
#[inline]
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Five bytes of field number and kind, and ten of value or sixteen with their length.
const FIELD_BYTES_MAX: usize = 24;

/// What the numbers and addresses of a connection take at most, with room to spare.
const RUN_BYTES: usize = 768;

/// Puts a varint at `at` and returns where it ends.
#[inline(always)]
fn put_varint(bytes: &mut [u8; FIELD_BYTES_MAX], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        bytes[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    bytes[at] = value as u8;
    at + 1
}

/// Takes a varint from the front of `input`.
///
/// # Errors
/// When `input` ends before it does, or it is more than 64 bits.
#[inline(always)]
pub fn take_varint(input: &mut &[u8]) -> Result<u64, WireError> {
    match *input {
        [byte @ 0..0x80, rest @ ..] => {
            *input = rest;
            Ok(u64::from(*byte))
        }
        _ => take_long_varint(input),
    }
}

/// One that ends within eight bytes is taken at once: the first byte without the highest bit is
/// its last, and the seven bits of each byte are moved together, by twos, fours and eights.
fn take_long_varint(input: &mut &[u8]) -> Result<u64, WireError> {
    const HIGHEST_BITS: u64 = 0x8080_8080_8080_8080;
    if let Some(front) = input.first_chunk() {
        let front = u64::from_le_bytes(*front);
        let last = !front & HIGHEST_BITS;
        if last != 0 {
            // All bits up to the highest one of the last byte.
            let bytes = front & (last ^ (last - 1)) & !HIGHEST_BITS;
            let twos = bytes & 0x007f_007f_007f_007f | (bytes & 0x7f00_7f00_7f00_7f00) >> 1;
            let fours = twos & 0x0000_3fff_0000_3fff | (twos & 0x3fff_0000_3fff_0000) >> 2;
            let eights = fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4;
            *input = &input[last.trailing_zeros() as usize / 8 + 1..];
            return Ok(eights);
        }
    }
    take_any_varint(input)
}

fn take_any_varint(input: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0u64;
    for index in 0..10 {
        let (&byte, rest) = input.split_first().ok_or(WireError::Truncated)?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return Err(WireError::Overflow);
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Overflow)
}

/// A field's value as it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Varint(u64),
    /// Bytes: a string or a nested message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The number, or an error for bytes.
    pub fn uint(self) -> Result<u64, WireError> {
        match self {
            Value::Varint(value) => Ok(value),
            Value::Bytes(_) => Err(WireError::WrongKind),
        }
    }

    /// A number that must fit the smaller type.
    pub fn narrow<T: TryFrom<u64>>(self) -> Result<T, WireError> {
        T::try_from(self.uint()?).map_err(|_| WireError::Overflow)
    }

    /// A signed number.
    pub fn sint(self) -> Result<i64, WireError> {
        self.uint().map(unzigzag)
    }

    /// The bytes, or an error for a number.
    pub fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) => Err(WireError::WrongKind),
        }
    }

    /// Text, which must be UTF-8.
    pub fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::NotText)
    }

    /// Exactly `N` bytes.
    pub fn array<const N: usize>(self) -> Result<[u8; N], WireError> {
        self.bytes()?.try_into().map_err(|_| WireError::WrongLength)
    }

    /// An address: four bytes or sixteen.
    pub fn address(self) -> Result<IpAddr, WireError> {
        match self.array::<4>() {
            Ok(octets) => Ok(IpAddr::from(octets)),
            Err(_) => Ok(IpAddr::from(self.array::<16>()?)),
        }
    }

    /// The fields of a nested message.
    pub fn fields(self) -> Result<Fields<'a>, WireError> {
        Ok(Fields::new(self.bytes()?))
    }
}

/// Walks over the fields of a message.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    #[inline]
    fn take(&mut self) -> Result<(u32, Value<'a>), WireError> {
        let key = take_varint(&mut self.rest)?;
        let field = u32::try_from(key >> 3).map_err(|_| WireError::Overflow)?;
        let value = match key & 7 {
            KIND_VARINT => Value::Varint(take_varint(&mut self.rest)?),
            KIND_BYTES => {
                let length = take_varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| WireError::Overflow)?;
                let (bytes, rest) = self
                    .rest
                    .split_at_checked(length)
                    .ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            _ => return Err(WireError::WrongKind),
        };
        Ok((field, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        Some(taken)
    }
}

/// The bytes are not a message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end in the middle of a field.
    #[error("the bytes end in the middle of a field")]
    Truncated,
    /// A number is larger than its field allows.
    #[error("a number is larger than its field allows")]
    Overflow,
    /// A field has another kind of value than it must have.
    #[error("a field has another kind of value than it must have")]
    WrongKind,
    /// A byte string has another length than it must have.
    #[error("a byte string has another length than it must have")]
    WrongLength,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotText,
    /// A field that must be there is missing.
    #[error("field {0} is missing")]
    Missing(u32),
    /// A choice has a number that this version does not know.
    #[error("field {0} has the unknown choice {1}")]
    UnknownChoice(u32, u64),
}

const KIND_VARINT: u64 = 0;
const KIND_BYTES: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_whether_it_is_taken_at_once_or_byte_by_byte() {
        let powers = (0..64).map(|bits| 1_u64 << bits);
        let around = powers.flat_map(|it| [it - 1, it, it + 1, it.wrapping_mul(0x5bd1_e995)]);
        for number in around.chain([u64::MAX]) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, number);
            let length = bytes.len();
            for behind in 0..9 {
                bytes.resize(length + behind, 0xff);
                let mut at_once = &bytes[..];
                let mut one_by_one = &bytes[..];
                assert_eq!(take_varint(&mut at_once), Ok(number));
                assert_eq!(take_any_varint(&mut one_by_one), Ok(number));
                assert_eq!((at_once.len(), one_by_one.len()), (behind, behind));
            }
            bytes.truncate(length - 1);
            assert_eq!(take_varint(&mut &bytes[..]), Err(WireError::Truncated));
        }
        let too_long = [0xff; 12];
        assert_eq!(take_varint(&mut &too_long[..]), Err(WireError::Overflow));
        // More bytes than it needs.
        assert_eq!(
            take_varint(&mut &[0x81, 0x80, 0x00, 7, 7, 7, 7, 7][..]),
            Ok(1)
        );
    }

    #[test]
    fn fields_survive() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.uint(1, u64::MAX);
        writer.sint(2, -3);
        writer.message(3, |nested| nested.bytes(1, &[7; 300]));
        writer.message(6, |nested| nested.bytes(1, &[8; 70_000]));
        writer.text_if(4, Some("é"));
        writer.uint_if(5, None::<u32>);
        let fields: Vec<_> = Fields::new(&out).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields[0], (1, Value::Varint(u64::MAX)));
        assert_eq!(fields[1].1.sint(), Ok(-3));
        let nested = fields[2].1.fields().unwrap().next().unwrap().unwrap();
        assert_eq!(nested, (1, Value::Bytes(&[7; 300])));
        assert_eq!(fields[4].1.text(), Ok("é"));
        let large = fields[3].1.fields().unwrap().next().unwrap().unwrap();
        assert_eq!(large, (1, Value::Bytes(&[8; 70_000])));
        assert_eq!(fields.len(), 5);
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_message() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.uint(1, 300);
        writer.bytes(2, b"abc");
        for length in 0..out.len() {
            let fields = Fields::new(&out[..length]).collect::<Result<Vec<_>, _>>();
            match length {
                0 => assert_eq!(fields, Ok(vec![])),
                3 => assert_eq!(fields, Ok(vec![(1, Value::Varint(300))])),
                _ => assert_eq!(fields, Err(WireError::Truncated)),
            }
        }
    }

    #[test]
    fn eleven_byte_varint_is_refused() {
        assert_eq!(take_varint(&mut &[0xff; 11][..]), Err(WireError::Overflow));
    }
}
