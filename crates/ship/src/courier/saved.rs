//! What a courier must know after a crash, as text.

use super::{Plan, Stretch};
use record::{EndpointId, RecordId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use trail::{Head, Source};

/// What is neither acknowledged nor declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// The machine whose trails these are.
    #[serde(with = "endpoint_text")]
    pub endpoint: EndpointId,
    /// By trail.
    pub trails: Vec<SavedTrail>,
}

/// What is left of one trail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTrail {
    /// The name of a side trail; absent for the recorder's.
    pub source: Option<String>,
    /// Still to be read.
    pub stretches: Vec<SavedStretch>,
    /// Cut and not acknowledged.
    pub plans: Vec<SavedPlan>,
}

/// Epoch and sequence of the first record, and of the first one after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStretch(u64, u64, Option<(u64, u64)>);

/// The range of a batch, and what its manifest says of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    epoch: u64,
    first: u64,
    last: u64,
    head: Option<String>,
}

/// A text is no state that can be gone on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// It is none, or not as it was written.
    #[error("it is damaged")]
    Damaged,
    /// It is as it was written, and says what this version does not know.
    #[error("another version of the program wrote it")]
    OtherVersion,
}

impl Saved {
    /// Nothing was delivered yet of what this machine recorded.
    pub fn empty(endpoint: EndpointId) -> Saved {
        Saved {
            endpoint,
            trails: Vec::new(),
        }
    }

    pub(super) fn new<'a>(
        endpoint: EndpointId,
        stretches: &[Stretch],
        plans: impl Iterator<Item = &'a Plan>,
    ) -> Saved {
        let mut trails: BTreeMap<&Source, SavedTrail> = BTreeMap::new();
        let named = |source: &Source| SavedTrail {
            source: source.name().map(str::to_owned),
            ..SavedTrail::default()
        };
        for it in stretches {
            let until = it.until.map(|until| (until.epoch, until.sequence));
            let stretch = SavedStretch(it.from.epoch, it.from.sequence, until);
            let trail = trails.entry(&it.source);
            let trail = trail.or_insert_with(|| named(&it.source));
            trail.stretches.push(stretch);
        }
        for it in plans {
            let plan = SavedPlan {
                epoch: it.epoch,
                first: it.first,
                last: it.last,
                head: it.head.map(|head| head.to_string()),
            };
            let trail = trails.entry(&it.source);
            trail.or_insert_with(|| named(&it.source)).plans.push(plan);
        }
        Saved {
            endpoint,
            trails: trails.into_values().collect(),
        }
    }

    /// As it is kept in a file: a line of JSON, and its SHA-256.
    pub fn to_text(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers and text cannot fail");
        let digest = checksum(&json);
        format!("{json}\n{digest}\n")
    }

    /// Reads what [`Saved::to_text`] wrote.
    ///
    /// # Errors
    /// When the text is not what was written, or another version wrote it.
    pub fn parse(text: &str) -> Result<Saved, SavedError> {
        let (json, digest) = text.split_once('\n').ok_or(SavedError::Damaged)?;
        if digest.trim_end() != checksum(json) {
            return Err(SavedError::Damaged);
        }
        serde_json::from_str(json).map_err(|_| SavedError::OtherVersion)
    }
}

impl SavedTrail {
    pub(super) fn source(&self) -> Source {
        match &self.source {
            None => Source::Recorder,
            Some(name) => Source::Side(name.as_str().into()),
        }
    }
}

impl SavedStretch {
    pub(super) fn from(self) -> RecordId {
        RecordId {
            epoch: self.0,
            sequence: self.1,
        }
    }

    pub(super) fn until(self) -> Option<RecordId> {
        self.2.map(|(epoch, sequence)| RecordId { epoch, sequence })
    }
}

impl SavedPlan {
    pub(super) fn plan(&self, source: &Source) -> Plan {
        let head: Option<Head> = self.head.as_ref().and_then(|head| head.parse().ok());
        Plan::planned(source, self.epoch, (self.first, self.last), head)
    }
}

fn checksum(json: &str) -> String {
    let digest = Sha256::digest(json.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

mod endpoint_text {
    use record::EndpointId;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(id: &EndpointId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EndpointId, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_as_text_and_no_other_text_is_one() {
        let saved = Saved {
            endpoint: EndpointId([7; 16]),
            trails: vec![SavedTrail {
                source: Some("ship".to_owned()),
                stretches: vec![SavedStretch(1, 2, Some((3, 4))), SavedStretch(3, 4, None)],
                plans: vec![SavedPlan {
                    epoch: 1,
                    first: 1,
                    last: 1,
                    head: None,
                }],
            }],
        };
        let text = saved.to_text();
        assert_eq!(Saved::parse(&text), Ok(saved));
        for at in 0..text.len() - 2 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(Saved::parse(&changed), Err(SavedError::Damaged), "{at}");
        }
    }

    #[test]
    fn a_state_that_says_more_than_is_known_here_is_not_taken_for_less() {
        let text = Saved::empty(EndpointId([7; 16])).to_text();
        let json = text.lines().next().unwrap();
        let json = json.replace("\"trails\"", "\"held\":[1],\"trails\"");
        let newer = format!("{json}\n{}\n", checksum(&json));
        assert_eq!(Saved::parse(&newer), Err(SavedError::OtherVersion));
    }
}
