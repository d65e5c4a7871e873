//! Certificates for one test: an authority, a server of the loopback, a client.

use crate::server;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::path::PathBuf;
use tempfile::TempDir;

/// An authority of its own and what it has signed, as PEM files in a folder that is removed with
/// the value.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes them: a server named `localhost` at 127.0.0.1 and ::1, and a client named
    /// `endpoint`.
    ///
    /// # Panics
    ///
    /// When they cannot be made or written.
    #[must_use]
    pub fn make() -> Certificates {
        Certificates::for_server(&["localhost", "127.0.0.1", "::1"])
    }

    /// Makes them with a server of other names, to test that a wrong name is refused.
    ///
    /// # Panics
    ///
    /// As [`Certificates::make`].
    #[must_use]
    pub fn for_server(names: &[&str]) -> Certificates {
        let made = Certificates {
            folder: server::folder("certificates"),
        };
        made.write(names)
            .unwrap_or_else(|error| panic!("cannot make certificates: {error}"));
        made
    }

    /// The certificate of the authority, which signed the others.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("authority")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server_certificate(&self) -> PathBuf {
        self.file("server")
    }

    /// The server's private key.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.file("server-key")
    }

    /// The client's certificate.
    #[must_use]
    pub fn client_certificate(&self) -> PathBuf {
        self.file("client")
    }

    /// The client's private key.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.file("client-key")
    }

    fn write(&self, names: &[&str]) -> Result<(), rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let authority = CertifiedIssuer::self_signed(authority_parameters()?, key)?;
        server::write(&self.authority(), &authority.pem());
        let server = parameters("localhost", names, ExtendedKeyUsagePurpose::ServerAuth)?;
        self.sign("server", &server, &authority)?;
        let client = parameters(
            "endpoint",
            &["endpoint"],
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        self.sign("client", &client, &authority)
    }

    fn sign(
        &self,
        name: &str,
        parameters: &CertificateParams,
        authority: &CertifiedIssuer<'_, KeyPair>,
    ) -> Result<(), rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = parameters.signed_by(&key, authority)?;
        server::write(&self.file(name), &certificate.pem());
        server::write(&self.file(&format!("{name}-key")), &key.serialize_pem());
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pem"))
    }
}

fn authority_parameters() -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "Test authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn parameters(
    common_name: &str,
    names: &[&str],
    purpose: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names)?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, common_name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![purpose];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}
