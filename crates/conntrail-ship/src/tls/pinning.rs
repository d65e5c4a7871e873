//! Insisting on a key, and on a name other than the address's.

use super::certificate;
use base64::Engine;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// SHA-256 of a `SubjectPublicKeyInfo`.
pub(super) type Pin = [u8; 32];

/// A server that is trusted, but has no key that we insist on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server's certificate is trusted, but neither its key nor one above it is in tls.pins \
     (its own is {seen}): somebody reads along, or the key was changed and tls.pins was not"
)]
pub struct PinMismatch {
    /// The pin that the server's own certificate has, in base64.
    pub seen: String,
}

/// First the ordinary verification, of the name that is set where one is. Then one of these must
/// have a pinned key:
///
/// - the server's own certificate, or
/// - a certificate that the server sent with it, or one of `ca_file`, if the server's certificate
///   also verifies with that one as the only authority. So it does not help an impostor to send
///   the pinned certificate along without being below it.
///
/// The authority at the top is seen only where the server sends it or `ca_file` has it; whoever
/// relies on the operating system's trust pins the server's own key or an intermediate.
#[derive(Debug)]
pub(super) struct Pinned {
    /// Who says whether the server is to be trusted.
    pub(super) ordinary: Arc<dyn ServerCertVerifier>,
    /// The name that is asked for, where it is not the address's.
    pub(super) server_name: Option<ServerName<'static>>,
    /// One of them must be there; empty for no pinning.
    pub(super) pins: Vec<Pin>,
    /// The certificates of `ca_file`.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// The algorithms.
    pub(super) provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// Whether a certificate has a pinned key.
    fn has_pin(&self, certificate: &CertificateDer<'_>) -> bool {
        certificate::public_key_digest(certificate)
            .is_some_and(|digest| self.pins.contains(&digest))
    }

    /// Whether the server's certificate is below a certificate that has a pinned key.
    fn is_below_pin(
        &self,
        end_entity: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> bool {
        let candidates = sent.iter().chain(&self.authorities);
        candidates.filter(|above| self.has_pin(above)).any(|above| {
            let mut only = RootCertStore::empty();
            if only.add(above.clone().into_owned()).is_err() {
                return false;
            }
            let provider = Arc::clone(&self.provider);
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(only), provider).build();
            verifier.is_ok_and(|verifier| {
                verifier
                    .verify_server_cert(end_entity, sent, name, &[], now)
                    .is_ok()
            })
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.server_name.as_ref().unwrap_or(server_name);
        let verified = self.ordinary.verify_server_cert(
            end_entity,
            intermediates,
            name,
            ocsp_response,
            now,
        )?;
        if self.pins.is_empty()
            || self.has_pin(end_entity)
            || self.is_below_pin(end_entity, intermediates, name, now)
        {
            return Ok(verified);
        }
        let seen = certificate::public_key_digest(end_entity).unwrap_or_default();
        let seen = base64::engine::general_purpose::STANDARD.encode(seen);
        let mismatch = OtherError(Arc::new(PinMismatch { seen }));
        Err(CertificateError::Other(mismatch).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ordinary.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ordinary.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ordinary.supported_verify_schemes()
    }
}
