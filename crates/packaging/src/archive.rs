//! The file formats inside an installer's package.
//!
//! Writers and readers of the three formats that a package is made of, and no more of each than a
//! package needs. What is written depends on nothing but what is given: no clock, no owner of
//! files, no order of a folder. The readers take hostile bytes.

pub mod bom;
pub mod cpio;
pub mod xar;
pub mod xml;

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use std::cmp::Ordering;
use std::io::{self, Read, Write};

/// The most that is unpacked of anything, in bytes.
pub const UNPACKED_MAX: usize = 1 << 30;

/// Something in an archive of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `.` for the root, else `./` and names with `/` between them.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// The permissions, without the type of the file.
    pub mode: u16,
    /// The user who owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// When it was changed, in seconds since 1970.
    pub modified_s: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file and its bytes.
    File(Vec<u8>),
    /// A symbolic link and where it points.
    Link(String),
}

/// Why bytes are not what they should be, or cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{format}: {problem}")]
pub struct Error {
    /// The format: "cpio", "xar", "BOM" and so on.
    pub format: &'static str,
    /// What is wrong, and where.
    pub problem: String,
}

impl Error {
    fn new(format: &'static str, problem: impl Into<String>) -> Error {
        Error {
            format,
            problem: problem.into(),
        }
    }
}

impl Entry {
    /// Type and permissions as `stat` has them.
    pub fn full_mode(&self) -> u16 {
        let kind = match self.kind {
            Kind::Folder => 0o040_000,
            Kind::File(_) => 0o100_000,
            Kind::Link(_) => 0o120_000,
        };
        kind | self.mode
    }

    /// What is stored of it: the bytes of a file, or where a link points.
    pub fn content(&self) -> &[u8] {
        match &self.kind {
            Kind::Folder => &[],
            Kind::File(bytes) => bytes,
            Kind::Link(target) => target.as_bytes(),
        }
    }
}

/// The order of entries: a folder before what is in it, names by their bytes.
pub fn by_path(left: &Entry, right: &Entry) -> Ordering {
    left.path.split('/').cmp(right.path.split('/'))
}

/// Compressed with gzip, without a name or a time.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
    done.expect("memory takes what is written")
}

/// What was compressed with gzip.
///
/// # Errors
/// When it was not, or is more than [`UNPACKED_MAX`].
pub fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    unpacked("gzip", GzDecoder::new(bytes), UNPACKED_MAX)
}

fn unpacked(format: &'static str, reader: impl Read, max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read: io::Result<usize> = reader.take(max as u64 + 1).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() > max => Err(Error::new(
            format,
            format!("unpacks to more than {max} bytes"),
        )),
        Ok(_) => Ok(bytes),
        Err(error) => Err(Error::new(format, format!("cannot be unpacked: {error}"))),
    }
}

/// A part of bytes, or nothing where it is beyond their end.
fn part(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    let length = usize::try_from(length).ok()?;
    bytes.get(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: Kind::Folder,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified_s: 0,
        }
    }

    #[test]
    fn a_folder_comes_before_what_is_in_it() {
        let mut entries: Vec<_> = ["./b", "./a/z", "./a-b", "./a", "."].map(folder).into();
        entries.sort_by(by_path);
        let paths: Vec<_> = entries.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, [".", "./a", "./a/z", "./a-b", "./b"]);
    }

    #[test]
    fn what_is_compressed_has_no_time_and_comes_back() {
        let packed = gzip(b"hello");
        assert_eq!(packed[4..8], [0, 0, 0, 0]);
        assert_eq!(gunzip(&packed).unwrap(), b"hello");
        assert!(gunzip(&packed[..packed.len() - 1]).is_err());
        assert!(gunzip(b"hello").is_err());
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        assert!(unpacked("test", &[0u8; 10][..], 9).is_err());
        assert_eq!(unpacked("test", &[0u8; 9][..], 9).unwrap().len(), 9);
    }
}
