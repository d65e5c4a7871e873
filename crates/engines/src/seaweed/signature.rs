//! Signatures of requests to S3, version 4, over the headers `host`, `x-amz-content-sha256` and
//! `x-amz-date`.

use ring::{digest, hmac};
use std::time::{SystemTime, UNIX_EPOCH};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// The headers that a request of `[method, host, path, query]` must have, made now. The keys are
/// id, secret and region.
pub(super) fn headers(
    keys: (&str, &str, &str),
    request: &[&str; 4],
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    headers_at(keys, request, body, since.as_secs())
}

fn headers_at(
    (id, secret, region): (&str, &str, &str),
    [method, host, path, query]: &[&str; 4],
    body: &[u8],
    now_s: u64,
) -> Vec<(&'static str, String)> {
    let content = hex(digest::digest(&digest::SHA256, body).as_ref());
    let (day, time) = date(now_s);
    let moment = format!("{day}T{time}Z");
    let canonical = format!(
        "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{content}\n\
         x-amz-date:{moment}\n\n{SIGNED}\n{content}"
    );
    let scope = format!("{day}/{region}/s3/aws4_request");
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("{ALGORITHM}\n{moment}\n{scope}\n{canonical}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [&*day, region, "s3", "aws4_request"] {
        key = sign(&key, part);
    }
    let signature = hex(&sign(&key, &text));
    let credential = format!("Credential={id}/{scope}");
    vec![
        ("x-amz-content-sha256", content),
        ("x-amz-date", moment),
        (
            "Authorization",
            format!("{ALGORITHM} {credential}, SignedHeaders={SIGNED}, Signature={signature}"),
        ),
    ]
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Day and time of a moment in UTC, without separators. The year begins in March here, so that
/// the day that some years have more is their last.
fn date(now_s: u64) -> (String, String) {
    let (days, rest) = (now_s / 86_400 + 719_468, now_s % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    (
        format!("{year:04}{month:02}{day:02}"),
        format!("{hour:02}{minute:02}{second:02}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let of = |now_s| {
            let (day, time) = date(now_s);
            format!("{day} {time}")
        };
        assert_eq!(of(0), "19700101 000000");
        assert_eq!(of(951_782_399), "20000228 235959");
        assert_eq!(of(951_782_400), "20000229 000000");
        assert_eq!(of(1_795_467_583), "20261123 205943");
    }
}
