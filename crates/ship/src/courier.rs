//! What is read and sent when: one courier for each destination.
//!
//! A courier does nothing itself. It says what is to be read ([`Courier::wants`]), takes what was
//! cut of it ([`Courier::cut`]), says what may be sent ([`Courier::to_send`]), and takes the
//! answers, late, twice or in any order. It has no clock: time is an argument, and its dice come
//! from a seed.
//!
//! # What it keeps
//!
//! Of each trail it keeps **stretches**, which are still to be read, and **plans**, which are the
//! ranges of batches that were cut and are not acknowledged. Whatever is in neither is done:
//! acknowledged, or declared. The last stretch of a trail has no end; there new records come.
//! When it falls behind it is cut in two at the newest record: what is new is read at once, and
//! what is behind drains beside it, the oldest first, with the room that new records leave, and
//! with one of the places under way at least, where there are several.
//!
//! # What its caller must do, and in which order
//!
//! 1. Make notices of [`Courier::take_notices`] durable.
//! 2. Make [`Courier::saved`] durable, whenever [`Courier::version`] is another one.
//! 3. Only then send.
//!
//! So a plan is known before its bytes go anywhere. After a crash the same range is cut again, with
//! the same head, into the same bytes, and what was declared is not forgotten.

mod backoff;
#[cfg(test)]
mod model;
mod saved;

pub use saved::{Saved, SavedError, SavedPlan, SavedStretch, SavedTrail};

use crate::{Answer, Guarantee, LeftOut};
use backoff::Backoff;
use record::{
    DeliveryState, EndpointId, Mono, NoticeKind, RecordId, Undelivered, UndeliveredCause,
};
use std::collections::BTreeMap;
use trail::{Head, Source};

/// What a courier must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The destination's name.
    pub destination: String,
    /// What its answers are worth.
    pub guarantee: Guarantee,
    /// Batches under way at once, at most; at least one.
    pub in_flight_max: usize,
    /// New records are read first when more than so many wait.
    pub jump_records: u64,
    /// The first wait after a failure, in nanoseconds.
    pub retry_min_ns: u64,
    /// The longest wait after a failure, in nanoseconds.
    pub retry_max_ns: u64,
    /// The trail into which notices about undelivered records go: what is not delivered of that is
    /// counted and not declared, or each notice would bring another.
    pub own: Option<Source>,
}

/// Names something that is still to be read, until it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StretchId(u64);

/// Names a batch that was cut, until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlanId(u64);

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Go on with this stretch until one batch is cut, or its end is reached.
    Stretch(Stretch),
    /// The bytes of this plan once more: exactly its range.
    Again(PlanId, Plan),
}

/// Something that is still to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its name.
    pub id: StretchId,
    /// Of which trail.
    pub source: Source,
    /// The first record of it. Epoch 0 is before all.
    pub from: RecordId,
    /// The first record after it; `None` where it has no end.
    pub until: Option<RecordId>,
}

/// The range of a batch that is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of which trail.
    pub source: Source,
    /// The epoch.
    pub epoch: u64,
    /// The first sequence.
    pub first: u64,
    /// The last sequence.
    pub last: u64,
    /// What its manifest says of the chain.
    pub head: Option<Head>,
    state: PlanState,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PlanState {
    /// Records that are sent and left out; unknown until the bytes are there.
    cut: Option<(u64, LeftOut)>,
    in_flight: bool,
    is_new: bool,
    tries: u64,
    /// It was refused, when so many had been accepted.
    refused_at: Option<u64>,
}

/// What a courier has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records delivered.
    pub records: u64,
    /// Batches delivered.
    pub batches: u64,
    /// Batches that were tried again.
    pub retries: u64,
    /// Records that were accounted for and not sent.
    pub left_out: LeftOut,
    /// Records that may have arrived or not; those of the shipper's own trail among them.
    pub unknown: u64,
}

/// Decides what is read and sent when.
#[derive(Debug)]
pub struct Courier {
    settings: Settings,
    endpoint: EndpointId,
    stretches: Vec<Stretch>,
    plans: BTreeMap<PlanId, Plan>,
    heads: BTreeMap<Source, RecordId>,
    next_id: u64,
    version: u64,
    backoff: Backoff,
    paused: bool,
    /// Batches that were accepted since the start.
    accepted: u64,
    misconfigured: bool,
    problem: Option<String>,
    counts: Counts,
    notices: Vec<NoticeKind>,
}

/// Stretches of one destination that have an end, at most. Beyond, what is new waits for what is
/// old.
const GAPS_MAX: usize = 32;

/// Plans of one destination at most: halves of refused batches among them.
const PLANS_MAX: usize = 64;

/// Of one answer that names what it refuses, so many are declared one by one.
const REFUSED_RUNS_MAX: usize = 32;

impl Courier {
    /// Goes on from what was saved.
    pub fn new(settings: Settings, saved: Saved, seed: u64) -> Courier {
        let backoff = Backoff::new(settings.retry_min_ns, settings.retry_max_ns, seed);
        let mut courier = Courier {
            settings,
            endpoint: saved.endpoint,
            stretches: Vec::new(),
            plans: BTreeMap::new(),
            heads: BTreeMap::new(),
            next_id: 0,
            version: 0,
            backoff,
            paused: false,
            accepted: 0,
            misconfigured: false,
            problem: None,
            counts: Counts::default(),
            notices: Vec::new(),
        };
        for trail in saved.trails {
            let source = trail.source();
            for stretch in &trail.stretches {
                courier.stretch(&source, stretch.from(), stretch.until());
            }
            for plan in &trail.plans {
                courier.plan(plan.plan(&source));
            }
        }
        courier
    }

    /// What must be there after a crash.
    pub fn saved(&self) -> Saved {
        Saved::new(self.endpoint, &self.stretches, self.plans.values())
    }

    /// Another one whenever [`Courier::saved`] may be another one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The machine whose trails these are.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// Tells that a trail is there, and which is its newest record that can be read. One that was
    /// not known is read from its oldest record on.
    pub fn head(&mut self, source: &Source, newest: RecordId) {
        if !self.stretches.iter().any(|it| it.is_open_of(source)) {
            let start = RecordId {
                epoch: 0,
                sequence: 0,
            };
            self.stretch(source, start, None);
        }
        self.heads.insert(source.clone(), newest);
    }

    /// Whether it came further than a trail goes whose newest record this is: then the trail was
    /// set back. Within an epoch a trail may be behind for a while, as after a power cut.
    pub fn is_beyond(&self, source: &Source, newest: RecordId) -> bool {
        let mut stretches = self.stretches.iter();
        stretches.any(|it| it.is_open_of(source) && it.from.epoch > newest.epoch)
    }

    /// Another machine recorded what is in this trail now, or it was set back: whatever was known
    /// of it is void, and it is read from its oldest record on.
    pub fn start_over(&mut self, source: &Source, endpoint: EndpointId) {
        self.endpoint = endpoint;
        self.stretches.retain(|it| it.source != *source);
        self.plans.retain(|_, plan| plan.source != *source);
        let newest = self.heads.remove(source);
        self.version += 1;
        if let Some(newest) = newest {
            self.head(source, newest);
        }
    }

    /// Holds everything back, or no longer.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What is to be read now, the most urgent first.
    pub fn wants(&mut self, now: Mono) -> Vec<Want> {
        if self.paused || self.backoff.is_failing() && now < self.backoff.until() {
            return Vec::new();
        }
        self.jump();
        let mut wants: Vec<Want> = self.wants_again();
        let room = self.room();
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        for stretch in &self.stretches {
            match stretch.until {
                None if self.has_more(stretch) => open.push(stretch.clone()),
                None => {}
                Some(_) => closed.push(stretch.clone()),
            }
        }
        closed.sort_by_key(|it| it.from);
        // One place is kept for what is new, where there is more than one, and one for what is
        // behind, which would starve where small new batches come as fast as they are answered.
        let reserve = usize::from(self.settings.in_flight_max > 1);
        let starves = !closed.is_empty() && !self.plans.values().any(Plan::drains);
        let for_old = if starves { reserve.min(room) } else { 0 };
        let open = open.into_iter().take(room - for_old);
        wants.extend(open.map(Want::Stretch));
        let closed_room = room.saturating_sub(reserve).max(for_old);
        let closed = closed.into_iter().take(closed_room);
        wants.extend(closed.map(Want::Stretch));
        wants
    }

    /// The next records of a stretch became a batch: `sent` of them are sent.
    pub fn cut(&mut self, id: StretchId, cut: &crate::Cut) -> PlanId {
        let next = RecordId {
            epoch: cut.epoch,
            sequence: cut.last + 1,
        };
        let is_new = self.is_open(id);
        let source = self.move_on(id, next);
        let plan = Plan {
            source,
            epoch: cut.epoch,
            first: cut.first,
            last: cut.last,
            head: cut.head,
            state: PlanState {
                cut: Some((cut.items.len() as u64, cut.left_out)),
                is_new,
                ..PlanState::default()
            },
        };
        self.plan(plan)
    }

    /// The next sequences of a stretch cannot be read.
    pub fn missing(&mut self, id: StretchId, missing: &crate::FoundMissing) {
        let next = RecordId {
            epoch: missing.epoch,
            sequence: missing.last.saturating_add(1),
        };
        let source = self.move_on(id, next);
        let lost = Lost {
            source: &source,
            epoch: missing.epoch,
            range: (missing.first, missing.last),
            records: missing.records,
        };
        self.declare(&lost, missing.cause, &missing.reason);
        self.counts.left_out.missing += missing.records.unwrap_or(0);
    }

    /// A stretch that has an end was read to it.
    pub fn finished(&mut self, id: StretchId) {
        self.stretches
            .retain(|it| it.id != id || it.until.is_none());
        self.version += 1;
    }

    /// The bytes of a plan are there again.
    pub fn rebuilt(&mut self, id: PlanId, cut: &crate::Cut) {
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.state.cut = Some((cut.items.len() as u64, cut.left_out));
        }
    }

    /// The range of a plan cannot be read as it was any more: what is left of it is read anew.
    pub fn dissolve(&mut self, id: PlanId) {
        if let Some(plan) = self.plans.remove(&id) {
            let at = |sequence: u64| RecordId {
                epoch: plan.epoch,
                sequence,
            };
            self.stretch(&plan.source, at(plan.first), Some(at(plan.last + 1)));
        }
    }

    /// Which plans may be sent now, the most urgent first. State must be saved before.
    pub fn to_send(&self, now: Mono) -> Vec<PlanId> {
        if self.paused || now < self.backoff.until() {
            return Vec::new();
        }
        let in_flight = self.plans.values().filter(|it| it.state.in_flight).count();
        // One alone finds out whether a destination that failed is there again.
        let most = if self.backoff.is_failing() {
            1
        } else {
            self.settings.in_flight_max
        };
        let mut ready: Vec<(&PlanId, &Plan)> = self.plans.iter().collect();
        ready.retain(|(_, it)| it.state.cut.is_some() && !it.state.in_flight);
        ready.sort_by_key(|(id, it)| (it.state.tries, !it.state.is_new, **id));
        let ready = ready.into_iter().take(most.saturating_sub(in_flight));
        ready.map(|(id, _)| *id).collect()
    }

    /// A plan is on its way.
    pub fn sent(&mut self, id: PlanId) {
        if let Some(plan) = self.plans.get_mut(&id) {
            plan.state.in_flight = true;
            self.counts.retries += u64::from(plan.state.tries > 0);
            plan.state.tries += 1;
        }
    }

    /// What came of a plan; `sequences` are those of its items. Whether its record was given up,
    /// so that its bytes are to be set aside.
    pub fn answer(&mut self, id: PlanId, answer: Answer, sequences: &[u64], now: Mono) -> bool {
        let Some(plan) = self.plans.get_mut(&id) else {
            return false;
        };
        plan.state.in_flight = false;
        match answer {
            Answer::Accepted => self.accept(id, 0),
            Answer::RefusedItems(items) if items.len() < sequences.len() || items.is_empty() => {
                self.declare_items(id, &items, sequences);
                self.accept(id, items.len() as u64);
            }
            Answer::RefusedItems(items) => {
                let reason = items.into_iter().next().map_or(String::new(), |it| it.1);
                return self.refuse(id, UndeliveredCause::Refused, reason, now);
            }
            Answer::RefusedSome { count, reason } => {
                self.declare_plan(id, Some(count), UndeliveredCause::RefusedSome, &reason);
                self.accept(id, count);
            }
            Answer::Refused { reason } => {
                return self.refuse(id, UndeliveredCause::Refused, reason, now);
            }
            Answer::TooLarge { reason } => {
                return self.refuse(id, UndeliveredCause::TooLarge, reason, now);
            }
            Answer::Again { after, reason } => {
                self.misconfigured = false;
                self.problem = Some(reason);
                self.backoff.fail(after, now);
            }
            Answer::Misconfigured { reason } => {
                self.misconfigured = true;
                self.problem = Some(reason);
                self.backoff.fail_long(now);
            }
            Answer::Unknown { reason } => self.give_up_as_unknown(id, &reason, now),
        }
        false
    }

    /// When something may be sent or read again that may not now; `None` where nothing waits for
    /// time.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.backoff.is_failing().then(|| self.backoff.until())
    }

    /// What is to be declared, to be made durable before the state is saved.
    pub fn take_notices(&mut self) -> Vec<NoticeKind> {
        std::mem::take(&mut self.notices)
    }

    /// What was done since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How it goes, and what is wrong.
    pub fn state(&self) -> (DeliveryState, Option<&str>) {
        let state = if self.paused {
            DeliveryState::Paused
        } else if self.misconfigured {
            DeliveryState::Misconfigured
        } else if self.backoff.is_failing() {
            DeliveryState::Waiting
        } else {
            DeliveryState::Delivering
        };
        (state, self.problem.as_deref())
    }

    /// Nothing is left to read or to be answered, as far as it was told.
    pub fn is_done(&self) -> bool {
        let is_read = |it: &Stretch| it.until.is_none() && !self.has_more(it);
        self.plans.is_empty() && self.stretches.iter().all(is_read)
    }

    /// This plan is neither acknowledged nor declared: its bytes may be wanted again.
    pub fn holds(&self, id: PlanId) -> bool {
        self.plans.contains_key(&id)
    }

    /// This stretch is still to be read.
    pub fn has_stretch(&self, id: StretchId) -> bool {
        self.stretches.iter().any(|it| it.id == id)
    }

    /// Nothing is under way, and nothing is left to read but what comes at the end of a trail.
    pub fn is_idle(&self) -> bool {
        self.plans.is_empty() && self.stretches.iter().all(|it| it.until.is_none())
    }

    /// How many batches are neither acknowledged nor declared.
    pub fn planned(&self) -> usize {
        self.plans.len()
    }

    /// Records that are still to be delivered; `None` where an epoch ends in between, whose length
    /// is not known here.
    pub fn lag_records(&self) -> Option<u64> {
        let plans = self.plans.values();
        let planned: u64 = plans.map(|it| it.last - it.first + 1).sum();
        let mut lag = planned;
        for stretch in &self.stretches {
            let end = match stretch.until {
                Some(until) => until,
                None => after(*self.heads.get(&stretch.source)?),
            };
            if end.epoch == stretch.from.epoch {
                lag += end.sequence.saturating_sub(stretch.from.sequence);
            } else if end.epoch > stretch.from.epoch {
                return None;
            }
        }
        Some(lag)
    }

    /// Of each trail that has any, the first sequence that is neither acknowledged nor declared;
    /// epoch 0 is before all. `None` where it was not told how far a trail goes.
    pub fn waiting(&self) -> Option<BTreeMap<Source, RecordId>> {
        let plans = self.plans.values().map(|it| {
            let first = RecordId {
                epoch: it.epoch,
                sequence: it.first,
            };
            (&it.source, first)
        });
        let is_known = |it: &Stretch| it.until.is_some() || self.heads.contains_key(&it.source);
        if self.stretches.is_empty() || !self.stretches.iter().all(is_known) {
            return None;
        }
        let stretches = self.stretches.iter();
        let unread = stretches.filter(|it| it.until.is_some() || self.has_more(it));
        let mut waiting: BTreeMap<Source, RecordId> = BTreeMap::new();
        for (source, from) in plans.chain(unread.map(|it| (&it.source, it.from))) {
            let first = waiting.entry(source.clone()).or_insert(from);
            *first = from.min(*first);
        }
        Some(waiting)
    }

    fn wants_again(&self) -> Vec<Want> {
        let held = |it: &&Plan| it.state.cut.is_some() && it.state.refused_at.is_none();
        let held = self.plans.values().filter(held).count();
        // Halves of what was refused must always find their turn: one of them that is accepted
        // shows that the fault is in the others.
        let room = self.settings.in_flight_max.saturating_sub(held).max(1);
        let bare = self.plans.iter().filter(|(_, it)| it.state.cut.is_none());
        bare.take(room)
            .map(|(id, plan)| Want::Again(*id, plan.clone()))
            .collect()
    }

    /// How many batches more may be cut. What was refused does not keep others from being tried.
    fn room(&self) -> usize {
        let refused = |it: &&Plan| it.state.refused_at.is_some();
        let refused = self.plans.values().filter(refused).count();
        let busy = self.plans.len() - refused;
        let room = self.settings.in_flight_max.saturating_sub(busy);
        room.min((PLANS_MAX / 2).saturating_sub(self.plans.len()))
    }

    fn has_more(&self, stretch: &Stretch) -> bool {
        let newest = self.heads.get(&stretch.source);
        newest.is_some_and(|newest| *newest >= stretch.from)
    }

    fn is_open(&self, id: StretchId) -> bool {
        let mut stretches = self.stretches.iter();
        stretches.any(|it| it.id == id && it.until.is_none())
    }

    /// Leaves what is behind to drain beside what is new.
    fn jump(&mut self) {
        let heads: Vec<(Source, RecordId)> = self
            .heads
            .iter()
            .map(|(source, newest)| (source.clone(), *newest))
            .collect();
        for (source, newest) in heads {
            let gaps = self.stretches.iter().filter(|it| it.until.is_some());
            let has_room = gaps.count() < GAPS_MAX;
            let jump_records = self.settings.jump_records;
            let open = self.stretches.iter_mut();
            let Some(open) = open.into_iter().find(|it| it.is_open_of(&source)) else {
                continue;
            };
            if !has_room || !is_far_behind(open.from, newest, jump_records) {
                continue;
            }
            open.until = Some(after(newest));
            self.stretch(&source, after(newest), None);
        }
    }

    fn stretch(&mut self, source: &Source, from: RecordId, until: Option<RecordId>) {
        let id = StretchId(self.fresh_id());
        self.stretches.push(Stretch {
            id,
            source: source.clone(),
            from,
            until,
        });
    }

    fn plan(&mut self, plan: Plan) -> PlanId {
        let id = PlanId(self.fresh_id());
        self.plans.insert(id, plan);
        id
    }

    fn fresh_id(&mut self) -> u64 {
        self.version += 1;
        self.next_id += 1;
        self.next_id
    }

    /// A stretch begins at `next` now; it is gone where that is its end.
    fn move_on(&mut self, id: StretchId, next: RecordId) -> Source {
        self.version += 1;
        let index = self.stretches.iter().position(|it| it.id == id);
        let index = index.expect("a stretch is there until it was read to its end");
        let stretch = &mut self.stretches[index];
        stretch.from = next.max(stretch.from);
        let source = stretch.source.clone();
        if stretch.until.is_some_and(|until| stretch.from >= until) {
            self.stretches.remove(index);
        }
        source
    }

    fn accept(&mut self, id: PlanId, refused: u64) {
        self.version += 1;
        let Some(plan) = self.plans.remove(&id) else {
            return;
        };
        let (sent, left_out) = plan.state.cut.unwrap_or_default();
        self.accepted += 1;
        self.misconfigured = false;
        self.problem = None;
        self.backoff.succeed();
        self.counts.batches += 1;
        self.counts.records += sent.saturating_sub(refused);
        self.counts.left_out += left_out;
        self.counts.left_out.refused += refused;
    }

    /// Something in the batch is at fault: it is looked for by halves. One record alone is given
    /// up only when something else was accepted since: where nothing is, the fault is not in it.
    fn refuse(&mut self, id: PlanId, cause: UndeliveredCause, reason: String, now: Mono) -> bool {
        let has_room = self.plans.len() < PLANS_MAX;
        let accepted = self.accepted;
        let Some(plan) = self.plans.get_mut(&id) else {
            return false;
        };
        let refused_at = *plan.state.refused_at.get_or_insert(accepted);
        let is_one = plan.first == plan.last;
        if is_one && accepted > refused_at {
            self.declare_plan(id, Some(1), cause, &reason);
            self.counts.left_out.refused += 1;
            self.plans.remove(&id);
            self.version += 1;
            return true;
        }
        if !is_one && has_room {
            self.split(id);
        }
        if accepted == refused_at {
            self.misconfigured = true;
            self.problem = Some(reason);
            self.backoff.fail(None, now);
        }
        false
    }

    fn split(&mut self, id: PlanId) {
        let Some(plan) = self.plans.remove(&id) else {
            return;
        };
        let middle = plan.first + (plan.last - plan.first) / 2;
        let state = PlanState {
            refused_at: plan.state.refused_at,
            is_new: plan.state.is_new,
            ..PlanState::default()
        };
        let head = plan.head.filter(|head| head.sequence <= middle);
        self.plan(Plan {
            last: middle,
            head,
            state: state.clone(),
            ..plan.clone()
        });
        self.plan(Plan {
            first: middle + 1,
            state,
            ..plan
        });
    }

    fn give_up_as_unknown(&mut self, id: PlanId, reason: &str, now: Mono) {
        let plan = self.plans.get(&id);
        let sent = plan.and_then(|it| it.state.cut).map(|it| it.0);
        self.declare_plan(id, sent, UndeliveredCause::Unknown, reason);
        self.plans.remove(&id);
        self.version += 1;
        self.counts.unknown += sent.unwrap_or(0);
        self.problem = Some(reason.to_owned());
        self.backoff.fail(None, now);
    }

    fn declare_plan(
        &mut self,
        id: PlanId,
        records: Option<u64>,
        cause: UndeliveredCause,
        reason: &str,
    ) {
        let Some(plan) = self.plans.get(&id) else {
            return;
        };
        let (source, epoch) = (plan.source.clone(), plan.epoch);
        let lost = Lost {
            source: &source,
            epoch,
            range: (plan.first, plan.last),
            records,
        };
        self.declare(&lost, cause, reason);
    }

    /// Neighbours that are refused for the same reason are declared together.
    fn declare_items(&mut self, id: PlanId, items: &[(usize, String)], sequences: &[u64]) {
        let mut runs: Vec<(u64, u64, &str)> = Vec::new();
        for (index, reason) in items {
            let Some(sequence) = sequences.get(*index).copied() else {
                continue;
            };
            match runs.last_mut() {
                Some((_, last, known)) if *last + 1 == sequence && known == reason => {
                    *last = sequence;
                }
                Some(_) | None => runs.push((sequence, sequence, reason)),
            }
        }
        let cause = UndeliveredCause::Refused;
        if runs.len() > REFUSED_RUNS_MAX {
            let reason = runs[0].2.to_owned();
            let count = items.len() as u64;
            return self.declare_plan(id, Some(count), UndeliveredCause::RefusedSome, &reason);
        }
        let Some(plan) = self.plans.get(&id) else {
            return;
        };
        let (source, epoch) = (plan.source.clone(), plan.epoch);
        for (first, last, reason) in runs {
            let lost = Lost {
                source: &source,
                epoch,
                range: (first, last),
                records: Some(last - first + 1),
            };
            self.declare(&lost, cause, reason);
        }
    }

    fn declare(&mut self, lost: &Lost<'_>, cause: UndeliveredCause, reason: &str) {
        if self.settings.own.as_ref() == Some(lost.source) {
            return;
        }
        self.notices.push(NoticeKind::Undelivered(Undelivered {
            destination: self.settings.destination.clone(),
            source: lost.source.name().map(str::to_owned),
            epoch: lost.epoch,
            first_sequence: lost.range.0,
            last_sequence: lost.range.1,
            records: lost.records,
            cause,
            reason: shortened(reason),
        }));
    }
}

struct Lost<'a> {
    source: &'a Source,
    epoch: u64,
    range: (u64, u64),
    records: Option<u64>,
}

impl Stretch {
    fn is_open_of(&self, source: &Source) -> bool {
        self.until.is_none() && self.source == *source
    }
}

impl Plan {
    /// It is of what is behind, and holds a place of those under way.
    fn drains(&self) -> bool {
        !self.state.is_new && self.state.refused_at.is_none()
    }

    pub(crate) fn planned(
        source: &Source,
        epoch: u64,
        range: (u64, u64),
        head: Option<Head>,
    ) -> Plan {
        Plan {
            source: source.clone(),
            epoch,
            first: range.0,
            last: range.1,
            head,
            state: PlanState::default(),
        }
    }
}

/// An epoch that is over is behind when the one after it has come far, or when another lies in
/// between: how long it is, nobody knows without reading it.
fn is_far_behind(from: RecordId, newest: RecordId, jump_records: u64) -> bool {
    if from.epoch == newest.epoch {
        return after(newest).sequence.saturating_sub(from.sequence) > jump_records;
    }
    newest.epoch > from.epoch + 1 || newest.epoch > from.epoch && newest.sequence > jump_records
}

fn after(id: RecordId) -> RecordId {
    RecordId {
        sequence: id.sequence.saturating_add(1),
        ..id
    }
}

/// A destination may say as much as it likes.
fn shortened(reason: &str) -> String {
    const CHARS_MAX: usize = 400;
    let mut text: String = reason.chars().take(CHARS_MAX).collect();
    if text.len() < reason.len() {
        text.push('…');
    }
    text
}
