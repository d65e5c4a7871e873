//! Round after round: messages in, rows or events out, then acknowledgements.

use super::clickhouse::Inserted;
use super::metrics::{Figures, Shared};
use super::round::Postmark;
use super::settings::Settings;
use super::source::{Source, SourceError};
use super::target::{Pile, Step, Target};
use async_nats::jetstream::{AckKind, Message};
use ship::native;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long to wait after the first failure, and after many.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// How often a stop is looked for while there is something to wait for.
const STOP_POLL: Duration = Duration::from_millis(100);

/// So often messages are asked for in vain before the relay connects anew.
const FAILURES_MAX: u32 = 6;

/// So many rows a message, until it is known better.
const ROWS_A_MESSAGE: usize = 200;

/// Moves what is in the stream to where it belongs.
pub(super) struct Relay<'a> {
    settings: &'a Settings,
    target: Target,
    figures: Shared,
    stop: &'a AtomicBool,
    /// Tables that took rows since the start: what they refuse later is the rows' fault.
    working: BTreeSet<&'static str>,
    rows_a_message: usize,
}

/// A message that is here and not acknowledged.
struct Held {
    message: Message,
    postmark: Postmark,
    /// Why it cannot be read.
    poison: Option<String>,
}

/// Why a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    /// All of it is in.
    All,
    /// It is too much for one, or one of it is at fault.
    Refused,
    /// Somebody wants the relay to stop.
    Stopped,
}

impl<'a> Relay<'a> {
    /// A relay that has yet to connect.
    pub(super) fn new(
        settings: &'a Settings,
        target: Target,
        figures: Shared,
        stop: &'a AtomicBool,
    ) -> Relay<'a> {
        Relay {
            settings,
            target,
            figures,
            stop,
            working: BTreeSet::new(),
            rows_a_message: ROWS_A_MESSAGE,
        }
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    ///
    /// When a file that the settings name cannot be used. Whatever may pass is waited for.
    pub(super) async fn run(&mut self) -> Result<(), SourceError> {
        let mut failures = 0;
        while !self.is_stopping() {
            let source = match Source::open(&self.settings.jetstream).await {
                Ok(source) => source,
                Err(error) if failures == 0 && is_ours_to_mend(&error) => return Err(error),
                Err(error) => {
                    failures += 1;
                    self.trouble(Some(error.to_string()));
                    self.pause(back_off(failures, None)).await;
                    continue;
                }
            };
            self.trouble(None);
            match self.work(&source).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    self.trouble(Some(error.to_string()));
                    self.pause(back_off(failures, None)).await;
                }
            }
            source.close().await;
        }
        Ok(())
    }

    async fn work(&mut self, source: &Source) -> Result<(), SourceError> {
        let mut failures = 0;
        while !self.is_stopping() {
            let (round, mut held) = match self.gather(source).await {
                Ok(gathered) => gathered,
                // Another leader is chosen within seconds, and then the same question is answered;
                // to ask for stream and consumer anew takes a cluster longer.
                Err(error) if failures < FAILURES_MAX => {
                    failures += 1;
                    self.trouble(Some(error.to_string()));
                    self.pause(back_off(failures, None)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if failures > 0 {
                failures = 0;
                self.trouble(None);
            }
            if held.is_empty() {
                continue;
            }
            let every = source.ack_wait() / 3;
            let mut round = Some(round);
            loop {
                let next = round.take().unwrap_or_else(|| self.target.pile());
                match self.deliver(next, &held, every).await {
                    Delivered::All => break self.acknowledge(source, &held).await,
                    Delivered::Stopped => {
                        give_back(&held).await;
                        source.flush().await;
                        return Ok(());
                    }
                    Delivered::Refused => {
                        held = self.one_by_one(source, held, every).await;
                        if held.is_empty() {
                            break;
                        }
                        round = Some(self.round_of(&mut held));
                    }
                }
            }
        }
        Ok(())
    }

    /// Messages until the round is full or old enough.
    async fn gather(&mut self, source: &Source) -> Result<(Pile, Vec<Held>), SourceError> {
        let limits = self.settings.round;
        let (mut round, mut held) = (self.target.pile(), Vec::new());
        let mut too_much = Vec::new();
        let started = Instant::now();
        let created_ms = source.created_ms();
        while let Some(left) = limits.age_max().checked_sub(started.elapsed()) {
            let wanted = limits.rows.saturating_sub(round.count());
            let room = limits.messages_max.saturating_sub(held.len());
            if wanted == 0 || room == 0 || round.bytes() >= limits.bytes_max {
                break;
            }
            let count = wanted.div_ceil(self.rows_a_message.max(1)).clamp(1, room);
            let figures = &self.figures;
            let pulled = source.pull(count, left, |message| {
                if round.bytes() >= limits.bytes_max {
                    return too_much.push(message);
                }
                held.push(receive(
                    message,
                    created_ms,
                    &mut round,
                    &mut figures.borrow_mut(),
                ));
            });
            match pulled.await {
                Ok(_) => {}
                Err(_) if !held.is_empty() => break,
                Err(error) => return Err(error),
            }
            if self.is_stopping() {
                break;
            }
        }
        for message in too_much {
            let _ = message.ack_with(AckKind::Nak(None)).await;
        }
        if let Some(rows_a_message) = round.count().checked_div(held.len()) {
            self.rows_a_message = rows_a_message.max(1);
        }
        Ok((round, held))
    }

    /// The same messages once more as rows, without what is known to be at fault.
    fn round_of(&self, held: &mut [Held]) -> Pile {
        let mut round = self.target.pile();
        for it in held {
            enter(it, &mut round);
        }
        round
    }

    /// Makes all inserts of a round, however long it takes.
    async fn deliver(&mut self, round: Pile, held: &[Held], every: Duration) -> Delivered {
        for mut step in round.into_steps() {
            let mut failures = 0;
            loop {
                let inserted = holding(held, every, self.target.take(&mut step)).await;
                let (after, reason) = match inserted {
                    Inserted::Done { bytes } => break self.count(&step, bytes),
                    Inserted::Refused { .. } if self.working.contains(step.name()) => {
                        return Delivered::Refused;
                    }
                    Inserted::Again { after, reason } => (after, reason),
                    Inserted::Misconfigured { reason } | Inserted::Refused { reason } => {
                        (Some(BACK_OFF.1), reason)
                    }
                };
                failures += 1;
                self.figures.borrow_mut().retries += 1;
                self.trouble(Some(reason));
                let wait = self.pause(back_off(failures, after));
                holding(held, every, wait).await;
                if self.is_stopping() {
                    return Delivered::Stopped;
                }
            }
            self.trouble(None);
        }
        Delivered::All
    }

    /// One of the messages is at fault, and this finds out which: each is delivered alone. What the
    /// store does not take is set aside with the reason; what is left over when somebody wants the
    /// relay to stop is returned.
    async fn one_by_one(&mut self, source: &Source, held: Vec<Held>, every: Duration) -> Vec<Held> {
        let mut left: VecDeque<Held> = held.into();
        while let Some(mut one) = left.pop_front() {
            let others = left.make_contiguous();
            let mut alone = self.target.pile();
            enter(&mut one, &mut alone);
            let work = self.deliver(alone, std::slice::from_ref(&one), every);
            let mut delivered = holding(others, every, work).await;
            if delivered == Delivered::Refused {
                one.poison = Some("the store cannot read its rows".to_owned());
                let mut aside = self.target.pile();
                enter(&mut one, &mut aside);
                let work = self.deliver(aside, std::slice::from_ref(&one), every);
                delivered = holding(others, every, work).await;
            }
            match delivered {
                Delivered::All => self.acknowledge(source, &[one]).await,
                Delivered::Refused | Delivered::Stopped => {
                    left.push_front(one);
                    return left.into();
                }
            }
        }
        Vec::new()
    }

    async fn acknowledge(&mut self, source: &Source, held: &[Held]) {
        for it in held {
            let kind = match it.poison {
                None => AckKind::Ack,
                Some(_) => AckKind::Term,
            };
            // What is not acknowledged is delivered again, and merged.
            let _ = it.message.ack_with(kind).await;
        }
        source.flush().await;
        let mut figures = self.figures.borrow_mut();
        for it in held {
            match it.poison {
                None => figures.acknowledged += 1,
                Some(_) => figures.refused += 1,
            }
        }
        let last = held.iter().map(|it| it.postmark.published_ms).max();
        figures.lag_ms = last.map(|last| u64::try_from(now_ms() - last).unwrap_or(0));
    }

    fn count(&mut self, step: &Step, bytes: u64) {
        self.working.insert(step.name());
        let mut figures = self.figures.borrow_mut();
        figures.inserts += 1;
        figures.insert_bytes += bytes;
        *figures.rows.entry(step.name()).or_default() += step.count();
    }

    /// Says once what keeps the relay from working, and once that it works again.
    fn trouble(&self, problem: Option<String>) {
        let mut figures = self.figures.borrow_mut();
        match (&figures.problem, &problem) {
            (None, Some(new)) => eprintln!("conntrail-ship relay: {new}; waiting for it to pass"),
            (Some(old), Some(new)) if old != new => eprintln!("conntrail-ship relay: {new}"),
            (Some(_), None) => eprintln!("conntrail-ship relay: it passed"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        figures.problem = problem;
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits, but not when somebody wants the relay to stop.
    fn pause(&self, wait: Duration) -> impl Future<Output = ()> + use<'a> {
        let (stop, until) = (self.stop, Instant::now() + wait);
        async move {
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                tokio::time::sleep(left.min(STOP_POLL)).await;
            }
        }
    }
}

/// A file that the settings name will not mend itself.
fn is_ours_to_mend(error: &SourceError) -> bool {
    match error {
        SourceError::Tls(_) | SourceError::Secret(_) | SourceError::Credentials(_) => true,
        SourceError::Connect(_)
        | SourceError::Stream { .. }
        | SourceError::Consumer { .. }
        | SourceError::Pull(_) => false,
    }
}

/// Takes a message that came, into the round.
fn receive(message: Message, created_ms: i64, round: &mut Pile, figures: &mut Figures) -> Held {
    let mut postmark = Postmark {
        stream: String::new(),
        stream_created_ms: created_ms,
        stream_sequence: 0,
        published_ms: 0,
        received_ms: now_ms(),
        subject: message.subject.to_string(),
        message_id: message_id(&message),
    };
    figures.messages += 1;
    figures.message_bytes += message.payload.len() as u64;
    if let Ok(info) = message.info() {
        postmark.stream = info.stream.to_owned();
        postmark.stream_sequence = info.stream_sequence;
        let published_ms = info.published.unix_timestamp_nanos() / 1_000_000;
        postmark.published_ms = i64::try_from(published_ms).unwrap_or(i64::MAX);
        figures.redelivered += u64::from(info.delivered > 1);
        figures.pending = Some(info.pending);
    }
    let mut held = Held {
        message,
        postmark,
        poison: None,
    };
    enter(&mut held, round);
    held
}

/// Adds what is held to a round: as rows where it can be read, else as it is.
fn enter(held: &mut Held, round: &mut Pile) {
    let payload = &held.message.payload;
    if held.poison.is_none() {
        let batch = native::decode(payload).map_err(|error| error.to_string());
        held.poison = batch
            .and_then(|batch| round.add(&held.postmark, &batch, payload))
            .err();
    }
    if let Some(reason) = &held.poison {
        round.set_aside(&held.postmark, payload, reason);
    }
}

fn message_id(message: &Message) -> String {
    let headers = message.headers.as_ref();
    let id = headers.and_then(|it| it.get(async_nats::header::NATS_MESSAGE_ID));
    id.map_or_else(String::new, |it| it.as_str().to_owned())
}

/// Gives messages back, for another relay to take at once.
async fn give_back(held: &[Held]) {
    for it in held {
        let _ = it.message.ack_with(AckKind::Nak(None)).await;
    }
}

/// Does some work, and tells the server again and again that it is under way, so that nothing is
/// delivered a second time meanwhile.
async fn holding<T>(held: &[Held], every: Duration, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(every) => {
                for it in held {
                    let _ = it.message.ack_with(AckKind::Progress).await;
                }
            }
        }
    }
}

/// Twice as long after each failure.
fn back_off(failures: u32, after: Option<Duration>) -> Duration {
    let (first, last) = BACK_OFF;
    let wait = first.saturating_mul(1 << (failures - 1).min(10)).min(last);
    wait.max(after.unwrap_or_default())
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| it.as_millis() as i64)
}
