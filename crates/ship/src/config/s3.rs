//! Settings of an S3-compatible store.

use serde::Deserialize;
use std::path::PathBuf;

/// An S3-compatible store: `PutObject` with `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// URL of the store without the bucket: `https://s3.eu-central-1.amazonaws.com`.
    pub url: String,
    /// Bucket.
    pub bucket: String,
    /// What keys begin with. Default `conntrail/`.
    pub prefix: Option<String>,
    /// Region. Default `us-east-1`.
    pub region: Option<String>,
    /// A file with two lines: access key id, secret access key.
    pub credentials_file: PathBuf,
}
