//! The only door to the file system, narrow enough that a simulator fits through it.

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A file system, real or simulated.
pub trait Disk {
    /// An open file.
    type File: DiskFile;
    /// Held for as long as nobody else may hold it.
    type Lock;

    /// Makes a directory and its parents; an existing one is left as it is.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Everything in a directory, in no order.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// Opens a file for reading. Never waits, and never follows a link to somewhere else.
    ///
    /// # Errors
    /// What the file system says; also when it is no regular file.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Makes an empty file for reading and writing, in place of the file or link that had the
    /// name.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives a file another name, in place of whatever had it.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether `path` still leads to `file`: neither was moved, deleted or replaced.
    ///
    /// # Errors
    /// What the file system says; a path that leads nowhere is not an error.
    fn leads_to(&self, path: &Path, file: &Self::File) -> io::Result<bool>;

    /// Locks a file against other processes and writes `holder` into it;
    /// `None` when another holds the lock.
    ///
    /// # Errors
    /// What the file system says.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<Self::Lock>>;
}

/// An open file of a [`Disk`].
pub trait DiskFile {
    /// Reads at an offset; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at an offset; on an error any part of them may have been written.
    ///
    /// # Errors
    /// What the file system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// What the file system says.
    fn length(&self) -> io::Result<u64>;

    /// The first offset from `offset` on where there may be anything but zeros that nobody wrote;
    /// the length of the file where nothing follows. A file system that cannot tell says `offset`.
    ///
    /// # Errors
    /// What the file system says.
    fn data_from(&self, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }

    /// Cuts the file to a length.
    ///
    /// # Errors
    /// What the file system says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the file system says. Afterwards nothing may be assumed of what was written since the
    /// last success.
    fn sync(&self) -> io::Result<()>;
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; what is not Unicode is replaced.
    pub name: String,
    /// It is a regular file, and not a link to one.
    pub is_file: bool,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The file system of this machine.
///
/// Directories are made for the owner and readable by the group (0750), files likewise (0640),
/// whatever the process's mask says: who reads the trail is a matter of group, not of luck. The
/// lock is for the owner alone (0600).
///
/// What stands under a name may be anything, as when a trail was copied from elsewhere: a link is
/// not followed, and a pipe, a socket or a device neither makes us wait nor is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    type File = File;
    type Lock = File;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(path)?;
        // Where the folder around it hands its group on, so does this one.
        let inherited = fs::metadata(path)?.permissions().mode() & SET_GROUP_ID;
        fs::set_permissions(path, Permissions::from_mode(DIR_MODE | inherited))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // It was deleted since the directory was read.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_file: metadata.is_file(),
                bytes: metadata.len(),
            });
        }
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        regular(OpenOptions::new().read(true), path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        // What has the name may be a second name of a file that matters elsewhere.
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn leads_to(&self, path: &Path, file: &File) -> io::Result<bool> {
        let there = match fs::symlink_metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let here = file.metadata()?;
        Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(LOCK_MODE);
        let mut file = regular(&mut options, path)?;
        // Earlier versions let the group read it. It may be another account's.
        let _ = file.set_permissions(Permissions::from_mode(LOCK_MODE));
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Who holds the lock is said for people only, so a full disk must not keep us from it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Some(file))
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn data_from(&self, offset: u64) -> io::Result<u64> {
        match seek(self, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data),
            // Nothing follows, or the offset is beyond the end.
            Err(Errno::NXIO) => self.length(),
            Err(_) => Ok(offset),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Opens what is a regular file itself.
fn regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let not_regular = || io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
    let opened = options.custom_flags(same_file_flags()).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::LOOP.raw_os_error() => not_regular(),
        Some(_) | None => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(not_regular());
    }
    Ok(file)
}

/// Opens what has the name itself, no link, and waits for nothing.
pub(crate) fn same_file_flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32
}

pub(crate) const DIR_MODE: u32 = 0o750;
pub(crate) const SET_GROUP_ID: u32 = 0o2000;
pub(crate) const FILE_MODE: u32 = 0o640;

/// Whoever may open the lock may hold it, and so keep the recorder from starting.
const LOCK_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};
    use tempfile::tempdir;

    fn pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }

    #[test]
    fn links_pipes_and_folders_are_neither_followed_nor_waited_for() {
        let folder = tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::write(place("elsewhere"), "precious").unwrap();
        symlink(place("elsewhere"), place("link")).unwrap();
        symlink(place("nowhere"), place("dangling")).unwrap();
        pipe(&place("pipe"));
        fs::create_dir(place("folder")).unwrap();
        let started = Instant::now();
        for name in ["link", "dangling", "pipe", "folder"] {
            assert!(RealDisk.open(&place(name)).is_err(), "{name} was opened");
            assert!(
                RealDisk.lock(&place(name), "me").is_err(),
                "{name} was locked"
            );
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(!place("nowhere").exists());
        assert_eq!(fs::read(place("elsewhere")).unwrap(), b"precious");
    }

    #[test]
    fn what_is_made_takes_the_place_of_links_and_pipes_and_leaves_alone_what_they_lead_to() {
        let folder = tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::write(place("elsewhere"), "precious").unwrap();
        symlink(place("elsewhere"), place("link")).unwrap();
        fs::hard_link(place("elsewhere"), place("second-name")).unwrap();
        pipe(&place("pipe"));
        for name in ["link", "second-name", "pipe"] {
            let file = RealDisk.create(&place(name)).unwrap();
            DiskFile::write_at(&file, b"new", 0).unwrap();
            assert!(fs::symlink_metadata(place(name)).unwrap().is_file());
            assert_eq!(fs::read(place(name)).unwrap(), b"new");
        }
        assert_eq!(fs::read(place("elsewhere")).unwrap(), b"precious");
    }

    #[test]
    fn holes_in_a_file_are_skipped() {
        let folder = tempdir().unwrap();
        let file = RealDisk.create(&folder.path().join("sparse")).unwrap();
        file.truncate(1 << 40).unwrap();
        let hole = file.data_from(4_096).unwrap();
        assert!(hole == 1 << 40 || hole == 4_096, "{hole}");
        DiskFile::write_at(&file, b"data", 1 << 30).unwrap();
        assert!(file.data_from(4_096).unwrap() <= 1 << 30);
        assert_eq!(file.data_from(1 << 30).unwrap(), 1 << 30);
    }
}
