//! Records on their way to the disk: numbered, packed into frames, and kept until synced.

use crate::chain::Hash;
use crate::format::FRAME_RAW_MAX;
use crate::index::{Addresses, Remote};
use crate::packing::{Frame, FrameFacts, Packer};
use record::wire::push_varint;
use record::{Mono, RecordId, Wall};
use std::collections::VecDeque;

/// The records of one epoch that are not yet known to be on disk.
pub(crate) struct Batch {
    packer: Packer,
    epoch: u64,
    next_sequence: u64,
    max_bytes: usize,
    frames: VecDeque<Frame>,
    frame_bytes: usize,
    open: OpenFrame,
    addresses: Addresses,
    index: Vec<u8>,
    /// The chain after the last record that is in a frame.
    link: Hash,
    oldest_at: Option<Mono>,
}

/// The frame that is being filled.
#[derive(Default)]
struct OpenFrame {
    raw: Vec<u8>,
    records: u16,
    wall_min_ns: i64,
    wall_max_ns: i64,
}

impl Batch {
    /// `genesis` is where the chain of the epoch begins.
    pub(crate) fn new(epoch: u64, genesis: Hash, level: i32, max_bytes: usize) -> Batch {
        Batch {
            packer: Packer::new(level),
            epoch,
            next_sequence: 1,
            max_bytes,
            frames: VecDeque::new(),
            frame_bytes: 0,
            open: OpenFrame::default(),
            addresses: Addresses::new(),
            index: Vec::new(),
            link: genesis,
            oldest_at: None,
        }
    }

    /// Numbers a record and keeps its bytes; `None` when there is no room for it.
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        remote: Remote,
        wall: Wall,
        now: Mono,
    ) -> Option<RecordId> {
        if bytes.len() > RECORD_BYTES_MAX || self.bytes() + bytes.len() > self.max_bytes {
            return None;
        }
        if self.open.raw.len() + bytes.len() > FRAME_RAW_TARGET {
            self.seal();
        }
        self.open.push(bytes, wall);
        self.addresses.note_remote(remote);
        self.oldest_at.get_or_insert(now);
        let id = RecordId {
            epoch: self.epoch,
            sequence: self.next_sequence,
        };
        self.next_sequence += 1;
        if self.open.records == FRAME_RECORDS_MAX {
            self.seal();
        }
        Some(id)
    }

    /// Closes the frame that is being filled, so that it can be written.
    pub(crate) fn seal(&mut self) {
        if self.open.records == 0 {
            return;
        }
        self.addresses.build(&mut self.index);
        let facts = FrameFacts {
            epoch: self.epoch,
            first_sequence: self.next_sequence - u64::from(self.open.records),
            records: self.open.records,
            wall_min_ns: self.open.wall_min_ns,
            wall_max_ns: self.open.wall_max_ns,
            before: self.link,
            index: &self.index,
        };
        let frame = self.packer.pack(&self.open.raw, &facts);
        self.link = frame.head;
        self.frame_bytes += frame.bytes.len();
        self.frames.push_back(frame);
        self.open.raw.clear();
        self.open.records = 0;
    }

    /// The first frame that can be written.
    pub(crate) fn first(&self) -> Option<&Frame> {
        self.frames.front()
    }

    /// The frames that can be written, in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter()
    }

    /// Lets go of the first frames, because they are on disk.
    pub(crate) fn release(&mut self, frames: usize) {
        for frame in self.frames.drain(..frames) {
            self.frame_bytes -= frame.bytes.len();
        }
        if self.is_empty() {
            self.oldest_at = None;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.open.records == 0
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.frame_bytes + self.open.raw.len()
    }

    /// When the oldest record that is kept was appended.
    pub(crate) fn oldest_at(&self) -> Option<Mono> {
        self.oldest_at
    }

    /// The sequence of the next record.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }
}

impl OpenFrame {
    fn push(&mut self, bytes: &[u8], wall: Wall) {
        if self.records == 0 {
            (self.wall_min_ns, self.wall_max_ns) = (wall.0, wall.0);
        }
        self.wall_min_ns = self.wall_min_ns.min(wall.0);
        self.wall_max_ns = self.wall_max_ns.max(wall.0);
        push_varint(&mut self.raw, bytes.len() as u64);
        self.raw.extend_from_slice(bytes);
        self.records += 1;
    }
}

/// Damage costs at least a frame, so frames have few records; compression wants them large.
const FRAME_RECORDS_MAX: u16 = 500;
/// One block of zstd, so that its tables are made once for a frame.
const FRAME_RAW_TARGET: usize = 128 << 10;

/// The largest record that is kept, in bytes.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 20;

// A frame is sealed before it outgrows its target, so it holds that or one larger record, and
// at most ten bytes of length before each record.
const _: () =
    assert!(FRAME_RAW_TARGET + RECORD_BYTES_MAX + 10 * FRAME_RECORDS_MAX as usize <= FRAME_RAW_MAX);
