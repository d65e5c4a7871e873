//! TLS, the same for every destination: whom we trust, who we are, and which keys we insist on.
//!
//! Trusted is what the operating system trusts, or the authorities of `ca_file` in its place.
//! Pins come on top and never replace trust; [`Pinned`](pinning::Pinned) says what they mean.

mod certificate;
mod pinning;

pub use pinning::PinMismatch;

use crate::bounded;
use pinning::{Pin, Pinned};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use ship::config::Tls;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// No file of certificates or keys is longer than this, in bytes; the largest bundles of
/// authorities have a quarter of it.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Why settings of TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "{setting}: cannot read {}: {source}; does it exist, and may the service's user \
         read it?",
        path.display()
    )]
    Read {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file has no certificate where one is needed.
    #[error(
        "{setting}: there is no certificate in {}; it must be PEM with BEGIN \
         CERTIFICATE{}",
        path.display(), found_instead(found)
    )]
    NoCertificate {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is there in its place.
        found: Option<&'static str>,
    },
    /// A certificate is broken.
    #[error(
        "{setting}: certificate {number} in {} is broken: {detail}; get the file again \
         from whoever issued it",
        path.display()
    )]
    BrokenCertificate {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Which one in the file, from 1; 0 where the file as a whole is at fault.
        number: usize,
        /// What is wrong.
        detail: String,
    },
    /// The file of the key has none that we can use.
    #[error("tls.key_file: there is no private key to use in {}: {detail}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        detail: String,
    },
    /// Key and certificate are not of one pair.
    #[error(
        "tls.key_file: the key in {} does not belong to the first certificate in {}; \
         the certificate that was issued for this key must come first in its file",
        key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// One of certificate and key is set, and the other is not.
    #[error("{missing} is missing: {present} says who we are only together with it")]
    HalfOfPair {
        /// The setting that is there.
        present: &'static str,
        /// The setting that is not.
        missing: &'static str,
    },
    /// A pin is not one.
    #[error(
        "tls.pins: \"{pin}\" is not the SHA-256 of a public key in base64 (44 characters); \
         `openssl x509 -in server.pem -pubkey -noout | openssl pkey -pubin -outform der | \
         openssl dgst -sha256 -binary | base64` prints one"
    )]
    BadPin {
        /// What is written.
        pin: String,
    },
    /// The name to ask for is not one.
    #[error("tls.server_name: \"{name}\" is neither the name of a host nor an address")]
    BadName {
        /// What is written.
        name: String,
    },
    /// There is nobody to trust.
    #[error(
        "the operating system names no authority to trust: {detail}; \
         install its certificates (Debian: ca-certificates), or set tls.ca_file"
    )]
    NoTrust {
        /// What went wrong.
        detail: String,
    },
    /// The library does not take what it was given.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

/// Everything a sink needs to speak TLS.
///
/// The files are read here and now; a sink calls this again when [`stamps`] differ, so that new
/// certificates need no restart. The protocol of the application (ALPN) is left to the sink.
///
/// # Errors
///
/// [`TlsError`] names the setting and the file, and says what to do.
pub fn client_config(settings: &Tls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(settings, &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Library(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match identity(settings, &provider)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| TlsError::Library(error.to_string())),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// What somebody should know about certificates that can be used all the same: our own has
/// expired, or is not valid yet.
pub fn warnings(settings: &Tls, now: SystemTime) -> Vec<String> {
    let Some(path) = &settings.certificate_file else {
        return Vec::new();
    };
    let Ok(chain) = certificates("tls.certificate_file", path) else {
        return Vec::new();
    };
    let first = chain.first().and_then(|own| certificate::validity(own));
    let word = first.and_then(|validity| validity.complaint(now));
    word.map(|word| {
        format!(
            "tls.certificate_file: our certificate in {} {word}; it is presented all the same, \
             and servers will probably refuse it",
            path.display()
        )
    })
    .into_iter()
    .collect()
}

/// When each of the files was last written, and how long it is; `None` for those that cannot be
/// looked at. When this changes, [`client_config`] is due again.
pub fn stamps(settings: &Tls) -> Vec<Option<(SystemTime, u64)>> {
    let files = [
        &settings.ca_file,
        &settings.certificate_file,
        &settings.key_file,
    ];
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.into_iter().flatten().map(stamp).collect()
}

/// Who says whether a server is the right one.
fn verifier(
    settings: &Tls,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let authorities = match &settings.ca_file {
        Some(path) => certificates("tls.ca_file", path)?,
        None => Vec::new(),
    };
    let ordinary: Arc<dyn ServerCertVerifier> = match &settings.ca_file {
        Some(path) => trusting(path, &authorities, provider)?,
        None => Arc::new(
            rustls_platform_verifier::Verifier::new(Arc::clone(provider)).map_err(|error| {
                TlsError::NoTrust {
                    detail: error.to_string(),
                }
            })?,
        ),
    };
    if settings.pins.is_empty() && settings.server_name.is_none() {
        return Ok(ordinary);
    }
    Ok(Arc::new(Pinned {
        ordinary,
        server_name: settings.server_name.as_deref().map(name).transpose()?,
        pins: settings
            .pins
            .iter()
            .map(|pin| parse_pin(pin))
            .collect::<Result<_, _>>()?,
        authorities,
        provider: Arc::clone(provider),
    }))
}

/// A verifier that trusts these authorities and nobody else.
fn trusting(
    path: &Path,
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.iter().enumerate() {
        let broken = |error: rustls::Error| TlsError::BrokenCertificate {
            setting: "tls.ca_file",
            path: path.to_owned(),
            number: index + 1,
            detail: error.to_string(),
        };
        roots.add(authority.clone()).map_err(broken)?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Library(error.to_string()))
}

/// Our certificates, our own first, and the key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Who we are, where we say so.
fn identity(settings: &Tls, provider: &CryptoProvider) -> Result<Option<Identity>, TlsError> {
    let (certificate, key) = match (&settings.certificate_file, &settings.key_file) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            return Err(TlsError::HalfOfPair {
                present: "tls.certificate_file",
                missing: "tls.key_file",
            });
        }
        (None, Some(_)) => {
            return Err(TlsError::HalfOfPair {
                present: "tls.key_file",
                missing: "tls.certificate_file",
            });
        }
    };
    let chain = certificates("tls.certificate_file", certificate)?;
    let private = private_key(key)?;
    match CertifiedKey::from_der(chain.clone(), private.clone_key(), provider) {
        Ok(_) => Ok(Some((chain, private))),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::KeyMismatch {
                key: key.clone(),
                certificate: certificate.clone(),
            })
        }
        Err(rustls::Error::InvalidCertificate(error)) => Err(TlsError::BrokenCertificate {
            setting: "tls.certificate_file",
            path: certificate.clone(),
            number: 1,
            detail: format!("{error:?}"),
        }),
        Err(error) => Err(TlsError::NoKey {
            path: key.clone(),
            detail: format!(
                "{error}; take an RSA key of 2,048 bits or more, P-256, P-384 or Ed25519"
            ),
        }),
    }
}

/// All certificates of a file, at least one.
fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(setting, path)?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let number = found.len() + 1;
        let broken = |detail: String| TlsError::BrokenCertificate {
            setting,
            path: path.to_owned(),
            number,
            detail,
        };
        let certificate = certificate.map_err(|error| broken(in_words(&error)))?;
        if certificate::public_key_digest(&certificate).is_none() {
            return Err(broken("it is not X.509".to_owned()));
        }
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            setting,
            path: path.to_owned(),
            found: what_it_is(&text),
        });
    }
    Ok(found)
}

/// The first private key of a file.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read("tls.key_file", path)?;
    let no_key = |detail: String| TlsError::NoKey {
        path: path.to_owned(),
        detail,
    };
    if contains(&text, "BEGIN ENCRYPTED PRIVATE KEY") || contains(&text, "Proc-Type: 4,ENCRYPTED") {
        return Err(no_key(
            "it is encrypted, and nobody is there to type the password; decrypt it \
             (`openssl pkey -in encrypted.pem -out key.pem`) and let only the service read it"
                .to_owned(),
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) {
            let found = found_instead(&what_it_is(&text));
            return no_key(format!("it must be PEM with BEGIN PRIVATE KEY{found}"));
        }
        no_key(in_words(&error))
    })
}

/// A file of PEM.
fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    bounded::read(path, FILE_BYTES_MAX).map_err(|source| TlsError::Read {
        setting,
        path: path.to_owned(),
        source,
    })
}

/// What is wrong with a file of PEM; never what is in it, which may be a key.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "somebody else's enum, and the rest cannot happen with text in memory"
)]
fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
}

/// What a file is that has not what it should.
fn what_it_is(text: &[u8]) -> Option<&'static str> {
    if text.is_empty() {
        Some("nothing: the file is empty")
    } else if contains(text, "PRIVATE KEY-----") {
        Some("a private key")
    } else if contains(text, "BEGIN CERTIFICATE REQUEST") {
        Some("a request for a certificate")
    } else if contains(text, "BEGIN CERTIFICATE-----") {
        Some("a certificate")
    } else if text.starts_with(&[0x30]) {
        Some("DER, which `openssl x509 -inform der` or `openssl pkey -inform der` turns into PEM")
    } else {
        None
    }
}

/// The end of a sentence that says what should be there.
fn found_instead(found: &Option<&'static str>) -> String {
    found
        .map(|found| format!(", and what is there is {found}"))
        .unwrap_or_default()
}

/// Whether bytes have this text somewhere.
fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// The name that a server must have.
fn name(text: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(text.to_owned()).map_err(|_| TlsError::BadName {
        name: text.to_owned(),
    })
}

/// A pin, from base64.
fn parse_pin(text: &str) -> Result<Pin, TlsError> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim());
    let pin = bytes.ok().and_then(|bytes| Pin::try_from(bytes).ok());
    pin.ok_or_else(|| TlsError::BadPin {
        pin: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};
    use std::fs;
    use std::time::Duration;
    use tempfile::TempDir;

    /// An authority, an intermediate under it, and a certificate for `collector.test` under that.
    struct World {
        folder: TempDir,
        root: CertifiedIssuer<'static, KeyPair>,
        middle: CertifiedIssuer<'static, KeyPair>,
        leaf: rcgen::Certificate,
        leaf_key: KeyPair,
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    impl World {
        fn new() -> World {
            World::with(|_| {})
        }

        fn with(change: impl Fn(&mut CertificateParams)) -> World {
            let key = || KeyPair::generate().unwrap();
            let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
            let middle = CertifiedIssuer::signed_by(authority("middle"), key(), &root).unwrap();
            let mut params = CertificateParams::new(vec!["collector.test".to_owned()]).unwrap();
            change(&mut params);
            let leaf_key = key();
            let leaf = params.signed_by(&leaf_key, &middle).unwrap();
            World {
                folder: tempfile::tempdir().unwrap(),
                root,
                middle,
                leaf,
                leaf_key,
            }
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Option<PathBuf> {
            let path = self.folder.path().join(name);
            fs::write(&path, content).unwrap();
            Some(path)
        }

        /// Trusts the authority.
        fn settings(&self) -> Tls {
            Tls {
                ca_file: self.write("ca.pem", self.root.pem()),
                ..Tls::default()
            }
        }

        fn server(&self, chain: &[&CertificateDer<'static>]) -> ServerConfig {
            let key = PrivateKeyDer::try_from(self.leaf_key.serialize_der()).unwrap();
            ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain.iter().map(|&one| one.clone()).collect(), key)
                .unwrap()
        }

        fn chain(&self) -> [&CertificateDer<'static>; 2] {
            [self.leaf.der(), self.middle.der()]
        }

        /// What comes of a handshake with a server that sends certificate and intermediate.
        fn handshake(&self, settings: &Tls) -> Result<(), rustls::Error> {
            handshake(settings, self.server(&self.chain()))
        }
    }

    fn pin(certificate: &CertificateDer<'_>) -> String {
        let digest = certificate::public_key_digest(certificate).unwrap();
        base64::engine::general_purpose::STANDARD.encode(digest)
    }

    /// Shakes hands in memory with a server that is called `collector.test`.
    fn handshake(settings: &Tls, server: ServerConfig) -> Result<(), rustls::Error> {
        let config = Arc::new(client_config(settings).unwrap());
        let name = ServerName::try_from("collector.test").unwrap();
        let mut client = ClientConnection::new(config, name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        for _ in 0..4 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn a_server_below_the_authority_of_the_file_is_trusted_and_no_other() {
        let world = World::new();
        world.handshake(&world.settings()).unwrap();
        let namesake = World::new();
        let error = world.handshake(&namesake.settings()).unwrap_err();
        assert!(error.to_string().contains("BadSignature"), "{error}");
    }

    #[test]
    fn without_a_file_the_operating_system_is_asked_and_trusts_no_stranger() {
        let world = World::new();
        let error = world.handshake(&Tls::default()).unwrap_err();
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    }

    #[test]
    fn a_certificate_for_another_name_or_day_is_refused() {
        let world = World::with(|params| {
            let names = CertificateParams::new(vec!["other.test".to_owned()]).unwrap();
            params.subject_alt_names = names.subject_alt_names;
        });
        let error = world.handshake(&world.settings()).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");

        let asked = Tls {
            server_name: Some("other.test".to_owned()),
            ..world.settings()
        };
        world.handshake(&asked).unwrap();

        let world = World::with(|params| params.not_after = date_time_ymd(2020, 1, 1));
        let error = world.handshake(&world.settings()).unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
    }

    #[test]
    fn a_pin_holds_for_the_server_and_for_what_is_above_it() {
        let world = World::new();
        let other = pin(World::new().leaf.der());
        for pinned in [world.leaf.der(), world.middle.der(), world.root.der()] {
            let settings = Tls {
                pins: vec![other.clone(), pin(pinned)],
                ..world.settings()
            };
            world.handshake(&settings).unwrap();
        }
    }

    #[test]
    fn a_trusted_server_without_a_pinned_key_is_refused_and_its_key_is_told() {
        let world = World::new();
        let settings = Tls {
            pins: vec![pin(World::new().leaf.der())],
            ..world.settings()
        };
        let error = world.handshake(&settings).unwrap_err();
        let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = &error
        else {
            panic!("{error}");
        };
        let mismatch = other.0.downcast_ref::<PinMismatch>().unwrap();
        assert_eq!(mismatch.seen, pin(world.leaf.der()));
    }

    #[test]
    fn a_pinned_certificate_that_is_only_sent_along_does_not_help() {
        let world = World::new();
        let pinned = World::new();
        let settings = Tls {
            pins: vec![pin(pinned.middle.der()), pin(pinned.leaf.der())],
            ..world.settings()
        };
        let [leaf, middle] = world.chain();
        let server = world.server(&[leaf, middle, pinned.middle.der(), pinned.leaf.der()]);
        let error = handshake(&settings, server).unwrap_err();
        assert!(error.to_string().contains("PinMismatch"), "{error}");
    }

    #[test]
    fn a_pinned_key_does_not_replace_trust() {
        let world = World::new();
        let settings = Tls {
            pins: vec![pin(world.leaf.der())],
            ..Tls::default()
        };
        let error = world.handshake(&settings).unwrap_err();
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    }

    #[test]
    fn a_server_that_asks_who_we_are_gets_our_certificate() {
        let world = World::new();
        let demanding = || {
            let mut roots = RootCertStore::empty();
            roots.add(world.root.der().clone()).unwrap();
            let provider = Arc::new(ring::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let key = PrivateKeyDer::try_from(world.leaf_key.serialize_der()).unwrap();
            ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(verifier.build().unwrap())
                .with_single_cert(world.chain().map(Clone::clone).to_vec(), key)
                .unwrap()
        };
        let chain = format!("{}{}", world.leaf.pem(), world.middle.pem());
        let settings = Tls {
            certificate_file: world.write("own.pem", chain),
            key_file: world.write("own.key", world.leaf_key.serialize_pem()),
            ..world.settings()
        };
        handshake(&settings, demanding()).unwrap();
        assert!(handshake(&world.settings(), demanding()).is_err());
    }

    #[test]
    fn settings_that_cannot_be_used_say_which_file_and_what_to_do() {
        let world = World::new();
        let certificate = || world.write("own.pem", world.leaf.pem());
        let key = || world.write("own.key", world.leaf_key.serialize_pem());
        let own = |certificate_file, key_file| Tls {
            certificate_file,
            key_file,
            ..world.settings()
        };
        let trust = |ca_file| Tls {
            ca_file,
            ..Tls::default()
        };
        let pins = |pin: &str| Tls {
            pins: vec![pin.to_owned()],
            ..world.settings()
        };
        let stranger = World::new().leaf_key.serialize_pem();
        let locked =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
        let endless = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let cases = [
            (
                trust(Some("/nowhere/ca.pem".into())),
                "tls.ca_file: cannot read /nowhere/ca.pem",
            ),
            (trust(key()), "what is there is a private key"),
            (
                trust(world.write("ca.der", world.root.der())),
                "turns into PEM",
            ),
            (trust(world.write("empty", "")), "the file is empty"),
            (trust(world.write("broken.pem", broken)), "certificate 1 in"),
            (trust(world.write("endless.pem", endless)), "no END line"),
            (
                trust(world.write("long.pem", vec![b'x'; FILE_BYTES_MAX + 1])),
                "more than",
            ),
            (own(certificate(), None), "tls.key_file is missing"),
            (own(None, key()), "tls.certificate_file is missing"),
            (
                own(certificate(), certificate()),
                "what is there is a certificate",
            ),
            (
                own(certificate(), world.write("other.key", stranger)),
                "does not belong",
            ),
            (
                own(certificate(), world.write("locked.key", locked)),
                "openssl pkey",
            ),
            (pins("AAAA"), "\"AAAA\" is not the SHA-256"),
            (
                Tls {
                    server_name: Some("a b".to_owned()),
                    ..world.settings()
                },
                "tls.server_name: \"a b\"",
            ),
        ];
        for (settings, words) in cases {
            let error = client_config(&settings).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("PRIVATE KEY-----"), "{error}");
        }
    }

    #[test]
    fn an_own_certificate_that_has_expired_can_be_used_and_is_told() {
        let world = World::with(|params| {
            params.not_before = date_time_ymd(1949, 12, 31);
            params.not_after = date_time_ymd(2026, 1, 2);
        });
        let settings = Tls {
            certificate_file: world.write("own.pem", world.leaf.pem()),
            key_file: world.write("own.key", world.leaf_key.serialize_pem()),
            ..world.settings()
        };
        client_config(&settings).unwrap();
        // The second of January 2026 begins 1,767,312,000 seconds after 1970.
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_312_000);
        assert_eq!(warnings(&settings, end), Vec::<String>::new());
        let told = warnings(&settings, end + Duration::from_secs(1));
        assert!(told[0].contains("own.pem has expired"), "{told:?}");
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(7_400 * 86_400);
        assert!(warnings(&settings, early)[0].contains("not valid yet"));
    }

    #[test]
    fn files_that_change_are_noticed() {
        let world = World::new();
        let settings = world.settings();
        let before = stamps(&settings);
        assert_eq!(stamps(&settings), before);
        world.write("ca.pem", format!("{}\n", world.root.pem()));
        assert_ne!(stamps(&settings), before);
    }
}
