//! Settings of Splunk's HTTP event collector.

use serde::Deserialize;
use std::path::PathBuf;

/// Splunk's HTTP event collector:
/// <https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector>.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hec {
    /// URL without a path: `https://splunk.example.com:8088`.
    pub url: String,
    /// A file with the token.
    pub token_file: PathBuf,
    /// Whether indexers acknowledge; the token must be set up for it. Default true.
    pub acknowledge: Option<bool>,
    /// What indexers have not acknowledged after so long is sent again, in seconds. Default 120.
    pub acknowledge_timeout_s: Option<u32>,
    /// Index, where it is not the token's own.
    pub index: Option<String>,
    /// Source type. Default `conntrail`.
    pub sourcetype: Option<String>,
}
