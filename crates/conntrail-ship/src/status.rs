//! How deliveries go, for people and programs: `status.json` in the shipper's folder.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: i64,
    /// The process that wrote it.
    pub pid: u32,
    /// By name.
    pub destinations: BTreeMap<String, DestinationStatus>,
}

/// One destination. Counts are from the start of the shipper.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DestinationStatus {
    /// Its kind.
    pub kind: String,
    /// `deduplicated`, `acknowledged` or `unacknowledged`.
    pub guarantee: String,
    /// `delivering`, `waiting`, `misconfigured` or `paused`.
    pub state: String,
    /// What is wrong.
    pub problem: Option<String>,
    /// Records delivered.
    pub records: u64,
    /// Batches delivered.
    pub batches: u64,
    /// Their bytes as they were sent.
    pub bytes: u64,
    /// Deliveries tried again.
    pub retries: u64,
    /// Records that were not sent, by why.
    pub left_out: BTreeMap<String, u64>,
    /// Records that may have arrived or not.
    pub unknown: u64,
    /// Records that wait; absent where that is not known.
    pub lag_records: Option<u64>,
    /// How old the oldest of them is, in nanoseconds; zero where none waits, absent where that is
    /// not known.
    #[serde(default)]
    pub lag_ns: Option<u64>,
    /// What somebody should know though deliveries go on, of the last hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Files that were deleted for want of room; absent where the destination is not files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_files: Option<u64>,
}

/// Where it stands for the trail in `state_dir`.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("ship").join("status.json")
}

/// Reads it; `None` where no shipper wrote one that can be read.
pub fn read(state_dir: &Path) -> Option<Status> {
    let text = fs::read_to_string(path(state_dir)).ok()?;
    serde_json::from_str(&text).ok()
}
