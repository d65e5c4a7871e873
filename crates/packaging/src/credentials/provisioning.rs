//! Provisioning profiles: which program of which team may claim what, on which machines.
//!
//! A `.provisionprofile` is a signed message (CMS, RFC 5652) whose content is a property list.
//! TN3125 says what its keys mean. Apple's signature is not verified, since Apple's root is not at
//! hand off a Mac; that the content is the one that was signed is.

use super::ber;
use super::certificate::Certificate;
use plist::{Dictionary, Value};
use sha2::Digest;
use std::time::{Duration, SystemTime};
use x509_cert::der::asn1::ObjectIdentifier;

/// A profile, as far as signing needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// As the developer account lists it.
    pub name: String,
    /// Names this very issue of it.
    pub uuid: String,
    /// The team, and no other, in every profile of today.
    pub teams: Vec<String>,
    /// What stands before the bundle identifier in the application identifier: the team, except
    /// for identifiers registered before 2011.
    pub prefixes: Vec<String>,
    /// `OSX` for the Mac.
    pub platforms: Vec<String>,
    /// Seconds since 1970.
    pub created: i64,
    /// Seconds since 1970.
    pub expires: i64,
    /// Whether it is for every Mac: only those for a Developer ID are.
    pub all_devices: bool,
    /// The machines that it is for.
    pub devices: Vec<String>,
    /// The certificates that may sign with it, in DER.
    pub certificates: Vec<Vec<u8>>,
    /// What it allows, and with which values.
    pub entitlements: Dictionary,
}

/// Why a file is no provisioning profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too large for what it should be.
    #[error("it has {0} bytes, which no provisioning profile has: {AGAIN}")]
    Large(usize),
    /// A property list that nobody signed.
    #[error("it is a property list without Apple's signature around it: {AGAIN}")]
    Unsigned,
    /// The shell cannot be read.
    #[error("it is no signed message ({0}): {AGAIN}")]
    Form(String),
    /// A signed message without signature.
    #[error("it names nobody who signed it: {AGAIN}")]
    NoSigner,
    /// A digest that we do not know.
    #[error("it is signed with a digest that no profile has ({0}): {AGAIN}")]
    Digest(String),
    /// The content is not what was signed.
    #[error("it was changed after Apple signed it: {AGAIN}")]
    Edited,
    /// The content cannot be read.
    #[error("its content is no property list ({0}): {AGAIN}")]
    Content(String),
    /// A key is not there, or is of another type.
    #[error("its content has no {what} under the key {key}, so it is no profile: {AGAIN}")]
    Key {
        /// The key.
        key: &'static str,
        /// What must stand there.
        what: &'static str,
    },
}

/// The entitlement that names the program.
pub const APPLICATION_IDENTIFIER: &str = "com.apple.application-identifier";
/// The entitlement that names the team.
pub const TEAM_IDENTIFIER: &str = "com.apple.developer.team-identifier";
/// The entitlement for content filters and their like.
pub const NETWORK_EXTENSION: &str = "com.apple.developer.networking.networkextension";
/// The entitlement to have a system extension activated.
pub const SYSTEM_EXTENSION: &str = "com.apple.developer.system-extension.install";

const AGAIN: &str = "download it again from the developer account";

/// Ten thousand machines make about half of it.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Profiles have about a dozen. The limit keeps what is read from being too deep to be dropped.
const CONTAINERS_MAX: usize = 1000;

const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";

impl Profile {
    /// Reads a profile from the bytes of its file.
    ///
    /// # Errors
    ///
    /// Says what of the file is not as in a profile.
    pub fn parse(file: &[u8]) -> Result<Profile, Error> {
        if file.len() > FILE_BYTES_MAX {
            return Err(Error::Large(file.len()));
        }
        let beginning = file.trim_ascii_start();
        if beginning.starts_with(b"<") || beginning.starts_with(b"bplist") {
            return Err(Error::Unsigned);
        }
        Profile::from_plist(&content(file)?)
    }

    /// Whether this certificate may sign with it.
    pub fn lists(&self, certificate: &Certificate) -> bool {
        self.certificates.contains(&certificate.der)
    }

    /// The program that it is for, with the prefix: `TEAM.bundle.identifier`, or `TEAM.*`.
    pub fn application_identifier(&self) -> Option<&str> {
        self.entitlements.get(APPLICATION_IDENTIFIER)?.as_string()
    }

    /// The kinds of network extension that it allows.
    pub fn network_extensions(&self) -> Vec<String> {
        let values = self
            .entitlements
            .get(NETWORK_EXTENSION)
            .and_then(Value::as_array);
        let values = values.into_iter().flatten();
        values
            .filter_map(Value::as_string)
            .map(str::to_owned)
            .collect()
    }

    /// The property list, without the signature around it.
    pub(super) fn to_plist(&self) -> Vec<u8> {
        let texts = |it: &[String]| Value::Array(it.iter().cloned().map(Value::String).collect());
        let date = |seconds: i64| {
            let after = Duration::from_secs(seconds.try_into().unwrap_or(0));
            Value::Date((SystemTime::UNIX_EPOCH + after).into())
        };
        let certificates = self.certificates.iter().cloned().map(Value::Data).collect();
        let mut all = Dictionary::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("ApplicationIdentifierPrefix", texts(&self.prefixes));
        put("CreationDate", date(self.created));
        put("DeveloperCertificates", Value::Array(certificates));
        put("Entitlements", self.entitlements.clone().into());
        put("ExpirationDate", date(self.expires));
        put("Name", Value::String(self.name.clone()));
        put("Platform", texts(&self.platforms));
        match self.all_devices {
            true => put("ProvisionsAllDevices", Value::Boolean(true)),
            false => put("ProvisionedDevices", texts(&self.devices)),
        };
        put("TeamIdentifier", texts(&self.teams));
        put("UUID", Value::String(self.uuid.clone()));
        put("Version", Value::Integer(1.into()));
        let mut bytes = Vec::new();
        let written = Value::Dictionary(all).to_writer_xml(&mut bytes);
        written.expect("memory takes every byte");
        bytes
    }

    fn from_plist(bytes: &[u8]) -> Result<Profile, Error> {
        let containers = |name: &[u8]| bytes.windows(name.len()).filter(|it| *it == name).count();
        if containers(b"<dict") + containers(b"<array") > CONTAINERS_MAX {
            return Err(Error::Content("it has too many parts".to_owned()));
        }
        let parsed = Value::from_reader_xml(bytes);
        let parsed = parsed.map_err(|error| Error::Content(error.to_string()))?;
        let Value::Dictionary(all) = parsed else {
            return Err(Error::Content("it is not a dictionary".to_owned()));
        };
        let entitlements = all.get("Entitlements").and_then(Value::as_dictionary);
        Ok(Profile {
            name: text(&all, "Name")?,
            uuid: text(&all, "UUID")?,
            teams: texts(&all, "TeamIdentifier")?,
            prefixes: texts(&all, "ApplicationIdentifierPrefix")?,
            platforms: texts(&all, "Platform")?,
            created: date(&all, "CreationDate")?,
            expires: date(&all, "ExpirationDate")?,
            all_devices: all.get("ProvisionsAllDevices") == Some(&Value::Boolean(true)),
            devices: match all.contains_key("ProvisionedDevices") {
                true => texts(&all, "ProvisionedDevices")?,
                false => vec![],
            },
            certificates: certificates(&all)?,
            entitlements: entitlements.cloned().ok_or(Error::Key {
                key: "Entitlements",
                what: "dictionary",
            })?,
        })
    }
}

/// What was signed, taken out of the signed message.
fn content(file: &[u8]) -> Result<Vec<u8>, Error> {
    let mut shell = ber::expect(&mut { file }, ber::SEQUENCE).map_err(form)?;
    if identifier(&mut shell)? != SIGNED_DATA {
        return Err(Error::Form("it is another kind of message".to_owned()));
    }
    let mut signed = ber::expect(&mut shell, ber::CONTEXT_0).map_err(form)?;
    let mut signed = ber::expect(&mut signed, ber::SEQUENCE).map_err(form)?;
    ber::expect(&mut signed, ber::INTEGER).map_err(form)?;
    ber::expect(&mut signed, ber::SET).map_err(form)?;
    let mut inner = ber::expect(&mut signed, ber::SEQUENCE).map_err(form)?;
    identifier(&mut inner)?;
    let mut inner = ber::expect(&mut inner, ber::CONTEXT_0).map_err(form)?;
    let content = ber::octets(&mut inner).map_err(form)?;
    let mut signers = signers(signed)?;
    if signers.is_empty() {
        return Err(Error::NoSigner);
    }
    while !signers.is_empty() {
        let signer = ber::expect(&mut signers, ber::SEQUENCE).map_err(form)?;
        verify_digest(signer, &content)?;
    }
    Ok(content)
}

/// The signers stand last, after certificates and revocations where there are some.
fn signers(mut fields: &[u8]) -> Result<&[u8], Error> {
    loop {
        let element = ber::next(&mut fields).map_err(form)?;
        if element.tag == ber::SET {
            return Ok(element.content);
        }
    }
}

/// Compares the digest that was signed with that of the content. A signer without signed
/// attributes signs the content itself, which is not verified here.
fn verify_digest(mut signer: &[u8], content: &[u8]) -> Result<(), Error> {
    ber::expect(&mut signer, ber::INTEGER).map_err(form)?;
    ber::next(&mut signer).map_err(form)?;
    let mut algorithm = ber::expect(&mut signer, ber::SEQUENCE).map_err(form)?;
    let algorithm = identifier(&mut algorithm)?;
    let attributes = ber::optional(&mut signer, ber::CONTEXT_0).map_err(form)?;
    let Some(attributes) = attributes else {
        return Ok(());
    };
    match signed_digest(attributes)? == digest(&algorithm, content)? {
        true => Ok(()),
        false => Err(Error::Edited),
    }
}

/// The digest of the content, which must be among signed attributes (RFC 5652, 11.2).
fn signed_digest(mut attributes: &[u8]) -> Result<Vec<u8>, Error> {
    while !attributes.is_empty() {
        let mut attribute = ber::expect(&mut attributes, ber::SEQUENCE).map_err(form)?;
        if identifier(&mut attribute)? == MESSAGE_DIGEST {
            let mut values = ber::expect(&mut attribute, ber::SET).map_err(form)?;
            return ber::octets(&mut values).map_err(form);
        }
    }
    let missing = "what was signed has no digest of the content";
    Err(Error::Form(missing.to_owned()))
}

fn digest(algorithm: &str, content: &[u8]) -> Result<Vec<u8>, Error> {
    match algorithm {
        "1.3.14.3.2.26" => Ok(sha1::Sha1::digest(content).to_vec()),
        "2.16.840.1.101.3.4.2.1" => Ok(sha2::Sha256::digest(content).to_vec()),
        "2.16.840.1.101.3.4.2.2" => Ok(sha2::Sha384::digest(content).to_vec()),
        "2.16.840.1.101.3.4.2.3" => Ok(sha2::Sha512::digest(content).to_vec()),
        other => Err(Error::Digest(other.to_owned())),
    }
}

fn identifier(input: &mut &[u8]) -> Result<String, Error> {
    let bytes = ber::expect(input, ber::OBJECT_IDENTIFIER).map_err(form)?;
    let parsed = ObjectIdentifier::from_bytes(bytes);
    let parsed = parsed.map_err(|error| Error::Form(error.to_string()))?;
    Ok(parsed.to_string())
}

fn form(error: ber::Error) -> Error {
    Error::Form(error.to_string())
}

fn text(all: &Dictionary, key: &'static str) -> Result<String, Error> {
    let value = all.get(key).and_then(Value::as_string);
    let what = "text";
    value.map(str::to_owned).ok_or(Error::Key { key, what })
}

fn texts(all: &Dictionary, key: &'static str) -> Result<Vec<String>, Error> {
    let what = "list of texts";
    let value = all.get(key).and_then(Value::as_array);
    let value = value.ok_or(Error::Key { key, what })?;
    let texts = value.iter().map(|it| it.as_string().map(str::to_owned));
    texts.collect::<Option<_>>().ok_or(Error::Key { key, what })
}

fn date(all: &Dictionary, key: &'static str) -> Result<i64, Error> {
    let what = "date";
    let value = all.get(key).and_then(Value::as_date);
    let value = SystemTime::from(value.ok_or(Error::Key { key, what })?);
    let seconds = |it: Duration| i64::try_from(it.as_secs()).unwrap_or(i64::MAX);
    Ok(match value.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    })
}

fn certificates(all: &Dictionary) -> Result<Vec<Vec<u8>>, Error> {
    let key = "DeveloperCertificates";
    let what = "list of certificates";
    let value = all.get(key).and_then(Value::as_array);
    let value = value.ok_or(Error::Key { key, what })?;
    let certificates = value.iter().map(|it| it.as_data().map(<[u8]>::to_vec));
    let certificates = certificates.collect::<Option<_>>();
    certificates.ok_or(Error::Key { key, what })
}

#[cfg(test)]
mod tests {
    use super::super::Variant;
    use super::super::self_signed::tests::{credentials, made, plan};
    use super::*;
    use std::process::Command;

    fn file() -> Vec<u8> {
        let (_directory, files, _) = made(&plan(Variant::Development));
        std::fs::read(files.app_profile).unwrap()
    }

    #[test]
    fn a_profile_is_read_as_it_was_made() {
        for variant in Variant::ALL {
            let plan = plan(variant);
            let made = credentials(variant);
            let certificate = made.application.certificate.der.clone();
            let mut expected = plan.app_profile.clone();
            expected.certificates = vec![certificate];
            assert_eq!(made.app_profile, expected);
            assert!(made.app_profile.lists(&made.application.certificate));
            assert_eq!(
                made.app_profile.application_identifier(),
                Some("AB12CD34EF.com.conntrail.agent")
            );
            let values = made.extension_profile.network_extensions();
            assert_eq!(values, [variant.content_filter_value()]);
        }
    }

    #[test]
    fn an_edited_profile_is_noticed() {
        let mut file = file();
        let key = b"<key>ExpirationDate</key>";
        let at = file.windows(key.len()).position(|it| it == key).unwrap();
        let year = at + file[at..].iter().position(|it| *it == b'2').unwrap();
        file[year] = b'3';
        assert_eq!(Profile::parse(&file), Err(Error::Edited));
    }

    #[test]
    fn a_profile_with_open_lengths_and_in_pieces_is_read() {
        let (directory, files, made) = made(&plan(Variant::Development));
        let list = directory.path().join("list.plist");
        std::fs::write(&list, made.app_profile.to_plist()).unwrap();
        let streamed = directory.path().join("streamed.provisionprofile");
        let mut openssl = Command::new("openssl");
        openssl.args([
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-stream",
            "-md",
            "sha1",
        ]);
        openssl.arg("-signer").arg(&files.application[1]);
        openssl.arg("-inkey").arg(&files.application[0]);
        openssl
            .arg("-in")
            .arg(&list)
            .args(["-outform", "DER", "-out"])
            .arg(&streamed);
        assert!(openssl.status().unwrap().success());
        let bytes = std::fs::read(&streamed).unwrap();
        assert_eq!(bytes[..2], [ber::SEQUENCE, 0x80], "the length is open");
        assert_eq!(Profile::parse(&bytes), Ok(made.app_profile));
    }

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, high, low], content.as_slice()].concat()
    }

    fn name(oid: &str) -> Vec<u8> {
        let oid = ObjectIdentifier::new(oid).unwrap();
        element(ber::OBJECT_IDENTIFIER, &[oid.as_bytes()])
    }

    /// A signed message of the content "x", with these signers.
    fn message(signers: &[&[u8]]) -> Vec<u8> {
        let content = element(ber::CONTEXT_0, &[&element(ber::OCTETS, &[b"x"])]);
        let inner = element(ber::SEQUENCE, &[&name("1.2.840.113549.1.7.1"), &content]);
        let version = element(ber::INTEGER, &[&[1]]);
        let (none, signers) = (element(ber::SET, &[]), element(ber::SET, signers));
        let signed = element(ber::SEQUENCE, &[&version, &none, &inner, &signers]);
        let signed = element(ber::CONTEXT_0, &[&signed]);
        element(ber::SEQUENCE, &[&name(SIGNED_DATA), &signed])
    }

    fn signer(algorithm: &str, attribute: &str, digest: &[u8]) -> Vec<u8> {
        let values = element(ber::SET, &[&element(ber::OCTETS, &[digest])]);
        let attribute = element(ber::SEQUENCE, &[&name(attribute), &values]);
        let algorithm = element(ber::SEQUENCE, &[&name(algorithm)]);
        let attributes = element(ber::CONTEXT_0, &[&attribute]);
        let version = element(ber::INTEGER, &[&[1]]);
        let who = element(ber::SEQUENCE, &[]);
        element(ber::SEQUENCE, &[&version, &who, &algorithm, &attributes])
    }

    #[test]
    fn every_signer_must_have_signed_this_content() {
        let sha256 = "2.16.840.1.101.3.4.2.1";
        let right = signer(sha256, MESSAGE_DIGEST, &sha2::Sha256::digest(b"x"));
        let wrong = signer(sha256, MESSAGE_DIGEST, &sha2::Sha256::digest(b"y"));
        let long = signer(
            "2.16.840.1.101.3.4.2.3",
            MESSAGE_DIGEST,
            &sha2::Sha512::digest(b"x"),
        );
        let md5 = signer("1.2.840.113549.2.5", MESSAGE_DIGEST, &[0; 16]);
        let time = signer(sha256, "1.2.840.113549.1.9.5", b"now");
        assert_eq!(content(&message(&[])), Err(Error::NoSigner));
        assert_eq!(content(&message(&[&right])), Ok(b"x".to_vec()));
        assert_eq!(content(&message(&[&long])), Ok(b"x".to_vec()));
        assert_eq!(content(&message(&[&right, &wrong])), Err(Error::Edited));
        let unknown = Error::Digest("1.2.840.113549.2.5".to_owned());
        assert_eq!(content(&message(&[&md5])), Err(unknown));
        assert!(matches!(content(&message(&[&time])), Err(Error::Form(_))));
    }

    #[test]
    fn what_is_no_profile_is_told() {
        let of = credentials(Variant::DeveloperId);
        let form = |file: &[u8]| matches!(Profile::parse(file), Err(Error::Form(_)));
        assert!(form(b""));
        assert!(form(b"hello"));
        assert!(form(&of.application.certificate.der));
        assert!(form(&[0x30, 0x80].repeat(1000)));
        assert_eq!(
            Profile::parse(&of.app_profile.to_plist()),
            Err(Error::Unsigned)
        );
        let large = vec![0x30; FILE_BYTES_MAX + 1];
        assert_eq!(Profile::parse(&large), Err(Error::Large(large.len())));
        let error = Profile::parse(b"\n<plist>").unwrap_err().to_string();
        assert!(error.contains("download it again"), "{error}");
    }

    #[test]
    fn a_shortened_or_damaged_profile_never_breaks_the_reader() {
        let file = file();
        for end in (0..file.len()).step_by(7) {
            assert!(Profile::parse(&file[..end]).is_err(), "{end}");
        }
        for position in (0..file.len()).step_by(5) {
            let mut damaged = file.clone();
            damaged[position] ^= 0x81;
            drop(Profile::parse(&damaged));
        }
    }

    #[test]
    fn a_key_that_is_missing_or_of_another_type_is_named() {
        let right = credentials(Variant::Development).app_profile.to_plist();
        let Value::Dictionary(right) = Value::from_reader_xml(right.as_slice()).unwrap() else {
            panic!("a profile is a dictionary");
        };
        let parse = |all: Dictionary| {
            let mut bytes = Vec::new();
            Value::Dictionary(all).to_writer_xml(&mut bytes).unwrap();
            Profile::from_plist(&bytes)
        };
        assert!(parse(right.clone()).is_ok());
        for (key, _) in right.iter().filter(|(key, _)| *key != "Version") {
            let mut wrong = right.clone();
            wrong.insert(key.clone(), Value::Integer(1.into()));
            let mut without = right.clone();
            without.remove(key);
            for (all, may_be) in [(wrong, false), (without, key == "ProvisionedDevices")] {
                match parse(all) {
                    Err(Error::Key { key: named, .. }) => assert_eq!(named, key),
                    Ok(_) => assert!(may_be, "{key}"),
                    Err(other) => panic!("{key}: {other}"),
                }
            }
        }
    }

    #[test]
    fn content_too_deep_to_be_read_is_refused() {
        let deep = ["<plist>".to_owned(), "<array>".repeat(200_000)].concat();
        let refused = Profile::from_plist(deep.as_bytes());
        assert_eq!(
            refused,
            Err(Error::Content("it has too many parts".to_owned()))
        );
        for wrong in [
            "",
            "<plist><array/></plist>",
            "<plist><dict><key>",
            "bplist00",
        ] {
            let refused = Profile::from_plist(wrong.as_bytes());
            assert!(matches!(refused, Err(Error::Content(_))), "{wrong}");
        }
    }
}
