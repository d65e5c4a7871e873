//! Rows as bytes, with the bytes of what is the same in many rows kept.

use super::{Course, Knowledge, columns, put_section};
use super::{Provenance, Put, Section, Table, Value, put_connection, put_manifest, put_notice};
use crate::{Batch, Item, Manifest};
use record::{Attribution, Device, Direction, Endpoint, Hostname, Process, Protocol, Record};
use std::net::IpAddr;
use std::sync::Arc;

/// How a value becomes bytes.
pub(crate) trait Form {
    /// Whether each row says where it comes from.
    const TELLS_PROVENANCE: bool = true;

    /// Appends the value of a column.
    fn value(&self, table: Table, column: usize, value: Value<'_>, out: &mut Vec<u8>);
}

/// Writes rows in one form.
#[derive(Debug)]
pub(crate) struct Writer<F> {
    form: F,
    kept: Kept,
}

impl<F: Form> Writer<F> {
    pub(crate) fn new(form: F) -> Writer<F> {
        Writer {
            form,
            kept: Kept::default(),
        }
    }

    pub(crate) fn form_mut(&mut self) -> &mut F {
        &mut self.form
    }

    /// What comes next is of another batch.
    pub(crate) fn begin(&mut self) {
        self.kept.provenance = None;
    }

    /// Appends the row of an item.
    #[inline]
    pub(crate) fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        let sequence = item.id.sequence;
        let mut row = self.row(table_of(&item.record), out);
        match &item.record {
            Record::Connection(it) => put_connection(provenance, sequence, it, &mut row),
            Record::Notice(it) => put_notice(provenance, sequence, it, &mut row),
        }
    }

    /// Appends the row of a manifest.
    pub(crate) fn manifest(&mut self, device: &Device, manifest: &Manifest, out: &mut Vec<u8>) {
        put_manifest(device, manifest, &mut self.row(Table::Batches, out));
    }

    /// Appends what the first columns say.
    pub(crate) fn provenance(&mut self, provenance: Provenance<'_>, out: &mut Vec<u8>) {
        put_section(
            Section::Provenance(provenance),
            &mut self.row(Table::Batches, out),
        );
    }

    fn row<'a>(&'a mut self, table: Table, out: &'a mut Vec<u8>) -> Row<'a, F> {
        Row {
            form: &self.form,
            kept: &mut self.kept,
            table,
            column: 0,
            out,
        }
    }
}

/// The table of a record.
pub(crate) fn table_of(record: &Record) -> Table {
    match record {
        Record::Connection(_) => Table::Connections,
        Record::Notice(_) => Table::Notices,
    }
}

impl<'a> Provenance<'a> {
    /// That of a batch.
    pub fn of(batch: &'a Batch) -> Provenance<'a> {
        Provenance {
            device: &batch.device,
            source: &batch.manifest.id.source,
            epoch: batch.manifest.id.epoch,
        }
    }
}

struct Row<'a, F> {
    form: &'a F,
    kept: &'a mut Kept,
    table: Table,
    column: usize,
    out: &'a mut Vec<u8>,
}

impl<F: Form> Put for Row<'_, F> {
    #[inline(always)]
    fn put(&mut self, value: Value<'_>) {
        self.form.value(self.table, self.column, value, self.out);
        self.column += 1;
    }

    fn section(&mut self, section: Section<'_>) {
        match section {
            Section::Provenance(_) if !F::TELLS_PROVENANCE => self.column = columns::PROVENANCE,
            Section::Provenance(_) => self.kept(section, (), |kept| &mut kept.provenance),
            Section::Course(course) => {
                let slot = of_course(course);
                self.kept(section, course, |kept| kept.courses.slot(slot));
            }
            Section::Remote(remote) => {
                let known = KnownRemote(remote.direction, remote.endpoint, remote.hostname);
                let slot = of_remote(remote.direction, remote.endpoint);
                self.kept(section, known, |kept| kept.remotes.slot(slot));
            }
            Section::Knowledge(knowledge) => {
                let slot = of_knowledge(knowledge);
                self.kept(section, knowledge, |kept| kept.knowledge.slot(slot));
            }
            Section::Process(process) => self.process(section, process, 0),
            Section::Responsible(process) => self.process(section, process, 1),
        }
    }
}

impl<F: Form> Row<'_, F> {
    fn process(&mut self, section: Section<'_>, process: Option<&Arc<Process>>, part: usize) {
        let known = KnownProcess(process);
        let slot = of_process(process);
        self.kept(section, known, |kept| kept.processes[part].slot(slot));
    }

    /// What is in the slot if it is of the same, else it is made and takes that place.
    #[inline(always)]
    fn kept<K: Key>(
        &mut self,
        section: Section<'_>,
        key: K,
        slot: impl Fn(&mut Kept) -> &mut Option<Slot<K::Kept>>,
    ) {
        if let Some(slot) = slot(self.kept)
            && key.is(&slot.key)
        {
            self.out.extend_from_slice(&slot.bytes);
            self.column += slot.columns;
            return;
        }
        let (start, first) = (self.out.len(), self.column);
        put_section(section, self);
        let slot = slot(self.kept);
        // The memory of what was there is used again.
        let mut bytes = slot.take().map(|slot| slot.bytes).unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(&self.out[start..]);
        *slot = Some(Slot {
            key: key.kept(),
            bytes,
            columns: self.column - first,
        });
    }
}

/// Bytes of what is the same in many rows; the newest takes the place of what was there.
#[derive(Debug, Default)]
struct Kept {
    provenance: Option<Slot<()>>,
    courses: Slots<Course>,
    remotes: Slots<(Direction, Endpoint, Option<Hostname>)>,
    knowledge: Slots<Knowledge>,
    processes: [Slots<Option<Arc<Process>>>; 2],
}

#[derive(Debug)]
struct Slot<K> {
    key: K,
    bytes: Vec<u8>,
    columns: usize,
}

/// The number only finds the slot; what is in it is compared.
#[derive(Debug)]
struct Slots<K>(Vec<Option<Slot<K>>>);

impl<K> Default for Slots<K> {
    fn default() -> Slots<K> {
        Slots(Vec::new())
    }
}

impl<K> Slots<K> {
    const COUNT: usize = 512;

    fn slot(&mut self, mixed: u64) -> &mut Option<Slot<K>> {
        if self.0.is_empty() {
            self.0.resize_with(Self::COUNT, || None);
        }
        &mut self.0[(mixed >> 48) as usize % Self::COUNT]
    }
}

/// What decides the bytes of a section.
trait Key {
    /// The same, as it is kept beside the bytes.
    type Kept;

    fn is(&self, kept: &Self::Kept) -> bool;
    fn kept(self) -> Self::Kept;
}

impl<K: Copy + Eq> Key for K {
    type Kept = K;

    fn is(&self, kept: &K) -> bool {
        self == kept
    }

    fn kept(self) -> K {
        self
    }
}

struct KnownRemote<'a>(Direction, Endpoint, Option<&'a Hostname>);

impl Key for KnownRemote<'_> {
    type Kept = (Direction, Endpoint, Option<Hostname>);

    fn is(&self, (direction, endpoint, hostname): &Self::Kept) -> bool {
        (self.0, self.1, self.2) == (*direction, *endpoint, hostname.as_ref())
    }

    fn kept(self) -> Self::Kept {
        (self.0, self.1, self.2.cloned())
    }
}

struct KnownProcess<'a>(Option<&'a Arc<Process>>);

/// A process lives as long as its slot, so that no other has its address.
impl Key for KnownProcess<'_> {
    type Kept = Option<Arc<Process>>;

    fn is(&self, kept: &Self::Kept) -> bool {
        match (self.0, kept) {
            (Some(process), Some(kept)) => Arc::ptr_eq(process, kept),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn kept(self) -> Self::Kept {
        self.0.cloned()
    }
}

fn of_course(course: Course) -> u64 {
    let ending = course.ending.map_or(0, |ending| {
        let errno = ending.errno.unwrap_or(-1) as u32;
        u64::from(errno) << 8 | ending.outcome as u64 | 0x80
    });
    let protocol = match course.protocol {
        Protocol::Tcp => 256,
        Protocol::Udp => 257,
        Protocol::Other(number) => number.into(),
    };
    let local = course.local.map_or(0, of_address);
    mixed([ending, course.direction as u64, protocol, local])
}

fn of_remote(direction: Direction, endpoint: Endpoint) -> u64 {
    let port = endpoint.port.map_or(0, u64::from);
    let address = endpoint.address.map_or(0, of_address);
    mixed([direction as u64, address, port, 0])
}

fn of_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits >> 64) as u64 ^ bits as u64
        }
    }
}

fn of_knowledge(knowledge: Knowledge) -> u64 {
    let Attribution { source, confidence } = knowledge.attribution;
    let namespace = knowledge.network_namespace.map_or(0, u64::from);
    mixed([
        source as u64,
        confidence as u64,
        knowledge.origin as u64,
        namespace,
    ])
}

fn of_process(process: Option<&Arc<Process>>) -> u64 {
    let address = process.map_or(0, |process| Arc::as_ptr(process) as u64);
    mixed([address, 0, 0, 0])
}

#[inline(always)]
fn mixed(parts: [u64; 4]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, part: u64| (sum.rotate_left(23) ^ part).wrapping_mul(ODD);
    parts.into_iter().fold(0, mix)
}
