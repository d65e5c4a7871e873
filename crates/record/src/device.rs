//! The machine that records.

use std::fmt;
use std::str::FromStr;

/// Names this installation: random, made once, kept beside the trail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub [u8; 16]);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, &self.0)
    }
}

impl FromStr for EndpointId {
    type Err = ParseEndpointIdError;

    fn from_str(text: &str) -> Result<EndpointId, ParseEndpointIdError> {
        parse_uuid(text)
            .map(EndpointId)
            .ok_or_else(|| ParseEndpointIdError(text.to_owned()))
    }
}

/// The text is not 32 hexadecimal digits in the 8-4-4-4-12 form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an endpoint id: 32 hexadecimal digits in the form 8-4-4-4-12")]
pub struct ParseEndpointIdError(String);

/// What is known of the machine; each trail segment carries it, so a copied segment still says
/// where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Names this installation.
    pub endpoint: EndpointId,
    /// Host name at the recorder's start.
    pub hostname: String,
    /// Operating system as it names itself, such as `Debian GNU/Linux`.
    pub os_name: String,
    /// Its version, such as `12`.
    pub os_version: Option<String>,
    /// Kernel release, such as `6.1.0-40-amd64`.
    pub kernel_release: Option<String>,
    /// Random id of this boot.
    pub boot_id: Option<[u8; 16]>,
    /// The operating system's own id of the machine.
    pub machine_id: Option<String>,
    /// Version of the recorder.
    pub agent_version: String,
}

/// Writes 16 bytes in the 8-4-4-4-12 form of RFC 9562.
pub(crate) fn write_uuid(out: &mut impl fmt::Write, bytes: &[u8; 16]) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// Reads the 8-4-4-4-12 form of RFC 9562, in either case.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let well_formed = text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !well_formed {
        return None;
    }
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_id_survives_text() {
        let id = EndpointId(*b"\x01\x23\x45\x67\x89\xab\xcd\xef0123456\xff");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn wrong_text_is_named() {
        for text in [
            "",
            "xyz",
            "0123456789abcdef0123456789abcdef",
            "é1234567-89ab-cdef-0123-4567",
        ] {
            let error = text.parse::<EndpointId>().unwrap_err();
            assert!(error.to_string().contains(text));
        }
    }
}
