//! The text of a privacy policy.

use crate::records::encoded;
use policy::{Engine, KEY_BYTES, Policy, PseudonymKey};
use record::{Mono, Stamp, Wall, codec, sample};
use std::sync::Arc;

/// A text is a policy or has mistakes with a place in it; a policy makes records of records.
pub(crate) fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let lines = text.lines().count() + 1;
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(problems) => {
            assert!(
                (1..=20).contains(&problems.len()),
                "{} problems",
                problems.len()
            );
            for problem in problems {
                assert!(problem.line <= lines, "{problem:?} in {lines} lines");
            }
            return;
        }
    };
    let again = Policy::parse(text).expect("the same text is as right as before");
    assert_eq!(again.hash(), policy.hash());
    for rule in 1..=policy.rule_names().count() {
        let number = u8::try_from(rule).expect("there are 128 at most");
        let line = policy.rule_line(number);
        assert!(
            line.is_some_and(|line| line <= lines),
            "rule {rule} at {line:?}"
        );
    }
    apply(policy);
}

fn apply(policy: Policy) {
    let mut engine = Engine::default();
    let now = Stamp {
        wall: Wall(1_700_000_000_000_000_000),
        mono: Mono(5),
    };
    engine.set_key(Some(PseudonymKey::new([7; KEY_BYTES])));
    engine.set_policy(Some(Arc::new(policy)), now);
    for mut record in sample::records(3, 20) {
        engine.apply(&mut record);
        let bytes = encoded(&record);
        let kept = codec::decode(&bytes).expect("what is kept can be read");
        assert_eq!(encoded(&kept), bytes);
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![WHOLE.into(), SHORT.into()]
}

const SHORT: &str = r#"version = 1
[[rule]]
name = "a"
action = "keep"
fields = ["user"]
"#;

const WHOLE: &str = r#"version = 1
[pseudonyms]
rotate = "30d"
[[rule]]
name = "no users"
action = "pseudonymise"
fields = ["user", "process.path"]
when = { process = ["/opt/**", "f?o*"], user = ["ana", 0], platform = true, team = "T" }
[[rule]]
name = "no destinations"
action = "truncate"
fields = ["remote.address", "hostname"]
when = { destination = ["private", "2001:db8::/32", "*.example.com"], port = [443, "1-9"] }
to = { ipv4 = 8, ipv6 = 32, labels = 1 }
[[rule]]
name = "drop"
action = "drop"
fields = ["record"]
when = { direction = "inbound", protocol = ["tcp", 17] }
"#;
