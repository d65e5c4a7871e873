//! What stores answer: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use jiff::Timestamp;
use ship::{Answer, config};
use std::time::Duration;

/// An answer, as far as it matters.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    /// Where the bucket is, when it is elsewhere.
    pub(super) region: Option<String>,
    /// The start of the body; empty for a success.
    pub(super) body: String,
}

impl Reply {
    /// What it means for the parcel. Stores do not read what they keep, so that nothing in it can
    /// be at fault.
    pub(super) fn answer(&self, config: &config::S3, now: Timestamp) -> Answer {
        match self.status {
            // Precondition failed: there is such an object, and its key says that it is the same.
            200..=299 | 412 => return Answer::Accepted,
            300..=399 => return self.misconfigured(&self.place(config)),
            _ => {}
        }
        let code = self.tag("Code").unwrap_or_default();
        if let Some(advice) = self.advice(code, config, now) {
            return self.misconfigured(&advice);
        }
        match code {
            "EntityTooLarge" => {
                return Answer::TooLarge {
                    reason: self.reason(),
                };
            }
            "BadDigest"
            | "IncompleteBody"
            | "InvalidDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch" => return self.again("it was damaged on the way"),
            "RequestTimeout" => return self.again("it came too slowly"),
            _ => {}
        }
        match self.status {
            409 => self.again("somebody else writes the same object"),
            408 | 429 | 500 | 502..=599 => self.again("the store is busy or in trouble"),
            413 => Answer::TooLarge {
                reason: self.reason(),
            },
            _ => self.misconfigured("look at the destination's s3, and at the store's log"),
        }
    }

    /// What to do about an error that only somebody who looks after the store or us can end.
    fn advice(&self, code: &str, config: &config::S3, now: Timestamp) -> Option<String> {
        let bucket = &config.bucket;
        let file = config.credentials_file.display();
        Some(match code {
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
                let prefix = config.prefix.as_deref().unwrap_or(super::PREFIX);
                format!("let this key have s3:PutObject on arn:aws:s3:::{bucket}/{prefix}*")
            }
            "NoSuchBucket" => format!("make the bucket {bucket}, or name another"),
            "InvalidAccessKeyId" => format!("the first line of {file} must be a key of this store"),
            "SignatureDoesNotMatch" => format!(
                "the second line of {file} must be the secret of the key in the first, and s3.url \
                 the address at which the store knows itself"
            ),
            "ExpiredToken" | "InvalidToken" => format!("write new credentials into {file}"),
            "RequestTimeTooSkewed" => self.skew(now),
            "AuthorizationHeaderMalformed" | "PermanentRedirect" => self.place(config),
            "NotImplemented" => "this store does not know If-None-Match, without which an object \
                                 could be written twice; use a newer version, or another store"
                .to_owned(),
            _ => return None,
        })
    }

    /// That our clock is off, by how much.
    fn skew(&self, now: Timestamp) -> String {
        let theirs = self
            .tag("ServerTime")
            .and_then(|it| it.parse::<Timestamp>().ok());
        let off = match theirs.map(|theirs| now.as_second() - theirs.as_second()) {
            Some(off_s @ 0..) => format!("is {off_s} s ahead of the store's"),
            Some(off_s) => format!("is {} s behind the store's", -off_s),
            None => "is far from the store's".to_owned(),
        };
        format!("this machine's clock {off}; set it, or let it be set by NTP")
    }

    fn place(&self, config: &config::S3) -> String {
        let region = self.region.as_deref().or(self.tag("Region"));
        match region {
            Some(region) => format!(
                "the bucket {} is in the region {region}: set s3.region, and s3.url if it has a \
                 region in it",
                config.bucket
            ),
            None => "set s3.url and s3.region to where the bucket is".to_owned(),
        }
    }

    fn again(&self, why: &str) -> Answer {
        let after = self
            .retry_after
            .as_deref()
            .and_then(|it| it.trim().parse().ok());
        Answer::Again {
            after: after.map(Duration::from_secs),
            reason: format!("{}: {why}", self.reason()),
        }
    }

    fn misconfigured(&self, advice: &str) -> Answer {
        Answer::Misconfigured {
            reason: format!("{}: {advice}", self.reason()),
        }
    }

    /// The store's own words.
    fn reason(&self) -> String {
        let mut reason = format!("status {}", self.status);
        for tag in ["Code", "Message"] {
            if let Some(words) = self.tag(tag) {
                let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
                let words: String = words
                    .chars()
                    .filter(|it| !it.is_control())
                    .take(300)
                    .collect();
                reason = format!("{reason}, {words}");
            }
        }
        reason
    }

    /// The text of an element of XML that has no others within.
    fn tag(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> config::S3 {
        config::S3 {
            url: "https://s3.example.com".to_owned(),
            bucket: "lake".to_owned(),
            prefix: None,
            region: None,
            credentials_file: "/etc/conntrail/s3".into(),
        }
    }

    fn error(status: u16, code: &str) -> Reply {
        Reply {
            status,
            retry_after: Some("7".to_owned()),
            region: None,
            body: format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>In their\nwords.\
                 </Message><ServerTime>2026-11-23T20:00:00Z</ServerTime></Error>"
            ),
        }
    }

    fn answer(status: u16, code: &str) -> Answer {
        let now = "2026-11-23T20:20:00Z".parse().unwrap();
        error(status, code).answer(&settings(), now)
    }

    #[test]
    fn what_is_there_already_is_accepted() {
        for status in [200, 204, 412] {
            assert_eq!(answer(status, "PreconditionFailed"), Answer::Accepted);
        }
    }

    #[test]
    fn what_passes_is_tried_again_when_the_store_wants_it() {
        for (status, code) in [
            (503, "SlowDown"),
            (500, "InternalError"),
            (409, "ConditionalRequestConflict"),
            (400, "RequestTimeout"),
            (400, "XAmzContentSHA256Mismatch"),
            (504, ""),
        ] {
            let answer = answer(status, code);
            let Answer::Again { after, reason } = &answer else {
                panic!("{code}: {answer:?}");
            };
            assert_eq!(*after, Some(Duration::from_secs(7)));
            assert!(reason.contains("In their words."), "{reason}");
        }
    }

    #[test]
    fn what_somebody_must_mend_is_said_with_what_to_do() {
        for (status, code, words) in [
            (
                403,
                "AccessDenied",
                "s3:PutObject on arn:aws:s3:::lake/conntrail/*",
            ),
            (404, "NoSuchBucket", "make the bucket lake"),
            (403, "InvalidAccessKeyId", "first line of /etc/conntrail/s3"),
            (
                403,
                "SignatureDoesNotMatch",
                "second line of /etc/conntrail/s3",
            ),
            (403, "RequestTimeTooSkewed", "clock is 1200 s ahead"),
            (400, "ExpiredToken", "new credentials"),
            (301, "PermanentRedirect", "s3.region"),
            (501, "NotImplemented", "If-None-Match"),
            (400, "SomethingNew", "status 400, SomethingNew"),
        ] {
            let answer = answer(status, code);
            let Answer::Misconfigured { reason } = &answer else {
                panic!("{code}: {answer:?}");
            };
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn what_is_too_large_is_split() {
        for (status, code) in [(400, "EntityTooLarge"), (413, "")] {
            let answer = answer(status, code);
            assert!(matches!(answer, Answer::TooLarge { .. }), "{answer:?}");
        }
    }
}
