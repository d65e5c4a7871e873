//! Batches in the trail's own bytes: `docs/specs/batch.md`.
//!
//! A header of 18 bytes that says how to read the rest, then one message of protocol buffers, which
//! may be compressed: device, manifest, records.

use super::Compression;
use super::compress::Compressor;
use crate::{Batch, BatchId, Item, LeftOut, Manifest};
use record::wire::{Fields, Value, WireError, Writer, push_varint, take_varint};
use record::{EndpointId, RecordId, Wall, codec};
use std::sync::Arc;
use trail::{Head, Source};

/// The first bytes.
const MAGIC: [u8; 4] = *b"CTRB";
/// What comes after the magic.
const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const HEADER_BYTES: usize = 18;

/// The message is no longer than this before it is compressed.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A batch has no more records than this.
pub const RECORDS_MAX: usize = 65_536;
/// The name of a side trail is no longer than this.
const SOURCE_BYTES_MAX: usize = 64;

/// Why bytes are not a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NativeError {
    /// They begin otherwise.
    #[error("these bytes are not a batch of records: they do not begin with CTRB")]
    NotABatch,
    /// Of a later version.
    #[error("the batch is of version {0}, and this program reads version 1; update it")]
    Version(u8),
    /// Compressed in a way of a later version.
    #[error("the batch is compressed in the way {0}, which this program does not know; update it")]
    Compression(u8),
    /// The length or the checksum is not that of the bytes.
    #[error("the batch is damaged: {0}")]
    Damaged(&'static str),
    /// More than there may be.
    #[error("the batch is larger than this program takes: {what} {found}, at most {most}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// So many.
        found: usize,
        /// There may be so many.
        most: usize,
    },
    /// The message is not what it should be.
    #[error("the batch cannot be read: {0}")]
    Wire(#[from] WireError),
    /// What it says does not fit together.
    #[error("the batch contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// The bytes of a batch. `message` is where the message is put together.
pub(super) fn encode(
    batch: &Batch,
    records: &mut codec::Encoder,
    compressor: &mut Compressor,
    message: &mut Vec<u8>,
) -> Vec<u8> {
    message.clear();
    write_message(batch, records, message);
    let body = compressor.compress(message);
    let compression = match compressor {
        Compressor::None | Compressor::Gzip(_) => PLAIN,
        Compressor::Zstd(_) => ZSTD,
    };
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, compression]);
    out.extend_from_slice(&(message.len() as u32).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let sum = checksum(&out, &body);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Reads a batch, which takes up all of `bytes`. What it needs is bounded by
/// [`MESSAGE_BYTES_MAX`] and [`RECORDS_MAX`], whatever the bytes are.
///
/// # Errors
/// When the bytes are not one whole batch as it was written.
pub fn decode(bytes: &[u8]) -> Result<Batch, NativeError> {
    let (header, body) = split_header(bytes)?;
    let message_length = u32_at(header, 6) as usize;
    if message_length > MESSAGE_BYTES_MAX {
        return Err(NativeError::TooLarge {
            what: "bytes",
            found: message_length,
            most: MESSAGE_BYTES_MAX,
        });
    }
    if u32_at(header, 10) as usize != body.len() {
        return Err(NativeError::Damaged("its length is not what it says"));
    }
    if u32_at(header, 14) != checksum(&header[..14], body) {
        return Err(NativeError::Damaged("the checksum is another"));
    }
    match header[5] {
        PLAIN if body.len() == message_length => read_message(body),
        PLAIN => Err(NativeError::Damaged("its length is not what it says")),
        ZSTD => {
            let message = zstd::bulk::decompress(body, message_length)
                .map_err(|_| NativeError::Damaged("it cannot be decompressed"))?;
            match message.len() == message_length {
                true => read_message(&message),
                false => Err(NativeError::Damaged("its length is not what it says")),
            }
        }
        other => Err(NativeError::Compression(other)),
    }
}

/// How a batch is compressed inside, for people; `None` where it is no batch.
pub fn compression_of(bytes: &[u8]) -> Option<Compression> {
    let (header, _) = split_header(bytes).ok()?;
    match header[5] {
        PLAIN => Some(Compression::None),
        ZSTD => Some(Compression::Zstd),
        _ => None,
    }
}

fn split_header(bytes: &[u8]) -> Result<(&[u8], &[u8]), NativeError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(NativeError::NotABatch);
    }
    match bytes.get(4) {
        None => return Err(NativeError::Damaged("it ends in the header")),
        Some(&VERSION) => {}
        Some(&other) => return Err(NativeError::Version(other)),
    }
    let parts = bytes.split_at_checked(HEADER_BYTES);
    parts.ok_or(NativeError::Damaged("it ends in the header"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes[at..at + 4].try_into();
    u32::from_le_bytes(four.expect("four bytes are four bytes"))
}

/// CRC-32C of all but itself.
fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}

fn write_message(batch: &Batch, records: &mut codec::Encoder, out: &mut Vec<u8>) {
    let mut part = Vec::with_capacity(512);
    codec::encode_device(&batch.device, &mut part);
    Writer::new(out).bytes(1, &part);
    Writer::new(out).message(2, |body| write_manifest(&batch.manifest, body));
    let mut previous = batch.manifest.id.first;
    for item in &batch.items {
        part.clear();
        push_varint(&mut part, item.id.sequence - previous);
        records.encode(&item.record, &mut part);
        Writer::new(out).bytes(3, &part);
        previous = item.id.sequence;
    }
}

fn write_manifest(manifest: &Manifest, out: &mut Writer<'_>) {
    let id = &manifest.id;
    out.bytes(1, &id.endpoint.0);
    out.text_if(2, id.source.name());
    let left_out = &manifest.left_out;
    let numbers = [
        id.epoch,
        id.first,
        id.last,
        id.view.into(),
        manifest.sent,
        left_out.opens,
        left_out.filtered,
        left_out.dropped,
        left_out.refused,
        left_out.missing,
    ];
    for (field, number) in (3..).zip(numbers) {
        out.uint(field, number);
    }
    out.bytes(13, &manifest.digest);
    if let Some(head) = &manifest.head {
        out.uint(14, head.epoch);
        out.uint(15, head.sequence);
        out.bytes(16, &head.hash);
    }
    if let Some(Wall(until_ns)) = manifest.until {
        out.sint(17, until_ns);
    }
}

fn read_message(message: &[u8]) -> Result<Batch, NativeError> {
    let mut device = None;
    let mut manifest: Option<Manifest> = None;
    let mut items = Items::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => device = Some(codec::decode_device(value.bytes()?)?),
            (2, value) => manifest = Some(read_manifest(value)?),
            (3, value) => {
                let manifest = manifest.as_ref().ok_or(WireError::Missing(2))?;
                items.read(value.bytes()?, &manifest.id)?;
            }
            _ => {}
        }
    }
    let manifest = manifest.ok_or(WireError::Missing(2))?;
    if manifest.sent != items.items.len() as u64 {
        return Err(NativeError::Contradiction(
            "it has more or fewer records than it says",
        ));
    }
    Ok(Batch {
        manifest,
        device: Arc::new(device.ok_or(WireError::Missing(1))?),
        items: items.items,
    })
}

/// The records as far as they are read.
#[derive(Default)]
struct Items {
    decoder: codec::Decoder,
    items: Vec<Item>,
}

impl Items {
    fn read(&mut self, mut bytes: &[u8], id: &BatchId) -> Result<(), NativeError> {
        if self.items.len() == RECORDS_MAX {
            return Err(NativeError::TooLarge {
                what: "records",
                found: RECORDS_MAX + 1,
                most: RECORDS_MAX,
            });
        }
        let gap = take_varint(&mut bytes)?;
        let sequence = match self.items.last() {
            None => id.first.checked_add(gap),
            Some(_) if gap == 0 => None,
            Some(last) => last.id.sequence.checked_add(gap),
        };
        let sequence = sequence.filter(|sequence| *sequence <= id.last);
        let sequence = sequence.ok_or(NativeError::Contradiction(
            "a record is not in the range, or not in order",
        ))?;
        self.items.push(Item {
            id: RecordId {
                epoch: id.epoch,
                sequence,
            },
            record: self.decoder.decode(bytes)?,
        });
        Ok(())
    }
}

fn read_manifest(value: Value<'_>) -> Result<Manifest, NativeError> {
    let mut read = ManifestParts::default();
    for field in value.fields()? {
        match field? {
            (1, value) => read.endpoint = Some(EndpointId(value.array()?)),
            (2, value) => read.source = Some(read_source(value)?),
            (number @ 3..13, value) => read.numbers[number as usize - 3] = Some(value.uint()?),
            (13, value) => read.digest = Some(value.array()?),
            (14, value) => read.head_epoch = Some(value.uint()?),
            (15, value) => read.head_sequence = Some(value.uint()?),
            (16, value) => read.head_hash = Some(value.array()?),
            (17, value) => read.until = Some(Wall(value.sint()?)),
            _ => {}
        }
    }
    let manifest = read.whole()?;
    match manifest.id.first <= manifest.id.last {
        true => Ok(manifest),
        false => Err(NativeError::Contradiction(
            "its range ends before it begins",
        )),
    }
}

fn read_source(value: Value<'_>) -> Result<Source, NativeError> {
    let name = value.text()?;
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name = (1..=SOURCE_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_letter);
    match is_name {
        true => Ok(Source::Side(name.into())),
        false => Err(NativeError::Contradiction(
            "the name of the side trail is none",
        )),
    }
}

#[derive(Default)]
struct ManifestParts {
    endpoint: Option<EndpointId>,
    source: Option<Source>,
    numbers: [Option<u64>; 10],
    digest: Option<[u8; 32]>,
    head_epoch: Option<u64>,
    head_sequence: Option<u64>,
    head_hash: Option<[u8; 32]>,
    until: Option<Wall>,
}

impl ManifestParts {
    fn whole(self) -> Result<Manifest, NativeError> {
        let number = |at: usize| self.numbers[at].ok_or(WireError::Missing(at as u32 + 3));
        let head = match (self.head_epoch, self.head_sequence, self.head_hash) {
            (Some(epoch), Some(sequence), Some(hash)) => Some(Head {
                epoch,
                sequence,
                hash,
            }),
            (None, None, None) => None,
            _ => return Err(NativeError::Contradiction("a part of the head is missing")),
        };
        Ok(Manifest {
            id: BatchId {
                endpoint: self.endpoint.ok_or(WireError::Missing(1))?,
                source: self.source.clone().unwrap_or(Source::Recorder),
                epoch: number(0)?,
                first: number(1)?,
                last: number(2)?,
                view: u32::try_from(number(3)?).map_err(|_| WireError::Overflow)?,
            },
            sent: number(4)?,
            left_out: LeftOut {
                opens: number(5)?,
                filtered: number(6)?,
                dropped: number(7)?,
                refused: number(8)?,
                missing: number(9)?,
            },
            digest: self.digest.ok_or(WireError::Missing(13))?,
            head,
            until: self.until,
        })
    }
}
