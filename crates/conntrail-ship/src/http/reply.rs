//! An answer came.

use super::{Failure, Stage};
use crate::secrets::Secret;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use ship::Answer;
use std::time::{Duration, SystemTime};

/// No answer that we need is longer than this, in bytes; what comes after is not read.
const BODY_BYTES_MAX: usize = 4 << 20;

/// What others say is told up to this many characters.
const WORDS_MAX: usize = 300;

/// What is shorter keeps nobody out, and would make holes in the words of others.
const SECRET_BYTES_MIN: usize = 4;

/// A wait that a server asks for is cut to this: one that asks for a week lies or errs.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The start of an answer, and as much of its body as is read.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The type of the body, in small letters and without parameters; empty for none.
    pub content_type: String,
    /// Not earlier than this from now.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
    location: Option<String>,
    hidden: Vec<Secret>,
}

impl Reply {
    /// Reads it to its end, or as far as it is taken.
    pub(super) async fn read(
        mut response: Response,
        hidden: Vec<Secret>,
        now: SystemTime,
    ) -> Result<Reply, Failure> {
        let status = response.status();
        let headers = response.headers();
        let content_type = text(headers, &CONTENT_TYPE).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default();
        let mut reply = Reply {
            status: status.as_u16(),
            content_type: content_type.trim().to_ascii_lowercase(),
            retry_after: text(headers, &RETRY_AFTER).and_then(|text| retry_after(text, now)),
            body: Vec::new(),
            location: text(headers, &LOCATION).map(str::to_owned),
            hidden,
        };
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if reply.body.len() + chunk.len() <= BODY_BYTES_MAX => {
                    reply.body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) if status.is_success() => {
                    return Err(Failure {
                        stage: Stage::Sent,
                        reason: format!("the answer has more than {BODY_BYTES_MAX} bytes"),
                    });
                }
                Ok(Some(_) | None) => return Ok(reply),
                // A status that is not a success stands without the rest of its words.
                Err(_) if !status.is_success() => return Ok(reply),
                Err(error) => return Err(Failure::of(error)),
            }
        }
    }

    /// What a status means that is not a success and of which the destination said nothing in its
    /// own way, which the caller would know; `words` are those to tell.
    pub fn by_status(&self, words: &str) -> Answer {
        let status = self.status;
        let reason = self.told(words);
        match status {
            200..=399 | 511 => self.not_theirs(),
            400 if self.is_html() => self.not_theirs(),
            400 if self.words().contains("HTTP request to an HTTPS server")
                || self.words().contains("HTTP request was sent to HTTPS port") =>
            {
                Answer::Misconfigured {
                    reason: "the server speaks TLS on this port: the URL must begin with https://"
                        .to_owned(),
                }
            }
            400 | 422 => Answer::Refused { reason },
            407 => Answer::Misconfigured {
                reason: "the proxy wants a user and a password: \
                         proxy = \"http://user:password@host\""
                    .to_owned(),
            },
            413 => Answer::TooLarge { reason },
            408 | 421 | 425 | 429 | 500.. => self.again(reason),
            _ => Answer::Misconfigured { reason },
        }
    }

    /// The same bytes are to be sent again, not before the server wants them.
    pub fn again(&self, reason: String) -> Answer {
        Answer::Again {
            after: self.retry_after,
            reason,
        }
    }

    /// Somebody else answered.
    pub fn not_theirs(&self) -> Answer {
        let what = match (&self.location, self.content_type.as_str()) {
            (Some(location), _) if (300..400).contains(&self.status) => {
                let to = location.split(['?', '#']).next().unwrap_or_default();
                format!("it sends us to {}", self.clean(to))
            }
            (_, "") => "without saying of what type".to_owned(),
            (_, content_type) => self.clean(content_type),
        };
        self.again(format!(
            "something that is not a collector answered (captive portal?): {}, {what}",
            self.status
        ))
    }

    /// The status, and these words.
    pub fn told(&self, words: &str) -> String {
        let status = reqwest::StatusCode::from_u16(self.status).ok();
        let name = status
            .and_then(|status| status.canonical_reason())
            .unwrap_or("no such status");
        match self.clean(words) {
            words if words.is_empty() || self.is_html() => format!("{} {name}", self.status),
            words => format!("{} {name}: {words}", self.status),
        }
    }

    /// Words of others as we tell them: short, on one line, and without what is secret.
    pub fn clean(&self, words: &str) -> String {
        let mut words = words.to_owned();
        let worth_hiding = |secret: &&Secret| secret.expose().len() >= SECRET_BYTES_MIN;
        for secret in self.hidden.iter().filter(worth_hiding) {
            words = words.replace(secret.expose(), "(not shown)");
        }
        let printable = words.chars().map(|c| if c.is_control() { ' ' } else { c });
        let short: String = printable.take(WORDS_MAX).collect();
        short.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The body as text, if it is text.
    pub fn words(&self) -> String {
        std::str::from_utf8(&self.body)
            .map(str::to_owned)
            .unwrap_or_default()
    }

    /// Whether it is a page for people.
    pub fn is_html(&self) -> bool {
        let start = self.body.trim_ascii_start();
        self.content_type == "text/html" || start.starts_with(b"<!") || start.starts_with(b"<html")
    }

    /// The body as JSON, if it says that it is and is.
    pub fn json(&self) -> Option<serde_json::Value> {
        let says = self.content_type == "application/json"
            || (self.content_type.starts_with("application/")
                && self.content_type.ends_with("+json"));
        says.then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?;
            let then = SystemTime::from(date.timestamp());
            then.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date_and_is_bounded() {
        // Sun, 06 Nov 1994 08:49:37 GMT is 784,111,777 seconds after 1970.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let wait = |text| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(wait("99999999"), Some(3_600));
        assert_eq!(wait("Sat, 06 Nov 2094 08:49:37 GMT"), Some(3_600));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }

    #[test]
    fn words_of_others_are_short_and_show_no_secret() {
        let reply = Reply {
            status: 403,
            content_type: String::new(),
            retry_after: None,
            body: Vec::new(),
            location: None,
            hidden: vec![Secret::new("hunter2")],
        };
        assert_eq!(
            reply.clean("no\r\n\u{7}  hunter2 here"),
            "no (not shown) here"
        );
        assert_eq!(reply.clean(&"x".repeat(1_000)).len(), WORDS_MAX);
        assert_eq!(reply.told("hunter2"), "403 Forbidden: (not shown)");
    }
}
