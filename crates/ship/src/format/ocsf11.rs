//! OCSF 1.1, for lakes that know no later one: an event of 1.8 without what 1.1 does not know.
//!
//! What may be there says `ocsf11.txt`, which is made of the official export. What may not goes
//! under `unmapped.later`, by its full name, so that nothing is lost. 1.1 has no class for logs, so
//! what they tell becomes a Base Event.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version of the schema that events follow.
const VERSION: &str = "1.1.0";

/// A line a class, by its number, or object: what it may have, after `=` the object that it is.
const SHAPES: &str = include_str!("ocsf11.txt");

/// The number of the class for logs in 1.8.
const EVENT_LOG_ACTIVITY: u64 = 1008;

/// What events may have.
pub(super) struct Ocsf11(BTreeMap<&'static str, Shape>);

/// The attributes that a class or object may have, with the objects that they are.
type Shape = BTreeMap<&'static str, Option<&'static str>>;

impl Ocsf11 {
    pub(super) fn new() -> Ocsf11 {
        let shapes = SHAPES.lines().filter_map(|line| line.split_once(": "));
        let shapes = shapes.map(|(name, attributes)| (name, shape(attributes)));
        Ocsf11(shapes.collect())
    }

    /// Appends an event of 1.8 as one of 1.1.
    pub(super) fn prune(&self, whole: &[u8], out: &mut Vec<u8>) {
        let mut event: Map<String, Value> = serde_json::from_slice(whole).expect("our own JSON");
        if event["class_uid"] == EVENT_LOG_ACTIVITY {
            become_base_event(&mut event);
        }
        event["metadata"]["version"] = VERSION.into();
        if event["class_uid"] == NETWORK_ACTIVITY {
            name_both_sides(&mut event);
        }
        if event["class_uid"] == APPLICATION_LIFECYCLE {
            generalize_activity(&mut event);
        }
        if let Some(file) = event
            .get_mut("actor")
            .and_then(|it| it.pointer_mut("/process/file"))
        {
            rename_signature(file);
        }
        let class = event["class_uid"].to_string();
        let mut later = Map::new();
        for place in ["src_endpoint", "dst_endpoint", "device"] {
            event.get_mut(place).map(rename_hostname);
        }
        self.prune_object(&class, "", &mut event, &mut later);
        if !later.is_empty() {
            event["unmapped"]["later"] = later.into();
        }
        serde_json::to_writer(out, &event).expect("memory can be written");
    }

    /// Moves what the shape does not have to `later`.
    fn prune_object(
        &self,
        shape: &str,
        path: &str,
        object: &mut Map<String, Value>,
        later: &mut Map<String, Value>,
    ) {
        let shape = &self.0[shape];
        let strange = object
            .keys()
            .filter(|name| !shape.contains_key(name.as_str()));
        let strange: Vec<String> = strange.cloned().collect();
        for name in strange {
            if let Some(value) = object.remove(&name) {
                later.insert(format!("{path}{name}"), value);
            }
        }
        for (name, value) in object.iter_mut() {
            if let (Some(Some(inner)), Value::Object(value)) = (shape.get(name.as_str()), value) {
                self.prune_object(inner, &format!("{path}{name}."), value, later);
            }
        }
    }
}

/// The number of the class for connections.
const NETWORK_ACTIVITY: u64 = 4001;

/// The number of the class for starts and stops of programs.
const APPLICATION_LIFECYCLE: u64 = 6002;

/// The last activity of that class that 1.1 knows, before "Other".
const STOP: u64 = 4;

fn shape(attributes: &'static str) -> Shape {
    let attribute = |text: &'static str| match text.split_once('=') {
        Some((name, object)) => (name, Some(object)),
        None => (text, None),
    };
    attributes.split(' ').map(attribute).collect()
}

/// The class of events that have no other.
fn become_base_event(event: &mut Map<String, Value>) {
    let parts = [
        ("class_uid", json!(0)),
        ("class_name", json!("Base Event")),
        ("category_uid", json!(0)),
        ("category_name", json!("Uncategorized")),
        ("activity_id", json!(99)),
        ("type_uid", json!(99)),
        ("type_name", json!("Base Event: Other")),
    ];
    for (name, value) in parts {
        event.insert(name.to_owned(), value);
    }
}

/// Later activities are others, by the name that they have.
fn generalize_activity(event: &mut Map<String, Value>) {
    if event["activity_id"].as_u64().is_some_and(|id| id > STOP) {
        event.insert("activity_id".to_owned(), json!(99));
        event.insert("type_uid".to_owned(), json!(600_299));
        let name = json!("Application Lifecycle: Other");
        event.insert("type_name".to_owned(), name);
    }
}

/// Both sides must be there, and each must have a name of some kind.
fn name_both_sides(event: &mut Map<String, Value>) {
    for side in ["src_endpoint", "dst_endpoint"] {
        let endpoint = event.entry(side).or_insert_with(|| json!({}));
        let is_named = ["ip", "hostname"]
            .iter()
            .any(|it| endpoint.get(it).is_some());
        if !is_named {
            endpoint["name"] = "Unknown".into();
        }
    }
}

/// A host name had only letters, digits and hyphens; any other is a name.
fn rename_hostname(place: &mut Value) {
    let Some(hostname) = place.get("hostname").and_then(Value::as_str) else {
        return;
    };
    let hostname = hostname.to_owned();
    if let Some(object) = place.as_object_mut().filter(|_| !is_hostname(&hostname)) {
        object.remove("hostname");
        object.insert("name".to_owned(), hostname.into());
    }
}

fn is_hostname(text: &str) -> bool {
    text.split('.').all(|label| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(is_letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// A file had one signature, which did not say whether it is good.
fn rename_signature(file: &mut Value) {
    let Some(Value::Object(mut signature)) = file.pointer("/signatures/0").cloned() else {
        return;
    };
    signature.retain(|name, _| !matches!(name.as_str(), "state_id" | "state"));
    file["signature"] = signature.into();
}
