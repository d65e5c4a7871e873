//! Elastic's `_bulk`, as
//! <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk> has it.
//!
//! Each record is created under its own id, so one that is there already (409) is delivered. That
//! holds within one index: a data stream that starts a new index between two attempts takes the
//! record twice, and so the guarantee is that of an acknowledgement and no more.

use super::{Sink, otlp};
use crate::http::{self, Client, Failure, Reply, Request, SettingError};
use crate::secrets::{Secret, SecretFile};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use ship::config::{self, Destination};
use ship::{Answer, Compression, Guarantee, Parcel};

/// A data stream under Elastic's own template for logs.
const INDEX: &str = "logs-conntrail.connections-default";

/// What of the answer we want to have; the whole repeats each id.
const FILTER: &str =
    "errors,items.*.status,items.*.failure_store,items.*.error.type,items.*.error.reason";

/// An Elasticsearch, or whatever speaks its `_bulk`.
#[derive(Debug)]
pub struct Elastic {
    client: Client,
    url: Url,
    who: Who,
}

/// Who we say that we are.
#[derive(Debug)]
enum Who {
    Nobody,
    ApiKey(SecretFile),
    User { name: String, password: SecretFile },
}

impl Elastic {
    /// A sink that has not connected yet.
    ///
    /// # Errors
    ///
    /// Settings that can never be used; files are read later, and may come later.
    pub fn new(
        destination: &Destination,
        settings: &config::Elastic,
    ) -> Result<Elastic, SettingError> {
        let base = http::parse_url("elastic.url", &settings.url)?;
        let index = settings.index.as_deref().unwrap_or(INDEX);
        let mut url = http::join(&base, &format!("{}/_bulk", parse_index(index)?));
        url.query_pairs_mut().append_pair("filter_path", FILTER);
        let elastic = Elastic {
            client: Client::new(destination)?,
            who: who(settings)?,
            url,
        };
        if !matches!(elastic.who, Who::Nobody) && http::in_the_clear(&base) {
            let text = "elastic.url: the password is sent in the clear; use https://";
            elastic.client.warn(text.to_owned());
        }
        Ok(elastic)
    }

    /// What somebody should know, since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        let file = match &self.who {
            Who::Nobody => None,
            Who::ApiKey(file) | Who::User { password: file, .. } => Some(file),
        };
        if let Some(warning) = file.and_then(SecretFile::warning) {
            self.client.warn(warning);
        }
        self.client.take_warnings()
    }

    fn request(&self, parcel: &Parcel) -> Result<Request, Failure> {
        if parcel.compression == Compression::Zstd {
            return Err(Failure::of_settings(
                "compression: Elastic takes \"gzip\" and \"none\"".to_owned(),
            ));
        }
        let mut headers = HeaderMap::new();
        let hidden = self.put_who(&mut headers)?;
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        );
        if let Some(encoding) = otlp::encoding(parcel.compression) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(Request {
            url: self.url.clone(),
            headers,
            body: parcel.body.clone(),
            hidden,
        })
    }

    fn put_who(&self, headers: &mut HeaderMap) -> Result<Vec<Secret>, Failure> {
        let read = |file: &SecretFile| {
            file.read()
                .map_err(|error| Failure::of_settings(error.to_string()))
        };
        let (value, hidden) = match &self.who {
            Who::Nobody => return Ok(Vec::new()),
            Who::ApiKey(file) => {
                let key = read(file)?;
                (format!("ApiKey {}", key.expose()), vec![key])
            }
            Who::User { name, password } => {
                let password = read(password)?;
                let both = STANDARD.encode(format!("{name}:{}", password.expose()));
                (format!("Basic {both}"), vec![password, Secret::new(both)])
            }
        };
        http::put(headers, AUTHORIZATION, &value)
            .map_err(|error| Failure::of_settings(error.to_string()))?;
        Ok(hidden)
    }
}

impl Sink for Elastic {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Acknowledged
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        let request = match self.request(parcel) {
            Ok(request) => request,
            Err(failure) => return failure.answer(),
        };
        match self.client.post(request).await {
            Ok(reply) => answer(&reply, parcel.records),
            Err(failure) => failure.answer(),
        }
    }
}

/// The name of an index or data stream, which is part of a path.
fn parse_index(name: &str) -> Result<&str, SettingError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.is_empty() || name.starts_with(['-', '_', '.']) || !name.chars().all(allowed) {
        return Err(SettingError {
            setting: "elastic.index",
            detail: format!(
                "\"{name}\" is no name of an index: small letters, digits, and after the first \
                 also - _ and ."
            ),
        });
    }
    Ok(name)
}

fn who(settings: &config::Elastic) -> Result<Who, SettingError> {
    let error = |setting, detail: &str| SettingError {
        setting,
        detail: detail.to_owned(),
    };
    match (
        &settings.api_key_file,
        &settings.user,
        &settings.password_file,
    ) {
        (None, None, None) => Ok(Who::Nobody),
        (Some(key), None, None) => Ok(Who::ApiKey(SecretFile::new("elastic.api_key_file", key))),
        (None, Some(name), Some(password)) => Ok(Who::User {
            name: name.clone(),
            password: SecretFile::new("elastic.password_file", password),
        }),
        (Some(_), _, _) => Err(error(
            "elastic.api_key_file",
            "it stands beside user or password_file; keep one of the two ways",
        )),
        (None, Some(_), None) => Err(error(
            "elastic.user",
            "elastic.password_file is missing, which goes with it",
        )),
        (None, None, Some(_)) => Err(error(
            "elastic.password_file",
            "elastic.user is missing, which goes with it",
        )),
    }
}

/// The answer to a whole request, as far as we ask for it.
#[derive(Debug, Deserialize)]
struct Bulk {
    items: Vec<Entry>,
}

/// An item stands under the name of its action.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(alias = "index")]
    create: Item,
}

/// What came of one record.
#[derive(Debug, Deserialize)]
struct Item {
    status: u16,
    error: Option<Problem>,
    failure_store: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
}

/// What to do about one record.
enum Fate {
    There,
    Refused(String),
    Again(String),
    Misconfigured(String),
}

fn answer(reply: &Reply, records: usize) -> Answer {
    match reply.status {
        200 => {
            let bulk = reply
                .json()
                .and_then(|said| serde_json::from_value::<Bulk>(said).ok());
            match bulk {
                Some(bulk) => items(reply, &bulk.items, records),
                None => reply.not_theirs(),
            }
        }
        401 | 403 => Answer::Misconfigured {
            reason: format!(
                "{}; the key or user needs the privileges create_doc and auto_configure on the \
                 index",
                reply.told(&words(reply))
            ),
        },
        _ => reply.by_status(&words(reply)),
    }
}

/// The last item is the manifest where there is one more than records.
fn items(reply: &Reply, items: &[Entry], records: usize) -> Answer {
    if items.len() != records && items.len() != records + 1 {
        let counted = items.len();
        return reply.again(format!(
            "it answered for {counted} items, and {records} were sent"
        ));
    }
    let mut refused = Vec::new();
    let mut again = None;
    let mut misconfigured = None;
    for (index, Entry { create }) in items.iter().enumerate() {
        match fate(reply, create) {
            Fate::There => {}
            Fate::Refused(reason) if index < records => refused.push((index, reason)),
            Fate::Refused(reason) => {
                misconfigured.get_or_insert(format!(
                    "the manifest is refused, without which nobody can tell whether records are \
                     missing: {reason}"
                ));
            }
            Fate::Again(reason) => _ = again.get_or_insert(reason),
            Fate::Misconfigured(reason) => _ = misconfigured.get_or_insert(reason),
        }
    }
    match (misconfigured, again) {
        (Some(reason), _) => Answer::Misconfigured { reason },
        // What is there already is told so when all are sent again.
        (None, Some(reason)) => reply.again(reason),
        (None, None) if refused.is_empty() => Answer::Accepted,
        (None, None) => Answer::RefusedItems(refused),
    }
}

fn fate(reply: &Reply, item: &Item) -> Fate {
    let status = item.status;
    let problem = item
        .error
        .as_ref()
        .map(|problem| (&*problem.kind, &*problem.reason));
    let (kind, reason) = problem.unwrap_or_default();
    let told = reply.clean(&format!("{status} {kind}: {reason}"));
    match status {
        200 | 201 if item.failure_store.as_deref() == Some("used") => {
            Fate::Refused("the record does not fit the index and went to its failure store".into())
        }
        200 | 201 | 409 => Fate::There,
        408 | 429 | 500.. => Fate::Again(told),
        401 | 403 => Fate::Misconfigured(format!(
            "{told}; the key or user needs the privileges create_doc and auto_configure on the \
             index, and the index must not be blocked"
        )),
        404 => Fate::Misconfigured(format!("{told}; create the index, or change elastic.index")),
        400 if kind == "illegal_argument_exception" && reason.contains("data stream") => {
            Fate::Misconfigured(told)
        }
        _ => Fate::Refused(told),
    }
}

/// What Elastic says about an error of the whole request.
fn words(reply: &Reply) -> String {
    let said = reply.json();
    let error = said.as_ref().and_then(|said| said.get("error"));
    let words = error.and_then(|error| {
        let reason = error.get("reason").and_then(serde_json::Value::as_str);
        reason.or_else(|| error.as_str()).map(str::to_owned)
    });
    words.unwrap_or_else(|| reply.words())
}
