//! What comes out of real connections conforms to the official schema.

use crate::tool::{office, stdout};
use jsonschema::Validator;
use serde_json::Value;
use std::path::Path;

fn validator(name: &str) -> Validator {
    let folder = std::env::var_os("CONNTRAIL_OCSF_SCHEMAS")
        .expect("CONNTRAIL_OCSF_SCHEMAS names the folder of schemas; run cargo xtask test");
    let text = std::fs::read_to_string(Path::new(&folder).join(name)).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

#[test]
#[ignore = "needs schema: the official OCSF schema, made by cargo xtask test"]
fn the_office_validates() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    stdout(&["replay", office().to_str().unwrap(), "--state-dir", state]);
    let network = validator("network_activity.json");
    let lifecycle = validator("application_lifecycle.json");
    let log = validator("event_log_actvity.json");
    let events = stdout(&["--state-dir", state, "query", "--json", "--all"]);
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let class = match event["class_uid"].as_u64().unwrap() {
            4001 => &network,
            6002 => &lifecycle,
            _ => &log,
        };
        let errors: Vec<_> = class
            .iter_errors(&event)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, [""; 0], "{event:#}");
    }
    assert!(events.lines().count() > 4_000);
}
