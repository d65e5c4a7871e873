//! The thread of one destination.

use crate::desk::{Desk, Parcels, Read, oldest_device, trail_dir};
use crate::lag::Lag;
use crate::own::{self, OwnTrail};
use crate::power;
use crate::sinks::{AnySink, Sink};
use crate::state::StateFile;
use crate::status::DestinationStatus;
use crate::tls;
use crate::warnings::Warnings;
use anyhow::Context;
use host::clock;
use record::{
    Delivery, DeliveryGuarantee, DeliveryLeftOut, DeliveryState, EndpointId, Mono, NoticeKind,
    RecordId, Stamp, UndeliveredCause,
};
use ship::config::{Destination, Kind, OnBattery};
use ship::courier::{Courier, PlanId, Saved, Settings, Stretch, Want};
use ship::{Answer, FoundMissing, Guarantee};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::{JoinSet, LocalSet};
use trail::{Source, side_trails};

/// What a destination's thread shares with the rest of the program.
#[derive(Default)]
pub(crate) struct Shared {
    /// It is to end.
    pub(crate) stop: AtomicBool,
    /// It has delivered all that was there.
    pub(crate) done: AtomicBool,
    /// How it goes.
    pub(crate) report: Mutex<Option<Report>>,
}

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) kind: &'static str,
    pub(crate) delivery: Delivery,
    pub(crate) unknown: u64,
    pub(crate) warnings: Vec<String>,
    pub(crate) deleted_files: Option<u64>,
}

/// What a destination's thread begins with.
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) destination: Destination,
    pub(crate) state_dir: PathBuf,
    pub(crate) endpoint: EndpointId,
    pub(crate) own: Arc<OwnTrail>,
    pub(crate) shared: Arc<Shared>,
    /// Folder of what powers the machine.
    pub(crate) power_supplies: PathBuf,
    /// It is to end when all is delivered, so each look matters.
    pub(crate) once: bool,
}

/// How soon is looked again after there was something new.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often is looked where nothing new has come for long: as often as the recorder syncs.
const LOOK_EVERY_IDLE: Duration = Duration::from_secs(1);
/// No shorter is any pause.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// How often is looked for other side trails, the power, and files that end by age.
const TEND_EVERY_NS: u64 = 5_000_000_000;
/// How long answers are waited for at the end.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// After trouble with a disk of our own.
pub(crate) const TROUBLE_PAUSE: Duration = Duration::from_secs(2);

/// A destination's delivery, on the thread that runs it.
pub(crate) struct Worker {
    task: Task,
    courier: Courier,
    desk: Desk,
    sink: Rc<AnySink>,
    state: StateFile,
    /// What was saved was damaged: what is gone may have been delivered.
    has_forgotten: bool,
    parcels: Parcels,
    under_way: JoinSet<(PlanId, Answer)>,
    saved_version: Option<u64>,
    /// Why what must be durable is not, and when that is tried again.
    trouble: Option<(String, Mono)>,
    sources: Vec<Source>,
    tend_at: Mono,
    look_at: Mono,
    look_every: Duration,
    newest: BTreeMap<Source, RecordId>,
    bytes: u64,
    since: Stamp,
    /// Every trail was read to its end in the last round.
    at_end: bool,
    warnings: Warnings,
    lag: Lag,
}

impl Task {
    /// Delivers until it is told to stop.
    pub(crate) fn run(self) {
        let shared = Arc::clone(&self.shared);
        let name = self.name.clone();
        let kind = self.destination.kind().map_or("", Kind::name);
        while !shared.stop.load(Ordering::Relaxed) {
            let task = self.again();
            let Err(error) = task.attempt() else {
                return;
            };
            let problem = format!("{error:#}");
            eprintln!("conntrail-ship: {name}: {problem}");
            put(&shared.report, Some(Report::failed(&name, kind, problem)));
            std::thread::sleep(TROUBLE_PAUSE);
        }
    }

    fn again(&self) -> Task {
        Task {
            name: self.name.clone(),
            destination: self.destination.clone(),
            state_dir: self.state_dir.clone(),
            endpoint: self.endpoint,
            own: Arc::clone(&self.own),
            shared: Arc::clone(&self.shared),
            power_supplies: self.power_supplies.clone(),
            once: self.once,
        }
    }

    fn attempt(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ended = LocalSet::new().block_on(&runtime, async { Worker::new(self)?.drive().await });
        // A name that is still being looked up would be waited for, as long as the system likes.
        runtime.shutdown_background();
        ended
    }
}

impl Worker {
    /// Goes on from what was saved.
    pub(crate) fn new(task: Task) -> anyhow::Result<Worker> {
        let folder = task.state_dir.join(own::NAME);
        let state = StateFile::new(&folder, &task.name);
        let (saved, trouble) = state.load()?;
        let (saved, other) = of_this_machine(saved, &task)?;
        let sink = AnySink::new(&task.name, &task.destination, task.endpoint)?;
        let settings = settings(&task, sink.guarantee());
        let seed = u64::from_le_bytes(host::private::random_bytes()?);
        let desk = Desk::new(
            &task.name,
            &task.destination,
            &task.state_dir,
            task.endpoint,
        )?;
        let mut worker = Worker {
            courier: Courier::new(settings, saved, seed),
            desk,
            sink: Rc::new(sink),
            state,
            has_forgotten: trouble.is_some(),
            parcels: Parcels::new(),
            under_way: JoinSet::new(),
            saved_version: None,
            trouble: None,
            sources: Vec::new(),
            tend_at: Mono(0),
            look_at: Mono(0),
            look_every: LOOK_EVERY,
            newest: BTreeMap::new(),
            bytes: 0,
            since: clock::stamp(),
            at_end: false,
            warnings: Warnings::default(),
            lag: Lag::default(),
            task,
        };
        worker.say(trouble.into_iter().chain(other).collect(), clock::mono());
        Ok(worker)
    }

    /// Delivers until it is told to stop.
    pub(crate) async fn drive(mut self) -> anyhow::Result<()> {
        while !self.task.shared.stop.load(Ordering::Relaxed) {
            let now = clock::mono();
            self.tend(now).await;
            self.look(now)?;
            let progressed = self.read(now)?;
            if self.try_commit(now) {
                self.send(now);
            }
            self.report(now);
            let pause = if progressed {
                Duration::ZERO
            } else {
                self.pause(clock::mono())
            };
            self.wait(pause).await;
        }
        let end = tokio::time::Instant::now() + END_PATIENCE;
        while !self.under_way.is_empty() && tokio::time::Instant::now() < end {
            self.wait(LOOK_EVERY).await;
        }
        self.commit()?;
        self.report(clock::mono());
        Ok(())
    }

    async fn tend(&mut self, now: Mono) {
        if now < self.tend_at {
            return;
        }
        self.tend_at = now.plus_ns(TEND_EVERY_NS);
        self.sink.tend().await;
        self.warn(now);
        let holds = self.task.destination.on_battery == Some(OnBattery::Hold);
        self.courier
            .pause(holds && power::is_on_battery(&self.task.power_supplies) == Some(true));
        self.sources = vec![Source::Recorder];
        let sides = side_trails(&self.task.state_dir).trails.into_iter();
        self.sources.extend(sides.map(|it| Source::Side(it.name)));
    }

    /// Hears what the destination warns of, and logs what is new.
    fn warn(&mut self, now: Mono) {
        let mut warnings = self.sink.take_warnings();
        let of_tls = tls::warnings(&self.task.destination.tls, SystemTime::now());
        warnings.extend(of_tls);
        if self.sink.deleted().is_some_and(|it| it.files > 0) {
            let text = "file.total_bytes_max: the oldest files were deleted to make room";
            warnings.push(text.to_owned());
        }
        self.say(warnings, now);
    }

    /// Logs what is new of this, and shows it.
    fn say(&mut self, warnings: Vec<String>, now: Mono) {
        for warning in self.warnings.hear(warnings, now) {
            eprintln!("conntrail-ship: {}: {warning}", self.task.name);
        }
    }

    fn look(&mut self, now: Mono) -> anyhow::Result<()> {
        if now < self.look_at {
            return Ok(());
        }
        let mut found = self.task.once;
        for source in &self.sources.clone() {
            if let Some(newest) = trail::newest(&trail_dir(&self.task.state_dir, source))? {
                if self.courier.is_beyond(source, newest) {
                    self.start_over(source, self.courier.endpoint(), now);
                }
                found |= self.newest.insert(source.clone(), newest) != Some(newest);
                self.courier.head(source, newest);
            }
        }
        self.look_every = match found {
            true => LOOK_EVERY,
            false => (2 * self.look_every).min(LOOK_EVERY_IDLE),
        };
        self.look_at = now.plus_ns(self.look_every.as_nanos() as u64);
        Ok(())
    }

    /// How long there is nothing to do unless an answer comes: until it is looked again, a batch
    /// is old enough, or what failed may be tried again.
    fn pause(&self, now: Mono) -> Duration {
        let trouble = self.trouble.as_ref().map(|it| it.1);
        let moments = [self.desk.due(), self.courier.poll_timeout(), trouble];
        let later = moments.into_iter().flatten().filter(|at| *at > now);
        let until = later.fold(self.look_at, Mono::min);
        // What is due already waits for an answer; the clock is no finer than a few milliseconds.
        Duration::from_nanos(until.since_ns(now)).max(PAUSE_MIN)
    }

    /// Reads what the courier wants; whether there may be more.
    fn read(&mut self, now: Mono) -> anyhow::Result<bool> {
        let mut progressed = false;
        let wants = self.courier.wants(now);
        self.at_end = true;
        for want in wants {
            match want {
                Want::Again(id, plan) => match self.desk.read_again(&plan)? {
                    Some(cut) => {
                        self.courier.rebuilt(id, &cut);
                        self.hold(id, &plan.source, &cut);
                    }
                    None => self.courier.dissolve(id),
                },
                Want::Stretch(stretch) => {
                    let read = self.desk.read(&stretch, now)?;
                    progressed |= !matches!(read, Read::Nothing);
                    match read {
                        Read::Cut(cut) => {
                            let id = self.courier.cut(stretch.id, &cut);
                            self.hold(id, &stretch.source, &cut);
                        }
                        Read::Missing(missing) => self.missing(&stretch, missing),
                        Read::Finished => self.courier.finished(stretch.id),
                        Read::StartOver(endpoint) => {
                            self.start_over(&stretch.source, endpoint, now)
                        }
                        Read::Nothing if self.desk.is_waiting(stretch.id) => self.at_end = false,
                        Read::Nothing => {}
                    }
                }
            }
        }
        self.at_end &= !progressed;
        let courier = &self.courier;
        self.desk.keep(|id| courier.has_stretch(id));
        self.parcels.retain(|id, _| courier.holds(*id));
        Ok(progressed)
    }

    /// Declares what is gone. Where nobody knows any more what was delivered, what was evicted
    /// before the oldest record may have been.
    fn missing(&mut self, stretch: &Stretch, missing: FoundMissing) {
        let is_before_all = stretch.from.epoch == 0;
        let missing = match self.has_forgotten && is_before_all {
            true => FoundMissing {
                cause: UndeliveredCause::Unknown,
                reason: "the trail no longer has them, and what was delivered is not known any \
                         more"
                    .to_owned(),
                ..missing
            },
            false => missing,
        };
        self.courier.missing(stretch.id, &missing);
    }

    fn start_over(&mut self, source: &Source, endpoint: EndpointId, now: Mono) {
        self.courier.start_over(source, endpoint);
        let dir = trail_dir(&self.task.state_dir, source);
        let text = format!(
            "{} was set back, or another machine recorded it; it is sent from its oldest record on",
            dir.display()
        );
        self.say(vec![text], now);
    }

    fn hold(&mut self, id: PlanId, source: &Source, cut: &ship::Cut) {
        let parcel = self.desk.parcel(source, cut);
        let sequences = cut.items.iter().map(|it| it.id.sequence).collect();
        self.parcels.insert(id, (Rc::new(parcel), sequences));
    }

    /// Whether what is to be sent may be. Where a disk refuses, what is under way goes on, and what
    /// was declared is not declared again.
    fn try_commit(&mut self, now: Mono) -> bool {
        if self.trouble.as_ref().is_some_and(|it| now < it.1) {
            return false;
        }
        let Err(error) = self.commit() else {
            self.trouble = None;
            return true;
        };
        let text = format!("{error:#}");
        if self.trouble.as_ref().is_none_or(|it| it.0 != text) {
            eprintln!("conntrail-ship: {}: {text}", self.task.name);
        }
        let again_at = clock::mono().plus_ns(TROUBLE_PAUSE.as_nanos() as u64);
        self.trouble = Some((text, again_at));
        false
    }

    /// First what is declared, then the state; only what is in it may be sent.
    fn commit(&mut self) -> anyhow::Result<()> {
        let notices = self.courier.take_notices();
        let declared = self.task.own.declare(notices);
        declared.context("the shipper's own trail cannot be written")?;
        let version = self.courier.version();
        if self.saved_version != Some(version) {
            self.state.save(&self.courier.saved())?;
            self.saved_version = Some(version);
        }
        Ok(())
    }

    fn send(&mut self, now: Mono) {
        for id in self.courier.to_send(now) {
            let Some((parcel, _)) = self.parcels.get(&id) else {
                continue;
            };
            let (sink, parcel) = (Rc::clone(&self.sink), Rc::clone(parcel));
            self.under_way
                .spawn_local(async move { (id, sink.deliver(&parcel).await) });
            self.courier.sent(id);
        }
    }

    async fn wait(&mut self, pause: Duration) {
        // Deliveries go on even where there is always more to read.
        tokio::task::yield_now().await;
        let answered = if self.under_way.is_empty() {
            tokio::time::sleep(pause).await;
            None
        } else {
            let answer = tokio::time::timeout(pause, self.under_way.join_next());
            answer.await.ok().flatten()
        };
        if let Some(Ok((id, answer))) = answered {
            self.take_answer(id, answer);
        }
        while let Some(Ok((id, answer))) = self.under_way.try_join_next() {
            self.take_answer(id, answer);
        }
    }

    fn take_answer(&mut self, id: PlanId, answer: Answer) {
        let Some((parcel, sequences)) = self.parcels.get(&id) else {
            return;
        };
        let answer = with_too_long(answer, &parcel.too_long);
        let length = parcel.body.len() as u64;
        let batches = self.courier.counts().batches;
        let gave_up = self.courier.answer(id, answer, sequences, clock::mono());
        if self.courier.counts().batches > batches {
            self.bytes += length;
        }
        if gave_up && let Err(error) = self.set_aside(id) {
            eprintln!("conntrail-ship: {}: {error:#}", self.task.name);
        }
        if !self.courier.holds(id) {
            self.parcels.remove(&id);
        }
    }

    /// What the destination refuses is kept, the latest of it, for people to look at.
    fn set_aside(&self, id: PlanId) -> anyhow::Result<()> {
        let Some((parcel, _)) = self.parcels.get(&id) else {
            return Ok(());
        };
        let ship = self.task.state_dir.join(own::NAME);
        let folder = ship.join("refused").join(&self.task.name);
        fs::create_dir_all(&folder)?;
        make_room(&folder)?;
        let path = folder.join(parcel.id.to_string());
        fs::write(&path, &parcel.body).with_context(|| path.display().to_string())
    }

    fn report(&mut self, now: Mono) {
        let counts = self.courier.counts();
        let desk = &mut self.desk;
        // What cannot be read does not say when it was made; that it cannot is told where it is
        // read to be sent.
        let made_at = |source: &Source, id| desk.made_at(source, id).ok().flatten();
        let waiting = self.courier.waiting();
        let lag_ns = self.lag.ns(waiting, clock::stamp(), made_at);
        let (state, problem) = match &self.trouble {
            Some((text, _)) => (DeliveryState::Misconfigured, Some(text.as_str())),
            None => self.courier.state(),
        };
        let left_out = counts.left_out;
        let report = Report {
            kind: self.task.destination.kind().map_or("", Kind::name),
            unknown: counts.unknown,
            warnings: self.warnings.shown(),
            deleted_files: self.sink.deleted().map(|it| it.files),
            delivery: Delivery {
                destination: self.task.name.clone(),
                guarantee: match self.sink.guarantee() {
                    Guarantee::Deduplicated => DeliveryGuarantee::Deduplicated,
                    Guarantee::Acknowledged => DeliveryGuarantee::Acknowledged,
                    Guarantee::Unacknowledged => DeliveryGuarantee::Unacknowledged,
                },
                state,
                since: self.since,
                records: counts.records,
                batches: counts.batches,
                bytes: self.bytes,
                retries: counts.retries,
                left_out: DeliveryLeftOut {
                    opens: left_out.opens,
                    filtered: left_out.filtered,
                    dropped: left_out.dropped,
                    refused: left_out.refused,
                    missing: left_out.missing,
                },
                lag_records: self.courier.lag_records(),
                lag_ns,
                problem: problem.map(str::to_owned),
            },
        };
        put(&self.task.shared.report, Some(report));
        let may_read = self.courier.poll_timeout().is_none_or(|at| at <= now);
        let may_read = may_read && self.trouble.is_none() && state != DeliveryState::Paused;
        let is_done = may_read && self.at_end && self.courier.is_idle();
        self.task.shared.done.store(is_done, Ordering::Relaxed);
    }
}

impl Report {
    fn failed(name: &str, kind: &'static str, problem: String) -> Report {
        Report {
            kind,
            unknown: 0,
            warnings: Vec::new(),
            deleted_files: None,
            delivery: Delivery {
                destination: name.to_owned(),
                guarantee: DeliveryGuarantee::Unacknowledged,
                state: DeliveryState::Misconfigured,
                since: clock::stamp(),
                records: 0,
                batches: 0,
                bytes: 0,
                retries: 0,
                left_out: DeliveryLeftOut::default(),
                lag_records: None,
                lag_ns: None,
                problem: Some(problem),
            },
        }
    }

    pub(crate) fn notice(&self) -> NoticeKind {
        NoticeKind::Delivery(Box::new(self.delivery.clone()))
    }

    pub(crate) fn status(&self) -> DestinationStatus {
        let delivery = &self.delivery;
        let left_out = delivery.left_out;
        DestinationStatus {
            kind: self.kind.to_owned(),
            guarantee: delivery.guarantee.name().to_owned(),
            state: delivery.state.name().to_owned(),
            problem: delivery.problem.clone(),
            records: delivery.records,
            batches: delivery.batches,
            bytes: delivery.bytes,
            retries: delivery.retries,
            left_out: BTreeMap::from([
                ("opens".to_owned(), left_out.opens),
                ("filtered".to_owned(), left_out.filtered),
                ("dropped".to_owned(), left_out.dropped),
                ("refused".to_owned(), left_out.refused),
                ("missing".to_owned(), left_out.missing),
            ]),
            unknown: self.unknown,
            lag_records: delivery.lag_records,
            lag_ns: delivery.lag_ns,
            warnings: self.warnings.clone(),
            deleted_files: self.deleted_files,
        }
    }
}

/// What was saved, if it is of the machine that recorded this trail, the beginning of it at least;
/// else nothing, which is said.
fn of_this_machine(saved: Option<Saved>, task: &Task) -> anyhow::Result<(Saved, Option<String>)> {
    let empty = Saved::empty(task.endpoint);
    let Some(mut saved) = saved.filter(|it| *it != empty) else {
        return Ok((empty, None));
    };
    let oldest = oldest_device(&trail_dir(&task.state_dir, &Source::Recorder))?;
    let oldest = oldest.map(|it| it.endpoint);
    if saved.endpoint != task.endpoint && Some(saved.endpoint) != oldest {
        let text = format!(
            "its state is that of another machine, {}: everything is sent from the oldest record",
            saved.endpoint
        );
        return Ok((empty, Some(text)));
    }
    saved.endpoint = task.endpoint;
    Ok((saved, None))
}

/// What is refused before it is sent is refused.
fn with_too_long(answer: Answer, too_long: &[usize]) -> Answer {
    let reason = "it is longer than this destination takes".to_owned();
    if too_long.is_empty() || answer != Answer::Accepted {
        return answer;
    }
    let items = too_long.iter().map(|index| (*index, reason.clone()));
    Answer::RefusedItems(items.collect())
}

/// Files of refused records of one destination at most.
const REFUSED_FILES_MAX: usize = 100;

fn make_room(folder: &Path) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let surplus = (files.len() + 1).saturating_sub(REFUSED_FILES_MAX);
    for (_, path) in files.iter().take(surplus) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn settings(task: &Task, guarantee: Guarantee) -> Settings {
    let destination = &task.destination;
    let records_max = u64::from(destination.batch_records_max.unwrap_or(200));
    Settings {
        destination: task.name.clone(),
        guarantee,
        in_flight_max: destination.in_flight_max.unwrap_or(4) as usize,
        jump_records: (4 * records_max).max(1_000),
        retry_min_ns: destination.retry_min_ms.unwrap_or(500) * 1_000_000,
        retry_max_ns: destination.retry_max_ms.unwrap_or(60_000) * 1_000_000,
        own: Some(Source::Side(own::NAME.into())),
    }
}

pub(crate) fn put<T>(place: &Mutex<T>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = value;
}
