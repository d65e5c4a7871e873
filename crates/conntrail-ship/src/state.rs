//! What a destination's courier must know after a crash, in a file.

use ship::courier::Saved;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The file of one destination.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

/// A state is a few hundred numbers.
const BYTES_MAX: u64 = 4 << 20;

impl StateFile {
    pub(crate) fn new(folder: &Path, destination: &str) -> StateFile {
        StateFile {
            path: folder.join(format!("{destination}.state")),
        }
    }

    /// What was saved last; `None` where nothing was, or where it is damaged, which it says.
    pub(crate) fn load(&self) -> io::Result<(Option<Saved>, Option<String>)> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > BYTES_MAX => {
                return Ok((None, Some(self.trouble("it is too long"))));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((None, None)),
            Err(error) => return Err(error),
        }
        let bytes = fs::read(&self.path)?;
        let text = String::from_utf8_lossy(&bytes);
        match Saved::parse(&text) {
            Ok(saved) => Ok((Some(saved), None)),
            Err(error) => Ok((None, Some(self.trouble(&error.to_string())))),
        }
    }

    /// Puts it in the place of the one before, durably, and as a whole or not at all.
    pub(crate) fn save(&self, saved: &Saved) -> io::Result<()> {
        replace(&self.path, saved.to_text().as_bytes(), true)
    }

    fn trouble(&self, what: &str) -> String {
        format!("{}: {what}", self.path.display())
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
