//! Walks over the frames of one segment and finds its way again after damage.

use crate::disk::DiskFile;
use crate::format::{
    FRAME_FIXED_BYTES, FRAME_HEADER_BYTES, FrameHeader, MARKER, SEGMENT_HEADER_MAX, SegmentFront,
    SegmentName, Version, find_marker, parse_segment_front,
};
use crate::packing::{BadPayload, Unpacker};

/// Reads a file through a window, never beyond a limit.
///
/// What lies beyond the limit may still change, so it must not even be remembered.
struct Window<F> {
    file: F,
    bytes: Vec<u8>,
    start: u64,
    bytes_read: u64,
    /// Some block could not be read.
    is_broken: bool,
}

impl<F: DiskFile> Window<F> {
    /// The `length` bytes at `offset`, or as many as there are before `limit` and the file's end.
    /// When they must be read, `ahead` bytes are.
    fn view(&mut self, offset: u64, length: usize, ahead: usize, limit: u64) -> &[u8] {
        let there = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(there);
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + length as u64 > end {
            self.fill(offset, length.max(ahead).min(there));
        }
        let from = (offset - self.start) as usize;
        &self.bytes[from..self.bytes.len().min(from + length)]
    }

    /// What the window already holds from `offset` on, if a marker could stand in it, or else
    /// what is read there. Searching only new bytes keeps a search linear in the file's length.
    fn search_space(&mut self, offset: u64, limit: u64) -> &[u8] {
        let end = self.start + self.bytes.len() as u64;
        let held = if offset < self.start {
            0
        } else {
            end.saturating_sub(offset) as usize
        };
        let length = if held < MARKER.len() {
            SEARCH_BYTES
        } else {
            held
        };
        self.view(offset, length, length, limit)
    }

    fn fill(&mut self, offset: u64, length: usize) {
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(length, 0);
        match self.file.read_at(&mut self.bytes, offset) {
            Ok(count) => self.bytes.truncate(count),
            Err(_) => self.fill_around_bad_blocks(),
        }
        self.bytes_read += self.bytes.len() as u64;
    }

    /// Takes blocks that the device cannot read for zeros: their checksums will be wrong, which
    /// is how they are reported, and what stands around them is still found.
    fn fill_around_bad_blocks(&mut self) {
        let mut offset = self.start;
        let mut length = 0;
        for block in self.bytes.chunks_mut(BLOCK_BYTES) {
            match self.file.read_at(block, offset) {
                Ok(count) if count < block.len() => {
                    length += count;
                    break;
                }
                Ok(_) => {}
                Err(_) => {
                    block.fill(0);
                    self.is_broken = true;
                }
            }
            length += block.len();
            offset += block.len() as u64;
        }
        self.bytes.truncate(length);
    }
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The last sequence of the damaged frames whose header could still be read.
    pub(crate) known_through: Option<u64>,
}

/// Stands somewhere in a segment.
pub(crate) struct Scanner<F> {
    window: Window<F>,
    name: SegmentName,
    /// What the header says its frames are like; `None` where there is no header to tell.
    version: Option<Version>,
    position: u64,
    limit: u64,
    /// Nothing before the limit will change any more.
    settled: bool,
    damage: Option<Damage>,
    ahead: usize,
}

impl<F: DiskFile> Scanner<F> {
    /// Stands before the first byte of a segment of which `limit` bytes may be read.
    pub(crate) fn new(file: F, name: SegmentName) -> Scanner<F> {
        let window = Window {
            file,
            bytes: Vec::new(),
            start: 0,
            bytes_read: 0,
            is_broken: false,
        };
        Scanner {
            window,
            name,
            version: None,
            position: 0,
            limit: 0,
            settled: false,
            damage: None,
            ahead: AHEAD,
        }
    }

    pub(crate) fn name(&self) -> SegmentName {
        self.name
    }

    pub(crate) fn file(&self) -> &F {
        &self.window.file
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Goes back to where a frame was found.
    pub(crate) fn seek(&mut self, position: u64) {
        self.position = position;
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.window.bytes_read
    }

    /// Whether the device could not read something, which it may another time.
    pub(crate) fn is_broken(&self) -> bool {
        self.window.is_broken
    }

    /// Lets the scanner go as far as `limit`; says whether that is news.
    pub(crate) fn extend(&mut self, limit: u64, settled: bool) -> bool {
        let news = limit > self.limit || settled && !self.settled;
        self.limit = self.limit.max(limit);
        self.settled = settled;
        news
    }

    /// Reads what stands before the first frame, and moves behind it if it is a header.
    pub(crate) fn front(&mut self) -> SegmentFront {
        let near = self.limit.min(FRONT_BYTES);
        let mut front = parse_segment_front(self.window.view(0, SEGMENT_HEADER_MAX, 0, near));
        if front == SegmentFront::Short {
            front = parse_segment_front(self.window.view(0, SEGMENT_HEADER_MAX, 0, self.limit));
        }
        if let SegmentFront::Header(header) = &front {
            self.position = header.length;
            self.version = Some(header.version);
        }
        front
    }

    /// The header of the next frame, where the scanner then stands; `None` when there is none
    /// before the limit. What lies between is damage.
    pub(crate) fn next_header(&mut self) -> Option<FrameHeader> {
        loop {
            let left = self.limit.saturating_sub(self.position);
            if left < FRAME_HEADER_BYTES as u64 {
                self.give_up_rest();
                return None;
            }
            match self.parse_header() {
                Some(header) if header.frame_bytes() <= left => return Some(header),
                Some(_) if !self.settled => return None,
                Some(header) => self.skip_damaged(MARKER.len() as u64, Some(header)),
                None if self.may_be_unfinished(left) => return None,
                None => self.skip_to_marker(),
            }
        }
    }

    fn parse_header(&mut self) -> Option<FrameHeader> {
        let (at, ahead, limit) = (self.position, self.ahead, self.limit);
        let front = self.window.view(at, FRAME_HEADER_BYTES, ahead, limit);
        let length = FrameHeader::bytes_of(front)?;
        let header = FrameHeader::parse(self.window.view(at, length, ahead, limit))?;
        let fits = match self.version {
            None => true,
            Some(Version::One) => header.chained.is_none(),
            Some(Version::Two) => header.chained.is_some(),
        };
        (fits && self.name.may_hold(&header)).then_some(header)
    }

    /// Whether what stands here may become a header when the rest of it is written.
    fn may_be_unfinished(&mut self, left: u64) -> bool {
        let (at, ahead, limit) = (self.position, self.ahead, self.limit);
        let front = self.window.view(at, FRAME_HEADER_BYTES, ahead, limit);
        !self.settled && FrameHeader::bytes_of(front).is_some_and(|bytes| bytes as u64 > left)
    }

    /// The index of the frame whose header was just found; empty when it has none.
    pub(crate) fn index(&mut self, header: &FrameHeader) -> &[u8] {
        let length = header.chained.map_or(0, |it| it.index_length.into());
        let offset = self.position + FRAME_FIXED_BYTES as u64;
        self.window.view(offset, length, self.ahead, self.limit)
    }

    /// Unpacks the frame whose header was just found.
    pub(crate) fn load(
        &mut self,
        header: &FrameHeader,
        unpacker: &mut Unpacker,
    ) -> Result<(), BadPayload> {
        let offset = self.position + header.header_bytes() as u64;
        let length = header.payload_length as usize;
        self.ahead = AHEAD;
        unpacker.unpack(
            header,
            self.window.view(offset, length, self.ahead, self.limit),
        )
    }

    /// Moves behind the frame.
    pub(crate) fn pass(&mut self, header: &FrameHeader) {
        self.position += header.frame_bytes();
    }

    /// Moves behind the frame without having looked into it, and reads less ahead, because it may
    /// be one of many.
    pub(crate) fn pass_unread(&mut self, header: &FrameHeader) {
        let small = header.frame_bytes() < AHEAD_UNREAD as u64;
        self.ahead = if small { AHEAD_UNREAD } else { AHEAD_HEADER };
        self.pass(header);
    }

    /// Moves behind the frame because its payload is damaged. Its length is still right: the
    /// header has a checksum of its own.
    pub(crate) fn pass_damaged(&mut self, header: &FrameHeader) {
        self.skip_damaged(header.frame_bytes(), Some(*header));
    }

    /// Whether there is damage right before where the scanner stands.
    pub(crate) fn has_damage(&self) -> bool {
        self.damage.is_some()
    }

    /// The damage that ended where the scanner stands.
    pub(crate) fn take_damage(&mut self) -> Option<Damage> {
        self.damage.take()
    }

    /// The damage before the limit, unless what stands there may still turn out to be a frame.
    pub(crate) fn take_settled_damage(&mut self) -> Option<Damage> {
        if self.settled {
            self.damage.take()
        } else {
            None
        }
    }

    fn skip_damaged(&mut self, bytes: u64, frame: Option<FrameHeader>) {
        let from = self.position;
        self.position += bytes;
        let damage = self.damage.get_or_insert(Damage {
            from,
            to: from,
            known_through: None,
        });
        damage.to = self.position;
        damage.known_through = damage.known_through.max(frame.map(|it| it.last_sequence()));
    }

    /// Moves to the next marker, or as near to the limit as one could still begin.
    fn skip_to_marker(&mut self) {
        let mut from = self.after_hole(self.position + 1);
        while self.limit.saturating_sub(from) >= MARKER.len() as u64 {
            let bytes = self.window.search_space(from, self.limit);
            match find_marker(bytes) {
                Some(at) => return self.skip_damaged(from + at as u64 - self.position, None),
                None if bytes.len() < MARKER.len() => break,
                None => {
                    let searched = (bytes.len() - (MARKER.len() - 1)) as u64;
                    from = self.after_hole(from + searched);
                }
            }
        }
        let near = self
            .limit
            .saturating_sub(MARKER.len() as u64 - 1)
            .max(self.position + 1);
        self.skip_damaged(near - self.position, None);
    }

    /// Where to go on with searching: a hole takes no room on the disk, so it may be as large as
    /// it likes, and it holds no marker. One may only begin before it.
    fn after_hole(&mut self, from: u64) -> u64 {
        let data = self.window.file.data_from(from).unwrap_or(from);
        from.max(data.min(self.limit))
    }

    /// When nothing more can come before the limit, what is left there is damage.
    fn give_up_rest(&mut self) {
        if self.settled && self.position < self.limit {
            self.skip_damaged(self.limit - self.position, None);
        }
    }
}

impl SegmentName {
    /// A valid frame of another epoch can stand in a segment only where a block was reused.
    fn may_hold(&self, header: &FrameHeader) -> bool {
        header.epoch == self.epoch && header.first_sequence >= self.first_sequence
    }
}

/// Most headers are far smaller; only a larger or damaged one costs a second look.
const FRONT_BYTES: u64 = 4 << 10;
const AHEAD: usize = 64 << 10;
const AHEAD_UNREAD: usize = 4 << 10;
/// Enough for a header and its index, nearly always.
const AHEAD_HEADER: usize = 768;
const SEARCH_BYTES: usize = 64 << 10;
const BLOCK_BYTES: usize = 4 << 10;
