//! The peers of unconnected datagram sockets.
//!
//! The kernel counts them in a table and tells when one is new and when a socket is gone. It
//! cannot tell when a peer fell silent, so that is found out here: each is looked at when it could
//! have been silent for long enough, never sooner.

use crate::sys::abi::{FlowKeyBytes, FlowValueBytes};
use crate::translate::{PeerKey, Translator};
use aya::maps::{HashMap, MapData};
use flow::{Event, FlowKey, Owner};
use record::{Mono, Outcome};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The kernel's table.
pub(super) type Table = HashMap<MapData, FlowKeyBytes, FlowValueBytes>;

/// What user space knows of the kernel's table.
pub(super) struct Peers {
    table: Table,
    /// Ordered by socket, so that those of one are together.
    known: BTreeMap<PeerKey, Known>,
    /// Owners that were corrected after flows of theirs had opened.
    corrected: FxHashMap<u64, Owner>,
    round: Round,
    idle_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The number of the flow.
    part: u64,
    /// Before this moment it cannot have been silent for long enough.
    look_at: Mono,
}

/// One walk over all that is known, a bounded piece in each poll.
#[derive(Clone, Copy, Debug)]
enum Round {
    /// The next one begins then.
    Waiting(Mono),
    /// This one got as far as here.
    Reached(PeerKey),
}

impl Peers {
    pub(super) fn new(table: Table, idle_ns: u64) -> Peers {
        Peers {
            table,
            known: BTreeMap::new(),
            corrected: FxHashMap::default(),
            round: Round::Waiting(Mono(0)),
            idle_ns,
        }
    }

    pub(super) fn opened(&mut self, key: PeerKey, part: u64, at: Mono) {
        self.known.insert(
            key,
            Known {
                part,
                look_at: at.plus_ns(self.idle_ns),
            },
        );
    }

    /// The owner of `socket` is known better; so are the owners of the flows that it has.
    pub(super) fn attributed(&mut self, socket: u64, owner: Owner, events: &mut Vec<Event>) {
        let keys: Vec<FlowKey> = self.flows_of(socket).collect();
        if !keys.is_empty() {
            self.corrected.insert(socket, owner);
        }
        events.extend(keys.into_iter().map(|key| Event::Attributed { key, owner }));
    }

    /// `socket` is gone, and with it all its flows.
    pub(super) fn released(
        &mut self,
        socket: u64,
        at: Mono,
        closer_pid: Option<u32>,
        translator: &Translator,
        events: &mut Vec<Event>,
    ) {
        let keys: Vec<PeerKey> = self
            .known
            .range(range_of(socket))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Ok(value) = self.table.get(&key.into(), 0) {
                let closed = translator.peer_closed(&key, &value, at, closer_pid, Outcome::Closed);
                self.end(key, closed, events);
            }
            self.known.remove(&key);
        }
        self.corrected.remove(&socket);
    }

    /// Ends those that were silent for long enough, at most an eighth of that time late.
    pub(super) fn check_idle(
        &mut self,
        now: Mono,
        translator: &Translator,
        events: &mut Vec<Event>,
    ) {
        let from = match self.round {
            Round::Waiting(until) if now < until => return,
            Round::Waiting(_) => Bound::Unbounded,
            Round::Reached(key) => Bound::Excluded(key),
        };
        let piece: Vec<(PeerKey, Mono)> = self
            .known
            .range((from, Bound::Unbounded))
            .take(PIECE_MAX)
            .map(|(key, known)| (*key, known.look_at))
            .collect();
        self.round = match piece.last() {
            Some((key, _)) if piece.len() == PIECE_MAX => Round::Reached(*key),
            Some(_) | None => Round::Waiting(now.plus_ns(self.idle_ns / 8)),
        };
        for (key, _) in piece.iter().filter(|(_, look_at)| *look_at <= now) {
            self.check(*key, now, translator, events);
        }
    }

    /// Takes over what the kernel's table holds and nobody told of.
    pub(super) fn find_unknown(&mut self, now: Mono) {
        let unknown: Vec<(PeerKey, u64)> = self
            .table
            .iter()
            .take(TABLE_ENTRIES_MAX)
            .filter_map(Result::ok)
            .map(|(key, value)| (PeerKey::from(key), value.part))
            .filter(|(key, _)| !self.known.contains_key(key))
            .collect();
        for (key, part) in unknown {
            self.opened(key, part, now);
        }
    }

    /// Whether no flow is known.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All flows that are known.
    pub(super) fn flows(&self) -> impl Iterator<Item = FlowKey> {
        self.known.iter().map(flow_key)
    }

    /// Sockets that have a flow that opened before `before`.
    pub(super) fn sockets_before(&self, before: Mono) -> Vec<u64> {
        let mut sockets: Vec<u64> = self
            .known
            .keys()
            .filter(|key| {
                let value = self.table.get(&FlowKeyBytes::from(**key), 0);
                value.is_ok_and(|value| value.opened_ns < before.0)
            })
            .map(|key| key.socket)
            .collect();
        sockets.dedup();
        sockets
    }

    /// A datagram that the kernel counts between the look and the deletion is lost: a chance of
    /// some microseconds after a minute of silence.
    fn check(&mut self, key: PeerKey, now: Mono, translator: &Translator, events: &mut Vec<Event>) {
        let Ok(value) = self.table.get(&key.into(), 0) else {
            self.known.remove(&key);
            return;
        };
        let last = Mono(value.last_ns);
        let silent_until = last.plus_ns(self.idle_ns);
        if silent_until > now {
            if let Some(known) = self.known.get_mut(&key) {
                known.look_at = silent_until;
            }
            return;
        }
        let closed = translator.peer_closed(&key, &value, last, None, Outcome::Idle);
        self.end(key, closed, events);
        self.known.remove(&key);
        if self.flows_of(key.socket).next().is_none() {
            self.corrected.remove(&key.socket);
        }
    }

    fn end(&mut self, key: PeerKey, mut closed: flow::Closed, events: &mut Vec<Event>) {
        if let Some(owner) = self.corrected.get(&key.socket) {
            closed.owner = Some(*owner);
        }
        // Fails only when the entry is gone already, which is what is wanted.
        let _ = self.table.remove(&key.into());
        events.push(Event::Closed(closed));
    }

    fn flows_of(&self, socket: u64) -> impl Iterator<Item = FlowKey> {
        self.known.range(range_of(socket)).map(flow_key)
    }
}

fn flow_key((key, known): (&PeerKey, &Known)) -> FlowKey {
    FlowKey {
        socket: key.socket,
        part: known.part,
    }
}

fn range_of(socket: u64) -> std::ops::RangeInclusive<PeerKey> {
    let first = PeerKey {
        socket,
        address: [0; 16],
        port: 0,
    };
    let last = PeerKey {
        socket,
        address: [0xff; 16],
        port: u16::MAX,
    };
    first..=last
}

/// Peers that one poll passes, so that it does not take long.
const PIECE_MAX: usize = 4_096;

/// The table's size, doubled: a walk over a table that changes can pass an entry twice.
const TABLE_ENTRIES_MAX: usize = 2 * 65_536;
