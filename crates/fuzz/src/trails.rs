//! The files of a trail, on a disk in memory.

use crate::records::{encoded, wall};
use record::{Mono, NoticeKind, Record, RecordId, Stamp, Wall, sample};
use std::path::{Path, PathBuf};
use trail::testing::MemoryDisk;
use trail::{
    Damaged, Head, Missing, RawItem, ReadOptions, SegmentName, TrailError, TrailReader,
    TrailWriter, WriterOptions, balance_on, segments_dir, verify_on,
};

const STATE: &str = "/state";

/// Bytes of the head file.
const HEAD_BYTES: usize = 64;

/// What begins each frame.
const MARKER: [u8; 8] = [0xc7, 0x1e, 0xa5, 0x0d, 0x93, 0x7a, 0x42, 0xe8];

/// Bytes of the smallest frame, and the most records of one.
const FRAME_BYTES_MIN: usize = 60;
const FRAME_RECORDS_MAX: usize = u16::MAX as usize;

/// Flags in an input's first byte: put right checksums in place, which nobody hits by chance; read
/// on beyond what the head publishes.
const MENDED: u8 = 1;
const UNPUBLISHED_TOO: u8 = 2;

/// One byte of flags, the head file, then the segment.
pub(crate) fn segment(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else {
        return;
    };
    let (head, segment) = rest.split_at(rest.len().min(HEAD_BYTES));
    let (mut head, mut segment) = (head.to_vec(), segment.to_vec());
    if flags & MENDED > 0 {
        mend_head(&mut head);
        mend_segment(&mut segment);
    }
    let disk = MemoryDisk::new();
    disk.put(&file("head"), &head);
    disk.put(&file(&name_of(&segment).to_string()), &segment);
    check(&disk, flags & UNPUBLISHED_TOO > 0);
}

/// What stands behind the header of a segment that is in order.
pub(crate) fn frame(bytes: &[u8]) {
    let good = written(1, 1, usize::MAX);
    let path = only_segment(&good);
    let mut segment = good.contents(&path).expect("it was written");
    segment.truncate(header_bytes(&segment));
    segment.extend(bytes);
    mend_segment(&mut segment);
    let disk = MemoryDisk::new();
    disk.put(&path, &segment);
    check(&disk, true);
}

/// The head file beside segments that are in order.
pub(crate) fn head(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    mend_head(&mut mended);
    for head in [bytes, &mended] {
        let disk = written(1, 30, 10);
        disk.put(&file("head"), head);
        check(&disk, false);
    }
}

/// The epoch file beside segments that are in order.
pub(crate) fn epoch(bytes: &[u8]) {
    let disk = written(1, 10, 10);
    disk.put(&Path::new(STATE).join("epoch"), bytes);
    check(&disk, false);
}

/// The text of an anchor, and names of segments.
pub(crate) fn anchor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(head) = text.parse::<Head>() {
        assert!(head.epoch > 0 && head.sequence > 0, "{head}");
        assert_eq!(head.to_string().parse(), Ok(head));
    }
    if let Some(name) = SegmentName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
}

/// A reader comes to an end and says the same twice, `verify` agrees with it, and a writer starts
/// all the same, with an id that was never there.
fn check(disk: &MemoryDisk, unpublished_too: bool) {
    let options = ReadOptions {
        unpublished_too,
        ..ReadOptions::default()
    };
    let found = read(disk, &options);
    assert_eq!(read(disk, &options), found, "the same again");
    let dir = segments_dir(Path::new(STATE));
    let report = verify_on(disk.clone(), &dir, options.clone()).expect("the disk works");
    assert_eq!(report.records, found.records.len() as u64);
    balance_on(disk.clone(), &dir, options.clone()).expect("the disk works");
    // A frame that repeats what was read is passed over by a reader, and read again by `verify`:
    // so they need not agree on damage that costs nothing.
    if !found.records.iter().any(tells_of_an_end) {
        let lost = lost_in(&report.damaged, &report.missing);
        assert_eq!(lost, lost_in(&found.damaged, &found.missing));
    }
    write_on(disk, &found);
}

/// Whether it is a notice that says where an epoch ended: `verify` believes it, and a reader that
/// does not decode records knows nothing of it.
fn tells_of_an_end((_, bytes): &(RecordId, Vec<u8>)) -> bool {
    let Ok(Record::Notice(notice)) = record::codec::decode(bytes) else {
        return false;
    };
    matches!(
        notice.kind,
        NoticeKind::RecorderStarted { previous: Some(_) }
    )
}

/// How many records are known to be lost. Hostile sequences may add up to any number.
fn lost_in(damaged: &[Damaged], missing: &[Missing]) -> u64 {
    let damaged = damaged.iter().filter_map(|it| it.lost_records);
    let missing = missing
        .iter()
        .map(|it| it.last_sequence - it.first_sequence + 1);
    damaged.chain(missing).fold(0, u64::wrapping_add)
}

/// What a reader found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    records: Vec<(RecordId, Vec<u8>)>,
    damaged: Vec<Damaged>,
    missing: Vec<Missing>,
}

fn read(disk: &MemoryDisk, options: &ReadOptions) -> Found {
    let dir = segments_dir(Path::new(STATE));
    let reader = TrailReader::open_on(disk.clone(), &dir, options.clone());
    let mut reader = reader.expect("the disk works");
    let bytes: usize = disk.paths().iter().map(|path| length(disk, path)).sum();
    let mut steps_left = (bytes / FRAME_BYTES_MIN + 4) * (FRAME_RECORDS_MAX + 4);
    let mut found = Found::default();
    while let Some(item) = reader.next_raw().expect("the disk works") {
        steps_left = steps_left.checked_sub(1).expect("the reader ends");
        match item {
            RawItem::Record { id, bytes, .. } => {
                let last = found.records.last().map(|(last, _)| *last);
                assert!(last < Some(id), "{id:?} after {last:?}");
                found.records.push((id, bytes.to_vec()));
            }
            RawItem::Damaged(damaged) => found.damaged.push(damaged),
            RawItem::Missing(missing) => found.missing.push(missing),
        }
    }
    found
}

fn write_on(disk: &MemoryDisk, found: &Found) {
    let options = WriterOptions::new(sample::device(), 1 << 30);
    let opened = TrailWriter::open_on(disk.clone(), Path::new(STATE), options, at(90));
    let mut writer = match opened {
        Ok(writer) => writer,
        // The number of epochs that fit a name is bounded.
        Err(TrailError::EpochsExhausted { .. }) => return,
        Err(error) => panic!("a writer starts on any disk that it can write to: {error}"),
    };
    let record = &sample::closes(4, 1)[0];
    let id = writer.append(record, at(91).mono).expect("there is room");
    if let Some((last, _)) = found.records.last() {
        assert!(id > *last, "{id:?} was issued again, after {last:?}");
    }
    let flushed = writer.flush(at(92)).expect("the disk works");
    assert_eq!(flushed.trouble.map(|it| it.to_string()), None);
    let all = read(disk, &ReadOptions::default());
    assert_eq!(all.records.last(), Some(&(id, encoded(record))));
}

/// Segments with records of `seed`, as one writer leaves them.
fn written(seed: u64, count: usize, group: usize) -> MemoryDisk {
    let disk = MemoryDisk::new();
    write(&disk, seed, count, group);
    disk
}

fn write(disk: &MemoryDisk, seed: u64, count: usize, group: usize) {
    let mut writer = open(disk);
    // No notices: what `verify` counts could not be compared with a reader; see below.
    for (index, record) in sample::closes(seed, count).iter().enumerate() {
        append(&mut writer, record, index as u64);
        if (index + 1) % group == 0 {
            flush(&mut writer, index as u64);
        }
    }
    let flushed = writer.close(at(80)).expect("the disk works");
    assert!(flushed.trouble.is_none(), "{:?}", flushed.trouble);
}

fn open(disk: &MemoryDisk) -> TrailWriter<MemoryDisk> {
    let options = WriterOptions::new(sample::device(), 1 << 30);
    let writer = TrailWriter::open_on(disk.clone(), Path::new(STATE), options, at(0));
    writer.expect("the disk is empty")
}

fn append(writer: &mut TrailWriter<MemoryDisk>, record: &Record, second: u64) {
    let mut bytes = Vec::new();
    record::codec::encode(record, &mut bytes);
    let id = writer.append_encoded(&bytes, wall(record), at(second).mono);
    id.expect("there is room");
}

fn flush(writer: &mut TrailWriter<MemoryDisk>, second: u64) {
    let flushed = writer.flush(at(second)).expect("the disk works");
    assert!(flushed.trouble.is_none(), "{:?}", flushed.trouble);
}

/// Writes right checksums where the segment's own lengths say that they belong.
fn mend_segment(segment: &mut [u8]) {
    let header = header_bytes(segment);
    put_crc(segment, 0, header.saturating_sub(4));
    let mut at = header;
    while let Some(found) = find(segment, at) {
        mend_frame(segment, found);
        at = found + MARKER.len();
    }
}

/// See the tables of `docs/specs/trail.md`.
fn mend_frame(segment: &mut [u8], at: usize) {
    let Some(front) = segment.get(at..at + FRAME_BYTES_MIN) else {
        return;
    };
    let header = match front[23] {
        0 => FRAME_BYTES_MIN,
        _ => 92 + usize::from(u16::from_le_bytes([front[56], front[57]])) + 4,
    };
    let payload = u32_at(front, 8);
    if let Some(payload) = segment.get(at + header..at + header + payload) {
        let crc = crc32c::crc32c(payload).to_le_bytes();
        segment[at + 52..at + 56].copy_from_slice(&crc);
    }
    put_crc(segment, at, at + header - 4);
}

fn mend_head(head: &mut [u8]) {
    if head.len() >= HEAD_BYTES {
        put_crc(head, 0, HEAD_BYTES - 4);
    }
}

/// Puts the checksum of the bytes in between at `to`, if all of it is there.
fn put_crc(bytes: &mut [u8], from: usize, to: usize) {
    if from < to && bytes.len() >= to + 4 {
        let crc = crc32c::crc32c(&bytes[from..to]).to_le_bytes();
        bytes[to..to + 4].copy_from_slice(&crc);
    }
}

fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let mut places = rest.windows(MARKER.len());
    places.position(|it| it == MARKER).map(|at| from + at)
}

/// Bytes of a segment's header, as it says itself.
fn header_bytes(segment: &[u8]) -> usize {
    match segment.get(..16) {
        Some(front) => u32_at(front, 12).min(segment.len()),
        None => 0,
    }
}

/// The name that belongs to a segment, as it says itself.
fn name_of(segment: &[u8]) -> SegmentName {
    let number = |from: usize| {
        let bytes = segment.get(from..from + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes)).filter(|it| *it > 0)
    };
    SegmentName {
        epoch: number(32).filter(|it| *it < 100_000_000).unwrap_or(1),
        first_sequence: number(40).filter(|it| *it < 1_000_000_000_000).unwrap_or(1),
    }
}

fn u32_at(bytes: &[u8], from: usize) -> usize {
    let bytes = [
        bytes[from],
        bytes[from + 1],
        bytes[from + 2],
        bytes[from + 3],
    ];
    u32::from_le_bytes(bytes) as usize
}

fn file(name: &str) -> PathBuf {
    segments_dir(Path::new(STATE)).join(name)
}

fn length(disk: &MemoryDisk, path: &Path) -> usize {
    disk.contents(path).map_or(0, |bytes| bytes.len())
}

fn only_segment(disk: &MemoryDisk) -> PathBuf {
    let paths = disk.paths().into_iter();
    let mut segments = paths.filter(|path| path.extension().is_some_and(|it| it == "trail"));
    segments.next().expect("a writer made one")
}

/// The input that holds these files.
fn input(disk: &MemoryDisk, flags: u8) -> Vec<u8> {
    let head = disk.contents(&file("head")).expect("there is one");
    let segment = disk.contents(&only_segment(disk)).expect("it is there");
    [&[flags][..], &head, &segment].concat()
}

pub(crate) fn segment_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for flags in 0..=MENDED | UNPUBLISHED_TOO {
        seeds.push(input(&written(u64::from(flags), 12, 5), flags));
    }
    seeds.push(input(&written(9, 1, 1), MENDED));
    for golden in GOLDEN {
        let flags = [MENDED | UNPUBLISHED_TOO];
        seeds.push([&flags[..], &[0; HEAD_BYTES], golden].concat());
    }
    seeds
}

/// The smallest golden segment of each version.
const GOLDEN: [&[u8]; 2] = [
    include_bytes!("../../trail/tests/golden/v1/trail/e00000001-s000000000136.trail"),
    include_bytes!("../../trail/tests/golden/v2/trail/e00000003-s000000000037.trail"),
];

pub(crate) fn dense_seeds() -> Vec<Vec<u8>> {
    let disk = MemoryDisk::new();
    let options = WriterOptions {
        segment_bytes: 4 << 10,
        ..WriterOptions::new(sample::device(), 1 << 30)
    };
    let opened = TrailWriter::open_on(disk.clone(), Path::new(STATE), options, at(0));
    let mut writer = opened.expect("the disk is empty");
    for (index, record) in sample::records(6, 60).iter().enumerate() {
        append(&mut writer, record, index as u64);
        flush(&mut writer, index as u64);
    }
    for second in 100..400 {
        writer.tend(at(second * 60).mono).expect("the disk works");
    }
    let head = disk.contents(&file("head")).expect("there is one");
    let is_dense = |segment: &Vec<u8>| segment.get(64) == Some(&1);
    let segments = disk.paths().into_iter();
    let segments = segments.filter(|path| path.extension().is_some_and(|it| it == "trail"));
    let dense = segments
        .filter_map(|path| disk.contents(&path))
        .filter(is_dense);
    let flags = [MENDED | UNPUBLISHED_TOO];
    dense
        .take(3)
        .map(|it| [&flags[..], &head, &it].concat())
        .collect()
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let sizes = [(1, 1), (4, 2), (20, 20), (30, 7)];
    let frames = sizes.iter().map(|(count, group)| {
        let disk = written(5, *count, *group);
        let segment = disk.contents(&only_segment(&disk)).expect("it is there");
        segment[header_bytes(&segment)..].to_vec()
    });
    frames.collect()
}

pub(crate) fn head_seeds() -> Vec<Vec<u8>> {
    let head = |disk: MemoryDisk| disk.contents(&file("head")).expect("there is one");
    vec![
        head(written(1, 30, 10)),
        head(written(1, 1, 1)),
        vec![0; HEAD_BYTES],
    ]
}

pub(crate) fn epoch_seeds() -> Vec<Vec<u8>> {
    [
        &b"1\n"[..],
        b"99999998\n",
        b"99999999\n",
        b"-1",
        b"007",
        b"",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

pub(crate) fn anchor_seeds() -> Vec<Vec<u8>> {
    let anchor = format!("7:42:{}", "0a".repeat(32));
    vec![
        anchor.into_bytes(),
        b"e00000003-s000000000037.trail".to_vec(),
    ]
}

/// A moment `seconds` after the beginning.
fn at(seconds: u64) -> Stamp {
    Stamp {
        wall: Wall(1_700_000_000_000_000_000 + seconds as i64 * 1_000_000_000),
        mono: Mono(seconds * 1_000_000_000),
    }
}
