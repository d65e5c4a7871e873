//! Settings of NATS JetStream.

use record::EndpointId;
use serde::Deserialize;
use sha2::{Digest, Sha256};
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
    /// The stream that is expected to take what is sent; what another one would take is refused.
    /// Absent for any.
    pub stream: Option<String>,
    /// A file with a user's JWT and seed, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// User, with `password_file`.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// A file with a token.
    pub token_file: Option<PathBuf>,
}

const SUBJECT: &str = "conntrail";
const TENANT: &str = "default";
const SHARDS: u16 = 64;

impl JetStream {
    /// The subject for what an endpoint sends, `SUBJECT.TENANT.SHARD`.
    ///
    /// The shard depends on nothing but the endpoint and how many there are: it is the number of
    /// the first eight bytes, highest first, of the SHA-256 of the endpoint's id as text, modulo
    /// the number of shards.
    pub fn subject(&self, endpoint: &EndpointId) -> String {
        let digest = Sha256::digest(endpoint.to_string());
        let high = digest
            .iter()
            .take(8)
            .fold(0, |high: u64, byte| high << 8 | u64::from(*byte));
        let shards = self.shards.unwrap_or(SHARDS).max(1);
        let subject = self.subject.as_deref().unwrap_or(SUBJECT);
        let tenant = self.tenant.as_deref().unwrap_or(TENANT);
        format!("{subject}.{tenant}.{}", high % u64::from(shards))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn settings() -> JetStream {
        toml::from_str("servers = ['nats://localhost']").unwrap()
    }

    #[test]
    fn the_shard_of_an_endpoint_stays_the_same() {
        // `printf 00000000-0000-0000-0000-000000000000 | sha256sum` begins with 12b9377cbe7e5c94.
        assert_eq!(
            settings().subject(&EndpointId([0; 16])),
            format!("conntrail.default.{}", 0x12b9_377c_be7e_5c94_u64 % 64)
        );
        let other = JetStream {
            subject: Some("trails.eu".to_owned()),
            tenant: Some("acme".to_owned()),
            shards: Some(1),
            ..settings()
        };
        assert_eq!(other.subject(&EndpointId([7; 16])), "trails.eu.acme.0");
    }

    #[test]
    fn endpoints_are_spread_over_all_shards() {
        let subjects = (0..=255).map(|byte| settings().subject(&EndpointId([byte; 16])));
        assert!(subjects.collect::<BTreeSet<String>>().len() > 56);
    }
}
