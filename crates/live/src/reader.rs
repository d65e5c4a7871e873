//! Reads the table, whatever is in the file.

use crate::format::{self, Flaw, HEADER_BYTES, Header, Row, RowError, SHOWN_AT, Snapshot};
use crate::{FILE_NAME, ROWS_MAX, namespace};
use record::{EndpointId, Mono, codec};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Whose table is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The account that keeps the trail; a table of anybody else is none, unless it is root's.
    pub owner: u32,
    /// The boot of the machine, where the system tells.
    pub boot_id: Option<[u8; 16]>,
}

/// A snapshot, as it was shown, and whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Who wrote it.
    pub header: Header,
    /// What is said of it as a whole.
    pub snapshot: Snapshot,
    /// The rows.
    body: Vec<u8>,
    boot_id: Option<[u8; 16]>,
}

/// Whether a snapshot tells of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does, and is so old, in nanoseconds.
    Live {
        /// Since it was begun.
        age_ns: u64,
    },
    /// It does not: by now there should be a newer one.
    Stale {
        /// Since it was begun; `None` where it comes from another boot.
        age_ns: Option<u64>,
    },
    /// The recorder that wrote it is gone.
    Gone,
}

/// There is no table to read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No recorder keeps one there.
    #[error("there is no live table at {0}")]
    NotThere(PathBuf),
    /// The system says no.
    #[error("{path} could not be read: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is of another account or another endpoint, or no file.
    #[error("{path} is not this recorder's table: {reason}")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// It was made by another version.
    #[error(
        "{path} has version {version}, this program reads version {}",
        format::VERSION
    )]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// Nothing was written into it yet.
    #[error("{0} has no snapshot yet")]
    Empty(PathBuf),
    /// It is not as any recorder writes it.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How that shows.
        reason: &'static str,
    },
    /// The recorder wrote faster than this program could read, again and again.
    #[error("{0} changed faster than it could be read; try again")]
    Overtaken(PathBuf),
}

/// Where the table of an endpoint is below a folder for such tables.
pub(crate) fn path(base: &Path, endpoint: EndpointId) -> PathBuf {
    base.join(endpoint.to_string()).join(FILE_NAME)
}

/// So often a reader begins again. The writer shows a snapshot and then leaves it alone for a whole
/// period, so once is rare.
const ATTEMPTS_MAX: u32 = 8;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(2);

/// Reads the snapshot that is shown now, from the first of `bases` that has a table.
///
/// # Errors
/// When there is none, it cannot be read, or is not what it should be.
pub fn read(bases: &[PathBuf], expected: &Expected) -> Result<Table, ReadError> {
    let mut outcome = None;
    for base in bases {
        let path = path(base, expected.endpoint);
        match Source::open(path, expected).and_then(|it| it.read(expected)) {
            Err(error @ ReadError::NotThere(_)) => {
                outcome.get_or_insert(error);
            }
            found => return found,
        }
    }
    Err(outcome.unwrap_or_else(|| ReadError::NotThere(PathBuf::from(FILE_NAME))))
}

impl Table {
    /// Its rows, in the order of their ids.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row, RowError>> {
        let mut decoder = codec::Decoder::default();
        let mut body = &self.body[..];
        let rows = std::iter::from_fn(move || format::decode_row(&mut decoder, &mut body));
        rows.take(ROWS_MAX as usize)
    }

    /// Whether it tells of `now`, on the clock that counts since boot.
    pub fn state(&self, now: Mono) -> State {
        let Snapshot {
            taken,
            finished,
            good_for_ns,
            ..
        } = self.snapshot;
        let is_of_this_boot = self.header.boot_id == self.boot_id || self.boot_id.is_none();
        if !is_of_this_boot || taken.mono > now {
            return State::Stale { age_ns: None };
        }
        if namespace::is_gone(self.header.pid, self.header.pid_namespace) {
            return State::Gone;
        }
        let age_ns = now.since_ns(taken.mono);
        match now <= finished.plus_ns(good_for_ns.min(GOOD_FOR_NS_MAX)) {
            true => State::Live { age_ns },
            false => State::Stale {
                age_ns: Some(age_ns),
            },
        }
    }
}

/// Whatever a table says, it is not believed longer.
const GOOD_FOR_NS_MAX: u64 = 600_000_000_000;

/// An open file that is expected to be a table.
struct Source {
    path: PathBuf,
    file: File,
    file_bytes: u64,
}

impl Source {
    fn open(path: PathBuf, expected: &Expected) -> Result<Source, ReadError> {
        // A pipe must not hang the reader, and a link must not lead it elsewhere.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = rustix::fs::open(&path, flags, Mode::empty());
        let file = match opened.map(File::from).map_err(io::Error::from) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ReadError::NotThere(path));
            }
            Err(source) => return Err(ReadError::Io { path, source }),
        };
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(source) => return Err(ReadError::Io { path, source }),
        };
        let owner = metadata.uid();
        let reason = match (metadata.is_file(), [expected.owner, 0].contains(&owner)) {
            (false, _) => "it is no file".to_owned(),
            (true, false) => format!("it belongs to user {owner}"),
            (true, true) => {
                let file_bytes = metadata.len();
                return Ok(Source {
                    path,
                    file,
                    file_bytes,
                });
            }
        };
        Err(ReadError::Foreign { path, reason })
    }

    fn read(self, expected: &Expected) -> Result<Table, ReadError> {
        let header = self.header(expected)?;
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            let shown = self.shown()?;
            if shown == 0 {
                return Err(ReadError::Empty(self.path));
            }
            if let Some((snapshot, body)) = self.half(&header, shown)? {
                return Ok(Table {
                    header,
                    snapshot,
                    body,
                    boot_id: expected.boot_id,
                });
            }
            if self.shown()? == shown && attempt > 0 {
                return Err(self.damaged("a snapshot's checksum is wrong"));
            }
        }
        Err(ReadError::Overtaken(self.path))
    }

    fn header(&self, expected: &Expected) -> Result<Header, ReadError> {
        let mut bytes = [0; HEADER_BYTES];
        self.fill(&mut bytes, 0)?;
        let header = Header::decode(&bytes).map_err(|flaw| match flaw {
            Flaw::NoTable => self.damaged("it does not begin as a table does"),
            Flaw::Damaged => self.damaged("the header's checksum is wrong"),
            Flaw::Version(version) => ReadError::Version {
                path: self.path.clone(),
                version,
            },
        })?;
        if header.endpoint != expected.endpoint {
            return Err(ReadError::Foreign {
                path: self.path.clone(),
                reason: format!("it is of endpoint {}", header.endpoint),
            });
        }
        match self.file_bytes >= header.file_bytes() {
            true => Ok(header),
            false => Err(self.damaged("it is shorter than it says")),
        }
    }

    /// The number of the snapshot that is shown.
    fn shown(&self) -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes, SHOWN_AT)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The snapshot of a number, if it is there and whole.
    fn half(
        &self,
        header: &Header,
        generation: u64,
    ) -> Result<Option<(Snapshot, Vec<u8>)>, ReadError> {
        let at = header.half_at(generation);
        let mut bytes = [0; format::SNAPSHOT_BYTES];
        self.fill(&mut bytes, at)?;
        let snapshot = Snapshot::decode(&bytes, header);
        let Some(snapshot) = snapshot.filter(|it| it.generation == generation) else {
            return Ok(None);
        };
        let mut body = vec![0; snapshot.body_bytes as usize];
        self.fill(&mut body, at + bytes.len() as u64)?;
        let is_whole = format::checksum_after(0, &body) == snapshot.body_checksum;
        Ok(is_whole.then_some((snapshot, body)))
    }

    fn fill(&self, bytes: &mut [u8], at: u64) -> Result<(), ReadError> {
        match self.file.read_exact_at(bytes, at) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damaged("it is shorter than it says"))
            }
            Err(source) => Err(ReadError::Io {
                path: self.path.clone(),
                source,
            }),
        }
    }

    fn damaged(&self, reason: &'static str) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{HALF_BYTES_MAX, HALVES_AT};
    use crate::writer::{Counts, Options, TableWriter};
    use record::{Connection, Record, Stamp, Wall, sample};
    use rustix::process::geteuid;
    use std::fs::OpenOptions;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tempfile::TempDir;

    const BOOT: Option<[u8; 16]> = Some([3; 16]);
    const S: u64 = 1_000_000_000;

    struct Folder(TempDir);

    impl Folder {
        fn new() -> Folder {
            Folder(tempfile::tempdir().unwrap())
        }

        fn writer(&self) -> TableWriter {
            TableWriter::create(self.0.path(), &options(), stamp(1)).unwrap()
        }

        fn read(&self) -> Result<Table, ReadError> {
            read(&[self.0.path().to_owned()], &expected())
        }

        fn file(&self) -> File {
            let path = path(self.0.path(), options().endpoint);
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
        }
    }

    fn options() -> Options {
        Options {
            endpoint: sample::device().endpoint,
            epoch: 7,
            boot_id: BOOT,
            rows_max: 100,
            group: None,
        }
    }

    fn expected() -> Expected {
        Expected {
            endpoint: options().endpoint,
            owner: geteuid().as_raw(),
            boot_id: BOOT,
        }
    }

    fn stamp(s: u64) -> Stamp {
        Stamp {
            wall: Wall(s as i64),
            mono: Mono(s * S),
        }
    }

    /// As many connections as the number says, each with the number all over.
    fn write(writer: &mut TableWriter, number: u64, samples: &[Record]) {
        writer.begin(stamp(number));
        for (index, record) in samples.iter().take(number as usize % 50).enumerate() {
            let Record::Connection(connection) = record else {
                continue;
            };
            let mut connection = connection.clone();
            connection.id.epoch = number;
            connection.id.ordinal = index as u64;
            connection.traffic.bytes_out = Some(number);
            let record = Record::Connection(connection);
            assert!(writer.push(&record, Some(Mono(number)), None).unwrap());
        }
        let counts = Counts {
            crowded: number as u32,
            ..Counts::default()
        };
        writer.show(counts, Mono(number * S + 5), 3 * S).unwrap();
    }

    fn connections(table: &Table) -> Vec<Connection> {
        table.rows().map(|row| row.unwrap().connection).collect()
    }

    fn assert_whole(table: &Table) {
        let number = table.snapshot.generation;
        assert_eq!(u64::from(table.snapshot.crowded), number);
        let rows: Vec<Row> = table.rows().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len() as u64, number % 50);
        assert_eq!(u64::from(table.snapshot.rows), number % 50);
        for (row, ordinal) in rows.iter().zip(0..) {
            assert_eq!(
                (row.connection.id.epoch, row.connection.id.ordinal),
                (number, ordinal)
            );
            assert_eq!(row.connection.traffic.bytes_out, Some(number));
            assert_eq!(row.last_seen, Some(Mono(number)));
        }
    }

    #[test]
    fn what_is_shown_is_read_and_what_is_begun_is_not() {
        let folder = Folder::new();
        assert!(matches!(folder.read(), Err(ReadError::NotThere(_))));
        let mut writer = folder.writer();
        assert!(matches!(folder.read(), Err(ReadError::Empty(_))));
        let samples = sample::closes(1, 50);
        for number in 1..=20 {
            write(&mut writer, number, &samples);
            let table = folder.read().unwrap();
            assert_eq!(table.snapshot.generation, number);
            assert_eq!(table.snapshot.period_ns, if number == 1 { 0 } else { S });
            assert_whole(&table);
            writer.begin(stamp(999));
            writer.push(&samples[0], None, None).unwrap();
            assert_eq!(
                folder.read().unwrap(),
                table,
                "half of the next one is there"
            );
        }
        assert_eq!(folder.read().unwrap().header.epoch, 7);
        writer.remove().unwrap();
        assert!(matches!(folder.read(), Err(ReadError::NotThere(_))));
        assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_old_is_not_live_and_neither_is_what_a_dead_recorder_left() {
        let folder = Folder::new();
        write(&mut folder.writer(), 1, &[]);
        let table = folder.read().unwrap();
        let good_until = S + 5 + 3 * S;
        let age_ns = good_until - S;
        assert_eq!(table.state(Mono(good_until)), State::Live { age_ns });
        let age_ns = Some(age_ns + 1);
        assert_eq!(table.state(Mono(good_until + 1)), State::Stale { age_ns });
        let before = table.state(Mono(S - 1));
        assert_eq!(before, State::Stale { age_ns: None }, "of another boot");
        let elsewhere = Expected {
            boot_id: Some([4; 16]),
            ..expected()
        };
        let other_boot = read(&[folder.0.path().to_owned()], &elsewhere).unwrap();
        assert_eq!(other_boot.state(Mono(S)), State::Stale { age_ns: None });

        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let header = Header {
            pid: child.id(),
            ..table.header
        };
        folder.file().write_all_at(&header.encode(), 0).unwrap();
        assert_eq!(folder.read().unwrap().state(Mono(S)), State::Gone);
        crate::sweep(folder.0.path(), BOOT);
        assert!(matches!(folder.read(), Err(ReadError::NotThere(_))));
    }

    #[test]
    fn tables_of_the_living_are_not_swept_and_one_of_another_boot_is() {
        let folder = Folder::new();
        let mut writer = folder.writer();
        write(&mut writer, 1, &[]);
        crate::sweep(folder.0.path(), BOOT);
        assert!(folder.read().is_ok() && writer.is_there());
        crate::sweep(folder.0.path(), Some([4; 16]));
        assert!(folder.read().is_err() && !writer.is_there());
        write(&mut writer, 2, &[]);
        assert!(
            folder.read().is_err(),
            "a file without a name shows nothing"
        );
    }

    #[test]
    fn any_flipped_bit_is_seen_or_changes_nothing() {
        let folder = Folder::new();
        let samples = sample::closes(1, 50);
        let mut writer = folder.writer();
        write(&mut writer, 1, &samples);
        write(&mut writer, 2, &samples);
        let before = folder.read().unwrap();
        let half = before.header.half_at(2);
        let in_header = 0..140;
        let in_half = half..half + before.snapshot.body_bytes + 100;
        let file = folder.file();
        let mut seen = 0;
        for at in in_header.chain(in_half) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            let bit = 1 << (at % 8);
            file.write_all_at(&[byte[0] ^ bit], at).unwrap();
            match folder.read() {
                Ok(after) if after == before => {}
                // The number of the snapshot before is a right one too.
                Ok(after) => assert_whole(&after),
                Err(_) => seen += 1,
            }
            file.write_all_at(&byte, at).unwrap();
        }
        assert_eq!(folder.read().unwrap(), before);
        assert!(seen > 700, "only {seen} were seen");
    }

    #[test]
    fn a_file_of_any_length_is_read_to_an_end() {
        let folder = Folder::new();
        let mut writer = folder.writer();
        write(&mut writer, 3, &sample::closes(1, 50));
        let whole = folder.read().unwrap();
        let file_bytes = whole.header.file_bytes();
        let file = folder.file();
        let lengths = (0..HALVES_AT + 3_000).step_by(7);
        for length in lengths.chain([file_bytes - 1]) {
            file.set_len(length).unwrap();
            assert!(folder.read().is_err(), "{length}");
            // Longer again, with zeros.
            file.set_len(file_bytes).unwrap();
            assert!(folder.read().is_err() || length > HALVES_AT, "{length}");
        }
    }

    #[test]
    fn a_file_that_claims_much_costs_little() {
        let folder = Folder::new();
        drop(folder.writer());
        let file = folder.file();
        let header = Header {
            half_bytes: HALF_BYTES_MAX,
            ..folder.header()
        };
        file.write_all_at(&header.encode(), 0).unwrap();
        assert!(matches!(folder.read(), Err(ReadError::Damaged { .. })));
        file.set_len(header.file_bytes()).unwrap();
        let zeros = vec![0; 60 * (ROWS_MAX as usize)];
        let snapshot = Snapshot {
            generation: 2,
            rows: u32::MAX,
            body_bytes: zeros.len() as u64,
            body_checksum: format::checksum_after(0, &zeros),
            ..Snapshot::default()
        };
        file.write_all_at(&snapshot.encode(), HALVES_AT).unwrap();
        file.write_all_at(&2u64.to_le_bytes(), SHOWN_AT).unwrap();
        let table = folder.read().unwrap();
        let rows = table.rows().inspect(|row| assert!(row.is_err())).count();
        assert_eq!(rows, ROWS_MAX as usize, "and not one more");
    }

    impl Folder {
        fn header(&self) -> Header {
            let mut bytes = [0; HEADER_BYTES];
            self.file().read_exact_at(&mut bytes, 0).unwrap();
            Header::decode(&bytes).unwrap()
        }
    }

    #[test]
    fn a_file_of_somebody_else_a_link_and_a_pipe_are_no_tables() {
        let folder = Folder::new();
        drop(folder.writer());
        let table = path(folder.0.path(), options().endpoint);
        let moved = table.with_extension("moved");
        std::fs::rename(&table, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &table).unwrap();
        assert!(matches!(folder.read(), Err(ReadError::Io { .. })));
        std::fs::remove_file(&table).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&table).status();
        assert!(made.unwrap().success());
        assert!(matches!(folder.read(), Err(ReadError::Foreign { .. })));
        std::fs::remove_file(&table).unwrap();
        std::fs::write(&table, "no table").unwrap();
        assert!(matches!(folder.read(), Err(ReadError::Damaged { .. })));
        std::fs::rename(&moved, &table).unwrap();
        assert!(matches!(folder.read(), Err(ReadError::Empty(_))));
        if expected().owner == 0 {
            std::os::unix::fs::chown(&table, Some(12_345), None).unwrap();
            assert!(matches!(folder.read(), Err(ReadError::Foreign { .. })));
        }
    }

    #[test]
    fn thousands_of_snapshots_are_read_while_others_are_written_and_none_is_torn() {
        const READERS: usize = 3;
        const EACH: usize = 1_000;
        let folder = Folder::new();
        let samples = sample::closes(1, 50);
        let mut writer = folder.writer();
        write(&mut writer, 1, &samples);
        let done = AtomicBool::new(false);
        let bases = [folder.0.path().to_owned()];
        let (generations, written) = thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS)
                .map(|_| scope.spawn(|| read_many(&bases, EACH)))
                .collect();
            let writing = scope.spawn(|| {
                let mut number = 1;
                while !done.load(Ordering::Relaxed) {
                    number += 1;
                    write(&mut writer, number, &samples);
                }
                number
            });
            let ended: Vec<_> = readers.into_iter().map(|it| it.join()).collect();
            done.store(true, Ordering::Relaxed);
            let seen: Vec<u64> = ended.into_iter().map(|it| it.unwrap()).collect();
            (seen, writing.join().unwrap())
        });
        assert!(written > 100, "{written} were written");
        assert!(generations.iter().all(|it| *it > 20), "{generations:?}");
    }

    /// How many different snapshots were seen in so many reads that succeeded.
    fn read_many(bases: &[PathBuf], count: usize) -> u64 {
        let mut last = 0;
        let mut different = 0;
        let mut whole = 0;
        while whole < count {
            match read(bases, &expected()) {
                Ok(table) => {
                    assert_whole(&table);
                    assert!(table.snapshot.generation >= last, "time went back");
                    different += u64::from(table.snapshot.generation > last);
                    last = table.snapshot.generation;
                    whole += 1;
                }
                Err(ReadError::Overtaken(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        different
    }

    #[test]
    fn rows_that_find_no_room_are_refused_and_the_rest_is_shown() {
        let folder = Folder::new();
        let few = Options {
            rows_max: 2,
            ..options()
        };
        let mut writer = TableWriter::create(folder.0.path(), &few, stamp(1)).unwrap();
        let samples = sample::closes(1, 3);
        writer.begin(stamp(1));
        let mut push = |it| writer.push(it, None, None).unwrap();
        assert_eq!([0, 1, 2].map(|it| push(&samples[it])), [true, true, false]);
        writer.show(Counts::default(), Mono(S), S).unwrap();
        assert_eq!(connections(&folder.read().unwrap()).len(), 2);

        let mut wide = TableWriter::create(folder.0.path(), &options(), stamp(1)).unwrap();
        let Record::Connection(mut large) = samples[0].clone() else {
            panic!("closes are connections")
        };
        let mut process = record::Process::clone(large.process.as_ref().unwrap());
        process.command_line = Some("x".repeat(100_000).into());
        large.process = Some(process.into());
        wide.begin(stamp(2));
        let large = Record::Connection(large);
        assert!(wide.push(&large, None, None).unwrap());
        assert!(wide.push(&large, None, None).unwrap());
        assert!(!wide.push(&large, None, None).unwrap(), "a half has an end");
        assert!(wide.push(&samples[1], None, None).unwrap());
        wide.show(Counts::default(), Mono(S), S).unwrap();
        assert_eq!(connections(&folder.read().unwrap()).len(), 3);
    }
}
