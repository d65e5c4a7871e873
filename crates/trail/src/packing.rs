//! Records to frames and back.

use crate::format::{FRAME_HEADER_BYTES, FrameHeader, MARKER, Packing, find_marker};
use record::wire::take_varint;
use std::ops::Range;
use zstd::bulk::{Compressor, Decompressor};

/// A frame as it will stand in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
}

/// What a frame is made of, but for its records' bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameFacts {
    pub(crate) epoch: u64,
    pub(crate) first_sequence: u64,
    pub(crate) records: u16,
    pub(crate) wall_min_ns: i64,
    pub(crate) wall_max_ns: i64,
}

/// Makes frames; keeps its memory from one to the next.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(level: i32) -> Packer {
        let compressor = Compressor::new(level).expect("every level is accepted and clamped");
        Packer {
            compressor,
            packed: Vec::new(),
        }
    }

    /// Packs `raw`, the records with their lengths before them.
    pub(crate) fn pack(&mut self, raw: &[u8], facts: FrameFacts) -> Frame {
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let compressed = self.compressor.compress_to_buffer(raw, &mut self.packed);
        let (packing, payload) = match compressed {
            Ok(length) if length < raw.len() => (Packing::Zstd, &self.packed[..]),
            Ok(_) | Err(_) => (Packing::Plain, raw),
        };
        let header = FrameHeader {
            payload_length: payload.len() as u32,
            raw_length: raw.len() as u32,
            epoch: facts.epoch,
            records: facts.records,
            packing,
            first_sequence: facts.first_sequence,
            wall_min_ns: facts.wall_min_ns,
            wall_max_ns: facts.wall_max_ns,
            mask: 0,
            payload_crc: 0,
        };
        Frame {
            bytes: assemble(header, payload),
            first_sequence: header.first_sequence,
            last_sequence: header.last_sequence(),
        }
    }
}

/// Joins header and payload so that the marker stands only at the front.
///
/// A reader that looks for the next frame after damage must not be led astray by what a record
/// holds, and others choose some of that: the names of programs and hosts. Where the marker
/// would occur, the payload is masked. The mask comes from a checksum over all records of the
/// frame, their times among them, so it cannot be foreseen by who chose one name.
fn assemble(mut header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
    let seed = crc32c::crc32c(payload);
    for attempt in 0..MASK_ATTEMPTS {
        out.clear();
        out.resize(FRAME_HEADER_BYTES, 0);
        out.extend_from_slice(payload);
        header.payload_crc = seed;
        if attempt > 0 {
            header.mask = seed.wrapping_add(attempt.wrapping_mul(0x9e37_79b9)) | 1;
            apply_mask(&mut out[FRAME_HEADER_BYTES..], header.mask);
            header.payload_crc = crc32c::crc32c(&out[FRAME_HEADER_BYTES..]);
        }
        out[..FRAME_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        if find_marker(&out[1..]).is_none() {
            break;
        }
    }
    out
}

/// Unpacks frames; keeps its memory from one to the next.
pub(crate) struct Unpacker {
    decompressor: Decompressor<'static>,
    raw: Vec<u8>,
    unmasked: Vec<u8>,
    records: Vec<Range<usize>>,
}

/// The payload is not what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPayload;

impl Unpacker {
    pub(crate) fn new() -> Unpacker {
        let decompressor = Decompressor::new().expect("without a dictionary nothing can be wrong");
        Unpacker {
            decompressor,
            raw: Vec::new(),
            unmasked: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Unpacks a payload, after which its records can be asked for.
    ///
    /// Takes no more memory than the header's lengths, which were checked against their bounds.
    pub(crate) fn unpack(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<(), BadPayload> {
        self.records.clear();
        self.raw.clear();
        let whole = payload.len() == header.payload_length as usize;
        if !whole || crc32c::crc32c(payload) != header.payload_crc {
            return Err(BadPayload);
        }
        let payload = match header.mask {
            0 => payload,
            mask => {
                self.unmasked.clear();
                self.unmasked.extend_from_slice(payload);
                apply_mask(&mut self.unmasked, mask);
                &self.unmasked
            }
        };
        match header.packing {
            Packing::Plain => self.raw.extend_from_slice(payload),
            Packing::Zstd => {
                self.raw.reserve_exact(header.raw_length as usize);
                self.decompressor
                    .decompress_to_buffer(payload, &mut self.raw)
                    .map_err(|_| BadPayload)?;
            }
        }
        self.split(header)
    }

    /// How many records the frame has.
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }

    /// The bytes of one record.
    pub(crate) fn record(&self, index: usize) -> &[u8] {
        &self.raw[self.records[index].clone()]
    }

    fn split(&mut self, header: &FrameHeader) -> Result<(), BadPayload> {
        let mut rest = &self.raw[..];
        let mut fits = rest.len() == header.raw_length as usize;
        while fits && !rest.is_empty() {
            let length = take_varint(&mut rest)
                .ok()
                .and_then(|length| usize::try_from(length).ok());
            let start = self.raw.len() - rest.len();
            match length.and_then(|length| rest.split_at_checked(length)) {
                Some((record, after)) => {
                    self.records.push(start..start + record.len());
                    rest = after;
                }
                None => fits = false,
            }
        }
        if fits && self.records.len() == usize::from(header.records) {
            return Ok(());
        }
        self.records.clear();
        Err(BadPayload)
    }
}

/// Adds a repeating mask to `bytes`; a second time takes it off again.
fn apply_mask(bytes: &mut [u8], mask: u32) {
    let mask = mask.to_le_bytes();
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte ^= mask[index % mask.len()];
    }
}

/// Each attempt fails with a chance of about a frame's length in 2^64.
const MASK_ATTEMPTS: u32 = 64;

const _: () = assert!(MARKER.len() < FRAME_HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use record::wire::push_varint;

    fn raw_of(records: &[&[u8]]) -> Vec<u8> {
        let mut raw = Vec::new();
        for record in records {
            push_varint(&mut raw, record.len() as u64);
            raw.extend_from_slice(record);
        }
        raw
    }

    fn facts(records: u16) -> FrameFacts {
        FrameFacts {
            epoch: 1,
            first_sequence: 5,
            records,
            wall_min_ns: -1,
            wall_max_ns: 1,
        }
    }

    fn roundtrip(records: &[&[u8]]) -> FrameHeader {
        let frame = Packer::new(1).pack(&raw_of(records), facts(records.len() as u16));
        let header = FrameHeader::parse(&frame.bytes).unwrap();
        assert_eq!(find_marker(&frame.bytes[1..]), None);
        let mut unpacker = Unpacker::new();
        unpacker
            .unpack(&header, &frame.bytes[FRAME_HEADER_BYTES..])
            .unwrap();
        assert_eq!(unpacker.count(), records.len());
        for (index, record) in records.iter().enumerate() {
            assert_eq!(unpacker.record(index), *record);
        }
        header
    }

    #[test]
    fn both_packings_survive() {
        assert_eq!(roundtrip(&[b"a", b"", b"ccc"]).packing, Packing::Plain);
        assert_eq!(
            roundtrip(&[&[7; 1_000], b"", &[7; 1_000]]).packing,
            Packing::Zstd
        );
    }

    #[test]
    fn marker_in_a_record_is_masked() {
        let mut record = b"evil".to_vec();
        record.extend_from_slice(&MARKER);
        assert_ne!(roundtrip(&[&record]).mask, 0);
        assert_eq!(roundtrip(&[b"good"]).mask, 0);
    }

    #[test]
    fn payload_that_unpacks_to_something_else_is_refused() {
        let bomb = vec![0; 1 << 20];
        let frame = Packer::new(1).pack(&bomb, facts(1));
        let mut header = FrameHeader::parse(&frame.bytes).unwrap();
        let mut unpacker = Unpacker::new();
        for raw_length in [1, 100, (1 << 20) - 1, (1 << 20) + 1] {
            header.raw_length = raw_length;
            let unpacked = unpacker.unpack(&header, &frame.bytes[FRAME_HEADER_BYTES..]);
            assert_eq!(unpacked, Err(BadPayload));
            assert_eq!(unpacker.count(), 0);
        }
    }
}
