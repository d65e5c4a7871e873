//! Records to frames and back.

use crate::chain::{self, Hash};
use crate::format::{
    Chained, FRAME_FIXED_BYTES, FRAME_HEADER_BYTES, FrameHeader, MARKER, Packing, find_marker,
};
use record::wire::{push_varint, take_varint};
use std::ops::Range;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, Strategy};

/// A frame as it will stand in a segment.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// The chain before its first record.
    pub(crate) before: Hash,
    /// The chain after its last.
    pub(crate) head: Hash,
}

/// What a frame is made of, but for its records' bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameFacts<'a> {
    pub(crate) epoch: u64,
    pub(crate) first_sequence: u64,
    pub(crate) records: u16,
    pub(crate) wall_min_ns: i64,
    pub(crate) wall_max_ns: i64,
    /// The chain before its first record.
    pub(crate) before: Hash,
    /// From [`crate::index::Addresses::build`].
    pub(crate) index: &'a [u8],
}

/// Makes frames; keeps its memory from one to the next.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(level: i32) -> Packer {
        let mut compressor = Compressor::new(level).expect("every level is accepted and clamped");
        if level == 1 {
            for parameter in QUICK {
                // What is refused is left as the level has it.
                let _ = compressor.set_parameter(parameter);
            }
        }
        Packer {
            compressor,
            packed: Vec::new(),
        }
    }

    /// Packs `raw`, the records with their lengths before them.
    pub(crate) fn pack(&mut self, raw: &[u8], facts: &FrameFacts<'_>) -> Frame {
        let count = u32::from(facts.records);
        let head = chain::link(&facts.before, facts.epoch, facts.first_sequence, count, raw);
        self.pack_payload(raw, facts, head, 1)
    }

    /// Packs records that were written before, in `groups` of so many records each, with the
    /// chain that they had.
    pub(crate) fn repack(
        &mut self,
        raw: &[u8],
        facts: &FrameFacts<'_>,
        groups: &[u16],
        head: Hash,
    ) -> Frame {
        if groups.len() == 1 {
            return self.pack_payload(raw, facts, head, 1);
        }
        let mut payload = Vec::with_capacity(raw.len() + 2 * groups.len());
        for count in groups {
            push_varint(&mut payload, u64::from(*count));
        }
        payload.extend_from_slice(raw);
        self.pack_payload(&payload, facts, head, groups.len() as u16)
    }

    fn pack_payload(
        &mut self,
        raw: &[u8],
        facts: &FrameFacts<'_>,
        head: Hash,
        groups: u16,
    ) -> Frame {
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let compressed = self.compressor.compress_to_buffer(raw, &mut self.packed);
        let (packing, payload) = match compressed {
            Ok(length) if length < raw.len() => (Packing::Zstd, &self.packed[..]),
            Ok(_) | Err(_) => (Packing::Plain, raw),
        };
        let chained = Chained {
            index_length: facts.index.len() as u16,
            groups,
            head,
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
            chained: Some(chained),
        };
        Frame {
            bytes: assemble(header, &chained, facts.index, payload),
            first_sequence: header.first_sequence,
            last_sequence: header.last_sequence(),
            before: facts.before,
            head,
        }
    }
}

/// Joins header and payload so that the marker stands only at the front.
///
/// A reader that looks for the next frame after damage must not be led astray by what a record
/// holds, and others choose some of that: the names of programs and hosts. Where the marker
/// would occur, the payload is masked. The mask comes from a checksum over all records of the
/// frame, their times among them, so it cannot be foreseen by who chose one name.
fn assemble(mut header: FrameHeader, chained: &Chained, index: &[u8], payload: &[u8]) -> Vec<u8> {
    let front = header.header_bytes();
    let mut out = Vec::with_capacity(front + payload.len());
    let seed = crc32c::crc32c(payload);
    for attempt in 0..MASK_ATTEMPTS {
        out.clear();
        out.resize(front, 0);
        out.extend_from_slice(payload);
        header.payload_crc = seed;
        if attempt > 0 {
            header.mask = seed.wrapping_add(attempt.wrapping_mul(0x9e37_79b9)) | 1;
            apply_mask(&mut out[front..], header.mask);
            header.payload_crc = crc32c::crc32c(&out[front..]);
        }
        header.put(chained, index, &mut out);
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
    /// How many records each group has, in order.
    groups: Vec<u16>,
    /// Where the first record's length begins.
    start: usize,
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
            groups: Vec::new(),
            start: 0,
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
        self.groups.clear();
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

    /// How many records each group has, in order.
    pub(crate) fn groups(&self) -> &[u16] {
        &self.groups
    }

    /// The bytes of `count` records from the one at `index` on, with their lengths before them.
    pub(crate) fn stretch(&self, index: usize, count: usize) -> &[u8] {
        let end = |index: usize| match index.checked_sub(1) {
            None => self.start,
            Some(before) => self.records[before].end,
        };
        &self.raw[end(index)..end(index + count)]
    }

    fn split(&mut self, header: &FrameHeader) -> Result<(), BadPayload> {
        let whole = self.raw.len() == header.raw_length as usize;
        if whole
            && self.split_groups(header).is_some()
            && self.split_records().is_some()
            && self.records.len() == usize::from(header.records)
        {
            return Ok(());
        }
        self.records.clear();
        Err(BadPayload)
    }

    /// Reads how many records each group has; where there is one group, nothing says so.
    fn split_groups(&mut self, header: &FrameHeader) -> Option<()> {
        let mut rest = &self.raw[..];
        let mut left = header.records;
        if header.groups() == 1 {
            self.groups.push(left);
            left = 0;
        } else {
            for _ in 0..header.groups() {
                let count = u16::try_from(take_varint(&mut rest).ok()?).ok()?;
                self.groups.push(Some(count).filter(|count| *count > 0)?);
                left = left.checked_sub(count)?;
            }
        }
        self.start = self.raw.len() - rest.len();
        (left == 0).then_some(())
    }

    fn split_records(&mut self) -> Option<()> {
        let mut rest = &self.raw[self.start..];
        while !rest.is_empty() {
            let length = usize::try_from(take_varint(&mut rest).ok()?).ok()?;
            let start = self.raw.len() - rest.len();
            let (record, after) = rest.split_at_checked(length)?;
            self.records.push(start..start + record.len());
            rest = after;
        }
        Some(())
    }
}

/// Adds a repeating mask to `bytes`; a second time takes it off again.
fn apply_mask(bytes: &mut [u8], mask: u32) {
    let mask = mask.to_le_bytes();
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte ^= mask[index % mask.len()];
    }
}

/// What makes level 1 quicker by a third on our records, which are long and much alike, for a
/// quarter more of space: a smaller table, matches of no less than six bytes, and fewer places to
/// look for them.
const QUICK: [CParameter; 4] = [
    CParameter::Strategy(Strategy::ZSTD_fast),
    CParameter::HashLog(13),
    CParameter::MinMatch(6),
    CParameter::TargetLength(4),
];

/// Each attempt fails with a chance of about a frame's length in 2^64.
const MASK_ATTEMPTS: u32 = 64;

const _: () = assert!(MARKER.len() < FRAME_HEADER_BYTES && FRAME_HEADER_BYTES < FRAME_FIXED_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn raw_of(records: &[&[u8]]) -> Vec<u8> {
        let mut raw = Vec::new();
        for record in records {
            push_varint(&mut raw, record.len() as u64);
            raw.extend_from_slice(record);
        }
        raw
    }

    fn facts(records: u16) -> FrameFacts<'static> {
        FrameFacts {
            epoch: 1,
            first_sequence: 5,
            records,
            wall_min_ns: -1,
            wall_max_ns: 1,
            before: [3; 32],
            index: &[1, 2, 3],
        }
    }

    fn roundtrip(records: &[&[u8]]) -> FrameHeader {
        let frame = Packer::new(1).pack(&raw_of(records), &facts(records.len() as u16));
        let header = FrameHeader::parse(&frame.bytes).unwrap();
        assert_eq!(find_marker(&frame.bytes[1..]), None);
        let mut unpacker = Unpacker::new();
        unpacker
            .unpack(&header, &frame.bytes[header.header_bytes()..])
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
    fn groups_survive_and_wrong_ones_are_refused() {
        let records: Vec<Vec<u8>> = (0..6).map(|index| vec![index; 90]).collect();
        let raw = raw_of(&records.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let repacked = |groups: &[u16]| {
            let frame = Packer::new(1).repack(&raw, &facts(6), groups, [9; 32]);
            let header = FrameHeader::parse(&frame.bytes).unwrap();
            let mut unpacker = Unpacker::new();
            let unpacked = unpacker.unpack(&header, &frame.bytes[header.header_bytes()..]);
            unpacked.map(|()| unpacker)
        };
        let unpacker = repacked(&[1, 3, 2]).unwrap();
        assert_eq!((unpacker.groups(), unpacker.count()), (&[1, 3, 2][..], 6));
        assert_eq!(unpacker.stretch(0, 6), raw);
        assert_eq!(unpacker.stretch(1, 3), &raw[91..4 * 91]);
        assert_eq!(unpacker.record(4), records[4]);
        assert_eq!(repacked(&[6]).unwrap().groups(), [6]);
        for wrong in [&[1, 3][..], &[6, 0], &[1, 3, 3], &[7, 1]] {
            assert_eq!(repacked(wrong).err(), Some(BadPayload), "{wrong:?}");
        }
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
        let frame = Packer::new(1).pack(&bomb, &facts(1));
        let mut header = FrameHeader::parse(&frame.bytes).unwrap();
        let mut unpacker = Unpacker::new();
        for raw_length in [1, 100, (1 << 20) - 1, (1 << 20) + 1] {
            header.raw_length = raw_length;
            let unpacked = unpacker.unpack(&header, &frame.bytes[header.header_bytes()..]);
            assert_eq!(unpacked, Err(BadPayload));
            assert_eq!(unpacker.count(), 0);
        }
    }
}
