//! The flows that are followed now, in little room.

use crate::event::{Closed, FlowKey, Opened, Owner, Tuple};
use crate::processes::Processes;
use crate::tombstones::Tombstone;
use crate::totals::Totals;
use record::{
    Attribution, Connection, ConnectionId, Direction, Endpoint, Hostname, IdentitySource, Mono,
    Origin, Phase, Process, ProcessKey, Protocol, Stamp,
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What is known of one flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) key: FlowKey,
    /// Its connection's, in the epoch of the table.
    pub(crate) ordinal: u64,
    /// When it was first seen.
    pub(crate) at: Mono,
    pub(crate) opened: Option<Mono>,
    pub(crate) established: Option<Mono>,
    pub(crate) tuple: Tuple,
    pub(crate) origin: Origin,
    pub(crate) attribution: Attribution,
    pub(crate) owner: Party,
    pub(crate) responsible: Party,
    pub(crate) hostname: Option<Hostname>,
    pub(crate) totals: Totals,
    /// What another record has told of the same flow already.
    pub(crate) before: Option<Box<Tombstone>>,
    pub(crate) last_seen: Mono,
    /// What was heard of it last was how much passed.
    pub(crate) heard_totals_last: bool,
    pub(crate) last_record: Mono,
    /// An update told of it.
    pub(crate) is_updated: bool,
    /// It is beyond the limit of its process and has no record so far.
    pub(crate) is_summed: bool,
}

/// A process that a flow names.
#[derive(Clone, Debug)]
pub(crate) enum Party {
    /// Nobody is named.
    Nobody,
    /// Only its key is known so far.
    Key(ProcessKey),
    /// It was introduced. Held on to, because the table of processes forgets.
    Known(Arc<Process>),
}

/// A connection on its way to a record.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) connection: Box<Connection>,
    /// Those whom it names and whom nobody had introduced. They are not on the connection yet.
    pub(crate) missing: Missing,
}

/// The owner and the responsible process, as far as they are missing.
pub(crate) type Missing = [Option<ProcessKey>; 2];

/// A process that is named, if any is; its key where nobody has introduced it.
type Newest = Result<Option<Arc<Process>>, ProcessKey>;

impl Draft {
    /// The record, with those who were missing as they are known now.
    pub(crate) fn finish(mut self, processes: &mut Processes) -> Box<Connection> {
        let connection = &mut *self.connection;
        let places = [&mut connection.process, &mut connection.responsible];
        for (place, missing) in places.into_iter().zip(self.missing) {
            if let Some(key) = missing {
                let found = processes.find(key);
                *place = Some(found.unwrap_or_else(|| Arc::new(Process::bare(key))));
            }
        }
        self.connection
    }

    /// Whether everybody whom it names was introduced.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == [None, None]
    }
}

impl Party {
    /// A process, as it is known now.
    pub(crate) fn of(key: ProcessKey, processes: &mut Processes) -> Party {
        match processes.find(key) {
            Some(process) => Party::Known(process),
            None => Party::Key(key),
        }
    }

    /// Who it is, if anybody.
    pub(crate) fn key(&self) -> Option<ProcessKey> {
        match self {
            Party::Nobody => None,
            Party::Key(key) => Some(*key),
            Party::Known(process) => Some(process.key),
        }
    }

    /// The newest that is known of it, or its key if nobody has introduced it.
    fn newest(&self, find: &mut impl FnMut(ProcessKey) -> Option<Arc<Process>>) -> Newest {
        let Some(key) = self.key() else {
            return Ok(None);
        };
        match (find(key), self) {
            (Some(newest), _) => Ok(Some(newest)),
            (None, Party::Known(known)) => Ok(Some(Arc::clone(known))),
            (None, Party::Nobody | Party::Key(_)) => Err(key),
        }
    }
}

impl Flow {
    /// A flow of which nothing is known but what `opened` says, and nobody who owns it.
    pub(crate) fn new(opened: &Opened, ordinal: u64) -> Flow {
        Flow {
            key: opened.key,
            ordinal,
            at: opened.at,
            opened: opened.opened,
            established: opened.established,
            tuple: opened.tuple,
            origin: opened.origin,
            attribution: Attribution::from_source(IdentitySource::None),
            owner: Party::Nobody,
            responsible: Party::Nobody,
            hostname: None,
            totals: Totals::default(),
            before: None,
            last_seen: opened.at,
            heard_totals_last: false,
            last_record: opened.at,
            is_updated: false,
            is_summed: false,
        }
    }

    /// Its record at `at`, with the newest that is known of its processes.
    pub(crate) fn draft(
        &self,
        epoch: u64,
        phase: Phase,
        at: Stamp,
        processes: &mut Processes,
    ) -> Draft {
        self.draft_with(epoch, phase, at, |key| processes.find(key))
    }

    /// The same, with the processes that `find` knows.
    pub(crate) fn draft_with(
        &self,
        epoch: u64,
        phase: Phase,
        at: Stamp,
        mut find: impl FnMut(ProcessKey) -> Option<Arc<Process>>,
    ) -> Draft {
        let process = self.owner.newest(&mut find);
        let responsible = self.responsible.newest(&mut find);
        let missing =
            [process.as_ref().err(), responsible.as_ref().err()].map(Option::<&_>::copied);
        let id = ConnectionId {
            epoch,
            ordinal: self.ordinal,
        };
        Draft {
            connection: Box::new(Connection {
                id,
                phase,
                at,
                process: process.unwrap_or(None),
                attribution: self.attribution,
                responsible: responsible.unwrap_or(None),
                protocol: self.tuple.protocol,
                direction: self.tuple.direction,
                local: self.tuple.local,
                remote: self.tuple.remote,
                hostname: self.hostname.clone(),
                network_namespace: self.tuple.network_namespace,
                opened: self.opened,
                established: self.established,
                traffic: self.rest().traffic(),
                rtt_us: None,
                retransmits: None,
                closer_pid: None,
                origin: self.origin,
                treated: None,
                aggregate: None,
            }),
            missing,
        }
    }

    /// The part of its totals that no other record has told.
    pub(crate) fn rest(&self) -> Totals {
        match &self.before {
            Some(before) => self.totals.since(&before.totals),
            None => self.totals,
        }
    }

    /// When it began, as far as that is known.
    pub(crate) fn began(&self) -> Mono {
        self.opened.or(self.established).unwrap_or(self.at)
    }

    /// Something was told of it.
    pub(crate) fn heard_of(&mut self, now: Mono) {
        self.last_seen = self.last_seen.max(now);
        self.heard_totals_last = false;
    }

    /// It was told how much passed so far.
    pub(crate) fn heard_totals(&mut self, totals: Totals, now: Mono) {
        self.heard_of(now);
        self.heard_totals_last = true;
        self.totals.raise(totals);
    }

    /// Somebody owns it.
    pub(crate) fn give_to(&mut self, owner: Owner, processes: &mut Processes) {
        let Owner {
            process,
            attribution,
            responsible,
        } = owner;
        self.attribution = attribution;
        if self.owner.key() != Some(process) {
            self.owner = Party::of(process, processes);
            self.responsible = Party::Nobody;
        }
        if let Some(responsible) = responsible {
            self.responsible = if responsible == process {
                Party::Nobody
            } else {
                Party::of(responsible, processes)
            };
        }
    }

    /// Its last word: what it says goes before what was known, and leaves what it does not say.
    pub(crate) fn close_with(&mut self, closed: &Closed, processes: &mut Processes) {
        self.tuple = filled_in(closed.tuple, &self.tuple);
        self.opened = closed.opened.or(self.opened);
        self.established = closed.established.or(self.established);
        // The listener's token is that of the beginning: whoever was found since is better. And a
        // process that runs another program by now did not make the flow as that.
        let is_old_news = |owner: &Owner| {
            owner.attribution.confidence < self.attribution.confidence
                || owner.attribution.source == IdentitySource::ListenerToken
                    && self.attribution.source != IdentitySource::None
                || owner.attribution.confidence == self.attribution.confidence
                    && self
                        .owner
                        .key()
                        .is_some_and(|its| is_other_image(its, owner.process))
        };
        if let Some(owner) = closed.owner.filter(|owner| !is_old_news(owner)) {
            self.give_to(owner, processes);
        }
    }

    /// Takes over what was unknown.
    pub(crate) fn fill_in(&mut self, opened: &Opened) {
        self.tuple = filled_in(self.tuple, &opened.tuple);
        self.opened = self.opened.or(opened.opened);
        self.established = self.established.or(opened.established);
    }

    /// Whether `tuple` names another remote address, so that it is not this flow's.
    pub(crate) fn goes_elsewhere(&self, tuple: &Tuple) -> bool {
        let both = self.tuple.remote.address.zip(tuple.remote.address);
        both.is_some_and(|(its, other)| its != other)
    }

    /// Whether packets pass on it that belong to no connection.
    pub(crate) fn is_datagrams(&self) -> bool {
        self.tuple.protocol != Protocol::Tcp
    }
}

/// The same process, before and after it executed another program.
fn is_other_image(one: ProcessKey, other: ProcessKey) -> bool {
    (one.pid, one.start_ns) == (other.pid, other.start_ns) && one.exec_id != other.exec_id
}

/// `tuple` with what it lacks taken from `other`.
pub(crate) fn filled_in(tuple: Tuple, other: &Tuple) -> Tuple {
    let end = |end: Endpoint, other: Endpoint| Endpoint {
        address: end.address.or(other.address),
        port: end.port.or(other.port),
    };
    Tuple {
        protocol: tuple.protocol,
        direction: match tuple.direction {
            Direction::Unknown => other.direction,
            Direction::Outbound | Direction::Inbound => tuple.direction,
        },
        local: end(tuple.local, other.local),
        remote: end(tuple.remote, other.remote),
        network_namespace: tuple.network_namespace.or(other.network_namespace),
    }
}

/// All flows that are followed, each in a slot that it keeps.
///
/// Slots stand in blocks that never move: growing copies no flow, and the map from keys to slots,
/// which must be copied when it grows, is small.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    slots: FxHashMap<FlowKey, u32>,
    blocks: Vec<Vec<Slot>>,
    /// The first free slot; each names the next.
    free: Option<u32>,
}

#[derive(Debug)]
enum Slot {
    Free {
        next: Option<u32>,
    },
    Live(Flow),
    /// No longer followed; its last record is not put together yet.
    LetGo(Flow),
}

const BLOCK_SLOTS: usize = 1_024;

impl Flows {
    /// How many are followed.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Follows a flow, whose key must not be followed yet.
    pub(crate) fn insert(&mut self, flow: Flow) -> u32 {
        let key = flow.key;
        let slot = match self.free {
            Some(free) => free,
            None => self.new_slot(),
        };
        let place = self.place(slot);
        let next = match place {
            Slot::Free { next } => *next,
            Slot::Live(_) | Slot::LetGo(_) => None,
        };
        *place = Slot::Live(flow);
        self.free = next;
        self.slots.insert(key, slot);
        slot
    }

    /// Where a flow is, if it is followed.
    pub(crate) fn slot(&self, key: FlowKey) -> Option<u32> {
        self.slots.get(&key).copied()
    }

    /// The flow in a slot that is in use.
    pub(crate) fn at(&self, slot: u32) -> Option<&Flow> {
        let index = slot as usize;
        match self
            .blocks
            .get(index / BLOCK_SLOTS)?
            .get(index % BLOCK_SLOTS)?
        {
            Slot::Live(flow) => Some(flow),
            Slot::Free { .. } | Slot::LetGo(_) => None,
        }
    }

    /// A flow that is followed.
    pub(crate) fn get_mut(&mut self, key: FlowKey) -> Option<&mut Flow> {
        let slot = self.slot(key)?;
        match self.place(slot) {
            Slot::Live(flow) => Some(flow),
            Slot::Free { .. } | Slot::LetGo(_) => None,
        }
    }

    /// Marks a flow that is followed as one that is told in a sum, or by itself.
    pub(crate) fn set_summed(&mut self, slot: u32, is_summed: bool) {
        if let Slot::Live(flow) = self.place(slot) {
            flow.is_summed = is_summed;
        }
    }

    /// Stops following a flow.
    pub(crate) fn remove(&mut self, key: FlowKey) -> Option<Flow> {
        let slot = self.slots.remove(&key)?;
        self.vacate(slot)
    }

    /// Stops following the flow in a slot and leaves it there until [`Flows::take_let_go`].
    pub(crate) fn let_go(&mut self, slot: u32) {
        let place = self.place(slot);
        match std::mem::replace(place, Slot::Free { next: None }) {
            Slot::Live(flow) => {
                let key = flow.key;
                *place = Slot::LetGo(flow);
                self.slots.remove(&key);
            }
            other @ (Slot::Free { .. } | Slot::LetGo(_)) => *place = other,
        }
    }

    /// Takes out a flow that was let go.
    pub(crate) fn take_let_go(&mut self, slot: u32) -> Option<Flow> {
        self.vacate(slot)
    }

    /// One more than the highest slot that was ever in use.
    pub(crate) fn slot_end(&self) -> u32 {
        let full_blocks = self.blocks.len().saturating_sub(1);
        let in_last = self.blocks.last().map_or(0, Vec::len);
        (full_blocks * BLOCK_SLOTS + in_last) as u32
    }

    /// Those that are followed, in the order of their slots, which is the same for the same calls.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Flow)> {
        let slots = self.blocks.iter().flatten().enumerate();
        slots.filter_map(|(index, slot)| match slot {
            Slot::Live(flow) => Some((index as u32, flow)),
            Slot::Free { .. } | Slot::LetGo(_) => None,
        })
    }

    fn vacate(&mut self, slot: u32) -> Option<Flow> {
        let free = Slot::Free { next: self.free };
        match std::mem::replace(self.place(slot), free) {
            Slot::Live(flow) | Slot::LetGo(flow) => {
                self.free = Some(slot);
                Some(flow)
            }
            Slot::Free { next } => {
                *self.place(slot) = Slot::Free { next };
                None
            }
        }
    }

    fn new_slot(&mut self) -> u32 {
        if self
            .blocks
            .last()
            .is_none_or(|block| block.len() == BLOCK_SLOTS)
        {
            self.blocks.push(Vec::with_capacity(BLOCK_SLOTS));
        }
        let full_blocks = self.blocks.len() - 1;
        let block = self.blocks.last_mut().expect("a block was made just above");
        block.push(Slot::Free { next: None });
        (full_blocks * BLOCK_SLOTS + block.len() - 1) as u32
    }

    fn place(&mut self, slot: u32) -> &mut Slot {
        let index = slot as usize;
        &mut self.blocks[index / BLOCK_SLOTS][index % BLOCK_SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::testing;

    fn flow(socket: u64) -> Flow {
        Flow::new(&testing::opened(socket, 2_000), socket)
    }

    #[test]
    fn a_slot_costs_what_the_bound_says() {
        let slot = std::mem::size_of::<Slot>();
        assert!(slot <= 264, "{slot} bytes");
    }

    #[test]
    fn slots_are_used_again_and_those_let_go_are_followed_no_more() {
        let mut flows = Flows::default();
        for socket in 0..3_000 {
            flows.insert(flow(socket));
        }
        let slot = flows.slot(testing::key(7)).unwrap();
        flows.let_go(slot);
        assert_eq!(flows.len(), 2_999);
        assert!(flows.get_mut(testing::key(7)).is_none());
        assert!(flows.iter().all(|(_, flow)| flow.ordinal != 7));
        let again = flows.insert(flow(7));
        assert_ne!(again, slot, "its last record is still to be made");
        assert_eq!(flows.take_let_go(slot).unwrap().ordinal, 7);
        assert!(flows.take_let_go(slot).is_none());
        assert_eq!(flows.remove(testing::key(7)).unwrap().ordinal, 7);
        for socket in 10_000..10_002 {
            flows.insert(flow(socket));
        }
        assert_eq!(flows.blocks.len(), 3, "no slot more than was ever needed");
        assert_eq!(flows.iter().count(), flows.len());
    }
}
