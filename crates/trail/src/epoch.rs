//! Every start of a writer gets a number of its own, for ever.
//!
//! The number is kept beside the directory of the segments, not in it: it must outlive them, or
//! else a writer that starts after their deletion would issue ids again.

use crate::disk::{Disk, DiskFile};
use crate::error::{Context, TrailError};
use crate::format::EPOCH_MAX;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file with the latest epoch: its number in decimal digits.
pub(crate) struct EpochFile {
    state: PathBuf,
}

impl EpochFile {
    pub(crate) fn new(state: &Path) -> EpochFile {
        EpochFile {
            state: state.to_owned(),
        }
    }

    /// The latest epoch; zero when there was none, or when the file is damaged or no file, in
    /// which case the segments must tell. `None` when there is a file that the device refuses to
    /// read.
    pub(crate) fn read<D: Disk>(&self, disk: &D) -> Option<u64> {
        let mut bytes = [0; 32];
        let path = self.state.join(NAME);
        let read = disk
            .open(&path)
            .and_then(|file| file.read_at(&mut bytes, 0));
        let count = match read {
            Ok(count) => count,
            Err(error) if is_absent(error.kind()) => 0,
            Err(_) => return None,
        };
        let text = std::str::from_utf8(&bytes[..count]).unwrap_or("");
        let epoch = text.trim_end().parse().ok();
        Some(epoch.filter(|epoch| *epoch <= EPOCH_MAX).unwrap_or(0))
    }

    /// Makes `epoch` the latest one, durably.
    pub(crate) fn write<D: Disk>(&self, disk: &D, epoch: u64) -> Result<(), TrailError> {
        let new = self.state.join(NEW_NAME);
        let file = disk.create(&new).context("create", &new)?;
        file.write_at(format!("{epoch}\n").as_bytes(), 0)
            .context("write", &new)?;
        file.sync().context("sync", &new)?;
        let path = self.state.join(NAME);
        disk.rename(&new, &path).context("rename to", &path)?;
        disk.sync_dir(&self.state).context("sync", &self.state)
    }
}

/// Nothing has the name, or a link or a pipe, which is not followed.
fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::InvalidInput)
}

const NAME: &str = "epoch";
const NEW_NAME: &str = "epoch.new";
