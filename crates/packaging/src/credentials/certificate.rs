//! Signing certificates: what stands in them, and which of a few is the one that signs.
//!
//! The numbers by which Apple marks its certificates are those of its certification practice
//! statements ("Worldwide Developer Relations", "Developer ID") and of the requirements in
//! TN3127; certificates as Apple issued them have been looked at for how they come together.

use super::ber;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mdm::requirement::{DEVELOPER_ID_APPLICATION, DEVELOPER_ID_INSTALLER};
use sha1::Digest;
use std::fmt;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

/// A certificate, as far as signing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `CN` of the subject, such as "Developer ID Application: Example Inc. (AB12CD34EF)".
    pub common_name: String,
    /// `OU` of the subject: in certificates of developers, the team.
    pub team: Option<String>,
    /// `O` of the subject.
    pub organization: Option<String>,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// Seconds since 1970 from which it holds.
    pub not_before: i64,
    /// Seconds since 1970 until which it holds.
    pub not_after: i64,
    /// What it is for.
    pub kind: Kind,
    /// Whether it issues other certificates.
    pub is_authority: bool,
    /// The extensions, by number, in the order of the certificate.
    pub extensions: Vec<String>,
    /// SHA-1 of the whole certificate: what keychains and `codesign` call it by.
    pub sha1: [u8; 20],
    /// SHA-256 of the whole certificate.
    pub sha256: [u8; 32],
    /// SHA-256 of the public key with its algorithm (`SubjectPublicKeyInfo`).
    pub public_key_sha256: [u8; 32],
    /// The whole certificate.
    pub der: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    public_key: Vec<u8>,
}

/// What Apple issued a certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signs programs for machines in the field.
    DeveloperIdApplication,
    /// Signs packages for machines in the field.
    DeveloperIdInstaller,
    /// Signs programs for the developer's own machines.
    AppleDevelopment,
    /// Signs programs for the store.
    AppleDistribution,
    /// Signs packages for the store.
    StoreInstaller,
    /// Signs for iOS only, or nothing, or is not Apple's.
    Other,
}

/// The private key that came with certificates. Only its public half is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// As in a certificate; absent where the key is not RSA.
    public: Option<Vec<u8>>,
}

/// What is in a few files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// In the order of the files, each once.
    pub certificates: Vec<Certificate>,
    /// In the order of the files.
    pub keys: Vec<Key>,
}

/// Why a file is no certificate or key that we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too large for what it should be.
    #[error("it has {0} bytes, which is no certificate: give the certificate or key as PEM or DER")]
    Large(usize),
    /// Neither PEM nor DER.
    #[error(
        "it has neither a PEM block (\"-----BEGIN CERTIFICATE-----\") nor a DER certificate: \
         export the certificate again, as .cer or .pem"
    )]
    Unknown,
    /// A file of PKCS #12, which has a password.
    #[error(
        "it is a PKCS #12 file: turn it into PEM first, with \
         `openssl pkcs12 -in FILE.p12 -nodes -out FILE.pem` (`-legacy` too if it says unsupported)"
    )]
    Pkcs12,
    /// A block without end, or not in base64.
    #[error("its PEM block \"{0}\" is damaged: export it again")]
    Armour(String),
    /// The key has a password.
    #[error(
        "its private key is encrypted: decrypt it with `openssl pkey -in FILE -out KEY.pem` and \
         keep the result readable for you alone"
    )]
    Encrypted,
    /// A kind of key that the signing tool does not read.
    #[error(
        "its private key is in the form \"{0}\", which the signing tool does not read: turn it \
         into PKCS #8 with `openssl pkcs8 -topk8 -nodes -in FILE -out KEY.pem`"
    )]
    KeyForm(String),
    /// Not a certificate.
    #[error("its certificate cannot be read ({0}): export it again")]
    Certificate(String),
    /// Not a key.
    #[error("its private key cannot be read ({0}): export it again")]
    Key(String),
    /// Nobody that the certificate is for.
    #[error("its certificate has no common name, as every certificate of Apple's has")]
    Unnamed,
    /// No certificate to sign with.
    #[error("there is no certificate to sign with, only those of authorities: add the .cer file")]
    NoLeaf,
    /// More than one to sign with.
    #[error(
        "there are several certificates to sign with ({0}): give the files of one, with its key"
    )]
    SeveralLeaves(String),
}

/// `Mac Developer`: in every certificate that signs programs for a developer's own Mac. Those of
/// today, "Apple Development", have it beside that of iOS (…6.1.2).
const MAC_DEVELOPER: &str = "1.2.840.113635.100.6.1.12";
/// `Apple Mac App Signing (Development)`: in "Apple Distribution" and "3rd Party Mac Developer
/// Application".
const STORE_APPLICATION: &str = "1.2.840.113635.100.6.1.7";
/// `Apple Mac App Signing Submission`: in "3rd Party Mac Developer Installer".
const STORE_INSTALLER: &str = "1.2.840.113635.100.6.1.8";

const USAGE_CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const USAGE_DEVELOPER_ID_INSTALLER: &str = "1.2.840.113635.100.4.13";
const USAGE_STORE_INSTALLER: &str = "1.2.840.113635.100.4.9";

const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A certificate has one to three thousand bytes, and a chain has four.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Reads a file: PEM with any number of certificates and keys, or one certificate in DER.
///
/// # Errors
///
/// Says what is wrong with the file and how to get a better one.
pub fn read(file: &[u8]) -> Result<Contents, Error> {
    if file.len() > FILE_BYTES_MAX {
        return Err(Error::Large(file.len()));
    }
    let mut contents = Contents::default();
    if file.first() == Some(&ber::SEQUENCE) {
        if is_pkcs12(file) {
            return Err(Error::Pkcs12);
        }
        contents.add_certificate(Certificate::from_der(file)?);
        return Ok(contents);
    }
    let mut found = false;
    for block in blocks(&String::from_utf8_lossy(file)) {
        let (label, bytes) = block?;
        found = true;
        contents.add(&label, &bytes)?;
    }
    match found {
        true => Ok(contents),
        false => Err(Error::Unknown),
    }
}

impl Contents {
    /// Adds what is in another file.
    pub fn extend(&mut self, other: Contents) {
        for certificate in other.certificates {
            self.add_certificate(certificate);
        }
        self.keys.extend(other.keys);
    }

    /// The certificate that signs: the one that is no authority. Where there are several, the one
    /// that the key belongs to.
    ///
    /// # Errors
    ///
    /// Where there is none, or nothing says which.
    pub fn leaf(&self) -> Result<&Certificate, Error> {
        let leaves: Vec<_> = self
            .certificates
            .iter()
            .filter(|it| !it.is_authority)
            .collect();
        let fits = |it: &&&Certificate| self.keys.iter().any(|key| it.fits(key) == Some(true));
        match leaves.as_slice() {
            [] => Err(Error::NoLeaf),
            [only] => Ok(only),
            several => several.iter().find(fits).copied().ok_or_else(|| {
                let names: Vec<_> = several.iter().map(|it| it.common_name.as_str()).collect();
                Error::SeveralLeaves(names.join(", "))
            }),
        }
    }

    /// The certificate that signs, its issuer, the issuer of that and so on, as far as the files
    /// have them. The signing tool takes the first certificate that it meets for the one that
    /// signs, so this is the order to give them in.
    ///
    /// # Errors
    ///
    /// As [`Contents::leaf`].
    pub fn chain(&self) -> Result<Vec<&Certificate>, Error> {
        let mut chain = vec![self.leaf()?];
        let is_issuer = |it: &&Certificate, of: &Certificate| it.subject == of.issuer;
        while let Some(last) = chain.last().copied()
            && let Some(issuer) = self.certificates.iter().find(|it| is_issuer(it, last))
            && !chain.contains(&issuer)
        {
            chain.push(issuer);
        }
        Ok(chain)
    }

    fn add(&mut self, label: &str, bytes: &[u8]) -> Result<(), Error> {
        match label {
            "CERTIFICATE" => self.add_certificate(Certificate::from_der(bytes)?),
            "PRIVATE KEY" => self.keys.push(Key::from_pkcs8(bytes).map_err(key_error)?),
            "RSA PRIVATE KEY" => self.keys.push(Key::from_pkcs1(bytes).map_err(key_error)?),
            "ENCRYPTED PRIVATE KEY" => return Err(Error::Encrypted),
            other if other.ends_with("PRIVATE KEY") => {
                return Err(Error::KeyForm(other.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn add_certificate(&mut self, certificate: Certificate) {
        if !self.certificates.contains(&certificate) {
            self.certificates.push(certificate);
        }
    }
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    ///
    /// Says what of it cannot be read.
    pub fn from_der(der: &[u8]) -> Result<Certificate, Error> {
        let damaged = |error: x509_cert::der::Error| Error::Certificate(error.to_string());
        let parsed = x509_cert::Certificate::from_der(der).map_err(damaged)?;
        let fields = parsed.tbs_certificate();
        let subject = fields.subject();
        let extensions: Vec<_> = fields.extensions().into_iter().flatten().collect();
        let extensions: Vec<_> = extensions.iter().map(|it| it.extn_id.to_string()).collect();
        let usage = fields
            .get_extension::<ExtendedKeyUsage>()
            .map_err(damaged)?;
        let usage = usage.map_or(vec![], |(_, it)| it.0);
        let constraints = fields
            .get_extension::<BasicConstraints>()
            .map_err(damaged)?;
        let key = fields.subject_public_key_info();
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs() as i64;
        Ok(Certificate {
            common_name: text(subject.common_name().map_err(damaged)?).ok_or(Error::Unnamed)?,
            team: text(subject.by_oid(ORGANIZATIONAL_UNIT).map_err(damaged)?),
            organization: text(subject.organization().map_err(damaged)?),
            serial: hexadecimal(fields.serial_number().as_bytes()),
            not_before: seconds(&fields.validity().not_before),
            not_after: seconds(&fields.validity().not_after),
            kind: Kind::of(&extensions, &usage),
            is_authority: constraints.is_some_and(|(_, it)| it.ca),
            extensions,
            sha1: sha1::Sha1::digest(der).into(),
            sha256: sha2::Sha256::digest(der).into(),
            public_key_sha256: sha2::Sha256::digest(key.to_der().map_err(damaged)?).into(),
            der: der.to_vec(),
            subject: subject.to_der().map_err(damaged)?,
            issuer: fields.issuer().to_der().map_err(damaged)?,
            public_key: key.subject_public_key.raw_bytes().to_vec(),
        })
    }

    /// As a block of PEM, with a line end.
    pub fn to_pem(&self) -> String {
        let encoded = BASE64.encode(&self.der);
        let lines = encoded.as_bytes().chunks(64);
        let lines: Vec<_> = lines.map(String::from_utf8_lossy).collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    }

    /// Whether this is the certificate's private key; `None` where the key does not tell.
    pub fn fits(&self, key: &Key) -> Option<bool> {
        key.public.as_ref().map(|it| *it == self.public_key)
    }

    /// SHA-1 of the certificate in hexadecimal, as keychains show it.
    pub fn fingerprint(&self) -> String {
        hexadecimal(&self.sha1).to_uppercase()
    }
}

impl Kind {
    /// By its mark and by its usage: both must be there.
    fn of(extensions: &[String], usage: &[ObjectIdentifier]) -> Kind {
        let has = |mark: &str| extensions.iter().any(|it| it == mark);
        let serves = |wanted: &str| usage.iter().any(|it| it.to_string() == wanted);
        [
            (
                DEVELOPER_ID_APPLICATION,
                USAGE_CODE_SIGNING,
                Kind::DeveloperIdApplication,
            ),
            (
                DEVELOPER_ID_INSTALLER,
                USAGE_DEVELOPER_ID_INSTALLER,
                Kind::DeveloperIdInstaller,
            ),
            (MAC_DEVELOPER, USAGE_CODE_SIGNING, Kind::AppleDevelopment),
            (
                STORE_APPLICATION,
                USAGE_CODE_SIGNING,
                Kind::AppleDistribution,
            ),
            (STORE_INSTALLER, USAGE_STORE_INSTALLER, Kind::StoreInstaller),
        ]
        .into_iter()
        .find(|(mark, wanted, _)| has(mark) && serves(wanted))
        .map_or(Kind::Other, |(_, _, kind)| kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::DeveloperIdApplication => "Developer ID Application",
            Kind::DeveloperIdInstaller => "Developer ID Installer",
            Kind::AppleDevelopment => "Apple Development",
            Kind::AppleDistribution => "Apple Distribution",
            Kind::StoreInstaller => "3rd Party Mac Developer Installer",
            Kind::Other => "other (none that Apple has for the Mac)",
        })
    }
}

impl Key {
    /// `PrivateKeyInfo` (RFC 5208): version, algorithm, the key itself.
    fn from_pkcs8(der: &[u8]) -> Result<Key, ber::Error> {
        let mut fields = ber::expect(&mut { der }, ber::SEQUENCE)?;
        ber::expect(&mut fields, ber::INTEGER)?;
        let mut algorithm = ber::expect(&mut fields, ber::SEQUENCE)?;
        let algorithm = ber::expect(&mut algorithm, ber::OBJECT_IDENTIFIER)?;
        let key = ber::expect(&mut fields, ber::OCTETS)?;
        match algorithm == RSA_ENCRYPTION.as_bytes() {
            true => Key::from_pkcs1(key),
            false => Ok(Key { public: None }),
        }
    }

    /// `RSAPrivateKey` (RFC 8017): version, then the two numbers of which the public key is made.
    fn from_pkcs1(der: &[u8]) -> Result<Key, ber::Error> {
        let mut fields = ber::expect(&mut { der }, ber::SEQUENCE)?;
        ber::expect(&mut fields, ber::INTEGER)?;
        let modulus = ber::next(&mut fields)?.whole;
        let exponent = ber::next(&mut fields)?.whole;
        let numbers = [modulus, exponent].concat();
        let length = u16::try_from(numbers.len()).map_err(|_| ber::Error::Unusual)?;
        let mut public = vec![ber::SEQUENCE];
        match length.to_be_bytes() {
            [0, short @ 0..0x80] => public.push(short),
            [0, low] => public.extend([0x81, low]),
            [high, low] => public.extend([0x82, high, low]),
        }
        public.extend(numbers);
        Ok(Key {
            public: Some(public),
        })
    }
}

/// In the place of a certificate's first list, a PKCS #12 file has the number 3.
fn is_pkcs12(file: &[u8]) -> bool {
    let Ok(mut fields) = ber::expect(&mut { file }, ber::SEQUENCE) else {
        return false;
    };
    ber::expect(&mut fields, ber::INTEGER) == Ok(&[3])
}

/// The blocks of a PEM text, each with its label. What stands between blocks is for people.
fn blocks(text: &str) -> impl Iterator<Item = Result<(String, Vec<u8>), Error>> {
    text.split("-----BEGIN ").skip(1).map(|block| {
        let (label, rest) = block
            .split_once("-----")
            .ok_or_else(|| Error::Armour(block.chars().take(20).collect()))?;
        let damaged = || Error::Armour(label.chars().take(40).collect());
        let end = format!("-----END {label}-----");
        let (body, _) = rest.split_once(end.as_str()).ok_or_else(damaged)?;
        if body.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(Error::Encrypted);
        }
        let body: String = body.split_whitespace().collect();
        let bytes = BASE64.decode(body).map_err(|_| damaged())?;
        Ok((label.to_owned(), bytes))
    })
}

fn text(name: Option<DirectoryString>) -> Option<String> {
    name.map(|it| it.value().into_owned())
}

fn key_error(error: ber::Error) -> Error {
    Error::Key(error.to_string())
}

/// Two small letters or digits a byte.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Variant;
    use super::super::self_signed::tests::{credentials, made, plan};
    use super::*;
    use std::process::Command;

    fn openssl(arguments: &[&str], file: &std::path::Path) -> String {
        let output = Command::new("openssl").args(arguments).arg(file).output();
        let output = output.expect("openssl is there, or credentials could not be made");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_stands_in_a_certificate_is_what_openssl_says() {
        let (_directory, files, made) = made(&plan(Variant::DeveloperId));
        let it = &made.application.certificate;
        let file = &files.application[1];
        let said = |option: &str| openssl(&["x509", "-noout", option, "-in"], file);
        assert_eq!(
            said("-serial").trim(),
            format!("serial={}", it.serial.to_uppercase())
        );
        let fingerprint = said("-fingerprint").replace(':', "");
        assert!(
            fingerprint.trim().ends_with(&it.fingerprint()),
            "{fingerprint}"
        );
        let block = it.to_pem();
        let written = std::fs::read_to_string(file).unwrap();
        assert!(written.starts_with(&block));
        assert_eq!(made.application.to_pem(), written);
    }

    #[test]
    fn files_may_come_in_any_order_and_with_words_between() {
        let (_directory, files, made) = made(&plan(Variant::DeveloperId));
        let all: Vec<_> = files
            .application
            .iter()
            .map(std::fs::read_to_string)
            .collect();
        let key = all[0].as_ref().unwrap();
        let leaf = made.application.certificate.to_pem();
        let authority = made.application.issuers[0].to_pem();
        let root = made.application.issuers[1].to_pem();
        let words = "Bag Attributes\n    friendlyName: Größe -----\r\n";
        for parts in [
            [&root, &authority, words, key, &leaf, &leaf],
            [&leaf, key, words, &root, "", &authority],
        ] {
            let text = parts.concat().replace('\n', "\r\n");
            let contents = read(text.as_bytes()).unwrap();
            assert_eq!(contents.certificates.len(), 3);
            let names = contents.chain().unwrap();
            let names: Vec<_> = names.iter().map(|it| it.common_name.as_str()).collect();
            assert_eq!(names[0], made.application.certificate.common_name);
            assert_eq!(names[1], made.application.issuers[0].common_name);
            assert_eq!(names[2], made.application.issuers[1].common_name);
            assert_eq!(contents.keys, made.application.keys);
        }
        let der = read(&made.application.certificate.der).unwrap();
        assert_eq!(der.leaf(), Ok(&made.application.certificate));
    }

    #[test]
    fn of_several_certificates_the_key_says_which() {
        let of = credentials(Variant::DeveloperId);
        let installer = of.installer.as_ref().unwrap();
        let mut contents = Contents {
            certificates: vec![
                of.application.certificate.clone(),
                installer.certificate.clone(),
            ],
            keys: installer.keys.clone(),
        };
        assert_eq!(contents.leaf(), Ok(&installer.certificate));
        contents.keys.clear();
        let error = contents.leaf().unwrap_err().to_string();
        assert!(error.contains("Developer ID Application: "), "{error}");
        assert!(error.contains(", Developer ID Installer: "), "{error}");
        contents.certificates = of.application.issuers.clone();
        assert_eq!(contents.leaf(), Err(Error::NoLeaf));
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        let block = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
        };
        let pkcs12 = vec![0x30, 0x05, 0x02, 0x01, 0x03, 0x30, 0x00];
        let armour = Error::Armour("CERTIFICATE".to_owned());
        for (file, wanted) in [
            (vec![], Error::Unknown),
            (b"hello".to_vec(), Error::Unknown),
            (vec![0xff; 100], Error::Unknown),
            (
                vec![0; FILE_BYTES_MAX + 1],
                Error::Large(FILE_BYTES_MAX + 1),
            ),
            (pkcs12, Error::Pkcs12),
            (block("ENCRYPTED PRIVATE KEY", "AAAA"), Error::Encrypted),
            (
                block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"),
                Error::Encrypted,
            ),
            (
                block("EC PRIVATE KEY", "AAAA"),
                Error::KeyForm("EC PRIVATE KEY".to_owned()),
            ),
            (block("CERTIFICATE", "?"), armour.clone()),
            (b"-----BEGIN CERTIFICATE-----\nAAAA".to_vec(), armour),
        ] {
            assert_eq!(read(&file), Err(wanted));
        }
        let error = read(&block("CERTIFICATE", "MAA=")).unwrap_err();
        assert!(matches!(error, Error::Certificate(_)), "{error}");
        let error = read(&block("PRIVATE KEY", "MAA=")).unwrap_err();
        assert!(matches!(error, Error::Key(_)), "{error}");
        let request = read(&block("CERTIFICATE REQUEST", "AAAA")).unwrap();
        assert_eq!(request, Contents::default());
    }

    #[test]
    fn a_damaged_certificate_never_breaks_the_reader() {
        let der = &credentials(Variant::Development)
            .application
            .certificate
            .der;
        for end in 0..der.len() {
            assert!(Certificate::from_der(&der[..end]).is_err(), "{end}");
        }
        for position in 0..der.len() {
            let mut damaged = der.clone();
            damaged[position] ^= 0x85;
            drop(Certificate::from_der(&damaged));
        }
    }

    #[test]
    fn a_mark_without_its_usage_is_of_no_kind() {
        let usage = [ObjectIdentifier::new_unwrap(USAGE_CODE_SIGNING)];
        let marks = [DEVELOPER_ID_INSTALLER.to_owned()];
        assert_eq!(Kind::of(&marks, &usage), Kind::Other);
        let marks = ["1.2.840.113635.100.6.1.2".to_owned()];
        assert_eq!(Kind::of(&marks, &usage), Kind::Other);
        let marks = [MAC_DEVELOPER.to_owned()];
        assert_eq!(Kind::of(&marks, &usage), Kind::AppleDevelopment);
        assert_eq!(Kind::of(&marks, &[]), Kind::Other);
    }
}
