//! Signatures of requests, version 4:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::Sha256;
use std::fmt::Write;

/// Who signs. There is no way to show it.
pub(super) struct Credentials {
    id: String,
    secret: String,
    /// Of those that are lent for some hours.
    session_token: Option<String>,
}

impl Credentials {
    /// Of lines: access key id, secret access key, and perhaps a session token.
    pub(super) fn parse(text: &str) -> Option<Credentials> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let credentials = Credentials {
            id: lines.next()?.to_owned(),
            secret: lines.next()?.to_owned(),
            session_token: lines.next().map(str::to_owned),
        };
        lines.next().is_none().then_some(credentials)
    }
}

/// SHA-256 of what is sent.
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Digest {
        Digest(<Sha256 as sha2::Digest>::digest(bytes).into())
    }
}

/// What is signed of a request to put an object where there is none.
pub(super) struct SignedRequest<'a> {
    /// As the header says it.
    pub(super) host: String,
    /// As it is sent, escaped.
    pub(super) path: &'a str,
    pub(super) region: &'a str,
    pub(super) digest: &'a Digest,
    pub(super) now: Timestamp,
}

impl SignedRequest<'_> {
    /// All headers that it must have, except those that every client adds.
    pub(super) fn headers(&self, credentials: &Credentials) -> Vec<(&'static str, String)> {
        let now = self.now.to_zoned(TimeZone::UTC);
        // In the order of their names, as the signature needs them.
        let mut headers = vec![
            ("host", self.host.clone()),
            ("if-none-match", "*".to_owned()),
            ("x-amz-checksum-sha256", STANDARD.encode(self.digest.0)),
            ("x-amz-content-sha256", hex(&self.digest.0)),
            ("x-amz-date", now.strftime("%Y%m%dT%H%M%SZ").to_string()),
        ];
        if let Some(token) = &credentials.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let signature = authorization("PUT", self.path, self.region, &headers, credentials);
        headers.push(("authorization", signature));
        headers.retain(|(name, _)| *name != "host");
        headers
    }
}

/// The header `authorization` for a request with these headers, sorted by name, among them
/// `x-amz-date` and `x-amz-content-sha256`.
fn authorization(
    method: &str,
    path: &str,
    region: &str,
    headers: &[(&'static str, String)],
    credentials: &Credentials,
) -> String {
    let value = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| *name == wanted);
        found.map_or("", |(_, value)| value)
    };
    let (time, digest) = (value("x-amz-date"), value("x-amz-content-sha256"));
    let day = time.get(..8).unwrap_or_default();
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"));
    let names = headers
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(";");
    let canonical = format!(
        "{method}\n{path}\n\n{}\n{names}\n{digest}",
        lines.collect::<String>()
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let canonical = hex(&Digest::of(canonical.as_bytes()).0);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
    let mut key = mac(format!("AWS4{}", credentials.secret).as_bytes(), day);
    for part in [region, "s3", "aws4_request", &text] {
        key = mac(&key, part);
    }
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={}",
        credentials.id,
        hex(&key)
    )
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory can be written");
        text
    })
}

/// A path as signatures have it: everything but letters, digits, `-._~` and `/` as `%XX`.
pub(super) fn escape(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => write!(text, "%{byte:02X}").expect("memory can be written"),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "PUT Object" in the documentation that is named above.
    #[test]
    fn the_example_of_the_documentation_is_signed_as_there() {
        let credentials =
            Credentials::parse("AKIAIOSFODNN7EXAMPLE\nwJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
                .unwrap();
        let digest = hex(&Digest::of(b"Welcome to Amazon S3.").0);
        assert_eq!(
            digest,
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
        );
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("x-amz-content-sha256", digest),
            ("x-amz-date", "20130524T000000Z".to_owned()),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()),
        ];
        let path = escape("/test$file.text");
        assert_eq!(path, "/test%24file.text");
        let header = authorization("PUT", &path, "us-east-1", &headers, &credentials);
        assert_eq!(
            header,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,\
             Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn credentials_are_two_lines_or_three() {
        let id = |text: &str| Credentials::parse(text).map(|it| (it.id, it.session_token));
        assert_eq!(id("a\nb"), Some(("a".to_owned(), None)));
        assert_eq!(
            id(" a \r\nb\n\n c\n"),
            Some(("a".to_owned(), Some("c".to_owned())))
        );
        for text in ["", "a", "a\n\n", "a\nb\nc\nd"] {
            assert_eq!(id(text), None, "{text:?}");
        }
    }
}
