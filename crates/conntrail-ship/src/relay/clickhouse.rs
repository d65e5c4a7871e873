//! The store: ClickHouse over HTTP, <https://clickhouse.com/docs/interfaces/http>.

use super::settings;
use crate::secrets::{SecretError, SecretFile};
use crate::tls::{self, TlsError};
use reqwest::header::{CONTENT_ENCODING, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use std::time::Duration;
use thiserror::Error;

/// How hard inserts are made smaller: more costs the relay more than it saves the network.
const ZSTD_LEVEL: i32 = 1;

/// No more of an error is kept than this.
const REASON_BYTES_MAX: usize = 2_000;

/// Rows for one table that go in together, all or none of each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// Table, with its columns in the order of the rows: `connections (endpoint, …)`.
    pub target: String,
    /// Table alone.
    pub table: &'static str,
    /// The same rows always have the same token, so that the store takes them once.
    pub token: String,
    /// Rows.
    pub rows: u64,
    /// The rows in `RowBinary`.
    pub body: Vec<u8>,
}

/// What came of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The rows are in; so many bytes were sent.
    Done {
        /// Bytes as they were sent.
        bytes: u64,
    },
    /// The rows may or may not be in: the same insert is to be made again.
    Again {
        /// Not earlier than this, where the store said so.
        after: Option<Duration>,
        /// In words.
        reason: String,
    },
    /// Nothing will go in until somebody mends something.
    Misconfigured {
        /// In words, with what to do.
        reason: String,
    },
    /// The store cannot read these rows.
    Refused {
        /// In the store's words.
        reason: String,
    },
}

/// A store that cannot be set up.
#[derive(Debug, Error)]
pub enum StoreError {
    /// TLS.
    #[error("clickhouse: {0}")]
    Tls(#[from] TlsError),
    /// The client.
    #[error("clickhouse: cannot set up the client: {0}")]
    Client(#[from] reqwest::Error),
}

/// A ClickHouse that is spoken to over HTTP.
pub struct Store {
    client: Client,
    url: String,
    database: String,
    user: Option<String>,
    password: Option<SecretFile>,
}

impl Store {
    /// Sets the client up; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When its certificates cannot be read.
    pub fn new(settings: &settings::ClickHouse) -> Result<Store, StoreError> {
        // The client wants one even where no TLS is spoken. Another may be there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("conntrail-ship/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(settings.timeout_s))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if settings.url.starts_with("https://") {
            builder = builder.tls_backend_preconfigured(tls::client_config(&settings.tls)?);
        }
        let password = settings.password_file.as_ref();
        Ok(Store {
            client: builder.build()?,
            url: settings.url.trim_end_matches('/').to_owned(),
            database: settings.database.clone(),
            user: settings.user.clone(),
            password: password.map(|it| SecretFile::new("clickhouse.password_file", it)),
        })
    }

    /// Makes one insert, once.
    pub async fn insert(&self, insert: &Insert) -> Inserted {
        let body = match zstd::encode_all(insert.body.as_slice(), ZSTD_LEVEL) {
            Ok(body) => body,
            Err(error) => return again(format!("cannot compress the rows: {error}")),
        };
        let password = match self.password() {
            Ok(password) => password,
            Err(error) => {
                return Inserted::Misconfigured {
                    reason: error.to_string(),
                };
            }
        };
        let bytes = body.len() as u64;
        let mut request = self
            .client
            .post(self.address(insert))
            .header(CONTENT_ENCODING, "zstd")
            .body(body);
        if let Some(user) = &self.user {
            request = request.header("X-ClickHouse-User", user);
            request = request.header("X-ClickHouse-Key", password);
        }
        match request.send().await {
            Ok(response) if response.status() == StatusCode::OK => finish(response, bytes).await,
            Ok(response) => judge(response).await,
            Err(error) => {
                // The URL has the whole statement, which nobody wants to read.
                let error = error.without_url();
                again(format!(
                    "cannot reach ClickHouse at {}: {}",
                    self.url,
                    chain(&error)
                ))
            }
        }
    }

    /// Read for every insert, so that a changed password needs no restart.
    fn password(&self) -> Result<String, SecretError> {
        let secret = self.password.as_ref().map(SecretFile::read).transpose()?;
        Ok(secret.map_or_else(String::new, |it| it.expose().to_owned()))
    }

    fn address(&self, insert: &Insert) -> String {
        let query = format!(
            "INSERT INTO {}.{} FORMAT RowBinary",
            self.database, insert.target
        );
        format!(
            "{}/?query={}&insert_deduplication_token={}&insert_deduplicate=1&async_insert=0\
             &wait_end_of_query=1",
            self.url,
            escape(&query),
            escape(&insert.token)
        )
    }
}

/// The status is sent before the insert is through, unless the answer is waited for to its end.
async fn finish(response: Response, bytes: u64) -> Inserted {
    let failed_late = response
        .headers()
        .contains_key("x-clickhouse-exception-code");
    match response.bytes().await {
        Ok(_) if !failed_late => Inserted::Done { bytes },
        Ok(body) => again(shorten(&String::from_utf8_lossy(&body))),
        Err(error) => again(format!(
            "ClickHouse hung up: {}",
            chain(&error.without_url())
        )),
    }
}

async fn judge(response: Response) -> Inserted {
    let status = response.status();
    let header = |name: &str| response.headers().get(name)?.to_str().ok()?.parse().ok();
    let code = header("x-clickhouse-exception-code");
    let after = header(RETRY_AFTER.as_str()).map(Duration::from_secs);
    let text = response.text().await.unwrap_or_default();
    let code = code.or_else(|| code_in(&text));
    let reason = format!("ClickHouse answered {status}: {}", shorten(&text));
    decide(status, code, after, reason)
}

/// ClickHouse's codes: `src/Common/ErrorCodes.cpp`.
fn decide(
    status: StatusCode,
    code: Option<u64>,
    after: Option<Duration>,
    reason: String,
) -> Inserted {
    match code {
        // Values that cannot be read, by what of them: all data, bool, number, text, size, type.
        Some(26 | 27 | 32 | 33 | 38 | 41 | 69 | 72 | 117 | 131 | 349 | 467 | 676) => {
            Inserted::Refused { reason }
        }
        // No such column, table, database; wrong type.
        Some(16 | 47 | 50 | 53 | 60 | 81) => Inserted::Misconfigured {
            reason: format!("{reason}; make the tables with `conntrail-ship fleet ddl`"),
        },
        // User, password, rights, read-only, quota.
        Some(164 | 192 | 193 | 194 | 195 | 201 | 497 | 516) => Inserted::Misconfigured {
            reason: format!("{reason}; see `user` and `password_file` of [clickhouse]"),
        },
        Some(_) => Inserted::Again { after, reason },
        None if is_ours_to_mend(status) => Inserted::Misconfigured {
            reason: format!("{reason}; does `url` of [clickhouse] lead to ClickHouse?"),
        },
        None => Inserted::Again { after, reason },
    }
}

/// A status without a code is not ClickHouse's but of something in between.
fn is_ours_to_mend(status: StatusCode) -> bool {
    status.is_redirection()
        || (status.is_client_error()
            && status != StatusCode::REQUEST_TIMEOUT
            && status != StatusCode::TOO_MANY_REQUESTS)
}

fn again(reason: String) -> Inserted {
    Inserted::Again {
        after: None,
        reason,
    }
}

fn code_in(text: &str) -> Option<u64> {
    let rest = text.trim_start().strip_prefix("Code: ")?;
    rest.split('.').next()?.parse().ok()
}

/// An error with its causes, of which the last says most.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

fn shorten(text: &str) -> String {
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim().replace('\n', " ")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte.into()),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(status: u16, text: &str) -> Inserted {
        let status = StatusCode::from_u16(status).unwrap();
        decide(status, code_in(text), None, text.to_owned())
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_not_blamed_on_the_rows() {
        let passes = [
            "Code: 252. too many parts",
            "Code: 241. memory",
            "Code: 159. timeout",
        ];
        for text in passes {
            assert!(
                matches!(decided(500, text), Inserted::Again { .. }),
                "{text}"
            );
        }
        let stays = [
            "Code: 60. no table",
            "Code: 516. password",
            "Code: 497. no grant",
        ];
        for text in stays {
            assert!(
                matches!(decided(404, text), Inserted::Misconfigured { .. }),
                "{text}"
            );
        }
        assert!(matches!(
            decided(400, "Code: 33. data"),
            Inserted::Refused { .. }
        ));
        assert!(matches!(
            decided(302, "moved"),
            Inserted::Misconfigured { .. }
        ));
        assert!(matches!(decided(503, "busy"), Inserted::Again { .. }));
        assert!(matches!(decided(429, "slow"), Inserted::Again { .. }));
    }

    #[test]
    fn an_error_is_shortened_between_characters() {
        let long = "é".repeat(REASON_BYTES_MAX);
        assert_eq!(shorten(&long).len(), REASON_BYTES_MAX);
        assert_eq!(shorten(" a\nb "), "a b");
    }
}
