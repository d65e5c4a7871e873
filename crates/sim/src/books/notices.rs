//! Which notices must come, in which order, and by which clock.

use flow::{Config, Event};
use record::{
    Coverage, LossCause, LossStage, LostKind, Mono, Notice, NoticeKind, Stamp, Tally, Wall,
};
use std::collections::{BTreeMap, VecDeque};

/// What is expected of notices.
#[derive(Debug)]
pub(super) struct Notices {
    ledger_interval_ns: u64,
    start: Stamp,
    /// Every reading of both clocks that was ever in force, the newest last.
    anchors: Vec<Stamp>,
    expected: VecDeque<Notice>,
    declared: BTreeMap<(LossStage, LossCause, LostKind), Stamp>,
    coverage_since: Stamp,
    ledger: Option<(Mono, Tally)>,
}

/// Less than that is a clock that is disciplined, not one that is set.
const STEP_NS_MIN: u64 = 100_000_000;

impl Notices {
    pub(super) fn new(config: &Config, start: Stamp) -> Notices {
        Notices {
            ledger_interval_ns: config.ledger_interval_ns,
            start,
            anchors: vec![start],
            expected: VecDeque::new(),
            declared: BTreeMap::new(),
            coverage_since: start,
            ledger: None,
        }
    }

    /// Whether a record may be dated so.
    pub(super) fn is_plausible(&self, at: Stamp) -> bool {
        let mut newest_first = self.anchors.iter().rev();
        newest_first.any(|anchor| anchor.wall_at(at.mono) == at.wall)
    }

    pub(super) fn event(&mut self, event: &Event, now: Mono) {
        if let Event::ClockRead { mono, wall } = event {
            self.clock_read(*mono, *wall);
        }
        let at = self.stamp(now);
        if let Event::CoverageRead { .. } = event {
            let since = std::mem::replace(&mut self.coverage_since, at);
            self.expect(coverage(event, since), now);
        } else if let Event::Lost {
            stage,
            cause,
            what,
            count,
        } = event
        {
            // Of what is behind the sensor only the recorder knows.
            let stage = match *stage == LossStage::Kernel {
                true => LossStage::Kernel,
                false => LossStage::SensorQueue,
            };
            let before = self.declared.insert((stage, *cause, *what), at);
            let lost = NoticeKind::Lost {
                stage,
                cause: *cause,
                what: *what,
                count: *count,
                since: before.unwrap_or(self.start),
            };
            self.expect(Some(lost), now);
        } else {
            self.expect(told_as_it_is(event), now);
        }
    }

    pub(super) fn notice(&mut self, notice: &Notice) -> Result<(), String> {
        if let NoticeKind::Ledger(tally) = notice.kind {
            return self.ledger(notice.at, tally);
        }
        match self.expected.pop_front() {
            Some(expected) if expected == *notice => Ok(()),
            Some(expected) => Err(format!("{notice:?} came where {expected:?} should have")),
            None => Err(format!("{notice:?} came of nothing")),
        }
    }

    pub(super) fn finish(&self) -> Result<(), String> {
        match self.expected.front() {
            Some(missing) => Err(format!("{missing:?} never came")),
            None => Ok(()),
        }
    }

    fn ledger(&mut self, at: Stamp, tally: Tally) -> Result<(), String> {
        super::balances(&tally)?;
        if !self.is_plausible(at) {
            return Err(format!("a ledger at {at:?}, which no clock ever showed"));
        }
        if let Some((last_at, last)) = self.ledger.replace((at.mono, tally)) {
            let too_soon = at.mono.since_ns(last_at) < self.ledger_interval_ns;
            let fell = tally.closes_made < last.closes_made
                || tally.closes_recorded < last.closes_recorded
                || tally.closes_lost < last.closes_lost;
            if too_soon || fell || tally == last {
                return Err(format!("{tally:?} at {at:?} came after {last:?}"));
            }
        }
        Ok(())
    }

    fn clock_read(&mut self, mono: Mono, wall: Wall) {
        if self.anchors.last().is_some_and(|newest| mono < newest.mono) {
            return;
        }
        let believed = self.stamp(mono);
        let by_ns = wall.0.saturating_sub(believed.wall.0);
        self.anchors.push(Stamp { wall, mono });
        if by_ns.unsigned_abs() >= STEP_NS_MIN {
            self.expect(Some(NoticeKind::ClockStepped { by_ns }), mono);
        }
    }

    fn expect(&mut self, kind: Option<NoticeKind>, now: Mono) {
        let at = self.stamp(now);
        self.expected.extend(kind.map(|kind| Notice { at, kind }));
    }

    fn stamp(&self, mono: Mono) -> Stamp {
        let anchor = self.anchors.last().copied().unwrap_or(self.start);
        let wall = anchor.wall_at(mono);
        Stamp { wall, mono }
    }
}

fn coverage(event: &Event, since: Stamp) -> Option<NoticeKind> {
    let Event::CoverageRead {
        system,
        recorded,
        missed_estimate,
        unseen,
    } = event
    else {
        return None;
    };
    Some(NoticeKind::Coverage(Coverage {
        since,
        system: system.as_ref().ok().copied(),
        unavailable: system.as_ref().err().cloned(),
        recorded: *recorded,
        missed_estimate: *missed_estimate,
        unseen: unseen.clone(),
    }))
}

/// The notice of an event that says nothing but the same.
fn told_as_it_is(event: &Event) -> Option<NoticeKind> {
    let kind = match event.clone() {
        Event::SensorStarted { sensor, limits } => NoticeKind::SensorStarted { sensor, limits },
        Event::SensorStopped { sensor, reason } => NoticeKind::SensorStopped { sensor, reason },
        Event::SensorLimited { sensor, limit } => NoticeKind::SensorLimited { sensor, limit },
        Event::BreakerChanged {
            state,
            cause,
            crashes,
        } => NoticeKind::BreakerChanged {
            state,
            cause,
            crashes,
        },
        Event::Sleeping => NoticeKind::Sleeping,
        Event::Slept { duration_ns } => NoticeKind::Slept { duration_ns },
        Event::ClockRead { .. }
        | Event::CoverageRead { .. }
        | Event::Unwatched { .. }
        | Event::ProcessSeen(_)
        | Event::ProcessesGone { .. }
        | Event::UserNamed { .. }
        | Event::Opened(_)
        | Event::Attributed { .. }
        | Event::Named { .. }
        | Event::Updated { .. }
        | Event::Closed(_)
        | Event::Swept { .. }
        | Event::Lost { .. } => return None,
    };
    Some(kind)
}
