//! HTTP, the same for every destination that speaks it.
//!
//! Who answers need not be who was asked: the network of a hotel answers everything with its own
//! page. So redirects are never followed, and a sink takes an answer for the destination's only
//! when it is in the destination's own words; [`Reply::not_theirs`] is for all others.

mod failure;
mod reply;

pub use failure::{Failure, Stage};
pub use reply::Reply;

use crate::secrets::Secret;
use crate::tls;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Proxy, Url, redirect};
use ship::config::{Destination, Tls};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// A connection is made within this, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request with its answer takes no longer than this where nothing else is set.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that is not used for this long is closed; load balancers drop them silently
/// somewhat later.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Warnings that are kept until somebody takes them.
const WARNINGS_MAX: usize = 16;

/// Why settings of a destination cannot be used, ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {detail}")]
pub struct SettingError {
    /// Which setting.
    pub setting: &'static str,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// What is sent.
#[derive(Debug)]
pub struct Request {
    /// Where to.
    pub url: Url,
    /// Headers beside those that every request has.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// What must not show in words, whoever says them.
    pub hidden: Vec<Secret>,
}

/// One destination's way to its server.
#[derive(Debug)]
pub struct Client {
    tls: Tls,
    /// As it is written down, since it may have a password.
    proxy: Option<Secret>,
    proxy_from_environment: bool,
    request_timeout: Duration,
    current: RefCell<Option<Current>>,
    warnings: RefCell<VecDeque<String>>,
}

/// What was made of the files as they were.
#[derive(Clone, Debug)]
struct Current {
    client: reqwest::Client,
    stamps: Vec<Option<(SystemTime, u64)>>,
}

impl Client {
    /// A client that has not connected to anything yet, nor read any file.
    ///
    /// # Errors
    ///
    /// A proxy that is not a URL.
    pub fn new(destination: &Destination) -> Result<Client, SettingError> {
        let proxy = match destination.proxy.as_deref() {
            None | Some("") => None,
            Some(text) => {
                parse_proxy(text)?;
                Some(Secret::new(text.trim()))
            }
        };
        Ok(Client {
            tls: destination.tls.clone(),
            proxy,
            proxy_from_environment: destination.proxy.is_none(),
            request_timeout: destination
                .request_timeout_ms
                .map_or(REQUEST_TIMEOUT, Duration::from_millis),
            current: RefCell::default(),
            warnings: RefCell::default(),
        })
    }

    /// Sends a body, and reads what comes back, once.
    ///
    /// # Errors
    ///
    /// No whole answer came; [`Failure`] says how far it got.
    pub async fn post(&self, request: Request) -> Result<Reply, Failure> {
        let client = self.client()?;
        let mut hidden = request.hidden;
        hidden.extend(self.proxy.as_ref().and_then(password_of));
        let bytes = request.body.len();
        let sending = client
            .post(request.url)
            .headers(request.headers)
            .body(request.body)
            .send();
        match sending.await {
            Ok(response) => Reply::read(response, hidden, SystemTime::now()).await,
            Err(error) => Err(Failure::of_body(error, bytes)),
        }
    }

    /// Something that somebody should know, though it does not keep us from delivering.
    pub fn warn(&self, text: String) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < WARNINGS_MAX && !warnings.contains(&text) {
            warnings.push_back(text);
        }
    }

    /// The warnings since the last call; of many only the first.
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.take().into()
    }

    /// The client for the files as they are now. While new files cannot be used, it is the old
    /// one: somebody may be replacing them just now.
    fn client(&self) -> Result<reqwest::Client, Failure> {
        let stamps = tls::stamps(&self.tls);
        let mut current = self.current.borrow_mut();
        if let Some(current) = current.as_ref().filter(|current| current.stamps == stamps) {
            return Ok(current.client.clone());
        }
        match (self.build(), current.as_ref()) {
            (Ok(client), _) => {
                *current = Some(Current {
                    client: client.clone(),
                    stamps,
                });
                Ok(client)
            }
            (Err(error), Some(current)) => {
                self.warn(format!(
                    "{}; the files read before are used on",
                    error.reason
                ));
                Ok(current.client.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn build(&self) -> Result<reqwest::Client, Failure> {
        let mut config = tls::client_config(&self.tls)
            .map_err(|error| Failure::of_settings(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        for warning in tls::warnings(&self.tls, SystemTime::now()) {
            self.warn(warning);
        }
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("conntrail-ship/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .timeout(self.request_timeout);
        let builder = match &self.proxy {
            Some(proxy) => {
                let proxy = Proxy::all(proxy.expose());
                builder.proxy(proxy.map_err(Failure::of)?)
            }
            None if self.proxy_from_environment => builder,
            None => builder.no_proxy(),
        };
        builder.build().map_err(Failure::of)
    }
}

/// A URL for requests: `http` or `https`, with a host, and without anything secret in it.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_url(setting: &'static str, text: &str) -> Result<Url, SettingError> {
    let error = |detail: &str| SettingError {
        setting,
        detail: detail.to_owned(),
    };
    // What cannot be read is not shown: it may be a token in the wrong place.
    let url = Url::parse(text.trim()).map_err(|problem| {
        error(&format!(
            "it is not a URL such as https://host.example.com ({problem})"
        ))
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(error(
            "it must begin with https://, or http:// where nobody reads along",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error(
            "user and password do not belong into the URL; put them into a file",
        ));
    }
    Ok(url)
}

/// A URL with something at the end of its path.
pub fn join(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

/// Puts a header in.
///
/// # Errors
///
/// The value cannot be a header's; it is not told, since it may be secret.
pub fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), SettingError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| SettingError {
        setting: "headers",
        detail: format!("the value of {name} has characters that no header can have"),
    })?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// Whether what is sent to this address can be read on the way.
pub fn in_the_clear(url: &Url) -> bool {
    let local = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.starts_with("127."),
        None => false,
    };
    url.scheme() == "http" && !local
}

fn parse_proxy(text: &str) -> Result<Url, SettingError> {
    let error = |detail: String| SettingError {
        setting: "proxy",
        detail,
    };
    let url = Url::parse(text.trim()).map_err(|problem| {
        error(format!(
            "it is not a URL such as http://proxy.example.com:3128 ({problem})"
        ))
    })?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
        return Err(error(format!(
            "proxies of {}:// are not known; it must be http, https, socks5 or socks5h",
            url.scheme()
        )));
    }
    Ok(url)
}

fn password_of(proxy: &Secret) -> Option<Secret> {
    let url = Url::parse(proxy.expose()).ok()?;
    let password = url.password().filter(|password| !password.is_empty());
    password.map(Secret::new)
}
