//! Certificates, as far as signatures need them (RFC 5280).

use super::bytes::{Hash, Malformed};
use super::der::{self, BIT_STRING, Element, Elements, INTEGER, NULL, OCTET_STRING, SEQUENCE, SET};
use super::rsa::PublicKey;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its subject.
    pub common_name: Option<String>,
    /// The organizational unit of its subject, which is the team.
    pub unit: Option<String>,
    /// The organization of its subject.
    pub organization: Option<String>,
    /// The common name of its issuer.
    pub issuer_common_name: Option<String>,
    /// Its extensions, as numbers with dots between, in order.
    pub extensions: Vec<String>,
    /// From when it is valid, as year, month, day, hour, minute, second: `20260131235959`.
    pub valid_from: String,
    /// Until when it is valid, written the same way.
    pub valid_until: String,
    pub(crate) subject: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) key_identifier: Option<Vec<u8>>,
    pub(crate) key: Option<PublicKey>,
    signed: Vec<u8>,
    signature_algorithm: String,
    signature: Vec<u8>,
}

const COMMON_NAME: &str = "2.5.4.3";
const ORGANIZATION: &str = "2.5.4.10";
const UNIT: &str = "2.5.4.11";
const RSA: &str = "1.2.840.113549.1.1.1";
const KEY_IDENTIFIER: &str = "2.5.29.14";

impl Certificate {
    /// From its DER encoding.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(data: &[u8]) -> Result<Certificate, Malformed> {
        let mut whole = Elements::new(data).last(SEQUENCE)?.inside();
        let signed = whole.one(SEQUENCE)?;
        let named = whole.one(SEQUENCE)?;
        let signature_algorithm = algorithm(named)?;
        let signature = whole.last(BIT_STRING)?.bits()?.to_vec();
        let mut fields = signed.inside();
        fields.optional(der::context(0))?;
        let serial = fields.one(INTEGER)?.content.to_vec();
        if fields.one(SEQUENCE)? != named {
            return Err(Malformed::new("a certificate names two algorithms"));
        }
        let issuer = fields.one(SEQUENCE)?;
        let mut validity = fields.one(SEQUENCE)?.inside();
        let subject = fields.one(SEQUENCE)?;
        let key = public_key(fields.one(SEQUENCE)?)?;
        let extensions = extensions(fields)?;
        let mut identifiers = extensions.iter().filter(|(oid, _)| oid == KEY_IDENTIFIER);
        let key_identifier = match identifiers.next() {
            Some((_, value)) => Some(Elements::new(value).one(OCTET_STRING)?.content.to_vec()),
            None => None,
        };
        Ok(Certificate {
            common_name: name_part(subject, COMMON_NAME)?,
            unit: name_part(subject, UNIT)?,
            organization: name_part(subject, ORGANIZATION)?,
            issuer_common_name: name_part(issuer, COMMON_NAME)?,
            valid_from: time(validity.any()?)?,
            valid_until: time(validity.any()?)?,
            subject: subject.whole.to_vec(),
            issuer: issuer.whole.to_vec(),
            serial,
            key_identifier,
            key,
            signed: signed.whole.to_vec(),
            signature_algorithm,
            signature,
            extensions: extensions.into_iter().map(|(oid, _)| oid).collect(),
        })
    }

    /// Whether it issued itself.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether the other's key signed this one. Nothing when that cannot be said, because the
    /// algorithm is none that this reader knows.
    pub(crate) fn is_signed_by(&self, issuer: &Certificate) -> Option<bool> {
        let hash = signature_hash(&self.signature_algorithm)?;
        let key = issuer.key.as_ref()?;
        Some(key.fits(hash, &hash.digest(&self.signed), &self.signature))
    }

    /// What it is called in a report.
    pub fn name(&self) -> &str {
        self.common_name.as_deref().unwrap_or("without a name")
    }
}

/// The chain from this certificate to its root, of those that are there.
pub(crate) fn chain(leaf: &Certificate, all: &[Certificate]) -> Vec<Certificate> {
    let mut chain = vec![leaf.clone()];
    while chain.len() <= all.len() {
        let last = chain.last().expect("the leaf is always there");
        let issuer = all.iter().find(|other| other.subject == last.issuer);
        match issuer {
            Some(issuer) if !last.is_self_issued() => chain.push(issuer.clone()),
            Some(_) | None => break,
        }
    }
    chain
}

/// The digest that belongs to a name of a kind of RSA signature.
pub(crate) fn signature_hash(oid: &str) -> Option<Hash> {
    match oid {
        "1.2.840.113549.1.1.5" => Some(Hash::Sha1),
        "1.2.840.113549.1.1.11" => Some(Hash::Sha256),
        "1.2.840.113549.1.1.12" => Some(Hash::Sha384),
        "1.2.840.113549.1.1.13" => Some(Hash::Sha512),
        _ => None,
    }
}

/// The name in an element that says which algorithm.
pub(crate) fn algorithm(element: Element<'_>) -> Result<String, Malformed> {
    let mut inside = element.with(SEQUENCE)?.inside();
    let oid = inside.oid()?;
    let has_no_more = inside.is_at_end() || inside.rest() == [NULL, 0];
    match has_no_more || !(oid == RSA || Hash::of_algorithm(&oid).is_some()) {
        true => Ok(oid),
        false => Err(Malformed(format!("the algorithm {oid} has odd parameters"))),
    }
}

/// A time as it sorts: year, month, day, hour, minute, second.
pub(crate) fn time(element: Element<'_>) -> Result<String, Malformed> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = element.text()?;
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let is_time = text.ends_with('Z') && digits.bytes().all(|it| it.is_ascii_digit());
    match (element.tag, digits.len()) {
        // RFC 5280, 4.1.2.5.1: two digits from 50 are of the last century.
        (UTC_TIME, 12) if is_time && digits < "50" => Ok(format!("20{digits}")),
        (UTC_TIME, 12) if is_time => Ok(format!("19{digits}")),
        (GENERALIZED_TIME, 14) if is_time => Ok(digits.to_owned()),
        _ => Err(Malformed::new("a time is written in an unusual way")),
    }
}

fn public_key(element: Element<'_>) -> Result<Option<PublicKey>, Malformed> {
    let mut inside = element.inside();
    let algorithm = algorithm(inside.one(SEQUENCE)?)?;
    let bits = inside.one(BIT_STRING)?.bits()?;
    match algorithm == RSA {
        true => PublicKey::read(bits).map(Some),
        false => Ok(None),
    }
}

fn extensions(mut fields: Elements<'_>) -> Result<Vec<(String, Vec<u8>)>, Malformed> {
    while !fields.is_at_end() {
        let field = fields.any()?;
        if field.tag == der::context(3) {
            let list = field.inside().one(SEQUENCE)?.inside().all()?;
            return list.into_iter().map(extension).collect();
        }
    }
    Ok(Vec::new())
}

fn extension(element: Element<'_>) -> Result<(String, Vec<u8>), Malformed> {
    let mut inside = element.inside();
    let oid = inside.oid()?;
    inside.optional(der::BOOLEAN)?;
    Ok((oid, inside.one(OCTET_STRING)?.content.to_vec()))
}

fn name_part(name: Element<'_>, oid: &str) -> Result<Option<String>, Malformed> {
    for group in name.inside().all()? {
        if group.tag != SET {
            return Err(Malformed::new(
                "a name in a certificate has an unusual form",
            ));
        }
        for pair in group.inside().all()? {
            let mut inside = pair.inside();
            if inside.oid()? == oid {
                return inside.any()?.text().map(|text| Some(text.to_owned()));
            }
        }
    }
    Ok(None)
}
