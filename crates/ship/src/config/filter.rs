//! Which records a destination gets.

use record::{Connection, Direction, Phase, Protocol, Record};
use serde::Deserialize;

/// Which records are sent. What is not sent is counted in the manifest of the batch that it would
/// have stood in. Finer choices, by network, program or user, are those of a privacy policy, which
/// can drop records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Opens, as they come. Default no: the close tells the whole story, and of what lives longer
    /// than a minute an update tells.
    pub opens: Option<bool>,
    /// Updates about connections that live long. Default yes.
    pub updates: Option<bool>,
    /// Notices. Default yes; without them a store cannot balance the books.
    pub notices: Option<bool>,
    /// Connections of the machine with itself. Default yes, where the recorder records them.
    pub loopback: Option<bool>,
    /// Only connections of these directions; all where it is absent.
    pub directions: Option<Vec<WantedDirection>>,
    /// Only connections of these protocols; all where it is absent.
    pub protocols: Option<Vec<WantedProtocol>>,
}

/// A direction, as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedDirection {
    /// This machine began.
    Outbound,
    /// Another began.
    Inbound,
    /// It is not known who began.
    Unknown,
}

/// A protocol, as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Any other.
    Other,
}

/// Why a filter leaves out a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOutBy {
    /// It is an open.
    Opens,
    /// Anything else.
    Filter,
}

impl Filter {
    /// Why a record is not sent; `None` where it is.
    pub fn leaves_out(&self, record: &Record) -> Option<LeftOutBy> {
        let connection = match record {
            Record::Notice(_) if self.notices.unwrap_or(true) => return None,
            Record::Notice(_) => return Some(LeftOutBy::Filter),
            Record::Connection(connection) => connection,
        };
        if !self.asks_for(connection) {
            return Some(LeftOutBy::Filter);
        }
        match connection.phase {
            Phase::Open if !self.opens.unwrap_or(false) => Some(LeftOutBy::Opens),
            Phase::Update if !self.updates.unwrap_or(true) => Some(LeftOutBy::Filter),
            Phase::Open | Phase::Update | Phase::Close(_) => None,
        }
    }

    fn asks_for(&self, connection: &Connection) -> bool {
        let direction = match connection.direction {
            Direction::Outbound => WantedDirection::Outbound,
            Direction::Inbound => WantedDirection::Inbound,
            Direction::Unknown => WantedDirection::Unknown,
        };
        let protocol = match connection.protocol {
            Protocol::Tcp => WantedProtocol::Tcp,
            Protocol::Udp => WantedProtocol::Udp,
            Protocol::Other(_) => WantedProtocol::Other,
        };
        let directions = self.directions.as_ref();
        let protocols = self.protocols.as_ref();
        directions.is_none_or(|wanted| wanted.contains(&direction))
            && protocols.is_none_or(|wanted| wanted.contains(&protocol))
            && (self.loopback.unwrap_or(true) || !is_loopback(connection))
    }
}

fn is_loopback(connection: &Connection) -> bool {
    let remote = connection.remote.address;
    remote.is_some_and(|address| address.to_canonical().is_loopback())
        || remote.is_some() && remote == connection.local.address
}
