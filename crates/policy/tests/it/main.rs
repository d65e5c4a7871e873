//! The policy as a whole: from a text to the bytes that are kept.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop where it stands"
)]

mod absence;
mod garbled;
mod language;
mod rules;

use policy::{Engine, Policy, PseudonymKey};
use record::{Connection, Record, Stamp};
use std::sync::Arc;

/// A policy of these rules.
fn policy(rules: &str) -> Arc<Policy> {
    let text = format!("version = 1\n{rules}");
    let policy = Policy::parse(&text);
    Arc::new(policy.unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")))
}

/// One rule.
fn rule(action: &str, fields: &str, rest: &str) -> String {
    format!(
        "[[rule]]\nname = \"{action} {fields}\"\naction = \"{action}\"\nfields = [{fields:?}]\n\
         {rest}\n"
    )
}

fn engine(policy: &Arc<Policy>) -> Engine {
    let mut engine = Engine::default();
    engine.set_policy(Some(Arc::clone(policy)), Stamp::default());
    engine.set_key(Some(key()));
    engine
}

fn key() -> PseudonymKey {
    PseudonymKey::new([0x5a; policy::KEY_BYTES])
}

/// What becomes of a connection.
fn applied(engine: &mut Engine, connection: &Connection) -> (policy::Decision, Connection) {
    let mut record = Record::Connection(connection.clone());
    let decision = engine.apply(&mut record);
    let Record::Connection(after) = record else {
        unreachable!("a connection stays one")
    };
    (decision, after)
}
