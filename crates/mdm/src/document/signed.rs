//! The content of a signed message (CMS, RFC 5652), as `security cms` and MDM servers make them.
//!
//! Only the content is looked for: ContentInfo, SignedData, EncapsulatedContentInfo, in DER or in
//! BER with lengths that are not told beforehand. Nothing is verified.

/// The content of `bytes` if they are a signed message: `None` when they do not begin as one,
/// `Some(None)` when they do and no content is found.
pub(super) fn content(bytes: &[u8]) -> Option<Option<Vec<u8>>> {
    match bytes {
        [SEQUENCE, ..] => Some(encapsulated(bytes)),
        _ => None,
    }
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTETS: u8 = 0x04;
const OCTETS_IN_PARTS: u8 = 0x24;
/// A constructed element that only the context gives a meaning.
const EXPLICIT_0: u8 = 0xa0;

/// 1.2.840.113549.1.7.2, SignedData.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

/// How deep parts of octets may be nested.
const PARTS_DEPTH_MAX: usize = 8;

fn encapsulated(bytes: &[u8]) -> Option<Vec<u8>> {
    let (information, _) = element(bytes)?;
    let mut information = Elements(information.of(SEQUENCE)?);
    if information.next()?.of(OBJECT_IDENTIFIER)? != SIGNED_DATA {
        return None;
    }
    let mut explicit = Elements(information.next()?.of(EXPLICIT_0)?);
    let mut signed = Elements(explicit.next()?.of(SEQUENCE)?);
    let _version = signed.next()?;
    let _digests = signed.next()?;
    let mut content = Elements(signed.next()?.of(SEQUENCE)?);
    let _kind = content.next()?;
    let mut explicit = Elements(content.next()?.of(EXPLICIT_0)?);
    let mut out = Vec::new();
    octets(&explicit.next()?, 0, &mut out)?;
    Some(out)
}

fn octets(element: &Element<'_>, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    if element.tag == OCTETS {
        out.extend_from_slice(element.contents);
        return Some(());
    }
    if depth >= PARTS_DEPTH_MAX {
        return None;
    }
    let mut parts = Elements(element.of(OCTETS_IN_PARTS)?);
    while !parts.0.is_empty() {
        octets(&parts.next()?, depth + 1, out)?;
    }
    Some(())
}

struct Element<'a> {
    tag: u8,
    contents: &'a [u8],
}

impl<'a> Element<'a> {
    fn of(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.contents)
    }
}

/// What is left of a sequence.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Option<Element<'a>> {
        let (element, rest) = element(self.0)?;
        self.0 = rest;
        Some(element)
    }
}

/// The first element, and what comes after it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (header, length) = header(bytes)?;
    let rest = bytes.get(header..)?;
    let (contents, after) = match length {
        Some(length) => (rest.get(..length)?, rest.get(length..)?),
        None => {
            let length = until_end_marks(rest)?;
            (rest.get(..length)?, rest.get(length + 2..)?)
        }
    };
    let tag = bytes[0];
    Some((Element { tag, contents }, after))
}

/// The bytes of tag and length, and the length unless it is told by marks at the end.
fn header(bytes: &[u8]) -> Option<(usize, Option<usize>)> {
    let (tag, first) = (*bytes.first()?, *bytes.get(1)?);
    // Tags of several bytes are nowhere in what is looked at.
    if tag & 0x1f == 0x1f {
        return None;
    }
    match first {
        0..=0x7f => Some((2, Some(usize::from(first)))),
        0x80 => Some((2, None)),
        0x81..=0x84 => {
            let width = usize::from(first & 0x7f);
            let digits = bytes.get(2..2 + width)?;
            let length = digits.iter().try_fold(0usize, |sum, it| {
                Some(sum.checked_mul(256)? + usize::from(*it))
            })?;
            Some((2 + width, Some(length)))
        }
        _ => None,
    }
}

/// How many bytes stand before the two zeros that end the outermost element. Walks, so that no
/// nesting is too deep and every byte is looked at once.
fn until_end_marks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut open = 0usize;
    loop {
        let rest = bytes.get(at..)?;
        if rest.starts_with(&[0, 0]) {
            if open == 0 {
                return Some(at);
            }
            open -= 1;
            at += 2;
            continue;
        }
        let (header, length) = header(rest)?;
        match length {
            Some(length) => at = at.checked_add(header)?.checked_add(length)?,
            None => {
                open += 1;
                at += header;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A signed message around `content`, as far as it is read here: nobody signed it.
    pub(in super::super) fn around(content: &[u8]) -> Vec<u8> {
        let data = der(
            OBJECT_IDENTIFIER,
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1],
        );
        let inner = [data, der(EXPLICIT_0, &der(OCTETS, content))].concat();
        let signed = [
            vec![2, 1, 1],
            der(0x31, &[]),
            der(SEQUENCE, &inner),
            der(0x31, &[]),
        ];
        let signed = der(EXPLICIT_0, &der(SEQUENCE, &signed.concat()));
        der(
            SEQUENCE,
            &[der(OBJECT_IDENTIFIER, SIGNED_DATA), signed].concat(),
        )
    }

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u32::try_from(contents.len()).unwrap().to_be_bytes();
        [&[tag, 0x84], &length[..], contents].concat()
    }

    fn endless(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, 0x80], contents, &[0, 0]].concat()
    }

    #[test]
    fn content_in_parts_without_lengths_is_put_together() {
        let parts = [der(OCTETS, b"<plist>"), der(OCTETS, b"</plist>")].concat();
        let data = der(
            OBJECT_IDENTIFIER,
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1],
        );
        let octets = endless(OCTETS_IN_PARTS, &parts);
        let inner = endless(SEQUENCE, &[data, endless(EXPLICIT_0, &octets)].concat());
        let signed = endless(SEQUENCE, &[vec![2, 1, 1], der(0x31, &[]), inner].concat());
        let identifier = der(OBJECT_IDENTIFIER, SIGNED_DATA);
        let whole = [identifier, endless(EXPLICIT_0, &signed)].concat();
        let whole = endless(SEQUENCE, &whole);
        assert_eq!(content(&whole), Some(Some(b"<plist></plist>".to_vec())));
    }

    #[test]
    fn a_message_that_is_not_signed_data_has_no_content() {
        let other = der(
            OBJECT_IDENTIFIER,
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3],
        );
        assert_eq!(content(&der(SEQUENCE, &other)), Some(None));
        assert_eq!(content(b"<plist>"), None);
    }

    #[test]
    fn parts_of_parts_of_parts_are_followed_only_so_far() {
        let nested = |levels: usize| {
            let parts = (0..levels).fold(der(OCTETS, b"x"), |it, _| der(OCTETS_IN_PARTS, &it));
            let mut out = Vec::new();
            let (parts, _) = element(&parts).unwrap();
            octets(&parts, 0, &mut out).map(|()| out)
        };
        assert_eq!(nested(PARTS_DEPTH_MAX), Some(b"x".to_vec()));
        assert_eq!(nested(PARTS_DEPTH_MAX + 1), None);
    }

    #[test]
    fn endless_nesting_ends() {
        assert_eq!(content(&[SEQUENCE, 0x80].repeat(1 << 20)), Some(None));
        assert_eq!(content(&[OCTETS_IN_PARTS, 0x80].repeat(1 << 20)), None);
    }

    /// `openssl cms -sign -nodetach -nocerts -outform der`, with a key that is gone.
    const DER: &str = "\
        MIIB1AYJKoZIhvcNAQcCoIIBxTCCAcECAQExDTALBglghkgBZQMEAgEwMwYJKoZIhvcNAQcBoCYEJDxwbGlz\
        dCB2ZXJzaW9uPSIxLjAiPjxkaWN0Lz48L3BsaXN0PjGCAXYwggFyAgEBMCQwDDEKMAgGA1UEAwwBeAIUTlSj\
        yB2UZggHONrPg1KJbxNNWjkwCwYJYIZIAWUDBAIBoIHkMBgGCSqGSIb3DQEJAzELBgkqhkiG9w0BBwEwHAYJ\
        KoZIhvcNAQkFMQ8XDTI2MTEyMzEzMDU0MVowLwYJKoZIhvcNAQkEMSIEICBvYQlxNTCjc5vZGfNVCIIPdmyV\
        Adb8NiRefk75ZxvLMHkGCSqGSIb3DQEJDzFsMGowCwYJYIZIAWUDBAEqMAsGCWCGSAFlAwQBFjALBglghkgB\
        ZQMEAQIwCgYIKoZIhvcNAwcwDgYIKoZIhvcNAwICAgCAMA0GCCqGSIb3DQMCAgFAMAcGBSsOAwIHMA0GCCqG\
        SIb3DQMCAgEoMAoGCCqGSM49BAMCBEcwRQIhAPXOSiDUw5kLJGQz6VUqVZFhrGY9nGO+4aYxxcsYjbs6AiBb\
        HIjv6T9R49a1hwMjUannOI2/qxfb64e5vbbQFplmiA==";

    /// The same with `-stream`: no length is told beforehand.
    const BER: &str = "\
        MIAGCSqGSIb3DQEHAqCAMIACAQExDTALBglghkgBZQMEAgEwgAYJKoZIhvcNAQcBoIAkgAQkPHBsaXN0IHZl\
        cnNpb249IjEuMCI+PGRpY3QvPjwvcGxpc3Q+AAAAAAAAMYIBdjCCAXICAQEwJDAMMQowCAYDVQQDDAF4AhRO\
        VKPIHZRmCAc42s+DUolvE01aOTALBglghkgBZQMEAgGggeQwGAYJKoZIhvcNAQkDMQsGCSqGSIb3DQEHATAc\
        BgkqhkiG9w0BCQUxDxcNMjYxMTIzMTMwNTQxWjAvBgkqhkiG9w0BCQQxIgQgIG9hCXE1MKNzm9kZ81UIgg92\
        bJUB1vw2JF5+TvlnG8sweQYJKoZIhvcNAQkPMWwwajALBglghkgBZQMEASowCwYJYIZIAWUDBAEWMAsGCWCG\
        SAFlAwQBAjAKBggqhkiG9w0DBzAOBggqhkiG9w0DAgICAIAwDQYIKoZIhvcNAwICAUAwBwYFKw4DAgcwDQYI\
        KoZIhvcNAwICASgwCgYIKoZIzj0EAwIERzBFAiEAqwhkFERCkjD3zRqU0T5RJVRHN3gglAKdvJzNoHeNwpAC\
        ID3s9GlQLR0XM0J5/HPespE04yz9PkR5KfU8weS7pcHAAAAAAAAA";

    #[test]
    fn messages_that_openssl_signed_are_read() {
        for text in [DER, BER] {
            let bytes = crate::value::from_base64(text).unwrap();
            let expected = br#"<plist version="1.0"><dict/></plist>"#.to_vec();
            assert_eq!(content(&bytes), Some(Some(expected)));
        }
    }
}
