//! Whatever the text, nothing panics, and every mistake has a place in it.

use crate::engine;
use policy::Policy;
use record::sample::{self, Random};

const SEED: &str = r#"
version = 1
[pseudonyms]
rotate = "30d"
[[rule]]
name = "the works council: no users"
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

const PIECES: &[&str] = &[
    "[[rule]]\n",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\n",
    "=",
    ",",
    "**",
    "/",
    "drop",
    "record",
    "when",
    "0",
    "-1",
    "99999999999999999999",
    "1e9",
    "\u{0}",
    "é",
    "\u{1f600}",
    "'''",
    "#",
    "fields = []",
    "name = 1",
    "::/0",
    "0.0.0.0/0",
    "255.255.255.255/32",
    "\"0-65535\"",
    "true",
    "x.y = 1\n",
];

fn garble(random: &mut Random) -> String {
    let mut bytes = SEED.as_bytes().to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let until = (at + random.below(40) as usize).min(bytes.len());
        match random.below(4) {
            0 => drop(bytes.drain(at..until)),
            1 => drop(bytes.splice(at..at, random.pick(PIECES).bytes())),
            2 => bytes.truncate(at.max(1)),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_text_makes_it_panic_and_what_is_right_can_be_applied() {
    let mut random = Random::new(2026);
    let records = sample::records(1, 40);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        let text = garble(&mut random);
        match Policy::parse(&text) {
            Ok(policy) => {
                right += 1;
                let mut engine = engine(&policy.into());
                for mut record in records.iter().cloned() {
                    engine.apply(&mut record);
                }
            }
            Err(problems) => {
                wrong += 1;
                let lines = text.matches('\n').count() + 1;
                assert!(!problems.is_empty());
                assert!(
                    problems.iter().all(|it| (1..=lines).contains(&it.line)),
                    "{text}"
                );
            }
        }
    }
    assert!(right > 200 && wrong > 5_000, "{right} right, {wrong} wrong");
}

#[test]
fn a_nest_of_brackets_is_refused() {
    for nest in ["[", "{x=", "[[rule]]\nwhen = {process="] {
        let text = format!("version = 1\nx = {}", nest.repeat(50_000));
        assert!(Policy::parse(&text).is_err());
    }
}

#[test]
fn a_great_many_networks_are_compiled_soon() {
    let nets: Vec<String> = (0..40_000u32)
        .map(|it| format!("\"10.{}.{}.0/24\"", it / 256, it % 256))
        .collect();
    let text = format!(
        "version = 1\n[[rule]]\nname = \"n\"\naction = \"drop\"\nfields = \"record\"\n\
         when = {{ destination = [{}] }}\n",
        nets.join(",")
    );
    assert!(Policy::parse(&text).is_ok());
}
