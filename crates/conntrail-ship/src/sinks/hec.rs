//! Splunk's HTTP event collector, with and without acknowledgement by indexers, as
//! <https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck> and
//! <https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector> say.
//!
//! 200 says that a batch could be read, and no more: it can still be lost on the way to the index.
//! With acknowledgement the collector gives each batch a number, and is asked about the number
//! until the batch is in the index. What is not acknowledged in time is sent again; events that
//! arrive twice have the same `metadata.uid`.

use super::{Sink, otlp};
use crate::http::{self, Client, Failure, Reply, Request, SettingError, Stage};
use crate::secrets::SecretFile;
use reqwest::Url;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ship::config::{self, Destination};
use ship::{Answer, Compression, Guarantee, Parcel};
use std::cell::Cell;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// How long an indexer may take where nothing else is set.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(120);

/// Between two questions whether a batch is in the index: at first, and at most.
const POLL_MIN: Duration = Duration::from_millis(200);
const POLL_MAX: Duration = Duration::from_secs(5);

/// An event collector.
#[derive(Debug)]
pub struct Hec {
    client: Client,
    events: Url,
    acknowledgements: Url,
    token: SecretFile,
    channel: String,
    acknowledge: bool,
    acknowledge_timeout: Duration,
    /// Whether the token is known to acknowledge.
    acknowledges: Cell<bool>,
}

impl Hec {
    /// A sink that has not connected yet. `sender` names this installation and destination, the
    /// same each time and unlike any other: the channel is made of it.
    ///
    /// # Errors
    ///
    /// Settings that can never be used; files are read later, and may come later.
    pub fn new(
        destination: &Destination,
        settings: &config::Hec,
        sender: &str,
    ) -> Result<Hec, SettingError> {
        let url = http::parse_url("hec.url", &settings.url)?;
        let channel = channel(sender);
        let mut acknowledgements = http::join(&url, "services/collector/ack");
        acknowledgements
            .query_pairs_mut()
            .append_pair("channel", &channel);
        let timeout = settings.acknowledge_timeout_s;
        let hec = Hec {
            client: Client::new(destination)?,
            events: http::join(&url, "services/collector/event"),
            acknowledgements,
            token: SecretFile::new("hec.token_file", &settings.token_file),
            channel,
            acknowledge: settings.acknowledge.unwrap_or(true),
            acknowledge_timeout: timeout.map_or(ACKNOWLEDGE_TIMEOUT, |seconds| {
                Duration::from_secs(seconds.into())
            }),
            acknowledges: Cell::new(false),
        };
        if http::in_the_clear(&url) {
            let text = "hec.url: the token is sent in the clear; use https://";
            hec.client.warn(text.to_owned());
        }
        Ok(hec)
    }

    /// What somebody should know, since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        if let Some(warning) = self.token.warning() {
            self.client.warn(warning);
        }
        self.client.take_warnings()
    }

    /// Sends the batch; `Err` is the answer unless it is to be acknowledged under this number.
    async fn send(&self, parcel: &Parcel) -> Result<u64, Answer> {
        let request = self.request(&self.events, parcel.body.clone(), parcel.compression);
        let request = request.map_err(Failure::answer)?;
        let reply = self
            .client
            .post(request)
            .await
            .map_err(|failure| self.broken(failure))?;
        let said = self.taken(&reply)?;
        let number = said.get("ackId").and_then(Value::as_u64);
        match (self.acknowledge, number) {
            (true, Some(number)) => Ok(number),
            (true, None) => {
                self.acknowledges.set(false);
                Err(not_acknowledging(&reply))
            }
            (false, Some(_)) => {
                self.client.warn(
                    "hec.acknowledge: the token acknowledges, and nobody asks; set it to true"
                        .to_owned(),
                );
                Err(Answer::Accepted)
            }
            (false, None) => Err(Answer::Accepted),
        }
    }

    /// Asks until the indexers have the batch.
    async fn wait(&self, number: u64) -> Answer {
        let deadline = Instant::now() + self.acknowledge_timeout;
        let mut pause = POLL_MIN;
        let mut trouble = None;
        while Instant::now() + pause <= deadline {
            sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
            match self.ask(number).await {
                Ok(true) => return Answer::Accepted,
                Ok(false) => trouble = None,
                // It may have the batch already: asking again is better than sending again.
                Err(Answer::Again { reason, .. }) => trouble = Some(reason),
                Err(answer) => return answer,
            }
        }
        let seconds = self.acknowledge_timeout.as_secs();
        let trouble = trouble
            .map(|reason| format!("; asked last, {reason}"))
            .unwrap_or_default();
        Answer::Again {
            after: None,
            reason: format!("no indexer acknowledged the batch within {seconds} s{trouble}"),
        }
    }

    /// Whether a batch is in the index.
    async fn ask(&self, number: u64) -> Result<bool, Answer> {
        let body = json!({ "acks": [number] }).to_string().into_bytes();
        let request = self.request(&self.acknowledgements, body, Compression::None);
        let request = request.map_err(Failure::answer)?;
        let reply = self.client.post(request).await.map_err(Failure::answer)?;
        if reply.status != 200 {
            return Err(self.refused(&reply));
        }
        let said = reply.json().ok_or_else(|| reply.not_theirs())?;
        let Some(acks) = said.get("acks").and_then(Value::as_object) else {
            return Err(reply.not_theirs());
        };
        Ok(acks
            .get(&number.to_string())
            .and_then(Value::as_bool)
            .unwrap_or(false))
    }

    /// Before the first batch: a token that does not acknowledge takes batches all the same, and
    /// would be sent the same ones for ever.
    async fn find_out(&self) -> Result<(), Answer> {
        if self.acknowledge && !self.acknowledges.get() {
            self.ask(0).await?;
            self.acknowledges.set(true);
        }
        Ok(())
    }

    fn request(
        &self,
        url: &Url,
        body: Vec<u8>,
        compression: Compression,
    ) -> Result<Request, Failure> {
        let encoding = match compression {
            Compression::Zstd => {
                return Err(Failure::of_settings(
                    "compression: Splunk takes \"gzip\" and \"none\"".to_owned(),
                ));
            }
            Compression::None | Compression::Gzip => otlp::encoding(compression),
        };
        let token = self
            .token
            .read()
            .map_err(|error| Failure::of_settings(error.to_string()))?;
        let mut headers = HeaderMap::new();
        http::put(
            &mut headers,
            AUTHORIZATION,
            &format!("Splunk {}", token.expose()),
        )
        .and_then(|()| http::put(&mut headers, CHANNEL, &self.channel))
        .map_err(|error| Failure::of_settings(error.to_string()))?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(Request {
            url: url.clone(),
            headers,
            body,
            hidden: vec![token],
        })
    }

    /// What the collector says to a batch that it took.
    fn taken(&self, reply: &Reply) -> Result<Value, Answer> {
        if reply.status != 200 {
            return Err(self.refused(reply));
        }
        match reply.json() {
            Some(said) if said.get("code").and_then(Value::as_u64) == Some(0) => Ok(said),
            Some(said) if said.get("code").is_some() => Err(self.refused(reply)),
            _ => Err(reply.not_theirs()),
        }
    }

    /// What the collector says to what it does not take, by its code, and by the status where it
    /// names none that we know.
    fn refused(&self, reply: &Reply) -> Answer {
        let Some((said, code)) = reply.json().and_then(|said| {
            let code = said.get("code")?.as_u64()?;
            Some((said, code))
        }) else {
            return reply.by_status(&reply.words());
        };
        let text = said.get("text").and_then(Value::as_str).unwrap_or_default();
        let told = reply.told(&format!("{text} (code {code})"));
        match code {
            // What comes before the first bad event may have been taken, and the number does not
            // say that it was: so it is only told, and the batch is cut until the event is alone.
            5 | 6 | 12 | 13 | 15 => {
                let number = said.get("invalid-event-number").and_then(Value::as_u64);
                let first =
                    number.map(|number| format!("; the first bad event is number {number}"));
                Answer::Refused {
                    reason: format!("{told}{}", first.unwrap_or_default()),
                }
            }
            8 | 9 | 18..=20 => reply.again(told),
            14 => {
                self.acknowledges.set(false);
                not_acknowledging(reply)
            }
            _ => match advice(code) {
                Some(advice) => Answer::Misconfigured {
                    reason: format!("{told}; {advice}"),
                },
                None => reply.by_status(&format!("{text} (code {code})")),
            },
        }
    }

    /// Without acknowledgement a batch that was under way may be there or not.
    fn broken(&self, failure: Failure) -> Answer {
        match failure.stage {
            Stage::Sent if !self.acknowledge => Answer::Unknown {
                reason: failure.reason,
            },
            Stage::Sent | Stage::Cut | Stage::Settings | Stage::Connecting | Stage::Trust => {
                failure.answer()
            }
        }
    }
}

impl Sink for Hec {
    fn guarantee(&self) -> Guarantee {
        if self.acknowledge {
            Guarantee::Acknowledged
        } else {
            Guarantee::Unacknowledged
        }
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        if let Err(answer) = self.find_out().await {
            return answer;
        }
        match self.send(parcel).await {
            Ok(number) => self.wait(number).await,
            Err(answer) => answer,
        }
    }
}

/// What to do about a code that somebody has to mend.
fn advice(code: u64) -> Option<&'static str> {
    match code {
        1 | 22 => Some("the token is disabled: enable it, or put another into hec.token_file"),
        2 | 3 => Some("hec.token_file must hold the token alone, without the word Splunk"),
        4 | 21 => Some("Splunk does not know the token in hec.token_file"),
        7 => Some("the token may not write to this index: allow it, or change hec.index"),
        10 | 11 => Some("the token wants a channel: something on the way drops our header"),
        16 => Some("something on the way moves our token into the URL"),
        _ => None,
    }
}

fn not_acknowledging(reply: &Reply) -> Answer {
    Answer::Misconfigured {
        reason: format!(
            "{}: the token does not acknowledge; enable indexer acknowledgement for it, or set \
             hec.acknowledge = false and live with a weaker guarantee",
            reply.status
        ),
    }
}

/// A GUID (RFC 9562, version 8) that is always the same for a sender.
fn channel(sender: &str) -> String {
    let digest = Sha256::digest(format!("conntrail hec channel\n{sender}"));
    let mut bytes: [u8; 16] = std::array::from_fn(|index| digest[index]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_guid_that_stays_and_is_nobody_elses() {
        let one = channel("endpoint-1/splunk");
        assert_eq!(one, channel("endpoint-1/splunk"));
        assert_ne!(one, channel("endpoint-2/splunk"));
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'8');
    }
}
