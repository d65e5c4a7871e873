//! Where batches come from: a durable pull consumer that all relays share.

use super::settings;
use crate::secrets::{SecretError, SecretFile};
use crate::tls::{self, TlsError};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use std::time::{Duration, Instant};
use thiserror::Error;

/// A request to the server gets no more time than this.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Bytes that one request may bring, so that memory is bounded whatever is in the stream.
const REQUEST_BYTES_MAX: usize = 32 << 20;

/// A stream that cannot be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// TLS.
    #[error("jetstream: {0}")]
    Tls(#[from] TlsError),
    /// A file with a secret.
    #[error("jetstream: {0}")]
    Secret(#[from] SecretError),
    /// The credentials are no credentials.
    #[error("jetstream.credentials_file: {0}")]
    Credentials(std::io::Error),
    /// The server does not let us in, or is not there.
    #[error("cannot connect to NATS: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// The stream is not there.
    #[error(
        "cannot read the stream {stream}: {reason}; make it with \
         `nats stream add --config fleet/nats/stream.json`"
    )]
    Stream {
        /// Its name.
        stream: String,
        /// In words.
        reason: String,
    },
    /// The consumer cannot be made, or is of another kind.
    #[error("cannot use the consumer {consumer} of the stream {stream}: {reason}")]
    Consumer {
        /// Name of the stream.
        stream: String,
        /// Its name.
        consumer: String,
        /// In words.
        reason: String,
    },
    /// Messages cannot be asked for.
    #[error("cannot ask NATS for messages: {0}")]
    Pull(String),
}

/// The stream, as the relay reads it.
pub(super) struct Source {
    client: Client,
    consumer: Consumer<pull::Config>,
    created_ms: i64,
    ack_wait: Duration,
}

impl Source {
    /// Connects, and makes the consumer where it is missing.
    ///
    /// # Errors
    ///
    /// [`SourceError`], with what to do.
    pub(super) async fn open(settings: &settings::JetStream) -> Result<Source, SourceError> {
        let client = options(settings)?.connect(&settings.servers).await?;
        let context = jetstream::new(client.clone());
        let refused = |reason: String| SourceError::Stream {
            stream: settings.stream.clone(),
            reason,
        };
        let stream = context.get_stream(&settings.stream).await;
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        let created_ns = stream.cached_info().created.unix_timestamp_nanos();
        let wanted = consumer_config(settings);
        let consumer = stream.get_or_create_consumer(&settings.consumer, wanted);
        let unusable = |reason: String| SourceError::Consumer {
            stream: settings.stream.clone(),
            consumer: settings.consumer.clone(),
            reason,
        };
        let consumer = consumer
            .await
            .map_err(|error| unusable(error.to_string()))?;
        let config = &consumer.cached_info().config;
        if config.ack_policy != AckPolicy::Explicit {
            return Err(unusable("it must acknowledge explicitly".to_owned()));
        }
        let ack_wait = config.ack_wait;
        Ok(Source {
            client,
            consumer,
            created_ms: i64::try_from(created_ns / 1_000_000).unwrap_or(i64::MAX),
            ack_wait,
        })
    }

    /// How long a message may stay with the relay without a word.
    pub(super) fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    /// When the stream was made, in milliseconds since 1970: its sequences begin anew with it.
    pub(super) fn created_ms(&self) -> i64 {
        self.created_ms
    }

    /// Asks for `count` messages and gives each to `each`, until they are there or `wait` is over.
    /// Returns how many came.
    ///
    /// # Errors
    ///
    /// When the request cannot be made.
    pub(super) async fn pull(
        &self,
        count: usize,
        wait: Duration,
        mut each: impl FnMut(Message),
    ) -> Result<usize, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError::Pull(error.to_string());
        let request = self.consumer.batch().max_messages(count);
        let request = request.max_bytes(REQUEST_BYTES_MAX).expires(wait);
        let mut messages = request.messages().await.map_err(|error| failed(&error))?;
        let (started, mut came) = (Instant::now(), 0);
        // The client itself waits five seconds longer than the server, for what may be on its way
        // after a break; a round is not held up for so long.
        let limit = wait + Duration::from_secs(1);
        while let Some(left) = limit.checked_sub(started.elapsed()) {
            match tokio::time::timeout(left, messages.next()).await {
                Err(_) | Ok(None) => break,
                Ok(Some(Ok(message))) => {
                    came += 1;
                    each(message);
                }
                Ok(Some(Err(error))) if came > 0 || is_an_end(&error.to_string()) => break,
                Ok(Some(Err(error))) => return Err(failed(&error)),
            }
        }
        Ok(came)
    }

    /// Sends what was written: acknowledgements.
    pub(super) async fn flush(&self) {
        // What does not get out is delivered again, and merged.
        let _ = tokio::time::timeout(REQUEST_LIMIT, self.client.flush()).await;
    }

    /// Ends the connection, with what was written sent.
    pub(super) async fn close(self) {
        let _ = tokio::time::timeout(REQUEST_LIMIT, self.client.drain()).await;
    }
}

/// Whether a request is over in order: there is nothing more for it, or the server says, in an
/// error's clothes, that another one will have to be asked.
fn is_an_end(error: &str) -> bool {
    let ends = ["Batch Completed", "Leadership Change", "Server Shutdown"];
    ends.iter().any(|end| error.contains(end))
}

fn options(settings: &settings::JetStream) -> Result<ConnectOptions, SourceError> {
    let mut options = ConnectOptions::new()
        .name("conntrail-ship relay")
        .request_timeout(Some(REQUEST_LIMIT))
        .connection_timeout(REQUEST_LIMIT);
    if settings.servers.iter().any(|it| it.starts_with("tls://")) {
        options = options.require_tls(true);
        options = options.tls_client_config(tls::client_config(&settings.tls)?);
    }
    if let Some(file) = &settings.credentials_file {
        let file = SecretFile::new("jetstream.credentials_file", file).read_lines()?;
        options = options
            .credentials(file.expose())
            .map_err(SourceError::Credentials)?;
    }
    if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
        let password = SecretFile::new("jetstream.password_file", file).read()?;
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(file) = &settings.token_file {
        let token = SecretFile::new("jetstream.token_file", file).read()?;
        options = options.token(token.expose().to_owned());
    }
    Ok(options)
}

/// As `fleet/nats/consumer.json` has it.
fn consumer_config(settings: &settings::JetStream) -> pull::Config {
    pull::Config {
        durable_name: Some(settings.consumer.clone()),
        description: Some("conntrail-ship relay".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(settings.ack_wait_s),
        max_ack_pending: settings.ack_pending_max.into(),
        // For ever: what cannot be read is set aside by the relay, and never by the server alone.
        max_deliver: -1,
        ..pull::Config::default()
    }
}
