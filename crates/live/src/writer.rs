//! Writes the table. It is never mapped: a file system that is full answers a write with an error,
//! and would answer a store into a map by killing the recorder.

use crate::format::{
    self, HALF_BYTES_MAX, HALF_BYTES_MIN, HALVES_AT, HEADER_BYTES, Header, Rate, SHOWN_AT,
    SNAPSHOT_BYTES, Snapshot,
};
use crate::{FILE_NAME, ROWS_MAX, namespace};
use record::{EndpointId, Mono, Record, Stamp, codec};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};

/// Whose table it is, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The recorder's epoch.
    pub epoch: u64,
    /// The boot of the machine, where the system tells.
    pub boot_id: Option<[u8; 16]>,
    /// Rows at most, from 1 to [`ROWS_MAX`]. There is 1 KiB of room for each.
    pub rows_max: u32,
    /// The group that may read it; the writer's own where `None`, or where the system says no.
    pub group: Option<u32>,
}

/// What is counted of live connections that are not in a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// There was no room, and others carried more.
    pub crowded: u32,
    /// The privacy policy leaves them out.
    pub withheld: u32,
    /// Their open is not recorded yet.
    pub early: u32,
}

/// The table cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system says no.
    #[error("{path} could not be made: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could put another table there.
    #[error("{path} is not a folder that only this account can write to")]
    Foreign {
        /// Which.
        path: PathBuf,
    },
}

/// Writes one snapshot after the other. Whoever drops it leaves the file; [`TableWriter::remove`]
/// takes it away.
#[derive(Debug)]
pub struct TableWriter {
    path: PathBuf,
    file: File,
    header: Header,
    rows_max: u32,
    /// The number of the snapshot that is shown.
    shown: u64,
    /// When that was begun.
    shown_taken: Mono,
    /// The one that is being written.
    draft: Snapshot,
    encoder: codec::Encoder,
    /// Rows that are not in the file yet.
    pending: Vec<u8>,
    /// Bytes of the draft's rows that are.
    written: u64,
}

/// So much is put together before it is written.
const PENDING_BYTES: usize = 1 << 16;

/// Room for each row; most take a third of it.
const BYTES_PER_ROW: u64 = 1 << 10;

const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// The folder around the folders: whoever knows an endpoint may go on to its table.
const BASE_MODE: u32 = 0o711;

impl TableWriter {
    /// Makes an empty table for an endpoint below `base`, in the place of the one that was there,
    /// at `created`.
    ///
    /// # Errors
    /// When the system says no, or when another account could write to `base`.
    pub fn create(
        base: &Path,
        options: &Options,
        created: Stamp,
    ) -> Result<TableWriter, WriteError> {
        let header = header(options, created);
        make_base(base)?;
        let path = crate::reader::path(base, options.endpoint);
        let made = make(&path, &header, options.group);
        let file = made.map_err(|source| WriteError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(TableWriter {
            path,
            file,
            header,
            rows_max: options.rows_max.clamp(1, ROWS_MAX),
            shown: 0,
            shown_taken: Mono(0),
            draft: Snapshot::default(),
            encoder: codec::Encoder::default(),
            pending: Vec::with_capacity(PENDING_BYTES),
            written: 0,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it; somebody may have taken it away.
    pub fn is_there(&self) -> bool {
        let ids = |it: &fs::Metadata| (it.dev(), it.ino());
        let here = self.file.metadata().ok();
        let there = fs::symlink_metadata(&self.path).ok();
        here.zip(there)
            .is_some_and(|(here, there)| ids(&here) == ids(&there))
    }

    /// Rows that a snapshot may have.
    pub fn rows_max(&self) -> u32 {
        self.rows_max
    }

    /// Begins a snapshot; one that was begun and not shown is forgotten.
    pub fn begin(&mut self, taken: Stamp) {
        let period_ns = match self.shown {
            0 => 0,
            _ => taken.mono.since_ns(self.shown_taken),
        };
        self.draft = Snapshot {
            generation: self.shown + 1,
            taken,
            period_ns,
            ..Snapshot::default()
        };
        self.pending.clear();
        self.written = 0;
    }

    /// Adds a connection that lives; whether there was room. What the privacy policy leaves out
    /// must be gone already.
    ///
    /// # Errors
    /// When the file cannot be written; the snapshot must be begun again.
    pub fn push(
        &mut self,
        record: &Record,
        last_seen: Option<Mono>,
        rate: Option<Rate>,
    ) -> io::Result<bool> {
        if self.draft.rows >= self.rows_max {
            return Ok(false);
        }
        let before = self.pending.len();
        format::encode_row(
            &mut self.encoder,
            record,
            last_seen,
            rate,
            &mut self.pending,
        );
        if self.written + self.pending.len() as u64 > self.header.room() {
            self.pending.truncate(before);
            return Ok(false);
        }
        self.draft.rows += 1;
        if self.pending.len() >= PENDING_BYTES {
            self.write_pending()?;
        }
        Ok(true)
    }

    /// Shows what was added since [`TableWriter::begin`], whole since `finished` and to be believed
    /// for `good_for_ns` from then on.
    ///
    /// # Errors
    /// When the file cannot be written; then the snapshot before stays the one that is shown.
    pub fn show(&mut self, counts: Counts, finished: Mono, good_for_ns: u64) -> io::Result<()> {
        self.write_pending()?;
        let Counts {
            crowded,
            withheld,
            early,
        } = counts;
        self.draft = Snapshot {
            finished,
            good_for_ns,
            crowded,
            withheld,
            early,
            body_bytes: self.written,
            ..self.draft
        };
        let generation = self.draft.generation;
        let half_at = self.header.half_at(generation);
        self.file.write_all_at(&self.draft.encode(), half_at)?;
        self.file
            .write_all_at(&generation.to_le_bytes(), SHOWN_AT)?;
        self.shown = generation;
        self.shown_taken = self.draft.taken.mono;
        Ok(())
    }

    /// Takes the table away, unless another has its place.
    ///
    /// # Errors
    /// When it cannot be removed. Readers will find it stale.
    pub fn remove(self) -> io::Result<()> {
        if self.is_there() {
            fs::remove_file(&self.path)?;
            if let Some(folder) = self.path.parent() {
                // Somebody else's file keeps it, which is theirs to remove.
                let _ = fs::remove_dir(folder);
            }
        }
        Ok(())
    }

    fn write_pending(&mut self) -> io::Result<()> {
        let rows_at = self.header.half_at(self.draft.generation) + SNAPSHOT_BYTES as u64;
        self.file
            .write_all_at(&self.pending, rows_at + self.written)?;
        self.draft.body_checksum = format::checksum_after(self.draft.body_checksum, &self.pending);
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Removes the tables below `base` whose recorder is certainly gone.
pub fn sweep(base: &Path, boot_id: Option<[u8; 16]>) {
    let folders = fs::read_dir(base).into_iter().flatten().flatten();
    for folder in folders {
        let path = folder.path().join(FILE_NAME);
        if is_left_over(&path, boot_id) {
            // What cannot be removed is found stale by whoever reads it.
            let _ = fs::remove_file(&path).and_then(|()| fs::remove_dir(folder.path()));
        }
    }
}

fn is_left_over(path: &Path, boot_id: Option<[u8; 16]>) -> bool {
    let mut bytes = [0; HEADER_BYTES];
    let is_file = fs::symlink_metadata(path).is_ok_and(|it| it.is_file());
    let read = is_file
        && File::open(path)
            .and_then(|file| file.read_exact_at(&mut bytes, 0))
            .is_ok();
    let header = Header::decode(&bytes).ok().filter(|_| read);
    header.is_some_and(|header| {
        let is_of_another_boot = header.boot_id.is_some() && header.boot_id != boot_id;
        is_of_another_boot || namespace::is_gone(header.pid, header.pid_namespace)
    })
}

fn header(options: &Options, created: Stamp) -> Header {
    let room = u64::from(options.rows_max) * BYTES_PER_ROW;
    Header {
        endpoint: options.endpoint,
        epoch: options.epoch,
        boot_id: options.boot_id,
        pid: std::process::id(),
        pid_namespace: namespace::own(),
        created: created.wall,
        half_bytes: room
            .clamp(HALF_BYTES_MIN, HALF_BYTES_MAX)
            .next_multiple_of(HALVES_AT),
    }
}

fn make_base(base: &Path) -> Result<(), WriteError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(BASE_MODE)
        .create(base);
    let there = made.and_then(|()| fs::symlink_metadata(base));
    let there = there.map_err(|source| WriteError::Io {
        path: base.to_owned(),
        source,
    })?;
    let is_ours = there.uid() == geteuid().as_raw() && there.mode() & 0o022 == 0;
    match there.is_dir() && is_ours {
        true => Ok(()),
        false => Err(WriteError::Foreign {
            path: base.to_owned(),
        }),
    }
}

/// A new file, complete before it has its name, so that no reader meets half a header.
fn make(path: &Path, header: &Header, group: Option<u32>) -> io::Result<File> {
    let folder = path.parent().unwrap_or(path);
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    hand_to(&File::open(folder)?, FOLDER_MODE, group)?;
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&draft)?;
    hand_to(&file, FILE_MODE, group)?;
    file.set_len(header.file_bytes())?;
    file.write_all_at(&header.encode(), 0)?;
    fs::rename(&draft, path)?;
    Ok(file)
}

/// Whoever reads is a matter of group, not of the mask of the process.
fn hand_to(file: &File, mode: u32, group: Option<u32>) -> io::Result<()> {
    if file.metadata()?.gid() != group.unwrap_or_else(|| rustix::process::getegid().as_raw()) {
        // An account that is not in the group keeps the table to itself.
        let _ = fchown(file, None, group);
    }
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    fn options() -> Options {
        Options {
            endpoint: sample::device().endpoint,
            epoch: 7,
            boot_id: None,
            rows_max: 100,
            group: None,
        }
    }

    #[test]
    fn the_table_is_for_its_owner_and_one_group() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("tables");
        let is_root = geteuid().is_root();
        let options = Options {
            group: is_root.then_some(4_321),
            ..options()
        };
        let writer = TableWriter::create(&base, &options, Stamp::default()).unwrap();
        let file = fs::metadata(writer.path()).unwrap();
        let inner = fs::metadata(writer.path().parent().unwrap()).unwrap();
        let outer = fs::metadata(&base).unwrap();
        let modes = [&file, &inner, &outer].map(|it| it.mode() & 0o777);
        assert_eq!(modes, [0o640, 0o750, 0o711]);
        if is_root {
            assert_eq!((file.gid(), inner.gid()), (4_321, 4_321));
        }
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("tables");
        fs::create_dir(&base).unwrap();
        fs::set_permissions(&base, Permissions::from_mode(0o777)).unwrap();
        let made = TableWriter::create(&base, &options(), Stamp::default());
        assert!(matches!(made, Err(WriteError::Foreign { .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let made = TableWriter::create(&link, &options(), Stamp::default());
        assert!(matches!(made, Err(WriteError::Foreign { .. })));
    }

    #[test]
    fn a_table_that_another_took_the_place_of_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let make = || TableWriter::create(folder.path(), &options(), Stamp::default()).unwrap();
        let (first, second) = (make(), make());
        assert!(!first.is_there() && second.is_there());
        first.remove().unwrap();
        assert!(second.is_there());
    }

    #[test]
    fn it_takes_no_memory_for_room_that_nobody_needs() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            rows_max: ROWS_MAX,
            ..options()
        };
        let mut writer = TableWriter::create(folder.path(), &options, Stamp::default()).unwrap();
        for number in 1..5 {
            writer.begin(Stamp::default());
            let record = &sample::closes(number, 1)[0];
            writer.push(record, None, None).unwrap();
            writer.show(Counts::default(), Mono(0), 0).unwrap();
        }
        let there = fs::metadata(writer.path()).unwrap();
        assert!(there.len() > 100 << 20);
        assert!(there.blocks() * 512 < 1 << 16, "{} blocks", there.blocks());
    }
}
