//! Rows as bytes, with the bytes of what is the same in many rows kept.

use super::{Provenance, Put, Section, Table, Value, put_connection, put_manifest, put_notice};
use super::{columns, put_section};
use crate::{Batch, Item, Manifest};
use record::{Device, Process, Record};
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
        let start = self.out.len();
        match section {
            Section::Provenance(_) if !F::TELLS_PROVENANCE => self.column = columns::PROVENANCE,
            Section::Provenance(_) => match &self.kept.provenance {
                Some(bytes) => {
                    self.out.extend_from_slice(bytes);
                    self.column = columns::PROVENANCE;
                }
                None => {
                    put_section(section, self);
                    self.kept.provenance = Some(self.out[start..].to_vec());
                }
            },
            Section::Process(process) => self.process(section, process, 0),
            Section::Responsible(process) => self.process(section, process, 1),
        }
    }
}

impl<F: Form> Row<'_, F> {
    fn process(&mut self, section: Section<'_>, process: Option<&Arc<Process>>, part: usize) {
        let Some(process) = process else {
            return put_section(section, self);
        };
        if let Some(slot) = self.kept.slot(process, part)
            && Arc::ptr_eq(&slot.process, process)
        {
            self.out.extend_from_slice(&slot.bytes);
            self.column += slot.columns;
            return;
        }
        let (start, first) = (self.out.len(), self.column);
        put_section(section, self);
        *self.kept.slot(process, part) = Some(Slot {
            process: Arc::clone(process),
            bytes: self.out[start..].to_vec(),
            columns: self.column - first,
        });
    }
}

/// Bytes of what is the same in many rows; the newest takes the place of what was there.
#[derive(Debug, Default)]
struct Kept {
    provenance: Option<Vec<u8>>,
    slots: Vec<Option<Slot>>,
}

#[derive(Debug)]
struct Slot {
    process: Arc<Process>,
    bytes: Vec<u8>,
    columns: usize,
}

impl Kept {
    const COUNT: usize = 256;

    /// The address only finds the slot; what is in it is compared, and lives as long as the slot.
    fn slot(&mut self, process: &Arc<Process>, part: usize) -> &mut Option<Slot> {
        if self.slots.is_empty() {
            self.slots.resize_with(2 * Kept::COUNT, || None);
        }
        let hint = (Arc::as_ptr(process) as usize >> 4).wrapping_mul(0x9e37_79b1) / 64;
        &mut self.slots[part * Kept::COUNT + hint % Kept::COUNT]
    }
}
