//! The URL of a proxy, which may hold a password.

use serde::Deserialize;
use std::fmt;
use std::ops::Deref;

/// `http://`, `https://` or `socks5://` URL of a proxy. Its `Debug` shows neither user nor
/// password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// As it is written down.
    pub fn new(text: impl Into<String>) -> ProxyUrl {
        ProxyUrl(text.into())
    }
}

impl Deref for ProxyUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password may have an `@` of its own, so what is shown begins after the last.
        match self.0.rsplit_once('@') {
            Some((_, host)) => write!(f, "(not shown)@{host}"),
            None => f.write_str(&self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn the_password_of_a_proxy_is_not_shown() {
        let text = "[destination.a]\nproxy = \"http://user:hunt@r2@proxy:3128\"\n\
                    [destination.a.file]\n";
        let shown = format!("{:?}", parse(text).unwrap());
        assert!(!shown.contains("r2"), "{shown}");
        assert!(shown.contains("(not shown)@proxy:3128"), "{shown}");
        assert_eq!(
            format!("{:?}", ProxyUrl::new("http://proxy:1")),
            "http://proxy:1"
        );
    }
}
