//! How far a reader came, kept by the reader in its own place.
//!
//! The recorder never reads it: a lesser user can write it. It is a position and nothing more, so
//! the worst that a wrong one does is that its own reader reads too much, or again.

use crate::disk::{Disk, DiskFile, RealDisk};
use crate::error::{Context, TrailError};
use record::{EndpointId, RecordId};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// The last record that a reader is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The machine that recorded it.
    pub endpoint: EndpointId,
    /// Its id.
    pub last: RecordId,
}

/// Where a reader goes on that has a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// After the cursor; nothing is missing there.
    Here,
    /// After the cursor, but records in between are gone, evicted or lost; where their number is
    /// known it is there.
    Gap(Option<u64>),
    /// After the cursor, as soon as there is more: less is published than was read before, as
    /// after a power cut until the recorder starts again.
    Ahead,
    /// From the first record on: the trail ends before the cursor's epoch. It was set back, or is
    /// another one.
    StartedOver,
    /// From the first record on: another machine recorded this.
    OtherEndpoint(EndpointId),
}

impl Cursor {
    /// Reads a cursor; `None` where there is no file.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn load(path: &Path) -> Result<Option<Cursor>, TrailError> {
        Cursor::load_on(&RealDisk, path)
    }

    /// Reads a cursor from a disk that need not be real.
    ///
    /// # Errors
    /// As [`Cursor::load`].
    pub fn load_on<D: Disk>(disk: &D, path: &Path) -> Result<Option<Cursor>, TrailError> {
        let file = match disk.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("open", path),
        };
        let mut bytes = [0; TEXT_BYTES_MAX + 1];
        let count = file.read_at(&mut bytes, 0).context("read", path)?;
        let cursor = Cursor::parse(&bytes[..count]);
        cursor.map(Some).ok_or_else(|| TrailError::NoCursor {
            path: path.to_owned(),
        })
    }

    /// Puts it in the place of the one before, durably, and as a whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses; then the one before is there, or this one.
    pub fn save(&self, path: &Path) -> Result<(), TrailError> {
        self.save_on(&RealDisk, path)
    }

    /// Saves it on a disk that need not be real.
    ///
    /// # Errors
    /// As [`Cursor::save`].
    pub fn save_on<D: Disk>(&self, disk: &D, path: &Path) -> Result<(), TrailError> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = Path::new(&new);
        let file = disk.create(new).context("create", new)?;
        file.write_at(self.to_string().as_bytes(), 0)
            .context("write", new)?;
        file.sync().context("sync", new)?;
        disk.rename(new, path).context("rename to", path)?;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        disk.sync_dir(folder).context("sync", folder)
    }

    /// A text is a cursor only if it is exactly what one is written as.
    fn parse(bytes: &[u8]) -> Option<Cursor> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split(' ').skip(1);
        let endpoint = u128::from_str_radix(words.next()?, 16).ok()?;
        let cursor = Cursor {
            endpoint: EndpointId(endpoint.to_be_bytes()),
            last: RecordId {
                epoch: words.next()?.parse().ok()?,
                sequence: words.next()?.parse().ok()?,
            },
        };
        (cursor.to_string() == text).then_some(cursor)
    }
}

/// As it is written to a file.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = u128::from_be_bytes(self.endpoint.0);
        let RecordId { epoch, sequence } = self.last;
        let text = format!("conntrail-cursor1 {endpoint:032x} {epoch} {sequence}");
        let checksum = crc32c::crc32c(text.as_bytes());
        writeln!(f, "{text} {checksum:08x}")
    }
}

/// Two numbers of 20 digits, and the rest.
const TEXT_BYTES_MAX: usize = 103;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_as_text_and_no_other_text_is_one() {
        let cursor = Cursor {
            endpoint: EndpointId([0xfe; 16]),
            last: RecordId {
                epoch: u64::MAX,
                sequence: u64::MAX,
            },
        };
        let text = cursor.to_string();
        assert_eq!(text.len(), TEXT_BYTES_MAX - 1);
        assert_eq!(Cursor::parse(text.as_bytes()), Some(cursor));
        for at in 0..text.len() {
            assert_eq!(Cursor::parse(&text.as_bytes()[..at]), None);
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert_eq!(Cursor::parse(&bytes), None, "{at}");
            }
        }
        let longer = format!("{text}\n");
        assert_eq!(Cursor::parse(longer.as_bytes()), None);
    }
}
