//! Binary property lists, of the form "bplist00".
//!
//! Objects, then a table of where each begins, then 32 bytes that say how wide the numbers are. One
//! object may stand in several places, and a hostile list uses that to grow: every place counts.

use super::{Budget, DEPTH_MAX, Error};
use crate::value::{Dictionary, Value};

const BROKEN: Error = Error::Binary("a number points outside of the file");

pub(super) fn read(bytes: &[u8]) -> Result<Value, Error> {
    let start = bytes.len().checked_sub(32).filter(|it| *it >= 8);
    let start = start.ok_or(Error::Binary("it is too short"))?;
    if !bytes.starts_with(b"bplist00") {
        return Err(Error::Binary("it is of another version than 00"));
    }
    let trailer = &bytes[start..];
    let mut list = List {
        bytes: &bytes[..start],
        offset_bytes: usize::from(trailer[6]),
        reference_bytes: usize::from(trailer[7]),
        objects: usize::try_from(number(&trailer[8..16])).map_err(|_| BROKEN)?,
        table: usize::try_from(number(&trailer[24..32])).map_err(|_| BROKEN)?,
        budget: Budget::new(),
    };
    let widths = [list.offset_bytes, list.reference_bytes];
    if widths.iter().any(|it| !(1..=8).contains(it)) {
        return Err(Error::Binary("a width is none"));
    }
    let top = usize::try_from(number(&trailer[16..24])).map_err(|_| BROKEN)?;
    list.object(top, 0)
}

struct List<'a> {
    bytes: &'a [u8],
    offset_bytes: usize,
    reference_bytes: usize,
    objects: usize,
    table: usize,
    budget: Budget,
}

impl List<'_> {
    fn object(&mut self, index: usize, depth: usize) -> Result<Value, Error> {
        if depth >= DEPTH_MAX {
            return Err(Error::Beyond);
        }
        let (at, marker) = self.place(index)?;
        let low = marker & 15;
        self.budget.take(0)?;
        match marker >> 4 {
            0 if low == 8 || low == 9 => Ok(Value::Boolean(low == 9)),
            1 if low <= 4 => self.integer(at + 1, 1 << low),
            2 if low == 2 || low == 3 => self.real(at + 1, 1 << low).map(Value::Real),
            3 if low == 3 => self.real(at + 1, 8).map(Value::Date),
            4 => self.data(at, low).map(|it| Value::Data(it.to_vec())),
            5 => self.data(at, low).and_then(ascii),
            6 => self.wide_text(at, low),
            10 | 12 => self.list(at, low, depth),
            13 => self.dictionary(at, low, depth),
            _ => Err(Error::Binary("an object is of a kind that no profile has")),
        }
    }

    /// Where an object begins, and its first byte.
    fn place(&self, index: usize) -> Result<(usize, u8), Error> {
        if index >= self.objects {
            return Err(BROKEN);
        }
        let place = index.checked_mul(self.offset_bytes);
        let place = place.and_then(|it| it.checked_add(self.table));
        let offset = number(self.slice(place.ok_or(BROKEN)?, self.offset_bytes)?);
        let at = usize::try_from(offset).map_err(|_| BROKEN)?;
        Ok((at, self.slice(at, 1)?[0]))
    }

    fn integer(&self, at: usize, length: usize) -> Result<Value, Error> {
        let bytes = self.slice(at, length)?;
        Ok(match length {
            16 => Value::Real("a number of more than 64 bits".to_owned()),
            8 => Value::Integer(i64::from_be_bytes(bytes.try_into().map_err(|_| BROKEN)?)),
            _ => Value::Integer(i64::try_from(number(bytes)).map_err(|_| BROKEN)?),
        })
    }

    fn real(&self, at: usize, length: usize) -> Result<String, Error> {
        let bytes = self.slice(at, length)?;
        let number = match length {
            4 => f64::from(f32::from_be_bytes(bytes.try_into().map_err(|_| BROKEN)?)),
            _ => f64::from_be_bytes(bytes.try_into().map_err(|_| BROKEN)?),
        };
        Ok(number.to_string())
    }

    fn data(&mut self, at: usize, low: u8) -> Result<&[u8], Error> {
        let (from, length) = self.length(at, low)?;
        self.budget.take(length)?;
        self.slice(from, length)
    }

    fn wide_text(&mut self, at: usize, low: u8) -> Result<Value, Error> {
        let (from, length) = self.length(at, low)?;
        let length = length.checked_mul(2).ok_or(BROKEN)?;
        self.budget.take(length)?;
        let pairs = self.slice(from, length)?.chunks_exact(2);
        let units: Vec<u16> = pairs.map(|it| u16::from_be_bytes([it[0], it[1]])).collect();
        let text = String::from_utf16(&units);
        text.map(Value::Text)
            .map_err(|_| Error::Binary("a text is not UTF-16"))
    }

    fn list(&mut self, at: usize, low: u8, depth: usize) -> Result<Value, Error> {
        let (from, length) = self.length(at, low)?;
        let mut values = Vec::new();
        for position in 0..length {
            let index = self.reference(from, position)?;
            values.push(self.object(index, depth + 1)?);
        }
        Ok(Value::List(values))
    }

    fn dictionary(&mut self, at: usize, low: u8, depth: usize) -> Result<Value, Error> {
        let (from, length) = self.length(at, low)?;
        let mut entries = Dictionary::new();
        for position in 0..length {
            let key = self.reference(from, position)?;
            let key = self.key(key)?;
            let value = length.checked_add(position).ok_or(BROKEN)?;
            let value = self.reference(from, value)?;
            entries.insert(key, self.object(value, depth + 1)?);
        }
        Ok(Value::Dictionary(entries))
    }

    fn key(&mut self, index: usize) -> Result<String, Error> {
        const NO_TEXT: Error = Error::Binary("a key is no text");
        let (at, marker) = self.place(index)?;
        self.budget.take(0)?;
        let key = match marker >> 4 {
            5 => self.data(at, marker & 15).and_then(ascii)?,
            6 => self.wide_text(at, marker & 15)?,
            _ => return Err(NO_TEXT),
        };
        key.as_text().map(str::to_owned).ok_or(NO_TEXT)
    }

    /// Where the contents begin, and how many of them there are.
    fn length(&self, at: usize, low: u8) -> Result<(usize, usize), Error> {
        if low < 15 {
            return Ok((at + 1, usize::from(low)));
        }
        let marker = self.slice(at + 1, 1)?[0];
        if marker >> 4 != 1 || marker & 15 > 3 {
            return Err(Error::Binary("a length is no number"));
        }
        let width = 1 << (marker & 15);
        let length = number(self.slice(at + 2, width)?);
        let length = usize::try_from(length).map_err(|_| BROKEN)?;
        Ok((at + 2 + width, length))
    }

    fn reference(&self, from: usize, position: usize) -> Result<usize, Error> {
        let place = position.checked_mul(self.reference_bytes);
        let place = place.and_then(|it| it.checked_add(from)).ok_or(BROKEN)?;
        let index = number(self.slice(place, self.reference_bytes)?);
        usize::try_from(index).map_err(|_| BROKEN)
    }

    fn slice(&self, from: usize, length: usize) -> Result<&[u8], Error> {
        let end = from.checked_add(length).ok_or(BROKEN)?;
        self.bytes.get(from..end).ok_or(BROKEN)
    }
}

fn ascii(bytes: &[u8]) -> Result<Value, Error> {
    match bytes.is_ascii() {
        true => Ok(Value::Text(bytes.iter().copied().map(char::from).collect())),
        false => Err(Error::Binary("a text is not ASCII")),
    }
}

/// At most eight bytes, the highest first.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `objects` one after the other, each reference one byte wide.
    fn list(objects: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"bplist00".to_vec();
        let mut offsets = Vec::new();
        for object in objects {
            offsets.push(u16::try_from(bytes.len()).unwrap());
            bytes.extend_from_slice(object);
        }
        let table = bytes.len() as u64;
        offsets.iter().for_each(|it| bytes.extend(it.to_be_bytes()));
        bytes.extend([0, 0, 0, 0, 0, 0, 2, 1]);
        bytes.extend((objects.len() as u64).to_be_bytes());
        bytes.extend(0u64.to_be_bytes());
        bytes.extend(table.to_be_bytes());
        bytes
    }

    #[test]
    fn a_list_in_itself_is_not_followed_for_ever() {
        assert_eq!(read(&list(&[&[0xa1, 0]])), Err(Error::Beyond));
        let key = read(&list(&[&[0xd1, 0, 0]]));
        assert_eq!(key, Err(Error::Binary("a key is no text")));
    }

    #[test]
    fn a_list_that_grows_with_every_level_is_stopped() {
        let level = |next: u8| [0xa9, next, next, next, next, next, next, next, next, next];
        let levels: Vec<[u8; 10]> = (1..=20).map(level).collect();
        let mut objects: Vec<&[u8]> = levels.iter().map(|it| &it[..]).collect();
        objects.push(&[0x09]);
        assert_eq!(read(&list(&objects)), Err(Error::Beyond));
    }

    #[test]
    fn a_length_beyond_the_file_allocates_nothing() {
        let endless = [0xaf, 0x13, 0x7f, 255, 255, 255, 255, 255, 255, 255];
        assert!(read(&list(&[&endless])).is_err());
        let endless = [0x5f, 0x13, 0x7f, 255, 255, 255, 255, 255, 255, 255];
        assert!(read(&list(&[&endless])).is_err());
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        let objects: [&[u8]; 5] = [
            &[0xa4, 1, 2, 3, 4],
            &[0x10, 0xff],
            &[0x11, 0xff, 0xff],
            &[0x13, 255, 255, 255, 255, 255, 255, 255, 254],
            &[0x22, 0x3f, 0xc0, 0, 0],
        ];
        let numbers = vec![
            Value::Integer(255),
            Value::Integer(65_535),
            Value::Integer(-2),
            Value::Real("1.5".to_owned()),
        ];
        assert_eq!(read(&list(&objects)), Ok(Value::List(numbers)));
    }
}
