//! The encoding of certificates, signed messages and entitlements (X.690, distinguished rules).

use super::bytes::Malformed;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// `[number]`, holding other elements.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

/// Elements, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Elements<'a> {
        Elements(data)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, Malformed> {
        let short = || Malformed::new("an element is cut off");
        let (&tag, rest) = self.0.split_first().ok_or_else(short)?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed::new("a tag is longer than a byte"));
        }
        let (length, rest) = length(rest)?;
        let content = rest.get(..length).ok_or_else(short)?;
        let whole = &self.0[..self.0.len() - rest.len() + length];
        self.0 = &rest[length..];
        Ok(Element {
            tag,
            content,
            whole,
        })
    }

    /// The next, which must have this tag.
    pub(crate) fn one(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        self.any()?.with(tag)
    }

    /// The next, which must have this tag, and after which nothing comes.
    pub(crate) fn last(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        let last = self.one(tag)?;
        match self.is_at_end() {
            true => Ok(last),
            false => Err(Malformed(format!(
                "something follows an element {tag:#04x}"
            ))),
        }
    }

    /// What is left, whatever it is.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next, when it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        match self.0.first() == Some(&tag) {
            true => self.any().map(Some),
            false => Ok(None),
        }
    }

    /// All that are left.
    pub(crate) fn all(mut self) -> Result<Vec<Element<'a>>, Malformed> {
        let mut all = Vec::new();
        while !self.is_at_end() {
            all.push(self.any()?);
        }
        Ok(all)
    }

    /// The next, which must be the name of something, as numbers with dots between.
    pub(crate) fn oid(&mut self) -> Result<String, Malformed> {
        oid(self.one(OBJECT_IDENTIFIER)?.content)
    }
}

impl<'a> Element<'a> {
    /// Itself, when it has this tag.
    pub(crate) fn with(self, tag: u8) -> Result<Element<'a>, Malformed> {
        match self.tag == tag {
            true => Ok(self),
            false => Err(Malformed(format!(
                "an element {:#04x} where {tag:#04x} belongs",
                self.tag
            ))),
        }
    }

    /// What it holds.
    pub(crate) fn inside(self) -> Elements<'a> {
        Elements(self.content)
    }

    /// As a text in UTF-8 or one of its subsets.
    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.content).map_err(|_| Malformed::new("a text is not UTF-8"))
    }

    /// As a number.
    pub(crate) fn integer(self) -> Result<i64, Malformed> {
        let bytes = self.content;
        let (Some(first), true) = (bytes.first(), bytes.len() <= 8) else {
            return Err(Malformed::new("a number has no or too many bytes"));
        };
        let sign = if first & 0x80 == 0 { 0 } else { -1 };
        Ok(bytes
            .iter()
            .fold(sign, |number, byte| number << 8 | i64::from(*byte)))
    }

    /// As whole bytes of bits.
    pub(crate) fn bits(self) -> Result<&'a [u8], Malformed> {
        match self.content.split_first() {
            Some((0, bytes)) => Ok(bytes),
            Some(_) | None => Err(Malformed::new("bits that are no whole bytes")),
        }
    }
}

/// The name of something as numbers with dots between.
pub(crate) fn oid(content: &[u8]) -> Result<String, Malformed> {
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    let mut is_open = true;
    for byte in content {
        if number >> 57 != 0 {
            return Err(Malformed::new(
                "a number in an object identifier is too large",
            ));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        is_open = byte & 0x80 != 0;
        if !is_open {
            numbers.push(number);
            number = 0;
        }
    }
    let (Some(first), false) = (numbers.first().copied(), is_open) else {
        return Err(Malformed::new("an object identifier is cut off"));
    };
    let root = (first / 40).min(2);
    let mut text = format!("{root}.{}", first - root * 40);
    for number in &numbers[1..] {
        text.push_str(&format!(".{number}"));
    }
    Ok(text)
}

fn length(data: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let short = || Malformed::new("a length is cut off");
    let (&first, rest) = data.split_first().ok_or_else(short)?;
    if first < 0x80 {
        return Ok((first.into(), rest));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(Malformed::new("a length has no or too many bytes"));
    }
    let bytes = rest.get(..count).ok_or_else(short)?;
    let length = bytes
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    match length < 0x80 || bytes[0] == 0 {
        true => Err(Malformed::new("a length is not as short as it can be")),
        false => Ok((length, &rest[count..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_identifier_is_written_with_dots() {
        let bytes = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 0x09, 0x01];
        assert_eq!(oid(&bytes).unwrap(), "1.2.840.113635.100.9.1");
        for wrong in [&[][..], &[0x2a, 0x86], &[0xff; 12]] {
            assert!(oid(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_have_a_sign() {
        for (bytes, number) in [
            (&[2, 1, 0xff][..], -1),
            (&[2, 2, 1, 0], 256),
            (&[2, 1, 42], 42),
        ] {
            assert_eq!(
                Elements::new(bytes).any().unwrap().integer().unwrap(),
                number
            );
        }
    }

    #[test]
    fn lengths_are_bounded_and_as_short_as_they_can_be() {
        for wrong in [
            &[0x30, 0x80, 0, 0][..],
            &[0x30, 0x81, 5, 0, 0, 0, 0, 0],
            &[0x30, 0x85, 1, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 2, 0],
            &[0x1f, 0],
            &[0x30],
        ] {
            assert!(Elements::new(wrong).any().is_err(), "{wrong:?}");
        }
    }
}
