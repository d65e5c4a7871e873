//! The outer shell of signed messages: tags and lengths.
//!
//! Provisioning profiles are signed messages (CMS), and those may be written in BER, where a
//! length can be left open and a text can come in pieces. Readers of DER refuse both. This one
//! reads both, within limits, and nothing else.

/// How deep elements of open length may stand in each other. Profiles have four.
const DEPTH_MAX: usize = 16;

/// One element: what it is, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// The tag as it is written: class, whether it is made of elements, number.
    pub(crate) tag: u8,
    /// Without tag, length and mark of the end.
    pub(crate) content: &'a [u8],
    /// With them.
    pub(crate) whole: &'a [u8],
}

/// Whole numbers.
pub(crate) const INTEGER: u8 = 0x02;
/// Bytes.
pub(crate) const OCTETS: u8 = 0x04;
/// Bytes in pieces.
pub(crate) const OCTETS_IN_PIECES: u8 = 0x24;
/// Names made of numbers.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// A list with an order.
pub(crate) const SEQUENCE: u8 = 0x30;
/// A list without one.
pub(crate) const SET: u8 = 0x31;
/// `[0]`, made of elements.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// Why bytes are no element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The file ends within it.
    #[error("it ends in the middle of an element")]
    Truncated,
    /// Tags of several bytes and lengths of more than four do not occur in what we read.
    #[error("it has a tag or a length that no profile has")]
    Unusual,
    /// Too many in each other.
    #[error("its elements stand in each other too deeply")]
    Deep,
    /// Something else was to come here.
    #[error("it has an element of kind {found:#04x} where one of kind {wanted:#04x} belongs")]
    Kind {
        /// The tag that must be here.
        wanted: u8,
        /// The one that is.
        found: u8,
    },
}

/// Takes the next element off the input.
pub(crate) fn next<'a>(input: &mut &'a [u8]) -> Result<Element<'a>, Error> {
    take(input, DEPTH_MAX)
}

/// Takes the next element, which must have this tag, and gives what is in it.
pub(crate) fn expect<'a>(input: &mut &'a [u8], wanted: u8) -> Result<&'a [u8], Error> {
    let element = next(input)?;
    match element.tag == wanted {
        true => Ok(element.content),
        false => Err(Error::Kind {
            wanted,
            found: element.tag,
        }),
    }
}

/// Takes the next element if it has this tag.
pub(crate) fn optional<'a>(input: &mut &'a [u8], tag: u8) -> Result<Option<&'a [u8]>, Error> {
    match input.first() == Some(&tag) {
        true => Ok(Some(next(input)?.content)),
        false => Ok(None),
    }
}

/// Takes the next element, which must be bytes, in one piece or in several.
pub(crate) fn octets(input: &mut &[u8]) -> Result<Vec<u8>, Error> {
    let element = next(input)?;
    if element.tag == OCTETS {
        return Ok(element.content.to_vec());
    }
    if element.tag != OCTETS_IN_PIECES {
        return Err(Error::Kind {
            wanted: OCTETS,
            found: element.tag,
        });
    }
    let mut pieces = element.content;
    let mut all = Vec::new();
    while !pieces.is_empty() {
        all.extend(expect(&mut pieces, OCTETS)?);
    }
    Ok(all)
}

fn take<'a>(input: &mut &'a [u8], depth: usize) -> Result<Element<'a>, Error> {
    let start = *input;
    let tag = byte(input)?;
    if tag & 0x1f == 0x1f {
        return Err(Error::Unusual);
    }
    let content = match byte(input)? {
        0x80 => open(input, tag, depth)?,
        short @ 0..0x80 => split(input, usize::from(short))?,
        long => {
            let length = length(input, long & 0x7f)?;
            split(input, length)?
        }
    };
    let whole = &start[..start.len() - input.len()];
    Ok(Element {
        tag,
        content,
        whole,
    })
}

/// What stands before the mark that ends an element of open length. Only elements made of
/// elements can have one.
fn open<'a>(input: &mut &'a [u8], tag: u8, depth: usize) -> Result<&'a [u8], Error> {
    if tag & 0x20 == 0 {
        return Err(Error::Unusual);
    }
    let below = depth.checked_sub(1).ok_or(Error::Deep)?;
    let start = *input;
    loop {
        if let Some(rest) = input.strip_prefix(&[0, 0]) {
            let content = &start[..start.len() - input.len()];
            *input = rest;
            return Ok(content);
        }
        take(input, below)?;
    }
}

fn length(input: &mut &[u8], bytes: u8) -> Result<usize, Error> {
    if bytes > 4 {
        return Err(Error::Unusual);
    }
    (0..bytes).try_fold(0_usize, |sum, _| Ok(sum << 8 | usize::from(byte(input)?)))
}

fn split<'a>(input: &mut &'a [u8], at: usize) -> Result<&'a [u8], Error> {
    let (head, tail) = input.split_at_checked(at).ok_or(Error::Truncated)?;
    *input = tail;
    Ok(head)
}

fn byte(input: &mut &[u8]) -> Result<u8, Error> {
    Ok(split(input, 1)?[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_come_short_long_and_open() {
        let long = [vec![0x04, 0x81, 0x80], vec![7; 128]].concat();
        let open = [vec![0x24, 0x80], long.clone(), vec![0x04, 0x01, 0x08, 0, 0]].concat();
        let all = [vec![0x04, 0x01, 0x09], long, open.clone(), vec![0x02, 0x00]].concat();
        let mut input = all.as_slice();
        assert_eq!(octets(&mut input), Ok(vec![9]));
        assert_eq!(octets(&mut input), Ok(vec![7; 128]));
        let mut again = input;
        assert_eq!(next(&mut again).unwrap().whole, open.as_slice());
        assert_eq!(octets(&mut input), Ok([vec![7; 128], vec![8]].concat()));
        assert_eq!(expect(&mut input, INTEGER), Ok([].as_slice()));
        assert_eq!(next(&mut input), Err(Error::Truncated));
    }

    #[test]
    fn what_no_profile_has_is_refused() {
        for (bytes, wanted) in [
            (vec![0x1f, 0x81, 0x00], Error::Unusual),
            (vec![0x04, 0x85, 0, 0, 0, 0, 0], Error::Unusual),
            (vec![0x04, 0x80, 0, 0], Error::Unusual),
            (vec![0x04, 0x84, 0xff, 0xff, 0xff, 0xff], Error::Truncated),
            (vec![0x30, 0x80, 0x02, 0x01], Error::Truncated),
            ([0x30, 0x80].repeat(200_000), Error::Deep),
        ] {
            assert_eq!(
                next(&mut bytes.as_slice()),
                Err(wanted),
                "{:?}",
                &bytes[..2]
            );
        }
        let kind = Error::Kind {
            wanted: SEQUENCE,
            found: SET,
        };
        assert_eq!(expect(&mut [0x31, 0].as_slice(), SEQUENCE), Err(kind));
    }

    #[test]
    fn no_beginning_of_an_element_is_an_element() {
        let whole = [
            0x30, 0x80, 0x24, 0x80, 0x04, 0x02, 1, 2, 0, 0, 0x02, 0x81, 1, 5, 0, 0,
        ];
        assert!(next(&mut whole.as_slice()).is_ok());
        for end in 0..whole.len() {
            assert_eq!(next(&mut &whole[..end]), Err(Error::Truncated), "{end}");
        }
    }
}
