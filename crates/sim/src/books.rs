//! What must be true of the records of a flow table, given the events that went in.
//!
//! The books are kept from what [`flow::Event`], [`flow::Config`] and [`record::Tally`] promise,
//! not from how the table does it: simple, slow, and never forgetting. Where the table may choose
//! (what to evict, what to forget), they follow what it says it chose, and ask whether it may.

mod notices;
mod people;
mod series;
mod story;

use flow::{Closed, Config, Counters, Event, FlowKey, Opened};
use notices::Notices;
use people::People;
use record::{
    ByteQuality, Connection, LostKind, Mono, Origin, Outcome, Phase, ProcessKey, Protocol, Record,
    Stamp, Tally,
};
use series::{Series, counts};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use story::{Ends, Story, is_forced};

/// The books of one epoch.
#[derive(Debug)]
pub struct Books {
    config: Config,
    epoch: u64,
    now: Mono,
    notices: Notices,
    people: People,
    series: BTreeMap<u64, Series>,
    stories: BTreeMap<IpAddr, Story>,
    /// Which story a key is of, as the events have it.
    current: BTreeMap<FlowKey, IpAddr>,
    /// Stories that are open.
    open: BTreeSet<IpAddr>,
    /// Processes that are gone.
    gone: BTreeSet<ProcessKey>,
    /// Outcomes that sensors told of.
    outcomes: BTreeSet<Outcome>,
    /// When the machine woke, and for how many nanoseconds it had slept.
    slept: Vec<(Mono, u64)>,
    /// Closes that were told or recorded without an address.
    ends_nowhere: u64,
    events: u64,
    closes_told: u64,
    closes_lost: u64,
    closes: u64,
    forced_closes: u64,
    /// The same, as the table counts it.
    given_up: u64,
    connection_records: u64,
    notice_records: u64,
}

/// Whether what was made is what became of it.
fn balances(tally: &Tally) -> Result<(), String> {
    let accounted =
        tally.closes_recorded + tally.closes_aggregated + tally.closes_dropped + tally.closes_lost;
    match tally.closes_made == accounted {
        true => Ok(()),
        false => Err(format!("{tally:?} does not balance")),
    }
}

impl Books {
    /// Books of a table with this configuration that begins now.
    pub fn new(config: Config, epoch: u64, start: Stamp) -> Books {
        Books {
            config,
            epoch,
            now: start.mono,
            notices: Notices::new(&config, start),
            people: People::new(&config),
            series: BTreeMap::new(),
            stories: BTreeMap::new(),
            current: BTreeMap::new(),
            open: BTreeSet::new(),
            gone: BTreeSet::new(),
            outcomes: BTreeSet::new(),
            slept: Vec::new(),
            ends_nowhere: 0,
            events: 0,
            closes_told: 0,
            closes_lost: 0,
            closes: 0,
            forced_closes: 0,
            given_up: 0,
            connection_records: 0,
            notice_records: 0,
        }
    }

    /// The table is about to handle `event`.
    pub fn event(&mut self, event: &Event, now: Mono) {
        self.now = self.now.max(now);
        self.events += 1;
        self.notices.event(event, now);
        match event {
            Event::Opened(opened) => self.opened(opened, now),
            Event::Updated { key, traffic, flow } => {
                self.updated(*key, counts(traffic), flow.as_ref(), now);
                if let Some(story) = self.story_of(*key) {
                    story.is_called_exact |= traffic.quality == ByteQuality::Exact;
                }
            }
            Event::Closed(closed) => self.closed(closed, now),
            Event::Attributed { key, owner } => {
                self.people.name(owner);
                if let Some(story) = self.story_of(*key) {
                    story.owned(Some(owner));
                    story.heard_of = now;
                }
            }
            Event::Named { key, hostname } => {
                if let Some(story) = self.story_of(*key) {
                    story.named(hostname);
                    story.heard_of = now;
                }
            }
            Event::ProcessSeen(introduction) => self.people.introduce(introduction),
            Event::ProcessesGone { keys } => self.gone(keys, now),
            Event::Swept { before, alive } => self.swept(*before, alive, now),
            Event::Unwatched { before } => self.unwatched(*before, now),
            Event::Lost { what, count, .. } => {
                if *what == LostKind::Closes {
                    self.closes_lost += count.unwrap_or(0);
                }
            }
            Event::Slept { duration_ns } => self.slept.push((now, *duration_ns)),
            Event::SensorStarted { .. }
            | Event::SensorStopped { .. }
            | Event::SensorLimited { .. }
            | Event::ClockRead { .. }
            | Event::BreakerChanged { .. }
            | Event::CoverageRead { .. }
            | Event::Sleeping
            | Event::UserNamed { .. } => {}
        }
    }

    /// The table gave `record`.
    ///
    /// # Errors
    /// What about it cannot be, in words.
    pub fn record(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Notice(notice) => {
                self.notice_records += 1;
                self.notices.notice(notice)
            }
            Record::Connection(connection) => {
                self.connection_records += 1;
                self.connection(connection)
                    .map_err(|reason| format!("{reason}: {connection:?}"))
            }
        }
    }

    /// The table did what was due at `now` and gave all that came of it; next it wants to be called
    /// at `next`.
    ///
    /// # Errors
    /// What should have been done and was not, in words.
    pub fn timeout(&mut self, now: Mono, next: Mono) -> Result<(), String> {
        self.now = self.now.max(now);
        if next <= now {
            return Err(format!(
                "called at {now:?}, it wants to be called at {next:?}"
            ));
        }
        for address in &self.open {
            let Some(story) = self.stories.get_mut(address) else {
                continue;
            };
            check_in_time(&self.config, story, &self.slept, now)
                .map_err(|reason| format!("{address} at {now:?}: {reason}: {story:?}"))?;
        }
        Ok(())
    }

    /// The table counts so, with all outputs taken.
    ///
    /// # Errors
    /// What is out of bounds, or was counted otherwise, in words.
    pub fn counters(&mut self, counters: &Counters) -> Result<(), String> {
        self.given_up = given_up(counters);
        let waiting_max = (self.config.flows_max as u64 / 8).max(1);
        let processes_max = self.config.processes_max.max(5) as u64;
        let is_right = counters.events == self.events
            && counters.connection_records == self.connection_records
            && counters.notices == self.notice_records
            && counters.live <= self.config.flows_max as u64
            && counters.waiting <= waiting_max
            && counters.processes <= processes_max;
        match is_right {
            true => Ok(()),
            false => Err(format!(
                "{counters:?} where {} events came, {} connection records and {} notices went",
                self.events, self.connection_records, self.notice_records
            )),
        }
    }

    /// The table was stopped, all outputs were taken, and these are its last books.
    ///
    /// # Errors
    /// What does not add up, in words.
    pub fn finish(&mut self, tally: Tally) -> Result<(), String> {
        balances(&tally)?;
        self.notices.finish()?;
        let ids = self.series.len() as u64;
        let last = self.series.last_key_value().map_or(0, |(id, _)| *id);
        if ids != last {
            let missing = (1..=last).find(|id| !self.series.contains_key(id));
            return Err(format!(
                "{ids} ids to {last}: {missing:?} was never told of"
            ));
        }
        if tally.live != ids - self.closes || tally.closes_lost != self.closes_lost {
            return Err(format!(
                "{tally:?} where {ids} flows had {} closes and {} were lost",
                self.closes, self.closes_lost
            ));
        }
        let ends = self.stories.values().map(Story::ends_max);
        let most = self.ends_nowhere + ends.sum::<u64>();
        if tally.closes_recorded > most {
            return Err(format!("{tally:?} where {most} ends were told or seen"));
        }
        for (address, story) in &self.stories {
            story
                .finish()
                .map_err(|reason| format!("{address}: {reason}: {story:?}"))?;
            Books::check_closed(story, self.now)
                .map_err(|reason| format!("{address}: {reason}: {story:?}"))?;
        }
        Ok(())
    }
}

/// What events say of connections.
impl Books {
    fn opened(&mut self, opened: &Opened, now: Mono) {
        if let Some(owner) = &opened.owner {
            self.people.name(owner);
        }
        let Some(address) = opened.tuple.remote.address else {
            return self.tangle(opened.key);
        };
        let is_other = self.current.get(&opened.key) != Some(&address);
        if is_other {
            self.take_over(opened, address);
        }
        let (ends, horizon, waits) = self.age();
        let story = self.story(address, opened.key);
        story.seen(opened, now);
        story.age(ends, horizon, waits);
        let is_live = opened.origin == Origin::Live;
        if story.is_open && is_live {
            story.may.superseded = true;
            // Nobody can say whether it was told twice or began twice.
            story.is_tangled = true;
        }
        if !story.is_open && story.ended_at.is_none_or(|ended| opened.at > ended) {
            // A beginning that is told again after the flow was given up is another flow's.
            story.is_tangled |= is_live && story.closes > 0;
            story.open(opened.at, now);
            self.open.insert(address);
        }
    }

    /// A key is told with another address than before. Only a beginning that was seen makes clear
    /// what that means.
    fn take_over(&mut self, opened: &Opened, address: IpAddr) {
        let (ends, horizon, waits) = self.age();
        let before = self.current.insert(opened.key, address);
        let Some(before) = before.and_then(|before| self.stories.get_mut(&before)) else {
            return;
        };
        let has_ended = before.ended_at.is_some_and(|ended| opened.at > ended);
        let is_clear =
            has_ended && !before.is_open || opened.origin == Origin::Live && before.is_open;
        before.may.superseded = true;
        before.age(ends, horizon, waits);
        // Nobody can say whether one that began earlier was told of before.
        before.is_tangled |= opened.at < before.opened_at;
        let was_tangled = before.is_tangled;
        if is_clear && !was_tangled {
            before.is_open = false;
        } else {
            before.is_tangled = true;
            let key = opened.key;
            self.story(address, key).is_tangled = true;
        }
    }

    fn updated(&mut self, key: FlowKey, told: [Option<u64>; 4], flow: Option<&Opened>, now: Mono) {
        let Some(opened) = flow else {
            if let Some(story) = self.story_of(key) {
                story.totals(told, false);
                story.heard_of = story.heard_of.max(now);
            }
            return;
        };
        if let Some(owner) = &opened.owner {
            self.people.name(owner);
        }
        let Some(address) = opened.tuple.remote.address else {
            return self.tangle(key);
        };
        self.meet(key, address);
        let (ends, horizon, waits) = self.age();
        let story = self.story(address, key);
        story.age(ends, horizon, waits);
        story.seen(opened, now);
        let brings_news = story.is_news(told);
        if brings_news || story.records == 0 && story.closings.is_empty() {
            story.open(opened.at, now);
        }
        story.totals(told, true);
        if story.is_open {
            self.open.insert(address);
        }
    }

    fn closed(&mut self, closed: &Closed, now: Mono) {
        self.closes_told += 1;
        self.outcomes.insert(closed.ending.outcome);
        if let Some(owner) = &closed.owner {
            self.people.name(owner);
        }
        let Some(address) = closed.tuple.remote.address else {
            self.ends_nowhere += 1;
            return self.tangle(closed.key);
        };
        self.meet(closed.key, address);
        let (ends, horizon, waits) = self.age();
        let story = self.story(address, closed.key);
        story.age(ends, horizon, waits);
        story.closed(closed);
        story.heard_of = story.heard_of.max(now);
        self.open.remove(&address);
    }

    /// A key is told with an address by somebody who did not see it begin.
    fn meet(&mut self, key: FlowKey, address: IpAddr) {
        let before = self.current.insert(key, address);
        if let Some(before) = before.filter(|before| *before != address) {
            if let Some(before) = self.stories.get_mut(&before) {
                before.is_tangled = true;
            }
            self.story(address, key).is_tangled = true;
        }
    }

    /// Something was told of a key that names no address, so that what was and will be told of it
    /// may be anything.
    fn tangle(&mut self, key: FlowKey) {
        if let Some(story) = self.story_of(key) {
            story.is_tangled = true;
        }
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        self.current.insert(key, unspecified);
        self.story(unspecified, key).is_tangled = true;
    }

    fn story(&mut self, address: IpAddr, key: FlowKey) -> &mut Story {
        let story = self
            .stories
            .entry(address)
            .or_insert_with(|| Story::new(key));
        story.is_tangled |= story.key != key;
        story
    }

    fn story_of(&mut self, key: FlowKey) -> Option<&mut Story> {
        let address = self.current.get(&key)?;
        self.stories.get_mut(address)
    }

    fn gone(&mut self, keys: &[ProcessKey], now: Mono) {
        self.gone.extend(keys);
        for story in self.stories.values_mut() {
            let only = story.only_owner();
            if story.is_open && only.is_some_and(|only| keys.contains(&only)) {
                story.gone_since = story.gone_since.or(Some(now));
            }
        }
    }

    fn swept(&mut self, before: Mono, alive: &[FlowKey], now: Mono) {
        let due = now.plus_ns(self.config.identity_wait_ns);
        for (address, story) in &mut self.stories {
            let is_listed = alive.contains(&story.key);
            if is_listed || story.earliest().is_none_or(|at| at >= before) {
                continue;
            }
            story.may.swept = true;
            if story.is_open && story.opened_at < before && story.is_plain() {
                story.must_close = Some((due, story.closes));
                story.is_open = false;
                self.open.remove(address);
            }
        }
    }

    fn unwatched(&mut self, before: Mono, now: Mono) {
        let due = now.plus_ns(self.config.identity_wait_ns);
        for (address, story) in &mut self.stories {
            if story.earliest().is_none_or(|at| at >= before) {
                continue;
            }
            story.may.unwatched = true;
            if story.is_open && story.opened_at < before && story.is_plain() {
                story.must_close = Some((due, story.closes));
                story.is_open = false;
                self.open.remove(address);
            }
        }
    }
}

/// What records say.
impl Books {
    fn connection(&mut self, connection: &Connection) -> Result<(), String> {
        let id = connection.id;
        if id.epoch != self.epoch || id.ordinal == 0 {
            return Err(format!("an id that cannot be in epoch {}", self.epoch));
        }
        if !self.notices.is_plausible(connection.at) {
            return Err("its time is one that no clock ever showed".to_owned());
        }
        self.people.check(connection)?;
        self.series
            .entry(id.ordinal)
            .or_default()
            .record(connection)?;
        if let Phase::Close(ending) = connection.phase {
            self.closes += 1;
            self.forced_closes += u64::from(is_forced(ending.outcome));
            self.check_right_to(ending.outcome, connection)?;
        }
        let live_max = self.config.flows_max + self.config.flows_max / 8 + 1;
        if self.series.len() as u64 - self.closes > live_max as u64 {
            return Err("more flows live than the table has room for".to_owned());
        }
        match connection.remote.address {
            Some(address) => self.connection_to(address, connection),
            None => {
                self.ends_nowhere += u64::from(matches!(connection.phase, Phase::Close(_)));
                Ok(())
            }
        }
    }

    fn connection_to(&mut self, address: IpAddr, connection: &Connection) -> Result<(), String> {
        let Some(story) = self.stories.get_mut(&address) else {
            return Err("nobody told of this address".to_owned());
        };
        story.record(connection)?;
        let Phase::Close(ending) = connection.phase else {
            return Ok(());
        };
        if is_forced(ending.outcome) {
            self.open.remove(&address);
            let limit_ns = silence_ns(&self.config, ending.outcome);
            story.check_silence(connection.at.mono, limit_ns)?;
        }
        let none_is_evicted = self.current.len() < self.config.flows_max;
        if self.config.identity_wait_ns == 0 || none_is_evicted {
            story.check_name(connection)?;
        }
        Ok(())
    }

    fn check_right_to(&self, outcome: Outcome, connection: &Connection) -> Result<(), String> {
        let is_right = match outcome {
            Outcome::Evicted => self.current.len() >= self.config.flows_max.min(2),
            Outcome::Idle => {
                self.config.datagram_idle_ns > 0 && connection.protocol != Protocol::Tcp
            }
            Outcome::AgedOut => self.config.age_max_ns > 0,
            Outcome::ProcessGone => self.owner_is_gone(connection),
            Outcome::Closed
            | Outcome::Reset
            | Outcome::Refused
            | Outcome::TimedOut
            | Outcome::Unreachable
            | Outcome::Aborted
            | Outcome::Failed
            | Outcome::Reaped
            | Outcome::Unknown
            | Outcome::Superseded
            | Outcome::Unwatched => true,
        };
        // A sensor may say of a flow whatever it likes.
        match is_right || self.outcomes.contains(&outcome) {
            true => Ok(()),
            false => Err(format!("{outcome:?} is not for this table to say")),
        }
    }

    fn owner_is_gone(&self, connection: &Connection) -> bool {
        let owner = connection.process.as_ref();
        owner.is_some_and(|owner| self.gone.contains(&owner.key))
    }
}

/// What must be done in time.
impl Books {
    fn check_closed(story: &Story, now: Mono) -> Result<(), String> {
        match story.must_close {
            Some((due, closes)) if due < now && story.closes <= closes && story.is_plain() => {
                Err("it should have been closed".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Flows that ended or were given up so far. The table may have given up some whose records
    /// wait.
    fn ends(&self) -> Ends {
        Ends {
            told: self.closes_told,
            given_up: self.forced_closes.max(self.given_up),
        }
    }

    /// How many flows ended, after how many more the table may have forgotten one, and whether
    /// records wait.
    fn age(&self) -> (Ends, u64, bool) {
        let remembered = self.config.flows_max as u64 / 8;
        (self.ends(), remembered, self.config.identity_wait_ns > 0)
    }
}

/// Whether what should be told of an open story by now is told, or has waited for no longer than
/// records may.
fn check_in_time(
    config: &Config,
    story: &mut Story,
    slept: &[(Mono, u64)],
    now: Mono,
) -> Result<(), String> {
    if !story.is_plain() || !story.is_open {
        return Ok(());
    }
    let told_by = story.opened_now.plus_ns(config.open_delay_ns);
    let untold = story.records == 0 && told_by < now;
    let wait_ns = config.identity_wait_ns;
    let reasons = [
        (untold.then_some("its open was not told in time"), wait_ns),
        (overstays(config, story, slept, now), wait_ns + PUT_OFF_NS),
    ];
    for (since, (reason, wait_ns)) in story.overdue.iter_mut().zip(reasons) {
        let Some(reason) = reason else {
            *since = None;
            continue;
        };
        let first = *since.get_or_insert(now);
        if wait_ns == 0 || first.plus_ns(wait_ns) < now {
            return Err(reason.to_owned());
        }
    }
    Books::check_closed(story, now)
}

/// Why the flow should have been given up, if it should. Time asleep is no silence.
fn overstays(
    config: &Config,
    story: &Story,
    slept: &[(Mono, u64)],
    now: Mono,
) -> Option<&'static str> {
    let late = |since: Mono, limit_ns: u64| {
        let asleep = slept.iter().filter(|(woke, _)| *woke >= since);
        let asleep_ns = asleep.fold(0, |sum: u64, (_, ns)| sum.saturating_add(*ns));
        let patience_ns = (limit_ns + limit_ns / 8 + 1).saturating_add(asleep_ns);
        since.plus_ns(patience_ns) < now
    };
    let is_idle = config.datagram_idle_ns > 0 && story.is_datagrams;
    let gone_since = story.gone_since.map(|since| since.max(story.heard_of));
    if config.age_max_ns > 0 && late(story.heard_of, config.age_max_ns) {
        Some("it should have aged out")
    } else if is_idle && late(story.heard_of, config.datagram_idle_ns) {
        Some("it should have been closed as idle")
    } else if gone_since.is_some_and(|since| late(since, config.gone_grace_ns)) {
        Some("its process is gone, and it lives")
    } else {
        None
    }
}

/// A look for silent flows that is long overdue waits so long, once, for somebody to say that the
/// machine slept.
const PUT_OFF_NS: u64 = 5_000_000_000;

/// How long a flow must be silent to be given up so; zero where that does not matter.
fn silence_ns(config: &Config, outcome: Outcome) -> u64 {
    match outcome {
        Outcome::ProcessGone => config.gone_grace_ns,
        Outcome::AgedOut => config.age_max_ns,
        Outcome::Idle => config.datagram_idle_ns,
        Outcome::Closed
        | Outcome::Reset
        | Outcome::Refused
        | Outcome::TimedOut
        | Outcome::Unreachable
        | Outcome::Aborted
        | Outcome::Failed
        | Outcome::Reaped
        | Outcome::Evicted
        | Outcome::Superseded
        | Outcome::Unknown
        | Outcome::Unwatched => 0,
    }
}

/// Flows whose end nobody saw.
fn given_up(counters: &Counters) -> u64 {
    counters.reaped
        + counters.evicted
        + counters.superseded
        + counters.process_gone
        + counters.aged_out
        + counters.idle
        + counters.unwatched
}
