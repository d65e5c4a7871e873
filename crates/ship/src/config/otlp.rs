//! Settings of OTLP over HTTP.

use serde::Deserialize;
use std::path::PathBuf;

/// OTLP over HTTP: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// URL, with the path: `https://collector.example.com:4318/v1/logs`.
    pub url: String,
    /// A file with lines `Name: value` that are sent as headers; for tokens.
    pub headers_file: Option<PathBuf>,
}
