//! Settings of files, and of standard output.

use serde::Deserialize;
use std::path::PathBuf;

/// Files of lines, or standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Folder; standard output where there is none.
    pub folder: Option<PathBuf>,
    /// A file ends when it has so many bytes. Default 64 MiB.
    pub file_bytes_max: Option<u64>,
    /// A file ends when it is so old, in seconds. Default an hour.
    pub file_age_max_s: Option<u64>,
    /// The oldest files are deleted beyond so many bytes; 0 for never. Default 0.
    pub total_bytes_max: Option<u64>,
}
