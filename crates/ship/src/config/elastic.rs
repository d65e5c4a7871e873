//! Settings of Elastic's `_bulk`.

use serde::Deserialize;
use std::path::PathBuf;

/// Elastic's `_bulk`:
/// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// URL without a path: `https://elastic.example.com:9200`.
    pub url: String,
    /// Index or data stream. Default `logs-conntrail.connections-default`.
    pub index: Option<String>,
    /// A file with an API key, encoded as Elastic gives it.
    pub api_key_file: Option<PathBuf>,
    /// User, with `password_file`.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}
