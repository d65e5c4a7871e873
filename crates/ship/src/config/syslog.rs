//! Settings of syslog over TLS.

use serde::Deserialize;

/// Syslog of RFC 5424 over TLS, RFC 5425.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// `host:port`; the port is 6514 where none is named.
    pub address: String,
    /// Messages are no longer than this. Default 8,192, as receivers take by default.
    pub message_bytes_max: Option<u32>,
}
