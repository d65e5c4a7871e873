//! One JSON object a record, in the words of a schema.

use super::Format;
use super::ecs::Ecs;
use super::ocsf11::Ocsf11;
use super::otel::Otel;
use crate::flat::{Lines, Provenance};
use crate::{Batch, Item, Manifest};
use record::ocsf;
use serde_json::{Value, json};

/// The words of a schema.
pub(super) enum Words {
    Ocsf,
    Ocsf11(Ocsf11, Vec<u8>),
    Ecs(Ecs),
    Otel(Otel),
    Flat(Lines),
}

impl Words {
    /// The words of a format; `None` for one that is not of lines.
    pub(super) fn new(format: Format) -> Option<Words> {
        match format {
            Format::Ocsf => Some(Words::Ocsf),
            Format::Ocsf11 => Some(Words::Ocsf11(Ocsf11::new(), Vec::new())),
            Format::Ecs => Some(Words::Ecs(Ecs::new())),
            Format::Otel => Some(Words::Otel(Otel::new())),
            Format::Flat => Some(Words::Flat(Lines::default())),
            Format::Native | Format::OtlpProtobuf | Format::OtlpJson | Format::Parquet => None,
        }
    }

    /// What comes next is of another batch.
    pub(super) fn begin(&mut self) {
        match self {
            Words::Ocsf | Words::Ocsf11(_, _) => {}
            Words::Ecs(ecs) => ecs.begin(),
            Words::Otel(otel) => otel.begin(),
            Words::Flat(lines) => lines.begin(),
        }
    }

    /// Appends an item as an object, without a line break.
    pub(super) fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        match self {
            Words::Ocsf => ocsf_item(provenance, item, out),
            Words::Ocsf11(old, whole) => {
                whole.clear();
                ocsf_item(provenance, item, whole);
                old.prune(whole, out);
            }
            Words::Ecs(ecs) => ecs.item(provenance, item, out),
            Words::Otel(otel) => otel.item(provenance, item, out),
            Words::Flat(lines) => lines.item(provenance, item, out),
        }
    }

    /// Appends a manifest as an object, without a line break.
    pub(super) fn manifest(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        match self {
            Words::Ocsf => ocsf_manifest(batch, out),
            Words::Ocsf11(old, whole) => {
                whole.clear();
                ocsf_manifest(batch, whole);
                old.prune(whole, out);
            }
            Words::Ecs(ecs) => ecs.manifest(batch, out),
            Words::Otel(otel) => otel.manifest(batch, out),
            Words::Flat(lines) => lines.manifest(&batch.device, &batch.manifest, out),
        }
    }
}

fn ocsf_item(provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
    let device = provenance.device;
    match provenance.source.name() {
        None => ocsf::encode(item.id, &item.record, device, out),
        Some(name) => ocsf::encode_of_side(name, item.id, &item.record, device, out),
    }
}

fn ocsf_manifest(batch: &Batch, out: &mut Vec<u8>) {
    let manifest = &batch.manifest;
    let id = &manifest.id;
    let event = ocsf::LogEvent {
        uid: id.to_string(),
        activity: "Manifest",
        time_ms: manifest_time_ms(batch),
        message: format!(
            "Of the records {} to {} of epoch {}, {} were sent and {} left out.",
            id.first,
            id.last,
            id.epoch,
            manifest.sent,
            manifest.left_out.total()
        ),
        count: manifest.sent,
        notes: json!({ "manifest": manifest_notes(manifest) }),
    };
    ocsf::encode_log_event(event, &batch.device, out);
}

/// The manifest by the names of its columns.
fn manifest_notes(manifest: &Manifest) -> Value {
    let mut line = Vec::with_capacity(1_024);
    let device = record::Device {
        endpoint: manifest.id.endpoint,
        ..record::Device::default()
    };
    Lines::default().manifest(&device, manifest, &mut line);
    let mut notes: Value = serde_json::from_slice(&line).expect("our own JSON");
    let columns = notes.as_object_mut().expect("a line is an object");
    columns.remove("kind");
    notes
}

/// The time of a manifest, where a schema must have one: the beginning of time where none of its
/// records could be read.
pub(super) fn manifest_time_ms(batch: &Batch) -> i64 {
    batch.manifest.until.unwrap_or_default().as_millis()
}
