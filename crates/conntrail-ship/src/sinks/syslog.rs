//! Syslog over TLS, RFC 5425: messages of RFC 5424 with their octets counted.
//!
//! No receiver acknowledges a message, so a parcel has a connection to itself, and its end says as
//! much as can be known: we write, look whether the connection lives on, close our side, and wait
//! until the receiver, which then has read to the end, closes its own. Whatever breaks before that
//! leaves open what arrived.

use crate::tls::{self, TlsError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use ship::{Answer, Guarantee, Parcel, config};
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PORT: u16 = 6514;
const MESSAGE_BYTES_MAX: u32 = 8_192;

/// How long it may take to connect, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long it may take until the receiver has room for all bytes.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// A connection lives on for so long behind the last byte before it counts; a receiver that is
/// ended or killed breaks it in this time.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the receiver may take to close its side when we have closed ours.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// A receiver that does not want us says so in this time, or in a few round trips if they take
/// longer.
const REJECTION_LIMIT: Duration = Duration::from_millis(250);

/// So many connections that broke one after the other are no accident.
const BROKEN_MAX: u32 = 3;

/// Then nothing is written for so long.
const REST: Duration = Duration::from_secs(60);

/// Syslog over TLS.
#[derive(Debug)]
pub struct SyslogSink {
    config: config::Syslog,
    tls: config::Tls,
    /// The settings of TLS with the state of the files that they were made of.
    client: RefCell<Option<(Stamps, Arc<ClientConfig>)>>,
    /// The receiver takes what we send: something arrived, and nothing broke since.
    is_welcome: Cell<bool>,
    /// Connections that broke one after the other, and when the last did.
    broken: Cell<(u32, Option<Instant>)>,
}

type Stamps = Vec<Option<(SystemTime, u64)>>;

impl SyslogSink {
    /// A sink for these settings. Nothing is connected before there is something to send.
    pub fn new(config: &config::Syslog, tls: &config::Tls) -> SyslogSink {
        SyslogSink {
            config: config.clone(),
            tls: tls.clone(),
            client: RefCell::default(),
            is_welcome: Cell::default(),
            broken: Cell::default(),
        }
    }

    /// Connects. What goes wrong here lost nothing.
    async fn connect(&self) -> Result<TlsStream<TcpStream>, Answer> {
        let address = &self.config.address;
        let place = Place::parse(address)?;
        let client = self
            .client_config()
            .map_err(|error| misconfigured(error.to_string()))?;
        let began = Instant::now();
        let connecting = async {
            let stream = TcpStream::connect((place.host, place.port)).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(client).connect(place.name, stream).await
        };
        let connected = timeout(CONNECT_LIMIT, connecting)
            .await
            .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let mut stream = connected.map_err(|error| connect_answer(address, &error))?;
        if !self.is_welcome.get() {
            let patience = REJECTION_LIMIT.max(began.elapsed() * 2).min(CONNECT_LIMIT);
            if let Some(end) = heard(&mut stream, patience).await {
                return Err(misconfigured(format!(
                    "{address} ended the connection before anything was sent: {end}; does it take \
                     the certificate of tls.certificate_file?"
                )));
            }
        }
        Ok(stream)
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let stamps = tls::stamps(&self.tls);
        let mut kept = self.client.borrow_mut();
        if let Some((_, client)) = kept.as_ref().filter(|(made_of, _)| *made_of == stamps) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(tls::client_config(&self.tls)?);
        *kept = Some((stamps, Arc::clone(&client)));
        Ok(client)
    }

    /// Writes it, and waits for the receiver to have read it; or says what broke.
    async fn send(&self, mut stream: TlsStream<TcpStream>, body: &[u8]) -> Result<(), String> {
        let writing = async {
            stream.write_all(body).await?;
            stream.flush().await
        };
        match timeout(WRITE_LIMIT, writing).await {
            Ok(written) => written.map_err(|error| format!("while it was written: {error}"))?,
            Err(_) => return Err(format!("it takes nothing for {} s", WRITE_LIMIT.as_secs())),
        }
        if let Some(end) = heard(&mut stream, SETTLE).await {
            return Err(format!("after it was written: {end}"));
        }
        let closing = stream.shutdown().await;
        closing.map_err(|error| format!("when it was to be closed: {error}"))?;
        match heard(&mut stream, CLOSE_LIMIT).await {
            Some(End::Closed) => Ok(()),
            Some(End::Broken(error)) => Err(format!("before the receiver closed it: {error}")),
            None => Err(format!(
                "the receiver did not close it within {} s after we had",
                CLOSE_LIMIT.as_secs()
            )),
        }
    }

    /// What to answer instead of sending, after too much was lost in the same way.
    fn rest(&self) -> Option<Answer> {
        let (broken, last) = self.broken.get();
        let is_due = last.is_none_or(|last| last.elapsed() >= REST);
        (broken >= BROKEN_MAX && !is_due).then(|| {
            misconfigured(format!(
                "{broken} connections to {} broke one after the other before the receiver had \
                 closed them; nothing is sent for {} s: look at the receiver's log",
                self.config.address,
                REST.as_secs()
            ))
        })
    }
}

impl super::Sink for SyslogSink {
    /// The receiver says nothing of messages.
    fn guarantee(&self) -> Guarantee {
        Guarantee::Unacknowledged
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        let limit = self.config.message_bytes_max.unwrap_or(MESSAGE_BYTES_MAX);
        if let Err(reason) = check(&parcel.body, limit as usize) {
            return Answer::Refused { reason };
        }
        if let Some(answer) = self.rest() {
            return answer;
        }
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(answer) => {
                self.is_welcome.set(false);
                return answer;
            }
        };
        match self.send(stream, &parcel.body).await {
            Ok(()) => {
                self.is_welcome.set(true);
                self.broken.set((0, None));
                Answer::Accepted
            }
            Err(reason) => {
                self.is_welcome.set(false);
                self.broken
                    .set((self.broken.get().0 + 1, Some(Instant::now())));
                let address = &self.config.address;
                Answer::Unknown {
                    reason: format!("the connection to {address} broke: {reason}"),
                }
            }
        }
    }
}

/// Where the receiver is, and what it is called.
struct Place<'a> {
    host: &'a str,
    port: u16,
    name: ServerName<'static>,
}

impl Place<'_> {
    /// `host`, `host:port`, `[address]:port`.
    fn parse(address: &str) -> Result<Place<'_>, Answer> {
        let wrong = || {
            misconfigured(format!(
                "syslog.address \"{address}\" is not host:port, as in logs.example.com:6514"
            ))
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            Some(_) | None => (address, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
        Ok(Place { host, port, name })
    }
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// The receiver closed its side.
    Closed,
    /// It broke.
    Broken(io::Error),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Closed => f.write_str("the receiver closed it"),
            End::Broken(error) => error.fmt(f),
        }
    }
}

/// Listens for so long; `None` where the connection lives on. What a receiver says is not read.
async fn heard(stream: &mut TlsStream<TcpStream>, patience: Duration) -> Option<End> {
    let listening = async {
        let mut bytes = [0; 256];
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                // Closed without the words of TLS, as many do.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return End::Closed,
                Err(error) => return End::Broken(error),
            }
        }
    };
    timeout(patience, listening).await.ok()
}

fn misconfigured(reason: String) -> Answer {
    Answer::Misconfigured { reason }
}

/// What it means that there is no connection.
fn connect_answer(address: &str, error: &io::Error) -> Answer {
    let reason = format!("cannot connect to {address}: {error}");
    let is_of_tls = error.get_ref().is_some_and(|it| it.is::<rustls::Error>());
    if is_of_tls {
        return misconfigured(format!(
            "{reason}; look at the destination's tls here, and at the receiver's certificates"
        ));
    }
    Answer::Again {
        after: None,
        reason,
    }
}

/// Whether the octets are counted as they are, and no message is too long: a receiver would cut it
/// off, or lose its way in all that follows.
fn check(body: &[u8], message_bytes_max: usize) -> Result<(), String> {
    let mut rest = body;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = str::from_utf8(&rest[..digits])
            .ok()
            .and_then(|it| it.parse().ok());
        let length: usize = length.ok_or("a message without the count of its octets")?;
        if length > message_bytes_max {
            return Err(format!(
                "a message of {length} bytes, of which syslog.message_bytes_max allows \
                 {message_bytes_max}"
            ));
        }
        let next = length.saturating_add(digits + 1);
        if rest.get(digits) != Some(&b' ') {
            return Err("a message without the count of its octets".to_owned());
        }
        rest = rest.get(next..).ok_or("a message that is cut off")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (address, host, port) in [
            ("logs.example.com", "logs.example.com", 6514),
            ("logs.example.com:10514", "logs.example.com", 10514),
            ("192.0.2.1:10514", "192.0.2.1", 10514),
            ("[2001:db8::1]:10514", "2001:db8::1", 10514),
            ("[2001:db8::1]", "2001:db8::1", 6514),
            ("2001:db8::1", "2001:db8::1", 6514),
        ] {
            let place = Place::parse(address).ok().unwrap();
            assert_eq!((place.host, place.port), (host, port), "{address}");
        }
        for address in ["", "logs.example.com:port", "logs example", ":6514"] {
            assert!(Place::parse(address).is_err(), "{address}");
        }
    }

    #[test]
    fn only_messages_that_are_counted_and_not_too_long_are_sent() {
        assert_eq!(check(b"5 <1>1 4 <1>1", 5), Ok(()));
        for (body, words) in [
            (&b"5 <1>1 6 <1>1 x"[..], "of 6 bytes"),
            (b"5 <1>1 x", "without the count"),
            (b"5 <1>", "cut off"),
            (b"5", "without the count"),
            (b"99999999999999999999999 x", "without the count"),
        ] {
            let reason = check(body, 5).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
    }
}
