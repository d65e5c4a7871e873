//! Elastic Common Schema, one JSON object a record, its fields by their full names:
//! <https://www.elastic.co/docs/reference/ecs>.

use super::lines::manifest_time_ms;
use super::uid::{write_batch_uid, write_uid};
use crate::flat::{Form, Provenance, Table, Value, Writer, write_json_value, write_moment};
use crate::{Batch, Item};
use record::{Connection, Direction, NoticeKind, Outcome, Phase, Record};
use std::io::Write;

/// The version of the schema.
pub(super) const VERSION: &str = "9.4.0";

/// Writes lines.
pub(super) struct Ecs(Writer<Fields>);

impl Ecs {
    pub(super) fn new() -> Ecs {
        Ecs(Writer::new(Fields { is_inbound: false }))
    }

    pub(super) fn begin(&mut self) {
        self.0.begin();
    }

    pub(super) fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) {
        begin(item.record.at().wall.as_millis(), out);
        write_uid(provenance, item.id.sequence, out);
        match &item.record {
            Record::Connection(connection) => {
                self.0.form_mut().is_inbound = connection.direction == Direction::Inbound;
                connection_event(connection, out);
            }
            Record::Notice(notice) => {
                let kind = notice_event_kind(&notice.kind);
                write!(
                    out,
                    "\",\"event.kind\":\"{kind}\",\"event.dataset\":\"conntrail.notices\""
                )
                .expect("memory can be written");
            }
        }
        self.0.item(provenance, item, out);
        out.push(b'}');
    }

    pub(super) fn manifest(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        begin(manifest_time_ms(batch), out);
        write_batch_uid(batch, out);
        out.extend_from_slice(
            b"\",\"event.kind\":\"metric\",\"event.dataset\":\"conntrail.manifests\"",
        );
        self.0.manifest(&batch.device, &batch.manifest, out);
        out.push(b'}');
    }
}

/// Up to the unique name and its first quote.
fn begin(time_ms: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"@timestamp\":\"");
    write_moment(time_ms, b'T', out);
    write!(out, "\",\"ecs.version\":\"{VERSION}\",\"event.id\":\"").expect("memory can be written");
}

fn connection_event(connection: &Connection, out: &mut Vec<u8>) {
    let (kind, outcome) = match connection.phase {
        Phase::Open => ("start", "success"),
        Phase::Update => ("info", "success"),
        Phase::Close(ending) => ("end", event_outcome(ending.outcome)),
    };
    write!(
        out,
        "\",\"event.kind\":\"event\",\"event.dataset\":\"conntrail.connections\",\
         \"event.category\":[\"network\"],\"event.type\":[\"connection\",\"{kind}\"],\
         \"event.outcome\":\"{outcome}\""
    )
    .expect("memory can be written");
    if let Some(opened) = connection.opened {
        let duration_ns = connection.at.mono.since_ns(opened);
        write!(out, ",\"event.duration\":{duration_ns}").expect("memory can be written");
    }
}

fn event_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Closed | Outcome::Idle => "success",
        Outcome::Reset
        | Outcome::Refused
        | Outcome::TimedOut
        | Outcome::Unreachable
        | Outcome::Aborted
        | Outcome::Failed => "failure",
        Outcome::Reaped
        | Outcome::Evicted
        | Outcome::Unknown
        | Outcome::ProcessGone
        | Outcome::AgedOut
        | Outcome::Superseded
        | Outcome::Unwatched => "unknown",
    }
}

/// A loss is an error on the way of events, in the words of the schema.
fn notice_event_kind(kind: &NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Lost { .. } | NoticeKind::TrailEvicted { .. } | NoticeKind::Undelivered(_) => {
            "pipeline_error"
        }
        NoticeKind::RecorderStarted { .. }
        | NoticeKind::RecorderStopped { .. }
        | NoticeKind::SensorStarted { .. }
        | NoticeKind::SensorStopped { .. }
        | NoticeKind::SensorLimited { .. }
        | NoticeKind::BreakerChanged { .. }
        | NoticeKind::Coverage(_)
        | NoticeKind::ExtensionReplaced(_)
        | NoticeKind::Sleeping
        | NoticeKind::Slept { .. }
        | NoticeKind::ClockStepped { .. }
        | NoticeKind::Ledger(_)
        | NoticeKind::PolicyChanged(_)
        | NoticeKind::PolicyCounts(_)
        | NoticeKind::StageCounts(_)
        | NoticeKind::Delivery(_) => "event",
    }
}

#[derive(Debug)]
struct Fields {
    /// The schema names the sides by who began.
    is_inbound: bool,
}

impl Form for Fields {
    #[inline(always)]
    fn value(&self, table: Table, column: usize, value: Value<'_>, out: &mut Vec<u8>) {
        let name = table.columns()[column].ecs;
        if matches!(value, Value::Unknown | Value::Text("")) {
            return;
        }
        let (side, name) = match (name.strip_prefix("@local"), name.strip_prefix("@remote")) {
            (Some(rest), _) if self.is_inbound => ("destination", rest),
            (Some(rest), _) => ("source", rest),
            (_, Some(rest)) if self.is_inbound => ("source", rest),
            (_, Some(rest)) => ("destination", rest),
            (None, None) => ("", name),
        };
        out.extend_from_slice(b",\"");
        out.extend_from_slice(side.as_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        write_json_value(in_words_of_the_schema(name, value), b'T', out);
    }
}

/// A host says which way a connection goes as it sees it.
fn in_words_of_the_schema<'a>(name: &str, value: Value<'a>) -> Value<'a> {
    match (name, value) {
        ("network.direction", Value::Text("outbound")) => Value::Text("egress"),
        ("network.direction", Value::Text("inbound")) => Value::Text("ingress"),
        (_, value) => value,
    }
}
