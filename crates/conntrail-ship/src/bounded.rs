//! Reading a file that should be small.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The whole file, which has at most so many bytes.
///
/// # Errors
///
/// Those of reading, and [`io::ErrorKind::FileTooLarge`] for a longer file.
pub(crate) fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let kind = io::ErrorKind::FileTooLarge;
        return Err(io::Error::new(
            kind,
            format!("it has more than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}
