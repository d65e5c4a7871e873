//! Files in a folder, or standard output.
//!
//! Parcels are appended as they are: lines to lines, gzip members to members, zstd frames to
//! frames, and all three are read as one stream. The file under way has `.part` behind its name,
//! which it loses when it ends, by size or by age; readers take what has ended.
//!
//! Beside it stands `DESTINATION.marks`: where each parcel ends in the file under way, and which
//! were written lately. It is written after the file's bytes are on the disk and before the parcel
//! is accepted. So what a crash or a full disk left behind the last mark is cut off, and a parcel
//! that comes again although it is there is not written again.

mod folder;
mod standard_output;

pub(crate) use folder::extension;

use folder::Folder;
use ship::{Answer, Compression, Format, Guarantee, Parcel, config};
use standard_output::StandardOutput;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Files in a folder, or standard output.
#[derive(Debug)]
pub struct FileSink {
    place: Place,
}

/// What became of files that were ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// How many were deleted since the start, so that all together stay within their bounds.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug)]
enum Place {
    Folder(Box<RefCell<Folder>>),
    StandardOutput(RefCell<StandardOutput>),
}

impl FileSink {
    /// Files of parcels in this format for the destination of this name, or standard output where
    /// `config` names no folder. Nothing is opened before there is something to write, except
    /// standard output.
    ///
    /// # Errors
    ///
    /// There is no standard output.
    pub fn new(
        destination: &str,
        config: &config::File,
        format: Format,
        compression: Compression,
    ) -> io::Result<FileSink> {
        let place = match &config.folder {
            Some(path) => Place::Folder(Box::new(RefCell::new(Folder::new(
                destination,
                path,
                config,
                extension(format, compression),
                format == Format::Parquet,
            )))),
            None => Place::StandardOutput(RefCell::new(StandardOutput::open()?)),
        };
        Ok(FileSink { place })
    }

    /// What was deleted since the start because all files together may be no larger.
    pub fn deleted(&self) -> Deleted {
        match &self.place {
            Place::Folder(folder) => folder.borrow().deleted(),
            Place::StandardOutput(_) => Deleted::default(),
        }
    }
}

impl super::Sink for FileSink {
    /// Files are acknowledged once they are on the disk, and a parcel that comes again is found.
    fn guarantee(&self) -> Guarantee {
        match &self.place {
            Place::Folder(_) => Guarantee::Deduplicated,
            Place::StandardOutput(_) => Guarantee::Unacknowledged,
        }
    }

    async fn deliver(&self, parcel: &Parcel) -> Answer {
        match &self.place {
            Place::Folder(folder) => {
                let mut folder = folder.borrow_mut();
                match folder.write(parcel, now_s()) {
                    Ok(()) => Answer::Accepted,
                    Err(trouble) => trouble.answer(folder.path()),
                }
            }
            Place::StandardOutput(output) => output.borrow_mut().write(parcel),
        }
    }

    async fn tend(&self) {
        if let Place::Folder(folder) = &self.place {
            folder.borrow_mut().end_if_old(now_s());
        }
    }
}

/// What kept a parcel from a file, with what was being done.
#[derive(Debug)]
struct Trouble {
    doing: String,
    source: io::Error,
}

/// A full disk is looked at again after so long.
const FULL_RETRY: Duration = Duration::from_secs(30);

impl Trouble {
    fn answer(&self, folder: &Path) -> Answer {
        use io::ErrorKind as Kind;
        let reason = format!("{}: {}", self.doing, self.source);
        let kind = self.source.kind();
        let folder = folder.display();
        if kind == Kind::StorageFull || kind == Kind::QuotaExceeded {
            return Answer::Again {
                after: Some(FULL_RETRY),
                reason: format!(
                    "{reason}; nothing of the batch stays: make room on the disk of {folder}, or \
                     bound the files with total_bytes_max"
                ),
            };
        }
        let forbidden = [
            Kind::PermissionDenied,
            Kind::ReadOnlyFilesystem,
            Kind::NotADirectory,
        ];
        if forbidden.contains(&kind) {
            let reason = format!(
                "{reason}: let the user that conntrail-ship runs as write in {folder}, or name \
                 another folder"
            );
            return Answer::Misconfigured { reason };
        }
        if kind == Kind::WouldBlock {
            let reason = format!(
                "another program writes files of the same destination to {folder}: end it, or \
                 name another folder"
            );
            return Answer::Misconfigured { reason };
        }
        Answer::Again {
            after: None,
            reason,
        }
    }
}

/// Says of an error what was being done.
fn doing<T>(what: &str, path: &Path, result: io::Result<T>) -> Result<T, Trouble> {
    result.map_err(|source| Trouble {
        doing: format!("{what} {}", path.display()),
        source,
    })
}

/// Makes new names in a folder durable.
fn sync_folder(path: &Path) -> Result<(), Trouble> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    doing("flush the folder", path, synced)
}

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests;
