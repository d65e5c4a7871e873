//! The sensor: takes what the callbacks put in, and tells it together with what the workers found.
//!
//! Memory: at most [`crate::intake::CAPACITY`] events are taken in one call of
//! [`Sensor::poll`], and each gives three events at most. What is kept between calls is bounded by
//! the workers' own bounds.

use crate::breaker::Breaker;
use crate::coverage::Meter;
use crate::identity::Identities;
use crate::intake::{CAPACITY, Control, ControlKind, Intake, Losses, Outlet, Waited};
use crate::provider;
use crate::raw::RawEvent;
use crate::settings::{FilterMode, FilterSettings};
use crate::snapshot::Snapshots;
use crate::translate::Translator;
use crate::{Sensor, SensorError};
use flow::Event;
use record::{BreakerCause, BreakerState, LossCause, LossStage, LostKind, Mono, SensorKind, Stamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// After the first event of a burst so much time passes before the burst is taken, so that a busy
/// machine wakes this thread 500 times a second and not once for each event.
const BATCH: Duration = Duration::from_millis(2);

/// Between two looks at the configuration, in nanoseconds.
const CONFIG_INTERVAL_NS: u64 = 2 * SECOND_NS;

/// Between two readings of the clocks, in nanoseconds.
const CLOCK_INTERVAL_NS: u64 = 60 * SECOND_NS;

/// Before settings that the system refused are told again, and the longest time in which it should
/// answer, in nanoseconds.
const APPLY_AGAIN_NS: u64 = 30 * SECOND_NS;

/// So long after a question the answer is looked for often.
const ANSWERS_EXPECTED: Duration = Duration::from_secs(1);

/// How often.
const ANSWER_INTERVAL: Duration = Duration::from_millis(20);

const SECOND_NS: u64 = 1_000_000_000;

/// What this crate is made of at work; see [`crate::prepare`].
pub struct FilterSensor {
    intake: Arc<Intake>,
    outlet: Outlet,
    translator: Translator,
    workers: Workers,
    breaker: Option<Breaker>,
    /// The breaker was tripped by crashes, for as long as this process lives.
    tripped: bool,
    /// To be told by the first poll.
    opening: Option<Vec<Event>>,
    watch: Watch,
    /// Flows were told that the last [`Event::Unwatched`] does not cover, and nobody watches.
    stragglers: bool,
    controls: VecDeque<Control>,
    /// Found while waiting.
    found: Option<RawEvent>,
    asleep_since: Option<Mono>,
    told: FilterSettings,
    refused: Option<Refusal>,
    /// Settings that the system did not answer yet, and when it should have.
    unanswered: Option<(FilterMode, Mono)>,
    due: Due,
    taken_at: Option<Instant>,
    asked_at: Option<Instant>,
}

/// What works beside the sensor. Without a worker the sensor sees less, but it sees.
pub(crate) struct Workers {
    /// Finds out who a process is.
    pub(crate) identities: Option<Identities>,
    /// Lists sockets.
    pub(crate) snapshots: Option<Snapshots>,
}

/// Settings that the system did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    mode: FilterMode,
    code: isize,
    again: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// The system has not started the filter yet.
    Awaited,
    Running,
    Stopped,
}

struct Due {
    config: Mono,
    clock: Mono,
    meter: Meter,
}

impl FilterSensor {
    /// A sensor behind `intake`, whose first poll tells `opening` after the start.
    pub(crate) fn new(
        intake: Arc<Intake>,
        outlet: Outlet,
        workers: Workers,
        breaker: Option<Breaker>,
        tripped: bool,
        opening: Vec<Event>,
    ) -> FilterSensor {
        let told = FilterSettings {
            stand_aside: false,
            ..intake.settings.get()
        };
        FilterSensor {
            intake,
            outlet,
            translator: Translator::default(),
            workers,
            breaker,
            tripped,
            opening: Some(opening),
            watch: Watch::Awaited,
            stragglers: false,
            controls: VecDeque::new(),
            found: None,
            asleep_since: None,
            told,
            refused: None,
            unanswered: None,
            due: Due {
                config: Mono::default(),
                clock: Mono::default(),
                meter: Meter::new(),
            },
            taken_at: None,
            asked_at: None,
        }
    }

    fn poll_until(&mut self, deadline: Instant, events: &mut Vec<Event>) {
        let before = events.len();
        self.open(events);
        self.gather(deadline);
        self.take(events);
        self.collect(events);
        self.do_what_is_due(events);
        if events.len() == before {
            self.wait(deadline, events);
        }
    }

    fn open(&mut self, events: &mut Vec<Event>) {
        if let Some(opening) = self.opening.take() {
            self.read_clock(self.intake.now(), events);
            events.push(self.started_event());
            events.extend(opening);
        }
    }

    /// Lets a burst grow before it is taken.
    fn gather(&self, deadline: Instant) {
        let now = Instant::now();
        let ripe = self.taken_at.map_or(now, |taken| taken + BATCH);
        thread::sleep(ripe.min(deadline).saturating_duration_since(now));
    }

    fn wait(&mut self, deadline: Instant, events: &mut Vec<Event>) {
        let before = events.len();
        while events.len() == before {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let answers_expected = self
                .asked_at
                .is_some_and(|asked| asked.elapsed() < ANSWERS_EXPECTED);
            let slice = if answers_expected {
                left.min(ANSWER_INTERVAL)
            } else {
                left
            };
            match self.outlet.wait(&self.intake, slice) {
                Waited::InVain => {}
                Waited::Woken => thread::sleep(left.min(BATCH)),
                Waited::Found(event, control) => {
                    self.found = event;
                    self.controls.extend(control);
                }
            }
            self.take(events);
            self.collect(events);
        }
    }

    /// Tells what was put in, in the order of time: what came before a stop is told before it.
    fn take(&mut self, events: &mut Vec<Event>) {
        while let Some(control) = self.outlet.control() {
            self.controls.push_back(control);
        }
        for _ in 0..CAPACITY {
            let Some(event) = self.found.take().or_else(|| self.outlet.event()) else {
                while let Some(control) = self.controls.pop_front() {
                    self.control(control, events);
                }
                break;
            };
            while let Some(control) = self.controls.pop_front_if(|it| it.at.mono <= event.at()) {
                self.control(control, events);
            }
            self.event(&event, events);
        }
        self.taken_at = Some(Instant::now());
        self.translator.settle(events);
        tell_losses(self.intake.take_losses(), events);
        if std::mem::take(&mut self.stragglers) {
            let before = self.intake.now().mono.plus_ns(1);
            events.push(Event::Unwatched { before });
        }
    }

    fn event(&mut self, event: &RawEvent, events: &mut Vec<Event>) {
        // A name is put in before its event, and so it is there by now.
        while let Some(name) = self.outlet.long_name() {
            self.translator.keep_name(name);
        }
        let told = self.translator.event(event, events);
        self.stragglers |= self.watch == Watch::Stopped;
        for token in told.tokens.into_iter().flatten() {
            if let Some(identities) = &mut self.workers.identities {
                identities.ask(&token);
            }
            self.asked_at = Some(Instant::now());
        }
        if let (Some((key, tuple)), Some(snapshots)) = (told.accepted, &mut self.workers.snapshots)
        {
            snapshots.look_for(key, tuple);
        }
    }

    fn collect(&mut self, events: &mut Vec<Event>) {
        if let Some(identities) = &mut self.workers.identities {
            identities.collect(events);
        }
        if let Some(snapshots) = &mut self.workers.snapshots {
            snapshots.collect(events);
        }
    }

    fn control(&mut self, control: Control, events: &mut Vec<Event>) {
        match control.kind {
            ControlKind::Started => self.started(control.at.mono, events),
            ControlKind::Stopped(reason) => self.stopped(control.at.mono, reason, events),
            ControlKind::Sleeping => {
                if self.asleep_since.is_none() {
                    events.push(Event::Sleeping);
                }
                self.asleep_since.get_or_insert(control.at.mono);
            }
            ControlKind::Woke => {
                if let Some(since) = self.asleep_since.take() {
                    let duration_ns = control.at.mono.since_ns(since);
                    events.push(Event::Slept { duration_ns });
                }
                self.read_clock(control.at, events);
            }
            ControlKind::Applying(mode) => {
                let until = control.at.mono.plus_ns(APPLY_AGAIN_NS);
                self.unanswered = Some((mode, until));
            }
            ControlKind::Applied(mode, code) => self.applied(control.at.mono, mode, code, events),
        }
    }

    fn started(&mut self, now: Mono, events: &mut Vec<Event>) {
        match std::mem::replace(&mut self.watch, Watch::Running) {
            Watch::Running => {
                events.push(limited(
                    "macOS started the filter again while it ran; that changes nothing",
                ));
                return;
            }
            Watch::Awaited => events.push(limited("macOS started the filter")),
            Watch::Stopped => {
                events.push(self.started_event());
                self.with_breaker(events, |breaker| breaker.begin_again(now));
            }
        }
        if let Some(snapshots) = &mut self.workers.snapshots {
            snapshots.watching(true);
        }
    }

    fn stopped(&mut self, now: Mono, reason: isize, events: &mut Vec<Event>) {
        let reason = stop_reason(reason);
        if self.watch == Watch::Running {
            events.push(Event::SensorStopped {
                sensor: SensorKind::MacosFilter,
                reason,
            });
        } else {
            let limit = format!("macOS stopped the filter, which did not run: {reason}");
            events.push(limited(limit));
        }
        events.push(Event::Unwatched { before: now });
        self.watch = Watch::Stopped;
        if let Some(snapshots) = &mut self.workers.snapshots {
            snapshots.watching(false);
        }
        self.with_breaker(events, Breaker::ended);
    }

    fn applied(
        &mut self,
        now: Mono,
        mode: FilterMode,
        code: Option<isize>,
        events: &mut Vec<Event>,
    ) {
        self.unanswered = None;
        let Some(code) = code else {
            self.refused = None;
            return;
        };
        let known = self.refused.map(|refusal| (refusal.mode, refusal.code));
        if known != Some((mode, code)) {
            let wish = wish(mode);
            events.push(limited(format!(
                "macOS refused to {wish} (error {code}); it is asked again every 30 seconds"
            )));
        }
        self.refused = Some(Refusal {
            mode,
            code,
            again: now.plus_ns(APPLY_AGAIN_NS),
        });
    }

    fn do_what_is_due(&mut self, events: &mut Vec<Event>) {
        let now = self.intake.now();
        if now.mono >= self.due.config {
            self.due.config = now.mono.plus_ns(CONFIG_INTERVAL_NS);
            self.look_at_config(now.mono);
        }
        self.tell_settings(events);
        if let Some((mode, _)) = self.unanswered.take_if(|(_, until)| now.mono >= *until) {
            let wish = wish(mode);
            events.push(limited(format!(
                "macOS does not answer whether it will {wish}"
            )));
        }
        if now.mono >= self.due.clock {
            self.read_clock(now, events);
        }
        if self.due.meter.due(now.mono) {
            let recorded = std::mem::take(&mut self.translator.tcp);
            events.push(self.due.meter.read(now.mono, recorded));
        }
        self.with_breaker(events, |breaker| breaker.poll(now.mono));
    }

    fn look_at_config(&mut self, now: Mono) {
        let Some(provider) = self.intake.provider() else {
            return;
        };
        let values = provider.vendor_config();
        let settings = provider::caught(|| (self.intake.on_vendor_config)(values));
        match settings {
            Some(settings) => self.intake.settings.set(settings),
            None => self.intake.count_fault(),
        }
        let overdue = self.refused.as_mut().filter(|refusal| now >= refusal.again);
        if let Some(refusal) = overdue {
            // Once for each answer: a system that does not answer is not asked again and again.
            refusal.again = Mono(u64::MAX);
            provider.apply(&self.intake);
        } else {
            provider.apply_if_new(&self.intake);
        }
    }

    /// Tells what changed in the settings, whoever changed them.
    fn tell_settings(&mut self, events: &mut Vec<Event>) {
        let settings = self.intake.settings.get();
        let told = std::mem::replace(&mut self.told, settings);
        if settings.stand_aside != told.stand_aside && !self.tripped {
            events.push(Event::BreakerChanged {
                state: match settings.stand_aside {
                    true => BreakerState::Tripped,
                    false => BreakerState::Healed,
                },
                cause: BreakerCause::Managed,
                crashes: 0,
            });
        }
        if settings.loopback != told.loopback {
            events.push(limited(loopback_limit(settings.loopback)));
        }
        if settings.command_lines != told.command_lines
            && let Some(identities) = &self.workers.identities
        {
            identities.set_command_lines(settings.command_lines);
        }
    }

    fn read_clock(&mut self, now: Stamp, events: &mut Vec<Event>) {
        self.due.clock = now.mono.plus_ns(CLOCK_INTERVAL_NS);
        events.push(Event::ClockRead {
            mono: now.mono,
            wall: now.wall,
        });
    }

    fn started_event(&self) -> Event {
        let mut limits: Vec<String> = LIMITS.iter().map(|limit| limit.to_string()).collect();
        limits.push(loopback_limit(self.intake.settings.get().loopback).to_owned());
        if self.watch == Watch::Awaited {
            limits.push(
                "until macOS starts the filter, which is a notice of its own, no connection is \
                 seen"
                    .to_owned(),
            );
        }
        Event::SensorStarted {
            sensor: SensorKind::MacosFilter,
            limits,
        }
    }

    fn with_breaker(
        &mut self,
        events: &mut Vec<Event>,
        work: impl FnOnce(&mut Breaker) -> Option<String>,
    ) {
        if let Some(complaint) = self.breaker.as_mut().and_then(work) {
            events.push(limited(complaint));
        }
    }
}

impl Sensor for FilterSensor {
    fn poll(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<(), SensorError> {
        provider::pooled(|| self.poll_until(Instant::now() + timeout, events));
        Ok(())
    }
}

impl Drop for FilterSensor {
    fn drop(&mut self) {
        provider::pooled(|| provider::uninstall(&self.intake));
        if !thread::panicking()
            && let Some(breaker) = &mut self.breaker
        {
            // Nobody is left to be told that it went wrong; then this end counts as a crash.
            let _ = breaker.ended();
        }
    }
}

/// What a content filter does not see or cannot tell, whatever is set.
const LIMITS: [&str; 10] = [
    "connections that were there before the filter are only listed: their bytes and their end are \
     not seen",
    "what is no internet socket is not seen: local sockets, raw Ethernet and BPF, virtual machines \
     that are bridged to the network; nor are the parts of a multipath connection",
    "what is on its way through a VPN, a proxy or iCloud Private Relay goes to the relay, as far \
     as can be seen",
    "a name of the other side is known only where the app asked the system's own networking \
     library for it, which most browsers do not",
    "names that apps look up through the system are looked up by mDNSResponder, and so recorded",
    "a connection that was refused looks like one that was closed: the outcome is not known",
    "zero bytes both ways may mean that the system did not count",
    "bytes of ICMP and raw sockets may include their IP headers",
    "of a connection from outside the process named first is the last one that used the listening \
     socket",
    "not every end of a connection is reported; then it is concluded from the end of its process, \
     from its age, or from the reuse of its identifier",
];

fn loopback_limit(loopback: bool) -> &'static str {
    if loopback {
        "connections of this machine with itself are asked for, and each is told from both sides"
    } else {
        "connections of this machine with itself are not seen"
    }
}

fn wish(mode: FilterMode) -> &'static str {
    match mode {
        FilterMode::Default => "ask about connections again",
        FilterMode::Loopback => "ask about connections of this machine with itself",
        FilterMode::StandAside => "let connections pass without asking",
    }
}

fn limited(limit: impl Into<String>) -> Event {
    Event::SensorLimited {
        sensor: SensorKind::MacosFilter,
        limit: limit.into(),
    }
}

fn tell_losses(losses: Losses, events: &mut Vec<Event>) {
    for (count, cause, what) in [
        (losses.opens, LossCause::QueueFull, LostKind::Opens),
        (losses.closes, LossCause::QueueFull, LostKind::Closes),
        (
            losses.updates + losses.controls,
            LossCause::QueueFull,
            LostKind::Events,
        ),
        (losses.faults, LossCause::Fault, LostKind::Events),
    ] {
        if count != 0 {
            events.push(Event::Lost {
                stage: LossStage::SensorQueue,
                cause,
                what,
                count: Some(count),
            });
        }
    }
}

/// `NEProviderStopReason` in words.
fn stop_reason(reason: isize) -> String {
    let words = match reason {
        0 => "macOS gave no reason",
        1 => "the user stopped the filter",
        2 => "the provider failed",
        3 => "there is no network",
        4 => "the network changed in a way that macOS could not follow",
        5 => "the provider was disabled",
        6 => "the authentication was canceled",
        7 => "the configuration is not valid",
        8 => "the filter was idle for too long",
        9 => "the configuration was disabled",
        10 => "the configuration was removed",
        11 => "another configuration took its place",
        12 => "the user logged out",
        13 => "another user took over the screen",
        14 => "the connection failed",
        15 => "the machine goes to sleep",
        16 => "the app is being updated",
        17 => "macOS met an internal error",
        other => return format!("for a reason that is not documented ({other})"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_has_its_words() {
        let modes = [
            FilterMode::Default,
            FilterMode::Loopback,
            FilterMode::StandAside,
        ];
        let words: std::collections::BTreeSet<&str> = modes.into_iter().map(wish).collect();
        assert_eq!(words.len(), modes.len());
    }
}
