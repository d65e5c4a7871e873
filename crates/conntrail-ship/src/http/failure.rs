//! No answer came.

use crate::tls::PinMismatch;
use ship::Answer;
use std::error::Error;
use std::io;

/// No server worth the name refuses a body of this length, in bytes.
const LONG_BODY_BYTES: usize = 1 << 20;

/// In the library's words: the body was not sent to its end.
const BODY_WRITE: &str = "error writing a body to connection";

/// How far a request got that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was tried: the settings or their files do not allow it.
    Settings,
    /// There was no connection, so nothing can have arrived.
    Connecting,
    /// There was a server, and one of us did not trust the other; nothing can have arrived.
    Trust,
    /// The connection broke while a long body was being sent, so it cannot have arrived.
    Cut,
    /// It may have arrived.
    Sent,
}

/// A request that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How far it got.
    pub stage: Stage,
    /// In words, with what to do where that is known.
    pub reason: String,
}

impl Failure {
    /// Settings or files that do not allow any request.
    pub fn of_settings(reason: String) -> Failure {
        Failure {
            stage: Stage::Settings,
            reason,
        }
    }

    /// What the library says about a request with a body of so many bytes.
    ///
    /// A server that takes no body of this length says so at once and closes, while we are still
    /// sending; what it said is then lost on the way to us. A long body is cut on the suspicion,
    /// which costs nothing, and so nobody sends it in vain for ever.
    pub(super) fn of_body(error: reqwest::Error, bytes: usize) -> Failure {
        let mut failure = Failure::of(error);
        if bytes > LONG_BODY_BYTES && failure.reason.contains(BODY_WRITE) {
            failure.stage = Stage::Cut;
            failure.reason = format!(
                "the connection broke while {bytes} bytes were being sent; the server may not take \
                 as many: {}",
                failure.reason
            );
        }
        failure
    }

    /// What the library says.
    pub(super) fn of(error: reqwest::Error) -> Failure {
        // The URL is known, and what is in it is nobody else's business.
        let error = error.without_url();
        if let Some(trust) = find::<rustls::Error>(&error) {
            return of_trust(trust);
        }
        let causes = causes(&error);
        let text = causes.join(": ");
        if text.contains("proxy authorization required") {
            return Failure::of_settings(
                "the proxy wants a user and a password: proxy = \"http://user:password@host\""
                    .to_owned(),
            );
        }
        if error.is_builder() {
            return Failure::of_settings(text);
        }
        let stage = if error.is_connect() {
            Stage::Connecting
        } else {
            Stage::Sent
        };
        let reason = match (error.is_timeout(), stage) {
            (true, Stage::Connecting) => "no connection within the time allowed".to_owned(),
            (true, _) => "no whole answer within the time allowed".to_owned(),
            (false, Stage::Connecting) => format!("no connection: {text}"),
            (false, _) => format!("the connection broke before the whole answer was there: {text}"),
        };
        Failure { stage, reason }
    }

    /// What that means where the destination acknowledges what it has.
    pub fn answer(self) -> Answer {
        let Failure { stage, reason } = self;
        match stage {
            Stage::Settings | Stage::Trust => Answer::Misconfigured { reason },
            Stage::Cut => Answer::TooLarge { reason },
            Stage::Connecting | Stage::Sent => Answer::Again {
                after: None,
                reason,
            },
        }
    }
}

/// What it means that one side does not trust the other.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "somebody else's enum, and the rest is told as the library tells it"
)]
fn of_trust(error: &rustls::Error) -> Failure {
    use rustls::CertificateError as Wrong;
    use rustls::Error as Tls;
    let mut stage = Stage::Trust;
    let reason = match error {
        Tls::InvalidCertificate(Wrong::Other(other)) => match other.0.downcast_ref::<PinMismatch>()
        {
            Some(mismatch) => mismatch.to_string(),
            None => format!("the server's certificate is refused: {other}"),
        },
        Tls::InvalidCertificate(Wrong::UnknownIssuer) => {
            "nobody whom we trust issued the server's certificate; name the authority in \
             tls.ca_file, or have the operating system trust it (a captive portal or somebody who \
             reads along looks the same)"
                .to_owned()
        }
        Tls::InvalidCertificate(wrong) => format!(
            "the server's certificate is refused: {wrong}; \
             whoever runs the server must replace it, or the clock here is wrong"
        ),
        Tls::AlertReceived(alert) => format!(
            "the server ended the TLS handshake with {alert:?}; it may demand a certificate \
             (tls.certificate_file and tls.key_file) or not accept ours"
        ),
        Tls::InvalidMessage(_) => {
            "the server does not speak TLS on this port; should the URL begin with http://?"
                .to_owned()
        }
        other => {
            stage = Stage::Connecting;
            format!("the TLS handshake failed: {other}")
        }
    };
    Failure { stage, reason }
}

/// The first error of a type, in the chain of causes and inside of errors of input and output.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find::<T>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What went wrong and why, each once.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut next = error.source().or(Some(error));
    while let Some(error) = next {
        let text = error.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said
}
