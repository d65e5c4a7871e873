//! Conformance of what the filter records; see the schema tests of `record`, which check captions.

use super::answers;
use jsonschema::Validator;
use record::ocsf;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn validator(name: &str) -> Validator {
    let folder = std::env::var_os("CONNTRAIL_OCSF_SCHEMAS")
        .expect("CONNTRAIL_OCSF_SCHEMAS names the folder of schemas; run cargo xtask test");
    let path = PathBuf::from(folder).join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let schema: Value = serde_json::from_str(&text).unwrap();
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn records_of_the_filter_are_valid_ocsf() {
    let classes = BTreeMap::from([
        (4001, validator("network_activity")),
        (1008, validator("event_log_actvity")),
        (6002, validator("application_lifecycle")),
    ]);
    for (id, record, device) in answers() {
        let event: Value = serde_json::from_str(&ocsf::to_json(*id, record, device)).unwrap();
        let class = &classes[&event["class_uid"].as_u64().unwrap()];
        let errors: Vec<String> = class
            .iter_errors(&event)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{event:#}");
    }
}
