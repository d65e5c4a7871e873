//! The bytes of segments, frames and the head; the tables stand in `docs/specs/trail.md`.

use crate::chain::{Hash, Head as ChainHead};
use record::{Device, EndpointId, Mono, Stamp, Wall, codec};
use std::fmt;

/// Starts every frame and occurs nowhere else in a segment, as far as the writer can see to it.
///
/// Its bytes differ from each other, so that no two occurrences can overlap.
pub(crate) const MARKER: [u8; 8] = [0xc7, 0x1e, 0xa5, 0x0d, 0x93, 0x7a, 0x42, 0xe8];

/// Bytes of a frame before its payload in version 1, and the fewest in any version.
pub(crate) const FRAME_HEADER_BYTES: usize = 60;

/// Bytes of a frame before its index in version 2.
pub(crate) const FRAME_FIXED_BYTES: usize = 92;

/// The largest index of a frame that a reader accepts.
pub(crate) const INDEX_MAX: usize = 16 << 10;

/// Bytes of the head file.
pub(crate) const HEAD_BYTES: usize = 64;

/// The largest payload of a frame before compression that a reader accepts.
pub(crate) const FRAME_RAW_MAX: usize = 2 << 20;

/// The largest segment header that a reader accepts.
pub(crate) const SEGMENT_HEADER_MAX: usize = 64 << 10;

/// The largest device that fits a segment's header.
pub(crate) const DEVICE_BYTES_MAX: usize = SEGMENT_HEADER_MAX - SEGMENT_FIXED_BYTES - 8;

/// The largest epoch, so that names keep their order.
pub(crate) const EPOCH_MAX: u64 = 99_999_999;

const SEGMENT_MAGIC: [u8; 8] = *b"\x89CTRAIL\n";
const HEAD_MAGIC: [u8; 8] = *b"\x89CTHEAD\n";
const HEADER_FIXED_BYTES: usize = 16;

/// Bytes of a segment's header before the length of its device, by version.
const SEGMENT_FIXED_BYTES_1: usize = 68;
const SEGMENT_FIXED_BYTES: usize = 116;

/// Where a segment stands among the others: its name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The epoch of all its records.
    pub epoch: u64,
    /// The sequence of its first record.
    pub first_sequence: u64,
}

impl SegmentName {
    /// Reads a file name; `None` when it is not one of ours.
    pub fn parse(text: &str) -> Option<SegmentName> {
        let (epoch, rest) = text.strip_prefix('e')?.split_once("-s")?;
        let first_sequence = parse_digits(rest.strip_suffix(".trail")?)?;
        let name = SegmentName {
            epoch: parse_digits(epoch)?,
            first_sequence,
        };
        let ours = (1..=EPOCH_MAX).contains(&name.epoch) && first_sequence > 0;
        (ours && name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{:08}-s{:012}.trail", self.epoch, self.first_sequence)
    }
}

/// What stands at the front of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) endpoint: EndpointId,
    pub(crate) name: SegmentName,
    pub(crate) created: Stamp,
    pub(crate) device: Device,
    pub(crate) length: u64,
    pub(crate) version: Version,
    /// The frames were written a second time, densely.
    pub(crate) dense: bool,
    /// The chain before the first record, where it is known; see [`crate::Head`].
    pub(crate) previous: Option<ChainHead>,
    /// The device as it stands there.
    pub(crate) device_bytes: Vec<u8>,
}

/// A version of the format. All are read, only the last is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Without chain and addresses.
    One,
    Two,
}

impl Version {
    fn from_number(number: u16) -> Option<Version> {
        match number {
            1 => Some(Version::One),
            2 => Some(Version::Two),
            _ => None,
        }
    }
}

/// What the front of a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SegmentFront {
    Header(Box<SegmentHeader>),
    NewerFormat(u16),
    /// It ends before the header does, as while it is being made.
    Short,
    Damaged,
}

impl SegmentFront {
    /// Whether this stands before the frames of that segment, as far as it can be read.
    pub(crate) fn may_be(&self, name: SegmentName) -> bool {
        match self {
            SegmentFront::Header(header) => header.name == name,
            SegmentFront::Damaged => true,
            SegmentFront::NewerFormat(_) | SegmentFront::Short => false,
        }
    }
}

/// What a segment's header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentFacts<'a> {
    pub(crate) name: SegmentName,
    pub(crate) endpoint: EndpointId,
    pub(crate) created: Stamp,
    pub(crate) dense: bool,
    pub(crate) previous: Option<ChainHead>,
    /// From [`codec::encode_device`].
    pub(crate) device_bytes: &'a [u8],
}

/// Builds the header of a segment.
pub(crate) fn segment_header(facts: &SegmentFacts<'_>) -> Vec<u8> {
    let length = SEGMENT_FIXED_BYTES + 4 + facts.device_bytes.len() + 4;
    assert!(
        length <= SEGMENT_HEADER_MAX,
        "the device takes {} bytes",
        facts.device_bytes.len()
    );
    let unknown = ChainHead {
        epoch: 0,
        sequence: 0,
        hash: [0; 32],
    };
    let previous = facts.previous.unwrap_or(unknown);
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&SEGMENT_MAGIC);
    out.extend_from_slice(&2u16.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&facts.endpoint.0);
    out.extend_from_slice(&facts.name.epoch.to_le_bytes());
    out.extend_from_slice(&facts.name.first_sequence.to_le_bytes());
    out.extend_from_slice(&facts.created.wall.0.to_le_bytes());
    out.extend_from_slice(&facts.created.mono.0.to_le_bytes());
    out.extend_from_slice(&[u8::from(facts.dense), 0, 0, 0]);
    out.extend_from_slice(&previous.epoch.to_le_bytes());
    out.extend_from_slice(&previous.sequence.to_le_bytes());
    out.extend_from_slice(&previous.hash);
    out.extend_from_slice(&(facts.device_bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(facts.device_bytes);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

/// Reads the front of a segment from the first [`SEGMENT_HEADER_MAX`] bytes of its file, or as
/// many as there are.
pub(crate) fn parse_segment_front(bytes: &[u8]) -> SegmentFront {
    let magic = bytes.len().min(SEGMENT_MAGIC.len());
    if bytes[..magic] != SEGMENT_MAGIC[..magic] {
        return SegmentFront::Damaged;
    }
    if bytes.len() < HEADER_FIXED_BYTES {
        return SegmentFront::Short;
    }
    let length = u32_at(bytes, 12) as usize;
    if !(HEADER_FIXED_BYTES + 4..=SEGMENT_HEADER_MAX).contains(&length) {
        return SegmentFront::Damaged;
    }
    let Some(header) = bytes.get(..length) else {
        return SegmentFront::Short;
    };
    let (body, checksum) = header.split_at(length - 4);
    if crc32c::crc32c(body) != u32_at(checksum, 0) {
        return SegmentFront::Damaged;
    }
    let number = u16_at(bytes, 8);
    let Some(version) = Version::from_number(number) else {
        return SegmentFront::NewerFormat(number);
    };
    read_segment_header(body, version).map_or(SegmentFront::Damaged, |header| {
        SegmentFront::Header(Box::new(header))
    })
}

fn read_segment_header(body: &[u8], version: Version) -> Option<SegmentHeader> {
    let (fixed, dense, previous) = match version {
        Version::One => (SEGMENT_FIXED_BYTES_1, false, None),
        Version::Two => {
            let front = body.get(..SEGMENT_FIXED_BYTES)?;
            (SEGMENT_FIXED_BYTES, front[64] == 1, read_previous(front))
        }
    };
    let device_bytes = body.get(fixed + 4..)?;
    if device_bytes.len() != u32_at(body, fixed) as usize {
        return None;
    }
    let endpoint = EndpointId(body[16..32].try_into().expect("the range is 16 bytes"));
    let device = codec::decode_device(device_bytes).unwrap_or(Device {
        endpoint,
        ..Device::default()
    });
    Some(SegmentHeader {
        endpoint,
        name: SegmentName {
            epoch: u64_at(body, 32),
            first_sequence: u64_at(body, 40),
        },
        created: Stamp {
            wall: Wall(i64_at(body, 48)),
            mono: Mono(u64_at(body, 56)),
        },
        device,
        length: body.len() as u64 + 4,
        version,
        dense,
        previous,
        device_bytes: device_bytes.to_vec(),
    })
}

fn read_previous(front: &[u8]) -> Option<ChainHead> {
    let head = ChainHead {
        epoch: u64_at(front, 68),
        sequence: u64_at(front, 76),
        hash: hash_at(front, 84),
    };
    (head.sequence > 0).then_some(head)
}

/// How a payload is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Zstd,
}

impl Packing {
    fn number(self) -> u8 {
        match self {
            Packing::Plain => 0,
            Packing::Zstd => 1,
        }
    }

    fn from_number(number: u8) -> Option<Packing> {
        match number {
            0 => Some(Packing::Plain),
            1 => Some(Packing::Zstd),
            _ => None,
        }
    }
}

/// What stands before the payload of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_length: u32,
    pub(crate) raw_length: u32,
    pub(crate) epoch: u64,
    pub(crate) records: u16,
    pub(crate) packing: Packing,
    pub(crate) first_sequence: u64,
    pub(crate) wall_min_ns: i64,
    pub(crate) wall_max_ns: i64,
    pub(crate) mask: u32,
    pub(crate) payload_crc: u32,
    /// What version 1 does not have.
    pub(crate) chained: Option<Chained>,
}

/// What a frame has since version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chained {
    pub(crate) index_length: u16,
    /// How many groups its records were first written in; see [`crate::chain`].
    pub(crate) groups: u16,
    /// The chain after its last record.
    pub(crate) head: Hash,
}

impl FrameHeader {
    pub(crate) fn last_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.records) - 1
    }

    /// Bytes before the payload.
    pub(crate) fn header_bytes(&self) -> usize {
        match &self.chained {
            None => FRAME_HEADER_BYTES,
            Some(chained) => FRAME_FIXED_BYTES + usize::from(chained.index_length) + 4,
        }
    }

    /// Bytes of header and payload.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.header_bytes() as u64 + u64::from(self.payload_length)
    }

    /// How many groups its records were first written in.
    pub(crate) fn groups(&self) -> usize {
        self.chained.map_or(1, |chained| chained.groups.into())
    }

    /// The chain after its last record, if it has one.
    pub(crate) fn head(&self) -> Option<ChainHead> {
        self.chained.map(|chained| ChainHead {
            epoch: self.epoch,
            sequence: self.last_sequence(),
            hash: chained.head,
        })
    }

    /// Puts the header and `index` in front of what is in `out` after their length.
    ///
    /// Only frames of the last version are written.
    pub(crate) fn put(&self, chained: &Chained, index: &[u8], out: &mut [u8]) {
        let epoch = u32::try_from(self.epoch).expect("epochs are at most EPOCH_MAX");
        out[..8].copy_from_slice(&MARKER);
        out[8..12].copy_from_slice(&self.payload_length.to_le_bytes());
        out[12..16].copy_from_slice(&self.raw_length.to_le_bytes());
        out[16..20].copy_from_slice(&epoch.to_le_bytes());
        out[20..22].copy_from_slice(&self.records.to_le_bytes());
        out[22] = self.packing.number();
        out[23] = LAYOUT_2;
        out[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[32..40].copy_from_slice(&self.wall_min_ns.to_le_bytes());
        out[40..48].copy_from_slice(&self.wall_max_ns.to_le_bytes());
        out[48..52].copy_from_slice(&self.mask.to_le_bytes());
        out[52..56].copy_from_slice(&self.payload_crc.to_le_bytes());
        out[56..58].copy_from_slice(&chained.index_length.to_le_bytes());
        out[58..60].copy_from_slice(&chained.groups.to_le_bytes());
        out[60..FRAME_FIXED_BYTES].copy_from_slice(&chained.head);
        let end = FRAME_FIXED_BYTES + index.len();
        out[FRAME_FIXED_BYTES..end].copy_from_slice(index);
        let checksum = crc32c::crc32c(&out[..end]);
        out[end..end + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// How many bytes a header would have that begins with these [`FRAME_HEADER_BYTES`];
    /// `None` when it is none.
    pub(crate) fn bytes_of(front: &[u8]) -> Option<usize> {
        let front = front.get(..FRAME_HEADER_BYTES)?;
        if front[..8] != MARKER {
            return None;
        }
        match front[23] {
            LAYOUT_1 => Some(FRAME_HEADER_BYTES),
            LAYOUT_2 => Some(FRAME_FIXED_BYTES + usize::from(u16_at(front, 56)) + 4),
            _ => None,
        }
    }

    /// Reads a header; `None` unless its checksum is right and every length within its bounds.
    pub(crate) fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let length = FrameHeader::bytes_of(bytes)?;
        let (body, checksum) = bytes.get(..length)?.split_at(length - 4);
        if crc32c::crc32c(body) != u32_at(checksum, 0) {
            return None;
        }
        let chained = (bytes[23] == LAYOUT_2).then(|| Chained {
            index_length: u16_at(bytes, 56),
            groups: u16_at(bytes, 58),
            head: hash_at(bytes, 60),
        });
        let header = FrameHeader {
            payload_length: u32_at(bytes, 8),
            raw_length: u32_at(bytes, 12),
            epoch: u64::from(u32_at(bytes, 16)),
            records: u16_at(bytes, 20),
            packing: Packing::from_number(bytes[22])?,
            first_sequence: u64_at(bytes, 24),
            wall_min_ns: i64_at(bytes, 32),
            wall_max_ns: i64_at(bytes, 40),
            mask: u32_at(bytes, 48),
            payload_crc: u32_at(bytes, 52),
            chained,
        };
        header.within_bounds().then_some(header)
    }

    fn within_bounds(&self) -> bool {
        self.payload_length <= self.raw_length
            && self.raw_length as usize <= FRAME_RAW_MAX
            && self.records > 0
            && u32::from(self.records) <= self.raw_length
            && self.first_sequence > 0
            && self
                .first_sequence
                .checked_add(u64::from(self.records))
                .is_some()
            && self.wall_min_ns <= self.wall_max_ns
            && self.chained.is_none_or(|chained| {
                usize::from(chained.index_length) <= INDEX_MAX
                    && (1..=self.records).contains(&chained.groups)
            })
    }
}

/// How far the writer's records are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) segment: SegmentName,
    /// Bytes of that segment that are synced.
    pub(crate) offset: u64,
    /// The last synced sequence of the epoch; zero when there is none.
    pub(crate) last_sequence: u64,
}

impl Head {
    pub(crate) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..8].copy_from_slice(&HEAD_MAGIC);
        out[8..16].copy_from_slice(&self.segment.epoch.to_le_bytes());
        out[16..24].copy_from_slice(&self.segment.first_sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.offset.to_le_bytes());
        out[32..40].copy_from_slice(&self.last_sequence.to_le_bytes());
        let checksum = crc32c::crc32c(&out[..60]);
        out[60..].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        if bytes[..8] != HEAD_MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return None;
        }
        let segment = SegmentName {
            epoch: u64_at(bytes, 8),
            first_sequence: u64_at(bytes, 16),
        };
        (segment.epoch <= EPOCH_MAX).then(|| Head {
            segment,
            offset: u64_at(bytes, 24),
            last_sequence: u64_at(bytes, 32),
        })
    }
}

/// The byte at 23 of a frame's header: zero in version 1, which had no name for it.
const LAYOUT_1: u8 = 0;
const LAYOUT_2: u8 = 2;

/// Where [`MARKER`] first stands in `bytes`.
pub(crate) fn find_marker(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, &MARKER)
}

fn parse_digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("the range is 2 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range is 4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the range is 8 bytes"))
}

fn hash_at(bytes: &[u8], at: usize) -> Hash {
    bytes[at..at + 32]
        .try_into()
        .expect("the range is 32 bytes")
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_strangers_do_not_pass() {
        let name = SegmentName {
            epoch: 7,
            first_sequence: 1,
        };
        assert_eq!(name.to_string(), "e00000007-s000000000001.trail");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for text in [
            "",
            "e7-s1.trail",
            "e00000000-s000000000001.trail",
            "e00000007-s000000000000.trail",
            "e+0000007-s000000000001.trail",
            "e00000007-s000000000001.trail~",
            "e100000000-s000000000001.trail",
            "e00000007-s99999999999999999999999.trail",
        ] {
            assert_eq!(SegmentName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn marker_is_found_wherever_it_stands() {
        for at in 0..40 {
            let mut bytes = vec![MARKER[7]; 48];
            bytes[at..at + 8].copy_from_slice(&MARKER);
            assert_eq!(find_marker(&bytes), Some(at));
            bytes[at] ^= 1;
            assert_eq!(find_marker(&bytes), None);
        }
    }

    #[test]
    fn marker_cannot_overlap_itself() {
        for (index, byte) in MARKER.iter().enumerate() {
            assert!(!MARKER[index + 1..].contains(byte));
        }
    }

    #[test]
    fn head_with_any_bit_flipped_is_refused() {
        let segment = SegmentName {
            epoch: 3,
            first_sequence: 9,
        };
        let head = Head {
            segment,
            offset: 1_000,
            last_sequence: 12,
        };
        let bytes = head.to_bytes();
        assert_eq!(Head::parse(&bytes), Some(head));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::parse(&flipped), None);
        }
    }
}
