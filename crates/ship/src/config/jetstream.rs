//! Settings of NATS JetStream.

use serde::Deserialize;
use std::path::PathBuf;

/// NATS JetStream: <https://docs.nats.io/nats-concepts/jetstream>.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JetStream {
    /// `tls://host:port` or `nats://host:port`, one or several of a cluster.
    pub servers: Vec<String>,
    /// What subjects begin with; `TENANT.SHARD` follows. Default `conntrail`.
    pub subject: Option<String>,
    /// The tenant. Default `default`.
    pub tenant: Option<String>,
    /// Shards over which endpoints are spread. Default 64.
    pub shards: Option<u16>,
    /// A file with a user's JWT and seed, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// User, with `password_file`.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// A file with a token.
    pub token_file: Option<PathBuf>,
}
