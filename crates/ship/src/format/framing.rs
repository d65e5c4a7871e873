//! How the objects of a batch stand beside each other.

use super::lines::{Words, manifest_time_ms};
use super::uid::{write_batch_uid, write_uid};
use super::{Format, Framing};
use crate::flat::{Provenance, Table, table_of, write_json_text, write_moment, write_number};
use crate::{Batch, Item};
use std::io::Write;

/// Writes the lines of a batch in a framing.
pub(super) struct Framed {
    words: Words,
    framing: Framing,
    /// One object.
    object: Vec<u8>,
    /// One syslog message.
    message: Vec<u8>,
}

/// Where items end, and which are not there.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) ends: Vec<usize>,
    pub(super) too_long: Vec<usize>,
}

impl Framed {
    /// `None` where the format is not one of lines.
    pub(super) fn new(format: Format, framing: Framing) -> Option<Framed> {
        Some(Framed {
            words: Words::new(format)?,
            framing,
            object: Vec::with_capacity(4_096),
            message: Vec::with_capacity(4_096),
        })
    }

    /// Appends a batch.
    pub(super) fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Ends {
        self.words.begin();
        let provenance = Provenance::of(batch);
        let mut ends = Ends::default();
        for (index, item) in batch.items.iter().enumerate() {
            if !self.item(provenance, item, out) {
                ends.too_long.push(index);
            }
            ends.ends.push(out.len());
        }
        self.object.clear();
        self.words.manifest(batch, &mut self.object);
        let about = About {
            table: Table::Batches,
            time_ms: manifest_time_ms(batch),
            hostname: &batch.device.hostname,
        };
        // A manifest is never too long: what does not fit is text of records.
        self.frame(about, |out| write_batch_uid(batch, out), usize::MAX, out);
        ends
    }

    /// Whether it is there.
    fn item(&mut self, provenance: Provenance<'_>, item: &Item, out: &mut Vec<u8>) -> bool {
        self.object.clear();
        self.words.item(provenance, item, &mut self.object);
        let about = About {
            table: table_of(&item.record),
            time_ms: item.record.at().wall.as_millis(),
            hostname: &provenance.device.hostname,
        };
        let bytes_max = match self.framing {
            Framing::Syslog { message_bytes_max } => message_bytes_max,
            Framing::Plain | Framing::Bulk | Framing::Collector { .. } => usize::MAX,
        };
        let uid = |out: &mut Vec<u8>| write_uid(provenance, item.id.sequence, out);
        self.frame(about, uid, bytes_max, out)
    }

    fn frame(
        &mut self,
        about: About<'_>,
        uid: impl FnOnce(&mut Vec<u8>),
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        match &self.framing {
            Framing::Plain => {}
            Framing::Bulk => {
                out.extend_from_slice(b"{\"create\":{\"_id\":\"");
                uid(out);
                out.extend_from_slice(b"\"}}\n");
            }
            Framing::Collector { fields } => {
                about.write_collector(fields, out);
                out.extend_from_slice(&self.object);
                out.extend_from_slice(b"}\n");
                return true;
            }
            Framing::Syslog { .. } => {
                self.message.clear();
                about.write_syslog(uid, &mut self.message);
                self.message.extend_from_slice(&self.object);
                let fits = self.message.len() <= bytes_max;
                if fits {
                    write_number(self.message.len() as u64, out);
                    out.push(b' ');
                    out.extend_from_slice(&self.message);
                }
                return fits;
            }
        }
        out.extend_from_slice(&self.object);
        out.push(b'\n');
        true
    }
}

/// What stands around an object.
struct About<'a> {
    table: Table,
    time_ms: i64,
    hostname: &'a str,
}

impl About<'_> {
    /// Up to the event.
    fn write_collector(&self, fields: &[(String, String)], out: &mut Vec<u8>) {
        let (seconds, millis) = (
            self.time_ms.div_euclid(1_000),
            self.time_ms.rem_euclid(1_000),
        );
        write!(out, "{{\"time\":{seconds}.{millis:03}").expect("memory can be written");
        let has_host = fields.iter().any(|(name, _)| name == "host");
        if !has_host && !self.hostname.is_empty() {
            write_field("host", self.hostname, out);
        }
        for (name, value) in fields {
            write_field(name, value, out);
        }
        out.extend_from_slice(b",\"event\":");
    }

    /// Header and structured data of RFC 5424, and the space before the message.
    fn write_syslog(&self, uid: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        write!(out, "<{PRIORITY}>1 ").expect("memory can be written");
        write_moment(self.time_ms, b'T', out);
        out.push(b' ');
        write_hostname(self.hostname, out);
        write!(
            out,
            " conntrail - {} [{STRUCTURE} uid=\"",
            self.table.kind()
        )
        .expect("memory can be written");
        uid(out);
        out.extend_from_slice(b"\"] ");
    }
}

/// Facility `local0`, severity informational.
const PRIORITY: u32 = 16 * 8 + 6;
/// The name of our structured data; its number is the one for examples, as we have none.
const STRUCTURE: &str = "conntrail@32473";
const HOSTNAME_BYTES_MAX: usize = 255;

/// A hostname of RFC 5424 is of printable ASCII without spaces; what is not becomes a `?`.
fn write_hostname(hostname: &str, out: &mut Vec<u8>) {
    if hostname.is_empty() {
        return out.push(b'-');
    }
    let letters = hostname.bytes().take(HOSTNAME_BYTES_MAX);
    out.extend(letters.map(|byte| if byte.is_ascii_graphic() { byte } else { b'?' }));
}

fn write_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    write_json_text(name, out);
    out.push(b':');
    write_json_text(value, out);
}
