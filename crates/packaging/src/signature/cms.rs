//! The signed message in a signature (RFC 5652), and what Apple puts into it.

use super::bytes::{Hash, Malformed, property_list};
use super::certificate::{self, Certificate};
use super::der::{
    self, Element, Elements, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET,
};
use plist::Value;

/// A signed message: who signed which digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cms {
    /// From the certificate that signed to its root, as far as they are there.
    pub chain: Vec<Certificate>,
    /// The digest of the signer.
    pub hash: Hash,
    /// What was signed has this digest.
    pub message_digest: Vec<u8>,
    /// When the signer says that it signed, as year, month, day, hour, minute, second.
    pub signing_time: Option<String>,
    /// The digests of the code directories, cut to 20 bytes (`1.2.840.113635.100.9.1`).
    pub cdhashes: Option<Vec<Vec<u8>>>,
    /// Algorithms and digests of the code directories (`1.2.840.113635.100.9.2`).
    pub digests: Option<Vec<(String, Vec<u8>)>>,
    /// Whether somebody else vouches for the time. Its own signature is not looked at.
    pub has_timestamp: bool,
    /// Whether the signer's key fits. Nothing when the algorithm is none that this reader knows.
    pub is_valid: Option<bool>,
}

const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_TIME: &str = "1.2.840.113549.1.9.5";
const CDHASHES: &str = "1.2.840.113635.100.9.1";
const DIGESTS: &str = "1.2.840.113635.100.9.2";
const TIMESTAMP: &str = "1.2.840.113549.1.9.16.2.14";
const RSA: &str = "1.2.840.113549.1.1.1";

impl Cms {
    /// From its encoding. What follows it is filling.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(data: &[u8]) -> Result<Cms, Malformed> {
        let mut file = Elements::new(data);
        let mut message = file.one(SEQUENCE)?.inside();
        if file.rest().iter().any(|byte| *byte != 0) {
            return Err(Malformed::new("something follows the signed message"));
        }
        if message.oid()? != SIGNED_DATA {
            return Err(Malformed::new("a message that is not signed"));
        }
        let wrapped = message.last(der::context(0))?;
        let mut fields = wrapped.inside().last(SEQUENCE)?.inside();
        check_version(fields.one(INTEGER)?)?;
        let algorithms = fields.one(SET)?.inside().all()?.into_iter();
        let algorithms = algorithms.map(certificate::algorithm);
        let algorithms: Vec<String> = algorithms.collect::<Result<_, _>>()?;
        let content_type = fields.one(SEQUENCE)?.inside().last(OBJECT_IDENTIFIER);
        let content_type = content_type.map_err(|_| {
            Malformed::new("the signed message brings what it signs, which is not expected")
        })?;
        let certificates = match fields.optional(der::context(0))? {
            Some(list) => read_certificates(list)?,
            None => Vec::new(),
        };
        fields.optional(der::context(1))?;
        let signers = fields.last(SET)?.inside().all()?;
        let [signer] = signers[..] else {
            return Err(Malformed(format!(
                "{} signers instead of one",
                signers.len()
            )));
        };
        let around = Around {
            algorithms,
            content_type: der::oid(content_type.content)?,
            certificates,
        };
        read_signer(signer, &around)
    }

    /// The certificate that signed.
    pub fn leaf(&self) -> &Certificate {
        &self.chain[0]
    }
}

/// What a message says beside its signer.
struct Around {
    algorithms: Vec<String>,
    content_type: String,
    certificates: Vec<Certificate>,
}

/// Versions of RFC 5652, 5.1 and 5.3, that a message of this kind can have.
fn check_version(version: Element<'_>) -> Result<(), Malformed> {
    match version.integer()? {
        1 | 3 => Ok(()),
        other => Err(Malformed(format!(
            "a message of the unknown version {other}"
        ))),
    }
}

fn read_certificates(list: Element<'_>) -> Result<Vec<Certificate>, Malformed> {
    let certificates = list.inside().all()?.into_iter();
    certificates
        .map(|one| Certificate::read(one.whole))
        .collect()
}

fn read_signer(signer: Element<'_>, around: &Around) -> Result<Cms, Malformed> {
    let mut fields = signer.with(SEQUENCE)?.inside();
    check_version(fields.one(INTEGER)?)?;
    let leaf = find_signer(fields.any()?, &around.certificates)?;
    let name = certificate::algorithm(fields.one(SEQUENCE)?)?;
    let hash = Hash::of_algorithm(&name).filter(|_| around.algorithms.contains(&name));
    let hash = hash.ok_or_else(|| Malformed(format!("the signer's digest {name} is unknown")))?;
    let signed = fields.one(der::context(0))?;
    let algorithm = certificate::algorithm(fields.one(SEQUENCE)?)?;
    let signature = fields.one(OCTET_STRING)?.content;
    let unsigned = fields.optional(der::context(1))?;
    if !fields.is_at_end() {
        return Err(Malformed::new("something follows the signer"));
    }
    let mut cms = Cms {
        chain: certificate::chain(leaf, &around.certificates),
        hash,
        message_digest: Vec::new(),
        signing_time: None,
        cdhashes: None,
        digests: None,
        has_timestamp: false,
        is_valid: is_valid(leaf, hash, signed, &algorithm, signature),
    };
    read_attributes(signed, &around.content_type, &mut cms)?;
    if let Some(unsigned) = unsigned {
        let attributes = attributes(unsigned)?;
        cms.has_timestamp = attributes.iter().any(|(oid, _)| oid == TIMESTAMP);
    }
    Ok(cms)
}

fn find_signer<'a>(
    identifier: Element<'_>,
    certificates: &'a [Certificate],
) -> Result<&'a Certificate, Malformed> {
    const KEY_IDENTIFIER: u8 = 0x80;
    let found = match identifier.tag {
        KEY_IDENTIFIER => {
            let is_named =
                |one: &&Certificate| one.key_identifier.as_deref() == Some(identifier.content);
            certificates.iter().find(is_named)
        }
        _ => {
            let mut inside = identifier.with(SEQUENCE)?.inside();
            let issuer = inside.one(SEQUENCE)?.whole;
            let serial = inside.last(INTEGER)?.content;
            let is_named = |one: &&Certificate| one.issuer == issuer && one.serial == serial;
            certificates.iter().find(is_named)
        }
    };
    found.ok_or_else(|| Malformed::new("the certificate that signed is not there"))
}

/// The signed attributes are signed as a set, and stored with another tag (RFC 5652, 5.4).
fn is_valid(
    leaf: &Certificate,
    hash: Hash,
    signed: Element<'_>,
    algorithm: &str,
    signature: &[u8],
) -> Option<bool> {
    let named = certificate::signature_hash(algorithm);
    if algorithm != RSA && named.is_none() {
        return None;
    }
    if named.is_some_and(|named| named != hash) {
        return Some(false);
    }
    let mut set = signed.whole.to_vec();
    set[0] = SET;
    let key = leaf.key.as_ref()?;
    Some(key.fits(hash, &hash.digest(&set), signature))
}

fn read_attributes(
    signed: Element<'_>,
    content_type: &str,
    cms: &mut Cms,
) -> Result<(), Malformed> {
    let mut seen = Vec::new();
    for (oid, values) in attributes(signed)? {
        let one = || match values[..] {
            [one] => Ok(one),
            _ => Err(Malformed(format!("the attribute {oid} has not one value"))),
        };
        match oid.as_str() {
            CONTENT_TYPE if der::oid(one()?.content)? != content_type => {
                return Err(Malformed::new("the signed kind of content is another"));
            }
            MESSAGE_DIGEST => cms.message_digest = octets(one()?)?.to_vec(),
            SIGNING_TIME => cms.signing_time = Some(certificate::time(one()?)?),
            CDHASHES => cms.cdhashes = Some(read_cdhashes(octets(one()?)?)?),
            DIGESTS => {
                let digests = values.iter().map(|value| read_digest(*value));
                cms.digests = Some(digests.collect::<Result<_, _>>()?);
            }
            _ => {}
        }
        seen.push(oid);
    }
    if !seen.iter().any(|oid| oid == CONTENT_TYPE) {
        return Err(Malformed::new("the signed kind of content is missing"));
    }
    seen.sort();
    match seen.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(Malformed::new("a signed attribute is there twice")),
        false => Ok(()),
    }
}

fn attributes(list: Element<'_>) -> Result<Vec<(String, Vec<Element<'_>>)>, Malformed> {
    let mut attributes = Vec::new();
    for attribute in list.inside().all()? {
        let mut inside = attribute.with(SEQUENCE)?.inside();
        attributes.push((inside.oid()?, inside.last(SET)?.inside().all()?));
    }
    Ok(attributes)
}

fn octets(element: Element<'_>) -> Result<&[u8], Malformed> {
    match element.tag {
        OCTET_STRING => Ok(element.content),
        _ => Err(Malformed::new("an attribute holds no bytes")),
    }
}

fn read_cdhashes(data: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let wrong = || Malformed::new("the attribute cdhashes is no list of digests");
    let value: Value = property_list(data).map_err(|_| wrong())?;
    let list = value
        .into_dictionary()
        .and_then(|mut it| it.remove("cdhashes"));
    let list = list.and_then(Value::into_array).ok_or_else(wrong)?;
    let bytes = |item: Value| item.into_data().ok_or_else(wrong);
    list.into_iter().map(bytes).collect()
}

fn read_digest(element: Element<'_>) -> Result<(String, Vec<u8>), Malformed> {
    let mut inside = element.with(SEQUENCE)?.inside();
    Ok((inside.oid()?, inside.last(OCTET_STRING)?.content.to_vec()))
}
