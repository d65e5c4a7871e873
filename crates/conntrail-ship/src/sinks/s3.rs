//! An S3-compatible store: a parcel is an object.
//!
//! The key follows from the parcel alone, and the object is only made where there is none, so that
//! a parcel that comes again finds itself there. The digest of the bytes goes along, and the store
//! refuses what was damaged on the way.

mod answers;
mod signature;

use crate::secrets::{Secret, SecretError, SecretFile};
use crate::sinks::file::extension;
use crate::tls::{self, TlsError};
use answers::Reply;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::{Client, Url};
use ship::{Answer, Format, Guarantee, Parcel, config, parquet};
use signature::{Credentials, Digest, SignedRequest};
use std::cell::RefCell;
use std::error::Error;
use std::time::{Duration, SystemTime};

const PREFIX: &str = "conntrail/";
const REGION: &str = "us-east-1";

/// How long it may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long an answer may take, beside the time for the bytes.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Slower than this is not waited for.
const BYTES_PER_S_MIN: u64 = 50_000;

/// As much of an answer as is read: errors are short.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Objects in an S3-compatible store.
#[derive(Debug)]
pub struct S3Sink {
    config: config::S3,
    tls: config::Tls,
    /// As it is written down, since it may have a password.
    proxy: Option<Secret>,
    /// With the state of the files that it was made of.
    client: RefCell<Option<(Stamps, Client)>>,
}

type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Secret(#[from] SecretError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error(
        "s3.credentials_file: {} does not have two lines, access key id and secret access key \
         (and a session token in a third, where there is one)", .0.display()
    )]
    Credentials(std::path::PathBuf),
    #[error("s3.url \"{0}\" is not https://host or http://host, with a port where it needs one")]
    Url(String),
    #[error("proxy: {0}")]
    Client(#[from] reqwest::Error),
}

impl S3Sink {
    /// A sink for these settings; `proxy` as [`config::Destination::proxy`] says. Nothing is
    /// connected before there is something to send.
    pub fn new(config: &config::S3, tls: &config::Tls, proxy: Option<&str>) -> S3Sink {
        S3Sink {
            config: config.clone(),
            tls: tls.clone(),
            proxy: proxy.map(Secret::new),
            client: RefCell::default(),
        }
    }

    /// Under what a parcel is kept, `PREFIXdt=YYYY-MM-DD/endpoint=ENDPOINT/BATCH.parquet`.
    ///
    /// The day is that of its first record, in UTC; formats other than Parquet tell none, and
    /// their keys have no `dt`.
    pub fn key(&self, parcel: &Parcel) -> String {
        let prefix = self.config.prefix.as_deref().unwrap_or(PREFIX);
        let day = match parcel.format {
            Format::Parquet => format!("dt={}/", day(parquet::first_time_ms(&parcel.body))),
            Format::Native
            | Format::OtlpProtobuf
            | Format::OtlpJson
            | Format::Ocsf
            | Format::Ocsf11
            | Format::Ecs
            | Format::Otel
            | Format::Flat => String::new(),
        };
        let id = &parcel.id;
        let extension = extension(parcel.format, parcel.compression);
        format!("{prefix}{day}endpoint={}/{id}{extension}", id.endpoint)
    }

    fn request(&self, parcel: &Parcel) -> Result<(Client, reqwest::Request), Failure> {
        let credentials = self.credentials()?;
        let client = self.client()?;
        let base = self.config.url.trim_end_matches('/');
        let path = signature::escape(&format!("/{}/{}", self.config.bucket, self.key(parcel)));
        let wrong = || Failure::Url(self.config.url.clone());
        let url = Url::parse(&format!("{base}{path}")).map_err(|_| wrong())?;
        let digest = Digest::of(&parcel.body);
        let request = SignedRequest {
            host: host(&url).ok_or_else(wrong)?,
            path: url.path(),
            region: self.config.region.as_deref().unwrap_or(REGION),
            digest: &digest,
            now: Timestamp::now(),
        };
        let mut put = client
            .put(url.clone())
            .timeout(limit(parcel.body.len()))
            .header("content-type", "application/octet-stream");
        for (name, value) in request.headers(&credentials) {
            put = put.header(name, value);
        }
        Ok((client, put.body(parcel.body.clone()).build()?))
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let path = &self.config.credentials_file;
        let text = SecretFile::new("s3.credentials_file", path).read_lines()?;
        Credentials::parse(text.expose()).ok_or_else(|| Failure::Credentials(path.clone()))
    }

    fn client(&self) -> Result<Client, Failure> {
        let stamps = tls::stamps(&self.tls);
        let mut kept = self.client.borrow_mut();
        if let Some((_, client)) = kept.as_ref().filter(|(made_of, _)| *made_of == stamps) {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&self.tls)?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT);
        builder = match self.proxy.as_ref().map(Secret::expose) {
            Some("") => builder.no_proxy(),
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy)?),
            None => builder,
        };
        let client = builder.build()?;
        *kept = Some((stamps, client.clone()));
        Ok(client)
    }
}

impl super::Sink for S3Sink {
    /// An object is made once.
    fn guarantee(&self) -> Guarantee {
        Guarantee::Deduplicated
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        let (client, request) = match self.request(parcel) {
            Ok(request) => request,
            Err(failure) => {
                return Answer::Misconfigured {
                    reason: failure.to_string(),
                };
            }
        };
        match exchange(&client, request).await {
            Ok(reply) => reply.answer(&self.config, Timestamp::now()),
            Err(error) => answer_without_reply(&self.config.url, &error),
        }
    }
}

async fn exchange(client: &Client, request: reqwest::Request) -> Result<Reply, reqwest::Error> {
    let mut response = client.execute(request).await?;
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let (retry_after, region) = (header("retry-after"), header("x-amz-bucket-region"));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    // The rest of a success says nothing, and neither does what breaks off behind it.
    while status >= 300
        && body.len() < ANSWER_BYTES_MAX
        && let Some(bytes) = response.chunk().await?
    {
        body.extend_from_slice(&bytes);
    }
    Ok(Reply {
        status,
        retry_after,
        region,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// What it means that no answer came.
fn answer_without_reply(url: &str, error: &reqwest::Error) -> Answer {
    let mut reason = format!("no answer from {url}");
    let mut is_of_tls = false;
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>();
        is_of_tls |= error.is::<rustls::Error>()
            || inner.is_some_and(|it| it.get_ref().is_some_and(|it| it.is::<rustls::Error>()));
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    if is_of_tls {
        return Answer::Misconfigured {
            reason: format!(
                "{reason}; look at the destination's tls here, and at the store's certificates"
            ),
        };
    }
    if error.is_timeout() {
        reason.push_str(": it took too long");
    }
    Answer::Again {
        after: None,
        reason,
    }
}

/// The host as the header says it, with a port that is not the scheme's.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn limit(bytes: usize) -> Duration {
    ANSWER_LIMIT + Duration::from_secs(bytes as u64 / BYTES_PER_S_MIN)
}

fn day(time_ms: Option<i64>) -> String {
    let time = time_ms.and_then(|it| Timestamp::from_millisecond(it).ok());
    let date = time.map(|it| it.to_zoned(TimeZone::UTC).date());
    date.map_or("unknown".to_owned(), |it| it.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day(Some(1_790_000_000_000)), "2026-09-21");
        assert_eq!(day(Some(1_790_035_199_999)), "2026-09-21");
        assert_eq!(day(Some(1_790_035_200_000)), "2026-09-22");
        assert_eq!(day(None), "unknown");
    }

    #[test]
    fn a_port_that_is_not_the_usual_one_is_part_of_the_host() {
        let host_of = |url: &str| host(&Url::parse(url).unwrap()).unwrap();
        assert_eq!(host_of("https://s3.example.com/x"), "s3.example.com");
        assert_eq!(host_of("https://s3.example.com:443/x"), "s3.example.com");
        assert_eq!(host_of("http://127.0.0.1:8333/x"), "127.0.0.1:8333");
    }
}
