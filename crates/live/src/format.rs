//! Every byte of the table; `docs/specs/live.md` in code. Pure: bytes in, values out.

use crc32c::{crc32c, crc32c_append};
use record::wire::WireError;
use record::{Connection, EndpointId, Mono, Record, Stamp, Wall, codec};

/// At the beginning of every table.
pub(crate) const MAGIC: [u8; 8] = *b"\x89CTLIVE\n";

/// This version of the layout.
pub(crate) const VERSION: u16 = 1;

/// The header of the file.
pub(crate) const HEADER_BYTES: usize = 104;

/// Where the number of the snapshot that is shown stands.
pub(crate) const SHOWN_AT: u64 = 128;

/// Where the first half begins; the second follows it.
pub(crate) const HALVES_AT: u64 = 4_096;

/// The header of a snapshot, at the beginning of a half.
pub(crate) const SNAPSHOT_BYTES: usize = 96;

/// The header of a row, before the bytes of its record.
pub(crate) const ROW_BYTES: usize = 48;

/// Bytes of a half: no less, because a row must fit.
pub(crate) const HALF_BYTES_MIN: u64 = 1 << 18;

/// Bytes of a half: no more, because a reader copies it.
pub(crate) const HALF_BYTES_MAX: u64 = 1 << 27;

/// Stands for a rate that is not known.
const UNKNOWN: u64 = u64::MAX;

/// What never changes in a table: who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The endpoint of which it tells.
    pub endpoint: EndpointId,
    /// The epoch of the recorder.
    pub epoch: u64,
    /// The boot of the machine in which it was made, where the system tells.
    pub boot_id: Option<[u8; 16]>,
    /// The recorder's process id.
    pub pid: u32,
    /// Inode of the namespace in which that id means something; zero where there is none.
    pub pid_namespace: u64,
    /// When it was made.
    pub created: Wall,
    /// Bytes of each half, snapshot header and all.
    pub half_bytes: u64,
}

/// What is said of a snapshot as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number in this table, from 1.
    pub generation: u64,
    /// When the writer began to take it: no row is older.
    pub taken: Stamp,
    /// When it was whole: no row is newer.
    pub finished: Mono,
    /// From the beginning of the snapshot before to that of this one, in nanoseconds; zero for the
    /// first.
    pub period_ns: u64,
    /// So long after `finished` it may be believed, in nanoseconds; by then there is another.
    pub good_for_ns: u64,
    /// Connections in it.
    pub rows: u32,
    /// Live connections that had no room; those that are in it carried more.
    pub crowded: u32,
    /// Live connections that the privacy policy leaves out.
    pub withheld: u32,
    /// Live connections whose open is not recorded yet.
    pub early: u32,
    /// Bytes of the rows.
    pub body_bytes: u64,
    /// Checksum of the rows.
    pub body_checksum: u32,
}

/// One connection that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As an update of it would be recorded.
    pub connection: Connection,
    /// When something was heard of it last; `None` where the privacy policy leaves out how much
    /// passes, and with it when.
    pub last_seen: Option<Mono>,
    /// How much passes, where it is known.
    pub rate: Option<Rate>,
}

/// How much passed in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// When it begins: totals were told then.
    pub from: Mono,
    /// When it ends: totals were told again.
    pub until: Mono,
    /// Application bytes a second sent.
    pub out_per_s: Option<u64>,
    /// Application bytes a second received.
    pub in_per_s: Option<u64>,
}

/// A row that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// It comes from a newer version, or is no record.
    #[error("a connection cannot be read: {0}")]
    Record(#[from] WireError),
    /// It is something else than a connection.
    #[error("a row holds no connection")]
    NoConnection,
    /// It does not end where the rows do; none follows.
    #[error("a row has no end")]
    Endless,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Fill::<HEADER_BYTES>::default();
        out.put(&MAGIC);
        out.put(&VERSION.to_le_bytes());
        out.put(&[0; 2]);
        out.put(&(HEADER_BYTES as u32).to_le_bytes());
        out.put(&self.endpoint.0);
        out.put(&self.epoch.to_le_bytes());
        out.put(&self.boot_id.unwrap_or_default());
        out.put(&self.pid.to_le_bytes());
        out.put(&[0; 4]);
        out.put(&self.pid_namespace.to_le_bytes());
        out.put(&self.created.0.to_le_bytes());
        out.put(&self.half_bytes.to_le_bytes());
        out.put(&HALVES_AT.to_le_bytes());
        out.put(&[0; 4]);
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Flaw> {
        let mut fields = Fields(bytes);
        if fields.array() != Some(MAGIC) {
            return Err(Flaw::NoTable);
        }
        let version = fields.array().map_or(0, u16::from_le_bytes);
        if version != VERSION {
            return Err(Flaw::Version(version));
        }
        if !is_intact::<HEADER_BYTES>(bytes) {
            return Err(Flaw::Damaged);
        }
        let header = fields.header().ok_or(Flaw::Damaged)?;
        let range = HALF_BYTES_MIN..=HALF_BYTES_MAX;
        match range.contains(&header.half_bytes) {
            true => Ok(header),
            false => Err(Flaw::Damaged),
        }
    }

    /// Where the half of a snapshot begins.
    pub(crate) fn half_at(&self, generation: u64) -> u64 {
        HALVES_AT + (generation % 2) * self.half_bytes
    }

    /// Bytes of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        HALVES_AT + 2 * self.half_bytes
    }

    /// Bytes of rows that fit into a half.
    pub(crate) fn room(&self) -> u64 {
        self.half_bytes - SNAPSHOT_BYTES as u64
    }
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NoTable,
    Version(u16),
    Damaged,
}

impl Snapshot {
    pub(crate) fn encode(&self) -> [u8; SNAPSHOT_BYTES] {
        let mut out = Fill::<SNAPSHOT_BYTES>::default();
        out.put(&self.generation.to_le_bytes());
        out.put(&self.taken.mono.0.to_le_bytes());
        out.put(&self.taken.wall.0.to_le_bytes());
        out.put(&self.finished.0.to_le_bytes());
        out.put(&self.period_ns.to_le_bytes());
        out.put(&self.good_for_ns.to_le_bytes());
        for count in [self.rows, self.crowded, self.withheld, self.early] {
            out.put(&count.to_le_bytes());
        }
        out.put(&self.body_bytes.to_le_bytes());
        out.put(&self.body_checksum.to_le_bytes());
        out.put(&[0; 16]);
        out.finish()
    }

    /// The header of a snapshot, if it is one that `header` has room for.
    pub(crate) fn decode(bytes: &[u8], header: &Header) -> Option<Snapshot> {
        if !is_intact::<SNAPSHOT_BYTES>(bytes) {
            return None;
        }
        let snapshot = Fields(bytes).snapshot()?;
        (snapshot.body_bytes <= header.room()).then_some(snapshot)
    }
}

/// Appends a row. Room must be left for what [`row_bytes`] says.
pub(crate) fn encode_row(
    encoder: &mut codec::Encoder,
    record: &Record,
    last_seen: Option<Mono>,
    rate: Option<Rate>,
    out: &mut Vec<u8>,
) {
    let begin = out.len();
    out.resize(begin + ROW_BYTES, 0);
    encoder.encode(record, out);
    let record_bytes = (out.len() - begin - ROW_BYTES) as u32;
    let rate = rate.map_or([0, 0, UNKNOWN, UNKNOWN], |it| {
        [
            it.from.0,
            it.until.0,
            it.out_per_s.unwrap_or(UNKNOWN),
            it.in_per_s.unwrap_or(UNKNOWN),
        ]
    });
    let header = &mut out[begin..begin + ROW_BYTES];
    header[..4].copy_from_slice(&record_bytes.to_le_bytes());
    header[8..16].copy_from_slice(&last_seen.map_or(0, |it| it.0).to_le_bytes());
    for (place, number) in header[16..].chunks_exact_mut(8).zip(rate) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

/// Takes the next row off `body`.
pub(crate) fn decode_row(
    decoder: &mut codec::Decoder,
    body: &mut &[u8],
) -> Option<Result<Row, RowError>> {
    if body.is_empty() {
        return None;
    }
    let mut fields = Fields(body);
    let Some((parts, record)) = fields.row() else {
        *body = &[];
        return Some(Err(RowError::Endless));
    };
    *body = fields.0;
    Some(row(decoder, parts, record))
}

fn row(decoder: &mut codec::Decoder, parts: [u64; 5], record: &[u8]) -> Result<Row, RowError> {
    let [last_seen, from, until, out_per_s, in_per_s] = parts;
    let known = |number: u64| (number != UNKNOWN).then_some(number);
    match decoder.decode(record)? {
        Record::Connection(connection) => Ok(Row {
            connection,
            last_seen: (last_seen != 0).then_some(Mono(last_seen)),
            rate: (until != 0).then_some(Rate {
                from: Mono(from),
                until: Mono(until),
                out_per_s: known(out_per_s),
                in_per_s: known(in_per_s),
            }),
        }),
        Record::Notice(_) => Err(RowError::NoConnection),
    }
}

/// The checksum of bytes that follow others.
pub(crate) fn checksum_after(before: u32, bytes: &[u8]) -> u32 {
    crc32c_append(before, bytes)
}

/// Whether the last four of the first `N` bytes are the checksum of those before them.
fn is_intact<const N: usize>(bytes: &[u8]) -> bool {
    let whole = bytes.get(..N).and_then(|it| it.split_last_chunk::<4>());
    whole.is_some_and(|(before, sum)| crc32c(before) == u32::from_le_bytes(*sum))
}

/// A buffer that is filled from the front, and ends with a checksum.
struct Fill<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Default for Fill<N> {
    fn default() -> Fill<N> {
        Fill {
            bytes: [0; N],
            filled: 0,
        }
    }
}

impl<const N: usize> Fill<N> {
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.filled..self.filled + part.len()].copy_from_slice(part);
        self.filled += part.len();
    }

    fn finish(mut self) -> [u8; N] {
        assert_eq!(self.filled, N - 4, "every layout leaves room for its sum");
        let sum = crc32c(&self.bytes[..N - 4]);
        self.put(&sum.to_le_bytes());
        self.bytes
    }
}

/// Bytes that are taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn wall(&mut self) -> Option<Wall> {
        self.array().map(i64::from_le_bytes).map(Wall)
    }

    /// What follows magic and version.
    fn header(&mut self) -> Option<Header> {
        let [0, 0] = self.array()? else { return None };
        let length = self.u32()?;
        let endpoint = EndpointId(self.array()?);
        let epoch = self.u64()?;
        let boot_id = Some(self.array()?).filter(|id| *id != [0; 16]);
        let pid = self.u32()?;
        let [0, 0, 0, 0] = self.array()? else {
            return None;
        };
        let header = Header {
            endpoint,
            epoch,
            boot_id,
            pid,
            pid_namespace: self.u64()?,
            created: self.wall()?,
            half_bytes: self.u64()?,
        };
        let halves_at = self.u64()?;
        (length as usize == HEADER_BYTES && halves_at == HALVES_AT).then_some(header)
    }

    fn snapshot(&mut self) -> Option<Snapshot> {
        let generation = self.u64()?;
        let mono = Mono(self.u64()?);
        let wall = self.wall()?;
        Some(Snapshot {
            generation,
            taken: Stamp { wall, mono },
            finished: Mono(self.u64()?),
            period_ns: self.u64()?,
            good_for_ns: self.u64()?,
            rows: self.u32()?,
            crowded: self.u32()?,
            withheld: self.u32()?,
            early: self.u32()?,
            body_bytes: self.u64()?,
            body_checksum: self.u32()?,
        })
    }

    fn row(&mut self) -> Option<([u64; 5], &'a [u8])> {
        let length = self.u32()? as usize;
        self.u32()?;
        let mut parts = [0; 5];
        for part in &mut parts {
            *part = self.u64()?;
        }
        let (record, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((parts, record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    pub(crate) fn header() -> Header {
        Header {
            endpoint: sample::device().endpoint,
            epoch: 7,
            boot_id: Some([9; 16]),
            pid: 77,
            pid_namespace: 0xefff_fffc,
            created: Wall(-5),
            half_bytes: HALF_BYTES_MIN,
        }
    }

    #[test]
    fn headers_come_back_and_every_flipped_bit_is_seen() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Ok(header()));
        let no_boot = Header {
            boot_id: None,
            ..header()
        };
        assert_eq!(Header::decode(&no_boot.encode()), Ok(no_boot));
        let snapshot = Snapshot {
            generation: u64::MAX,
            taken: Stamp {
                wall: Wall(-1),
                mono: Mono(2),
            },
            finished: Mono(3),
            period_ns: 4,
            good_for_ns: 5,
            rows: 6,
            crowded: 7,
            withheld: 8,
            early: 9,
            body_bytes: header().room(),
            body_checksum: 10,
        };
        let half = snapshot.encode();
        assert_eq!(Snapshot::decode(&half, &header()), Some(snapshot));
        for bit in 0..8 * HEADER_BYTES {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
        for bit in 0..8 * SNAPSHOT_BYTES {
            let mut flipped = half;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Snapshot::decode(&flipped, &header()), None, "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_named_and_what_is_no_table_is_none() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        assert_eq!(Header::decode(&bytes), Err(Flaw::Version(2)));
        assert_eq!(Header::decode(b"text"), Err(Flaw::NoTable));
        let huge = Header {
            half_bytes: HALF_BYTES_MAX + 1,
            ..header()
        };
        assert_eq!(Header::decode(&huge.encode()), Err(Flaw::Damaged));
        let too_long = Snapshot {
            body_bytes: header().room() + 1,
            ..Snapshot::default()
        };
        assert_eq!(Snapshot::decode(&too_long.encode(), &header()), None);
    }

    #[test]
    fn rows_come_back_and_unknown_is_not_zero() {
        let rates = [
            None,
            Some(Rate {
                from: Mono(1),
                until: Mono(9),
                out_per_s: Some(0),
                in_per_s: None,
            }),
        ];
        let mut body = Vec::new();
        let mut encoder = codec::Encoder::default();
        let records = sample::closes(3, 40);
        let seen = Some(Mono(5));
        for (index, record) in records.iter().enumerate() {
            encode_row(&mut encoder, record, seen, rates[index % 2], &mut body);
        }
        let mut rest = &body[..];
        let mut decoder = codec::Decoder::default();
        for (index, record) in records.iter().enumerate() {
            let row = decode_row(&mut decoder, &mut rest).unwrap().unwrap();
            assert_eq!(Record::Connection(row.connection), *record);
            assert_eq!((row.last_seen, row.rate), (seen, rates[index % 2]));
        }
        assert!(decode_row(&mut decoder, &mut rest).is_none());
    }

    #[test]
    fn rows_that_are_cut_off_or_hold_something_else_end() {
        let mut body = Vec::new();
        let mut encoder = codec::Encoder::default();
        let records = sample::records(5, 60);
        for record in &records {
            encode_row(&mut encoder, record, None, None, &mut body);
        }
        for length in 0..body.len() {
            let mut rest = &body[..length];
            let mut decoder = codec::Decoder::default();
            let mut rows = 0;
            while decode_row(&mut decoder, &mut rest).is_some() {
                rows += 1;
            }
            assert!(rows <= records.len());
        }
    }
}
