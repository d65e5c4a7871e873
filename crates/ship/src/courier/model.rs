//! A courier between a trail that grows, is evicted and rewritten, and a destination that loses
//! answers, gives them late, twice or in another order, refuses, and is away for long; stopped at
//! any point, and started from what was saved last.
//!
//! The caller of the courier is here what the program is: it reads, cuts, saves, sends. What the
//! destination took, what was declared, and the bytes under each name are kept, and at the end
//! every record of the trail must be accounted for.

use super::backoff::mixed;
use super::*;
use crate::config::Filter;
use crate::{Cut, Cutter, Found, FoundMissing, FoundRecord, Limits, Taken};
use policy::Engine;
use record::{Device, Notice, Record, Stamp, Tally};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const LIMITS: Limits = Limits {
    records_max: 10,
    bytes_max: 2_000,
    range_max: 40,
};
const JUMP: u64 = 60;
const IN_FLIGHT_MAX: usize = 4;
const STEP_NS: u64 = 100_000_000;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = mixed(self.0);
        self.0 % sides
    }
}

/// One epoch after the other; what is evicted or damaged cannot be read.
struct Trail {
    device: Arc<Device>,
    epoch: u64,
    newest: u64,
    lengths: BTreeMap<u64, u64>,
    gone: BTreeSet<RecordId>,
    /// Frames were put together: fewer places where the chain is known.
    rewritten: bool,
}

impl Trail {
    /// One with nothing in it.
    fn new() -> Trail {
        Trail {
            device: Arc::new(Device::default()),
            epoch: 1,
            newest: 0,
            lengths: BTreeMap::new(),
            gone: BTreeSet::new(),
            rewritten: false,
        }
    }

    fn grow(&mut self, records: u64) {
        self.newest += records;
        self.lengths.insert(self.epoch, self.newest);
    }

    fn next_epoch(&mut self) {
        self.epoch += 1;
        self.newest = 0;
        self.grow(1);
    }

    fn newest(&self) -> RecordId {
        RecordId {
            epoch: self.epoch,
            sequence: self.newest,
        }
    }

    fn all(&self) -> impl Iterator<Item = RecordId> {
        let ids = |(epoch, length): (&u64, &u64)| {
            let epoch = *epoch;
            (1..=*length).map(move |sequence| RecordId { epoch, sequence })
        };
        self.lengths.iter().flat_map(ids)
    }

    fn poison(id: RecordId) -> bool {
        mixed(id.epoch << 32 | id.sequence).is_multiple_of(83)
    }

    fn found(&self, at: RecordId) -> Option<Found> {
        let length = *self.lengths.get(&at.epoch)?;
        if at.sequence > length {
            let next = RecordId {
                epoch: at.epoch + 1,
                sequence: 1,
            };
            return self.found(next);
        }
        if self.gone.contains(&at) {
            return Some(Found::Missing(FoundMissing {
                epoch: at.epoch,
                first: at.sequence,
                last: at.sequence,
                records: Some(1),
                cause: UndeliveredCause::Gone,
                reason: "gone".to_owned(),
            }));
        }
        let group = if self.rewritten { 16 } else { 4 };
        let head = at.sequence.is_multiple_of(group).then_some(Head {
            epoch: at.epoch,
            sequence: at.sequence,
            hash: [at.sequence as u8; 32],
        });
        let stamp = Stamp::default();
        let kind = if at.sequence == 1 {
            let previous = self.lengths.get(&(at.epoch - 1));
            let previous = previous.map(|length| record::PreviousEpoch {
                epoch: at.epoch - 1,
                last_sequence: *length,
                last_at: None,
                stopped_in_order: true,
            });
            NoticeKind::RecorderStarted { previous }
        } else {
            NoticeKind::Ledger(Tally {
                closes_made: at.sequence,
                ..Tally::default()
            })
        };
        Some(Found::Record(Box::new(FoundRecord {
            id: at,
            record: Record::Notice(Notice { at: stamp, kind }),
            device: Arc::clone(&self.device),
            bytes: 100,
            head,
        })))
    }
}

/// A batch as a destination sees it.
type Bytes = (Vec<RecordId>, Option<Head>);

#[derive(Default)]
struct World {
    took: BTreeMap<RecordId, u64>,
    names: BTreeMap<(u64, u64, u64), Bytes>,
    declared: BTreeSet<RecordId>,
    /// What would be there after a crash.
    disk: Option<Saved>,
    disk_version: u64,
    answers: VecDeque<(u64, PlanId, Answer)>,
    away_until: u64,
    /// Everything is accepted, after a while.
    is_calm: bool,
    step: u64,
    /// Steps from the writing of a record to its arrival, while the destination is there.
    delays: Vec<u64>,
    written_at: BTreeMap<RecordId, u64>,
}

struct Shipper {
    courier: Courier,
    cutters: BTreeMap<StretchId, Cutter>,
    parcels: BTreeMap<PlanId, Cut>,
    filter: Filter,
    engine: Engine,
}

impl Shipper {
    fn start(saved: Option<Saved>, seed: u64) -> Shipper {
        let settings = Settings {
            destination: "model".to_owned(),
            guarantee: Guarantee::Deduplicated,
            in_flight_max: IN_FLIGHT_MAX,
            jump_records: JUMP,
            retry_min_ns: STEP_NS,
            retry_max_ns: 20 * STEP_NS,
            own: None,
        };
        let saved = saved.map(|it| Saved::parse(&it.to_text()).unwrap());
        let saved = saved.unwrap_or(Saved::empty(EndpointId([1; 16])));
        Shipper {
            courier: Courier::new(settings, saved, seed),
            cutters: BTreeMap::new(),
            parcels: BTreeMap::new(),
            filter: Filter::default(),
            engine: Engine::default(),
        }
    }

    /// One round of the program, which a crash may end before any of its parts.
    fn round(&mut self, trail: &Trail, world: &mut World, dice: &mut Dice, crashes: bool) -> bool {
        let now = Mono(world.step * STEP_NS);
        self.courier.head(&Source::Recorder, trail.newest());
        for want in self.courier.wants(now) {
            match want {
                Want::Stretch(stretch) => self.read(&stretch, trail),
                Want::Again(id, plan) => self.read_again(id, &plan, trail),
            }
        }
        assert!(self.courier.planned() <= PLANS_MAX + 2);
        let is_crash = |dice: &mut Dice| crashes && dice.roll(40) == 0;
        if is_crash(dice) {
            return false;
        }
        for notice in self.courier.take_notices() {
            world.declare(&notice);
        }
        if world.step.is_multiple_of(97) {
            self.check_waiting(trail, world);
        }
        if is_crash(dice) {
            return false;
        }
        if self.courier.version() != world.disk_version {
            world.disk = Some(self.courier.saved());
            world.disk_version = self.courier.version();
        }
        if is_crash(dice) {
            return false;
        }
        for id in self.courier.to_send(now) {
            self.courier.sent(id);
            world.deliver(id, &self.parcels[&id], dice);
        }
        assert!(self.parcels.len() <= IN_FLIGHT_MAX + PLANS_MAX);
        let due = |answers: &VecDeque<(u64, PlanId, Answer)>, step| {
            answers.iter().position(|(at, ..)| *at <= step)
        };
        while let Some(index) = due(&world.answers, world.step) {
            let (_, id, answer) = world.answers.remove(index).unwrap();
            let items = self.parcels.get(&id).map(|it| &it.items[..]).unwrap_or(&[]);
            let sequences: Vec<u64> = items.iter().map(|it| it.id.sequence).collect();
            self.courier.answer(id, answer, &sequences, now);
            if !self.courier.holds(id) {
                self.parcels.remove(&id);
            }
        }
        !is_crash(dice)
    }

    /// Nothing before what is said to wait first is still to be delivered.
    fn check_waiting(&self, trail: &Trail, world: &World) {
        let waiting = self.courier.waiting().expect("the trail was told of");
        let first = waiting.get(&Source::Recorder).copied();
        let first = first.unwrap_or(after(trail.newest()));
        for id in trail.all().take_while(|id| *id < first) {
            let is_done = world.took.contains_key(&id) || world.declared.contains(&id);
            assert!(is_done, "{id:?} waits before {first:?}");
        }
    }

    fn read(&mut self, stretch: &Stretch, trail: &Trail) {
        let fresh = || Cutter::new(LIMITS, stretch.from);
        let cutter = self.cutters.entry(stretch.id).or_insert_with(fresh);
        loop {
            let at = cutter.next().max(RecordId {
                epoch: 1,
                sequence: 1,
            });
            let is_over = stretch.until.is_some_and(|until| at >= until);
            let found = trail.found(at).filter(|_| !is_over);
            let Some(found) = found else {
                if let Some(cut) = cutter.cut() {
                    let id = self.courier.cut(stretch.id, &cut);
                    self.parcels.insert(id, cut);
                } else if is_over {
                    self.courier.finished(stretch.id);
                }
                return;
            };
            match cutter.take(found, &self.filter, &mut self.engine) {
                Taken::Yes => {}
                Taken::Missing(missing, _) => return self.courier.missing(stretch.id, &missing),
                Taken::Full(_) => {
                    let cut = cutter.cut().unwrap();
                    let id = self.courier.cut(stretch.id, &cut);
                    self.parcels.insert(id, cut);
                    return;
                }
            }
        }
    }

    fn read_again(&mut self, id: PlanId, plan: &Plan, trail: &Trail) {
        let from = RecordId {
            epoch: plan.epoch,
            sequence: plan.first,
        };
        let mut cutter = Cutter::new(Limits::none(), from);
        while cutter.next().sequence <= plan.last {
            let found = trail.found(cutter.next()).unwrap();
            match cutter.take(found, &self.filter, &mut self.engine) {
                Taken::Yes => {}
                Taken::Missing(..) | Taken::Full(_) => return self.courier.dissolve(id),
            }
        }
        let mut cut = cutter.cut().unwrap();
        cut.head = plan.head;
        self.courier.rebuilt(id, &cut);
        self.parcels.insert(id, cut);
    }
}

impl World {
    fn declare(&mut self, notice: &NoticeKind) {
        let NoticeKind::Undelivered(lost) = notice else {
            return;
        };
        for sequence in lost.first_sequence..=lost.last_sequence {
            self.declared.insert(RecordId {
                epoch: lost.epoch,
                sequence,
            });
        }
    }

    fn deliver(&mut self, id: PlanId, cut: &Cut, dice: &mut Dice) {
        let ids: Vec<RecordId> = cut.items.iter().map(|it| it.id).collect();
        let name = (cut.epoch, cut.first, cut.last);
        let bytes = (ids.clone(), cut.head);
        let known = self.names.entry(name).or_insert_with(|| bytes.clone());
        assert_eq!(*known, bytes, "the same name for other bytes");
        let saved = self.disk.as_ref().unwrap().to_text();
        let range = format!("\"first\":{},\"last\":{}", cut.first, cut.last);
        assert!(
            saved.contains(&range),
            "{name:?} was sent before it was saved"
        );
        let answer = self.answer(&ids, dice);
        let at = self.step + dice.roll(6);
        if !self.is_calm && dice.roll(12) == 0 {
            // The answer is lost, and the attempt ends by its time limit.
            let reason = "no answer".to_owned();
            let late = Answer::Again {
                after: None,
                reason,
            };
            return self.answers.push_back((at + 10, id, late));
        }
        if dice.roll(20) == 0 {
            self.answers
                .push_back((at + dice.roll(30), id, answer.clone()));
        }
        self.answers.push_back((at, id, answer));
    }

    fn answer(&mut self, ids: &[RecordId], dice: &mut Dice) -> Answer {
        let reason = "as it happens".to_owned();
        if self.is_calm {
            self.take(ids);
            return Answer::Accepted;
        }
        if self.step < self.away_until {
            return Answer::Again {
                after: None,
                reason,
            };
        }
        if ids.iter().any(|id| Trail::poison(*id)) {
            return Answer::Refused { reason };
        }
        if ids.len() > 5 && mixed(ids[0].sequence).is_multiple_of(9) {
            return Answer::TooLarge { reason };
        }
        if ids.len() > 2 && dice.roll(60) == 0 {
            self.take(&ids[1..]);
            return Answer::RefusedItems(vec![(0, reason)]);
        }
        self.take(ids);
        Answer::Accepted
    }

    fn take(&mut self, ids: &[RecordId]) {
        for id in ids {
            *self.took.entry(*id).or_default() += 1;
            if let Some(at) = self.written_at.remove(id) {
                self.delays.push(self.step - at);
            }
        }
    }
}

fn run(seed: u64, crashes: bool) {
    let mut dice = Dice(seed);
    let mut world = World::default();
    let mut trail = Trail::new();
    trail.grow(dice.roll(300));
    let mut shipper = Shipper::start(None, seed);
    let mut starts = 0;
    for step in 0..4_000 {
        world.step = step;
        let is_busy = step < 1_000;
        if is_busy {
            disturb(&mut trail, &mut world, &mut dice);
        } else {
            world.away_until = 0;
            // One alone is given up only when another is accepted: there must be others.
            if shipper.courier.planned() > 0 && step.is_multiple_of(20) {
                trail.grow(1);
            }
        }
        if !shipper.round(&trail, &mut world, &mut dice, crashes && is_busy) {
            starts += 1;
            // Answers to a shipper that is gone reach nobody.
            world.answers.clear();
            shipper = Shipper::start(world.disk.clone(), seed ^ starts);
            world.disk_version = u64::MAX;
        }
        if !is_busy && shipper.courier.is_done() && world.answers.is_empty() {
            break;
        }
    }
    for notice in shipper.courier.take_notices() {
        world.declare(&notice);
    }
    check(seed, &trail, &world, &shipper);
}

fn disturb(trail: &mut Trail, world: &mut World, dice: &mut Dice) {
    let before = trail.newest();
    trail.grow(dice.roll(4));
    for sequence in before.sequence + 1..=trail.newest {
        let id = RecordId { sequence, ..before };
        world.written_at.insert(id, world.step);
    }
    if dice.roll(150) == 0 {
        trail.next_epoch();
    }
    if dice.roll(100) == 0 {
        world.away_until = world.step + dice.roll(150);
        world.written_at.clear();
    }
    if dice.roll(300) == 0 {
        trail.rewritten = !trail.rewritten;
    }
    if dice.roll(60) == 0 {
        let all: Vec<RecordId> = trail.all().collect();
        let start = dice.roll(all.len() as u64) as usize;
        let many = dice.roll(12) as usize;
        trail.gone.extend(all.iter().skip(start).take(many));
    }
}

fn check(seed: u64, trail: &Trail, world: &World, shipper: &Shipper) {
    assert!(shipper.courier.is_done(), "{seed}: it never ends");
    for id in trail.all() {
        let took = world.took.contains_key(&id);
        let declared = world.declared.contains(&id);
        assert!(took || declared, "{seed}: {id:?} is nowhere");
    }
    for id in &world.declared {
        let had_cause = trail.gone.contains(id)
            || Trail::poison(*id)
            || !world.took.contains_key(id)
            || world.names.values().any(|(ids, _)| ids.first() == Some(id));
        assert!(had_cause, "{seed}: {id:?} was declared without cause");
    }
}

#[test]
fn every_record_arrives_or_is_declared() {
    for seed in 0..30 {
        run(seed, false);
    }
}

#[test]
fn every_record_arrives_or_is_declared_whenever_the_shipper_dies() {
    for seed in 1_000..1_060 {
        run(seed, true);
    }
}

/// A backlog of forty times the bound, with a destination that takes a few steps to answer.
#[test]
fn what_is_new_does_not_wait_for_what_is_behind() {
    let mut dice = Dice(5);
    let mut world = World {
        is_calm: true,
        ..World::default()
    };
    let mut trail = Trail::new();
    trail.grow(40 * JUMP);
    let mut shipper = Shipper::start(None, 5);
    let mut drained = None;
    for step in 0..2_000 {
        world.step = step;
        let next = RecordId {
            epoch: 1,
            sequence: trail.newest + 1,
        };
        trail.grow(1);
        world.written_at.insert(next, step);
        assert!(shipper.round(&trail, &mut world, &mut dice, false));
        if drained.is_none() && (1..=40 * JUMP).all(|it| accounted(&world, it)) {
            drained = Some(step);
        }
    }
    let delays = &mut world.delays;
    delays.sort_unstable();
    let most = delays[delays.len() * 99 / 100];
    assert!(most <= 12, "records waited {most} steps");
    let drained = drained.expect("the backlog drains");
    // New records come one a step: the backlog of 2,400 went faster than that.
    assert!(drained < 1_600, "{drained} steps");
}

/// New records come one a step, and each answer takes so many steps that they alone keep all
/// places busy.
#[test]
fn what_is_behind_drains_though_new_records_would_take_every_place() {
    const STEPS_TO_ANSWER: u64 = 8;
    let mut shipper = Shipper::start(None, 1);
    let mut trail = Trail::new();
    trail.grow(2 * JUMP);
    let mut under_way: VecDeque<(u64, PlanId)> = VecDeque::new();
    for step in 0..400 {
        trail.grow(1);
        let now = Mono(step * STEP_NS);
        while under_way.front().is_some_and(|it| it.0 <= step) {
            let (_, id) = under_way.pop_front().unwrap();
            shipper.courier.answer(id, Answer::Accepted, &[], now);
        }
        shipper.courier.head(&Source::Recorder, trail.newest());
        for want in shipper.courier.wants(now) {
            let Want::Stretch(stretch) = want else {
                panic!("nothing is to be read again");
            };
            shipper.read(&stretch, &trail);
        }
        for id in shipper.courier.to_send(now) {
            shipper.courier.sent(id);
            under_way.push_back((step + STEPS_TO_ANSWER, id));
        }
        assert!(under_way.len() <= IN_FLIGHT_MAX);
    }
    let saved = shipper.courier.saved();
    let behind = saved.trails[0].stretches.len() - 1;
    assert_eq!(behind, 0, "{saved:?}");
}

fn accounted(world: &World, sequence: u64) -> bool {
    let id = RecordId { epoch: 1, sequence };
    world.took.contains_key(&id) || world.declared.contains(&id)
}

/// A destination that refuses everything is no reason to give anything up.
#[test]
fn where_everything_is_refused_nothing_is_given_up() {
    let mut shipper = Shipper::start(None, 1);
    let mut trail = Trail::new();
    trail.grow(200);
    let mut now = Mono(0);
    for _ in 0..5_000 {
        now = now.plus_ns(STEP_NS);
        shipper.courier.head(&Source::Recorder, trail.newest());
        for want in shipper.courier.wants(now) {
            match want {
                Want::Stretch(stretch) => shipper.read(&stretch, &trail),
                Want::Again(id, plan) => shipper.read_again(id, &plan, &trail),
            }
        }
        for id in shipper.courier.to_send(now) {
            shipper.courier.sent(id);
            let reason = "no such index".to_owned();
            let given_up = shipper
                .courier
                .answer(id, Answer::Refused { reason }, &[], now);
            assert!(!given_up);
        }
    }
    assert_eq!(shipper.courier.take_notices(), []);
    let (state, problem) = shipper.courier.state();
    assert_eq!(state, DeliveryState::Misconfigured);
    assert_eq!(problem, Some("no such index"));
    assert!(shipper.courier.planned() <= PLANS_MAX + 1);
}

#[test]
fn what_may_have_arrived_is_declared_with_its_range_and_not_sent_again() {
    let mut shipper = Shipper::start(None, 1);
    let mut world = World::default();
    let mut trail = Trail::new();
    trail.grow(7);
    assert!(shipper.round(&trail, &mut world, &mut Dice(3), false));
    let (_, id, _) = world.answers.pop_front().unwrap_or_else(|| {
        let id = *shipper.parcels.keys().next().unwrap();
        (0, id, Answer::Accepted)
    });
    let reason = "the link broke".to_owned();
    let now = Mono(1);
    if shipper.courier.holds(id) {
        shipper
            .courier
            .answer(id, Answer::Unknown { reason }, &[], now);
        let notices = shipper.courier.take_notices();
        let [NoticeKind::Undelivered(lost)] = &notices[..] else {
            panic!("{notices:?}");
        };
        assert_eq!((lost.first_sequence, lost.last_sequence), (1, 7));
        assert_eq!(lost.cause, UndeliveredCause::Unknown);
    }
    assert!(shipper.courier.is_done());
}

#[test]
fn what_waits_begins_with_the_first_batch_that_is_not_acknowledged() {
    let mut shipper = Shipper::start(None, 1);
    let mut trail = Trail::new();
    trail.grow(20);
    assert_eq!(shipper.courier.waiting(), None);
    shipper.courier.head(&Source::Recorder, trail.newest());
    let first = |shipper: &Shipper| {
        let waiting = shipper.courier.waiting().unwrap();
        waiting.get(&Source::Recorder).map(|it| it.sequence)
    };
    for before in [0, 1] {
        assert_eq!(first(&shipper), Some(before));
        for want in shipper.courier.wants(Mono(1)) {
            let Want::Stretch(stretch) = want else {
                panic!("{want:?}");
            };
            shipper.read(&stretch, &trail);
        }
    }
    let plans: Vec<PlanId> = shipper.parcels.keys().copied().collect();
    assert_eq!(plans.len(), 2);
    for (plan, expected) in [(plans[1], Some(1)), (plans[0], None)] {
        shipper.courier.sent(plan);
        shipper.courier.answer(plan, Answer::Accepted, &[], Mono(2));
        assert_eq!(first(&shipper), expected);
    }
}
