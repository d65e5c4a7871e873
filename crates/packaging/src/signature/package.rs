//! The signature of an installer's package.
//!
//! A package is an archive of the kind xar: a head, a compressed table of contents, and a heap. In
//! the heap is a digest of the table, and a signer signs that digest: plainly (`signature`), and
//! in a signed message (`x-signature`).

use super::bytes::{Hash, Malformed, be32, be64, part};
use super::certificate::{self, Certificate};
use super::cms::Cms;
use super::executable::message::{check_chain, check_signer};
use super::finding::{Finding, Findings, Mistake};
use crate::archive::xml::{self, Element};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use mdm::requirement::DEVELOPER_ID_INSTALLER;
use std::io::Read as _;

/// Who signed a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageSignature {
    /// Of which kind the digest of the table of contents is.
    pub hash: Hash,
    /// The digest of the table of contents, computed from it.
    pub checksum: Vec<u8>,
    /// From the certificate that signed to its root, as far as they are in the table of contents.
    /// Empty when nobody signed.
    pub chain: Vec<Certificate>,
    /// How the plain signature was made. Nothing when there is none, or when it does not fit.
    pub form: Option<Form>,
    /// The signed message. Nothing when there is none.
    pub cms: Option<Cms>,
}

/// What a plain signature signs. Both are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The digest of the table of contents, as Apple's own tools do.
    Checksum,
    /// The digest SHA-256 of that digest.
    DigestOfChecksum,
}

/// A place in the heap that the table of contents names.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    size: u64,
}

const MAGIC: u32 = 0x7861_7221;
/// Larger than any table of contents.
const TABLE_SIZE_MAX: u64 = 16 << 20;
const WHAT: &str = "the package";

impl PackageSignature {
    /// The certificate that signed.
    pub fn leaf(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// Whether the certificate is one of the kind "Developer ID Installer".
    pub fn is_developer_id_installer(&self) -> bool {
        let has = |leaf: &Certificate| {
            leaf.extensions
                .iter()
                .any(|it| it == DEVELOPER_ID_INSTALLER)
        };
        self.leaf().is_some_and(has)
    }
}

/// The signature of a package. It is not judged.
///
/// # Errors
///
/// What is wrong with the package.
pub fn read(package: &[u8]) -> Result<PackageSignature, Malformed> {
    inspect(package).map(|(signature, _)| signature)
}

/// The signature of a package, and all that is wrong with it.
///
/// # Errors
///
/// What is wrong with the package, so that there is nothing to judge.
pub fn verify(package: &[u8]) -> Result<(PackageSignature, Vec<Finding>), Malformed> {
    inspect(package)
}

fn inspect(package: &[u8]) -> Result<(PackageSignature, Vec<Finding>), Malformed> {
    if be32(package, 0, WHAT)? != MAGIC {
        return Err(Malformed::new("not an archive of the kind xar"));
    }
    let head_size = u64::from(be32(package, 4, WHAT)? >> 16);
    let size = be64(package, 8, WHAT)?;
    let compressed = part(package, head_size, size, "the table of contents")?;
    let heap = &package[usize::try_from(head_size + size).unwrap_or(package.len())..];
    let document = inflate(compressed, be64(package, 16, WHAT)?)?;
    let document = xml::parse(&document).map_err(|why| Malformed(why.to_string()))?;
    let table = document.first("toc");
    let table = table.ok_or_else(|| Malformed::new("the table of contents is empty"))?;
    let mut findings = Findings::new("package");
    let hash = check_checksum(package, table, compressed, heap, &mut findings)?;
    let mut signature = PackageSignature {
        hash,
        checksum: hash.digest(compressed),
        chain: Vec::new(),
        form: None,
        cms: None,
    };
    read_plain(table, heap, &mut signature, &mut findings)?;
    read_message(table, heap, &mut signature, &mut findings)?;
    Ok((signature, findings.all))
}

fn inflate(compressed: &[u8], size: u64) -> Result<Vec<u8>, Malformed> {
    let mut document = Vec::new();
    let mut decoder = ZlibDecoder::new(compressed).take(TABLE_SIZE_MAX);
    let read = decoder.read_to_end(&mut document);
    match read {
        Ok(found) if found as u64 == size => Ok(document),
        Ok(_) => Err(Malformed::new(
            "the table of contents has another size than it should",
        )),
        Err(why) => Err(Malformed(format!("the table of contents: {why}"))),
    }
}

fn check_checksum(
    package: &[u8],
    table: &Element,
    compressed: &[u8],
    heap: &[u8],
    findings: &mut Findings,
) -> Result<Hash, Malformed> {
    let element = table.first("checksum");
    let element = element.ok_or_else(|| Malformed::new("the table has no checksum"))?;
    let number = be32(package, 24, WHAT)?;
    let hash = match (element.attribute("style"), number) {
        (Some("sha1"), 1) => Hash::Sha1,
        (Some("sha256"), 3) => Hash::Sha256,
        (Some("sha512"), 4) => Hash::Sha512,
        (style, _) => {
            let style = style.unwrap_or("none");
            return Err(Malformed(format!(
                "the checksum's kind is {style} in the table and {number} in the head"
            )));
        }
    };
    let place = place(element)?;
    let stored = part(heap, place.offset, place.size, "the checksum")?;
    findings.expect(stored == hash.digest(compressed), || Mistake::Changed {
        part: "the table of contents".to_owned(),
        hash,
    });
    Ok(hash)
}

fn read_plain(
    table: &Element,
    heap: &[u8],
    signature: &mut PackageSignature,
    findings: &mut Findings,
) -> Result<(), Malformed> {
    let Some(element) = table.first("signature") else {
        findings.add(Mistake::Unsigned);
        return Ok(());
    };
    let certificates = certificates(element)?;
    let leaf = certificates.first();
    let leaf = leaf.ok_or_else(|| Malformed::new("a signature without a certificate"))?;
    signature.chain = certificate::chain(leaf, &certificates);
    let place = place(element)?;
    let bytes = part(heap, place.offset, place.size, "the signature")?;
    let name = leaf.name().to_owned();
    let (hash, checksum) = (signature.hash, &signature.checksum);
    match &leaf.key {
        Some(key) if key.fits(hash, checksum, bytes) => signature.form = Some(Form::Checksum),
        Some(key) if key.fits(Hash::Sha256, &Hash::Sha256.digest(checksum), bytes) => {
            signature.form = Some(Form::DigestOfChecksum);
        }
        Some(_) => findings.add(Mistake::Signature { certificate: name }),
        None => findings.add(Mistake::Algorithm { certificate: name }),
    }
    check_chain(&signature.chain, findings);
    Ok(())
}

fn read_message(
    table: &Element,
    heap: &[u8],
    signature: &mut PackageSignature,
    findings: &mut Findings,
) -> Result<(), Malformed> {
    let Some(element) = table.first("x-signature") else {
        return Ok(());
    };
    let place = place(element)?;
    let bytes = part(heap, place.offset, place.size, "the signed message")?;
    let Some(cms) = findings.readable("the signed message", Cms::read(bytes)) else {
        return Ok(());
    };
    let digest = cms.hash.digest(&signature.checksum);
    findings.expect(cms.message_digest == digest, || Mistake::Changed {
        part: "the table of contents".to_owned(),
        hash: cms.hash,
    });
    findings.expect(signature.leaf() == Some(cms.leaf()), || Mistake::Signers);
    check_signer(&cms, findings);
    signature.cms = Some(cms);
    Ok(())
}

fn certificates(element: &Element) -> Result<Vec<Certificate>, Malformed> {
    let list = element
        .first("KeyInfo")
        .and_then(|info| info.first("X509Data"));
    let list = list
        .into_iter()
        .flat_map(|data| data.all("X509Certificate"));
    let read = |one: &Element| {
        let text: String = one.text.split_whitespace().collect();
        let data = STANDARD.decode(text);
        let data = data.map_err(|_| Malformed::new("a certificate is not in base64"))?;
        Certificate::read(&data)
    };
    list.map(read).collect()
}

fn place(element: &Element) -> Result<Place, Malformed> {
    let number = |name| {
        let text = element.first(name).map(|it| it.text.as_str());
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| Malformed(format!("{} has no {name}", element.name)))
    };
    Ok(Place {
        offset: number("offset")?,
        size: number("size")?,
    })
}
