//! Events of OCSF against the official schemas, in the version that older lakes take too.

use crate::batches::{batch, plain, side};
use jsonschema::Validator;
use serde_json::Value;
use ship::Format;
use std::collections::BTreeMap;
use std::path::PathBuf;
use trail::Source;

fn read(name: &str) -> String {
    let folder = std::env::var_os("CONNTRAIL_OCSF_SCHEMAS")
        .expect("CONNTRAIL_OCSF_SCHEMAS names the folder of schemas; run cargo xtask test");
    let path = PathBuf::from(folder).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn validator(name: &str) -> Validator {
    let schema = serde_json::from_str(&read(name)).unwrap();
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn validate(format: Format, classes: &BTreeMap<u64, Validator>) {
    for (seed, source) in [(11, Source::Recorder), (12, side())] {
        let body = plain(format, &batch(seed, 5_000, source)).body;
        for line in body
            .split(|byte| *byte == b'\n')
            .filter(|it| !it.is_empty())
        {
            let event: Value = serde_json::from_slice(line).unwrap();
            let class = &classes[&event["class_uid"].as_u64().unwrap()];
            let errors: Vec<String> = class
                .iter_errors(&event)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{errors:#?}\n{event:#}");
        }
    }
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn batches_validate_in_the_current_version() {
    validate(
        Format::Ocsf,
        &BTreeMap::from([
            (4001, validator("network_activity.json")),
            (1008, validator("event_log_actvity.json")),
            (6002, validator("application_lifecycle.json")),
        ]),
    );
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn batches_validate_in_the_old_version() {
    validate(
        Format::Ocsf11,
        &BTreeMap::from([
            (4001, validator("1.1/network_activity.json")),
            (0, validator("1.1/base_event.json")),
            (6002, validator("1.1/application_lifecycle.json")),
        ]),
    );
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn the_table_for_pruning_is_that_of_the_official_export() {
    assert_eq!(
        include_str!("../../src/format/ocsf11.txt"),
        read("1.1/shapes.txt")
    );
}
