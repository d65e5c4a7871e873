//! From one look to the next: what was there, what still is, and who has what was asked for.

use super::survey::{Held, SocketId, Survey};
use super::{Look, Wanted};
use crate::identity::{Reader, key_by_start};
use crate::sys::libproc;
use flow::{Closed, Event, Introduction, Opened, Owner};
use record::{
    Attribution, Ending, IdentitySource, LossCause, LossStage, LostKind, Mono, Origin, Outcome,
    ProcessKey, SensorKind, Traffic,
};
use std::collections::BTreeMap;

/// The connections that were there before the filter.
pub(super) struct Tracker {
    reader: Reader,
    flows: BTreeMap<SocketId, Tracked>,
    /// What is told once.
    told: Told,
}

struct Tracked {
    opened: Opened,
    /// Process ids.
    holders: Vec<u32>,
}

#[derive(Default)]
struct Told {
    refused: bool,
    unreadable: bool,
    failed: bool,
}

impl Tracker {
    /// Knows of nothing yet.
    pub(super) fn new() -> Tracker {
        Tracker {
            reader: Reader::new(),
            flows: BTreeMap::new(),
            told: Told::default(),
        }
    }

    /// No flow is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Follows no flow any more.
    pub(super) fn forget(&mut self) {
        self.flows.clear();
    }

    /// Appends what a look shows. Removes those from `wanted` that were found.
    pub(super) fn take(
        &mut self,
        look: Look,
        survey: &Survey,
        wanted: &mut Vec<Wanted>,
        events: &mut Vec<Event>,
    ) {
        self.tell_limits(survey, events);
        if survey.failure.is_some() {
            return;
        }
        self.end_what_is_gone(survey, events);
        match look {
            Look::Opening => self.open_what_is_there(survey, events),
            Look::Following => self.tell_what_lives(events),
            Look::Asked => {}
        }
        wanted.retain(|wanted| !self.attribute(wanted, survey, events));
    }

    fn open_what_is_there(&mut self, survey: &Survey, events: &mut Vec<Event>) {
        for (id, held) in &survey.held {
            if id.is_loopback() || self.flows.contains_key(id) {
                continue;
            }
            let opened = Opened {
                key: id.flow_key(),
                at: survey.at,
                tuple: survey.tuple(id, held),
                owner: self.owner(held, events),
                opened: None,
                established: None,
                origin: Origin::Snapshot,
            };
            events.push(Event::Opened(opened));
            let holders = held.holders.iter().copied().collect();
            self.flows.insert(*id, Tracked { opened, holders });
        }
        if survey.surplus != 0 {
            events.push(Event::Lost {
                stage: LossStage::SensorQueue,
                cause: LossCause::QueueFull,
                what: LostKind::Connections,
                count: Some(survey.surplus),
            });
        }
    }

    /// Of several holders the one that was there first: the others have it from that one.
    fn owner(&mut self, held: &Held, events: &mut Vec<Event>) -> Option<Owner> {
        let facts = held
            .holders
            .iter()
            .filter_map(|pid| libproc::process_facts(*pid).ok());
        let first = facts.min_by_key(|facts| (facts.start, facts.pid))?;
        self.introduce(first.pid, events).map(owner)
    }

    /// Flows that were not heard of for long would be taken for over.
    fn tell_what_lives(&self, events: &mut Vec<Event>) {
        events.extend(self.flows.values().map(|tracked| Event::Updated {
            key: tracked.opened.key,
            traffic: Traffic::default(),
            flow: None,
        }));
    }

    /// The system tells nothing of their end but that they are not there any more.
    fn end_what_is_gone(&mut self, survey: &Survey, events: &mut Vec<Event>) {
        self.flows.retain(|id, tracked| {
            let may_live = tracked
                .holders
                .iter()
                .any(|pid| survey.unsure.contains(pid));
            if may_live || survey.held.contains_key(id) {
                return true;
            }
            events.push(Event::Closed(closed(tracked, survey.at)));
            false
        });
    }

    /// Whether the holder of a wanted connection was found.
    fn attribute(&mut self, wanted: &Wanted, survey: &Survey, events: &mut Vec<Event>) -> bool {
        let Some(pid) = survey.holder(&wanted.tuple) else {
            return false;
        };
        if let Some(process) = self.introduce(pid, events) {
            events.push(Event::Attributed {
                key: wanted.key,
                owner: owner(process),
            });
        }
        true
    }

    fn introduce(&mut self, pid: u32, events: &mut Vec<Event>) -> Option<ProcessKey> {
        let mut introductions: Vec<Introduction> = Vec::new();
        let key = self.reader.of_pid(pid, &mut introductions);
        events.extend(introductions.into_iter().map(Event::ProcessSeen));
        key
    }

    fn tell_limits(&mut self, survey: &Survey, events: &mut Vec<Event>) {
        if let Some(failure) = &survey.failure {
            tell_once(&mut self.told.failed, events, || {
                format!(
                    "the sockets that were there before the filter are not known: processes \
                     cannot be listed ({failure})"
                )
            });
        }
        if survey.refused != 0 {
            tell_once(&mut self.told.refused, events, || {
                format!(
                    "the sockets of {} processes that belong to others are not seen by a look at \
                     all sockets: that takes root",
                    survey.refused
                )
            });
        }
        if survey.unreadable != 0 {
            tell_once(&mut self.told.unreadable, events, || {
                format!(
                    "{} sockets that were there before the filter were told in a form that is not \
                     known here",
                    survey.unreadable
                )
            });
        }
    }
}

fn tell_once(told: &mut bool, events: &mut Vec<Event>, limit: impl FnOnce() -> String) {
    if !std::mem::replace(told, true) {
        events.push(Event::SensorLimited {
            sensor: SensorKind::MacosFilter,
            limit: limit(),
        });
    }
}

fn owner(process: ProcessKey) -> Owner {
    Owner {
        process,
        attribution: Attribution::from_source(IdentitySource::Snapshot),
        responsible: None,
    }
}

fn closed(tracked: &Tracked, at: Mono) -> Closed {
    let Opened {
        key,
        tuple,
        owner,
        origin,
        ..
    } = tracked.opened;
    let has_gone = owner.is_some_and(|owner| !still_runs(&owner.process));
    Closed {
        key,
        at,
        tuple,
        owner,
        opened: None,
        established: None,
        traffic: Traffic::default(),
        rtt_us: None,
        retransmits: None,
        closer_pid: None,
        ending: Ending {
            outcome: if has_gone {
                Outcome::ProcessGone
            } else {
                Outcome::Unknown
            },
            errno: None,
        },
        origin,
    }
}

fn still_runs(process: &ProcessKey) -> bool {
    libproc::process_facts(process.pid).is_ok_and(|facts| key_by_start(&facts) == *process)
}
