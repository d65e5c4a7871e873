//! When a rule matches, as it was read.

use ipnet::IpNet;
use record::{Direction, Protocol};
use std::net::IpAddr;

/// What a record must be for a rule to match. Of each list one must fit, and of each list that is
/// not empty; what is not known fits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Criteria {
    /// Patterns of paths, or of names where there is no `/` in them.
    pub(crate) process: Vec<String>,
    pub(crate) team: Vec<String>,
    /// Patterns.
    pub(crate) signing_id: Vec<String>,
    pub(crate) platform: Option<bool>,
    pub(crate) user: Vec<UserIs>,
    pub(crate) destination: Vec<Place>,
    /// First and last.
    pub(crate) port: Vec<(u16, u16)>,
    pub(crate) direction: Vec<Direction>,
    pub(crate) protocol: Vec<Protocol>,
}

/// A user, by name or id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UserIs {
    Name(String),
    Id(u32),
}

/// The other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Net(IpNet),
    /// In lower case.
    Host(String),
    /// Every host below this one, in lower case.
    Below(String),
}

/// Words for networks.
const WORDS: &[(&str, &[&str])] = &[
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    (
        "private",
        &[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "fc00::/7",
        ],
    ),
    ("link-local", &["169.254.0.0/16", "fe80::/10"]),
    (
        "multicast",
        &["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"],
    ),
];

/// The places that a text names.
///
/// # Errors
/// What would be right.
pub(crate) fn places(text: &str) -> Result<Vec<Place>, String> {
    if let Some((_, networks)) = WORDS.iter().find(|(word, _)| *word == text) {
        let parsed = networks.iter().map(|it| it.parse().map(Place::Net));
        let places: Result<_, _> = parsed.collect();
        return Ok(places.expect("our own networks are well formed"));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![Place::Net(IpNet::from(address))]);
    }
    if text.contains('/') || text.contains(':') {
        return network(text).map(|net| vec![Place::Net(net)]);
    }
    host(text).map(|place| vec![place])
}

fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| {
        format!(
            "{} is no network; write it as 192.0.2.0/24 or 2001:db8::/32",
            quoted(text)
        )
    })?;
    if net != net.trunc() {
        return Err(format!(
            "{} has bits set behind its prefix; {} is the network",
            quoted(text),
            net.trunc()
        ));
    }
    Ok(net)
}

fn host(text: &str) -> Result<Place, String> {
    let (is_below, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let name = name.to_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = !name.is_empty()
        && !name.contains(['*', '?'])
        && !name.chars().any(|it| it.is_whitespace() || it.is_control())
        && name.split('.').all(|label| !label.is_empty())
        && !last.chars().all(|it| it.is_ascii_digit());
    if !is_name {
        let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        return Err(format!(
            "{} is no address, network, host name such as www.example.com or *.example.com, or one \
             of {}",
            quoted(text),
            words.join(", ")
        ));
    }
    Ok(match is_below {
        true => Place::Below(name),
        false => Place::Host(name),
    })
}

/// What somebody else wrote, fit to be shown: short, and without anything that a terminal obeys.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_networks_hosts_and_words() {
        let net = |text: &str| Place::Net(text.parse().unwrap());
        assert_eq!(places("192.0.2.7"), Ok(vec![net("192.0.2.7/32")]));
        assert_eq!(places("2001:db8::/32"), Ok(vec![net("2001:db8::/32")]));
        assert_eq!(places("loopback").unwrap().len(), 2);
        assert_eq!(
            places("WWW.Example.com"),
            Ok(vec![Place::Host("www.example.com".to_owned())])
        );
        assert_eq!(
            places("*.example.com"),
            Ok(vec![Place::Below("example.com".to_owned())])
        );
        assert!(places("10.1.2.3/8").unwrap_err().contains("10.0.0.0/8 is"));
        for wrong in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "a b",
            "*",
            "a*.example",
            "a..b",
            "x:y",
        ] {
            let error = places(wrong).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
