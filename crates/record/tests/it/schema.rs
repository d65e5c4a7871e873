//! Conformance: events validate against the official schema, captions and all.
//!
//! `CONNTRAIL_OCSF_SCHEMAS` names a folder with one JSON Schema a class
//! (`network_activity.json`, `event_log_actvity.json` as the official name is spelled,
//! `application_lifecycle.json`) and `captions.json`, which `cargo xtask test` makes from the
//! official export.

use jsonschema::Validator;
use record::{Record, RecordId, ocsf, sample};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const EVENTS_GENERATED: usize = 50_000;

struct Schemas {
    classes: BTreeMap<u64, Validator>,
    captions: Value,
}

impl Schemas {
    fn load() -> Schemas {
        let class = |name: &str| {
            jsonschema::validator_for(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        Schemas {
            classes: BTreeMap::from([
                (4001, class("network_activity")),
                (1008, class("event_log_actvity")),
                (6002, class("application_lifecycle")),
            ]),
            captions: read("captions"),
        }
    }

    fn check(&self, event: &Value) {
        let class = &self.classes[&event["class_uid"].as_u64().unwrap()];
        let errors: Vec<String> = class
            .iter_errors(event)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{event:#}");
        self.check_captions(event);
    }

    fn check_captions(&self, event: &Value) {
        let class_uid = event["class_uid"].to_string();
        self.check_captions_of(&class_uid, event, event);
        let objects = [
            ("network_connection_info", "/connection_info"),
            ("device", "/device"),
            ("os", "/device/os"),
            ("file", "/actor/process/file"),
            ("digital_signature", "/actor/process/file/signatures/0"),
            ("fingerprint", "/actor/process/file/signatures/0/digest"),
            ("timespan", "/traffic/timespan"),
        ];
        for (object, pointer) in objects {
            if let Some(value) = event.pointer(pointer) {
                self.check_captions_of(object, value, event);
            }
        }
    }

    /// Each number with a caption beside it must have the caption that the schema gives it.
    /// The schema leaves the caption of "Other" (99) to the source.
    fn check_captions_of(&self, shape: &str, value: &Value, event: &Value) {
        let attributes = self.captions[shape].as_object().unwrap();
        for (attribute, table) in attributes {
            let Some(number) = value.get(attribute).and_then(Value::as_u64) else {
                continue;
            };
            let sibling = table["sibling"].as_str().unwrap();
            let expected = table["captions"][number.to_string()].as_str();
            assert!(
                expected.is_some(),
                "{shape}.{attribute} = {number} in {event:#}"
            );
            if number != 99 {
                assert_eq!(
                    value[sibling].as_str(),
                    expected,
                    "{shape}.{sibling} in {event:#}"
                );
            }
        }
    }
}

fn read(name: &str) -> Value {
    let folder = std::env::var_os("CONNTRAIL_OCSF_SCHEMAS")
        .expect("CONNTRAIL_OCSF_SCHEMAS names the folder of schemas; run cargo xtask test");
    let path = PathBuf::from(folder).join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn event(sequence: u64, record: &Record) -> Value {
    let id = RecordId { epoch: 7, sequence };
    let event: Value = serde_json::from_str(&ocsf::to_json(id, record, &sample::device())).unwrap();
    let number = |name: &str| event[name].as_u64().unwrap();
    assert_eq!(
        number("type_uid"),
        number("class_uid") * 100 + number("activity_id")
    );
    event
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn generated_records_validate() {
    let schemas = Schemas::load();
    for (index, record) in sample::records(8, EVENTS_GENERATED).iter().enumerate() {
        schemas.check(&event(index as u64 + 1, record));
    }
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn a_machine_of_which_nothing_is_known_validates() {
    let schemas = Schemas::load();
    let device = record::Device::default();
    for record in sample::records(9, 500) {
        let id = RecordId {
            epoch: 1,
            sequence: u64::MAX,
        };
        schemas.check(&serde_json::from_str(&ocsf::to_json(id, &record, &device)).unwrap());
    }
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn the_schema_refuses_what_is_wrong() {
    let schemas = Schemas::load();
    let good = event(1, &sample::closes(1, 1)[0]);
    type Spoil = fn(&mut Value);
    let spoils: [(&str, Spoil); 6] = [
        ("an unknown attribute", |it| it["surprise"] = true.into()),
        ("a time in words", |it| it["time"] = "now".into()),
        ("a port that is none", |it| {
            it["dst_endpoint"]["port"] = 70_000.into()
        }),
        ("a pid in words", |it| {
            it["actor"]["process"]["pid"] = "9".into()
        }),
        ("no class", |it| {
            drop(it.as_object_mut().unwrap().remove("activity_id"))
        }),
        ("another class's type", |it| it["type_uid"] = 600_201.into()),
    ];
    for (what, spoil) in spoils {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(
            !schemas.classes[&4001].is_valid(&bad),
            "{what} was let through"
        );
    }
}
