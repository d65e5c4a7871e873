//! The bill of materials: everything that is in the programs, in CycloneDX 1.6
//! (<https://cyclonedx.org/docs/1.6/json/>).
//!
//! The same input gives the same bytes: the serial number is made of the content, and no clock is
//! asked.

mod shipped;

#[cfg(test)]
pub(crate) use shipped::tests as tests_of_shipped;
pub use shipped::{Error, Package, Shipped, Static, Target};

use crate::version::Version;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The product, as it is called everywhere.
const PRODUCT: &str = "Conntrail";

/// What is in a program, as a document. `made_at` is for callers with a time that is the same in
/// every build, such as that of a commit.
///
/// Ends with a line break.
pub fn write(shipped: &Shipped, version: Version, made_at: Option<Timestamp>) -> Vec<u8> {
    let mut document = Map::new();
    let mut put = |key: &str, value| document.insert(key.to_owned(), value);
    put(
        "$schema",
        json!("http://cyclonedx.org/schema/bom-1.6.schema.json"),
    );
    put("bomFormat", json!("CycloneDX"));
    put("specVersion", json!("1.6"));
    put("version", json!(1));
    put("metadata", metadata(version, made_at));
    put("components", json!(components(shipped)));
    put("dependencies", json!(dependencies(shipped, version)));
    let content = Value::Object(document.clone()).to_string();
    document.insert("serialNumber".to_owned(), json!(serial_number(&content)));
    let mut bytes = format!("{:#}", Value::Object(document)).into_bytes();
    bytes.push(b'\n');
    bytes
}

fn metadata(version: Version, made_at: Option<Timestamp>) -> Value {
    let mut metadata = json!({
        "lifecycles": [{ "phase": "build" }],
        "component": {
            "type": "application",
            "bom-ref": product(version),
            "name": PRODUCT,
            "version": version.to_string(),
            "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
        },
    });
    if let Some(made_at) = made_at {
        metadata["timestamp"] = json!(made_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    metadata
}

fn product(version: Version) -> String {
    format!("{PRODUCT}@{version}")
}

fn components(shipped: &Shipped) -> Vec<Value> {
    let packages = shipped.packages().iter().map(component);
    packages
        .chain(shipped.statics().iter().map(of_static))
        .collect()
}

fn component(package: &Package) -> Value {
    let kind = if package.is_root {
        "application"
    } else {
        "library"
    };
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        "scope": "required",
        "licenses": [{ "expression": package.licence }],
    });
    // Ours have no address in the registry: another's crate may have the same name there.
    if !package.is_ours {
        component["purl"] = json!(reference(package));
    }
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

/// A name that is only in this document for ours, the package's address for others.
fn reference(package: &Package) -> String {
    let Package { name, version, .. } = package;
    match package.is_ours {
        true => format!("{PRODUCT}/{name}@{version}"),
        false => format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")),
    }
}

fn of_static(one: &Static) -> Value {
    json!({
        "type": "library",
        "bom-ref": static_reference(one),
        "name": one.name,
        "version": one.version,
        "description": one.description,
        "scope": "required",
        "licenses": [{ "expression": one.licence }],
        "purl": static_reference(one),
    })
}

fn static_reference(one: &Static) -> String {
    format!(
        "pkg:generic/{}@{}",
        one.name,
        one.version.replace('+', "%2B")
    )
}

/// The product depends on its programs, every package on others, and every program on what came
/// with the tools.
fn dependencies(shipped: &Shipped, version: Version) -> Vec<Value> {
    let references: BTreeMap<&str, String> = shipped
        .packages()
        .iter()
        .map(|it| (it.id.as_str(), reference(it)))
        .collect();
    let statics: Vec<String> = shipped.statics().iter().map(static_reference).collect();
    let roots = shipped.packages().iter().filter(|it| it.is_root);
    let roots: Vec<String> = roots.map(reference).collect();
    let mut all = vec![json!({ "ref": product(version), "dependsOn": roots })];
    for package in shipped.packages() {
        let needed = package.needs.iter();
        let mut needed: Vec<&String> = needed.filter_map(|it| references.get(&**it)).collect();
        needed.extend(statics.iter().filter(|_| package.is_root));
        needed.sort();
        needed.dedup();
        all.push(json!({ "ref": reference(package), "dependsOn": needed }));
    }
    all.extend(
        statics
            .iter()
            .map(|it| json!({ "ref": it, "dependsOn": [] })),
    );
    all
}

/// A UUID of version 8, which is for whoever makes one in a way of his own (RFC 9562, 5.8).
fn serial_number(content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let mut bytes: Vec<u8> = digest.iter().copied().take(16).collect();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|it| format!("{it:02x}")).collect();
    let (first, rest) = hex.split_at(8);
    format!(
        "urn:uuid:{first}-{}-{}-{}-{}",
        &rest[..4],
        &rest[4..8],
        &rest[8..12],
        &rest[12..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Short;
    use std::collections::BTreeSet;

    const VERSION: Version = Version {
        short: Short(0, 1, 0),
        build: 7,
    };

    fn document(made_at: Option<Timestamp>) -> Value {
        let shipped = shipped::tests::made_up();
        serde_json::from_slice(&write(&shipped, VERSION, made_at)).unwrap()
    }

    fn references(document: &Value) -> BTreeSet<String> {
        let components = document["components"].as_array().unwrap().iter();
        let all = components.chain([&document["metadata"]["component"]]);
        let all: Vec<String> = all
            .map(|it| it["bom-ref"].as_str().unwrap().to_owned())
            .collect();
        let unique: BTreeSet<String> = all.iter().cloned().collect();
        assert_eq!(unique.len(), all.len(), "a reference stands for one thing");
        unique
    }

    #[test]
    fn the_document_has_what_the_schema_requires() {
        let document = document(None);
        assert_eq!(document["bomFormat"], "CycloneDX");
        assert_eq!(document["specVersion"], "1.6");
        assert_eq!(document["version"], 1);
        let serial = document["serialNumber"].as_str().unwrap();
        let parts: Vec<&str> = serial
            .strip_prefix("urn:uuid:")
            .unwrap()
            .split('-')
            .collect();
        let lengths: Vec<usize> = parts.iter().map(|it| it.len()).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        let is_hex = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        assert!(
            parts.iter().all(|part| part.bytes().all(is_hex)),
            "{serial}"
        );
        for component in document["components"].as_array().unwrap() {
            for key in ["type", "name", "version", "bom-ref", "licenses"] {
                assert!(component.get(key).is_some(), "no {key} in {component}");
            }
        }
        assert_eq!(document["metadata"].get("timestamp"), None);
    }

    #[test]
    fn every_reference_leads_somewhere_and_everything_is_reached() {
        hangs_together(&document(None));
        let shipped = shipped::tests::real();
        let document: Value = serde_json::from_slice(&write(shipped, VERSION, None)).unwrap();
        hangs_together(&document);
        let components = document["components"].as_array().unwrap().len();
        assert_eq!(
            components,
            shipped.packages().len() + shipped.statics().len()
        );
    }

    fn hangs_together(document: &Value) {
        let known = references(document);
        let mut described = BTreeSet::new();
        let mut reached = BTreeSet::from(["Conntrail@0.1.0 (7)".to_owned()]);
        for dependency in document["dependencies"].as_array().unwrap() {
            described.insert(dependency["ref"].as_str().unwrap().to_owned());
            for needed in dependency["dependsOn"].as_array().unwrap() {
                reached.insert(needed.as_str().unwrap().to_owned());
            }
        }
        assert_eq!((&described, &reached), (&known, &known));
    }

    #[test]
    fn others_have_an_address_and_a_hash_and_ours_have_neither() {
        let document = document(None);
        let component = |name: &str| {
            let all = document["components"].as_array().unwrap();
            all.iter().find(|it| it["name"] == name).unwrap().clone()
        };
        let other = component("odd");
        assert_eq!(other["purl"], "pkg:cargo/odd@1.0.0%2Bb");
        assert_eq!(
            other["hashes"],
            json!([{ "alg": "SHA-256", "content": "ab".repeat(32) }])
        );
        assert_eq!(
            other["licenses"],
            json!([{ "expression": "MIT OR Apache-2.0" }])
        );
        let ours = component("conntrail");
        assert_eq!((ours.get("purl"), ours.get("hashes")), (None, None));
        assert_eq!(ours["type"], "application");
        assert_eq!(component("rust-std")["purl"], "pkg:generic/rust-std@1.96.0");
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_and_another_another_number() {
        let shipped = shipped::tests::made_up();
        let bytes = write(&shipped, VERSION, None);
        assert_eq!(bytes, write(&shipped::tests::made_up(), VERSION, None));
        assert!(bytes.ends_with(b"}\n"));
        let at = "2026-11-23T12:00:00Z".parse().unwrap();
        let (plain, dated) = (document(None), document(Some(at)));
        assert_eq!(dated["metadata"]["timestamp"], "2026-11-23T12:00:00Z");
        assert_ne!(plain["serialNumber"], dated["serialNumber"]);
    }
}
