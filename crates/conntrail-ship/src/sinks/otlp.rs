//! OTLP over HTTP, as <https://opentelemetry.io/docs/specs/otlp/#otlphttp> has it.

use super::Sink;
use crate::http::{self, Client, Failure, Reply, Request, SettingError};
use crate::secrets::{Secret, SecretFile};
use reqwest::Url;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ship::config::{self, Destination};
use ship::{Answer, Compression, Format, Guarantee, Parcel};
use std::cell::Cell;

mod answer;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// A collector that takes OTLP over HTTP.
#[derive(Debug)]
pub struct Otlp {
    client: Client,
    url: Url,
    headers: Option<SecretFile>,
    /// Whether the collector is known to take zstd.
    takes_zstd: Cell<bool>,
}

/// Requests without a record, as zstd. The first has an empty block before its last, without which
/// these bytes were also valid protobuf, and a collector that does not know zstd would take them.
const EMPTY_PROTOBUF_ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x20\x00\x00\x00\x00\x01\x00\x00";
const EMPTY_JSON_ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}";

impl Otlp {
    /// A sink that has not connected yet.
    ///
    /// # Errors
    ///
    /// Settings that can never be used; files are read later, and may come later.
    pub fn new(destination: &Destination, settings: &config::Otlp) -> Result<Otlp, SettingError> {
        let url = http::parse_url("otlp.url", &settings.url)?;
        let headers = settings.headers_file.as_ref();
        let otlp = Otlp {
            client: Client::new(destination)?,
            headers: headers.map(|path| SecretFile::new("otlp.headers_file", path)),
            url,
            takes_zstd: Cell::new(false),
        };
        if otlp.headers.is_some() && http::in_the_clear(&otlp.url) {
            let text = "otlp.url: headers are sent in the clear; use https://";
            otlp.client.warn(text.to_owned());
        }
        Ok(otlp)
    }

    /// What somebody should know, since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        if let Some(warning) = self.headers.as_ref().and_then(SecretFile::warning) {
            self.client.warn(warning);
        }
        self.client.take_warnings()
    }

    async fn send(&self, parcel: &Parcel, body: Vec<u8>) -> Result<Reply, Answer> {
        let request = self.request(parcel, body).map_err(Failure::answer)?;
        self.client.post(request).await.map_err(Failure::answer)
    }

    /// A collector that does not know zstd may say 415, or take the bytes for a broken body and say
    /// 400, and then no record is at fault. So it is asked, once, with a request that has none.
    async fn knows_zstd(&self, parcel: &Parcel) -> Result<bool, Answer> {
        let empty = if parcel.format == Format::OtlpJson {
            EMPTY_JSON_ZSTD
        } else {
            EMPTY_PROTOBUF_ZSTD
        };
        let reply = self.send(parcel, empty.to_vec()).await?;
        match reply.status {
            200 => Ok(answer::export_response(&reply.content_type, &reply.body).is_some()),
            400 => Ok(false),
            _ => Err(self.answer(&reply, parcel)),
        }
    }

    fn request(&self, parcel: &Parcel, body: Vec<u8>) -> Result<Request, Failure> {
        let mut headers = HeaderMap::new();
        let mut hidden = Vec::new();
        if let Some(file) = &self.headers {
            let lines = file
                .read_lines()
                .map_err(|error| Failure::of_settings(error.to_string()))?;
            hidden = put_lines(&mut headers, &lines)
                .map_err(|error| Failure::of_settings(error.to_string()))?;
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(content_type(parcel.format)?),
        );
        if let Some(encoding) = encoding(parcel.compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(Request {
            url: self.url.clone(),
            headers,
            body,
            hidden,
        })
    }

    fn answer(&self, reply: &Reply, parcel: &Parcel) -> Answer {
        match reply.status {
            200 => self.success(reply, parcel),
            415 => unsupported(reply, parcel.compression),
            404 | 405 => Answer::Misconfigured {
                reason: format!(
                    "{}; the path of otlp.url is usually /v1/logs",
                    reply.told(&words(reply))
                ),
            },
            401 | 403 => Answer::Misconfigured {
                reason: format!(
                    "{}; look at the token in otlp.headers_file",
                    reply.told(&words(reply))
                ),
            },
            _ => reply.by_status(&words(reply)),
        }
    }

    /// 200 alone says nothing: it must be an `ExportLogsServiceResponse`.
    fn success(&self, reply: &Reply, parcel: &Parcel) -> Answer {
        let Some(partial) = answer::export_response(&reply.content_type, &reply.body) else {
            return reply.not_theirs();
        };
        let message = reply.clean(&partial.message);
        if partial.rejected > 0 {
            let records = u64::try_from(parcel.records).unwrap_or(u64::MAX);
            return Answer::RefusedSome {
                // The manifest may be among them, and is not a record.
                count: partial.rejected.min(records),
                reason: message,
            };
        }
        if !message.is_empty() {
            self.client.warn(format!(
                "the collector took everything, and says: {message}"
            ));
        }
        Answer::Accepted
    }
}

impl Sink for Otlp {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Acknowledged
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        let reply = match self.send(parcel, parcel.body.clone()).await {
            Ok(reply) => reply,
            Err(answer) => return answer,
        };
        let answer = self.answer(&reply, parcel);
        if parcel.compression != Compression::Zstd || self.takes_zstd.get() {
            return answer;
        }
        match answer {
            Answer::Accepted | Answer::RefusedSome { .. } => self.takes_zstd.set(true),
            Answer::Refused { .. } => match self.knows_zstd(parcel).await {
                Ok(true) => self.takes_zstd.set(true),
                Ok(false) => return unsupported(&reply, parcel.compression),
                Err(answer) => return answer,
            },
            Answer::RefusedItems(_)
            | Answer::TooLarge { .. }
            | Answer::Again { .. }
            | Answer::Misconfigured { .. }
            | Answer::Unknown { .. } => {}
        }
        answer
    }
}

/// The type that belongs to a format.
fn content_type(format: Format) -> Result<&'static str, Failure> {
    match format {
        Format::OtlpProtobuf => Ok(PROTOBUF),
        Format::OtlpJson => Ok(JSON),
        Format::Native
        | Format::Ocsf
        | Format::Ocsf11
        | Format::Ecs
        | Format::Otel
        | Format::Flat
        | Format::Parquet => Err(Failure::of_settings(
            "format: OTLP takes \"otlp-protobuf\" and \"otlp-json\"".to_owned(),
        )),
    }
}

pub(super) fn encoding(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

/// A collector that does not take what was sent as it was sent.
fn unsupported(reply: &Reply, compression: Compression) -> Answer {
    let advice = match compression {
        Compression::Zstd => {
            "the collector does not take zstd; set compression = \"gzip\", or teach it zstd"
        }
        Compression::Gzip | Compression::None => {
            "the collector does not take this body; set format = \"otlp-protobuf\" and \
             compression = \"gzip\", which each must take"
        }
    };
    Answer::Misconfigured {
        reason: format!("{}; {advice}", reply.told(&words(reply))),
    }
}

/// What the collector says about an error: a `Status`, or any text.
fn words(reply: &Reply) -> String {
    answer::status_message(&reply.content_type, &reply.body).unwrap_or_else(|| reply.words())
}

/// The headers of a file, a line each. What they say is secret.
fn put_lines(headers: &mut HeaderMap, lines: &Secret) -> Result<Vec<Secret>, SettingError> {
    let mut hidden = Vec::new();
    for (index, line) in lines.expose().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let error = |detail: &str| SettingError {
            setting: "otlp.headers_file",
            detail: format!("line {} {detail}", index + 1),
        };
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| error("is not of the form Name: value"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| error("does not begin with the name of a header"))?;
        let ours = ["content-type", "content-encoding", "content-length", "host"];
        if ours.contains(&name.as_str()) {
            return Err(error("has a header that is ours to set"));
        }
        let value = value.trim();
        http::put(headers, name, value)
            .map_err(|_| error("has a value that no header can have"))?;
        // A scheme such as Bearer is no secret, and what follows it is also one alone.
        hidden.push(Secret::new(value));
        if let Some((_, rest)) = value.split_once(' ') {
            hidden.push(Secret::new(rest.trim()));
        }
    }
    hidden.retain(|secret| !secret.expose().is_empty());
    Ok(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_from_lines_and_errors_do_not_show_them() {
        let mut headers = HeaderMap::new();
        let lines =
            Secret::new("# for the collector\nAuthorization: Bearer hunter2\n\nX-Team: a:b");
        let hidden = put_lines(&mut headers, &lines).unwrap();
        assert_eq!(headers["authorization"], "Bearer hunter2");
        assert_eq!(headers["x-team"], "a:b");
        assert_eq!(
            hidden.iter().map(Secret::expose).collect::<Vec<_>>(),
            ["Bearer hunter2", "hunter2", "a:b"]
        );
        for bad in ["hunter2", "hunter 2: x", "A: hunter2\nHost: hunter2"] {
            let error = put_lines(&mut HeaderMap::new(), &Secret::new(bad)).unwrap_err();
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }
}
