//! What a destination's courier must know after a crash, in a file.

use crate::bounded;
use anyhow::Context;
use ship::courier::{Saved, SavedError};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The file of one destination.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

/// A state is a few hundred numbers.
const BYTES_MAX: usize = 4 << 20;

impl StateFile {
    pub(crate) fn new(folder: &Path, destination: &str) -> StateFile {
        StateFile {
            path: folder.join(format!("{destination}.state")),
        }
    }

    /// What was saved last; `None` where nothing was, or where it is no state, which it says.
    ///
    /// # Errors
    /// When nobody can say what was saved, with what to do. To begin anew then would send
    /// everything again because of a permission.
    pub(crate) fn load(&self) -> anyhow::Result<(Option<Saved>, Option<String>)> {
        let bytes = match bounded::read(&self.path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((None, None)),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                return Ok((None, Some(self.trouble(SavedError::Damaged))));
            }
            Err(error) => {
                let path = self.path.display();
                return Err(error).with_context(|| {
                    format!(
                        "{path} cannot be read, and nothing is sent until it can: let the user \
                         that conntrail-ship runs as read it, or remove it, and everything is sent \
                         again from the oldest record on"
                    )
                });
            }
        };
        match Saved::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(saved) => Ok((Some(saved), None)),
            Err(error) => Ok((None, Some(self.trouble(error)))),
        }
    }

    /// Puts it in the place of the one before, durably, and as a whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses, with what to do.
    pub(crate) fn save(&self, saved: &Saved) -> anyhow::Result<()> {
        let replaced = replace(&self.path, saved.to_text().as_bytes(), true);
        replaced.with_context(|| {
            let path = self.path.display();
            format!(
                "{path} cannot be written, and nothing new is sent until it can: make room on its \
                 disk, or let the user that conntrail-ship runs as write in its folder"
            )
        })
    }

    fn trouble(&self, error: SavedError) -> String {
        format!(
            "{}: {error}; everything is sent again from the oldest record on, under the same \
             record ids",
            self.path.display()
        )
    }
}

/// Puts `bytes` in the place of a file, as a whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_data()?;
    }
    fs::rename(&new, path)?;
    if durable && let Some(folder) = path.parent() {
        File::open(folder)?.sync_data()?;
    }
    Ok(())
}
