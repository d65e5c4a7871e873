//! NATS JetStream: a parcel is a message, acknowledged when the stream has it.
//!
//! The batch's id goes with it as `Nats-Msg-Id`, so that a stream takes the same batch once,
//! however often it is sent within the stream's duplicate window.
//!
//! A broken connection is not mended behind our back: what was under way is answered at once, and
//! the next parcel connects again, to any of the servers, with the secrets as they are then.

mod answers;

use crate::secrets::{SecretError, SecretFile};
use crate::tls::{self, TlsError};
use answers::judge;
use async_nats::connection::State as ConnectionState;
use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Request,
    RequestError, RequestErrorKind, ServerError,
};
use ship::{Answer, Guarantee, Parcel, config};
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};

/// How long one server may take to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long an acknowledgement may take: an election of a leader passes in it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How often a connection that is silent is asked whether it still is one.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long the question may take who listens to a subject.
const LOOKUP_LIMIT: Duration = Duration::from_secs(3);

/// Streams of NATS JetStream.
#[derive(Debug)]
pub struct JetStreamSink {
    config: config::JetStream,
    tls: config::Tls,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Rc<Link>>,
    /// When connecting failed last, and how: for those who waited for it.
    failed: Option<(Instant, Answer)>,
}

/// A connection.
#[derive(Debug)]
struct Link {
    client: Client,
    news: watch::Receiver<News>,
}

/// What was heard on a connection beside answers.
#[derive(Clone, Debug, Default)]
struct News {
    /// The connection broke, why.
    broken: Option<String>,
    /// What we may not publish, in the server's words, the last of them.
    denied: Option<String>,
}

impl JetStreamSink {
    /// A sink for these settings. Nothing is connected before there is something to send.
    pub fn new(config: &config::JetStream, tls: &config::Tls) -> JetStreamSink {
        JetStreamSink {
            config: config.clone(),
            tls: tls.clone(),
            state: Mutex::default(),
        }
    }

    /// The connection there is, or a new one.
    async fn link(&self) -> Result<Rc<Link>, Answer> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| link.is_up()) {
            return Ok(Rc::clone(link));
        }
        if let Some((_, answer)) = state.failed.as_ref().filter(|(at, _)| *at > asked) {
            return Err(answer.clone());
        }
        state.link = None;
        match self.connect().await {
            Ok(link) => {
                let link = Rc::new(link);
                state.link = Some(Rc::clone(&link));
                Ok(link)
            }
            Err(failure) => {
                let answer = failure.answer(&self.config.servers.join(", "));
                state.failed = Some((Instant::now(), answer.clone()));
                Err(answer)
            }
        }
    }

    /// The next parcel is not to use this connection.
    async fn give_up(&self, link: &Rc<Link>) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|it| Rc::ptr_eq(it, link)) {
            state.link = None;
        }
    }

    async fn connect(&self) -> Result<Link, Failure> {
        let (sender, news) = watch::channel(News::default());
        let sender = Arc::new(sender);
        let options = self
            .sign_in(ConnectOptions::new())?
            .name("conntrail-ship")
            .connection_timeout(CONNECT_LIMIT)
            .ping_interval(PING_INTERVAL)
            // Once around, and then whoever sends next connects anew.
            .max_reconnects(self.config.servers.len() + 1)
            .tls_client_config(tls::client_config(&self.tls)?)
            .event_callback(move |event| {
                let sender = Arc::clone(&sender);
                async move { hear(&sender, &event) }
            });
        let client = options.connect(&self.config.servers[..]).await?;
        Ok(Link { client, news })
    }

    /// Who we are.
    fn sign_in(&self, options: ConnectOptions) -> Result<ConnectOptions, Failure> {
        let read = |setting, path: &_| SecretFile::new(setting, path);
        let config = &self.config;
        if let Some(path) = &config.credentials_file {
            let credentials = read("jetstream.credentials_file", path).read_lines()?;
            return options
                .credentials(credentials.expose())
                .map_err(Failure::Credentials);
        }
        if let Some(path) = &config.token_file {
            let token = read("jetstream.token_file", path).read()?;
            return Ok(options.token(token.expose().to_owned()));
        }
        if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
            let password = read("jetstream.password_file", path).read()?;
            return Ok(options.user_and_password(user.clone(), password.expose().to_owned()));
        }
        Ok(options)
    }

    /// What it means that nobody listens: that no stream takes the subject, or that the stream is
    /// without a leader just now.
    async fn nobody_listens(&self, link: &Link, subject: &str) -> Answer {
        let question = format!(r#"{{"subject":"{subject}"}}"#);
        let request = Request::new()
            .payload(question.into())
            .timeout(Some(LOOKUP_LIMIT));
        let lookup = link.client.send_request("$JS.API.STREAM.NAMES", request);
        match lookup.await {
            Ok(message) => answers::judge_lookup(subject, &message.payload),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Answer::Misconfigured {
                reason: format!(
                    "nobody listens to the subject {subject}, and JetStream is not enabled \
                         for this user: enable it in the server and the account"
                ),
            },
            Err(_) => Answer::Again {
                after: None,
                reason: format!(
                    "nobody listens to the subject {subject} just now; should that last, no \
                     stream has it: {}",
                    answers::how_to_create(subject)
                ),
            },
        }
    }

    async fn judge_error(&self, link: &Rc<Link>, subject: &str, error: RequestError) -> Answer {
        match error.kind() {
            RequestErrorKind::NoResponders => self.nobody_listens(link, subject).await,
            RequestErrorKind::MaxPayloadExceeded => Answer::TooLarge {
                reason: format!("{error}: the server's max_payload"),
            },
            RequestErrorKind::InvalidSubject => Answer::Misconfigured {
                reason: format!(
                    "\"{subject}\" is no subject: jetstream.subject and jetstream.tenant must be \
                     words without spaces, joined by dots"
                ),
            },
            RequestErrorKind::TimedOut => {
                self.give_up(link).await;
                Answer::Again {
                    after: None,
                    reason: format!("no acknowledgement within {} s", ANSWER_LIMIT.as_secs()),
                }
            }
            RequestErrorKind::Other => {
                self.give_up(link).await;
                Answer::Again {
                    after: None,
                    reason: format!("the connection broke: {error}"),
                }
            }
        }
    }
}

impl super::Sink for JetStreamSink {
    /// A stream takes the same batch once.
    fn guarantee(&self) -> Guarantee {
        Guarantee::Deduplicated
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        let link = match self.link().await {
            Ok(link) => link,
            Err(answer) => return answer,
        };
        let subject = self.config.subject(&parcel.id.endpoint);
        let request = Request::new()
            .headers(headers(parcel, self.config.stream.as_deref()))
            .payload(parcel.body.clone().into())
            .timeout(Some(ANSWER_LIMIT));
        let (answered, broken) = tokio::select! {
            biased;
            answered = link.client.send_request(subject.clone(), request) => (answered, None),
            answer = link.trouble(&subject) => (Err(RequestErrorKind::Other.into()), Some(answer)),
        };
        if let Some(answer) = broken {
            self.give_up(&link).await;
            return answer;
        }
        match answered {
            Ok(message) => judge(&subject, &message.payload),
            Err(error) => self.judge_error(&link, &subject, error).await,
        }
    }
}

impl Link {
    fn is_up(&self) -> bool {
        self.news.borrow().broken.is_none()
            && self.client.connection_state() == ConnectionState::Connected
    }

    /// Waits for news that end the waiting for an answer.
    async fn trouble(&self, subject: &str) -> Answer {
        let mut news = self.news.clone();
        let denied = format!("\"{subject}\"").to_lowercase();
        let is_ours = |it: &News| {
            it.broken.is_some() || it.denied.as_ref().is_some_and(|it| it.contains(&denied))
        };
        let found = news.wait_for(is_ours).await.map(|it| it.clone());
        match found.unwrap_or_default() {
            News {
                denied: Some(denied),
                broken: None,
            } => Answer::Misconfigured {
                reason: format!("the server says: {denied}; let this user publish to {subject}"),
            },
            News { broken, .. } => Answer::Again {
                after: None,
                reason: format!(
                    "the connection broke before the acknowledgement came: {}",
                    broken.as_deref().unwrap_or("it was closed")
                ),
            },
        }
    }
}

/// Keeps what matters to those who wait.
fn hear(news: &watch::Sender<News>, event: &Event) {
    match event {
        Event::Disconnected | Event::Closed => {
            news.send_modify(|it| it.broken = Some("the server went away".to_owned()));
        }
        Event::ServerError(ServerError::AuthorizationViolation) => {
            news.send_modify(|it| it.broken = Some("authorization violation".to_owned()));
        }
        Event::ServerError(ServerError::Other(words)) => {
            let words = words.to_lowercase();
            if words.contains("permissions violation for publish") {
                news.send_modify(|it| it.denied = Some(words));
            }
        }
        Event::ServerError(ServerError::SlowConsumer(_))
        | Event::ClientError(_)
        | Event::Connected
        | Event::Draining
        | Event::LameDuckMode
        | Event::SlowConsumer(_) => {}
    }
}

/// What goes with the bytes, so that they can be told apart without being read.
fn headers(parcel: &Parcel, stream: Option<&str>) -> HeaderMap {
    let id = &parcel.id;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.to_string());
    if let Some(stream) = stream {
        headers.insert("Nats-Expected-Stream", stream);
    }
    headers.insert("Conntrail-Format", word(&parcel.format));
    headers.insert("Conntrail-Compression", word(&parcel.compression));
    headers.insert("Conntrail-Endpoint", id.endpoint.to_string());
    headers.insert("Conntrail-Source", id.source.name().unwrap_or_default());
    headers.insert("Conntrail-Epoch", id.epoch.to_string());
    headers.insert("Conntrail-First", id.first.to_string());
    headers.insert("Conntrail-Last", id.last.to_string());
    headers.insert("Conntrail-Records", parcel.records.to_string());
    headers
}

/// The word for it in the configuration.
fn word(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Secret(#[from] SecretError),
    #[error("jetstream.credentials_file: {0}; `nsc generate creds` writes one")]
    Credentials(io::Error),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Connect(#[from] ConnectError),
}

impl Failure {
    fn answer(&self, servers: &str) -> Answer {
        let Failure::Connect(error) = self else {
            return Answer::Misconfigured {
                reason: self.to_string(),
            };
        };
        let reason = format!("cannot connect to {servers}: {}", with_causes(error));
        if is_of_tls(error) {
            return Answer::Misconfigured {
                reason: format!("{reason}; {LOOK_AT_TLS}"),
            };
        }
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                Answer::Misconfigured {
                    reason: format!(
                        "{reason}; the server does not let us in: look at user, password, token \
                         or credentials here, and at the server's authorization"
                    ),
                }
            }
            ConnectErrorKind::ServerParse => Answer::Misconfigured {
                reason: format!("{reason}; write servers as tls://host:port"),
            },
            ConnectErrorKind::Tls => Answer::Misconfigured {
                reason: format!("{reason}; {LOOK_AT_TLS}"),
            },
            ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => Answer::Again {
                after: None,
                reason,
            },
        }
    }
}

const LOOK_AT_TLS: &str = "look at the destination's tls here, and at the server's certificates";

/// Whether TLS is what went wrong, and not the network below it.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let inner = match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|it| it as &(dyn Error + 'static)),
        None => error.source(),
    };
    error.is::<rustls::Error>() || inner.is_some_and(is_of_tls)
}

/// An error with what it came from, each said once.
fn with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}
