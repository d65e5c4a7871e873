//! What was told of one connection, and what was recorded of it.
//!
//! A connection is known by its remote address, which no other connection of a simulated machine
//! has. Where the events themselves mix it up with another one, nobody can say what its records
//! should be, and only what holds of every record is asked of them.

use super::series::counts;
use flow::{Closed, FlowKey, Opened, Owner};
use record::{ByteQuality, Connection, Ending, IdentitySource, Mono, Outcome, Phase};
use record::{Hostname, ProcessKey, Protocol};
use std::collections::BTreeSet;

type Counts = [Option<u64>; 4];

/// One connection.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) key: FlowKey,
    /// It was told of under several keys, or its key was told with other addresses.
    pub(super) is_tangled: bool,
    /// It was opened, and nothing told or recorded since has ended it.
    pub(super) is_open: bool,
    /// When it was opened, by the clock of the table, and by the sensor's.
    pub(super) opened_now: Mono,
    pub(super) opened_at: Mono,
    pub(super) heard_of: Mono,
    pub(super) records: u64,
    pub(super) closes: u64,
    /// A close must be recorded by then, beside so many.
    pub(super) must_close: Option<(Mono, u64)>,
    /// The ends of other flows when this one closed, and when it was last heard of.
    at_close: Option<Ends>,
    when_heard: Option<Ends>,
    /// Its ids that have records and no close.
    unclosed: BTreeSet<u64>,
    pub(super) ended_at: Option<Mono>,
    natural_closes: u64,
    forced_closes: u64,
    pub(super) closings: Vec<Closed>,
    /// The highest that was told in a way that the table cannot have missed, that it has missed
    /// only if it had given up the flow, and at all.
    sure: Counts,
    while_open: Counts,
    any: Counts,
    /// What all closes told.
    summed: Counts,
    moments: BTreeSet<Mono>,
    began: BTreeSet<Option<Mono>>,
    owners: BTreeSet<ProcessKey>,
    names: Vec<Hostname>,
    name_while_open: Option<Hostname>,
    /// What it was when the only close was told.
    name_at_close: Option<Hostname>,
    pub(super) may: Reasons,
    /// Since when its open, and its end, should have been told, or wait for a process.
    pub(super) overdue: [Option<Mono>; 2],
    /// Since when its process is gone.
    pub(super) gone_since: Option<Mono>,
    pub(super) is_datagrams: bool,
    /// Somebody said of what lives that its count is exact.
    pub(super) is_called_exact: bool,
}

/// Flows that ended so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Whose close was told.
    pub(super) told: u64,
    /// Whose end nobody saw.
    pub(super) given_up: u64,
}

/// What was told that justifies a close that nobody saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reasons {
    pub(super) swept: bool,
    pub(super) unwatched: bool,
    pub(super) superseded: bool,
}

impl Story {
    pub(super) fn new(key: FlowKey) -> Story {
        Story {
            key,
            is_tangled: false,
            is_open: false,
            opened_now: Mono(0),
            opened_at: Mono(0),
            heard_of: Mono(0),
            records: 0,
            closes: 0,
            must_close: None,
            at_close: None,
            when_heard: None,
            unclosed: BTreeSet::new(),
            ended_at: None,
            natural_closes: 0,
            forced_closes: 0,
            closings: Vec::new(),
            sure: [None; 4],
            while_open: [None; 4],
            any: [None; 4],
            summed: [None; 4],
            moments: BTreeSet::new(),
            began: BTreeSet::from([None]),
            owners: BTreeSet::new(),
            names: Vec::new(),
            name_while_open: None,
            name_at_close: None,
            may: Reasons::default(),
            overdue: [None; 2],
            gone_since: None,
            is_datagrams: false,
            is_called_exact: false,
        }
    }

    /// Whether everything can be asked of it.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_tangled
    }

    /// The earliest moment that was told of it.
    pub(super) fn earliest(&self) -> Option<Mono> {
        self.moments.first().copied()
    }

    /// Whether these totals say more than any before.
    pub(super) fn is_news(&self, told: Counts) -> bool {
        told.into_iter().zip(self.any).any(|(told, any)| told > any)
    }

    /// So many flows ended by now. Beyond `horizon` later ones the table may have forgotten this
    /// one, and what is told of it again begins anew. Where records wait, nobody knows yet that it
    /// was given up.
    pub(super) fn age(&mut self, ends: Ends, horizon: u64, records_wait: bool) {
        let closed = self
            .at_close
            .is_some_and(|it| ends.told - it.told >= horizon);
        let may_be_given_up = records_wait || self.forced_closes > 0;
        let heard = self.when_heard.replace(ends).filter(|_| may_be_given_up);
        let given_up = heard.is_some_and(|it| ends.given_up - it.given_up >= horizon);
        self.is_tangled |= closed || given_up;
    }

    /// Its only close has the name that was told while it was open.
    pub(super) fn check_name(&self, connection: &Connection) -> Result<(), String> {
        match self.name_due() {
            Some(name) if connection.hostname.as_ref() != Some(name) => {
                Err(format!("it was named {name:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn seen(&mut self, opened: &Opened, now: Mono) {
        self.moments.insert(opened.at);
        self.began.insert(opened.opened);
        self.is_datagrams = opened.tuple.protocol != Protocol::Tcp;
        self.owned(opened.owner.as_ref());
        self.heard_of = self.heard_of.max(now);
    }

    /// A flow of this story begins, as far as the events say.
    pub(super) fn open(&mut self, at: Mono, now: Mono) {
        if !self.is_open {
            self.is_open = true;
            self.opened_now = now;
            self.opened_at = at;
            self.name_while_open = None;
            self.gone_since = None;
        }
    }

    pub(super) fn owned(&mut self, owner: Option<&Owner>) {
        if let Some(owner) = owner {
            self.owners.insert(owner.process);
        }
    }

    pub(super) fn only_owner(&self) -> Option<ProcessKey> {
        self.owners
            .first()
            .copied()
            .filter(|_| self.owners.len() == 1)
    }

    pub(super) fn named(&mut self, hostname: &Hostname) {
        self.names.push(hostname.clone());
        if self.is_open {
            self.name_while_open = Some(hostname.clone());
        }
    }

    /// Totals were told, and with them what the flow is, or not.
    pub(super) fn totals(&mut self, told: Counts, is_sure: bool) {
        raise(&mut self.any, told);
        if is_sure {
            raise(&mut self.sure, told);
        }
        if self.is_open {
            raise(&mut self.while_open, told);
        }
    }

    pub(super) fn closed(&mut self, closed: &Closed) {
        self.moments.insert(closed.at);
        self.began.insert(closed.opened);
        self.owned(closed.owner.as_ref());
        self.totals(counts(&closed.traffic), true);
        let name = self.name_while_open.take().filter(|_| self.is_open);
        self.at_close = self.when_heard;
        self.name_at_close = name.filter(|_| self.closings.is_empty());
        self.closings.push(*closed);
        self.ended_at = Some(self.ended_at.map_or(closed.at, |at| at.max(closed.at)));
        self.is_open = false;
    }

    pub(super) fn record(&mut self, connection: &Connection) -> Result<(), String> {
        self.records += 1;
        if let Phase::Close(ending) = connection.phase {
            self.closes += 1;
            self.unclosed.remove(&connection.id.ordinal);
            if is_forced(ending.outcome) {
                self.is_open = false;
            }
        } else {
            self.unclosed.insert(connection.id.ordinal);
        }
        if self.is_tangled {
            return Ok(());
        }
        self.check_what_it_says(connection)?;
        match connection.phase {
            Phase::Open | Phase::Update => self.check_not_too_much(connection),
            Phase::Close(ending) => self.close(connection, ending),
        }
    }

    fn check_what_it_says(&self, connection: &Connection) -> Result<(), String> {
        if !self.began.contains(&connection.opened) {
            return Err(format!(
                "nobody said that it began at {:?}",
                connection.opened
            ));
        }
        let owner = connection.process.as_ref().map(|process| process.key);
        if owner.is_some_and(|owner| !self.owners.contains(&owner)) {
            return Err(format!("nobody said that {owner:?} owns it"));
        }
        let name = connection.hostname.as_ref();
        if name.is_some_and(|name| !self.names.contains(name)) {
            return Err(format!("nobody named it {name:?}"));
        }
        if connection.phase == Phase::Open && !self.moments.contains(&connection.at.mono) {
            return Err("its open is of a moment that nobody told of".to_owned());
        }
        Ok(())
    }

    fn check_not_too_much(&self, connection: &Connection) -> Result<(), String> {
        if connection.traffic.quality == ByteQuality::Exact && !self.is_called_exact {
            return Err("the count of what lives cannot be exact".to_owned());
        }
        at_most(counts(&connection.traffic), self.any)
    }

    fn close(&mut self, connection: &Connection, ending: Ending) -> Result<(), String> {
        for (sum, count) in self.summed.iter_mut().zip(counts(&connection.traffic)) {
            *sum = match (*sum, count) {
                (None, None) => None,
                (sum, count) => Some(sum.unwrap_or(0).saturating_add(count.unwrap_or(0))),
            };
        }
        match is_forced(ending.outcome) && !self.tells(connection, ending) {
            true => self.forced(connection, ending.outcome)?,
            false => self.natural(connection, ending)?,
        }
        at_most(self.summed, self.any)
    }

    fn tells(&self, connection: &Connection, ending: Ending) -> bool {
        let is_its = |it: &Closed| it.at == connection.at.mono && it.ending == ending;
        self.closings.iter().any(is_its)
    }

    fn forced(&mut self, connection: &Connection, outcome: Outcome) -> Result<(), String> {
        self.forced_closes += 1;
        if connection.traffic.quality == ByteQuality::Exact {
            return Err("a count whose end nobody saw cannot be exact".to_owned());
        }
        let is_justified = match outcome {
            Outcome::Reaped => self.may.swept,
            Outcome::Unwatched => self.may.unwatched,
            Outcome::Superseded => self.may.superseded,
            Outcome::Evicted
            | Outcome::Idle
            | Outcome::AgedOut
            | Outcome::ProcessGone
            | Outcome::Closed
            | Outcome::Reset
            | Outcome::Refused
            | Outcome::TimedOut
            | Outcome::Unreachable
            | Outcome::Aborted
            | Outcome::Failed
            | Outcome::Unknown => true,
        };
        match is_justified {
            true => Ok(()),
            false => Err(format!("nothing was told that makes it {outcome:?}")),
        }
    }

    fn natural(&mut self, connection: &Connection, ending: Ending) -> Result<(), String> {
        self.natural_closes += 1;
        let mut told = self.closings.iter().filter(|it| {
            it.at == connection.at.mono && it.ending == ending && it.rtt_us == connection.rtt_us
        });
        let Some(closing) = told.next() else {
            return Err("nobody told of this close".to_owned());
        };
        let distinct: BTreeSet<Mono> = self.closings.iter().map(|it| it.at).collect();
        if self.natural_closes > distinct.len() as u64 {
            return Err(format!("{} closes of {distinct:?}", self.natural_closes));
        }
        if connection.traffic.quality == ByteQuality::Exact {
            let is_told = counts(&closing.traffic) == counts(&connection.traffic);
            if !is_told || closing.traffic.quality != ByteQuality::Exact {
                return Err(format!("{:?} is not what was told", connection.traffic));
            }
        }
        self.check_owner(connection, closing)
    }

    /// The last word says who, unless it only repeats whose the listener was, or somebody knew
    /// better; and a process that runs another program by now was what it was.
    fn check_owner(&self, connection: &Connection, closing: &Closed) -> Result<(), String> {
        let Some(owner) = closing.owner else {
            return Ok(());
        };
        if owner.attribution.source == IdentitySource::ListenerToken || self.closings.len() > 1 {
            return Ok(());
        }
        let process = connection.process.as_ref().map(|process| process.key);
        let is_its = process.is_some_and(|its| {
            (its.pid, its.start_ns) == (owner.process.pid, owner.process.start_ns)
        });
        let told = owner.attribution.confidence;
        let kept = connection.attribution.confidence;
        if kept < told || kept == told && !is_its {
            return Err(format!("it is {process:?}'s where {owner:?} was told"));
        }
        Ok(())
    }

    /// How many ends the table may count for it. What it closed and heard of again has one.
    pub(super) fn ends_max(&self) -> u64 {
        let told: BTreeSet<Mono> = self.closings.iter().map(|it| it.at).collect();
        match (self.is_tangled, self.closes) {
            (true, closes) => closes + self.closings.len() as u64,
            (false, 0) => told.len() as u64,
            (false, _) => told.len().max(1) as u64,
        }
    }

    /// It was given up at the moment when it had last been heard of, and `limit_ns` later at least.
    pub(super) fn check_silence(&self, at: Mono, limit_ns: u64) -> Result<(), String> {
        let is_told = self.closings.iter().any(|it| it.at == at);
        let was_heard = self.heard_of > at && self.heard_of < at.plus_ns(limit_ns);
        match was_heard && !is_told && self.is_plain() {
            true => Err(format!("it was heard of at {:?}", self.heard_of)),
            false => Ok(()),
        }
    }

    /// What must be true when all is recorded.
    pub(super) fn finish(&self) -> Result<(), String> {
        if self.is_tangled {
            return Ok(());
        }
        if self.records == 0 && (self.is_open || !self.closings.is_empty()) {
            return Err("it was told of and never recorded".to_owned());
        }
        let natural = self.natural_closes + self.forced_closes;
        if !self.closings.is_empty() && natural == 0 {
            return Err("its close was told and never recorded".to_owned());
        }
        if self.is_open || self.closes == 0 || !self.unclosed.is_empty() {
            return Ok(());
        }
        let mut least = self.sure;
        if self.forced_closes == 0 {
            raise(&mut least, self.while_open);
        }
        at_most(least, self.summed).map_err(|reason| format!("bytes were lost: {reason}"))
    }

    /// The name that its only close must have.
    fn name_due(&self) -> Option<&Hostname> {
        let is_simple = !self.is_tangled && self.forced_closes == 0;
        self.name_at_close.as_ref().filter(|_| is_simple)
    }
}

fn raise(counts: &mut Counts, told: Counts) {
    for (count, told) in counts.iter_mut().zip(told) {
        *count = (*count).max(told);
    }
}

/// A count that nobody told is no more than zero.
fn at_most(counts: Counts, most: Counts) -> Result<(), String> {
    let pairs = counts.into_iter().zip(most);
    for (count, most) in pairs {
        if count.unwrap_or(0) > most.unwrap_or(0) {
            return Err(format!("{counts:?} is more than {most:?}"));
        }
    }
    Ok(())
}

/// Whether the table itself may end a flow so.
pub(super) fn is_forced(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Evicted
        | Outcome::AgedOut
        | Outcome::Idle
        | Outcome::ProcessGone
        | Outcome::Reaped
        | Outcome::Superseded
        | Outcome::Unwatched => true,
        Outcome::Closed
        | Outcome::Reset
        | Outcome::Refused
        | Outcome::TimedOut
        | Outcome::Unreachable
        | Outcome::Aborted
        | Outcome::Failed
        | Outcome::Unknown => false,
    }
}
