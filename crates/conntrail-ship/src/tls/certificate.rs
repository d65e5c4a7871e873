//! The two things that we want to know of a certificate and the TLS library does not tell.

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

/// When a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// Not before this.
    pub(super) from: SystemTime,
    /// Not after this.
    pub(super) to: SystemTime,
}

impl Validity {
    /// What is wrong with it now.
    pub(super) fn complaint(self, now: SystemTime) -> Option<&'static str> {
        if now > self.to {
            Some("has expired")
        } else if now < self.from {
            Some("is not valid yet (or the clock is wrong)")
        } else {
            None
        }
    }
}

/// SHA-256 of the `SubjectPublicKeyInfo`; `None` for what is not a certificate.
pub(super) fn public_key_digest(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(Sha256::digest(parsed.subject_public_key_info()).into())
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, under which the version stands.
const VERSION: u8 = 0xa0;

/// When it is valid, RFC 5280 section 4.1.2.5; `None` where that cannot be read.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, whole, _) = element(certificate)?;
    let (_, mut rest, _) = element(whole)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (tag, validity, _) = element(rest)?;
    let (from_tag, from, rest) = element(validity)?;
    let (to_tag, to, _) = element(rest)?;
    (tag == SEQUENCE).then_some(())?;
    Some(Validity {
        from: time(from_tag, from)?,
        to: time(to_tag, to)?,
    })
}

/// The first element: tag, content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&short, mut rest) = rest.split_first()?;
    let mut length = usize::from(short);
    if short >= 0x80 {
        let (octets, after) = rest.split_at_checked(usize::from(short & 0x7f))?;
        (octets.len() <= 4).then_some(())?;
        length = octets
            .iter()
            .fold(0, |sum, &octet| sum << 8 | usize::from(octet));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// A time: two digits of the year stand for 1950 to 2049.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        UTC_TIME if text.len() == 12 => {
            let century = if text.get(..2)? < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    let part = |range: std::ops::Range<usize>| full.get(range)?.parse::<i8>().ok();
    let date = jiff::civil::date(1970, 1, 1)
        .with()
        .year(full.get(..4)?.parse().ok()?)
        .month(part(4..6)?)
        .day(part(6..8)?)
        .build()
        .ok()?;
    let (hour, minute, second) = (part(8..10)?, part(10..12)?, part(12..14)?);
    let time = jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    let seconds = date
        .to_datetime(time)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?;
    let seconds = seconds.timestamp().as_second();
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(span)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(span)
    }
}
